// The names that policies use: actions, and the keys of conditions.
//
// An action is DOOR:NAME, its case does not matter. S3's are the ones that AWS lists, whether Cairn
// does them or not: a policy that was written for AWS is accepted, a misspelt name is not. Those of
// the other doors are known by the door alone, which has its own list.
//
// Threads: all is constant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::policy {

inline constexpr size_t kS3Actions = 180;
std::string_view s3_action(size_t number);  // "GetObject"; `number` below kS3Actions

// What an action of S3 is done to.
enum class Level : uint8_t { kObject, kBucket, kOther };
Level level_of(size_t number);

// Whether there is such a door, beside "s3".
bool is_other_door(std::string_view door);

// The number of an action among S3's, by its name without the door; -1: there is none. Case does
// not matter.
int s3_number(std::string_view name);

// The name of one action. Takes no memory.
class ActionName {
 public:
  static constexpr size_t kBytesMax = 96;
  // Together shorter than kBytesMax.
  ActionName(std::string_view door, std::string_view name);
  std::string_view text() const { return {text_.data(), size_}; }  // "resp:get", in lower case
  int number() const { return number_; }                           // among S3's; -1: another door's

 private:
  std::array<char, kBytesMax> text_;
  size_t size_ = 0;
  int number_ = -1;
};

enum class Key : uint8_t {
  kSourceIp,         // an address, without port and zone
  kCurrentTime,      // ISO 8601
  kEpochTime,        // seconds since 1970
  kSecureTransport,  // true or false
  kUsername,
  kUserId,
  kPrincipalArn,
  kPrincipalType,  // Account, User, AssumedRole, FederatedUser or Anonymous
  kPrincipalAccount,
  kFederatedProvider,  // of a role that was assumed with its word: its ARN
  kRoleSessionName,    // of AssumeRole and its like
  kExternalId,         // likewise
  kTokenClaim,  // of a token, by who made it: "HOST/PATH:sub"; the key's name is its tag. Of what
                // roles trust alone
  kUserAgent,
  kReferer,
  kTokenIssueTime,  // of temporary credentials, ISO 8601
  kPrefix,          // of a listing
  kDelimiter,
  kMaxKeys,
  kVersionId,
  kExistingObjectTag,     // of the object that is there; the key has the tag's name
  kRequestObjectTag,      // that the request sets; likewise
  kRequestObjectTagKeys,  // the names of all that it sets: the one key with several values
  kAcl,                   // from here on the header of that name, unless something else is said
  kGrantRead,
  kGrantWrite,
  kGrantReadAcp,
  kGrantWriteAcp,
  kGrantFullControl,
  kCopySource,
  kMetadataDirective,
  kEncryption,
  kEncryptionKeyId,
  kCustomerAlgorithm,
  kStorageClass,
  kContentSha256,
  kAuthType,          // REST-HEADER, REST-QUERY-STRING or POST
  kSignatureVersion,  // AWS or AWS4-HMAC-SHA256
  kSignatureAge,      // milliseconds; of presigned requests alone
  kTlsVersion,        // 1.2, 1.3
  kLockMode,          // as the request sets them
  kRetainUntilDate,   // ISO 8601
  kRemainingRetentionDays,
  kLegalHold,
  kIfMatch,
  kIfNoneMatch,
  kLocationConstraint,
  kObjectCreation,  // true: it makes an object; false: an upload or a part of one
  kContentLength,   // bytes of the value that a request brings, whatever its door; Cairn's own
  kCount,
};

struct KeyRow {
  Key key;
  std::string_view name;          // "s3:prefix"; one that ends in '/' takes a tag's name
  std::string_view actions = {};  // of S3, separated by blanks; empty: all
  bool has_tag() const { return name.back() == '/'; }
  bool has_several_values() const { return key == Key::kRequestObjectTagKeys; }
  bool goes_with(std::string_view action) const;  // "GetObject"
};
const KeyRow& row_of(Key key);

struct ConditionKey {
  Key key;
  std::string tag;  // as the policy has it
  // Nothing: there is none of this name, or Cairn does not honour it. Case does not matter.
  // `of_trust`: in what a role trusts, which may ask for the claims of tokens.
  static std::optional<ConditionKey> parse(std::string_view text, bool of_trust = false);
  std::string text() const;
};

struct Request;

// What a request says of itself, asked for when a statement needs it.
class Context {
 public:
  virtual ~Context() = default;
  // The value at this place, the first at 0, as text, or nothing: there are no more. A view holds
  // until evaluate() has returned, whatever else is asked for meanwhile.
  virtual std::optional<std::string_view> value(const ConditionKey& key, size_t place) const = 0;
  // Whether it can be told. Where it cannot, a statement that denies by it does, and one that
  // allows does not.
  virtual bool knows(const ConditionKey&) const { return true; }
  // Whether what it is done to grants it: the list of an object (core/store/acl.h). Asked where no
  // policy says yes or no. `without_public`: what that grants to groups does not count.
  virtual bool grants(const Request&, bool without_public) const {
    (void)without_public;
    return false;
  }
};

}  // namespace cairn::policy
