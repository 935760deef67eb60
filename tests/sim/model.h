// What the simulation believes to be in the store.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/types.h"

namespace cairn::sim {

using Fields = std::map<std::string, std::string>;
struct Value {
  std::string bytes;
  Fields fields;  // of a hash; none is empty
  int64_t expire_ms = 0;
  Lsn version = {};
  bool operator==(const Value&) const = default;
};
using Key = std::pair<uint32_t, std::string>;  // namespace, key
struct Change {
  // kSet and kUnset change fields of a hash; kUnset has them as keys.
  enum Kind { kPut, kDelete, kFlush, kSet, kUnset, kExpire } kind;
  Key key;
  Value value;
  bool goes_on = false;  // the next one happened with it, or neither did
};

inline void apply(std::map<Key, Value>& state, const Change& c) {
  switch (c.kind) {
    case Change::kPut:
      state[c.key] = c.value;
      break;
    case Change::kDelete:
      state.erase(c.key);
      break;
    case Change::kSet:
    case Change::kUnset: {
      Value& value = state[c.key];
      for (auto& [field, text] : c.value.fields) {
        if (c.kind == Change::kSet) {
          value.fields[field] = text;
        } else {
          value.fields.erase(field);
        }
      }
      value.version = c.value.version;
      value.expire_ms = c.value.expire_ms;
      break;
    }
    case Change::kExpire:  // of what is there; its version stays
      if (auto it = state.find(c.key); it != state.end()) it->second.expire_ms = c.value.expire_ms;
      break;
    case Change::kFlush:
      std::erase_if(state, [&](auto& kv) { return kv.first.first == c.key.first; });
      break;
  }
}

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
