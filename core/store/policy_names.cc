#include "core/store/policy_names.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>
#include <vector>

#include "core/base/text.h"

namespace cairn::policy {
namespace {

// AWS's Service Authorization Reference, "Actions defined by Amazon S3", of August 2026.
constexpr std::string_view kObjectActions[] = {"AbortMultipartUpload",
                                               "BypassGovernanceRetention",
                                               "DeleteObject",
                                               "DeleteObjectAnnotation",
                                               "DeleteObjectTagging",
                                               "DeleteObjectVersion",
                                               "DeleteObjectVersionAnnotation",
                                               "DeleteObjectVersionTagging",
                                               "GetObject",
                                               "GetObjectAcl",
                                               "GetObjectAnnotation",
                                               "GetObjectAttributes",
                                               "GetObjectLegalHold",
                                               "GetObjectRetention",
                                               "GetObjectTagging",
                                               "GetObjectTorrent",
                                               "GetObjectVersion",
                                               "GetObjectVersionAcl",
                                               "GetObjectVersionAnnotation",
                                               "GetObjectVersionAnnotationForReplication",
                                               "GetObjectVersionAttributes",
                                               "GetObjectVersionForReplication",
                                               "GetObjectVersionTagging",
                                               "GetObjectVersionTorrent",
                                               "InitiateReplication",
                                               "ListMultipartUploadParts",
                                               "ListObjectAnnotations",
                                               "ListObjectVersionAnnotations",
                                               "ObjectOwnerOverrideToBucketOwner",
                                               "PutObject",
                                               "PutObjectAcl",
                                               "PutObjectAnnotation",
                                               "PutObjectLegalHold",
                                               "PutObjectRetention",
                                               "PutObjectTagging",
                                               "PutObjectVersionAcl",
                                               "PutObjectVersionAnnotation",
                                               "PutObjectVersionTagging",
                                               "ReplicateDelete",
                                               "ReplicateObject",
                                               "ReplicateObjectAnnotation",
                                               "ReplicateTags",
                                               "RestoreObject",
                                               "UpdateObjectEncryption"};
constexpr std::string_view kBucketActions[] = {"AllowVendedLogDeliveryForResource",
                                               "CreateBucketMetadataTableConfiguration",
                                               "DeleteBucket",
                                               "DeleteBucketMetadataTableConfiguration",
                                               "DeleteBucketPolicy",
                                               "DeleteBucketWebsite",
                                               "GetAccelerateConfiguration",
                                               "GetAnalyticsConfiguration",
                                               "GetBucketAbac",
                                               "GetBucketAcl",
                                               "GetBucketCORS",
                                               "GetBucketLocation",
                                               "GetBucketLogging",
                                               "GetBucketMetadataTableConfiguration",
                                               "GetBucketNotification",
                                               "GetBucketObjectLockConfiguration",
                                               "GetBucketOwnershipControls",
                                               "GetBucketPolicy",
                                               "GetBucketPolicyStatus",
                                               "GetBucketPublicAccessBlock",
                                               "GetBucketRequestPayment",
                                               "GetBucketTagging",
                                               "GetBucketVersioning",
                                               "GetBucketWebsite",
                                               "GetEncryptionConfiguration",
                                               "GetIntelligentTieringConfiguration",
                                               "GetInventoryConfiguration",
                                               "GetLifecycleConfiguration",
                                               "GetMetricsConfiguration",
                                               "GetReplicationConfiguration",
                                               "ListBucket",
                                               "ListBucketMultipartUploads",
                                               "ListBucketVersions",
                                               "PauseReplication",
                                               "PutAccelerateConfiguration",
                                               "PutAnalyticsConfiguration",
                                               "PutBucketAbac",
                                               "PutBucketAcl",
                                               "PutBucketCORS",
                                               "PutBucketLogging",
                                               "PutBucketNotification",
                                               "PutBucketObjectLockConfiguration",
                                               "PutBucketOwnershipControls",
                                               "PutBucketPolicy",
                                               "PutBucketPublicAccessBlock",
                                               "PutBucketRequestPayment",
                                               "PutBucketTagging",
                                               "PutBucketVersioning",
                                               "PutBucketWebsite",
                                               "PutEncryptionConfiguration",
                                               "PutIntelligentTieringConfiguration",
                                               "PutInventoryConfiguration",
                                               "PutLifecycleConfiguration",
                                               "PutMetricsConfiguration",
                                               "PutReplicationConfiguration",
                                               "UpdateBucketMetadataAnnotationTableConfiguration",
                                               "UpdateBucketMetadataInventoryTableConfiguration",
                                               "UpdateBucketMetadataJournalTableConfiguration"};
// On the account, or on what Cairn does not have.
constexpr std::string_view kOtherActions[] = {"AssociateAccessGrantsIdentityCenter",
                                              "CreateAccessGrant",
                                              "CreateAccessGrantsInstance",
                                              "CreateAccessGrantsLocation",
                                              "CreateAccessPoint",
                                              "CreateAccessPointForObjectLambda",
                                              "CreateBucket",
                                              "CreateJob",
                                              "CreateMultiRegionAccessPoint",
                                              "CreateStorageLensGroup",
                                              "DeleteAccessGrant",
                                              "DeleteAccessGrantsInstance",
                                              "DeleteAccessGrantsInstanceResourcePolicy",
                                              "DeleteAccessGrantsLocation",
                                              "DeleteAccessPoint",
                                              "DeleteAccessPointForObjectLambda",
                                              "DeleteAccessPointPolicy",
                                              "DeleteAccessPointPolicyForObjectLambda",
                                              "DeleteJobTagging",
                                              "DeleteMultiRegionAccessPoint",
                                              "DeleteStorageLensConfiguration",
                                              "DeleteStorageLensConfigurationTagging",
                                              "DeleteStorageLensGroup",
                                              "DescribeJob",
                                              "DescribeMultiRegionAccessPointOperation",
                                              "DissociateAccessGrantsIdentityCenter",
                                              "GetAccessGrant",
                                              "GetAccessGrantsInstance",
                                              "GetAccessGrantsInstanceForPrefix",
                                              "GetAccessGrantsInstanceResourcePolicy",
                                              "GetAccessGrantsLocation",
                                              "GetAccessPoint",
                                              "GetAccessPointConfigurationForObjectLambda",
                                              "GetAccessPointForObjectLambda",
                                              "GetAccessPointPolicy",
                                              "GetAccessPointPolicyForObjectLambda",
                                              "GetAccessPointPolicyStatus",
                                              "GetAccessPointPolicyStatusForObjectLambda",
                                              "GetAccountPublicAccessBlock",
                                              "GetDataAccess",
                                              "GetJobTagging",
                                              "GetMultiRegionAccessPoint",
                                              "GetMultiRegionAccessPointPolicy",
                                              "GetMultiRegionAccessPointPolicyStatus",
                                              "GetMultiRegionAccessPointRoutes",
                                              "GetStorageLensConfiguration",
                                              "GetStorageLensConfigurationTagging",
                                              "GetStorageLensDashboard",
                                              "GetStorageLensGroup",
                                              "ListAccessGrants",
                                              "ListAccessGrantsInstances",
                                              "ListAccessGrantsLocations",
                                              "ListAccessPoints",
                                              "ListAccessPointsForObjectLambda",
                                              "ListAllMyBuckets",
                                              "ListCallerAccessGrants",
                                              "ListJobs",
                                              "ListMultiRegionAccessPoints",
                                              "ListStorageLensConfigurations",
                                              "ListStorageLensGroups",
                                              "ListTagsForResource",
                                              "PutAccessGrantsInstanceResourcePolicy",
                                              "PutAccessPointConfigurationForObjectLambda",
                                              "PutAccessPointPolicy",
                                              "PutAccessPointPolicyForObjectLambda",
                                              "PutAccessPointPublicAccessBlock",
                                              "PutAccountPublicAccessBlock",
                                              "PutJobTagging",
                                              "PutMultiRegionAccessPointPolicy",
                                              "PutStorageLensConfiguration",
                                              "PutStorageLensConfigurationTagging",
                                              "SubmitMultiRegionAccessPointRoutes",
                                              "TagResource",
                                              "UntagResource",
                                              "UpdateAccessGrantsLocation",
                                              "UpdateJobPriority",
                                              "UpdateJobStatus",
                                              "UpdateStorageLensGroup"};
constexpr size_t kObjectCount = std::size(kObjectActions), kBucketCount = std::size(kBucketActions);
static_assert(kObjectCount + kBucketCount + std::size(kOtherActions) == kS3Actions);

// The doors whose actions are not S3's. Each has more names than this room knows.
constexpr std::string_view kOtherDoors[] = {"admin", "grpc", "iam", "kms", "resp", "sts"};

// The actions with which the reference has a key; where there are none, it goes with all.
constexpr std::string_view kLists = "ListBucket ListBucketVersions",
                           kMakes = "PutObject BypassGovernanceRetention",
                           kMakesOrReplicates =
                               "PutObject BypassGovernanceRetention "
                               "ReplicateObject",
                           kAcls =
                               "CreateBucket PutBucketAcl PutObject PutObjectAcl "
                               "PutObjectVersionAcl BypassGovernanceRetention",
                           kTags =
                               "PutObject PutObjectTagging PutObjectVersionTagging "
                               "BypassGovernanceRetention",
                           kRetains = "PutObject PutObjectRetention BypassGovernanceRetention";
constexpr KeyRow kKeys[] = {
    {Key::kSourceIp, "aws:SourceIp"},
    {Key::kCurrentTime, "aws:CurrentTime"},
    {Key::kEpochTime, "aws:EpochTime"},
    {Key::kSecureTransport, "aws:SecureTransport"},
    {Key::kUsername, "aws:username"},
    {Key::kUserId, "aws:userid"},
    {Key::kPrincipalArn, "aws:PrincipalArn"},
    {Key::kPrincipalType, "aws:PrincipalType"},
    {Key::kPrincipalAccount, "aws:PrincipalAccount"},
    {Key::kFederatedProvider, "aws:FederatedProvider"},
    {Key::kRoleSessionName, "sts:RoleSessionName"},
    {Key::kExternalId, "sts:ExternalId"},
    {Key::kTokenClaim, "ISSUER:CLAIM"},
    {Key::kUserAgent, "aws:UserAgent"},
    {Key::kReferer, "aws:Referer"},
    {Key::kTokenIssueTime, "aws:TokenIssueTime"},
    {Key::kPrefix, "s3:prefix", kLists},
    {Key::kDelimiter, "s3:delimiter", kLists},
    {Key::kMaxKeys, "s3:max-keys", kLists},
    {Key::kVersionId, "s3:VersionId",
     "GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionTagging "
     "GetObjectVersionTorrent PutObjectVersionAcl PutObjectVersionTagging DeleteObjectVersion "
     "DeleteObjectVersionTagging"},
    {Key::kExistingObjectTag, "s3:ExistingObjectTag/",
     "GetObject GetObjectAcl GetObjectAttributes GetObjectTagging GetObjectVersion "
     "GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionTagging PutObjectAcl "
     "PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging DeleteObjectTagging "
     "DeleteObjectVersionTagging"},
    {Key::kRequestObjectTag, "s3:RequestObjectTag/", kTags},
    {Key::kRequestObjectTagKeys, "s3:RequestObjectTagKeys", kTags},
    {Key::kAcl, "s3:x-amz-acl", kAcls},
    {Key::kGrantRead, "s3:x-amz-grant-read", kAcls},
    {Key::kGrantWrite, "s3:x-amz-grant-write", kAcls},
    {Key::kGrantReadAcp, "s3:x-amz-grant-read-acp", kAcls},
    {Key::kGrantWriteAcp, "s3:x-amz-grant-write-acp", kAcls},
    {Key::kGrantFullControl, "s3:x-amz-grant-full-control", kAcls},
    {Key::kCopySource, "s3:x-amz-copy-source", kMakes},
    {Key::kMetadataDirective, "s3:x-amz-metadata-directive", kMakes},
    {Key::kEncryption, "s3:x-amz-server-side-encryption", kMakesOrReplicates},
    {Key::kEncryptionKeyId, "s3:x-amz-server-side-encryption-aws-kms-key-id", kMakesOrReplicates},
    {Key::kCustomerAlgorithm, "s3:x-amz-server-side-encryption-customer-algorithm",
     kMakesOrReplicates},
    {Key::kStorageClass, "s3:x-amz-storage-class",
     "PutObject PutObjectAcl PutObjectVersionAcl BypassGovernanceRetention"},
    {Key::kContentSha256, "s3:x-amz-content-sha256"},
    {Key::kAuthType, "s3:authType"},
    {Key::kSignatureVersion, "s3:signatureversion"},
    {Key::kSignatureAge, "s3:signatureAge"},
    {Key::kTlsVersion, "s3:TlsVersion"},
    {Key::kLockMode, "s3:object-lock-mode", kRetains},
    {Key::kRetainUntilDate, "s3:object-lock-retain-until-date", kRetains},
    {Key::kRemainingRetentionDays, "s3:object-lock-remaining-retention-days", kRetains},
    {Key::kLegalHold, "s3:object-lock-legal-hold",
     "PutObject PutObjectLegalHold BypassGovernanceRetention"},
    {Key::kIfMatch, "s3:if-match", "GetObject PutObject"},
    {Key::kIfNoneMatch, "s3:if-none-match", "GetObject PutObject"},
    {Key::kLocationConstraint, "s3:LocationConstraint", "CreateBucket"},
    {Key::kObjectCreation, "s3:ObjectCreationOperation", "PutObject"},
    {Key::kContentLength, "cairn:content-length", "PutObject"},
};
static_assert(std::size(kKeys) == static_cast<size_t>(Key::kCount));

char lower_of(char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); }

bool is_prefix_of(std::string_view prefix, std::string_view text) {
  return text.size() >= prefix.size() &&
         equals_ignoring_case(text.substr(0, prefix.size()), prefix);
}

}  // namespace

std::string_view s3_action(size_t number) {
  if (number < kObjectCount) return kObjectActions[number];
  number -= kObjectCount;
  return number < kBucketCount ? kBucketActions[number] : kOtherActions[number - kBucketCount];
}

Level level_of(size_t number) {
  if (number < kObjectCount) return Level::kObject;
  return number < kObjectCount + kBucketCount ? Level::kBucket : Level::kOther;
}

bool is_other_door(std::string_view door) {
  return std::find(std::begin(kOtherDoors), std::end(kOtherDoors), door) != std::end(kOtherDoors);
}

int s3_number(std::string_view name) {
  using Named = std::pair<std::string, int>;
  static const std::vector<Named>& numbers = *[] {
    auto* all = new std::vector<Named>;
    for (size_t i = 0; i < kS3Actions; i++) all->emplace_back(lower(s3_action(i)), i);
    std::sort(all->begin(), all->end());
    return all;
  }();
  std::array<char, ActionName::kBytesMax> small;
  if (name.size() > small.size()) return -1;
  std::transform(name.begin(), name.end(), small.begin(), lower_of);
  const std::string_view key(small.data(), name.size());
  const auto it = std::lower_bound(numbers.begin(), numbers.end(), key,
                                   [](const Named& n, std::string_view k) { return n.first < k; });
  return it == numbers.end() || it->first != key ? -1 : it->second;
}

ActionName::ActionName(std::string_view door, std::string_view name) {
  assert(door.size() + 1 + name.size() <= kBytesMax);
  const auto add = [this](std::string_view part) {
    part = part.substr(0, kBytesMax - size_);
    std::transform(part.begin(), part.end(), text_.begin() + size_, lower_of);
    size_ += part.size();
  };
  add(door);
  add(":");
  add(name);
  if (door == "s3") number_ = s3_number(name);
}

const KeyRow& row_of(Key key) { return kKeys[static_cast<size_t>(key)]; }

bool KeyRow::goes_with(std::string_view action) const {
  if (actions.empty()) return true;
  const auto words = words_of(actions);
  return std::find(words.begin(), words.end(), action) != words.end();
}

namespace {

// HOST/PATH:CLAIM, where the host may have a port. A claim's name has a case.
bool is_claim(std::string_view text) {
  constexpr std::string_view kInClaims =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0 || text.size() > 320) return false;
  const std::string_view issuer = text.substr(0, colon), claim = text.substr(colon + 1);
  return issuer.find_first_of(".:") != issuer.npos && !claim.empty() &&
         claim.find_first_not_of(kInClaims) == claim.npos;
}

}  // namespace

std::optional<ConditionKey> ConditionKey::parse(std::string_view text, bool of_trust) {
  if (of_trust && is_claim(text)) return ConditionKey{Key::kTokenClaim, std::string(text)};
  for (const KeyRow& row : kKeys) {
    if (row.key == Key::kTokenClaim) continue;
    if (!row.has_tag() && equals_ignoring_case(row.name, text)) return ConditionKey{row.key, ""};
    if (row.has_tag() && is_prefix_of(row.name, text) && text.size() > row.name.size()) {
      return ConditionKey{row.key, std::string(text.substr(row.name.size()))};
    }
  }
  return std::nullopt;
}

std::string ConditionKey::text() const {
  return key == Key::kTokenClaim ? tag : cat(row_of(key).name, tag);
}

}  // namespace cairn::policy
