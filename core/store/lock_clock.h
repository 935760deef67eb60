// The time by which retention is judged, which nobody moves by setting a clock.
//
// The store keeps a time of its own that it believes. It goes on with the steady time that passes
// while the store runs; where the wall clock is ahead of it, it comes nearer by kCatchUp seconds
// for each second that passes, and never faster. The time for retention is the earlier of the two:
//
//  - A wall clock that is set forward releases nothing at once: to be believed for ten years it has
//    to stay there for five months, and what was believed meanwhile counts no more when it is set
//    right again.
//  - One that is set back prolongs, and so does one that is too late; when it is set right, the
//    time that is believed is there already.
//  - While the store is stopped, nothing tells time that passes from a clock that is set forward.
//    So what was locked stays locked for longer after a stop: by an hour after a day, by five
//    months after ten years.
//
// What it believes is in the manifest, in minutes, and so as old as the last minute after a crash.
// It begins with the wall clock when the first bucket gets object lock. What it cannot do: tell
// that the clock was wrong then; and keep anything from who can write to the disk.
//
// What is retained from now on is so from the later of both times (later()).
//
// Threads: any.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/clock.h"
#include "core/base/mutex.h"

namespace cairn {

class LockClock {
 public:
  static constexpr int64_t kCatchUp = 24;  // an hour for a day

  explicit LockClock(const Clock& clock) : clock_(clock) {}

  // Once, before all else: what was believed before the store stopped; 0: the wall clock is.
  void begin(int64_t believed_ms) {
    MutexLock lock(mutex_);
    believed_ms_ = believed_ms != 0 ? believed_ms : clock_.now_ms();
    steady_ms_ = clock_.steady_ms();
  }
  int64_t now_ms() {
    MutexLock lock(mutex_);
    const int64_t wall = go_on();
    return std::min(wall, believed_ms_);
  }
  int64_t later_ms() {
    MutexLock lock(mutex_);
    const int64_t wall = go_on();
    return std::max(wall, believed_ms_);
  }
  int64_t believed_ms() {
    MutexLock lock(mutex_);
    (void)go_on();
    return believed_ms_;
  }

 private:
  int64_t go_on() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int64_t wall = clock_.now_ms(), steady = clock_.steady_ms();
    const int64_t passed = std::max<int64_t>(steady - steady_ms_, 0);
    steady_ms_ = std::max(steady_ms_, steady);
    believed_ms_ += passed;
    if (wall > believed_ms_) {
      believed_ms_ += std::min(wall - believed_ms_, (kCatchUp - 1) * passed);
    }
    return wall;
  }

  const Clock& clock_;
  Mutex mutex_;
  int64_t believed_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t steady_ms_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn
