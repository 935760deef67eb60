// Users, groups, policies and access keys: what the IAM query API does, for the command line.
#include <algorithm>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/store/known_users.h"
#include "core/store/managing.h"
#include "core/store/policy_json.h"
#include "gateway/grpc/admin_service.h"

namespace cairn::rpc {
namespace {

constexpr int kPageMax = 500;
constexpr size_t kUserNameMax = 64;
// Each asks for its own name on whom it is about, once it has the request: permit().
constexpr Access kAsked = Access::kByName;

grpc::Status error_of_users(const Status& status) {
  const std::string text(status.message());
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return error(grpc::NOT_FOUND, "NO_SUCH_ENTITY", text);
    case absl::StatusCode::kAlreadyExists:
      return error(grpc::ALREADY_EXISTS, "ENTITY_EXISTS", text);
    case absl::StatusCode::kFailedPrecondition:
      return error(grpc::FAILED_PRECONDITION, "IN_USE", text);
    case absl::StatusCode::kOutOfRange:
      return error(grpc::RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", text);
    case absl::StatusCode::kResourceExhausted:
      if (text.starts_with("Cannot exceed") || text.starts_with("Maximum policy")) {
        return error(grpc::RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", text);
      }
      return error_of(status);
    case absl::StatusCode::kInvalidArgument: {
      const std::string detail = policy::detail_of(status);
      return bad_argument(detail.empty() ? text : cat(text, " ", detail));
    }
    default:
      return error_of(status);
  }
}

grpc::Status no_such(std::string_view what, std::string_view name) {
  return error(grpc::NOT_FOUND, "NO_SUCH_ENTITY",
               cat("The ", what, " with name ", name.substr(0, 128), " cannot be found."));
}

grpc::Status check_name(std::string_view name, size_t most = 128) {
  if (is_entity_name(name, most)) return {};
  return bad_argument(cat("a name has 1 to ", most, " letters, digits and _+=,.@-"));
}

grpc::Status check_path(const std::string& path) {
  if (path.empty() || is_entity_path(path)) return {};
  return bad_argument("a path begins and ends with /, and has printable characters");
}

std::string path_or_root(const std::string& path) { return path.empty() ? "/" : path; }

std::string new_arn(std::string_view kind, std::string_view path, std::string_view name) {
  return cat("arn:aws:iam::", kAccount, ":", kind, path, name);
}

// The ARN of who has this name, or, where nobody has, would have it at the root.
std::string user_arn(const Users& users, std::string_view name) {
  const auto known = users.known();
  const UserRecord* user = known->table.user(name);
  return user == nullptr ? new_arn("user", "/", name) : arn_of(*user);
}
std::string group_arn(const Users& users, std::string_view name) {
  const auto known = users.known();
  const GroupRecord* group = known->table.group(name);
  return group == nullptr ? new_arn("group", "/", name) : arn_of(*group);
}
std::string role_arn(const Users& users, std::string_view name) {
  const auto known = users.known();
  const RoleRecord* role = known->table.role(name);
  return role == nullptr ? new_arn("role", "/", name) : arn_of(*role);
}
std::string policy_arn(const Users& users, std::string_view name) {
  const auto known = users.known();
  const PolicyRecord* policy = known->table.policy(name);
  return policy == nullptr ? new_arn("policy", "/", name) : arn_of(*policy);
}
// Of the user whose key it is; where there is none, it takes a right on all of them.
std::string owner_arn(const Users& users, std::string_view key_id) {
  const auto known = users.known();
  const KeyRecord* key = known->table.key(key_id);
  const UserRecord* user = key == nullptr ? nullptr : known->table.user_by_id(key->user);
  return user == nullptr ? new_arn("user", "/", "*") : arn_of(*user);
}

// PERMISSION_DENIED unless its caller may call the method on what the ARN names ("*": on all of
// them), and do there what IAM calls `act`. Before anything else is looked at.
grpc::Status permit(const Caller& by, std::string_view act, const std::string& target) {
  const Circumstances from{by.address, by.secure};
  const bool may = authorize(*by.who, by.action, policy::Resource::arn(target), from) &&
                   may_manage(*by.who, act, target, from);
  if (by.audit != nullptr) {
    by.audit->note({"grpc", by.who->name(), by.address, by.action.name, {}, target, may});
  }
  if (may) return {};
  return error(grpc::PERMISSION_DENIED, "PERMISSION_DENIED", "this user may not do that");
}

// What makes a secret would outlive, or be more than, credentials that end or are bounded.
grpc::Status may_make_secrets(const Caller& by) {
  const auto rights = by.who == nullptr ? nullptr : by.who->rights();
  if (rights == nullptr || (!rights->is_bounded() && !rights->is_session())) return {};
  return error(grpc::PERMISSION_DENIED, "PERMISSION_DENIED",
               "credentials that are bounded, or of a session, make no others");
}

void fill(const UserTable& table, const KeyRecord& key, v1::AccessKey* to) {
  const UserRecord* user = table.user_by_id(key.user);
  to->set_id(key.id);
  if (user != nullptr) to->set_user(user->name);
  to->set_enabled(key.enabled);
  to->set_created_ms(key.created_ms);
  to->set_expires_ms(key.expires_ms);
  if (key.boundary) to->set_boundary(key.boundary->text);
}

template <class Message>
void fill_head(const Subject& of, Message* to) {
  to->set_name(of.name);
  to->set_path(of.path);
  to->set_id(of.id);
  to->set_created_ms(of.created_ms);
}

template <class Message>
void fill_policies(const UserTable& table, const Subject& of, Message* to) {
  for (const std::string& id : of.attached) {
    if (const PolicyRecord* policy = table.policy_by_id(id)) to->add_policies(policy->name);
  }
  for (auto& [name, policy] : of.inlined) to->add_inline_policies(name);
}

void fill(const UserRecord& user, v1::User* to) {
  fill_head(user, to);
  to->set_arn(arn_of(user));
  to->set_has_password(!user.password.empty());
}

void fill_whole(const UserTable& table, const UserRecord& user, v1::User* to) {
  fill(user, to);
  for (const std::string& id : user.groups) {
    if (const GroupRecord* group = table.group_by_id(id)) to->add_groups(group->name);
  }
  fill_policies(table, user, to);
  for (auto& [id, key] : table.keys) {
    if (key->user == user.id) fill(table, *key, to->add_access_keys());
  }
}

void fill(const GroupRecord& group, v1::Group* to) {
  fill_head(group, to);
  to->set_arn(arn_of(group));
}

// Of its users no more than an answer takes.
void fill_whole(const UserTable& table, const GroupRecord& group, v1::Group* to) {
  fill(group, to);
  constexpr int kUsersMax = 10'000;
  for (auto& [name, user] : table.users) {
    const auto& his = user->groups;
    if (to->users_size() < kUsersMax && std::find(his.begin(), his.end(), group.id) != his.end()) {
      to->add_users(user->name);
    }
  }
  fill_policies(table, group, to);
}

void fill(const UserTable& table, const PolicyRecord& policy, bool with_text, v1::Policy* to) {
  to->set_name(policy.name);
  to->set_path(policy.path);
  to->set_id(policy.id);
  to->set_arn(arn_of(policy));
  to->set_created_ms(policy.created_ms);
  to->set_updated_ms(policy.updated_ms);
  to->set_description(policy.description);
  to->set_attachments(table.attachments(policy));
  if (with_text) to->set_document(policy.text.text);
}

// Calls `take` for those of a page, in order.
template <class Records, class Request, class Response, class Take>
void page(const Records& all, const Request& q, Response* a, Take take) {
  auto it = q.page_token().empty() ? all.begin() : all.upper_bound(q.page_token());
  int taken = 0;
  const std::string* last = nullptr;
  for (; it != all.end(); ++it) {
    if (!std::string_view(it->second->path).starts_with(q.path_prefix())) continue;
    if (taken++ == kPageMax) {
      a->set_next_page_token(*last);
      return;
    }
    take(*it->second);
    last = &it->first;
  }
}

// Whom a policy is attached to; nothing: nobody is named.
struct Holder {
  Draft::Whose whose;
  std::string name, arn;
  std::string_view attach, detach;  // what IAM calls these
};
std::optional<Holder> holder_of(const Users& users, const v1::PolicyHolder& holder) {
  switch (holder.who_case()) {
    case v1::PolicyHolder::kUser:
      return Holder{Draft::Whose::kUser, holder.user(), user_arn(users, holder.user()),
                    "AttachUserPolicy", "DetachUserPolicy"};
    case v1::PolicyHolder::kGroup:
      return Holder{Draft::Whose::kGroup, holder.group(), group_arn(users, holder.group()),
                    "AttachGroupPolicy", "DetachGroupPolicy"};
    case v1::PolicyHolder::kRole:
      return Holder{Draft::Whose::kRole, holder.role(), role_arn(users, holder.role()),
                    "AttachRolePolicy", "DetachRolePolicy"};
    default:
      return std::nullopt;
  }
}

void tell_nothing(const UserTable&) {}

}  // namespace

void AdminService::add_user_methods() {
  unary("/cairn.v1.Admin/CreateUser", kAsked, &AdminService::create_user);
  unary("/cairn.v1.Admin/GetUser", kAsked, &AdminService::get_user);
  unary("/cairn.v1.Admin/ListUsers", kAsked, &AdminService::list_users);
  unary("/cairn.v1.Admin/DeleteUser", kAsked, &AdminService::delete_user);
  unary("/cairn.v1.Admin/SetUserPassword", kAsked, &AdminService::set_user_password);
  unary("/cairn.v1.Admin/CreateGroup", kAsked, &AdminService::create_group);
  unary("/cairn.v1.Admin/GetGroup", kAsked, &AdminService::get_group);
  unary("/cairn.v1.Admin/ListGroups", kAsked, &AdminService::list_groups);
  unary("/cairn.v1.Admin/DeleteGroup", kAsked, &AdminService::delete_group);
  unary("/cairn.v1.Admin/AddUserToGroup", kAsked, &AdminService::add_user_to_group);
  unary("/cairn.v1.Admin/RemoveUserFromGroup", kAsked, &AdminService::remove_user_from_group);
  unary("/cairn.v1.Admin/PutPolicy", kAsked, &AdminService::put_policy);
  unary("/cairn.v1.Admin/GetPolicy", kAsked, &AdminService::get_policy);
  unary("/cairn.v1.Admin/ListPolicies", kAsked, &AdminService::list_policies);
  unary("/cairn.v1.Admin/DeletePolicy", kAsked, &AdminService::delete_policy);
  unary("/cairn.v1.Admin/AttachPolicy", kAsked, &AdminService::attach_policy);
  unary("/cairn.v1.Admin/DetachPolicy", kAsked, &AdminService::detach_policy);
  unary("/cairn.v1.Admin/CreateAccessKey", kAsked, &AdminService::create_access_key);
  unary("/cairn.v1.Admin/ListAccessKeys", kAsked, &AdminService::list_access_keys);
  unary("/cairn.v1.Admin/UpdateAccessKey", kAsked, &AdminService::update_access_key);
  unary("/cairn.v1.Admin/RotateAccessKey", kAsked, &AdminService::rotate_access_key);
  unary("/cairn.v1.Admin/DeleteAccessKey", kAsked, &AdminService::delete_access_key);
}

Unary* AdminService::change(Context* c, absl::FunctionRef<Status(Draft&)> edit,
                            absl::FunctionRef<void(const UserTable&)> told) {
  auto lsn = server_.users.change(edit);
  if (!lsn.ok()) return finish(c, store_, error_of_users(lsn.status()));
  told(server_.users.known()->table);
  return finish(c, store_, {}, *lsn);
}

// ---- users ----

Unary* AdminService::create_user(Context* c, const Caller& by, const v1::CreateUserRequest* q,
                                 v1::CreateUserResponse* a) {
  if (grpc::Status s =
          permit(by, "CreateUser", new_arn("user", path_or_root(q->path()), q->name()));
      !s.ok())
    return finish(c, s);
  grpc::Status status = check_name(q->name(), kUserNameMax);
  if (status.ok()) status = check_path(q->path());
  if (!status.ok()) return finish(c, status);
  return change(
      c, [&](Draft& d) { return d.create_user(q->name(), path_or_root(q->path())); },
      [&](const UserTable& table) {
        if (const UserRecord* user = table.user(q->name())) fill(*user, a->mutable_user());
      });
}

Unary* AdminService::get_user(Context* c, const Caller& by, const v1::GetUserRequest* q,
                              v1::GetUserResponse* a) {
  if (grpc::Status s = permit(by, "GetUser", user_arn(server_.users, q->name())); !s.ok())
    return finish(c, s);
  const auto known = server_.users.known();
  const UserRecord* user = known->table.user(q->name());
  if (user == nullptr) return finish(c, no_such("user", q->name()));
  fill_whole(known->table, *user, a->mutable_user());
  return finish(c, shared_, *a, {});
}

Unary* AdminService::list_users(Context* c, const Caller& by, const v1::ListUsersRequest* q,
                                v1::ListUsersResponse* a) {
  if (grpc::Status s = permit(by, "ListUsers", "*"); !s.ok()) return finish(c, s);
  const auto known = server_.users.known();
  page(known->table.users, *q, a, [&](const UserRecord& user) { fill(user, a->add_users()); });
  return finish(c, shared_, *a, {});
}

Unary* AdminService::delete_user(Context* c, const Caller& by, const v1::DeleteUserRequest* q,
                                 v1::DeleteUserResponse*) {
  if (grpc::Status s = permit(by, "DeleteUser", user_arn(server_.users, q->name())); !s.ok())
    return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.delete_user(q->name()); }, tell_nothing);
}

Unary* AdminService::set_user_password(Context* c, const Caller& by,
                                       const v1::SetUserPasswordRequest* q,
                                       v1::SetUserPasswordResponse*) {
  const auto known = server_.users.known();
  const UserRecord* user = known->table.user(q->name());
  const std::string_view act = q->password().empty()                        ? "DeleteLoginProfile"
                               : user != nullptr && !user->password.empty() ? "UpdateLoginProfile"
                                                                            : "CreateLoginProfile";
  grpc::Status status = permit(by, act, user_arn(server_.users, q->name()));
  if (status.ok()) status = may_make_secrets(by);
  if (!status.ok()) return finish(c, status);
  if (!q->password().empty() && (q->password().size() < 8 || q->password().size() > 128)) {
    return finish(c, bad_argument("a password has 8 to 128 bytes"));
  }
  if (user == nullptr) return finish(c, no_such("user", q->name()));
  // The hash takes a tenth of a second: whoever has the name then may be another.
  const auto set = [](AdminService& service, Caller caller, std::string_view act, std::string name,
                      std::string id, std::string password) -> awaitable<grpc::Status> {
    std::string hash;
    if (!password.empty()) {
      auto made = co_await service.server_.users.hash(std::move(password));
      if (!made.ok()) {
        co_return error(grpc::UNAVAILABLE, "TOO_MANY_LOGINS", "another password is being hashed");
      }
      hash = *std::move(made);
    }
    grpc::Status may = permit(caller, act, user_arn(service.server_.users, name));
    if (may.ok()) may = may_make_secrets(caller);
    if (!may.ok()) co_return may;
    auto lsn = service.server_.users.change([&](Draft& d) -> Status {
      const UserRecord* now = d.table().user(name);
      if (now == nullptr || now->id != id) return absl::NotFoundError("The user has gone.");
      return d.set_password(name, hash);
    });
    if (!lsn.ok()) co_return error_of_users(lsn.status());
    co_return co_await settled(service.store_, *lsn);
  };
  return spawn(c, store_, set(*this, by, act, q->name(), user->id, q->password()));
}

// ---- groups ----

Unary* AdminService::create_group(Context* c, const Caller& by, const v1::CreateGroupRequest* q,
                                  v1::CreateGroupResponse* a) {
  if (grpc::Status s =
          permit(by, "CreateGroup", new_arn("group", path_or_root(q->path()), q->name()));
      !s.ok())
    return finish(c, s);
  grpc::Status status = check_name(q->name());
  if (status.ok()) status = check_path(q->path());
  if (!status.ok()) return finish(c, status);
  return change(
      c, [&](Draft& d) { return d.create_group(q->name(), path_or_root(q->path())); },
      [&](const UserTable& table) {
        if (const GroupRecord* group = table.group(q->name())) fill(*group, a->mutable_group());
      });
}

Unary* AdminService::get_group(Context* c, const Caller& by, const v1::GetGroupRequest* q,
                               v1::GetGroupResponse* a) {
  if (grpc::Status s = permit(by, "GetGroup", group_arn(server_.users, q->name())); !s.ok())
    return finish(c, s);
  const auto known = server_.users.known();
  const GroupRecord* group = known->table.group(q->name());
  if (group == nullptr) return finish(c, no_such("group", q->name()));
  fill_whole(known->table, *group, a->mutable_group());
  return finish(c, shared_, *a, {});
}

Unary* AdminService::list_groups(Context* c, const Caller& by, const v1::ListGroupsRequest* q,
                                 v1::ListGroupsResponse* a) {
  if (grpc::Status s = permit(by, "ListGroups", "*"); !s.ok()) return finish(c, s);
  const auto known = server_.users.known();
  page(known->table.groups, *q, a, [&](const GroupRecord& group) { fill(group, a->add_groups()); });
  return finish(c, shared_, *a, {});
}

Unary* AdminService::delete_group(Context* c, const Caller& by, const v1::DeleteGroupRequest* q,
                                  v1::DeleteGroupResponse*) {
  if (grpc::Status s = permit(by, "DeleteGroup", group_arn(server_.users, q->name())); !s.ok())
    return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.delete_group(q->name()); }, tell_nothing);
}

Unary* AdminService::add_user_to_group(Context* c, const Caller& by,
                                       const v1::AddUserToGroupRequest* q,
                                       v1::AddUserToGroupResponse*) {
  if (grpc::Status s = permit(by, "AddUserToGroup", group_arn(server_.users, q->group())); !s.ok())
    return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.add_to_group(q->group(), q->user()); }, tell_nothing);
}

Unary* AdminService::remove_user_from_group(Context* c, const Caller& by,
                                            const v1::RemoveUserFromGroupRequest* q,
                                            v1::RemoveUserFromGroupResponse*) {
  if (grpc::Status s = permit(by, "RemoveUserFromGroup", group_arn(server_.users, q->group()));
      !s.ok())
    return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.remove_from_group(q->group(), q->user()); }, tell_nothing);
}

// ---- policies ----

Unary* AdminService::put_policy(Context* c, const Caller& by, const v1::PutPolicyRequest* q,
                                v1::PutPolicyResponse* a) {
  const bool is_there = server_.users.known()->table.policy(q->name()) != nullptr;
  grpc::Status status =
      is_there ? permit(by, "CreatePolicyVersion", policy_arn(server_.users, q->name()))
               : permit(by, "CreatePolicy", new_arn("policy", path_or_root(q->path()), q->name()));
  if (status.ok()) status = check_name(q->name());
  if (status.ok()) status = check_path(q->path());
  if (!status.ok()) return finish(c, status);
  return change(
      c,
      [&](Draft& d) {
        if (is_there) return d.replace_policy(q->name(), q->document());
        return d.create_policy(q->name(), path_or_root(q->path()), q->description(), q->document());
      },
      [&](const UserTable& table) {
        const PolicyRecord* policy = table.policy(q->name());
        if (policy != nullptr) fill(table, *policy, false, a->mutable_policy());
      });
}

Unary* AdminService::get_policy(Context* c, const Caller& by, const v1::GetPolicyRequest* q,
                                v1::GetPolicyResponse* a) {
  if (grpc::Status s = permit(by, "GetPolicy", policy_arn(server_.users, q->name())); !s.ok())
    return finish(c, s);
  const auto known = server_.users.known();
  const PolicyRecord* policy = known->table.policy(q->name());
  if (policy == nullptr) return finish(c, no_such("policy", q->name()));
  fill(known->table, *policy, true, a->mutable_policy());
  return finish(c, shared_, *a, {});
}

Unary* AdminService::list_policies(Context* c, const Caller& by, const v1::ListPoliciesRequest* q,
                                   v1::ListPoliciesResponse* a) {
  if (grpc::Status s = permit(by, "ListPolicies", "*"); !s.ok()) return finish(c, s);
  const auto known = server_.users.known();
  page(known->table.policies, *q, a,
       [&](const PolicyRecord& policy) { fill(known->table, policy, false, a->add_policies()); });
  return finish(c, shared_, *a, {});
}

Unary* AdminService::delete_policy(Context* c, const Caller& by, const v1::DeletePolicyRequest* q,
                                   v1::DeletePolicyResponse*) {
  if (grpc::Status s = permit(by, "DeletePolicy", policy_arn(server_.users, q->name())); !s.ok())
    return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.delete_policy(q->name()); }, tell_nothing);
}

Unary* AdminService::attach_policy(Context* c, const Caller& by, const v1::AttachPolicyRequest* q,
                                   v1::AttachPolicyResponse*) {
  const auto to = holder_of(server_.users, q->to());
  if (!to) {
    grpc::Status s = permit(by, "AttachUserPolicy", "*");
    return finish(c, s.ok() ? bad_argument("name a user, a group or a role") : s);
  }
  if (grpc::Status s = permit(by, to->attach, to->arn); !s.ok()) return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.attach(to->whose, to->name, q->policy()); }, tell_nothing);
}

Unary* AdminService::detach_policy(Context* c, const Caller& by, const v1::DetachPolicyRequest* q,
                                   v1::DetachPolicyResponse*) {
  const auto from = holder_of(server_.users, q->from());
  if (!from) {
    grpc::Status s = permit(by, "DetachUserPolicy", "*");
    return finish(c, s.ok() ? bad_argument("name a user, a group or a role") : s);
  }
  if (grpc::Status s = permit(by, from->detach, from->arn); !s.ok()) return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.detach(from->whose, from->name, q->policy()); }, tell_nothing);
}

// ---- access keys ----

namespace {

grpc::Status check_expiry(const Store& store, int64_t expires_ms) {
  if (expires_ms == 0 || expires_ms > store.now_ms()) return {};
  return bad_argument("a key expires at a time to come, or never");
}

}  // namespace

Unary* AdminService::create_access_key(Context* c, const Caller& by,
                                       const v1::CreateAccessKeyRequest* q,
                                       v1::CreateAccessKeyResponse* a) {
  grpc::Status status = permit(by, "CreateAccessKey", user_arn(server_.users, q->user()));
  if (status.ok()) status = may_make_secrets(by);
  if (status.ok()) status = check_expiry(store_, q->expires_ms());
  if (!status.ok()) return finish(c, status);
  const Users::MadeKey made = server_.users.make_key();
  return change(
      c,
      [&](Draft& d) {
        return d.create_key(q->user(), made.id, made.sealed, q->expires_ms(), q->boundary());
      },
      [&](const UserTable& table) {
        if (const KeyRecord* key = table.key(made.id)) fill(table, *key, a->mutable_access_key());
        a->set_secret(made.secret);
      });
}

Unary* AdminService::list_access_keys(Context* c, const Caller& by,
                                      const v1::ListAccessKeysRequest* q,
                                      v1::ListAccessKeysResponse* a) {
  if (grpc::Status s = permit(by, "ListAccessKeys", user_arn(server_.users, q->user())); !s.ok())
    return finish(c, s);
  const auto known = server_.users.known();
  const UserRecord* user = known->table.user(q->user());
  if (user == nullptr) return finish(c, no_such("user", q->user()));
  for (auto& [id, key] : known->table.keys) {
    if (key->user == user->id) fill(known->table, *key, a->add_access_keys());
  }
  return finish(c, shared_, *a, {});
}

Unary* AdminService::update_access_key(Context* c, const Caller& by,
                                       const v1::UpdateAccessKeyRequest* q,
                                       v1::UpdateAccessKeyResponse* a) {
  grpc::Status status = permit(by, "UpdateAccessKey", owner_arn(server_.users, q->id()));
  if (status.ok()) status = may_make_secrets(by);
  Draft::KeyChange wanted;
  if (q->has_enabled()) wanted.enabled = q->enabled();
  if (q->has_expires_ms()) {
    if (status.ok()) status = check_expiry(store_, q->expires_ms());
    wanted.expires_ms = q->expires_ms();
  }
  if (q->has_boundary()) wanted.boundary = q->boundary();
  if (!status.ok()) return finish(c, status);
  return change(
      c, [&](Draft& d) { return d.update_key(q->id(), wanted); },
      [&](const UserTable& table) {
        if (const KeyRecord* key = table.key(q->id())) fill(table, *key, a->mutable_access_key());
      });
}

Unary* AdminService::rotate_access_key(Context* c, const Caller& by,
                                       const v1::RotateAccessKeyRequest* q,
                                       v1::RotateAccessKeyResponse* a) {
  constexpr int64_t kGraceMaxMs = int64_t{366} * 24 * 3600 * 1000;
  const std::string owner = owner_arn(server_.users, q->id());
  grpc::Status status = permit(by, "CreateAccessKey", owner);
  if (status.ok()) status = permit(by, "UpdateAccessKey", owner);
  if (status.ok()) status = may_make_secrets(by);
  if (status.ok() && (q->grace_ms() < 0 || q->grace_ms() > kGraceMaxMs)) {
    status = bad_argument("a grace is 0 to 366 days");
  }
  if (!status.ok()) return finish(c, status);
  const Users::MadeKey made = server_.users.make_key();
  const int64_t ends_ms = store_.now_ms() + q->grace_ms();
  return change(
      c,
      [&](Draft& d) -> Status {
        const KeyRecord* old = d.table().key(q->id());
        const UserRecord* user = old == nullptr ? nullptr : d.table().user_by_id(old->user);
        if (user == nullptr) return absl::NotFoundError("The access key cannot be found.");
        const std::string boundary = old->boundary ? old->boundary->text : "";
        const int64_t expires_ms = old->expires_ms;
        if (Status s = d.create_key(user->name, made.id, made.sealed, expires_ms, boundary);
            !s.ok()) {
          return s;
        }
        Draft::KeyChange end;
        if (q->grace_ms() == 0) {
          end.enabled = false;
        } else {
          end.expires_ms = expires_ms == 0 ? ends_ms : std::min(expires_ms, ends_ms);
        }
        return d.update_key(q->id(), end);
      },
      [&](const UserTable& table) {
        if (const KeyRecord* key = table.key(made.id)) fill(table, *key, a->mutable_access_key());
        a->set_secret(made.secret);
      });
}

Unary* AdminService::delete_access_key(Context* c, const Caller& by,
                                       const v1::DeleteAccessKeyRequest* q,
                                       v1::DeleteAccessKeyResponse*) {
  if (grpc::Status s = permit(by, "DeleteAccessKey", owner_arn(server_.users, q->id())); !s.ok())
    return finish(c, s);
  return change(
      c, [&](Draft& d) { return d.delete_key(q->id()); }, tell_nothing);
}

}  // namespace cairn::rpc
