// The log's write side: appends from all threads meet in one tail frame; one write and one data
// sync carry all that gathered while the previous one was in flight. No timer, no added delay.
//
// Threads: append, tail, durable, when_durable and tick from any; start and close once, from a
// coroutine on the loop. Its I/O runs where the volume wants it (Volume::log_executor), so that a
// sync waits for no turn of a busy loop; new segments are prepared on the loop.
// Space: what is about to be written is set aside first, a little of the first segment and more as
// it fills, one segment beyond the open one once that is half full, kReserve of them while the
// volume has less than kScarce left. When it has no room for more, what is left of them is for
// deletions and, the last of it, for the cleaner; puts are refused (admit) until there is room
// again. All that is known when start() returns, so that restarts do not use the reserve up. When a
// segment cannot be made for another reason that may pass (no descriptors), the same holds, with
// less kept, and it is tried again; closing, a bounded number of times. Memory: frames of 256
// KiB, kept for reuse; congested() says when more than kPendingMax waits for the device, and
// callers that can wait then do so before they append more. So it does when
// what was appended has waited for kLateMs.
//
// Invariants
//  1. Records are in LSN order in the log; an append that returned before another began has the
//     smaller LSN.
//  2. durable() only grows, and covers a record only after its frame and all before it were synced.
//  3. Each frame starts on a block that was never written in this life of the segment.
//  4. A segment is named in the manifest before anything is written to it, and its first frame is
//     written only after all of the segment before it is durable.
//  5. After a failed write or sync nothing more becomes durable: status() stays an error.
#pragma once

#include <absl/functional/any_invocable.h>

#include <atomic>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/log/log_format.h"
#include "core/log/manifest.h"
#include "core/volume/volume.h"

namespace cairn {

// What a record is appended for; says how far into the reserve it may reach. kClean is also for
// what frees all that a namespace holds.
enum class Need : uint8_t { kPut, kDelete, kClean };

struct LogStart {
  uint64_t store = 0;
  uint32_t epoch = 0;  // already durable, larger than any before
  uint64_t segment_bytes = 0;
  SegmentId segment;                              // the new segment to open
  Lsn previous_end;                               // proven end of the log so far
  std::vector<std::pair<SegmentId, Lsn>> sealed;  // the segments before it, with their ends
};

class Log {
 public:
  Log(Volume& volume, Clock& clock, Manifest& manifest, Executor loop, Report report = {});
  ~Log();

  // Opens the first segment of this life. Nothing may be appended before.
  awaitable<Status> start(const LogStart& start);
  // Writes and syncs all, then stops. Nothing may be appended after.
  awaitable<Status> close();
  // Destroys who still waits; for an owner that is going away.
  void drop_waiters();

  // Gives the record its place. The bytes are copied; the record is durable only once
  // durable() > the LSN. Callers check status() before they change anything.
  Lsn append(const RecordView& record);
  // One transaction: all records replay, or none. Each is at most record_bytes_max() long, all
  // together batch_bytes_max(); who appends more than a segment holds asks admit() for room first.
  void append_batch(std::span<const RecordView> records, std::span<Lsn> lsns);
  uint64_t record_bytes_max() const;
  static constexpr uint64_t batch_bytes_max() { return uint64_t{1} << 30; }

  Lsn durable() const { return Lsn(durable_.load(std::memory_order_acquire)); }
  bool is_durable(Lsn lsn) const { return lsn < durable(); }
  Lsn tail() const;
  Status status() const;  // OK while the log takes writes
  // Whether a record may be appended: status(), or ResourceExhausted for want of space.
  Status admit(Need need) const {
    if (trouble_.load(std::memory_order_acquire) == 0) return absl::OkStatus();
    return admit_slow(need);
  }
  // The same for a record of so many bytes that is small: true says that it may, whatever for.
  bool admits_small(uint64_t bytes) const {
    return trouble_.load(std::memory_order_acquire) == 0 && bytes <= start_.segment_bytes / 4;
  }
  // The same for a transaction of so many bytes, which then finds room whole. What the volume has
  // left is known from the last check_space(); a margin of kScarce segments is for what others took
  // since.
  Status admit(Need need, uint64_t bytes) const {
    Status s = admit(need);
    // One prepared segment is always left.
    return !s.ok() || bytes <= start_.segment_bytes / 2 ? s : admit_large(bytes);
  }
  // Others took so much of the volume since the last check_space(), or are about to: the reserve is
  // set aside before they have taken what it needs. Any thread.
  void note_taken(uint64_t bytes);
  // A transaction of more is *large*. Others do not wait for the device to have it; who wrote it
  // does, whatever he wished, so that not more of them are in memory than there are writers.
  static constexpr uint64_t kLargeBytes = 4 << 20;
  bool backlogged() const { return pending_bytes_.load(std::memory_order_relaxed) > kPendingMax; }
  // Until the device has caught up, or the log failed.
  awaitable<void> wait_for_backlog();
  // Until the device has all that is large so far, or the log failed. For who may write much that
  // is large himself.
  awaitable<void> wait_for_large();
  bool has_large() const { return large_end_.load() > written_.load(); }
  bool congested() const {
    return held_.load(std::memory_order_relaxed) || backlogged() || late_ms() > kLateMs;
  }
  // How old the oldest record is that lies in this process alone, not given to the device yet or
  // not taken by it; 0: none does. Once that is kLateMs who writes waits, so that what was
  // acknowledged before it was durable, and can be lost with the process, was all written in that
  // time.
  int64_t late_ms() const {
    int64_t since = unwritten_since_ms_.load(std::memory_order_relaxed);
    if (since == 0) return 0;
    const int64_t now = clock_.now_ms();
    if (now < since) unwritten_since_ms_.compare_exchange_strong(since, now);  // it was set back
    return std::max<int64_t>(now - since, 0);
  }
  static constexpr int64_t kLateMs = 1000;
  // While held, congested() is true: the cleaner is too far behind.
  void hold(bool held) { held_.store(held, std::memory_order_relaxed); }

  // The segment that is written now; all before it are sealed, and durable once durable() is past
  // their end. Those prepared after it hold nothing yet.
  SegmentId open_segment() const { return SegmentId(open_number_.load(std::memory_order_acquire)); }
  // The oldest segment, if it is sealed, with its end; and how many are.
  std::optional<std::pair<SegmentId, Lsn>> oldest_sealed() const;
  size_t sealed_segments() const;
  void forget_oldest();  // its file is gone
  // Where to read what follows `at`, an LSN: in this segment, from `first` to `end`, which is
  // durable. Nothing is there yet if `at` is at the end.
  struct Stretch {
    SegmentId segment;
    Lsn first, end;
    Lsn next;           // where the segment after it begins; invalid: more will come in this one
    bool gone = false;  // segments behind `at` were cleaned away
  };
  Stretch stretch(Lsn at) const;
  // Until something behind `at` is durable; nobody syncs for that. Cancelled: the log was closed.
  awaitable<Status> wait_for_more(Lsn at);
  // The same for so long at most, and for whoever is content with less.
  awaitable<void> wait_for_more(Lsn at, int64_t ms);
  uint64_t segment_bytes() const { return start_.segment_bytes; }
  uint64_t store() const { return start_.store; }
  const Manifest& manifest() const { return manifest_; }
  uint64_t prepared_segments() const { return prepared_count_.load(std::memory_order_relaxed); }
  bool full() const { return (trouble_.load(std::memory_order_relaxed) & kFull) != 0; }
  // Why puts are refused, or will be if it goes on: the log failed, no segment can be made, or what
  // the volume has left is too little.
  Status trouble() const;
  // How much may still be appended if no segment can be made any more.
  uint64_t room() const;
  // Whether the cleaner may append so many bytes more.
  Status room_to_clean(uint64_t bytes) const;
  // The cleaner appends at most so much of the segment that it is at, and has appended this; both 0
  // between two segments.
  void note_cleaning(uint64_t copies, uint64_t copied);
  // Once nobody makes segments: all that can be made are there.
  awaitable<void> prepared();
  // Looks how much room the volume has, and prepares segments accordingly; called now and then.
  awaitable<void> check_space();

  // Where a frame begins or will begin: records that are in the log but not before it come after.
  Lsn replay_start() const;
  std::vector<std::pair<uint64_t, int64_t>> times() const;  // what time_of() knows

  // Calls `done` on `executor` once the record is durable (or the log failed), asking for a sync
  // now. All that become ready together for one executor go there together.
  void when_durable(Lsn lsn, Executor executor, absl::AnyInvocable<void(Status)> done);
  awaitable<Status> wait_durable(Lsn lsn);

  // Called now and then: writes what waits, and syncs too if asked.
  void tick(bool sync);

  // Wall time at which a record was written, or rather the first one in the same second: as that
  // of every record which is not very old, it stays the same in every life.
  int64_t time_of(Lsn lsn) const;
  void note_time(Lsn lsn, int64_t wall_ms);

  struct Stats {
    uint64_t frames = 0, syncs = 0, bytes = 0, record_bytes = 0;
    uint64_t changes = 0;  // records that were appended, without the cleaner's copies
  };
  Stats stats() const;

 private:
  static constexpr uint64_t kFrameBytes = 256 << 10;
  static constexpr uint64_t kWriteBytes = 128 << 10;     // written at once, whoever waits
  static constexpr uint64_t kLargeFrameBytes = 4 << 20;  // of a transaction of many frames
  static constexpr uint64_t kPendingMax = 4 << 20;
  static constexpr uint64_t kReserve = 3, kScarce = 8;  // segments
  // Set aside of the first segment, and so many times as much whenever half of it is used.
  static constexpr uint64_t kFirstReserve = 4 << 20, kReserveGrowth = 4;
  static constexpr uint64_t kLeastReserve = 64 << 10;  // where there is no room for that
  static constexpr int64_t kRetryMs = 100;
  static constexpr int kTries = 30;  // while it starts or closes
  static constexpr int64_t kIdleMs = 10'000;

  struct Frame {
    AlignedBuffer buffer;
    uint64_t start = 0;  // LSN of the frame header
    uint64_t used = 0;   // bytes, header included
    uint64_t large = 0;  // so many of them are a large transaction's
    uint32_t records = 0;
    uint32_t flags = 0;              // of the header
    int64_t wall_ms = 0;             // likewise
    std::atomic<uint32_t> fills{0};  // appends that have their place and still copy
  };

  // Finds a place for a frame with at least so many bytes of records; returns how large it may get.
  uint64_t place_frame(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Frame* reserve(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void append_large(std::span<const RecordView> records, std::span<Lsn> lsns, uint64_t total);
  // Lays out the frames of a large transaction; each is counted as being filled.
  std::vector<Frame*> lay_out(std::span<const RecordView> records, std::span<Lsn> lsns,
                              uint64_t total);
  void note_pending(uint64_t bytes) {
    if (bytes <= kLargeBytes) pending_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  void seal_active() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void fill(Frame* frame, uint64_t offset, const RecordView& record, bool goes_on);
  void kick();
  void start_flush();
  awaitable<void> flush();
  awaitable<Status> flush_once();
  awaitable<Status> write_frame(Frame& frame, WriteMode mode, Lsn durable);
  awaitable<Status> write_in_time(Frame& frame, WriteMode mode);
  void note_unwritten(int64_t now_ms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (unwritten_since_ms_.load(std::memory_order_relaxed) == 0) unwritten_since_ms_ = now_ms;
  }
  void note_written(const Frame* next);
  awaitable<Status> open_segment(SegmentId segment, Lsn previous_end);
  awaitable<Status> wait_for_room(Lsn end);
  uint64_t room_wanted() const;
  void start_prepare();
  awaitable<void> prepare();
  awaitable<Status> prepare_more();
  awaitable<Status> make_segment(SegmentId segment, uint64_t& reserve);
  Status admit_slow(Need need) const;
  Status admit_large(uint64_t bytes) const;
  Status refusal() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(wait_mutex_);
  void fail(const Status& status);
  // A sync that failed is not asked for again; what found no room or descriptor did not begin.
  void fail_unless_it_passes(const Status& synced);
  void note_trouble(const Status& made);
  void note_free(uint64_t bytes);
  void release_waiters();
  SegmentId segment_of(uint64_t lsn) const { return SegmentId(lsn / start_.segment_bytes); }

  // Constant after start().
  Volume& volume_;
  Clock& clock_;
  Manifest& manifest_;
  const Executor loop_;
  const Executor executor_;  // of the flush
  const Report report_;
  LogStart start_;

  // Owned by the flush coroutine, one at a time.
  SegmentId open_segment_;
  bool unsynced_ = false;  // plain writes since the last sync
  Lsn written_end_;
  Lsn previous_end_;  // of the open segment: where the one before it was sealed

  std::atomic<uint64_t> open_number_{UINT64_MAX};  // open_segment_, for others
  std::atomic<uint64_t> prepared_end_{0};          // number after the last prepared segment
  std::atomic<size_t> prepared_count_{0};
  std::atomic<bool> preparing_{false};
  std::atomic<uint64_t> room_end_{0};             // the LSN up to which space is set aside
  std::atomic<uint64_t> free_bytes_{UINT64_MAX};  // of the volume, when it was asked last
  std::atomic<uint64_t> cleaner_copies_{0}, cleaner_copied_{0};
  std::atomic<uint64_t> full_room_{UINT64_MAX};  // what was left when the volume was found full
  std::atomic<int64_t> opened_ms_{0};            // when a segment was opened last
  // Of prepare(): a segment whose file is made, and no more is known to be.
  SegmentId half_made_;
  uint64_t half_made_reserve_ = 0;
  // Each bit has one owner: prepare() the first two, fail() the third, note_free() the last.
  static constexpr uint8_t kFull = 1;     // a segment could not be made for want of space
  static constexpr uint8_t kStalled = 2;  // nor for another reason, which may pass
  static constexpr uint8_t kFailed = 4;
  static constexpr uint8_t kTight = 8;  // the volume has little left: puts are looked at
  std::atomic<uint8_t> trouble_{0};
  std::atomic<bool> closing_{false}, closed_{false};
  std::atomic<bool> held_{false};
  std::atomic<uint64_t> tail_{0};  // written under mutex_

  std::atomic<uint64_t> durable_{0};
  std::atomic<uint64_t> pending_bytes_{0};  // of what is not large
  std::atomic<uint64_t> large_end_{0};      // LSN behind the newest that is; under mutex_
  std::atomic<uint64_t> written_{0};        // LSN up to which the device has taken all
  std::atomic<uint64_t> sync_wanted_{0};    // someone waits for durable_ to pass this
  std::atomic<bool> flushing_{false};
  mutable std::atomic<int64_t> unwritten_since_ms_{0};  // 0: all records were written
  Gate changed_;  // preparing_ or flushing_ ended, a flush was written, the log failed or closed

  mutable Mutex mutex_;
  std::unique_ptr<Frame> active_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::pair<SegmentId, Lsn>> sealed_segments_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::unique_ptr<Frame>> sealed_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Frame>> free_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_start_ ABSL_GUARDED_BY(mutex_) = 0;  // where the next frame goes
  Stats stats_ ABSL_GUARDED_BY(mutex_);

  mutable Mutex wait_mutex_;
  struct DurableWaiter {
    Lsn lsn;
    Executor executor;
    absl::AnyInvocable<void(Status)> done;
  };
  std::vector<DurableWaiter> waiters_ ABSL_GUARDED_BY(wait_mutex_);
  Status status_ ABSL_GUARDED_BY(wait_mutex_);
  Status prepare_status_ ABSL_GUARDED_BY(wait_mutex_);
  bool scarce() const { return (trouble_.load(std::memory_order_relaxed) & kTight) != 0; }
  bool stuck() const { return (trouble_.load(std::memory_order_acquire) & ~kTight) != 0; }
  bool failed() const { return (trouble_.load(std::memory_order_acquire) & kFailed) != 0; }
  std::vector<std::pair<uint64_t, int64_t>> times_ ABSL_GUARDED_BY(wait_mutex_);
};

}  // namespace cairn
