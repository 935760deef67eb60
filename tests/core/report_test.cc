#include "core/base/report.h"

#include <gtest/gtest.h>

#include <regex>

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

}  // namespace
}  // namespace cairn
