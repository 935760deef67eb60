// How many bytes a store holds in memory: entries, tables, orders and what else is counted here.
// The sum is exact whenever it is asked, so a limit on it acts at once; what the process holds
// beside it (its code, threads, holes of the allocator) is core/store/memory.h's matter.
//
// Threads: any. Changes are added to one of several shards, by stripe, so that threads do not wait
// for one cache line. Whether the budget is nearly used up is a flag, which writers read; a shard
// that grew past its mark has it made again. The marks are set so that all shards together cannot
// pass the threshold by more than kShards * kStepMin bytes unseen.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cairn {

class MemoryCount {
 public:
  void add(size_t stripe, int64_t bytes) {
    Shard& s = shards_[stripe % kShards];
    const int64_t now = s.bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (now > s.mark.load(std::memory_order_relaxed)) look();
  }
  uint64_t total() const {
    int64_t sum = 0;
    for (const Shard& s : shards_) sum += s.bytes.load(std::memory_order_relaxed);
    return static_cast<uint64_t>(std::max<int64_t>(sum, 0));
  }

  // How much there may be; UINT64_MAX: no limit.
  void set_budget(uint64_t bytes) {
    budget_.store(bytes, std::memory_order_relaxed);
    look();
  }
  uint64_t budget() const { return budget_.load(std::memory_order_relaxed); }
  // More is held than may be, now.
  bool over() const { return budget() != UINT64_MAX && total() > budget(); }
  // How little is little: what is left free of a budget when it is full.
  static uint64_t slack(uint64_t budget) {
    constexpr uint64_t kMin = 2 << 10, kMax = 8 << 20;
    return std::min(budget / 2, std::clamp(budget / 64, kMin, kMax));
  }
  // Little is left of the budget, or nothing. It stays set until look() finds otherwise: whoever
  // frees memory calls that.
  bool pressed() const { return pressed_.load(std::memory_order_relaxed); }
  // The budget is used up, and nothing that is held can go.
  bool exhausted() const { return exhausted_.load(std::memory_order_relaxed); }
  void set_exhausted(bool exhausted) { exhausted_.store(exhausted, std::memory_order_relaxed); }
  void look() {
    const uint64_t budget = this->budget();
    const uint64_t threshold = budget - slack(budget), sum = total();
    const bool pressed = budget != UINT64_MAX && sum >= threshold;
    pressed_.store(pressed, std::memory_order_relaxed);
    const bool ends = pressed || budget == UINT64_MAX;
    const auto step = std::max<int64_t>(
        ends ? 0 : static_cast<int64_t>((threshold - sum) / (2 * kShards)), kStepMin);
    for (Shard& s : shards_) {
      s.mark.store(ends ? INT64_MAX : s.bytes.load(std::memory_order_relaxed) + step,
                   std::memory_order_relaxed);
    }
  }

 private:
  static constexpr size_t kShards = 16;
  static constexpr int64_t kStepMin = 64;
  struct alignas(64) Shard {
    std::atomic<int64_t> bytes{0};
    std::atomic<int64_t> mark{INT64_MAX};
  };
  std::array<Shard, kShards> shards_;
  std::atomic<uint64_t> budget_{UINT64_MAX};
  std::atomic<bool> pressed_{false}, exhausted_{false};
};

}  // namespace cairn
