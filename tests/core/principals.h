// Principals with the rights that a test gives them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/base/text.h"
#include "core/store/policy_json.h"
#include "core/store/users.h"

namespace cairn {

// One whose policy has these statements, with ' in the place of ", separated by commas; empty: one
// who is allowed nothing.
inline PrincipalPtr principal_with(std::string statements, std::string name = "other") {
  auto rights = std::make_shared<Rights>();
  static const SystemClock clock;
  rights->clock = &clock;
  rights->name = name;
  rights->arn = cat("arn:aws:iam::000000000000:user/", name);
  if (!statements.empty()) {
    for (char& c : statements) c = c == '\'' ? '"' : c;
    auto policy = policy::parse_identity_policy(
        cat(R"({"Version":"2012-10-17","Statement":[)", statements, "]}"));
    EXPECT_TRUE(policy.ok()) << policy.status() << " " << statements;
    if (policy.ok()) rights->add(std::make_shared<const policy::Policy>(*std::move(policy)));
  }
  return std::make_shared<Principal>(std::move(name), std::move(rights));
}

// "{'Effect':'Allow',…}" of actions, separated by blanks, on what stands behind arn:aws:s3:::, or
// on all.
inline std::string allow(std::string_view actions, std::string_view resource = {},
                         std::string_view effect = "Allow") {
  std::string list;
  for (std::string_view action : words_of(actions)) {
    append(list, list.empty() ? "'" : ",'", action, "'");
  }
  return cat("{'Effect':'", effect, "','Action':[", list, "],'Resource':'",
             resource.empty() ? "*" : cat("arn:aws:s3:::", resource), "'}");
}
inline std::string deny(std::string_view actions, std::string_view resource = {}) {
  return allow(actions, resource, "Deny");
}

}  // namespace cairn
