// What is pushed beside answers: bounded, whole, in order.
#include "kv/engine/outbox.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <thread>
#include <vector>

#include "core/base/text.h"

namespace cairn::kv {
namespace {

Push push_of(std::string_view text) {
  static const auto head = std::make_shared<const std::string>("H");
  return {head, std::make_shared<const std::string>(text)};
}
constexpr uint64_t kBeside = 2 + Outbox::kPushBytes;  // of each message beside its body

// Sends so much.
std::string take(Outbox& box, size_t bytes, bool begun = false) {
  std::string text(bytes, '\0');
  text.resize(box.copy(text.data(), text.size(), '>', begun));
  box.sent(text.size());
  return text;
}

TEST(Outbox, GivesMessagesInTheirOrderAsFarAsThereIsRoom) {
  Outbox box;
  EXPECT_EQ(box.push(push_of("first"), {}, 0), Outbox::Added::kAdded);
  EXPECT_EQ(box.push(push_of("second"), {}, 0), Outbox::Added::kAdded);
  EXPECT_EQ(box.bytes(), 11u + 2 * kBeside);
  EXPECT_EQ(take(box, 1), ">");
  EXPECT_EQ(take(box, 2), "Hf");
  EXPECT_EQ(take(box, 100, true), "irst");  // no further
  EXPECT_EQ(take(box, 100, true), "");
  EXPECT_EQ(take(box, 100), ">Hsecond");
  EXPECT_TRUE(box.empty());
  EXPECT_EQ(take(box, 10), "");
  EXPECT_EQ(box.push(push_of("third"), {}, 0), Outbox::Added::kAdded);
  EXPECT_EQ(take(box, 10), ">Hthird");
}

TEST(Outbox, DrainsAllButTheRestOfWhatWasBegun) {
  for (const bool begun : {false, true}) {
    Outbox box;
    for (const char* text : {"one", "two"}) box.push(push_of(text), {}, 0);
    if (begun) {
      EXPECT_EQ(take(box, 3), ">Ho");
    }
    box.push(push_of("three"), {}, 0);
    std::string text;
    box.drain(text, '*');
    EXPECT_EQ(text, begun ? "*Htwo*Hthree" : "*Hone*Htwo*Hthree");
    EXPECT_EQ(take(box, 100), begun ? "ne" : "");
    EXPECT_EQ(box.bytes(), 0u);
    box.push(push_of("four"), {}, 0);
    EXPECT_EQ(take(box, 100), ">Hfour");
  }
}

TEST(Outbox, RefusesOverItsHardLimitAndHoldsNothingThen) {
  Outbox box;
  const OutputLimit limit{10 + 2 * kBeside, 0, 0};
  EXPECT_EQ(box.push(push_of("123456"), limit, 0), Outbox::Added::kAdded);
  EXPECT_EQ(box.push(push_of("1234567"), limit, 0), Outbox::Added::kRefused);
  EXPECT_EQ(box.bytes(), 0u);
  EXPECT_EQ(box.push(push_of("1"), limit, 0), Outbox::Added::kGone);
}

TEST(Outbox, RefusesWhoIsOverTheSoftLimitForTooLong) {
  Outbox box;
  const OutputLimit limit{0, 10, 1000};
  EXPECT_EQ(box.push(push_of("123456789012"), limit, 5000), Outbox::Added::kAdded);
  EXPECT_FALSE(box.overdue(limit, 6000));
  EXPECT_TRUE(box.overdue(limit, 6001));
  EXPECT_EQ(take(box, 100), ">H123456789012");
  EXPECT_FALSE(box.overdue(limit, 9000));  // it read in time
  EXPECT_EQ(box.push(push_of("123456789012"), limit, 9000), Outbox::Added::kAdded);
  EXPECT_EQ(box.push(push_of("x"), limit, 9500), Outbox::Added::kAdded);
  EXPECT_EQ(box.push(push_of("x"), limit, 20000), Outbox::Added::kRefused);
}

// An owner that does nothing for it is told at the first message, and now and then.
TEST(Outbox, RingsOnceForManyMessages) {
  struct Owner : Sender {
    int told = 0;
    void send_pushes() override { told++; }
  };
  asio::io_context context;
  Bell bell(context.get_executor());
  auto owner = std::make_shared<Owner>();
  Outbox box;
  box.belongs_to(owner, bell);
  const auto told = [&] {
    context.restart();
    context.poll();
    return std::exchange(owner->told, 0);
  };
  for (int i = 0; i < 100; i++) box.push(push_of("small"), {}, 0);
  EXPECT_EQ(told(), 1);
  box.push(push_of("small"), {}, 0);
  EXPECT_EQ(told(), 0);
  box.push(push_of(std::string(100'000, 'x')), {}, 0);
  EXPECT_EQ(told(), 1);
  while (!take(box, 1000).empty()) {
  }
  box.push(push_of("small"), {}, 0);
  EXPECT_EQ(told(), 1);
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
        EXPECT_EQ(box.push(push_of(cat(t, ":", i, ";")), {}, 0), Outbox::Added::kAdded);
      }
      running--;
    });
  }
  std::string all;
  while (running > 0 || !box.empty()) all += take(box, 100);
  for (auto& thread : threads) thread.join();
  std::vector<int> next(kThreads, 0);
  std::string_view rest = all;
  while (!rest.empty()) {
    const size_t colon = rest.find(':'), end = rest.find(';');
    ASSERT_TRUE(rest.substr(0, 2) == ">H" && colon < end && end != rest.npos);
    const auto t = parse_int<size_t>(rest.substr(2, colon - 2));
    const auto i = parse_int<int>(rest.substr(colon + 1, end - colon - 1));
    ASSERT_TRUE(t && i && *t < next.size());
    EXPECT_EQ(*i, next[*t]++);
    rest.remove_prefix(end + 1);
  }
  EXPECT_EQ(next, std::vector<int>(kThreads, kMessages));
}

}  // namespace
}  // namespace cairn::kv
