// What the commands that wait share: how long they do, and the two halves of each, of which the
// first never waits.
//
// A family's class says what one waits for (Awaited), and beside that:
//   bool parse(Context&)      reads the words; false after it answered what is wrong
//   int64_t timeout_ms        0: no limit
//   void nothing(Context&)    answers where there is nothing and it may not wait, as in MULTI
//
// Threads: as the command.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>

#include "kv/engine/engine.h"
#include "kv/engine/waiters.h"

namespace cairn::kv {

// How long to wait at most; false after it answered the error. As redis-server 7.0 reads it: what
// is too large for a number is negative.
bool seconds_to_wait(Context& c, size_t word, int64_t& ms);
bool milliseconds_to_wait(Context& c, size_t word, int64_t& ms);

template <class Command>
void begin(Context& c) {
  Command command;
  if (!command.parse(c) || command.begin(c)) return;
  if (c.in_exec) return command.nothing(c);
  c.defer();
}

template <class Command>
awaitable<void> wait(Context& c) {
  Command command;
  if (!command.parse(c)) co_return;
  co_await c.engine.wait_for(c, command, command.timeout_ms);
}

// What is there for a call is too large for it (CallSession): answers that, and nothing is taken.
inline constexpr std::string_view kTooLargeForCall = "ERR the answer is too large";

// Whether others have come before for what this key holds: then it is theirs.
inline bool is_for_others(Context& c, std::string_view key, ValueType type) {
  return !c.in_exec && c.engine.server().waiters.waits(c.ns(), key, type);
}

}  // namespace cairn::kv
