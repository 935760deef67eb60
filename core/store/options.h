// What whoever opens a store may choose.
#pragma once

#include <cstdint>
#include <functional>

#include "core/base/report.h"
#include "core/extents/extents.h"
#include "core/index/collection.h"

namespace cairn {

enum class Durability : uint8_t { kAlways, kEverySec, kOff };

struct StoreOptions {
  // At most, for a new store; less on a small volume. An old one keeps its own.
  uint64_t segment_bytes = 64 << 20;
  uint64_t extent_threshold = 64 << 10;  // larger values go to extents
  uint64_t extent_file_bytes = 1 << 30;
  uint64_t extent_debt_bytes = ExtentStore::kDebtMax;  // may wait to be given back
  uint64_t memory_bytes = 0;                           // 0: no limit
  std::function<uint64_t()> resident_bytes;  // what memory_bytes limits; none: what the index holds
  // Has the calling thread's allocator give back what nobody uses; called on every executor.
  std::function<void()> release_memory;
  CollectionTypes collections{};
  uint32_t databases = 16;         // 1 to kDatabasesMax (holdings.h)
  double space_amplification = 2;  // the log may be so many times as large as what lives in it
  Durability durability = Durability::kEverySec;  // off: no timed sync
  bool repair = false;
  // Of the rules of lifecycles (objects/lifecycle.h); less only for tests.
  int64_t lifecycle_day_ms = int64_t{24} * 3600 * 1000;
  Report report;             // what an operator should know; may be empty
  uint64_t random_seed = 0;  // 0: from the system
};

}  // namespace cairn
