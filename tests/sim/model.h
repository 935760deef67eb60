// What the simulation believes to be in the store.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/base/types.h"
#include "core/index/index.h"
#include "core/store/version_lock.h"
#include "core/store/versions.h"
#include "tests/sim/proven.h"

namespace cairn::sim {

struct Field {
  std::string text;
  int64_t until_ms = 0;  // 0: for ever
  bool is_due(int64_t now_ms) const { return until_ms != 0 && until_ms <= now_ms; }
  bool operator==(const Field&) const = default;
};
using Fields = std::map<std::string, Field>;
struct Value {
  std::string bytes;
  Fields fields;  // of a collection (collections.cc); none is empty
  int64_t expire_ms = 0;
  Lsn version = {};
  std::string meta = {};
  bool operator==(const Value&) const = default;

  bool expired(int64_t now_ms) const {
    if (expire_ms != 0 && expire_ms <= now_ms) return true;
    return !fields.empty() && std::all_of(fields.begin(), fields.end(),
                                          [&](auto& f) { return f.second.is_due(now_ms); });
  }
  // Whether it looks like this then. What is due is not seen, and may be gone: that made a newer
  // version.
  bool is_seen_as(const Value& got, int64_t now_ms) const {
    Value seen = *this;
    const auto due = std::erase_if(seen.fields, [&](auto& f) { return f.second.is_due(now_ms); });
    if (due > 0 && got.version > version) seen.version = got.version;
    return got == seen;
  }
};
// Of a hash its fields; a list has its elements by place, a set its members, a sorted set the
// scores of its members.
Fields fields_of(const Entry& e, int64_t now_ms);
using Key = std::pair<uint32_t, std::string>;  // namespace, key

// A version of a key, or a delete marker, in a bucket that keeps them (versions.cc). The number of
// the null version is the store's affair, but for its place among the others.
struct Kept {
  Version version = {};
  std::string bytes = {};
  int64_t expire_ms = 0;  // of what is current alone
  bool current = false;   // as found in a store
  VersionLock lock = {};
};
// Whether both are of one version: the number of the null version is the store's affair.
inline bool is_same(const Version& a, const Version& b) {
  return a.null ? b.null : !b.null && a.number == b.number;
}
using Versions = std::map<Key, std::vector<Kept>>;  // the newest first; none is empty

struct Change {
  // kSet and kUnset change fields of a hash; kUnset has them as keys, and kLapse those that are
  // left after some expired. kCreate and kDrop concern a bucket: the key is its id and its name.
  // kTag: a property of a namespace, which is no key's. kRename: what `from` held has this key now,
  // and `value` says what that was. kSwap: what was in the one's database is in the other's.
  enum Kind {
    kPut,
    kDelete,
    kFlush,
    kSet,
    kUnset,
    kLapse,
    kExpire,
    kCreate,
    kDrop,
    kTag,
    kRename,
    kSwap,
    kVersioning,   // of the bucket, as `value` says
    kAddVersion,   // `kept` is the newest
    kTakeVersion,  // that one is gone
    kObjectLock,   // the bucket has it, with the default retention in `kept`
    kLockVersion,  // `kept` has another lock
  } kind;
  Key key;
  Value value;
  bool goes_on = false;   // the next one happened with it, or neither did
  bool unwished = false;  // nobody asked for it: no answer waits for it
  Key from = {};
  Kept kept = {};

  bool concerns(const Key& k) const {
    if (kind == kRename && from == k) return true;
    if (kind == kSwap && from.first == k.first) return true;
    if (kind == kCreate || kind == kTag || kind == kVersioning || kind == kObjectLock ||
        key.first != k.first) {
      return false;
    }
    return kind == kFlush || kind == kDrop || kind == kSwap || key.second == k.second;
  }
};

struct State {
  std::map<Key, Value> keys;
  std::map<uint32_t, std::string> buckets;  // by id
  std::map<uint32_t, std::string> tags;     // of namespaces that have one
  Versions versions;                        // of buckets that keep them, and nothing else
  std::map<uint32_t, std::string> versioning;
  std::set<uint32_t> object_lock;
  void apply(const Change& c);

 private:
  void clear(uint32_t ns) {
    keys.erase(keys.lower_bound({ns, ""}), keys.lower_bound({ns + 1, ""}));
    versions.erase(versions.lower_bound({ns, ""}), versions.lower_bound({ns + 1, ""}));
  }
};

inline void State::apply(const Change& c) {
  switch (c.kind) {
    case Change::kPut:
      keys[c.key] = c.value;
      break;
    case Change::kDelete:
      keys.erase(c.key);
      break;
    case Change::kSet:
    case Change::kUnset: {
      Value& value = keys[c.key];
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
    case Change::kLapse:
      if (auto it = keys.find(c.key); it != keys.end()) {
        std::erase_if(it->second.fields,
                      [&](auto& f) { return !c.value.fields.contains(f.first); });
        it->second.version = c.value.version;
      }
      break;
    case Change::kExpire:  // of what is there; its version stays
      if (auto it = keys.find(c.key); it != keys.end()) it->second.expire_ms = c.value.expire_ms;
      break;
    case Change::kRename: {
      Value value = std::move(keys[c.from]);
      keys.erase(c.from);
      value.version = c.value.version;
      keys[c.key] = std::move(value);
      break;
    }
    case Change::kSwap: {
      std::map<Key, Value> swapped;
      for (auto& [key, value] : keys) {
        const uint32_t ns = key.first == c.key.first    ? c.from.first
                            : key.first == c.from.first ? c.key.first
                                                        : key.first;
        swapped.emplace(Key(ns, key.second), std::move(value));
      }
      keys = std::move(swapped);
      break;
    }
    case Change::kFlush:
      clear(c.key.first);
      break;
    case Change::kCreate:
      buckets[c.key.first] = c.key.second;
      if (c.value.bytes == "locked") {
        versioning[c.key.first] = "enabled";
        object_lock.insert(c.key.first);
      }
      break;
    case Change::kDrop:
      clear(c.key.first);
      buckets.erase(c.key.first);
      tags.erase(c.key.first);
      versioning.erase(c.key.first);
      object_lock.erase(c.key.first);
      break;
    case Change::kTag:
      tags[c.key.first] = c.value.bytes;
      break;
    case Change::kVersioning:
      versioning[c.key.first] = c.value.bytes;
      break;
    case Change::kAddVersion: {
      auto& all = versions[c.key];
      if (c.kept.version.null) std::erase_if(all, [](auto& k) { return k.version.null; });
      if (!all.empty()) all.front().expire_ms = 0;
      all.insert(all.begin(), c.kept);
      break;
    }
    case Change::kTakeVersion: {
      auto& all = versions[c.key];
      const Version& gone = c.kept.version;
      std::erase_if(all, [&](auto& k) {
        return gone.null ? k.version.null : !k.version.null && k.version.number == gone.number;
      });
      if (all.empty()) versions.erase(c.key);
      break;
    }
    case Change::kObjectLock:
      object_lock.insert(c.key.first);
      break;
    case Change::kLockVersion:
      for (auto& k : versions[c.key]) {
        if (is_same(k.version, c.kept.version)) k.lock = c.kept.lock;
      }
      break;
  }
}

inline constexpr uint32_t kDatabasesUsed = 3;

// All that a key ever held, by hash of its bytes. What was in one database may be in another where
// a repair went over a swap.
using Ever = std::map<Key, std::set<size_t>>;
inline void note(Ever& ever, const Change& c) {
  if (c.kind != Change::kPut) return;
  const size_t bytes = std::hash<std::string>()(c.value.bytes);
  if (c.key.first >= kDatabasesUsed) {
    ever[c.key].insert(bytes);
    return;
  }
  for (uint32_t i = 0; i < kDatabasesUsed; i++) ever[{i, c.key.second}].insert(bytes);
}

}  // namespace cairn::sim
