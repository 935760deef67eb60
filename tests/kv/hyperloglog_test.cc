// Laws of HyperLogLog values. That their bytes are redis-server's is compared in
// tests/clients/test_wire.py.
#include "kv/types/hyperloglog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "core/base/text.h"

namespace cairn::kv {
namespace {

std::unique_ptr<hll::Registers> registers_of(std::string_view value) {
  auto registers = std::make_unique<hll::Registers>();
  EXPECT_TRUE(hll::unite(*registers, value));
  return registers;
}

TEST(HyperLogLog, SparseAndDenseHoldTheSame) {
  for (uint64_t seed = 0; seed < 20; seed++) {
    std::mt19937_64 random(seed);
    std::string sparse = hll::make_empty(), dense = hll::make_empty();
    ASSERT_TRUE(hll::make_dense(dense));
    const size_t n = size_t{1} << random() % 13;
    for (size_t i = 0; i < n; i++) {
      const std::string element = cat(random() % (2 * n));
      EXPECT_EQ(hll::add(sparse, element), hll::add(dense, element));
    }
    EXPECT_EQ(*registers_of(sparse), *registers_of(dense));
    std::string made = sparse;
    ASSERT_TRUE(hll::make_dense(made));
    EXPECT_EQ(made, dense);
    EXPECT_LE(sparse.size(), hll::is_dense(sparse) ? dense.size() : hll::kSparseBytesMax);
  }
}

TEST(HyperLogLog, AUnionIsWhatAllElementsMakeTogether) {
  std::mt19937_64 random(5);
  for (size_t n : {3u, 100u, 5000u}) {
    std::string a = hll::make_empty(), b = a, both = a;
    for (size_t i = 0; i < n; i++) {
      const std::string x = cat(random()), y = cat(random());
      (void)hll::add(a, x), (void)hll::add(both, x);
      (void)hll::add(b, y), (void)hll::add(both, y);
    }
    ASSERT_TRUE(hll::raise(a, *registers_of(b)));
    EXPECT_EQ(*registers_of(a), *registers_of(both));
    const auto estimate = static_cast<double>(hll::estimate(*registers_of(a)));
    const auto count = static_cast<double>(2 * n);
    EXPECT_NEAR(estimate, count, std::max(2.0, count * 0.05));
  }
}

// Whatever a client wrote with SET is taken as it is, or called broken, and nothing else happens.
TEST(HyperLogLog, AnyBytesAreAValueOrBroken) {
  std::mt19937_64 random(9);
  size_t broken = 0, whole = 0;
  for (int round = 0; round < 600; round++) {
    std::string value = hll::make_empty();
    for (uint64_t i = random() % 200; i > 0; i--) (void)hll::add(value, cat(random() % 1000));
    for (uint64_t i = random() % 4; i > 0; i--) {
      const size_t at = 16 + random() % (value.size() - 16);
      switch (random() % 3) {
        case 0:
          value[at] = static_cast<char>(random());
          break;
        case 1:
          value.resize(at);
          break;
        default:
          value.insert(at, 1, static_cast<char>(random()));
      }
      if (value.size() <= 16) break;
    }
    ASSERT_TRUE(hll::is_value(value));
    hll::Registers registers{};
    (hll::unite(registers, value) ? whole : broken)++;
    (void)hll::describe_runs(value);
    std::string copy = value;
    EXPECT_EQ(hll::make_dense(copy), hll::unite(registers, value));
    copy = value;
    (void)hll::add(copy, cat(random()));
    if (round % 50 != 0) continue;
    hll::Registers high;
    high.fill(static_cast<uint8_t>(1 + random() % 51));
    (void)hll::raise(copy, high);
  }
  EXPECT_GT(broken, 60u);
  EXPECT_GT(whole, 60u);
}

}  // namespace
}  // namespace cairn::kv
