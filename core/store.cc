#include "core/store.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cassert>
#include <mutex>
#include <random>
#include <thread>

#include "core/errors.h"
#include "core/plant.h"
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

static RecordView name_record(const Namespace& ns) {
  return {RecordType::kNamespaceCreate,
          0,
          ns.id,
          0,
          ns.name,
          {},
          {reinterpret_cast<const char*>(&ns.created_ms), 8}};
}

struct Store::RecoveryState {
  struct Tombstones {
    std::mutex mutex;
    absl::flat_hash_map<std::pair<uint32_t, std::string>, Lsn> newest;
    absl::flat_hash_map<std::pair<uint32_t, std::string>, std::vector<PendingOperation>> operations;
  };
  std::array<Tombstones, 64> tombstones;  // by stripe
  Mutex mutex;
  std::map<uint32_t, NamespacePtr> namespaces;
  absl::flat_hash_map<uint32_t, Lsn> dropped;
  absl::flat_hash_map<uint32_t, Lsn> flushed;
  absl::flat_hash_map<uint32_t, bool> named;
  Status damage;
  Lsn first;  // what the log holds is not older
  std::function<void(Lsn, int64_t)> note_time;
  std::atomic<uint64_t> entry_bytes{0};  // about; past half of the limit, values stay on disk
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
      cleaner_(*this, volume),
      checkpointer_(*this, volume),
      memory_(*this),
      faults_(*this),
      random_state_(options.random_seed != 0
                        ? options.random_seed
                        : (uint64_t{std::random_device{}()} << 32 | std::random_device{}())),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {
  hash_seed_ = random();
  make_databases();
}

void Store::make_databases() {
  for (uint32_t i = 0; i < kDatabases; i++) {
    databases_[i] = std::make_shared<Namespace>(NamespaceId(i), cat("db", i), 0, hash_seed_);
  }
  system_ = std::make_shared<Namespace>(kSystemNamespace, ".system", 0, hash_seed_);
  system_->ordered = true;
}

Store::~Store() { drop_waiters(); }  // coroutines may hold readers and writers of the extents

void Store::drop_waiters() {
  log_.drop_waiters();
  faults_.drop_waiters();
}

uint64_t Store::random() {  // splitmix64
  uint64_t x = random_state_.fetch_add(0x9e3779b97f4a7c15ULL) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Executor Store::any_executor() { return executors_[next_executor_++ % executors_.size()]; }

awaitable<Status> Store::begin() {
  uint64_t id = random();
  auto super = co_await begin_epoch(volume_, id == 0 ? 1 : id, options_.segment_bytes);
  if (!super.ok()) co_return super.status();
  store_id_ = super->store;
  epoch_ = super->epoch;
  segment_bytes_ = super->segment_bytes;
  auto checkpoint = co_await find_checkpoint(volume_, store_id_, old_checkpoints_);
  if (!checkpoint.ok()) co_return checkpoint.status();
  checkpoint_ = std::move(*checkpoint);
  if (checkpoint_) {
    hash_seed_ = checkpoint_->footer.hash_seed;
    make_databases();
  }
  co_return absl::OkStatus();
}

awaitable<Status> Store::open() {
  if (segment_bytes_ == 0) {
    Status begun = co_await begin();
    if (!begun.ok()) co_return begun;
  }
  begin_recovery();
  RecoveryOptions recover;
  recover.store = store_id_;
  recover.segment_bytes = segment_bytes_;
  recover.executors = executors_;
  recover.repair = options_.repair;
  recover.apply = [this](const RecordView& r, Lsn lsn) { apply(r, lsn); };
  std::vector<std::pair<uint64_t, int64_t>> times;
  Mutex times_mutex;
  recover.note_time = [&](Lsn lsn, int64_t ms) {
    MutexLock lock(times_mutex);
    if (times.empty() || times.back().second / 1000 != ms / 1000) {
      times.emplace_back(lsn.value(), ms);
    }
  };
  recovery_->note_time = recover.note_time;
  recover.progress = &progress_;
  usage_.start(segment_bytes_);
  std::vector<FileId> old_checkpoints = std::move(old_checkpoints_);
  auto again = [&] {  // without the checkpoint
    begin_recovery();
    recovery_->note_time = recover.note_time;
    recovered_items_ = 0;
    recover.from = Lsn();
  };
  if (checkpoint_) {
    recover.from = Lsn(checkpoint_->footer.begin);
    recover.load_base = [&]() -> awaitable<Status> {
      Status loaded = co_await load_checkpoint(*checkpoint_);
      if (!loaded.ok()) again();
      co_return loaded;
    };
  }
  auto log = co_await recover_log(volume_, recover);
  if (log.ok() && log->on_base && log->end < Lsn(checkpoint_->footer.end) &&
      !planted(Bug::kCheckpointTrustsTail)) {
    again();
    log = co_await recover_log(volume_, recover);
  }
  if (!log.ok()) co_return log.status();
  uint64_t next_checkpoint = 0;
  if (checkpoint_) old_checkpoints.push_back(checkpoint_->file);
  for (FileId id : old_checkpoints) next_checkpoint = std::max(next_checkpoint, id.number + 1);
  checkpointer_.start(next_checkpoint, log->on_base ? recover.from : Lsn(),
                      std::move(old_checkpoints));
  if (!log->proven.empty()) recovery_->first = log->proven.front().first;
  recovered_records_ = log->records;
  recovered_ = log->proven;
  std::sort(times.begin(), times.end());
  for (auto& [lsn, ms] : times) log_.note_time(Lsn(lsn), ms);

  Status loaded = co_await load();
  recovery_.reset();
  if (!loaded.ok()) co_return loaded;
  Status started = co_await extents_.start(store_id_, options_.extent_file_bytes);
  if (!started.ok()) co_return started;
  // Before a new segment is made: on a full volume these make the room for it.
  for (SegmentId s : log->unused) {
    Status removed = co_await volume_.remove({FileKind::kSegment, s.value()});
    if (!removed.ok()) co_return removed;
  }
  if (!log->unused.empty()) {
    Status synced = co_await volume_.sync_directory();
    if (!synced.ok()) co_return synced;
  }
  LogStart start{store_id_, epoch_, segment_bytes_, log->next_segment, log->end, {}};
  for (auto& [first, end] : log->proven) {
    start.sealed.emplace_back(SegmentId(first.value() / segment_bytes_), end);
  }
  started = co_await log_.start(start);
  if (!started.ok()) co_return started;
  last_sync_ms_ = clock_.now_ms();
  loading_.store(false, std::memory_order_release);
  background_ += 4;
  asio::co_spawn(executors_.front(), run_ticker(), asio::detached);
  asio::co_spawn(executors_.back(), cleaner_.run(), asio::detached);
  asio::co_spawn(executors_.back(), checkpointer_.run(), asio::detached);
  asio::co_spawn(executors_.back(), memory_.run(), asio::detached);
  co_return absl::OkStatus();
}

Namespace* Store::namespace_for_recovery(NamespaceId id) {
  if (id.value() < kDatabases) return databases_[id.value()].get();  // without a lock
  MutexLock lock(recovery_->mutex);
  auto& ns = recovery_->namespaces[id.value()];
  if (ns == nullptr) ns = std::make_shared<Namespace>(id, "", 0, hash_seed_);
  return ns.get();
}

void Store::apply(const RecordView& r, Lsn lsn) {
  auto newest = [&](absl::flat_hash_map<uint32_t, Lsn>& map) {
    MutexLock lock(recovery_->mutex);
    Lsn& at = map[r.ns.value()];
    at = std::max(at, lsn);
  };
  switch (r.type) {
    case RecordType::kNamespaceCreate: {
      Namespace* ns = namespace_for_recovery(r.ns);
      MutexLock lock(recovery_->mutex);
      ns->name = std::string(r.key);
      ns->created = std::max(ns->created, lsn);
      if (r.value.size() == 8) std::memcpy(&ns->created_ms, r.value.data(), 8);
      recovery_->named[r.ns.value()] = true;
      return;
    }
    case RecordType::kNamespaceDrop:
      return newest(recovery_->dropped);
    case RecordType::kNamespaceFlush:
      if (r.ns.valid()) return newest(recovery_->flushed);
      for (uint32_t i = 0; i < kDatabases; i++) {
        MutexLock lock(recovery_->mutex);
        Lsn& at = recovery_->flushed[i];
        at = std::max(at, lsn);
      }
      return;
    case RecordType::kPut:
    case RecordType::kDelete:
    case RecordType::kOperation:
      break;
    default:
      return;  // of a later version's making; the format version guards against those
  }
  if (r.has_origin()) recovery_->note_time(r.version, r.wall_ms);
  Namespace* ns = namespace_for_recovery(r.ns);
  KeyHash hash = ns->hash(r.key);
  StripeLocks lock(*this, hash);
  auto& graves = recovery_->tombstones[stripe_of(hash) % recovery_->tombstones.size()];
  std::lock_guard grave_lock(graves.mutex);
  if (r.type == RecordType::kOperation) {
    graves.operations[{r.ns.value(), std::string(r.key)}].push_back(
        {lsn, r.has_origin() ? r.version : lsn, r.expire_ms, r.size(), std::string(r.value),
         static_cast<uint8_t>(r.flags & ~kRecordHasOrigin)});
    return;
  }
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
  if (auto grave = graves.newest.empty()
                       ? graves.newest.end()
                       : graves.newest.find(std::pair(r.ns.value(), std::string(r.key)));
      grave != graves.newest.end() && grave->second > lsn && !planted(Bug::kTombstoneForgotten)) {
    return;
  }
  if (old != nullptr && old->assign(r, lsn)) return;
  const uint64_t limit = memory_bytes_, before = old == nullptr ? 0 : old->bytes();
  Entry* entry = nullptr;
  if (r.flags >> 4 != 0) {
    auto c = make_collection(r.flags, r.value);
    if (c == nullptr) {
      MutexLock damaged(recovery_->mutex);
      recovery_->damage = absl::DataLossError("a collection cannot be read");
      return;
    }
    entry = Entry::make(r, lsn, std::move(c));
    entry->collection()->version_ = r.has_origin() ? r.version : lsn;
    begin_charges(entry, lsn, r.size(), r.value.size());
  } else if (limit != 0 && !r.is_blob() &&
             recovery_->entry_bytes.load(std::memory_order_relaxed) > limit / 2) {
    entry = Entry::make_cold(r, lsn);
  } else {
    entry = Entry::make(r, lsn);
  }
  recovery_->entry_bytes.fetch_add(entry->bytes() - before, std::memory_order_relaxed);
  if (old == nullptr) {
    ns->index->insert(entry, hash);
  } else {
    ns->index->replace(old, entry, hash);
    Entry::destroy(old);
  }
}

awaitable<Status> Store::replay_operations() {
  if (!recovery_->damage.ok()) co_return recovery_->damage;
  for (auto& graves : recovery_->tombstones) {
    for (auto& [name, operations] : graves.operations) {
      const auto& [number, key] = name;
      if (recovery_->dropped.contains(number)) continue;
      Namespace& ns = *namespace_for_recovery(NamespaceId(number));
      const KeyHash hash = ns.hash(key);
      Lsn floor = recovery_->flushed[number];
      Entry* e = ns.index->find(key, hash);
      // Also one that a checkpoint left on disk and that is gone there: it was written again in
      // parts since, which are among the operations.
      if (e != nullptr && (e->lsn < floor || (e->is_cold() && e->lsn < recovery_->first))) {
        ns.index->remove(e, hash);
        Entry::destroy(e);
        e = nullptr;
      }
      if (e != nullptr) floor = std::max(floor, e->lsn);
      if (auto grave = graves.newest.find(name); grave != graves.newest.end()) {
        floor = std::max(floor, grave->second);
      }
      std::erase_if(operations, [&](auto& o) { return o.lsn <= floor; });
      if (operations.empty()) continue;
      if (e != nullptr && e->is_cold()) {  // they change what a checkpoint left on disk
        auto record = co_await faults_.read_record(e->lsn, e->record_bytes());
        auto hot = faults_.warm(e, ns.id, record);
        if (!hot.ok()) co_return hot.status();
        ns.index->replace(e, *hot, hash);
        Entry::destroy(e);
        e = *hot;
      }
      Status replayed = replay(ns, key, e, operations);
      if (!replayed.ok()) co_return replayed;
    }
    graves.operations.clear();
  }
  co_return absl::OkStatus();
}

// After all records are applied: forget what was dropped, and build what is derived.
awaitable<Status> Store::load() {
  const int64_t now = clock_.now_ms();
  Status replayed = co_await replay_operations();
  if (!replayed.ok()) co_return replayed;
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
      usage_.add(ns->created, name_record(*ns).size());
    }
    {
      MutexLock lock(names_mutex_);
      by_id_[number] = ns;
    }
    const Lsn flushed = recovery_->flushed[number];
    std::atomic<size_t> next_stripe{0};
    Mutex mutex;
    Status status;
    auto work = [&]() -> awaitable<void> {
      constexpr size_t kStep = 64;
      auto executor = co_await asio::this_coro::executor;
      for (size_t s; (s = next_stripe.fetch_add(kStep)) < kStripes;) {
        for (size_t i = s; i < s + kStep; i++) {
          Status loaded = load_stripe(*ns, i, flushed, now);
          if (loaded.ok()) continue;
          MutexLock lock(mutex);
          status = loaded;
        }
        co_await asio::post(executor, asio::use_awaitable);
      }
    };
    if (ns->size() > 0) {
      std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
      for (const Executor& e : executors_) jobs.emplace_back(e, work);
      co_await run_all(std::move(jobs));
    }
    if (!status.ok()) co_return status;
  }
  MutexLock lock(names_mutex_);
  next_namespace_ = next;
  co_return absl::OkStatus();
}

Status Store::load_stripe(Namespace& ns, size_t s, Lsn flushed, int64_t now) {
  Stripe& stripe = (*stripes_)[s];
  std::vector<std::pair<Entry*, KeyHash>> gone;
  Status damage;
  uint64_t cold = 0, collections = 0;
  int64_t bytes = 0;
  ns.index->for_each(s, [&](Entry* e) {
    if ((e->lsn < flushed && !planted(Bug::kFlushForgotten)) || e->expired(now)) {
      gone.emplace_back(e, ns.hash(e->key()));
      return;
    }
    bytes += static_cast<int64_t>(e->bytes());
    if (Collection* c = e->collection()) forget_charges(*c, recovery_->first);
    count(e, 1);
    cold += e->is_cold();
    collections += !e->is_string();
    if (e->has_expiry()) note_expiry(ns, stripe, e);
    if (ns.ordered) {
      MutexLock lock(ns.order_mutex);
      ns.order.insert(e);
    }
    if (e->is_blob()) {
      if (auto blob = BlobRef::decode(e->value())) {
        extents_.adopt(*blob);
      } else {
        damage = absl::DataLossError("a blob reference does not add up");
      }
    }
  });
  stripe.bytes += bytes;
  cold_ += cold;
  collections_ += collections;
  for (auto& [e, hash] : gone) {
    ns.index->remove(e, hash);
    Entry::destroy(e);
  }
  return damage;
}

// ---- checkpoints ----

void Store::begin_recovery() {
  recovery_ = std::make_unique<RecoveryState>();
  for (auto& ns : databases_) recovery_->namespaces[ns->id.value()] = ns;
  recovery_->namespaces[kSystemNamespace.value()] = system_;
  for (auto& entry : recovery_->namespaces) {
    for (size_t s = 0; s < kStripes && entry.second->size() > 0; s++) {
      entry.second->index->take_all(s, Entry::destroy);
    }
  }
}

int Store::loading_percent() const {
  const uint64_t total = progress_.total.load(), done = progress_.done.load();
  if (!loading()) return 100;
  return total == 0 ? 0 : static_cast<int>(std::min<uint64_t>(99, done * 100 / total));
}

awaitable<Status> Store::load_checkpoint(const FoundCheckpoint& checkpoint) {
  std::atomic<size_t> next{0};
  Mutex mutex;
  Status status;
  const size_t chunks = checkpoint.footer.chunks;
  progress_.total += checkpoint.footer.index_offset;
  auto work = [&]() -> awaitable<void> {
    for (size_t i; (i = next.fetch_add(1)) < chunks;) {
      Status applied;
      Status read = co_await read_chunk(volume_, checkpoint, i, [&](const CheckpointItem& item) {
        if (applied.ok()) applied = apply_item(item);
      });
      progress_.done += checkpoint.offsets[i + 1] - checkpoint.offsets[i];
      if (read.ok()) read = applied;
      if (read.ok()) continue;
      MutexLock lock(mutex);
      status = read;
      next = chunks;
    }
  };
  std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
  for (const Executor& e : executors_) jobs.emplace_back(e, work);
  co_await run_all(std::move(jobs));
  recovered_items_ = checkpoint.footer.items;
  co_return status;
}

Status Store::apply_item(const CheckpointItem& item) {
  const RecordView& r = item.record;
  if (item.kind == ItemKind::kTime) {
    recovery_->note_time(item.lsn, r.expire_ms);
    return absl::OkStatus();
  }
  if (item.kind == ItemKind::kNamespace) {
    RecordView name = r;
    name.type = RecordType::kNamespaceCreate;
    apply(name, item.lsn);
    return absl::OkStatus();
  }
  Namespace* ns = namespace_for_recovery(r.ns);
  const KeyHash hash = ns->hash(r.key);
  StripeLocks lock(*this, hash);
  if (item.kind == ItemKind::kPart) {
    auto& graves = recovery_->tombstones[stripe_of(hash) % recovery_->tombstones.size()];
    std::lock_guard grave_lock(graves.mutex);
    graves.operations[{r.ns.value(), std::string(r.key)}].push_back(
        {item.lsn, r.version, r.expire_ms, 0, std::string(r.value),
         static_cast<uint8_t>(r.flags & ~kRecordHasOrigin), item.oldest, item.charges});
    return absl::OkStatus();
  }
  Entry* entry = nullptr;
  const uint64_t limit = memory_bytes_;
  if (item.kind == ItemKind::kCollection) {
    auto made = make_collection(r.flags, r.value);
    if (made == nullptr) return absl::DataLossError("a collection cannot be read");
    entry = Entry::make(r, item.lsn, std::move(made));
    Collection& c = *entry->collection();
    c.version_ = r.version;
    c.oldest_ = item.oldest;
    c.image_size_ = item.image_size;
    c.charges_ = {item.charges.begin(), item.charges.end()};
    for (auto& [at, bytes] : c.charges_) c.charged_ += bytes;
  } else if (item.kind == ItemKind::kCold) {
    entry = Entry::make_cold(r, item.lsn);
    entry->value_size = static_cast<uint32_t>(item.value_size);
  } else if (limit != 0 && !r.is_blob() &&
             recovery_->entry_bytes.load(std::memory_order_relaxed) > limit / 2) {
    entry = Entry::make_cold(r, item.lsn);
  } else {
    entry = Entry::make(r, item.lsn);
  }
  recovery_->entry_bytes.fetch_add(entry->bytes(), std::memory_order_relaxed);
  ns->index->insert(entry, hash);
  return absl::OkStatus();
}

awaitable<Status> Store::close() {
  stopping_ = true;
  while (background_ > 0) co_await clock_.sleep_ms(1);
  Status status = co_await log_.close();
  if (status.ok()) (void)co_await checkpointer_.write();  // without one, the start takes longer
  co_await release_dead();
  co_await extents_.close();
  co_return status;
}

// ---- upkeep ----

awaitable<void> Store::run_ticker() {
  constexpr int kSpaceTicks = 5;
  for (int n = 0; !stopping_; n++) {
    co_await clock_.sleep_ms(kTickMs);
    tick();
    co_await release_dead();
    co_await release_doomed();
    if (n % kSpaceTicks == 0) co_await log_.check_space();
  }
  background_--;
}

void Store::tick() {
  const int64_t now = clock_.now_ms();
  expire_due(now);
  uint64_t bytes = 0;
  for (auto& s : *stripes_) bytes += static_cast<uint64_t>(s.bytes.load(std::memory_order_relaxed));
  entry_bytes_ = bytes;
  bool sync = durability_ != Durability::kOff && now - last_sync_ms_ >= 1000;
  if (sync || now < last_sync_ms_) last_sync_ms_ = now;
  log_.tick(sync);
}

// In steps: a blob of 3 TB has 49,000 pieces.
awaitable<void> Store::release_dead() {
  constexpr size_t kStep = 256;
  auto executor = co_await asio::this_coro::executor;
  for (size_t done = 0;;) {
    Entry* entry;
    {
      MutexLock lock(dead_mutex_);
      if (dead_.empty()) break;
      if (!log_.is_durable(dead_.front().first) && !planted(Bug::kBlobFreedTooSoon)) break;
      entry = dead_.front().second;
      dead_.pop_front();
    }
    const BlobRef blob = *BlobRef::decode(entry->value());
    Entry::destroy(entry);
    for (size_t i = 0; i < blob.pieces.size(); i += kStep) {
      auto first = blob.pieces.begin() + static_cast<ptrdiff_t>(i);
      auto last =
          blob.pieces.begin() + static_cast<ptrdiff_t>(std::min(i + kStep, blob.pieces.size()));
      extents_.unref({0, {first, last}});
      done += static_cast<size_t>(last - first);
      if (done >= kStep) {
        done = 0;
        co_await asio::post(executor, asio::use_awaitable);
      }
    }
  }
}

awaitable<void> Store::release_doomed() {
  auto executor = co_await asio::this_coro::executor;
  for (;;) {
    std::unique_ptr<Collection> c;
    {
      MutexLock lock(dead_mutex_);
      if (doomed_.empty()) co_return;
      c = std::move(doomed_.front());
      doomed_.pop_front();
    }
    while (c->shed()) co_await asio::post(executor, asio::use_awaitable);
  }
}

void Store::expire_due(int64_t now) {
  for (size_t s = 0; s < kStripes; s++) {
    Stripe& stripe = (*stripes_)[s];
    if (stripe.next_due.load(std::memory_order_relaxed) > now) continue;
    StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
    while (!stripe.expiry.empty() && stripe.expiry.begin()->when_ms <= now) {
      ExpiryItem item = *stripe.expiry.begin();
      if (item.index->retired) {
        stripe.expiry.erase(stripe.expiry.begin());
        continue;
      }
      Namespace& ns = *item.index->owner;
      KeyHash hash = ns.hash(item.entry->key());
      if (!remove(ns, hash, item.entry).ok()) return;  // read-only: reads still skip it
      expired_++;
    }
    stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
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
  if (Status s = log_.admit(grows ? Need::kPut : Need::kDelete); !s.ok()) return s;
  if (grows && memory_.exhausted()) {
    return out_of_memory("command not allowed when used memory > 'maxmemory'.");
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
  auto ns = std::make_shared<Namespace>(id, std::string(name), now, hash_seed_);
  ns->ordered = true;
  ns->created = log_.append(name_record(*ns));
  usage_.add(ns->created, name_record(*ns).size());
  by_name_[ns->name] = ns;
  by_id_[id.value()] = ns;
  return ns->created;
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
  by_id_.erase(ns->id.value());
  ns->dropped = true;
  usage_.sub(ns->created, name_record(*ns).size());
  RecordView record;
  record.type = RecordType::kNamespaceDrop;
  record.ns = ns->id;
  const Lsn lsn = log_.append(record);
  destroy_later(retire(*ns, false), lsn);
  return lsn;
}

StatusOr<Lsn> Store::flush_databases(const StripeLocks* held, WriteBatch* batch) {
  std::array<Namespace*, kDatabases> all;
  for (size_t i = 0; i < kDatabases; i++) all[i] = databases_[i].get();
  return flush(NamespaceId(), all, held, batch);
}

StatusOr<Lsn> Store::flush(NamespaceId id, std::span<Namespace* const> spaces,
                           const StripeLocks* held, WriteBatch* batch) {
  if (Status s = check_write(false); !s.ok()) return s;
  StripeLocks own(*this);
  if (held == nullptr || !held->all()) own.lock_all();
  RecordView record;
  record.type = RecordType::kNamespaceFlush;
  record.ns = id;
  Lsn lsn = log_.tail();
  if (batch == nullptr) {
    lsn = log_.append(record);
  } else {
    batch->stage(record, nullptr, 0);
  }
  for (Namespace* ns : spaces) {
    if (batch != nullptr && ns->ordered) hold_order(*ns, batch);
    Retired retired = retire(*ns, batch != nullptr);
    if (batch == nullptr) {
      destroy_later(std::move(retired), lsn);
    } else {
      batch->flushed_.push_back(std::move(retired));
    }
  }
  return lsn;
}

Retired Store::retire(Namespace& ns, bool order_locked) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Retired old;
  old.index = std::make_unique<Index>(ns.hash_seed, &ns);
  std::swap(ns.index, old.index);
  old.index->retired = true;
  ns.volatile_keys = 0;
  if (!order_locked) ns.order_mutex.lock();
  old.order.swap(ns.order);
  if (!order_locked) ns.order_mutex.unlock();
  return old;
}

void Store::destroy_later(Retired retired, Lsn lsn) {
  background_++;
  asio::co_spawn(executors_.front(), destroy(std::move(retired), lsn), asio::detached);
}

awaitable<void> Store::destroy(Retired retired, Lsn lsn) {
  constexpr size_t kStep = 1000;
  auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);  // whoever flushed holds its locks until then
  while (!retired.order.empty()) {
    auto end = retired.order.begin();
    for (size_t i = 0; i < kStep && end != retired.order.end(); i++) ++end;
    retired.order.erase(retired.order.begin(), end);
    co_await asio::post(executor, asio::use_awaitable);
  }
  Index& index = *retired.index;
  for (size_t s = 0; s < kStripes; s++) {
    {
      StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
      Stripe& stripe = (*stripes_)[s];
      absl::erase_if(stripe.expiry, [&](const ExpiryItem& i) { return i.index == &index; });
    }
    int64_t bytes = 0;
    size_t entries = 0;
    index.take_all(s, [&](Entry* e) {
      bytes += static_cast<int64_t>(e->bytes());
      count(e, -1);
      if (e->is_cold()) cold_--;
      if (!e->is_string()) collections_--;
      entries++;
      dispose(e, lsn, nullptr);
    });
    (*stripes_)[s].bytes -= bytes;
    if (s % 16 == 15 || entries >= kStep) co_await asio::post(executor, asio::use_awaitable);
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
  stripe.expiry.insert({when, entry, ns.index.get()});
  ns.volatile_keys.fetch_add(1, std::memory_order_relaxed);
  if (when < stripe.next_due.load(std::memory_order_relaxed)) stripe.next_due = when;
}

void Store::forget_expiry(Namespace& ns, Stripe& stripe, Entry* entry) {
  stripe.expiry.erase({entry->expire_ms(), entry, ns.index.get()});
  ns.volatile_keys.fetch_sub(1, std::memory_order_relaxed);
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
}

void Store::bury(Lsn lsn, Entry* entry) {
  MutexLock lock(dead_mutex_);
  dead_.emplace_back(lsn, entry);
}

void Store::dispose(Entry* old, Lsn lsn, WriteBatch* batch) {
  if (const Collection* c = old->collection(); c != nullptr && c->memory_bytes() > part_bytes()) {
    std::unique_ptr<Collection> doomed(old->detach());
    Entry::destroy(old);
    MutexLock lock(dead_mutex_);
    doomed_.push_back(std::move(doomed));
  } else if (!old->is_blob()) {
    Entry::destroy(old);
  } else if (batch != nullptr) {
    batch->dropped_.push_back(old);
  } else {
    bury(lsn, old);
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
    count(old, -1);
    if (!old->is_string()) collections_.fetch_sub(1, std::memory_order_relaxed);
    if (old->is_cold()) cold_.fetch_sub(1, std::memory_order_relaxed);
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
    count(entry, 1);
    if (!entry->is_string()) collections_.fetch_add(1, std::memory_order_relaxed);
    if (entry->is_cold()) cold_.fetch_add(1, std::memory_order_relaxed);
    if (entry->has_expiry()) note_expiry(ns, s, entry);
    if (ordered) ns.order.insert(entry);
  }
  if (ordered && !order_locked) ns.order_mutex.unlock();
}

void Store::move(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& copy) {
  const Lsn lsn = log_.append(copy);
  if (entry->has_origin() && copy.has_origin()) {
    usage_.sub(entry->lsn, entry->record_bytes());
    entry->lsn = lsn;
    usage_.add(lsn, entry->record_bytes());
    return;
  }
  Entry* moved = entry->is_cold() ? Entry::make_cold(copy, lsn) : Entry::make(copy, lsn);
  moved->marks = entry->marks;
  link(ns, hash, entry, moved, false);
  Entry::destroy(entry);  // the new one holds its blob
}

Entry* Store::spill(Namespace& ns, KeyHash hash, Entry* entry) {
  Entry* cold = entry->make_cold();
  link(ns, hash, entry, cold, false);
  Entry::destroy(entry);
  return cold;
}

Entry* Store::next_to_expire(Namespace& ns, size_t stripe) {
  for (const ExpiryItem& item : (*stripes_)[stripe].expiry) {
    if (item.index == ns.index.get()) return item.entry;
  }
  return nullptr;
}

void Store::settle(Entry* e, const RecordView& r, Lsn lsn) {
  Collection* c = e->collection();
  if (c == nullptr && r.type == RecordType::kOperation) return;  // another value came after
  if (c != nullptr && r.type == RecordType::kOperation) {
    charge(*c, lsn, r.size(), true);
    c->image_size_ = 0;
  } else {
    count(e, -1);
  }
  e->lsn = lsn;
  if (c != nullptr) c->version_ = lsn;
  if (r.type == RecordType::kOperation) return;
  if (c != nullptr) begin_charges(e, lsn, r.size(), r.value.size());
  count(e, 1);
}

std::vector<NamespacePtr> Store::spaces() const {
  std::vector<NamespacePtr> all(databases_.begin(), databases_.end());
  all.push_back(system_);
  for (auto& bucket : buckets()) all.push_back(bucket);
  return all;
}

void Store::move_name(const RecordView& record, Lsn lsn) {
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(record.ns.value());
  if (it == by_id_.end() || it->second->created != lsn) return;
  usage_.sub(lsn, record.size());
  it->second->created = log_.append(record);
  usage_.add(it->second->created, record.size());
}

NamespacePtr Store::namespace_by_id(NamespaceId id) const {
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(id.value());
  return it == by_id_.end() ? nullptr : it->second;
}

StatusOr<Lsn> Store::put(Namespace& ns, KeyHash hash, const RecordView& r, WriteBatch* batch) {
  if (Status s = log_.admit(Need::kPut); !s.ok()) return s;
  if (ns.dropped.load(std::memory_order_relaxed)) return absl::NotFoundError("no such bucket");
  if (r.key.size() > kKeyBytesMax) return absl::InvalidArgumentError("the key is too long");
  std::unique_ptr<Collection> collection;
  if (r.flags >> 4 != 0) {
    collection = make_collection(r.flags, r.value);
    if (collection == nullptr) return absl::InvalidArgumentError("not a value of this type");
  }
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
    batch->stage(r, &ns, hash);
    lsn = log_.tail();  // until commit() knows it
    if (ordered) hold_order(ns, batch);
  }
  Entry* old = ns.index->find(r.key, hash);
  // In place when nothing else looks at the entry and its shape stays.
  if (old != nullptr && !ordered && !old->has_expiry() && !r.has_expiry() && !old->is_blob()) {
    const Lsn before = old->lsn;
    if (old->assign(r, lsn)) {
      usage_.sub(before, old->record_bytes());
      usage_.add(lsn, old->record_bytes());
      return lsn;
    }
  }
  Entry* entry =
      collection == nullptr ? Entry::make(r, lsn) : Entry::make(r, lsn, std::move(collection));
  if (Collection* c = entry->collection()) {
    c->version_ = lsn;
    if (batch == nullptr) begin_charges(entry, lsn, r.size(), r.value.size());
  }
  link(ns, hash, old, entry, batch != nullptr);
  if (old != nullptr) dispose(old, lsn, batch);
  return lsn;
}

StatusOr<Lsn> Store::remove(Namespace& ns, KeyHash hash, Entry* entry, WriteBatch* batch) {
  if (Status s = log_.admit(Need::kDelete); !s.ok()) return s;
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
    batch->stage(record, &ns, hash);
    lsn = log_.tail();
    if (ns.ordered) hold_order(ns, batch);
  }
  link(ns, hash, entry, nullptr, batch != nullptr);
  dispose(entry, lsn, batch);
  return lsn;
}

// ---- batches ----

WriteBatch::~WriteBatch() { assert(staged_.empty()); }

void WriteBatch::stage(const RecordView& r, Namespace* ns, KeyHash hash) {
  bytes_ += r.size();
  staged_.push_back({r.type, r.flags, r.ns, ns, hash, r.expire_ms, r.key.size(), r.meta.size(),
                     cat(r.key, r.meta, r.value)});
}

Lsn WriteBatch::commit() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (staged_.empty()) return Lsn();
  std::vector<RecordView> records;
  records.reserve(staged_.size());
  for (const Staged& s : staged_) {
    std::string_view bytes = s.bytes;
    records.push_back({s.type, s.flags, s.ns_id, s.expire_ms, bytes.substr(0, s.key_size),
                       bytes.substr(s.key_size, s.meta_size),
                       bytes.substr(s.key_size + s.meta_size)});
  }
  std::vector<Lsn> lsns(records.size());
  store_.log_.append_batch(records, lsns);
  for (size_t i = 0; i < staged_.size(); i++) {
    const RecordType type = staged_[i].type;
    if (type != RecordType::kPut && type != RecordType::kOperation) continue;
    Entry* e = staged_[i].ns->index->find(records[i].key, staged_[i].hash);
    if (e == nullptr) continue;
    store_.settle(e, records[i], lsns[i]);
  }
  const Lsn newest = lsns.back();
  for (Entry* dropped : dropped_) store_.bury(newest, dropped);
  for (auto& retired : flushed_) store_.destroy_later(std::move(retired), newest);
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
