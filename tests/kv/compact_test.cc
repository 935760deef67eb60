// The bytes of small collections, and the place of the table of large ones.
#include "kv/types/compact.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

namespace cairn::kv {
namespace {

TEST(CompactBytes, HoldWhatIsPutAndTakeWhatItNeeds) {
  std::mt19937_64 random(1);
  const auto pick = [&](size_t n) { return static_cast<size_t>(random() % n); };
  for (int life = 0; life < 200; life++) {
    CompactBytes bytes;
    std::string model;
    for (int step = 0; step < 100; step++) {
      const size_t at = pick(model.size() + 1), gone = pick(model.size() - at + 1);
      const std::string made(pick(pick(8) == 0 ? 700 : 20), static_cast<char>('a' + pick(26)));
      char* to = bytes.splice(at, gone, made.size());
      if (!made.empty()) std::memcpy(to, made.data(), made.size());
      model.replace(at, gone, made);
      ASSERT_EQ(bytes.view(), model);
      ASSERT_EQ(bytes.size(), model.size());
      // No more than an allocator would hand out, or half of it is used.
      ASSERT_LE(bytes.memory_bytes(), std::max(allocated_for(model.size()), 2 * model.size() + 1));
    }
    bytes.fit();
    ASSERT_EQ(bytes.memory_bytes(), model.empty() ? 0 : allocated_for(model.size()));
    bytes.clear();
    ASSERT_EQ(bytes.memory_bytes(), 0U);
  }
}

TEST(CompactBytes, GrowInPlaceIntoWhatWasReserved) {
  CompactBytes bytes;
  bytes.reserve(380);
  const size_t all = bytes.memory_bytes();
  EXPECT_EQ(all, allocated_for(380));
  for (int i = 0; i < 10; i++) {
    std::memset(bytes.splice(bytes.size(), 0, 38), 'x', 38);
    EXPECT_EQ(bytes.memory_bytes(), all);
  }
}

TEST(TablePlace, KeepsTheSeedUntilTheTableIsMade) {
  struct Table {
    explicit Table(uint64_t seed) : seed(seed) {}
    const uint64_t seed;
    const std::shared_ptr<int> alive = std::make_shared<int>(1);
  };
  std::weak_ptr<int> alive;
  {
    TablePlace<Table> place(0x1234'5678'9abc'def0);
    EXPECT_FALSE(place);
    EXPECT_EQ(place.seed() | 1, 0x1234'5678'9abc'def1);
    const uint64_t seed = place.seed();
    place.make();
    ASSERT_TRUE(place);
    EXPECT_EQ(place->seed, seed);
    alive = place->alive;
  }
  EXPECT_TRUE(alive.expired());
  TablePlace<Table> never(7);
}

}  // namespace
}  // namespace cairn::kv
