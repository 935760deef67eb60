// The policy of a bucket: kept as it came, but for users and roles, which are kept by their unique
// ids, and held to by every door (core/store/bucket_access.h).
#include "core/base/text.h"
#include "core/store/known_users.h"
#include "core/store/policy_json.h"
#include "core/store/user_table.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

Error malformed(std::string message, std::string detail) {
  Error e{"MalformedPolicy", std::move(message)};
  if (!detail.empty()) e.fields = {{"Detail", std::move(detail)}};
  return e;
}

// Whether the bucket may have it; then `text` is what is kept of it.
Error check(const Call& c, std::string& text, policy::Policy& policy) {
  auto parsed = policy::parse_bucket_policy(text, c.bucket_name);
  if (!parsed.ok()) {
    return malformed(std::string(parsed.status().message()), policy::detail_of(parsed.status()));
  }
  policy = *std::move(parsed);
  if (const Status named = c.users->check_actions(policy); !named.ok()) {
    return malformed("Policy has invalid action", std::string(named.message()));
  }
  for (const policy::Statement& statement : policy.statements) {
    for (const policy::PrincipalPattern& principal : statement.principals) {
      if (c.users->knows(principal)) continue;
      return malformed("Invalid principal in policy", principal.text);
    }
  }
  // Whom it names it means: who has his name after him gets nothing by it.
  auto kept = with_unique_ids(c.users->known()->table, text);
  if (!kept.ok()) {
    return malformed("Invalid principal in policy", std::string(kept.status().message()));
  }
  if (*kept == text) return {};
  if (!policy::parse_bucket_policy(*kept, c.bucket_name).ok()) {
    return malformed("Policy exceeds the maximum allowed document size.", "");
  }
  text = *std::move(kept);
  return {};
}

awaitable<Error> put_policy(Call& c) {
  constexpr size_t kReadMax = 128 << 10;  // what is longer than a policy is told so
  std::string text;
  if (Error e = co_await read_small(c, kReadMax, text)) co_return e;
  if (text.empty()) co_return Error{"MissingRequestBodyError", ""};
  policy::Policy policy;
  if (Error e = check(c, text, policy)) co_return e;
  const bool is_public = policy::is_public(policy);
  bool blocked = false;
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) {
    blocked = is_public && p.public_access_block && p.public_access_block->block_policy;
    if (!blocked) p.policy = text;
  });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  if (blocked) {
    co_return Error{"AccessDenied",
                    "Access Denied: public policies are prevented by the BlockPublicPolicy setting "
                    "in S3 Block Public Access.",
                    *lsn};
  }
  c.response.status = 204;
  co_return co_await settle(c, *lsn);
}

awaitable<Error> get_policy(Call& c) {
  const auto set = c.bucket->properties();
  if (set->policy.empty()) co_return not_set(c, "NoSuchBucketPolicy");
  c.response.set("Content-Type", "application/json");
  const auto known = c.users->known();
  c.response.body = known == nullptr ? set->policy : with_arns(known->table, set->policy);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> delete_policy(Call& c) {
  c.response.status = 204;
  if (c.bucket->properties()->policy.empty()) {
    co_return co_await settle(c, c.store.newest_name());
  }
  auto lsn = c.store.change_properties(*c.bucket, [](Properties& p) { p.policy.clear(); });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> get_status(Call& c) {
  const auto set = c.bucket->properties();
  if (set->policy.empty()) co_return not_set(c, "NoSuchBucketPolicy");
  const auto access = c.store.bucket_access().find(c.bucket_name);
  const bool is_public =
      access != nullptr && access->policy != nullptr && policy::is_public(*access->policy);
  XmlOut xml("PolicyStatus");
  add(xml.root(), "IsPublic", is_public ? "true" : "false");
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

constexpr Action reading(std::string_view name) { return {action::kDoor, name, Access::kRead}; }
constexpr Action writing(std::string_view name) { return {action::kDoor, name, Access::kWrite}; }

constexpr Row kRows[] = {
    {"GetBucketPolicy", reading("GetBucketPolicy"), "GET", Scope::kBucket, "policy", "", get_policy,
     "", ""},
    {"PutBucketPolicy", writing("PutBucketPolicy"), "PUT", Scope::kBucket, "policy", "", put_policy,
     "x-amz-confirm-remove-self-bucket-access x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "",
     true, true},
    {"DeleteBucketPolicy", writing("DeleteBucketPolicy"), "DELETE", Scope::kBucket, "policy", "",
     delete_policy, "", ""},
    {"GetBucketPolicyStatus", reading("GetBucketPolicyStatus"), "GET", Scope::kBucket,
     "policyStatus", "", get_status, "", ""},
};

}  // namespace

std::span<const Row> bucket_policy_rows() { return kRows; }

}  // namespace cairn::s3
