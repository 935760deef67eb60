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
  h.for_each([&](auto field, auto value) { all[std::string(field)] = value; });
  EXPECT_EQ(all.size(), h.size());
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
    for (auto& [field, value] : r.model) EXPECT_EQ(r.hash.get(field), value);
    EXPECT_FALSE(r.hash.get("other"));
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
      EXPECT_TRUE(operation.size() <= 2 * kBytes || part.size() == 1) << operation.size();
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
    Hash::Walk walk(*hash), abandoned(*hash);
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
    Hash::Walk walk(r.hash);
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
    cursor = hash.scan(cursor, 10, [&](auto field, auto) { seen[std::string(field)] = ""; });
    for (int i = 0; i < 50; i++) set(next++);
  } while (cursor != 0);
  for (int i = 0; i < 1000; i++) EXPECT_TRUE(seen.contains("f" + std::to_string(i)));
}

TEST(Hash, BrokenOperationsAreRefused) {
  Random r;
  std::string good;
  Hash::add_set(good, "field", std::string(300, 'x'));
  for (size_t n = 2; n < good.size(); n++) EXPECT_FALSE(Hash(1).apply(good.substr(0, n))) << n;
  EXPECT_FALSE(Hash(1).apply(""));
  EXPECT_FALSE(Hash(1).apply("\x07whatever"));
  for (int i = 0; i < 20000; i++) {
    std::string bytes = good;
    for (int k = 0; k < 3; k++) bytes[r.rng() % bytes.size()] = static_cast<char>(r.rng());
    Hash hash(1);
    (void)hash.apply(bytes);  // under the sanitizers: it reads nothing that is not there
  }
}

TEST(Hash, EncodingFollowsRedissThresholds) {
  Hash hash(1);
  std::string operation;
  for (int i = 0; i < 128; i++) Hash::add_set(operation, "f" + std::to_string(i), "v");
  ASSERT_TRUE(hash.apply(operation));
  EXPECT_EQ(hash.encoding(), "listpack");
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
