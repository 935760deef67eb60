// The keyspace: namespaces of keys over one log, one index each, and shared extents. All that the
// parts of a store (core/store/store.h) work on, and Transactions change; it knows none of them.
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

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/memory_count.h"
#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/extents/extents.h"
#include "core/index/index.h"
#include "core/log/log.h"
#include "core/log/log_pins.h"
#include "core/log/log_reader.h"
#include "core/log/manifest.h"
#include "core/log/segment_usage.h"
#include "core/store/bucket_access.h"
#include "core/store/busy.h"
#include "core/store/change.h"
#include "core/store/lock_clock.h"
#include "core/store/namespace.h"
#include "core/store/options.h"
#include "core/store/properties.h"
#include "core/store/value.h"
#include "core/volume/volume.h"

namespace cairn {

// Whether the writer of a change wants it durable before anybody rests on it.
enum class Wish : uint8_t { kNone, kDurable };

class Keyspace;

// The stripes that a command works under; released at the end of the scope.
class StripeLocks {
 public:
  explicit StripeLocks(Keyspace& keyspace) : keyspace_(keyspace) {}
  StripeLocks(Keyspace& keyspace, KeyHash hash) : keyspace_(keyspace) { lock(hash); }
  ~StripeLocks() { unlock(); }
  StripeLocks(const StripeLocks&) = delete;
  StripeLocks& operator=(const StripeLocks&) = delete;

  // Where one of them is busy, its holder gives way, which takes its time and costs it all that it
  // has done: for who cannot come again (busy.h).
  void lock(KeyHash hash) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void lock(std::span<const KeyHash> hashes) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void lock_all() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // False, with nothing locked: one of them is busy.
  [[nodiscard]] bool lock_idle(KeyHash hash) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  [[nodiscard]] bool lock_idle(std::span<const KeyHash> hashes) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  [[nodiscard]] bool lock_all_idle() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // One more stripe, beside those that it has, if that is free now: nothing is waited for.
  [[nodiscard]] bool add(KeyHash hash) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // For long: they are busy from then on; all of them, if `all`. False: another has one for long.
  [[nodiscard]] bool lock_busy(Busy::HolderPtr holder, std::span<const KeyHash> hashes,
                               bool all) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // The end is near, and not to be interrupted any more: before a commit.
  void settle() {
    if (one_ == kBusy) settle_busy();
  }

  bool all() const { return all_; }
  bool any() const { return all_ || one_ != kNone || !many_.empty(); }
  bool covers(KeyHash hash) const { return covers_stripe(static_cast<uint32_t>(stripe_of(hash))); }
  bool covers_stripe(uint32_t s) const {
    if (one_ == s || all_) return true;
    // Of few, as a pipeline's group has, it is found sooner by looking at each.
    constexpr size_t kFew = 16;
    if (bits_ != nullptr) return ((*bits_)[s / 64] >> s % 64 & 1) != 0;
    return many_.size() > kFew ? std::binary_search(many_.begin(), many_.end(), s)
                               : std::find(many_.begin(), many_.end(), s) != many_.end();
  }

 private:
  // In the place of a stripe: those that it has are busy; or were.
  static constexpr uint32_t kNone = UINT32_MAX, kBusy = kNone - 1, kSettled = kNone - 2;
  void take(std::span<const KeyHash> hashes);  // into many_
  void take_many(std::span<const KeyHash> hashes);
  void forget_many();
  // Of many_, or of all: the first that is busy, with none locked, or kNone.
  uint32_t lock_those() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void settle_busy();
  void unlock_busy() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  template <class Fn>
  void for_each(Fn fn) const {
    for (uint32_t s = 0; all_ && s < kStripes; s++) fn(s);
    if (one_ < kStripes) fn(one_);
    for (uint32_t s : many_) fn(s);
  }

  Keyspace& keyspace_;
  uint32_t one_ = kNone;
  absl::InlinedVector<uint32_t, 16> many_;  // sorted
  // The same where a command has more than kMany keys: to sort these and to search these for each
  // key took a fifth of a DEL of 50,000.
  static constexpr size_t kMany = 256;
  using Bits = std::array<uint64_t, kStripes / 64>;
  std::unique_ptr<Bits> bits_;
  bool all_ = false;
};

class Keyspace {
 public:
  // ---- namespaces ----
  uint32_t databases() const { return options_.databases; }  // their numbers are below this
  Namespace& database(uint32_t number) { return *databases_[number]; }
  Namespace& system() { return *system_; }
  NamespacePtr find_namespace(std::string_view name) const;  // "db3" or a bucket's name
  // The namespace that holds the keys which the log has under this id, until the next swap.
  NamespacePtr namespace_by_id(NamespaceId stored) const;
  // The newest bucket made or dropped: what an answer about buckets, or of one, rests on.
  Lsn newest_name() const { return Lsn(newest_name_.load(std::memory_order_acquire)); }
  std::vector<NamespacePtr> buckets() const;  // by name
  // AlreadyExists if there is one. `set`: what is set for it from its first moment on; with object
  // lock it keeps versions. Its time of creation is not looked at.
  StatusOr<Lsn> create_bucket(std::string_view name, Properties set = {});
  // Of a bucket or a database: `change` is called with those that hold, which nobody changes
  // meanwhile, so that of two changes at once none is lost. Whoever sees what was changed and then
  // waits for newest_name() knows it to be durable. NotFound if it was dropped; ResourceExhausted:
  // all of them together are longer than a record may be.
  StatusOr<Lsn> change_properties(Namespace& ns, absl::FunctionRef<void(Properties&)> change);
  // Of a bucket: from now on each change of a key makes a version, or, not enabled, the null
  // version alone (core/store/versions.h). Collections that it holds stay, and make none. Errors as
  // above; FailedPrecondition: it has object lock, and is not to be suspended.
  StatusOr<Lsn> set_versioning(Namespace& bucket, bool enabled);
  // How much a bucket or a database may hold, and the id of the user for whom it counts; empty:
  // nobody; nothing: that stays. It holds what it holds, also if that is more. Errors as above.
  StatusOr<Lsn> set_quota(Namespace& ns, const Quota& quota,
                          std::optional<std::string_view> user_id);
  // How much all may hold that counts for a user, and do hold.
  void set_user_quota(std::string_view user_id, const Quota& quota)
      ABSL_LOCKS_EXCLUDED(names_mutex_);
  Usage usage_of_user(std::string_view user_id) const ABSL_LOCKS_EXCLUDED(names_mutex_);
  // OK, or is_quota_exceeded(): it may not hold so much more. A hint for who has not begun yet.
  static Status check_quota(const Namespace& ns, const Growth& growth);
  // What buckets and databases say of who may use them.
  const BucketAccessTable& bucket_access() const { return bucket_access_; }
  // Switches object lock on, for ever, or changes the default retention. FailedPrecondition: its
  // versioning is not enabled.
  StatusOr<Lsn> set_object_lock(Namespace& bucket, const DefaultRetention& retention);
  // NotFound; FailedPrecondition if it still holds keys, or versions of some.
  StatusOr<Lsn> drop_bucket(std::string_view name);

  // ---- under the lock of the key's stripe ----
  // The entry may be cold; its value comes back with Faults::fetch(), without the lock.
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
    if (entry != nullptr) {
      const Lsn here = std::max(s.timed, Lsn(ns.swapped.load(std::memory_order_relaxed)));
      return entry->wished() ? std::max(entry->lsn(), here) : here;
    }
    const Lsn flushed(ns.flushed.load(std::memory_order_relaxed));
    return std::max({flushed, s.removed, s.timed});
  }
  // Hints: this stripe will be locked; these keys will be looked for, their stripes are locked.
  void prefetch(KeyHash hash) const { __builtin_prefetch(&(*stripes_)[stripe_of(hash)], 1); }
  void prefetch(Namespace& ns, std::span<const KeyHash> hashes) { ns.index->prefetch(hashes); }
  void prefetch(std::span<Namespace* const> spaces, std::span<const KeyHash> hashes,
                bool insert = false);

  // ---- versions (versions.h), under the lock of the key's stripe; its companion is `versions`
  // ---- What the entry of a bucket, or of a companion, is.
  Version version_of(const Namespace& ns, const Entry* entry) const;
  // Of those of a key in the companion, markers among them, the newest, or the newest whose number
  // is below; null: there is none. What a transaction that is not committed did is not seen.
  static Entry* newest_version(Namespace& versions, std::string_view key,
                               uint64_t below = UINT64_MAX);
  // What keeps it from being taken for good, and the time by which that is judged.
  VersionLock lock_of(const Namespace& ns, const Entry* entry) const;
  int64_t lock_now_ms() { return lock_clock_.now_ms(); }
  // A number for a new version of a key whose newest has this one.
  uint64_t next_version(uint64_t newest, int64_t now_ms);

  // ---- checks before work ----
  // Whether a write may begin; `grows` if it may need memory.
  Status check_write(bool grows) const;

  // ---- what it lies in ----
  Log& log() { return log_; }
  const Log& log() const { return log_; }
  LogPins& pins() { return pins_; }  // what the cleaner leaves to who reads the log
  ExtentStore& extents() { return extents_; }
  ChangeListeners& listeners() { return listeners_; }
  Busy& busy() { return stripes_->busy; }
  bool has_cold() const { return cold_.load(std::memory_order_relaxed) > 0; }
  uint64_t cold_count() const { return cold_.load(std::memory_order_relaxed); }
  // What nobody needs any more: so much of it, blobs and large collections and keys that were
  // flushed together, waits to be freed, and so much was.
  uint64_t to_free_count() const { return to_free_.load(std::memory_order_relaxed); }
  uint64_t freed_count() const { return freed_.load(std::memory_order_relaxed); }
  std::vector<NamespacePtr> spaces() const;  // all of them
  Clock& clock() { return clock_; }
  ChunkPool& pool() { return pool_; }
  const StoreOptions& options() const { return options_; }
  int64_t now_ms() const { return clock_.now_ms(); }
  uint64_t random();
  Executor any_executor();  // the next I/O loop, for work that comes from outside
  const std::vector<Executor>& executors() const { return executors_; }

  uint64_t memory_bytes() const { return memory_bytes_; }
  // Keys, values and tables, now; who holds something for the store counts it here too.
  MemoryCount& memory_count() { return *memory_count_; }
  uint64_t used_bytes() const { return memory_count_->total(); }
  uint64_t store_id() const { return store_id_; }
  uint32_t epoch() const { return epoch_; }

  // Has the names of a namespace put in order, if they are not yet: slice by slice, each under the
  // lock of its stripe. Cancelled if the store closes meanwhile.
  awaitable<Status> ensure_ordered(NamespacePtr ns);

  // How often the store looks after itself: expired keys go, deleted blobs are freed, the log's
  // tail is written.
  static constexpr int64_t kTickMs = 20;

  // What an entry is counted with, its place among those that wait for a time included.
  static int64_t held_bytes(const Entry* e);
  // As quotas count it (quota.h).
  static int64_t quota_bytes(const Entry* e);
  // And with its name in an order, whose nodes are three quarters full.
  static constexpr int64_t kOrderBytes = kPointerBytes * 4 / 3;

 protected:
  friend class ChangeFeed;
  friend class Checkpointer;
  friend class Cleaner;
  friend class CollectionCopy;
  friend class Compactor;
  friend class Faults;
  friend class MemoryKeeper;
  friend class Replay;
  friend class StripeLocks;
  friend class Transaction;

  Keyspace(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
           StoreOptions options);
  ~Keyspace() = default;

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

  struct Stripes : std::array<Stripe, kStripes> {
    explicit Stripes(Clock& clock)
        : busy(clock, [this](size_t s) -> SmallMutex& { return (*this)[s].mutex; }) {}
    Busy busy;
  };

  // What a large collection is written again in parts of; a smaller one is written whole.
  uint64_t part_bytes() const { return std::min<uint64_t>(64 << 10, segment_bytes_ / 8); }

  // ---- collections (collection.cc) ----
  std::unique_ptr<Collection> make_collection(uint8_t flags, std::string_view image);
  // Whether the collection that this image makes has to be in memory: something in it may expire.
  bool has_times(uint8_t flags, std::string_view image) const;
  // Those of one change, as they were appended.
  struct Records {
    std::span<const RecordView> views;
    std::span<const Lsn> lsns;
    Records first(size_t n) const { return {views.first(n), lsns.first(n)}; }
    Records behind(size_t n) const { return {views.subspan(n), lsns.subspan(n)}; }
  };
  void charge(Collection& c, Lsn lsn, uint64_t bytes, bool counted);
  void charge(Collection& c, Records records, bool counted = true);
  void begin_charges(Collection& c, Lsn lsn, const RecordView& record);
  // `image_size`: of the first of them, if that makes all of it.
  void begin_charges(Collection& c, Records records, uint64_t image_size, bool expires);
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
  bool wants_identity(const Namespace& ns, const Collection& c) const;
  // Puts one that wants it under an identity from the start: all of it is written once, and its
  // name. Returns the name's LSN; the collection is charged, and not counted yet.
  Lsn append_named(Namespace& ns, const RecordView& put, Collection& c);
  // Appends a part of it, and at the end (`cursor` 0) what names it. Returns what they take.
  StatusOr<uint64_t> append_part(Namespace& ns, Entry* entry, uint64_t& cursor, Lsn& begin);
  void append_name(Namespace& ns, Entry* entry);
  // A collection that is known by its identity or, without one, by its key.
  struct Known {
    uint64_t identity = 0;
    NamespaceId stored;  // Namespace::stored() of where its key is
    std::string key;
    NamespacePtr ns = {};  // that holds these, as look_up() found it
    bool operator==(const Known&) const = default;
  };
  static Known known(const Namespace& ns, const Entry* entry);
  // Looks where it is now; false if it is gone.
  bool look_up(Known& known) const;
  // The entry under that key, if it is still that collection's; its stripe is locked. Null also
  // where its key is elsewhere by now: look_up() finds another place then.
  static Entry* entry_of(const Known& known, KeyHash hash);
  // Appends a large one again in parts, unless nothing of it is older than `before` any more.
  awaitable<Status> rewrite_parts(Known which, Lsn before,
                                  std::function<awaitable<void>(uint64_t)> pace);
  // Whether it may leave memory now; if not, it may later.
  bool spill_collection(Namespace& ns, KeyHash hash, Entry* entry);
  void forget_charges(Collection& c, Lsn before) const;
  // The same segment is counted once: for a record that may be among those counted already.
  void charge_once(Collection& c, Lsn lsn, uint64_t bytes) const;

  void make_databases();
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
  void move_swap(Lsn lsn);
  // Appends the record that names a namespace, in place of the one before. Returns its LSN.
  Lsn write_name(Namespace& ns, const Properties& properties)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names_mutex_);
  void note_access(const Namespace& ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(names_mutex_) {
    bucket_access_.set(ns.name, BucketAccess::compile(ns.name, *ns.properties()));
  }
  Lsn write_name(Namespace& ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(names_mutex_) {
    return write_name(ns, *ns.properties());
  }
  // The record that writes an entry again, under its old version; it views into the entry.
  RecordView copy_record(Namespace& ns, const Entry* entry, std::string_view value) const;
  // For the compactor: the same bytes lie in `to` now. The store takes references of its own.
  Status move_blob(Namespace& ns, KeyHash hash, Entry* entry, const BlobRef& to);
  // Forgets a value that is in the log; returns the cold entry that is there instead.
  Entry* spill(Namespace& ns, KeyHash hash, Entry* entry);
  Entry* next_to_expire(Namespace& ns, size_t stripe);

  // ---- which database holds what (holdings.h), under the lock of a stripe; changes under all ----
  Holdings holdings() const;
  // The namespace that holds what the log has under the id which is this one's own.
  Namespace& holder_of(Namespace& ns) const {
    const uint32_t number = database_number(ns.id);
    if (number >= databases()) return ns;
    return *databases_[holders_[number].load(std::memory_order_relaxed)];
  }
  // Two databases exchange what they hold, for who has the locks of all stripes; a second time, it
  // is undone.
  void exchange(Namespace& a, Namespace& b);
  // The same of what others see without these: the order of names. The record is at `lsn`.
  void make_exchange_known(Namespace& a, Namespace& b, Lsn lsn, bool wished);
  // Appends the record that says what they hold now, in place of the one before.
  void write_swap();
  void note_swap_record(Lsn lsn, const Holdings& holdings);

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
  NamespacePtr make_companion(const Namespace& bucket);
  static void note_swap(Namespace& a, Namespace& b, Lsn lsn, bool wished);
  // So many keys more are there; `wished`: by the newest change whose writer wanted it durable.
  static void note_keys(Namespace& ns, int64_t more, Lsn wished);
  // Null: the id is empty.
  std::shared_ptr<UserMeter> meter(std::string_view user_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(names_mutex_);
  awaitable<void> release_dead();
  awaitable<void> release_doomed();
  Stripe& stripe(KeyHash hash) { return (*stripes_)[stripe_of(hash)]; }
  awaitable<void> build_order(NamespacePtr ns);

  Volume& volume_;
  Clock& clock_;
  ChunkPool& pool_;
  const std::vector<Executor> executors_;
  const StoreOptions options_;
  std::atomic<uint64_t> memory_bytes_;
  const std::shared_ptr<MemoryCount> memory_count_ = std::make_shared<MemoryCount>();
  Manifest manifest_;
  Log log_;
  LogPins pins_;
  SegmentUsage usage_;
  ExtentStore extents_;
  ChangeListeners listeners_;
  uint64_t store_id_ = 0;
  uint32_t epoch_ = 0;
  LogLives lives_;  // constant once the store is open
  uint64_t hash_seed_ = 0;
  uint64_t segment_bytes_ = 0;  // 0: begin() was not called
  std::atomic<uint64_t> random_state_;
  std::atomic<size_t> next_executor_{0};

  const std::shared_ptr<Identities> identities_ = std::make_shared<Identities>();
  std::unique_ptr<Stripes> stripes_;
  std::vector<NamespacePtr> databases_;
  std::vector<std::atomic<uint32_t>> holders_;  // by what has an id, the number of who holds it
  // The newest, and its size, under the lock of any stripe; invalid: there is none.
  Lsn swap_record_;
  uint64_t swap_record_bytes_ = 0;
  NamespacePtr system_;
  NamespacePtr unnamed_;  // kIdentities: what has no name yet; not among spaces()

  mutable Mutex names_mutex_;
  std::map<std::string, NamespacePtr, std::less<>> by_name_ ABSL_GUARDED_BY(names_mutex_);
  absl::flat_hash_map<uint32_t, NamespacePtr> by_id_ ABSL_GUARDED_BY(names_mutex_);
  uint32_t next_namespace_ ABSL_GUARDED_BY(names_mutex_) = kFirstBucket;
  // By users' ids, of those that have a quota or namespaces.
  std::map<std::string, std::shared_ptr<UserMeter>, std::less<>> meters_
      ABSL_GUARDED_BY(names_mutex_);

  // Entries with blobs that the index no longer names; their extents go once that is durable.
  Mutex dead_mutex_;
  std::deque<std::pair<Lsn, Entry*>> dead_ ABSL_GUARDED_BY(dead_mutex_);
  // Large collections that nobody needs, freed step by step.
  std::deque<std::unique_ptr<Collection>> doomed_ ABSL_GUARDED_BY(dead_mutex_);

  std::atomic<uint64_t> cold_{0};  // entries whose value is in the log alone
  std::atomic<uint64_t> to_free_{0}, freed_{0};
  void note_freed(uint64_t count) {
    to_free_.fetch_sub(count, std::memory_order_relaxed);
    freed_.fetch_add(count, std::memory_order_relaxed);
  }
  LockClock lock_clock_{clock_};
  std::atomic<bool> locks_{false};  // a bucket has object lock
  std::atomic<uint64_t> newest_name_{0};
  BucketAccessTable bucket_access_;
  std::atomic<uint64_t> newest_version_{0};  // number that this process gave
  std::atomic<bool> stopping_{false};
  Gate stopped_;      // stopping_ was set
  Tasks background_;  // what close() waits for
};

}  // namespace cairn
