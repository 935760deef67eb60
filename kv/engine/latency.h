// How long commands take: a histogram of each (Durations), and a diary of those that took longer
// than an operator will bear (LatencyDiary), in the manner of Redis's LATENCY.
//
// Threads: a histogram is written by one and read by any; the diary any.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mutex.h"

namespace cairn::kv {

// Counts by duration, each bucket a sixteenth wider than its lower bound.
class Durations {
 public:
  static constexpr size_t kPerOctave = 16;
  static constexpr size_t kBuckets = 33 * kPerOctave;  // up to 68 s
  using Sums = std::vector<uint64_t>;

  static size_t bucket(uint64_t ns) {
    if (ns < kPerOctave) return ns;
    const auto shift = static_cast<size_t>(std::bit_width(ns)) - 5;
    const size_t at = shift * kPerOctave + (ns >> shift);
    return at < kBuckets ? at : kBuckets - 1;
  }
  static uint64_t upper_ns(size_t bucket) {  // the longest that falls into it
    if (bucket < kPerOctave) return bucket;
    const size_t shift = bucket / kPerOctave - 1;
    return ((uint64_t{bucket % kPerOctave + kPerOctave} + 1) << shift) - 1;
  }
  void add(size_t bucket) {
    auto& n = counts_[bucket];
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void add_to(Sums& sums) const {
    sums.resize(kBuckets);
    for (size_t i = 0; i < kBuckets; i++) sums[i] += counts_[i].load(std::memory_order_relaxed);
  }
  void reset() {
    for (auto& n : counts_) n.store(0, std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
};

uint64_t total_of(const Durations::Sums& sums);
// In nanoseconds, to a sixteenth.
uint64_t percentile_of(const Durations::Sums& sums, double percent);

std::string percent_text(double percent);  // "99.9"

class LatencyDiary {
 public:
  struct Sample {
    int64_t at_s;
    uint64_t ms;
  };
  struct Event {
    std::string name;
    std::deque<Sample> samples;  // oldest first, one a second: the worst of it
    uint64_t worst_ms = 0;       // ever
  };
  static constexpr size_t kSamplesMax = 160;

  void add(std::string_view event, int64_t at_s, uint64_t ms);
  std::vector<Event> all() const;
  Event event(std::string_view name) const;  // without samples: there is none
  size_t forget(std::string_view name);      // how many events
  size_t forget_all();

 private:
  mutable Mutex mutex_;
  std::map<std::string, Event, std::less<>> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::kv
