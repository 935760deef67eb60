// Time as the core sees it, so that a simulation can own it.
//
// Threads: now_ms() from any; sleep_ms() inside a coroutine, which continues on its own executor.
#pragma once

#include <chrono>

#include "core/types.h"

namespace cairn {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_ms() const = 0;  // Unix time in milliseconds
  virtual awaitable<void> sleep_ms(int64_t ms) = 0;
};

class SystemClock final : public Clock {
 public:
  int64_t now_ms() const override;
  awaitable<void> sleep_ms(int64_t ms) override;
};

}  // namespace cairn
