// Which characters Unicode calls letters, numbers or separators: what S3 takes in tags.
//
// Threads: any.
#pragma once

#include <cstdint>

namespace cairn::objects {

bool is_letter_number_or_separator(uint32_t c);

}  // namespace cairn::objects
