// The hash type by itself: operations, images, parts.
#include "kv/types/hash.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace cairn::kv {
namespace {

using Fields = std::map<std::string, std::string>;

Fields fields_of(const Hash& h) {
  Fields all;
  h.for_each(Hash::kNoTime, [&](auto field, auto value) { all[std::string(field)] = value; });
  EXPECT_EQ(all.size(), h.size(Hash::kNoTime));
  return all;
}

struct Random {
  std::mt19937_64 rng{7};
  Hash hash{1};
  Fields model;
  void step(uint64_t names, size_t value_max) {
    std::string operation, field = "f" + std::to_string(rng() % names);
    if (rng() % 3 == 0) {
      Hash::add_delete(operation, field);
      model.erase(field);
    } else {
      std::string value(rng() % value_max, static_cast<char>('a' + rng() % 26));
      Hash::add_set(operation, field, value);
      model[field] = value;
    }
    ASSERT_TRUE(hash.apply(operation));
  }
};

TEST(Hash, HoldsWhatAMapHoldsSmallAndLarge) {
  for (uint64_t names : {5, 120, 5000}) {
    Random r;
    for (int i = 0; i < 20000; i++) r.step(names, 40);
    EXPECT_EQ(fields_of(r.hash), r.model);
    for (auto& [field, value] : r.model) EXPECT_EQ(r.hash.get(field, Hash::kNoTime), value);
    EXPECT_FALSE(r.hash.get("other", Hash::kNoTime));
  }
}

TEST(Hash, AnImageMakesAnEqualOne) {
  for (uint64_t names : {5, 5000}) {
    Random r;
    for (int i = 0; i < 20000; i++) r.step(names, 300);
    Hash copy(99);
    ASSERT_TRUE(copy.apply(r.hash.image()));
    EXPECT_EQ(fields_of(copy), r.model);
  }
}

// What the log relies on: a part is about as long as it was asked for, or one field.
TEST(Hash, PartsAreNotMuchLongerThanAskedFor) {
  for (uint64_t seed = 1; seed <= 20; seed++) {
    std::mt19937_64 rng(seed);
    Hash hash(seed);
    Fields model;
    for (int i = 0; i < 2000; i++) {
      const bool large = rng() % 100 == 0;
      const std::string field = "f" + std::to_string(i);
      std::string operation;
      model[field] = std::string(large ? 5000 + rng() % 50'000 : rng() % 50, 'v');
      Hash::add_set(operation, field, model[field]);
      ASSERT_TRUE(hash.apply(operation));
    }
    Hash copy(99);
    constexpr uint64_t kBytes = 4096;
    uint64_t cursor = 0;
    do {
      std::string operation;
      cursor = hash.save(cursor, kBytes, operation);
      Hash part(1);
      ASSERT_TRUE(part.apply(operation));
      EXPECT_TRUE(operation.size() <= 2 * kBytes || part.size(Hash::kNoTime) == 1)
          << operation.size();
      ASSERT_TRUE(copy.apply(operation));
    } while (cursor != 0);
    EXPECT_EQ(fields_of(copy), model);
  }
}

// What HGETALL of a large one relies on.
TEST(Hash, AWalkHandsOutWhatWasThereWhenItBegan) {
  for (int lives : {1000, 20, 0}) {  // steps until the hash is destroyed
    Random r;
    for (int i = 0; i < 40000; i++) r.step(20000, 40);
    auto hash = std::make_unique<Hash>(3);
    ASSERT_TRUE(hash->apply(r.hash.image()));
    const Fields before = r.model;
    Fields seen;
    bool more = true;
    Hash::Walk walk(*hash, Hash::kNoTime), abandoned(*hash, Hash::kNoTime);
    for (int n = 0; more; n++) {
      if (n == lives) {
        EXPECT_TRUE(hash->in_use());
        hash.reset();
      }
      more = walk.next([&](auto field, auto value) {
        EXPECT_TRUE(seen.emplace(field, value).second) << "twice: " << field;
      });
      for (int i = 0; i < 300 && hash != nullptr; i++) {
        std::string operation, field = "f" + std::to_string(r.rng() % 40000);
        if (r.rng() % 2 == 0) {
          Hash::add_delete(operation, field);
        } else {
          Hash::add_set(operation, field, std::string(r.rng() % 40, 'n'));
        }
        ASSERT_TRUE(hash->apply(operation));
      }
    }
    EXPECT_EQ(seen, before);
  }
}

TEST(Hash, AWalkThatEndedLeavesItsHashFree) {
  Random r;
  for (int i = 0; i < 10000; i++) r.step(5000, 40);
  {
    Hash::Walk walk(r.hash, Hash::kNoTime);
    EXPECT_TRUE(r.hash.in_use());
  }
  EXPECT_FALSE(r.hash.in_use());
}

// What the cleaner and a checkpoint rely on: parts and the operations between them, in order.
TEST(Hash, PartsWithChangesBetweenThemMakeAnEqualOne) {
  Random r;
  for (int i = 0; i < 30000; i++) r.step(3000, 50);
  Hash copy(99);
  uint64_t cursor = 0;
  int parts = 0;
  do {
    std::string part;
    cursor = r.hash.save(cursor, 4000, part);
    ASSERT_TRUE(copy.apply(part));
    parts++;
    for (int i = 0; i < 20; i++) {
      std::string operation, field = "f" + std::to_string(r.rng() % 3000);
      if (i % 2 == 0) {
        Hash::add_delete(operation, field);
        r.model.erase(field);
      } else {
        Hash::add_set(operation, field, "changed");
        r.model[field] = "changed";
      }
      ASSERT_TRUE(r.hash.apply(operation));
      ASSERT_TRUE(copy.apply(operation));
    }
  } while (cursor != 0);
  EXPECT_GT(parts, 5);
  EXPECT_EQ(fields_of(copy), r.model);
}

TEST(Hash, EveryFieldThatStaysIsScannedThroughGrowth) {
  Hash hash(1);
  auto set = [&](int i) {
    std::string operation;
    Hash::add_set(operation, "f" + std::to_string(i), "v");
    ASSERT_TRUE(hash.apply(operation));
  };
  for (int i = 0; i < 1000; i++) set(i);
  Fields seen;
  uint64_t cursor = 0;
  int next = 1000;
  do {
    cursor = hash.scan(cursor, 10, Hash::kNoTime,
                       [&](auto field, auto) { seen[std::string(field)] = ""; });
    for (int i = 0; i < 50; i++) set(next++);
  } while (cursor != 0);
  for (int i = 0; i < 1000; i++) EXPECT_TRUE(seen.contains("f" + std::to_string(i)));
}

// ---- fields with a time ----

struct Timed {
  std::string value;
  int64_t until = Hash::kForEver;
  bool operator==(const Timed&) const = default;
};
using TimedFields = std::map<std::string, Timed>;

// All of it, what is due included.
TimedFields timed_of(const Hash& h) {
  TimedFields all;
  h.for_each(Hash::kNoTime, [&](auto field, auto value) {
    all[std::string(field)] = {std::string(value), h.find(field, Hash::kNoTime)->until_ms};
  });
  return all;
}

// Operations by chance, beside a model, at a time that goes on and now and then back.
struct TimedRandom {
  std::mt19937_64 rng{11};
  Hash hash{1};
  TimedFields model;
  int64_t now = 1'000'000;

  uint64_t pick(uint64_t n) { return rng() % n; }
  int64_t some_time() {
    return pick(4) == 0 ? Hash::kForEver : now + static_cast<int64_t>(pick(3000));
  }
  // One of several fields, all of one kind.
  std::string step(uint64_t names, size_t value_max) {
    now += static_cast<int64_t>(pick(20)) - (pick(50) == 0 ? 300 : 0);
    std::string operation;
    const uint64_t kind = pick(8);
    for (uint64_t i = 1 + pick(3); i > 0; i--) {
      const std::string field = "f" + std::to_string(pick(names));
      const std::string value(pick(value_max), static_cast<char>('a' + pick(26)));
      const int64_t until = some_time();
      if (kind == 0) {
        Hash::add_delete(operation, field);
        model.erase(field);
      } else if (kind <= 2) {
        Hash::add_until(operation, field, until);
        if (auto it = model.find(field); it != model.end()) it->second.until = until;
      } else if (kind <= 5) {
        Hash::add_set_until(operation, field, value, until);
        model[field] = {value, until};
      } else {
        Hash::add_set(operation, field, value);
        model[field] = {value};
      }
    }
    return operation;
  }
  // What the store does when its turn has come.
  std::string expire(size_t most) {
    std::string operation;
    const size_t due = hash.size(Hash::kNoTime) - hash.size(now);
    const size_t n = hash.expire(now, most, operation);
    EXPECT_EQ(n, std::min(due, most));
    return operation;
  }
  TimedFields there() const {
    TimedFields there = model;
    std::erase_if(there, [&](auto& f) { return f.second.until != 0 && f.second.until <= now; });
    return there;
  }
  void check() {
    const TimedFields there = this->there();
    ASSERT_EQ(hash.size(now), there.size());
    TimedFields seen;
    hash.for_each(now, [&](auto field, auto value) {
      seen[std::string(field)] = {std::string(value), hash.find(field, now)->until_ms};
    });
    ASSERT_EQ(seen, there);
    Fields scanned;
    uint64_t cursor = 0;
    do {
      cursor = hash.scan(cursor, 10, now,
                         [&](auto field, auto value) { scanned[std::string(field)] = value; });
    } while (cursor != 0);
    ASSERT_EQ(scanned.size(), there.size());
    int64_t next = INT64_MAX, last = 0;
    bool all = !model.empty();
    for (auto& [field, f] : model) {
      if (there.contains(field)) {
        ASSERT_EQ(hash.get(field, now), f.value);
      } else {
        ASSERT_FALSE(hash.find(field, now));
      }
      if (f.until != 0) next = std::min(next, f.until);
      last = std::max(last, f.until);
      all &= f.until != 0;
    }
    ASSERT_EQ(hash.next_due(), next);
    ASSERT_EQ(hash.gone_at(), all ? last : INT64_MAX);
    for (int i = 0; i < 5 && !there.empty(); i++) {
      ASSERT_TRUE(there.contains(std::string(hash.random(rng(), now).first)));
    }
  }
};

TEST(Hash, WhatIsDueIsNotThereSmallAndLarge) {
  for (uint64_t names : {4, 100, 2000}) {
    TimedRandom r;
    for (int i = 0; i < 6000; i++) {
      ASSERT_TRUE(r.hash.apply(r.step(names, 30)));
      if (r.pick(20) == 0 && r.hash.next_due() <= r.now) {
        const std::string expired = r.expire(1 + r.pick(10));
        ASSERT_TRUE(r.hash.apply(expired));
        const TimedFields left = timed_of(r.hash);
        std::erase_if(r.model, [&](auto& f) { return !left.contains(f.first); });
        for (auto& [field, f] : r.there()) ASSERT_TRUE(left.contains(field));
      }
      if (i % (names > 100 ? 500 : 20) == 0) r.check();
    }
    r.check();
    EXPECT_EQ(timed_of(r.hash), r.model);
    Hash copy(99);
    ASSERT_TRUE(copy.apply(r.hash.image()));
    EXPECT_EQ(timed_of(copy), r.model);
    EXPECT_EQ(copy.next_due(), r.hash.next_due());
    EXPECT_EQ(copy.gone_at(), r.hash.gone_at());
  }
}

// What a transaction that comes to nothing relies on.
TEST(Hash, AnInverseBringsTimesBack) {
  for (uint64_t names : {4, 1000}) {
    TimedRandom r;
    for (int i = 0; i < 3000; i++) {
      if (i < 2000) {
        ASSERT_TRUE(r.hash.apply(r.step(names, 20)));
        continue;
      }
      const TimedFields before = r.model;
      const std::string operation = r.step(names, 20);
      std::vector<std::string> undo;
      r.hash.inverse(operation, undo);
      ASSERT_TRUE(r.hash.apply(operation));
      for (auto& o : undo) ASSERT_TRUE(r.hash.apply(o));
      r.model = before;
      if (i % 50 == 0) {
        ASSERT_EQ(timed_of(r.hash), before);
        r.check();
      }
    }
    EXPECT_EQ(timed_of(r.hash), r.model);
  }
}

TEST(Hash, PartsWithChangesOfTimesBetweenThemMakeAnEqualOne) {
  TimedRandom r;
  for (int i = 0; i < 20000; i++) ASSERT_TRUE(r.hash.apply(r.step(3000, 50)));
  Hash copy(99);
  uint64_t cursor = 0;
  do {
    std::string part;
    cursor = r.hash.save(cursor, 4000, part);
    ASSERT_TRUE(copy.apply(part));
    for (int i = 0; i < 20; i++) {
      const std::string operation = r.step(3000, 50);
      ASSERT_TRUE(r.hash.apply(operation));
      ASSERT_TRUE(copy.apply(operation));
    }
  } while (cursor != 0);
  EXPECT_EQ(timed_of(copy), r.model);
  EXPECT_EQ(timed_of(r.hash), r.model);
}

TEST(Hash, AWalkLeavesOutWhatWasDueAndKeepsWhatExpiresMeanwhile) {
  TimedRandom r;
  for (int i = 0; i < 20000; i++) ASSERT_TRUE(r.hash.apply(r.step(20000, 20)));
  Fields before, seen;
  for (auto& [field, f] : r.there()) before[field] = f.value;
  Hash::Walk walk(r.hash, r.now);
  r.now += 2000;
  while (walk.next([&](auto field, auto value) {
    EXPECT_TRUE(seen.emplace(field, value).second) << "twice: " << field;
  })) {
    for (int i = 0; i < 50; i++) {
      if (r.hash.next_due() <= r.now) {
        ASSERT_TRUE(r.hash.apply(r.expire(10)));
      }
      ASSERT_TRUE(r.hash.apply(r.step(30000, 20)));
    }
  }
  EXPECT_EQ(seen, before);
}

// The records that a hash without times is made of say nothing of them: such a one leaves memory.
TEST(Hash, OnlyAnImageWithTimesSaysThatItHasSome) {
  for (uint64_t names : {4, 1000}) {
    TimedRandom r;
    for (int i = 0; i < 3000; i++) ASSERT_TRUE(r.hash.apply(r.step(names, 20)));
    std::string timed;
    Hash::add_set_until(timed, "f0", "v", r.now);
    ASSERT_TRUE(r.hash.apply(timed));
    r.model["f0"] = {"v", r.now};
    EXPECT_TRUE(Hash::has_times(r.hash.image()));
    for (auto& [field, f] : r.model) {
      std::string operation;
      Hash::add_until(operation, field, Hash::kForEver);
      ASSERT_TRUE(r.hash.apply(operation));
    }
    EXPECT_EQ(r.hash.next_due(), INT64_MAX);
    EXPECT_FALSE(Hash::has_times(r.hash.image()));
  }
}

TEST(Hash, BrokenOperationsAreRefused) {
  Random r;
  std::string good;
  Hash::add_set(good, "field", std::string(300, 'x'));
  for (size_t n = 2; n < good.size(); n++) EXPECT_FALSE(Hash(1).apply(good.substr(0, n))) << n;
  EXPECT_TRUE(Hash(1).apply(""));  // of no change
  EXPECT_FALSE(Hash(1).apply("\x07whatever"));
  std::string timed, until;
  Hash::add_set_until(timed, "field", "value", 5);
  Hash::add_until(until, "field", 5);
  for (const std::string& o : {timed, until}) {
    for (size_t n = 2; n < o.size(); n++) EXPECT_FALSE(Hash(1).apply(o.substr(0, n))) << n;
  }
  std::string negative;
  Hash::add_until(negative, "field", -5);
  EXPECT_FALSE(Hash(1).apply(negative));
  for (int i = 0; i < 30000; i++) {
    std::string bytes = i % 3 == 0 ? good : i % 3 == 1 ? timed : until;
    for (int k = 0; k < 3; k++) bytes[r.rng() % bytes.size()] = static_cast<char>(r.rng());
    Hash hash(1);
    (void)hash.apply(bytes);  // under the sanitizers: it reads nothing that is not there
  }
}

TEST(Hash, EncodingFollowsRedissThresholds) {
  Hash hash(1);
  std::string operation;
  for (size_t i = 0; i < Hash::kListpackEntries; i++) {
    Hash::add_set(operation, "f" + std::to_string(i), "v");
  }
  ASSERT_TRUE(hash.apply(operation));
  EXPECT_EQ(hash.encoding(), "listpack");
  Hash large(1);  // a table before it has as many fields
  for (size_t i = 0; i <= Hash::kListpackEntries; i++) {
    EXPECT_EQ(large.encoding(), "listpack") << i;
    std::string one;
    Hash::add_set(one, "f" + std::to_string(i), std::string(60, 'v'));
    EXPECT_TRUE(large.apply(one));
  }
  EXPECT_EQ(large.encoding(), "hashtable");
  operation.clear();
  Hash::add_set(operation, "one more", "v");
  ASSERT_TRUE(hash.apply(operation));
  EXPECT_EQ(hash.encoding(), "hashtable");
  Hash other(1);
  operation.clear();
  Hash::add_set(operation, "f", std::string(65, 'x'));
  ASSERT_TRUE(other.apply(operation));
  EXPECT_EQ(other.encoding(), "hashtable");
}

}  // namespace
}  // namespace cairn::kv
