// Who writes waits while the log is behind, in line, and for no one who is gone or gets nowhere.
#include "core/store/backpressure.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/text.h"
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

struct BackpressureTest : FaultTest {
  std::unique_ptr<Store> store;

  void open() {
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
  }
  void append(const std::string& key, size_t bytes) {
    Namespace& ns = store->database(0);
    const std::string value(bytes, 'v');
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value;
    StripeLocks lock(*store, ns.hash(key));
    Transaction t(*store, &lock, Shape::kOne, Wish::kNone);
    ASSERT_TRUE(t.put(ns, ns.hash(key), r).ok());
    ASSERT_TRUE(t.commit().ok());
  }
  void end() {
    ASSERT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }
};

TEST_F(BackpressureTest, LetsInInTurnWhatThereIsRoomFor) {
  constexpr int kWriters = 2000;
  constexpr size_t kBytes = 7000;  // all of them fill the log's tail three times over
  segment_bytes = 8 << 20;
  open();
  for (int i = 0; !store->log().congested(); i++) append(cat("first", i), kBytes);
  std::vector<int> order;
  for (int i = 0; i < kWriters; i++) {
    spawn(context.get_executor(), "a writer",
          [](BackpressureTest& test, std::vector<int>& order, int i) -> awaitable<void> {
            co_await test.store->backpressure().wait();
            EXPECT_FALSE(test.store->log().congested());
            test.append(cat("key", i), kBytes);
            order.push_back(i);
          }(*this, order, i));
  }
  context.poll();
  EXPECT_TRUE(order.empty());
  scheduler.run_until([&] { return order.size() == kWriters; });
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  end();
}

TEST_F(BackpressureTest, NobodyWaitsForWhoIsGone) {
  segment_bytes = 8 << 20;
  open();
  for (int i = 0; !store->log().congested(); i++) append(cat("first", i), 7000);
  std::array<Errand, 3> errands;
  std::array<std::optional<bool>, 3> ended;
  errands[0].cancel();  // before it waits
  for (size_t i = 0; i < errands.size(); i++) {
    spawn(context.get_executor(), "a writer",
          [](Store& store, Errand& errand, std::optional<bool>& ended) -> awaitable<void> {
            ended = co_await store.backpressure().wait(errand);
          }(*store, errands[i], ended[i]));
  }
  context.poll();
  context.restart();
  errands[1].cancel();
  context.poll();
  EXPECT_EQ(ended[0], false);
  EXPECT_EQ(ended[1], false);
  EXPECT_FALSE(ended[2].has_value());
  EXPECT_TRUE(store->log().congested());
  context.restart();
  scheduler.run_until([&] { return ended[2].has_value(); });
  EXPECT_EQ(ended[2], true);
  end();
}

awaitable<uint64_t> overwrite(BackpressureTest& test, int writes) {
  Store& store = *test.store;
  uint64_t largest = 0;
  for (int i = 0; i < writes; i++) {
    if (store.backpressure().holds()) co_await store.backpressure().wait();
    test.append(cat("key", i % 10), 2000);
    largest = std::max(largest, store.cleaner().stats().log_bytes);
    if (i % 8 == 0) co_await test.clock.sleep_ms(1);
  }
  co_return largest;
}

// The log grows beyond its multiple as far as the cleaner lets it, whoever writes how fast; and one
// that cannot clean holds nobody.
TEST_F(BackpressureTest, WritersWaitForTheCleanerWhileItGetsOn) {
  constexpr uint64_t kSegments = 16;  // that twice what lives takes, and how far it may be behind
  open();
  const auto largest = run(overwrite(*this, 20'000));
  ASSERT_TRUE(largest.has_value());
  EXPECT_LT(*largest, kSegments * segment_bytes);
  volume.set([](Call call, std::optional<FileId> file) {
    return call == Call::kRemove || (call == Call::kRead && file->kind == FileKind::kSegment)
               ? absl::DataLossError("EIO")
               : absl::OkStatus();
  });
  EXPECT_TRUE(run(overwrite(*this, 2000)).has_value());
  volume.heal();
  end();
}

}  // namespace
}  // namespace cairn
