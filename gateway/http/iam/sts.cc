// The Security Token Service: who one is, and credentials for a while. Source: AWS Security Token
// Service API Reference, version 2011-06-15.
#include <algorithm>

#include "core/base/text.h"
#include "core/store/policy_json.h"
#include "gateway/http/iam/iam.h"
#include "gateway/http/iam/jwt.h"
#include "gateway/http/iam/key_sets.h"

namespace cairn::iam {
namespace {

constexpr int64_t kSkewSeconds = 60;  // between a provider's clock and this one
// "The plaintext that you use for both inline and managed session policies can't exceed 2,048
// characters."
constexpr size_t kSessionPolicyBytesMax = 2048, kSessionArnsMax = 10;

// What a role's trust may ask of such a call.
class SessionContext final : public policy::Context {
 public:
  std::string_view session_name;
  std::optional<std::string_view> external_id;
  std::string_view issuer;       // without its scheme
  const Token* token = nullptr;  // null: nobody was identified by one

  std::optional<std::string_view> value(const policy::ConditionKey& key,
                                        size_t place) const override {
    if (key.key == policy::Key::kTokenClaim) return claim(key.tag, place);
    if (place > 0) return std::nullopt;
    if (key.key == policy::Key::kRoleSessionName) return session_name;
    if (key.key == policy::Key::kExternalId) return external_id;
    return std::nullopt;
  }
  bool knows(const policy::ConditionKey& key) const override {
    return key.key != policy::Key::kTlsVersion;
  }

 private:
  // "ISSUER:NAME"
  std::optional<std::string_view> claim(std::string_view key, size_t place) const {
    const size_t colon = key.rfind(':');
    if (token == nullptr || !equals_ignoring_case(key.substr(0, colon), issuer)) {
      return std::nullopt;
    }
    // Whom a token is for is its authorized party, where it names one; then the audience is "oaud".
    std::string_view name = key.substr(colon + 1);
    if (!token->claim("azp").empty()) {
      if (name == "aud") {
        name = "azp";
      } else if (name == "oaud") {
        name = "aud";
      }
    }
    const auto it = token->claims.find(name);
    if (it == token->claims.end() || place >= it->second.size()) return std::nullopt;
    return it->second[place];
  }
};

std::string arn_of_caller(const Call& call) {
  const auto rights = call.who->rights();
  return rights == nullptr ? root_arn() : rights->shown_arn();
}

// ---- what is asked for ----

Error check_session_name(std::string_view name) {
  if (name.size() < 2) return {"ValidationError", "roleSessionName has 2 to 64 characters"};
  return check_name("roleSessionName", name, 64);
}

// The policies within which the session is to be.
Error read_policies(const Call& c, SessionClaims& to, size_t& packed_percent) {
  size_t bytes = c.param("Policy").size();
  for (size_t i = 1; c.has(cat("PolicyArns.member.", i, ".arn")); i++) {
    const std::string_view arn = c.param(cat("PolicyArns.member.", i, ".arn"));
    const PolicyRecord* policy = c.table().policy(arn.substr(arn.rfind('/') + 1));
    if (policy == nullptr || arn_of(*policy) != arn) {
      return {"MalformedPolicyDocument",
              cat("Policy ", arn.substr(0, 300), " does not exist or is not attachable.")};
    }
    bytes += arn.size();
    to.policies.push_back(policy->id);
  }
  if (to.policies.size() > kSessionArnsMax) {
    return {"ValidationError", cat("PolicyArns has at most ", kSessionArnsMax, " members")};
  }
  packed_percent = (bytes * 100 + kSessionPolicyBytesMax - 1) / kSessionPolicyBytesMax;
  if (bytes > kSessionPolicyBytesMax) {
    return {"PackedPolicyTooLarge", cat("Packed policy consumes ", packed_percent,
                                        "% of allotted space, please use smaller policy.")};
  }
  if (c.has("Policy") && c.param("Policy").empty()) {
    return {"MalformedPolicyDocument", "The policy is empty."};
  }
  to.policy = c.param("Policy");
  if (to.policy.empty()) return {};
  const auto policy = policy::parse_identity_policy(to.policy);
  if (!policy.ok()) return error_of(policy.status());
  return error_of(c.users.check_actions(*policy));
}

Error read_seconds(const Call& c, int64_t standard, int64_t most, int64_t& to) {
  to = standard;
  if (!c.has("DurationSeconds")) return {};
  const auto seconds = parse_int<int64_t>(c.param("DurationSeconds"));
  if (!seconds || *seconds < kSessionSecondsMin || *seconds > most) {
    return {"ValidationError",
            cat("1 validation error detected: Value '", c.param("DurationSeconds").substr(0, 20),
                "' at 'durationSeconds' failed to satisfy constraint: Member "
                "must have value between ",
                kSessionSecondsMin, " and ", most)};
  }
  to = *seconds;
  return {};
}

// Of a session of this role.
Error check_role_seconds(const RoleRecord& role, int64_t seconds) {
  if (seconds <= role.max_session_s) return {};
  return {"ValidationError",
          "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."};
}

const RoleRecord* find_role(const Call& c) {
  const std::string_view arn = c.param("RoleArn");
  const RoleRecord* role = c.table().role(arn.substr(arn.rfind('/') + 1));
  return role != nullptr && role->trust.compiled != nullptr && arn_of(*role) == arn ? role
                                                                                    : nullptr;
}

// ---- what is given ----

void give(Call& c, SessionClaims claims, int64_t seconds) {
  claims.issued_ms = c.store.now_ms();
  claims.expires_ms = claims.issued_ms + seconds * 1000;
  const int64_t expires_ms = claims.expires_ms;
  const auto made = c.users.make_session(std::move(claims));
  auto to = s3::add(c.result, "Credentials");
  add_text(to, "AccessKeyId", made.id);
  add_text(to, "SecretAccessKey", made.secret);
  add_text(to, "SessionToken", made.token);
  add_text(to, "Expiration", http::iso_date(expires_ms));
}

void add_assumed(const Call& c, const RoleRecord& role, size_t packed_percent) {
  const std::string_view name = c.param("RoleSessionName");
  auto to = s3::add(c.result, "AssumedRoleUser");
  add_text(to, "AssumedRoleId", cat(role.id, ":", name));
  add_text(to, "Arn", cat("arn:aws:sts::", kAccount, ":assumed-role/", role.name, "/", name));
  if (packed_percent > 0) s3::add(c.result, "PackedPolicySize", packed_percent);
}

// Who asks, for as long as whose credentials these are.
void note_asker(const Call& c, SessionClaims& to) {
  const std::string_view token = s3::token_of(c.request);
  if (const auto session = token.empty() ? std::nullopt : c.users.claims_of(token)) {
    to.user = session->user;
    to.key = session->key;
    to.provider = session->provider;
    return;
  }
  const auto rights = c.who->rights();
  to.user = rights == nullptr ? std::string() : rights->id;
  to.key = rights == nullptr ? c.users.root_mark() : std::string(s3::claimed_key(c.request));
}

// ---- the calls ----

awaitable<Error> get_caller_identity(Call& c) {
  const auto rights = c.who->rights();
  add_text(c.result, "Arn", arn_of_caller(c));
  add_text(c.result, "UserId", rights == nullptr ? kAccount : rights->id);
  add_text(c.result, "Account", kAccount);
  co_return Error{};
}

awaitable<Error> get_session_token(Call& c) {
  constexpr int64_t kMost = 129'600, kRootMost = 3600, kStandard = 43'200;
  const auto rights = c.who->rights();
  if (rights != nullptr && rights->is_session()) {
    co_return Error{"AccessDenied", "Cannot call GetSessionToken with session credentials"};
  }
  const bool root = rights == nullptr;
  int64_t seconds = 0;
  if (Error e = read_seconds(c, root ? kRootMost : kStandard, kMost, seconds)) co_return e;
  SessionClaims claims;
  note_asker(c, claims);
  give(c, std::move(claims), root ? std::min(seconds, kRootMost) : seconds);
  co_return Error{};
}

awaitable<Error> assume_role(Call& c) {
  constexpr int64_t kStandard = 3600, kChainedMost = 3600;
  const auto rights = c.who->rights();
  if (rights == nullptr || rights->is_root) {
    co_return Error{"AccessDenied", "Roles may not be assumed by root accounts."};
  }
  if (Error e = check_session_name(c.param("RoleSessionName"))) co_return e;
  int64_t seconds = 0;
  if (Error e = read_seconds(c, kStandard, kRoleSecondsMax, seconds)) co_return e;
  const RoleRecord* role = find_role(c);
  SessionContext context;
  context.session_name = c.param("RoleSessionName");
  if (c.has("ExternalId")) context.external_id = c.param("ExternalId");
  const Circumstances from{c.request.peer, c.request.secure, &context};
  // What he is within would not be around what the role may.
  const bool may =
      role != nullptr && !rights->is_bounded() &&
      may_assume(*c.who, c.row->action(), *role->trust.compiled, c.param("RoleArn"), from);
  c.note(may);
  if (!may) {
    co_return Error{"AccessDenied",
                    cat("User: ", arn_of_caller(c),
                        " is not authorized to perform: sts:AssumeRole on resource: ",
                        c.param("RoleArn").substr(0, 300))};
  }
  if (Error e = check_role_seconds(*role, seconds)) co_return e;
  if (!rights->session_arn.empty() && seconds > kChainedMost) {
    co_return Error{"ValidationError",
                    "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                    "assumed by role chaining"};
  }
  SessionClaims claims;
  size_t packed_percent = 0;
  if (Error e = read_policies(c, claims, packed_percent)) co_return e;
  note_asker(c, claims);
  claims.role = role->id;
  claims.name = c.param("RoleSessionName");
  give(c, std::move(claims), seconds);
  add_assumed(c, *role, packed_percent);
  co_return Error{};
}

Error no_identity(std::string_view why) { return {"InvalidIdentityToken", std::string(why)}; }

// The provider that says to have made the token: by the issuer in it, to the letter.
std::shared_ptr<const ProviderRecord> provider_of(const Call& c, const Token& token) {
  const std::string_view issuer = token.claim("iss");
  const size_t scheme = issuer.find("://");
  if (scheme == issuer.npos) return nullptr;
  const auto it = c.table().providers.find(lower(issuer.substr(scheme + 3)));
  if (it == c.table().providers.end()) return nullptr;
  const auto& found = it->second;
  const std::string own = cat(found->plain ? "http://" : "https://", found->name);
  return own == issuer ? found : nullptr;
}

// What a token that its provider signed says of itself.
Error check_claims(const Token& token, const ProviderRecord& provider, int64_t now_s) {
  if (token.claim("sub").empty()) return {"IDPRejectedClaim", "Missing a required claim: sub"};
  if (!token.expires_s) return {"IDPRejectedClaim", "Missing a required claim: exp"};
  if (!token.issued_s) return {"IDPRejectedClaim", "Missing a required claim: iat"};
  if (now_s >= *token.expires_s) {
    return {"ExpiredTokenException", cat("Token expired: current date/time ", now_s,
                                         " must be before the expiration "
                                         "date/time ",
                                         *token.expires_s)};
  }
  if (*token.issued_s > now_s + kSkewSeconds) {
    return {"IDPRejectedClaim", "The token was issued in the future"};
  }
  if (token.not_before_s && *token.not_before_s > now_s + kSkewSeconds) {
    return {"IDPRejectedClaim", "The token is not valid yet"};
  }
  const auto is_ours = [&](const std::string& id) {
    return std::find(provider.client_ids.begin(), provider.client_ids.end(), id) !=
           provider.client_ids.end();
  };
  const auto audience = token.claims.find("aud");
  const std::string party(token.claim("azp"));
  const bool ours = party.empty()
                        ? audience != token.claims.end() &&
                              std::any_of(audience->second.begin(), audience->second.end(), is_ours)
                        : is_ours(party);
  return ours ? Error{} : no_identity("Incorrect token audience");
}

// Whether its provider signed it.
awaitable<Error> check_signature(Call& c, const Token& token,
                                 std::shared_ptr<const ProviderRecord> provider) {
  for (int asked = 0; asked < 2; asked++) {
    auto keys = co_await c.keys.keys_of(provider, asked > 0);
    if (!keys.ok()) {
      co_return Error{
          "IDPCommunicationError",
          cat("The identity provider could not be asked for its keys: ", keys.status().message())};
    }
    const Signed is_signed = verify(token, **keys);
    if (is_signed == Signed::kRight) co_return Error{};
    if (is_signed == Signed::kWrong) break;
    // Its key may be newer than what is known.
  }
  co_return no_identity("The ID Token's signature is that of no key of its issuer");
}

awaitable<Error> assume_role_with_web_identity(Call& c) {
  constexpr int64_t kStandard = 3600;
  if (Error e = check_session_name(c.param("RoleSessionName"))) co_return e;
  int64_t seconds = 0;
  if (Error e = read_seconds(c, kStandard, kRoleSecondsMax, seconds)) co_return e;
  const auto token = parse_token(c.param("WebIdentityToken"));
  if (!token.ok()) {
    c.note(false);
    co_return no_identity(
        cat("The ID Token provided is not a valid JWT: ", token.status().message()));
  }
  c.asker = cat("oidc ", token->claim("iss").substr(0, 256));
  const auto provider = provider_of(c, *token);
  if (provider == nullptr) {
    c.note(false);
    co_return no_identity(cat("No OpenIDConnect provider found in your account for ",
                              token->claim("iss").substr(0, 300)));
  }
  Error wrong = co_await check_signature(c, *token, provider);
  if (!wrong) wrong = check_claims(*token, *provider, c.store.now_ms() / 1000);
  if (wrong) {
    c.note(false);
    co_return wrong;
  }
  c.known = c.users.known();  // asking for keys took its time
  const RoleRecord* role = find_role(c);
  SessionContext context;
  context.session_name = c.param("RoleSessionName");
  context.issuer = provider->name;
  context.token = &*token;
  const Circumstances from{c.request.peer, c.request.secure, &context};
  const std::string arn = arn_of(*provider);
  const bool may =
      role != nullptr && c.table().provider_ids.contains(provider->id) &&
      may_assume(arn, c.row->action(), *role->trust.compiled, c.param("RoleArn"), from);
  append(c.asker, " ", token->claim("sub").substr(0, 256));
  c.note(may);
  if (!may) {
    co_return Error{"AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"};
  }
  if (Error e = check_role_seconds(*role, seconds)) co_return e;
  SessionClaims claims;
  size_t packed_percent = 0;
  if (Error e = read_policies(c, claims, packed_percent)) co_return e;
  claims.role = role->id;
  claims.name = c.param("RoleSessionName");
  claims.provider = provider->id;
  give(c, std::move(claims), seconds);
  add_assumed(c, *role, packed_percent);
  add_text(c.result, "SubjectFromWebIdentityToken", token->claim("sub"));
  add_text(c.result, "Audience",
           token->claim("azp").empty() ? token->claim("aud") : token->claim("azp"));
  add_text(c.result, "Provider", arn);
  co_return Error{};
}

std::string role_target(const Call& c) { return std::string(c.param("RoleArn")); }

constexpr Row kRows[] = {
    {"GetCallerIdentity", get_caller_identity, "", "", nullptr, true, "sts", Row::Asks::kNothing},
    {"GetSessionToken", get_session_token, "DurationSeconds", "", nullptr, true, "sts",
     Row::Asks::kDenials},
    {"AssumeRole", assume_role,
     "RoleArn RoleSessionName Policy PolicyArns.member.N.arn DurationSeconds ExternalId",
     "RoleArn RoleSessionName", role_target, true, "sts", Row::Asks::kItself},
    {"AssumeRoleWithWebIdentity", assume_role_with_web_identity,
     "RoleArn RoleSessionName WebIdentityToken Policy PolicyArns.member.N.arn DurationSeconds",
     "RoleArn RoleSessionName WebIdentityToken", role_target, true, "sts", Row::Asks::kItself},
};

}  // namespace

std::span<const Row> sts_rows() { return kRows; }

}  // namespace cairn::iam
