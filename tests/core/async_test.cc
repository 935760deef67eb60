// Who waits is woken once, by whoever changes what he waits for, on any thread; what ends with an
// exception is heard of.
#include "core/base/async.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <stdexcept>
#include <thread>

namespace cairn {
namespace {

awaitable<void> fails() {
  throw std::runtime_error("broken");
  co_return;
}

TEST(Async, AnExceptionEndsTheProcessAndSaysWhatEnded) {
  asio::io_context context(1);
  EXPECT_DEATH(
      {
        spawn(context.get_executor(), "the upkeep", fails());
        context.run();
      },
      "the upkeep: broken");
}

TEST(Async, AnExceptionGoesWhereTheCallerSays) {
  asio::io_context context(1);
  Status seen;
  spawn(context.get_executor(), "the flush", fails(), [&](const Status& s) { seen = s; });
  context.run();
  EXPECT_TRUE(absl::IsInternal(seen)) << seen;
  EXPECT_NE(seen.message().find("the flush: broken"), std::string::npos) << seen;
}

TEST(Async, TheFirstWakeCountsAndComesThroughBeforeAndAfterTheWait) {
  for (bool before : {true, false}) {
    asio::io_context context(1);
    auto waiter = std::make_shared<Waiter>();
    std::optional<Woken> how;
    if (before) {
      EXPECT_TRUE(waiter->cancel());
    }
    spawn(context.get_executor(), "a test", [](auto waiter, auto& how) -> awaitable<void> {
      how = co_await waiter->wait();
    }(waiter, how));
    context.poll();
    if (!before) {
      EXPECT_FALSE(how.has_value());
      EXPECT_TRUE(waiter->cancel());
    }
    EXPECT_FALSE(waiter->wake());
    context.restart();
    context.run();
    EXPECT_EQ(how, Woken::kCancelled);
  }
}

TEST(Async, PatienceEnds) {
  asio::io_context context(1);
  SystemClock clock;
  Gate gate;
  auto waiter = std::make_shared<Waiter>();
  std::optional<Woken> how;
  std::optional<bool> ready;
  auto work = [&]() -> awaitable<void> {
    how = co_await waiter->wait(clock, 1);
    ready = co_await gate.until([] { return false; }, clock, 1);
  };
  spawn(context.get_executor(), "a test", work());
  context.run();  // ends: no timer is left either
  EXPECT_EQ(how, Woken::kLate);
  EXPECT_EQ(ready, false);
}

TEST(Async, ATimerThatWasLetGoOfDoesNotCall) {
  asio::io_context context(1);
  SystemClock clock;
  int calls = 0;
  auto timer = clock.call_after(context.get_executor(), 0, [&] { calls++; });
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  timer.reset();  // past its time, before its turn
  context.run();
  EXPECT_EQ(calls, 0);
}

TEST(Async, WhoIsNeverWokenIsDestroyedWithTheGate) {
  asio::io_context context(1);
  auto held = std::make_shared<int>(1);
  {
    Gate gate;
    spawn(context.get_executor(), "a test",
          [](Gate& gate, std::shared_ptr<int> held) -> awaitable<void> {
            co_await gate.until([&] { return *held == 2; });
          }(gate, held));
    context.poll();  // run() would wait for whoever sleeps
    EXPECT_EQ(held.use_count(), 2);
  }
  context.run();  // Asio takes a coroutine apart on its executor
  EXPECT_EQ(held.use_count(), 1);
}

// Threads pass a number round: a wake-up that is lost stops it for good.
TEST(Async, NoWakeUpIsLostBetweenThreads) {
  constexpr int kThreads = 4, kRounds = 3000;
  asio::thread_pool pool(kThreads);
  Gate gate;
  std::atomic<int> turn{0};
  Tasks tasks;
  std::atomic<bool> ended{false};
  auto player = [&](int me) -> awaitable<void> {
    for (int i = 0; i < kRounds; i++) {
      co_await gate.until([&] { return turn % kThreads == me; });
      turn++;
      gate.notify();
    }
  };
  for (int i = 0; i < kThreads; i++) {
    tasks.spawn(asio::make_strand(pool.get_executor()), "a player", player(i));
  }
  auto close = [&]() -> awaitable<void> {
    co_await tasks.ended();
    ended = true;
  };
  spawn(pool.get_executor(), "a test", close());
  pool.join();
  EXPECT_EQ(turn, kThreads * kRounds);
  EXPECT_TRUE(ended);
}

// Wakes, cancellations and the end of patience meet on many threads: each wait ends once.
TEST(Async, EveryWaitEndsOnceWhoeverComesFirst) {
  constexpr int kWaits = 2000;
  asio::io_context context(1);
  auto work = asio::make_work_guard(context);
  SystemClock clock;
  Mutex mutex;
  std::vector<std::shared_ptr<Waiter>> open;
  std::atomic<int> ends{0}, first{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  others.reserve(2);
  for (int t = 0; t < 2; t++) {
    others.emplace_back([&, t] {
      while (!stop) {
        std::shared_ptr<Waiter> waiter;
        {
          MutexLock lock(mutex);
          if (!open.empty()) waiter = open.back();
        }
        if (waiter != nullptr) first += t == 0 ? waiter->wake() : waiter->cancel();
        std::this_thread::yield();
      }
    });
  }
  auto wait = [&]() -> awaitable<void> {
    for (int i = 0; i < kWaits; i++) {
      auto waiter = std::make_shared<Waiter>();
      {
        MutexLock lock(mutex);
        open.assign(1, waiter);
      }
      const Woken how = co_await waiter->wait(clock, 1);
      ends++;
      first += how == Woken::kLate;
    }
    stop = true;
    work.reset();
  };
  spawn(context.get_executor(), "a test", wait());
  context.run();
  for (auto& t : others) t.join();
  EXPECT_EQ(ends, kWaits);
  EXPECT_EQ(first, kWaits);
}

}  // namespace
}  // namespace cairn
