// A bucket as a website: which pages stand for directories and for errors, and what is redirected.
//
//   website = field*     1 index suffix, 2 error document, 3 host that all is redirected to,
//                        4 its protocol, 5 rule*                  field: core/store/fields.h
//   rule    = field*     1 key prefix, 2 u16 HTTP error that it is for, 3 protocol, 4 host,
//                        5 replaces the prefix, 6 replaces the key, 7 u16 HTTP status
//
// What is not set takes no bytes. Threads: constant once made; any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

struct RoutingRule {
  // The condition: of keys with this prefix, where the answer would be this error (0: whatever).
  std::optional<std::string> prefix = {};
  uint16_t error = 0;
  // Where it leads to. What is not set stays as it was asked for; not both replacements.
  std::string protocol = {}, host = {};
  std::optional<std::string> replace_prefix = {}, replace_key = {};
  uint16_t status = 0;  // 0: 301
  bool operator==(const RoutingRule&) const = default;
};

struct Website {
  std::string index = {};  // empty: all is redirected to `host`
  std::string error = {};
  std::string host = {}, protocol = {};
  std::vector<RoutingRule> rules = {};
  bool operator==(const Website&) const = default;

  std::string encode() const;
  static std::optional<Website> decode(std::string_view bytes);
};

}  // namespace cairn
