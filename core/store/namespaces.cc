// Namespaces: making, naming and dropping them, what they held, and the order of their names.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"
#include "core/store/transaction.h"

namespace cairn {

NamespacePtr Keyspace::find_namespace(std::string_view name) const {
  if (name.substr(0, 2) == "db") {
    auto number = parse_int<uint32_t>(name.substr(2));
    if (number && *number < databases() && databases_[*number]->name == name) {
      return databases_[*number];
    }
  }
  MutexLock lock(names_mutex_);
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

std::vector<NamespacePtr> Keyspace::buckets() const {
  std::vector<NamespacePtr> all;
  {
    MutexLock lock(names_mutex_);
    for (auto& [name, ns] : by_name_) all.push_back(ns);
  }
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a->name < b->name; });
  return all;
}

// The first bucket gets object lock. Until the manifest has what is believed, the time at which the
// bucket's record was written says it (Store::load): it is as durable as the bucket.
static void begin_believing(LockClock& clock, Manifest& manifest) {
  clock.begin(0);
  manifest.change([](ManifestState& s) { s.believed_minutes = 0; });
}

StatusOr<Lsn> Keyspace::create_bucket(std::string_view name, Properties set) {
  if (Status s = check_write(true); !s.ok()) return s;
  MutexLock lock(names_mutex_);
  if (by_name_.contains(name)) {
    return resting_on(absl::AlreadyExistsError("the bucket exists"), newest_name());
  }
  NamespaceId id(next_namespace_++);
  manifest_.note_next_namespace(next_namespace_);
  set.created_ms = clock_.now_ms();
  const bool locks = set.object_lock.has_value();
  if (locks) {
    set.versioning = Versioning::kEnabled;
    if (!locks_.exchange(true)) begin_believing(lock_clock_, manifest_);
  }
  auto ns = std::make_shared<Namespace>(id, std::string(name), set, hash_seed_, memory_count_);
  ns->order_end = Namespace::kAllHashes;
  ns->set_quota(set.quota, meter(set.charged_to));
  write_name(*ns);
  if (locks) {
    NamespacePtr versions = by_id_[versions_of(id).value()] = make_companion(*ns);
    ns->keep_versions(std::move(versions), false);
  }
  by_name_[ns->name] = ns;
  by_id_[id.value()] = ns;
  bucket_access_.set(name, BucketAccess::compile(name, set));
  newest_name_ = ns->named.value();
  return ns->named;
}

// What names a namespace, with its properties; it views into `ns` and `properties`.
static RecordView name_record(const Namespace& ns, std::string_view properties) {
  return {RecordType::kNamespace, 0, ns.id, 0, ns.name, {}, properties};
}

Lsn Keyspace::write_name(Namespace& ns, const Properties& properties) {
  const std::string bytes = properties.encode();
  const RecordView record = name_record(ns, bytes);
  if (ns.named.valid()) usage_.sub(ns.named, ns.name_bytes);
  ns.named = log_.append(record);
  ns.name_bytes = record.size();
  usage_.add(ns.named, ns.name_bytes);
  return ns.named;
}

StatusOr<Lsn> Keyspace::change_properties(Namespace& ns,
                                          absl::FunctionRef<void(Properties&)> change) {
  if (Status s = check_write(true); !s.ok()) return s;
  MutexLock lock(names_mutex_);
  if (ns.dropped) return resting_on(absl::NotFoundError("no such bucket"), newest_name());
  auto next = std::make_shared<Properties>(*ns.properties());
  change(*next);
  if (name_record(ns, next->encode()).size() > log_.record_bytes_max()) {
    return absl::ResourceExhaustedError("what is set for the bucket is larger than a log segment");
  }
  newest_name_ = write_name(ns, *next).value();
  bucket_access_.set(ns.name, BucketAccess::compile(ns.name, *next));
  ns.set_properties(std::move(next));  // who sees them finds newest_name() raised
  return ns.named;
}

NamespacePtr Keyspace::make_companion(const Namespace& bucket) {
  auto ns = std::make_shared<Namespace>(versions_of(bucket.id), cat(bucket.name, " (versions)"),
                                        Properties{}, hash_seed_, memory_count_);
  ns->order_end = Namespace::kAllHashes;
  return ns;
}

StatusOr<Lsn> Keyspace::set_versioning(Namespace& ns, bool enabled) {
  assert(ns.is_bucket());
  if (Status s = check_write(true); !s.ok()) return s;
  StripeLocks all(*this);  // no change is under way that makes a version, or none
  all.lock_all();
  MutexLock lock(names_mutex_);
  if (ns.dropped) return resting_on(absl::NotFoundError("no such bucket"), newest_name());
  auto next = std::make_shared<Properties>(*ns.properties());
  if (next->object_lock && !enabled) {
    return resting_on(absl::FailedPreconditionError("the bucket has object lock"), newest_name());
  }
  next->versioning = enabled ? Versioning::kEnabled : Versioning::kSuspended;
  if (name_record(ns, next->encode()).size() > log_.record_bytes_max()) {
    return absl::ResourceExhaustedError("what is set for the bucket is larger than a log segment");
  }
  newest_name_ = write_name(ns, *next).value();
  ns.set_properties(std::move(next));
  NamespacePtr versions = ns.versions_;
  if (versions == nullptr) versions = by_id_[versions_of(ns.id).value()] = make_companion(ns);
  ns.keep_versions(std::move(versions), !enabled);
  return ns.named;
}

StatusOr<Lsn> Keyspace::set_quota(Namespace& ns, const Quota& quota,
                                  std::optional<std::string_view> user_id) {
  if (Status s = check_write(true); !s.ok()) return s;
  StripeLocks all(*this);  // what it holds stays meanwhile
  all.lock_all();
  MutexLock lock(names_mutex_);
  if (ns.dropped) return resting_on(absl::NotFoundError("no such bucket"), newest_name());
  auto next = std::make_shared<Properties>(*ns.properties());
  next->quota = quota;
  if (user_id) next->charged_to = *user_id;
  const std::string charged_to = next->charged_to;
  if (name_record(ns, next->encode()).size() > log_.record_bytes_max()) {
    return absl::ResourceExhaustedError("what is set for the bucket is larger than a log segment");
  }
  newest_name_ = write_name(ns, *next).value();
  ns.set_properties(std::move(next));
  ns.set_quota(quota, meter(charged_to));
  return ns.named;
}

StatusOr<Lsn> Keyspace::set_object_lock(Namespace& ns, const DefaultRetention& retention) {
  bool versioned = true;
  auto lsn = change_properties(ns, [&](Properties& p) {
    versioned = p.versioning == Versioning::kEnabled;
    if (!versioned) return;
    p.object_lock = retention;
    if (!locks_.exchange(true)) begin_believing(lock_clock_, manifest_);
  });
  if (!lsn.ok() || versioned) return lsn;
  return resting_on(absl::FailedPreconditionError("versioning is not enabled"), *lsn);
}

StatusOr<Lsn> Keyspace::drop_bucket(std::string_view name) {
  if (Status s = log_.admit(Need::kClean); !s.ok()) return s;
  StripeLocks all(*this);  // no put is under way anywhere
  all.lock_all();
  MutexLock lock(names_mutex_);
  auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    return resting_on(absl::NotFoundError("no such bucket"), newest_name());
  }
  NamespacePtr ns = it->second;
  if (const Namespace* versions = ns->versions(); versions != nullptr && versions->size() > 0) {
    const Lsn added(versions->added.load());
    return resting_on(absl::FailedPreconditionError("the bucket holds versions"), added);
  }
  if (ns->size() > 0) {
    const int64_t now = clock_.now_ms();
    bool live = false;
    Lsn rests_on;
    for (size_t s = 0; s < kStripes && !live; s++) {
      ns->index->for_each(s, [&](Entry* e) {
        if (is_events(e->key(), e->type())) return;
        if (e->expired(now) && ns->versions() == nullptr) return;  // else it becomes a version
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
  bucket_access_.set(ns->name, nullptr);
  ns->dropped = true;
  ns->plain = false;
  if (ns->versions() != nullptr) {  // what drops the one drops the other (Replay::since)
    by_id_.erase(versions_of(ns->id).value());
    ns->versions()->dropped = true;
    ns->versions()->plain = false;
  }
  ns->set_quota({}, nullptr);
  usage_.sub(ns->named, ns->name_bytes);
  RecordView record;
  record.type = RecordType::kNamespaceDrop;
  record.ns = ns->id;
  const Lsn lsn = log_.append(record);
  newest_name_ = lsn.value();
  note_flush(*ns, lsn);
  if (listeners_.any()) {
    const Change change{ns.get(), {}, What::kFlush, Cause::kUser, lsn};
    listeners_.tell({&change, 1}, nullptr);
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

void Keyspace::note_removal(Namespace& ns, KeyHash hash, Lsn lsn) {
  if (planted(Bug::kAbsenceForgotten)) return;
  stripe(hash).removed = lsn;
  raise(ns.removed, lsn);
}

void Keyspace::note_expiry_change(Namespace& ns, KeyHash hash, Lsn lsn) {
  if (planted(Bug::kExpiryToldTooSoon)) return;
  stripe(hash).timed = lsn;
  raise(ns.removed, lsn);
}

void Keyspace::note_flush(Namespace& ns, Lsn lsn) {
  raise(ns.flushed, lsn);
  raise(ns.removed, lsn);
}

void Keyspace::note_swap(Namespace& a, Namespace& b, Lsn lsn, bool wished) {
  for (auto newest :
       {&Namespace::removed, &Namespace::flushed, &Namespace::added, &Namespace::swapped}) {
    const Lsn both(wished ? lsn.value() : std::max((a.*newest).load(), (b.*newest).load()));
    raise(a.*newest, both);
    raise(b.*newest, both);
  }
}

void Keyspace::note_keys(Namespace& ns, int64_t more, Lsn wished) {
  if (more == 0) return;
  ns.committed_keys_.fetch_add(more, std::memory_order_relaxed);
  if (wished.valid()) raise(ns.added, wished);
}

std::unique_ptr<Index> Keyspace::replace_index(Namespace& ns) {
  std::unique_ptr<Index> old = std::move(ns.index);
  if (ns.meter_ != nullptr) ns.meter_->add(-static_cast<int64_t>(old->size()), -old->bytes());
  old->keep_own_size();
  ns.index = ns.make_index();
  old->retired = true;
  return old;
}

Retired Keyspace::retire(Namespace& ns) {
  Retired old;
  old.index = replace_index(ns);
  ns.volatile_keys = 0;
  ns.committed_keys_ = 0;
  MutexLock lock(ns.order_mutex);
  old.order.swap(ns.order);
  return old;
}

// ---- swaps ----

Holdings Keyspace::holdings() const {
  Holdings now(databases());
  for (uint32_t i = 0; i < databases(); i++) {
    now.numbers[i] = database_number(databases_[i]->stored());
  }
  return now;
}

void Keyspace::exchange(Namespace& a, Namespace& b) {
  const auto more = static_cast<int64_t>(b.size() - a.size());
  const int64_t more_bytes = b.index->bytes() - a.index->bytes();
  if (a.meter_ != nullptr) a.meter_->add(more, more_bytes);
  if (b.meter_ != nullptr) b.meter_->add(-more, -more_bytes);
  a.index.swap(b.index);
  a.index->trade_places(*b.index);
  a.volatile_keys = b.volatile_keys.exchange(a.volatile_keys);
  a.holds_encrypted_ = b.holds_encrypted_.exchange(a.holds_encrypted_);
  a.stored_ = b.stored_.exchange(a.stored_);
  for (const Namespace* ns : {&a, &b}) {
    holders_[database_number(ns->stored())] = database_number(ns->id);
  }
}

void Keyspace::make_exchange_known(Namespace& a, Namespace& b, Lsn lsn,
                                   bool wished) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  a.order.swap(b.order);
  a.order_swaps++;
  b.order_swaps++;
  a.order_end = b.order_end.exchange(a.order_end);
  note_swap(a, b, lsn, wished);
  note_swap_record(lsn, holdings());
}

static RecordView swap_record(std::string_view holdings) {
  RecordView r;
  r.type = RecordType::kSwap;
  r.value = holdings;
  return r;
}

void Keyspace::write_swap() {
  const Holdings now = holdings();
  const std::string text = now.encode();
  note_swap_record(log_.append(swap_record(text)), now);
}

void Keyspace::note_swap_record(Lsn lsn, const Holdings& holdings) {
  if (swap_record_.valid()) usage_.sub(swap_record_, swap_record_bytes_);
  swap_record_ = lsn;
  const std::string text = holdings.encode();
  swap_record_bytes_ = swap_record(text).size();
  usage_.add(lsn, swap_record_bytes_);
}

void Keyspace::move_swap(Lsn lsn) {
  if (swap_record_ == lsn) write_swap();
}

void Keyspace::destroy_later(Retired retired, Lsn lsn) {
  to_free_ += retired.index->size();
  background_.spawn(executors_.front(), "freeing what was flushed",
                    destroy(std::move(retired), lsn));
}

awaitable<void> Keyspace::destroy(Retired retired, Lsn lsn) {
  constexpr int64_t kStep = 1000;
  auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);  // whoever flushed holds its locks until then
  while (!retired.order.empty()) {
    auto end = retired.order.begin();
    int64_t names = 0;
    for (; names < kStep && end != retired.order.end(); names++) ++end;
    memory_count_->add(0, -names * kOrderBytes);
    retired.order.erase(retired.order.begin(), end);
    co_await asio::post(executor, asio::use_awaitable);
  }
  Index& index = *retired.index;
  for (size_t s = 0; s < kStripes; s++) {
    {
      const KeyHash first = KeyHash{s} << (64 - kStripeBits);
      (void)co_await busy().until_idle(first, Busy::Patience::kEndless);
      StripeLocks lock(*this, first);
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
    memory_count_->add(s, -bytes);
    note_freed(static_cast<uint64_t>(entries));
    if (s % 16 == 15 || entries >= kStep) co_await asio::post(executor, asio::use_awaitable);
  }
}

awaitable<Status> Keyspace::ensure_ordered(NamespacePtr ns) {
  while (!ns->ordered()) {  // once more, if it holds something else by then
    if (stopping_) co_return absl::CancelledError("the store closes");
    if (!ns->order_builds.exchange(true)) {
      background_.spawn(any_executor(), "putting names in order", build_order(ns));
    }
    co_await ns->order_built.until([&] { return !ns->order_builds.load(); });
  }
  co_return absl::OkStatus();
}

// Changes of what is in order already go into it as they come (orders()); of the rest, when the
// hand comes by. A flush meanwhile only means that less is left to be put in order; after a swap it
// goes on where the names are that the namespace has then.
awaitable<void> Keyspace::build_order(NamespacePtr ns) {
  constexpr size_t kStep = 2048;  // names and stripes, before others have their turn
  auto executor = co_await asio::this_coro::executor;
  size_t since = 0;
  while (!ns->ordered() && !stopping_) {
    const size_t s = stripe_of(ns->order_end);
    const KeyHash first = KeyHash{s} << (64 - kStripeBits);
    (void)co_await busy().until_idle(first, Busy::Patience::kEndless);
    {
      StripeLocks lock(*this, first);
      MutexLock order_lock(ns->order_mutex);
      const KeyHash from = ns->order_end;
      if (from == Namespace::kAllHashes || stripe_of(from) != s) continue;
      size_t added = 0;
      const auto add = [&](Entry* e) ABSL_NO_THREAD_SAFETY_ANALYSIS {  // it does not see the lock
        added += ns->order.insert(e).second;
      };
      const KeyHash next = ns->index->walk(s, from, add);
      memory_count_->add(s, static_cast<int64_t>(added) * kOrderBytes);
      since += added + 1;
      const KeyHash end =
          s + 1 == kStripes ? Namespace::kAllHashes : KeyHash{s + 1} << (64 - kStripeBits);
      ns->order_end.store(next == 0 ? end : next, std::memory_order_release);
    }
    if (since < kStep) continue;
    since = 0;
    co_await asio::post(executor, asio::use_awaitable);
  }
  ns->order_builds = false;
  ns->order_built.notify();
}

}  // namespace cairn
