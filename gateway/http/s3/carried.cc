#include "gateway/http/s3/carried.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/store/user_table.h"
#include "gateway/http/head.h"

namespace cairn::s3 {

namespace {

// Whether a list of names, separated by blanks, has this one; "name-*" stands for all that begin
// so.
bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t blank = names.find(' ');
    const std::string_view one = names.substr(0, blank);
    names = blank == names.npos ? "" : names.substr(blank + 1);
    if (one == name) return true;
    if (one.ends_with('*') && name.starts_with(one.substr(0, one.size() - 1))) return true;
  }
  return false;
}

// Honoured everywhere: what the signature is made of, and what changes nothing that is done.
constexpr std::string_view kHarmlessHeaders =
    "x-amz-date x-amz-content-sha256 x-amz-user-agent x-amz-expected-bucket-owner "
    "x-amz-request-payer "
    "x-amz-security-token "
    "x-cairn-version";  // an answer's: s3cmd sends those of a HEAD along with its copies
constexpr std::string_view kSignatureParams =
    "X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-SignedHeaders "
    "X-Amz-Signature";
constexpr std::string_view kSignatureParams2 = "AWSAccessKeyId Expires Signature";
constexpr std::string_view kHarmlessParams = "x-id";  // an SDK's name of the operation

// Values that are true of Cairn; a known value that is not is not implemented, another is none.
struct Truth {
  std::string_view name, holds, known;
  std::string_view error;  // for a value that S3 does not know either
};
constexpr std::string_view kAlgorithms =
    "CRC32 CRC32C CRC64NVME SHA1 SHA256 SHA512 MD5 XXHASH64 XXHASH3 XXHASH128";
constexpr Truth kTruths[] = {
    {"x-amz-storage-class", "STANDARD",
     "REDUCED_REDUNDANCY STANDARD_IA ONEZONE_IA INTELLIGENT_TIERING GLACIER DEEP_ARCHIVE OUTPOSTS "
     "GLACIER_IR SNOW EXPRESS_ONEZONE",
     "InvalidStorageClass"},
    {"x-amz-object-ownership", "BucketOwnerEnforced BucketOwnerPreferred ObjectWriter", "",
     "InvalidArgument"},
    {"x-amz-confirm-remove-self-bucket-access", "true false True False", "", "InvalidArgument"},
    {"x-amz-bucket-object-lock-enabled", "true True TRUE false False FALSE", "", "InvalidArgument"},
    {"x-amz-bypass-governance-retention", "true True TRUE false False", "", "InvalidArgument"},
    {"x-amz-request-payer", "requester", "", "InvalidArgument"},
    {"x-amz-checksum-mode", "ENABLED enabled", "", "InvalidArgument"},
    {"x-amz-metadata-directive", "COPY REPLACE", "", "InvalidArgument"},
    {"x-amz-tagging-directive", "COPY REPLACE", "", "InvalidArgument"},
    {"x-amz-checksum-algorithm", kAlgorithms, "", "InvalidRequest"},
    {"x-amz-sdk-checksum-algorithm", kAlgorithms, "", "InvalidRequest"},
    {"x-amz-checksum-type", "COMPOSITE FULL_OBJECT", "", "InvalidRequest"},
    // Of what is archived, and nothing is.
    {"x-amz-optional-object-attributes", "RestoreStatus", "", "InvalidArgument"},
};

Error check_value(std::string_view name, std::string_view value, const Call& c) {
  if (name == "x-amz-expected-bucket-owner" || name == "x-amz-source-expected-bucket-owner") {
    const bool is_owner = value == kAccount || value == kRootCanonicalId || value == c.owner;
    return is_owner ? Error{} : Error{"AccessDenied", ""};
  }
  for (auto& t : kTruths) {
    if (t.name != name) continue;
    const std::string folded = upper(value);
    const bool any_case = t.holds == kAlgorithms;
    if (lists(t.holds, any_case ? std::string_view(folded) : value)) return {};
    if (lists(t.known, value)) return {"NotImplemented", cat(name, ": ", value)};
    return {t.error, cat("The value of ", name, " is not valid.")};
  }
  return {};
}

Error check_headers(const Row& row, const Call& c) {
  for (auto& [name, value] : c.request.headers) {
    if (!governed(name)) continue;
    if (!lists(kHarmlessHeaders, name) && !lists(row.headers, name)) {
      if (name == "x-amz-server-side-encryption") {
        return argument_invalid(name, value,
                                cat(name, " header is not supported for this operation."));
      }
      return {"NotImplemented", cat("Cairn does not have ", name, " in ", row.name)};
    }
    if (Error e = check_value(name, value, c)) return e;
  }
  // An SDK that says which checksum it sends has to send it.
  if (auto algorithm = c.request.header("x-amz-sdk-checksum-algorithm"); !algorithm.empty()) {
    const bool sent = c.request.has_header("x-amz-trailer") ||
                      std::any_of(c.request.headers.begin(), c.request.headers.end(), [](auto& h) {
                        return h.first.starts_with("x-amz-checksum-") &&
                               objects::algorithm_named(std::string_view(h.first).substr(15));
                      });
    if (!sent) {
      return {"InvalidRequest",
              "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
              "x-amz-trailer headers were found."};
    }
  }
  return {};
}

// A thing of its own, as ?acl, that is asked of something.
Error not_there(const Call& c, std::string_view name) {
  const std::string_view of = c.bucket_name.empty() ? "the service"
                              : c.key.empty()       ? "a bucket"
                                                    : "an object";
  return {"NotImplemented", cat("Cairn does not have ", c.request.method, " ?", name, " of ", of)};
}

Error check_params(const Row& row, const Call& c) {
  const auto& query = c.request.query;
  for (size_t i = 0; i < query.size(); i++) {
    const auto& [name, value] = query[i];
    const bool known =
        name == row.subresource || lists(row.params, name) || lists(kHarmlessParams, name) ||
        (c.auth.presigned && lists(c.auth.version2 ? kSignatureParams2 : kSignatureParams, name));
    if (!known && !name.empty() && value.empty()) {
      return not_there(c, name);
    }
    if (!known || name.empty()) {
      return {"NotImplemented", cat("Cairn does not have ?", name, " in ", row.name)};
    }
    for (size_t j = 0; j < i && name != "events"; j++) {  // of which there may be several
      if (query[j].first == name) return {"InvalidArgument", cat(name, " was given twice")};
    }
    // It becomes a header of the answer.
    if (name.starts_with("response-") && std::any_of(value.begin(), value.end(), [](char x) {
          return (static_cast<unsigned char>(x) < 0x20 && x != '\t') || x == 0x7f;
        })) {
      return {"InvalidArgument", cat(name, " is no value of a header")};
    }
    if (name == "versionId" && !is_version_id(value)) {
      return {
          "InvalidArgument",
          value.empty() ? "Version id cannot be the empty string" : "Invalid version id specified",
          {},
          {{"ArgumentName", "versionId"}, {"ArgumentValue", value}}};
    }
  }
  return {};
}

}  // namespace

bool governed(std::string_view name) {
  return name.starts_with("x-amz-") || name.starts_with("x-cairn-") || name.starts_with("if-") ||
         name == "content-range";
}

Error take_hoisted(http::Request& r) {
  auto& query = r.query;
  for (size_t i = 0; i < query.size();) {
    const std::string name = lower(query[i].first);
    const bool hoisted = name == "content-md5" || name == "content-type" ||
                         (name.starts_with("x-amz-") && !lists(kSignatureParams, query[i].first));
    if (!hoisted) {
      i++;
      continue;
    }
    const std::string value = std::move(query[i].second);
    query.erase(query.begin() + static_cast<ptrdiff_t>(i));
    const bool of_body =
        name == "x-amz-content-sha256" || name == "x-amz-sdk-checksum-algorithm" ||
        (name.starts_with("x-amz-checksum-") && objects::algorithm_named(name.substr(15)));
    if (of_body) continue;
    if (!http::is_field_name(name) || !http::is_field_value(value)) {
      return {"InvalidRequest", cat(name, " in the URL is no header")};
    }
    if (!r.has_header(name)) {
      r.headers.add(name, value);
    } else if (r.header(name) != value) {
      return {"InvalidRequest", cat(name, " has one value in the URL and another in the header")};
    }
  }
  return {};
}

Error check_carried(const Row& row, const Call& call) {
  if (Error e = check_headers(row, call)) return e;
  return check_params(row, call);
}

Error absent(const Call& call) {
  for (auto& [name, value] : call.request.query) {
    if (lists(kHarmlessParams, name) || lists(kSignatureParams, name) ||
        lists(kSignatureParams2, name)) {
      continue;
    }
    return not_there(call, name);
  }
  return {"MethodNotAllowed", ""};
}

}  // namespace cairn::s3
