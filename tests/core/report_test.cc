#include "core/base/report.h"

#include <gtest/gtest.h>

#include <regex>

#include "core/base/alarms.h"

namespace cairn {
namespace {

TEST(Report, ALineIsTimeWithZoneLevelPartAndText) {
  const std::string line =
      Reporter::line(Reporter::Format::kText, 1'700'000'000'123, Severity::kWarning, "log", "full");
  const std::regex form(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.123[+-]\d\d:\d\d warning log: full)");
  EXPECT_TRUE(std::regex_match(line, form)) << line;
}

TEST(Report, AnyBytesMakeOneLine) {
  std::string every;
  for (int c = 1; c < 256; c++) every += static_cast<char>(c);
  for (const std::string& text : {every, std::string("ä \"quoted\" \\ \n"), std::string()}) {
    for (auto format : {Reporter::Format::kText, Reporter::Format::kJson}) {
      const std::string line = Reporter::line(format, 0, Severity::kError, "part", text);
      EXPECT_EQ(line.find('\n'), line.npos);
      for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
      if (format == Reporter::Format::kText) continue;
      // Four names and four values, and whatever else looks like a quote is escaped.
      const std::regex form(R"re(\{("(time|level|part|text)":"([^"\\]|\\["\\])*",?){4}\})re");
      EXPECT_TRUE(std::regex_match(line, form)) << line;
    }
  }
}

TEST(Report, NamesOfLevelsComeBack) {
  for (auto s : {Severity::kDebug, Severity::kInfo, Severity::kWarning, Severity::kError}) {
    EXPECT_EQ(severity(name_of(s)), s);
  }
  EXPECT_EQ(severity("loud"), std::nullopt);
}

TEST(Alarms, EachIsCountedAndFewAreTold) {
  std::vector<std::string> told;
  Alarms alarms([&](Severity, std::string_view part, std::string_view text) {
    told.push_back(std::string(part) + ": " + std::string(text));
  });
  const Report report = alarms.report();
  for (int64_t ms = 0; ms < 100; ms++) {
    alarms.take(1'000'000 + ms, Severity::kWarning, alarm::kDamage, "bad " + std::to_string(ms));
  }
  EXPECT_EQ(told, std::vector<std::string>{"damage: bad 0"});
  // Another part, and what is none, are not silenced by it.
  report(Severity::kWarning, alarm::kAuthResp, "who");
  for (int i = 0; i < 3; i++) report(Severity::kError, "log", "full");
  EXPECT_EQ(told.size(), 5U);
  EXPECT_EQ(alarms.count(alarm::kDamage), 100U);
  EXPECT_EQ(alarms.count(alarm::kAuthResp), 1U);
  EXPECT_EQ(alarms.count(alarm::kRefused), 0U);
  EXPECT_EQ(alarms.last(alarm::kDamage), "bad 99");
  alarms.take(1'060'000, Severity::kWarning, alarm::kDamage, "later");
  EXPECT_EQ(told.back(), "damage: later (and 99 more since the last line)");
  alarms.take(10, Severity::kWarning, alarm::kDamage, "a clock that was set back");
  EXPECT_EQ(told.back(), "damage: a clock that was set back");
}

TEST(Alarms, ANameIsCutAndStaysWithinItsQuotes) {
  EXPECT_EQ(quoted_name("eve"), "'eve'");
  EXPECT_EQ(quoted_name("a' from 10.0.0.1\n"), "'a? from 10.0.0.1?'");
  EXPECT_EQ(quoted_name(std::string(100, 'x')), "'" + std::string(32, 'x') + "…'");
}

}  // namespace
}  // namespace cairn
