// Tags: names and values that hang on objects and buckets beside their metadata, and can be changed
// alone. The rules are S3's ("Categorizing your objects using tags"), and hold at every door.
//
// Threads: any.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/base/types.h"

namespace cairn::objects {

using Tags = std::map<std::string, std::string>;

enum class TagsOf : uint8_t { kObject, kBucket };
constexpr size_t tags_max(TagsOf what) { return what == TagsOf::kObject ? 10 : 50; }
// In units of UTF-16, in which S3 counts.
inline constexpr size_t kTagNameMax = 128, kTagValueMax = 256;

// Of letters, numbers and separators in any script, and + - = . _ : / @; of a length that tags
// have. No name is empty.
bool is_tag_name(std::string_view name);
bool is_tag_value(std::string_view value);
// Names that begin with "aws:", in any case, are for systems.
bool is_system_tag(std::string_view name);
// InvalidArgument "InvalidTag…" or "BadRequest…", which is what too many are to S3.
Status check_tags(const Tags& tags, TagsOf what);

}  // namespace cairn::objects
