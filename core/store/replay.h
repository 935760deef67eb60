// Replay: makes of the records of a log, and of the items of a checkpoint, the keys that they
// describe. They may come in any order and from several threads: of each key the newest change
// counts, and what a key is made of by operations is made once all of them are there.
//
//   Replay replay(keyspace, …);
//   replay.apply(…);                      // any number of times, from any executor
//   co_await replay.finish(first, lost);  // once
//   replay.namespaces(), …
//
// It fills the indexes alone. Until the end a database holds the keys of its own id in the log, and
// then those that it held last (holdings.h). What is derived from them (order, expiry, what lives
// where) the store builds after, of what is left then: Keyspace::load.
//
// Who follows a store that is written elsewhere uses it alike: the items of a checkpoint, then the
// records of a LogTail (core/log/log_tail.h) from where that begins, as they come; fold() when they
// crowd it; and finish() once, when the copy is to serve. Until then nobody may read the copy: it
// has of each key the newest put, and not yet what operations and expiries made of that, nor what
// is derived. Values that stay where they are read from must be there for Faults: a follower has
// the segments and extents at hand that the records lie in, or no limit of its memory.
//
// Memory: while it runs, values beyond half of the store's limit stay where they are read from.
// Operations have an order, and are kept until those before them have come; so are tombstones,
// until what they hide has, and the newest change of an expiry alone. So that neither takes all
// memory (629,000 operations on one field took 147 MB), crowded() says when there are many, and
// fold() makes use of those that are complete.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

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
#include "core/log/record_parts.h"
#include "core/log/recovery.h"
#include "core/store/checkpoint.h"
#include "core/store/faults.h"
#include "core/store/holdings.h"

namespace cairn {

class Namespace;
class Keyspace;

class Replay {
 public:
  // `note_time` learns when records about an LSN were written, from any thread.
  // What is folded into is read back by `faults`.
  Replay(Keyspace& keyspace, Faults& faults, std::function<void(Lsn, int64_t wall_ms)> note_time);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  void apply(std::span<const LogRecord> records);
  Status apply(const CheckpointItem& item);  // DataLoss: it cannot be read

  // A checkpoint was applied, which tells of all changes of expiries before this LSN.
  void on_base(Lsn begin) { base_ = begin; }
  // No record of the log is older, as far as is known before it was read.
  void expect(Lsn first) { first_ = first; }
  // For who reads `ahead` of others, and has to wait for what they fold; or else for them, who do.
  bool crowded(bool ahead) const {
    return kept_bytes_.load(std::memory_order_relaxed) >
           (ahead ? kept_limit_ : kept_max_.load(std::memory_order_relaxed));
  }
  // All records before this LSN were applied. What cannot be folded now stays for the end. One
  // call at a time, beside any number of apply().
  awaitable<void> fold(Lsn before);

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
  uint32_t next_namespace() const;                        // ids from here on were in no record
  Lsn swapped() const { return swapped_; }                // the newest record of a swap
  const Holdings& holdings() const { return holdings_; }  // as that says
  Lsn first() const { return first_; }
  bool lossy() const { return !lost_.empty(); }
  bool is_lost(Lsn lsn) const { return in_ranges(lost_, lsn); }
  // What an operator should know, and the keys that were given up: they must be said to be gone
  // once the log takes records again.
  const std::vector<std::string>& notes() const { return notes_; }
  const std::vector<std::pair<NamespaceId, std::string>>& given_up() const { return given_up_; }
  // Keys of whose expiry the log tells otherwise than the checkpoint, which is right: what came
  // last was lost.
  const std::vector<std::pair<NamespaceId, std::string>>& restated() const { return restated_; }

 private:
  using Name = std::pair<uint32_t, std::string>;  // a namespace and a key
  struct Operation {
    Lsn lsn, version;
    int64_t expire_ms;
    uint64_t record_bytes;
    std::string operation;
    uint8_t flags;
    bool expires;     // as the record says; a checkpoint has the expiry that holds
    Lsn oldest = {};  // of a part from a checkpoint
    std::vector<std::pair<Lsn, uint64_t>> charges = {};
    std::optional<PartPlace> place = {};  // it is a stretch of one
  };
  struct Expiry {  // the newest change of it alone
    Lsn lsn;
    int64_t expire_ms;  // 0: none
  };
  // What is known of keys beside their newest put; each holds those of some stripes.
  struct Shard {
    std::mutex mutex;
    std::atomic<bool> any{false};  // whether `removed` holds one
    absl::flat_hash_map<Name, Lsn> removed;
    absl::flat_hash_map<Name, std::vector<Operation>> operations;
    absl::flat_hash_map<Name, Expiry> expiries;
    absl::flat_hash_set<Name> named;  // that had a name record; who folds forgets those that went
  };
  class Reference;  // stands for the collection of an identity until finish()

  Namespace* namespace_of(NamespaceId id);
  void apply_to_namespace(const RecordView& record, Lsn lsn);
  bool is_known(uint32_t id) const;
  // How many there have to be, since one of them holds something, or another's.
  uint32_t databases_needed() const;
  void apply_holdings();
  // Of what holds in the end what this one holds until then: for notes.
  const std::string& name_of(const Namespace& ns) const;
  void remove_older(Namespace& ns, Lsn before);
  void apply_to_key(Namespace& ns, KeyHash hash, const RecordView& record, Lsn lsn);
  void apply_name(const RecordView& record, Lsn lsn);
  // The key is gone, if nothing newer made it; its stripe and the shard are locked.
  void remove(Shard& shard, Namespace& ns, KeyHash hash, std::string_view key, Lsn lsn);
  void drop(Namespace& ns, KeyHash hash, Entry* entry, Lsn lsn);
  void insert(Namespace& ns, KeyHash hash, Entry* old, Entry* entry);
  static bool is_reference(const Entry* entry);  // `entry` may be null
  // A name came for whose place there is something newer.
  void came_late(uint64_t identity, Lsn newer);
  void lost_name(const Entry* entry, Lsn lsn);  // if it is one
  // The records of identities that have had their last name count no more.
  void drop_nameless(Lsn before);
  Status name_collections();
  Status name_collection(Namespace& ns, Entry* entry, Lsn since);
  void give_up(Namespace& ns, KeyHash hash, Entry* entry);
  Shard& shard(KeyHash hash);
  static uint64_t held_bytes(const Operation& o) {
    return sizeof(o) * 3 / 2 + o.operation.capacity() + o.charges.size() * sizeof(o.charges[0]);
  }
  static uint64_t held_bytes(const Name& name) {
    return (sizeof(name) + sizeof(Expiry)) * 3 / 2 + name.second.capacity();
  }
  // Under the shard's mutex.
  void keep(Shard& shard, const Name& name, Operation o) {
    auto& kept = shard.operations[name];
    const uint64_t bytes = held_bytes(o) + (kept.empty() ? held_bytes(name) : 0);
    kept_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    kept.push_back(std::move(o));
  }
  void bury(Shard& shard, const Name& name, Lsn lsn) {
    auto [removed, made] = shard.removed.try_emplace(name, lsn);
    if (made) kept_bytes_.fetch_add(held_bytes(name), std::memory_order_relaxed);
    removed->second = std::max(removed->second, lsn);
  }
  void keep(Shard& shard, Name name, Expiry expiry) {
    const uint64_t bytes = held_bytes(name);
    auto [kept, made] = shard.expiries.try_emplace(std::move(name), expiry);
    if (made) kept_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    if (kept->second.lsn < expiry.lsn) kept->second = expiry;
  }
  // Of all keys of a shard, once what they change has come: all before this LSN.
  void set_expiries(Shard& shard, Lsn before);
  void set_expiry(Namespace& ns, std::string_view key, const Expiry& expiry);
  // What operations on this key do not count any more if they are not newer; `since`: what the
  // namespace held before is gone. An entry that is gone is removed, and null then.
  Lsn floor_of(const Shard& shard, Namespace& ns, const Name& name, Lsn since, Entry*& e) const;
  struct Wanted {  // a record that has to be read first
    Lsn lsn;
    uint64_t bytes = 0;
  };
  awaitable<void> fold_key(const Name& name, Lsn before);
  Wanted fold_now(const Name& name, Lsn before, Lsn read, const Faults::Record* record);
  static Lsn first_of_unfinished(const std::vector<Operation>& kept, Lsn before);
  std::vector<Operation> take(Shard& shard, const Name& name, Lsn floor, Lsn before);
  void drop_removed(Shard& shard, Lsn before);
  void drop_names(Shard& shard);
  bool full() const;
  void grew(const Entry* before, const Entry* now);  // `before` may be null
  awaitable<Status> run_operations(Shard& shard);
  awaitable<Status> run_operations(const Shard& shard, const Name& name,
                                   std::vector<Operation>& operations);
  Status run_operations(Namespace& ns, std::string_view key, Entry* entry,
                        std::vector<Operation>& operations);
  std::optional<Lsn> since(const Namespace& ns) const;
  std::vector<uint32_t> companions() const;

  Keyspace& keyspace_;
  Faults& faults_;
  const std::function<void(Lsn, int64_t)> note_time_;
  std::array<Shard, 64> shards_;
  mutable Mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Namespace>> namespaces_;
  absl::flat_hash_map<uint32_t, Lsn> dropped_, flushed_;
  Holdings holdings_;  // as that says, in effect at the end
  Lsn swapped_;
  Status damage_;
  Lsn first_;
  Lsn base_;
  std::vector<LsnRange> lost_;
  std::atomic<uint64_t> entry_bytes_{0};  // about
  // Of operations and tombstones, about; what it may be; and when to fold next, which is later
  // where some of it could not be folded.
  std::atomic<uint64_t> kept_bytes_{0};
  const uint64_t kept_limit_;
  std::atomic<uint64_t> kept_max_{kept_limit_};
  std::vector<std::string> notes_;
  std::vector<std::pair<NamespaceId, std::string>> given_up_, restated_;
  // Under mutex_: identities that a checkpoint has, and what is known of the names of each so far.
  absl::flat_hash_set<uint64_t> based_;
  struct Named {
    int there = 0;   // keys that have it now: more than one until a rename between them comes
    NamespaceId ns;  // of the newest name record, and it
    Lsn at;
    Lsn gone;  // what took the place of its names, the newest
  };
  absl::flat_hash_map<uint64_t, Named> names_;
};

}  // namespace cairn
