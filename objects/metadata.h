// The rules for what an object carries beside its bytes. They hold where it enters, at whichever
// door: the HTTP door sends names and values as header fields, and gRPC sends them as UTF-8.
//
// Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "core/base/types.h"
#include "core/store/value.h"

namespace cairn::objects {

inline constexpr size_t kMetaBytesMax = 2048;  // of names and values, all added up

// A token of RFC 9110 section 5.6.2: what a header field's name may be.
bool is_token(std::string_view text);
// A field value of RFC 9110 section 5.5: no CR, LF, NUL or other control characters but tabs, and
// no blanks around it.
bool is_field_value(std::string_view text);
bool is_utf8(std::string_view text);
// The text itself if it is UTF-8; else what its bytes mean in ISO 8859-1, which old header fields
// are in.
std::string as_utf8(std::string_view text);

// The header fields that an object may carry, in lower case: Cache-Control and the like.
bool is_object_header(std::string_view name);
// InvalidArgument, with what is wrong.
Status check_metadata(const ObjectMeta& meta);

}  // namespace cairn::objects
