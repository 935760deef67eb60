#include "gateway/http/s3/service.h"

#include <algorithm>

#include "core/text.h"
#include "gateway/credentials.h"

namespace cairn::s3 {

std::string xml_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          append(out, "&#", static_cast<int>(c), ";");
        } else {
          out.push_back(c);
        }
    }
  }
  return out;
}

void reply_xml(Call& call, std::string body) {
  call.response.set("Content-Type", "application/xml");
  call.response.body = std::move(body);
}

awaitable<Error> settle(Call& call, Lsn lsn) {
  if (!lsn.valid() || call.store.log().is_durable(lsn)) co_return Error{};
  Status durable = co_await call.store.log().wait_durable(lsn);
  co_return error_of(durable);
}

awaitable<Error> read_xml(Call& call, size_t limit, std::string& text) {
  auto body = co_await http::read_all(*call.body, limit);
  if (!body.ok()) {
    if (absl::IsResourceExhausted(body.status())) co_return Error{"MaxMessageLengthExceeded", ""};
    co_return error_of(body.status());
  }
  text = std::move(*body);
  if (std::string_view md5 = call.request.header("content-md5"); !md5.empty()) {
    if (objects::base64(objects::digest_of(objects::Algorithm::kMd5, text)) != md5) {
      co_return Error{"BadDigest", ""};
    }
  }
  for (std::string_view name : {"crc32", "crc32c", "crc64nvme", "sha1", "sha256"}) {
    std::string_view declared = call.request.header(cat("x-amz-checksum-", name));
    if (declared.empty()) continue;
    if (objects::base64(objects::digest_of(*objects::algorithm_named(name), text)) != declared) {
      co_return Error{"BadDigest", ""};
    }
  }
  co_return Error{};
}

objects::Conditions conditions_of(const http::Request& r, std::string_view prefix) {
  objects::Conditions c;
  c.if_match = r.header(cat(prefix, "if-match"));
  c.if_none_match = r.header(cat(prefix, "if-none-match"));
  if (auto h = r.header(cat(prefix, "if-modified-since")); !h.empty()) {
    c.if_modified_since_s = http::parse_http_date(h);
  }
  if (auto h = r.header(cat(prefix, "if-unmodified-since")); !h.empty()) {
    c.if_unmodified_since_s = http::parse_http_date(h);
  }
  return c;
}

// ---- the way in ----

void Service::address(const http::Request& r, Call& call) const {
  std::string_view host = r.header("host");
  host = host.substr(
      0, host.rfind(':') == host.npos || host.back() == ']' ? host.npos : host.rfind(':'));
  const std::string suffix = cat(".", domain_);
  std::string_view path = std::string_view(r.path).substr(1);
  if (host.size() > suffix.size() &&
      equals_ignoring_case(host.substr(host.size() - suffix.size()), suffix)) {
    call.bucket_name = host.substr(0, host.size() - suffix.size());
    call.key = path;
    return;
  }
  size_t slash = path.find('/');
  call.bucket_name = path.substr(0, slash);
  if (slash != path.npos) call.key = path.substr(slash + 1);
}

awaitable<Error> Service::dispatch(http::Request& request, http::Response& response) {
  Call call{store_, request, response, {}, {}, {}, {}, nullptr};
  address(request, call);
  if (Error e = authenticator_.authenticate(request, store_.now_ms(), call.auth)) co_return e;
  PayloadBody body(*request.body, call.auth);
  call.body = &body;
  if (call.key.size() > objects::kObjectKeyMax) co_return Error{"KeyTooLongError", ""};
  const Scope scope = call.bucket_name.empty() ? Scope::kService
                      : call.key.empty()       ? Scope::kBucket
                                               : Scope::kObject;
  // What Cairn does not have says so, rather than be taken for a plain GET or PUT.
  constexpr std::string_view kAbsent[] = {"acl",
                                          "policy",
                                          "policyStatus",
                                          "cors",
                                          "lifecycle",
                                          "tagging",
                                          "versions",
                                          "website",
                                          "logging",
                                          "notification",
                                          "replication",
                                          "encryption",
                                          "object-lock",
                                          "retention",
                                          "legal-hold",
                                          "torrent",
                                          "restore",
                                          "select",
                                          "attributes",
                                          "requestPayment",
                                          "accelerate",
                                          "inventory",
                                          "analytics",
                                          "metrics",
                                          "publicAccessBlock",
                                          "ownershipControls",
                                          "intelligent-tiering",
                                          "versionId"};
  for (auto name : kAbsent) {
    if (call.has_param(name) && !(name == "versionId" && call.param(name) == "null")) {
      co_return Error{"NotImplemented", cat("Cairn does not have ?", name, " yet")};
    }
  }
  for (std::string_view name :
       {"x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-tagging", "x-amz-object-lock-mode", "x-amz-object-lock-legal-hold",
        "x-amz-website-redirect-location"}) {
    if (request.has_header(name)) {
      co_return Error{"NotImplemented", cat("Cairn does not have ", name, " yet")};
    }
  }
  const Row* best = nullptr;
  for (auto rows : {multipart_rows(), bucket_rows(), object_rows()}) {
    for (const Row& row : rows) {
      if (row.method != request.method || row.scope != scope) continue;
      if (!row.subresource.empty() && !call.has_param(row.subresource)) continue;
      if (!row.header.empty() && !request.has_header(row.header)) continue;
      auto weight = [](const Row& r) { return !r.subresource.empty() * 2 + !r.header.empty(); };
      if (best == nullptr || weight(row) > weight(*best)) best = &row;
    }
  }
  if (best == nullptr) co_return Error{"MethodNotAllowed", ""};
  if (best->needs_bucket && scope != Scope::kService) {
    call.bucket = store_.find_namespace(call.bucket_name);
    if (call.bucket == nullptr) co_return Error{"NoSuchBucket", ""};
  }
  co_return co_await best->run(call);
}

awaitable<void> Service::handle(http::Request& request, http::Response& response) {
  const std::string id = random_hex(8);
  Error e{"ServiceUnavailable", "The store is being opened."};
  if (!store_.loading()) e = co_await dispatch(request, response);
  response.set("x-amz-request-id", id);
  if (!e) co_return;
  response.headers.erase(std::remove_if(response.headers.begin(), response.headers.end(),
                                        [](auto& h) { return h.first == "Content-Type"; }),
                         response.headers.end());
  response.stream.reset();
  response.content_length.reset();
  response.status = http_status(e.code);
  response.set("Content-Type", "application/xml");
  response.body = cat(kXmlHead, "<Error><Code>", e.code, "</Code><Message>",
                      xml_escape(e.message.empty() ? default_message(e.code) : e.message),
                      "</Message><Resource>", xml_escape(request.path), "</Resource><RequestId>",
                      id, "</RequestId></Error>");
}

}  // namespace cairn::s3
