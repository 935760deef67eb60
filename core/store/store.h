// The store: a keyspace with the parts that keep it: what opens it from a log, cleans, checkpoints
// and compacts that, keeps memory within its limit, brings values back, and removes what has
// expired. Each part knows the keyspace and, where it needs one, another part; none knows the
// store.
//
// Threads: as those of the keyspace.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/log/log_tail.h"
#include "core/log/recovery.h"
#include "core/store/checkpoint.h"
#include "core/store/cleaner.h"
#include "core/store/compactor.h"
#include "core/store/faults.h"
#include "core/store/key_ring.h"
#include "core/store/keyspace.h"
#include "core/store/memory.h"

namespace cairn {

class Replay;

class Store : public Keyspace {
 public:
  // `executors`: the I/O loops, at least one; the first runs the log.
  Store(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
        StoreOptions options);
  ~Store();

  // What takes no time: whose store it is, and where its index is to be read. Before open(), if
  // anybody asks anything meanwhile.
  awaitable<Status> begin();
  awaitable<Status> open();
  awaitable<Status> close();  // syncs all
  void drop_waiters();        // destroys who still waits for the store; for an owner that goes away

  // Whether the store does all it is there for, and what is wrong: why it takes no writes, or will
  // not for long; what failed and was got round.
  struct Health {
    bool ready = true;  // reads and writes are served
    std::vector<std::string> problems;
  };
  Health health() const;

  // ---- the parts ----
  // For whoever follows the store: from this LSN on. It goes before the store does.
  LogTail tail(Lsn from) { return {volume_, log_, lives_, from}; }
  const Cleaner& cleaner() const { return cleaner_; }
  const Compactor& compactor() const { return compactor_; }
  const Checkpointer& checkpointer() const { return checkpointer_; }
  MemoryKeeper& memory() { return memory_; }
  Faults& faults() { return faults_; }
  KeyRing& keys() { return keys_; }

  void set_durability(Durability d) { durability_ = d; }
  // Whether what has expired is removed by itself; it is served to nobody either way.
  void set_removes_expired(bool removes) { removes_expired_ = removes; }
  void ask_for_checkpoint() { checkpointer_.ask(); }
  // Acts at once: the next write finds it, and what is held beyond it begins to leave.
  void set_memory_bytes(uint64_t bytes) {
    memory_bytes_ = bytes;
    memory_.limit_changed();
  }
  uint64_t expired_count() const { return expired_.load(std::memory_order_relaxed); }
  uint64_t expiry_ns() const { return expiry_ns_.load(std::memory_order_relaxed); }  // it took
  // How long the keys of a namespace that expire have still to live, on average: an estimate from
  // some of them, as Redis's is. 0: none expires.
  int64_t average_ttl_ms(const Namespace& ns);
  uint64_t recovered_records() const { return recovered_records_; }  // of the log
  uint64_t recovered_items() const { return recovered_items_; }      // of a checkpoint
  // Before open() ended: nothing but this may be asked. How much of it is done, 0 to 100.
  bool loading() const { return loading_.load(std::memory_order_acquire); }
  int loading_percent() const;
  // Where the log's records lay when the store was opened (RecoveredLog::proven).
  const std::vector<std::pair<Lsn, Lsn>>& recovered() const { return recovered_; }
  // What an operator should know about the last start: damage that cost nothing, and losses.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  awaitable<Status> begin_life(const RecoveredLog& log);
  awaitable<Status> set_aside(FileId file, std::string_view why);
  void name_lost(const std::vector<LsnRange>& lost);
  void note_emptied(const Namespace& ns, std::vector<std::string> keys);
  void link_versions(const Replay& replay) ABSL_LOCKS_EXCLUDED(names_mutex_);
  awaitable<Status> save_from_checkpoint(const std::vector<LsnRange>& lost);
  awaitable<Status> save_expiries(const std::vector<LsnRange>& lost,
                                  const std::vector<std::pair<NamespaceId, std::string>>& also);
  Status say_expiry(Namespace& ns, std::string_view key);
  awaitable<Status> load_checkpoint(const FoundCheckpoint& checkpoint, Replay& replay);
  awaitable<Status> load(const Replay& replay);
  // Entries older than `since` are gone, and so are records older than `first`. Appends the names
  // of keys that damage left nothing of: they are gone, too.
  Status load_stripe(Namespace& ns, size_t stripe, Lsn since, Lsn first,
                     std::vector<std::string>& emptied);

  awaitable<void> run_ticker();
  awaitable<void> prove_last();
  awaitable<void> note_believed();
  void tick();
  static constexpr size_t kExpireStep = 64;  // keys and parts of keys
  awaitable<void> run_expiry();
  awaitable<void> expire_due(int64_t now);
  // The first stripe from there on in which something is due, or kStripes.
  size_t due_from(size_t stripe, int64_t now) const;
  StatusOr<size_t> expire_some(size_t stripe, int64_t now);
  StatusOr<size_t> expire_one(const StripeLocks& lock, Namespace& ns, Entry* entry, int64_t now,
                              size_t most);

  std::atomic<Durability> durability_;
  MemoryKeeper memory_;
  Faults faults_;
  Cleaner cleaner_;
  Compactor compactor_;
  Checkpointer checkpointer_;
  KeyRing keys_{*this};
  std::vector<std::string> notes_;
  uint64_t recovered_records_ = 0, recovered_items_ = 0;
  std::atomic<bool> loading_{true};
  RecoveryOptions::Progress progress_;
  std::optional<FoundCheckpoint> checkpoint_;
  std::vector<FileId> old_checkpoints_;
  std::vector<FileId> foreign_;  // files that are in the place of the store's (foreign.h)
  std::vector<std::pair<Lsn, Lsn>> recovered_;
  // Buckets found without their names: open() has to name them in the log once that is open.
  std::vector<NamespacePtr> nameless_;
  bool swap_lost_ = false;  // likewise what the databases hold
  std::atomic<uint64_t> expired_{0}, expiry_ns_{0};
  std::atomic<bool> removes_expired_{true};
  int64_t last_sync_ms_ = 0;
  Lsn durable_before_, proven_last_;  // prove_last()'s
};

}  // namespace cairn
