#include "core/store/auth_failure.h"

#include "core/base/audit.h"
#include "core/base/text.h"

namespace cairn {

void note_auth_failure(const Users& users, const Report& report, std::string_view part,
                       std::string_view user, std::string_view peer) {
  if (users.check_default(user)) user = {};
  if (Audit* audit = users.audit()) {
    const std::string_view door = part.substr(part.find('-') + 1);  // "auth-s3"
    audit->note({door, user, peer, "login", {}, {}, false});
  }
  if (!report) return;
  report(Severity::kWarning, part,
         cat("wrong user or password: user ", quoted_name(user), " from ", peer));
}

}  // namespace cairn
