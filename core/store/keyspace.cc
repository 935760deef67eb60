#include "core/store/keyspace.h"

#include <algorithm>
#include <bit>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>
#include <random>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"

namespace cairn {

// ---- locks ----

void StripeLocks::take(std::span<const KeyHash> hashes) {
  if (hashes.size() > kMany) return take_many(hashes);
  for (KeyHash h : hashes) many_.push_back(static_cast<uint32_t>(stripe_of(h)));
  std::sort(many_.begin(), many_.end());
  many_.erase(std::unique(many_.begin(), many_.end()), many_.end());
}

void StripeLocks::take_many(std::span<const KeyHash> hashes) {
  bits_ = std::make_unique<Bits>();
  for (KeyHash h : hashes) {
    const uint64_t s = stripe_of(h);
    (*bits_)[s / 64] |= uint64_t{1} << s % 64;
  }
  for (uint32_t i = 0; i < bits_->size(); i++) {
    for (uint64_t left = (*bits_)[i]; left != 0; left &= left - 1) {
      many_.push_back(i * 64 + static_cast<uint32_t>(std::countr_zero(left)));
    }
  }
}

void StripeLocks::forget_many() {
  many_.clear();
  bits_.reset();
}

void StripeLocks::lock(KeyHash hash) {
  assert(!any());
  one_ = static_cast<uint32_t>(stripe_of(hash));
  if (!(*keyspace_.stripes_)[one_].mutex.lock_unless_busy()) keyspace_.busy().lock_anyway(one_);
}

void StripeLocks::lock(std::span<const KeyHash> hashes) {
  assert(!any());
  take(hashes);
  for (uint32_t s : many_) {
    if (!(*keyspace_.stripes_)[s].mutex.lock_unless_busy()) keyspace_.busy().lock_anyway(s);
  }
}

void StripeLocks::lock_all() {
  assert(!any());
  for (uint32_t s = 0; s < kStripes; s++) {
    if (!(*keyspace_.stripes_)[s].mutex.lock_unless_busy()) keyspace_.busy().lock_anyway(s);
  }
  all_ = true;
}

bool StripeLocks::lock_idle(KeyHash hash) {
  assert(!any());
  const auto s = static_cast<uint32_t>(stripe_of(hash));
  if (!(*keyspace_.stripes_)[s].mutex.lock_unless_busy()) [[unlikely]]
    return false;
  one_ = s;
  return true;
}

bool StripeLocks::lock_idle(std::span<const KeyHash> hashes) {
  assert(!any());
  take(hashes);
  if (lock_those() == kNone) [[likely]]
    return true;
  forget_many();
  return false;
}

bool StripeLocks::lock_all_idle() {
  assert(!any());
  all_ = true;
  all_ = lock_those() == kNone;
  return all_;
}

bool StripeLocks::add(KeyHash hash) {
  const auto s = static_cast<uint32_t>(stripe_of(hash));
  SmallMutex& mutex = (*keyspace_.stripes_)[s].mutex;
  if (!mutex.try_lock()) return false;
  const auto insert = [&] {
    many_.insert(std::upper_bound(many_.begin(), many_.end(), s), s);
    if (bits_ != nullptr) (*bits_)[s / 64] |= uint64_t{1} << s % 64;
  };
  if (one_ != kBusy) return insert(), true;
  keyspace_.busy().widen(*this, insert);
  mutex.make_busy();
  return true;
}

uint32_t StripeLocks::lock_those() {
  const size_t count = all_ ? kStripes : many_.size();
  for (size_t i = 0; i < count; i++) {
    const auto s = all_ ? static_cast<uint32_t>(i) : many_[i];
    if ((*keyspace_.stripes_)[s].mutex.lock_unless_busy()) [[likely]]
      continue;
    while (i-- > 0) (*keyspace_.stripes_)[all_ ? i : many_[i]].mutex.unlock();
    return s;
  }
  return kNone;
}

bool StripeLocks::lock_busy(Busy::HolderPtr holder, std::span<const KeyHash> hashes, bool all) {
  if (!(all ? lock_all_idle() : lock_idle(hashes))) return false;
  one_ = kBusy;
  keyspace_.busy().begin(*this, std::move(holder));
  for_each([&](uint32_t s) { (*keyspace_.stripes_)[s].mutex.make_busy(); });
  return true;
}

void StripeLocks::settle_busy() {
  keyspace_.busy().widen(*this, [&] { one_ = kSettled; });
  for_each([&](uint32_t s) { (*keyspace_.stripes_)[s].mutex.settle(); });
}

void StripeLocks::unlock_busy() {
  for_each([&](uint32_t s)
               ABSL_NO_THREAD_SAFETY_ANALYSIS { (*keyspace_.stripes_)[s].mutex.unlock_busy(); });
  keyspace_.busy().end(*this);
  one_ = kNone;
  all_ = false;
  forget_many();
  keyspace_.busy().idle_.notify();
}

void StripeLocks::unlock() {
  if (one_ < kStripes) {
    (*keyspace_.stripes_)[std::exchange(one_, kNone)].mutex.unlock();
  } else if (one_ != kNone) {
    return unlock_busy();
  }
  if (all_) {
    for (auto& s : *keyspace_.stripes_) s.mutex.unlock();
    all_ = false;
  }
  for (uint32_t s : many_) (*keyspace_.stripes_)[s].mutex.unlock();
  forget_many();
}

// ---- the whole ----

Keyspace::Keyspace(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
                   StoreOptions options)
    : volume_(volume),
      clock_(clock),
      pool_(pool),
      executors_(std::move(executors)),
      options_(options),
      memory_bytes_(options.memory_bytes),
      manifest_(volume),
      log_(volume, clock, manifest_, executors_.front(), options.report),
      extents_(volume, clock, pool, manifest_, executors_.front(), options.report),
      random_state_(options.random_seed != 0
                        ? options.random_seed
                        : (uint64_t{std::random_device{}()} << 32 | std::random_device{}())),
      stripes_(std::make_unique<Stripes>(clock_)) {
  extents_.set_debt_max(options_.extent_debt_bytes);
  extents_.set_taken([this](uint64_t bytes) { log_.note_taken(bytes); });
  hash_seed_ = random();
  assert(options_.databases >= 1 && options_.databases <= kDatabasesMax);
  make_databases();
}

void Keyspace::make_databases() {
  databases_.clear();
  holders_ = std::vector<std::atomic<uint32_t>>(databases());
  for (uint32_t i = 0; i < databases(); i++) {
    databases_.push_back(std::make_shared<Namespace>(database_id(i), cat("db", i), Properties{},
                                                     hash_seed_, memory_count_));
    holders_[i] = i;
  }
  system_ = std::make_shared<Namespace>(kSystemNamespace, ".system", Properties{}, hash_seed_,
                                        memory_count_);
  system_->order_end = Namespace::kAllHashes;
  unnamed_ =
      std::make_shared<Namespace>(kIdentities, ".unnamed", Properties{}, hash_seed_, memory_count_);
}

uint64_t Keyspace::random() {  // splitmix64
  uint64_t x = random_state_.fetch_add(0x9e3779b97f4a7c15ULL) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Executor Keyspace::any_executor() { return executors_[next_executor_++ % executors_.size()]; }

awaitable<void> Keyspace::rest(int64_t ms) {
  co_await stopped_.until([this] { return stopping_.load(); }, clock_, ms);
}

Status Keyspace::check_write(bool grows) const {
  if (Status s = log_.admit(grows ? Need::kPut : Need::kDelete); !s.ok()) return s;
  if (grows && memory_count_->exhausted()) {
    return out_of_memory("command not allowed when used memory > 'maxmemory'.");
  }
  return absl::OkStatus();
}

// ---- entries ----

int64_t Keyspace::held_bytes(const Entry* e) {
  return static_cast<int64_t>(e->bytes()) + (e->due_ms() != INT64_MAX ? kDueBytes : 0);
}

int64_t Keyspace::quota_bytes(const Entry* e) {
  uint64_t value = 0;
  if (const Collection* c = e->collection()) {
    value = c->image_bytes();
  } else if (e->is_blob()) {
    std::memcpy(&value, e->value().data(), sizeof(value));  // BlobRef::size
  } else {
    value = e->value_bytes();
  }
  return static_cast<int64_t>(e->key().size() + e->meta_size() + value);
}

void Keyspace::prefetch(std::span<Namespace* const> spaces, std::span<const KeyHash> hashes,
                        bool insert) {
  for (size_t i = 0; i < spaces.size();) {  // runs of one namespace
    size_t end = i + 1;
    while (end < spaces.size() && spaces[end] == spaces[i]) end++;
    spaces[i]->index->prefetch(hashes.subspan(i, end - i), insert);
    i = end;
  }
}

Entry* Keyspace::find(Namespace& ns, std::string_view key, KeyHash hash, Now& now) const {
  return alive(ns.index->find(key, hash), now);
}

void Keyspace::note_due(Namespace& ns, Stripe& stripe, Entry* entry) {
  const int64_t when = entry->due_ms();
  if (entry->has_expiry()) ns.volatile_keys.fetch_add(1, std::memory_order_relaxed);
  if (when == INT64_MAX || ns.id == kIdentities) return;
  stripe.expiry.insert({when, entry, ns.index.get()});
  if (when < stripe.next_due.load(std::memory_order_relaxed)) stripe.next_due = when;
}

void Keyspace::forget_due(Namespace& ns, Stripe& stripe, Entry* entry) {
  const int64_t when = entry->due_ms();
  if (entry->has_expiry()) ns.volatile_keys.fetch_sub(1, std::memory_order_relaxed);
  if (when == INT64_MAX || ns.id == kIdentities) return;
  stripe.expiry.erase({when, entry, ns.index.get()});
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
}

void Keyspace::set_expiry(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms) {
  const int64_t due = entry->due_ms();
  entry->set_expire_ms(expire_ms);
  move_due(ns, hash, entry, due);
}

void Keyspace::move_due(Namespace& ns, KeyHash hash, Entry* entry, int64_t before) {
  const int64_t when = entry->due_ms();
  if (when == before) return;
  if (ns.id != kIdentities) {
    Stripe& s = stripe(hash);
    if (when != INT64_MAX) s.expiry.insert({when, entry, ns.index.get()});
    if (before != INT64_MAX) s.expiry.erase({before, entry, ns.index.get()});  // as in place()
    s.next_due = s.expiry.empty() ? INT64_MAX : s.expiry.begin()->when_ms;
  }
  memory_count_->add(stripe_of(hash),
                     (when != INT64_MAX ? kDueBytes : 0) - (before != INT64_MAX ? kDueBytes : 0));
}

void Keyspace::bury(Lsn lsn, Entry* entry) {
  extents_.expect_unref(BlobRef::decode(entry->value())->extent_bytes());
  to_free_++;
  MutexLock lock(dead_mutex_);
  if (lsn.valid()) {
    dead_.emplace_back(lsn, entry);
  } else {
    dead_.emplace_front(lsn, entry);
  }
}

void Keyspace::dispose(Entry* old, Lsn lsn) {
  if (const Collection* c = old->collection(); c != nullptr && c->memory_bytes() > part_bytes()) {
    std::unique_ptr<Collection> doomed(old->detach());
    Entry::destroy(old);
    to_free_++;
    MutexLock lock(dead_mutex_);
    doomed_.push_back(std::move(doomed));
  } else if (!old->is_blob()) {
    Entry::destroy(old);
  } else {
    bury(lsn, old);
  }
}

void Keyspace::place(Namespace& ns, KeyHash hash, Entry* old, Entry* entry) {
  Stripe& s = stripe(hash);
  int64_t bytes = 0, counted = 0;
  if (old != nullptr) {
    bytes -= held_bytes(old);
    counted -= quota_bytes(old);
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
    bytes += held_bytes(entry);
    counted += quota_bytes(entry);
    if (entry->is_cold()) cold_.fetch_add(1, std::memory_order_relaxed);
    note_due(ns, s, entry);
    ns.note_encrypted(entry);
  }
  if (old != nullptr) forget_due(ns, s, old);  // now, so that a tree of one keeps its node
  memory_count_->add(stripe_of(hash), bytes);
  ns.count(int64_t{entry != nullptr} - int64_t{old != nullptr}, counted);
}

void Keyspace::link(Namespace& ns, KeyHash hash, Entry* old,
                    Entry* entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const bool ordered = ns.orders(hash);
  int64_t names = 0;
  if (ordered) ns.order_mutex.lock();
  if (old != nullptr) {
    if (ordered) names -= static_cast<int64_t>(ns.order.erase(old));
    count(old, -1);
  }
  place(ns, hash, old, entry);
  note_keys(ns, int64_t{entry != nullptr} - int64_t{old != nullptr},
            entry != nullptr && entry->wished() ? entry->lsn() : Lsn());
  if (entry != nullptr) {
    count(entry, 1);
    if (ordered) names += static_cast<int64_t>(ns.order.insert(entry).second);
  }
  if (ordered) ns.order_mutex.unlock();
  if (names != 0) memory_count_->add(stripe_of(hash), names * kOrderBytes);
}

void Keyspace::wait_for_locks() {
  for (size_t s = 0; s < kStripes; s++) {
    StripeLocks lock(*this);
    // What holds a busy one has appended nothing.
    if (!lock.lock_idle(KeyHash{s} << (64 - kStripeBits))) continue;
  }
  MutexLock lock(names_mutex_);
}

void Keyspace::move(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& copy) {
  const Lsn lsn = log_.append(copy);
  if (entry->has_origin() && copy.has_origin() && !entry->expiry_apart()) {
    usage_.sub(entry->lsn(), entry->record_bytes());
    // A transaction that spans segments is not durable when its first one is sealed.
    entry->set_wished(still_wished(entry));
    entry->set_lsn(lsn);
    usage_.add(lsn, entry->record_bytes());
    return;
  }
  Entry* moved = entry->is_cold() ? Entry::make_cold(copy, lsn) : Entry::make(copy, lsn);
  moved->set_marks(entry->marks());
  moved->set_wished(still_wished(entry));
  link(ns, hash, entry, moved);
  Entry::destroy(entry);  // the new one holds its blob
}

Status Keyspace::move_blob(Namespace& ns, KeyHash hash, Entry* entry, const BlobRef& to) {
  if (Status s = log_.admit(Need::kPut); !s.ok()) return s;
  const std::string value = to.encode();
  const RecordView copy = copy_record(ns, entry, value);
  if (copy.size() > log_.record_bytes_max()) {
    return absl::ResourceExhaustedError("the record is larger than a log segment");
  }
  const Lsn lsn = planted(Bug::kBlobMovedSilently) ? entry->lsn() : log_.append(copy);
  extents_.ref(to);
  Entry* moved = Entry::make(copy, lsn);
  moved->set_wished(still_wished(entry));
  link(ns, hash, entry, moved);
  bury(lsn, entry);
  return absl::OkStatus();
}

Entry* Keyspace::spill(Namespace& ns, KeyHash hash, Entry* entry) {
  Entry* cold = entry->make_cold();
  link(ns, hash, entry, cold);
  Entry::destroy(entry);
  return cold;
}

Entry* Keyspace::next_to_expire(Namespace& ns, size_t stripe) {
  for (const ExpiryItem& item : (*stripes_)[stripe].expiry) {
    if (item.index == ns.index.get() && item.entry->has_expiry()) return item.entry;
  }
  return nullptr;
}

std::vector<NamespacePtr> Keyspace::spaces() const {
  std::vector<NamespacePtr> all(databases_.begin(), databases_.end());
  all.push_back(system_);
  for (auto& bucket : buckets()) {
    all.push_back(bucket);
    if (Namespace* versions = bucket->versions()) all.push_back(versions->shared_from_this());
  }
  return all;
}

void Keyspace::move_name(NamespaceId id, Lsn lsn) {
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(id.value());
  if (it == by_id_.end() || it->second->named != lsn || planted(Bug::kNameNotMoved)) return;
  write_name(*it->second);
}

NamespacePtr Keyspace::namespace_by_id(NamespaceId stored) const {
  if (stored == kIdentities) return unnamed_;
  if (const uint32_t number = database_number(stored); number < databases()) {
    return databases_[holders_[number].load(std::memory_order_relaxed)];
  }
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(stored.value());
  return it == by_id_.end() ? nullptr : it->second;
}

// ---- what is deleted ----

// In steps: a blob of 3 TB has 49,000 pieces.
awaitable<void> Keyspace::release_dead() {
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
    extents_.expected_unref(blob.extent_bytes());
    note_freed(1);
  }
}

awaitable<void> Keyspace::release_doomed() {
  auto executor = co_await asio::this_coro::executor;
  std::deque<std::unique_ptr<Collection>> doomed;
  {
    MutexLock lock(dead_mutex_);
    doomed.swap(doomed_);
  }
  for (auto& c : doomed) {
    if (c->in_use()) {
      MutexLock lock(dead_mutex_);
      doomed_.push_back(std::move(c));
      continue;
    }
    while (c->free_some()) co_await asio::post(executor, asio::use_awaitable);
    c.reset();
    note_freed(1);
  }
}

}  // namespace cairn
