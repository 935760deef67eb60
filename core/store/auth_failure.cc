#include "core/store/auth_failure.h"

#include "core/base/text.h"

namespace cairn {

void note_auth_failure(const Users& users, const Report& report, std::string_view part,
                       std::string_view user, std::string_view peer) {
  if (!report) return;
  if (users.check_default(user)) user = {};
  report(Severity::kWarning, part,
         cat("wrong user or password: user ", quoted_name(user), " from ", peer));
}

}  // namespace cairn
