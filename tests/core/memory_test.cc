// What is held in memory, and the limit on it.
#include "core/store/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "core/base/text.h"
#include "tests/core/fault_fixture.h"

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

// Blocks do not overlap, hold what was written, and may be freed by another thread.
TEST(EntryHeap, BlocksAreTheirOwnersAlone) {
  struct Block {
    char* at;
    size_t bytes;
    char fill;
  };
  constexpr size_t kThreads = 3, kRounds = 4, kBlocks = 4000;
  std::vector<std::vector<Block>> owned(kThreads);
  for (size_t round = 0; round < kRounds; round++) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; t++) {
      threads.emplace_back([&, t] {
        std::mt19937_64 rng(round * kThreads + t);
        std::vector<Block>& mine = owned[t];
        for (size_t i = 0; i < kBlocks; i++) {
          if (mine.size() > 50 && rng() % 2 == 0) {
            std::swap(mine[rng() % mine.size()], mine.back());
            const Block b = mine.back();
            mine.pop_back();
            EXPECT_EQ(std::string_view(b.at, b.bytes).find_first_not_of(b.fill), std::string::npos);
            entry_heap::release(b.at, b.bytes);
          } else {
            Block b{nullptr, rng() % 10'000 + 1, static_cast<char>('a' + rng() % 26)};
            b.at = static_cast<char*>(entry_heap::allocate(b.bytes));
            EXPECT_EQ(reinterpret_cast<uintptr_t>(b.at) % 2, 0u);
            std::memset(b.at, b.fill, b.bytes);
            mine.push_back(b);
          }
        }
      });
    }
    for (auto& t : threads) t.join();
    std::rotate(owned.begin(), owned.begin() + 1, owned.end());
  }
  for (auto& blocks : owned) {
    for (auto& b : blocks) {
      EXPECT_EQ(std::string_view(b.at, b.bytes).find_first_not_of(b.fill), std::string::npos);
      entry_heap::release(b.at, b.bytes);
    }
  }
}

// With 256 MiB and ten times as much data, 30 MiB were holes that nothing filled.
TEST(EntryHeap, WhatIsLeftCanBeMovedTogether) {
  constexpr size_t kBytes = 1030, kBlocks = 20'000;
  if (entry_heap::allocated_bytes(kBytes) == kBytes) GTEST_SKIP() << "the general allocator's";
  std::mt19937_64 rng(3);
  const uint64_t before = entry_heap::loose_bytes();
  std::vector<char*> blocks;
  for (size_t i = 0; i < kBlocks; i++) {
    blocks.push_back(static_cast<char*>(entry_heap::allocate(kBytes)));
    std::memset(blocks.back(), static_cast<char>(i), kBytes);
  }
  EXPECT_LE(entry_heap::loose_bytes(), before);
  std::shuffle(blocks.begin(), blocks.end(), rng);
  for (size_t i = kBlocks / 2; i < kBlocks; i++) entry_heap::release(blocks[i], kBytes);
  blocks.resize(kBlocks / 2);
  EXPECT_GT(entry_heap::loose_bytes(), before + kBytes * kBlocks / 3);
  size_t moved = 0;
  for (int round = 0; round < 20; round++) {
    for (char*& block : blocks) {
      auto* denser = static_cast<char*>(entry_heap::allocate_denser(block, kBytes));
      if (denser == nullptr) continue;
      EXPECT_TRUE(entry_heap::is_loose(block, kBytes));
      std::memcpy(denser, block, kBytes);
      entry_heap::release(block, kBytes);
      block = denser;
      moved++;
    }
  }
  EXPECT_LE(entry_heap::loose_bytes(), before + (kBytes * kBlocks / 100));
  EXPECT_LT(moved, kBlocks);  // most stay where they are
  for (char* block : blocks) {
    EXPECT_EQ(std::string_view(block, kBytes).find_first_not_of(*block), std::string::npos);
    entry_heap::release(block, kBytes);
  }
}

// One thread's blocks are freed, and another one's copies take their room.
TEST(EntryHeap, ThreadsFillTheHolesOfOthers) {
  constexpr size_t kBytes = 700, kBlocks = 20'000;
  if (entry_heap::allocated_bytes(kBytes) == kBytes) GTEST_SKIP() << "the general allocator's";
  const uint64_t before = entry_heap::loose_bytes();
  std::vector<void*> blocks;
  std::thread([&] {
    for (size_t i = 0; i < kBlocks; i++) blocks.push_back(entry_heap::allocate(kBytes));
  }).join();
  for (size_t i = 0; i < kBlocks; i += 2) entry_heap::release(blocks[i], kBytes);
  std::thread([&] {
    for (size_t i = 0; i < kBlocks; i += 2) blocks[i] = entry_heap::allocate(kBytes);
  }).join();
  EXPECT_LE(entry_heap::loose_bytes(), before);
  for (void* block : blocks) entry_heap::release(block, kBytes);
}

TEST(EntryHeap, LosesLittle) {
  for (size_t bytes = entry_heap::kBytesMin + 1; bytes <= entry_heap::kBytesMax; bytes++) {
    const size_t held = entry_heap::allocated_bytes(bytes);
    ASSERT_GE(held, bytes);
    ASSERT_LE(held - bytes, bytes / 64) << bytes;
  }
}

// A limit of 150 KB was filled by tables of keys that were gone.
TEST(Index, TablesOfKeysThatAreGoneTakeNoMemory) {
  auto memory = std::make_shared<MemoryCount>();
  KeyCounts counts;
  Index index(7, nullptr, false, {&counts, memory, false});
  std::mt19937_64 rng(2);
  for (size_t n : {size_t{100}, size_t{20'000}, size_t{200'000}}) {
    std::vector<std::string> names;
    for (size_t i = 0; i < n; i++) names.push_back(cat("key", i));
    for (auto& name : names) {
      RecordView r;
      r.key = name;
      index.insert(Entry::make(r, Lsn(8)), index.hash(name));
    }
    EXPECT_EQ(counts.keys, n);
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

// Whatever the policy, objects are not evicted: who evicts chose it for a cache in a database.
TEST_F(FaultTest, NoPolicyEvictsAnObject) {
  constexpr EvictionPolicy kAll[] = {
      EvictionPolicy::kAllKeysLru,  EvictionPolicy::kAllKeysLfu,  EvictionPolicy::kAllKeysRandom,
      EvictionPolicy::kVolatileLru, EvictionPolicy::kVolatileLfu, EvictionPolicy::kVolatileRandom,
      EvictionPolicy::kVolatileTtl};
  for (const EvictionPolicy policy : kAll) {
    SCOPED_TRACE(name_of(policy));
    auto store = make();
    ASSERT_TRUE(run(store->open())->ok());
    ASSERT_TRUE(store->create_bucket("photos").ok());
    const NamespacePtr bucket = store->find_namespace("photos");
    constexpr uint64_t kKeys = 50;
    for (Namespace* ns : {bucket.get(), &store->system(), &store->database(3)}) {
      for (uint64_t i = 0; i < kKeys; i++) {
        const std::string key = "key" + std::to_string(i);
        RecordView r;
        r.ns = ns->id;
        r.key = key;
        r.value = "a small value";
        r.flags = kRecordHasExpiry;
        r.expire_ms = clock.now_ms() + 3'600'000;
        StripeLocks lock(*store, ns->hash(key));
        Transaction t(*store, &lock, Shape::kOne);
        ASSERT_TRUE(t.put(*ns, ns->hash(key), r).ok());
      }
    }
    store->memory().set_policy(policy);
    store->set_memory_bytes(1);
    for (int i = 0; i < 200 && store->database(3).size() > 0; i++) (void)store->memory().help();
    EXPECT_EQ(store->database(3).size(), 0u);
    EXPECT_EQ(bucket->size(), kKeys);
    EXPECT_EQ(store->system().size(), kKeys);
    take_apart(std::move(store));
    disk = sim::Disk();
  }
}

// After a search that found nothing it rests a while, and not until the clock is where it was.
TEST_F(FaultTest, RoomIsMadeAfterTheClockWasSetBack) {
  memory_bytes = 40'000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  for (int i = 0; i < 800; i++) {
    ASSERT_TRUE(run(put(*store, "key" + std::to_string(i), "small"))->ok());
  }
  for (int i = 0; i < 1000 && !store->memory().exhausted(); i++) sleep(20);
  ASSERT_TRUE(store->memory().exhausted());
  store_clock.offset_ms = -86'400'000;
  for (int i = 0; i < 10; i++) {
    ASSERT_TRUE(run(put(*store, "large" + std::to_string(i), std::string(3000, 'x')))->ok());
  }
  for (int i = 0; i < 500 && store->memory().stats().spilled == 0; i++) sleep(20);
  EXPECT_GT(store->memory().stats().spilled, 0u);
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
}

// ---- a model ----

// Keys of any size come, go and are used while memory is short: which of them go is the policy's
// choice, which values stay in memory is nobody's business, and what is counted is what is there.
struct MemoryModel : FaultTest {
  struct Value {
    std::string bytes;
    int64_t expire_ms = 0;
  };
  std::unique_ptr<Store> store;
  std::map<std::string, Value> model;
  uint64_t gone = 0;

  MemoryModel() { amplification = 1000; }  // the cleaner also moves values that are on disk
  uint64_t pick(uint64_t n) { return rng() % n; }
  static bool may_evict(EvictionPolicy policy, const Value& value) {
    const std::string_view name = name_of(policy);
    return name.starts_with("allkeys") || (name.starts_with("volatile") && value.expire_ms != 0);
  }
  awaitable<Status> all_durable() {
    return store->log().wait_durable(Lsn(store->log().tail().value() - 1));
  }

  void put() {
    const std::string key = cat("key", pick(500));
    Namespace& ns = store->database(0);
    const KeyHash hash = ns.hash(key);
    Value value{
        std::string(pick(3) == 0 ? pick(20) : pick(2000), static_cast<char>('a' + pick(26))),
        pick(2) == 0 ? 0 : clock.now_ms() + 3'600'000};
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, pick(4) == 0 ? Shape::kSeveral : Shape::kOne);
    Entry* old = t.find(ns, key, hash);
    if (pick(10) == 0) {
      if (old == nullptr) return;
      ASSERT_TRUE(t.remove(ns, hash, old).ok());
      ASSERT_TRUE(t.commit().ok());
      model.erase(key);
      return;
    }
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value.bytes;
    r.expire_ms = value.expire_ms;
    if (r.expire_ms != 0) r.flags |= kRecordHasExpiry;
    ASSERT_TRUE(t.put(ns, hash, r).ok());
    ASSERT_TRUE(t.commit().ok());
    model[key] = value;
  }
  // Until the limit is kept, or nothing is left that could go.
  void make_room() {
    for (int i = 0; i < 20 && !store->memory().help(); i++) ASSERT_TRUE(run(all_durable())->ok());
    EXPECT_FALSE(store->memory().overrun());
  }
  // The keys that are there, and what is counted for them.
  void check(EvictionPolicy policy) {
    uint64_t bytes = 0, cold = 0;
    std::set<std::string> there;
    for (auto& ns : store->spaces()) {
      bytes += ns->index->table_bytes();
      for (size_t s = 0; s < kStripes; s++) {
        ns->index->for_each(s, [&](const Entry* e) {
          bytes += static_cast<uint64_t>(Store::held_bytes(e));
          cold += e->is_cold();
          there.emplace(e->key());
          EXPECT_TRUE(!e->is_cold() || store->log().is_durable(e->lsn())) << e->key();
        });
      }
    }
    EXPECT_EQ(store->used_bytes(), bytes);
    EXPECT_EQ(store->cold_count(), cold);
    for (const std::string& key : there) ASSERT_TRUE(model.contains(key)) << key << " is back";
    std::erase_if(model, [&](auto& m) {
      if (there.contains(m.first)) return false;
      EXPECT_TRUE(may_evict(policy, m.second)) << m.first;
      gone++;
      return true;
    });
    EXPECT_GE(store->memory().stats().evicted, gone);  // some were put again since
  }
  void check_values() {
    for (auto& [key, value] : model) {
      const auto got = *run(get(*store, key));
      ASSERT_TRUE(got.ok()) << key << " " << got.status();
      EXPECT_EQ(*got, value.bytes) << key;
    }
  }
  void open() {
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
  }
};

TEST_F(MemoryModel, WhatGoesIsWhatThePolicyNames) {
  for (int p = 0; p <= static_cast<int>(EvictionPolicy::kVolatileTtl); p++) {
    const auto policy = static_cast<EvictionPolicy>(p);
    SCOPED_TRACE(name_of(policy));
    disk = sim::Disk();
    model.clear();
    gone = 0;
    memory_bytes = 0;
    open();
    store->memory().set_policy(policy);
    uint64_t spilled = 0;
    for (int i = 0; i < 1500 && !HasFailure(); i++) {
      if (i % 200 == 100) store->set_memory_bytes(30'000 + pick(300'000));
      put();
      if (pick(5) == 0) make_room();
      if (pick(50) == 0) check(policy);
    }
    make_room();
    store->set_memory_bytes(0);
    check(policy);
    spilled = store->memory().stats().spilled;
    EXPECT_EQ(gone > 0, policy != EvictionPolicy::kNoEviction);
    // Where all keys may go, none need be read back.
    EXPECT_EQ(spilled > 0, !name_of(policy).starts_with("allkeys"));
    check_values();
    check(policy);
    // And so it is after a restart: what was evicted does not come back.
    ASSERT_TRUE(run(all_durable())->ok());
    take_apart(std::move(store));
    disk.crash(rng);
    open();
    gone = 0;
    check(EvictionPolicy::kNoEviction);
    check_values();
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }
}

// Least recently used, about: what is used all the time is not what goes.
TEST_F(MemoryModel, WhatIsUsedStays) {
  memory_bytes = 100'000;
  open();
  store->memory().set_policy(EvictionPolicy::kAllKeysLru);
  Namespace& ns = store->database(0);
  constexpr int kUsed = 20;
  for (int i = 0; i < 3000 && !HasFailure(); i++) {
    const std::string key = i < kUsed ? cat("used", i) : cat("once", i);
    ASSERT_TRUE(run(FaultTest::put(*store, key, std::string(500, 'x')))->ok());
    for (int j = 0; j < std::min(i + 1, kUsed); j++) {
      const std::string used = cat("used", j);
      StripeLocks lock(*store, ns.hash(used));
      Now now(store->clock());
      Entry* e = store->find(ns, used, ns.hash(used), now);
      ASSERT_NE(e, nullptr) << used << " went in step " << i;
      e->touch();
    }
    make_room();
  }
  EXPECT_GT(store->memory().stats().evicted, 2000u);
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
}

}  // namespace
}  // namespace cairn
