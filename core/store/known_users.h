// What is known of users at one moment: the table, and who is behind it.
//
// Threads: constant once it is shared.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/store/user_table.h"
#include "core/store/users.h"

namespace cairn {

struct KnownUsers {
  struct Key {
    std::shared_ptr<const KeyRecord> record;
    std::optional<std::string> secret;  // nothing: it was sealed under another master key
    std::shared_ptr<Principal> principal;
  };
  UserTable table;
  bool has_passwords = false;  // somebody has a login profile
  void find_passwords() {
    has_passwords = std::any_of(table.users.begin(), table.users.end(),
                                [](const auto& user) { return !user.second->password.empty(); });
  }
  std::map<std::string, std::shared_ptr<Principal>, std::less<>> principals;  // by the user's id
  std::map<std::string, std::shared_ptr<const Key>, std::less<>> keys;        // by their ids
};

}  // namespace cairn
