#include "kv/commands/secrets.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/store/known_users.h"
#include "core/store/managing.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

bool may_on(const Context& c, std::string_view act, std::string_view arn) {
  const PrincipalPtr& who = c.session.principal;
  if (who == nullptr || who->may_all()) return true;
  Circumstances from = c.session.circumstances();
  from.granted = c.engine.acl_allows(c.session, c.request);
  const Action command{c.row.action.door, c.row.action.name, Access::kNone};
  return authorize(*who, command, policy::Resource::arn(arn), from) &&
         may_manage(*who, act, arn, from);
}

std::string arn_of_name(std::string_view name) {
  return cat("arn:aws:iam::", kAccount, ":user/", name);
}

}  // namespace

bool manages(const Context& c, std::string_view act, std::string_view name) {
  const auto known = c.engine.server().users.known();
  const UserRecord* user = known == nullptr ? nullptr : known->table.user(name);
  const bool is_default = name == kDefaultUser;
  return may_on(c, act, user == nullptr ? arn_of_name(name) : arn_of(*user)) &&
         (!is_default || is_reading_of_users(act) || may_on(c, act, "*"));
}

bool lists_users(const Context& c) { return may_on(c, "ListUsers", "*"); }

bool manages_all(const Context& c, std::string_view act) {
  if (!manages(c, act, kDefaultUser)) return false;
  const auto known = c.engine.server().users.known();
  return known == nullptr ||
         std::all_of(known->table.users.begin(), known->table.users.end(),
                     [&](const auto& user) { return may_on(c, act, arn_of(*user.second)); });
}

void refuse_to_manage(Context& c) {
  c.engine.note_refused(c.session, c.request, {AclDenied::kCommand, 0},
                        c.in_exec ? "multi" : "toplevel");
  c.reply.error(cat("NOPERM this user has no permissions to run the '", c.row.name, "' command"));
}

}  // namespace cairn::kv
