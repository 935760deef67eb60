// How often a key was used of late, as Redis's OBJECT FREQ and RESTORE FREQ say it: from 0 to 255,
// on a scale that grows with the logarithm. An entry has 16 steps for it (Entry::heat), of which
// each stands for one value of that scale; a key takes as many uses from one to the next as in
// Redis, on average, where lfu-log-factor is 10.
#pragma once

#include <array>
#include <cstdint>

#include "core/index/index.h"

namespace cairn::kv {

class Frequency {
 public:
  static constexpr uint8_t kMost = 255;
  static uint8_t of(const Entry* e) { return kScale[e->heat()]; }
  // The step that is nearest.
  static uint8_t heat_of(uint8_t frequency) {
    uint8_t heat = 0;
    while (heat < Entry::kHeatMax && 2 * frequency > kScale[heat] + kScale[heat + 1]) heat++;
    return heat;
  }
  static void set(Entry* e, uint8_t frequency) {
    const uint8_t heat = heat_of(frequency);
    while (e->heat() > heat) e->cool();
    // Of a fresh one the first use does not count.
    for (int tries = 0; tries <= kMost && e->heat() < heat; tries++) e->touch_often(0);
  }
  // It was used once.
  static void note_use(Entry* e, uint64_t random) {
    const bool steps = random <= UINT64_MAX / kUses[e->heat()];
    e->touch_often(steps ? 0 : UINT64_MAX);
  }

 private:
  using PerHeat = std::array<uint32_t, Entry::kHeatMax + 1>;
  static constexpr PerHeat kScale = {0,  5,  6,  7,  8,   10,  13,  18,
                                     26, 38, 55, 75, 100, 140, 200, kMost};
  // How many uses a key takes to the next step.
  static constexpr PerHeat kUses = [] {
    constexpr uint32_t kNew = 5, kLogFactor = 10;  // Redis's: what a new key has
    PerHeat uses{};
    for (size_t heat = 0; heat < Entry::kHeatMax; heat++) {
      for (uint32_t f = kScale[heat]; f < kScale[heat + 1]; f++) {
        uses[heat] += f < kNew ? 0 : (f - kNew) * kLogFactor + 1;
      }
    }
    uses[0] = uses[Entry::kHeatMax] = 1;
    return uses;
  }();
};

}  // namespace cairn::kv
