// The session of another door's call (errand.h): what it asks beside its command, and hears beside
// the answer. No client has one.
//
// Threads: as a session; of who serves it until that says so (waiters.h).
#pragma once

#include "kv/engine/session.h"

namespace cairn::kv {

// The number of such a session, which no list has. Nobody can send it away, so what it holds is in
// no sum of clients: the door counts it. Commands take some words from it that no client may say.
inline constexpr uint64_t kNoClient = 0;

class CallSession final : public Session {
 public:
  explicit CallSession(Store& store) : Session(store, kNoClient, "", "") {}

  // What it changes is wished durable, whatever the server's own wish is.
  bool durable = false;
  // What it pops has at most so many bytes, else it pops nothing.
  uint64_t popped_bytes_max = UINT64_MAX;
  // Of one that waits: whether who asked still may, before it is served; any thread. Unset: he
  // does.
  std::function<bool()> may_still;
  // Its newest change that was committed, of those that are durable.
  Lsn changed;
  // The transaction that runs has a change.
  bool changes = false;
};

inline CallSession* call_of(Session& session) {
  return session.id == kNoClient ? static_cast<CallSession*>(&session) : nullptr;
}

}  // namespace cairn::kv
