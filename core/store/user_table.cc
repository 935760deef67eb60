#include "core/store/user_table.h"

#include <absl/status/status.h>

#include <algorithm>
#include <numeric>

#include "core/base/text.h"
#include "core/store/policy_json.h"
#include "core/store/sealing.h"

namespace cairn {
namespace {

constexpr std::string_view kIdLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

// As AWS's: four letters that say what it is, and 17 more.
std::string new_id(std::string_view kind) { return cat(kind, random_text(kIdLetters, 17)); }

Status none(std::string_view what, std::string_view name) {
  return absl::NotFoundError(cat("The ", what, " with name ", name, " cannot be found."));
}

Status too_many(std::string_view what, size_t most) {
  return absl::ResourceExhaustedError(cat("Cannot exceed quota for ", what, ": ", most));
}

}  // namespace

StatusOr<PolicyText> Draft::read_policy(std::string_view text) const {
  auto policy = policy::parse_identity_policy(text);
  if (!policy.ok()) return policy.status();
  if (Status s = policy::check_actions(*policy, actions_); !s.ok()) return s;
  return PolicyText{std::string(text), std::make_shared<const policy::Policy>(*std::move(policy))};
}

StatusOr<PolicyText> Draft::read_trust(std::string_view text) const {
  auto policy = policy::parse_trust_policy(text);
  if (!policy.ok()) return policy.status();
  auto kept = with_unique_ids(table_, text);
  if (!kept.ok()) {
    return absl::InvalidArgumentError(
        cat("Invalid principal in policy: ", kept.status().message()));
  }
  PolicyText made = PolicyText::of_trust(*std::move(kept));
  if (made.compiled == nullptr) return absl::InvalidArgumentError("Invalid principal in policy.");
  return made;
}

namespace {

template <class List>
bool erase_one(List& list, std::string_view what) {
  const auto it = std::find(list.begin(), list.end(), what);
  if (it == list.end()) return false;
  list.erase(it);
  return true;
}

bool has(const std::vector<std::string>& list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

}  // namespace

std::string arn_of(const UserRecord& r) {
  return cat("arn:aws:iam::", kAccount, ":user", r.path, r.name);
}
std::string arn_of(const GroupRecord& r) {
  return cat("arn:aws:iam::", kAccount, ":group", r.path, r.name);
}
std::string arn_of(const PolicyRecord& r) {
  return cat("arn:aws:iam::", kAccount, ":policy", r.path, r.name);
}
std::string arn_of(const RoleRecord& r) {
  return cat("arn:aws:iam::", kAccount, ":role", r.path, r.name);
}
std::string arn_of(const ProviderRecord& r) {
  return cat("arn:aws:iam::", kAccount, ":oidc-provider/", r.name);
}

namespace {

// Of an ARN of a user or a role; nothing: there is none.
std::optional<std::string> unique_id_of(const UserTable& table, std::string_view arn) {
  const std::string_view name = arn.substr(arn.rfind('/') + 1);
  const UserRecord* user = table.user(name);
  if (user != nullptr && arn_of(*user) == arn) return user->id;
  const RoleRecord* role = table.role(name);
  if (role != nullptr && arn_of(*role) == arn) return role->id;
  return std::nullopt;
}

}  // namespace

bool is_entity_name(std::string_view text, size_t most) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-";
  return !text.empty() && text.size() <= most && text.find_first_not_of(kLetters) == text.npos;
}

bool is_entity_path(std::string_view text) {
  const bool printable = std::all_of(
      text.begin(), text.end(), [](char c) { return c > ' ' && c < 127 && c != '*' && c != '?'; });
  return !text.empty() && text.size() <= 512 && text.front() == '/' && text.back() == '/' &&
         printable;
}

StatusOr<std::string> with_unique_ids(const UserTable& table, std::string_view policy) {
  using policy::PrincipalPattern;
  std::string unknown;
  std::string made = policy::with_principals(
      policy, [&](std::string_view type, std::string_view text) -> std::optional<std::string> {
        const auto principal = PrincipalPattern::parse(type, text);
        if (!principal) return std::nullopt;
        if (principal->kind == PrincipalPattern::kUser) {
          auto id = unique_id_of(table, text);
          if (!id) unknown = text;
          return id;
        }
        const bool is_id = principal->kind == PrincipalPattern::kUniqueId;
        const bool known =
            !is_id || table.user_by_id(text) != nullptr || table.role_by_id(text) != nullptr;
        if (!known) unknown = text;
        return std::nullopt;
      });
  if (!unknown.empty()) return absl::InvalidArgumentError(unknown);
  return made;
}

std::string with_arns(const UserTable& table, std::string_view policy) {
  return policy::with_principals(
      policy, [&](std::string_view, std::string_view text) -> std::optional<std::string> {
        if (const UserRecord* user = table.user_by_id(text)) return arn_of(*user);
        if (const RoleRecord* role = table.role_by_id(text)) return arn_of(*role);
        return std::nullopt;
      });
}

// ---- looking ----

template <class Record>
const Record* UserTable::find(const Named<Record>& all, std::string_view name) {
  const auto it = all.find(lower(name));
  return it == all.end() ? nullptr : it->second.get();
}

template <class Record>
const Record* UserTable::find_id(const Named<Record>& all, const Names& ids, std::string_view id) {
  const auto it = ids.find(id);
  return it == ids.end() ? nullptr : find(all, it->second);
}

template const UserRecord* UserTable::find(const Named<UserRecord>&, std::string_view);
template const GroupRecord* UserTable::find(const Named<GroupRecord>&, std::string_view);
template const PolicyRecord* UserTable::find(const Named<PolicyRecord>&, std::string_view);
template const RoleRecord* UserTable::find(const Named<RoleRecord>&, std::string_view);
template const ProviderRecord* UserTable::find(const Named<ProviderRecord>&, std::string_view);
template const RoleRecord* UserTable::find_id(const Named<RoleRecord>&, const Names&,
                                              std::string_view);
template const UserRecord* UserTable::find_id(const Named<UserRecord>&, const Names&,
                                              std::string_view);
template const GroupRecord* UserTable::find_id(const Named<GroupRecord>&, const Names&,
                                               std::string_view);
template const PolicyRecord* UserTable::find_id(const Named<PolicyRecord>&, const Names&,
                                                std::string_view);

const KeyRecord* UserTable::key(std::string_view id) const {
  const auto it = keys.find(id);
  return it == keys.end() ? nullptr : it->second.get();
}

size_t UserTable::attachments(const PolicyRecord& policy) const {
  const auto has_it = [&](const auto& named) { return has(named.second->attached, policy.id); };
  return static_cast<size_t>(std::count_if(users.begin(), users.end(), has_it) +
                             std::count_if(groups.begin(), groups.end(), has_it) +
                             std::count_if(roles.begin(), roles.end(), has_it));
}

// ---- putting ----

template <class Record>
Status Draft::check_new(const UserTable::Named<Record>& all, std::string_view prefix,
                        std::string_view name, std::string_view what) const {
  const std::string known = lower(name);
  if (all.contains(known)) {
    return absl::AlreadyExistsError(cat(what, " with name ", name, " already exists."));
  }
  if (table_.is_unreadable(cat(prefix, known))) {
    return absl::DataLossError(
        cat("the record of the ", lower(what), " ", name, " is there and cannot be read"));
  }
  return absl::OkStatus();
}

bool Draft::is_reserved(std::string_view name) const {
  return equals_ignoring_case(name, root_) || equals_ignoring_case(name, kDefaultUser);
}

Status Draft::check_new_user(std::string_view name) const {
  if (is_reserved(name)) {
    return absl::AlreadyExistsError(cat("User with name ", name, " already exists."));
  }
  return check_new(table_.users, kUserPrefix, name, "User");
}

void Draft::put(UserRecord r) {
  const std::string name = lower(r.name);
  writes_[cat(kUserPrefix, name)] = encode(r);
  touched_.insert(r.id);
  table_.user_ids[r.id] = name;
  table_.users[name] = std::make_shared<const UserRecord>(std::move(r));
}

void Draft::put(GroupRecord r) {
  const std::string name = lower(r.name);
  writes_[cat(kGroupPrefix, name)] = encode(r);
  touched_.insert(r.id);
  table_.group_ids[r.id] = name;
  table_.groups[name] = std::make_shared<const GroupRecord>(std::move(r));
}

void Draft::put(PolicyRecord r) {
  const std::string name = lower(r.name);
  writes_[cat(kPolicyPrefix, name)] = encode(r);
  touched_.insert(r.id);
  table_.policy_ids[r.id] = name;
  table_.policies[name] = std::make_shared<const PolicyRecord>(std::move(r));
}

void Draft::put(RoleRecord r) {
  const std::string name = lower(r.name);
  writes_[cat(kRolePrefix, name)] = encode(r);
  touched_.insert(r.id);
  table_.role_ids[r.id] = name;
  table_.roles[name] = std::make_shared<const RoleRecord>(std::move(r));
}

void Draft::put(ProviderRecord r) {
  const std::string name = lower(r.name);
  writes_[cat(kProviderPrefix, name)] = encode(r);
  touched_.insert(r.id);
  table_.provider_ids[r.id] = name;
  table_.providers[name] = std::make_shared<const ProviderRecord>(std::move(r));
}

void Draft::put(KeyRecord r) {
  writes_[cat(kKeyPrefix, r.id)] = encode(r);
  touched_.insert(r.user);
  const std::string id = r.id;
  table_.keys[id] = std::make_shared<const KeyRecord>(std::move(r));
}

template <class Fn>
Status Draft::edit(Whose whose, std::string_view name, Fn fn) {
  if (whose == Whose::kUser) {
    const UserRecord* found = table_.user(name);
    if (found == nullptr) return none("user", name);
    UserRecord r = *found;
    Status done = fn(r);
    if (done.ok()) put(std::move(r));
    return done;
  }
  if (whose == Whose::kRole) {
    const RoleRecord* found = table_.role(name);
    if (found == nullptr) return none("role", name);
    RoleRecord r = *found;
    Status done = fn(r);
    if (done.ok()) put(std::move(r));
    return done;
  }
  const GroupRecord* found = table_.group(name);
  if (found == nullptr) return none("group", name);
  GroupRecord r = *found;
  Status done = fn(r);
  if (done.ok()) put(std::move(r));
  return done;
}

// ---- users ----

namespace {
Status fixed_user() {
  return absl::FailedPreconditionError("The user default is neither renamed nor deleted.");
}

// He does at the Redis door what ACL lets who has root's password do there: who may make keys for
// users may not make one for him.
Status of_no_credentials() {
  return absl::FailedPreconditionError(
      "The user default has no credentials but those of the Redis door.");
}
}  // namespace

Status Draft::create_user(std::string_view name, std::string_view path) {
  if (Status s = check_new_user(name); !s.ok()) return s;
  if (table_.users.size() >= kUsersMax) return too_many("Users", kUsersMax);
  UserRecord r;
  r.id = new_id("AIDA");
  r.name = name;
  r.path = path;
  r.created_ms = now_ms_;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::update_user(std::string_view name, std::optional<std::string> new_name,
                          std::optional<std::string> new_path) {
  const UserRecord* found = table_.user(name);
  if (found == nullptr) return none("user", name);
  if (new_name && is_reserved(name)) return fixed_user();
  UserRecord r = *found;
  if (new_path) r.path = *std::move(new_path);
  if (new_name) {
    const std::string before = lower(r.name);
    if (lower(*new_name) != before) {
      if (Status s = check_new_user(*new_name); !s.ok()) return s;
      drop(kUserPrefix, before);
      table_.users.erase(before);
    }
    r.name = *std::move(new_name);
  }
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::delete_user(std::string_view name) {
  const UserRecord* found = table_.user(name);
  if (found == nullptr) return none("user", name);
  // One that differs in the case of its letters is there by mistake of an earlier version.
  if (found->name == kDefaultUser || equals_ignoring_case(name, root_)) return fixed_user();
  const auto in_use = [](std::string_view what) {
    return absl::FailedPreconditionError(cat("Cannot delete entity, must ", what, " first."));
  };
  for (auto& [id, key] : table_.keys) {
    if (key->user == found->id) return in_use("delete access keys");
  }
  if (!found->groups.empty()) return in_use("remove users from group");
  if (!found->inlined.empty()) return in_use("delete policies");
  if (!found->attached.empty()) return in_use("detach all policies");
  if (!found->password.empty()) return in_use("delete login profile");
  touched_.insert(found->id);
  table_.user_ids.erase(found->id);
  drop(kUserPrefix, lower(name));
  table_.users.erase(lower(name));
  return absl::OkStatus();
}

Status Draft::set_password(std::string_view name, std::string hash) {
  const UserRecord* found = table_.user(name);
  if (found == nullptr) return none("user", name);
  if (found->name == kDefaultUser && !hash.empty()) return of_no_credentials();
  UserRecord r = *found;
  r.password = std::move(hash);
  r.password_ms = r.password.empty() ? 0 : now_ms_;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::set_quota(std::string_view name, const Quota& quota) {
  const UserRecord* found = table_.user(name);
  if (found == nullptr) return none("user", name);
  UserRecord r = *found;
  r.quota = quota;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::set_acl(std::string_view name, std::optional<AclRecord> acl) {
  const UserRecord* found = table_.user(name);
  if (found != nullptr && found->name != name) {
    return absl::AlreadyExistsError(
        cat("the user ", found->name, " has this name but for the case of its letters"));
  }
  UserRecord r;
  if (found != nullptr) {
    r = *found;
  } else {
    if (name != kDefaultUser && is_reserved(name)) return check_new_user(name);
    Status s = check_new(table_.users, kUserPrefix, name, "User");
    if (s.ok() && table_.users.size() >= kUsersMax) s = too_many("Users", kUsersMax);
    if (!s.ok()) return s;
    r.id = new_id("AIDA");
    r.name = name;
    r.created_ms = now_ms_;
  }
  r.acl = std::move(acl);
  put(std::move(r));
  return absl::OkStatus();
}

// ---- groups ----

Status Draft::create_group(std::string_view name, std::string_view path) {
  if (Status s = check_new(table_.groups, kGroupPrefix, name, "Group"); !s.ok()) return s;
  if (table_.groups.size() >= kUsersMax) return too_many("Groups", kUsersMax);
  GroupRecord r;
  r.id = new_id("AGPA");
  r.name = name;
  r.path = path;
  r.created_ms = now_ms_;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::update_group(std::string_view name, std::optional<std::string> new_name,
                           std::optional<std::string> new_path) {
  const GroupRecord* found = table_.group(name);
  if (found == nullptr) return none("group", name);
  GroupRecord r = *found;
  if (new_path) r.path = *std::move(new_path);
  if (new_name) {
    const std::string before = lower(r.name);
    if (lower(*new_name) != before) {
      if (Status s = check_new(table_.groups, kGroupPrefix, *new_name, "Group"); !s.ok()) return s;
      drop(kGroupPrefix, before);
      table_.groups.erase(before);
    }
    r.name = *std::move(new_name);
  }
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::delete_group(std::string_view name) {
  const GroupRecord* found = table_.group(name);
  if (found == nullptr) return none("group", name);
  const auto in_use = [](std::string_view what) {
    return absl::FailedPreconditionError(cat("Cannot delete entity, must ", what, " first."));
  };
  for (auto& [key, user] : table_.users) {
    if (has(user->groups, found->id)) return in_use("remove users from group");
  }
  // A user that cannot be read may be in it.
  for (const std::string& record : table_.unreadable) {
    if (record.starts_with(kUserPrefix)) return in_use("repair the users that cannot be read");
  }
  if (!found->inlined.empty()) return in_use("delete policies");
  if (!found->attached.empty()) return in_use("detach all policies");
  touched_.insert(found->id);
  table_.group_ids.erase(found->id);
  drop(kGroupPrefix, lower(name));
  table_.groups.erase(lower(name));
  return absl::OkStatus();
}

Status Draft::add_to_group(std::string_view group, std::string_view user) {
  const GroupRecord* to = table_.group(group);
  if (to == nullptr) return none("group", group);
  const UserRecord* found = table_.user(user);
  if (found == nullptr) return none("user", user);
  if (has(found->groups, to->id)) return absl::OkStatus();
  if (found->groups.size() >= kGroupsOfUserMax) return too_many("GroupsPerUser", kGroupsOfUserMax);
  UserRecord r = *found;
  r.groups.push_back(to->id);
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::remove_from_group(std::string_view group, std::string_view user) {
  const GroupRecord* from = table_.group(group);
  if (from == nullptr) return none("group", group);
  const UserRecord* found = table_.user(user);
  if (found == nullptr) return none("user", user);
  UserRecord r = *found;
  if (!erase_one(r.groups, from->id)) return none("user", user);
  put(std::move(r));
  return absl::OkStatus();
}

// ---- roles ----

Status Draft::create_role(std::string_view name, std::string_view path, const RoleChange& what) {
  if (Status s = check_new(table_.roles, kRolePrefix, name, "Role"); !s.ok()) return s;
  if (table_.roles.size() >= kUsersMax) return too_many("Roles", kUsersMax);
  auto trust = read_trust(what.trust.value_or(""));
  if (!trust.ok()) return trust.status();
  RoleRecord r;
  r.id = new_id("AROA");
  r.name = name;
  r.path = path;
  r.created_ms = now_ms_;
  r.description = what.description.value_or("");
  r.max_session_s = what.max_session_s.value_or(r.max_session_s);
  r.trust = *std::move(trust);
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::update_role(std::string_view name, const RoleChange& what) {
  const RoleRecord* found = table_.role(name);
  if (found == nullptr) return none("role", name);
  RoleRecord r = *found;
  if (what.description) r.description = *what.description;
  if (what.max_session_s) r.max_session_s = *what.max_session_s;
  if (what.trust) {
    auto trust = read_trust(*what.trust);
    if (!trust.ok()) return trust.status();
    r.trust = *std::move(trust);
  }
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::delete_role(std::string_view name) {
  const RoleRecord* found = table_.role(name);
  if (found == nullptr) return none("role", name);
  const auto in_use = [](std::string_view what) {
    return absl::FailedPreconditionError(cat("Cannot delete entity, must ", what, " first."));
  };
  if (!found->inlined.empty()) return in_use("delete policies");
  if (!found->attached.empty()) return in_use("detach all policies");
  touched_.insert(found->id);
  table_.role_ids.erase(found->id);
  drop(kRolePrefix, lower(name));
  table_.roles.erase(lower(name));
  return absl::OkStatus();
}

// ---- who identifies others' users ----

namespace {

Status check_lists(const std::vector<std::string>& client_ids,
                   const std::vector<std::string>& thumbprints) {
  if (client_ids.size() > kClientIdsMax) {
    return too_many("ClientIdsPerOpenIdConnectProvider", kClientIdsMax);
  }
  if (thumbprints.size() > kThumbprintsMax) {
    return too_many("ThumbprintsPerOpenIdConnectProvider", kThumbprintsMax);
  }
  return absl::OkStatus();
}

}  // namespace

Status Draft::create_provider(std::string_view url, bool plain, std::vector<std::string> client_ids,
                              std::vector<std::string> thumbprints) {
  if (Status s = check_new(table_.providers, kProviderPrefix, url, "Provider"); !s.ok()) return s;
  if (table_.providers.size() >= kProvidersMax) {
    return too_many("OpenIdConnectProviders", kProvidersMax);
  }
  if (Status s = check_lists(client_ids, thumbprints); !s.ok()) return s;
  ProviderRecord r;
  r.id = new_id("OIDC");
  r.name = url;
  r.plain = plain;
  r.created_ms = now_ms_;
  r.client_ids = std::move(client_ids);
  r.thumbprints = std::move(thumbprints);
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::update_provider(std::string_view url,
                              std::optional<std::vector<std::string>> client_ids,
                              std::optional<std::vector<std::string>> thumbprints) {
  const ProviderRecord* found = table_.provider(url);
  if (found == nullptr) return none("OpenIDConnect Provider", url);
  ProviderRecord r = *found;
  if (client_ids) r.client_ids = *std::move(client_ids);
  if (thumbprints) r.thumbprints = *std::move(thumbprints);
  if (Status s = check_lists(r.client_ids, r.thumbprints); !s.ok()) return s;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::delete_provider(std::string_view url) {
  const ProviderRecord* found = table_.provider(url);
  if (found == nullptr) return none("OpenIDConnect Provider", url);
  touched_.insert(found->id);
  table_.provider_ids.erase(found->id);
  drop(kProviderPrefix, lower(url));
  table_.providers.erase(lower(url));
  return absl::OkStatus();
}

// ---- policies ----

Status Draft::create_policy(std::string_view name, std::string_view path,
                            std::string_view description, std::string_view text) {
  if (Status s = check_new(table_.policies, kPolicyPrefix, name, "Policy"); !s.ok()) return s;
  if (table_.policies.size() >= kUsersMax) return too_many("Policies", kUsersMax);
  auto policy = read_policy(text);
  if (!policy.ok()) return policy.status();
  PolicyRecord r;
  r.id = new_id("ANPA");
  r.name = name;
  r.path = path;
  r.description = description;
  r.created_ms = r.updated_ms = now_ms_;
  r.text = *std::move(policy);
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::replace_policy(std::string_view name, std::string_view text) {
  const PolicyRecord* found = table_.policy(name);
  if (found == nullptr) return none("policy", name);
  auto policy = read_policy(text);
  if (!policy.ok()) return policy.status();
  PolicyRecord r = *found;
  r.text = *std::move(policy);
  r.updated_ms = now_ms_;
  r.version++;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::delete_policy(std::string_view name) {
  const PolicyRecord* found = table_.policy(name);
  if (found == nullptr) return none("policy", name);
  const auto may_have_it = [](const std::string& record) {
    return record.starts_with(kUserPrefix) || record.starts_with(kGroupPrefix) ||
           record.starts_with(kRolePrefix);
  };
  if (table_.attachments(*found) > 0 ||
      std::any_of(table_.unreadable.begin(), table_.unreadable.end(), may_have_it)) {
    return absl::FailedPreconditionError("Cannot delete a policy attached to entities.");
  }
  touched_.insert(found->id);
  table_.policy_ids.erase(found->id);
  drop(kPolicyPrefix, lower(name));
  table_.policies.erase(lower(name));
  return absl::OkStatus();
}

Status Draft::put_inlined(Whose whose, std::string_view name, std::string_view policy,
                          std::string_view text) {
  auto read = read_policy(text);
  if (!read.ok()) return read.status();
  return edit(whose, name, [&](Subject& r) -> Status {
    r.inlined[std::string(policy)] = *std::move(read);
    const size_t bytes =
        std::accumulate(r.inlined.begin(), r.inlined.end(), size_t{0},
                        [](size_t sum, const auto& one) { return sum + one.second.text.size(); });
    if (bytes > kInlinedBytesMax) {
      return absl::ResourceExhaustedError(
          cat("Maximum policy size of ", kInlinedBytesMax, " bytes exceeded for ", r.name));
    }
    return absl::OkStatus();
  });
}

Status Draft::delete_inlined(Whose whose, std::string_view name, std::string_view policy) {
  return edit(whose, name, [&](Subject& r) -> Status {
    const auto it = r.inlined.find(std::string(policy));
    if (it == r.inlined.end()) {
      return absl::NotFoundError(cat("The policy with name ", policy, " cannot be found."));
    }
    r.inlined.erase(it);
    return absl::OkStatus();
  });
}

Status Draft::attach(Whose whose, std::string_view name, std::string_view policy) {
  const PolicyRecord* found = table_.policy(policy);
  if (found == nullptr) return none("policy", policy);
  return edit(whose, name, [&](Subject& r) -> Status {
    if (has(r.attached, found->id)) return absl::OkStatus();
    if (r.attached.size() >= kAttachedMax) return too_many("PoliciesPerEntity", kAttachedMax);
    r.attached.push_back(found->id);
    return absl::OkStatus();
  });
}

Status Draft::detach(Whose whose, std::string_view name, std::string_view policy) {
  const PolicyRecord* found = table_.policy(policy);
  if (found == nullptr) return none("policy", policy);
  return edit(whose, name, [&](Subject& r) -> Status {
    return erase_one(r.attached, found->id) ? absl::OkStatus() : none("policy", policy);
  });
}

// ---- keys ----

Status Draft::create_key(std::string_view user, std::string id, std::string sealed,
                         int64_t expires_ms, std::string_view boundary) {
  const UserRecord* found = table_.user(user);
  if (found == nullptr) return none("user", user);
  if (found->name == kDefaultUser) return of_no_credentials();
  const auto is_his = [&](const auto& key) { return key.second->user == found->id; };
  const auto count = std::count_if(table_.keys.begin(), table_.keys.end(), is_his);
  if (static_cast<size_t>(count) >= kKeysOfUserMax) {
    return too_many("AccessKeysPerUser", kKeysOfUserMax);
  }
  if (table_.keys.contains(id) || table_.is_unreadable(cat(kKeyPrefix, id))) {
    return absl::AlreadyExistsError(cat("Access key ", id, " already exists."));
  }
  KeyRecord r;
  if (!boundary.empty()) {
    auto policy = read_policy(boundary);
    if (!policy.ok()) return policy.status();
    r.boundary = *std::move(policy);
  }
  r.id = std::move(id);
  r.user = found->id;
  r.sealed = std::move(sealed);
  r.created_ms = now_ms_;
  r.expires_ms = expires_ms;
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::update_key(std::string_view id, const KeyChange& change) {
  const KeyRecord* found = table_.key(id);
  if (found == nullptr) return none("Access Key", id);
  KeyRecord r = *found;
  if (change.enabled) r.enabled = *change.enabled;
  if (change.expires_ms) r.expires_ms = *change.expires_ms;
  if (change.boundary) {
    r.boundary.reset();
    if (!change.boundary->empty()) {
      auto policy = read_policy(*change.boundary);
      if (!policy.ok()) return policy.status();
      r.boundary = *std::move(policy);
    }
  }
  put(std::move(r));
  return absl::OkStatus();
}

Status Draft::delete_key(std::string_view id) {
  const KeyRecord* found = table_.key(id);
  if (found == nullptr) return none("Access Key", id);
  touched_.insert(found->user);
  drop(kKeyPrefix, id);
  table_.keys.erase(table_.keys.find(id));
  return absl::OkStatus();
}

}  // namespace cairn
