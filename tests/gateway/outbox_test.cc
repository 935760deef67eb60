// What is pushed beside answers: bounded, whole, in order.
#include "gateway/resp/outbox.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "core/base/text.h"
#include "gateway/resp/input.h"

namespace cairn::resp {
namespace {

TEST(Outbox, GivesWholeMessagesInTheirOrder) {
  Outbox box;
  EXPECT_EQ(box.push("first", {}, 0), Outbox::Push::kFirst);
  EXPECT_EQ(box.push("second", {}, 0), Outbox::Push::kAdded);
  EXPECT_EQ(box.bytes(), 11u);
  EXPECT_EQ(box.take(6), "first");
  EXPECT_EQ(box.take(1), "second");  // more than was asked for, but whole
  EXPECT_TRUE(box.empty());
  EXPECT_EQ(box.take(10), "");
  EXPECT_EQ(box.push("third", {}, 0), Outbox::Push::kFirst);
}

TEST(Outbox, RefusesOverItsHardLimitAndHoldsNothingThen) {
  Outbox box;
  const Outbox::Limit limit{10, 0, 0};
  EXPECT_EQ(box.push("123456", limit, 0), Outbox::Push::kFirst);
  EXPECT_EQ(box.push("1234567", limit, 0), Outbox::Push::kRefused);
  EXPECT_EQ(box.bytes(), 0u);
  EXPECT_EQ(box.push("1", limit, 0), Outbox::Push::kRefused);
}

TEST(Outbox, RefusesWhoIsOverTheSoftLimitForTooLong) {
  Outbox box;
  const Outbox::Limit limit{0, 10, 1000};
  EXPECT_EQ(box.push("123456789012", limit, 5000), Outbox::Push::kFirst);
  EXPECT_FALSE(box.overdue(limit, 6000));
  EXPECT_TRUE(box.overdue(limit, 6001));
  EXPECT_EQ(box.take(100), "123456789012");
  EXPECT_FALSE(box.overdue(limit, 9000));  // it read in time
  EXPECT_EQ(box.push("123456789012", limit, 9000), Outbox::Push::kFirst);
  EXPECT_EQ(box.push("x", limit, 9500), Outbox::Push::kAdded);
  EXPECT_EQ(box.push("x", limit, 20000), Outbox::Push::kRefused);
}

TEST(Outbox, TakesFromManyThreadsWhatNobodyTearsApart) {
  constexpr int kThreads = 4, kMessages = 2000;
  Outbox box;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  std::atomic<int> running{kThreads};
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kMessages; i++) {
        EXPECT_NE(box.push(cat("<", t, ":", i, ">"), {}, 0), Outbox::Push::kRefused);
      }
      running--;
    });
  }
  std::string all;
  while (running > 0 || !box.empty()) all += box.take(100);
  for (auto& thread : threads) thread.join();
  std::vector<int> next(kThreads, 0);
  std::string_view rest = all;
  while (!rest.empty()) {
    const size_t colon = rest.find(':'), end = rest.find('>');
    ASSERT_TRUE(rest[0] == '<' && colon < end && end != rest.npos);
    const auto t = parse_int<size_t>(rest.substr(1, colon - 1));
    const auto i = parse_int<int>(rest.substr(colon + 1, end - colon - 1));
    ASSERT_TRUE(t && i && *t < next.size());
    EXPECT_EQ(*i, next[*t]++);
    rest.remove_prefix(end + 1);
  }
  EXPECT_EQ(next, std::vector<int>(kThreads, kMessages));
}

// Against a plain string: bytes come, are skipped, put back, and cut out of the middle.
TEST(Input, HoldsWhatWasNotUsedUp) {
  uint32_t state = 7;
  auto random = [&](uint32_t below) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
  };
  Input input;
  std::string want;
  char next = 0;
  for (int i = 0; i < 20000; i++) {
    if (random(3) != 0) {
      const MutableBytes room = input.room();
      ASSERT_GT(room.size(), 0u);
      const size_t n = 1 + random(static_cast<uint32_t>(std::min<size_t>(room.size(), 3000)));
      for (size_t k = 0; k < std::min(n, room.size()); k++) {
        room[k] = static_cast<std::byte>(++next);
        want.push_back(next);
      }
      input.added(std::min(n, room.size()));
    }
    const size_t before = input.position(),
                 skipped = random(static_cast<uint32_t>(want.size()) + 1);
    input.skip(skipped);
    if (random(4) == 0) {
      input.go_back(before);
    } else {
      want.erase(0, skipped);
    }
    if (want.size() > 2 && random(5) == 0) {
      const size_t at = random(static_cast<uint32_t>(want.size())),
                   n = random(static_cast<uint32_t>(want.size() - at) + 1);
      input.cut(at, n);
      want.erase(at, n);
    }
    ASSERT_EQ(input.pending(), want);
    ASSERT_EQ(input.empty(), want.empty());
  }
}

TEST(Input, AConnectionAtRestHoldsAKilobyte) {
  Input input;
  EXPECT_EQ(input.capacity(), 0u);
  (void)input.room();
  EXPECT_EQ(input.capacity(), 1024u);
  input.added(100);
  input.skip(100);
  (void)input.room();
  EXPECT_EQ(input.capacity(), 1024u);
  for (int i = 0; i < 100; i++) input.added(input.room().size());  // a large command
  EXPECT_GT(input.capacity(), 1u << 20);
  input.skip(input.size());
  (void)input.room();
  EXPECT_EQ(input.capacity(), 16u << 10);
}

}  // namespace
}  // namespace cairn::resp
