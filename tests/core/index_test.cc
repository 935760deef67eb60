#include "core/index/index.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "core/base/text.h"

namespace cairn {
namespace {

constexpr uint64_t kSeed = 42;

Entry* make(std::string_view key, std::string_view value, uint64_t lsn) {
  RecordView r;
  r.key = key;
  r.value = value;
  return Entry::make(r, Lsn(lsn));
}

// Keys whose hashes fall in few stripes, so that tables grow deep.
std::vector<std::string> crowded_keys(size_t count, size_t stripes) {
  std::vector<std::string> keys;
  for (uint64_t i = 0; keys.size() < count; i++) {
    std::string key = cat("key", i);
    if (stripe_of(hash_key(key, kSeed)) < stripes) keys.push_back(key);
  }
  return keys;
}

TEST(Index, AgreesWithAMapUnderRandomInsertsAndRemovals) {
  Index index(kSeed);
  std::map<std::string, uint64_t> model;
  std::mt19937_64 rng(7);
  auto keys = crowded_keys(3000, 2);
  for (uint64_t step = 8; step < 480000; step += 8) {
    const std::string& key = keys[rng() % keys.size()];
    KeyHash hash = hash_key(key, kSeed);
    Entry* e = index.find(key, hash);
    ASSERT_EQ(e != nullptr, model.contains(key));
    if (e == nullptr) {
      index.insert(make(key, "v", step), hash);
      model[key] = step;
    } else if (rng() % 2 == 0) {
      ASSERT_EQ(e->lsn().value(), model[key]);
      index.remove(e, hash);
      Entry::destroy(e);
      model.erase(key);
    }
    ASSERT_EQ(index.size(), model.size());
  }
  for (auto& [key, lsn] : model) {
    Entry* e = index.find(key, hash_key(key, kSeed));
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(e->lsn().value(), lsn);
  }
}

TEST(Index, AScanSeesEveryKeyOnceThroughGrowth) {
  Index index(kSeed);
  auto keys = crowded_keys(20000, 1);
  std::set<std::string> first(keys.begin(), keys.begin() + 2000);
  for (auto& k : first) index.insert(make(k, "", 8), hash_key(k, kSeed));
  std::multiset<std::string> seen;
  size_t added = 2000;
  KeyHash at = 0;
  do {
    std::vector<Entry*> page;
    at = index.scan(0, at, 10, page);
    for (Entry* e : page) seen.insert(std::string(e->key()));
    for (int i = 0; i < 90 && added < keys.size(); i++, added++) {
      index.insert(make(keys[added], "", 8), hash_key(keys[added], kSeed));
    }
  } while (at != 0);
  EXPECT_EQ(added, keys.size());
  for (auto& k : first) EXPECT_EQ(seen.count(k), 1u) << k;
}

TEST(Index, AWalkSeesEveryKeyThatStaysOnceThroughGrowth) {
  Index index(kSeed);
  const auto keys = crowded_keys(6000, 2);
  auto insert = [&](size_t i) { index.insert(make(keys[i], "v", 8), hash_key(keys[i], kSeed)); };
  for (size_t i = 0; i < 2000; i++) insert(i);
  std::map<std::string, int> seen;
  size_t next = 2000, gone = 0, steps = 0;
  for (size_t stripe = 0; stripe < 2; stripe++) {
    for (KeyHash from = KeyHash{stripe} << (64 - kStripeBits);; steps++) {
      from = index.walk(stripe, from, [&](const Entry* e) { seen[std::string(e->key())]++; });
      for (int i = 0; i < 100 && next < keys.size(); i++) insert(next++);
      for (int i = 0; i < 10 && gone < 500; i++) {
        const KeyHash hash = hash_key(keys[gone], kSeed);
        Entry* e = index.find(keys[gone++], hash);
        index.remove(e, hash);
        Entry::destroy(e);
      }
      if (from == 0) break;
      ASSERT_EQ(stripe_of(from), stripe);
    }
  }
  EXPECT_GE(steps, 8u);
  for (size_t i = gone; i < 2000; i++) EXPECT_EQ(seen[keys[i]], 1) << keys[i];
  for (auto& [key, times] : seen) EXPECT_EQ(times, 1) << key;
}

TEST(Index, AStripeThatWasReservedHoldsTheSameAndNeedNotGrow) {
  const auto keys = crowded_keys(3000, 1);
  for (const size_t count : {1, 4, 15, 100, 200, 700, 3000}) {
    for (const size_t said : {count / 2, count, 2 * count}) {
      Index index(kSeed);
      index.insert(make("other", "", 8), KeyHash{1} << (64 - kStripeBits));
      const uint64_t empty = index.table_bytes();
      index.reserve(0, static_cast<uint32_t>(said));
      const uint64_t reserved = index.table_bytes();
      for (size_t i = 0; i < count; i++) {
        index.insert(make(keys[i], "v", 8 * (i + 1)), hash_key(keys[i], kSeed));
      }
      if (said >= count && count <= 200) {
        EXPECT_EQ(index.table_bytes(), reserved);  // in one table; of several some hold more
      }
      EXPECT_LT(index.table_bytes() - empty, 24 * std::max(said, count) + 100);
      EXPECT_EQ(index.size(0), count);
      EXPECT_EQ(index.size(1), 1u);
      std::set<std::string> seen;
      size_t met = 0;
      for (KeyHash from = 0;;) {
        from = index.walk(0, from, [&](const Entry* e) {
          seen.emplace(e->key());
          met++;
        });
        if (from == 0) break;
      }
      EXPECT_EQ(met, count);
      index.reserve(0, 5000);  // changes nothing where keys are
      for (size_t i = 0; i < count; i++) {
        const KeyHash hash = hash_key(keys[i], kSeed);
        EXPECT_TRUE(seen.contains(keys[i]));
        Entry* e = index.find(keys[i], hash);
        ASSERT_NE(e, nullptr);
        EXPECT_EQ(e->lsn().value(), 8 * (i + 1));
        index.remove(e, hash);
        Entry::destroy(e);
      }
      EXPECT_EQ(index.size(), 1u);
      EXPECT_EQ(index.table_bytes(), empty);
    }
  }
}

TEST(Index, WhatWasLoadedInStepsOfAHalfFitsAfterwards) {
  const auto keys = crowded_keys(6000, 2);
  for (const size_t count : {1, 7, 100, 250, 400, 1500, 6000}) {
    uint64_t bytes[2];
    for (const bool loading : {false, true}) {
      Index index(kSeed);
      index.loading = loading;
      for (size_t i = 0; i < count; i++) {
        index.insert(make(keys[i], "v", 8 * (i + 1)), hash_key(keys[i], kSeed));
      }
      index.loading = false;
      for (size_t stripe = 0; stripe < 3; stripe++) index.fit(stripe);
      EXPECT_EQ(index.size(), count);
      for (size_t i = 0; i < count; i++) {
        const Entry* e = index.find(keys[i], hash_key(keys[i], kSeed));
        ASSERT_NE(e, nullptr);
        EXPECT_EQ(e->lsn().value(), 8 * (i + 1));
      }
      bytes[loading] = index.table_bytes();
    }
    EXPECT_LE(bytes[true], bytes[false] + count + 200) << count;
  }
}

TEST(Index, TableCostPerKeyStaysSmall) {
  Index index(kSeed);
  for (int i = 0; i < 200000; i++) {
    std::string key = cat("k", i);
    index.insert(make(key, "", 8), hash_key(key, kSeed));
  }
  EXPECT_LT(index.table_bytes() / 200000, 16u);
}

TEST(Entry, KeepsEveryPartOfARecord) {
  RecordView r;
  r.flags = kRecordHasExpiry | kRecordIsBlob;
  r.expire_ms = 123456789;
  r.key = "key";
  r.meta = "meta";
  r.value = "value";
  Entry* e = Entry::make(r, Lsn(96));
  RecordView back = e->record(NamespaceId(5));
  EXPECT_EQ(back.key, "key");
  EXPECT_EQ(back.meta, "meta");
  EXPECT_EQ(back.value, "value");
  EXPECT_EQ(back.expire_ms, 123456789);
  EXPECT_TRUE(e->is_blob());
  r.value = "other";
  EXPECT_TRUE(e->assign(r, Lsn(104)));
  EXPECT_EQ(e->value(), "other");
  r.value = "longer";
  EXPECT_FALSE(e->assign(r, Lsn(112)));
  Entry::destroy(e);
}

// The next slot in use after one by chance was drawn once: what followed a gap, ten times as often.
TEST(Index, DrawsEachKeyOfAStripeWithTheSameChance) {
  constexpr size_t kDraws = 200;  // for each
  std::mt19937_64 rng(11);
  for (auto [most, kept] : {std::pair(1, 1), {3, 3}, {100, 100}, {3000, 3000}, {20000, 40}}) {
    Index index(kSeed, nullptr, true);
    std::map<std::string, size_t> drawn;
    for (int i = 0; i < most; i++) {
      const std::string key = cat("key", i);
      index.insert(make(key, "", 8), index.hash(key));
      if (i < kept) drawn[key] = 0;
    }
    for (int i = kept; i < most; i++) {
      const std::string key = cat("key", i);
      Entry* e = index.find(key, index.hash(key));
      index.remove(e, index.hash(key));
      Entry::destroy(e);
    }
    for (size_t i = 0; i < kDraws * drawn.size(); i++)
      drawn.at(std::string(index.random(0, rng())->key()))++;
    double chi_square = 0;
    for (auto& [key, times] : drawn) {
      const double off = static_cast<double>(times) - kDraws;
      chi_square += off * off / kDraws;
    }
    EXPECT_LT(chi_square, kept + 6 * std::sqrt(2.0 * kept)) << most << " " << kept;
  }
}

// What the allocator rounds up to is not in it.
TEST(Index, AColdKeyCostsAtMost24BytesBeyondItsName) {
  constexpr size_t kStep = 250'000, kMost = 2'000'000;
  Index index(kSeed);
  RecordView r;
  const std::string value(1000, 'v');
  r.value = value;
  for (size_t n = 1; n <= kMost; n++) {
    std::string name = cat(1'000'000'000'000'000 + n);
    r.key = name;
    Entry* e = Entry::make_cold(r, Lsn(8 * n));
    ASSERT_EQ(e->bytes(), name.size() + sizeof(Entry));
    index.insert(e, index.hash(name));
    if (n % kStep == 0) {
      EXPECT_LE(sizeof(Entry) + index.table_bytes() / static_cast<double>(n), 24.0) << n;
    }
  }
}

}  // namespace
}  // namespace cairn
