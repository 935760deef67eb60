// Puts what a command has made in turns under its destination. What is small is put at once, what
// is large part by part (core/store/collection_copy.h), so that nobody waits for it.
//
// The destination may be one of the inputs, and others may change it while the command works: what
// they did would be lost. So the command notes its version while it looks at its inputs, and does
// all of it again if that is another one in the end.
//
// Threads: as the command.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/store/collection_copy.h"
#include "kv/engine/command.h"

namespace cairn::kv {

// So often a command begins again before it does all at once, while others wait.
inline constexpr int kTriesInTurns = 3;

// What may take more bytes than this is not put at once, unless there is no other way: it would
// keep others waiting, and the log takes no record that is longer than one of its segments.
inline uint64_t put_at_once_max(Context& c) { return 4 * CollectionCopy::part_bytes(c.store); }

// Of a key that is locked; where there is nothing an invalid one.
inline Lsn version_at(Context& c, std::string_view key) {
  const Entry* e = c.find(key);
  return e == nullptr ? Lsn() : e->version();
}

// The next operation of the type, of about so many bytes; an empty one after the last. Nothing:
// what it is made from was lost.
using NextPart = std::function<std::optional<std::string>(uint64_t bytes)>;

// In place of what is there, or if there is no part, nothing instead of it; answers `count`, or the
// error. False if what it would take the place of is not what it was, or a part was lost: then
// nothing was done, nor answered. Without a version it takes the place of whatever is there.
awaitable<bool> store_made(Context& c, ValueType type, std::string_view key,
                           std::optional<Lsn> version, NextPart next, uint64_t count);

}  // namespace cairn::kv
