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
// lines of memory work.
class ABSL_LOCKABLE SmallMutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t free = 0;
    if (word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) return;
    lock_slow();
  }
  void unlock() ABSL_UNLOCK_FUNCTION() {
    if (word_.exchange(0, std::memory_order_release) == 2) word_.notify_one();
  }

 private:
  [[gnu::noinline]] void lock_slow() {
    for (int i = 0; i < 100; i++) {
      uint32_t free = 0;
      if (word_.load(std::memory_order_relaxed) == 0 &&
          word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
        return;
      }
      __builtin_ia32_pause();
    }
    while (word_.exchange(2, std::memory_order_acquire) != 0) word_.wait(2);
  }

  std::atomic<uint32_t> word_{0};  // 0 free, 1 held, 2 held and waited for
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
