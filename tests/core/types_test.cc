// Arithmetic on lengths from outside.
#include "core/base/types.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn {
namespace {

std::vector<uint64_t> boundaries() {
  std::vector<uint64_t> all{0};
  for (int bits = 0; bits < 64; bits++) {
    for (uint64_t d : {-1, 0, 1}) all.push_back((uint64_t{1} << bits) + d);
  }
  all.push_back(UINT64_MAX);
  return all;
}

TEST(Lengths, NeverWrapAround) {
  using Wide = unsigned __int128;
  constexpr Wide kMax = UINT64_MAX;
  for (uint64_t a : boundaries()) {
    for (uint64_t b : boundaries()) {
      const Wide sum = Wide{a} + b;
      EXPECT_EQ(checked_add(a, b).has_value(), sum <= kMax);
      EXPECT_EQ(capped_add(a, b), static_cast<uint64_t>(std::min(sum, kMax)));
      for (uint64_t size : {uint64_t{0}, uint64_t{10}, uint64_t{1} << 40, UINT64_MAX}) {
        EXPECT_EQ(is_within(a, b, size), sum <= size) << a << " " << b << " " << size;
      }
    }
    for (uint64_t unit : {8, 4096, 65536}) {
      const Wide up = (Wide{a} + unit - 1) / unit * unit;
      EXPECT_EQ(round_up(a, unit), up <= kMax ? static_cast<uint64_t>(up) : kMax / unit * unit);
    }
  }
}

}  // namespace
}  // namespace cairn
