// Who the root user is: from CAIRN_ROOT_USER and CAIRN_ROOT_PASSWORD, or a random password that is
// made at the first start, printed once, and kept in DIR/root-credentials, mode 0600.
//
// A store that was once started with the two set is never served without them again by accident:
// DIR/root-configured remembers it, and a start without them is refused.
#pragma once

#include <string>
#include <string_view>

#include "core/base/types.h"
#include "core/store/users.h"

namespace cairn {

struct RootCredentials {
  std::string user, password;
  bool configured = false;  // from the environment
  bool fresh = false;       // made just now: to be shown once
};

// Who sent a header "authorization: Bearer PASSWORD" or "Basic base64(USER:PASSWORD)", where a user
// may be an access key and the password its secret; null: nobody, or it takes time to tell.
PrincipalPtr authenticate(const Users& users, std::string_view authorization);
// The same, with the calling thread, which is no I/O loop's, for a password whose hash has to be
// computed. ResourceExhausted: another one is.
StatusOr<PrincipalPtr> authenticate_at_once(const Users& users, std::string_view authorization,
                                            std::string_view peer);
// The same on an I/O loop. ResourceExhausted: too many wait.
awaitable<StatusOr<PrincipalPtr>> authenticate_patiently(const Users& users,
                                                         std::string authorization,
                                                         std::string_view peer);
// The name in such a header, for who was not believed: that of "default" with a bearer's password.
std::string claimed_user(std::string_view authorization);

StatusOr<RootCredentials> load_root_credentials(const std::string& data_directory);
std::string random_hex(size_t bytes);

}  // namespace cairn
