#include "gateway/http/iam/iam.h"

#include <algorithm>
#include <random>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/store/auth_failure.h"
#include "core/store/policy_json.h"
#include "objects/digest.h"

namespace cairn::iam {
namespace {

constexpr std::string_view kIamVersion = "2010-05-08", kStsVersion = "2011-06-15";
constexpr size_t kBodyMax = 512 << 10;

std::string request_id() {
  thread_local std::mt19937_64 ids(uint64_t{std::random_device{}()} << 32 | std::random_device{}());
  const uint64_t id[2] = {ids(), ids()};
  return objects::hex({reinterpret_cast<const char*>(id), sizeof(id)});
}

int http_status(std::string_view code) {
  constexpr std::pair<std::string_view, int> kStatus[] = {
      {"NoSuchEntity", 404},          {"EntityAlreadyExists", 409},
      {"DeleteConflict", 409},        {"LimitExceeded", 409},
      {"AccessDenied", 403},          {"InvalidClientTokenId", 403},
      {"SignatureDoesNotMatch", 403}, {"MissingAuthenticationToken", 403},
      {"RequestExpired", 403},        {"ServiceFailure", 500},
      {"ServiceUnavailable", 503},    {"Throttling", 400},
  };
  for (auto& [name, status] : kStatus) {
    if (name == code) return status;
  }
  return 400;
}

// What S3's authenticator says, in IAM's words.
Error error_of_login(const s3::Error& e) {
  if (e.code == "InvalidAccessKeyId") {
    return {"InvalidClientTokenId", "The security token included in the request is invalid."};
  }
  if (e.code == "SignatureDoesNotMatch") {
    return {"SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method."};
  }
  if (e.code == "RequestTimeTooSkewed") {
    return {"SignatureDoesNotMatch", "Signature expired or not yet valid: the clocks differ."};
  }
  return {"MissingAuthenticationToken",
          e.message.empty() ? "Request is missing Authentication Token" : e.message};
}

const Row* find_row(std::string_view name, std::string_view version) {
  for (auto rows : {user_rows(), group_rows(), policy_rows(), key_rows()}) {
    for (const Row& row : rows) {
      if (row.name == name && version == (row.service == "iam" ? kIamVersion : kStsVersion)) {
        return &row;
      }
    }
  }
  return nullptr;
}

bool is_word_of(std::string_view name, std::string_view words) {
  const auto all = words_of(words);
  return std::find(all.begin(), all.end(), name) != all.end();
}

Error check_params(const Call& call, const Row& row) {
  for (auto& [name, value] : call.params) {
    if (name == "Action" || name == "Version" || is_word_of(name, row.params)) continue;
    return {"ValidationError",
            cat("Cairn does not honour the parameter ", name.substr(0, 64), " of ", row.name, ".")};
  }
  for (std::string_view name : words_of(row.needs)) {
    if (!call.param(name).empty()) continue;
    return {"ValidationError", cat("1 validation error detected: Value null at '", name,
                                   "' failed to satisfy constraint: Member must not be null")};
  }
  return {};
}

std::string arn_of_caller(const Call& call) {
  const auto rights = call.who->rights();
  return rights == nullptr ? root_arn() : rights->arn;
}

awaitable<Error> get_caller_identity(Call& c) {
  const auto rights = c.who->rights();
  add_text(c.result, "Arn", arn_of_caller(c));
  add_text(c.result, "UserId", rights == nullptr ? kAccount : rights->id);
  add_text(c.result, "Account", kAccount);
  co_return Error{};
}
constexpr Row kCallerIdentity{
    "GetCallerIdentity", get_caller_identity, "", "", nullptr, true, "sts"};

}  // namespace

Error parse_form(std::string_view body, Params& params) {
  while (!body.empty()) {
    const std::string_view pair = body.substr(0, body.find('&'));
    body.remove_prefix(std::min(body.size(), pair.size() + 1));
    const size_t equals = std::min(pair.find('='), pair.size());
    auto name = http::percent_decode(pair.substr(0, equals), true);
    auto value = http::percent_decode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return {"MalformedQueryString", "The form cannot be decoded."};
    if (!params.emplace(*name, *std::move(value)).second) {
      return {"InvalidParameterCombination", cat("The parameter ", *name, " stands twice.")};
    }
  }
  return {};
}

std::string Call::user_name() const {
  if (has("UserName")) return std::string(param("UserName"));
  const auto rights = who->rights();
  return rights == nullptr ? std::string() : rights->name;
}

// ---- shared ----

Error error_of(const Status& status) {
  const std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return {};
    case absl::StatusCode::kNotFound:
      return {"NoSuchEntity", message};
    case absl::StatusCode::kAlreadyExists:
      return {"EntityAlreadyExists", message};
    case absl::StatusCode::kFailedPrecondition:
      return {"DeleteConflict", message};
    case absl::StatusCode::kOutOfRange:  // a policy that is too long
    case absl::StatusCode::kResourceExhausted:
      return {"LimitExceeded", message};
    case absl::StatusCode::kInvalidArgument: {
      const std::string detail = policy::detail_of(status);
      return {"MalformedPolicyDocument", detail.empty() ? message : cat(message, " ", detail)};
    }
    default:
      return {"ServiceFailure", message};
  }
}

Error may(const Call& call, const std::string& target) {
  const Circumstances from{call.request.peer, call.request.secure};
  Error denied{"AccessDenied", cat("User: ", arn_of_caller(call),
                                   " is not authorized to perform: ", call.row->service, ":",
                                   call.row->name, " on resource: ", target)};
  if (!authorize(*call.who, call.row->action(), policy::Resource::arn(target), from)) return denied;
  // What a key may make, it could go on with: its boundary would bound nothing.
  constexpr std::string_view kCredentials[] = {"CreateAccessKey", "UpdateAccessKey",
                                               "CreateLoginProfile", "UpdateLoginProfile",
                                               "ChangePassword"};
  const auto rights = call.who->rights();
  const bool bounded = rights != nullptr && rights->boundary != nullptr;
  const bool makes_one = std::find(std::begin(kCredentials), std::end(kCredentials),
                                   call.row->name) != std::end(kCredentials);
  if (!bounded || !makes_one) return {};
  return denied;
}

awaitable<Error> change(Call& call, absl::FunctionRef<Status(Draft&)> edit) {
  auto lsn = call.users.change(edit);
  if (!lsn.ok()) co_return error_of(lsn.status());
  call.known = call.users.known();
  if (!lsn->valid()) co_return Error{};
  Status durable = co_await call.store.log().wait_durable(*lsn);
  co_return error_of(durable);
}

Error check_name(std::string_view what, std::string_view text, size_t most) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-";
  if (!text.empty() && text.size() <= most && text.find_first_not_of(kLetters) == text.npos) {
    return {};
  }
  return {"ValidationError",
          cat("The specified value for ", what,
              " is invalid. It must contain only alphanumeric characters and/or the following: "
              "+=,.@_-, and have 1 to ",
              most, " of them")};
}

Error check_path(std::string_view what, std::string_view text) {
  const bool printable = std::all_of(
      text.begin(), text.end(), [](char c) { return c > ' ' && c < 127 && c != '*' && c != '?'; });
  if (!text.empty() && text.size() <= 512 && text.front() == '/' && text.back() == '/' &&
      printable) {
    return {};
  }
  return {"ValidationError", cat("The specified value for ", what,
                                 " is invalid. It must begin and end with / and contain only "
                                 "printable characters that are no wildcards")};
}

Error policy_name(const Call& call, std::string& name) {
  const std::string_view arn = call.param("PolicyArn");
  const std::string head = cat("arn:aws:iam::", kAccount, ":policy/");
  if (!arn.starts_with(head)) {
    if (arn.starts_with("arn:aws:iam::aws:policy/")) {
      return {"NoSuchEntity", cat("Policy ", arn,
                                  " does not exist or is not attachable: Cairn has "
                                  "none of AWS's own policies.")};
    }
    return {"ValidationError", cat("ARN ", arn, " is not valid.")};
  }
  name = arn.substr(arn.rfind('/') + 1);
  const PolicyRecord* found = call.table().policy(name);
  if (found != nullptr && arn_of(*found) == arn) return {};
  return {"NoSuchEntity", cat("Policy ", arn, " does not exist or is not attachable.")};
}

Error Page::parse(const Call& call, Page& page) {
  page.after_ = call.param("Marker");
  if (!call.has("MaxItems")) return {};
  const auto n = parse_int<size_t>(call.param("MaxItems"));
  if (!n || *n < 1 || *n > 1000) {
    return {"ValidationError", "MaxItems must be between 1 and 1000"};
  }
  page.most_ = *n;
  return {};
}

bool Page::takes(const std::string& name) {
  if (truncated_ || (!after_.empty() && name <= after_)) return false;
  if (count_ == most_) {
    truncated_ = true;
    return false;
  }
  count_++;
  last_ = name;
  return true;
}

void Page::end(Call& call) const {
  add_text(call.result, "IsTruncated", truncated_ ? "true" : "false");
  if (truncated_) add_text(call.result, "Marker", last_);
}

std::string path_prefix(const Call& call) {
  return call.has("PathPrefix") ? std::string(call.param("PathPrefix")) : "/";
}

void add_text(pugi::xml_node to, const char* name, std::string_view text) {
  s3::add(to, name, text);
}

// ---- the way in ----

bool Service::is_call(const http::Request& request) {
  return request.method == "POST" && request.path == "/" && request.query.empty() &&
         lower(request.header("content-type")).starts_with("application/x-www-form-urlencoded");
}

awaitable<Error> Service::run(http::Request& request, s3::XmlOut& xml, const Row*& row) {
  auto body = co_await http::read_all(*request.body, kBodyMax);
  if (absl::IsResourceExhausted(body.status())) {
    co_return Error{"RequestEntityTooLarge", "The form is too long."};
  }
  if (!body.ok()) co_return Error{"MalformedQueryString", std::string(body.status().message())};
  Call call{store_, users_, request, users_.known(), nullptr, {}, {}};
  if (call.known == nullptr) co_return Error{"ServiceUnavailable", "The store is being opened."};
  s3::Authenticated auth;
  const std::string sha256 = objects::hex(objects::digest_of(objects::Algorithm::kSha256, *body));
  if (s3::Error e =
          authenticator_.authenticate_call(request, store_.now_ms(), "iam sts", sha256, auth)) {
    if (e.code == "InvalidAccessKeyId" || e.code == "SignatureDoesNotMatch") {
      note_auth_failure(users_, store_.options().report, alarm::kAuthS3, s3::claimed_key(request),
                        request.peer);
    }
    co_return error_of_login(e);
  }
  call.who = auth.principal;
  if (Error e = parse_form(*body, call.params)) co_return e;
  const std::string_view name = call.param("Action"), version = call.param("Version");
  row = name == kCallerIdentity.name && version == kStsVersion ? &kCallerIdentity
                                                               : find_row(name, version);
  if (row == nullptr) {
    co_return Error{"InvalidAction", cat("Could not find operation ", name.substr(0, 64),
                                         " for version ", version.substr(0, 16))};
  }
  if (Error e = check_params(call, *row)) co_return e;
  const std::string target = row->target == nullptr ? "*" : row->target(call);
  const bool everybodys = row == &kCallerIdentity;
  call.row = row;
  Error refused;
  if (!everybodys) refused = may(call, target);
  if (Audit* audit = users_.audit()) {
    audit->note({row->service, call.who->name(), request.peer, row->name, {}, target, !refused});
  }
  if (refused) co_return refused;
  xml = s3::XmlOut(cat(row->name, "Response").c_str(), false);
  if (row->has_result) call.result = s3::add(xml.root(), cat(row->name, "Result").c_str());
  co_return co_await row->run(call);
}

awaitable<void> Service::handle(http::Request& request, http::Response& response) {
  const std::string id = request_id();
  response.set("x-amzn-RequestId", id);
  response.set("Content-Type", "text/xml");
  s3::XmlOut xml("ErrorResponse", false);
  const Row* row = nullptr;
  Error e{"ServiceUnavailable", "The store is being opened."};
  if (!store_.loading()) e = co_await run(request, xml, row);
  if (e) {
    xml = s3::XmlOut("ErrorResponse", false);
    response.status = http_status(e.code);
    auto error = s3::add(xml.root(), "Error");
    add_text(error, "Type", response.status >= 500 ? "Receiver" : "Sender");
    add_text(error, "Code", e.code);
    add_text(error, "Message", e.message);
    add_text(xml.root(), "RequestId", id);
  } else {
    add_text(s3::add(xml.root(), "ResponseMetadata"), "RequestId", id);
  }
  const bool sts = row != nullptr && row->service == "sts";
  xml.root().append_attribute("xmlns") = sts ? "https://sts.amazonaws.com/doc/2011-06-15/"
                                             : "https://iam.amazonaws.com/doc/2010-05-08/";
  response.body = xml.text();
}

}  // namespace cairn::iam
