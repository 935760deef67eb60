#include "gateway/http/kms/kms.h"

#include <algorithm>
#include <boost/json.hpp>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/store/auth_failure.h"
#include "core/store/user_table.h"
#include "gateway/http/s3/login_failure.h"
#include "objects/digest.h"
#include "objects/encryption.h"

namespace cairn::kms {

namespace json = boost::json;

struct Call {
  Store& store;
  std::string_view region;
  const json::object& body;
  json::object& answer;
  std::string key_id = {};  // of the ring; empty: the call names none

  // Empty where there is none of this name, or it is no text.
  std::string text(std::string_view name) const {
    const json::value* found = body.if_contains({name.data(), name.size()});
    if (found == nullptr || !found->is_string()) return "";
    const json::string& value = found->get_string();
    return {value.data(), value.size()};
  }
  bool has(std::string_view name) const { return body.contains({name.data(), name.size()}); }
};

namespace {

constexpr size_t kBodyMax = 64 << 10;
constexpr std::string_view kTarget = "x-amz-target", kService = "TrentService.";

json::string_view view(std::string_view text) { return {text.data(), text.size()}; }

std::string arn_of(const Call& c, std::string_view id) {
  return cat("arn:aws:kms:", c.region, ":", kAccount, ":key/", id);
}

Error error_of(const Status& status) {
  const std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return {};
    case absl::StatusCode::kNotFound:
      return {"NotFoundException", message};
    case absl::StatusCode::kFailedPrecondition:
      return {"DisabledException", message};
    case absl::StatusCode::kUnavailable:
      return {"KMSInvalidStateException", message};
    case absl::StatusCode::kResourceExhausted:
      return {"LimitExceededException", message};
    default:
      return {"KMSInternalException", message};
  }
}

// The id of the ring that the call names: an id, an ARN, or an alias of a standard key.
Error find_key(Call& c) {
  const std::string name = c.text("KeyId");
  constexpr size_t kNameMax = 2048;
  if (name.empty() || name.size() > kNameMax) {
    return {"ValidationException", "KeyId names a key by its id or its ARN"};
  }
  const bool here = !name.starts_with("arn:") ||
                    name.starts_with(cat("arn:aws:kms:", c.region, ":", kAccount, ":"));
  if (!here) return {"NotFoundException", cat("Invalid arn ", name)};
  c.key_id = objects::ring_key(name);
  if (!c.key_id.empty()) return {};
  const auto key = c.store.keys().standard(KeyRing::Purpose::kKms);
  if (key.ok()) c.key_id = (*key)->id;
  return error_of(key.status());
}

// The master key opens what the key seals from now on.
bool is_available(const KeyRing::Key& key) { return key.versions.back().key.has_value(); }

double seconds(int64_t ms) { return static_cast<double>(ms) / 1000; }

void add_metadata(Call& c, const KeyRing::Key& key) {
  json::object m;
  m["AWSAccountId"] = view(kAccount);
  m["KeyId"] = view(key.id);
  m["Arn"] = view(arn_of(c, key.id));
  m["CreationDate"] = seconds(key.created_ms);
  m["Enabled"] = key.enabled && is_available(key);
  m["Description"] = view(key.description);
  m["KeyUsage"] = "ENCRYPT_DECRYPT";
  m["KeyState"] = !is_available(key) ? "Unavailable" : key.enabled ? "Enabled" : "Disabled";
  m["Origin"] = "AWS_KMS";
  m["KeyManager"] = key.purpose == KeyRing::Purpose::kNamed ? "CUSTOMER" : "AWS";
  m["CustomerMasterKeySpec"] = "SYMMETRIC_DEFAULT";
  m["KeySpec"] = "SYMMETRIC_DEFAULT";
  m["EncryptionAlgorithms"] = json::array{"SYMMETRIC_DEFAULT"};
  m["MultiRegion"] = false;
  c.answer["KeyMetadata"] = std::move(m);
}

awaitable<Error> made(Call& c, StatusOr<KeyRing::Changed> changed) {
  if (!changed.ok()) co_return error_of(changed.status());
  const Status durable = co_await c.store.log().wait_durable(changed->lsn);
  co_return error_of(durable);
}

// Only what a field may say of the one kind of keys that there is.
Error check_kind(const Call& c) {
  constexpr std::pair<std::string_view, std::string_view> kOnly[] = {
      {"KeyUsage", "ENCRYPT_DECRYPT"},
      {"KeySpec", "SYMMETRIC_DEFAULT"},
      {"CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"},
      {"Origin", "AWS_KMS"}};
  for (auto& [name, value] : kOnly) {
    if (c.has(name) && c.text(name) != value) {
      return {"UnsupportedOperationException", cat(name, " can only be ", value)};
    }
  }
  const json::value* regions = c.body.if_contains("MultiRegion");
  if (regions != nullptr && !(regions->is_bool() && !regions->get_bool())) {
    return {"UnsupportedOperationException", "MultiRegion can only be false"};
  }
  return {};
}

Error description_of(const Call& c, std::string& text) {
  text = c.text("Description");
  if (text.size() <= KeyRing::kDescriptionMax && is_utf8(text)) return {};
  return {"ValidationException", "Description is too long"};
}

awaitable<Error> create_key(Call& c) {
  if (Error e = check_kind(c)) co_return e;
  std::string description;
  if (Error e = description_of(c, description)) co_return e;
  auto changed = c.store.keys().create(description);
  if (changed.ok()) add_metadata(c, *changed->key);
  co_return co_await made(c, std::move(changed));
}

awaitable<Error> describe_key(Call& c) {
  const auto key = c.store.keys().find(c.key_id);
  if (key.ok()) add_metadata(c, **key);
  co_return error_of(key.status());
}

// Limit and Marker of a listing.
struct Page {
  size_t limit = 100;
  std::string after;
  Error parse(const Call& c) {
    after = c.text("Marker");
    const json::value* most = c.body.if_contains("Limit");
    if (most == nullptr) return {};
    constexpr int64_t kLimitMax = 1000;
    if (!most->is_int64() || most->get_int64() < 1 || most->get_int64() > kLimitMax) {
      return {"ValidationException", "Limit is a number from 1 to 1000"};
    }
    limit = static_cast<size_t>(most->get_int64());
    return {};
  }
};

awaitable<Error> list_keys(Call& c) {
  Page page;
  if (Error e = page.parse(c)) co_return e;
  json::array keys;
  bool truncated = false;
  std::string last;
  for (const KeyRing::KeyPtr& key : c.store.keys().list()) {
    if (key->id <= page.after) continue;
    truncated = keys.size() == page.limit;
    if (truncated) break;
    keys.push_back(json::object{{"KeyId", view(key->id)}, {"KeyArn", view(arn_of(c, key->id))}});
    last = key->id;
  }
  c.answer["Keys"] = std::move(keys);
  c.answer["Truncated"] = truncated;
  if (truncated) c.answer["NextMarker"] = view(last);
  co_return Error{};
}

// Of the standard key for SSE-KMS alone, once there is one.
awaitable<Error> list_aliases(Call& c) {
  json::array aliases;
  const std::string of = c.has("KeyId") ? objects::ring_key(c.text("KeyId")) : "";
  for (const KeyRing::KeyPtr& key : c.store.keys().list()) {
    if (key->purpose != KeyRing::Purpose::kKms || !is_available(*key)) continue;
    if (!of.empty() && of != key->id) continue;
    const std::string arn = cat("arn:aws:kms:", c.region, ":", kAccount, ":alias/aws/s3");
    aliases.push_back(json::object{{"AliasName", "alias/aws/s3"},
                                   {"AliasArn", view(arn)},
                                   {"TargetKeyId", view(key->id)},
                                   {"CreationDate", seconds(key->created_ms)}});
  }
  c.answer["Aliases"] = std::move(aliases);
  c.answer["Truncated"] = false;
  co_return Error{};
}

awaitable<Error> set_enabled(Call& c, bool enabled) {
  const auto key = c.store.keys().find(c.key_id);
  if (!key.ok()) co_return error_of(key.status());
  if ((*key)->purpose != KeyRing::Purpose::kNamed) {
    co_return Error{"UnsupportedOperationException", "The standard keys are always enabled"};
  }
  auto changed = c.store.keys().enable(c.key_id, enabled);
  co_return co_await made(c, std::move(changed));
}
awaitable<Error> enable_key(Call& c) { co_return co_await set_enabled(c, true); }
awaitable<Error> disable_key(Call& c) { co_return co_await set_enabled(c, false); }

awaitable<Error> rotate_key(Call& c) {
  auto changed = c.store.keys().rotate(c.key_id);
  if (changed.ok()) c.answer["KeyId"] = view(c.key_id);
  co_return co_await made(c, std::move(changed));
}

awaitable<Error> list_rotations(Call& c) {
  const auto key = c.store.keys().find(c.key_id);
  if (!key.ok()) co_return error_of(key.status());
  Page page;
  if (Error e = page.parse(c)) co_return e;
  const auto after = page.after.empty() ? std::optional<size_t>(0) : parse_int<size_t>(page.after);
  if (!after) co_return Error{"InvalidMarkerException", "The marker is none"};
  json::array rotations;
  const auto& versions = (*key)->versions;
  size_t i = *after < versions.size() ? *after + 1 : versions.size();
  for (; i < versions.size() && rotations.size() < page.limit; i++) {
    rotations.push_back(json::object{{"KeyId", view(c.key_id)},
                                     {"RotationDate", seconds(versions[i].created_ms)},
                                     {"RotationType", "ON_DEMAND"}});
  }
  const bool truncated = i < versions.size();
  c.answer["Rotations"] = std::move(rotations);
  c.answer["Truncated"] = truncated;
  if (truncated) c.answer["NextMarker"] = view(cat(i - 1));
  co_return Error{};
}

awaitable<Error> rotation_status(Call& c) {
  const auto key = c.store.keys().find(c.key_id);
  c.answer["KeyRotationEnabled"] = false;  // by itself
  c.answer["KeyId"] = view(c.key_id);
  co_return error_of(key.status());
}

awaitable<Error> update_description(Call& c) {
  std::string description;
  if (Error e = description_of(c, description)) co_return e;
  auto changed = c.store.keys().describe(c.key_id, description);
  co_return co_await made(c, std::move(changed));
}

constexpr Row kRows[] = {
    {"CreateKey", create_key,
     "Description KeyUsage KeySpec CustomerMasterKeySpec Origin MultiRegion", false},
    {"DescribeKey", describe_key, "KeyId"},
    {"DisableKey", disable_key, "KeyId"},
    {"EnableKey", enable_key, "KeyId"},
    {"GetKeyRotationStatus", rotation_status, "KeyId"},
    {"ListAliases", list_aliases, "KeyId Limit Marker", false},
    {"ListKeyRotations", list_rotations, "KeyId Limit Marker"},
    {"ListKeys", list_keys, "Limit Marker", false},
    {"RotateKeyOnDemand", rotate_key, "KeyId"},
    {"UpdateKeyDescription", update_description, "KeyId Description"},
};

bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t blank = std::min(names.find(' '), names.size());
    if (names.substr(0, blank) == name) return true;
    names.remove_prefix(std::min(blank + 1, names.size()));
  }
  return false;
}

Error check_fields(const Row& row, const json::object& body) {
  for (const auto& field : body) {
    const std::string_view name(field.key().data(), field.key().size());
    if (lists(row.fields, name)) {
      const bool is_text = name != "Limit" && name != "MultiRegion";
      if (!is_text || field.value().is_string()) continue;
      return {"SerializationException", cat(name, " is no text")};
    }
    // What says nothing is no wish: clients send lists without members.
    if (field.value().is_array() && field.value().get_array().empty()) continue;
    return {"UnsupportedOperationException",
            cat("Cairn does not honour the field ", name.substr(0, 64), " of ", row.name)};
  }
  return {};
}

// What S3's authenticator says, in KMS's words.
Error error_of_login(const s3::Error& e) {
  if (e.code == "ExpiredToken") {
    return {"ExpiredTokenException", "The security token included in the request is expired"};
  }
  if (e.code == "InvalidAccessKeyId" || e.code == "InvalidToken") {
    return {"UnrecognizedClientException",
            "The security token included in the request is invalid."};
  }
  if (e.code == "SignatureDoesNotMatch" || e.code == "RequestTimeTooSkewed") {
    return {"InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method."};
  }
  return {"MissingAuthenticationTokenException",
          e.message.empty() ? "Missing Authentication Token" : e.message};
}

int http_status(std::string_view code) {
  if (code == "KMSInternalException") return 500;
  return code == "ServiceUnavailableException" ? 503 : 400;
}

}  // namespace

std::span<const Row> rows() { return kRows; }

bool Service::is_call(const http::Request& request) {
  return request.method == "POST" && request.path == "/" &&
         request.header(kTarget).starts_with(kService);
}

awaitable<Error> Service::run(http::Request& request, std::string& answer) {
  auto body = co_await http::read_all(*request.body, kBodyMax);
  if (!body.ok()) co_return Error{"SerializationException", std::string(body.status().message())};
  s3::Authenticated auth;
  const std::string sha256 = objects::hex(objects::digest_of(objects::Algorithm::kSha256, *body));
  if (s3::Error e =
          authenticator_.authenticate_call(request, store_.now_ms(), "kms", sha256, auth)) {
    if (s3::is_login_failure(e)) {
      note_auth_failure(users_, store_.options().report, alarm::kAuthS3, s3::claimed_key(request),
                        request.peer);
    }
    co_return error_of_login(e);
  }
  const std::string_view name = request.header(kTarget).substr(kService.size());
  const auto row = std::find_if(std::begin(kRows), std::end(kRows),
                                [name](const Row& r) { return r.name == name; });
  if (row == std::end(kRows)) {
    co_return Error{"UnknownOperationException", cat("Cairn does not have ", name.substr(0, 64))};
  }
  json::error_code failed;
  json::value parsed = json::parse({body->data(), body->size()}, failed);
  if (failed || !parsed.is_object()) co_return Error{"SerializationException", "It is no JSON"};
  json::object said;
  Call call{store_, region_, parsed.get_object(), said};
  if (row->of_key) {
    if (Error e = find_key(call)) co_return e;
  }
  const std::string target = row->of_key ? arn_of(call, call.key_id) : "*";
  const Circumstances from{request.peer, request.secure};
  const bool may = authorize(*auth.principal, row->action(), policy::Resource::arn(target), from);
  if (Audit* audit = users_.audit()) {
    audit->note({"kms", auth.principal->name(), request.peer, row->name, {}, target, may});
  }
  if (!may) {
    const auto rights = auth.principal->rights();
    co_return Error{
        "AccessDeniedException",
        cat("User: ", rights == nullptr ? root_arn() : rights->shown_arn(),
            " is not authorized to perform: kms:", row->name, " on resource: ", target)};
  }
  if (Error e = check_fields(*row, call.body)) co_return e;
  Error done = co_await row->run(call);
  answer = json::serialize(said);
  co_return done;
}

awaitable<void> Service::handle(http::Request& request, http::Response& response) {
  std::string answer;
  Error e{"ServiceUnavailableException", "The store is being opened."};
  if (!store_.loading() && !users_.loading()) e = co_await run(request, answer);
  response.set("Content-Type", "application/x-amz-json-1.1");
  if (!e) {
    response.body = std::move(answer);
    co_return;
  }
  response.status = http_status(e.code);
  const json::object said{{"__type", view(e.code)}, {"message", view(e.message)}};
  response.body = json::serialize(said);
}

}  // namespace cairn::kms
