// Stores that were damaged, or stopped at a bad moment: what is refused, what --repair costs, and
// that what it did once it need not do again.
#include <map>
#include <random>

#include "tests/core/repair_fixture.h"

namespace cairn {
namespace {

// What nothing follows was taken for a write that was torn, however long ago it was durable.
TEST_F(RepairTest, WhatIsLastIsKnownToHaveBeenThere) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put_together(*store, 10, 100))->ok());
  sleep(3000);
  kill(std::move(store));
  zero(*blocks.begin() * kBlockBytes);
  EXPECT_EQ(refused_and_repaired(), 0);
}

TEST_F(RepairTest, ATransactionThatIsDamagedIsLostWholeAndForGood) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put(*store, "a", "1"))->ok());
  ASSERT_TRUE(run(put_together(*store, 60, 3000))->ok());
  ASSERT_TRUE(run(put(*store, "b", "1"))->ok());
  kill(std::move(store));
  const sim::Disk before = copy();
  for (uint64_t block : blocks) {
    SCOPED_TRACE(testing::Message() << "block " << block);
    disk = before;
    disk = copy();
    zero(block * kBlockBytes);
    EXPECT_EQ(refused_and_repaired(), 0);
  }
  SCOPED_TRACE("a segment is missing");
  disk = before;
  disk = copy();
  disk.files.erase({FileKind::kSegment, *blocks.begin() * kBlockBytes / kSegment + 1});
  EXPECT_EQ(refused_and_repaired(), 0);
}

TEST_F(RepairTest, ABlockThatCannotBeReadCostsItsRecords) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  for (int i = 0; i < 60; i++) {
    ASSERT_TRUE(run(put(*store, "m" + std::to_string(i), std::string(3000, 'x')))->ok());
  }
  kill(std::move(store));
  const sim::Disk before = copy();
  for (uint64_t block = 0; block < 16; block++) {
    SCOPED_TRACE(testing::Message() << "block " << block);
    disk = before;
    disk = copy();
    disk.files.at({FileKind::kSegment, 1})->bad.insert(block);
    if (block == 0) {  // the header, of which the manifest says the same
      EXPECT_EQ(open(false).value_or(-1), 60);
      continue;
    }
    const auto plain = open(false);
    if (plain.ok()) {  // behind the last record of a sealed segment
      EXPECT_EQ(*plain, 60);
    } else {
      EXPECT_GE(refused_and_repaired(), 58);
    }
  }
}

TEST_F(RepairTest, ABucketWhoseNameIsLostGetsAnother) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put(*store, "a", "1"))->ok());
  const Lsn created = *store->create_bucket("photos");
  ASSERT_TRUE(run(store->log().wait_durable(created))->ok());
  ASSERT_TRUE(run(put(*store, "b", "1"))->ok());
  const auto ns = store->find_namespace("photos");
  Lsn lsn;
  {
    RecordView r;
    r.ns = ns->id;
    r.key = "cat";
    r.value = "x";
    StripeLocks lock(*store, ns->hash("cat"));
    Transaction t(*store, &lock, Shape::kOne);
    ASSERT_TRUE(t.put(*ns, ns->hash("cat"), r).ok());
    lsn = *t.commit();
  }
  ASSERT_TRUE(run(store->log().wait_durable(lsn))->ok());
  ASSERT_TRUE(run(put(*store, "c", "1"))->ok());
  kill(std::move(store));
  zero(created.value());
  std::vector<std::string> buckets;
  refused_and_repaired(&buckets);
  ASSERT_EQ(buckets.size(), 1u);
  EXPECT_TRUE(buckets[0].starts_with("lost-"));
}

TEST_F(RepairTest, OperationsOfAHashWhoseBeginningIsLostAreDropped) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put(*store, "k", "a string"))->ok());
  const auto made = *run(put_field(*store, "k", true));
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(run(put_field(*store, "k", false))->ok());
  ASSERT_TRUE(run(put(*store, "c", "1"))->ok());
  kill(std::move(store));
  zero(made->value());
  refused_and_repaired();
}

// No type has an empty one: HRANDFIELD of a hash like that divided by zero.
TEST_F(RepairTest, AHashThatDamageLeftNothingOfIsGone) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put_field(*store, "k", true))->ok());
  const auto second = *run(put_field(*store, "k", false));
  ASSERT_TRUE(second.ok());
  const auto removed = [&]() -> awaitable<Status> {
    Namespace& ns = store->database(0);
    std::string operation;
    kv::Hash::add_delete(operation, "f");
    RecordView r;
    r.type = RecordType::kOperation;
    r.ns = ns.id;
    r.key = "k";
    r.value = operation;
    r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
    StatusOr<Lsn> lsn;
    {
      StripeLocks lock(*store, ns.hash("k"));
      Transaction t(*store, &lock, Shape::kOne);
      Status done = t.operate(ns, ns.hash("k"), ns.index->find("k", ns.hash("k")), r);
      if (!done.ok()) co_return done;
      lsn = t.commit();
    }
    co_return co_await store->log().wait_durable(*lsn);
  };
  ASSERT_TRUE(run(removed())->ok());
  ASSERT_TRUE(run(put(*store, "c", "1"))->ok());
  kill(std::move(store));
  zero(second->value());
  refused_and_repaired();
  store = make();
  ASSERT_TRUE(run(store->open())->ok());
  Namespace& ns = store->database(0);
  EXPECT_EQ(ns.index->find("k", ns.hash("k")), nullptr);
  EXPECT_NE(ns.index->find("c", ns.hash("c")), nullptr);
  kill(std::move(store));
}

TEST_F(RepairTest, SpaceThatIsNotGivenBackRefusesNoStart) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put(*store, "a", std::string(20'000, 'x')))->ok());
  ASSERT_TRUE(run(put(*store, "b", std::string(20'000, 'x')))->ok());
  ASSERT_TRUE(run(put(*store, "a", "1"))->ok());
  kill(std::move(store));
  for (const Status& why : {Status(absl::InternalError("cannot punch")), disk_full("no room")}) {
    volume.set([&](Call call, std::optional<FileId>) {
      return call == Call::kPunch ? why : absl::OkStatus();
    });
    const auto opened = open(false);
    EXPECT_TRUE(opened.ok()) << opened.status();
  }
}

// No LSN is used again, though the log was empty and a start failed before it had a segment: a
// checkpoint of before would hide what is written then.
TEST_F(RepairTest, LsnsDoNotBeginAnew) {
  auto first = make();
  ASSERT_TRUE(run(first->open())->ok());
  for (int i = 0; i < 60; i++) ASSERT_TRUE(run(put(*first, "k", std::string(3000, 'x')))->ok());
  {
    Namespace& ns = first->database(0);
    StripeLocks lock(*first, ns.hash("k"));
    Transaction t(*first, &lock, Shape::kOne);
    ASSERT_TRUE(t.remove(ns, ns.hash("k"), ns.index->find("k", ns.hash("k"))).ok());
    (void)t.commit();
  }
  ASSERT_TRUE(run(first->close())->ok());
  const Lsn end = first->log().tail();
  kill(std::move(first));
  auto cleaned = make();
  ASSERT_TRUE(run(cleaned->open())->ok());
  for (int i = 0; i < 200 && cleaned->log().sealed_segments() > 0; i++) sleep(1);
  kill(std::move(cleaned));
  volume.set([&](Call call, std::optional<FileId> file) {
    const bool segment = call == Call::kCreate && file->kind == FileKind::kSegment;
    return segment ? Status(absl::UnavailableError("no descriptor")) : absl::OkStatus();
  });
  auto failed = make();
  EXPECT_FALSE(run(failed->open())->ok());
  kill(std::move(failed));
  volume.heal();
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  EXPECT_GT(store->log().tail(), end);
  ASSERT_TRUE(run(put_together(*store, 20, 300))->ok());
  kill(std::move(store));
  EXPECT_EQ(open(false).value_or(-1), 20);
}

// One copy of the manifest does not hold, since a power cut tore it, or since it grew on a full
// disk. Another power cut, in the next write of either, leaves a copy that does.
TEST_F(RepairTest, OneCopyOfTheManifestHoldsAtEveryMoment) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put_together(*store, 20, 300))->ok());
  kill(std::move(store));
  const sim::Disk before = copy();
  auto tear = [&](FileId id) {
    auto& file = *disk.files.at(id);
    std::fill_n(file.view.begin(), 40, std::byte{0x5a});
    file.durable = file.view;
  };
  for (uint64_t torn : {0, 1}) {
    SCOPED_TRACE(testing::Message() << "copy " << torn << " is torn");
    disk = before;
    disk = copy();
    tear({FileKind::kSuperblock, torn});
    bool cut = false;
    volume.set([&](Call call, std::optional<FileId> file) -> Status {
      if (cut) return absl::DataLossError("the power is off");
      if (call != Call::kWrite || file->kind != FileKind::kSuperblock) return absl::OkStatus();
      tear(*file);
      cut = true;
      return absl::DataLossError("the power is off");
    });
    EXPECT_FALSE(open(false).ok());
    volume.heal();
    EXPECT_EQ(open(false).value_or(-1), 20);
  }
  for (uint64_t n = 1; n <= 4; n++) {
    SCOPED_TRACE(testing::Message() << "write " << n << " finds no room, the next is cut");
    disk = before;
    disk = copy();
    uint64_t writes = 0;
    volume.set([&](Call call, std::optional<FileId> file) -> Status {
      if (writes > n) return absl::DataLossError("the power is off");
      if (call != Call::kWrite || file->kind != FileKind::kSuperblock) return absl::OkStatus();
      if (++writes < n) return absl::OkStatus();
      tear(*file);
      if (writes == n) return disk_full("no room");
      return absl::DataLossError("the power is off");
    });
    auto life = make();
    if (run(life->open())->ok()) {
      for (int i = 0; i < 200 && writes <= n; i++) {
        (void)run(put(*life, "k" + std::to_string(i), std::string(3000, 'x')));
      }
      (void)run(life->close());
    } else if (writes == n) {  // it did not open for want of room: it is tried again
      take_apart(std::move(life));
      life = make();
      (void)run(life->open());
    }
    volume.heal();
    kill(std::move(life));
    EXPECT_EQ(open(false).value_or(-1), 20);
  }
}

// What --repair gave up is gone for good, also if the power goes as soon as the store is open.
TEST_F(RepairTest, AKeyThatWasGivenUpIsNotAskedForAgain) {
  amplification = 1000;
  std::vector<std::string> keys(6);
  for (size_t i = 0; i < keys.size(); i++) keys[i] = "hash" + std::to_string(i);
  auto first = make();
  ASSERT_TRUE(run(first->open())->ok());
  std::set<uint64_t> made;
  for (auto& key : keys) made.insert((*run(put_field(*first, key, true)))->value() / kBlockBytes);
  ASSERT_TRUE(run(first->close())->ok());
  kill(std::move(first));
  memory_bytes = 1;  // values stay on disk
  auto second = make();
  ASSERT_TRUE(run(second->open())->ok());
  ASSERT_GT(second->cold_count(), 0u);
  for (auto& key : keys) {
    ASSERT_TRUE(run(second->faults().fetch(second->database(0).shared_from_this(), key))->ok());
    ASSERT_TRUE(run(put_field(*second, key, false))->ok());
  }
  kill(std::move(second));
  for (uint64_t block : made) zero(block * kBlockBytes);
  EXPECT_TRUE(absl::IsDataLoss(open(false).status()));
  EXPECT_TRUE(open(true).ok());
  repair = false;
  auto third = make();
  ASSERT_TRUE(run(third->open())->ok());
  Namespace& ns = third->database(0);
  size_t gone = 0;
  for (auto& key : keys) {
    ASSERT_TRUE(run(third->faults().fetch(ns.shared_from_this(), key))->ok());
    const Entry* e = ns.index->find(key, ns.hash(key));
    gone += e == nullptr;
    if (e == nullptr) continue;
    EXPECT_EQ(static_cast<kv::Hash*>(e->collection())->size(0), 2u);  // the checkpoint had it
  }
  EXPECT_GT(gone, 0u);
  take_apart(std::move(third));
}

// One field is nearly as large as a record may be, and the others are small: the cleaner writes
// such a hash again in parts, none of which is larger than what the log takes.
TEST_F(RepairTest, AHashWithOneFieldThatIsMuchLargerIsWrittenAgain) {
  repair = false;
  for (uint64_t seed = 0; seed < 8; seed++) {
    SCOPED_TRACE(seed);
    disk = sim::Disk();
    auto store = make();
    ASSERT_TRUE(run(store->open())->ok());
    Namespace& ns = store->database(0);
    auto apply = [&](const std::string& operation) {
      RecordView r;
      r.ns = ns.id;
      r.key = "h";
      r.value = operation;
      r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
      StripeLocks lock(*store, ns.hash("h"));
      Transaction t(*store, &lock, Shape::kOne);
      r.type = RecordType::kOperation;
      return t.operate(ns, ns.hash("h"), ns.index->find("h", ns.hash("h")), r);
    };
    std::map<std::string, std::string> model;
    std::string operation;
    for (int i = 0; i < 300; i++) {
      const std::string field = std::to_string(seed) + "f" + std::to_string(i);
      model[field] = std::string(100, 'v');
      kv::Hash::add_set(operation, field, model[field]);
    }
    ASSERT_TRUE(apply(operation).ok());
    operation.clear();
    model["large"] = std::string(56'000, 'L');
    kv::Hash::add_set(operation, "large", model["large"]);
    ASSERT_TRUE(apply(operation).ok());
    const uint64_t freed = store->cleaner().stats().segments_freed;
    for (int i = 0; i < 200; i++) {
      ASSERT_TRUE(run(put(*store, "key" + std::to_string(i % 7), std::string(3000, 'v')))->ok());
    }
    for (int i = 0; i < 200 && store->cleaner().stats().segments_freed < freed + 3; i++) sleep(20);
    EXPECT_TRUE(store->cleaner().stats().status.ok()) << store->cleaner().stats().status;
    kill(std::move(store));
    store = make();
    auto opened = run(store->open());
    ASSERT_TRUE(opened && opened->ok()) << *opened;
    Entry* e = store->database(0).index->find("h", store->database(0).hash("h"));
    ASSERT_NE(e, nullptr);
    std::map<std::string, std::string> found;
    static_cast<kv::Hash*>(e->collection())->for_each(0, [&](auto field, auto value) {
      found[std::string(field)] = value;
    });
    EXPECT_EQ(found, model);
    take_apart(std::move(store));
  }
}

// A renamed hash of which a part is lost is given up under the name that it has, and for good; what
// was done to it later, or its rename, is lost alone.
TEST_F(RepairTest, ARenamedHashIsThereWholeOrGivenUpByName) {
  amplification = 1000;
  enum Lost { kPart, kLater, kRename };
  for (const Lost lost : {kPart, kLater, kRename}) {
    SCOPED_TRACE(lost);
    repair = false;
    disk = sim::Disk();
    auto store = make();
    ASSERT_TRUE(run(store->open())->ok());
    Namespace& ns = store->database(0);
    const KeyHash from = ns.hash("from"), to = ns.hash("to");
    std::map<std::string, std::string> model;
    const auto set = [&](const std::string& key, const std::string& field) {
      const KeyHash hash = ns.hash(key);
      std::string operation;
      model[field] = std::string(900, 'v');
      kv::Hash::add_set(operation, field, model[field]);
      RecordView r;
      r.type = RecordType::kOperation;
      r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
      r.ns = ns.id;
      r.key = key;
      r.value = operation;
      StripeLocks lock(*store, hash);
      Transaction t(*store, &lock, Shape::kOne);
      EXPECT_TRUE(t.operate(ns, hash, ns.index->find(key, hash), r).ok());
      return *t.commit();
    };
    for (int i = 0; i < 10; i++) set("from", "f" + std::to_string(i));
    ASSERT_TRUE(run(put(*store, "a", "1"))->ok());
    Lsn renamed;
    {
      StripeLocks lock(*store);
      lock.lock(std::vector<KeyHash>{from, to});
      Transaction t(*store, &lock, Shape::kSeveral);
      Entry* e = ns.index->find("from", from);
      ASSERT_TRUE(Transaction::has_identity(e));
      ASSERT_TRUE(t.rename(ns, from, e, ns, to, "to").ok());
      renamed = *t.commit();
    }
    const Lsn part = ns.index->find("to", to)->collection()->identity()->from;
    ASSERT_TRUE(run(put(*store, "b", "1"))->ok());
    const auto before = model;
    const Lsn later = set("to", "later");
    ASSERT_TRUE(run(put(*store, "c", "1"))->ok());
    ASSERT_TRUE(run(put(*store, "d", "1"))->ok());
    kill(std::move(store));
    zero((lost == kPart ? part : lost == kLater ? later : renamed).value());
    EXPECT_TRUE(absl::IsDataLoss(open(false).status()));
    ASSERT_TRUE(open(true).ok());
    repair = false;
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
    std::map<std::string, std::map<std::string, std::string>> found;
    for (const std::string key : {"from", "to"}) {
      Namespace& now = store->database(0);
      const Entry* e = now.index->find(key, now.hash(key));
      if (e == nullptr) continue;
      static_cast<kv::Hash*>(e->collection())->for_each(0, [&](auto field, auto value) {
        found[key][std::string(field)] = value;
      });
    }
    if (lost == kPart) {
      EXPECT_TRUE(found.empty());
    } else if (lost == kLater) {
      EXPECT_EQ(found, (decltype(found){{"to", before}}));
    } else {
      EXPECT_EQ(found, (decltype(found){{"from", model}}));
    }
    take_apart(std::move(store));
  }
}

// A sector that cannot be read, and that nothing was ever written to.
TEST_F(RepairTest, AnUnreadableBlockBehindTheEndOfAStoppedStoreIsNone) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put_together(*store, 20, 300))->ok());
  ASSERT_TRUE(run(store->close())->ok());
  const uint64_t end = store->log().tail().value();
  kill(std::move(store));
  const sim::Disk before = copy();
  for (uint64_t lsn = end; lsn < end + 2 * kSegment; lsn += kBlockBytes) {
    SCOPED_TRACE(lsn);
    disk = before;
    disk = copy();
    auto file = disk.files.find({FileKind::kSegment, lsn / kSegment});
    if (file == disk.files.end()) continue;
    file->second->bad.insert(lsn % kSegment / kBlockBytes);
    EXPECT_EQ(open(false).value_or(-1), 20);
  }
}

// A flush counts off what it freed when it comes to it, which may be after the segment is gone; the
// segment that has the same place one day has what lives in it.
TEST(SegmentUsage, WhatIsCountedOffTooLateIsNoOneElses) {
  SegmentUsage usage;
  usage.start(kSegment);
  auto at = [](uint64_t segment) { return Lsn(segment * kSegment + kBlockBytes); };
  usage.add(at(5), 1000);
  usage.forget(SegmentId(5), SegmentId(9));
  usage.sub(at(5), 1000);
  constexpr uint64_t kAll = SegmentUsage::kSegmentsMax;
  for (uint64_t s = 6; s < kAll; s++) usage.forget(SegmentId(s), SegmentId(s + 2));
  usage.add(at(kAll + 5), 600);
  EXPECT_EQ(usage.live(SegmentId(kAll + 5)), 600u);
  usage.add(at(kAll + 6), 600);  // one that lives is not touched, however long the log is
  usage.forget(SegmentId(kAll / 2 + 6), SegmentId(kAll + 8));
  EXPECT_EQ(usage.live(SegmentId(kAll + 6)), 600u);
}

TEST(SegmentUsage, ASumIsWhatItWasGiven) {
  SegmentUsage usage;
  usage.start(kSegment);
  std::map<uint64_t, uint64_t> expected;
  std::mt19937_64 rng(7);
  for (int round = 0; round < 20; round++) {
    SegmentUsage::Sum sum(usage);
    for (int i = 0; i < 500; i++) {
      const uint64_t segment = rng() % (round + 1) * 5, bytes = rng() % 1000;
      sum.add(Lsn(segment * kSegment + rng() % kSegment), bytes);
      expected[segment] += bytes;
    }
  }
  for (auto& [segment, bytes] : expected) EXPECT_EQ(usage.live(SegmentId(segment)), bytes);
}

}  // namespace
}  // namespace cairn
