#include "gateway/http/iam/iam.h"

#include <algorithm>
#include <random>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/store/auth_failure.h"
#include "core/store/managing.h"
#include "core/store/policy_json.h"
#include "gateway/http/s3/login_failure.h"
#include "objects/digest.h"

namespace cairn::iam {
namespace {

constexpr std::string_view kIamVersion = "2010-05-08", kStsVersion = "2011-06-15";
constexpr size_t kBodyMax = 512 << 10, kUnsignedBodyMax = 96 << 10;

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
      {"ExpiredToken", 403},          {"IDPRejectedClaim", 403},
      {"ServiceUnavailable", 503},    {"Throttling", 400},
  };
  for (auto& [name, status] : kStatus) {
    if (name == code) return status;
  }
  return 400;
}

// What S3's authenticator says, in IAM's words.
Error error_of_login(const s3::Error& e) {
  if (e.code == "ExpiredToken") {
    return {"ExpiredToken", "The security token included in the request is expired"};
  }
  if (e.code == "InvalidAccessKeyId" || e.code == "InvalidToken") {
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
  for (auto rows : all_rows()) {
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

// "PolicyArns.member.1.arn" as rows have it: "PolicyArns.member.N.arn".
std::string unnumbered(std::string_view name) {
  constexpr std::string_view kMember = ".member.";
  const size_t at = name.find(kMember);
  if (at == name.npos) return std::string(name);
  const size_t begin = at + kMember.size();
  const size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
  const auto number = parse_int<uint32_t>(name.substr(begin, end - begin));
  const bool plain = number && *number > 0 && *number <= 1000 && name[begin] != '0';
  return plain ? cat(name.substr(0, begin), "N", name.substr(end)) : std::string(name);
}

Error check_params(const Call& call, const Row& row) {
  for (auto& [name, value] : call.params) {
    // An empty list is sent as its name.
    const bool is_empty_list =
        value.empty() && (is_word_of(cat(name, ".member.N"), row.params) ||
                          is_word_of(cat(name, ".member.N.arn"), row.params));
    if (name == "Action" || name == "Version" || is_empty_list ||
        is_word_of(unnumbered(name), row.params)) {
      continue;
    }
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
  return rights == nullptr ? root_arn() : rights->shown_arn();
}

// What is not done with credentials of a session, since they would outlive it, and what a role has
// to say because it is no user.
Error check_session(const Call& call, const Row& row) {
  const auto rights = call.who->rights();
  if (rights == nullptr || !rights->is_session() || row.service != "iam") return {};
  if (rights->session_arn.empty()) {
    return {"InvalidClientTokenId",
            "The security token included in the request is invalid: credentials of GetSessionToken "
            "call nothing of IAM."};
  }
  const bool of_caller = row.name == "ChangePassword" ||
                         (is_word_of("UserName", row.params) && !is_word_of("UserName", row.needs));
  if (!of_caller || call.has("UserName")) return {};
  return {"ValidationError", "Must specify userName when calling with non-User credentials"};
}

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
  const bool may = call.row->service == "iam" ? may_manage(*call.who, call.row->name, target, from)
                                              : authorize(*call.who, call.row->action(),
                                                          policy::Resource::arn(target), from);
  return may ? Error{} : denied;
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
  if (is_entity_name(text, most)) return {};
  return {"ValidationError",
          cat("The specified value for ", what,
              " is invalid. It must contain only alphanumeric characters and/or the following: "
              "+=,.@_-, and have 1 to ",
              most, " of them")};
}

Error check_path(std::string_view what, std::string_view text) {
  if (is_entity_path(text)) return {};
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

std::array<std::span<const Row>, 7> all_rows() {
  return {user_rows(), group_rows(), policy_rows(),  key_rows(),
          role_rows(), sts_rows(),   provider_rows()};
}

// ---- the way in ----

bool Service::is_call(const http::Request& request) {
  return request.method == "POST" && request.path == "/" && request.query.empty() &&
         lower(request.header("content-type")).starts_with("application/x-www-form-urlencoded");
}

Error Service::authenticate(const http::Request& request, std::string_view body,
                            PrincipalPtr& who) {
  s3::Authenticated auth;
  const std::string sha256 = objects::hex(objects::digest_of(objects::Algorithm::kSha256, body));
  if (s3::Error e =
          authenticator_.authenticate_call(request, store_.now_ms(), "iam sts", sha256, auth)) {
    if (s3::is_login_failure(e)) {
      note_auth_failure(users_, store_.options().report, alarm::kAuthS3, s3::claimed_key(request),
                        request.peer);
    }
    return error_of_login(e);
  }
  who = std::move(auth.principal);
  return {};
}

void Call::note(bool allowed) const {
  Audit* audit = users.audit();
  if (audit == nullptr) return;
  const std::string target = row->target == nullptr ? "*" : row->target(*this);
  const std::string_view user = asker.empty() ? std::string_view(who->name()) : asker;
  audit->note({row->service, user, request.peer, row->name, {}, target, allowed});
}

awaitable<Error> Service::run(http::Request& request, s3::XmlOut& xml, const Row*& row) {
  const bool is_signed = request.has_header("authorization");
  auto body = co_await http::read_all(*request.body, is_signed ? kBodyMax : kUnsignedBodyMax);
  if (absl::IsResourceExhausted(body.status())) {
    co_return Error{"RequestEntityTooLarge", "The form is too long."};
  }
  if (!body.ok()) co_return Error{"MalformedQueryString", std::string(body.status().message())};
  Call call{store_, users_, keys_, request, users_.known(), users_.anybody(), {}, {}};
  if (call.known == nullptr) co_return Error{"ServiceUnavailable", "The store is being opened."};
  if (is_signed) {
    if (Error e = authenticate(request, *body, call.who)) co_return e;
  }
  const Error unread = parse_form(*body, call.params);
  const std::string_view name = call.param("Action"), version = call.param("Version");
  row = unread ? nullptr : find_row(name, version);
  if (!is_signed && (row == nullptr || row->name != "AssumeRoleWithWebIdentity")) {
    row = nullptr;
    co_return error_of_login({"AccessDenied", ""});
  }
  if (unread) co_return unread;
  if (row == nullptr) {
    co_return Error{"InvalidAction", cat("Could not find operation ", name.substr(0, 64),
                                         " for version ", version.substr(0, 16))};
  }
  if (Error e = check_params(call, *row)) co_return e;
  call.row = row;
  if (Error e = check_session(call, *row)) {
    call.note(false);
    co_return e;
  }
  const std::string target = row->target == nullptr ? "*" : row->target(call);
  Error refused;
  const bool asks = row->asks == Row::Asks::kRights || row->asks == Row::Asks::kDenials;
  if (asks) refused = may(call, target);
  if (row->asks != Row::Asks::kItself) call.note(!refused);
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
