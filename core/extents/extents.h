// Large values on disk: extents in append-only files, written past the page cache.
//
//   extents file = extent*
//   extent       = ExtentHeader block*        header is one page of 4 KiB, blocks 64 KiB, the last
//                                             one shorter and padded with zeros to a page
//
// An extent is filled by one writer, becomes immutable, and lives until nothing refers to it: then
// a hole is punched where it was. Which extents live is derived from the index at recovery.
//
// Threads: ExtentStore from any; a writer or reader by one coroutine at a time, on one executor.
// Memory: a writer holds at most 4 chunks of 1 MiB in flight and one that fills; a reader two of
// them. They come from one pool (core/extents/chunk_pool.h), which calls them back from who does
// not move.
//
// Disk: an extent that nobody needs goes a little later, when the deletion is durable and a hole
// was punched. What waits for that is bounded: beyond a debt of kDebtMax, unless the owner says
// otherwise, whoever takes room waits until as much was given back.
//
// Errors: a file whose sync or write failed takes no more extents; what it was to hold fails, the
// next goes to a new file.
//
// Invariants
//  1. A BlobRef leaves finish() only after all its bytes and headers are durable.
//  2. Every block read was checked against its CRC32C, seeded with store, file and offset.
//  3. An extent is freed only when its count is zero: entries hold one, readers and writers too.
//  4. A life of the store never appends to a file of an earlier one.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/any_invocable.h>

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/extents/blob_ref.h"
#include "core/extents/chunk_pool.h"
#include "core/log/manifest.h"
#include "core/volume/volume.h"

namespace cairn {

struct ExtentHeader;  // core/extents/extent_format.h

class ExtentStore {
 public:
  struct Place {  // an extent, or room for one
    uint32_t file = 0;
    uint32_t page = 0;
    auto operator<=>(const Place&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Place& p) {
      return H::combine(std::move(h), p.file, p.page);
    }
  };

  ExtentStore(Volume& volume, Clock& clock, ChunkPool& pool, Manifest& manifest, Executor executor,
              Report report = {});

  static constexpr int64_t kDebtMax = 256 << 20;
  void set_debt_max(uint64_t bytes) { debt_max_ = static_cast<int64_t>(bytes); }  // before start()
  // Is told of the bytes that a write is about to take, on the writer's thread. Before start().
  void set_taken(std::function<void(uint64_t bytes)> taken) { taken_ = std::move(taken); }

  // Recovery: every live blob is passed to adopt() first, then start() frees all other space,
  // unless `keep` says that records were lost which may refer to it. Files that are referred to and
  // missing cost their blobs alone: missing_files() names them, reading is DataLoss. What is called
  // like an extent file and is none (core/log/foreign.h) stays as it is: foreign_files() names it,
  // and it has to go before the first allocate().
  // `file_bytes_max` bounds the files that are appended to from now on.
  void adopt(const BlobRef& blob);
  awaitable<Status> start(uint64_t store, uint64_t file_bytes_max, bool keep = false);
  const std::vector<uint32_t>& missing_files() const { return missing_; }
  const std::vector<FileId>& foreign_files() const { return foreign_; }
  void drop_waiters() {
    freeing_tasks_.drop();
    changed_.drop();
  }
  // Waits until space that was let go of has been given back to the volume.
  awaitable<void> close();

  void ref(const BlobRef& blob);
  // Lets go; extents that nobody refers to any more are punched out in the background. The caller
  // has made sure that the deletion of what referred to them is durable, or nothing ever did.
  void unref(const BlobRef& blob);

  // Bytes of a blob that nobody names any more, and that will be let go of when that is durable.
  void expect_unref(uint64_t bytes);
  void expected_unref(uint64_t bytes);  // it was
  // More waits to be given back than is good: what makes deletions durable should not wait.
  bool pressed() const { return debt_.load(std::memory_order_relaxed) > debt_max_ / 2; }
  // From now on nobody waits for what is given back: it will not be.
  void stop_waiting();
  // The last failure of a file, if there was one in this life.
  Status trouble() const;

  // For the compactor: files that are full of holes, if there are enough of them to be worth it;
  // a copy of an extent that somebody holds, block by block the same, held once for the caller.
  std::vector<uint32_t> sparse_files() const;
  awaitable<StatusOr<Place>> copy(Place from);
  uint64_t bytes_of(Place place) const;  // the room that an extent takes, somebody holds it

  struct Stats {
    uint64_t files = 0, extents = 0, live_bytes = 0;
  };
  Stats stats() const;

 private:
  friend class BlobWriter;
  friend class BlobReader;

  struct Extent {
    uint32_t refs = 0;
    uint32_t pages = 0;  // room, header included
  };
  struct File {
    uint32_t extents = 0;
    uint32_t pages = 0;  // of its extents
    bool sealed = false;
    bool missing = false;
  };

  static constexpr int kFreersMax = 3;
  static constexpr uint32_t kWholeFile = UINT32_MAX;

  void gave_back(uint64_t bytes);
  void note_kept(FileId file, const Status& freed);
  // The operator learns of what a client will be told.
  void tell(const Status& failed) const;
  // Until so much was given back, if too much waits for that.
  awaitable<void> wait_for_frees(uint64_t bytes);
  // The file takes no more extents.
  void retire(uint32_t file, const Status& why);
  void retire_locked(uint32_t file, const Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool free_later(Place place, uint32_t pages) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Room for an extent with up to `data_bytes`, counted as referred to once.
  awaitable<StatusOr<Place>> allocate(uint64_t data_bytes);
  awaitable<Status> open_file(uint32_t number);
  uint64_t extent_data_max() const;
  // All bytes written to the file before this call are durable when it returns; concurrent callers
  // share one sync.
  awaitable<Status> sync_file(uint32_t file);
  // The extent turned out smaller than its room: the rest goes back.
  void trim(Place place, uint64_t data_bytes);
  void unref_place(Place place);
  awaitable<void> free_extents();

  Volume& volume_;
  Clock& clock_;
  ChunkPool& pool_;
  Manifest& manifest_;
  const Executor executor_;
  const Report report_;
  std::vector<uint32_t> missing_;  // constant after start()
  std::vector<FileId> foreign_;    // likewise
  uint64_t store_ = 0;
  uint64_t file_bytes_max_ = 0;

  mutable Mutex mutex_;
  absl::flat_hash_map<Place, Extent> extents_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, File> files_ ABSL_GUARDED_BY(mutex_);
  uint32_t current_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t newest_ ABSL_GUARDED_BY(mutex_) = 0;  // file that was ever made or tried
  uint64_t current_pages_ ABSL_GUARDED_BY(mutex_) = 0;
  bool opening_ ABSL_GUARDED_BY(mutex_) = false;
  bool retired_ ABSL_GUARDED_BY(mutex_) = false;                            // the current file
  std::deque<std::pair<Place, uint32_t>> to_free_ ABSL_GUARDED_BY(mutex_);  // with pages
  int freers_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t credit_ ABSL_GUARDED_BY(mutex_) = 0;  // given back while the debt was too large
  Status trouble_ ABSL_GUARDED_BY(mutex_);
  int64_t debt_max_ = kDebtMax;          // constant after start()
  std::function<void(uint64_t)> taken_;  // likewise; may be empty
  std::atomic<int64_t> debt_{0};         // bytes that wait to be given back
  std::atomic<bool> patient_{true};
  Tasks freeing_tasks_;
  Gate changed_;  // a file was opened or synced, space was given back

  struct SyncState {
    bool running = false;
    uint64_t begun = 0, done = 0;  // syncs of this file
    Status failed;
  };
  absl::flat_hash_map<uint32_t, SyncState> syncs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
