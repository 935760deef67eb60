// Conditions on what a string holds now: IFEQ, IFNE, IFDEQ and IFDNE of SET and DELEX.
//
// A value that lies in extents, or is compared with a word that does, is read without the lock: the
// command puts itself off (Context::defer), and its run_deferred finds out how it compares and has
// the command done again, if nobody changed the value meanwhile.
//
// Threads: as the command.
#pragma once

#include <absl/functional/function_ref.h>

#include <optional>
#include <string>
#include <string_view>

#include "kv/commands/blob_edit.h"
#include "kv/engine/command.h"

namespace cairn::kv {

// Redis's digest of a value: XXH3, as 16 hexadecimal digits.
std::string digest_of(std::string_view value);
awaitable<StatusOr<std::string>> digest_of(Context& c, const HeldValue& value);

struct Comparison {
  bool given = false, equal = true, by_digest = false;
  size_t word = 0;  // what it is compared with

  // What was found out about a version of the value.
  struct Found {
    Lsn version;
    bool same;
  };

  // Whether this word and the one behind it are one; `i` is then at the second one.
  bool parse(const Context& c, size_t& i);
  // Whether it holds; nothing, if that is to be found out first. False after it answered why it
  // cannot be told. A key that is not there holds nothing, and so something else than what is asked
  // for.
  bool holds(Context& c, Entry* e, const Found* found, std::optional<bool>& result) const;
};

// For a run_deferred: finds out how the string at the key compares and calls `again` with that,
// under the key's lock, until it returns true: then it answered.
awaitable<void> compare_first(Context& c, std::string_view key, const Comparison& comparison,
                              absl::FunctionRef<bool(const Comparison::Found&)> again);

}  // namespace cairn::kv
