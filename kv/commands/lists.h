// What the commands on lists share, and those that block with them: taking elements off a list and
// moving one are functions over keys, so that whoever waits for a key can be served by them.
//
// Threads: as the command; a view is good until it changes the key.
#pragma once

#include <optional>
#include <string_view>

#include "kv/engine/command.h"
#include "kv/types/list.h"

namespace cairn::kv {

class ListView {
 public:
  ListView() = default;  // of a key that is not there
  explicit ListView(Entry* entry)
      : entry_(entry),
        list_(entry == nullptr ? nullptr : static_cast<const List*>(entry->collection())) {}
  explicit operator bool() const { return list_ != nullptr; }
  const List& operator*() const { return *list_; }
  const List* operator->() const { return list_; }
  const List* get() const { return list_; }
  Entry* entry() const { return entry_; }
  uint64_t size() const { return list_ == nullptr ? 0 : list_->size(); }

 private:
  Entry* entry_ = nullptr;
  const List* list_ = nullptr;
};

// False after it answered that the key holds something else.
inline bool find(Context& c, std::string_view key, ListView& list) {
  Entry* entry;
  if (!c.find(key, ValueType::kList, entry)) return false;
  list = ListView(entry);
  return true;
}

// LEFT or RIGHT: whether it is the left end; nothing after it answered a syntax error.
std::optional<bool> parse_end(Context& c, std::string_view word);

// Takes `n` elements off an end, from 1 to its size, and answers them, as that many values. False
// if the store refuses.
bool pop(Context& c, std::string_view key, const ListView& list, bool left, uint64_t n);

// What LMPOP and BLMPOP say: of the keys from `first` up to `end` (words) the first that holds
// something gives so many.
struct PopOfSome {
  size_t first = 0, end = 0;
  bool left = true;
  uint64_t count = 1;
};
// `word`: the number of keys. False after it answered what is wrong.
bool parse(Context& c, size_t word, PopOfSome& pops);
// Answers with elements of this list, whose key is that word.
void pop_some(Context& c, size_t word, const ListView& list, const PopOfSome& pops);

// Moves an element from the end of one list, which is there, to an end of another, and answers it;
// or answers what is wrong.
void move(Context& c, std::string_view from, const ListView& list, bool from_left,
          std::string_view to, bool to_left);

// Above that many bytes of elements an answer is made piece by piece, between which others have
// their turn.
inline constexpr uint64_t kListAnswerBytes = 256 << 10;

}  // namespace cairn::kv
