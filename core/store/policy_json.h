// Policies as text: AWS's policy grammar in JSON, no more and no less of it than Cairn honours.
//
//   policy    = { "Version"?, "Id"?, "Statement": statement or [statement, …] }
//   statement = { "Sid"?, "Effect", "Principal" or "NotPrincipal" (of buckets and trust alone),
//                 "Action" or "NotAction", "Resource" or "NotResource" (not of trust),
//                 "Condition"? }
//
// Refused, not ignored: a key twice, an element, action, condition key, operator or form of
// principal that is not known, and whatever AWS refuses. Principals are everybody, an account, a
// user by ARN or by canonical id.
//
// Threads: any.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "core/store/policy.h"

namespace cairn::policy {

// "Bucket policies are limited to 20 KB in size" (S3's user guide, bucket policies).
inline constexpr size_t kBucketPolicyBytesMax = 20 << 10;
// "The size of each managed policy can't exceed 6,144 characters", white space not counted (IAM's
// user guide, quotas); and the text as it came (IAM's API, PolicyDocument).
inline constexpr size_t kIdentityPolicyBytesMax = 6144;
inline constexpr size_t kIdentityTextBytesMax = 128 << 10;

// Errors: InvalidArgument, it is malformed; OutOfRange, it is too long. The message is the one that
// S3 or IAM has; detail_of() says what it is about.
//
// Attached to a user or group, or the boundary of a key. Version must be 2012-10-17, as IAM asks.
absl::StatusOr<Policy> parse_identity_policy(std::string_view text);
// Of this bucket, or this database.
absl::StatusOr<Policy> parse_bucket_policy(std::string_view text, std::string_view bucket);
// Of whom a role trusts: what it is about is the role, so it has no Resource, and its actions are
// those of STS that assume one.
inline constexpr size_t kTrustPolicyBytesMax = 2048;  // white space not counted
absl::StatusOr<Policy> parse_trust_policy(std::string_view text);
std::string detail_of(const absl::Status& refusal);

// The text with other principals, as `other(TYPE, TEXT)` says; nothing: it stays. Where all do, it
// is the same text.
std::string with_principals(
    std::string_view text,
    absl::FunctionRef<std::optional<std::string>(std::string_view, std::string_view)> other);

// The same policy again: the parse functions make of it what it was made of.
std::string to_json(const Policy& policy);

}  // namespace cairn::policy
