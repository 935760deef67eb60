#include "core/base/audit.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "core/base/text.h"

namespace cairn {
namespace {

struct AuditTest : testing::Test {
  std::string path = [] {
    char name[] = "/tmp/cairn-audit-XXXXXX";
    ::close(::mkstemp(name));
    return std::string(name);
  }();
  ~AuditTest() override { ::unlink(path.c_str()); }
  static std::vector<std::string> lines_of(const std::string& file) {
    std::ifstream in(file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  std::unique_ptr<Audit> open(uint64_t per_second = 0) {
    auto opened = Audit::open(path, per_second, {});
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
};

TEST_F(AuditTest, ALineSaysWhoDidWhatAndIsJsonWhateverTheNames) {
  ::unlink(path.c_str());
  auto audit = open();
  audit->note({"resp", "ada", "10.0.0.1:5", "get", "db0", "user:1"});
  audit->note({"s3", "a\"\\\n\x01", "[::1]:5", "GetObject", "b", "\xff\xfe\xc3\xa4", false});
  audit->note({"s3", "a", "b", "c", "d", std::string(5000, 'x')});
  audit->flush();
  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), 3u);
  const auto first = boost::json::parse(lines[0]).as_object();
  EXPECT_EQ(first.at("user").as_string(), "ada");
  EXPECT_EQ(first.at("key").as_string(), "user:1");
  EXPECT_TRUE(first.at("allowed").as_bool());
  EXPECT_EQ(std::string_view(first.at("time").as_string()).size(), 24u);
  const auto second = boost::json::parse(lines[1]).as_object();
  EXPECT_EQ(second.at("user").as_string(), "a\"\\\n\x01");
  EXPECT_FALSE(second.at("allowed").as_bool());
  EXPECT_EQ(boost::json::parse(lines[2]).as_object().at("key").as_string().size(), 1024u);
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(AuditTest, WhatIsTooMuchIsCountedAndSaid) {
  auto audit = open(10);
  for (int i = 0; i < 100'000; i++) audit->note({"resp", "u", "a", "get"});
  audit->flush();
  uint64_t written = 0, lost = 0;
  for (const auto& line : lines_of(path)) {
    const auto o = boost::json::parse(line).as_object();
    o.contains("lost") ? lost += static_cast<uint64_t>(o.at("lost").as_int64()) : written++;
  }
  EXPECT_EQ(written + lost, 100'000u);
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(audit->lost(), lost);
}

TEST_F(AuditTest, AFileThatWasMovedIsBegunAnew) {
  const std::string moved = path + ".1";
  auto audit = open();
  audit->note({"resp", "u", "a", "before"});
  audit->flush();
  ASSERT_EQ(::rename(path.c_str(), moved.c_str()), 0);
  audit->reopen();
  audit->flush();
  audit->note({"resp", "u", "a", "after"});
  audit->flush();
  EXPECT_EQ(lines_of(moved).size(), 1u);
  EXPECT_EQ(lines_of(path).size(), 1u);
  ::unlink(moved.c_str());
}

TEST_F(AuditTest, AFileThatCannotBeWrittenIsRefused) {
  EXPECT_FALSE(Audit::open("/nonexistent/audit", 0, {}).ok());
}

}  // namespace
}  // namespace cairn
