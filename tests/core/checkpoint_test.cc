// Checkpoints beside transactions, damage and repair: what they have is never less than what
// counts.
#include <future>
#include <map>
#include <thread>

#include "core/base/text.h"
#include "tests/core/repair_fixture.h"

namespace cairn {
namespace {

using CheckpointTest = RepairTest;

// While a checkpoint is written, a transaction on another thread has flushed, or removed the last
// keys of a namespace, and is given up.
TEST_F(CheckpointTest, ACheckpointBesideATransactionThatIsGivenUpHasAllKeys) {
  amplification = 1000;
  for (bool flush : {true, false}) {
    SCOPED_TRACE(flush ? "flushed" : "removed");
    disk.files.clear();
    auto store = make();
    ASSERT_TRUE(run(store->open())->ok());
    ASSERT_TRUE(run(put_together(*store, 20, 300))->ok());
    std::promise<void> begun, changed;
    volume.set([&](Call call, std::optional<FileId> file) -> Status {
      if (call == Call::kCreate && file->kind == FileKind::kCheckpoint) {
        begun.set_value();
        changed.get_future().wait();
      }
      return absl::OkStatus();
    });
    std::thread writer([&] {
      auto& checkpointer = const_cast<Checkpointer&>(store->checkpointer());
      auto written = run(checkpointer.write());
      EXPECT_TRUE(written && written->ok());
    });
    begun.get_future().wait();
    {
      Namespace& ns = store->database(0);
      std::vector<KeyHash> hashes(20);
      for (size_t i = 0; i < hashes.size(); i++) hashes[i] = ns.hash(cat("m", i));
      StripeLocks locks(*store);
      flush ? locks.lock_all() : locks.lock(hashes);
      Transaction t(*store, &locks, Shape::kSeveral);
      EXPECT_TRUE(!flush || t.flush_databases().ok());
      for (size_t i = 0; i < hashes.size() && !flush; i++) {
        EXPECT_TRUE(t.remove(ns, hashes[i], ns.index->find(cat("m", i), hashes[i])).ok());
      }
      EXPECT_EQ(ns.size(), 0);
      changed.set_value();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    writer.join();
    volume.heal();
    ASSERT_TRUE(run(put(*store, "z", "1"))->ok());
    kill(std::move(store));
    EXPECT_EQ(open(false).value_or(-1), 20);
  }
}

// Damage in what a checkpoint covers is not seen by a start, and stops the cleaner. --repair finds
// it, keeps what the checkpoint has of it, and from then on it is in nobody's way.
TEST_F(CheckpointTest, DamageBeforeACheckpointIsRepairedToo) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put_together(*store, 20, 300))->ok());
  const auto hash = *run(put_field(*store, "hash", true));
  ASSERT_TRUE(hash.ok());
  for (int i = 0; i < 60; i++) {
    ASSERT_TRUE(run(put(*store, "key" + std::to_string(i), std::string(3000, 'v')))->ok());
  }
  ASSERT_TRUE(run(store->close())->ok());
  kill(std::move(store));
  for (uint64_t block : blocks) zero(block * kBlockBytes);
  zero(hash->value());
  EXPECT_EQ(open(false).value_or(-1), 20);
  EXPECT_EQ(open(true).value_or(-1), 20);
  amplification = 1;
  for (int life = 0; life < 3; life++) {  // the last without the checkpoint that has the values
    SCOPED_TRACE(testing::Message() << "life " << life);
    repair = false;
    store = make();
    auto opened = run(store->open());
    ASSERT_TRUE(opened && opened->ok()) << *opened;
    for (int i = 0; i < 300; i++) {
      ASSERT_TRUE(run(put(*store, "key" + std::to_string(i % 7), std::string(3000, 'v')))->ok());
    }
    for (int i = 0; i < 500 && store->log().oldest_sealed()->first.value() < 3; i++) sleep(20);
    EXPECT_GE(store->log().oldest_sealed()->first.value(), 3u);
    EXPECT_TRUE(store->cleaner().stats().status.ok()) << store->cleaner().stats().status;
    for (int i = 0; i < 20; i++) {
      auto got = run(get(*store, "m" + std::to_string(i)));
      EXPECT_TRUE(got && got->ok()) << got->status();
    }
    Namespace& ns = store->database(0);
    EXPECT_NE(ns.index->find("hash", ns.hash("hash")), nullptr);
    kill(std::move(store));
    if (life == 1) {
      std::erase_if(disk.files, [](auto& f) { return f.first.kind == FileKind::kCheckpoint; });
    }
  }
}

// The manifest is lost with the newest segments: the checkpoint that went on from them counts no
// more, also not when the log has grown past it.
TEST_F(CheckpointTest, ACheckpointOfSegmentsThatAreLostNeverCounts) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  for (int i = 0; i < 100; i++) {
    ASSERT_TRUE(run(put(*store, "m" + std::to_string(i), std::string(3000, 'v')))->ok());
  }
  ASSERT_TRUE(run(store->close())->ok());
  kill(std::move(store));
  std::erase_if(disk.files, [](auto& f) {
    const bool newest = f.first.kind == FileKind::kSegment && f.first.number >= 3;
    return newest || f.first.kind == FileKind::kSuperblock;
  });
  repair = true;
  store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const uint64_t keys = store->database(0).size();
  EXPECT_LT(keys, 100u);
  ASSERT_TRUE(run(put(*store, "z", "1"))->ok());
  kill(std::move(store));
  EXPECT_EQ(open(false).value_or(-1), static_cast<int>(keys));
}

}  // namespace
}  // namespace cairn
