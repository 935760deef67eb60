// A volume that fails at its n-th call, for n = 1, 2, … until a whole life goes through without
// reaching it: nothing that was acknowledged is lost, nothing hangs, and close() ends.
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

bool writes(Call call, std::optional<FileId>) {
  return call == Call::kWrite || call == Call::kCreate || call == Call::kSync ||
         call == Call::kSyncDirectory;
}

TEST_F(FaultTest, AWriteOrSyncThatFailsOnceLosesNothing) {
  sweep(absl::DataLossError("EIO"), false, writes);
}

TEST_F(FaultTest, ADeviceThatFailsForGoodLosesNothing) {
  sweep(absl::DataLossError("EIO"), true, writes);
}

TEST_F(FaultTest, AFullDiskLosesNothing) {
  sweep(disk_full("ENOSPC"), true, [](Call call, std::optional<FileId> file) {
    // What was set aside for the log is not refused.
    return call == Call::kCreate ||
           (call == Call::kWrite && file && file->kind == FileKind::kExtents);
  });
}

TEST_F(FaultTest, WithoutDescriptorsNothingIsLost) {
  sweep(absl::UnavailableError("EMFILE"), true,
        [](Call call, std::optional<FileId>) { return call == Call::kCreate; });
}

TEST_F(FaultTest, AReadThatFailsOnceLosesNothing) {
  sweep(absl::DataLossError("EIO"), false,
        [](Call call, std::optional<FileId>) { return call == Call::kRead; });
}

TEST_F(FaultTest, HolesAndRemovalsThatFailLoseNothing) {
  sweep(absl::InternalError("EINVAL"), true, [](Call call, std::optional<FileId>) {
    return call == Call::kPunch || call == Call::kRemove;
  });
}

// One failed sync of an extent file once failed all large writes until a restart.
TEST_F(FaultTest, AFailedSyncPoisonsItsFileAlone) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const std::string large(20'000, 'x');
  ASSERT_TRUE(run(put(*store, "before", large))->ok());
  EXPECT_TRUE(store->health().problems.empty());
  volume.fail_nth(1, false, absl::DataLossError("EIO"), [](Call call, std::optional<FileId> file) {
    return call == Call::kSync && file->kind == FileKind::kExtents;
  });
  EXPECT_FALSE(run(put(*store, "covered", large))->ok());
  EXPECT_TRUE(run(put(*store, "after", large))->ok());
  EXPECT_EQ(run(get(*store, "before"))->value(), large);
  EXPECT_EQ(run(get(*store, "after"))->value(), large);
  EXPECT_EQ(store->health().problems.size(), 1u);  // it is said
  EXPECT_TRUE(store->health().ready);
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  check();
}

// A create that found no descriptor once hung every write, with nothing said.
TEST_F(FaultTest, WithoutDescriptorsWritesAreRefusedAndTakenAgain) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  volume.fail_nth(1, true, absl::UnavailableError("EMFILE"),
                  [](Call call, std::optional<FileId>) { return call == Call::kCreate; });
  const std::string value(3000, 'v');
  Status refused;
  for (int i = 0; i < 100 && refused.ok(); i++) {
    auto done = run(put(*store, "key" + std::to_string(i), value));
    ASSERT_TRUE(done.has_value()) << "a write hangs";
    refused = *done;
  }
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_TRUE(store->log().status().ok()) << "this may pass: nothing failed";
  EXPECT_FALSE(store->health().ready);
  ASSERT_FALSE(store->health().problems.empty());
  EXPECT_NE(store->health().problems[0].find("EMFILE"), std::string::npos);
  volume.heal();
  Status taken = refused;
  for (int i = 0; i < 100 && !taken.ok(); i++) {
    sleep(100);
    taken = *run(put(*store, "later", value));
  }
  EXPECT_TRUE(taken.ok()) << taken;
  EXPECT_TRUE(store->health().ready);
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  check();
}

// The open segment's descriptor may have been closed for want of others: what found none to write
// with was final once.
TEST_F(FaultTest, AWriteThatFindsNoDescriptorIsTriedAgain) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  int refused = 0;
  volume.set([&](Call call, std::optional<FileId> file) -> Status {
    if (call != Call::kWrite || file->kind != FileKind::kSegment || refused == 5) {
      return absl::OkStatus();
    }
    refused++;
    return absl::UnavailableError("EMFILE");
  });
  EXPECT_TRUE(run(put(*store, "key", "value"))->ok());
  EXPECT_EQ(refused, 5);
  EXPECT_TRUE(store->log().status().ok());
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  check();
}

// What was tried before the close counted, and the first refusal during it was the last.
TEST_F(FaultTest, AWriteThatWasTriedForLongIsTriedAgainWhileTheStoreCloses) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  bool closing = false;
  int refused = 0;
  volume.set([&](Call call, std::optional<FileId> file) -> Status {
    if (call != Call::kWrite || file->kind != FileKind::kSegment) return absl::OkStatus();
    if (closing && refused++ >= 5) return absl::OkStatus();
    return absl::UnavailableError("EMFILE");
  });
  std::optional<Status> written;
  spawn(context.get_executor(), "a test", [](auto work, auto& result) -> awaitable<void> {
    result = co_await std::move(work);
  }(put(*store, "key", "value"), written));
  sleep(10'000);
  EXPECT_FALSE(written.has_value());
  closing = true;
  EXPECT_TRUE(run(store->close())->ok());
  EXPECT_TRUE(written.has_value() && written->ok());
  EXPECT_GT(refused, 5);
  take_apart(std::move(store));
  check();
}

TEST_F(FaultTest, WhoWaitedForWhatFailedHearsThatItMayHaveBeenKept) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  volume.fail_nth(1, true, absl::DataLossError("EIO"), [](Call call, std::optional<FileId> file) {
    return call == Call::kWrite && file->kind == FileKind::kSegment;
  });
  const std::string unknown = "may or may not have been kept";
  const Status first = *run(put(*store, "key", "value")), later = *run(put(*store, "key", "other"));
  EXPECT_NE(first.message().find(unknown), std::string::npos) << first;
  EXPECT_EQ(later.message().find(unknown), std::string::npos) << later;
  take_apart(std::move(store));
}

// prepare() once wrote a flag that fail() had set, and a failed log took writes again.
TEST_F(FaultTest, AFailedLogStaysFailed) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  bool no_room = true;
  volume.set([&](Call call, std::optional<FileId> file) -> Status {
    if (call == Call::kCreate && no_room) return disk_full("ENOSPC");
    if (call == Call::kWrite && file->kind == FileKind::kSegment) return absl::DataLossError("EIO");
    return absl::OkStatus();
  });
  EXPECT_FALSE(run(put(*store, "key", "value"))->ok());
  no_room = false;
  for (int i = 0; i < 50; i++) {
    EXPECT_FALSE(run(put(*store, "key", "value"))->ok());
    EXPECT_FALSE(store->log().admit(Need::kPut).ok());
    EXPECT_FALSE(store->log().admit(Need::kClean).ok());
    sleep(50);
  }
  EXPECT_FALSE(store->health().ready);
  EXPECT_FALSE(run(store->close())->ok());
  take_apart(std::move(store));
}

// A full volume, restart after restart: puts are refused, deletions are taken, and nothing is eaten
// of what that needs.
TEST_F(FaultTest, RestartsOnAFullVolumeDoNotWedgeTheStore) {
  const std::string value(3000, 'v');
  int key = 0;
  for (int life = 0; life < 12; life++) {
    SCOPED_TRACE(testing::Message() << "life " << life);
    auto store = make();
    if (life == 0) disk.capacity_bytes = 1 << 20;
    auto opened = run(store->open());
    ASSERT_TRUE(opened.has_value() && opened->ok()) << *opened;
    Status refused;
    for (int i = 0; i < 2000 && refused.ok(); i++) {
      refused = *run(put(*store, "key" + std::to_string(key++), value));
    }
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    for (int i = 0; i < 200 && !store->log().admit(Need::kDelete).ok(); i++) sleep(100);
    EXPECT_TRUE(store->log().admit(Need::kDelete).ok()) << store->log().room();
    EXPECT_TRUE(store->log().status().ok()) << store->log().status();
    if (life % 2 == 0) {
      EXPECT_TRUE(run(store->close())->ok());
    }
    take_apart(std::move(store));
    disk.crash(rng);
  }
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  {
    StripeLocks none(*store);
    Transaction t(*store, &none, Shape::kOne);
    EXPECT_TRUE(t.flush(store->database(0)).ok());
  }
  Status taken = absl::UnknownError("");
  for (int i = 0; i < 200 && !taken.ok(); i++) {
    sleep(100);
    taken = *run(put(*store, "again", value));
  }
  EXPECT_TRUE(taken.ok()) << taken;
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
}

// Overwriting a few large values as fast as it goes holds the disk of what lives and a bounded
// rest.
TEST_F(FaultTest, WhatWaitsToBeGivenBackIsBounded) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  volume.delay_frees([&] { return clock.sleep_ms(500); });
  uint64_t most = 0;
  auto overwrite = [&](int client) -> awaitable<void> {
    const std::string value(200'000, 'x');
    for (int i = 0; i < 30; i++) {
      Status done = co_await put(*store, "key" + std::to_string(client % 4), value);
      EXPECT_TRUE(done.ok()) << done;
      most = std::max(most, disk.used_bytes());
    }
  };
  auto all = [&]() -> awaitable<bool> {
    Tasks tasks;
    for (int i = 0; i < 16; i++) tasks.spawn(context.get_executor(), "a client", overwrite(i));
    co_await tasks.ended();
    co_return true;
  };
  EXPECT_TRUE(run(all()).has_value());
  EXPECT_LT(most, 24u << 20);  // 96 MB were written, 1 MB lives
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
}

// An extent file that lost its last extent before the next was opened once stayed for good.
TEST_F(FaultTest, AnExtentFileThatEmptiesBeforeItIsSealedGoes) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const std::string large(300'000, 'x');
  for (int i = 0; i < 40; i++) ASSERT_TRUE(run(put(*store, "key", large))->ok());
  {
    Namespace& ns = store->database(0);
    StripeLocks lock(*store, ns.hash("key"));
    Transaction t(*store, &lock, Shape::kOne);
    ASSERT_TRUE(t.remove(ns, ns.hash("key"), t.find(ns, "key", ns.hash("key"))).ok());
  }
  EXPECT_TRUE(run(store->close())->ok());
  size_t files = 0;
  for (auto& [id, file] : disk.files) files += id.kind == FileKind::kExtents;
  EXPECT_LE(files, 1u);  // the one that is open
  take_apart(std::move(store));
}

// What failed after a segment was removed once failed for ever: its file was looked for again.
TEST_F(FaultTest, TheCleanerGoesOnAfterADirectoryThatWasNotSynced) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  bool removed = false, failed = false;
  volume.set([&](Call call, std::optional<FileId> file) -> Status {
    if (call == Call::kRemove && file->kind == FileKind::kSegment) removed = true;
    if (call != Call::kSyncDirectory || !removed || failed) return absl::OkStatus();
    failed = true;
    return absl::UnavailableError("no descriptor");
  });
  for (int i = 0; i < 300 || (!failed && i < 3000); i++) {
    ASSERT_TRUE(run(put(*store, "key" + std::to_string(i % 7), std::string(3000, 'v')))->ok());
  }
  ASSERT_TRUE(failed);
  const uint64_t freed = store->cleaner().stats().segments_freed;
  for (int i = 0; i < 300; i++) {
    ASSERT_TRUE(run(put(*store, "key" + std::to_string(i % 7), std::string(3000, 'w')))->ok());
    sleep(20);
  }
  EXPECT_TRUE(store->cleaner().stats().status.ok()) << store->cleaner().stats().status;
  EXPECT_GT(store->cleaner().stats().segments_freed, freed);
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  check();
}

// Setting space aside syncs a file that has frames in it: what that sync did not reach, a later one
// does not bring back. So it is with the directory of a new segment.
TEST_F(FaultTest, NoSyncOfTheLogIsAskedForTwice) {
  for (const Call which : {Call::kSetAside, Call::kSyncDirectory}) {
    SCOPED_TRACE(static_cast<int>(which));
    segment_bytes = which == Call::kSetAside ? 16 << 20 : 64 << 10;
    auto store = make();
    ASSERT_TRUE(run(store->open())->ok());
    volume.fail_nth(1, false, absl::DataLossError("EIO"),
                    [&](Call call, std::optional<FileId>) { return call == which; });
    Status refused;
    for (int i = 0; i < 1000 && refused.ok(); i++) {
      refused = *run(put(*store, "key" + std::to_string(i % 7), std::string(7000, 'v')));
    }
    EXPECT_FALSE(refused.ok());
    EXPECT_FALSE(store->log().status().ok());
    EXPECT_TRUE(run(store->close()).has_value());
    take_apart(std::move(store));
    check();
    disk = sim::Disk();
    acknowledged.clear();
  }
}

// Blobs are deleted while the compactor copies, more than may wait to be given back, and at that
// moment the store closes: nobody is left who gives back.
TEST_F(FaultTest, ACompactorThatWaitsForSpaceDoesNotKeepTheStoreOpen) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const std::string small(10'000, 'x'), large(900'000, 'y');
  for (int i = 0; i < 5; i++) {
    ASSERT_TRUE(run(put(*store, "large" + std::to_string(i), large))->ok());
  }
  for (int i = 0; i < 240; i++) {
    ASSERT_TRUE(run(put(*store, "small" + std::to_string(i), small))->ok());
  }
  auto remove = [&](const std::string& key) {
    Namespace& ns = store->database(0);
    StripeLocks lock(*store, ns.hash(key));
    Transaction t(*store, &lock, Shape::kOne);
    Entry* e = t.find(ns, key, ns.hash(key));
    if (e != nullptr) {
      EXPECT_TRUE(t.remove(ns, ns.hash(key), e).ok());
    }
    acknowledged.erase(key);
  };
  bool copies = false;
  volume.set([&](Call call, std::optional<FileId> file) {
    if (call != Call::kRead || file->kind != FileKind::kExtents || copies) return absl::OkStatus();
    copies = true;
    for (int i = 0; i < 5; i++) remove("large" + std::to_string(i));
    return absl::OkStatus();
  });
  for (int i = 0; i < 240; i++) {
    if (i % 20 != 0) remove("small" + std::to_string(i));
  }
  scheduler.run_until([&] { return copies || clock.now_ms() > 1'700'000'000'000 + 60'000; });
  ASSERT_TRUE(copies);
  auto closed = run(store->close());
  ASSERT_TRUE(closed.has_value()) << "close() hangs";
  EXPECT_TRUE(closed->ok());
  take_apart(std::move(store));
  check();
}

// A write that lands in a hole fills it again, and nobody frees it before the next start.
TEST_F(FaultTest, WhatAWriterLeavesIsFreedWhenItsWritesHaveLanded) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  int freed = 0;
  volume.set([&](Call call, std::optional<FileId> file) {
    if ((call == Call::kPunch || call == Call::kRemove) && file->kind == FileKind::kExtents) {
      freed++;
      EXPECT_EQ(volume.writing(), 0);
    }
    return absl::OkStatus();
  });
  auto give_up = [&](uint64_t bytes) -> awaitable<Status> {
    BlobWriter writer(store->extents(), bytes);
    const std::string text(bytes, 'x');
    co_return co_await writer.append(as_bytes(text));
  };
  for (uint64_t i = 1; i <= 40; i++) {
    ASSERT_TRUE(run(give_up(i * 100'000))->ok());
    sleep(100);
  }
  EXPECT_GT(freed, 0);
  EXPECT_EQ(store->extents().stats().extents, 0u);
  EXPECT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
}

}  // namespace
}  // namespace cairn
