// Time as the core sees it, so that a simulation can own it.
//
// Threads: now_ms() from any; sleep_ms() inside a coroutine, which continues on its own executor; a
// timer is made and destroyed on the thread of the executor that it calls on.
#pragma once

#include <absl/functional/any_invocable.h>

#include <chrono>
#include <memory>

#include "core/base/types.h"

namespace cairn {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_ms() const = 0;  // Unix time in milliseconds
  // Time that passes, however the clock on the wall is set.
  virtual int64_t steady_ms() const;
  virtual awaitable<void> sleep_ms(int64_t ms) = 0;

  // Destroyed: its call does not come any more.
  class Timer {
   public:
    virtual ~Timer() = default;
  };
  // Calls `f` once on `executor` when so much time has passed.
  virtual std::unique_ptr<Timer> call_after(const Executor& executor, int64_t ms,
                                            absl::AnyInvocable<void()> f);
};

// The time at which something happens: read when it is first asked for and the same ever after, so
// that a key that was there at the first look is there at the last.
//
// Threads: one.
class Now {
 public:
  explicit Now(const Clock& clock) : clock_(clock) {}
  int64_t ms() {
    if (ms_ == 0) ms_ = clock_.now_ms();
    return ms_;
  }

 private:
  const Clock& clock_;
  int64_t ms_ = 0;
};

class SystemClock final : public Clock {
 public:
  int64_t now_ms() const override;
  awaitable<void> sleep_ms(int64_t ms) override;
  std::unique_ptr<Timer> call_after(const Executor& executor, int64_t ms,
                                    absl::AnyInvocable<void()> f) override;
};

}  // namespace cairn
