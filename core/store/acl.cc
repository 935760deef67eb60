#include "core/store/acl.h"

#include <algorithm>

#include "core/base/text.h"

namespace cairn {

namespace {

constexpr size_t kIdBytes = 64;

bool includes(Permission all, Permission one) {
  return (static_cast<uint8_t>(all) & static_cast<uint8_t>(one)) != 0;
}

bool is_known(uint8_t whom, uint8_t permission) {
  const bool one = permission == 1 || permission == 2 || permission == 4 || permission == 8;
  return whom >= 1 && whom <= 5 && (one || permission == 15);
}

// What an object's list can grant; READ_ACP and the like are of the list itself.
struct OfObject {
  std::string_view action;
  Permission permission;
};
constexpr OfObject kOfObjects[] = {
    {"GetObject", Permission::kRead},        {"GetObjectVersion", Permission::kRead},
    {"GetObjectAcl", Permission::kReadAcp},  {"GetObjectVersionAcl", Permission::kReadAcp},
    {"PutObjectAcl", Permission::kWriteAcp}, {"PutObjectVersionAcl", Permission::kWriteAcp},
};

// And a bucket's: who may write may overwrite and delete, as at AWS.
struct OfBucket {
  Permission permission;
  std::string_view actions, behind;  // the bucket's name
};
constexpr OfBucket kOfBuckets[] = {
    {Permission::kRead, "s3:ListBucket s3:ListBucketVersions s3:ListBucketMultipartUploads", ""},
    {Permission::kWrite, "s3:PutObject s3:DeleteObject", "/*"},
    {Permission::kReadAcp, "s3:GetBucketAcl", ""},
    {Permission::kWriteAcp, "s3:PutBucketAcl", ""},
};

using policy::PrincipalPattern;

// Nothing: he needs no statement, since he may anyway, or never calls.
std::optional<PrincipalPattern> principal_of(const Grant& grant) {
  switch (grant.whom) {
    case Whom::kEverybody:
      return PrincipalPattern{PrincipalPattern::kEverybody, "*"};
    case Whom::kAuthenticated:
      return PrincipalPattern{PrincipalPattern::kAnyUser, ""};
    case Whom::kUser:
      return PrincipalPattern{PrincipalPattern::kCanonicalUser, grant.user};
    case Whom::kOwner:
    case Whom::kLogDelivery:
      break;
  }
  return std::nullopt;
}

}  // namespace

bool Acl::is_public() const {
  return std::any_of(grants.begin(), grants.end(), [](const Grant& g) { return g.is_public(); });
}

std::string Acl::encode() const {
  std::string out(1, static_cast<char>(grants.size()));
  for (const Grant& g : grants) {
    out.push_back(static_cast<char>(g.whom));
    out.push_back(static_cast<char>(g.permission));
    out += g.user;
  }
  return out;
}

std::optional<Acl> Acl::decode(std::string_view bytes) {
  if (bytes.empty() || static_cast<uint8_t>(bytes[0]) > kGrantsMax) return std::nullopt;
  const auto count = static_cast<uint8_t>(bytes[0]);
  bytes.remove_prefix(1);
  Acl acl;
  acl.grants.clear();
  for (size_t i = 0; i < count; i++) {
    if (bytes.size() < 2) return std::nullopt;
    const auto whom = static_cast<uint8_t>(bytes[0]);
    const auto permission = static_cast<uint8_t>(bytes[1]);
    if (!is_known(whom, permission)) return std::nullopt;
    Grant grant{static_cast<Whom>(whom), static_cast<Permission>(permission)};
    bytes.remove_prefix(2);
    if (grant.whom == Whom::kUser) {
      if (bytes.size() < kIdBytes) return std::nullopt;
      grant.user = bytes.substr(0, kIdBytes);
      bytes.remove_prefix(kIdBytes);
      if (grant.user.find_first_not_of("0123456789abcdef") != std::string::npos) {
        return std::nullopt;
      }
    }
    acl.grants.push_back(std::move(grant));
  }
  if (!bytes.empty()) return std::nullopt;
  return acl;
}

bool Acl::grants_object(int s3_action, const policy::Caller& caller, bool without_public) const {
  if (s3_action < 0) return false;
  const std::string_view name = policy::s3_action(static_cast<size_t>(s3_action));
  const auto row = std::find_if(std::begin(kOfObjects), std::end(kOfObjects),
                                [&](const OfObject& one) { return one.action == name; });
  if (row == std::end(kOfObjects)) return false;
  return std::any_of(grants.begin(), grants.end(), [&](const Grant& g) {
    if (!includes(g.permission, row->permission) || (without_public && g.is_public())) return false;
    const auto principal = principal_of(g);
    return principal && principal->matches(caller, false);
  });
}

policy::Policy Acl::of_bucket(std::string_view bucket, bool without_public) const {
  policy::Policy policy;
  for (const Grant& grant : grants) {
    const auto principal = principal_of(grant);
    if (!principal || (without_public && grant.is_public())) continue;
    for (const OfBucket& row : kOfBuckets) {
      if (!includes(grant.permission, row.permission)) continue;
      policy::Statement statement;
      statement.allow = true;
      for (std::string_view action : words_of(row.actions)) {
        (void)statement.actions.add(action);  // it is one
      }
      auto resource =
          policy::ResourcePattern::parse(cat("arn:aws:s3:::", bucket, row.behind), false);
      if (!resource.ok()) continue;  // a name that none can have
      statement.resources.push_back(*std::move(resource));
      statement.principals.push_back(*principal);
      policy.statements.push_back(std::move(statement));
    }
  }
  return policy;
}

}  // namespace cairn
