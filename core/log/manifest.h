// What a store knows about itself where the loss of one block cannot hide it: who it is, which
// files are its own, and how far its log was durable. Two copies, each enough alone.
//
//   manifest = ManifestHeader segment* lost* padding     in each of superblock-0 and superblock-1
//   segment  = u64 number  u64 end  u32 epoch  u32 0     of the log, in order; end: the LSN of its
//                                                        seal, or 0 while it is open or not used
//   lost     = u64 from  u64 to                          LSNs that --repair went over
//
// A segment is named before its first frame is written, an extent file by the number that all are
// below before it is referred to, and a file that is not needed any more is struck off before it is
// removed. So a file of ours (foreign.h) that is not named holds nothing: it may go; one that
// is named and cannot be read is a loss, and is never taken for an empty one.
//
// Both copies are written, one after the other, each with one durable write; nobody relies on what
// they say before both are. One that may not hold, since it was damaged or a write of it failed, is
// written before the other. So at every moment one is whole, and a copy that is not costs nothing.
//
// Threads: any. save() may be awaited on any executor; who comes while one is under way shares the
// next. It is not on the way of a commit: segments and extent files are named ahead.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/volume/volume.h"

namespace cairn {

inline constexpr uint32_t kManifestVersion = 4;
inline constexpr uint32_t kManifestMagic = 0x42534e43;  // "CNSB"
inline constexpr uint32_t kCleanStop = 1;               // nothing was appended after `proven`

struct ManifestHeader {
  uint32_t magic;
  uint32_t crc;  // of all after this field, padding left out; seeded with the number of the copy
  uint32_t version;
  uint32_t epoch;          // grows with every start
  uint64_t store;          // random, never 0
  uint64_t segment_bytes;  // fixed at creation
  uint64_t generation;     // grows with every save
  uint64_t proven;         // all of the log before this LSN was durable
  uint64_t checkpoint;     // the number of the newest; UINT64_MAX: there is none
  uint32_t next_namespace;
  uint32_t next_extent_file;  // numbers from here on were never used
  uint32_t segments;
  uint32_t lost;
  uint32_t flags;
  uint32_t believed_minutes;  // since 1970, of core/store/lock_clock.h; 0: nobody has asked for it
};
static_assert(sizeof(ManifestHeader) == 80);

struct ManifestSegment {
  uint64_t number;
  uint64_t end;
  uint32_t epoch;
  uint32_t reserved;
};
static_assert(sizeof(ManifestSegment) == 24);

struct LsnRange {
  uint64_t from, to;
};

inline bool in_ranges(const std::vector<LsnRange>& ranges, Lsn lsn) {
  for (const LsnRange& r : ranges) {
    if (r.from <= lsn.value() && lsn.value() < r.to) return true;
  }
  return false;
}

struct ManifestState {
  uint32_t epoch = 0;
  uint64_t store = 0;
  uint64_t segment_bytes = 0;
  uint64_t generation = 0;
  uint64_t proven = 0;
  uint64_t checkpoint = UINT64_MAX;
  uint32_t next_namespace = 0;
  uint32_t next_extent_file = 1;
  bool clean_stop = false;
  uint32_t believed_minutes = 0;
  std::vector<ManifestSegment> segments;
  std::vector<LsnRange> lost;

  std::string encode(uint64_t copy) const;
  // Nothing if the bytes are no intact copy; `other_version` gets the version of one that is
  // intact and of another format.
  static std::optional<ManifestState> decode(Bytes bytes, uint64_t copy,
                                             uint32_t* other_version = nullptr);
};

class Manifest {
 public:
  explicit Manifest(Volume& volume) : volume_(volume) {}

  // Reads what is there, or begins with the given values if the volume is empty, and takes the next
  // epoch. Nothing is written before the first save(): a start that is refused changes nothing.
  // DataLoss: no copy can be read, or both are older than the files (manifest_rebuild.h); with
  // `repair` it goes on from what the segments say of themselves. FailedPrecondition: another
  // format. `notes` gets what an operator should know.
  awaitable<Status> open(uint64_t new_store, uint64_t new_segment_bytes, bool repair,
                         std::vector<std::string>& notes);
  // Whether it went on from the files themselves: it then names what was found and no more.
  bool rebuilt() const { return rebuilt_; }
  // Whether the store was stopped after all was durable, and nothing was appended since.
  bool was_clean() const { return was_clean_; }

  ManifestState state() const;
  // Changes what the next save() writes. `fn` takes no lock: others hold theirs when they call.
  template <class Fn>
  void change(Fn fn) {
    MutexLock lock(mutex_);
    fn(state_);
  }
  void note_proven(Lsn lsn);
  void note_next_namespace(uint32_t next);
  void name_segment(SegmentId segment, uint32_t epoch);
  void seal(SegmentId segment, Lsn end);
  void strike_segment(SegmentId segment);

  // Makes durable what was changed before the call. An error is final, but for want of space
  // (ResourceExhausted) and of descriptors (Unavailable).
  awaitable<Status> save();
  // Makes sure that extent files below number + 1 are named.
  awaitable<Status> name_extent_file(uint32_t number);
  void drop_waiters() { saved_.drop(); }

 private:
  awaitable<Status> write();
  awaitable<Status> rebuild(const std::vector<FileInfo>& files);

  Volume& volume_;
  Gate saved_;
  bool rebuilt_ = false, was_clean_ = false;
  // The copies, and which is written first; of open() and then of who saves.
  bool exists_[2] = {false, false};
  bool in_the_way_[2] = {false, false};  // something that is no file has its name
  uint64_t first_ = 0;
  mutable Mutex mutex_;
  ManifestState state_ ABSL_GUARDED_BY(mutex_);
  uint64_t begun_ ABSL_GUARDED_BY(mutex_) = 0, done_ ABSL_GUARDED_BY(mutex_) = 0;  // saves
  uint32_t named_extent_files_ ABSL_GUARDED_BY(mutex_) = 0;                        // durable
  bool saving_ ABSL_GUARDED_BY(mutex_) = false;
  Status failed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
