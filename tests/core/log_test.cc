// The log over a simulated volume: transactions of any size through crashes, and what is refused.
#include "core/log/log.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <map>
#include <optional>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/log/recovery.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

constexpr uint64_t kStore = 77, kSegmentBytes = 64 << 10;

struct Item {
  std::string key, value;
};

// One history of lives over one disk.
struct LogTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{1};
  std::map<uint64_t, std::string> found;  // keys by LSN, of the last recovery
  RecoveredLog recovered;
  bool clean_first = false;  // the next life loses its oldest segment to the cleaner

  uint64_t pick(uint64_t n) { return rng() % n; }

  // One life: recovers, then runs `work` until its end, or a crash at a call of the volume.
  template <class Work>
  bool live(uint64_t crash_at, Work work) {
    asio::io_context context{1};
    sim::Scheduler scheduler(context, rng);
    sim::SimClock clock(scheduler);
    sim::Faults faults;
    faults.crash_at_call = crash_at;
    sim::SimVolume volume(disk, scheduler, rng, faults);
    Manifest manifest(volume);
    Log log(volume, clock, manifest, context.get_executor());
    bool done = false;
    auto run = [&]() -> awaitable<void> {
      Status status = co_await begin(volume, manifest, log, context.get_executor());
      EXPECT_TRUE(status.ok()) << status;
      if (status.ok()) co_await work(log);
      done = true;
    };
    asio::co_spawn(context, run(), asio::detached);
    scheduler.run_until([&] { return done || volume.crashed(); });
    const bool ended = done && !volume.crashed();
    for (int i = 0; i < 20; i++) {
      scheduler.clear();
      log.drop_waiters();
      manifest.drop_waiters();
      context.restart();
      context.poll();
    }
    disk.crash(rng);
    return ended;
  }

  awaitable<Status> begin(Volume& volume, Manifest& manifest, Log& log, Executor executor) {
    found.clear();
    std::vector<std::string> notes;
    Status opened = co_await manifest.open(kStore, kSegmentBytes, false, notes);
    if (!opened.ok()) co_return opened;
    if (std::exchange(clean_first, false)) {  // as the cleaner does
      manifest.strike_segment(SegmentId(0));
      opened = co_await manifest.save();
      if (opened.ok()) opened = co_await volume.remove({FileKind::kSegment, 0});
      if (!opened.ok()) co_return opened;
    }
    const ManifestState known = manifest.state();
    RecoveryOptions options;
    options.store = kStore;
    options.segment_bytes = kSegmentBytes;
    options.segments = known.segments;
    options.proven = Lsn(known.proven);
    options.clean_stop = manifest.was_clean();
    options.executors = {executor, executor};
    options.apply = [this](std::span<const LogRecord> records) {
      for (const LogRecord& r : records) found[r.lsn.value()] = r.record.key;
    };
    auto got = co_await recover_log(volume, options);
    if (!got.ok()) co_return got.status();
    recovered = *got;
    manifest.change([&](ManifestState& m) {
      m.segments.clear();
      for (auto& [first, end] : got->proven) {
        const SegmentId segment(first.value() / kSegmentBytes);
        m.segments.push_back({segment.value(), end.value(), got->lives.epoch_of(segment), 0});
      }
      m.proven = std::max(m.proven, got->end.value());
    });
    Status saved = co_await manifest.save();
    if (!saved.ok()) co_return saved;
    for (SegmentId s : got->unused) {
      Status removed = co_await volume.remove({FileKind::kSegment, s.value()});
      if (!removed.ok()) co_return removed;
    }
    LogStart start{kStore, known.epoch, kSegmentBytes, got->next_segment, got->end, {}};
    for (auto& [first, end] : got->proven) {
      start.sealed.emplace_back(SegmentId(first.value() / kSegmentBytes), end);
    }
    co_return co_await log.start(start);
  }

  static std::vector<Item> transaction(uint64_t number, size_t records, size_t value_bytes) {
    std::vector<Item> items(records);
    for (size_t i = 0; i < records; i++) {
      items[i] = {cat("t", number, " ", i, " of ", records),
                  std::string(value_bytes, static_cast<char>('a' + i % 26))};
    }
    return items;
  }
  static Lsn append(Log& log, const std::vector<Item>& items) {
    std::vector<RecordView> records(items.size());
    for (size_t i = 0; i < items.size(); i++) {
      records[i].ns = NamespaceId(0);
      records[i].key = items[i].key;
      records[i].value = items[i].value;
    }
    std::vector<Lsn> lsns(items.size());
    log.append_batch(records, lsns);
    for (size_t i = 1; i < lsns.size(); i++) EXPECT_LT(lsns[i - 1], lsns[i]);
    return lsns.back();
  }
  // How many records of each transaction were found.
  std::map<uint64_t, size_t> counts() const {
    std::map<uint64_t, size_t> n;
    for (auto& [lsn, key] : found) n[std::stoull(key.substr(1))]++;
    return n;
  }
};

// Through 400 crashes: every transaction is there whole or not at all, those that were durable are,
// in order; and what a recovery decided, the next one finds again.
TEST_F(LogTest, TransactionsOfAnySizeReplayWholeOrNotAtAll) {
  std::map<uint64_t, size_t> sizes;  // of all that is there, and what may be
  uint64_t next = 1, durable = 0, unfinished = 0, spanning = 0;
  for (int i = 0; i < 400; i++) {
    uint64_t last_kept = 0;
    auto work = [&](Log& log) -> awaitable<void> {
      const auto n = counts();
      uint64_t previous = 0;
      for (auto& [number, count] : n) {
        EXPECT_EQ(count, sizes[number]) << "transaction " << number;
        previous = number;
      }
      EXPECT_GE(previous, durable);
      last_kept = previous;
      for (auto it = sizes.begin(); it != sizes.end();) {  // a prefix of what was appended
        const bool kept = n.contains(it->first);
        EXPECT_TRUE(kept || it->first > previous) << it->first;
        unfinished += !kept && it->second > 40;
        it = kept ? std::next(it) : sizes.erase(it);
      }
      durable = previous;
      for (int k = 0; k < 8; k++) {
        const uint64_t number = next++;
        const size_t records = pick(3) == 0 ? 40 + pick(150) : 1 + pick(6);
        spanning += records > 40;
        sizes[number] = records;
        const Lsn lsn = append(log, transaction(number, records, 100 + pick(2000)));
        if (pick(3) == 0) continue;
        if (!(co_await log.wait_durable(lsn)).ok()) co_return;
        durable = number;
      }
    };
    live(20 + pick(120), work);
    if (i % 50 == 49) {  // small again
      disk.files.clear();
      disk.unlinked.clear();
      sizes.clear();
      durable = 0;
    }
  }
  EXPECT_GT(spanning, 150u);
  EXPECT_GT(unfinished, 20u);
}

TEST_F(LogTest, ATransactionWhoseStartWasCleanedIsWhole) {
  auto fill = [&](Log& log) -> awaitable<void> {
    const Lsn lsn = append(log, transaction(1, 200, 1500));
    EXPECT_TRUE((co_await log.wait_durable(lsn)).ok());
    EXPECT_GT(lsn.value(), 4 * kSegmentBytes);
  };
  ASSERT_TRUE(live(UINT64_MAX, fill));
  clean_first = true;
  auto nothing = [](Log&) -> awaitable<void> { co_return; };
  ASSERT_TRUE(live(UINT64_MAX, nothing));
  EXPECT_GT(found.size(), 100u);
  EXPECT_LT(found.size(), 200u);
  EXPECT_EQ(found.rbegin()->second, "t1 199 of 200");
}

TEST_F(LogTest, RecordsThatFitAFrameShareIt) {
  auto work = [&](Log& log) -> awaitable<void> {
    const Lsn a = append(log, transaction(1, 3, 100)), b = append(log, transaction(2, 1, 100));
    EXPECT_LT(b.value() - a.value(), 200u);
    EXPECT_TRUE((co_await log.wait_durable(b)).ok());
    EXPECT_EQ(log.stats().frames, 1u);
  };
  ASSERT_TRUE(live(UINT64_MAX, work));
}

TEST_F(LogTest, ATransactionThatFindsNoRoomIsRefusedBeforeAnythingIsDone) {
  disk.capacity_bytes = 40 * kSegmentBytes;
  auto work = [&](Log& log) -> awaitable<void> {
    co_await log.check_space();
    EXPECT_TRUE(log.admit(Need::kPut, 10 * kSegmentBytes).ok());
    EXPECT_TRUE(is_disk_full(log.admit(Need::kPut, 40 * kSegmentBytes)));
    EXPECT_FALSE(log.admit(Need::kPut, Log::batch_bytes_max() + 1).ok());
    const Lsn lsn = append(log, transaction(1, 5 * kSegmentBytes / 1000, 950));
    EXPECT_TRUE((co_await log.wait_durable(lsn)).ok());
    EXPECT_TRUE(log.status().ok());
  };
  ASSERT_TRUE(live(UINT64_MAX, work));
}

}  // namespace
}  // namespace cairn
