// How long something took, for a few nanoseconds: the processor's own counter, which runs at one
// rate on all cores of a machine of this century. A look at it costs a third of one at the steady
// clock (12 ns against 32 on the machine where that was measured, a virtual one).
//
// Threads: any.
#pragma once

#include <cstdint>
#include <limits>

#include "kv/engine/session.h"

namespace cairn::kv {

class Ticks {
 public:
  Ticks() : ns_per_tick_(measure()) {}

  static uint64_t now() {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return static_cast<uint64_t>(steady_ns());
#endif
  }
  uint64_t ns(uint64_t ticks) const {
    return static_cast<uint64_t>(static_cast<double>(ticks) * ns_per_tick_);
  }

 private:
  struct Both {
    int64_t ns;
    uint64_t ticks;
  };
  // Both clocks at one moment: of a few looks the one that nobody interrupted.
  static Both both() {
    constexpr int kLooks = 8;
    Both best{};
    for (int64_t i = 0, least = std::numeric_limits<int64_t>::max(); i < kLooks; i++) {
      const int64_t before = steady_ns();
      const uint64_t ticks = now();
      const int64_t took = steady_ns() - before;
      if (took >= least) continue;
      least = took;
      best = {before + took / 2, ticks};
    }
    return best;
  }
  static double measure() {
    constexpr int64_t kForNs = 200'000;
    const Both begun = both();
    while (steady_ns() - begun.ns < kForNs) {
    }
    const Both ended = both();
    return static_cast<double>(ended.ns - begun.ns) /
           static_cast<double>(ended.ticks - begun.ticks);
  }

  const double ns_per_tick_;
};

}  // namespace cairn::kv
