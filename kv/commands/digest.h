// DEBUG DIGEST and DIGEST-VALUE: nobody waits for them. They look at a few keys at a time, and at a
// large value part by part, as it was at one moment; of what changes meanwhile the digest of all
// keys may have a part.
//
// Threads: as the command.
#pragma once

#include "kv/engine/command.h"

namespace cairn::kv {

// Of all numbered databases, as one text.
awaitable<void> debug_digest(Context& c);
// Of the value of each key from word 2 on.
awaitable<void> debug_digest_values(Context& c);

}  // namespace cairn::kv
