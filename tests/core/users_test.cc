#include "core/store/users.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Users, OnlyTheRightPasswordNamesAPrincipal) {
  const Users users("root", "secret", true);
  ASSERT_NE(users.authenticate("root", "secret"), nullptr);
  EXPECT_EQ(users.authenticate("root", "secret")->name(), "root");
  EXPECT_EQ(users.authenticate("default", "secret")->name(), "default");
  EXPECT_EQ(users.owner("root")->name(), "root");
  EXPECT_EQ(users.authenticate("root", "secre"), nullptr);
  EXPECT_EQ(users.authenticate("roo", "secret"), nullptr);
  EXPECT_EQ(users.authenticate("", ""), nullptr);
  EXPECT_EQ(users.authenticate("wrong"), nullptr);
  EXPECT_EQ(users.owner("other"), nullptr);
}

TEST(Authorize, RootMayDoAll) {
  const Users users("root", "secret", true);
  const auto root = users.authenticate("root", "secret");
  EXPECT_TRUE(authorize(*root, {"resp", "flushall", Access::kWrite | Access::kDelete}));
  EXPECT_TRUE(authorize(*root, {"s3", "GetObject", Access::kRead}, "photos", "a"));
}

TEST(Authorize, WhatNoRightAllowsIsDenied) {
  const Action get{"resp", "get", Access::kRead}, set{"resp", "set", Access::kWrite},
      getset{"resp", "getset", Access::kRead | Access::kWrite}, keys{"resp", "keys", Access::kRead},
      ping{"resp", "ping"}, object{"s3", "GetObject", Access::kRead};
  EXPECT_FALSE(authorize(Principal("nobody", {}), ping));

  const Principal reader("reader", {{.access = Access::kRead, .space = "db0", .key_prefix = "a:"}});
  EXPECT_TRUE(authorize(reader, ping));
  EXPECT_TRUE(authorize(reader, get, "db0", "a:1"));
  EXPECT_TRUE(authorize(reader, object, "db0", "a:1"));
  EXPECT_FALSE(authorize(reader, get, "db0", "b"));
  EXPECT_FALSE(authorize(reader, get, "db1", "a:1"));
  EXPECT_FALSE(authorize(reader, set, "db0", "a:1"));
  EXPECT_FALSE(authorize(reader, getset, "db0", "a:1"));
  EXPECT_FALSE(authorize(reader, keys, "db0"));  // would name the others' keys

  const Action config{"resp", "config|set", Access::kAdmin};
  EXPECT_FALSE(authorize(Principal("owner", {{.space = "db0"}}), config));
  EXPECT_TRUE(authorize(Principal("admin", {{.access = Access::kAdmin}}), config));

  const Principal getter("getter", {{.door = "resp", .action = "get"}});
  EXPECT_TRUE(authorize(getter, get, "db7", "x"));
  EXPECT_FALSE(authorize(getter, set, "db7", "x"));
  EXPECT_FALSE(authorize(getter, object, "db7", "x"));
}

}  // namespace
}  // namespace cairn
