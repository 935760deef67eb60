// Roles, which nobody is and others assume (sts.cc).
#include "core/base/text.h"
#include "gateway/http/iam/iam.h"

namespace cairn::iam {
namespace {

constexpr size_t kRoleNameMax = 64, kDescriptionMax = 1000;

std::string role_arn(std::string_view path, std::string_view name) {
  return cat("arn:aws:iam::", kAccount, ":role", path, name);
}
std::string target(const Call& c) {
  const RoleRecord* role = c.table().role(c.param("RoleName"));
  return role != nullptr ? arn_of(*role) : role_arn("/", c.param("RoleName"));
}
std::string new_target(const Call& c) {
  return role_arn(c.has("Path") ? c.param("Path") : "/", c.param("RoleName"));
}

Error no_such_role(std::string_view name) {
  return {"NoSuchEntity", cat("The role with name ", name, " cannot be found.")};
}

void add_role(pugi::xml_node to, const Call& c, const RoleRecord& role) {
  add_text(to, "Path", role.path);
  add_text(to, "RoleName", role.name);
  add_text(to, "RoleId", role.id);
  add_text(to, "Arn", arn_of(role));
  add_text(to, "CreateDate", http::iso_date(role.created_ms));
  add_text(to, "AssumeRolePolicyDocument",
           http::percent_encode(with_arns(c.table(), role.trust.text), false));
  if (!role.description.empty()) add_text(to, "Description", role.description);
  s3::add(to, "MaxSessionDuration", static_cast<uint64_t>(role.max_session_s));
}

// What a role is to be, as far as the call says it.
Error read_change(const Call& c, Draft::RoleChange& to) {
  if (c.has("Description")) {
    if (c.param("Description").size() > kDescriptionMax) {
      return {"ValidationError", "A description has at most 1000 characters"};
    }
    to.description = std::string(c.param("Description"));
  }
  if (c.has("MaxSessionDuration")) {
    to.max_session_s = parse_int<int64_t>(c.param("MaxSessionDuration"));
    if (!to.max_session_s || *to.max_session_s < kRoleSecondsMin ||
        *to.max_session_s > kRoleSecondsMax) {
      return {"ValidationError", cat("MaxSessionDuration must be between ", kRoleSecondsMin,
                                     " and ", kRoleSecondsMax, " seconds")};
    }
  }
  for (const char* name : {"AssumeRolePolicyDocument", "PolicyDocument"}) {
    if (c.has(name)) to.trust = std::string(c.param(name));
  }
  return {};
}

awaitable<Error> create_role(Call& c) {
  const std::string_view path = c.has("Path") ? c.param("Path") : "/";
  if (Error e = check_name("roleName", c.param("RoleName"), kRoleNameMax)) co_return e;
  if (Error e = check_path("path", path)) co_return e;
  Draft::RoleChange wanted;
  if (Error e = read_change(c, wanted)) co_return e;
  if (Error e = co_await change(
          c, [&](Draft& d) { return d.create_role(c.param("RoleName"), path, wanted); })) {
    co_return e;
  }
  add_role(s3::add(c.result, "Role"), c, *c.table().role(c.param("RoleName")));
  co_return Error{};
}

awaitable<Error> get_role(Call& c) {
  const RoleRecord* role = c.table().role(c.param("RoleName"));
  if (role == nullptr) co_return no_such_role(c.param("RoleName"));
  add_role(s3::add(c.result, "Role"), c, *role);
  co_return Error{};
}

awaitable<Error> list_roles(Call& c) {
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  auto list = s3::add(c.result, "Roles");
  for (auto& [name, role] : c.table().roles) {
    if (role->path.starts_with(path_prefix(c)) && page.takes(name)) {
      add_role(s3::add(list, "member"), c, *role);
    }
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> update_role(Call& c) {
  Draft::RoleChange wanted;
  if (Error e = read_change(c, wanted)) co_return e;
  co_return co_await change(c,
                            [&](Draft& d) { return d.update_role(c.param("RoleName"), wanted); });
}

awaitable<Error> delete_role(Call& c) {
  co_return co_await change(c, [&](Draft& d) { return d.delete_role(c.param("RoleName")); });
}

// There are no instances, and so no profiles: Terraform asks before it deletes a role.
awaitable<Error> list_instance_profiles(Call& c) {
  if (c.table().role(c.param("RoleName")) == nullptr) co_return no_such_role(c.param("RoleName"));
  s3::add(c.result, "InstanceProfiles");
  add_text(c.result, "IsTruncated", "false");
  co_return Error{};
}

constexpr Row kRows[] = {
    {"CreateRole", create_role,
     "RoleName Path AssumeRolePolicyDocument Description MaxSessionDuration",
     "RoleName AssumeRolePolicyDocument", new_target},
    {"GetRole", get_role, "RoleName", "RoleName", target},
    {"ListRoles", list_roles, "PathPrefix Marker MaxItems", "", nullptr},
    {"UpdateRole", update_role, "RoleName Description MaxSessionDuration", "RoleName", target},
    {"UpdateAssumeRolePolicy", update_role, "RoleName PolicyDocument", "RoleName PolicyDocument",
     target, false},
    {"DeleteRole", delete_role, "RoleName", "RoleName", target, false},
    {"ListInstanceProfilesForRole", list_instance_profiles, "RoleName Marker MaxItems", "RoleName",
     target},
};

}  // namespace

std::span<const Row> role_rows() { return kRows; }

}  // namespace cairn::iam
