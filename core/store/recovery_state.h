// What a store knows while it recovers, for store_recovery.cc alone; gone once it is open.
//
// Segments are read in parallel, but operations on a collection have an order, and so they are kept
// until those before them have come; and a tombstone, until what it hides has. So that neither
// takes all memory (629,000 operations on one field took 147 MB), operations are folded into their
// collections, and tombstones go, as soon as there are many and all before them has come.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/store/store.h"

namespace cairn {

struct Store::RecoveryState {
  struct Tombstones {
    std::mutex mutex;
    std::atomic<bool> any{false};  // whether `newest` holds one
    absl::flat_hash_map<std::pair<uint32_t, std::string>, Lsn> newest;
    absl::flat_hash_map<std::pair<uint32_t, std::string>, std::vector<PendingOperation>> operations;
  };
  std::array<Tombstones, 64> tombstones;  // by stripe
  Tombstones& tombstones_of(KeyHash hash) {
    return tombstones[stripe_of(hash) % tombstones.size()];
  }

  using Name = std::pair<uint32_t, std::string>;
  // What operations and tombstones take, about, and how much they may.
  std::atomic<uint64_t> kept_bytes{0}, kept_max{UINT64_MAX};
  static uint64_t held_bytes(const PendingOperation& o) {
    return sizeof(o) * 3 / 2 + o.operation.capacity() + o.charges.size() * sizeof(o.charges[0]);
  }
  static uint64_t held_bytes(const Name& name) {
    return (sizeof(name) + sizeof(Lsn)) * 3 / 2 + name.second.capacity();
  }
  // Under the tombstones' mutex.
  void keep(const Name& name, Tombstones& graves, PendingOperation o) {
    kept_bytes.fetch_add(held_bytes(o), std::memory_order_relaxed);
    graves.operations[name].push_back(std::move(o));
  }
  void bury(const Name& name, Tombstones& graves, Lsn lsn) {
    auto [grave, made] = graves.newest.try_emplace(name, lsn);
    if (made) kept_bytes.fetch_add(held_bytes(name), std::memory_order_relaxed);
    grave->second = std::max(grave->second, lsn);
  }
  bool crowded() const {
    return kept_bytes.load(std::memory_order_relaxed) > kept_max.load(std::memory_order_relaxed);
  }
  // What operations on this key do not count any more if they are not newer; `since`: what the
  // namespace held before is gone. An entry that is gone is removed, and null then.
  Lsn floor_of(Namespace& ns, const Name& name, Lsn since, Entry*& e);
  // All records before this LSN have come. What cannot be folded now stays for the end.
  awaitable<void> fold(Store& store, Lsn before);

 private:
  struct Wanted {  // a record that has to be read first
    Lsn lsn;
    uint64_t bytes = 0;
  };
  awaitable<void> fold_key(Store& store, const Name& name, Lsn before);
  Wanted fold_now(Store& store, const Name& name, Lsn before, Lsn read,
                  const Faults::Record* record);
  std::vector<PendingOperation> take(Tombstones& graves, const Name& name, Lsn floor, Lsn before);
  void drop_tombstones(Tombstones& graves, Lsn before);

 public:
  Mutex mutex;
  std::map<uint32_t, NamespacePtr> namespaces;
  absl::flat_hash_map<uint32_t, Lsn> dropped;
  absl::flat_hash_map<uint32_t, Lsn> flushed;
  absl::flat_hash_map<uint32_t, bool> named;
  Status damage;
  Lsn first;  // what the log holds is not older
  std::vector<LsnRange> lost;
  std::function<void(Lsn, int64_t)> note_time;
  std::atomic<uint64_t> entry_bytes{0};  // about; past half of the limit, values stay on disk
};

}  // namespace cairn
