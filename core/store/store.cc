#include "core/store/store.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cassert>
#include <mutex>
#include <random>
#include <thread>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/transaction.h"

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

Store::Store(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
             StoreOptions options)
    : volume_(volume),
      clock_(clock),
      pool_(pool),
      executors_(std::move(executors)),
      options_(options),
      durability_(options.durability),
      memory_bytes_(options.memory_bytes),
      manifest_(volume),
      log_(volume, clock, manifest_, executors_.front(), options.report),
      extents_(volume, clock, pool, manifest_, executors_.front(), options.report),
      cleaner_(*this, volume),
      compactor_(*this),
      checkpointer_(*this, volume),
      memory_(*this),
      faults_(*this),
      random_state_(options.random_seed != 0
                        ? options.random_seed
                        : (uint64_t{std::random_device{}()} << 32 | std::random_device{}())),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {
  extents_.set_debt_max(options_.extent_debt_bytes);
  extents_.set_taken([this](uint64_t bytes) { log_.note_taken(bytes); });
  hash_seed_ = random();
  make_databases();
}

void Store::make_databases() {
  for (uint32_t i = 0; i < kDatabases; i++) {
    databases_[i] = std::make_shared<Namespace>(NamespaceId(i), cat("db", i), Properties{},
                                                hash_seed_, memory_.shared_count());
  }
  system_ = std::make_shared<Namespace>(kSystemNamespace, ".system", Properties{}, hash_seed_,
                                        memory_.shared_count());
  system_->order_end = Namespace::kAllHashes;
}

Store::~Store() { drop_waiters(); }  // coroutines may hold readers and writers of the extents

void Store::drop_waiters() {
  log_.drop_waiters();
  faults_.drop_waiters();
  extents_.drop_waiters();
  manifest_.drop_waiters();
  stopped_.drop();
  background_.drop();
  for (auto& ns : spaces()) ns->order_built.drop();
}

uint64_t Store::random() {  // splitmix64
  uint64_t x = random_state_.fetch_add(0x9e3779b97f4a7c15ULL) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Executor Store::any_executor() { return executors_[next_executor_++ % executors_.size()]; }

awaitable<Status> Store::close() {
  stopping_ = true;
  stopped_.notify();
  extents_.stop_waiting();  // who lets go of what is deleted ends too
  co_await background_.ended();
  Status status = co_await log_.close();
  // Without one the start takes longer; on a full volume it would take the room of deletions.
  if (status.ok() && !log_.full()) (void)co_await checkpointer_.write();
  if (status.ok()) {
    manifest_.note_proven(log_.durable());
    manifest_.change([](ManifestState& m) { m.clean_stop = true; });
    (void)co_await manifest_.save();
  }
  co_await release_dead();
  co_await extents_.close();
  co_return status;
}

int64_t Store::average_ttl_ms(const Namespace& ns) {
  constexpr size_t kSample = 128, kLook = 1024;  // in all; in one stripe
  if (ns.volatile_keys.load(std::memory_order_relaxed) <= 0) return 0;
  const int64_t now = clock_.now_ms();
  const size_t first = random() % kStripes;
  double sum = 0;
  size_t seen = 0;
  for (size_t i = 0; i < kStripes && seen < kSample; i++) {
    const size_t s = (first + i) % kStripes;
    if ((*stripes_)[s].next_due.load(std::memory_order_relaxed) == INT64_MAX) continue;
    StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
    size_t looked = 0;
    for (const ExpiryItem& item : (*stripes_)[s].expiry) {
      if (looked++ == kLook) break;
      if (item.index != ns.index.get()) continue;
      sum += static_cast<double>(std::max<int64_t>(item.when_ms - now, 0));
      seen++;
    }
  }
  return seen == 0 ? 0 : static_cast<int64_t>(sum / static_cast<double>(seen));
}

// ---- upkeep ----

awaitable<void> Store::rest(int64_t ms) {
  co_await stopped_.until([this] { return stopping_.load(); }, clock_, ms);
}

awaitable<void> Store::run_ticker() {
  constexpr int kSpaceTicks = 5;
  for (int n = 0; !stopping_; n++) {
    co_await rest(kTickMs);
    tick();
    if (!log_.status().ok()) extents_.stop_waiting();  // no deletion becomes durable any more
    co_await release_dead();
    co_await release_doomed();
    if (n % kSpaceTicks == 0) co_await log_.check_space();
  }
}

void Store::tick() {
  const int64_t now = clock_.now_ms();
  bool sync = durability_ != Durability::kOff && now - last_sync_ms_ >= 1000;
  sync |= extents_.pressed();
  if (sync || now < last_sync_ms_) last_sync_ms_ = now;
  log_.tick(sync);
}

// What the extents of a blob take, about; others may share them.
static uint64_t extent_bytes(const BlobRef& blob) {
  uint64_t sum = 0;
  for (const Piece& p : blob.pieces) sum += p.is_hole() ? 0 : p.length;
  return sum;
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
    extents_.expected_unref(extent_bytes(blob));
  }
}

awaitable<void> Store::release_doomed() {
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
    while (c->shed()) co_await asio::post(executor, asio::use_awaitable);
    c.reset();
  }
}

awaitable<void> Store::run_expiry() {
  while (!stopping_) {
    co_await rest(kTickMs);
    co_await expire_due(clock_.now_ms());
  }
}

// In steps, however many expire together: a lock is held for one step, a turn of the loop has a
// few.
awaitable<void> Store::expire_due(int64_t now) {
  constexpr size_t kTurn = 256;
  auto executor = co_await asio::this_coro::executor;
  size_t done = 0;
  for (size_t s = 0; s < kStripes && !stopping_;) {
    if ((*stripes_)[s].next_due.load(std::memory_order_relaxed) > now) {
      s++;
      continue;
    }
    const auto removed = expire_some(s, now);
    if (!removed.ok()) co_return;  // read-only: reads still skip it
    done += *removed;
    if (*removed < kExpireStep) s++;
    if (done < kTurn) continue;
    done = 0;
    if (log_.backlogged()) co_await log_.wait_for_backlog();
    co_await asio::post(executor, asio::use_awaitable);
  }
}

// At most kExpireStep keys of a stripe; fewer if no more are due.
StatusOr<size_t> Store::expire_some(size_t s, int64_t now) {
  Stripe& stripe = (*stripes_)[s];
  StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
  size_t looked_at = 0;
  for (; looked_at < kExpireStep && !stripe.expiry.empty(); looked_at++) {
    const ExpiryItem item = *stripe.expiry.begin();
    if (item.when_ms > now) break;
    if (item.index->retired) {
      stripe.expiry.erase(stripe.expiry.begin());
      continue;
    }
    Namespace& ns = *item.index->owner;
    if (planted(Bug::kExpiredSilently)) {
      link(ns, ns.hash(item.entry->key()), item.entry, nullptr);
      dispose(item.entry, log_.tail());
      continue;
    }
    Transaction t(*this, &lock, Shape::kOne, Wish::kNone, Cause::kExpiry);
    Status removed = t.remove(ns, ns.hash(item.entry->key()), item.entry);
    if (!removed.ok()) return removed;
    expired_++;
  }
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
  return looked_at;
}

Store::Health Store::health() const {
  Health health;
  auto add = [&](bool serves, std::string problem) {
    health.ready &= serves;
    health.problems.push_back(std::move(problem));
  };
  if (loading()) {
    add(false, cat("loading ", loading_percent(), "%"));
    return health;
  }
  const Status put = log_.admit(Need::kPut);
  if (Status log = log_.trouble(); !log.ok()) add(put.ok(), std::string(log.message()));
  if (memory_.exhausted()) add(true, "memory is used up, and commands that need some are refused");
  if (Status s = extents_.trouble(); !s.ok()) {
    add(true, cat("a file for large values failed and is not written any more: ", s.message()));
  }
  if (Status s = cleaner_.stats().status; !s.ok() && !absl::IsCancelled(s)) {
    add(true, cat("the log cannot be cleaned: ", s.message()));
  }
  for (uint32_t file : extents_.missing_files()) {
    add(true, cat(to_string({FileKind::kExtents, file}), " is missing, with the values in it"));
  }
  uint64_t lost_bytes = 0;
  for (const LsnRange& range : manifest_.state().lost) lost_bytes += range.to - range.from;
  if (lost_bytes > 0) add(true, cat("up to ", lost_bytes, " bytes of the log's records are lost"));
  return health;
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
  if (by_name_.contains(name)) {
    return resting_on(absl::AlreadyExistsError("the bucket exists"), newest_name());
  }
  NamespaceId id(next_namespace_++);
  manifest_.note_next_namespace(next_namespace_);
  auto ns = std::make_shared<Namespace>(id, std::string(name), Properties{clock_.now_ms()},
                                        hash_seed_, memory_.shared_count());
  ns->order_end = Namespace::kAllHashes;
  write_name(*ns);
  by_name_[ns->name] = ns;
  by_id_[id.value()] = ns;
  newest_name_ = ns->named.value();
  return ns->named;
}

// What names a namespace, with its properties; it views into `ns` and `properties`.
static RecordView name_record(const Namespace& ns, std::string_view properties) {
  return {RecordType::kNamespace, 0, ns.id, 0, ns.name, {}, properties};
}

Lsn Store::write_name(Namespace& ns) {
  const std::string properties = ns.properties()->encode();
  const RecordView record = name_record(ns, properties);
  if (ns.named.valid()) usage_.sub(ns.named, ns.name_bytes);
  ns.named = log_.append(record);
  ns.name_bytes = record.size();
  usage_.add(ns.named, ns.name_bytes);
  return ns.named;
}

StatusOr<Lsn> Store::change_properties(Namespace& ns, absl::FunctionRef<void(Properties&)> change) {
  if (Status s = check_write(true); !s.ok()) return s;
  MutexLock lock(names_mutex_);
  if (ns.dropped) return resting_on(absl::NotFoundError("no such bucket"), newest_name());
  auto next = std::make_shared<Properties>(*ns.properties());
  change(*next);
  ns.properties_.store(std::move(next), std::memory_order_release);
  newest_name_ = write_name(ns).value();
  return ns.named;
}

StatusOr<Lsn> Store::drop_bucket(std::string_view name) {
  if (Status s = log_.admit(Need::kClean); !s.ok()) return s;
  StripeLocks all(*this);  // no put is under way anywhere
  all.lock_all();
  MutexLock lock(names_mutex_);
  auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    return resting_on(absl::NotFoundError("no such bucket"), newest_name());
  }
  NamespacePtr ns = it->second;
  if (ns->size() > 0) {
    const int64_t now = clock_.now_ms();
    bool live = false;
    Lsn rests_on;
    for (size_t s = 0; s < kStripes && !live; s++) {
      ns->index->for_each(s, [&](Entry* e) {
        if (e->expired(now)) return;
        live = true;
        rests_on = std::max(rests_on, this->rests_on(*ns, KeyHash{s} << (64 - kStripeBits), e));
      });
    }
    if (live) {
      return resting_on(absl::FailedPreconditionError("the bucket is not empty"), rests_on);
    }
  }
  by_name_.erase(it);
  by_id_.erase(ns->id.value());
  ns->dropped = true;
  usage_.sub(ns->named, ns->name_bytes);
  RecordView record;
  record.type = RecordType::kNamespaceDrop;
  record.ns = ns->id;
  const Lsn lsn = log_.append(record);
  newest_name_ = lsn.value();
  note_flush(*ns, lsn);
  if (listeners_.any()) {
    const Change change{ns.get(), {}, What::kFlush, Cause::kUser, lsn};
    listeners_.tell({&change, 1});
  }
  destroy_later(retire(*ns), lsn);
  return lsn;
}

namespace {
void raise(std::atomic<uint64_t>& newest, Lsn lsn) {
  uint64_t now = newest.load(std::memory_order_relaxed);
  while (now < lsn.value() && !newest.compare_exchange_weak(now, lsn.value())) {
  }
}
}  // namespace

void Store::note_removal(Namespace& ns, KeyHash hash, Lsn lsn) {
  if (planted(Bug::kAbsenceForgotten)) return;
  stripe(hash).removed = lsn;
  raise(ns.removed, lsn);
}

void Store::note_expiry_change(Namespace& ns, KeyHash hash, Lsn lsn) {
  if (planted(Bug::kExpiryToldTooSoon)) return;
  stripe(hash).timed = lsn;
  raise(ns.removed, lsn);
}

void Store::note_flush(Namespace& ns, Lsn lsn) {
  raise(ns.flushed, lsn);
  raise(ns.removed, lsn);
}

std::unique_ptr<Index> Store::replace_index(Namespace& ns) {
  std::unique_ptr<Index> old = std::move(ns.index);
  old->keep_own_size();
  ns.index = ns.make_index();
  old->retired = true;
  return old;
}

Retired Store::retire(Namespace& ns) {
  Retired old;
  old.index = replace_index(ns);
  ns.volatile_keys = 0;
  MutexLock lock(ns.order_mutex);
  old.order.swap(ns.order);
  return old;
}

void Store::destroy_later(Retired retired, Lsn lsn) {
  background_.spawn(executors_.front(), "freeing what was flushed",
                    destroy(std::move(retired), lsn));
}

awaitable<void> Store::destroy(Retired retired, Lsn lsn) {
  constexpr int64_t kStep = 1000;
  auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);  // whoever flushed holds its locks until then
  while (!retired.order.empty()) {
    auto end = retired.order.begin();
    int64_t names = 0;
    for (; names < kStep && end != retired.order.end(); names++) ++end;
    memory_.count().add(0, -names * kOrderBytes);
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
    int64_t entries = 0;
    index.take_all(s, [&](Entry* e) {
      bytes += held_bytes(e);
      count(e, -1);
      if (e->is_cold()) cold_--;
      entries++;
      dispose(e, lsn);
    });
    memory_.count().add(s, -bytes);
    if (s % 16 == 15 || entries >= kStep) co_await asio::post(executor, asio::use_awaitable);
  }
}

awaitable<Status> Store::ensure_ordered(NamespacePtr ns) {
  if (ns->ordered()) co_return absl::OkStatus();
  if (!ns->order_builds.exchange(true)) {
    background_.spawn(any_executor(), "putting names in order", build_order(ns));
  }
  co_await ns->order_built.until([&] { return !ns->order_builds.load(); });
  co_return ns->ordered() ? absl::OkStatus() : absl::CancelledError("the store closes");
}

// Changes of what is in order already go into it as they come (orders()); of the rest, when the
// hand comes by. A flush meanwhile only means that less is left to be put in order.
awaitable<void> Store::build_order(NamespacePtr ns) {
  constexpr size_t kStep = 2048;  // names and stripes, before others have their turn
  auto executor = co_await asio::this_coro::executor;
  KeyHash from = 0;
  size_t since = 0;
  for (size_t s = 0; s < kStripes && !stopping_;) {
    const KeyHash first = KeyHash{s} << (64 - kStripeBits);
    {
      StripeLocks lock(*this, first);
      MutexLock order_lock(ns->order_mutex);
      size_t added = 0;
      const auto add = [&](Entry* e) ABSL_NO_THREAD_SAFETY_ANALYSIS {  // it does not see the lock
        added += ns->order.insert(e).second;
      };
      from = ns->index->walk(s, std::max(from, first), add);
      memory_.count().add(s, static_cast<int64_t>(added) * kOrderBytes);
      since += added + 1;
      if (from == 0) s++;
      const KeyHash end = s == kStripes ? Namespace::kAllHashes : KeyHash{s} << (64 - kStripeBits);
      ns->order_end.store(from == 0 ? end : from, std::memory_order_release);
    }
    if (since < kStep) continue;
    since = 0;
    co_await asio::post(executor, asio::use_awaitable);
  }
  ns->order_builds = false;
  ns->order_built.notify();
}

// ---- entries ----

int64_t Store::held_bytes(const Entry* e) {
  constexpr size_t kExpiryBytes = sizeof(ExpiryItem) * 4 / 3;  // nodes are three quarters full
  return static_cast<int64_t>(e->bytes() + (e->has_expiry() ? kExpiryBytes : 0));
}

void Store::prefetch(std::span<Namespace* const> spaces, std::span<const KeyHash> hashes,
                     bool insert) {
  for (size_t i = 0; i < spaces.size();) {  // runs of one namespace
    size_t end = i + 1;
    while (end < spaces.size() && spaces[end] == spaces[i]) end++;
    spaces[i]->index->prefetch(hashes.subspan(i, end - i), insert);
    i = end;
  }
}

Entry* Store::find(Namespace& ns, std::string_view key, KeyHash hash, Now& now) const {
  return alive(ns.index->find(key, hash), now);
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

void Store::set_expiry(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms) {
  forget_expiry(ns, stripe(hash), entry);
  entry->set_expire_ms(expire_ms);
  note_expiry(ns, stripe(hash), entry);
}

void Store::bury(Lsn lsn, Entry* entry) {
  extents_.expect_unref(extent_bytes(*BlobRef::decode(entry->value())));
  MutexLock lock(dead_mutex_);
  if (lsn.valid()) {
    dead_.emplace_back(lsn, entry);
  } else {
    dead_.emplace_front(lsn, entry);
  }
}

void Store::dispose(Entry* old, Lsn lsn) {
  if (const Collection* c = old->collection(); c != nullptr && c->memory_bytes() > part_bytes()) {
    std::unique_ptr<Collection> doomed(old->detach());
    Entry::destroy(old);
    MutexLock lock(dead_mutex_);
    doomed_.push_back(std::move(doomed));
  } else if (!old->is_blob()) {
    Entry::destroy(old);
  } else {
    bury(lsn, old);
  }
}

void Store::place(Namespace& ns, KeyHash hash, Entry* old, Entry* entry) {
  Stripe& s = stripe(hash);
  int64_t bytes = 0;
  if (old != nullptr) {
    if (old->has_expiry()) forget_expiry(ns, s, old);
    bytes -= held_bytes(old);
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
    if (entry->is_cold()) cold_.fetch_add(1, std::memory_order_relaxed);
    if (entry->has_expiry()) note_expiry(ns, s, entry);
  }
  memory_.count().add(stripe_of(hash), bytes);
}

void Store::link(Namespace& ns, KeyHash hash, Entry* old,
                 Entry* entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const bool ordered = ns.orders(hash);
  int64_t names = 0;
  if (ordered) ns.order_mutex.lock();
  if (old != nullptr) {
    if (ordered) names -= static_cast<int64_t>(ns.order.erase(old));
    count(old, -1);
  }
  place(ns, hash, old, entry);
  if (entry != nullptr) {
    count(entry, 1);
    if (ordered) names += static_cast<int64_t>(ns.order.insert(entry).second);
  }
  if (ordered) ns.order_mutex.unlock();
  if (names != 0) memory_.count().add(stripe_of(hash), names * kOrderBytes);
}

void Store::wait_for_locks() {
  for (size_t s = 0; s < kStripes; s++) {
    StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
  }
  MutexLock lock(names_mutex_);
}

void Store::move(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& copy) {
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

Status Store::move_blob(Namespace& ns, KeyHash hash, Entry* entry, const BlobRef& to) {
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

Entry* Store::spill(Namespace& ns, KeyHash hash, Entry* entry) {
  Entry* cold = entry->make_cold();
  link(ns, hash, entry, cold);
  Entry::destroy(entry);
  return cold;
}

Entry* Store::next_to_expire(Namespace& ns, size_t stripe) {
  for (const ExpiryItem& item : (*stripes_)[stripe].expiry) {
    if (item.index == ns.index.get()) return item.entry;
  }
  return nullptr;
}

std::vector<NamespacePtr> Store::spaces() const {
  std::vector<NamespacePtr> all(databases_.begin(), databases_.end());
  all.push_back(system_);
  for (auto& bucket : buckets()) all.push_back(bucket);
  return all;
}

void Store::move_name(NamespaceId id, Lsn lsn) {
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(id.value());
  if (it == by_id_.end() || it->second->named != lsn || planted(Bug::kNameNotMoved)) return;
  write_name(*it->second);
}

NamespacePtr Store::namespace_by_id(NamespaceId id) const {
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(id.value());
  return it == by_id_.end() ? nullptr : it->second;
}

}  // namespace cairn
