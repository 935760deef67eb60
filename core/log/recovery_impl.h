// What recover_log() does, for recovery*.cc alone: finds the segments that the manifest names
// (recovery.cc), reads each (recovery_scan.cc), and puts them in order (recovery_join.cc).
//
// Threads: each executor reads one segment at a time; what a member says of itself holds else.
#pragma once

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/log/recovery.h"

namespace cairn {

class Recovery {
 public:
  Recovery(Volume& volume, const RecoveryOptions& options) : volume_(volume), o_(options) {}

  awaitable<StatusOr<RecoveredLog>> run();

 private:
  struct Segment {
    SegmentPlace place;
    uint64_t end = 0;            // sealed end as an LSN; 0: not known, or not sealed
    bool header_intact = false;  // the block at its start
  };
  // What was found in one. Offsets are from its start.
  struct Scan {
    bool skipped = false;
    uint64_t proven_end = 0;
    uint64_t records = 0;    // that were applied
    uint64_t frames = 0;     // that are whole
    uint64_t head_end = 0;   // where the transaction ends that the segment begins in the middle of
    bool head_open = false;  // it does not end in this segment
    bool head_joined = false;  // with its beginning, and applied
    uint64_t tail = 0;         // where the transaction begins that does not end in this segment
    std::vector<LsnRange> lost;
    Status status;
  };
  // A part of a transaction that lies in several segments: offsets in one of them.
  struct Part {
    size_t segment;
    uint64_t from, to;
  };
  // The bytes of a segment, as they come: [0, size) of the buffer, from where the replay begins. So
  // that a segment does not take all of its size, it is not read far ahead unless that is wanted,
  // and what was used goes.
  struct Reading {
    uint64_t size = 0;
    uint64_t used = 0;
    bool ended = false;
    bool wanted = false;  // nothing can be done with what has come
    bool over = false;    // nobody reads on
    Status status;
    Gate more, less;
  };

  static FileId file(SegmentId segment) { return {FileKind::kSegment, segment.value()}; }
  static std::string name(SegmentId segment);
  bool skipped(const Segment& s) const { return s.end != 0 && s.end <= from_; }
  // Whether it was known when the store stopped that nothing lies from there on.
  bool known_empty(uint64_t lsn) const { return o_.clean_stop && lsn >= o_.proven.value(); }
  // The end of the range that holds `lsn` and that an earlier repair, or this one, gave up; or 0.
  uint64_t lost_before(uint64_t lsn) const;
  // Damage: an error, or with repair a range that is lost.
  Status lose(std::vector<LsnRange>& lost, uint64_t from, uint64_t to, const std::string& what);
  Status lose(uint64_t from, uint64_t to, const std::string& what);

  // ---- recovery.cc ----

  awaitable<Status> find_segments();
  // The header of a segment, and what its first frame says of the segment before it.
  awaitable<Status> look_at(Segment& segment);
  // After all segments were read: which of them do not hold, and which have lost their header
  // alone.
  Status check_scans();
  // The last one: nothing is needed of it.
  void drop_last();
  // Those at the end that are named and were not used.
  void drop_unused();
  // A life that wrote nothing leaves nothing: restarts alone do not use up a full volume.
  void drop_empty();
  // The log must reach as far as it was proven to.
  Status check_end();

  // ---- recovery_scan.cc ----

  awaitable<void> work();
  awaitable<void> scan(size_t i, AlignedBuffer& buffer);
  awaitable<void> read(SegmentId id, AlignedBuffer& buffer, uint64_t end, Reading& out);
  // A block that cannot be read is one that was lost, with repair or since an earlier one; and so
  // is a header's, of which the manifest says the same, and one that nothing was written to.
  awaitable<StatusOr<size_t>> read_some(SegmentId segment, uint64_t offset, MutableBytes into);
  awaitable<void> replay(size_t i, AlignedBuffer& buffer, uint64_t at, Reading& reading);
  // Hands over the records of a frame, which is whole.
  void apply(const FrameHeader& h, std::span<const LogRecord> records, Scan& out);
  void apply(const SegmentPlace& place, const FrameHeader& h, Bytes bytes, Scan& out);
  // The one at `at`; returns its length.
  uint64_t apply(const SegmentPlace& place, Bytes bytes, uint64_t at, Scan& out);
  // No frame begins at `at`, whatever follows these bytes.
  static bool no_frame(const Segment& segment, Bytes bytes, uint64_t at);
  // How far the segment is known to have been durable: from intact frames after `at`, and from what
  // was said elsewhere.
  uint64_t durable_witness(const Segment& segment, Bytes bytes, uint64_t at) const;
  // Nobody looks at what lies before `to` any more.
  static void forget(AlignedBuffer& buffer, Reading& reading, uint64_t to);

  // ---- recovery_join.cc ----
  //
  // Segments are read side by side and joined in order: what a transaction has in the ones before
  // is applied when its end was read. oldest_ is the first that is not joined; all records of those
  // before it were applied but for parts_, which go on in it.

  // A segment was read.
  awaitable<void> pass(size_t i);
  bool crowded(size_t i) const;
  // All records of segment `i` before this offset were handed over, but for those that it begins
  // with and that go on with a transaction.
  awaitable<Status> make_room(size_t i, uint64_t before, bool in_head);
  awaitable<Status> join(size_t i);
  awaitable<Status> join_head(size_t i);
  // What is left at the end: a transaction without its end was never acknowledged, and the log ends
  // where it begins.
  awaitable<Status> join_rest();
  // A transaction in the middle of the log of which a part is missing: before `segment`, whose head
  // may go on with it.
  Status lose_parts(size_t segment);
  awaitable<Status> apply_parts();

  Volume& volume_;
  const RecoveryOptions& o_;
  RecoveredLog log_;
  std::vector<Segment> segments_;
  std::vector<Scan> scans_;
  uint64_t from_ = 0;
  std::atomic<size_t> next_{0};
  Mutex mutex_;
  std::set<uint64_t> unreadable_;      // blocks, under mutex_ while segments are read
  std::set<uint64_t> unread_headers_;  // likewise, of segments: the manifest says the same
  std::vector<bool> passed_;           // under mutex_
  bool joining_ = false;               // under mutex_: somebody does
  std::atomic<size_t> oldest_{0};
  // Segments are joined while others are read: not where something may be lost.
  std::atomic<bool> folds_{false};
  Gate went_on_;  // oldest_, folds_ or what crowded() says is another
  // Of who joins: whoever reads the oldest segment, or has passed it.
  std::vector<Part> parts_;
  bool open_ = false;  // the last of them does not end the transaction
  bool first_ = true;  // none was joined
  Status join_status_;
};

}  // namespace cairn
