// Which words of a command are keys, in which namespace, and what is done to them: data of its row.
//
// A row has a few specifications; resolve() in engine.cc turns them once into the list of a
// request's keys, and that one list is what is locked, brought back from disk, authorized, and
// found by the command. COMMAND's answers are read off the same specifications; flags and forms are
// Redis's, see https://redis.io/docs/latest/develop/reference/key-specs/.
//
// Threads: constants.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/base/text.h"
#include "core/store/users.h"

namespace cairn::kv {

enum KeyFlags : uint16_t {
  // One of these: what becomes of the value as a whole.
  kKeyReadOnly = 1 << 0,
  kKeyReadWrite = 1 << 1,
  kKeyOverwrite = 1 << 2,
  kKeyRemove = 1 << 3,
  // Any of these: what the user's data is used for. None: only what is known of it is read, such as
  // its length or type.
  kKeyAccess = 1 << 4,
  kKeyUpdate = 1 << 5,
  kKeyInsert = 1 << 6,
  kKeyDelete = 1 << 7,
  kKeyVariable = 1 << 8,  // an option decides: KeySpec::unless
  kKeyNotKey = 1 << 11,   // no key, but told by clients to the server of its slot; shown by COMMAND
  // Ours; COMMAND does not show them.
  kKeyNameOnly = 1 << 9,  // the value need not be in memory
  kKeyAgain = 1 << 10,    // a word that another specification names, in another namespace
  // Bit 12 is SORT's (sort.h).
  kKeyPassedOn = 1 << 14,  // its value goes on under another name, as it lies: encrypted, maybe
  kKeyLooked = 1 << 13,    // changed, but read before: that it is missed is told (events.h)
  kKeyChanges = kKeyReadWrite | kKeyOverwrite | kKeyRemove,
};

struct KeySpec {
  uint16_t flags = 0;
  // Where they begin: at this word, or after this keyword, which is looked for from there on.
  int first = 1;
  std::string_view keyword = {};
  // Options that stand before the keyword, from word 1 on, and how many words each takes: a word
  // of theirs is not the keyword, though it may read so.
  struct Option {
    std::string_view name;
    int words;
  };
  std::span<const Option> options = {};
  bool last_counts = false;  // of several such keywords; options stand from `first` on then
  // From there on: to the word `last` (counted from the first one, or from the end if negative),
  // each `step` words; a limit of n leaves out all but the first 1/n of them.
  int last = 0, step = 1, limit = 0;
  // Or as many as a word says, so far behind the first one; the keys begin so far behind that word.
  int count_at = -1, after_count = 1;
  // If none of these words is among the arguments, from this word on, the flags are `otherwise`.
  int unless_from = 0;
  std::string_view unless[5] = {};
  uint16_t otherwise = 0;
  // Their namespace, if it is not the session's: named by a word, or by the word after the last one
  // that is this option, looked for from that word on.
  int space_word = 0;
  std::string_view space_option = {};
};

// What most rows say.
inline constexpr KeySpec kReadsKey[] = {{.flags = kKeyReadOnly | kKeyAccess}};
inline constexpr KeySpec kLooksAtKey[] = {{.flags = kKeyReadOnly}};
inline constexpr KeySpec kLooksAtName[] = {{.flags = kKeyReadOnly | kKeyNameOnly}};
inline constexpr KeySpec kChangesKey[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyUpdate}};
inline constexpr KeySpec kUpdatesKey[] = {{.flags = kKeyReadWrite | kKeyUpdate}};
inline constexpr KeySpec kUpdatesName[] = {{.flags = kKeyReadWrite | kKeyUpdate | kKeyNameOnly}};
inline constexpr KeySpec kInsertsIntoKey[] = {{.flags = kKeyReadWrite | kKeyInsert}};

// The flags of this specification's keys in this very command.
template <class Words>
uint16_t flags_of(const KeySpec& spec, const Words& words) {
  if (spec.unless_from == 0) return spec.flags;
  for (auto i = static_cast<size_t>(spec.unless_from); i < words.size(); i++) {
    for (std::string_view option : spec.unless) {
      if (!option.empty() && equals_ignoring_case(words[i], option)) return spec.flags;
    }
  }
  return spec.otherwise;
}

// The word that names the namespace of its keys; 0: they are in the session's.
template <class Words>
size_t space_of(const KeySpec& spec, const Words& words) {
  if (spec.space_option.empty()) return static_cast<size_t>(spec.space_word);
  size_t found = 0;
  for (auto i = static_cast<size_t>(spec.space_word); i + 1 < words.size(); i++) {
    if (equals_ignoring_case(words[i], spec.space_option)) found = ++i;
  }
  return found;
}

// The word behind the keyword of the specification, which has one.
template <class Words>
int64_t behind_keyword(const KeySpec& spec, const Words& words) {
  const auto n = static_cast<int64_t>(words.size());
  int64_t found = n;
  for (int64_t i = spec.options.empty() || spec.last_counts ? spec.first : 1; i < n; i++) {
    const std::string_view word = words[static_cast<size_t>(i)];
    if (i >= spec.first && equals_ignoring_case(word, spec.keyword)) {
      if (!spec.last_counts) return i + 1;
      found = ++i;
      continue;
    }
    for (const KeySpec::Option& option : spec.options) {
      if (!equals_ignoring_case(word, option.name)) continue;
      i += option.words;
      break;
    }
  }
  return found;
}

// Calls fn(word, spec, flags) for each word that is a key. Words that are not there, or a count
// that is none, make no keys: the command says then what is wrong.
template <class Words, class Fn>
void for_each_key(std::span<const KeySpec> specs, const Words& words, Fn fn) {
  const auto n = static_cast<int64_t>(words.size());
  const auto word = [&](int64_t i) { return std::string_view(words[static_cast<size_t>(i)]); };
  for (const KeySpec& spec : specs) {
    if (spec.flags & kKeyNotKey) continue;
    int64_t first = spec.keyword.empty() ? spec.first : behind_keyword(spec, words);
    if (first >= n) continue;
    int64_t end;  // behind the last
    if (spec.count_at >= 0) {
      const int64_t at = first + spec.count_at;
      const auto count = at < n ? parse_int<int64_t>(word(at)) : std::nullopt;
      first = at + spec.after_count;
      if (!count || *count < 1 || *count > n || first + (*count - 1) * spec.step >= n) continue;
      end = first + (*count - 1) * spec.step + 1;
    } else if (spec.last >= 0) {
      end = std::min(n, first + spec.last + 1);
    } else {
      end = n + spec.last + 1;
      if (spec.limit > 1) end = std::min(end, first + (end - first) / spec.limit);
    }
    const uint16_t flags = flags_of(spec, words);
    for (int64_t i = first; i < end; i += spec.step) fn(static_cast<size_t>(i), spec, flags);
  }
}

// What somebody needs the right to, for a key with these flags.
constexpr Access access_of(uint16_t flags) {
  Access a = Access::kNone;
  if ((flags & kKeyAccess) != 0 || (flags & kKeyChanges) == 0) a = a | Access::kRead;
  if (flags & kKeyUpdate) a = a | Access::kWrite;
  if (flags & kKeyInsert) a = a | Access::kInsert;
  if (flags & kKeyDelete) a = a | Access::kDelete;
  return a;
}

}  // namespace cairn::kv
