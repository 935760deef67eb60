#include "gateway/http/s3/sigv2.h"

#include <algorithm>
#include <cstdlib>

#include "core/base/text.h"
#include "gateway/http/s3/payload.h"
#include "gateway/http/s3/refusals.h"
#include "objects/digest.h"

namespace cairn::s3 {

namespace {

constexpr std::string_view kScheme = "AWS ";

// Of the query these are signed, in this order.
constexpr std::string_view kSigned[] = {"accelerate",
                                        "acl",
                                        "analytics",
                                        "cors",
                                        "delete",
                                        "encryption",
                                        "inventory",
                                        "lifecycle",
                                        "location",
                                        "logging",
                                        "metrics",
                                        "notification",
                                        "object-lock",
                                        "partNumber",
                                        "policy",
                                        "policyStatus",
                                        "publicAccessBlock",
                                        "replication",
                                        "requestPayment",
                                        "response-cache-control",
                                        "response-content-disposition",
                                        "response-content-encoding",
                                        "response-content-language",
                                        "response-content-type",
                                        "response-expires",
                                        "restore",
                                        "select",
                                        "select-type",
                                        "tagging",
                                        "torrent",
                                        "uploadId",
                                        "uploads",
                                        "versionId",
                                        "versioning",
                                        "versions",
                                        "website"};
// And these are not: they are of the signature, or say which part of a listing is wanted.
constexpr std::string_view kFree[] = {
    "AWSAccessKeyId", "Expires",     "Signature",        "continuation-token", "delimiter",
    "encoding-type",  "fetch-owner", "key-marker",       "list-type",          "marker",
    "max-keys",       "max-parts",   "max-uploads",      "part-number-marker", "prefix",
    "start-after",    "x-id",        "upload-id-marker", "version-id-marker",  "max-buckets",
    "bucket-region"};

template <class Names>
bool lists(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::string folded(std::string_view text) {
  std::string out;
  for (char c : text) {
    const bool blank = c == ' ' || c == '\t';
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out.push_back(blank ? ' ' : c);
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// A parameter that stands for a header, in any spelling, and is signed as one.
bool is_a_header(std::string_view param) {
  const std::string name = lower(param);
  return name.starts_with("x-amz-") || name == "content-md5" || name == "content-type";
}

// A header, or what a URL carries in its place.
std::string_view carried(const http::Request& r, std::string_view name) {
  if (r.has_header(name)) return r.header(name);
  for (auto& [param, value] : r.query) {
    if (equals_ignoring_case(param, name)) return value;
  }
  return {};
}

std::string canonical_headers(const http::Request& r, bool in_query) {
  std::map<std::string, std::string> all;
  for (auto& [name, value] : r.headers) {
    if (name.starts_with("x-amz-")) all.emplace(name, folded(value));
  }
  if (in_query) {
    for (auto& [param, value] : r.query) {
      if (std::string name = lower(param); name.starts_with("x-amz-")) {
        all.emplace(std::move(name), folded(value));
      }
    }
  }
  std::string out;
  for (auto& [name, value] : all) append(out, name, ":", value, "\n");
  return out;
}

// A parameter is signed with its value if it has one: rclone sends "uploads=" and signs "uploads".
Error signed_query(const http::Request& r, bool in_query, std::string& out) {
  std::vector<std::pair<std::string_view, std::string_view>> found;
  for (auto& [name, value] : r.query) {
    if (lists(kSigned, name)) {
      found.emplace_back(name, value);
    } else if (!name.empty() && !lists(kFree, name) && !(in_query && is_a_header(name))) {
      return {"InvalidRequest", cat("Signature version 2 does not cover the parameter ", name)};
    }
  }
  std::stable_sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.first < b.first; });
  for (auto& [name, value] : found) {
    append(out, out.empty() ? "?" : "&", name, value.empty() ? "" : "=", value);
  }
  return {};
}

// Unix milliseconds, of any form that AWS takes.
std::optional<int64_t> parse_time(std::string_view text) {
  if (auto stamp = parse_timestamp(text)) return stamp;
  constexpr std::string_view kZones[] = {" +0000", " -0000", " UTC"};
  std::string date(text);
  for (auto zone : kZones) {
    if (text.ends_with(zone)) date = cat(text.substr(0, text.size() - zone.size()), " GMT");
  }
  auto seconds = http::parse_http_date(date);
  if (!seconds) return std::nullopt;
  return *seconds * 1000;
}

struct Claim {
  std::string access_key, signature;
  std::string date;  // as it is signed
};

Error parse_query(const http::Request& r, int64_t now_ms, Claim& claim) {
  for (auto& [name, to] :
       {std::pair{"AWSAccessKeyId", &claim.access_key}, std::pair{"Signature", &claim.signature},
        std::pair{"Expires", &claim.date}}) {
    const std::string* value = r.param(name);
    if (value == nullptr || value->empty()) {
      return {"AccessDenied",
              "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
              "parameters"};
    }
    *to = *value;
  }
  const auto expires = parse_int<int64_t>(claim.date);
  if (!expires || *expires < 0) {
    return {"AccessDenied", cat("Invalid date (should be seconds since epoch): ", claim.date)};
  }
  if (now_ms / 1000 > *expires) {
    return has_expired(std::min(*expires, INT64_MAX / 1000) * 1000, std::nullopt, now_ms);
  }
  return {};
}

Error parse_header(const http::Request& r, int64_t now_ms, Claim& claim) {
  std::string_view text = r.header("authorization");
  text.remove_prefix(kScheme.size());
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) {
    return {"InvalidArgument",
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature"};
  }
  claim.access_key = text.substr(0, colon);
  claim.signature = text.substr(colon + 1);
  const bool own = r.has_header("x-amz-date");
  const std::string_view date = r.header(own ? "x-amz-date" : "date");
  const auto time = parse_time(date);
  if (!time || *time < 0) {
    return {"AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"};
  }
  if (std::abs(now_ms - *time) > kSkewMaxMs) return too_skewed(date, now_ms);
  if (!own) claim.date = date;
  return {};
}

}  // namespace

bool is_version2(const http::Request& r) {
  if (r.has_header("authorization")) return r.header("authorization").starts_with(kScheme);
  return r.param("AWSAccessKeyId") != nullptr || r.param("Signature") != nullptr;
}

std::string_view key_of_version2(const http::Request& r) {
  if (const std::string* key = r.param("AWSAccessKeyId")) return *key;
  std::string_view text = r.header("authorization");
  if (!text.starts_with(kScheme)) return {};
  text.remove_prefix(kScheme.size());
  return text.substr(0, text.rfind(':'));
}

Error authenticate_version2(const Users& users, const http::Request& r,
                            std::string_view host_bucket, int64_t now_ms, Authenticated& out) {
  const bool in_query = !r.has_header("authorization");
  Claim claim;
  Error e = in_query ? parse_query(r, now_ms, claim) : parse_header(r, now_ms, claim);
  if (e) return e;
  std::string query;
  if (r.has_header("x-cairn-ttl")) {
    return {"InvalidRequest", "Signature version 2 does not cover the header x-cairn-ttl"};
  }
  const std::string path = host_bucket.empty() ? r.raw_path : cat("/", host_bucket, r.raw_path);
  if (e = signed_query(r, in_query, query); e) return e;
  auto no_signer_why = Users::NoSigner::kUnknown;
  const auto signer = users.signer(claim.access_key, token_of(r), &no_signer_why);
  if (!signer) return no_signer(claim.access_key, no_signer_why);
  const std::string start =
      cat(r.method, "\n", carried(r, "content-md5"), "\n", carried(r, "content-type"), "\n",
          claim.date, "\n", canonical_headers(r, in_query), path);
  const auto fits = [&](std::string_view slash) {
    return equal_in_constant_time(
        objects::base64(hmac_sha1(signer->secret, cat(start, slash, query))), claim.signature);
  };
  // botocore asks for "/bucket" and signs "/bucket/", which is the same thing.
  const bool bucket_alone = path.size() > 1 && path.find('/', 1) == path.npos;
  if (!fits("") && !(bucket_alone && fits("/"))) {
    return wrong_signature(claim.access_key, claim.signature, cat(start, query));
  }
  out.principal = signer->owner;
  out.presigned = in_query;
  out.version2 = true;
  if (e = payload_of(carried(r, "x-amz-content-sha256"), out); e) return e;
  if (out.payload == Payload::kStreaming || out.payload == Payload::kStreamingTrailer) {
    return {"InvalidRequest", "Signature version 2 does not sign chunks"};
  }
  return {};
}

}  // namespace cairn::s3
