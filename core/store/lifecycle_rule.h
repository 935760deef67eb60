// A rule of a bucket's lifecycle: what becomes of which of its objects by itself
// (objects/lifecycle.h does it).
//
//   rule = field*      1 id, 2 u8 flags, 3 prefix, 4 name NUL value* of a tag, 5 u64 larger than,
//                      6 u64 smaller than, 7 u32 days, 8 i64 date, 9 u32 noncurrent days,
//                      10 u32 newer noncurrent versions, 11 u32 days of uploads; what is not set
//                      is missing
//   flags = 1 enabled, 2 the prefix is not in a filter, 4 delete markers alone go
//
// Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace cairn {

struct LifecycleRule {
  std::string id;
  bool enabled = true;
  // Of which objects; all of it has to hold. A marker has no tags and no size.
  bool old_form = false;  // S3's first form of a rule, which has a prefix and no filter
  std::string prefix;
  std::map<std::string, std::string> tags = {};
  std::optional<uint64_t> larger_than, smaller_than = {};  // in bytes; neither is included
  // What becomes of what is current: it is gone, or behind a marker.
  std::optional<uint32_t> days = {};    // after it was written
  std::optional<int64_t> date_ms = {};  // from then on; midnight in UTC
  bool markers = false;                 // markers behind which there is nothing
  // And of what is not, so long after another took its place; so many of the newest stay.
  std::optional<uint32_t> noncurrent_days = {};
  uint32_t newer_noncurrent = 0;
  std::optional<uint32_t> upload_days = {};  // uploads that were begun before
  bool operator==(const LifecycleRule&) const = default;

  std::string encode() const;
  static std::optional<LifecycleRule> decode(std::string_view bytes);

  bool has_filter() const { return !tags.empty() || larger_than || smaller_than; }
  bool concerns(std::string_view key) const { return enabled && key.starts_with(prefix); }
};

}  // namespace cairn
