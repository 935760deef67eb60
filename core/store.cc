#include "core/store.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cassert>
#include <mutex>
#include <random>
#include <thread>

#include "core/recovery.h"
#include "core/superblock.h"
#include "core/text.h"

namespace cairn {

// ---- locks ----

void StripeMutex::lock_slow() {
  for (int i = 0; i < 100; i++) {
    uint32_t free = 0;
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
      return;
    }
    __builtin_ia32_pause();
  }
  while (word_.exchange(2, std::memory_order_acquire) != 0) word_.wait(2);
}

void StripeLocks::lock(KeyHash hash) {
  assert(!any());
  one_ = static_cast<uint32_t>(stripe_of(hash));
  (*store_.stripes_)[one_].mutex.lock();
}

void StripeLocks::lock(std::span<const KeyHash> hashes) {
  assert(!any());
  for (KeyHash h : hashes) many_.push_back(static_cast<uint32_t>(stripe_of(h)));
  std::sort(many_.begin(), many_.end());
  many_.erase(std::unique(many_.begin(), many_.end()), many_.end());
  for (uint32_t s : many_) (*store_.stripes_)[s].mutex.lock();
}

void StripeLocks::lock_all() {
  assert(!any());
  for (auto& s : *store_.stripes_) s.mutex.lock();
  all_ = true;
}

void StripeLocks::unlock() {
  if (all_) {
    for (auto& s : *store_.stripes_) s.mutex.unlock();
    all_ = false;
  }
  if (one_ != kNone) (*store_.stripes_)[std::exchange(one_, kNone)].mutex.unlock();
  for (uint32_t s : many_) (*store_.stripes_)[s].mutex.unlock();
  many_.clear();
}

bool StripeLocks::covers(KeyHash hash) const {
  auto s = static_cast<uint32_t>(stripe_of(hash));
  return all_ || one_ == s || std::binary_search(many_.begin(), many_.end(), s);
}

// ---- opening ----

struct Store::RecoveryState {
  struct Tombstones {
    std::mutex mutex;
    absl::flat_hash_map<std::pair<uint32_t, std::string>, Lsn> newest;
  };
  std::array<Tombstones, 64> tombstones;  // by stripe
  Mutex mutex;
  std::map<uint32_t, NamespacePtr> namespaces;
  absl::flat_hash_map<uint32_t, Lsn> dropped;
  absl::flat_hash_map<uint32_t, Lsn> flushed;
  absl::flat_hash_map<uint32_t, bool> named;
};

Store::Store(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
             StoreOptions options)
    : volume_(volume),
      clock_(clock),
      pool_(pool),
      executors_(std::move(executors)),
      options_(options),
      durability_(options.durability),
      memory_bytes_(options.memory_bytes),
      log_(volume, clock, executors_.front()),
      extents_(volume, clock, pool, executors_.front()),
      random_state_(options.random_seed != 0
                        ? options.random_seed
                        : (uint64_t{std::random_device{}()} << 32 | std::random_device{}())),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {
  hash_seed_ = random();
  for (uint32_t i = 0; i < kDatabases; i++) {
    databases_[i] = std::make_shared<Namespace>(NamespaceId(i), cat("db", i), 0, random());
  }
  system_ = std::make_shared<Namespace>(kSystemNamespace, ".system", 0, random());
  system_->ordered = true;
}

Store::~Store() {
  log_.drop_waiters();  // coroutines among them may hold readers and writers of the extents
}

uint64_t Store::random() {  // splitmix64
  uint64_t x = random_state_.fetch_add(0x9e3779b97f4a7c15ULL) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Executor Store::any_executor() { return executors_[next_executor_++ % executors_.size()]; }

awaitable<Status> Store::open() {
  uint64_t id = random();
  auto super = co_await begin_epoch(volume_, id == 0 ? 1 : id, options_.segment_bytes);
  if (!super.ok()) co_return super.status();
  store_id_ = super->store;
  epoch_ = super->epoch;

  recovery_ = std::make_unique<RecoveryState>();
  for (auto& ns : databases_) recovery_->namespaces[ns->id.value()] = ns;
  recovery_->namespaces[kSystemNamespace.value()] = system_;
  RecoveryOptions recover;
  recover.store = store_id_;
  recover.segment_bytes = super->segment_bytes;
  recover.executors = executors_;
  recover.repair = options_.repair;
  recover.apply = [this](const RecordView& r, Lsn lsn) { apply(r, lsn); };
  std::vector<std::pair<uint64_t, int64_t>> times;
  Mutex times_mutex;
  recover.note_time = [&](Lsn lsn, int64_t ms) {
    MutexLock lock(times_mutex);
    times.emplace_back(lsn.value(), ms);
  };
  auto log = co_await recover_log(volume_, recover);
  if (!log.ok()) co_return log.status();
  recovered_records_ = log->records;
  recovered_ = log->proven;
  std::sort(times.begin(), times.end());
  for (auto& [lsn, ms] : times) log_.note_time(Lsn(lsn), ms);

  Status loaded = co_await load();
  recovery_.reset();
  if (!loaded.ok()) co_return loaded;
  Status started = co_await extents_.start(store_id_, options_.extent_file_bytes);
  if (!started.ok()) co_return started;
  LogStart start{store_id_, epoch_, super->segment_bytes, log->next_segment, log->end};
  started = co_await log_.start(start);
  if (!started.ok()) co_return started;
  last_sync_ms_ = clock_.now_ms();
  background_++;
  asio::co_spawn(executors_.front(), run_ticker(), asio::detached);
  co_return absl::OkStatus();
}

NamespacePtr Store::namespace_for_recovery(NamespaceId id) {
  MutexLock lock(recovery_->mutex);
  auto& ns = recovery_->namespaces[id.value()];
  if (ns == nullptr) ns = std::make_shared<Namespace>(id, "", 0, random());
  return ns;
}

void Store::apply(const RecordView& r, Lsn lsn) {
  auto newest = [&](absl::flat_hash_map<uint32_t, Lsn>& map) {
    MutexLock lock(recovery_->mutex);
    Lsn& at = map[r.ns.value()];
    at = std::max(at, lsn);
  };
  switch (r.type) {
    case RecordType::kNamespaceCreate: {
      NamespacePtr ns = namespace_for_recovery(r.ns);
      MutexLock lock(recovery_->mutex);
      ns->name = std::string(r.key);
      if (r.value.size() == 8) std::memcpy(&ns->created_ms, r.value.data(), 8);
      recovery_->named[r.ns.value()] = true;
      return;
    }
    case RecordType::kNamespaceDrop:
      return newest(recovery_->dropped);
    case RecordType::kNamespaceFlush:
      return newest(recovery_->flushed);
    case RecordType::kPut:
    case RecordType::kDelete:
      break;
    default:
      return;  // of a later version's making; the format version guards against those
  }
  NamespacePtr ns = namespace_for_recovery(r.ns);
  KeyHash hash = ns->hash(r.key);
  StripeLocks lock(*this, hash);
  auto& graves = recovery_->tombstones[stripe_of(hash) % recovery_->tombstones.size()];
  std::lock_guard grave_lock(graves.mutex);
  Entry* old = ns->index->find(r.key, hash);
  if (old != nullptr && old->lsn > lsn) return;
  if (r.type == RecordType::kDelete) {
    Lsn& at = graves.newest[{r.ns.value(), std::string(r.key)}];
    at = std::max(at, lsn);
    if (old != nullptr) {
      ns->index->remove(old, hash);
      Entry::destroy(old);
    }
    return;
  }
  if (auto grave = graves.newest.find(std::pair(r.ns.value(), std::string(r.key)));
      grave != graves.newest.end() && grave->second > lsn) {
    return;
  }
  if (old != nullptr && old->assign(r, lsn)) return;
  Entry* entry = Entry::make(r, lsn);
  if (old == nullptr) {
    ns->index->insert(entry, hash);
  } else {
    ns->index->replace(old, entry, hash);
    Entry::destroy(old);
  }
}

// After all records are applied: forget what was dropped, and build what is derived.
awaitable<Status> Store::load() {
  const int64_t now = clock_.now_ms();
  uint32_t next = kFirstBucket;
  for (auto& entry : recovery_->namespaces) {
    const uint32_t number = entry.first;
    const NamespacePtr ns = entry.second;
    next = std::max(next, number + 1);
    if (recovery_->dropped.contains(number)) continue;
    if (ns->is_bucket()) {
      if (!recovery_->named[number]) {
        co_return absl::DataLossError(cat("namespace ", number, " has keys but no name"));
      }
      ns->ordered = true;
      MutexLock lock(names_mutex_);
      by_name_[ns->name] = ns;
    }
    const Lsn flushed = recovery_->flushed[number];
    std::vector<std::pair<Entry*, KeyHash>> gone;
    for (size_t s = 0; s < kStripes; s++) {
      gone.clear();
      Stripe& stripe = (*stripes_)[s];
      Status damage;
      ns->index->for_each(s, [&](Entry* e) {
        if (e->lsn < flushed || e->expired(now)) {
          gone.emplace_back(e, ns->hash(e->key()));
          return;
        }
        stripe.bytes += static_cast<int64_t>(e->bytes());
        if (e->has_expiry()) note_expiry(*ns, stripe, e);
        if (ns->ordered) {
          MutexLock lock(ns->order_mutex);
          ns->order.insert(e);
        }
        if (e->is_blob()) {
          if (auto blob = BlobRef::decode(e->value())) {
            extents_.adopt(*blob);
          } else {
            damage = absl::DataLossError("a blob reference does not add up");
          }
        }
      });
      if (!damage.ok()) co_return damage;
      for (auto& [e, hash] : gone) {
        ns->index->remove(e, hash);
        Entry::destroy(e);
      }
    }
  }
  MutexLock lock(names_mutex_);
  next_namespace_ = next;
  co_return absl::OkStatus();
}

awaitable<Status> Store::close() {
  stopping_ = true;
  while (background_ > 0) co_await clock_.sleep_ms(1);
  Status status = co_await log_.close();
  tick();
  co_await extents_.close();
  co_return status;
}

// ---- upkeep ----

awaitable<void> Store::run_ticker() {
  while (!stopping_) {
    co_await clock_.sleep_ms(kTickMs);
    tick();
  }
  background_--;
}

void Store::tick() {
  const int64_t now = clock_.now_ms();
  expire_due(now);
  for (;;) {
    BlobRef blob;
    {
      MutexLock lock(unref_mutex_);
      if (unrefs_.empty() || !log_.is_durable(unrefs_.front().first)) break;
      blob = std::move(unrefs_.front().second);
      unrefs_.pop_front();
    }
    extents_.unref(blob);
  }
  uint64_t bytes = 0;
  for (auto& s : *stripes_) bytes += static_cast<uint64_t>(s.bytes.load(std::memory_order_relaxed));
  entry_bytes_ = bytes;
  over_memory_ = memory_bytes_ != 0 && used_bytes() > memory_bytes_;
  bool sync = durability_ != Durability::kOff && now - last_sync_ms_ >= 1000;
  if (sync || now < last_sync_ms_) last_sync_ms_ = now;
  log_.tick(sync);
}

void Store::expire_due(int64_t now) {
  for (size_t s = 0; s < kStripes; s++) {
    Stripe& stripe = (*stripes_)[s];
    if (stripe.next_due.load(std::memory_order_relaxed) > now) continue;
    StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
    while (!stripe.expiry.empty() && stripe.expiry.begin()->when_ms <= now) {
      ExpiryItem item = *stripe.expiry.begin();
      KeyHash hash = item.ns->hash(item.entry->key());
      if (!remove(*item.ns, hash, item.entry).ok()) return;  // read-only: reads still skip it
      expired_++;
    }
  }
}

uint64_t Store::used_bytes() const {
  uint64_t bytes = entry_bytes_.load(std::memory_order_relaxed);
  for (auto& ns : databases_) bytes += ns->index->table_bytes();
  MutexLock lock(names_mutex_);
  for (auto& [name, ns] : by_name_) bytes += ns->index->table_bytes();
  return bytes;
}

Status Store::check_write(bool grows) const {
  if (Status s = log_.status(); !s.ok()) return s;
  if (grows && over_memory_.load(std::memory_order_relaxed)) {
    return absl::ResourceExhaustedError("command not allowed when used memory > 'maxmemory'.");
  }
  return absl::OkStatus();
}

// ---- namespaces ----

NamespacePtr Store::find_namespace(std::string_view name) const {
  if (name.substr(0, 2) == "db") {
    auto number = parse_int<uint32_t>(name.substr(2));
    if (number && *number < kDatabases && databases_[*number]->name == name) {
      return databases_[*number];
    }
  }
  MutexLock lock(names_mutex_);
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

std::vector<NamespacePtr> Store::buckets() const {
  std::vector<NamespacePtr> all;
  {
    MutexLock lock(names_mutex_);
    for (auto& [name, ns] : by_name_) all.push_back(ns);
  }
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a->name < b->name; });
  return all;
}

StatusOr<Lsn> Store::create_bucket(std::string_view name) {
  if (Status s = check_write(true); !s.ok()) return s;
  MutexLock lock(names_mutex_);
  if (by_name_.contains(name)) return absl::AlreadyExistsError("the bucket exists");
  const int64_t now = clock_.now_ms();
  NamespaceId id(next_namespace_++);
  auto ns = std::make_shared<Namespace>(id, std::string(name), now, random());
  ns->ordered = true;
  RecordView record{
      RecordType::kNamespaceCreate, 0, id, 0, name, {}, {reinterpret_cast<const char*>(&now), 8}};
  Lsn lsn = log_.append(record);
  by_name_[ns->name] = ns;
  return lsn;
}

StatusOr<Lsn> Store::drop_bucket(std::string_view name) {
  if (Status s = check_write(false); !s.ok()) return s;
  StripeLocks all(*this);  // no put is under way anywhere
  all.lock_all();
  MutexLock lock(names_mutex_);
  auto it = by_name_.find(name);
  if (it == by_name_.end()) return absl::NotFoundError("no such bucket");
  NamespacePtr ns = it->second;
  if (ns->size() > 0) {
    const int64_t now = clock_.now_ms();
    bool live = false;
    for (size_t s = 0; s < kStripes && !live; s++) {
      ns->index->for_each(s, [&](Entry* e) { live |= !e->expired(now); });
    }
    if (live) return absl::FailedPreconditionError("the bucket is not empty");
  }
  by_name_.erase(it);
  ns->dropped = true;
  for (auto& stripe : *stripes_) {
    absl::erase_if(stripe.expiry, [&](const ExpiryItem& i) { return i.ns == ns.get(); });
  }
  RecordView record;
  record.type = RecordType::kNamespaceDrop;
  record.ns = ns->id;
  return log_.append(record);
}

StatusOr<Lsn> Store::flush(Namespace& ns, const StripeLocks* held, WriteBatch* batch) {
  if (Status s = check_write(false); !s.ok()) return s;
  StripeLocks own(*this);
  if (held == nullptr || !held->all()) own.lock_all();
  RecordView record;
  record.type = RecordType::kNamespaceFlush;
  record.ns = ns.id;
  Lsn lsn = log_.tail();
  if (batch == nullptr) {
    lsn = log_.append(record);
  } else {
    batch->bytes_ += record.size();
    batch->staged_.push_back({record.type, 0, &ns, 0, 0, 0, 0, {}});
    if (ns.ordered) hold_order(ns, batch);
  }
  auto fresh = std::make_unique<Index>(ns.hash_seed);
  clear_order(ns, batch != nullptr);
  if (ns.volatile_keys.exchange(0) != 0) {
    for (auto& stripe : *stripes_) {
      absl::erase_if(stripe.expiry, [&](const ExpiryItem& i) { return i.ns == &ns; });
    }
  }
  std::swap(ns.index, fresh);
  if (batch == nullptr) {
    destroy_later(std::move(fresh), lsn);
  } else {
    batch->flushed_.push_back(std::move(fresh));
  }
  return lsn;
}

void Store::clear_order(Namespace& ns, bool order_locked) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (!order_locked) ns.order_mutex.lock();
  ns.order.clear();
  if (!order_locked) ns.order_mutex.unlock();
}

void Store::destroy_later(std::unique_ptr<Index> index, Lsn lsn) {
  background_++;
  asio::co_spawn(executors_.front(), destroy_index(std::move(index), lsn), asio::detached);
}

awaitable<void> Store::destroy_index(std::unique_ptr<Index> index, Lsn lsn) {
  std::vector<Entry*> entries;
  for (size_t s = 0; s < kStripes; s++) {
    int64_t bytes = 0;
    index->for_each(s, [&](Entry* e) {
      bytes += static_cast<int64_t>(e->bytes());
      if (e->is_blob()) {
        if (auto blob = BlobRef::decode(e->value())) defer_unref(lsn, std::move(*blob));
      }
    });
    (*stripes_)[s].bytes -= bytes;
    index->destroy_stripe(s);
    if (s % 16 == 15) co_await asio::post(executors_.front(), asio::use_awaitable);
  }
  background_--;
}

void Store::ensure_ordered(Namespace& ns) {
  if (ns.ordered) return;
  StripeLocks all(*this);
  all.lock_all();
  if (ns.ordered) return;
  std::vector<Entry*> entries;
  for (size_t s = 0; s < kStripes; s++) {
    ns.index->for_each(s, [&](Entry* e) { entries.push_back(e); });
  }
  MutexLock lock(ns.order_mutex);
  ns.order.insert(entries.begin(), entries.end());
  ns.ordered = true;
}

// ---- entries ----

Entry* Store::find(Namespace& ns, std::string_view key, KeyHash hash) {
  Entry* e = ns.index->find(key, hash);
  if (e == nullptr || !e->has_expiry() || !e->expired(clock_.now_ms())) return e;
  return nullptr;  // the ticker removes it
}

void Store::note_expiry(Namespace& ns, Stripe& stripe, Entry* entry) {
  int64_t when = entry->expire_ms();
  stripe.expiry.insert({when, entry, &ns});
  ns.volatile_keys.fetch_add(1, std::memory_order_relaxed);
  if (when < stripe.next_due.load(std::memory_order_relaxed)) stripe.next_due = when;
}

void Store::forget_expiry(Namespace& ns, Stripe& stripe, Entry* entry) {
  stripe.expiry.erase({entry->expire_ms(), entry, &ns});
  ns.volatile_keys.fetch_sub(1, std::memory_order_relaxed);
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
}

void Store::defer_unref(Lsn lsn, BlobRef blob) {
  MutexLock lock(unref_mutex_);
  unrefs_.emplace_back(lsn, std::move(blob));
}

void Store::drop_blob(Entry* entry, Lsn lsn, WriteBatch* batch) {
  if (!entry->is_blob()) return;
  auto blob = BlobRef::decode(entry->value());
  assert(blob.has_value());
  if (batch != nullptr) {
    batch->dropped_.push_back(std::move(*blob));
  } else {
    defer_unref(lsn, std::move(*blob));
  }
}

void Store::hold_order(Namespace& ns, WriteBatch* batch) {
  if (std::find(batch->ordered_.begin(), batch->ordered_.end(), &ns) != batch->ordered_.end())
    return;
  if (batch->ordered_.empty()) batch_order_mutex_.lock();
  ns.order_mutex.lock();
  batch->ordered_.push_back(&ns);
}

void Store::link(Namespace& ns, KeyHash hash, Entry* old, Entry* entry,
                 bool order_locked) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Stripe& s = stripe(hash);
  const bool ordered = ns.ordered.load(std::memory_order_relaxed);
  if (ordered && !order_locked) ns.order_mutex.lock();
  if (old != nullptr) {
    if (ordered) ns.order.erase(old);
    if (old->has_expiry()) forget_expiry(ns, s, old);
    s.bytes.fetch_sub(static_cast<int64_t>(old->bytes()), std::memory_order_relaxed);
  }
  if (old != nullptr && entry != nullptr) {
    ns.index->replace(old, entry, hash);
  } else if (old != nullptr) {
    ns.index->remove(old, hash);
  } else {
    ns.index->insert(entry, hash);
  }
  if (entry != nullptr) {
    s.bytes.fetch_add(static_cast<int64_t>(entry->bytes()), std::memory_order_relaxed);
    if (entry->has_expiry()) note_expiry(ns, s, entry);
    if (ordered) ns.order.insert(entry);
  }
  if (ordered && !order_locked) ns.order_mutex.unlock();
  if (old != nullptr) Entry::destroy(old);
}

StatusOr<Lsn> Store::put(Namespace& ns, KeyHash hash, const RecordView& r, WriteBatch* batch) {
  if (Status s = log_.status(); !s.ok()) return s;
  if (ns.dropped.load(std::memory_order_relaxed)) return absl::NotFoundError("no such bucket");
  if (r.key.size() > kKeyBytesMax) return absl::InvalidArgumentError("the key is too long");
  Lsn lsn;
  const bool ordered = ns.ordered.load(std::memory_order_relaxed);
  if (batch == nullptr) {
    if (r.size() > log_.batch_bytes_max()) {
      return absl::ResourceExhaustedError("the record is larger than a log segment");
    }
    lsn = log_.append(r);
  } else {
    if (batch->bytes_ + r.size() > log_.batch_bytes_max()) {
      return absl::ResourceExhaustedError("the transaction is larger than a log segment");
    }
    batch->bytes_ += r.size();
    batch->staged_.push_back({r.type, r.flags, &ns, hash, r.expire_ms, r.key.size(), r.meta.size(),
                              cat(r.key, r.meta, r.value)});
    lsn = log_.tail();  // until commit() knows it
    if (ordered) hold_order(ns, batch);
  }
  Entry* old = ns.index->find(r.key, hash);
  if (old != nullptr) drop_blob(old, lsn, batch);
  // In place when nothing else looks at the entry and its shape stays.
  if (old != nullptr && !ordered && !old->has_expiry() && !r.has_expiry() && old->assign(r, lsn)) {
    return lsn;
  }
  link(ns, hash, old, Entry::make(r, lsn), batch != nullptr);
  return lsn;
}

StatusOr<Lsn> Store::remove(Namespace& ns, KeyHash hash, Entry* entry, WriteBatch* batch) {
  if (Status s = log_.status(); !s.ok()) return s;
  RecordView record;
  record.type = RecordType::kDelete;
  record.ns = ns.id;
  record.key = entry->key();
  Lsn lsn;
  if (batch == nullptr) {
    lsn = log_.append(record);
  } else {
    if (batch->bytes_ + record.size() > log_.batch_bytes_max()) {
      return absl::ResourceExhaustedError("the transaction is larger than a log segment");
    }
    batch->bytes_ += record.size();
    batch->staged_.push_back(
        {record.type, 0, &ns, hash, 0, record.key.size(), 0, std::string(record.key)});
    lsn = log_.tail();
    if (ns.ordered) hold_order(ns, batch);
  }
  drop_blob(entry, lsn, batch);
  link(ns, hash, entry, nullptr, batch != nullptr);
  return lsn;
}

// ---- batches ----

WriteBatch::~WriteBatch() { assert(staged_.empty()); }

Lsn WriteBatch::commit() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (staged_.empty()) return Lsn();
  std::vector<RecordView> records;
  records.reserve(staged_.size());
  for (const Staged& s : staged_) {
    std::string_view bytes = s.bytes;
    records.push_back({s.type, s.flags, s.ns->id, s.expire_ms, bytes.substr(0, s.key_size),
                       bytes.substr(s.key_size, s.meta_size),
                       bytes.substr(s.key_size + s.meta_size)});
  }
  std::vector<Lsn> lsns(records.size());
  store_.log_.append_batch(records, lsns);
  for (size_t i = 0; i < staged_.size(); i++) {
    if (staged_[i].type != RecordType::kPut) continue;
    Entry* e = staged_[i].ns->index->find(records[i].key, staged_[i].hash);
    if (e != nullptr) e->lsn = lsns[i];
  }
  const Lsn newest = lsns.back();
  for (BlobRef& blob : dropped_) store_.defer_unref(newest, std::move(blob));
  for (auto& index : flushed_) store_.destroy_later(std::move(index), newest);
  flushed_.clear();
  for (Namespace* ns : ordered_) ns->order_mutex.unlock();
  if (!ordered_.empty()) store_.batch_order_mutex_.unlock();
  ordered_.clear();
  dropped_.clear();
  staged_.clear();
  bytes_ = 0;
  return newest;
}

}  // namespace cairn
