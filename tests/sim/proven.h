// What of a life was found by the start after it.
#pragma once

#include <utility>
#include <vector>

#include "core/base/types.h"

namespace cairn::sim {

// What lies in a proven range happened; the rest never did.
using Proven = std::vector<std::pair<Lsn, Lsn>>;
inline bool happened(const Proven& proven, Lsn lsn, Lsn durable) {
  if (proven.empty()) return lsn <= durable;  // cleaned since; all of it, if all was deleted
  if (lsn < proven.front().first) return true;
  for (auto& [first, end] : proven) {
    if (first <= lsn && lsn < end) return true;
  }
  return false;
}

}  // namespace cairn::sim
