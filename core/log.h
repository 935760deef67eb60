// The log's write side: appends from all threads meet in one tail frame; one write and one data
// sync carry all that gathered while the previous one was in flight. No timer, no added delay.
//
// Threads: append, tail, durable, when_durable and tick from any; start and close once, from a
// coroutine on the loop. Its I/O runs where the volume wants it (Volume::log_executor), so that a
// sync waits for no turn of a busy loop; new segments are prepared on the loop.
// Space: one segment is prepared beyond the open one, kReserve once the volume has less than
// kScarce left. When it has no room for more, what is left of them is for deletions and, the last
// of it, for the cleaner; puts are refused (admit) until there is room again. Memory: frames of 256
// KiB, kept for reuse; congested() says when more than kPendingMax waits for the device, and
// callers that can wait then do so before they append more.
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

#include "core/async.h"
#include "core/log_format.h"
#include "core/manifest.h"
#include "core/mutex.h"
#include "core/volume.h"

namespace cairn {

// What a record is appended for; says how far into the reserve it may reach.
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
  Log(Volume& volume, Clock& clock, Manifest& manifest, Executor loop);
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
    if (!trouble_.load(std::memory_order_acquire)) return absl::OkStatus();
    return admit_slow(need);
  }
  // The same for a transaction of so many bytes, which then finds room whole. What the volume has
  // left is known from the last check_space(); a margin of kScarce segments is for what others took
  // since.
  Status admit(Need need, uint64_t bytes) const;
  bool backlogged() const { return pending_bytes_.load(std::memory_order_relaxed) > kPendingMax; }
  // Until the device has caught up, or the log failed.
  awaitable<void> wait_for_backlog();
  bool congested() const { return held_.load(std::memory_order_relaxed) || backlogged(); }
  // While held, congested() is true: the cleaner is too far behind.
  void hold(bool held) { held_.store(held, std::memory_order_relaxed); }

  // The segment that is written now; all before it are sealed, and durable once durable() is past
  // their end. Those prepared after it hold nothing yet.
  SegmentId open_segment() const { return SegmentId(open_number_.load(std::memory_order_acquire)); }
  // The oldest segment, if it is sealed, with its end; and how many are.
  std::optional<std::pair<SegmentId, Lsn>> oldest_sealed() const;
  size_t sealed_segments() const;
  void forget_oldest();  // its file is gone
  uint64_t segment_bytes() const { return start_.segment_bytes; }
  uint64_t prepared_segments() const { return prepared_count_.load(std::memory_order_relaxed); }
  bool full() const { return full_.load(std::memory_order_relaxed); }
  // How much may still be appended if no segment can be made any more.
  uint64_t room() const;
  // Whether the cleaner may append so many bytes more.
  Status room_to_clean(uint64_t bytes) const;
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

  // Wall time, within a second, at which a record was written.
  int64_t time_of(Lsn lsn) const;
  void note_time(Lsn lsn, int64_t wall_ms);

  struct Stats {
    uint64_t frames = 0, syncs = 0, bytes = 0, record_bytes = 0;
  };
  Stats stats() const;

 private:
  static constexpr uint64_t kFrameBytes = 256 << 10;
  static constexpr uint64_t kWriteBytes = 128 << 10;     // written at once, whoever waits
  static constexpr uint64_t kLargeFrameBytes = 4 << 20;  // of a transaction of many frames
  static constexpr uint64_t kPendingMax = 4 << 20;
  static constexpr uint64_t kReserve = 3, kScarce = 8;  // segments

  struct Frame {
    AlignedBuffer buffer;
    uint64_t start = 0;  // LSN of the frame header
    uint64_t used = 0;   // bytes, header included
    uint32_t records = 0;
    uint32_t flags = 0;              // of the header
    std::atomic<uint32_t> fills{0};  // appends that have their place and still copy
  };

  // Finds a place for a frame with at least so many bytes of records; returns how large it may get.
  uint64_t place_frame(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Frame* reserve(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void append_large(std::span<const RecordView> records, std::span<Lsn> lsns, uint64_t total);
  // Lays out the frames of a large transaction; each is counted as being filled.
  std::vector<Frame*> lay_out(std::span<const RecordView> records, std::span<Lsn> lsns);
  void seal_active() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void fill(Frame* frame, uint64_t offset, const RecordView& record, bool goes_on);
  void kick();
  void start_flush();
  awaitable<void> flush();
  awaitable<Status> flush_once();
  awaitable<Status> write_frame(Frame& frame, WriteMode mode, Lsn durable);
  awaitable<Status> open_segment(SegmentId segment, Lsn previous_end);
  void start_prepare();
  awaitable<void> prepare();
  awaitable<Status> make_segment(SegmentId segment);
  Status admit_slow(Need need) const;
  void fail(const Status& status);
  void release_waiters();
  SegmentId segment_of(uint64_t lsn) const { return SegmentId(lsn / start_.segment_bytes); }

  // Constant after start().
  Volume& volume_;
  Clock& clock_;
  Manifest& manifest_;
  const Executor loop_;
  const Executor executor_;  // of the flush
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
  std::atomic<bool> scarce_{false};
  std::atomic<uint64_t> free_bytes_{UINT64_MAX};  // of the volume, when it was asked last
  std::atomic<bool> full_{false};                 // a segment could not be made for want of space
  std::atomic<bool> trouble_{false};              // full_ or failed_
  std::atomic<bool> held_{false};
  std::atomic<uint64_t> tail_{0};  // written under mutex_

  std::atomic<uint64_t> durable_{0};
  std::atomic<uint64_t> pending_bytes_{0};
  std::atomic<uint64_t> sync_wanted_{0};  // someone waits for durable_ to pass this
  std::atomic<bool> flushing_{false};
  Gate changed_;  // preparing_ or flushing_ ended, a flush was written, the log failed

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
  std::atomic<bool> failed_{false};
  std::vector<std::pair<uint64_t, int64_t>> times_ ABSL_GUARDED_BY(wait_mutex_);
};

}  // namespace cairn
