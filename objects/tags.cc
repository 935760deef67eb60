#include "objects/tags.h"

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "objects/letters.h"

namespace cairn::objects {

namespace {
bool is_text(std::string_view text, size_t units_max) {
  constexpr std::string_view kMarks = "+-=._:/@";
  size_t units = 0;
  while (!text.empty()) {
    uint32_t c;
    const size_t bytes = decode_utf8(text, c);
    if (bytes == 0) return false;
    const bool mark = bytes == 1 && kMarks.find(text[0]) != kMarks.npos;
    if (!mark && !is_letter_number_or_separator(c)) return false;
    units += c >= 0x10000 ? 2 : 1;
    if (units > units_max) return false;
    text.remove_prefix(bytes);
  }
  return true;
}
}  // namespace

bool is_tag_name(std::string_view name) { return !name.empty() && is_text(name, kTagNameMax); }
bool is_tag_value(std::string_view value) { return is_text(value, kTagValueMax); }
bool is_system_tag(std::string_view name) {
  return equals_ignoring_case(name.substr(0, 4), "aws:");
}

Status check_tags(const Tags& tags, TagsOf what) {
  if (tags.size() > tags_max(what)) {
    return absl::InvalidArgumentError(
        what == TagsOf::kObject ? "BadRequest Object tags cannot be greater than 10"
                                : "BadRequest Bucket tag count cannot be greater than 50");
  }
  for (auto& [name, value] : tags) {
    if (is_system_tag(name)) {
      return absl::InvalidArgumentError(
          what == TagsOf::kObject ? "InvalidTag Your TagKey cannot be prefixed with aws:"
                                  : "InvalidTag System tags cannot be added/updated by requester");
    }
    if (!is_tag_name(name)) {
      return absl::InvalidArgumentError("InvalidTag The TagKey you have provided is invalid");
    }
    if (!is_tag_value(value)) {
      return absl::InvalidArgumentError("InvalidTag The TagValue you have provided is invalid");
    }
  }
  return absl::OkStatus();
}

}  // namespace cairn::objects
