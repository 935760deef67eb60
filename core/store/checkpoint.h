// Index checkpoints: what the index holds, written out now and then and at a clean shutdown, so
// that a start reads that and the log's tail instead of the whole log. Losing one loses nothing:
// the log alone is enough, always.
//
//   file   = chunk* index footer            in file checkpoint-N; the newest whole one counts
//   chunk  = ChunkHeader payload padding    starts and ends on a block; payload = item*
//   index  = u64 offset, for each chunk     padded to a block
//   footer = CheckpointFooter               padded to a block, the file's last
//   item   = ItemHeader expiry? origin? charges? key meta value
//   expiry, origin: as in a record (core/log/log_format.h), the origin without its time
//   charges = u64 oldest  u32 image size  u32 count  (u64 lsn  u64 bytes)*     of a collection
//
// It is taken while the store works, stripe by stripe: each item is true for a moment between
// `begin` and `end`. The log is replayed over it from `begin` on, newest change last. A small value
// is in it, a larger one stays in the log (a cold entry).
//
// Invariants
//  1. A checkpoint is whole on disk, and every record that it tells of is durable, before its
//     footer is written.
//  2. It counts only while the log still has every segment from `begin` on: a deletion that
//     was cleaned away since would not be known.
//  3. It is a witness: the log was durable up to `end`, and one that ends before is damaged.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/index/index.h"
#include "core/volume/volume.h"

namespace cairn {

class Keyspace;
class Namespace;

// 3 has kStripe items, and else is as 2; 4 has kSwap.
inline constexpr uint32_t kCheckpointVersion = 4, kCheckpointOldest = 2;
inline constexpr uint32_t kChunkMagic = 0x4b434e43;   // "CNCK"
inline constexpr uint32_t kFooterMagic = 0x46434e43;  // "CNCF"

enum class ItemKind : uint8_t {
  kValue = 1,       // a string with its value, or a blob with its reference
  kCold = 2,        // value_size says how long the value is that lies in the log
  kCollection = 3,  // value is an operation that makes all of it
  kPart = 4,        // of a large collection: an operation
  kNamespace = 5,   // key is the name, value the time of its creation; lsn its record's
  kTime = 6,        // when records about `lsn` were written: expiry says it
  kName = 7,        // as the record kName, after all parts of that identity
  kStripe = 8,      // about value_size keys follow that lie in stripe `lsn` of the index
  kSwap = 9,        // as the newest record kSwap
};

struct ItemHeader {
  uint64_t lsn;
  uint32_t ns;
  uint32_t value_size;
  uint32_t meta_size;
  uint16_t key_size;
  uint8_t flags;  // of the record, with the expiry that holds, and Entry::kExpiryApart
  ItemKind kind;
};
static_assert(sizeof(ItemHeader) == 24);

struct ChunkHeader {
  uint32_t magic;
  uint32_t crc;  // of the bytes after this field, payload included
  uint32_t items;
  uint32_t payload_bytes;
};
static_assert(sizeof(ChunkHeader) == 16);

struct CheckpointFooter {
  uint32_t magic;
  uint32_t crc;  // of the bytes after this field
  uint32_t version;
  uint32_t index_crc;
  uint64_t store;
  uint64_t begin;  // where a frame of the log starts, or will: it is replayed from there
  uint64_t end;    // all items are older
  uint64_t chunks;
  uint64_t index_offset;
  uint64_t items;
  // Kept, so that items come in the order of the tables that they go to: 10 million keys load in
  // half of the time. It is a secret like the rest of the store.
  uint64_t hash_seed;
  uint32_t next_namespace;  // ids from here on were never used
  uint32_t reserved;
};
static_assert(sizeof(CheckpointFooter) == 80);

// One item, viewed or to be written.
struct CheckpointItem {
  ItemKind kind = ItemKind::kValue;
  Lsn lsn;
  RecordView record;        // type unused
  uint64_t value_size = 0;  // of a cold one, or a stripe
  Lsn oldest;
  uint32_t image_size = 0;
  std::vector<std::pair<Lsn, uint64_t>> charges;
};

struct FoundCheckpoint {
  FileId file{FileKind::kCheckpoint, 0};
  CheckpointFooter footer{};
  std::vector<uint64_t> offsets;  // of the chunks, and of the index after the last
};

// The newest whole checkpoint of this store, if there is one; `others`: the rest of them, and such
// as were not finished; `foreign`: what has the name of one, and is none. A newer format is
// FailedPrecondition.
awaitable<StatusOr<std::optional<FoundCheckpoint>>> find_checkpoint(Volume& volume, uint64_t store,
                                                                    std::vector<FileId>& others,
                                                                    std::vector<FileId>& foreign);

// Reads chunk `i` and calls fn(item) for each of its items; DataLoss if it does not hold.
awaitable<Status> read_chunk(Volume& volume, const FoundCheckpoint& from, size_t i,
                             const std::function<void(const CheckpointItem&)>& fn);

class Checkpointer {
 public:
  Checkpointer(Keyspace& keyspace, Volume& volume) : keyspace_(keyspace), volume_(volume) {}

  awaitable<void> run();
  // Writes one; the ones before it go.
  awaitable<Status> write();
  void start(uint64_t next_number, Lsn newest_begin, std::vector<FileId> old) {
    number_ = next_number;
    begin_ = newest_begin;
    old_ = std::move(old);
  }
  uint64_t written() const { return written_.load(std::memory_order_relaxed); }
  // From any thread: the next one is written soon, whatever the log has grown by. A store that
  // takes no writes, or has no room, writes none.
  void ask() { asked_.store(true, std::memory_order_relaxed); }
  bool asked() const {
    return asked_.load(std::memory_order_relaxed);
  }  // and it is not written yet
  bool failed() const {
    return failed_.load(std::memory_order_relaxed);
  }  // the last that was asked

 private:
  struct File;
  bool wanted() const;
  awaitable<Status> fill(File& file);
  // What has the id of `space` in the log, whoever holds it.
  awaitable<Status> fill_stripe(File& file, Namespace& space, size_t stripe);
  // Of a large collection that is known by its identity, or by its key in what has that id.
  awaitable<Status> fill_parts(File& file, uint64_t identity, NamespaceId stored, std::string key);
  static void describe(const Collection& c, CheckpointItem& item);
  void add_name(File& file, const Namespace& ns, const Entry* entry);
  awaitable<Status> remove_old();

  Keyspace& keyspace_;
  Volume& volume_;
  uint64_t number_ = 0;
  Lsn begin_;                // of the newest; 0: there is none
  std::vector<FileId> old_;  // files to remove once there is a newer one
  std::atomic<uint64_t> written_{0};
  std::atomic<bool> asked_{false}, failed_{false};
};

}  // namespace cairn
