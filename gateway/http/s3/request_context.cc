#include "gateway/http/s3/request_context.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/store/policy_condition.h"
#include "gateway/http/s3/acl.h"
#include "gateway/http/s3/bodies.h"
#include "objects/multipart.h"
#include "objects/object.h"
#include "objects/versions.h"

namespace cairn::s3 {
namespace {

using policy::Key;

// The header that a key has its value from.
std::string_view header_of(Key key) {
  switch (key) {
    case Key::kUserAgent:
      return "user-agent";
    case Key::kReferer:
      return "referer";
    case Key::kAcl:
      return "x-amz-acl";
    case Key::kGrantRead:
      return "x-amz-grant-read";
    case Key::kGrantWrite:
      return "x-amz-grant-write";
    case Key::kGrantReadAcp:
      return "x-amz-grant-read-acp";
    case Key::kGrantWriteAcp:
      return "x-amz-grant-write-acp";
    case Key::kGrantFullControl:
      return "x-amz-grant-full-control";
    case Key::kCopySource:
      return "x-amz-copy-source";
    case Key::kMetadataDirective:
      return "x-amz-metadata-directive";
    case Key::kEncryption:
      return "x-amz-server-side-encryption";
    case Key::kEncryptionKeyId:
      return "x-amz-server-side-encryption-aws-kms-key-id";
    case Key::kCustomerAlgorithm:
      return "x-amz-server-side-encryption-customer-algorithm";
    case Key::kStorageClass:
      return "x-amz-storage-class";
    case Key::kContentSha256:
      return "x-amz-content-sha256";
    case Key::kLockMode:
      return "x-amz-object-lock-mode";
    case Key::kRetainUntilDate:
      return "x-amz-object-lock-retain-until-date";
    case Key::kLegalHold:
      return "x-amz-object-lock-legal-hold";
    case Key::kIfMatch:
      return "if-match";
    case Key::kIfNoneMatch:
      return "if-none-match";
    default:
      return {};
  }
}

// The upload that this object was made of, as far as it tells: its completion may be sent again.
std::optional<ObjectMeta> as_begun(const ObjectMeta& made, const std::string& upload_id) {
  const auto it = made.extra.find("upload");
  if (it == made.extra.end() || it->second != upload_id) return std::nullopt;
  ObjectMeta upload;
  const auto e = objects::Encryption::decode(made.encryption);
  if (!e) return upload;
  if (e->mode == objects::EncryptionMode::kCustomer) {
    upload.extra[std::string(header_of(Key::kCustomerAlgorithm))] = "AES256";
  } else {
    const bool kms = e->mode == objects::EncryptionMode::kKms;
    upload.extra[std::string(header_of(Key::kEncryption))] = kms ? "aws:kms" : "AES256";
  }
  return upload;
}

}  // namespace

RequestContext::RequestContext(const http::Request& request, const Authenticated& auth,
                               const Subject& subject)
    : request_(request), auth_(auth), subject_(subject) {
  if (auth.presigned && auth.signed_ms) {
    signature_age_ = cat(subject.store.now_ms() - *auth.signed_ms);
  }
  constexpr int64_t kDayMs = int64_t{24} * 3600 * 1000;
  if (const auto until =
          policy::parse_moment(request.header("x-amz-object-lock-retain-until-date"))) {
    retention_days_ = cat((*until - subject.store.now_ms() + kDayMs - 1) / kDayMs);
  }
  // Those of PutObjectTagging stand in its body.
  knows_tags_ = !(request.method == "PUT" && request.param("tagging") != nullptr);
  if (request.has_header("x-amz-tagging") &&
      parse_tagging_header(request.header("x-amz-tagging"), tags_)) {
    knows_tags_ = false;  // they are none, and will be refused
  }
  const std::string_view decoded = request.header("x-amz-decoded-content-length");
  if (!decoded.empty()) {
    content_length_ = decoded;
  } else if (request.content_length) {
    content_length_ = cat(*request.content_length);
  }
}

std::optional<std::string_view> RequestContext::value(const policy::ConditionKey& key,
                                                      size_t place) const {
  if (key.key == Key::kRequestObjectTagKeys) {
    if (place >= tags_.size()) return std::nullopt;
    return std::next(tags_.begin(), static_cast<std::ptrdiff_t>(place))->first;
  }
  if (place > 0) return std::nullopt;
  if (key.key == Key::kRequestObjectTag) {
    const auto it = tags_.find(key.tag);
    return it == tags_.end() ? std::nullopt : std::optional<std::string_view>(it->second);
  }
  const auto param = [this](std::string_view name) -> std::optional<std::string_view> {
    const std::string* v = request_.param(name);
    return v == nullptr ? std::nullopt : std::optional<std::string_view>(*v);
  };
  const auto some = [](std::string_view text) {
    return text.empty() ? std::nullopt : std::optional(text);
  };
  switch (key.key) {
    case Key::kPrefix:
      return param("prefix");
    case Key::kDelimiter:
      return param("delimiter");
    case Key::kMaxKeys:
      return param("max-keys");
    case Key::kVersionId:
      if (subject_.version == nullptr) return std::nullopt;
      return *subject_.version;
    case Key::kExistingObjectTag: {
      const ObjectMeta* meta = object();
      if (meta == nullptr) return std::nullopt;
      const auto it = meta->tags.find(key.tag);
      return it == meta->tags.end() ? std::nullopt : std::optional<std::string_view>(it->second);
    }
    case Key::kAuthType:
      if (auth_.anonymous) return std::nullopt;
      if (auth_.form) return "POST";
      return auth_.presigned ? "REST-QUERY-STRING" : "REST-HEADER";
    case Key::kSignatureVersion:
      if (auth_.anonymous) return std::nullopt;
      return auth_.version2 ? "AWS" : "AWS4-HMAC-SHA256";
    case Key::kSignatureAge:
      return some(signature_age_);
    case Key::kObjectCreation: {
      if (request_.method != "PUT" && request_.method != "POST") return std::nullopt;
      const bool of_upload = param("uploads") || param("partNumber");
      return of_upload ? "false" : "true";
    }
    case Key::kContentLength:
      return some(content_length_);
    case Key::kRemainingRetentionDays:
      return some(retention_days_);
    case Key::kEncryption:
    case Key::kEncryptionKeyId:
    case Key::kCustomerAlgorithm:
      if (is_of_upload()) {
        const ObjectMeta* meta = upload();
        if (meta == nullptr) return std::nullopt;
        const auto it = meta->extra.find(std::string(header_of(key.key)));
        return it == meta->extra.end() ? std::nullopt : std::optional<std::string_view>(it->second);
      }
      [[fallthrough]];
    default: {
      const std::string_view name = header_of(key.key);
      if (name.empty() || !request_.has_header(name)) return std::nullopt;
      return request_.header(name);
    }
  }
}

const ObjectMeta* RequestContext::object() const {
  if (!std::exchange(looked_, true) && !subject_.key.empty()) {
    const NamespacePtr ns = subject_.store.find_namespace(subject_.space);
    std::optional<Version> version;
    if (subject_.version != nullptr) version = objects::parse_version_id(*subject_.version);
    const bool none = ns == nullptr || (subject_.version != nullptr && !version);
    if (!none) {
      auto info = objects::stat(subject_.store, *ns, subject_.key, version);
      seen_ = std::max(seen_, info.ok() ? info->seen : rests_on(info.status()));
      if (info.ok()) object_ = std::move(info->meta);
    }
  }
  return object_ ? &*object_ : nullptr;
}

bool RequestContext::is_of_upload() const {
  if (request_.param("uploadId") == nullptr) return false;
  return request_.method == "POST" || request_.param("partNumber") != nullptr;
}

const ObjectMeta* RequestContext::upload() const {
  if (!std::exchange(looked_for_upload_, true) && !subject_.key.empty()) {
    if (const NamespacePtr ns = subject_.store.find_namespace(subject_.space)) {
      auto found =
          objects::find_upload(subject_.store, *ns, subject_.key, *request_.param("uploadId"));
      seen_ = std::max(seen_, found.ok() ? found->seen : rests_on(found.status()));
      if (found.ok()) {
        upload_ = std::move(found->meta);
      } else if (const ObjectMeta* made = object(); made != nullptr) {
        upload_ = as_begun(*made, *request_.param("uploadId"));
      }
    }
  }
  return upload_ ? &*upload_ : nullptr;
}

bool RequestContext::grants(const policy::Request& asked, bool without_public) const {
  const ObjectMeta* meta = object();
  if (meta == nullptr) return false;
  return acl_of(*meta).grants_object(asked.action.own().number(), asked.caller, without_public);
}

bool RequestContext::knows(const policy::ConditionKey& key) const {
  switch (key.key) {
    case Key::kRequestObjectTag:
    case Key::kRequestObjectTagKeys:
      return knows_tags_;
    case Key::kExistingObjectTag:  // a bucket has none
      return true;
    case Key::kLocationConstraint:  // it stands in the body
      return false;
    case Key::kTlsVersion:
      return !request_.secure;
    case Key::kContentLength:
      return !content_length_.empty() || !(request_.has_body || auth_.form);
    default:
      return true;
  }
}

}  // namespace cairn::s3
