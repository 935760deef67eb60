// A namespace: the keys of a numbered database or a bucket, their index, and their names in order.
//
// Threads: what is atomic from any thread; the index and the order under the locks that core/store/
// keyspace.h names. It outlives its removal for as long as somebody holds it.
#pragma once

#include <absl/container/btree_set.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/memory_count.h"
#include "core/base/mutex.h"
#include "core/index/index.h"
#include "core/store/holdings.h"
#include "core/store/properties.h"
#include "core/store/quota.h"
#include "core/store/value.h"
#include "core/store/versions.h"

namespace cairn {

inline constexpr NamespaceId kSystemNamespace{16};
inline constexpr uint32_t kFirstBucket = 32;

// What tells of the changes of a bucket's keys (kv/engine/event_streams.h): it is in no listing, is
// no version of anything, and goes with the last of them.
inline bool is_events(std::string_view key, ValueType type) {
  return type == ValueType::kStream && key == "__events__";
}

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
  // `hash_seed`: of the store; every namespace has its own from it, but for the databases, which
  // exchange their indexes and have one, and a companion, which has its bucket's. `memory`: where
  // it is counted.
  Namespace(NamespaceId id, std::string name, Properties properties, uint64_t hash_seed,
            std::shared_ptr<MemoryCount> memory)
      : id(id),
        hash_seed((hash_seed ^ seed_of(id)) * 0x9e3779b97f4a7c15ULL),
        name(std::move(name)),
        stored_(id.value()),
        default_ttl_s_(properties.default_ttl_s),
        logs_(properties.logging.has_value()),
        properties_(std::make_shared<const Properties>(properties)),
        memory_(std::move(memory)),
        hasher_(is_versions(id) ? hash_version_key : hash_key),
        index(make_index()) {
    encrypts_ = properties.encryption.has_value();
  }

  // What it is to all but the records of its keys: of a database its number.
  const NamespaceId id;
  // What it is to these (core/store/holdings.h): of a database another one after a swap, which
  // happens while all stripes are locked.
  NamespaceId stored() const { return NamespaceId(stored_.load(std::memory_order_relaxed)); }
  const uint64_t hash_seed;
  std::string name;  // constant once the store is open
  // What holds now; who keeps it is not disturbed by a change (Keyspace::change_properties).
  std::shared_ptr<const Properties> properties() const {
    MutexLock lock(properties_mutex_);
    return properties_;
  }
  bool is_bucket() const {
    return id.value() >= kFirstBucket && !is_database(id) && !is_versions(id);
  }
  // Of a bucket whose versioning was ever switched on: the companion (core/store/versions.h), and
  // whether it is suspended. Both change while all stripes are locked.
  Namespace* versions() const { return companion_.load(std::memory_order_acquire); }
  bool suspended() const { return suspended_.load(std::memory_order_relaxed); }
  // Whether values that come are to be encrypted (Properties::encryption), and whether there may be
  // some that are.
  bool encrypts() const { return encrypts_.load(std::memory_order_relaxed); }
  bool may_hold_encrypted() const { return holds_encrypted_.load(std::memory_order_relaxed); }
  // Of its properties, at no cost: Properties::default_ttl_s, and whether there is a `logging`.
  int64_t default_ttl_s() const { return default_ttl_s_.load(std::memory_order_relaxed); }
  // When a value expires that is written now and says nothing of it itself; 0: never.
  int64_t default_expiry_ms(Now& now) const {
    const int64_t seconds = default_ttl_s();
    return seconds == 0 ? 0 : now.ms() + seconds * 1000;
  }
  bool logs_accesses() const { return logs_.load(std::memory_order_relaxed); }

  // ---- quotas (quota.h) ----
  // Whether a quota has to be asked before it may grow. Changes while all stripes are locked.
  bool metered() const { return metered_.load(std::memory_order_relaxed); }
  // Of a bucket with its versions; with what transactions did that may come to nothing.
  Usage usage() const;
  // Which limit there is that it passes, or all that counts for its user does, by growing so much;
  // nothing: none. `counted`: it has grown already.
  std::optional<std::string> exceeds(const Growth& own, const Growth& of_user, bool counted) const;

 private:
  friend class Keyspace;
  friend class Replay;
  friend class Store;
  friend class Transaction;
  void set_properties(std::shared_ptr<const Properties> next) {
    default_ttl_s_ = next->default_ttl_s;
    logs_ = next->logging.has_value();
    MutexLock lock(properties_mutex_);
    encrypts_ = next->encryption.has_value();
    properties_.swap(next);
  }
  void note_encrypted(const Entry* entry) {
    if (entry->has_meta() && !may_hold_encrypted() && encrypted_size(entry->meta())) {
      holds_encrypted_ = true;
    }
  }
  std::atomic<uint32_t> stored_;
  std::atomic<int64_t> default_ttl_s_;
  std::atomic<bool> logs_;
  // Held for the copy of a pointer. The std::atomic<std::shared_ptr> of GCC 12 holds such a lock
  // too, but lets go of it in load() with no order: a race with the next store().
  mutable SmallMutex properties_mutex_;
  std::shared_ptr<const Properties> properties_ ABSL_GUARDED_BY(properties_mutex_);
  KeyCounts held_;
  std::atomic<int64_t> committed_keys_{0};
  std::atomic<bool> metered_{false};
  QuotaLimits limits_;
  // Of the user whom it counts for; read under the lock of a stripe, changed under all.
  std::shared_ptr<UserMeter> meter_;
  Namespace* bucket_ = nullptr;  // of a companion, which counts for its bucket
  const std::shared_ptr<MemoryCount> memory_;
  const KeyHasher hasher_;
  std::shared_ptr<Namespace> versions_;  // constant once set
  std::atomic<Namespace*> companion_{nullptr};
  std::atomic<bool> suspended_{false};
  std::atomic<bool> encrypts_{false}, holds_encrypted_{false};
  static uint32_t seed_of(NamespaceId id) {
    return is_database(id) ? 0 : is_versions(id) ? bucket_of(id).value() : id.value();
  }
  // All stripes are locked, or the store is not open yet.
  void keep_versions(std::shared_ptr<Namespace> versions, bool suspended) {
    versions_ = std::move(versions);
    companion_ = versions_.get();
    suspended_ = suspended;
    plain = false;
    versions_->bucket_ = this;
    versions_->set_quota(properties()->quota, meter_);
  }
  // The same. What it holds is another's from now on.
  void set_quota(const Quota& quota, std::shared_ptr<UserMeter> meter) {
    const auto keys = static_cast<int64_t>(size());
    const int64_t bytes = index->bytes();
    if (meter_ != nullptr) meter_->add(-keys, -bytes);
    meter_ = std::move(meter);
    if (meter_ != nullptr) meter_->add(keys, bytes);
    limits_.set(quota);
    metered_ = meter_ != nullptr || !quota.empty();
    plain = !metered() && !dropped && versions_ == nullptr;
    if (versions_ != nullptr) versions_->set_quota(quota, meter_);
  }
  // It holds so much more; under the lock of the stripe.
  void count(int64_t keys, int64_t bytes) {
    if (bytes != 0) index->add_bytes(bytes);
    if (meter_ != nullptr) meter_->add(keys, bytes);
  }

 public:
  std::unique_ptr<Index> index;  // replaced only while all stripes are locked
  std::atomic<int64_t> volatile_keys{0};
  // The newest removal of any key, or change of its expiry alone, and the newest removal of all
  // keys at once, whose writer wanted it durable: what the absence of keys rests on, and what
  // their presence does beside their own records.
  std::atomic<uint64_t> removed{0}, flushed{0};
  // The newest key that came to be there, likewise: how many there are rests on it.
  std::atomic<uint64_t> added{0};
  // The newest swap that brought it what it holds, likewise: whatever is there rests on it.
  std::atomic<uint64_t> swapped{0};
  std::atomic<bool> dropped{false};  // set while all stripes are locked; put() refuses then
  // Neither dropped nor with versions or a quota: what a put has to know, in one look.
  std::atomic<bool> plain{true};
  // Of the record that names it, and the size of that; under the keyspace's names lock. A database
  // has none until a property of it changes.
  Lsn named;
  uint64_t name_bytes = 0;

  // The names in order, for listings: of buckets all of them, of a database from its first listing
  // on. While they are put in order (Keyspace::ensure_ordered), those are whose hashes are below
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
  uint64_t order_swaps ABSL_GUARDED_BY(order_mutex) = 0;  // how often it became another's
  std::atomic<bool> order_builds{false};
  Gate order_built;  // order_builds ended

  KeyHash hash(std::string_view key) const { return hasher_(key, hash_seed); }
  // From any thread, without a lock: the count outlives the index that a flush replaces. All that
  // the index holds, with what a transaction has put there or taken away that may come to nothing.
  uint64_t size() const { return held_.keys.load(std::memory_order_relaxed); }
  // Without that: a transaction changes it once, at its commit.
  int64_t committed_size() const { return committed_keys_.load(std::memory_order_relaxed); }
  // An empty one for this namespace; the one before keeps its own size from then on.
  std::unique_ptr<Index> make_index() {
    return std::make_unique<Index>(
        hash_seed, this, false, IndexCounts{&held_, memory_, id.value() >= kFirstBucket, hasher_});
  }
};
using NamespacePtr = std::shared_ptr<Namespace>;

// What a namespace held before it was flushed; freed step by step.
struct Retired {
  std::unique_ptr<Index> index;
  NameOrder order;
};

}  // namespace cairn
