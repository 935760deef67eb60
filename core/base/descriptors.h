// How many descriptors the process may have, and what is left of them for clients: a quarter, from
// kStorageDescriptorsMin to -Max, is the store's (limits.h).
//
// Threads: any.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>

#include "core/base/limits.h"

namespace cairn {

// A client's descriptor is below this. UINT32_MAX: the system says no limit.
inline uint64_t descriptors_for_clients() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return UINT32_MAX;
  const uint64_t most = std::min<uint64_t>(limit.rlim_cur, limits::kDescriptorsMax);
  const uint64_t reserve =
      std::clamp(most / 4, limits::kStorageDescriptorsMin, limits::kStorageDescriptorsMax);
  return most > reserve ? most - reserve : 0;
}

}  // namespace cairn
