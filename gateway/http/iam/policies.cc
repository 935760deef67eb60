// Policies: of users and groups themselves, and those with a name of their own.
#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/iam/iam.h"

namespace cairn::iam {
namespace {

using Whose = Draft::Whose;

constexpr std::string_view param_of(Whose whose) {
  switch (whose) {
    case Whose::kUser:
      return "UserName";
    case Whose::kGroup:
      return "GroupName";
    case Whose::kRole:
      break;
  }
  return "RoleName";
}

const Subject* subject(const Call& c, Whose whose) {
  const std::string_view name = c.param(param_of(whose));
  if (whose == Whose::kUser) return c.table().user(name);
  if (whose == Whose::kRole) return c.table().role(name);
  return c.table().group(name);
}

template <Whose whose>
std::string target(const Call& c) {
  const std::string_view name = c.param(param_of(whose));
  if (whose == Whose::kUser) {
    const UserRecord* user = c.table().user(name);
    return user != nullptr ? arn_of(*user) : cat("arn:aws:iam::", kAccount, ":user/", name);
  }
  if (whose == Whose::kRole) {
    const RoleRecord* role = c.table().role(name);
    return role != nullptr ? arn_of(*role) : cat("arn:aws:iam::", kAccount, ":role/", name);
  }
  const GroupRecord* group = c.table().group(name);
  return group != nullptr ? arn_of(*group) : cat("arn:aws:iam::", kAccount, ":group/", name);
}
std::string policy_target(const Call& c) { return std::string(c.param("PolicyArn")); }
std::string new_policy_target(const Call& c) {
  return cat("arn:aws:iam::", kAccount, ":policy", c.has("Path") ? c.param("Path") : "/",
             c.param("PolicyName"));
}

Error no_such(const Call& c, Whose whose) {
  return {"NoSuchEntity", cat("The ",
                              whose == Whose::kUser    ? "user"
                              : whose == Whose::kGroup ? "group"
                                                       : "role",
                              " with name ", c.param(param_of(whose)), " cannot be found.")};
}

// As IAM answers it: percent-encoded.
std::string document(std::string_view text) { return http::percent_encode(text, false); }

// ---- of a user or a group itself ----

template <Whose whose>
awaitable<Error> put_inlined(Call& c) {
  if (Error e = check_name("policyName", c.param("PolicyName"))) co_return e;
  co_return co_await change(c, [&](Draft& d) {
    return d.put_inlined(whose, c.param(param_of(whose)), c.param("PolicyName"),
                         c.param("PolicyDocument"));
  });
}

template <Whose whose>
awaitable<Error> get_inlined(Call& c) {
  const Subject* found = subject(c, whose);
  if (found == nullptr) co_return no_such(c, whose);
  const auto it = found->inlined.find(std::string(c.param("PolicyName")));
  if (it == found->inlined.end()) {
    co_return Error{"NoSuchEntity",
                    cat("The policy with name ", c.param("PolicyName"), " cannot be found.")};
  }
  add_text(c.result, param_of(whose).data(), found->name);
  add_text(c.result, "PolicyName", it->first);
  add_text(c.result, "PolicyDocument", document(it->second.text));
  co_return Error{};
}

template <Whose whose>
awaitable<Error> list_inlined(Call& c) {
  const Subject* found = subject(c, whose);
  if (found == nullptr) co_return no_such(c, whose);
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  auto list = s3::add(c.result, "PolicyNames");
  for (auto& [name, policy] : found->inlined) {
    if (page.takes(name)) add_text(list, "member", name);
  }
  page.end(c);
  co_return Error{};
}

template <Whose whose>
awaitable<Error> delete_inlined(Call& c) {
  co_return co_await change(c, [&](Draft& d) {
    return d.delete_inlined(whose, c.param(param_of(whose)), c.param("PolicyName"));
  });
}

// ---- with a name ----

void add_policy(pugi::xml_node to, const Call& c, const PolicyRecord& policy) {
  add_text(to, "PolicyName", policy.name);
  add_text(to, "PolicyId", policy.id);
  add_text(to, "Arn", arn_of(policy));
  add_text(to, "Path", policy.path);
  add_text(to, "DefaultVersionId", cat("v", policy.version));
  s3::add(to, "AttachmentCount", c.table().attachments(policy));
  s3::add(to, "PermissionsBoundaryUsageCount", uint64_t{0});
  add_text(to, "IsAttachable", "true");
  if (!policy.description.empty()) add_text(to, "Description", policy.description);
  add_text(to, "CreateDate", http::iso_date(policy.created_ms));
  add_text(to, "UpdateDate", http::iso_date(policy.updated_ms));
}

void add_version(pugi::xml_node to, const PolicyRecord& policy, bool with_text) {
  if (with_text) add_text(to, "Document", document(policy.text.text));
  add_text(to, "VersionId", cat("v", policy.version));
  add_text(to, "IsDefaultVersion", "true");
  add_text(to, "CreateDate", http::iso_date(policy.updated_ms));
}

awaitable<Error> create_policy(Call& c) {
  const std::string_view path = c.has("Path") ? c.param("Path") : "/";
  if (Error e = check_name("policyName", c.param("PolicyName"))) co_return e;
  if (Error e = check_path("path", path)) co_return e;
  if (c.param("Description").size() > 1000) {
    co_return Error{"ValidationError", "A description has at most 1000 characters"};
  }
  if (Error e = co_await change(c, [&](Draft& d) {
        return d.create_policy(c.param("PolicyName"), path, c.param("Description"),
                               c.param("PolicyDocument"));
      })) {
    co_return e;
  }
  add_policy(s3::add(c.result, "Policy"), c, *c.table().policy(c.param("PolicyName")));
  co_return Error{};
}

awaitable<Error> get_policy(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  add_policy(s3::add(c.result, "Policy"), c, *c.table().policy(name));
  co_return Error{};
}

awaitable<Error> get_policy_version(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  const PolicyRecord& policy = *c.table().policy(name);
  if (c.param("VersionId") != cat("v", policy.version)) {
    co_return Error{"NoSuchEntity", cat("Policy ", c.param("PolicyArn"), " version ",
                                        c.param("VersionId").substr(0, 32),
                                        " does not exist or is not attachable.")};
  }
  add_version(s3::add(c.result, "PolicyVersion"), policy, true);
  co_return Error{};
}

awaitable<Error> list_policy_versions(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  add_version(s3::add(s3::add(c.result, "Versions"), "member"), *c.table().policy(name), false);
  add_text(c.result, "IsTruncated", "false");
  co_return Error{};
}

// The newest takes the place of the one before: none but the default can be had back.
awaitable<Error> create_policy_version(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  if (c.param("SetAsDefault") != "true") {
    co_return Error{"ValidationError",
                    "Cairn keeps the default version alone: say SetAsDefault=true."};
  }
  if (Error e = co_await change(
          c, [&](Draft& d) { return d.replace_policy(name, c.param("PolicyDocument")); })) {
    co_return e;
  }
  add_version(s3::add(c.result, "PolicyVersion"), *c.table().policy(name), false);
  co_return Error{};
}

awaitable<Error> list_policies(Call& c) {
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  const std::string_view scope = c.has("Scope") ? c.param("Scope") : "All";
  const std::string_view attached = c.has("OnlyAttached") ? c.param("OnlyAttached") : "false";
  const bool known = (scope == "All" || scope == "AWS" || scope == "Local") &&
                     (attached == "true" || attached == "false");
  if (!known) {
    co_return Error{"ValidationError", "Scope is All, AWS or Local, OnlyAttached true or false"};
  }
  auto list = s3::add(c.result, "Policies");
  for (auto& [name, policy] : c.table().policies) {
    const bool asked = scope != "AWS" && policy->path.starts_with(path_prefix(c)) &&
                       (attached == "false" || c.table().attachments(*policy) > 0);
    if (asked && page.takes(name)) add_policy(s3::add(list, "member"), c, *policy);
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> delete_policy(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  co_return co_await change(c, [&](Draft& d) { return d.delete_policy(name); });
}

template <Whose whose>
awaitable<Error> attach(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  co_return co_await change(
      c, [&](Draft& d) { return d.attach(whose, c.param(param_of(whose)), name); });
}

template <Whose whose>
awaitable<Error> detach(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  co_return co_await change(
      c, [&](Draft& d) { return d.detach(whose, c.param(param_of(whose)), name); });
}

bool has(const Subject& subject, const PolicyRecord& policy) {
  const auto& all = subject.attached;
  return std::find(all.begin(), all.end(), policy.id) != all.end();
}

template <Whose whose>
awaitable<Error> list_attached(Call& c) {
  const Subject* found = subject(c, whose);
  if (found == nullptr) co_return no_such(c, whose);
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  auto list = s3::add(c.result, "AttachedPolicies");
  for (auto& [name, policy] : c.table().policies) {
    const bool asked = has(*found, *policy) && policy->path.starts_with(path_prefix(c));
    if (!asked || !page.takes(name)) continue;
    auto member = s3::add(list, "member");
    add_text(member, "PolicyName", policy->name);
    add_text(member, "PolicyArn", arn_of(*policy));
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> list_entities_for_policy(Call& c) {
  std::string name;
  if (Error e = policy_name(c, name)) co_return e;
  const std::string_view filter = c.param("EntityFilter");
  if (!filter.empty() && filter != "User" && filter != "Group" && filter != "Role" &&
      filter != "LocalManagedPolicy") {
    co_return Error{"ValidationError", "EntityFilter is User, Role, Group or LocalManagedPolicy"};
  }
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  const PolicyRecord& policy = *c.table().policy(name);
  auto groups = s3::add(c.result, "PolicyGroups"), users = s3::add(c.result, "PolicyUsers");
  auto roles = s3::add(c.result, "PolicyRoles");
  // Groups, roles, users: a marker says of which kind it is.
  for (auto& [id, group] : c.table().groups) {
    if ((!filter.empty() && filter != "Group") || !has(*group, policy)) continue;
    if (!page.takes(cat("g/", id))) continue;
    auto member = s3::add(groups, "member");
    add_text(member, "GroupName", group->name);
    add_text(member, "GroupId", group->id);
  }
  for (auto& [id, role] : c.table().roles) {
    if ((!filter.empty() && filter != "Role") || !has(*role, policy)) continue;
    if (!page.takes(cat("r/", id))) continue;
    auto member = s3::add(roles, "member");
    add_text(member, "RoleName", role->name);
    add_text(member, "RoleId", role->id);
  }
  for (auto& [id, user] : c.table().users) {
    if ((!filter.empty() && filter != "User") || !has(*user, policy)) continue;
    if (!page.takes(cat("u/", id))) continue;
    auto member = s3::add(users, "member");
    add_text(member, "UserName", user->name);
    add_text(member, "UserId", user->id);
  }
  page.end(c);
  co_return Error{};
}

constexpr auto kUser = Whose::kUser, kGroup = Whose::kGroup, kRole = Whose::kRole;
constexpr Row kRows[] = {
    {"PutUserPolicy", put_inlined<kUser>, "UserName PolicyName PolicyDocument",
     "UserName PolicyName PolicyDocument", target<kUser>, false},
    {"GetUserPolicy", get_inlined<kUser>, "UserName PolicyName", "UserName PolicyName",
     target<kUser>},
    {"ListUserPolicies", list_inlined<kUser>, "UserName Marker MaxItems", "UserName",
     target<kUser>},
    {"DeleteUserPolicy", delete_inlined<kUser>, "UserName PolicyName", "UserName PolicyName",
     target<kUser>, false},
    {"PutGroupPolicy", put_inlined<kGroup>, "GroupName PolicyName PolicyDocument",
     "GroupName PolicyName PolicyDocument", target<kGroup>, false},
    {"GetGroupPolicy", get_inlined<kGroup>, "GroupName PolicyName", "GroupName PolicyName",
     target<kGroup>},
    {"ListGroupPolicies", list_inlined<kGroup>, "GroupName Marker MaxItems", "GroupName",
     target<kGroup>},
    {"DeleteGroupPolicy", delete_inlined<kGroup>, "GroupName PolicyName", "GroupName PolicyName",
     target<kGroup>, false},
    {"PutRolePolicy", put_inlined<kRole>, "RoleName PolicyName PolicyDocument",
     "RoleName PolicyName PolicyDocument", target<kRole>, false},
    {"GetRolePolicy", get_inlined<kRole>, "RoleName PolicyName", "RoleName PolicyName",
     target<kRole>},
    {"ListRolePolicies", list_inlined<kRole>, "RoleName Marker MaxItems", "RoleName",
     target<kRole>},
    {"DeleteRolePolicy", delete_inlined<kRole>, "RoleName PolicyName", "RoleName PolicyName",
     target<kRole>, false},
    {"AttachRolePolicy", attach<kRole>, "RoleName PolicyArn", "RoleName PolicyArn", target<kRole>,
     false},
    {"DetachRolePolicy", detach<kRole>, "RoleName PolicyArn", "RoleName PolicyArn", target<kRole>,
     false},
    {"ListAttachedRolePolicies", list_attached<kRole>, "RoleName PathPrefix Marker MaxItems",
     "RoleName", target<kRole>},
    {"CreatePolicy", create_policy, "PolicyName Path Description PolicyDocument",
     "PolicyName PolicyDocument", new_policy_target},
    {"GetPolicy", get_policy, "PolicyArn", "PolicyArn", policy_target},
    {"GetPolicyVersion", get_policy_version, "PolicyArn VersionId", "PolicyArn VersionId",
     policy_target},
    {"ListPolicyVersions", list_policy_versions, "PolicyArn Marker MaxItems", "PolicyArn",
     policy_target},
    {"CreatePolicyVersion", create_policy_version, "PolicyArn PolicyDocument SetAsDefault",
     "PolicyArn PolicyDocument", policy_target},
    {"ListPolicies", list_policies, "Scope OnlyAttached PathPrefix Marker MaxItems", "", nullptr},
    {"DeletePolicy", delete_policy, "PolicyArn", "PolicyArn", policy_target, false},
    {"AttachUserPolicy", attach<kUser>, "UserName PolicyArn", "UserName PolicyArn", target<kUser>,
     false},
    {"DetachUserPolicy", detach<kUser>, "UserName PolicyArn", "UserName PolicyArn", target<kUser>,
     false},
    {"ListAttachedUserPolicies", list_attached<kUser>, "UserName PathPrefix Marker MaxItems",
     "UserName", target<kUser>},
    {"AttachGroupPolicy", attach<kGroup>, "GroupName PolicyArn", "GroupName PolicyArn",
     target<kGroup>, false},
    {"DetachGroupPolicy", detach<kGroup>, "GroupName PolicyArn", "GroupName PolicyArn",
     target<kGroup>, false},
    {"ListAttachedGroupPolicies", list_attached<kGroup>, "GroupName PathPrefix Marker MaxItems",
     "GroupName", target<kGroup>},
    {"ListEntitiesForPolicy", list_entities_for_policy, "PolicyArn EntityFilter Marker MaxItems",
     "PolicyArn", policy_target},
};

}  // namespace

std::span<const Row> policy_rows() { return kRows; }

}  // namespace cairn::iam
