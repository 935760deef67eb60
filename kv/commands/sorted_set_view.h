// Sorted sets as the commands on them see them.
//
// Threads: as the command.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kv/commands/store_made.h"
#include "kv/engine/command.h"
#include "kv/types/sorted_set.h"

namespace cairn::kv {

// Good until the command changes the key; null: there is none.
inline const SortedSet* sorted_set_of(const Entry* entry) {
  return entry == nullptr ? nullptr : static_cast<const SortedSet*>(entry->collection());
}

// False after it answered that the key holds something else.
inline bool find_sorted_set(Context& c, std::string_view key, Entry*& entry) {
  return c.find(key, ValueType::kSortedSet, entry);
}

// Above so many members an answer is made piece by piece, between which others have their turn.
inline constexpr uint64_t kMembersAtOnce = 4096;

// How items are answered: a member after another, or with their scores; in pairs as RESP3 has them.
enum class Form : uint8_t { kMembers, kFlat, kPairs };
inline Form form_of(bool scores, int resp) {
  return !scores ? Form::kMembers : resp >= 3 ? Form::kPairs : Form::kFlat;
}
void reply_item(Reply& reply, Form form, const SortedSet::Item& item);
// Announces so many of them; returns how many values they are.
uint64_t announce(Reply& reply, Form form, uint64_t count);

// A stretch of ranks, from `first` on, upwards or downwards.
struct Ranks {
  uint64_t first = 0, count = 0;
  bool down = false;
};
// Answers them, piece by piece if there are many.
void reply_ranks(Context& c, const SortedSet& set, const Ranks& ranks, Form form);

// A number as Redis reads a score: what strtod takes, but nothing before or behind it.
std::optional<double> parse_score(std::string_view word);

// How members are added; `first`: the word of the first score.
struct AddOptions {
  bool nx = false, xx = false, gt = false, lt = false, changed = false, increment = false;
  size_t first = 2;
};
// Adds them to word 1, and answers. Of a command that names a member again, what it said before
// counts.
void add_items(Context& c, const AddOptions& o, std::span<SortedSet::Item> items);

// Takes the `count` lowest or highest out of what `entry` holds under `key`, and calls fn(item) for
// each before. Answers nothing but the error, and then returns false.
bool pop(Context& c, std::string_view key, Entry* entry, bool highest, uint64_t count,
         SortedSet::Visit visit);
// What ZMPOP and BZMPOP say: of the keys from `first` up to `end` (words) the first that holds
// something gives so many.
struct PopOfSets {
  size_t first = 0, end = 0;
  bool highest = false;
  uint64_t count = 1;
};
// `word`: the number of keys. False after it answered what is wrong.
bool parse(Context& c, size_t word, PopOfSets& pops);
// Answers with members of this sorted set, whose key is that word.
void pop_some(Context& c, size_t word, Entry* entry, const PopOfSets& pops);
// Removes these ranks (upwards), or the key when nothing is left.
bool remove_ranks(Context& c, std::string_view key, Entry* entry, const Ranks& ranks);
// Puts what this operation makes, of so many members, in place of what is there; none: removes it.
bool store(Context& c, std::string_view key, std::string_view operation, uint64_t count);

// What was made, as operations: so many items (size()) that it hands out in order (take()).
template <class Made>
NextPart parts_of(std::shared_ptr<Made> made) {
  const uint64_t count = made->size();
  return [made = std::move(made), left = count](uint64_t bytes) mutable {
    std::string operation;
    for (; left > 0 && operation.size() < bytes; left--) {
      SortedSet::add_score(operation, made->take());
    }
    return std::optional(std::move(operation));
  };
}

std::span<const Row> sorted_set_rows();
std::span<const Row> sorted_set_pop_rows();
std::span<const Row> sorted_set_range_rows();
std::span<const Row> sorted_set_algebra_rows();
std::span<const Row> sorted_set_blocking_rows();

inline constexpr std::string_view kSortedSetGroup = "sorted-set";
inline constexpr KeySpec kDeletesFromSortedSet[] = {{.flags = kKeyReadWrite | kKeyDelete}};

}  // namespace cairn::kv
