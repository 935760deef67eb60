#include "gateway/auth/quotas.h"

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/store/known_users.h"

namespace cairn {

namespace {

// NotFound, or InvalidArgument of root.
StatusOr<std::shared_ptr<const KnownUsers>> known_with(const Users& users, std::string_view name) {
  auto known = users.known();
  if (known == nullptr) return absl::UnavailableError("the store is being opened");
  if (known->table.user(name) != nullptr) return known;
  if (name == users.root_user()) {
    return absl::InvalidArgumentError("root has no quota, and nothing counts for him");
  }
  return absl::NotFoundError(cat("there is no user '", name, "'"));
}

Status no_namespace(const Keyspace& keyspace, std::string_view name) {
  return resting_on(absl::NotFoundError(cat("there is no bucket or database '", name, "'")),
                    keyspace.newest_name());
}

}  // namespace

StatusOr<QuotaReport> quota_of_namespace(const Keyspace& keyspace, const Users& users,
                                         std::string_view name) {
  const NamespacePtr ns = keyspace.find_namespace(name);
  if (ns == nullptr) return no_namespace(keyspace, name);
  const auto set = ns->properties();
  QuotaReport report{set->quota, ns->usage(), {}, keyspace.newest_name()};
  if (const auto known = users.known(); known != nullptr && !set->charged_to.empty()) {
    const UserRecord* user = known->table.user_by_id(set->charged_to);
    if (user != nullptr) report.user = user->name;
  }
  return report;
}

StatusOr<QuotaReport> quota_of_user(const Keyspace& keyspace, const Users& users,
                                    std::string_view name) {
  const auto known = known_with(users, name);
  if (!known.ok()) return known.status();
  const UserRecord& user = *(*known)->table.user(name);
  return QuotaReport{user.quota, keyspace.usage_of_user(user.id), user.name, {}};
}

StatusOr<Lsn> set_quota_of_namespace(Keyspace& keyspace, const Users& users, std::string_view name,
                                     const Quota& quota, std::optional<std::string_view> user) {
  const NamespacePtr ns = keyspace.find_namespace(name);
  if (ns == nullptr) return no_namespace(keyspace, name);
  if (!user || user->empty()) return keyspace.set_quota(*ns, quota, user);
  const auto known = known_with(users, *user);
  if (!known.ok()) return known.status();
  return keyspace.set_quota(*ns, quota, (*known)->table.user(*user)->id);
}

StatusOr<Lsn> set_quota_of_user(Users& users, std::string_view name, const Quota& quota) {
  if (const auto known = known_with(users, name); !known.ok()) return known.status();
  return users.change([&](Draft& draft) { return draft.set_quota(name, quota); });
}

std::string charged_for(const Users& users, const Principal& maker) {
  const auto rights = maker.rights();
  const auto known = users.known();
  if (rights == nullptr || rights->is_root || known == nullptr) return {};
  return known->table.user_by_id(rights->id) == nullptr ? std::string() : rights->id;
}

}  // namespace cairn
