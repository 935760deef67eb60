// Keeps within bounds what a recovery has to keep until the records before it have come.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/limits.h"
#include "core/base/plant.h"
#include "core/store/keyspace.h"
#include "core/store/replay.h"

namespace cairn {

Lsn Replay::floor_of(const Shard& shard, Namespace& ns, const Name& name, Lsn since,
                     Entry*& e) const {
  // Also one that a checkpoint left on disk and that is gone there: it was written again in parts
  // since, which are among the operations.
  if (e != nullptr && (e->lsn() < since || (e->is_cold() && e->lsn() < first_))) {
    ns.index->remove(e, ns.hash(name.second));
    Entry::destroy(e);
    e = nullptr;
  }
  Lsn floor = e == nullptr ? since : std::max(since, e->lsn());
  if (auto removed = shard.removed.find(name); removed != shard.removed.end()) {
    floor = std::max(floor, removed->second);
  }
  return floor;
}

awaitable<void> Replay::fold(Lsn before) {
  auto executor = co_await asio::this_coro::executor;
  drop_nameless(before);
  for (Shard& shard : shards_) {
    std::vector<Name> names;
    {
      std::lock_guard lock(shard.mutex);
      for (auto& [name, kept] : shard.operations) {
        if (std::any_of(kept.begin(), kept.end(), [&](auto& o) { return o.lsn < before; })) {
          names.push_back(name);
        }
      }
    }
    std::sort(names.begin(), names.end());  // a table's own order differs each time
    for (const Name& name : names) co_await fold_key(name, before);
    set_expiries(shard, before);
    drop_removed(shard, before);
    drop_names(shard);
    co_await asio::post(executor, asio::use_awaitable);
  }
  // What is left could not be folded, and asking often will not change that.
  const uint64_t left = kept_bytes_;
  kept_max_ = std::max(kept_limit_, left + left / 2);
}

awaitable<void> Replay::fold_key(const Name& name, Lsn before) {
  Wanted wanted = fold_now(name, before, Lsn(), nullptr);
  if (!wanted.lsn.valid()) co_return;
  // Not what it should be, or another one by now: then it stays, and the end says what is wrong.
  const Faults::Record record = co_await faults_.read_record(wanted.lsn, wanted.bytes);
  (void)fold_now(name, before, wanted.lsn, &record);
}

Replay::Wanted Replay::fold_now(const Name& name, Lsn before, Lsn read,
                                const Faults::Record* record) {
  Namespace& ns = *namespace_of(NamespaceId(name.first));
  const KeyHash hash = ns.hash(name.second);
  Shard& shard = this->shard(hash);
  StripeLocks lock(keyspace_, hash);
  std::lock_guard known_lock(shard.mutex);
  std::optional<Lsn> since;
  {
    MutexLock names(mutex_);
    since = this->since(ns);
  }
  auto kept = shard.operations.find(name);
  if (kept == shard.operations.end()) return {};
  if (!since) {  // all that the namespace held is gone for good
    take(shard, name, Lsn(UINT64_MAX), Lsn(UINT64_MAX));
    return {};
  }
  Entry* e = ns.index->find(name.second, hash);
  const Lsn floor = floor_of(shard, ns, name, *since, e);
  const bool counts = std::any_of(kept->second.begin(), kept->second.end(),
                                  [&](const auto& o) { return o.lsn > floor && o.lsn < before; });
  if (counts && e != nullptr && e->is_cold()) {
    if (record == nullptr) return {e->lsn(), e->record_bytes()};
    if (read != e->lsn()) return {};
    auto hot = faults_.warm(e, ns.id, *record);
    if (!hot.ok()) return {};
    entry_bytes_.fetch_add((*hot)->bytes() - e->bytes(), std::memory_order_relaxed);
    ns.index->replace(e, *hot, hash);
    Entry::destroy(e);
    e = *hot;
  }
  std::vector<Operation> now = take(shard, name, floor, before);
  if (now.empty()) return {};
  const uint64_t had = e == nullptr ? 0 : e->bytes();
  if (Status replayed = run_operations(ns, name.second, e, now); !replayed.ok()) {
    MutexLock damaged(mutex_);
    damage_ = replayed;
  }
  e = ns.index->find(name.second, hash);
  entry_bytes_.fetch_add((e == nullptr ? 0 : e->bytes()) - had, std::memory_order_relaxed);
  return {};
}

// Of the operations before `before` the last may be a stretch of one whose end is still to come:
// the LSN of its first.
Lsn Replay::first_of_unfinished(const std::vector<Operation>& kept, Lsn before) {
  const Operation* last = nullptr;
  Lsn first(UINT64_MAX);
  for (const Operation& o : kept) {
    if (o.lsn < before && (last == nullptr || o.lsn > last->lsn)) last = &o;
  }
  if (last == nullptr || !last->place) return first;
  if (last->place->offset + last->operation.size() == last->place->total) return first;
  first = Lsn();
  for (const Operation& o : kept) {
    if (o.lsn < before && o.place && o.place->offset == 0) first = std::max(first, o.lsn);
  }
  return first;
}

// Those of the operations before `before` that count; the others before it are dropped.
std::vector<Replay::Operation> Replay::take(Shard& shard, const Name& name, Lsn floor, Lsn before) {
  std::vector<Operation> now, later;
  auto kept = shard.operations.find(name);
  before = std::min(before, first_of_unfinished(kept->second, before));
  for (Operation& o : kept->second) {
    if (o.lsn >= before) {
      later.push_back(std::move(o));
      continue;
    }
    kept_bytes_.fetch_sub(held_bytes(o), std::memory_order_relaxed);
    if (o.lsn > floor) now.push_back(std::move(o));
  }
  if (later.empty()) {
    kept_bytes_.fetch_sub(held_bytes(name), std::memory_order_relaxed);
    shard.operations.erase(kept);
  } else {
    kept->second = std::move(later);
  }
  return now;
}

// Those of a key whose operations could not all be folded wait for them, since an operation says
// which expiry held at its time; so does one whose collection is known by its identity alone.
void Replay::set_expiries(Shard& shard, Lsn before) {
  std::vector<Name> names;
  {
    std::lock_guard lock(shard.mutex);
    for (auto& [name, expiry] : shard.expiries) {
      if (expiry.lsn < before && !shard.operations.contains(name)) names.push_back(name);
    }
  }
  for (const Name& name : names) {
    Namespace& ns = *namespace_of(NamespaceId(name.first));
    StripeLocks lock(keyspace_, ns.hash(name.second));
    std::lock_guard known_lock(shard.mutex);
    auto kept = shard.expiries.find(name);
    if (kept->second.lsn >= before || shard.operations.contains(name)) continue;  // changed since
    if (is_reference(ns.index->find(name.second, ns.hash(name.second)))) continue;
    set_expiry(ns, name.second, kept->second);
    kept_bytes_.fetch_sub(held_bytes(name), std::memory_order_relaxed);
    shard.expiries.erase(kept);
  }
}

// A value on disk stays there. What is not there was deleted, flushed or lost since.
void Replay::set_expiry(Namespace& ns, std::string_view key, const Expiry& expiry) {
  const KeyHash hash = ns.hash(key);
  Entry* e = ns.index->find(key, hash);
  if (e == nullptr || e->lsn() > expiry.lsn || e->expire_ms() == expiry.expire_ms ||
      planted(Bug::kExpiryForgotten)) {
    return;
  }
  if (expiry.lsn < base_) {
    restated_.emplace_back(ns.id, key);
    return;
  }
  Entry* other = e->with_expiry(expiry.expire_ms);
  entry_bytes_.fetch_add(other->bytes() - e->bytes(), std::memory_order_relaxed);
  ns.index->replace(e, other, hash);
  e->detach();
  Entry::destroy(e);
}

// What they hide has come, and is hidden; but for operations that are kept still.
void Replay::drop_removed(Shard& shard, Lsn before) {
  std::lock_guard lock(shard.mutex);
  absl::erase_if(shard.removed, [&](const auto& removed) {
    if (removed.second >= before || shard.operations.contains(removed.first)) return false;
    kept_bytes_.fetch_sub(held_bytes(removed.first), std::memory_order_relaxed);
    return true;
  });
}

}  // namespace cairn
