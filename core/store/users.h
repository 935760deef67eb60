// Who may use the store, and what for. One table for every door: RESP's AUTH, S3's access keys,
// gRPC's credentials and the console's login name the same users.
//
// A request goes through it in two steps. authenticate() and the like say who sent it: a Principal,
// or null for nobody. authorize() says whether that one may do this to that key; every row of every
// door (RESP command, S3 operation, gRPC method) names its Action, and asks for each key that it
// will touch, before it touches any. What no right allows is denied.
//
// There is one user so far, root, who may do all; users and policies kept in the store will be
// other principals, and need nothing but more rights here.
//
// Threads: all is constant after construction, so any thread may ask.
#pragma once

#include <openssl/crypto.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

inline bool equal_in_constant_time(std::string_view a, std::string_view b) {
  // The length of the secret shows; its bytes do not.
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// What is done to a key, or to a namespace where there is no key. A set of these.
enum class Access : uint8_t {
  kNone = 0,
  kRead = 1,    // its value, or anything about it
  kWrite = 2,   // its value or its expiry is changed or replaced
  kInsert = 4,  // it is made where there was none
  kDelete = 8,
  kAdmin = 16,  // the server itself: settings, other clients, shutdown
  kAll = 31,
};
constexpr Access operator|(Access a, Access b) {
  return static_cast<Access>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr Access operator&(Access a, Access b) {
  return static_cast<Access>(static_cast<uint8_t>(a) & static_cast<uint8_t>(b));
}

// What a row does. The names are those of the protocol: {"resp", "getset"}, {"s3", "GetObject"}.
struct Action {
  std::string_view door;
  std::string_view name;
  Access access = Access::kNone;
};

// Something that a principal may do. An empty text stands for all there are.
struct Right {
  std::string door = {};
  std::string action = {};
  Access access = Access::kAll;  // at most these
  std::string space = {};        // a namespace, by its name
  std::string key_prefix = {};   // a right on some keys is none on what names no key
};

class Principal {
 public:
  // One that may do all.
  explicit Principal(std::string name) : name_(std::move(name)), all_(true) {}
  Principal(std::string name, std::vector<Right> rights)
      : name_(std::move(name)), rights_(std::move(rights)) {}

  const std::string& name() const { return name_; }
  // Whether nothing need be asked: for paths on which a question costs.
  bool may_all() const { return all_; }
  const std::vector<Right>& rights() const { return rights_; }

 private:
  const std::string name_;
  const bool all_ = false;
  const std::vector<Right> rights_;
};
using PrincipalPtr = std::shared_ptr<const Principal>;

// Whether `principal` may do `action` to `key` of the namespace called `space`. Both empty: the
// action touches none. `key` alone empty: the namespace as a whole, or the key that has no bytes; a
// right on keys with a prefix allows neither.
[[nodiscard]] bool authorize(const Principal& principal, const Action& action,
                             std::string_view space = {}, std::string_view key = {});

class Users {
 public:
  Users(std::string root_user, std::string root_password, bool configured)
      : root_user_(std::move(root_user)),
        root_password_(std::move(root_password)),
        configured_(configured),
        root_(std::make_shared<Principal>(root_user_)),
        default_(std::make_shared<Principal>("default")) {}

  // Null: no such user, or not with this password. As in Redis with a password set, the user
  // "default" is the one who has it.
  PrincipalPtr authenticate(std::string_view user, std::string_view password) const {
    if (user == "default") return authenticate(password);
    return check(user, password) ? root_ : nullptr;
  }
  PrincipalPtr authenticate(std::string_view password) const {
    return check_default(password) ? default_ : nullptr;
  }
  // The owner of an S3 access key, for who has verified a signature with its secret().
  PrincipalPtr owner(std::string_view access_key) const {
    return equal_in_constant_time(access_key, root_user_) ? root_ : nullptr;
  }
  bool knows(std::string_view user) const { return user == "default" || user == root_user_; }
  // Who a client is that a door lets in without asking who it is.
  const PrincipalPtr& default_user() const { return default_; }

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
  const PrincipalPtr root_, default_;
};

}  // namespace cairn
