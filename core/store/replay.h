// Replay: makes of the records of a log, and of the items of a checkpoint, the keys that they
// describe. They may come in any order and from several threads: of each key the newest change
// counts, and what a key is made of by operations is made once all of them are there.
//
//   Replay replay(store, …);
//   replay.apply(…);                      // any number of times, from any executor
//   co_await replay.finish(first, lost);  // once
//   replay.namespaces(), …
//
// It fills the indexes alone. What is derived from them (order, expiry, what lives where) the
// store builds after, of what is left then: Store::load.
//
// Memory: while it runs, values beyond half of the store's limit stay where they are read from.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/base/types.h"
#include "core/log/recovery.h"
#include "core/store/checkpoint.h"

namespace cairn {

class Namespace;
class Store;

class Replay {
 public:
  // `note_time` learns when records about an LSN were written, from any thread.
  Replay(Store& store, std::function<void(Lsn, int64_t wall_ms)> note_time);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  void apply(std::span<const LogRecord> records);
  Status apply(const CheckpointItem& item);  // DataLoss: it cannot be read

  // `first`: no record of the log is older. `lost`: LSNs that a repair went over. DataLoss if what
  // was applied does not add up and nothing was lost that could be the reason.
  awaitable<Status> finish(Lsn first, std::vector<LsnRange> lost);

  // ---- after finish ----
  struct Space {
    std::shared_ptr<Namespace> space;
    Lsn since;  // entries that are older are gone: it was flushed
  };
  // That are there, by id. Unless something was lost, all buckets have a name.
  std::vector<Space> namespaces() const;
  uint32_t next_namespace() const;  // ids from here on were in no record
  Lsn first() const { return first_; }
  bool lossy() const { return !lost_.empty(); }
  // What an operator should know, and the keys that were given up: they must be said to be gone
  // once the log takes records again.
  const std::vector<std::string>& notes() const { return notes_; }
  const std::vector<std::pair<NamespaceId, std::string>>& given_up() const { return given_up_; }

 private:
  using Name = std::pair<uint32_t, std::string>;  // a namespace and a key
  struct Operation {
    Lsn lsn, version;
    int64_t expire_ms;
    uint64_t record_bytes;
    std::string operation;
    uint8_t flags;
    Lsn oldest = {};  // of a part from a checkpoint
    std::vector<std::pair<Lsn, uint64_t>> charges = {};
  };
  // What is known of keys beside their newest put; each holds those of some stripes.
  struct Shard {
    std::mutex mutex;
    std::atomic<bool> any{false};  // whether `removed` holds one
    absl::flat_hash_map<Name, Lsn> removed;
    absl::flat_hash_map<Name, std::vector<Operation>> operations;
  };

  Namespace* namespace_of(NamespaceId id);
  void apply_to_namespace(const RecordView& record, Lsn lsn);
  void apply_to_key(Namespace& ns, KeyHash hash, const RecordView& record, Lsn lsn);
  Shard& shard(KeyHash hash);
  bool full() const;
  void grew(uint64_t before, uint64_t now);
  awaitable<Status> run_operations(Shard& shard);
  awaitable<Status> run_operations(const Shard& shard, const Name& name,
                                   std::vector<Operation>& operations);
  Status run_operations(Namespace& ns, std::string_view key, Entry* entry,
                        std::vector<Operation>& operations);
  std::optional<Lsn> since(const Namespace& ns) const;

  Store& store_;
  const std::function<void(Lsn, int64_t)> note_time_;
  std::array<Shard, 64> shards_;
  mutable Mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Namespace>> namespaces_;
  absl::flat_hash_map<uint32_t, Lsn> dropped_, flushed_;
  Status damage_;
  Lsn first_;
  std::vector<LsnRange> lost_;
  std::atomic<uint64_t> entry_bytes_{0};  // about
  std::vector<std::string> notes_;
  std::vector<std::pair<NamespaceId, std::string>> given_up_;
};

}  // namespace cairn
