// Users, and their passwords (IAM: login profiles), which RESP, gRPC and the console take.
#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/iam/iam.h"

namespace cairn::iam {
namespace {

constexpr size_t kUserNameMax = 64;

std::string user_arn(std::string_view path, std::string_view name) {
  return cat("arn:aws:iam::", kAccount, ":user", path, name);
}

std::string target(const Call& c) {
  const std::string name = c.user_name();
  if (name.empty()) return root_arn();
  const UserRecord* user = c.table().user(name);
  return user != nullptr ? arn_of(*user) : user_arn("/", name);
}
std::string new_target(const Call& c) {
  return user_arn(c.has("Path") ? c.param("Path") : "/", c.param("UserName"));
}

Error no_such_user(std::string_view name) {
  return {"NoSuchEntity", cat("The user with name ", name, " cannot be found.")};
}

awaitable<Error> create_user(Call& c) {
  const std::string_view path = c.has("Path") ? c.param("Path") : "/";
  if (Error e = check_name("userName", c.param("UserName"), kUserNameMax)) co_return e;
  if (Error e = check_path("path", path)) co_return e;
  if (Error e =
          co_await change(c, [&](Draft& d) { return d.create_user(c.param("UserName"), path); })) {
    co_return e;
  }
  add_user(s3::add(c.result, "User"), *c.table().user(c.param("UserName")));
  co_return Error{};
}

awaitable<Error> get_user(Call& c) {
  const std::string name = c.user_name();
  if (name.empty()) {
    auto user = s3::add(c.result, "User");
    add_text(user, "Path", "/");
    add_text(user, "UserName", c.users.root_user());
    add_text(user, "UserId", kAccount);
    add_text(user, "Arn", root_arn());
    add_text(user, "CreateDate", http::iso_date(0));
    co_return Error{};
  }
  const UserRecord* user = c.table().user(name);
  if (user == nullptr) co_return no_such_user(name);
  add_user(s3::add(c.result, "User"), *user);
  co_return Error{};
}

awaitable<Error> list_users(Call& c) {
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  auto list = s3::add(c.result, "Users");
  for (auto& [name, user] : c.table().users) {
    if (user->path.starts_with(path_prefix(c)) && page.takes(name)) {
      add_user(s3::add(list, "member"), *user);
    }
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> update_user(Call& c) {
  std::optional<std::string> name, path;
  if (c.has("NewUserName")) {
    name = c.param("NewUserName");
    if (Error e = check_name("newUserName", *name, kUserNameMax)) co_return e;
  }
  if (c.has("NewPath")) {
    path = c.param("NewPath");
    if (Error e = check_path("newPath", *path)) co_return e;
  }
  if (const UserRecord* user = c.table().user(c.param("UserName"))) {
    if (Error e = may(c, user_arn(path.value_or(user->path), name.value_or(user->name)))) {
      co_return e;
    }
  }
  co_return co_await change(
      c, [&](Draft& d) { return d.update_user(c.param("UserName"), name, path); });
}

awaitable<Error> delete_user(Call& c) {
  co_return co_await change(c, [&](Draft& d) { return d.delete_user(c.param("UserName")); });
}

awaitable<Error> list_groups_for_user(Call& c) {
  const UserRecord* user = c.table().user(c.param("UserName"));
  if (user == nullptr) co_return no_such_user(c.param("UserName"));
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  auto list = s3::add(c.result, "Groups");
  for (auto& [name, group] : c.table().groups) {
    const auto& his = user->groups;
    const bool in_it = std::find(his.begin(), his.end(), group->id) != his.end();
    if (in_it && page.takes(name)) add_group(s3::add(list, "member"), *group);
  }
  page.end(c);
  co_return Error{};
}

// ---- passwords ----

void add_profile(const Call& c, const UserRecord& user) {
  auto profile = s3::add(c.result, "LoginProfile");
  add_text(profile, "UserName", user.name);
  add_text(profile, "CreateDate", http::iso_date(user.password_ms));
  add_text(profile, "PasswordResetRequired", "false");
}

// As many as a policy of AWS's asks for without one being set.
Error check_password_text(const Call& c, std::string_view name) {
  const std::string_view password = c.param(name);
  if (password.size() >= 8 && password.size() <= 128) return {};
  return {"PasswordPolicyViolation", "Password should have a length of 8 to 128 characters"};
}

awaitable<Error> set_password(Call& c, std::string user, std::string_view param, bool there) {
  const UserRecord* found = c.table().user(user);
  if (found == nullptr) co_return no_such_user(user);
  if (found->password.empty() == there) {
    if (there) {
      co_return Error{"NoSuchEntity", cat("Login Profile for User ", user, " cannot be found.")};
    }
    co_return Error{"EntityAlreadyExists",
                    cat("Login Profile for user ", user, " already exists.")};
  }
  if (c.has("PasswordResetRequired") && c.param("PasswordResetRequired") != "false") {
    co_return Error{"ValidationError", "Cairn cannot ask for a password to be reset."};
  }
  if (Error e = check_password_text(c, param)) co_return e;
  const std::string id = found->id;
  auto hash = co_await c.users.hash(std::string(c.param(param)));
  if (!hash.ok()) co_return Error{"Throttling", "Rate exceeded"};
  // That took its time: whoever it is about, and who asks, may be another by now.
  c.known = c.users.known();
  if (Error e = may(c, target(c))) co_return e;
  co_return co_await change(c, [&](Draft& d) -> Status {
    const UserRecord* now = d.table().user(user);
    if (now == nullptr || now->id != id) return absl::NotFoundError(no_such_user(user).message);
    if (now->password.empty() != there) return d.set_password(user, *hash);
    if (there) {
      return absl::NotFoundError(cat("Login Profile for User ", user, " cannot be found."));
    }
    return absl::AlreadyExistsError(cat("Login Profile for user ", user, " already exists."));
  });
}

awaitable<Error> create_login_profile(Call& c) {
  if (Error e = co_await set_password(c, std::string(c.param("UserName")), "Password", false)) {
    co_return e;
  }
  add_profile(c, *c.table().user(c.param("UserName")));
  co_return Error{};
}

awaitable<Error> update_login_profile(Call& c) {
  co_return co_await set_password(c, std::string(c.param("UserName")), "Password", true);
}

awaitable<Error> get_login_profile(Call& c) {
  const UserRecord* user = c.table().user(c.param("UserName"));
  if (user == nullptr || user->password.empty()) {
    co_return Error{"NoSuchEntity",
                    cat("Login Profile for User ", c.param("UserName"), " cannot be found.")};
  }
  add_profile(c, *user);
  co_return Error{};
}

awaitable<Error> delete_login_profile(Call& c) {
  const UserRecord* user = c.table().user(c.param("UserName"));
  if (user == nullptr || user->password.empty()) {
    co_return Error{"NoSuchEntity",
                    cat("Login Profile for User ", c.param("UserName"), " cannot be found.")};
  }
  co_return co_await change(c, [&](Draft& d) { return d.set_password(c.param("UserName"), ""); });
}

awaitable<Error> change_password(Call& c) {
  const std::string name = c.user_name();
  if (name.empty()) {
    co_return Error{"ValidationError", "Root's password is what the environment says."};
  }
  const auto known = co_await c.users.authenticate_patiently(
      name, std::string(c.param("OldPassword")), c.request.peer);
  if (!known.ok()) co_return Error{"Throttling", "Rate exceeded"};
  if (*known == nullptr) {
    co_return Error{"AccessDenied", "The old password was incorrect."};
  }
  co_return co_await set_password(c, name, "NewPassword", true);
}

constexpr Row kRows[] = {
    {"CreateUser", create_user, "UserName Path", "UserName", new_target},
    {"GetUser", get_user, "UserName", "", target},
    {"ListUsers", list_users, "PathPrefix Marker MaxItems", "", nullptr},
    {"UpdateUser", update_user, "UserName NewUserName NewPath", "UserName", target, false},
    {"DeleteUser", delete_user, "UserName", "UserName", target, false},
    {"ListGroupsForUser", list_groups_for_user, "UserName Marker MaxItems", "UserName", target},
    {"CreateLoginProfile", create_login_profile, "UserName Password PasswordResetRequired",
     "UserName Password", target},
    {"UpdateLoginProfile", update_login_profile, "UserName Password PasswordResetRequired",
     "UserName Password", target, false},
    {"GetLoginProfile", get_login_profile, "UserName", "UserName", target},
    {"DeleteLoginProfile", delete_login_profile, "UserName", "UserName", target, false},
    {"ChangePassword", change_password, "OldPassword NewPassword", "OldPassword NewPassword",
     target, false},
};

}  // namespace

void add_user(pugi::xml_node to, const UserRecord& user) {
  add_text(to, "Path", user.path);
  add_text(to, "UserName", user.name);
  add_text(to, "UserId", user.id);
  add_text(to, "Arn", arn_of(user));
  add_text(to, "CreateDate", http::iso_date(user.created_ms));
}

std::span<const Row> user_rows() { return kRows; }

}  // namespace cairn::iam
