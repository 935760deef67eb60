// The pool of chunks: bounded, fair, and free of those who stand still.
#include "core/extents/chunk_pool.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <random>
#include <thread>

#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

using Use = ChunkPool::Use;

TEST(ChunkPool, NobodyGetsMoreThanThereAreAndWhoCameFirstIsServedFirst) {
  asio::io_context context;
  ChunkPool pool({2, 2});
  std::vector<std::byte*> held;
  std::vector<int> order;
  for (int i = 0; i < 5; i++) {
    asio::co_spawn(
        context,
        [](ChunkPool& pool, std::vector<std::byte*>& held, std::vector<int>& order,
           int i) -> awaitable<void> {
          std::byte* chunk = co_await pool.take(Use::kRead);
          held.push_back(chunk);
          order.push_back(i);
        }(pool, held, order, i),
        asio::detached);
  }
  context.poll();
  EXPECT_EQ(order, (std::vector<int>{0, 1}));
  EXPECT_EQ(pool.in_use(), 2u);
  EXPECT_EQ(pool.waiting(), 3u);
  EXPECT_EQ(pool.take_spare(Use::kRead), nullptr);
  std::byte* other = pool.take_spare(Use::kWrite);  // readers do not take what writers need
  EXPECT_NE(other, nullptr);
  pool.give(other, Use::kWrite);
  for (size_t i = 0; i < 5; i++) {
    pool.give(held[i], Use::kRead);
    context.restart();
    context.poll();
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(pool.in_use(), 0u);
}

struct Sleeper final : ChunkPool::Holder {
  explicit Sleeper(ChunkPool& pool) : Holder(pool, Use::kRead), pool(pool) {}
  void give_back() override {
    if (chunk != nullptr) pool.give(std::exchange(chunk, nullptr), Use::kRead);
  }
  ChunkPool& pool;
  std::byte* chunk = nullptr;
};

TEST(ChunkPool, WhoRestsGivesBackWhenSomebodyWaitsAndNotBefore) {
  asio::io_context context;
  ChunkPool pool({1, 1});
  auto sleeper = std::make_shared<Sleeper>(pool);
  bool got = false;
  auto take = [&]() -> awaitable<void> {
    sleeper->chunk = co_await pool.take(Use::kRead);
    got = true;
  };
  asio::co_spawn(context, take(), asio::detached);
  context.poll();
  ASSERT_TRUE(got);
  sleeper->rest(context.get_executor());
  EXPECT_TRUE(sleeper->wake());  // nobody waited
  sleeper->rest(context.get_executor());
  std::byte* second = nullptr;
  asio::co_spawn(
      context, [&]() -> awaitable<void> { second = co_await pool.take(Use::kRead); },
      asio::detached);
  context.restart();
  context.poll();
  EXPECT_NE(second, nullptr);
  EXPECT_FALSE(sleeper->wake());
  // And at once where somebody waits already.
  sleeper->chunk = second;
  asio::co_spawn(
      context, [&]() -> awaitable<void> { second = co_await pool.take(Use::kRead); },
      asio::detached);
  context.restart();
  context.poll();
  EXPECT_EQ(pool.waiting(), 1u);
  sleeper->rest(context.get_executor());
  context.restart();
  context.poll();
  EXPECT_EQ(pool.waiting(), 0u);
  pool.give(second, Use::kRead);
}

TEST(ChunkPool, StreamsThatWaitForAnotherArePassedOver) {
  asio::io_context context;
  ChunkPool pool({1, 1});
  auto sleeper = std::make_shared<Sleeper>(pool);
  asio::co_spawn(
      context, [&]() -> awaitable<void> { sleeper->chunk = co_await pool.take(Use::kRead); },
      asio::detached);
  context.poll();
  sleeper->rest(context.get_executor());
  bool got = false;
  std::byte* second = nullptr;
  asio::co_spawn(
      context,
      [&]() -> awaitable<void> {
        second = co_await pool.take(Use::kRead);
        got = true;
      },
      asio::detached);
  EXPECT_TRUE(sleeper->wake());  // it works again before it is asked: it keeps its chunk
  context.restart();
  context.poll();
  EXPECT_FALSE(got);
  sleeper->rest(context.get_executor());
  context.restart();
  context.poll();
  EXPECT_TRUE(got);
  pool.give(second, Use::kRead);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(ChunkPool, ThreadsThatRestAndWakeAtRandomAllGetTheirTurn) {
  constexpr int kThreads = 4, kStreams = 16, kRounds = 60;
  ChunkPool pool({3, 3});
  std::vector<std::unique_ptr<asio::io_context>> contexts;
  std::atomic<int> done{0};
  auto stream = [&](int seed) -> awaitable<void> {
    auto executor = co_await asio::this_coro::executor;
    auto holder = std::make_shared<Sleeper>(pool);
    std::mt19937 random(static_cast<unsigned>(seed));
    for (int i = 0; i < kRounds; i++) {
      holder->wake();
      if (holder->chunk == nullptr) holder->chunk = co_await pool.take(Use::kRead);
      *holder->chunk = static_cast<std::byte>(seed);
      holder->rest(executor);
      asio::steady_timer timer(executor, std::chrono::microseconds(random() % 50));
      co_await timer.async_wait(asio::use_awaitable);
      EXPECT_EQ(holder->wake(), holder->chunk != nullptr);
      if (holder->chunk != nullptr) {
        EXPECT_EQ(*holder->chunk, static_cast<std::byte>(seed));
      }
    }
    if (holder->chunk != nullptr) pool.give(std::exchange(holder->chunk, nullptr), Use::kRead);
    done++;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    contexts.push_back(std::make_unique<asio::io_context>(1));
    for (int s = 0; s < kStreams; s++) {
      asio::co_spawn(*contexts.back(), stream(t * kStreams + s), asio::detached);
    }
  }
  threads.reserve(contexts.size());
  for (auto& context : contexts)
    threads.emplace_back([&] {
      auto work = asio::make_work_guard(*context);  // others may still ask it
      while (done < kThreads * kStreams) context->run_for(std::chrono::milliseconds(1));
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(pool.waiting(), 0u);
}

// With as few chunks as there can be, any mix of writers, copies and readers, who stand still at
// any moment, comes to its end, and every byte is right.
TEST(ChunkPool, LargeValuesGetThroughTheSmallestPool) {
  for (uint64_t seed = 1; seed <= 2; seed++) {
    asio::io_context context;
    sim::Rng rng(seed);
    sim::Disk disk;
    sim::Scheduler scheduler{context, rng};
    sim::SimClock clock{scheduler};
    sim::SimVolume volume{disk, scheduler, rng};
    ChunkPool pool({2, 2});
    Manifest manifest{volume};
    std::vector<std::string> notes;
    ExtentStore store{volume, clock, pool, manifest, context.get_executor()};
    bool opened = false;
    asio::co_spawn(
        context,
        [&]() -> awaitable<void> {
          Status started = co_await manifest.open(77, 64 << 10, false, notes);
          if (started.ok()) started = co_await store.start(77, 64 << 20);
          opened = started.ok();
        },
        asio::detached);
    scheduler.run_until([&] { return opened; });
    constexpr int kStreams = 6;
    int done = 0;
    auto pause = [&]() -> awaitable<void> {
      co_await clock.sleep_ms(static_cast<int64_t>(rng() % 4));
    };
    auto stream = [&](uint64_t number) -> awaitable<void> {
      const auto executor = co_await asio::this_coro::executor;
      std::vector<uint64_t> words((100'000 + rng() % (2 << 20)) / 8);
      for (uint64_t& word : words) word = rng();
      const std::string bytes(as_text(std::as_bytes(std::span(words))));
      BlobWriter writer(store, number % 2 ? bytes.size() : 0);
      for (size_t at = 0; at < bytes.size();) {
        const size_t n = std::min<size_t>(1 + rng() % 300'000, bytes.size() - at);
        Status added = co_await writer.append(as_bytes(std::string_view(bytes).substr(at, n)));
        EXPECT_TRUE(added.ok());
        at += n;
        co_await pause();
      }
      auto blob = co_await writer.finish();
      EXPECT_TRUE(blob.ok());
      // A copy that begins in the middle of a block.
      BlobWriter copy(store, 0);
      Status added = co_await copy.append(as_bytes("head"));
      if (added.ok()) added = co_await copy.append_range(*blob, 777, bytes.size() - 777);
      EXPECT_TRUE(added.ok());
      auto copied = co_await copy.finish();
      EXPECT_TRUE(copied.ok());
      const std::string want = "head" + bytes.substr(777);
      EXPECT_EQ(copied->size, want.size());
      std::string got;
      {
        BlobReader reader(store, *copied, 0, copied->size);
        while (reader.left() > 0) {
          auto read = co_await reader.next();
          EXPECT_TRUE(read.ok());
          if (!read.ok()) break;
          Bytes rest = *read;
          while (!rest.empty()) {  // a client that takes a little at a time
            const size_t n = std::min<size_t>(rest.size(), 1 + rng() % 400'000);
            got.append(as_text(rest.first(n)));
            rest = rest.subspan(n);
            reader.offer(rest.size(), executor);
            co_await pause();
            if (!reader.keep()) break;
          }
        }
      }
      EXPECT_TRUE(got == want);
      store.unref(*blob);
      store.unref(*copied);
      done++;
    };
    for (uint64_t i = 0; i < kStreams; i++) asio::co_spawn(context, stream(i), asio::detached);
    EXPECT_TRUE(scheduler.run_until([&] { return done == kStreams; })) << "seed " << seed;
    EXPECT_TRUE(scheduler.run_until([&] { return pool.in_use() == 0; }));
    EXPECT_EQ(pool.waiting(), 0u);
    if (done != kStreams) break;
  }
}

}  // namespace
}  // namespace cairn
