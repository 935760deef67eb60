// How long to wait for a client that moves a body: Times::stall at first, less what it let us wait,
// more by what it moved. One who drips bytes is not waited for any longer than one who stands
// still.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>

#include "gateway/http/door.h"

namespace cairn::http {

class Patience {
  using Clock = std::chrono::steady_clock;

 public:
  Patience(const Times& times, const std::function<bool()>& scarce)
      : times_(times), scarce_(scarce), most_(times.stall), left_(times.stall) {}
  void begin() { since_ = Clock::now(); }
  // No longer than this from now on, and for what moves no more.
  void limit(Clock::duration most) { left_ = most_ = most; }
  // `bytes` more have moved since; whether it is at its end.
  bool moved(int64_t bytes) {
    const bool scarce = scarce_ && scarce_();
    const int64_t rate = scarce ? times_.rate_min_scarce : times_.rate_min;
    const auto now = Clock::now();
    const auto earned =
        std::chrono::nanoseconds(std::min<int64_t>(bytes, 1 << 30) * 1'000'000'000 / rate);
    left_ = std::min(scarce ? std::min(times_.stall_scarce, most_) : most_,
                     left_ - (now - since_) + std::chrono::duration_cast<Clock::duration>(earned));
    since_ = now;
    return left_ <= Clock::duration::zero();
  }

 private:
  const Times& times_;
  const std::function<bool()>& scarce_;
  Clock::duration most_, left_;
  Clock::time_point since_;
};

}  // namespace cairn::http
