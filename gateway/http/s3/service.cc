#include "gateway/http/s3/service.h"

#include <algorithm>
#include <random>

#include "core/base/text.h"
#include "core/store/auth_failure.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/carried.h"
#include "objects/digest.h"

namespace cairn::s3 {

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& x : out) x = static_cast<char>(x >= 'a' && x <= 'z' ? x - 32 : x);
  return out;
}

void reply_xml(Call& call, const XmlOut& xml) {
  call.response.set("Content-Type", "application/xml");
  call.response.body = xml.text();
}

void takes_long(Call& call) {
  call.response.xml_head = kXmlHead;
  call.response.takes_long();
}

awaitable<Error> settle(Call& call, Lsn lsn) {
  if (lsn.valid()) (void)call.store.memory().help();
  if (!lsn.valid() || call.store.log().is_durable(lsn)) co_return Error{};
  Status durable = co_await call.store.log().wait_durable(lsn);
  co_return error_of(durable);
}

awaitable<Error> until_idle(Call& call, std::string_view key) {
  if (call.bucket == nullptr || key.empty() || !call.store.busy().any()) co_return Error{};
  co_return error_of(co_await call.store.busy().until_idle(call.bucket->hash(key)));
}

awaitable<Error> read_small(Call& call, size_t limit, std::string& text, bool of_object) {
  auto body = co_await http::read_all(*call.body, limit);
  if (!body.ok()) {
    if (absl::IsResourceExhausted(body.status())) co_return Error{"MaxMessageLengthExceeded", ""};
    co_return error_of(body.status());
  }
  text = std::move(*body);
  if (call.request.has_header("content-md5")) {
    const std::string_view md5 = call.request.header("content-md5");
    auto raw = objects::base64_decode(md5);
    if (!raw || raw->size() != 16) co_return Error{"InvalidDigest", ""};
    if (*raw != objects::digest_of(objects::Algorithm::kMd5, text))
      co_return Error{"BadDigest", ""};
  }
  if (of_object) co_return Error{};
  for (auto& [tag, name] : kChecksumTags) {
    const std::string header = cat("x-amz-checksum-", name);
    if (!call.request.has_header(header)) continue;
    if (objects::base64(objects::digest_of(*objects::algorithm_named(name), text)) !=
        call.request.header(header)) {
      co_return Error{"BadDigest", ""};
    }
  }
  co_return Error{};
}

Error conditions_of(const http::Request& r, objects::Conditions& c, std::string_view prefix) {
  c.if_match = r.header(cat(prefix, "if-match"));
  c.if_none_match = r.header(cat(prefix, "if-none-match"));
  for (auto& [name, to] : {std::pair{"if-modified-since", &c.if_modified_since_s},
                           std::pair{"if-unmodified-since", &c.if_unmodified_since_s}}) {
    const std::string header = cat(prefix, name);
    if (!r.has_header(header)) continue;
    *to = http::parse_http_date(r.header(header));
    // A condition that cannot be judged did not hold.
    if (!*to) return {"InvalidArgument", cat(header, " is not a date")};
  }
  for (auto name : {"if-match", "if-none-match"}) {
    const std::string header = cat(prefix, name);
    if (r.has_header(header) && r.header(header).empty()) {
      return {"InvalidArgument", cat(header, " is empty")};
    }
  }
  return {};
}

// ---- the way in ----

Error Call::may(const Action& action, std::string_view space, std::string_view of_key) const {
  if (authorize(*auth.principal, action, space, of_key)) return {};
  return {"AccessDenied", ""};
}

std::string_view Service::bucket_of_host(const http::Request& r) const {
  std::string_view host = r.header("host");
  host = host.substr(
      0, host.rfind(':') == host.npos || host.back() == ']' ? host.npos : host.rfind(':'));
  const std::string suffix = cat(".", domain_);
  if (host.size() <= suffix.size() ||
      !equals_ignoring_case(host.substr(host.size() - suffix.size()), suffix)) {
    return {};
  }
  return host.substr(0, host.size() - suffix.size());
}

void Service::address(const http::Request& r, Call& call) const {
  std::string_view path = std::string_view(r.path).substr(1);
  call.bucket_name = bucket_of_host(r);
  if (!call.bucket_name.empty()) {
    call.key = path;
    return;
  }
  size_t slash = path.find('/');
  call.bucket_name = path.substr(0, slash);
  if (slash != path.npos) call.key = path.substr(slash + 1);
}

namespace {

const Row* find_row(const Call& call, Scope scope) {
  const Row* best = nullptr;
  for (auto rows : {multipart_rows(), bucket_rows(), object_rows()}) {
    for (const Row& row : rows) {
      if (row.method != call.request.method || row.scope != scope) continue;
      if (!row.subresource.empty() && !call.has_param(row.subresource)) continue;
      if (!row.header.empty() && !call.request.has_header(row.header)) continue;
      auto weight = [](const Row& r) { return !r.subresource.empty() * 2 + !r.header.empty(); };
      if (best == nullptr || weight(row) > weight(*best)) best = &row;
    }
  }
  return best;
}

// Whether the caller may do what the row does, as far as can be said yet.
Error authorize(const Call& call, const Row& row) {
  if (row.many) return call.may({row.action.door, row.action.name, Access::kNone});
  return call.may(row.action, call.bucket_name, call.key);
}

// The access key that a request names, for one that was not believed.
std::string_view claimed_key(const http::Request& r) {
  constexpr std::string_view kCredential = "Credential=";
  const std::string* in_query = r.param("X-Amz-Credential");
  std::string_view text = in_query != nullptr ? *in_query : r.header("authorization");
  if (const size_t at = text.find(kCredential); in_query == nullptr && at != text.npos) {
    text.remove_prefix(at + kCredential.size());
  }
  return text.substr(0, text.find('/'));
}

// The body of an operation that has no use for one is still what was signed and declared.
awaitable<Error> throw_away_body(Call& call) {
  constexpr size_t kUnwantedMax = 64 << 10;
  std::string text;
  co_return co_await read_small(call, kUnwantedMax, text);
}

// An upload from an HTML form (POST Object) brings its signature in its body.
bool is_form(const Call& call) {
  return call.request.method == "POST" && call.key.empty() &&
         lower(call.request.header("content-type")).starts_with("multipart/form-data");
}

// Tells requests apart and hides nothing: OpenSSL's random bytes took 6 % of a small GET.
std::string request_id() {
  thread_local std::mt19937_64 ids(uint64_t{std::random_device{}()} << 32 | std::random_device{}());
  const uint64_t id = ids();
  return objects::hex({reinterpret_cast<const char*>(&id), sizeof(id)});
}

}  // namespace

awaitable<Error> Service::dispatch(http::Request& request, http::Response& response) {
  Call call{store_, request, response, {}, {}, {}, {}, nullptr, users_.root_user(), region_};
  call.engines = engines_;
  call.hashers = hashers_;
  address(request, call);
  if (is_form(call)) co_return Error{"NotImplemented", "Cairn does not have uploads by forms"};
  if (Error e = authenticator_.authenticate(request, store_.now_ms(), call.auth)) {
    if (e.code == "InvalidAccessKeyId" || e.code == "SignatureDoesNotMatch") {
      note_auth_failure(users_, store_.options().report, alarm::kAuthS3, claimed_key(request),
                        request.peer);
    }
    co_return e;
  }
  if (call.auth.presigned) {
    if (Error e = take_hoisted(request)) co_return e;
  }
  PayloadBody body(*request.body, call.auth);
  call.body = &body;
  // "//bucket/key" names no bucket, and is not "/" either.
  if (call.bucket_name.empty() && request.path != "/") co_return Error{"InvalidBucketName", ""};
  if (call.key.size() > objects::kObjectKeyMax) co_return Error{"KeyTooLongError", ""};
  const Scope scope = call.bucket_name.empty() ? Scope::kService
                      : call.key.empty()       ? Scope::kBucket
                                               : Scope::kObject;
  const Row* row = call.row = find_row(call, scope);
  if (row == nullptr) co_return absent(call);
  if (Error e = authorize(call, *row)) co_return e;
  if (Error e = check_carried(*row, call)) co_return e;
  if (!row->reads_body && body.may_have_any(request)) {
    if (Error e = co_await throw_away_body(call)) co_return e;
  }
  if (row->needs_bucket && scope != Scope::kService) {
    call.bucket = store_.find_namespace(call.bucket_name);
    if (call.bucket == nullptr) co_return Error{"NoSuchBucket", "", store_.newest_name()};
    if (Error e = co_await settle(call, store_.newest_name())) co_return e;
  }
  if (Error e = co_await until_idle(call, call.key)) co_return e;
  co_return co_await row->run(call);
}

awaitable<void> Service::handle(http::Request& request, http::Response& response) {
  const std::string id = request_id();
  response.set("x-amz-request-id", id);
  Error e{"ServiceUnavailable", "The store is being opened."};
  if (!store_.loading()) e = co_await dispatch(request, response);
  if (e && e.rests_on.valid()) {
    Status durable = co_await store_.log().wait_durable(e.rests_on);
    if (!durable.ok()) e = error_of(durable);
  }
  if (!e) co_return;
  response.headers.erase(std::remove_if(response.headers.begin(), response.headers.end(),
                                        [](auto& h) { return h.first == "Content-Type"; }),
                         response.headers.end());
  response.stream.reset();
  response.content_length.reset();
  response.status = http_status(e.code);
  XmlOut xml("Error", false);
  add(xml.root(), "Code", e.code);
  add(xml.root(), "Message",
      e.message.empty() ? default_message(e.code) : std::string_view(e.message));
  if (e.code == "AuthorizationHeaderMalformed") add(xml.root(), "Region", region_);
  add(xml.root(), "Resource", request.raw_path);
  add(xml.root(), "RequestId", id);
  response.set("Content-Type", "application/xml");
  response.body = xml.text();
}

}  // namespace cairn::s3
