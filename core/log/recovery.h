// Reads the log back: proves where it ends, hands every record to the store, refuses damage.
//
// Which segments there are the manifest says, not the directory. What counts as damage: a segment
// that is named and missing, cut short, or without a header and a frame; a frame whose checksums
// fail although something says that it was durable: the seal of its segment, the durable LSN of a
// later frame, the manifest, a checkpoint. A frame that fails with no such witness is a torn tail:
// it was never acknowledged as durable, and is dropped. So is a transaction at the tail without its
// end, in however many segments it lies: the log then ends where it began, and what comes after is
// none of it.
//
// Damage is an error that names the file, the offset, what it costs and what --repair would do;
// with `repair` it becomes a range of LSNs that is lost, and the rest is served.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/log/log_reader.h"
#include "core/log/manifest.h"
#include "core/volume/volume.h"

namespace cairn {

struct RecoveryOptions {
  uint64_t store = 0;
  uint64_t segment_bytes = 0;
  std::vector<ManifestSegment> segments;  // those named, in order
  Lsn proven;                             // before it all was durable
  bool clean_stop = false;                // and nothing comes after it
  std::vector<LsnRange> lost;             // what an earlier repair went over
  std::vector<Executor> executors;        // segments are read in parallel, one at a time on each
  bool repair = false;                    // go on over damage, losing what it names
  // What was appended from `from` on is replayed over what load_base() brings, if that is there
  // still and load_base() succeeds; else all is (core/store/checkpoint.h). It begins a frame. With
  // `repair` all is read nevertheless, and replayed over it.
  Lsn from;
  std::function<awaitable<Status>()> load_base;
  struct Progress {  // in bytes
    std::atomic<uint64_t> done{0}, total{0};
  };
  Progress* progress = nullptr;
  // Called with the records of every frame, in no order of frames, from any of the executors. Of a
  // transaction only once its end was read.
  std::function<void(std::span<const LogRecord>)> apply;
  // What is kept of the records until those before them have come must not take all memory. When
  // `crowded` says that it takes too much, who reads ahead waits, and the one that reads the oldest
  // segment calls `fold` with an LSN before which all have come. It is not called with `repair` and
  // with ranges lost before: records come later than others then.
  std::function<bool(bool ahead)> crowded;
  std::function<awaitable<void>(Lsn before)> fold;
  std::function<void(Lsn, int64_t wall_ms)> note_time;
};

struct RecoveredLog {
  Lsn end;  // proven end; 0 for an empty store
  // Where records lie, one range [first, second) for each segment. Between two ranges there may be
  // LSNs that were handed out and never became durable.
  std::vector<std::pair<Lsn, Lsn>> proven;
  SegmentId first_segment;        // of those that hold records; invalid if none does
  SegmentId next_segment{0};      // to open next
  bool unread = false;            // there are blocks that could not be read, and held nothing known
  std::vector<SegmentId> unused;  // files that hold nothing: proven, unless something was lost
  std::vector<FileId> foreign;    // that are called like segments, and are not (foreign.h)
  uint64_t records = 0;           // that were replayed
  LogLives lives;
  bool on_base = false;
  std::vector<LsnRange> lost;      // that repair went over now
  std::vector<std::string> notes;  // what an operator should know
};

awaitable<StatusOr<RecoveredLog>> recover_log(Volume& volume, const RecoveryOptions& options);

// Runs every job on its executor and returns when all have ended.
awaitable<void> run_all(std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs);

}  // namespace cairn
