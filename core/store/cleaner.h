// The cleaner: keeps the log within a multiple of what lives in it. It takes the oldest segment,
// appends what the index still names again, and frees the segment.
//
// First in, first out: with half of the log dead, a segment that reaches the tail under uniform
// overwrites is 20 % live, so 1.25 bytes are written for each byte of the user's; with one part of
// the data that never changes it is at most multiple / (multiple - 1).
//
// Threads: run() is one coroutine on one executor; the rest from any.
//
// Invariants
//  1. A record is live iff the index names its LSN; nothing else is asked. Its copy has the expiry
//     that the index names: a record that changed it alone is newer, and needs no copy. A record of
//     a collection is live iff it is not older than the oldest that the collection needs.
//  2. A segment is freed only when its copies, and every record that made another of its records
//     dead, are durable: before that a crash would take the old value and the new one.
//  3. What somebody who reads the log still needs stays (core/log/log_pins.h). What the log is
//  larger
//     by for that holds no writer, also while it is cleaned away later.
//  4. Segments go one by one, oldest first, and each is struck off the manifest before it is
//     removed: a tombstone at the tail has nothing older to hide, whatever a crash brings back.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "core/log/log_format.h"
#include "core/log/manifest.h"
#include "core/volume/volume.h"

namespace cairn {

class Keyspace;
class Namespace;

class Cleaner {
 public:
  Cleaner(Keyspace& keyspace, Volume& volume) : keyspace_(keyspace), volume_(volume) {}

  awaitable<void> run();

  struct Stats {
    uint64_t segments_freed = 0;
    uint64_t bytes_read = 0;
    uint64_t bytes_copied = 0;  // records appended again
    uint64_t live_bytes = 0;    // of the log, now
    uint64_t log_bytes = 0;     // segments that hold records, now
    bool kept = false;          // the oldest segment stays for who reads the log
    Status status;              // of the last segment; an error: it stays, and so does all after it
  };
  Stats stats() const;

 private:
  struct Found {
    RecordView record;
    Lsn lsn;
    std::shared_ptr<Namespace> ns;
    uint64_t hash;
  };

  uint64_t log_bytes() const;
  uint64_t live_bytes() const;
  bool wanted();
  awaitable<Status> clean(SegmentId segment, Lsn end);
  awaitable<Status> copy_live(SegmentId segment, Lsn end);
  awaitable<Status> rewrite_large(Lsn end);
  awaitable<StatusOr<Bytes>> load(SegmentId segment, uint64_t offset, uint64_t bytes);
  awaitable<void> pace();
  void take(const RecordView& record, Lsn lsn, int64_t wall_ms);
  void copy_found();
  awaitable<void> copy_held();
  awaitable<void> copy_swap();

  Keyspace& keyspace_;
  Volume& volume_;

  // Owned by run().
  AlignedBuffer buffer_;
  uint64_t buffer_at_ = 0, buffer_end_ = 0;  // offsets in the segment
  std::vector<Found> found_;
  std::vector<Found> held_;  // under stripes that are busy
  // Large collections, to be rewritten: by identity, or by key.
  std::vector<uint64_t> identities_;
  std::vector<std::pair<NamespaceId, std::string>> large_;
  Lsn swap_;  // of a record that says which database holds what
  Status room_;
  std::vector<LsnRange> lost_;        // what cannot be read, and is known to be lost
  std::shared_ptr<Namespace> space_;  // of the record seen last
  SegmentId removed_;                 // the last one, which may still be listed
  uint64_t since_pause_ = 0;
  uint64_t copies_ = 0, copied_before_ = 0;  // of the segment that it is at: Log::note_cleaning
  uint64_t kept_ = 0;                        // of the log, beyond the target, for who reads it
  bool urgent_ = false;

  std::atomic<bool> keeps_{false};
  std::atomic<uint64_t> segments_freed_{0}, bytes_read_{0}, bytes_copied_{0};
  mutable Mutex mutex_;
  Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
