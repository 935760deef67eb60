#include "core/store/lifecycle_rule.h"

#include <cstring>

#include "core/base/text.h"
#include "core/store/fields.h"

namespace cairn {

namespace {
// On disk: never renumber.
enum Tag : uint8_t {
  kId = 1,
  kFlags = 2,
  kPrefix = 3,
  kTag = 4,
  kLargerThan = 5,
  kSmallerThan = 6,
  kDays = 7,
  kDate = 8,
  kNoncurrentDays = 9,
  kNewerNoncurrent = 10,
  kUploadDays = 11,
};
constexpr char kEnabled = 1, kOldForm = 2, kMarkers = 4;

template <class T>
void add_number(std::string& out, Tag tag, T number) {
  add_field(out, tag, {reinterpret_cast<const char*>(&number), sizeof(number)});
}
template <class T>
void add_number(std::string& out, Tag tag, const std::optional<T>& number) {
  if (number) add_number(out, tag, *number);
}
template <class T>
bool take_number(std::string_view bytes, T& number) {
  if (bytes.size() != sizeof(number)) return false;
  std::memcpy(&number, bytes.data(), sizeof(number));
  return true;
}
template <class T>
bool take_number(std::string_view bytes, std::optional<T>& number) {
  return take_number(bytes, number.emplace());
}
}  // namespace

std::string LifecycleRule::encode() const {
  std::string out;
  if (!id.empty()) add_field(out, kId, id);
  const char flags = static_cast<char>((enabled ? kEnabled : 0) | (old_form ? kOldForm : 0) |
                                       (markers ? kMarkers : 0));
  add_field(out, kFlags, {&flags, 1});
  if (!prefix.empty()) add_field(out, kPrefix, prefix);
  for (auto& [name, value] : tags) {
    add_field(out, kTag, cat(name, std::string_view("\0", 1), value));
  }
  add_number(out, kLargerThan, larger_than);
  add_number(out, kSmallerThan, smaller_than);
  add_number(out, kDays, days);
  add_number(out, kDate, date_ms);
  add_number(out, kNoncurrentDays, noncurrent_days);
  if (newer_noncurrent != 0) add_number(out, kNewerNoncurrent, newer_noncurrent);
  add_number(out, kUploadDays, upload_days);
  return out;
}

std::optional<LifecycleRule> LifecycleRule::decode(std::string_view in) {
  LifecycleRule rule;
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return std::nullopt;
    const std::string_view bytes = field->bytes;
    bool good = true;
    switch (field->tag) {
      case kId:
        rule.id = bytes;
        break;
      case kFlags: {
        char flags = 0;
        good = take_number(bytes, flags) && (flags & ~(kEnabled | kOldForm | kMarkers)) == 0;
        rule.enabled = (flags & kEnabled) != 0;
        rule.old_form = (flags & kOldForm) != 0;
        rule.markers = (flags & kMarkers) != 0;
        break;
      }
      case kPrefix:
        rule.prefix = bytes;
        break;
      case kTag:
        if (const auto pair = split_named(bytes)) {
          rule.tags.emplace(pair->name, pair->value);
        } else {
          good = false;
        }
        break;
      case kLargerThan:
        good = take_number(bytes, rule.larger_than);
        break;
      case kSmallerThan:
        good = take_number(bytes, rule.smaller_than);
        break;
      case kDays:
        good = take_number(bytes, rule.days);
        break;
      case kDate:
        good = take_number(bytes, rule.date_ms);
        break;
      case kNoncurrentDays:
        good = take_number(bytes, rule.noncurrent_days);
        break;
      case kNewerNoncurrent:
        good = take_number(bytes, rule.newer_noncurrent);
        break;
      case kUploadDays:
        good = take_number(bytes, rule.upload_days);
        break;
      default:
        good = false;
    }
    if (!good) return std::nullopt;
  }
  return rule;
}

}  // namespace cairn
