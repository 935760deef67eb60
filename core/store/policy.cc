#include "core/store/policy.h"

#include <algorithm>
#include <cassert>

#include "core/base/text.h"

namespace cairn::policy {
namespace {

constexpr std::string_view kS3Arn = "arn:aws:s3:::";
constexpr uint8_t kOwn = 1;

uint8_t all_names(const ActionNames& action) {
  return static_cast<uint8_t>((2u << action.canonical().size()) - 1);
}

// '*' and '?' alone.
bool fits(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0, any = pattern.npos, taken = 0;
  while (n < name.size() || p < pattern.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      any = ++p;
      taken = n;
      if (p == pattern.size()) return true;
    } else if (p < pattern.size() && n < name.size() &&
               (pattern[p] == '?' || pattern[p] == name[n])) {
      p++;
      n++;
    } else if (any != pattern.npos && taken < name.size()) {
      p = any;
      n = ++taken;
    } else {
      return false;
    }
  }
  return true;
}

absl::Status invalid(auto&&... parts) { return absl::InvalidArgumentError(cat(parts...)); }

bool is_account(std::string_view text) {
  return text.size() == 12 && text.find_first_not_of("0123456789") == text.npos;
}

}  // namespace

ActionNames::ActionNames(std::string_view door, std::string_view name,
                         std::initializer_list<std::string_view> canonical)
    : own_(door, name) {
  for (std::string_view c : canonical) add_canonical(s3_number(c));
}

void ActionNames::add_canonical(int number) {
  assert(number >= 0 && count_ < kCanonicalMax);
  canonical_[count_++] = static_cast<uint16_t>(number);
}

absl::Status ActionSet::add(std::string_view pattern) {
  const std::string text = lower(pattern);
  const size_t colon = text.find(':');
  if (text != "*" && colon == text.npos) {
    return invalid("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.");
  }
  if (std::count(text.begin(), text.end(), ':') > 1) {
    return invalid("Actions/Condition can contain only one colon.");
  }
  if (text == "*" || text == "*:*") {
    all_ = true;
    texts_.emplace_back(pattern);
    return absl::OkStatus();
  }
  const std::string door = text.substr(0, colon), name = text.substr(colon + 1);
  if (door != "*" && door != "s3" && !is_other_door(door)) {
    return invalid("Vendor ", pattern.substr(0, colon), " is not valid");
  }
  constexpr std::string_view kInNames = "abcdefghijklmnopqrstuvwxyz0123456789*?-_|./";
  if (name.empty() || name.find_first_not_of(kInNames) != name.npos) {
    return invalid("no such action: ", pattern);
  }
  bool found = door != "s3";
  if (door == "s3" || door == "*") {
    for (size_t i = 0; i < kS3Actions; i++) {
      if (!fits(name, lower(s3_action(i)))) continue;
      s3_[i] = true;
      found = true;
    }
  }
  if (!found) return invalid("no such action: ", pattern);
  if (door != "s3") others_.push_back(text);
  texts_.emplace_back(pattern);
  return absl::OkStatus();
}

absl::Status check_actions(const Policy& policy, std::span<const std::string> known) {
  for (const Statement& s : policy.statements) {
    for (const std::string& written : s.actions.texts()) {
      const std::string text = lower(written);
      const std::string door = text.substr(0, text.find(':') + 1);
      const auto is_of_door = [&](const std::string& name) { return name.starts_with(door); };
      const auto is_it = [&](const std::string& name) { return fits(text, name); };
      if (door.empty() || std::none_of(known.begin(), known.end(), is_of_door)) continue;
      if (std::none_of(known.begin(), known.end(), is_it)) {
        return invalid("no such action: ", written);
      }
    }
  }
  return absl::OkStatus();
}

uint8_t ActionSet::names(const ActionNames& action) const {
  if (all_) return all_names(action);
  const ActionName& own = action.own();
  uint32_t found = 0;
  if (own.number() >= 0) {
    found = s3_[static_cast<size_t>(own.number())] ? kOwn : 0;
  } else {
    for (const std::string& other : others_) {
      if (fits(other, own.text())) found = kOwn;
    }
  }
  uint32_t bit = kOwn;
  for (uint16_t number : action.canonical()) {
    bit <<= 1;
    if (s3_[number]) found |= bit;
  }
  return static_cast<uint8_t>(found);
}

absl::StatusOr<ResourcePattern> ResourcePattern::parse(std::string_view text, bool variables) {
  Kind kind = kAll;
  std::string_view rest = text;
  if (text.starts_with(kS3Arn)) {
    kind = kS3;
    rest.remove_prefix(kS3Arn.size());
  } else if (text.starts_with("arn:aws:iam::") || text.starts_with("arn:aws:kms:") ||
             text.starts_with("arn:aws:sts::")) {
    kind = kArn;
  } else if (text.starts_with("arn:aws:s3:")) {
    return invalid("Resource ", text, " can not contain region information.");
  } else if (text.starts_with("arn:") && !text.starts_with("arn:aws:")) {
    return invalid("Partition \"", text.substr(4, text.find(':', 4) - 4),
                   "\" is not valid for resource \"", text, "\".");
  } else if (text.starts_with("arn:")) {
    return invalid("Resource vendor must be fully qualified and cannot contain regexes.");
  } else if (text != "*") {
    return invalid("Resource ", text, " must be in ARN format or \"*\".");
  }
  if (rest.empty()) return invalid("Resource ", text, " names nothing.");
  auto pattern = Pattern::parse(rest, {.variables = variables});
  if (!pattern.ok()) return pattern.status();
  return ResourcePattern{kind, *std::move(pattern), std::string(text)};
}

bool ResourcePattern::matches(const Resource& resource, const Context& context) const {
  if (kind == kAll) return true;
  if (resource.is_s3() != (kind == kS3)) return false;
  return resource.is_whole() ? pattern.matches_all_behind(resource.text(), context)
                             : pattern.matches(resource.text(), context);
}

bool ResourcePattern::may_match(const Resource& resource, const Context& context) const {
  if (kind == kAll || !resource.is_whole()) return matches(resource, context);
  return kind == kS3 && pattern.may_match_behind(resource.text());
}

std::optional<PrincipalPattern> PrincipalPattern::parse(std::string_view type,
                                                        std::string_view text) {
  if (type == "CanonicalUser") {
    const bool is_id = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
    if (!is_id) return std::nullopt;
    return PrincipalPattern{kCanonicalUser, std::string(text)};
  }
  if (type == "Federated") {
    const bool is_provider =
        text.starts_with("arn:aws:iam::") && text.size() > 40 && is_account(text.substr(13, 12)) &&
        text.substr(25).starts_with(":oidc-provider/") && text.find_first_of("*?$") == text.npos;
    if (!is_provider) return std::nullopt;
    return PrincipalPattern{kProvider, std::string(text)};
  }
  if (type != "AWS") return std::nullopt;
  constexpr std::string_view kInIds = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  if ((text.starts_with("AIDA") || text.starts_with("AROA")) && text.size() == 21 &&
      text.find_first_not_of(kInIds) == text.npos) {
    return PrincipalPattern{kUniqueId, std::string(text)};
  }
  if (text == "*") return PrincipalPattern{kEverybody, "*"};
  if (is_account(text)) return PrincipalPattern{kAccount, std::string(text)};
  constexpr std::string_view kIam = "arn:aws:iam::";
  if (!text.starts_with(kIam)) return std::nullopt;
  const std::string_view account = text.substr(kIam.size(), 12);
  if (!is_account(account)) return std::nullopt;
  const std::string_view rest = text.substr(kIam.size() + 12);
  if (rest == ":root") return PrincipalPattern{kAccount, std::string(account)};
  // The characters of a user's name and path, none of which is a wildcard.
  constexpr std::string_view kInUsers =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@-_/";
  constexpr std::string_view kUsers = ":user/", kRoles = ":role/";
  static_assert(kUsers.size() == kRoles.size());
  const bool is_user = (rest.starts_with(kUsers) || rest.starts_with(kRoles)) &&
                       rest.size() > kUsers.size() && rest.back() != '/' &&
                       rest.find_first_not_of(kInUsers, kUsers.size()) == rest.npos;
  if (!is_user) return std::nullopt;
  return PrincipalPattern{kUser, std::string(text)};
}

bool PrincipalPattern::matches(const Caller& caller, bool whole_account) const {
  switch (kind) {
    case kEverybody:  // whom a provider identified has to be meant
      return caller.provider.empty() || whole_account;
    case kAccount:
      return caller.account == text && (whole_account || caller.is_root);
    case kUser:
      return caller.arn == text;
    case kUniqueId:
      return caller.unique_id == text;
    case kProvider:
      return caller.provider == text;
    case kCanonicalUser:
      return caller.canonical_user == text;
    case kAnyUser:
      return !caller.account.empty();
  }
  return false;
}

uint8_t Statement::concerns(const ActionNames& action) const {
  const uint8_t named = actions.names(action);
  if (!not_action) return named;
  const uint8_t all = all_names(action);
  const auto canonical = static_cast<uint8_t>(all & ~kOwn);
  if (allow) {
    if ((named & kOwn) != 0) return 0;
    return static_cast<uint8_t>(named == 0 ? all : canonical & ~named);
  }
  const bool left_out = (named & kOwn) != 0 || (canonical != 0 && (named & canonical) == canonical);
  return left_out ? 0 : all;
}

bool Statement::applies(const Request& r, Parsed& parsed) const {
  // Of all keys, each is to be allowed and one is enough to be denied.
  const bool one_is_enough = allow == not_resource;
  const bool named = std::any_of(resources.begin(), resources.end(), [&](const auto& pattern) {
    return one_is_enough ? pattern.may_match(r.resource, r.context)
                         : pattern.matches(r.resource, r.context);
  });
  if (named == not_resource) return false;
  if (!principals.empty()) {
    const bool is_one = std::any_of(principals.begin(), principals.end(), [&](const auto& p) {
      return p.matches(r.caller, !allow && !not_principal);
    });
    if (is_one == not_principal) return false;
  }
  return std::all_of(conditions.begin(), conditions.end(), [&](const Condition& c) {
    // All keys together have no tags: one of them may be such that it holds, and one such that not.
    const bool differs = r.resource.is_whole() && c.key().key == Key::kExistingObjectTag;
    return differs || !r.context.knows(c.key()) ? !allow : c.holds(r.context, parsed);
  });
}

namespace {

struct Walk {
  const Request& request;
  const uint8_t all;
  uint8_t allowed = 0;  // names that some statement has allowed
  Parsed parsed;

  // Whether one denies.
  bool denied_by(const Policy& policy) {
    for (const Statement& statement : policy.statements) {
      const uint8_t names = statement.concerns(request.action);
      // What is allowed already need not be looked at again.
      if (names == 0 || (statement.allow && (names & ~allowed) == 0)) continue;
      if (!statement.applies(request, parsed)) continue;
      if (!statement.allow) return true;
      allowed |= names;
    }
    return false;
  }
};

}  // namespace

Verdict evaluate(std::span<const Policy* const> policies, const Request& request,
                 std::span<const Policy* const> more) {
  Walk walk{request, all_names(request.action), 0, {}};
  for (const auto& list : {policies, more}) {
    for (const Policy* policy : list) {
      if (walk.denied_by(*policy)) return Verdict::kDeny;
    }
  }
  const auto canonical = static_cast<uint8_t>(walk.all & ~kOwn);
  const bool may =
      (walk.allowed & kOwn) != 0 || (canonical != 0 && (walk.allowed & canonical) == canonical);
  return may ? Verdict::kAllow : Verdict::kNothing;
}

// ---- public policies ----

namespace {

// "Very broad IP ranges": shorter than /8 of IPv4 and /32 of IPv6, as S3's user guide has it.
bool is_narrow(std::string_view range) {
  const auto address = AddressRange::parse(range);
  return address && address->bits >= (address->v6 ? 32 : 8);
}

bool is_fixed(std::string_view value) { return value.find_first_of("*?$") == value.npos; }

// Whether it ties what is allowed to something fixed.
bool restricts(const Condition& c) {
  const Operator& op = c.op();
  // Where the request has no such value, these hold.
  const std::string text = c.operator_text();
  if (op.negated || text.starts_with("ForAllValues:") || text.ends_with("IfExists")) return false;
  const auto all = [&](auto is) { return std::all_of(c.values().begin(), c.values().end(), is); };
  switch (c.key().key) {
    case Key::kSourceIp:
      return op.kind == Kind::kAddress && all(is_narrow);
    case Key::kUserId:
    case Key::kUsername:
    case Key::kPrincipalArn:
    case Key::kEncryptionKeyId:
      return (op.kind == Kind::kText || op.kind == Kind::kArn) && all(is_fixed);
    default:
      return false;
  }
}

}  // namespace

bool is_public(const Policy& policy) {
  return std::any_of(policy.statements.begin(), policy.statements.end(), [](const Statement& s) {
    const bool anybody = std::any_of(
        s.principals.begin(), s.principals.end(),
        [](const PrincipalPattern& p) { return p.kind == PrincipalPattern::kEverybody; });
    return s.allow && anybody && std::none_of(s.conditions.begin(), s.conditions.end(), restricts);
  });
}

}  // namespace cairn::policy
