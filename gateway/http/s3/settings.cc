// What a bucket's other settings are as long as nobody can set them: S3's own answers for what is
// not set. Setting them is not implemented (carried.h).
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

// The error for what has no default.
struct Unset {
  std::string_view subresource, code;
};
constexpr Unset kUnset[] = {
    {"encryption", "ServerSideEncryptionConfigurationNotFoundError"},
    {"ownershipControls", "OwnershipControlsNotFoundError"},
    {"policy", "NoSuchBucketPolicy"},
    {"policyStatus", "NoSuchBucketPolicy"},
    {"publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"},
    {"replication", "ReplicationConfigurationNotFoundError"},
    {"website", "NoSuchWebsiteConfiguration"},
};

awaitable<Error> get_unset(Call& c) {
  for (auto& [subresource, code] : kUnset) {
    if (subresource == c.row->subresource) co_return not_set(c, code);
  }
  co_return Error{"InternalError", ""};
}

awaitable<Error> get_accelerate(Call& c) {
  reply_xml(c, XmlOut("AccelerateConfiguration"));
  co_return Error{};
}
awaitable<Error> get_logging(Call& c) {
  reply_xml(c, XmlOut("BucketLoggingStatus"));
  co_return Error{};
}
// Nobody pays.
awaitable<Error> get_request_payment(Call& c) {
  XmlOut xml("RequestPaymentConfiguration");
  add(xml.root(), "Payer", "BucketOwner");
  reply_xml(c, xml);
  co_return Error{};
}
// Its owner's, who has all rights, and nobody else's.
void reply_acl(Call& c) {
  XmlOut xml("AccessControlPolicy");
  add_owner(xml.root(), "Owner", c);
  auto grant = add(add(xml.root(), "AccessControlList"), "Grant");
  add_owner(grant, "Grantee", c);
  auto grantee = grant.child("Grantee");
  grantee.append_attribute("xmlns:xsi") = "http://www.w3.org/2001/XMLSchema-instance";
  grantee.append_attribute("xsi:type") = "CanonicalUser";
  add(grant, "Permission", "FULL_CONTROL");
  reply_xml(c, xml);
}
awaitable<Error> get_bucket_acl(Call& c) {
  reply_acl(c);
  co_return Error{};
}
awaitable<Error> get_object_acl(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  auto info = objects::stat(c.store, *c.bucket, c.key, version);
  if (!info.ok()) co_return error_of_object(c, info.status());
  reply_acl(c);
  co_return co_await settle(c, info->seen);
}

constexpr Action get(std::string_view name) { return {action::kDoor, name, Access::kRead}; }
constexpr Row of_bucket(std::string_view operation, std::string_view action,
                        std::string_view subresource, Operation run = get_unset) {
  return {operation, get(action), "GET", Scope::kBucket, subresource, "", run, "", ""};
}
constexpr Row of_object(std::string_view operation, std::string_view subresource, Operation run,
                        Action of_version = {}) {
  return {operation, get(operation), "GET", Scope::kObject, subresource, "",        run,
          "",        "versionId",    true,  false,          false,       of_version};
}

constexpr Row kRows[] = {
    of_bucket("GetBucketAccelerateConfiguration", "GetAccelerateConfiguration", "accelerate",
              get_accelerate),
    of_bucket("GetBucketAcl", "GetBucketAcl", "acl", get_bucket_acl),
    of_bucket("GetBucketEncryption", "GetEncryptionConfiguration", "encryption"),
    of_bucket("GetBucketLogging", "GetBucketLogging", "logging", get_logging),
    of_bucket("GetBucketOwnershipControls", "GetBucketOwnershipControls", "ownershipControls"),
    of_bucket("GetBucketPolicy", "GetBucketPolicy", "policy"),
    of_bucket("GetBucketPolicyStatus", "GetBucketPolicyStatus", "policyStatus"),
    of_bucket("GetBucketReplication", "GetReplicationConfiguration", "replication"),
    of_bucket("GetBucketRequestPayment", "GetBucketRequestPayment", "requestPayment",
              get_request_payment),
    of_bucket("GetBucketWebsite", "GetBucketWebsite", "website"),
    of_bucket("GetPublicAccessBlock", "GetBucketPublicAccessBlock", "publicAccessBlock"),
    of_object("GetObjectAcl", "acl", get_object_acl, get("GetObjectVersionAcl")),
};

}  // namespace

std::span<const Row> settings_rows() { return kRows; }

}  // namespace cairn::s3
