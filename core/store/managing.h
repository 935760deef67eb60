// Who may manage users, groups, roles, policies and identity providers. IAM's calls, gRPC's Admin
// service and RESP's ACL ask the same, by the name that IAM has for the act: so a policy that says
// something of "iam:CreateUser" holds at each of these doors.
//
// Threads: any.
#pragma once

#include "core/store/users.h"

namespace cairn {

// "GetUser", "ListUsers": it tells of them, and changes nothing.
inline bool is_reading_of_users(std::string_view act) {
  return act.starts_with("Get") || act.starts_with("List");
}

// Whether `who` may do what IAM calls `act` to what the ARN names ("*": to all of them). What is
// made, or allowed, lasts: credentials that are bounded change nothing, those of GetSessionToken do
// nothing at all, whatever policies say.
[[nodiscard]] bool may_manage(const Principal& who, std::string_view act, std::string_view target,
                              const Circumstances& from);

}  // namespace cairn
