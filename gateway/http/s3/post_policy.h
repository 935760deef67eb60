// The policy that a form of S3 brings: signed by who made the form, it says what whoever fills it
// in may upload. Source: "POST policy" of the Amazon S3 API reference.
//
//   policy    = base64 of { "expiration": time, "conditions": [condition*] }
//   condition = {"name": "value"}  |  ["eq", "$name", "value"]  |  ["starts-with", "$name",
//   "value"]
//             | ["content-length-range", least, most]
//
// Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/s3/errors.h"

namespace cairn::s3 {

struct PostPolicy {
  struct Condition {
    bool prefix = false;  // else the field is to have this very value
    std::string name;     // of the field, in lower case
    std::string value;
    std::string text() const;  // as S3 writes it in errors
  };
  int64_t expires_ms = 0;
  std::vector<Condition> conditions;
  uint64_t bytes_least = 0, bytes_most = UINT64_MAX;  // of the file
};
// InvalidPolicyDocument.
Error parse_post_policy(std::string_view base64, PostPolicy& policy);
// AccessDenied: it has expired, a condition does not hold, or a field is in no condition. `fields`
// by names in lower case, as they are after ${filename}.
Error check_post_policy(const PostPolicy& policy, const std::map<std::string, std::string>& fields,
                        std::string_view bucket, int64_t now_ms);

}  // namespace cairn::s3
