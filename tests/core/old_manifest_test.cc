// Both copies of the manifest are older than the rest, as a copy of a directory leaves them that
// goes by size, or is cut. What they do not know is never taken for nothing.
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

struct OldManifestTest : FaultTest {
  using Copies = std::map<FileId, std::vector<std::byte>>;

  Copies superblocks() const {
    Copies copies;
    for (uint64_t copy : {0, 1}) {
      const FileId id{FileKind::kSuperblock, copy};
      copies[id] = disk.files.at(id)->view;
    }
    return copies;
  }
  void put_back(const Copies& copies) {
    for (auto& [id, bytes] : copies) disk.files.at(id)->view = disk.files.at(id)->durable = bytes;
  }
  std::map<FileId, std::vector<std::byte>> files() const {
    std::map<FileId, std::vector<std::byte>> all;
    for (auto& [id, file] : disk.files) all[id] = file->view;
    return all;
  }
  void kill(std::unique_ptr<Store> store) {
    take_apart(std::move(store));
    disk.crash(rng);
  }
  void put_some(Store& store, int from, int to, const std::string& value) {
    for (int i = from; i < to; i++) {
      ASSERT_TRUE(run(put(store, "key" + std::to_string(i), value + std::to_string(i)))->ok());
    }
  }
  void remove(Store& store, const std::string& key) {
    Namespace& ns = store.database(0);
    Lsn lsn;
    {
      StripeLocks lock(store, ns.hash(key));
      Transaction t(store, &lock, Shape::kOne);
      ASSERT_TRUE(t.remove(ns, ns.hash(key), ns.index->find(key, ns.hash(key))).ok());
      lsn = *t.commit();
    }
    ASSERT_TRUE(run(store.log().wait_durable(lsn))->ok());
    acknowledged.erase(key);
  }
  // Refused by name, with nothing changed; repaired, with all that was acknowledged; and then as if
  // nothing had been.
  void refused_and_repaired(const std::string& names, uint32_t epochs_seen) {
    const auto before = files();
    repair = false;
    auto store = make();
    auto refused = run(store->open());
    ASSERT_TRUE(refused.has_value());
    EXPECT_TRUE(absl::IsDataLoss(*refused)) << *refused;
    for (const std::string& part : {std::string("superblock-0 and superblock-1 are older than "),
                                    names, std::string("--repair")}) {
      EXPECT_NE(refused->message().find(part), std::string::npos) << *refused;
    }
    kill(std::move(store));
    EXPECT_EQ(files(), before);
    for (const bool repairing : {true, false}) {
      SCOPED_TRACE(repairing);
      repair = repairing;
      store = make();
      auto opened = run(store->open());
      ASSERT_TRUE(opened && opened->ok()) << *opened;
      EXPECT_GT(store->epoch(), epochs_seen);
      EXPECT_EQ(store->database(0).size(), acknowledged.size());
      for (auto& [key, value] : acknowledged) {
        auto got = run(get(*store, key));
        ASSERT_TRUE(got.has_value() && got->ok()) << key << " " << got->status();
        EXPECT_EQ(**got, value) << key;
      }
      ASSERT_TRUE(run(put(*store, "since", std::to_string(repairing)))->ok());
      kill(std::move(store));
    }
  }
};

TEST_F(OldManifestTest, ALifeThatItDoesNotKnowIsNotPassedOver) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  put_some(*store, 0, 40, std::string(3000, 'a'));
  ASSERT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  const Copies old = superblocks();
  store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const uint32_t epoch = store->epoch();
  const std::string segment = to_string({FileKind::kSegment, store->log().open_segment().value()});
  put_some(*store, 0, 5, "new");
  put_some(*store, 100, 102, std::string(20'000, 'b'));
  remove(*store, "key7");
  kill(std::move(store));
  put_back(old);
  refused_and_repaired(segment, epoch);
}

TEST_F(OldManifestTest, SegmentsOfItsOwnLifeThatItDoesNotNameAreNotPassedOver) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const Copies old = superblocks();
  const uint32_t epoch = store->epoch();
  put_some(*store, 0, 80, std::string(3000, 'a'));
  remove(*store, "key7");
  kill(std::move(store));
  put_back(old);
  refused_and_repaired("holds records and is not named", epoch);
}

// What it names first was cleaned since: that is no damage of what is there.
TEST_F(OldManifestTest, ACleanedSegmentCostsNothing) {
  amplification = 1;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  put_some(*store, 0, 10, std::string(1000, 'a'));
  const Copies old = superblocks();
  const uint32_t epoch = store->epoch();
  for (int round = 0; round < 40; round++) put_some(*store, 0, 10, std::string(3000, 'b'));
  remove(*store, "key7");
  for (int i = 0; i < 500 && disk.files.contains({FileKind::kSegment, 0}); i++) sleep(20);
  ASSERT_FALSE(disk.files.contains({FileKind::kSegment, 0}));
  kill(std::move(store));
  put_back(old);
  refused_and_repaired("it was cleaned since", epoch);
}

// And of segments that are lost besides it is said which.
TEST_F(OldManifestTest, AGapBehindItIsNamed) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  put_some(*store, 0, 40, std::string(3000, 'a'));
  ASSERT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  const Copies old = superblocks();
  store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const SegmentId first = store->log().open_segment();
  put_some(*store, 40, 120, std::string(3000, 'b'));
  kill(std::move(store));
  put_back(old);
  disk.files.erase({FileKind::kSegment, first.value()});
  repair = true;
  store = make();
  auto opened = run(store->open());
  ASSERT_TRUE(opened && opened->ok()) << *opened;
  std::string notes;
  for (const std::string& note : store->notes()) notes += note + "\n";
  EXPECT_NE(notes.find("are missing: up to"), std::string::npos) << notes;
  EXPECT_GE(store->database(0).size(), 80u);
  EXPECT_LT(store->database(0).size(), 120u);
  kill(std::move(store));
}

// An extent file is named before it is made: one that is not was referred to by records that are
// not there.
TEST_F(OldManifestTest, AnExtentFileThatItDoesNotNameIsKept) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  put_some(*store, 0, 1, std::string(20'000, 'a'));
  kill(std::move(store));
  auto& later = disk.files[{FileKind::kExtents, 40}];
  later = std::make_shared<sim::Disk::File>(*disk.files.at({FileKind::kExtents, 1}));
  for (auto* bytes : {&later->view, &later->durable}) (*bytes)[24] = std::byte{40};  // its number
  refused_and_repaired("extents-00000028, which is not named", 1);
}

// A start that was cut off has made a segment and not named it; one before it found another to hold
// nothing, and was cut off before that was gone. Both are what they are.
TEST_F(OldManifestTest, WhatACrashLeavesIsNoProof) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  put_some(*store, 0, 5, "value");
  kill(std::move(store));
  for (const Call last : {Call::kCreate, Call::kWrite, Call::kRemove}) {
    SCOPED_TRACE(static_cast<int>(last));
    for (uint64_t nth = 1; nth < 12; nth++) {
      bool cut = false;
      uint64_t calls = 0;
      volume.set([&](Call call, std::optional<FileId>) -> Status {
        if (!cut && call == last) cut = ++calls == nth;
        return cut ? absl::DataLossError("the power is off") : absl::OkStatus();
      });
      store = make();
      (void)run(store->open());
      kill(std::move(store));
      volume.heal();
      store = make();
      auto opened = run(store->open());
      ASSERT_TRUE(opened && opened->ok()) << *opened;
      kill(std::move(store));
    }
  }
}

}  // namespace
}  // namespace cairn
