// The language that objects are found by.
#include "objects/find.h"

#include <gtest/gtest.h>

#include "core/base/text.h"

namespace cairn::objects {
namespace {

Info object() {
  Info info;
  info.size = 1000;
  info.modified_ms = 1'700'000'000'000;  // 2023-11-14T22:13:20Z
  info.meta.content_type = "image/png";
  info.meta.tags = {{"kind", "cat"}, {"a b", "it's"}};
  info.meta.user = {{"owner", "ann"}, {"empty", ""}};
  return info;
}

TEST(Find, WhatHolds) {
  const std::pair<const char*, bool> cases[] = {
      {"size = 1000", true},
      {"size != 1000", false},
      {"size < 1000", false},
      {"size <= 1000", true},
      {"size > 999 and size < 1001", true},
      {"size>=1001", false},
      {"key ^= photos/", true},
      {"key = 'photos/a.png'", true},
      {"key < photos/b", true},
      {"content-type ^= image/", true},
      {"content-type = 'image/gif'", false},
      {"modified >= 2023-11-14", true},
      {"modified < 2023-11-14T22:13:20Z", false},
      {"modified = 1700000000000", true},
      {"tag:kind = cat", true},
      {"tag:kind != cat", false},
      {"tag:none = cat", false},
      {"tag:none != cat", true},
      {"tag:none > ''", false},
      {"tag:kind exists", true},
      {"tag:none exists", false},
      {"not tag:none exists", true},
      {"tag:'a b' = 'it\\'s'", true},
      {"tag:\"a b\" = \"it's\"", true},
      {"meta:OWNER = ann", true},
      {"meta:empty = ''", true},
      {"meta:empty exists", true},
      {"size = 1 or size = 1000", true},
      {"size = 1 or size = 2 or tag:kind ^= ca", true},
      {"size = 1 and size = 2 or size = 1000", true},
      {"size = 1 and (size = 2 or size = 1000)", false},
      {"not size = 1 and size = 1000", true},
      {"not (size = 1 or size = 1000)", false},
      {"not not size = 1000", true},
      {"((((size = 1000))))", true},
  };
  for (auto& [text, want] : cases) {
    const auto e = FindExpression::parse(text);
    ASSERT_TRUE(e.ok()) << text << ": " << e.status();
    EXPECT_EQ(e->holds("photos/a.png", object()), want) << text;
    const auto again = FindExpression::parse(e->text());
    ASSERT_TRUE(again.ok()) << e->text() << ": " << again.status();
    EXPECT_EQ(again->text(), e->text());
    EXPECT_EQ(again->holds("photos/a.png", object()), want) << e->text();
  }
}

TEST(Find, WhatItAsks) {
  EXPECT_FALSE(FindExpression::parse("size = 1 and key ^= a")->asks_metadata());
  EXPECT_TRUE(FindExpression::parse("not meta:a exists")->asks_metadata());
  EXPECT_TRUE(FindExpression::parse("size = 1 or content-type = a")->asks_metadata());
  EXPECT_FALSE(FindExpression::parse("meta:a = 1")->asks_tags());
  EXPECT_TRUE(FindExpression::parse("tag:a = 1")->asks_tags());
}

TEST(Find, WhatIsNone) {
  for (const char* text : {"",
                           " ",
                           "size",
                           "size =",
                           "size = x",
                           "size = -1",
                           "size ^= 1",
                           "sizes = 1",
                           "size == 1",
                           "size = 1 2",
                           "size = 1 and",
                           "and size = 1",
                           "(size = 1",
                           "size = 1)",
                           "not",
                           "tag: = 1",
                           "tag = 1",
                           "modified = yesterday",
                           "modified = 2023-13-01",
                           "modified ^= 2",
                           "key = 'a",
                           "key = 'a\\",
                           "key exists a",
                           "size = 99999999999999999999",
                           "key = a or or key = b"}) {
    const auto e = FindExpression::parse(text);
    EXPECT_FALSE(e.ok()) << text;
    EXPECT_TRUE(absl::IsInvalidArgument(e.status())) << text;
  }
}

TEST(Find, Limits) {
  std::string many = "size = 1";
  for (size_t i = 1; i < FindExpression::kTermsMax; i++) many += " or size = 1";
  EXPECT_TRUE(FindExpression::parse(FindExpression::parse(many)->text()).ok());
  EXPECT_FALSE(FindExpression::parse(many + " or size = 1").ok());
  const auto nested = [](size_t depth) {
    return cat(std::string(depth, '('), "size = 1", std::string(depth, ')'));
  };
  EXPECT_TRUE(FindExpression::parse(nested(FindExpression::kDepthMax - 1)).ok());
  EXPECT_FALSE(FindExpression::parse(nested(FindExpression::kDepthMax)).ok());
  EXPECT_FALSE(FindExpression::parse(nested(2000)).ok());
  EXPECT_FALSE(FindExpression::parse(cat("key = '", std::string(4096, 'a'), "'")).ok());
  // What is on the right is on the stack as long as the left.
  std::string right;
  for (size_t i = 1; i < FindExpression::kDepthMax - 1; i++) right += "size = 2 and (";
  right += cat("size = 1000", std::string(FindExpression::kDepthMax - 2, ')'));
  const auto e = FindExpression::parse(right);
  ASSERT_TRUE(e.ok()) << e.status();
  EXPECT_FALSE(e->holds("a", object()));
}

}  // namespace
}  // namespace cairn::objects
