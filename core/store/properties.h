// What is set for a namespace as a whole: the value of the record that names it
// (RecordType::kNamespace), written again whole whenever one of them changes.
//
//   properties = i64 created_ms  field*     field: core/store/fields.h
//   tag 1      = name NUL value             of a tag; in order of the names
//   tag 2      = rule                       of cross-origin requests; in the order of the rules
//   tag 16     = u8 versioning              1 enabled, 2 suspended; once set, it is never unset
//   tag 17     = u8 retention  u8 in years  u32 count     object lock, and its default retention;
//                                           once set, it is never unset
//   tag 18     = lifecycle_rule.h's rule    in the order of the rules
//   tag 19     = u8 mode  u8 bucket key  id     of encryption: 1 SSE-S3, 2 SSE-KMS with this key,
//                                           or with the default one
//   tag 26     = i64 seconds                after which objects expire that say nothing else, > 0
//   tag 27     = logging                    where accesses are logged: field*: 1 bucket, 2 prefix,
//                                           3 u8 format (as LogKeys, but for 0); what is empty is
//                                           missing
//   tag 28     = quota                      field*: 1 u64 bytes, 2 u64 keys, 3 the id of the user
//                                           for whom it counts; at least one of them
//   tag 29     = u8 1                       ETags are fast
//   tag 32     = text                       of the policy, as it came (core/store/policy_json.h)
//   tag 33     = u8 ownership               as below, but for 0
//   tag 34     = u8 bits                    of public access: 1 block ACLs, 2 ignore ACLs, 4 block
//                                           policies, 8 restrict buckets
//   tag 35     = acl                        core/store/acl.h; not that which is so without
//   tag 36     = u8 1                       the requester pays
//   tag 37     = website                    core/store/website.h
//   rule       = field*                     1 id, 2 origin*, 3 method*, 4 header*, 5 exposed
//   header*,
//                                           6 u32 max age in seconds; an optional one may be
//                                           missing
//   tag 32     = rule                       of notifications; in the order of the rules
//   rule       = field*                     1 id, 2 target, 3 event*, 4 prefix, 5 suffix; what is
//                                           empty is missing
//
// What is not set takes no bytes, and what is set has one form, so that equal properties are equal
// bytes. A tag that the program does not know is of a later version's making: what it asks for
// could not be honoured, so the store is not opened.
//
// Documents are held as they mean, and not as they came: whoever takes one checks it and answers it
// in his own words.
//
// Threads: immutable once a namespace has it; Namespace::properties() hands it out to any.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/acl.h"
#include "core/store/lifecycle_rule.h"
#include "core/store/quota.h"
#include "core/store/version_lock.h"
#include "core/store/website.h"

namespace cairn {

// Who may ask from a web page of another origin, for what, and what the page may see of the answer.
struct CorsRule {
  std::string id = {};  // empty: none
  // An origin and a header may have one '*', which stands for any text.
  std::vector<std::string> origins = {}, methods = {}, headers = {}, exposed = {};
  std::optional<uint32_t> max_age_s = {};
  bool operator==(const CorsRule&) const = default;
};

// Whether a bucket keeps versions of its keys: never, now, or what there is of them.
enum class Versioning : uint8_t { kOff = 0, kEnabled = 1, kSuspended = 2 };

// Who is told what becomes of the bucket's objects (objects/notifications.h).
struct NotificationRule {
  std::string id = {};
  std::string target = {};               // an ARN
  std::vector<std::string> events = {};  // as s3:ObjectCreated:*
  std::string prefix = {}, suffix = {};  // of the keys
  bool operator==(const NotificationRule&) const = default;
};

// What the objects are called that accesses are logged into: PREFIX and a time, or between them the
// account, the region, the bucket and the day, of the delivery or of the access.
enum class LogKeys : uint8_t { kSimple = 0, kByDeliveryTime = 1, kByEventTime = 2 };

// Where accesses of a bucket are logged.
struct AccessLogging {
  std::string bucket = {}, prefix = {};
  LogKeys keys = LogKeys::kSimple;
  bool operator==(const AccessLogging&) const = default;
};

// Whether ACLs count in a bucket. All that lies in it is its owner's whoever wrote it, so that
// those for which they do are alike.
enum class Ownership : uint8_t {
  kBucketOwnerEnforced = 0,  // they do not: what a bucket has unless it was told otherwise
  kBucketOwnerPreferred = 1,
  kObjectWriter = 2,
  kNone = 3,  // what it had was deleted, which is as the one before
};

// What keeps a bucket from being public, whatever else is set for it or its objects.
struct PublicAccessBlock {
  bool block_acls = false;        // no public ACL is set any more
  bool ignore_acls = false;       // those that there are do not count
  bool block_policy = false;      // no public policy is set any more
  bool restrict_buckets = false;  // what a public one allows, it allows to users of the store alone
  bool operator==(const PublicAccessBlock&) const = default;
};

// How what comes into a bucket is encrypted unless its request says something else
// (objects/encryption.h).
struct BucketEncryption {
  enum class Mode : uint8_t { kS3 = 1, kKms = 2 };
  Mode mode = Mode::kS3;
  std::string key_id = {};  // as it was named; empty: the default one
  bool bucket_key = false;
  bool operator==(const BucketEncryption&) const = default;
};

struct Properties {
  int64_t created_ms = 0;  // Unix time
  std::map<std::string, std::string> tags = {};
  std::vector<CorsRule> cors = {};
  Versioning versioning = Versioning::kOff;          // Keyspace::set_versioning changes it
  std::optional<DefaultRetention> object_lock = {};  // Keyspace::set_object_lock changes it
  std::vector<LifecycleRule> lifecycle = {};
  std::optional<BucketEncryption> encryption = {};
  std::vector<NotificationRule> notifications = {};
  int64_t default_ttl_s = 0;  // 0: none
  std::optional<AccessLogging> logging = {};
  Quota quota = {};             // Keyspace::set_quota changes it,
  std::string charged_to = {};  // and whose it is: a user's id; empty: nobody's
  bool fast_etags = false;      // ETags are no MD5
  std::string policy = {};      // JSON; empty: none
  Ownership ownership = Ownership::kBucketOwnerEnforced;
  std::optional<PublicAccessBlock> public_access_block = {};
  std::optional<Acl> acl = {};  // nothing: the default one
  bool requester_pays = false;
  std::optional<Website> website = {};
  bool operator==(const Properties&) const = default;

  std::string encode() const;
  // Nothing if the bytes hold something else, or more, or are not as encode() writes it.
  static std::optional<Properties> decode(std::string_view bytes);
};

}  // namespace cairn
