// What a store knows while it recovers, for store_recovery.cc alone; gone once it is open.
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
