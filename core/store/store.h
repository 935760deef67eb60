// The store: namespaces of keys over one log, one index each, and shared extents.
//
// Threads: any thread runs any operation in place. Functions that take a KeyHash need the stripes
// of their keys locked (StripeLocks); they never block on I/O. Coroutines run on I/O executors.
// Order of locks: stripes in ascending order, then namespaces' order locks by id, then the log's.
// Keys change through a Transaction (core/store/transaction.h) and in no other way.
//
// Invariants
//  1. A change is in the log's tail buffer before the index shows it; what the index shows under a
//     lock has an LSN, and is durable once log().durable() is past it.
//  2. An entry's blob is counted as referred to as long as the entry, or a record that recovery
//     may still replay, needs it.
//  3. An expired key is never returned, by nobody.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>
#include <absl/functional/function_ref.h>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/extents/extents.h"
#include "core/index/index.h"
#include "core/log/log.h"
#include "core/log/log_tail.h"
#include "core/log/manifest.h"
#include "core/log/recovery.h"
#include "core/log/segment_usage.h"
#include "core/store/backpressure.h"
#include "core/store/change.h"
#include "core/store/checkpoint.h"
#include "core/store/cleaner.h"
#include "core/store/compactor.h"
#include "core/store/faults.h"
#include "core/store/memory.h"
#include "core/store/properties.h"
#include "core/store/value.h"
#include "core/volume/volume.h"

namespace cairn {

inline constexpr uint32_t kDatabases = 16;  // db0 .. db15 are the namespaces 0 .. 15
inline constexpr NamespaceId kSystemNamespace{16};
inline constexpr uint32_t kFirstBucket = 32;

enum class Durability : uint8_t { kAlways, kEverySec, kOff };
// Whether the writer of a change wants it durable before anybody rests on it.
enum class Wish : uint8_t { kNone, kDurable };

struct StoreOptions {
  // At most, for a new store; less on a small volume. An old one keeps its own.
  uint64_t segment_bytes = 64 << 20;
  uint64_t extent_threshold = 64 << 10;  // larger values go to extents
  uint64_t extent_file_bytes = 1 << 30;
  uint64_t extent_debt_bytes = ExtentStore::kDebtMax;  // may wait to be given back
  uint64_t memory_bytes = 0;                           // 0: no limit
  std::function<uint64_t()> resident_bytes;  // what memory_bytes limits; none: what the index holds
  // Has the calling thread's allocator give back what nobody uses; called on every executor.
  std::function<void()> release_memory;
  CollectionTypes collections{};
  double space_amplification = 2;  // the log may be so many times as large as what lives in it
  Durability durability = Durability::kEverySec;  // off: no timed sync
  bool repair = false;
  Report report;             // what an operator should know; may be empty
  uint64_t random_seed = 0;  // 0: from the system
};

struct EntryOrder {
  using is_transparent = void;
  static std::string_view key(const Entry* e) { return e->key(); }
  static std::string_view key(std::string_view s) { return s; }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return key(a) < key(b);
  }
};

using NameOrder = absl::btree_set<Entry*, EntryOrder>;

class Namespace : public std::enable_shared_from_this<Namespace> {
 public:
  // `hash_seed`: of the store; every namespace has its own from it. `memory`: where it is counted.
  Namespace(NamespaceId id, std::string name, Properties properties, uint64_t hash_seed,
            std::shared_ptr<MemoryCount> memory)
      : id(id),
        hash_seed((hash_seed ^ id.value()) * 0x9e3779b97f4a7c15ULL),
        name(std::move(name)),
        properties_(std::make_shared<const Properties>(properties)),
        memory_(std::move(memory)),
        index(make_index()) {}

  const NamespaceId id;
  const uint64_t hash_seed;
  std::string name;  // constant once the store is open
  // What holds now; who keeps it is not disturbed by a change (Store::change_properties).
  std::shared_ptr<const Properties> properties() const {
    return properties_.load(std::memory_order_acquire);
  }
  bool is_bucket() const { return id.value() >= kFirstBucket; }

 private:
  friend class Replay;
  friend class Store;
  std::atomic<std::shared_ptr<const Properties>> properties_;
  std::atomic<uint64_t> keys_{0};
  const std::shared_ptr<MemoryCount> memory_;

 public:
  std::unique_ptr<Index> index;  // replaced only while all stripes are locked
  std::atomic<int64_t> volatile_keys{0};
  // The newest removal of any key, or change of its expiry alone, and the newest removal of all
  // keys at once, whose writer wanted it durable: what the absence of keys rests on, and what
  // their presence does beside their own records.
  std::atomic<uint64_t> removed{0}, flushed{0};
  std::atomic<bool> dropped{false};  // set while all stripes are locked; put() refuses then
  // Of the record that names it, and the size of that; under the store's names lock. A database has
  // none until a property of it changes.
  Lsn named;
  uint64_t name_bytes = 0;

  // The names in order, for listings: of buckets all of them, of a database from its first listing
  // on. While they are put in order (Store::ensure_ordered), those are whose hashes are below
  // order_end. An entry changes in an order only in what Entry::marks() and version() may show.
  static constexpr KeyHash kAllHashes = UINT64_MAX;
  std::atomic<KeyHash> order_end{0};  // what is below this in a stripe: written under its lock
  bool ordered() const { return order_end.load(std::memory_order_acquire) == kAllHashes; }
  // Under the lock of its stripe: whether a key with this hash is in the order, if it is there.
  bool orders(KeyHash hash) const {
    const KeyHash end = order_end.load(std::memory_order_relaxed);
    return hash < end || end == kAllHashes;
  }
  mutable Mutex order_mutex;
  NameOrder order ABSL_GUARDED_BY(order_mutex);
  std::atomic<bool> order_builds{false};
  Gate order_built;  // order_builds ended

  KeyHash hash(std::string_view key) const { return hash_key(key, hash_seed); }
  // From any thread, without a lock: the count outlives the index that a flush replaces.
  uint64_t size() const { return keys_.load(std::memory_order_relaxed); }
  // An empty one for this namespace; the one before keeps its own size from then on.
  std::unique_ptr<Index> make_index() {
    return std::make_unique<Index>(hash_seed, this, false,
                                   IndexCounts{&keys_, memory_, is_bucket()});
  }
};
using NamespacePtr = std::shared_ptr<Namespace>;

// What a namespace held before it was flushed; freed step by step.
struct Retired {
  std::unique_ptr<Index> index;
  NameOrder order;
};

class Replay;
class Store;

// The stripes that a command works under; released at the end of the scope.
class StripeLocks {
 public:
  explicit StripeLocks(Store& store) : store_(store) {}
  StripeLocks(Store& store, KeyHash hash) : store_(store) { lock(hash); }
  ~StripeLocks() { unlock(); }
  StripeLocks(const StripeLocks&) = delete;
  StripeLocks& operator=(const StripeLocks&) = delete;

  void lock(KeyHash hash) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void lock(std::span<const KeyHash> hashes) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void lock_all() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  bool all() const { return all_; }
  bool any() const { return all_ || one_ != kNone || !many_.empty(); }
  bool covers(KeyHash hash) const {
    const auto s = static_cast<uint32_t>(stripe_of(hash));
    if (one_ == s || all_) return true;
    // Of few, as a pipeline's group has, it is found sooner by looking at each.
    constexpr size_t kFew = 16;
    return many_.size() > kFew ? std::binary_search(many_.begin(), many_.end(), s)
                               : std::find(many_.begin(), many_.end(), s) != many_.end();
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  Store& store_;
  uint32_t one_ = kNone;
  absl::InlinedVector<uint32_t, 16> many_;  // sorted
  bool all_ = false;
};

class Store {
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

  // ---- namespaces ----
  Namespace& database(uint32_t number) { return *databases_[number]; }
  Namespace& system() { return *system_; }
  NamespacePtr find_namespace(std::string_view name) const;  // "db3" or a bucket's name
  // The newest bucket made or dropped: what an answer about buckets, or of one, rests on.
  Lsn newest_name() const { return Lsn(newest_name_.load(std::memory_order_acquire)); }
  std::vector<NamespacePtr> buckets() const;  // by name
  // AlreadyExists if there is one.
  StatusOr<Lsn> create_bucket(std::string_view name);
  // Of a bucket or a database: `change` is called with those that hold, which nobody changes
  // meanwhile. NotFound if it was dropped.
  StatusOr<Lsn> change_properties(Namespace& ns, absl::FunctionRef<void(Properties&)> change);
  // NotFound; FailedPrecondition if it still holds keys.
  StatusOr<Lsn> drop_bucket(std::string_view name);

  // ---- under the lock of the key's stripe ----
  // The entry may be cold; its value comes back with faults().fetch(), without the lock.
  // None that is expired at `now`.
  Entry* find(Namespace& ns, std::string_view key, KeyHash hash, Now& now) const;
  // Nothing, if its time has come.
  static Entry* alive(Entry* entry, Now& now) {
    // The ticker removes what has expired.
    if (entry == nullptr || entry->due_ms() == INT64_MAX) return entry;
    return entry->expired(now.ms()) ? nullptr : entry;
  }
  // What an answer rests on that was made from this entry, expired or not, or from there being
  // none: the LSN of the change, if its writer wanted it durable, or of one of an expiry alone.
  Lsn rests_on(const Namespace& ns, KeyHash hash, const Entry* entry) const {
    const Stripe& s = (*stripes_)[stripe_of(hash)];
    if (entry != nullptr) return entry->wished() ? std::max(entry->lsn(), s.timed) : s.timed;
    const Lsn flushed(ns.flushed.load(std::memory_order_relaxed));
    return std::max({flushed, s.removed, s.timed});
  }
  // Hints: this stripe will be locked; these keys will be looked for, their stripes are locked.
  void prefetch(KeyHash hash) const { __builtin_prefetch(&(*stripes_)[stripe_of(hash)], 1); }
  void prefetch(Namespace& ns, std::span<const KeyHash> hashes) { ns.index->prefetch(hashes); }
  void prefetch(std::span<Namespace* const> spaces, std::span<const KeyHash> hashes,
                bool insert = false);

  // ---- checks before work ----
  // Whether a write may begin; `grows` if it may need memory.
  Status check_write(bool grows) const;

  // Whether the store does all it is there for, and what is wrong: why it takes no writes, or will
  // not for long; what failed and was got round.
  struct Health {
    bool ready = true;  // reads and writes are served
    std::vector<std::string> problems;
  };
  Health health() const;

  // ---- the parts ----
  Log& log() { return log_; }
  // For whoever follows the store: from this LSN on. It goes before the store does.
  LogTail tail(Lsn from) { return {volume_, log_, lives_, from}; }
  ExtentStore& extents() { return extents_; }
  const Cleaner& cleaner() const { return cleaner_; }
  const Compactor& compactor() const { return compactor_; }
  MemoryKeeper& memory() { return memory_; }
  Backpressure& backpressure() { return backpressure_; }
  Faults& faults() { return faults_; }
  ChangeListeners& listeners() { return listeners_; }
  bool has_cold() const { return cold_.load(std::memory_order_relaxed) > 0; }
  uint64_t cold_count() const { return cold_.load(std::memory_order_relaxed); }
  std::vector<NamespacePtr> spaces() const;  // all of them
  Clock& clock() { return clock_; }
  ChunkPool& pool() { return pool_; }
  const StoreOptions& options() const { return options_; }
  int64_t now_ms() const { return clock_.now_ms(); }
  uint64_t random();
  Executor any_executor();  // the next I/O loop, for work that comes from outside
  const std::vector<Executor>& executors() const { return executors_; }

  void set_durability(Durability d) { durability_ = d; }
  // Acts at once: the next write finds it, and what is held beyond it begins to leave.
  void set_memory_bytes(uint64_t bytes) {
    memory_bytes_ = bytes;
    memory_.limit_changed();
  }
  uint64_t memory_bytes() const { return memory_bytes_; }
  // Keys, values and tables, now.
  uint64_t used_bytes() const { return memory_.count().total(); }
  uint64_t expired_count() const { return expired_.load(std::memory_order_relaxed); }
  // How long the keys of a namespace that expire have still to live, on average: an estimate from
  // some of them, as Redis's is. 0: none expires.
  int64_t average_ttl_ms(const Namespace& ns);
  uint64_t store_id() const { return store_id_; }
  uint32_t epoch() const { return epoch_; }
  uint64_t recovered_records() const { return recovered_records_; }  // of the log
  uint64_t recovered_items() const { return recovered_items_; }      // of a checkpoint
  const Checkpointer& checkpointer() const { return checkpointer_; }
  // Before open() ended: nothing but this may be asked. How much of it is done, 0 to 100.
  bool loading() const { return loading_.load(std::memory_order_acquire); }
  int loading_percent() const;
  // Where the log's records lay when the store was opened (RecoveredLog::proven).
  const std::vector<std::pair<Lsn, Lsn>>& recovered() const { return recovered_; }
  // What an operator should know about the last start: damage that cost nothing, and losses.
  const std::vector<std::string>& notes() const { return notes_; }

  // Has the names of a namespace put in order, if they are not yet: slice by slice, each under the
  // lock of its stripe. Cancelled if the store closes meanwhile.
  awaitable<Status> ensure_ordered(NamespacePtr ns);

  // How often the store looks after itself: expired keys go, deleted blobs are freed, the log's
  // tail is written.
  static constexpr int64_t kTickMs = 20;

  // What an entry is counted with, its place among those that wait for a time included.
  static int64_t held_bytes(const Entry* e);
  static constexpr int64_t kOrderBytes = kPointerBytes * 4 / 3;
  // And with its name in an order, whose nodes are three quarters full.

 private:
  friend class Checkpointer;
  friend class Cleaner;
  friend class CollectionCopy;
  friend class Compactor;
  friend class Faults;
  friend class MemoryKeeper;
  friend class Replay;
  friend class StripeLocks;
  friend class Transaction;

  struct ExpiryItem {
    int64_t when_ms;
    Entry* entry;
    Index* index;
    bool operator<(const ExpiryItem& o) const {
      return when_ms != o.when_ms ? when_ms < o.when_ms : entry < o.entry;
    }
  };
  static constexpr int64_t kDueBytes = sizeof(ExpiryItem) * 4 / 3;  // nodes are 3/4 full
  struct alignas(64) Stripe {
    SmallMutex mutex;
    std::atomic<int64_t> next_due{INT64_MAX};
    absl::btree_set<ExpiryItem> expiry;  // under mutex; each with its Entry::due_ms
    // The newest removal, and change of an expiry alone, that its writer wanted durable; under
    // mutex.
    Lsn removed, timed;
  };

  // What a large collection is written again in parts of; a smaller one is written whole.
  uint64_t part_bytes() const { return std::min<uint64_t>(64 << 10, log_.segment_bytes() / 8); }
  awaitable<Status> begin_life(const RecoveredLog& log);
  void name_lost(const std::vector<LsnRange>& lost);
  awaitable<Status> save_from_checkpoint(const std::vector<LsnRange>& lost);
  awaitable<Status> save_expiries(const std::vector<LsnRange>& lost,
                                  const std::vector<std::pair<NamespaceId, std::string>>& also);
  Status say_expiry(Namespace& ns, std::string_view key);
  awaitable<Status> load_checkpoint(const FoundCheckpoint& checkpoint, Replay& replay);
  awaitable<Status> load(const Replay& replay);
  // Entries older than `since` are gone, and so are records older than `first`.
  Status load_stripe(Namespace& ns, size_t stripe, Lsn since, Lsn first);

  // ---- collections (collection.cc) ----
  std::unique_ptr<Collection> make_collection(uint8_t flags, std::string_view image);
  // Whether the collection that this image makes has to be in memory: something in it may expire.
  bool has_times(uint8_t flags, std::string_view image) const;
  void charge(Collection& c, Lsn lsn, uint64_t bytes, bool counted);
  void begin_charges(Collection& c, Lsn lsn, const RecordView& record);
  void begin_charges(Collection& c, Lsn lsn, uint64_t record_bytes, uint64_t image_size,
                     bool expires);
  // Adds the records of an entry to what is live in the log, or takes them away.
  void count(const Entry* entry, int sign);
  void count(const Collection& c, int sign);
  // Appends a small collection again, whole; it needs no identity any more.
  void rewrite(Namespace& ns, KeyHash hash, Entry* entry);
  // What an operation's record says that it concerns.
  static void set_subject(const Collection& c, RecordView& record);
  // Gives a collection that has become large an identity, if there is room: appends all of it.
  void identify(Namespace& ns, Entry* entry);
  // Appends a part of it, and at the end (`cursor` 0) what names it. Returns what they take.
  StatusOr<uint64_t> append_part(Namespace& ns, Entry* entry, uint64_t& cursor, Lsn& begin);
  void append_name(Namespace& ns, Entry* entry);
  // A collection that is known by its identity or, without one, by its key.
  struct Known {
    uint64_t identity = 0;
    NamespacePtr ns;
    std::string key;
    bool operator==(const Known&) const = default;
  };
  Known known(NamespacePtr ns, const Entry* entry) const;
  // Looks where it is now; false if it is gone.
  bool look_up(Known& known) const;
  // The entry under that key, if it is still that collection's; its stripe is locked.
  static Entry* entry_of(const Known& known, KeyHash hash);
  // Appends a large one again in parts, unless nothing of it is older than `before` any more.
  awaitable<Status> rewrite_parts(Known which, Lsn before,
                                  std::function<awaitable<void>(uint64_t)> pace);
  // Whether it may leave memory now; if not, it may later.
  bool spill_collection(Namespace& ns, KeyHash hash, Entry* entry);
  void describe(const Collection& c, CheckpointItem& item) const;
  void forget_charges(Collection& c, Lsn before) const;
  // The same segment is counted once: for a record that may be among those counted already.
  void charge_once(Collection& c, Lsn lsn, uint64_t bytes) const;
  void make_databases();
  awaitable<void> run_ticker();
  awaitable<void> prove_last();
  void tick();
  void report(Severity severity, std::string_view part, std::string_view text) const {
    if (options_.report) options_.report(severity, part, text);
  }
  // For background work between two looks: so long, or until the store closes.
  awaitable<void> rest(int64_t ms);
  // Gives the namespace a new index; all stripes are locked.
  std::unique_ptr<Index> replace_index(Namespace& ns);
  Retired retire(Namespace& ns);  // and a new order
  awaitable<void> destroy(Retired retired, Lsn lsn);
  void destroy_later(Retired retired, Lsn lsn);
  // Puts `entry` into the index in place of `old`, either of which may be null, with all that only
  // the holder of the stripe's lock sees; the caller owns `old` after.
  void place(Namespace& ns, KeyHash hash, Entry* old, Entry* entry);
  // The same, with the order of names and what lives in the log.
  void link(Namespace& ns, KeyHash hash, Entry* old, Entry* entry);
  // An entry that was linked until `lsn` said otherwise; an invalid one: that never was in the log.
  void dispose(Entry* old, Lsn lsn);
  // Whoever holds a stripe or the names now has let go since: what was appended before the call is
  // in the index.
  void wait_for_locks();
  // For the cleaner: the entry's record is appended again, as `copy`.
  void move(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& copy);
  void move_name(NamespaceId id, Lsn lsn);
  // Appends the record that names a namespace, in place of the one before. Returns its LSN.
  Lsn write_name(Namespace& ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(names_mutex_);
  // The record that writes an entry again, under its old version; it views into the entry.
  RecordView copy_record(Namespace& ns, const Entry* entry, std::string_view value) const;
  // For the compactor: the same bytes lie in `to` now. The store takes references of its own.
  Status move_blob(Namespace& ns, KeyHash hash, Entry* entry, const BlobRef& to);
  // Forgets a value that is in the log; returns the cold entry that is there instead.
  Entry* spill(Namespace& ns, KeyHash hash, Entry* entry);
  Entry* next_to_expire(Namespace& ns, size_t stripe);
  NamespacePtr namespace_by_id(NamespaceId id) const;
  // The record that names a namespace now: where it is, and what it says.
  std::pair<Lsn, std::shared_ptr<const Properties>> name_of(const Namespace& ns) const {
    MutexLock lock(names_mutex_);
    return {ns.named, ns.properties()};
  }
  uint32_t next_namespace() const {
    MutexLock lock(names_mutex_);
    return next_namespace_;
  }
  // The entry's place among those that wait for a time, if it has one (Entry::due_ms).
  void forget_due(Namespace& ns, Stripe& stripe, Entry* entry);
  void note_due(Namespace& ns, Stripe& stripe, Entry* entry);
  // The same after its collection changed, `before` which it was due then.
  void move_due(Namespace& ns, KeyHash hash, Entry* entry, int64_t before);
  // Another time for one that has one.
  void set_expiry(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms);
  void bury(Lsn lsn, Entry* entry);
  // Whether somebody still has to wait for this entry; so he has for what takes its place.
  bool still_wished(const Entry* e) const { return e->wished() && !log_.is_durable(e->lsn()); }
  void note_removal(Namespace& ns, KeyHash hash, Lsn lsn);
  void note_expiry_change(Namespace& ns, KeyHash hash, Lsn lsn);
  static void note_flush(Namespace& ns, Lsn lsn);
  awaitable<void> release_dead();
  awaitable<void> release_doomed();
  Stripe& stripe(KeyHash hash) { return (*stripes_)[stripe_of(hash)]; }
  awaitable<void> build_order(NamespacePtr ns);
  static constexpr size_t kExpireStep = 64;  // keys and parts of keys
  awaitable<void> run_expiry();
  awaitable<void> expire_due(int64_t now);
  // The first stripe from there on in which something is due, or kStripes.
  size_t due_from(size_t stripe, int64_t now) const;
  StatusOr<size_t> expire_some(size_t stripe, int64_t now);
  StatusOr<size_t> expire_one(const StripeLocks& lock, Namespace& ns, Entry* entry, int64_t now,
                              size_t most);

  Volume& volume_;
  Clock& clock_;
  ChunkPool& pool_;
  const std::vector<Executor> executors_;
  const StoreOptions options_;
  std::atomic<Durability> durability_;
  std::atomic<uint64_t> memory_bytes_;
  Manifest manifest_;
  Log log_;
  SegmentUsage usage_;
  ExtentStore extents_;
  Cleaner cleaner_;
  Compactor compactor_;
  Checkpointer checkpointer_;
  MemoryKeeper memory_;
  Backpressure backpressure_;
  Faults faults_;
  ChangeListeners listeners_;
  uint64_t store_id_ = 0;
  uint32_t epoch_ = 0;
  LogLives lives_;  // constant once the store is open
  std::vector<std::string> notes_;
  uint64_t hash_seed_ = 0;
  uint64_t recovered_records_ = 0, recovered_items_ = 0;
  std::atomic<bool> loading_{true};
  RecoveryOptions::Progress progress_;
  uint64_t segment_bytes_ = 0;  // 0: begin() was not called
  std::optional<FoundCheckpoint> checkpoint_;
  std::vector<FileId> old_checkpoints_;
  std::vector<std::pair<Lsn, Lsn>> recovered_;
  // Buckets found without their names: open() has to name them in the log once that is open.
  std::vector<NamespacePtr> nameless_;
  std::atomic<uint64_t> random_state_;
  std::atomic<size_t> next_executor_{0};

  const std::shared_ptr<Identities> identities_ = std::make_shared<Identities>();
  std::unique_ptr<std::array<Stripe, kStripes>> stripes_;
  std::array<NamespacePtr, kDatabases> databases_;
  NamespacePtr system_;
  NamespacePtr unnamed_;  // kIdentities: what has no name yet; not among spaces()

  mutable Mutex names_mutex_;
  std::map<std::string, NamespacePtr, std::less<>> by_name_ ABSL_GUARDED_BY(names_mutex_);
  absl::flat_hash_map<uint32_t, NamespacePtr> by_id_ ABSL_GUARDED_BY(names_mutex_);
  uint32_t next_namespace_ ABSL_GUARDED_BY(names_mutex_) = kFirstBucket;

  // Entries with blobs that the index no longer names; their extents go once that is durable.
  Mutex dead_mutex_;
  std::deque<std::pair<Lsn, Entry*>> dead_ ABSL_GUARDED_BY(dead_mutex_);
  // Large collections that nobody needs, freed step by step.
  std::deque<std::unique_ptr<Collection>> doomed_ ABSL_GUARDED_BY(dead_mutex_);

  std::atomic<uint64_t> cold_{0};  // entries whose value is in the log alone
  std::atomic<uint64_t> expired_{0};
  std::atomic<uint64_t> newest_name_{0};
  std::atomic<bool> stopping_{false};
  Gate stopped_;      // stopping_ was set
  Tasks background_;  // what close() waits for
  int64_t last_sync_ms_ = 0;
  Lsn durable_before_, proven_last_;  // prove_last()'s
};

}  // namespace cairn
