#include "core/store/bucket_access.h"

#include <algorithm>
#include <utility>

#include "core/store/policy_json.h"

namespace cairn {

namespace {

bool has_denial(const policy::Policy& policy) {
  return std::any_of(policy.statements.begin(), policy.statements.end(),
                     [](const policy::Statement& s) { return !s.allow; });
}

std::shared_ptr<const policy::Policy> denials_of(const policy::Policy& policy) {
  auto denials = std::make_shared<policy::Policy>(policy);
  std::erase_if(denials->statements, [](const policy::Statement& s) { return s.allow; });
  return denials;
}

}  // namespace

bool BucketAccess::denies() const {
  return unreadable || (policy != nullptr && has_denial(*policy));
}

BucketAccessPtr BucketAccess::compile(std::string_view name, const Properties& set) {
  BucketAccess made;
  const PublicAccessBlock block = set.public_access_block.value_or(PublicAccessBlock{});
  made.has_acls = set.ownership != Ownership::kBucketOwnerEnforced;
  made.ignores_public_acls = block.ignore_acls;
  made.requester_pays = set.requester_pays;
  if (!set.policy.empty()) {
    auto policy = policy::parse_bucket_policy(set.policy, name);
    made.unreadable = !policy.ok();
    if (policy.ok()) {
      made.restricts_public = block.restrict_buckets && policy::is_public(*policy);
      if (made.restricts_public) made.denials = denials_of(*policy);
      made.policy = std::make_shared<const policy::Policy>(*std::move(policy));
    }
  }
  if (made.has_acls && set.acl) {
    auto acl = set.acl->of_bucket(name, made.ignores_public_acls);
    if (!acl.statements.empty()) {
      made.acl = std::make_shared<const policy::Policy>(std::move(acl));
    }
  }
  const bool says_nothing =
      made.policy == nullptr && !made.unreadable && !made.has_acls && !made.requester_pays;
  if (says_nothing) return nullptr;
  return std::make_shared<const BucketAccess>(std::move(made));
}

BucketAccessPtr BucketAccessTable::find(std::string_view name) const {
  if (count_.load(std::memory_order_acquire) == 0) return nullptr;
  MutexLock lock(mutex_);
  const auto it = all_.find(name);
  return it == all_.end() ? nullptr : it->second;
}

void BucketAccessTable::set(std::string_view name, BucketAccessPtr access) {
  const size_t denies = access != nullptr && access->denies() ? 1 : 0;
  BucketAccessPtr before;  // freed without the lock
  MutexLock lock(mutex_);
  const auto it = all_.find(name);
  if (it == all_.end() && access == nullptr) return;
  if (it != all_.end()) {
    if (it->second->denies()) denying_.fetch_sub(1, std::memory_order_acq_rel);
    before = std::exchange(it->second, nullptr);
    if (access == nullptr) all_.erase(it);
  }
  if (access != nullptr) all_[std::string(name)] = std::move(access);
  denying_.fetch_add(denies, std::memory_order_acq_rel);
  count_.store(all_.size(), std::memory_order_release);
}

}  // namespace cairn
