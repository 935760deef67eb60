// Every door reports here who came with a name, a password or a signature and was not believed.
//
// Threads: any.
#pragma once

#include <string_view>

#include "core/base/alarms.h"
#include "core/store/users.h"

namespace cairn {

// `part` is the door's of core/base/alarms.h, `user` what the client sent as a name, `peer` its
// address. The name is cut and quoted; a password that was typed in its place is not shown.
void note_auth_failure(const Users& users, const Report& report, std::string_view part,
                       std::string_view user, std::string_view peer);

}  // namespace cairn
