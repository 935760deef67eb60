// Who may use the store. One table for every door: RESP's AUTH, S3's access keys, gRPC's
// credentials and the console's login name the same users.
//
// Threads: constant after construction.
#pragma once

#include <openssl/crypto.h>

#include <optional>
#include <string>
#include <string_view>

namespace cairn {

inline bool equal_in_constant_time(std::string_view a, std::string_view b) {
  // The length of the secret shows; its bytes do not.
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

class Users {
 public:
  Users(std::string root_user, std::string root_password, bool configured)
      : root_user_(std::move(root_user)),
        root_password_(std::move(root_password)),
        configured_(configured) {}

  bool check(std::string_view user, std::string_view password) const {
    bool user_matches = equal_in_constant_time(user, root_user_);
    bool password_matches = equal_in_constant_time(password, root_password_);
    return user_matches && password_matches;
  }
  bool check_default(std::string_view password) const {
    return equal_in_constant_time(password, root_password_);
  }
  // The secret key that belongs to an S3 access key.
  std::optional<std::string_view> secret(std::string_view access_key) const {
    if (!equal_in_constant_time(access_key, root_user_)) return std::nullopt;
    return root_password_;
  }
  const std::string& root_user() const { return root_user_; }
  // Whether a person chose the credentials; if not, RESP on loopback is open.
  bool configured() const { return configured_; }

 private:
  const std::string root_user_;
  const std::string root_password_;
  const bool configured_;
};

}  // namespace cairn
