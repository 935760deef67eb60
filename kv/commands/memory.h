// What the process holds in memory, and for what: INFO and MEMORY STATS tell the same of it.
#pragma once

#include <cstdint>
#include <span>

#include "kv/engine/command.h"

namespace cairn::kv {

// In bytes. `used` is the sum of what is held for a purpose, as Redis's used_memory:
//   startup   the process itself, with buffers of a fixed size, when it was ready
//   keys      keys, values and their tables: what `maxmemory` bounds, alone below 128 MB
//   clients   what clients have beside that
//   scripts, functions   their texts
struct HeldMemory {
  explicit HeldMemory(Context& c);
  uint64_t startup, keys, clients, scripts, functions;
  uint64_t used, peak;  // and the most that it was
  // Of `keys`, what is no key and no value, of all databases and buckets.
  uint64_t tables = 0, times = 0;
  uint64_t key_count = 0;
  // Of the system: the process; of that the allocator; of that what holds no hole between entries.
  uint64_t resident, active, allocated;

  uint64_t overhead() const { return startup + clients + scripts + functions + tables + times; }
  uint64_t dataset() const { return used - std::min(used, overhead()); }
  double dataset_percent() const;
};

double ratio_of(uint64_t a, uint64_t b);  // 0 of nothing

}  // namespace cairn::kv
