#include "gateway/http/s3/service.h"

#include <algorithm>
#include <random>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/store/auth_failure.h"
#include "gateway/http/s3/access_log.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/carried.h"
#include "gateway/http/s3/cors.h"
#include "gateway/http/s3/login_failure.h"
#include "gateway/http/s3/post.h"
#include "gateway/http/s3/request_context.h"
#include "gateway/http/s3/sigv2.h"
#include "gateway/http/s3/website.h"
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

Error not_set(const Call& call, std::string_view code) {
  return {code, "", call.store.newest_name(), {{"BucketName", call.bucket_name}}};
}

void takes_long(Call& call) {
  call.response.xml_head = kXmlHead;
  call.response.takes_long();
}

bool settled(const Call& call, Lsn lsn) {
  if (lsn.valid()) (void)call.store.memory().help();
  return !lsn.valid() || call.store.log().is_durable(lsn);
}

awaitable<Error> settle(Call& call, Lsn lsn) {
  if (settled(call, lsn)) co_return Error{};
  Status durable = co_await call.store.log().wait_durable(lsn);
  co_return error_of(durable);
}

awaitable<Error> until_idle(Call& call, std::string_view key) {
  if (call.bucket == nullptr || key.empty() || !call.store.busy().any()) co_return Error{};
  co_return error_of(co_await call.store.busy().until_idle(call.bucket->hash(key)));
}

awaitable<Error> enter_bucket(Call& call) {
  call.bucket = call.store.find_namespace(call.bucket_name);
  if (call.bucket == nullptr) co_return Error{"NoSuchBucket", "", call.store.newest_name()};
  co_return co_await settle(call, call.store.newest_name());
}

Error invalid_md5(std::string_view header) {
  return {"InvalidDigest", "", {}, {{"Content-MD5", std::string(header)}}};
}
Error wrong_md5(std::string_view header, std::string_view found) {
  return {"BadDigest",
          "The Content-MD5 you specified did not match what we received.",
          {},
          {{"ExpectedDigest", std::string(header)}, {"CalculatedDigest", objects::base64(found)}}};
}
Error wrong_checksum(std::string_view algorithm) {
  return {"BadDigest",
          cat("The ", upper(algorithm), " you specified did not match the calculated checksum.")};
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
    if (!raw || raw->size() != 16) co_return invalid_md5(md5);
    const std::string found = objects::digest_of(objects::Algorithm::kMd5, text);
    if (*raw != found) co_return wrong_md5(md5, found);
  }
  if (of_object) co_return Error{};
  for (auto& [tag, name] : kChecksumTags) {
    const std::string header = cat("x-amz-checksum-", name);
    if (!call.request.has_header(header)) continue;
    if (objects::base64(objects::digest_of(*objects::algorithm_named(name), text)) !=
        call.request.header(header)) {
      co_return wrong_checksum(name);
    }
  }
  co_return Error{};
}

Error conditions_of(const http::Request& r, objects::Conditions& c, std::string_view prefix) {
  const bool some = std::any_of(r.headers.begin(), r.headers.end(),
                                [](auto& f) { return f.first.find("if-") != f.first.npos; });
  if (!some) return {};
  c.if_match = r.header(cat(prefix, "if-match"));
  c.if_none_match = r.header(cat(prefix, "if-none-match"));
  for (auto& [name, to] : {std::pair{"if-modified-since", &c.if_modified_since_s},
                           std::pair{"if-unmodified-since", &c.if_unmodified_since_s}}) {
    const std::string header = cat(prefix, name);
    if (!r.has_header(header)) continue;
    *to = http::parse_http_date(r.header(header));
    // A condition that cannot be judged did not hold.
    if (!*to) return argument_invalid(header, r.header(header), cat(header, " is not a date"));
  }
  for (auto name : {"if-match", "if-none-match"}) {
    const std::string header = cat(prefix, name);
    if (r.has_header(header) && r.header(header).empty()) {
      return {"InvalidArgument", cat(header, " is empty")};
    }
  }
  if (!prefix.empty()) return {};
  if (constexpr auto kTime = "x-amz-if-match-last-modified-time"; r.has_header(kTime)) {
    c.if_modified_at_s = http::parse_http_date(r.header(kTime));
    if (!c.if_modified_at_s) {
      return argument_invalid(kTime, r.header(kTime), "the time of a condition is none");
    }
  }
  if (constexpr auto kSize = "x-amz-if-match-size"; r.has_header(kSize)) {
    c.if_size = parse_int<uint64_t>(r.header(kSize));
    if (!c.if_size) {
      return argument_invalid(kSize, r.header(kSize), "the size of a condition is none");
    }
  }
  return {};
}

Error may_compare(const Call& call, std::string_view key, const objects::Conditions& conditions) {
  if (conditions.if_match.empty() || conditions.if_match == "*") return {};
  return call.may(action::kGetObject, call.bucket_name, key);
}

Error ttl_of(const Call& call, std::optional<int64_t>& ttl_ms) {
  constexpr std::string_view kHeader = "x-cairn-ttl";
  constexpr int64_t kSecondsMax = int64_t{1} << 40;
  if (!call.request.has_header(kHeader)) return {};
  const auto seconds = parse_int<int64_t>(call.request.header(kHeader));
  if (!seconds || *seconds < 1 || *seconds > kSecondsMax) {
    return argument_invalid(kHeader, call.request.header(kHeader),
                            "x-cairn-ttl is a number of seconds from 1 on");
  }
  ttl_ms = *seconds * 1000;
  return {};
}

int64_t expiry_after(const Call& call, std::optional<int64_t> ttl_ms) {
  Now now(call.store.clock());
  return ttl_ms ? now.ms() + *ttl_ms : call.bucket->default_expiry_ms(now);
}

std::array<std::span<const Row>, 22> all_rows() {
  return {acl_rows(),           batch_rows(),        bucket_policy_rows(), bucket_rows(),
          cors_rows(),          default_ttl_rows(),  encryption_rows(),    etag_rows(),
          find_rows(),          lifecycle_rows(),    lock_rows(),          logging_rows(),
          multipart_rows(),     notification_rows(), object_rows(),        post_rows(),
          public_access_rows(), rename_rows(),       settings_rows(),      tagging_rows(),
          version_rows(),       website_rows()};
}

// ---- the way in ----

Error Call::may(const Action& action, std::string_view space, std::string_view of_key,
                const std::string* version) const {
  if (auth.principal->may_all()) return {};
  const RequestContext context(request, auth, {store, space, of_key, version});
  const Circumstances from{request.peer, request.secure, &context};
  if (cairn::authorize(*auth.principal, action, space, of_key, from)) return {};
  const auto rights = auth.principal->rights();
  if (is_anonymous() || rights == nullptr) return {"AccessDenied", "", context.seen()};
  // As AWS says it to who is of the account.
  std::string why = cat("User: ", rights->shown_arn(),
                        " is not authorized to perform: ", action.door, ":", action.name);
  if (!space.empty()) {
    append(why, " on resource: \"arn:aws:s3:::", space, of_key.empty() ? "" : "/", of_key, "\"");
  }
  return {"AccessDenied", std::move(why), context.seen()};
}

void Call::note(const Action& action, std::string_view space, std::string_view of_key,
                bool allowed) const {
  Audit* audit = users == nullptr ? nullptr : users->audit();
  if (audit == nullptr || auth.principal == nullptr) return;
  audit->note({"s3", auth.principal->name(), request.peer, action.name, space, of_key, allowed});
}

std::string_view Service::bucket_of_host(const http::Request& r) const {
  std::string_view host = r.header("host");
  host = host.substr(
      0, host.rfind(':') == host.npos || host.back() == ']' ? host.npos : host.rfind(':'));
  if (host.size() <= domain_.size() + 1) return {};
  const std::string_view bucket = host.substr(0, host.size() - domain_.size() - 1);
  if (host[bucket.size()] != '.' ||
      !equals_ignoring_case(host.substr(bucket.size() + 1), domain_)) {
    return {};
  }
  return bucket;
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

// The rows of a scope with a method; those that ask for more of a request come first.
struct RowsOf {
  Scope scope;
  std::string_view method;
  std::vector<const Row*> rows;
};
std::vector<RowsOf> sorted_rows() {
  std::vector<RowsOf> all;
  for (auto rows : all_rows()) {
    for (const Row& row : rows) {
      auto of = std::find_if(all.begin(), all.end(), [&](auto& r) {
        return r.scope == row.scope && r.method == row.method;
      });
      if (of == all.end()) of = all.insert(all.end(), {row.scope, row.method, {}});
      of->rows.push_back(&row);
    }
  }
  const auto weight = [](const Row* r) { return !r->subresource.empty() * 2 + !r->header.empty(); };
  for (auto& of : all) {
    std::stable_sort(of.rows.begin(), of.rows.end(),
                     [&](auto* a, auto* b) { return weight(a) > weight(b); });
  }
  return all;
}

const Row* find_row(const Call& call, Scope scope) {
  static const std::vector<RowsOf> all = sorted_rows();
  for (auto& of : all) {
    if (of.scope != scope || of.method != call.request.method) continue;
    for (const Row* row : of.rows) {
      if (!row->subresource.empty() && !call.has_param(row->subresource)) continue;
      if (!row->header.empty() && !call.request.has_header(row->header)) continue;
      return row;
    }
  }
  return nullptr;
}

// Whether the caller may do what the row does, as far as can be said yet.
Error authorize(const Call& call, const Row& row) {
  // What is of no bucket is allowed as a whole or not at all.
  if (row.many && row.scope == Scope::kService) return call.may(row.action);
  // A stranger is asked for each in a bucket that says something of strangers.
  if (row.many && call.is_anonymous()) {
    const bool says = call.store.bucket_access().find(call.bucket_name) != nullptr;
    return says ? Error{} : Error{"AccessDenied", ""};
  }
  if (row.many) return {};
  const bool of_version = !row.of_version.name.empty() && call.has_param("versionId");
  return call.may(of_version ? row.of_version : row.action, call.bucket_name, call.key);
}

// What a request that nobody signed is told before it is asked what it may: what S3 has signed
// whatever a policy says, as copies and uploads in parts, and all that changes what is set for a
// bucket.
Error check_anonymous(const Call& call, const Row& row) {
  const std::string_view name = row.action.name;
  if (name.ends_with("BucketPolicy")) return {"MethodNotAllowed", ""};
  const bool sets = row.scope == Scope::kBucket &&
                    (row.method == "PUT" || row.method == "DELETE") && name != "PutBucketAcl";
  if (sets || row.name == "CopyObject" || row.name == "UploadPartCopy" ||
      row.name == "CreateMultipartUpload") {
    return {"AccessDenied", ""};
  }
  if (row.needs_bucket && row.scope != Scope::kService &&
      call.store.find_namespace(call.bucket_name) == nullptr) {
    return {"NoSuchBucket", "", call.store.newest_name()};
  }
  for (const auto& [name, value] : call.request.query) {
    if (name.starts_with("response-")) {
      return {"InvalidRequest",
              "Request specific response headers cannot be used for anonymous GET requests."};
    }
  }
  return {};
}

// What S3 says beside the code of an error about what the request names.
void name_what(const Call& call, Error& e) {
  if (!e.fields.empty()) return;
  if (e.code == "NoSuchBucket" || e.code == "BucketNotEmpty" ||
      e.code == "BucketAlreadyOwnedByYou" || e.code == "InvalidBucketName") {
    e.fields = {{"BucketName", call.bucket_name}};
  } else if (e.code == "NoSuchKey") {
    e.fields = {{"Key", call.key}};
  } else if (e.code == "NoSuchUpload") {
    e.fields = {{"UploadId", call.param("uploadId")}};
  } else if (e.code == "KeyTooLongError") {
    e.fields = {{"Size", cat(call.key.size())}, {"MaxSizeAllowed", cat(objects::kObjectKeyMax)}};
  }
}

// The body of an operation that has no use for one is still what was signed and declared.
awaitable<Error> throw_away_body(Call& call) {
  constexpr size_t kUnwantedMax = 64 << 10;
  std::string text;
  co_return co_await read_small(call, kUnwantedMax, text);
}

// Tells requests apart and hides nothing: OpenSSL's random bytes took 6 % of a small GET.
std::array<char, 16> request_id() {
  thread_local std::mt19937_64 ids(uint64_t{std::random_device{}()} << 32 | std::random_device{}());
  std::array<char, 16> id;
  for (uint64_t bits = ids(); char& c : id) {
    c = "0123456789abcdef"[bits & 15];
    bits >>= 4;
  }
  return id;
}

}  // namespace

void Service::note_failure(const Error& e, std::string_view key, const http::Request& request) {
  if (!is_login_failure(e)) return;
  note_auth_failure(users_, store_.options().report, alarm::kAuthS3, key, request.peer);
}

awaitable<Error> Service::dispatch(http::Request& request, http::Response& response,
                                   std::shared_ptr<LoggedRequest>& access) {
  const int64_t begun_ms = access_log_ == nullptr ? 0 : store_.clock().steady_ms();
  Call call{store_, request, response, {}, {}, {}, {}, nullptr, users_.root_user(), region_};
  call.engines = engines_;
  call.put_bytes_max = put_bytes_max_;
  call.notifier = notifier_;
  call.users = &users_;
  call.hashers = hashers_;
  address(request, call);
  Error e = co_await dispatch(call);
  name_what(call, e);
  if (Audit* audit = users_.audit(); audit != nullptr && call.auth.principal != nullptr) {
    const std::string_view action = call.row == nullptr ? "" : call.row->action.name;
    audit->note({"s3", call.auth.principal->name(), request.peer, action, call.bucket_name,
                 call.key, e.code != "AccessDenied"});
  }
  access = LoggedRequest::of(call, access_log_, begun_ms, false);
  // Whatever is refused, it may show rules of the bucket.
  if (e && request.has_header("origin")) e.rests_on = std::max(e.rests_on, store_.newest_name());
  co_return e;
}

awaitable<Error> Service::dispatch(Call& call) {
  http::Request& request = call.request;
  if (request.method == "OPTIONS") co_return co_await preflight(call);
  answer_origin(call);
  if (is_form(call)) {
    std::string key;
    Error e = co_await post_form(call, authenticator_, key);
    note_failure(e, key, request);
    co_return e;
  }
  if (Error e = authenticator_.authenticate(request, store_.now_ms(), call.auth,
                                            bucket_of_host(request))) {
    note_failure(e, claimed_key(request), request);
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
  if (call.is_anonymous()) {
    if (Error e = check_anonymous(call, *row)) co_return e;
  }
  if (Error e = authorize(call, *row)) co_return e;
  if (Error e = check_carried(*row, call)) co_return e;
  if (!row->reads_body && body.may_have_any(request)) {
    if (Error e = co_await throw_away_body(call)) co_return e;
  }
  if (row->needs_bucket && scope != Scope::kService) {
    call.bucket = call.store.find_namespace(call.bucket_name);
    if (call.bucket == nullptr || !settled(call, call.store.newest_name())) {
      if (Error e = co_await enter_bucket(call)) co_return e;
    }
  }
  if (call.store.busy().any()) {
    if (Error e = co_await until_idle(call, call.key)) co_return e;
  }
  Error done = co_await row->run(call);
  // Whether a key is there is told to who may list.
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (done.code == "NoSuchKey" && reads && call.may(action::kListBucket, call.bucket_name)) {
    done = {"AccessDenied", "", done.rests_on};
  }
  co_return done;
}

awaitable<Error> Service::dispatch_site(http::Request& request, http::Response& response,
                                        std::string_view bucket,
                                        std::shared_ptr<LoggedRequest>& access) {
  const int64_t begun_ms = access_log_ == nullptr ? 0 : store_.clock().steady_ms();
  Call call{store_, request, response, {}, {}, {}, {}, nullptr, users_.root_user(), region_};
  call.users = &users_;
  call.bucket_name = bucket;
  call.key = std::string_view(request.path).substr(1);
  PayloadBody body(*request.body, call.auth);
  call.body = &body;
  answer_origin(call);
  Error e = co_await serve_site(call);
  name_what(call, e);
  access = LoggedRequest::of(call, access_log_, begun_ms, true);
  co_return e;
}

// Of what is logged: the answer is as it leaves, or `e`.
static void log_access(std::shared_ptr<LoggedRequest> access, const Error& e,
                       http::Response& response, std::string_view id) {
  if (access == nullptr) return;
  access->answered(e, response, id);
  response.left = [access = std::move(access)](uint64_t bytes) { access->left(bytes); };
}

awaitable<void> Service::handle(http::Request& request, http::Response& response) {
  const auto digits = request_id();
  const std::string_view id(digits.data(), digits.size());
  response.set("x-amz-request-id", id);
  Error e{"ServiceUnavailable", "The store is being opened."};
  const std::string_view site = site_of_host(bucket_of_host(request), region_);
  std::shared_ptr<LoggedRequest> access;
  if (!store_.loading() && !users_.loading()) {
    if (site.empty()) {
      e = co_await dispatch(request, response, access);
    } else {
      e = co_await dispatch_site(request, response, site, access);
    }
  }
  if (e && e.rests_on.valid()) {
    Status durable = co_await store_.log().wait_durable(e.rests_on);
    if (!durable.ok()) e = error_of(durable);
  }
  if (!e) co_return log_access(std::move(access), e, response, id);
  response.headers.erase("Content-Type");
  response.stream.reset();
  response.pieces.reset();
  response.content_length.reset();
  response.status = http_status(e.code);
  log_access(std::move(access), e, response, id);
  if (!site.empty()) {
    response.set("Content-Type", "text/html; charset=utf-8");
    response.body = error_page(e, id);
    co_return;
  }
  XmlOut xml("Error", false);
  add(xml.root(), "Code", e.code);
  add(xml.root(), "Message",
      e.message.empty() ? default_message(e.code) : std::string_view(e.message));
  if (e.code == "AuthorizationHeaderMalformed") add(xml.root(), "Region", region_);
  for (auto& [name, value] : e.fields) add(xml.root(), std::string(name).c_str(), value);
  add(xml.root(), "Resource", request.raw_path);
  add(xml.root(), "RequestId", id);
  response.set("Content-Type", "application/xml");
  response.body = xml.text();
}

}  // namespace cairn::s3
