// Which database holds the keys of which id: what SWAPDB exchanges.
//
// To all but the log a database is a number. The records of the keys that it holds have an id in
// its place, which is that of its number until a swap: then two databases exchange their indexes,
// with what is known of the keys in them, and the ids. No entry is touched, and one record is
// written, which says of every database what it holds from now on. Records of keys replay by their
// ids, in any order; at the end the newest record of a swap says which database they are in.
//
//   holdings = (u32 number)*     of the databases from 0 on: the one whose id is that of what it
//                                holds; those that it does not name hold their own
#pragma once

#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn {

// The namespaces db0, db1 and so on: as many as the store's options say.
inline constexpr uint32_t kDatabasesUsual = 16, kDatabasesMax = 1024;

// Of the first 16 the id is the number; those of the others are where no bucket's comes to.
inline constexpr uint32_t kFirstHighDatabase = 0xffff0000;
constexpr NamespaceId database_id(uint32_t number) {
  return NamespaceId(number < kDatabasesUsual ? number : kFirstHighDatabase + number);
}
// UINT32_MAX: it is not one of a database.
constexpr uint32_t database_number(NamespaceId id) {
  if (id.value() < kDatabasesUsual) return id.value();
  const uint32_t number = id.value() - kFirstHighDatabase;
  const bool high = id.value() >= kFirstHighDatabase + kDatabasesUsual && number < kDatabasesMax;
  return high ? number : UINT32_MAX;
}
constexpr bool is_database(NamespaceId id) { return database_number(id) != UINT32_MAX; }

struct Holdings {
  std::vector<uint32_t> numbers;  // by number; each once

  explicit Holdings(uint32_t databases = kDatabasesUsual) : numbers(databases) {
    std::iota(numbers.begin(), numbers.end(), 0);
  }
  bool operator==(const Holdings&) const = default;

  // What the database holds, which may be one that is not named.
  uint32_t held_by(uint32_t number) const {
    return number < numbers.size() ? numbers[number] : number;
  }
  std::string encode() const {
    return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(uint32_t)};
  }
  // Nothing: they do not add up.
  static std::optional<Holdings> decode(std::string_view in) {
    const size_t n = in.size() / sizeof(uint32_t);
    if (in.size() % sizeof(uint32_t) != 0 || n > kDatabasesMax) return std::nullopt;
    Holdings h(static_cast<uint32_t>(n));
    if (n > 0) std::memcpy(h.numbers.data(), in.data(), in.size());
    std::vector<bool> taken(n);
    for (uint32_t number : h.numbers) {
      if (number >= n || taken[number]) return std::nullopt;
      taken[number] = true;
    }
    return h;
  }
};

}  // namespace cairn
