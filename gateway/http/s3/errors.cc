#include "gateway/http/s3/errors.h"

#include "core/base/errors.h"
#include "core/base/text.h"

namespace cairn::s3 {

namespace {
struct Row {
  std::string_view code;
  int status;
  std::string_view message;
};
constexpr Row kRows[] = {
    {"AccessControlListNotSupported", 400, "The bucket does not allow ACLs"},
    {"AccessDenied", 403, "Access Denied"},
    {"AccessForbidden", 403, "Access Forbidden"},
    {"AuthorizationHeaderMalformed", 400, "The authorization header you provided is not valid."},
    {"AuthorizationQueryParametersError", 400, "The authorization query parameters are not valid."},
    {"BadDigest", 400,
     "The Content-MD5 or checksum value that you specified did not match what the server "
     "received."},
    {"BadRequest", 400, "Bad Request"},
    {"BucketAlreadyExists", 409, "The requested bucket name is not available."},
    {"BucketAlreadyOwnedByYou", 409,
     "The bucket that you tried to create already exists, and you own it."},
    {"BucketNotEmpty", 409, "The bucket that you tried to delete is not empty."},
    {"ConditionalRequestConflict", 409,
     "A conflicting operation occurred during the request. Try again."},
    {"EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed object size."},
    {"EntityTooSmall", 400,
     "Your proposed upload is smaller than the minimum allowed object size."},
    {"ExpiredToken", 400, "The provided token has expired."},
    {"IdempotencyParameterMismatch", 400,
     "Parameters on this idempotent request are inconsistent with parameters used in previous "
     "request(s)."},
    {"IllegalLocationConstraintException", 400,
     "The location constraint is not the region of this store."},
    {"IncompleteBody", 400,
     "You did not provide the number of bytes specified by the Content-Length HTTP header."},
    {"InternalError", 500, "An internal error occurred. Try again."},
    {"InvalidAccessKeyId", 403,
     "The access key ID that you provided does not exist in our records."},
    {"InvalidArgument", 400, "Invalid Argument"},
    {"InvalidBucketAclWithObjectOwnership", 400,
     "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"},
    {"InvalidBucketState", 409, "The request is not valid with the current state of the bucket."},
    {"InvalidBucketName", 400, "The specified bucket is not valid."},
    {"InvalidDigest", 400, "The Content-MD5 you specified was invalid."},
    {"InvalidEncryptionAlgorithmError", 400,
     "The encryption request that you specified is not valid. The valid value is AES256."},
    {"InvalidObjectState", 403, "The operation is not valid for the object's storage class"},
    {"InvalidPart", 400,
     "One or more of the specified parts could not be found. The part might not have been "
     "uploaded, or the specified entity tag might not have matched the part's entity tag."},
    {"InvalidPartOrder", 400,
     "The list of parts was not in ascending order. Parts list must be specified in order by part "
     "number."},
    {"InvalidRange", 416, "The requested range cannot be satisfied."},
    {"InvalidRedirectLocation", 400, "The website redirect location is not valid."},
    {"InvalidRetentionPeriod", 400, "The retention period is not valid."},
    {"InvalidRequest", 400, "Invalid Request"},
    {"InvalidStorageClass", 400, "The storage class that you specified is not valid."},
    {"InvalidTag", 400, "The tag provided was not a valid tag."},
    {"InvalidWriteOffset", 400,
     "The write offset value that you specified does not match the current object size."},
    {"InvalidTargetBucketForLogging", 400, "The target bucket for logging is not valid."},
    {"InvalidURI", 400, "The specified URI couldn't be parsed."},
    {"KMS.DisabledException", 400, "The request was rejected because the key is not enabled."},
    {"KMS.KMSInvalidStateException", 400,
     "The request was rejected because the state of the key is not valid for it."},
    {"KMS.NotFoundException", 400, "The request was rejected because the key was not found."},
    {"KeyTooLongError", 400, "Your key is too long."},
    {"MalformedACLError", 400,
     "The XML you provided was not well-formed or did not validate against our published schema"},
    {"MalformedPolicy", 400, "This policy contains invalid Json"},
    {"MalformedPOSTRequest", 400,
     "The body of your POST request is not well-formed multipart/form-data."},
    {"MalformedXML", 400,
     "The XML that you provided was not well formed or did not validate against our published "
     "schema."},
    {"MaxPostPreDataLengthExceededError", 400,
     "Your POST request fields preceding the upload file were too large."},
    {"MaxMessageLengthExceeded", 400, "Your request was too large."},
    {"MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size."},
    {"MethodNotAllowed", 405, "The specified method is not allowed against this resource."},
    {"MissingRequestBodyError", 400, "Request Body is empty"},
    {"MissingSecurityHeader", 400, "Your request was missing a required header."},
    {"MissingContentLength", 411, "You must provide the Content-Length HTTP header."},
    {"NoSuchBucket", 404, "The specified bucket does not exist."},
    {"NoSuchBucketPolicy", 404, "The bucket policy does not exist"},
    {"NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"},
    {"NoSuchKey", 404, "The specified key does not exist."},
    {"NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"},
    {"NoSuchObjectLockConfiguration", 404,
     "The specified object does not have a ObjectLock configuration"},
    {"NoSuchPublicAccessBlockConfiguration", 404,
     "The public access block configuration was not found"},
    {"NoSuchTagSet", 404, "The TagSet does not exist"},
    {"NoSuchUpload", 404,
     "The specified multipart upload does not exist. The upload ID might be invalid, or the "
     "multipart upload might have been aborted or completed."},
    {"NoSuchVersion", 404, "The specified version does not exist."},
    {"NoSuchWebsiteConfiguration", 404,
     "The specified bucket does not have a website configuration"},
    {"InvalidToken", 400, "The provided token is malformed or otherwise invalid."},
    {"IllegalVersioningConfigurationException", 400,
     "The versioning configuration specified in the request is invalid."},
    {"InvalidPolicyDocument", 400,
     "The content of the form does not meet the conditions specified in the policy document."},
    {"InvalidPartNumber", 416, "The requested partnumber is not satisfiable."},
    {"MalformedTrailerError", 400,
     "The request contained trailing data that was not well-formed or did not conform to our "
     "published schema."},
    {"NotImplemented", 501,
     "A header or query that you provided implies functionality that is not implemented."},
    {"ObjectLockConfigurationNotFoundError", 404,
     "Object Lock configuration does not exist for this bucket"},
    {"OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"},
    {"PreconditionFailed", 412,
     "At least one of the preconditions that you specified did not hold."},
    {"ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found"},
    {"QuotaExceeded", 403, "A quota is used up."},
    {"RequestTimeTooSkewed", 403,
     "The difference between the request time and the server's time is too large."},
    {"ServerSideEncryptionConfigurationNotFoundError", 404,
     "The server side encryption configuration was not found"},
    {"ServiceUnavailable", 503, "The store is read-only."},
    {"SignatureDoesNotMatch", 403,
     "The request signature that we calculated does not match the signature that you provided. "
     "Check your secret access key and signing method."},
    {"SlowDown", 503, "Please reduce your request rate."},
    {"InsufficientStorage", 507, "There is not enough room to store this."},
    {"TooManyParts", 400,
     "You have attempted to add more parts than the maximum of 10000 that are allowed for this "
     "object. You can use the CopyObject operation to copy this object to another and then add "
     "more data to the newly copied object."},
    {"UnexpectedContent", 400, "This request does not support content"},
    {"UnresolvableGrantByEmailAddress", 400,
     "The e-mail address you provided does not match any account on record."},
    {"XAmzContentSHA256Mismatch", 400,
     "The provided 'x-amz-content-sha256' header does not match what was computed."},
};
}  // namespace

int http_status(std::string_view code) {
  for (auto& r : kRows) {
    if (r.code == code) return r.status;
  }
  return 500;
}

std::string_view default_message(std::string_view code) {
  for (auto& r : kRows) {
    if (r.code == code) return r.message;
  }
  return "";
}

Error precondition_failed(std::string_view header, Lsn seen) {
  Error e{"PreconditionFailed", "", seen};
  if (!header.empty()) e.fields = {{"Condition", std::string(header)}};
  return e;
}
Error argument_invalid(std::string_view name, std::string_view value, std::string message) {
  return {"InvalidArgument",
          std::move(message),
          {},
          {{"ArgumentName", std::string(name)}, {"ArgumentValue", std::string(value)}}};
}

namespace {
// The message is what was announced and what came.
Error with_digests(Error e) {
  const size_t blank = e.message.find(' ');
  if (blank == e.message.npos) return e;
  e.fields = {{"ClientComputedContentSHA256", e.message.substr(0, blank)},
              {"S3ComputedContentSHA256", e.message.substr(blank + 1)}};
  e.message.clear();
  return e;
}

Error translate(const Status& status, std::string_view missing) {
  std::string text(status.message());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return {};
    case absl::StatusCode::kNotFound:
      return {text == "NoSuchKey" ? "NoSuchKey" : missing, ""};
    case absl::StatusCode::kFailedPrecondition:
      if (is_wrong_type(status)) return {"InvalidRequest", text};
      return precondition_failed(text.find(": ") == text.npos ? ""
                                                              : text.substr(text.find(": ") + 2));
    case absl::StatusCode::kPermissionDenied:
      return {"AccessDenied", "Access Denied because object protected by object lock."};
    case absl::StatusCode::kAborted:
      return {"ConditionalRequestConflict", ""};
    case absl::StatusCode::kOutOfRange:
      return {"InvalidRange", ""};
    case absl::StatusCode::kResourceExhausted:
      if (is_value_too_long(status)) return {"EntityTooLarge", ""};
      if (is_quota_exceeded(status)) return {"QuotaExceeded", text};
      return {"InsufficientStorage", text};
    case absl::StatusCode::kUnavailable:
      return {"ServiceUnavailable", text};
    case absl::StatusCode::kCancelled:
      return {"IncompleteBody", ""};
    case absl::StatusCode::kInvalidArgument:
      // The message may begin with one of S3's own codes.
      for (auto& r : kRows) {
        if (text.substr(0, r.code.size()) == r.code &&
            (text.size() == r.code.size() || text[r.code.size()] == ' ')) {
          Error e{r.code, text.size() > r.code.size() ? text.substr(r.code.size() + 1) : ""};
          return e.code == "XAmzContentSHA256Mismatch" ? with_digests(std::move(e)) : e;
        }
      }
      return {"InvalidArgument", text};
    default:
      return {"InternalError", text};
  }
}
}  // namespace

Error error_of(const Status& status, std::string_view missing) {
  Error e = translate(status, missing);
  e.rests_on = rests_on(status);
  return e;
}

}  // namespace cairn::s3
