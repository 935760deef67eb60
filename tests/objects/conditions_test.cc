// Conditions of requests, as RFC 9110 and S3 have them: what they make of a value, or of none.
#include <gtest/gtest.h>

#include "core/base/errors.h"
#include "objects/object.h"

namespace cairn::objects {
namespace {

Info value() {
  Info info;
  info.etag = "abc";
  info.size = 5;
  info.modified_ms = 1'000'500;
  info.version = Lsn(7);
  return info;
}

struct Row {
  Conditions conditions;
  Verdict of_value;
  std::string_view by;
  Verdict of_none;
};

TEST(Conditions, SayWhichOfThemDoesNotHold) {
  const auto with = [](auto set) {
    Conditions c;
    set(c);
    return c;
  };
  const Row rows[] = {
      {{}, Verdict::kGo, "", Verdict::kGo},
      {with([](auto& c) { c.if_match = "\"abc\""; }), Verdict::kGo, "", Verdict::kFailed},
      {with([](auto& c) { c.if_match = "*"; }), Verdict::kGo, "", Verdict::kFailed},
      {with([](auto& c) { c.if_match = "W/\"abc\""; }), Verdict::kFailed, "If-Match",
       Verdict::kFailed},
      {with([](auto& c) { c.if_none_match = "\"x\", W/\"abc\""; }), Verdict::kNotModified,
       "If-None-Match", Verdict::kGo},
      {with([](auto& c) { c.if_modified_since_s = 1000; }), Verdict::kNotModified,
       "If-Modified-Since", Verdict::kGo},
      {with([](auto& c) { c.if_modified_since_s = 999; }), Verdict::kGo, "", Verdict::kGo},
      {with([](auto& c) { c.if_unmodified_since_s = 1000; }), Verdict::kGo, "", Verdict::kGo},
      {with([](auto& c) { c.if_unmodified_since_s = 999; }), Verdict::kFailed,
       "If-Unmodified-Since", Verdict::kGo},
      // An ETag decides where a time says something else.
      {with([](auto& c) {
         c.if_match = "\"abc\"";
         c.if_unmodified_since_s = 999;
       }),
       Verdict::kGo, "", Verdict::kFailed},
      {with([](auto& c) {
         c.if_none_match = "\"x\"";
         c.if_modified_since_s = 1000;
       }),
       Verdict::kGo, "", Verdict::kGo},
      {with([](auto& c) { c.if_modified_at_s = 1000; }), Verdict::kGo, "", Verdict::kGo},
      {with([](auto& c) { c.if_modified_at_s = 1001; }), Verdict::kFailed,
       "x-amz-if-match-last-modified-time", Verdict::kGo},
      {with([](auto& c) { c.if_size = 5; }), Verdict::kGo, "", Verdict::kGo},
      {with([](auto& c) { c.if_size = 4; }), Verdict::kFailed, "x-amz-if-match-size", Verdict::kGo},
      {with([](auto& c) { c.if_version = Lsn(7); }), Verdict::kGo, "", Verdict::kFailed},
      {with([](auto& c) { c.if_version = Lsn(); }), Verdict::kFailed, "", Verdict::kGo},
      {with([](auto& c) { c.if_exists = true; }), Verdict::kGo, "", Verdict::kFailed},
      {with([](auto& c) { c.if_exists = false; }), Verdict::kFailed, "", Verdict::kGo},
  };
  const Info now = value();
  for (const Row& row : rows) {
    const auto at = &row - rows;
    EXPECT_EQ(judge(row.conditions, &now), row.of_value) << at;
    EXPECT_EQ(unmet(row.conditions, &now), row.by) << at;
    EXPECT_EQ(judge(row.conditions, nullptr), row.of_none) << at;
    EXPECT_EQ(row.conditions.empty(), at == 0) << at;
    const Status of_write = check_conditions(row.conditions, &now, Lsn(3));
    EXPECT_EQ(of_write.ok(), row.of_value == Verdict::kGo) << at;
    if (!of_write.ok()) {
      EXPECT_TRUE(absl::IsFailedPrecondition(of_write)) << at;
      EXPECT_TRUE(std::string(of_write.message()).ends_with(row.by)) << at;
      EXPECT_EQ(rests_on(of_write), Lsn(3)) << at;
    }
    const Status of_none = check_conditions(row.conditions, nullptr, Lsn(3));
    EXPECT_EQ(of_none.ok(), row.of_none == Verdict::kGo) << at;
    EXPECT_EQ(absl::IsNotFound(of_none), !row.conditions.if_match.empty()) << at;
  }
}

}  // namespace
}  // namespace cairn::objects
