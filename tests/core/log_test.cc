// The log over a simulated volume: transactions of any size through crashes, and what is refused.
#include "core/log/log.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <optional>

#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/log/log_tail.h"
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
  Lsn folded;  // by it: all before had come
  // Of this life.
  LogLives lives;
  Volume* volume_now = nullptr;
  Manifest* manifest_now = nullptr;
  std::map<uint64_t, Lsn> ends;  // of the transaction that a record is of
  bool clean_first = false;      // the next life loses its oldest segment to the cleaner

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
    folded = Lsn();
    options.apply = [this](std::span<const LogRecord> records) {
      for (const LogRecord& r : records) {
        EXPECT_GE(r.lsn, folded);
        found[r.lsn.value()] = r.record.key;
      }
    };
    options.crowded = [this](bool) { return pick(2) == 0; };
    options.fold = [this](Lsn before) -> awaitable<void> {
      folded = std::max(folded, before);
      auto others = co_await asio::this_coro::executor;
      for (uint64_t i = pick(4); i > 0; i--) co_await asio::post(others, asio::use_awaitable);
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
    lives = got->lives;
    lives.add(got->next_segment, known.epoch);
    volume_now = &volume;
    manifest_now = &manifest;
    ends.clear();
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
  Lsn append(Log& log, const std::vector<Item>& items) {
    std::vector<RecordView> records(items.size());
    for (size_t i = 0; i < items.size(); i++) {
      records[i].ns = NamespaceId(0);
      records[i].key = items[i].key;
      records[i].value = items[i].value;
    }
    std::vector<Lsn> lsns(items.size());
    log.append_batch(records, lsns);
    for (size_t i = 1; i < lsns.size(); i++) EXPECT_LT(lsns[i - 1], lsns[i]);
    for (size_t i = 0; i < lsns.size(); i++) {
      found[lsns[i].value()] = items[i].key;
      ends[lsns[i].value()] = lsns.back();
    }
    return lsns.back();
  }
  // Reads a live tail to its end: all from `from` on, in order, each when it is durable.
  awaitable<void> follow(Log& log, Lsn from, size_t& finished) {
    LogTail tail(*volume_now, log, lives, from);
    std::map<uint64_t, std::string> seen;
    for (;;) {
      const auto records = co_await tail.next();
      if (!records.ok()) {
        EXPECT_TRUE(absl::IsCancelled(records.status())) << records.status();
        break;
      }
      EXPECT_FALSE(records->empty());
      for (const LogRecord& r : *records) {
        const uint64_t lsn = r.lsn.value();
        EXPECT_TRUE(seen.empty() || lsn > seen.rbegin()->first);
        EXPECT_TRUE(log.is_durable(ends.contains(lsn) ? ends[lsn] : r.lsn));
        EXPECT_LT(r.lsn, tail.at());
        seen[lsn] = r.record.key;
      }
    }
    const std::map<uint64_t, std::string> want(found.lower_bound(from.value()), found.end());
    EXPECT_EQ(seen.size(), want.size()) << "from " << from.value();
    EXPECT_TRUE(seen == want) << "from " << from.value();
    finished++;
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
  uint64_t next = 1, durable = 0, unfinished = 0, spanning = 0, folded_behind = 0;
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
      for (auto& [lsn, key] : found) {  // one that lies in several segments does not end it
        const size_t records = sizes[std::stoull(key.substr(1))];
        if (records <= 100 || Lsn(lsn) >= folded || !key.ends_with(cat(" ", records))) continue;
        folded_behind += key.find(cat(" ", records - 1, " of")) != key.npos;
      }
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
  EXPECT_GT(folded_behind, 100u);
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

// From anywhere, in the past or not reached yet, of this life or those before, while it is written.
TEST_F(LogTest, ALiveTailGivesWhatIsDurableAndNothingElse) {
  uint64_t next = 1;
  size_t started = 0, finished = 0;
  for (int life = 0; life < 12; life++) {
    auto work = [&](Log& log) -> awaitable<void> {
      auto executor = co_await asio::this_coro::executor;
      Tasks tails;
      for (int k = 0; k < 40; k++) {
        const size_t records = pick(6) == 0 ? 40 + pick(200) : 1 + pick(6);
        const Lsn lsn = append(log, transaction(next++, records, 100 + pick(2000)));
        if (pick(3) == 0) {
          Lsn from(log.tail().value() + pick(3 * kSegmentBytes));
          if (pick(3) != 0) {  // a record's, or right behind it
            auto it = found.begin();
            std::advance(it, static_cast<ptrdiff_t>(pick(found.size())));
            from = Lsn(it->first + pick(2));
          }
          started++;
          tails.spawn(executor, "a tail", follow(log, from, finished));
        }
        const bool waits = pick(2) == 0;
        if (!waits) continue;
        const Status durable = co_await log.wait_durable(lsn);
        EXPECT_TRUE(durable.ok());
      }
      const Status closed = co_await log.close();
      EXPECT_TRUE(closed.ok());
      co_await tails.ended();
    };
    ASSERT_TRUE(live(UINT64_MAX, work));
  }
  EXPECT_EQ(finished, started);
  EXPECT_GT(started, 100u);
}

// Nobody syncs for it; what is cleaned away under it, it says.
TEST_F(LogTest, ALiveTailWaitsAndSaysWhatIsGone) {
  auto work = [&](Log& log) -> awaitable<void> {
    const Lsn first = append(log, transaction(1, 2, 100));
    Status done = co_await log.wait_durable(first);
    EXPECT_TRUE(done.ok());
    LogTail tail(*volume_now, log, lives, Lsn());
    LogTail slow(*volume_now, log, lives, Lsn());
    auto records = co_await tail.next();
    EXPECT_TRUE(records.ok() && records->size() == 2) << records.status();
    append(log, transaction(2, 1, 100));
    auto executor = co_await asio::this_coro::executor;
    bool woken = false;
    Tasks waits;
    auto wait = [](LogTail& waiting, bool& ended) -> awaitable<void> {
      const auto got = co_await waiting.next();
      EXPECT_TRUE(got.ok() && got->size() == 1) << got.status();
      ended = true;
    };
    waits.spawn(executor, "a tail", wait(tail, woken));
    const uint64_t syncs = log.stats().syncs;
    for (int i = 0; i < 50; i++) co_await asio::post(executor, asio::use_awaitable);
    EXPECT_FALSE(woken);
    EXPECT_EQ(log.stats().syncs, syncs);
    const Lsn last = append(log, transaction(3, 100, 1500));
    done = co_await log.wait_durable(last);
    EXPECT_TRUE(done.ok());
    co_await waits.ended();
    EXPECT_TRUE(woken);
    manifest_now->strike_segment(SegmentId(0));  // as the cleaner does
    done = co_await manifest_now->save();
    EXPECT_TRUE(done.ok());
    done = co_await volume_now->remove({FileKind::kSegment, 0});
    EXPECT_TRUE(done.ok());
    records = co_await slow.next();  // before the log knows
    EXPECT_TRUE(absl::IsOutOfRange(records.status())) << records.status();
    log.forget_oldest();
    records = co_await slow.next();
    EXPECT_TRUE(absl::IsOutOfRange(records.status())) << records.status();
    LogTail there(*volume_now, log, lives, Lsn(kSegmentBytes));
    records = co_await there.next();
    EXPECT_TRUE(records.ok() && records->back().lsn >= Lsn(kSegmentBytes)) << records.status();
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
