// Which database holds the keys of which id: what SWAPDB exchanges.
//
// To all but the log a database is a number. The records of the keys that it holds have an id in
// its place, which is that number until a swap: then two databases exchange their indexes, with
// what is known of the keys in them, and the ids. No entry is touched, and one record is written,
// which says of every database what it holds from now on. Records of keys replay by their ids, in
// any order; at the end the newest record of a swap says which database they are in.
//
//   holdings = (u32 id)*     of the databases from 0 on; those that it does not name hold their own
#pragma once

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/types.h"

namespace cairn {

inline constexpr uint32_t kDatabases = 16;  // db0 .. db15 are the namespaces 0 .. 15

struct Holdings {
  std::array<uint32_t, kDatabases> ids;  // by number; each id once

  Holdings() {
    for (uint32_t i = 0; i < kDatabases; i++) ids[i] = i;
  }
  bool operator==(const Holdings&) const = default;

  std::string encode() const { return {reinterpret_cast<const char*>(ids.data()), sizeof(ids)}; }
  // Nothing: they do not add up.
  static std::optional<Holdings> decode(std::string_view in) {
    Holdings h;
    if (in.size() % sizeof(uint32_t) != 0 || in.size() > sizeof(ids)) return std::nullopt;
    if (!in.empty()) std::memcpy(h.ids.data(), in.data(), in.size());
    std::array<bool, kDatabases> taken{};
    for (uint32_t id : h.ids) {
      if (id >= kDatabases || taken[id]) return std::nullopt;
      taken[id] = true;
    }
    return h;
  }
};

}  // namespace cairn
