#include "core/base/mutex.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace cairn {
namespace {

TEST(SmallMutexTest, GuardsWhatThreadsCount) {
  constexpr int kThreads = 4, kTimes = 50000;
  SmallMutex mutex;
  uint64_t count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    threads.emplace_back([&] {
      for (int k = 0; k < kTimes; k++) {
        const MutexLock lock(mutex);
        count++;
        if (k % 1000 == 0) std::this_thread::yield();  // others go to sleep
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, uint64_t{kThreads} * kTimes);
}

// One unlocks and locks again at once, as a command in turns does; another is to have its turn
// between. Counted in turns, not in time: the median, as on a busy machine a thread wakes late.
TEST(SmallMutexTest, GivesWayToWhoWasPassedOver) {
  using Clock = std::chrono::steady_clock;
  SmallMutex mutex;
  std::atomic<bool> ends = false;
  std::atomic<uint64_t> turns = 0;
  std::thread in_turns([&] {
    while (!ends) {
      const MutexLock lock(mutex);
      const Clock::time_point end = Clock::now() + std::chrono::milliseconds(1);
      while (Clock::now() < end) continue;
      turns++;
    }
  });
  std::vector<uint64_t> passed;
  for (int i = 0; i < 21; i++) {
    const uint64_t before = turns;
    const MutexLock lock(mutex);
    passed.push_back(turns - before);
  }
  ends = true;
  in_turns.join();
  std::nth_element(passed.begin(), passed.begin() + 10, passed.end());
  EXPECT_LE(passed[10], 50U);
}

}  // namespace
}  // namespace cairn
