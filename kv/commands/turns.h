// What the turns of a command that takes several have in common (Context::Turn).
//
// Threads: as the command.
#pragma once

#include <vector>

#include "kv/engine/command.h"

namespace cairn::kv {

// What is to be locked, and whose values are to be in memory then.
struct Wanted {
  std::vector<KeyHash> hashes;
  Faults::Keys values;
  void add_keys_of(const Request& request);
};
// False after it answered that they cannot be in memory.
awaitable<bool> lock(Context& c, StripeLocks& locks, const Wanted& wanted);
// All keys of the request, with the values that it looks at.
awaitable<bool> lock_keys(Context& c, StripeLocks& locks);

// Between two turns, with nothing locked: others have theirs, and what is behind catches up.
awaitable<void> between_turns(Context& c);

// Whether it may still write: a command that has waited asks again. Answers if not.
bool may_write_still(Context& c);

// The turns of a command that answers what it took in those that were committed. They are `turns`,
// a context of their own, so that the refusal of a later one does not take that back; here they
// end. `took`: anything; if nothing, the refusal is the answer.
void end_turns(Context& c, const Context& turns, bool took);

}  // namespace cairn::kv
