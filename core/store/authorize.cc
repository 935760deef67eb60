#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "core/base/text.h"
#include "core/store/managing.h"
#include "core/store/user_table.h"
#include "core/store/users.h"

namespace cairn {
namespace {

using policy::ActionNames;
using policy::Key;
using policy::Resource;
using policy::Verdict;

// What is asked of a request: by its connection, its principal, and itself.
class Asked final : public policy::Context {
 public:
  Asked(const Rights& rights, const Circumstances& from) : rights_(rights), from_(from) {}

  std::optional<std::string_view> value(const policy::ConditionKey& key,
                                        size_t place) const override {
    const auto one = [place](std::string_view text) {
      return place > 0 || text.empty() ? std::nullopt : std::optional(text);
    };
    switch (key.key) {
      case Key::kSourceIp:
        return one(address());
      case Key::kSecureTransport:
        return one(from_.secure ? "true" : "false");
      case Key::kCurrentTime:
        return one(time());
      case Key::kEpochTime:
        return one(epoch());
      case Key::kUsername:
        return one(rights_.name);
      case Key::kUserId:
        return one(rights_.id);
      case Key::kPrincipalArn:
        return one(rights_.arn);
      case Key::kPrincipalType:
        return one(rights_.is_root                ? "Account"
                   : rights_.is_anybody           ? "Anonymous"
                   : !rights_.session_arn.empty() ? "AssumedRole"
                                                  : "User");
      case Key::kPrincipalAccount:
        return one(rights_.is_anybody ? std::string_view() : kAccount);
      case Key::kFederatedProvider:
        return one(rights_.provider);
      case Key::kTokenIssueTime:
        return one(rights_.is_session() ? issued() : std::string_view());
      default:
        return from_.request == nullptr ? std::nullopt : from_.request->value(key, place);
    }
  }

  bool knows(const policy::ConditionKey& key) const override {
    if (from_.request != nullptr) return from_.request->knows(key);
    // Only who looks at keys and values can tell, or, of a pattern, what it begins with.
    const bool of_keys = key.key == Key::kExistingObjectTag || key.key == Key::kContentLength ||
                         key.key == Key::kPrefix || key.key == Key::kObjectCreation;
    return !of_keys && !(key.key == Key::kTlsVersion && from_.secure);
  }

 private:
  std::string_view address() const {
    std::string_view a = from_.address;
    if (a.starts_with('[')) return a.substr(1, a.find(']') - 1);
    const size_t colon = a.find(':');
    return colon != a.npos && a.find(':', colon + 1) == a.npos ? a.substr(0, colon) : a;
  }
  int64_t now_ms() const {
    if (now_ms_ == 0)
      now_ms_ = rights_.clock == nullptr ? SystemClock().now_ms() : rights_.clock->now_ms();
    return now_ms_;
  }
  static std::string_view time_text(int64_t ms, std::array<char, 32>& to) {
    const time_t seconds = ms / 1000;
    tm utc{};
    gmtime_r(&seconds, &utc);
    const size_t n = std::strftime(to.data(), to.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return {to.data(), n};
  }
  std::string_view time() const { return time_text(now_ms(), time_); }
  std::string_view issued() const { return time_text(rights_.issued_ms, issued_); }
  std::string_view epoch() const {
    const int n = std::snprintf(epoch_.data(), epoch_.size(), "%lld",
                                static_cast<long long>(now_ms() / 1000));
    return {epoch_.data(), static_cast<size_t>(n)};
  }

  const Rights& rights_;
  const Circumstances& from_;
  mutable int64_t now_ms_ = 0;
  mutable std::array<char, 32> time_, epoch_, issued_;
};

constexpr bool has(Access access, Access part) { return (access & part) != Access::kNone; }

ActionNames names_of(const Action& action, Access access) {
  static const int get = policy::s3_number("GetObject"), put = policy::s3_number("PutObject"),
                   remove = policy::s3_number("DeleteObject"),
                   list = policy::s3_number("ListBucket");
  ActionNames names(action.door, action.name);
  if (names.own().number() >= 0) return names;  // it is one of S3's
  if (!action.s3.empty()) {
    names.add_canonical(policy::s3_number(action.s3));
    return names;
  }
  // What only its own name allows.
  if (has(access, Access::kAdmin | Access::kByName)) return names;
  if (has(access, Access::kRead)) names.add_canonical(get);
  if (has(access, Access::kWrite | Access::kInsert)) names.add_canonical(put);
  if (has(access, Access::kDelete)) names.add_canonical(remove);
  if (has(access, Access::kList)) names.add_canonical(list);
  return names;
}

bool is_nobody(const Rights& rights) {
  if (rights.nothing) return true;
  return rights.expires_ms != 0 && rights.clock->now_ms() >= rights.expires_ms;
}

// What is asked of one namespace, of one key of it, of none: each time the same of all else.
class Judge {
 public:
  Judge(const Principal& principal, const Action& action, std::string_view space,
        const Circumstances& from)
      : action_(action),
        from_(from),
        bucket_(principal.access_of(space)),
        rights_(principal.rights()) {
    if (rights_ == nullptr) rights_ = root_rights();
  }

  bool may(Access access, const Resource& resource) const {
    if (is_nobody(*rights_)) return false;
    const ActionNames names = names_of(action_, access);
    const policy::Caller caller = caller_of(*rights_);
    const Asked asked(*rights_, from_);
    const policy::Request request{names, resource, caller, asked};
    return allowed(request, access != Access::kNone) && within_boundary(request, access);
  }

  bool may_assume(const policy::Policy& trust, std::string_view role_arn) const {
    if (is_nobody(*rights_)) return false;
    const ActionNames names(action_.door, action_.name);
    const Asked asked(*rights_, from_);
    const policy::Policy* const of_role[] = {&trust};
    const Resource role = Resource::arn(role_arn);
    const policy::Caller caller = caller_of(*rights_);
    const policy::Request request{names, role, caller, asked};
    const Verdict own = policy::evaluate(rights_->policies, request);
    const Verdict trusted = policy::evaluate(of_role, request);
    if (own == Verdict::kDeny || trusted == Verdict::kDeny) return false;
    // As one of the account, whom its root may hand on what it was given.
    const policy::Caller root{root_rights()->arn, kAccount, kRootCanonicalId, true};
    const policy::Request of_account{names, role, root, asked};
    const bool allowed =
        trusted == Verdict::kAllow ||
        (own == Verdict::kAllow && policy::evaluate(of_role, of_account) == Verdict::kAllow);
    return allowed && within_boundary(request, Access::kByName);
  }

 private:
  static policy::Caller caller_of(const Rights& rights) {
    const std::string_view id = rights.id;
    return {rights.arn, rights.is_anybody ? std::string_view() : kAccount, rights.canonical_user,
            rights.is_root, id.substr(0, id.find(':'))};
  }

  bool allowed(const policy::Request& request, bool touches) const {
    const bool anybody = rights_->is_anybody;
    if (anybody && (bucket_ == nullptr || bucket_->requester_pays)) return false;
    std::array<const policy::Policy*, 2> of_bucket;
    size_t count = 0;
    if (bucket_ != nullptr) {
      if (bucket_->unreadable && !rights_->is_root) return false;
      const auto& policy =
          anybody && bucket_->restricts_public ? bucket_->denials : bucket_->policy;
      for (const auto& one : {policy.get(), bucket_->acl.get()}) {
        if (one != nullptr) of_bucket[count++] = one;
      }
    }
    const Verdict verdict = policy::evaluate(rights_->policies, request, {of_bucket.data(), count});
    if (verdict == Verdict::kDeny) return rights_->is_root && is_of_policy(request.action);
    if (verdict == Verdict::kAllow || rights_->is_root || from_.granted || !touches) return true;
    // What the object itself grants.
    return bucket_ != nullptr && bucket_->has_acls && from_.request != nullptr &&
           from_.request->grants(request, bucket_->ignores_public_acls);
  }

  bool within_boundary(const policy::Request& request, Access access) const {
    const auto within = [&](std::span<const policy::Policy* const> policies) {
      const Verdict verdict = policy::evaluate(policies, request);
      return access == Access::kNone ? verdict != Verdict::kDeny : verdict == Verdict::kAllow;
    };
    if (rights_->boundary != nullptr) {
      const policy::Policy* const boundary[] = {rights_->boundary.get()};
      if (!within(boundary)) return false;
    }
    if (rights_->session.empty()) return true;
    std::array<const policy::Policy*, kSessionPoliciesMax> all;
    size_t count = 0;
    for (const auto& one : rights_->session) all.at(count++) = one.get();
    return within({all.data(), count});
  }

  static const std::shared_ptr<const Rights>& root_rights() {
    static const std::shared_ptr<const Rights>& root = *[] {
      auto rights = std::make_shared<Rights>();
      rights->is_root = true;
      rights->arn = root_arn();
      rights->id = kAccount;
      rights->canonical_user = kRootCanonicalId;
      return new std::shared_ptr<const Rights>(std::move(rights));
    }();
    return root;
  }
  // What root may do whatever a policy denies him, so that none shuts everybody out for good.
  static bool is_of_policy(const ActionNames& names) {
    static const int put = policy::s3_number("PutBucketPolicy"),
                     get = policy::s3_number("GetBucketPolicy"),
                     remove = policy::s3_number("DeleteBucketPolicy");
    const int number = names.own().number();
    return number >= 0 && (number == put || number == get || number == remove);
  }

  const Action& action_;
  const Circumstances& from_;
  const BucketAccessPtr bucket_;
  std::shared_ptr<const Rights> rights_;
};

// Whether what is done in the place of this S3 action is done to a key.
bool is_of_keys(int s3) {
  return policy::level_of(static_cast<size_t>(s3)) == policy::Level::kObject;
}

}  // namespace

void Rights::add(PolicyPtr policy) {
  if (policy == nullptr) {
    nothing = true;
    return;
  }
  policies.push_back(policy.get());
  kept.push_back(std::move(policy));
}

bool Rights::allow_all() const {
  if (nothing || is_bounded() || expires_ms != 0) return false;
  bool all = false;
  for (const policy::Policy* policy : policies) {
    for (const policy::Statement& s : policy->statements) {
      if (!s.allow) return false;
      const auto is_any = [](const auto& r) { return r.kind == policy::ResourcePattern::kAll; };
      all =
          all || (s.actions.has_all() && !s.not_action && !s.not_resource && s.conditions.empty() &&
                  std::any_of(s.resources.begin(), s.resources.end(), is_any));
    }
  }
  return all;
}

bool authorize(const Principal& principal, const Action& action, std::string_view space,
               std::string_view key, const Circumstances& from) {
  if (principal.may_all()) return true;
  const Judge judge(principal, action, space, from);
  const auto may = [&](Access access, const Resource& resource) {
    return judge.may(access, resource);
  };
  if (space.empty() || has(action.access, Access::kAdmin)) {
    return may(action.access, Resource::none());
  }
  if (!key.empty()) return may(action.access, Resource::key(space, key));
  const bool is_s3 = action.door == "s3";
  if (is_s3 || !action.s3.empty()) {
    const int number = policy::s3_number(is_s3 ? action.name : action.s3);
    return may(action.access, number >= 0 && is_of_keys(number) ? Resource::all_keys(space)
                                                                : Resource::space(space));
  }
  if (has(action.access, Access::kList) && !may(Access::kList, Resource::space(space))) {
    return false;
  }
  const auto rest = static_cast<Access>(static_cast<uint8_t>(action.access) &
                                        ~static_cast<uint8_t>(Access::kList));
  if (rest == Access::kNone) {
    return has(action.access, Access::kList) || may(rest, Resource::space(space));
  }
  return may(rest, Resource::all_keys(space));
}

bool may_assume(const Principal& principal, const Action& action, const policy::Policy& trust,
                std::string_view role_arn, const Circumstances& from) {
  return Judge(principal, action, {}, from).may_assume(trust, role_arn);
}

bool may_assume(std::string_view provider, const Action& action, const policy::Policy& trust,
                std::string_view role_arn, const Circumstances& from) {
  Rights nobody;
  nobody.is_anybody = true;
  const Asked asked(nobody, from);
  const ActionNames names(action.door, action.name);
  policy::Caller caller;
  caller.provider = provider;
  const policy::Policy* const of_role[] = {&trust};
  const policy::Request request{names, policy::Resource::arn(role_arn), caller, asked};
  return policy::evaluate(of_role, request) == Verdict::kAllow;
}

bool authorize(const Principal& principal, const Action& action, const policy::Resource& resource,
               const Circumstances& from) {
  if (principal.may_all()) return true;
  return Judge(principal, action, {}, from).may(action.access, resource);
}

bool may_manage(const Principal& who, std::string_view act, std::string_view target,
                const Circumstances& from) {
  if (const auto rights = who.rights()) {
    if (rights->is_session() && rights->session_arn.empty()) return false;
    if (rights->is_bounded() && !is_reading_of_users(act)) return false;
  }
  return authorize(who, {"iam", act, Access::kAdmin}, policy::Resource::arn(target), from);
}

}  // namespace cairn
