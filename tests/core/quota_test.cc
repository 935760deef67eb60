// Quotas: nothing grows beyond one, what does not grow always goes, and what is counted is what is
// there, whatever was done, undone, swapped, flushed or replayed.
#include <gtest/gtest.h>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "kv/types/hash.h"
#include "tests/core/versions_fixture.h"

namespace cairn {
namespace {

struct QuotaTest : VersionsTest {
  void open_plain() {
    open_new(false);
    ASSERT_NE(ns, nullptr);
  }
  void set(std::optional<uint64_t> bytes, std::optional<uint64_t> keys,
           std::string_view user = {}) {
    ASSERT_TRUE(store->set_quota(*ns, {bytes, keys}, user).ok());
  }
  // What the index has, one entry after the other.
  Usage counted(const Namespace& in) {
    Usage sum;
    for (size_t s = 0; s < kStripes; s++) {
      in.index->for_each(s, [&](const Entry* e) {
        sum.keys++;
        sum.bytes += static_cast<uint64_t>(Keyspace::quota_bytes(e));
      });
    }
    if (const Namespace* versions = in.versions()) {
      const Usage more = counted(*versions);
      sum.keys += more.keys;
      sum.bytes += more.bytes;
    }
    return sum;
  }
  void expect_exact(const Namespace& in) {
    const Usage there = counted(in), said = in.usage();
    EXPECT_EQ(said.keys, there.keys) << in.name;
    EXPECT_EQ(said.bytes, there.bytes) << in.name;
  }
  // Of a hash, as operations are.
  Status add_field(Namespace& in, const std::string& key, const std::string& field,
                   const std::string& value) {
    const KeyHash hash = in.hash(key);
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kOne);
    Status done = grow(t, in, key, field, value);
    return done.ok() ? t.commit().status() : done;
  }
  Status grow(Transaction& t, Namespace& in, const std::string& key, const std::string& field,
              const std::string& value) {
    const KeyHash hash = in.hash(key);
    Entry* e = t.find(in, key, hash);
    std::string operation;
    kv::Hash::add_set(operation, field, value);
    RecordView r;
    r.type = RecordType::kOperation;
    r.flags = static_cast<uint8_t>(static_cast<unsigned>(ValueType::kHash) << 4);
    r.ns = in.id;
    r.key = key;
    r.value = operation;
    return t.operate(in, hash, e, r);
  }
};

TEST_F(QuotaTest, NoMoreBytesThanItMay) {
  open_plain();
  set(100, {});
  EXPECT_TRUE(put("a", std::string(99, 'x')).ok());  // and one of the name
  const Status refused = put("b", "");
  EXPECT_TRUE(is_quota_exceeded(refused)) << refused;
  EXPECT_EQ(refused.message(), "the quota of 100 bytes for 'bucket' is used up");
  EXPECT_EQ(ns->size(), 1u);
  EXPECT_TRUE(is_quota_exceeded(put("a", std::string(100, 'x'))));
  expect_exact(*ns);
}

TEST_F(QuotaTest, NoMoreKeysThanItMay) {
  open_plain();
  set({}, 2);
  EXPECT_TRUE(put("a", "1").ok());
  EXPECT_TRUE(put("b", "1").ok());
  EXPECT_TRUE(is_quota_exceeded(put("c", "1")));
  EXPECT_TRUE(put("a", std::string(1000, 'x')).ok());
  EXPECT_TRUE(remove("a").ok());
  EXPECT_TRUE(put("c", "1").ok());
}

TEST_F(QuotaTest, WhatDoesNotGrowGoesThoughItHoldsMore) {
  open_plain();
  ASSERT_TRUE(put("a", std::string(1000, 'x')).ok());
  ASSERT_TRUE(put("b", std::string(1000, 'x')).ok());
  set(10, 1);
  EXPECT_TRUE(put("a", std::string(1000, 'y')).ok());
  EXPECT_TRUE(put("a", std::string(999, 'y')).ok());
  EXPECT_TRUE(is_quota_exceeded(put("a", std::string(1000, 'y'))));
  EXPECT_TRUE(remove("b").ok());
  EXPECT_TRUE(is_quota_exceeded(put("b", "")));
  set({}, {});
  EXPECT_TRUE(put("b", std::string(1000, 'x')).ok());
  expect_exact(*ns);
}

TEST_F(QuotaTest, ATransactionIsJudgedByAllThatItDid) {
  open_plain();
  ASSERT_TRUE(put("a", std::string(99, 'x')).ok());
  set(100, 1);
  StripeLocks lock(*store);
  lock.lock_all();
  {  // a renaming, as the Redis door makes it of strings
    Transaction t(*store, &lock, Shape::kSeveral);
    ASSERT_TRUE(t.put(*ns, ns->hash("b"), record("b", std::string(99, 'x'))).ok());
    ASSERT_TRUE(t.remove(*ns, ns->hash("a"), ns->index->find("a", ns->hash("a"))).ok());
    EXPECT_TRUE(t.commit().ok());
  }
  {
    Transaction t(*store, &lock, Shape::kSeveral);
    ASSERT_TRUE(t.put(*ns, ns->hash("b"), record("b", "x")).ok());
    ASSERT_TRUE(t.put(*ns, ns->hash("c"), record("c", "x")).ok());
    EXPECT_TRUE(is_quota_exceeded(t.commit().status()));
  }
  EXPECT_EQ(ns->index->find("b", ns->hash("b"))->value(), std::string(99, 'x'));
  EXPECT_EQ(ns->size(), 1u);
  expect_exact(*ns);
}

TEST_F(QuotaTest, CollectionsCount) {
  open_plain();
  ASSERT_TRUE(add_field(*ns, "h", "f", std::string(100, 'x')).ok());
  const uint64_t before = ns->usage().bytes;
  EXPECT_GT(before, 100u);
  set(before + 150, {});
  EXPECT_TRUE(add_field(*ns, "h", "g", std::string(100, 'x')).ok());
  const uint64_t held = ns->usage().bytes;
  EXPECT_TRUE(is_quota_exceeded(add_field(*ns, "h", "i", std::string(100, 'x'))));
  EXPECT_EQ(ns->usage().bytes, held);
  EXPECT_TRUE(add_field(*ns, "h", "g", "small").ok());
  expect_exact(*ns);
}

TEST_F(QuotaTest, LargeValuesCountWithAllTheirBytes) {
  open_plain();
  ASSERT_TRUE(run(FaultTest::put(*store, "large", std::string(100'000, 'x')))->ok());
  Namespace& db = store->database(0);
  EXPECT_EQ(db.usage().bytes, 100'005u);
  ASSERT_TRUE(store->set_quota(db, {150'000, {}}, "").ok());
  const uint64_t extents = store->extents().stats().live_bytes;
  const auto refused = run(FaultTest::put(*store, "other", std::string(100'000, 'x')));
  EXPECT_TRUE(is_quota_exceeded(*refused)) << *refused;
  sleep(1000);  // what was refused is freed in its turn
  EXPECT_EQ(store->extents().stats().live_bytes, extents);
  EXPECT_TRUE(run(FaultTest::put(*store, "large", std::string(140'000, 'y')))->ok());
  expect_exact(db);
}

TEST_F(QuotaTest, VersionsAndMarkersCountAndDeletingGoes) {
  open_new(true);
  ASSERT_TRUE(put("a", std::string(100, 'x')).ok());
  set(450, {});
  EXPECT_TRUE(put("a", std::string(100, 'y')).ok());
  EXPECT_GT(ns->usage().bytes, 200u);
  EXPECT_EQ(ns->usage().keys, 2u);
  EXPECT_TRUE(is_quota_exceeded(put("a", std::string(250, 'z'))));
  EXPECT_EQ(versions("a"), cat(std::string(100, 'y'), "*, ", std::string(100, 'x')));
  expect_exact(*ns);
  set(10, 1);
  EXPECT_TRUE(remove("a").ok());
  EXPECT_EQ(ns->usage().keys, 3u);
  versions("a");
  EXPECT_TRUE(take("a", numbers[0]).ok());  // what was before is current again
  EXPECT_TRUE(take("a", numbers[2]).ok());
  EXPECT_EQ(ns->usage().keys, 1u);
  expect_exact(*ns);
}

TEST_F(QuotaTest, ExpiryAsksNoQuota) {
  open_new(true);
  ASSERT_TRUE(put("a", "x", store_clock.now_ms() + 1000).ok());
  set(1, 1);
  sleep(2000);
  EXPECT_EQ(versions("a"), "-, x");
  expect_exact(*ns);
}

TEST_F(QuotaTest, AllOfAUsersCountTogether) {
  open_plain();
  ASSERT_TRUE(put("a", std::string(99, 'x')).ok());
  set({}, {}, "AIDA");
  Namespace& db = store->database(3);
  ASSERT_TRUE(store->set_quota(db, {}, "AIDA").ok());
  store->set_user_quota("AIDA", {200, {}});
  EXPECT_EQ(store->usage_of_user("AIDA").bytes, 100u);
  const auto put_into = [&](const std::string& key, size_t bytes) {
    RecordView r = record(key, "");
    const std::string value(bytes, 'y');
    r.ns = db.id;
    r.value = value;
    const KeyHash hash = db.hash(key);
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kOne);
    Status done = t.put(db, hash, r);
    return done.ok() ? t.commit().status() : done;
  };
  const Status refused = put_into("b", 100);
  EXPECT_TRUE(is_quota_exceeded(refused));
  EXPECT_EQ(refused.message(), "the quota of 200 bytes for the user who has 'db3' is used up");
  EXPECT_TRUE(put_into("b", 99).ok());
  EXPECT_TRUE(is_quota_exceeded(put("a", std::string(100, 'x'))));
  EXPECT_EQ(store->usage_of_user("AIDA").bytes, 200u);
  EXPECT_EQ(store->usage_of_user("AIDA").keys, 2u);
  // Another's from now on.
  ASSERT_TRUE(store->set_quota(db, {}, "AIDB").ok());
  EXPECT_EQ(store->usage_of_user("AIDA").bytes, 100u);
  EXPECT_EQ(store->usage_of_user("AIDB").bytes, 100u);
  EXPECT_TRUE(put_into("c", 100).ok());
  ASSERT_TRUE(store->set_quota(db, {}, "").ok());
  EXPECT_EQ(store->usage_of_user("AIDB").bytes, 0u);
  // With the bucket goes what it counts.
  ASSERT_TRUE(remove("a").ok());
  ASSERT_TRUE(store->drop_bucket("bucket").ok());
  EXPECT_EQ(store->usage_of_user("AIDA").keys, 0u);
}

TEST_F(QuotaTest, SwapsAreJudgedByWhatIsThereAfter) {
  open_plain();
  Namespace &a = store->database(0), &b = store->database(1);
  ASSERT_TRUE(run(FaultTest::put(*store, "k", std::string(100, 'x')))->ok());
  ASSERT_TRUE(store->set_quota(b, {100, {}}, "").ok());
  const auto swap = [&] {
    StripeLocks lock(*store);
    lock.lock_all();
    Transaction t(*store, &lock, Shape::kOne);
    Status done = t.swap(a, b);
    return done.ok() ? t.commit().status() : done;
  };
  EXPECT_TRUE(is_quota_exceeded(swap()));
  ASSERT_TRUE(store->set_quota(b, {101, {}}, "AIDA").ok());
  EXPECT_TRUE(swap().ok());
  EXPECT_EQ(b.usage().bytes, 101u);
  EXPECT_EQ(a.usage().bytes, 0u);
  EXPECT_EQ(store->usage_of_user("AIDA").bytes, 101u);
  EXPECT_TRUE(swap().ok());
  EXPECT_EQ(store->usage_of_user("AIDA").bytes, 0u);
}

// Whatever is done and undone, in whichever order, and after a start from log or checkpoint.
TEST_F(QuotaTest, WhatIsCountedIsThere) {
  open_new(true);
  set(20'000, {}, "AIDA");
  Namespace* db = &store->database(0);
  ASSERT_TRUE(store->set_quota(*db, {30'000, 60}, "AIDA").ok());
  size_t refused = 0, done = 0;
  for (int round = 0; round < 6; round++) {
    for (int i = 0; i < 400; i++) {
      const std::string key = cat("k", rng() % 40);
      const std::string value(rng() % 900, 'v');
      const bool in_bucket = rng() % 2 == 0;
      Namespace& in = in_bucket ? *ns : *db;
      StripeLocks lock(*store);
      lock.lock_all();
      Transaction t(*store, &lock, rng() % 2 == 0 ? Shape::kOne : Shape::kSeveral);
      const size_t changes = t.shape() == Shape::kOne ? 1 : 1 + rng() % 4;
      Status s;
      for (size_t n = 0; s.ok() && n < changes; n++) {
        const std::string name = cat(key, n);
        const KeyHash hash = in.hash(name);
        Entry* e = t.find(in, name, hash);
        RecordView r = record(name, value);
        r.ns = in.id;
        const bool is_hash = e != nullptr && !e->is_string();
        switch (rng() % 8) {
          case 0:
          case 1:
            if (e != nullptr) s = t.remove(in, hash, e);
            break;
          case 2:
            if (!in_bucket && (e == nullptr || is_hash)) {
              s = grow(t, in, name, cat("f", rng() % 5), value);
            }
            break;
          case 3:
            if (i % 100 == 50) s = t.flush(in);
            break;
          case 4:
            if (e != nullptr) s = t.expire(in, hash, e, store_clock.now_ms() + 10'000'000);
            break;
          default:
            s = t.put(in, hash, r);
        }
      }
      const bool give_up = rng() % 10 == 0 && t.shape() == Shape::kSeveral;
      if (s.ok() && !give_up) s = t.commit().status();
      refused += is_quota_exceeded(s);
      done += s.ok();
    }
    expect_exact(*ns);
    expect_exact(*db);
    EXPECT_EQ(store->usage_of_user("AIDA").bytes, ns->usage().bytes + db->usage().bytes);
    EXPECT_EQ(store->usage_of_user("AIDA").keys, ns->usage().keys + db->usage().keys);
    const uint64_t bytes = ns->usage().bytes, in_db = db->usage().bytes;
    reopen();
    db = &store->database(0);
    EXPECT_EQ(ns->usage().bytes, bytes);
    // Of a collection about what its image takes, which is made anew.
    EXPECT_NEAR(static_cast<double>(db->usage().bytes), static_cast<double>(in_db), 200);
    expect_exact(*ns);
    expect_exact(*db);
    EXPECT_EQ(store->usage_of_user("AIDA").bytes, ns->usage().bytes + db->usage().bytes);
    EXPECT_TRUE(ns->metered() && db->metered());
  }
  EXPECT_GT(refused, 30u);
  EXPECT_GT(done, 500u);
}

TEST_F(QuotaTest, PropertiesKeepIt) {
  Properties p;
  p.created_ms = 5;
  p.quota = {1'000'000, 0};
  p.charged_to = "AIDA";
  p.default_ttl_s = 60;
  p.logging = AccessLogging{"logs", "web/", LogKeys::kByEventTime};
  const auto read = Properties::decode(p.encode());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, p);
  for (const std::string& tail : {std::string("\x1c\0\0\0\0", 5), std::string("\x1a\x08\0\0\0"
                                                                              "\0\0\0\0\0\0\0\0",
                                                                              13)}) {
    EXPECT_FALSE(Properties::decode(Properties{}.encode() + tail).has_value());
  }
}

}  // namespace
}  // namespace cairn
