// What the turns of a command that takes several have in common (Context::Turn).
//
// Threads: as the command.
#pragma once

#include "kv/engine/command.h"

namespace cairn::kv {

// Locks all keys of the request at a moment when the values that it looks at are in memory; false
// after it answered that they cannot be.
awaitable<bool> lock_keys(Context& c, StripeLocks& locks);

// Between two turns, with nothing locked: others have theirs, and what is behind catches up.
awaitable<void> between_turns(Context& c);

// Whether it may still write: a command that has waited asks again. Answers if not.
bool may_write_still(Context& c);

}  // namespace cairn::kv
