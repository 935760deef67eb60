// All users, groups, roles, policies, keys and providers at one moment, and what may be done to
// them: IAM's rules, without its wire.
//
// Names are told apart without their case, as IAM does. Errors of a Draft's functions: NotFound,
// AlreadyExists, FailedPrecondition (it is still in use), ResourceExhausted (a limit),
// InvalidArgument (a policy that is none; the message says why), DataLoss (a record of that name is
// there and cannot be read).
//
// Threads: a UserTable is constant once it is shared; a Draft belongs to one.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "core/base/types.h"
#include "core/store/user_records.h"

namespace cairn {

inline constexpr std::string_view kAccount = "000000000000";
// Of the account, and so of its root, whatever the environment calls it: what owns all buckets.
inline constexpr std::string_view kRootCanonicalId =
    "ab2aeabf4b02808857ba7626a671f1fb9679beb946fe18327812210596f11289";
// Whoever comes to the Redis door without a name. He is in the table once ACL has said something of
// him; before, he may all.
inline constexpr std::string_view kDefaultUser = "default";

// Limits; those that AWS has too are AWS's, but for keys, of which it has two.
inline constexpr size_t kKeysOfUserMax = 10, kGroupsOfUserMax = 10, kAttachedMax = 10;
inline constexpr size_t kInlinedBytesMax = 20480;  // of a user's or a group's policies together
inline constexpr size_t kUsersMax = 100'000;
inline constexpr size_t kProvidersMax = 100, kClientIdsMax = 100, kThumbprintsMax = 5;
inline constexpr int64_t kSessionSecondsMin = 900, kRoleSecondsMin = 3600, kRoleSecondsMax = 43'200;

class UserTable {
 public:
  template <class Record>
  using Named = std::map<std::string, std::shared_ptr<const Record>, std::less<>>;  // lower case
  using Names = std::map<std::string, std::string, std::less<>>;  // of an id, in lower case

  // Null: there is none.
  const UserRecord* user(std::string_view name) const { return find(users, name); }
  const GroupRecord* group(std::string_view name) const { return find(groups, name); }
  const PolicyRecord* policy(std::string_view name) const { return find(policies, name); }
  const KeyRecord* key(std::string_view id) const;
  const RoleRecord* role(std::string_view name) const { return find(roles, name); }
  // `url` without its scheme.
  const ProviderRecord* provider(std::string_view url) const { return find(providers, url); }
  const UserRecord* user_by_id(std::string_view id) const { return find_id(users, user_ids, id); }
  const GroupRecord* group_by_id(std::string_view id) const {
    return find_id(groups, group_ids, id);
  }
  const PolicyRecord* policy_by_id(std::string_view id) const {
    return find_id(policies, policy_ids, id);
  }
  const RoleRecord* role_by_id(std::string_view id) const { return find_id(roles, role_ids, id); }
  bool is_unreadable(std::string_view record) const { return unreadable.contains(record); }
  // How many users, groups and roles it is attached to.
  size_t attachments(const PolicyRecord& policy) const;

  Named<UserRecord> users;
  Named<GroupRecord> groups;
  Named<PolicyRecord> policies;
  Named<RoleRecord> roles;
  Named<ProviderRecord> providers;
  std::map<std::string, std::shared_ptr<const KeyRecord>, std::less<>> keys;
  Names user_ids, group_ids, policy_ids, role_ids, provider_ids;
  std::set<std::string, std::less<>> unreadable;  // names of records

 private:
  template <class Record>
  static const Record* find(const Named<Record>& all, std::string_view name);
  template <class Record>
  static const Record* find_id(const Named<Record>& all, const Names& ids, std::string_view id);
};

std::string arn_of(const UserRecord& r);      // arn:aws:iam::000000000000:user/PATH/NAME
std::string arn_of(const GroupRecord& r);     // …:group/…
std::string arn_of(const PolicyRecord& r);    // …:policy/…
std::string arn_of(const RoleRecord& r);      // …:role/…
std::string arn_of(const ProviderRecord& r);  // …:oidc-provider/URL
inline std::string root_arn() { return "arn:aws:iam::000000000000:root"; }

// Whether it is a name of `most` characters at most, or a path, as IAM has them.
bool is_entity_name(std::string_view text, size_t most = 128);
bool is_entity_path(std::string_view text);

// The text of a policy with its principals as it is kept: users and roles by their unique ids,
// which nobody has after them. InvalidArgument: it names somebody that there is not, who is the
// message.
StatusOr<std::string> with_unique_ids(const UserTable& table, std::string_view policy);
// And as it is shown: by ARN whom there is, by his id who has gone.
std::string with_arns(const UserTable& table, std::string_view policy);

// A table that is being changed, and what that means for the records.
class Draft {
 public:
  // `root`: a name that is taken, as "default" is. `actions`: Users::know_actions().
  Draft(const UserTable& table, int64_t now_ms, std::string_view root,
        const std::vector<std::string>& actions)
      : table_(table), now_ms_(now_ms), root_(root), actions_(actions) {}
  const UserTable& table() const { return table_; }

  Status create_user(std::string_view name, std::string_view path);
  // Another name or path, if given.
  Status update_user(std::string_view name, std::optional<std::string> new_name,
                     std::optional<std::string> new_path);
  Status delete_user(std::string_view name);
  Status set_password(std::string_view name, std::string hash);  // empty: none
  Status set_quota(std::string_view name, const Quota& quota);
  // What RESP's ACL says of him; a user of this name is made if there is none, also "default",
  // which nobody else may make, rename or delete.
  Status set_acl(std::string_view name, std::optional<AclRecord> acl);

  Status create_group(std::string_view name, std::string_view path);
  Status update_group(std::string_view name, std::optional<std::string> new_name,
                      std::optional<std::string> new_path);
  Status delete_group(std::string_view name);
  Status add_to_group(std::string_view group, std::string_view user);
  Status remove_from_group(std::string_view group, std::string_view user);

  struct RoleChange {
    std::optional<std::string> description;
    std::optional<int64_t> max_session_s;
    std::optional<std::string> trust;
  };
  Status create_role(std::string_view name, std::string_view path, const RoleChange& what);
  Status update_role(std::string_view name, const RoleChange& what);
  Status delete_role(std::string_view name);

  Status create_provider(std::string_view url, bool plain, std::vector<std::string> client_ids,
                         std::vector<std::string> thumbprints);
  // Which client ids, or thumbprints, it has from now on.
  Status update_provider(std::string_view url, std::optional<std::vector<std::string>> client_ids,
                         std::optional<std::vector<std::string>> thumbprints);
  Status delete_provider(std::string_view url);

  Status create_policy(std::string_view name, std::string_view path, std::string_view description,
                       std::string_view text);
  Status replace_policy(std::string_view name, std::string_view text);
  Status delete_policy(std::string_view name);

  enum class Whose : uint8_t { kUser, kGroup, kRole };
  Status put_inlined(Whose whose, std::string_view name, std::string_view policy,
                     std::string_view text);
  Status delete_inlined(Whose whose, std::string_view name, std::string_view policy);
  Status attach(Whose whose, std::string_view name, std::string_view policy);
  Status detach(Whose whose, std::string_view name, std::string_view policy);

  // `sealed` is of "key:ID". `boundary`: empty for none.
  Status create_key(std::string_view user, std::string id, std::string sealed, int64_t expires_ms,
                    std::string_view boundary);
  struct KeyChange {
    std::optional<bool> enabled;
    std::optional<int64_t> expires_ms;    // 0: never
    std::optional<std::string> boundary;  // empty: none
  };
  Status update_key(std::string_view id, const KeyChange& change);
  Status delete_key(std::string_view id);

  // What the records are to be: by name, the contents, or nothing for one that goes.
  const std::map<std::string, std::optional<std::string>>& writes() const { return writes_; }
  // Ids of what became another, or went.
  const std::set<std::string, std::less<>>& touched() const { return touched_; }
  UserTable take() { return std::move(table_); }

 private:
  StatusOr<PolicyText> read_policy(std::string_view text) const;
  bool is_reserved(std::string_view name) const;
  Status check_new_user(std::string_view name) const;
  template <class Record>
  Status check_new(const UserTable::Named<Record>& all, std::string_view prefix,
                   std::string_view name, std::string_view what) const;
  void put(UserRecord r);
  void put(GroupRecord r);
  void put(PolicyRecord r);
  void put(KeyRecord r);
  void put(RoleRecord r);
  void put(ProviderRecord r);
  StatusOr<PolicyText> read_trust(std::string_view text) const;
  void drop(std::string_view prefix, std::string_view name) {
    writes_[std::string(prefix) + std::string(name)] = std::nullopt;
  }
  // Calls `fn(Subject&)` for the user, the group or the role, and puts it.
  template <class Fn>
  Status edit(Whose whose, std::string_view name, Fn fn);

  UserTable table_;
  const int64_t now_ms_;
  const std::string_view root_;
  const std::vector<std::string>& actions_;
  std::map<std::string, std::optional<std::string>> writes_;
  std::set<std::string, std::less<>> touched_;
};

}  // namespace cairn
