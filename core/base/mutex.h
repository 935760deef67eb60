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
//
// Whoever needs it for seconds says so, and it is *busy*: a thread that must not stand still for so
// long finds that out, also one that slept for it already (lock_unless_busy).
class ABSL_LOCKABLE SmallMutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t word = kFree;
    if (word_.compare_exchange_strong(word, kHeld, std::memory_order_acquire)) return;
    (void)lock_slow(true);
  }
  void unlock() ABSL_UNLOCK_FUNCTION() {
    uint32_t word = kHeld;
    if (word_.compare_exchange_strong(word, kFree, std::memory_order_release)) return;
    unlock_slow(word);
  }
  // False: somebody has it.
  [[nodiscard]] bool try_lock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    uint32_t word = kFree;
    return word_.compare_exchange_strong(word, kHeld, std::memory_order_acquire);
  }
  // False: it is busy.
  [[nodiscard]] bool lock_unless_busy() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    uint32_t word = kFree;
    if (word_.compare_exchange_strong(word, kHeld, std::memory_order_acquire)) return true;
    return lock_slow(false);
  }

  // ---- by who holds it ----
  void make_busy() {
    if (word_.exchange(kBusy, std::memory_order_release) != kHeld) word_.notify_all();
  }
  // It takes no longer than usual any more. Then, or while it is busy still, unlock_busy().
  void settle() { word_.exchange(kWaitedFor, std::memory_order_release); }
  void unlock_busy() ABSL_UNLOCK_FUNCTION() {
    word_.exchange(kFree, std::memory_order_release);
    word_.notify_all();  // who waits for the end of it does not take the mutex, nor wake the next
  }

  bool is_busy() const { return word_.load(std::memory_order_relaxed) == kBusy; }
  // With its thread; the mutex is anybody's then.
  void wait_while_busy() const { word_.wait(kBusy, std::memory_order_acquire); }

 private:
  static constexpr int kPassedMax = 1;
  enum Word : uint32_t {
    kFree,
    kHeld,
    kWaitedFor,  // held, and somebody sleeps
    kOwed,       // as kWaitedFor, and who sleeps has it next
    kGiven,      // held by nobody, for who has slept
    kBusy,       // held for long; others may sleep
  };

  [[gnu::noinline]] bool lock_slow(bool through_busy) {
    for (int i = 0; i < 100; i++) {
      uint32_t word = kFree;
      const uint32_t seen = word_.load(std::memory_order_relaxed);
      if (seen == kBusy) break;
      if (seen == kFree && word_.compare_exchange_strong(word, kHeld, std::memory_order_acquire)) {
        return true;
      }
      __builtin_ia32_pause();
    }
    int slept = 0;
    for (uint32_t word = word_.load(std::memory_order_relaxed);;) {
      if (word == kFree || (word == kGiven && slept > 0)) {
        // There may be more who sleep.
        if (word_.compare_exchange_weak(word, kWaitedFor, std::memory_order_acquire)) return true;
        continue;
      }
      if (word == kBusy) {
        if (!through_busy) return false;
        word_.wait(kBusy, std::memory_order_relaxed);
        word = word_.load(std::memory_order_relaxed);
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
