// A volume that fails at its n-th call, for n = 1, 2, … until a whole life goes through without
// reaching it: nothing that was acknowledged is lost, nothing hangs, and close() ends.
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/store/store.h"
#include "core/store/transaction.h"
#include "kv/types/hash.h"
#include "tests/core/fault_volume.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

struct FaultTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume real{disk, scheduler, rng};
  FaultVolume volume{real};
  ChunkPool pool;
  std::map<std::string, std::string> acknowledged;  // what must be there, if not changed since
  std::map<std::string, std::set<std::string>> tried;

  template <class T>
  std::optional<T> run(awaitable<T> work, int64_t patience_ms = 600'000) {
    std::optional<T> result;
    const int64_t until = clock.now_ms() + patience_ms;
    spawn(context.get_executor(), "a test", [](auto work, auto& result) -> awaitable<void> {
      result = co_await std::move(work);
    }(std::move(work), result));
    scheduler.run_until([&] { return result.has_value() || clock.now_ms() > until; });
    return result;
  }
  void sleep(int64_t ms) {
    run([](Clock& c, int64_t wait_ms) -> awaitable<bool> {
      co_await c.sleep_ms(wait_ms);
      co_return true;
    }(clock, ms));
  }
  bool repair = false;
  double amplification = 2;
  std::unique_ptr<Store> make() {
    StoreOptions options;
    options.segment_bytes = 64 << 10;
    options.extent_threshold = 8 << 10;
    options.extent_file_bytes = 1 << 20;
    options.extent_debt_bytes = 4 << 20;
    options.random_seed = 5;
    options.repair = repair;
    options.space_amplification = amplification;
    options.collections[static_cast<size_t>(ValueType::kHash)] = kv::Hash::make;
    return std::make_unique<Store>(volume, clock, pool,
                                   std::vector<Executor>{context.get_executor()}, options);
  }
  void take_apart(std::unique_ptr<Store> store) {
    for (int i = 0; i < 20; i++) {  // what was cut off goes before what it points to
      scheduler.clear();
      store->drop_waiters();
      context.restart();
      context.poll();
    }
    store.reset();
  }

  awaitable<Status> put(Store& store, std::string key, std::string value) {
    Namespace& ns = store.database(0);
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value;
    std::string encoded;
    if (value.size() > store.options().extent_threshold) {
      BlobWriter writer(store.extents(), value.size());
      Status added = co_await writer.append(as_bytes(value));
      if (!added.ok()) co_return added;
      auto blob = co_await writer.finish();
      if (!blob.ok()) co_return blob.status();
      encoded = blob->encode();
      r.value = encoded;
      r.flags = kRecordIsBlob;
    }
    tried[key].insert(value);
    Lsn lsn;
    {
      StripeLocks lock(store, ns.hash(key));
      Transaction t(store, &lock, Shape::kOne);
      Status done = t.put(ns, ns.hash(key), r);
      if (!done.ok() && r.flags != 0) store.extents().unref(*BlobRef::decode(encoded));
      if (!done.ok()) co_return done;
      lsn = *t.commit();
    }
    Status durable = co_await store.log().wait_durable(lsn);
    if (!durable.ok()) co_return durable;
    acknowledged[key] = value;
    tried[key] = {value};
    co_return durable;
  }
  awaitable<StatusOr<std::string>> get(Store& store, std::string key) {
    Namespace& ns = store.database(0);
    std::unique_ptr<BlobReader> reader;
    while (reader == nullptr) {
      {
        StripeLocks lock(store, ns.hash(key));
        Now now(store.clock());
        Entry* e = store.find(ns, key, ns.hash(key), now);
        if (e == nullptr) co_return absl::NotFoundError(key);
        if (!e->is_blob() && !e->is_cold()) co_return std::string(e->value());
        if (e->is_blob()) {
          const BlobRef ref = *BlobRef::decode(e->value());
          reader = std::make_unique<BlobReader>(store.extents(), ref, 0, ref.size);
          break;
        }
      }
      Status fetched = co_await store.faults().fetch(ns.shared_from_this(), key);
      if (!fetched.ok()) co_return fetched;
    }
    co_return co_await reader->read_all(1 << 30);
  }
  awaitable<Status> work(Store& store) {
    for (int i = 0; i < 40; i++) {
      const std::string key = "key" + std::to_string(i % 7);
      const std::string text(i % 3 == 0 ? 20'000 : 3000, static_cast<char>('a' + i % 26));
      (void)co_await put(store, key, text + std::to_string(i));
    }
    co_return absl::OkStatus();
  }
  // A life with faults; whether it opened.
  bool live() {
    auto store = make();
    auto opened = run(store->open());
    EXPECT_TRUE(opened.has_value()) << "open() hangs";
    if (opened && opened->ok()) {
      EXPECT_TRUE(run(work(*store)).has_value()) << "a client hangs";
      EXPECT_TRUE(run(store->close()).has_value()) << "close() hangs";
    }
    take_apart(std::move(store));
    return opened && opened->ok();
  }
  // And one without, after a crash: what was acknowledged is there.
  void check() {
    disk.crash(rng);
    auto store = make();
    auto opened = run(store->open());
    ASSERT_TRUE(opened.has_value() && opened->ok()) << *opened;
    for (auto& [key, value] : acknowledged) {
      auto got = run(get(*store, key));
      ASSERT_TRUE(got.has_value() && got->ok()) << key << " " << got->status();
      EXPECT_TRUE(tried[key].contains(**got)) << key << ": neither what was acknowledged nor later";
    }
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }

  // Every call of a life fails once, or it and all after it.
  void sweep(const Status& with, bool lasts,
             std::function<bool(Call, std::optional<FileId>)> concerns) {
    for (uint64_t n = 1;; n++) {
      SCOPED_TRACE(testing::Message() << "call " << n << ": " << with.message());
      uint64_t seen = 0;
      volume.set([&](Call call, std::optional<FileId> file) {
        if (!concerns(call, file)) return absl::OkStatus();
        seen++;
        return seen == n || (lasts && seen > n) ? with : absl::OkStatus();
      });
      live();
      volume.heal();
      check();
      if (HasFailure() || seen < n) return;
      ASSERT_LT(n, 5000u);
    }
  }
};

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

// ---- what an independent reading found ----

constexpr uint64_t kSegment = 64 << 10;

struct RepairTest : FaultTest {
  std::set<uint64_t> blocks;  // of the records of put_together()

  // Keys m0, m1, … in one transaction, and durable.
  awaitable<Status> put_together(Store& store, int count, size_t bytes) {
    Namespace& ns = store.database(0);
    std::vector<std::string> keys;
    std::vector<KeyHash> hashes;
    for (int i = 0; i < count; i++) {
      keys.push_back("m" + std::to_string(i));
      hashes.push_back(ns.hash(keys.back()));
    }
    const std::string value(bytes, 'x');
    StripeLocks lock(store);
    lock.lock(hashes);
    Lsn lsn;
    {
      Transaction t(store, &lock, Shape::kSeveral);
      for (size_t i = 0; i < keys.size(); i++) {
        RecordView r;
        r.ns = ns.id;
        r.key = keys[i];
        r.value = value;
        Status put = t.put(ns, hashes[i], r);
        if (!put.ok()) co_return put;
      }
      auto done = t.commit();
      if (!done.ok()) co_return done.status();
      lsn = *done;
      for (size_t i = 0; i < keys.size(); i++) {
        blocks.insert(ns.index->find(keys[i], hashes[i])->lsn().value() / kBlockBytes);
      }
    }
    lock.unlock();
    co_return co_await store.log().wait_durable(lsn);
  }
  // A hash's first field, or one more.
  awaitable<StatusOr<Lsn>> put_field(Store& store, std::string key, bool first) {
    Namespace& ns = store.database(0);
    std::string operation;
    kv::Hash::add_set(operation, first ? "f" : "g", "1");
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = operation;
    r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
    Lsn lsn;
    {
      StripeLocks lock(store, ns.hash(key));
      Transaction t(store, &lock, Shape::kOne);
      Status done;
      if (first) {
        done = t.put(ns, ns.hash(key), r);
      } else {
        r.type = RecordType::kOperation;
        done = t.operate(ns, ns.hash(key), ns.index->find(key, ns.hash(key)), r);
      }
      if (!done.ok()) co_return done;
      lsn = *t.commit();
    }
    Status durable = co_await store.log().wait_durable(lsn);
    if (!durable.ok()) co_return durable;
    co_return lsn;
  }
  sim::Disk copy() const {
    sim::Disk copy;
    for (auto& [id, file] : disk.files) copy.files[id] = std::make_shared<sim::Disk::File>(*file);
    return copy;
  }
  void zero(uint64_t lsn) {
    auto& file = *disk.files.at({FileKind::kSegment, lsn / kSegment});
    const uint64_t at = lsn % kSegment / kBlockBytes * kBlockBytes;
    std::fill_n(file.view.begin() + static_cast<ptrdiff_t>(at), kBlockBytes, std::byte{});
    file.durable = file.view;
  }
  void kill(std::unique_ptr<Store> store) {
    take_apart(std::move(store));
    disk.crash(rng);
  }
  // Opens, counts the keys of put_together(), and is killed.
  StatusOr<int> open(bool repairing, std::vector<std::string>* buckets = nullptr) {
    repair = repairing;
    auto store = make();
    auto opened = run(store->open());
    StatusOr<int> keys = absl::UnknownError("it hangs");
    if (opened && !opened->ok()) keys = *opened;
    if (opened && opened->ok()) {
      keys = 0;
      for (size_t s = 0; s < kStripes; s++) {
        store->database(0).index->for_each(s, [&](Entry* e) { *keys += e->key()[0] == 'm'; });
      }
      if (buckets != nullptr) {
        for (auto& ns : store->buckets()) buckets->push_back(ns->name);
      }
    }
    kill(std::move(store));
    return keys;
  }
  // Refused, repaired, and from then on open.
  int refused_and_repaired(std::vector<std::string>* buckets = nullptr) {
    auto refused = open(false);
    EXPECT_TRUE(absl::IsDataLoss(refused.status())) << refused.status();
    EXPECT_NE(refused.status().message().find("--repair"), std::string::npos) << refused.status();
    auto repaired = open(true);
    EXPECT_TRUE(repaired.ok()) << repaired.status();
    auto again = open(false, buckets);
    EXPECT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(repaired.value_or(-1), again.value_or(-2));
    return again.value_or(-1);
  }
};

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

// A transaction on one thread has flushed, holds all stripes, and is given up; meanwhile a
// checkpoint is written on another.
TEST_F(RepairTest, ACheckpointWithinAFlushThatIsGivenUpHasAllKeys) {
  amplification = 1000;
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(run(put_together(*store, 20, 300))->ok());
  std::thread writer;
  {
    StripeLocks all(*store);
    all.lock_all();
    Transaction t(*store, &all, Shape::kSeveral);
    ASSERT_TRUE(t.flush_databases().ok());
    writer = std::thread([&] {
      auto& checkpointer = const_cast<Checkpointer&>(store->checkpointer());
      auto written = run(checkpointer.write());
      EXPECT_TRUE(written && written->ok());
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  writer.join();
  ASSERT_TRUE(run(put(*store, "z", "1"))->ok());
  kill(std::move(store));
  EXPECT_EQ(open(false).value_or(-1), 20);
}

}  // namespace
}  // namespace cairn
