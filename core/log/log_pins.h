// How far those have read who must not miss a record of the log, though the process may end
// between: the cleaner leaves the segments that they still need, up to a limit.
//
// A pin counts as long as what it keeps is less than limit_bytes() of log; one that is further
// behind keeps nothing any more, and its reader finds that records are gone (LogTail: OutOfRange).
// For who comes back and has no pin, the newest part of the log stays (set_history, to the MiB). On
// a full disk nothing of this counts.
//
// Threads: any. The pins end before this does.
#pragma once

#include <algorithm>
#include <atomic>
#include <set>

#include "core/base/mutex.h"
#include "core/base/types.h"

namespace cairn {

class LogPins {
 public:
  static constexpr uint64_t kLimitBytes = 1 << 30;  // unless somebody says another

  class Pin {
   public:
    // All of the log is kept, without a limit, until move() says where it stands: for who has to
    // read that first.
    explicit Pin(LogPins& pins) : pins_(pins), at_(pins.add(Lsn())) {}
    Pin(LogPins& pins, Lsn at) : pins_(pins), at_(pins.add(at)) {}
    ~Pin() { pins_.remove(at_); }
    Pin(const Pin&) = delete;
    // All before it was read.
    void move(Lsn at) {
      pins_.remove(at_);
      at_ = pins_.add(at);
    }

   private:
    LogPins& pins_;
    Lsn at_;
  };

  void set_limit(uint64_t bytes) { limit_bytes_ = bytes; }
  uint64_t limit_bytes() const { return limit_bytes_; }
  void set_history(uint64_t bytes) {
    history_mib_ = static_cast<uint32_t>((bytes + kMiB - 1) / kMiB);
  }
  // Whether somebody still needs what lies before `end`, as far as he counts. `tail`: of the log.
  bool keep(Lsn end, Lsn tail) const {
    if (const uint64_t history = history_mib_ * kMiB; end.value() + history > tail.value()) {
      return history != 0;
    }
    if (count_.load(std::memory_order_relaxed) == 0) return false;
    const uint64_t limit = limit_bytes_;
    MutexLock lock(mutex_);
    // The one that is furthest behind may be too far.
    const auto least = tail.value() > limit ? Lsn(tail.value() - limit) : Lsn();
    if (!at_.empty() && !at_.begin()->valid()) return true;
    const auto pin = at_.lower_bound(least);
    return pin != at_.end() && *pin < end;
  }

 private:
  static constexpr uint64_t kMiB = 1 << 20;
  Lsn add(Lsn at) {
    MutexLock lock(mutex_);
    at_.insert(at);
    count_ = static_cast<uint32_t>(at_.size());
    return at;
  }
  void remove(Lsn at) {
    MutexLock lock(mutex_);
    at_.erase(at_.find(at));
    count_ = static_cast<uint32_t>(at_.size());
  }

  std::atomic<uint64_t> limit_bytes_{kLimitBytes};
  std::atomic<uint32_t> count_{0}, history_mib_{0};
  mutable Mutex mutex_;
  std::multiset<Lsn> at_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
