// Mutexes with the annotations of Clang's thread-safety analysis.
// (Abseil's own is built by Debian with a graph of all locks for finding deadlocks, 2 % of a SET,
// and ThreadSanitizer does not see into it.)
#pragma once

#include <absl/base/thread_annotations.h>

#include <atomic>
#include <cstdint>
#include <mutex>

namespace cairn {

class ABSL_LOCKABLE Mutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// A mutex in four bytes: there are many of them, and what they guard takes no longer than a few
// lines of memory work, or a turn of what is done in turns. Who comes takes what is free, before
// who sleeps has woken: a thread that sleeps is not waited for. But who was passed over more than
// kPassedMax times is given the mutex next. A command in turns unlocks and locks again at once:
// beside turns of 1 ms, another thread got the stripe after 2 to 1,177 of them (median 200), and
// does now after 3 to 9. Short holds of two threads cost the same as before. (mutex_test)
class ABSL_LOCKABLE SmallMutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t word = kFree;
    if (word_.compare_exchange_strong(word, kHeld, std::memory_order_acquire)) return;
    lock_slow();
  }
  void unlock() ABSL_UNLOCK_FUNCTION() {
    uint32_t word = kHeld;
    if (word_.compare_exchange_strong(word, kFree, std::memory_order_release)) return;
    unlock_slow(word);
  }

 private:
  static constexpr int kPassedMax = 1;
  enum Word : uint32_t {
    kFree,
    kHeld,
    kWaitedFor,  // held, and somebody sleeps
    kOwed,       // as kWaitedFor, and who sleeps has it next
    kGiven,      // held by nobody, for who has slept
  };

  [[gnu::noinline]] void lock_slow() {
    for (int i = 0; i < 100; i++) {
      uint32_t word = kFree;
      if (word_.load(std::memory_order_relaxed) == kFree &&
          word_.compare_exchange_strong(word, kHeld, std::memory_order_acquire)) {
        return;
      }
      __builtin_ia32_pause();
    }
    int slept = 0;
    for (uint32_t word = word_.load(std::memory_order_relaxed);;) {
      if (word == kFree || (word == kGiven && slept > 0)) {
        // There may be more who sleep.
        if (word_.compare_exchange_weak(word, kWaitedFor, std::memory_order_acquire)) return;
        continue;
      }
      const uint32_t waited = slept > kPassedMax ? kOwed : kWaitedFor;
      if (word < waited) {
        if (!word_.compare_exchange_weak(word, waited, std::memory_order_relaxed)) continue;
        word = waited;
      }
      word_.wait(word, std::memory_order_relaxed);
      slept++;
      word = word_.load(std::memory_order_relaxed);
    }
  }
  [[gnu::noinline]] void unlock_slow(uint32_t word) {
    while (!word_.compare_exchange_weak(word, word == kOwed ? kGiven : kFree,
                                        std::memory_order_release)) {
    }
    word_.notify_one();
  }

  std::atomic<uint32_t> word_{kFree};
};

template <class M>
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(M& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  M& mutex_;
};

}  // namespace cairn
