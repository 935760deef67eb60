// Byte strings, each once, in the order in which they came: one stretch of bytes, and a table of
// their places in it.
//
// The bytes are items (append_item), so that a part of them that begins and ends between two is one
// of an operation. An item = length bytes; length = u8, or 255 and u32, little-endian.
//
// Threads: one.
#pragma once

#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/text.h"

namespace cairn::kv {

inline void append_item(std::string& out, std::string_view s) {
  if (s.size() < 255) {
    out.push_back(static_cast<char>(s.size()));
  } else {
    auto n = static_cast<uint32_t>(s.size());
    reserve_long(out, s.size());
    out.push_back(static_cast<char>(255));
    out.append(reinterpret_cast<const char*>(&n), 4);
  }
  out.append(s);
}

inline size_t item_size(std::string_view s) { return s.size() + (s.size() < 255 ? 1 : 5); }
// The same where there is room for item_size() bytes.
inline void put_item(char* at, std::string_view s) {
  const auto n = static_cast<uint32_t>(s.size());
  *at++ = static_cast<char>(std::min<uint32_t>(n, 255));
  if (n >= 255) at = static_cast<char*>(std::memcpy(at, &n, 4)) + 4;
  if (n > 0) std::memcpy(at, s.data(), n);
}

// Takes an item off the front; false if there is none.
inline bool take_item(std::string_view& in, std::string_view& s) {
  if (in.empty()) return false;
  uint32_t n = static_cast<uint8_t>(in[0]);
  in.remove_prefix(1);
  if (n == 255) {
    if (in.size() < 4) return false;
    std::memcpy(&n, in.data(), 4);
    in.remove_prefix(4);
  }
  if (n > in.size()) return false;
  s = in.substr(0, n);
  in.remove_prefix(n);
  return true;
}

class TextSet {
 public:
  TextSet() : places_(0, Hash{{&items_}}, Equal{{&items_}}) {}
  TextSet(const TextSet&) = delete;

  // About what so many strings of so many bytes take.
  static uint64_t bytes_for(uint64_t count, uint64_t bytes) {
    constexpr uint64_t kHead = 2, kPlaceBytes = 14;  // the table is three quarters full
    return bytes + bytes / 4 + count * (kHead + kPlaceBytes);
  }

  bool add(std::string_view s) {  // false if it is there
    const size_t before = items_.size();
    places_.lazy_emplace(s, [&](const auto& place) {
      append_item(items_, s);
      place(before);
    });
    return items_.size() > before;
  }
  void clear() { (void)take_items(); }
  std::string take_items() {  // and leaves nothing
    places_ = Places(0, Hash{{&items_}}, Equal{{&items_}});
    return std::exchange(items_, std::string());
  }
  bool contains(std::string_view s) const { return places_.contains(s); }
  size_t size() const { return places_.size(); }
  uint64_t memory_bytes() const {
    return items_.capacity() + places_.capacity() * (sizeof(size_t) + 1);
  }
  const std::string& items() const { return items_; }

 private:
  struct Look {
    const std::string* items;
    using is_transparent = void;
    std::string_view text(std::string_view s) const { return s; }
    std::string_view text(size_t place) const {
      std::string_view s, rest = std::string_view(*items).substr(place);
      take_item(rest, s);
      return s;
    }
  };
  struct Hash : Look {
    size_t operator()(const auto& s) const {
      const std::string_view t = this->text(s);
      return absl::HashOf(absl::string_view(t.data(), t.size()));
    }
  };
  struct Equal : Look {
    bool operator()(const auto& a, const auto& b) const { return this->text(a) == this->text(b); }
  };

  using Places = absl::flat_hash_set<size_t, Hash, Equal>;

  std::string items_;
  Places places_;
};

}  // namespace cairn::kv
