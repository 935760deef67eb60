// Stripes that are held for long: who meets them, and how. With true threads, so that
// ThreadSanitizer sees whether what they guard is guarded.
#include "core/store/busy.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>

#include "core/base/errors.h"
#include "core/store/store.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

KeyHash hash_of(size_t stripe) { return KeyHash{stripe} << (64 - kStripeBits); }

struct BusyTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context nobody{1};
  sim::Scheduler scheduler{nobody, rng};
  sim::SimVolume volume{disk, scheduler, rng};
  SystemClock clock;
  ChunkPool pool;
  asio::io_context context{1};
  Store store{volume, clock, pool, {context.get_executor()}, StoreOptions()};

  std::shared_ptr<Busy::Holder> holder = std::make_shared<Busy::Holder>("script");
  Status until_idle(KeyHash hash) {
    std::optional<Status> result;
    spawn(context.get_executor(), "a test",
          [&]() -> awaitable<void> { result = co_await store.busy().until_idle(hash); }());
    context.restart();
    context.run();
    return result.value_or(absl::UnknownError("it did not end"));
  }
};

TEST_F(BusyTest, WhoMeetsOneIsToldAndHasNothing) {
  StripeLocks held(store);
  EXPECT_TRUE(held.lock_busy(holder, std::array{hash_of(1), hash_of(3)}, false));
  StripeLocks other(store);
  EXPECT_FALSE(other.lock_idle(hash_of(3)));
  EXPECT_FALSE(other.lock_idle(std::array{hash_of(0), hash_of(2), hash_of(3)}));
  EXPECT_FALSE(other.lock_all_idle());
  EXPECT_FALSE(other.lock_busy(holder, std::array{hash_of(2), hash_of(3)}, false));
  EXPECT_FALSE(other.any());
  EXPECT_TRUE(other.lock_idle(std::array{hash_of(0), hash_of(2)}));
  EXPECT_FALSE(other.add(hash_of(3)));
  EXPECT_TRUE(other.add(hash_of(4)));
  EXPECT_TRUE(other.covers(hash_of(4)));
  other.unlock();
  EXPECT_TRUE(held.add(hash_of(4)));
  EXPECT_FALSE(other.lock_idle(hash_of(4)));
  held.unlock();
  EXPECT_TRUE(other.lock_all_idle());
}

TEST_F(BusyTest, WhoSleepsForOneHearsThatItIsBusy) {
  const KeyHash hash = hash_of(7);
  SmallMutex mutex;
  ASSERT_TRUE(mutex.try_lock());
  std::atomic<int> told{0};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 3; i++) {
    threads.emplace_back([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (!mutex.lock_unless_busy()) {
        told++;
      } else {
        mutex.unlock();
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  mutex.make_busy();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(told, 3);
  mutex.settle();  // from here on it is waited for
  std::thread waits([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    EXPECT_TRUE(mutex.lock_unless_busy());
    mutex.unlock();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  mutex.unlock_busy();
  waits.join();
  EXPECT_FALSE(store.busy().is_busy(hash));
}

TEST_F(BusyTest, RequestsWaitSoLongAndAreRefused) {
  store.busy().patience_ms = 50;
  StripeLocks held(store);
  EXPECT_TRUE(held.lock_busy(holder, std::array{hash_of(9)}, false));
  EXPECT_EQ(held_too_long_by(until_idle(hash_of(9))), "script");
  EXPECT_EQ(held_too_long_by(until_idle(hash_of(9))), "script");  // at once
  EXPECT_TRUE(until_idle(hash_of(8)).ok());
  store.busy().patience_ms = 0;
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    held.unlock();
  });
  EXPECT_TRUE(until_idle(hash_of(9)).ok());
  ends.join();
}

// Who can neither wait nor come again.
TEST_F(BusyTest, TheHolderGivesWay) {
  for (const bool all : {false, true}) {
    std::atomic<bool> holds{false};
    std::thread long_one([&] {
      StripeLocks held(store);
      EXPECT_TRUE(held.lock_busy(holder, std::array{hash_of(1), hash_of(2)}, all));
      holds = true;
      while (!holder->must_give_way()) std::this_thread::yield();
      held.unlock();
      holder->let_pass();
      EXPECT_TRUE(held.lock_busy(holder, std::array{hash_of(1), hash_of(2)}, all));
      held.settle();
    });
    while (!holds) std::this_thread::yield();
    {
      StripeLocks lock(store, hash_of(2));
      EXPECT_FALSE(store.busy().is_busy(hash_of(2)));
    }
    long_one.join();
    EXPECT_FALSE(store.busy().any());
    EXPECT_FALSE(holder->must_give_way());
  }
}

// Each holds on until it is asked: whoever waits with its thread is known to the one that has the
// stripe now, not only to the one that had it when he came.
TEST_F(BusyTest, HoldersThatTakeTurnsAllHearOfWhoWaits) {
  constexpr int kTimes = 300;
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int t = 0; t < 3; t++) {
    threads.emplace_back([&, t] {
      const auto me = std::make_shared<Busy::Holder>("script");
      while (!over) {
        StripeLocks held(store);
        const bool adds = t == 2;  // comes to the stripe later
        std::this_thread::yield();
        if (!held.lock_busy(me, std::array{hash_of(adds ? 50 : 5)}, false)) continue;
        if (adds && !held.add(hash_of(5))) continue;
        while (!over && !me->must_give_way()) std::this_thread::yield();
        held.unlock();
        me->let_pass();
      }
    });
  }
  std::vector<std::thread> waiting;
  waiting.reserve(2);
  for (int t = 0; t < 2; t++) {
    waiting.emplace_back([&] {
      for (int i = 0; i < kTimes; i++) {
        StripeLocks lock(store, hash_of(5));
      }
    });
  }
  for (std::thread& w : waiting) w.join();
  over = true;
  for (std::thread& t : threads) t.join();
  EXPECT_FALSE(store.busy().any());
}

// Accounts behind stripes, plain integers. Long ones move money, in parts that others must not see,
// and take it back when they are to give way; short ones move it at once; others add it up, with
// their thread or as coroutines.
TEST_F(BusyTest, NobodySeesPartsOfWhatIsDoneUnderBusyStripes) {
  constexpr size_t kAccounts = 6;
  constexpr int kLong = 3, kShort = 2, kTimes = 200;
  store.busy().patience_ms = 0;
  std::array<int64_t, kAccounts> money;
  money.fill(100);
  std::array<KeyHash, kAccounts> hashes;
  for (size_t i = 0; i < kAccounts; i++) hashes[i] = hash_of(10 * i);
  std::atomic<int> running{kLong + kShort};
  std::atomic<uint64_t> gave_way{0}, looked{0};
  const auto sum = [&] {
    int64_t all = 0;
    for (int64_t m : money) all += m;
    return all;
  };
  std::vector<std::thread> threads;
  threads.reserve(kLong);
  for (int t = 0; t < kLong; t++) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t) + 1);
      const auto me = std::make_shared<Busy::Holder>("script");
      for (int k = 0; k < kTimes;) {
        const size_t a = random() % kAccounts, b = random() % kAccounts;
        const bool all = k % 50 == 0, adds = k % 3 == 0;
        StripeLocks held(store);
        const std::array both{hashes[a], hashes[b]};
        if (!held.lock_busy(me, std::span(both).first(adds ? 1 : 2), all)) {
          std::this_thread::yield();
          continue;
        }
        money[a] -= 5;
        bool goes_on = !adds || held.covers(hashes[b]) || held.add(hashes[b]);
        for (int i = 0; i < 5 && goes_on; i++) {
          std::this_thread::yield();
          goes_on = !me->must_give_way();
        }
        if (goes_on) {
          money[b] += 5;
          held.settle();
          std::this_thread::yield();
          k++;
        } else {
          money[a] += 5;
          gave_way++;
        }
        held.unlock();
        me->let_pass();
      }
      running--;
    });
  }
  for (int t = 0; t < kShort; t++) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t) + 100);
      for (int k = 0; k < kTimes * 10; k++) {
        const size_t a = random() % kAccounts, b = random() % kAccounts;
        StripeLocks locks(store);
        if (k % 8 == 0) {
          locks.lock(std::array{hashes[a], hashes[b]});
        } else if (!locks.lock_idle(std::array{hashes[a], hashes[b]})) {
          continue;
        }
        money[a]--;
        money[b]++;
      }
      running--;
    });
  }
  threads.emplace_back([&] {  // with its thread
    while (running > 0) {
      StripeLocks locks(store);
      locks.lock(hashes);
      EXPECT_EQ(sum(), 100 * kAccounts);
      locks.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  const auto look = [&]() -> awaitable<void> {
    const Executor executor = co_await asio::this_coro::executor;
    while (running > 0) {
      StripeLocks locks(store);
      if (locks.lock_idle(hashes)) {
        EXPECT_EQ(sum(), 100 * kAccounts);
        locks.unlock();
        looked++;
      } else {
        Status idle = co_await store.busy().until_idle(hashes);
        EXPECT_TRUE(idle.ok());
      }
      co_await asio::post(executor, asio::use_awaitable);
    }
  };
  for (int i = 0; i < 10; i++) spawn(context.get_executor(), "a test", look());
  context.run();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(sum(), 100 * kAccounts);
  EXPECT_GT(gave_way, 0U);
  EXPECT_GT(looked, 0U);
  EXPECT_FALSE(store.busy().any());
}

}  // namespace
}  // namespace cairn
