// Keeps within bounds what a recovery has to keep until the records before it have come.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/limits.h"
#include "core/store/recovery_state.h"

namespace cairn {

Lsn Store::RecoveryState::floor_of(Namespace& ns, const Name& name, Lsn since, Entry*& e) {
  // Also one that a checkpoint left on disk and that is gone there: it was written again in parts
  // since, which are among the operations.
  if (e != nullptr && (e->lsn() < since || (e->is_cold() && e->lsn() < first))) {
    ns.index->remove(e, ns.hash(name.second));
    Entry::destroy(e);
    e = nullptr;
  }
  Lsn floor = e == nullptr ? since : std::max(since, e->lsn());
  auto& graves = tombstones_of(ns.hash(name.second));
  if (auto grave = graves.newest.find(name); grave != graves.newest.end()) {
    floor = std::max(floor, grave->second);
  }
  return floor;
}

awaitable<void> Store::RecoveryState::fold(Store& store, Lsn before) {
  auto executor = co_await asio::this_coro::executor;
  for (Tombstones& graves : tombstones) {
    std::vector<Name> names;
    {
      std::lock_guard lock(graves.mutex);
      for (auto& item : graves.operations) names.push_back(item.first);
    }
    std::sort(names.begin(), names.end());  // a table's own order differs each time
    for (const Name& name : names) co_await fold_key(store, name, before);
    drop_tombstones(graves, before);
    co_await asio::post(executor, asio::use_awaitable);
  }
  // What is left could not be folded, and asking often will not change that.
  kept_max = std::max(limits::kept_operations(store.memory_bytes_), kept_bytes.load() * 2);
}

awaitable<void> Store::RecoveryState::fold_key(Store& store, const Name& name, Lsn before) {
  Wanted wanted = fold_now(store, name, before, Lsn(), nullptr);
  if (!wanted.lsn.valid()) co_return;
  // Not what it should be, or another one by now: then it stays, and the end says what is wrong.
  const Faults::Record record = co_await store.faults_.read_record(wanted.lsn, wanted.bytes);
  (void)fold_now(store, name, before, wanted.lsn, &record);
}

Store::RecoveryState::Wanted Store::RecoveryState::fold_now(Store& store, const Name& name,
                                                            Lsn before, Lsn read,
                                                            const Faults::Record* record) {
  Namespace& ns = *store.namespace_for_recovery(NamespaceId(name.first));
  const KeyHash hash = ns.hash(name.second);
  Tombstones& graves = tombstones_of(hash);
  StripeLocks lock(store, hash);
  std::lock_guard grave_lock(graves.mutex);
  std::optional<Lsn> since;
  {
    MutexLock names(mutex);
    since = store.recovered_since(ns);
  }
  auto kept = graves.operations.find(name);
  if (!since || kept == graves.operations.end()) return {};
  Entry* e = ns.index->find(name.second, hash);
  const Lsn floor = floor_of(ns, name, *since, e);
  const bool counts = std::any_of(kept->second.begin(), kept->second.end(),
                                  [&](const auto& o) { return o.lsn > floor && o.lsn < before; });
  if (counts && e != nullptr && e->is_cold()) {
    if (record == nullptr) return {e->lsn(), e->record_bytes()};
    if (read != e->lsn()) return {};
    auto hot = store.faults_.warm(e, ns.id, *record);
    if (!hot.ok()) return {};
    entry_bytes.fetch_add((*hot)->bytes() - e->bytes(), std::memory_order_relaxed);
    ns.index->replace(e, *hot, hash);
    Entry::destroy(e);
    e = *hot;
  }
  std::vector<PendingOperation> now = take(graves, name, floor, before);
  if (now.empty()) return {};
  const uint64_t had = e == nullptr ? 0 : e->bytes();
  if (Status replayed = store.replay(ns, name.second, e, now); !replayed.ok()) {
    MutexLock damaged(mutex);
    damage = replayed;
  }
  e = ns.index->find(name.second, hash);
  entry_bytes.fetch_add((e == nullptr ? 0 : e->bytes()) - had, std::memory_order_relaxed);
  return {};
}

// Those of the operations before `before` that count; the others before it are dropped.
std::vector<Store::PendingOperation> Store::RecoveryState::take(Tombstones& graves,
                                                                const Name& name, Lsn floor,
                                                                Lsn before) {
  std::vector<PendingOperation> now, later;
  auto kept = graves.operations.find(name);
  for (PendingOperation& o : kept->second) {
    if (o.lsn >= before) {
      later.push_back(std::move(o));
      continue;
    }
    kept_bytes.fetch_sub(held_bytes(o), std::memory_order_relaxed);
    if (o.lsn > floor) now.push_back(std::move(o));
  }
  if (later.empty()) {
    graves.operations.erase(kept);
  } else {
    kept->second = std::move(later);
  }
  return now;
}

// What they hide has come, and is hidden; but for operations that are kept still.
void Store::RecoveryState::drop_tombstones(Tombstones& graves, Lsn before) {
  std::lock_guard lock(graves.mutex);
  absl::erase_if(graves.newest, [&](const auto& grave) {
    if (grave.second >= before || graves.operations.contains(grave.first)) return false;
    kept_bytes.fetch_sub(held_bytes(grave.first), std::memory_order_relaxed);
    return true;
  });
}

}  // namespace cairn
