// The list commands on lists that are too long for one turn; their answers on short ones are
// compared with redis-server's (tests/clients/test_wire.py).
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

struct ListCommands : EngineTest {
  static constexpr size_t kLong = 20'000;
  static std::string element(size_t i) { return cat("element ", i, std::string(30, '.')); }

  void fill(const std::string& key) {
    for (size_t i = 0; i < kLong;) {
      std::vector<std::string> words{"RPUSH", key};
      for (size_t n = 0; n < 500; n++) words.push_back(element(i++));
      ASSERT_EQ(run(words), cat(":", i));
    }
  }
  // The elements of an answer, from the first-th on by `step`.
  void expect_elements(const RecordedReply& reply, size_t n, size_t first, int step) {
    ASSERT_EQ(reply.count(), 1U);
    ASSERT_EQ(reply.values.size(), n + 1);
    for (size_t i = 0; i < n; i++) {
      const auto place = static_cast<int64_t>(first) + step * static_cast<int64_t>(i);
      ASSERT_EQ(reply.values[i + 1].text, element(static_cast<size_t>(place)));
    }
  }
};

TEST_F(ListCommands, LongAnswersAreMadeInParts) {
  fill("l");
  expect_elements(answer(*session, {"LRANGE", "l", "0", "-1"}), kLong, 0, 1);
  expect_elements(answer(*session, {"LRANGE", "l", "100", "-2"}), kLong - 101, 100, 1);
  expect_elements(answer(*session, {"LPOP", "l", "8000"}), 8000, 0, 1);
  EXPECT_EQ(run({"LLEN", "l"}), ":12000");
  expect_elements(answer(*session, {"RPOP", "l", "11000"}), 11'000, kLong - 1, -1);
  expect_elements(answer(*session, {"LRANGE", "l", "0", "-1"}), 1000, 8000, 1);
  fill("m");
  expect_elements(answer(*session, {"RPOP", "m", "999999"}), kLong, kLong - 1, -1);
  EXPECT_EQ(run({"EXISTS", "m"}), ":0");
}

TEST_F(ListCommands, WhatIsLookedForInTurnsIsFound) {
  fill("l");
  fill("l2");
  EXPECT_EQ(run({"LPOS", "l", element(kLong - 1)}), cat(":", kLong - 1));
  EXPECT_EQ(run({"LPOS", "l", element(3), "RANK", "-1"}), ":3");
  EXPECT_EQ(run({"LPOS", "l", "nothing"}), "null");
  EXPECT_EQ(run({"LPOS", "l", "nothing", "COUNT", "0"}), "*0");
  EXPECT_EQ(run({"LPOS", "l", element(kLong - 1), "MAXLEN", cat(kLong - 1)}), "null");
  EXPECT_EQ(run({"LINSERT", "l", "AFTER", element(kLong - 10), "new"}), cat(":", kLong + 1));
  EXPECT_EQ(run({"LINSERT", "l", "BEFORE", element(kLong - 1), "new"}), cat(":", kLong + 2));
  EXPECT_EQ(run({"LINSERT", "l", "BEFORE", "nothing", "new"}), ":-1");
  EXPECT_EQ(run({"LPOS", "l", "new", "COUNT", "0"}), cat("*2 :", kLong - 9, " :", kLong));
  EXPECT_EQ(run({"LREM", "l", "-1", "new"}), ":1");
  EXPECT_EQ(run({"LREM", "l", "0", "new"}), ":1");
  EXPECT_EQ(run({"LREM", "l", "0", "nothing"}), ":0");
  expect_elements(answer(*session, {"LRANGE", "l", "0", "-1"}), kLong, 0, 1);
}

TEST_F(ListCommands, InsideATransactionAllIsDoneAtOnce) {
  fill("l");
  run({"MULTI"});
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"LPOS", "l", element(kLong - 1)},
           {"LREM", "l", "0", element(kLong - 1)},
           {"LINSERT", "l", "AFTER", element(kLong - 2), element(kLong - 1)},
           {"LPOP", "l", "2"},
           {"LPUSH", "l", element(1), element(0)},
           {"LMOVE", "l", "l", "LEFT", "RIGHT"},
           {"LMOVE", "l", "l", "RIGHT", "LEFT"}}) {
    EXPECT_EQ(run(words), "+QUEUED");
  }
  EXPECT_EQ(run({"EXEC"}), cat("*7 :", kLong - 1, " :1 :", kLong, " *2 ", element(0), " ",
                               element(1), " :", kLong, " ", element(0), " ", element(0)));
  expect_elements(answer(*session, {"LRANGE", "l", "0", "-1"}), kLong, 0, 1);
}

// What is undone must be exact: a later command of the transaction is refused.
TEST_F(ListCommands, ATransactionThatIsRefusedChangesNothing) {
  fill("l");
  make_scarce();
  run({"MULTI"});
  run({"LTRIM", "l", "5", "10"});
  run({"LPUSH", "l", "a", "b"});
  run({"LINSERT", "l", "BEFORE", element(7), "c"});
  std::vector<std::string> larger_than_a_segment{"HSET", "h"};
  for (int i = 0; i < 100; i++) {
    larger_than_a_segment.push_back(cat(i));
    larger_than_a_segment.emplace_back(12 << 10, 'x');
  }
  run(larger_than_a_segment);
  const std::string refused = run({"EXEC"});
  EXPECT_EQ(refused.substr(0, 10), "-EXECABORT") << refused.substr(0, 100);
  expect_elements(answer(*session, {"LRANGE", "l", "0", "-1"}), kLong, 0, 1);
}

}  // namespace
}  // namespace cairn::kv
