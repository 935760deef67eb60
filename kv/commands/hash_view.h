// A hash as a command sees it: what is due by the command's time is not there.
//
// Threads: as the command; good until it changes the key.
#pragma once

#include <optional>
#include <string_view>

#include "kv/engine/command.h"
#include "kv/types/hash.h"

namespace cairn::kv {

class HashView {
 public:
  HashView() = default;  // of a key that is not there
  // The clock is asked only where something in the hash has a time.
  HashView(Context& c, Entry* entry)
      : entry_(entry),
        hash_(entry == nullptr ? nullptr : static_cast<const Hash*>(entry->collection())),
        now_ms_(hash_ == nullptr || hash_->next_due() == INT64_MAX ? Hash::kNoTime : c.now_ms()) {}

  explicit operator bool() const { return hash_ != nullptr; }
  const Hash& operator*() const { return *hash_; }
  Entry* entry() const { return entry_; }
  int64_t now_ms() const { return now_ms_; }

  size_t size() const { return hash_ == nullptr ? 0 : hash_->size(now_ms_); }
  std::optional<Hash::Item> find(std::string_view field) const {
    return hash_ == nullptr ? std::nullopt : hash_->find(field, now_ms_);
  }
  std::optional<std::string_view> get(std::string_view field) const {
    return hash_ == nullptr ? std::nullopt : hash_->get(field, now_ms_);
  }

 private:
  Entry* entry_ = nullptr;
  const Hash* hash_ = nullptr;
  int64_t now_ms_ = Hash::kNoTime;
};

// False after it answered that the key, word 1, holds something else.
inline bool find(Context& c, HashView& hash) {
  Entry* entry;
  if (!c.find(c.args[1], ValueType::kHash, entry)) return false;
  hash = HashView(c, entry);
  return true;
}

}  // namespace cairn::kv
