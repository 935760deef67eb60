// Sets as the commands on them see them.
//
// Threads: as the command.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <string_view>

#include "kv/engine/command.h"
#include "kv/types/set.h"
#include "kv/types/text_set.h"

namespace cairn::kv {

// Good until the command changes the key; null: there is none.
inline const Set* set_of(const Entry* entry) {
  return entry == nullptr ? nullptr : static_cast<const Set*>(entry->collection());
}

// False after it answered that the key holds something else.
inline bool find_set(Context& c, std::string_view key, const Set*& set) {
  Entry* entry;
  if (!c.find(key, ValueType::kSet, entry)) return false;
  set = set_of(entry);
  return true;
}

// Above that an answer about many of its members is made piece by piece, between which others have
// their turn.
inline bool is_large(const Set& set) {
  constexpr uint64_t kBytesMax = 256 << 10;
  return set.table() != nullptr && set.image_bytes() > kBytesMax;
}

// Locks the key that a walk's set is found under; it may be renamed meanwhile.
template <class Walk>
void lock_set_of(const Walk& walk, StripeLocks& lock) {
  for (KeyHash key = walk.key(); !lock.covers(key); key = walk.key()) {
    lock.unlock();
    lock.lock(key);
  }
}

// Members that were gathered: stretches of items (text_set.h), none so long that it takes a moment
// to move it.
class Gathered {
 public:
  void add(std::string_view member) {
    constexpr size_t kStretchMax = 64 << 10;
    if (stretches_.empty() || stretches_.back().size() + member.size() > kStretchMax) {
      stretches_.emplace_back();
    }
    append_item(stretches_.back(), member);
    count_++;
    bytes_ += item_size(member);
  }
  void add_count(uint64_t n) { count_ += n; }  // of members that nobody asks for
  void add_stretch(std::string items, uint64_t count) {
    if (items.empty()) return;
    bytes_ += items.size();
    stretches_.push_back(std::move(items));
    count_ += count;
  }
  uint64_t count() const { return count_; }
  uint64_t bytes() const { return bytes_; }  // of all stretches
  std::deque<std::string>& stretches() { return stretches_; }

 private:
  std::deque<std::string> stretches_;
  uint64_t count_ = 0, bytes_ = 0;
};

// Answers them as a set: at once where they are few, else piece by piece.
void reply_gathered(Context& c, Gathered members);
// Answers the members of the set under this key, or of none.
void reply_members(Context& c, std::string_view key, const Set* set);

std::span<const Row> set_rows();
std::span<const Row> set_algebra_rows();

}  // namespace cairn::kv
