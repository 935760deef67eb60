// The one way in which keys change: put, remove, operate, expire, rename, flush and swap, then
// commit.
//
// So it is the place where versions are made (transaction_versions.cc). In a bucket that keeps
// versions (versions.h) a change of a key makes one per transaction and key, whichever door or part
// of the store it comes from: what was current goes to the companion, with its blob, and without
// its expiry; what is removed or expires leaves a delete marker there; a change of the expiry is a
// change of the value. While versioning is suspended, the null version is replaced. A flush takes
// the versions with the rest. Collections are refused but for the one of events; one that was there
// before goes without a version. A change that has to write again a value which is on disk alone
// fails with is_value_on_disk(): it is fetched, and all of it begins again. One of Shape::kOne is
// made as steps there, and committed at once.
//
// A transaction is filled under the locks of its keys, which outlive it, and sees its own changes:
// they are in the index at once, where only the holder of the locks can look, and what they took
// the place of is kept. commit() asks for room in the log, appends all of it as one unit that
// replays whole or not at all, and only then makes known what changed. Without a commit, or when
// it fails, everything is put back: index, order, expiry, counters and collections are as before.
//
// Two shapes. One (Shape::kOne) is known to be of a single change: put() and the like validate,
// append and change the index at once, in place where they can, and commit() only returns the LSN.
// The other (Shape::kSeveral) keeps steps as said above. The index holds its changes and a list of
// steps says how to go back, rather than a second index laid over the first: so KEYS, SCAN and
// DBSIZE within MULTI see them, a look-up costs nothing more, and no key is hashed twice. The
// records are encoded from the entries themselves; only what a collection's entry does not hold
// (its image, its operations) is copied. Entries get their LSN from the log, once.
//
// Order: other threads list the names of an ordered namespace without the stripes' locks. They see
// a transaction whole or not at all, since the order changes at the commit alone, under the order
// locks of all namespaces involved, taken by id.
//
// After the first error nothing more is taken, status() says which it was, and commit() fails with
// it. Errors: Unavailable (read-only), NotFound (the namespace was dropped), InvalidArgument (key
// too long), ResourceExhausted (no room; larger than 1 GiB; a string over 16 MiB; quota.h: then
// commit() of several changes says it first).
//
// Threads: one. Nothing blocks on I/O.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/plant.h"
#include "core/log/record_parts.h"
#include "core/store/change.h"
#include "core/store/keyspace.h"

namespace cairn {

enum class Shape : uint8_t { kOne, kSeveral };

class Transaction {
 public:
  // `locks` may be null where whoever called holds them.
  Transaction(Keyspace& keyspace, const StripeLocks* locks, Shape shape, Wish wish = Wish::kDurable,
              Cause cause = Cause::kUser)
      : keyspace_(keyspace),
        locks_(locks),
        shape_(shape),
        several_(shape == Shape::kSeveral),
        wish_(wish),
        cause_(cause),
        asks_quotas_(cause != Cause::kExpiry && cause != Cause::kEviction &&
                     cause != Cause::kLifecycle && cause != Cause::kCopy),
        now_(keyspace.clock()) {}
  ~Transaction() {
    if (work_ == nullptr) return;
    end();
    leave_work();
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Who hears of those that wait for what it changes. Before the first change.
  void set_committer(Committer* committer) { committer_ = committer; }
  // The time at which all of it happens.
  Now& now() { return now_; }
  Entry* find(Namespace& ns, std::string_view key, KeyHash hash) {
    Entry* e = ns.index->find(key, hash);
    saw(keyspace_.rests_on(ns, hash, e));
    return Keyspace::alive(e, now_);
  }

  // Makes the value of record.key what `record` says, whatever namespace it names. A blob's
  // reference passes to the store, also if the transaction comes to nothing later, but not if put()
  // itself fails. A collection is put as the operation that makes all of it.
  Status put(Namespace& ns, KeyHash hash, const RecordView& record);
  Status remove(Namespace& ns, KeyHash hash, Entry* entry);
  // Changes a collection: `change` is an operation record. `entry` is the key's, its value in
  // memory and of the type that the record says, and its expiry stays; null: it is made.
  Status operate(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& change);
  // Changes the expiry alone (0: none) of any entry, whose value may be on disk and stays there: a
  // record of the key's size. LSN and version stay. The entry may be another one afterwards.
  Status expire(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms);
  // Whether rename() can be used: one record then does it, whatever the value's size.
  static bool has_identity(const Entry* entry) {
    const Collection* c = entry->collection();
    return c != nullptr && c->identity() != nullptr;
  }
  // `entry`, which is `from`'s and has an identity, is from now on found in `to` under `key`, in
  // place of what is there, with this expiry or its own. In a transaction of several changes.
  Status rename(Namespace& from, KeyHash from_hash, Entry* entry, Namespace& to, KeyHash to_hash,
                std::string_view key, std::optional<int64_t> expire_ms = std::nullopt);
  // All keys go, as one record. Takes all stripes for it unless the transaction has them; one of
  // several changes must have them.
  Status flush(Namespace& ns);
  Status flush_databases();
  // Two databases exchange all that they hold, as one record; with the same locks.
  Status swap(Namespace& a, Namespace& b);
  // Which database holds, outside of this transaction, what `ns` holds within it: for what has to
  // be brought back from disk, once the transaction is given up. Itself, unless it was swapped.
  Namespace& outside(Namespace& ns) const;
  bool swaps() const { return work_ != nullptr && work_->swaps; }

  // Whoever fills it tells itself what its changes were, in words that this program does not have.
  void names_changes() { named_ = true; }
  // What it writes is the store's own matter, and no quota refuses it.
  void passes_quotas() { asks_quotas_ = false; }
  // Operations from here on change nothing of what is read at their keys (Change::unseen), or do.
  void changes_unseen(bool unseen) { unseen_ = unseen; }
  // What it removes goes since the last part of it was due.
  void removes_last_part() { last_part_ = true; }

  // ---- of a bucket that keeps versions ----
  // One of them, where it lies; `entry` is null if there is none.
  struct FoundVersion {
    Namespace* ns = nullptr;
    Entry* entry = nullptr;
    Version version = {};
  };
  // A delete marker becomes the newest, whatever there is: a value, a marker, or nothing.
  Status mark(Namespace& ns, KeyHash hash, std::string_view key);
  // This one, and no other, is gone for good; if it was the newest, the next one is, and current if
  // it is a value. False: there is none. By itself: no other change of the key. PermissionDenied:
  // it is locked (version_lock.h).
  StatusOr<bool> remove_version(Namespace& ns, KeyHash hash, std::string_view key,
                                const Version& version, bool bypass_governance = false);
  // How the versions are locked that it makes from here on, where the bucket has object lock;
  // without retention, as is the bucket's default.
  void lock_versions(const VersionLock& lock) { lock_ = lock; }
  // Of one of them, that is no marker, where it lies; `meta` as of amend(), and by itself as that.
  // PermissionDenied: its retention may not become this.
  Status change_lock(const FoundVersion& found, std::string_view meta, const VersionLock& lock,
                     bool bypass_governance);
  // It has other metadata from now on, and is the same version; also where there are none. `ns` is
  // the bucket or its companion, as the entry is found in. By itself, of Shape::kOne.
  Status amend(Namespace& ns, KeyHash hash, Entry* entry, std::string_view meta);
  FoundVersion find_version(Namespace& ns, std::string_view key, KeyHash hash,
                            const Version& version);
  // The newest, be it a marker.
  FoundVersion find_newest(Namespace& ns, std::string_view key, KeyHash hash);
  // What the last change of such a bucket made; nothing: none did.
  const std::optional<Version>& made() const { return made_; }

  // The newest LSN, or an invalid one if nothing changed. Entries that were found in the
  // transaction stay readable until it is destroyed, and say now under which LSN they were written.
  StatusOr<Lsn> commit() {
    if (shape_ == Shape::kSeveral) return commit_several();
    if (!status_.ok()) return status_;
    if (wish_ == Wish::kDurable) saw(lsn_);
    return lsn_;
  }
  // What an answer of any kind (a value, that there is none, a refusal, what was changed) has to
  // wait for: the newest change that it rests on whose writer wanted it durable.
  Lsn seen() const { return seen_; }
  // The first error.
  const Status& status() const { return status_; }
  Shape shape() const { return shape_; }

 private:
  using Records = Keyspace::Records;
  struct Flushed {
    Namespace* ns;
    Retired retired;
    int64_t volatile_keys;
  };
  // What one step needs beyond its entries; most need nothing.
  struct Details {
    std::string bytes;                 // a collection's operation or image; a removal's metadata
    std::vector<std::string> inverse;  // of the operation
    Collection* collection = nullptr;
    // Where a collection was before it was renamed, and the entry there. Or what the step's
    // database exchanged with.
    Namespace* from = nullptr;
    KeyHash from_hash = 0;
    Entry* before = nullptr;
    std::vector<Flushed> flushed;
  };
  struct Step {
    RecordType type;
    uint8_t flags;
    NamespaceId ns_id;
    Namespace* ns;  // null in a flush
    KeyHash hash;
    Entry* old;    // taken out of the index, or null
    Entry* entry;  // put into it, or operated on, or null
    std::unique_ptr<Details> details;
    size_t records = 1;  // of the log
    bool unseen = false;
    bool wished = false;  // whatever takes whose place
  };
  // Records as they were appended, some in parts.
  struct Appended {
    RecordParts parts;
    std::vector<Lsn> lsns;
    Records records() { return {parts.records(), lsns}; }
  };
  struct Work {  // of several changes
    std::vector<Step> steps;
    uint64_t bytes = 0;  // of all records
    Lsn newest;          // once committed
    bool swaps = false;  // one of the steps
    bool frees = false;  // it makes room, whatever is put again for it
    // By how much it made those grow that have a quota; a companion with its bucket.
    absl::InlinedVector<std::pair<const Namespace*, Growth>, 2> grown;
    Appended all;           // at the commit
    std::vector<Lsn> lsns;  // then, of each step the newest
    // Of each key that it made a version of, the number.
    absl::flat_hash_map<std::pair<const Namespace*, std::string>, uint64_t> numbers;
    void clear();
  };
  // One whose room the thread's last transaction left, or a new one; and the way back.
  static std::unique_ptr<Work> take_work();
  void leave_work();
  static std::unique_ptr<Work>& spare_work();

  void saw(Lsn lsn) {
    if (lsn > seen_) seen_ = lsn;
  }
  // Whether what takes the place of `old` is wished durable.
  bool wished(const Entry* old) const {
    if (planted(Bug::kWishForgotten)) return false;
    return wish_ == Wish::kDurable || (old != nullptr && keyspace_.still_wished(old));
  }
  bool covers(KeyHash hash) const { return locks_ == nullptr || locks_->covers(hash); }
  Lsn append(const RecordView& record) {
    if (record.cause == cause_) return keyspace_.log_.append(record);
    RecordView caused = record;
    caused.cause = cause_;
    return keyspace_.log_.append(caused);
  }
  static RecordView of(const Namespace& ns, const RecordView& record) {
    RecordView own = record;  // of a database after a swap
    own.ns = ns.stored();
    return own;
  }
  Lsn append_to(const Namespace& ns, const RecordView& record) {
    return append(record.ns == ns.stored() ? record : of(ns, record));
  }
  // The same of one that may be too long for the log at once.
  Lsn append_in_parts(const RecordView& record, Appended& appended);
  bool fits(const RecordView& record) const {
    return record.size() <= keyspace_.log_.record_bytes_max();
  }
  // Of all stripes, unless it has them.
  Status take_all(StripeLocks& own);
  // As Keyspace::place(), in a transaction of several changes.
  void place(Namespace& ns, KeyHash hash, Entry* old, Entry* entry);
  void note_growth(const Namespace& ns, const Growth& growth);
  // What it does is no growth that a quota could refuse.
  Status freely(absl::FunctionRef<Status()> change);
  Status check_quotas();
  Status check_swap(const Namespace& a, const Namespace& b);
  StatusOr<Lsn> commit_several();
  Status refuse(Status status);
  Status check_put(const Namespace& ns, const RecordView& record);
  // Nearly all puts: a short string by itself, which nothing that check_put() and reserve() look
  // for can speak against. They took a thirtieth of a SET.
  bool taken_at_once(const Namespace& ns, const RecordView& r) const {
    const uint64_t bytes = r.size();
    return !several_ && r.flags >> 4 == 0 && bytes <= kKeyBytesMax && status_.ok() &&
           ns.plain.load(std::memory_order_relaxed) && keyspace_.log_.admits_small(bytes);
  }
  Status reserve(const RecordView& record, Need need);
  Step& add_step(RecordType type, uint8_t flags, Namespace* ns, KeyHash hash);
  Status flush(NamespaceId id, std::span<Namespace* const> spaces);
  Status flush_step(NamespaceId id, std::span<Namespace* const> spaces);
  Status put_plain(Namespace& ns, KeyHash hash, const RecordView& record);
  // `meta`: of the record.
  Status remove_plain(Namespace& ns, KeyHash hash, Entry* entry, std::string_view meta = {});
  void put_now(Namespace& ns, KeyHash hash, const RecordView& record,
               std::unique_ptr<Collection> collection);
  void put_later(Namespace& ns, KeyHash hash, const RecordView& record,
                 std::unique_ptr<Collection> collection);
  void operate_now(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& change);
  void operate_later(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& change);
  // To the collection of an entry that is in the index.
  void apply(Namespace& ns, KeyHash hash, Entry* entry, std::string_view operation);
  void expire_now(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& change);
  void expire_later(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& change);
  // ---- versions ----
  // A change of one that a quota is asked for is made as steps, so that it can be taken back.
  bool asks_quota(const Namespace& ns) const {
    return !several_ && asks_quotas_ && !ns.plain.load(std::memory_order_relaxed) && ns.metered();
  }
  bool makes_versions(const Namespace& ns) const {
    return !ns.plain.load(std::memory_order_relaxed) && ns.versions() != nullptr &&
           cause_ != Cause::kCopy;
  }
  // Has steps made, and committed if the transaction is one of a single change. `given`: a blob
  // which is whoever called's again if that fails.
  Status at_once(absl::FunctionRef<Status()> change, const RecordView* given = nullptr);
  Status add_version(Namespace& ns, KeyHash hash, const RecordView& record);
  Status expire_version(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms);
  Status hide(Namespace& ns, KeyHash hash, std::string_view key, Entry* entry);
  StatusOr<uint64_t> begin_version(Namespace& ns, KeyHash hash, std::string_view key, Entry* old);
  Status put_again(Namespace& from, const Entry* entry, Namespace& to, std::string_view key,
                   std::string_view meta, Need need);
  Status promote(Namespace& ns, std::string_view key, Entry* next);
  Status take_for_good(const FoundVersion& found, bool bypass_governance);
  Status amend(Namespace& ns, KeyHash hash, Entry* entry, std::string_view meta,
               const std::optional<VersionTag>& tag);
  // The null versions that the next change takes the place of, or PermissionDenied.
  Status may_replace_null(Namespace& ns, std::string_view key, const Entry* current);
  VersionLock lock_of_new(const Namespace& ns);
  void identify();
  RecordView record_of(const Step& step) const;
  void make_known(std::span<const Lsn> lsns, Records all);
  void finish(Step& step, Records records);
  void note_keys(Lsn newest);
  void undo(Step& step);
  void roll_back();
  void end();
  void changed(Namespace& ns, std::string_view key, What what, Lsn lsn) {
    if (keyspace_.listeners().any() && is_told_of(ns)) tell(ns, key, what, lsn);
  }
  static bool is_told_of(const Namespace& ns) {
    return ns.id != kIdentities && !is_versions(ns.id);
  }
  void tell(Namespace& ns, std::string_view key, What what, Lsn lsn);
  void tell(std::span<const Lsn> lsns);

  Keyspace& keyspace_;
  const StripeLocks* const locks_;
  const Shape shape_;
  bool several_;  // steps are kept
  const Wish wish_;
  const Cause cause_;
  bool named_ = false, last_part_ = false, unseen_ = false;
  bool asks_quotas_;
  Now now_;
  Lsn lsn_;  // of what was changed at once
  Lsn seen_;
  Status status_;
  std::unique_ptr<Work> work_;
  std::optional<Version> made_;
  VersionLock lock_;  // of what it makes
  Committer* committer_ = nullptr;
};

}  // namespace cairn
