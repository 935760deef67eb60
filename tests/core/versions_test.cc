// The laws of versions: what is current, what is kept beside it, and what is gone.
#include "core/store/versions.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/core/versions_fixture.h"

namespace cairn {
namespace {

TEST(VersionKeys, AreInTheOrderOfKeysAndThenOfVersionsFromTheNewestOn) {
  const std::string nul("a\0b", 3), nuls("a\0", 2);
  const std::vector<std::string> keys{"", "a", nuls, nul, "a\1", "aa", "b"};
  std::vector<std::string> all;
  for (auto& key : keys) {
    all.push_back(version_key(key, {7, true, false}));
    for (uint64_t number : {uint64_t{1} << 60, uint64_t{300}, uint64_t{256}, uint64_t{1}}) {
      all.push_back(version_key(key, {number, false, false}));
    }
  }
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  for (size_t i = 0; i < all.size(); i++) {
    EXPECT_EQ(key_of_version(all[i]), keys[i / 5]);
    EXPECT_EQ(version_key(keys[i / 5], *version_of_key(all[i])), all[i]);
    EXPECT_TRUE(all[i].starts_with(version_prefix(keys[i / 5])));
    EXPECT_EQ(stripe_of(hash_version_key(all[i], 99)), stripe_of(hash_key(keys[i / 5], 99)));
  }
}

TEST(VersionKeys, OtherKeysAreNone) {
  EXPECT_FALSE(key_of_version("plain"));
  EXPECT_FALSE(version_of_key("plain"));
  EXPECT_FALSE(version_of_key(std::string("a\0\0number", 9)));
  EXPECT_FALSE(key_of_version(std::string("a\0", 2)));
}

TEST(VersionTag, StandsInMetadataAndTakesThePlaceOfAnother) {
  ObjectMeta meta;
  meta.content_type = "text/plain";
  const VersionTag first{NamespaceId(40), {5, false, false}},
      second{NamespaceId(41), {9, true, true}};
  EXPECT_FALSE(version_in(""));
  EXPECT_FALSE(version_in(meta.encode()));
  const std::string once = with_version(meta.encode(), first);
  const std::string twice = with_version(once, second);
  EXPECT_EQ(once.size(), twice.size());
  EXPECT_EQ(version_in(once)->version, first.version);
  EXPECT_EQ(version_in(twice)->version, second.version);
  EXPECT_EQ(version_in(twice)->bucket, second.bucket);
  EXPECT_EQ(ObjectMeta::decode(twice)->content_type, "text/plain");
}

TEST_F(VersionsTest, EachChangeMakesOneAndWhatWasCurrentIsKept) {
  open_new();
  ASSERT_TRUE(put("k", "one").ok());
  ASSERT_TRUE(put("k", "two").ok());
  EXPECT_EQ(versions("k"), "two*, one");
  ASSERT_TRUE(remove("k").ok());
  EXPECT_EQ(versions("k"), "-, two, one");
  EXPECT_EQ(remove("k").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(put("k", "three").ok());
  EXPECT_EQ(versions("k"), "three*, -, two, one");
  EXPECT_EQ(ns->size(), 1u);
  reopen();
  EXPECT_EQ(versions("k"), "three*, -, two, one");
  const auto before = numbers;
  disk.files.erase({FileKind::kCheckpoint, 0});
  reopen();
  EXPECT_EQ(versions("k"), "three*, -, two, one");
  EXPECT_EQ(before, numbers);
}

TEST_F(VersionsTest, TheValueFromBeforeIsTheNullVersion) {
  open_new(false);
  ASSERT_TRUE(put("k", "old").ok());
  EXPECT_EQ(versions("k"), "[old]*");
  ASSERT_TRUE(suspend(false).ok());
  EXPECT_EQ(versions("k"), "[old]*");
  ASSERT_TRUE(put("k", "one").ok());
  EXPECT_EQ(versions("k"), "one*, [old]");
  ASSERT_TRUE(suspend(true).ok());
  ASSERT_TRUE(put("k", "null").ok());
  EXPECT_EQ(versions("k"), "[null]*, one");
  ASSERT_TRUE(put("k", "again").ok());
  EXPECT_EQ(versions("k"), "[again]*, one");
  ASSERT_TRUE(remove("k").ok());
  EXPECT_EQ(versions("k"), "[-], one");
  ASSERT_TRUE(suspend(false).ok());
  ASSERT_TRUE(put("k", "two").ok());
  EXPECT_EQ(versions("k"), "two*, [-], one");
  ASSERT_TRUE(suspend(true).ok());
  ASSERT_TRUE(put("k", "null").ok());
  EXPECT_EQ(versions("k"), "[null]*, two, one");
  reopen();
  EXPECT_EQ(versions("k"), "[null]*, two, one");
  EXPECT_TRUE(ns->suspended());
}

TEST_F(VersionsTest, WhereTheNewestGoesTheNextIsCurrent) {
  open_new();
  for (const std::string value : {"one", "two", "three"}) ASSERT_TRUE(put("k", value).ok());
  ASSERT_EQ(versions("k"), "three*, two, one");
  ASSERT_TRUE(take("k", numbers[1]).ok());
  ASSERT_EQ(versions("k"), "three*, one");
  ASSERT_TRUE(take("k", numbers[0]).ok());
  ASSERT_EQ(versions("k"), "one*");
  ASSERT_TRUE(remove("k").ok());
  ASSERT_TRUE(
      change("k", [&](Transaction& t, KeyHash hash) { return t.mark(*ns, hash, "k"); }).ok());
  ASSERT_EQ(versions("k"), "-, -, one");
  ASSERT_TRUE(take("k", numbers[0]).ok());
  ASSERT_EQ(versions("k"), "-, one");
  ASSERT_TRUE(take("k", numbers[0]).ok());
  ASSERT_EQ(versions("k"), "one*");
  reopen();
  ASSERT_EQ(versions("k"), "one*");
  ASSERT_TRUE(take("k", numbers[0]).ok());
  ASSERT_EQ(versions("k"), "");
  EXPECT_EQ(ns->size() + ns->versions()->size(), 0u);
}

TEST_F(VersionsTest, ATransactionMakesOneOfAKeyWhateverItDoesWithIt) {
  open_new();
  ASSERT_TRUE(put("k", "one").ok());
  const KeyHash hash = ns->hash("k");
  const auto several = [&](auto fn, bool commits) {
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kSeveral);
    fn(t);
    if (commits) {
      ASSERT_TRUE(t.commit().ok());
    }
  };
  const auto work = [&](Transaction& t) {
    ASSERT_TRUE(t.put(*ns, hash, record("k", "two")).ok());
    ASSERT_TRUE(t.remove(*ns, hash, t.find(*ns, "k", hash)).ok());
    ASSERT_TRUE(t.put(*ns, hash, record("k", "three")).ok());
  };
  several(work, false);  // makes tables, which stay
  const uint64_t held = store->used_bytes();
  several(work, false);
  EXPECT_EQ(versions("k"), "one*");
  EXPECT_EQ(store->used_bytes(), held);
  several(work, true);
  EXPECT_EQ(versions("k"), "three*, one");
  several(
      [&](Transaction& t) {
        ASSERT_TRUE(t.put(*ns, hash, record("k", "four")).ok());
        ASSERT_TRUE(t.remove(*ns, hash, t.find(*ns, "k", hash)).ok());
      },
      true);
  EXPECT_EQ(versions("k"), "-, three, one");
  reopen();
  EXPECT_EQ(versions("k"), "-, three, one");
}

TEST_F(VersionsTest, WhatExpiresLeavesAMarkerAndAnExpiryIsOfWhatIsCurrent) {
  open_new();
  ASSERT_TRUE(put("k", "one", clock.now_ms() + 1000).ok());
  ASSERT_TRUE(put("k", "two", clock.now_ms() + 2000).ok());
  sleep(1500);
  EXPECT_EQ(versions("k"), "two*, one");
  sleep(1000);
  EXPECT_EQ(versions("k"), "-, two, one");
  ASSERT_TRUE(take("k", numbers[0]).ok());
  sleep(3000);
  EXPECT_EQ(versions("k"), "two*, one");
  ASSERT_TRUE(change("k", [&](Transaction& t, KeyHash hash) {
                return t.expire(*ns, hash, t.find(*ns, "k", hash), clock.now_ms() + 1000);
              }).ok());
  EXPECT_EQ(versions("k"), "two*, two, one");
}

TEST_F(VersionsTest, BlobsPassOnByReference) {
  open_new();
  const auto blob = [&](const std::string& bytes) -> awaitable<Status> {
    BlobWriter writer(store->extents(), bytes.size());
    Status added = co_await writer.append(as_bytes(bytes));
    if (!added.ok()) co_return added;
    auto written = co_await writer.finish();
    if (!written.ok()) co_return written.status();
    const std::string encoded = written->encode();
    const std::string key = "k";
    RecordView r = record(key, encoded);
    r.flags = kRecordIsBlob;
    co_return change("k", [&](Transaction& t, KeyHash hash) { return t.put(*ns, hash, r); });
  };
  const std::string first(100'000, 'a'), second(50'000, 'b');
  ASSERT_TRUE(run(blob(first))->ok());
  ASSERT_TRUE(run(blob(second))->ok());
  versions("k");
  const auto read = [&](const Version& version) {
    const KeyHash hash = ns->hash("k");
    std::unique_ptr<BlobReader> reader;
    {
      StripeLocks lock(*store, hash);
      Transaction t(*store, &lock, Shape::kOne);
      const auto found = t.find_version(*ns, "k", hash, version);
      if (found.entry == nullptr) return std::string("none");
      const BlobRef ref = *BlobRef::decode(found.entry->value());
      reader = std::make_unique<BlobReader>(store->extents(), ref, 0, ref.size);
    }
    return **run(reader->read_all(1 << 20));
  };
  const auto both = numbers;
  EXPECT_TRUE(read(both[0]) == second);
  EXPECT_TRUE(read(both[1]) == first);
  reopen();
  EXPECT_TRUE(read(both[1]) == first);
  ASSERT_TRUE(take("k", both[0]).ok());
  sleep(1000);
  EXPECT_TRUE(read(both[1]) == first);  // current again
  ASSERT_TRUE(take("k", both[1]).ok());
  sleep(1000);
  EXPECT_EQ(store->extents().stats().live_bytes, 0u);
}

TEST_F(VersionsTest, CollectionsAreRefused) {
  open_new();
  std::string operation;
  kv::Hash::add_set(operation, "field", "text");
  RecordView r = record("k", operation);
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
  const Status refused =
      change("k", [&](Transaction& t, KeyHash hash) { return t.operate(*ns, hash, nullptr, r); });
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(versions("k"), "");
}

TEST_F(VersionsTest, ABucketIsDroppedWhenItIsEmptyOfThem) {
  open_new();
  ASSERT_TRUE(put("k", "one").ok());
  ASSERT_TRUE(remove("k").ok());
  EXPECT_EQ(store->drop_bucket("bucket").status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(versions("k"), "-, one");
  const auto both = numbers;
  for (auto& version : both) ASSERT_TRUE(take("k", version).ok());
  ASSERT_TRUE(store->drop_bucket("bucket").ok());
  ns.reset();
  reopen();
  EXPECT_EQ(store->find_namespace("bucket"), nullptr);
  ASSERT_TRUE(store->create_bucket("bucket").ok());
  EXPECT_EQ(store->find_namespace("bucket")->versions(), nullptr);
  ns.reset();
}

TEST_F(VersionsTest, AFlushTakesThemToo) {
  open_new();
  ASSERT_TRUE(put("k", "one").ok());
  ASSERT_TRUE(put("k", "two").ok());
  {
    Transaction t(*store, nullptr, Shape::kOne);
    ASSERT_TRUE(t.flush(*ns).ok());
    ASSERT_TRUE(t.commit().ok());
  }
  EXPECT_EQ(versions("k"), "");
  reopen();
  EXPECT_EQ(versions("k"), "");
  ASSERT_TRUE(store->drop_bucket("bucket").ok());
}

// The number of a version is part of its name: what was removed does not come back as another.
TEST_F(VersionsTest, NoNumberIsGivenTwice) {
  open_new();
  std::set<uint64_t> seen;
  for (int i = 0; i < 20; i++) {  // all in one millisecond
    ASSERT_TRUE(put("k", "value").ok());
    versions("k");
    EXPECT_TRUE(seen.insert(numbers[0].number).second);
    ASSERT_TRUE(take("k", numbers[0]).ok());
  }
  ASSERT_TRUE(put("k", "value").ok());
  store_clock.offset_ms = -100'000;
  ASSERT_TRUE(put("k", "later").ok());
  EXPECT_EQ(versions("k"), "later*, value");
}

TEST_F(VersionsTest, WhatIsOnDiskIsFetchedFirst) {
  open_new();
  const std::string first(3000, 'a'), second(3000, 'b');
  ASSERT_TRUE(put("k", first).ok());
  memory_bytes = 1;
  reopen();
  ASSERT_EQ(versions("k"), "cold*");
  const Status refused = put("k", second);
  ASSERT_TRUE(is_value_on_disk(refused)) << refused;
  EXPECT_EQ(where_on_disk(refused), std::pair(ns->id, std::string("k")));
  EXPECT_EQ(versions("k"), "cold*");
  const MemoryKeeper::Hold hold(store->memory());
  ASSERT_TRUE(run(store->faults().fetch(ns, "k"))->ok());
  ASSERT_TRUE(put("k", second).ok());
  EXPECT_EQ(versions("k"), second + "*, " + first);
}

TEST_F(VersionsTest, OtherMetadataMakesNone) {
  open_new();
  ASSERT_TRUE(put("k", "one").ok());
  ASSERT_TRUE(put("k", "two").ok());
  versions("k");
  const auto before = numbers;
  ObjectMeta meta;
  meta.content_type = "text/plain";
  for (auto& version : before) {
    ASSERT_TRUE(change("k", [&](Transaction& t, KeyHash hash) {
                  const auto found = t.find_version(*ns, "k", hash, version);
                  return t.amend(*found.ns, found.ns->hash(found.entry->key()), found.entry,
                                 meta.encode());
                }).ok());
  }
  reopen();
  EXPECT_EQ(versions("k"), "two*, one");
  EXPECT_EQ(numbers, before);
  const KeyHash hash = ns->hash("k");
  StripeLocks lock(*store, hash);
  Transaction t(*store, &lock, Shape::kOne);
  for (auto& version : before) {
    const auto found = t.find_version(*ns, "k", hash, version);
    EXPECT_EQ(ObjectMeta::decode(found.entry->meta())->content_type, "text/plain");
  }
}

}  // namespace
}  // namespace cairn
