// Who may make credentials at the Redis door.
//
// Threads: as of commands.
#pragma once

#include "core/store/users.h"
#include "kv/engine/command.h"
#include "kv/engine/session.h"

namespace cairn::kv {

// Not by such as are bounded, or end: what they made, or saw, would outlive them, and be more than
// they are.
inline bool sees_secrets(const Context& c) {
  const auto& who = c.session.principal;
  const auto rights = who == nullptr ? nullptr : who->rights();
  return rights == nullptr || (!rights->is_bounded() && !rights->is_session());
}
// If not, it answered so.
inline bool may_make_secrets(Context& c) {
  if (sees_secrets(c)) return true;
  c.reply.error("NOPERM credentials that are bounded, or of a session, make no others");
  return false;
}

}  // namespace cairn::kv
