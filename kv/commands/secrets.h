// Who may make credentials, and manage users, at the Redis door.
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

// Beside the right of the command, that of what IAM calls the same act ("PutUserPolicy"), on the
// user of that name. Whom an ACL allows the command needs no policy that allows that one, but none
// may deny it. For what is about all users, or about the user "default", who may be anybody, it
// takes the right on all of them.
bool manages(const Context& c, std::string_view act, std::string_view user);
bool manages_all(const Context& c, std::string_view act);
bool lists_users(const Context& c);
// Answers that it may not, and notes it.
void refuse_to_manage(Context& c);

}  // namespace cairn::kv
