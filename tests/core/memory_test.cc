// What is held in memory, and the limit on it.
#include "core/memory.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "core/text.h"

namespace cairn {
namespace {

TEST(MemoryCount, IsExactWhoeverAdds) {
  MemoryCount count;
  std::vector<std::thread> threads;
  std::atomic<int64_t> sum{0};
  for (unsigned t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(t);
      for (int i = 0; i < 20000; i++) {
        const auto bytes = static_cast<int64_t>(rng() % 2000);
        count.add(rng() % kStripes, bytes);
        sum += bytes;
        if (rng() % 2 == 0) count.add(rng() % kStripes, -bytes), sum -= bytes;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(count.total(), static_cast<uint64_t>(sum.load()));
}

TEST(MemoryCount, SaysThatLittleIsLeftBeforeNothingIs) {
  std::mt19937_64 rng(1);
  for (uint64_t budget : {uint64_t{1} << 15, uint64_t{100'000}, uint64_t{1} << 30}) {
    for (size_t shards : {size_t{1}, size_t{3}, kStripes}) {
      MemoryCount count;
      count.set_budget(budget);
      while (count.total() < budget) {
        if (count.total() < budget / 2) {
          EXPECT_FALSE(count.pressed());
        }
        const uint64_t most = std::max<uint64_t>(budget / 20000, 2);
        count.add(rng() % shards, static_cast<int64_t>(rng() % most));
      }
      EXPECT_TRUE(count.pressed()) << budget << " " << shards;
      count.add(0, -static_cast<int64_t>(budget / 2));
      count.look();
      EXPECT_FALSE(count.pressed());
      EXPECT_FALSE(count.over());
      count.set_budget(budget / 4);  // acts at once
      EXPECT_TRUE(count.pressed());
      EXPECT_TRUE(count.over());
    }
  }
}

// A limit of 150 KB was filled by tables of keys that were gone.
TEST(Index, TablesOfKeysThatAreGoneTakeNoMemory) {
  auto memory = std::make_shared<MemoryCount>();
  std::atomic<uint64_t> keys{0};
  Index index(7, nullptr, false, {&keys, memory, false});
  std::mt19937_64 rng(2);
  for (size_t n : {size_t{100}, size_t{20'000}, size_t{200'000}}) {
    std::vector<std::string> names;
    for (size_t i = 0; i < n; i++) names.push_back(cat("key", i));
    for (auto& name : names) {
      RecordView r;
      r.key = name;
      index.insert(Entry::make(r, Lsn(8)), index.hash(name));
    }
    EXPECT_EQ(keys, n);
    EXPECT_EQ(index.size(), n);
    EXPECT_GT(memory->total(), 8 * n);
    std::shuffle(names.begin(), names.end(), rng);
    for (size_t i = 0; i < n; i++) {
      Entry* e = index.find(names[i], index.hash(names[i]));
      ASSERT_NE(e, nullptr);
      index.remove(e, index.hash(names[i]));
      Entry::destroy(e);
      if (i == n * 9 / 10) {
        EXPECT_LT(memory->total(), 100 * n / 10) << n;
      }
    }
    EXPECT_EQ(memory->total(), 0u);
  }
}

}  // namespace
}  // namespace cairn
