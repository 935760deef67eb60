#include "gateway/http/s3/sigv4.h"

#include <absl/time/civil_time.h>
#include <absl/time/time.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "core/base/text.h"
#include "gateway/http/s3/refusals.h"
#include "gateway/http/s3/sigv2.h"
#include "objects/digest.h"

namespace cairn::s3 {

using objects::Algorithm;

namespace {

// A context for each thread: OpenSSL's HMAC() makes one, and looks its algorithms up, at each call.
struct HmacContext {
  explicit HmacContext(std::string digest) {
    EVP_MAC* hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    context = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
        OSSL_PARAM_construct_end()};
    EVP_MAC_CTX_set_params(context, params);
  }
  ~HmacContext() { EVP_MAC_CTX_free(context); }
  HmacContext(const HmacContext&) = delete;
  EVP_MAC_CTX* context;
};

std::string hmac_of(const HmacContext& hmac, std::string_view key, std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out;
  size_t n = 0;
  EVP_MAC_init(hmac.context, reinterpret_cast<const unsigned char*>(key.data()), key.size(),
               nullptr);
  EVP_MAC_update(hmac.context, reinterpret_cast<const unsigned char*>(data.data()), data.size());
  EVP_MAC_final(hmac.context, out.data(), &n, out.size());
  return {reinterpret_cast<char*>(out.data()), n};
}

}  // namespace

std::string hmac_sha256(std::string_view key, std::string_view data) {
  thread_local const HmacContext hmac("SHA256");
  return hmac_of(hmac, key, data);
}
std::string hmac_sha1(std::string_view key, std::string_view data) {
  thread_local const HmacContext hmac("SHA1");
  return hmac_of(hmac, key, data);
}

Error payload_of(std::string_view content, Authenticated& out) {
  if (content.empty() || content == "UNSIGNED-PAYLOAD") {
    out.payload = Payload::kUnsigned;
  } else if (content == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") {
    out.payload = Payload::kStreaming;
  } else if (content == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") {
    out.payload = Payload::kStreamingTrailer;
  } else if (content == "STREAMING-UNSIGNED-PAYLOAD-TRAILER") {
    out.payload = Payload::kStreamingUnsignedTrailer;
  } else if (content.size() == 64 &&
             content.find_first_not_of("0123456789abcdef") == content.npos) {
    out.payload = Payload::kSigned;
    out.payload_sha256 = content;
  } else {
    return {
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- value, or a SHA-256 in hex"};
  }
  return {};
}

// Digit by digit: absl::ParseTime took 2 % of a small GET.
std::optional<int64_t> parse_timestamp(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  constexpr std::string_view kDigits = "0123456789";
  if (text.substr(0, 8).find_first_not_of(kDigits) != text.npos ||
      text.substr(9, 6).find_first_not_of(kDigits) != text.npos) {
    return std::nullopt;
  }
  auto number = [&](size_t at, size_t digits) {
    return parse_int<int>(text.substr(at, digits)).value_or(-1);
  };
  const int year = number(0, 4), month = number(4, 2), day = number(6, 2);
  const int hour = number(9, 2), minute = number(11, 2), second = number(13, 2);
  const absl::CivilSecond civil(year, month, day, hour, minute, second);
  if (civil.month() != month || civil.day() != day || civil.hour() != hour ||
      civil.minute() != minute || civil.second() != second) {  // no such time
    return std::nullopt;
  }
  return (civil - absl::CivilSecond()) * 1000;
}

struct Authenticator::Parts {
  std::string access_key, date, region, service, signature, timestamp;
  std::vector<std::string> signed_headers;
  bool presigned = false;
  int64_t expires_s = 0;
  std::string_view services = "s3";  // that it may be signed for, separated by blanks
};

namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr int64_t kPresignedSecondsMax = int64_t{7} * 24 * 3600;

using Parts = Authenticator::Parts;

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out;
  for (;;) {
    size_t at = text.find(by);
    out.emplace_back(text.substr(0, at));
    if (at == text.npos) return out;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// KEY/DATE/REGION/SERVICE/aws4_request; the key may hold slashes.
bool split_credential(std::string_view text, Parts& p) {
  auto fields = split(text, '/');
  size_t n = fields.size();
  if (n < 5 || fields[n - 1] != "aws4_request") return false;
  p.service = fields[n - 2];
  p.region = fields[n - 3];
  p.date = fields[n - 4];
  for (size_t i = 0; i + 4 < n; i++) p.access_key += (i > 0 ? "/" : "") + fields[i];
  const auto services = words_of(p.services);
  return std::find(services.begin(), services.end(), p.service) != services.end() &&
         p.date.size() == 8;
}

Error not_supported() {
  return {"InvalidRequest",
          "The authorization mechanism that you provided is not supported. "
          "Please use AWS4-HMAC-SHA256."};
}

Error parse_header(const http::Request& r, Parts& p) {
  std::string_view text = r.header("authorization");
  if (text.substr(0, kAlgorithm.size()) != kAlgorithm) {
    return not_supported();
  }
  text.remove_prefix(kAlgorithm.size());
  std::string credential;
  for (auto& field : split(text, ',')) {
    std::string_view f = trim(field);
    size_t eq = f.find('=');
    if (eq == f.npos) return {"AuthorizationHeaderMalformed", ""};
    std::string_view name = f.substr(0, eq), value = f.substr(eq + 1);
    if (name == "Credential") credential = value;
    if (name == "SignedHeaders") p.signed_headers = split(value, ';');
    if (name == "Signature") p.signature = value;
  }
  if (!split_credential(credential, p) || p.signed_headers.empty() || p.signature.size() != 64) {
    return {"AuthorizationHeaderMalformed", ""};
  }
  p.timestamp = r.header("x-amz-date");
  if (p.timestamp.empty()) {  // a Date header does as well
    if (auto seconds = http::parse_http_date(r.header("date"))) {
      p.timestamp = absl::FormatTime("%E4Y%m%dT%H%M%SZ", absl::FromUnixSeconds(*seconds),
                                     absl::UTCTimeZone());
    }
  }
  return {};
}

Error parse_query(const http::Request& r, Parts& p) {
  auto value = [&](std::string_view name) -> std::string {
    const std::string* v = r.param(name);
    return v == nullptr ? "" : *v;
  };
  p.presigned = true;
  if (value("X-Amz-Algorithm") != kAlgorithm || !split_credential(value("X-Amz-Credential"), p)) {
    return {"AuthorizationQueryParametersError", ""};
  }
  p.signed_headers = split(value("X-Amz-SignedHeaders"), ';');
  p.signature = value("X-Amz-Signature");
  p.timestamp = value("X-Amz-Date");
  auto expires = parse_int<int64_t>(value("X-Amz-Expires"));
  if (!expires || *expires < 1 || *expires > kPresignedSecondsMax || p.signature.size() != 64) {
    return {"AuthorizationQueryParametersError", "X-Amz-Expires must be between 1 and 604800"};
  }
  p.expires_s = *expires;
  return {};
}

std::string canonical_request(const http::Request& r, const Parts& p,
                              std::string_view payload_hash) {
  std::string out = cat(r.method, "\n", http::percent_encode(r.path, true), "\n");
  std::vector<std::pair<std::string, std::string>> query;
  for (auto& [name, value] : r.query) {
    if (p.presigned && name == "X-Amz-Signature") continue;
    query.emplace_back(http::percent_encode(name, false), http::percent_encode(value, false));
  }
  std::sort(query.begin(), query.end());
  for (size_t i = 0; i < query.size(); i++) {
    append(out, i > 0 ? "&" : "", query[i].first, "=", query[i].second);
  }
  out += "\n";
  for (auto& name : p.signed_headers) {
    append(out, name, ":");
    // Runs of blanks count as one.
    bool blank = false;
    for (char c : trim(r.header(name))) {
      if (c == ' ' && blank) continue;
      blank = c == ' ';
      out.push_back(c);
    }
    out += "\n";
  }
  out += "\n";
  for (size_t i = 0; i < p.signed_headers.size(); i++) {
    append(out, i > 0 ? ";" : "", p.signed_headers[i]);
  }
  append(out, "\n", payload_hash);
  return out;
}

// That it was signed now, and what decides about it.
Error check_signed(const http::Request& r, const Parts& p, int64_t now_ms) {
  auto stamp = parse_timestamp(p.timestamp);
  if (!stamp || p.timestamp.substr(0, 8) != p.date) {
    return {"AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"};
  }
  if (p.presigned) {
    if (*stamp - kSkewMaxMs > now_ms) return {"AccessDenied", "Request is not yet valid"};
    const int64_t end_ms = *stamp + p.expires_s * 1000;
    if (now_ms > end_ms) return has_expired(end_ms, p.expires_s, now_ms);
  } else if (std::abs(now_ms - *stamp) > kSkewMaxMs) {
    return too_skewed(p.timestamp, now_ms);
  }
  // What decides about the request must be signed: the host and every header that says what is
  // done.
  auto is_signed = [&](std::string_view name) {
    return std::find(p.signed_headers.begin(), p.signed_headers.end(), name) !=
           p.signed_headers.end();
  };
  if (!is_signed("host")) return {"AccessDenied", "The host header must be signed"};
  for (auto& [name, value] : r.headers) {
    if ((name.starts_with("x-amz-") || name == "x-cairn-ttl") && !is_signed(name)) {
      return {"AccessDenied",
              cat("There were headers present in the request which were not signed: ", name)};
    }
  }
  return {};
}

}  // namespace

std::string Authenticator::signing_key(std::string_view access_key, std::string_view secret,
                                       std::string_view date, std::string_view region,
                                       std::string_view service) {
  std::string id = cat(access_key, "/", date, "/", region, "/", service);
  {
    MutexLock lock(mutex_);
    if (cached_for_ == id) return cached_key_;
  }
  std::string key = hmac_sha256(cat("AWS4", secret), date);
  key = hmac_sha256(key, region);
  key = hmac_sha256(key, service);
  key = hmac_sha256(key, "aws4_request");
  MutexLock lock(mutex_);
  cached_for_ = id;
  cached_key_ = key;
  return key;
}

Error Authenticator::verify(const http::Request& r, const Parts& p, std::string_view content,
                            std::string& key, Authenticated& out) {
  auto secret = users_.secret(p.access_key);
  if (!secret) return unknown_key(p.access_key);
  key = signing_key(p.access_key, *secret, p.date, p.region, p.service);
  out.scope = cat(p.date, "/", p.region, "/", p.service, "/aws4_request");
  std::string canonical = canonical_request(r, p, content);
  std::string to_sign = cat(kAlgorithm, "\n", p.timestamp, "\n", out.scope, "\n",
                            objects::hex(objects::digest_of(Algorithm::kSha256, canonical)));
  if (!equal_in_constant_time(objects::hex(hmac_sha256(key, to_sign)), p.signature)) {
    return wrong_signature(p.access_key, p.signature, to_sign, canonical);
  }
  out.principal = users_.owner(p.access_key);
  if (out.principal == nullptr) return unknown_key(p.access_key);
  return {};
}

Error Authenticator::take_anybody(std::string_view content, Authenticated& out) const {
  out.anonymous = true;
  out.principal = users_.anybody();
  if (Error e = payload_of(content, out)) return e;
  if (out.payload == Payload::kStreaming || out.payload == Payload::kStreamingTrailer) {
    return {"InvalidRequest", "A request that nobody signed has no signed chunks."};
  }
  return {};
}

Error Authenticator::authenticate(const http::Request& r, int64_t now_ms, Authenticated& out,
                                  std::string_view host_bucket) {
  const bool by_query =
      r.param("X-Amz-Algorithm") != nullptr || r.param("X-Amz-Signature") != nullptr;
  const bool by_header = r.has_header("authorization");
  const bool version2 = is_version2(r);
  if (by_header + (by_query || r.param("Signature") != nullptr) > 1 || (by_query && version2)) {
    return {"InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
            "parameter, Signature query string parameter or the Authorization "
            "header should be specified"};
  }
  if (version2) return authenticate_version2(users_, r, host_bucket, now_ms, out);
  if (!by_query && !by_header) return take_anybody(r.header("x-amz-content-sha256"), out);
  Parts p;
  if (Error e = by_query ? parse_query(r, p) : parse_header(r, p)) return e;
  if (p.region != region_) {
    return {by_query ? "AuthorizationQueryParametersError" : "AuthorizationHeaderMalformed",
            cat("The region '", p.region, "' is wrong; expecting '", region_, "'")};
  }
  if (Error e = check_signed(r, p, now_ms)) return e;
  std::string content = std::string(r.header("x-amz-content-sha256"));
  if (content.empty()) {
    if (!p.presigned) {
      return {"InvalidRequest", "Missing required header for this request: x-amz-content-sha256"};
    }
    // In any spelling, as all headers that a URL carries.
    for (auto& [name, value] : r.query) {
      if (!equals_ignoring_case(name, "x-amz-content-sha256")) continue;
      if (!content.empty() && content != value) {
        return {"InvalidRequest", "x-amz-content-sha256 has two values in the URL"};
      }
      content = value;
    }
    if (content.empty()) content = "UNSIGNED-PAYLOAD";
  }
  std::string key;
  if (Error e = verify(r, p, content, key, out)) return e;
  out.presigned = p.presigned;
  out.signing_key = std::move(key);
  out.timestamp = p.timestamp;
  out.seed_signature = p.signature;
  return payload_of(content, out);
}

Error Authenticator::authenticate_form(const std::map<std::string, std::string>& fields,
                                       int64_t now_ms, Authenticated& out) {
  if (!fields.contains("policy")) {
    for (const char* name : {"signature", "x-amz-signature", "awsaccesskeyid"}) {
      if (fields.contains(name)) return {"AccessDenied", ""};
    }
    out.form = true;
    return take_anybody({}, out);
  }
  const bool version2 = !fields.contains("x-amz-signature") && fields.contains("signature");
  const auto lacking = [&](std::initializer_list<std::pair<const char*, const char*>> names) {
    for (auto& [name, shown] : names) {
      if (fields.contains(name)) continue;
      return Error{"InvalidArgument",
                   cat("Bucket POST must contain a field named '", shown,
                       "'.  If it is specified, please check the order of the fields."),
                   {},
                   {{"ArgumentName", shown}, {"ArgumentValue", ""}}};
    }
    return Error{};
  };
  const std::string& policy = fields.at("policy");
  Parts p;
  if (version2) {
    if (Error e = lacking({{"awsaccesskeyid", "AWSAccessKeyId"}})) return e;
    p.access_key = fields.at("awsaccesskeyid");
    p.signature = fields.at("signature");
  } else {
    if (Error e = lacking({{"x-amz-algorithm", "X-Amz-Algorithm"},
                           {"x-amz-credential", "X-Amz-Credential"},
                           {"x-amz-date", "X-Amz-Date"},
                           {"x-amz-signature", "X-Amz-Signature"}})) {
      return e;
    }
    if (fields.at("x-amz-algorithm") != kAlgorithm) return not_supported();
    if (!split_credential(fields.at("x-amz-credential"), p)) {
      return {"AuthorizationQueryParametersError", ""};
    }
    if (p.region != region_) {
      return {"AuthorizationQueryParametersError",
              cat("The region '", p.region, "' is wrong; expecting '", region_, "'")};
    }
    p.signature = fields.at("x-amz-signature");
    const auto stamp = parse_timestamp(fields.at("x-amz-date"));
    if (!stamp || fields.at("x-amz-date").substr(0, 8) != p.date) {
      return {"AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"};
    }
    if (*stamp - kSkewMaxMs > now_ms) return {"AccessDenied", "Request is not yet valid"};
  }
  const auto secret = users_.secret(p.access_key);
  if (!secret) return unknown_key(p.access_key);
  const std::string expected =
      version2 ? objects::base64(hmac_sha1(*secret, policy))
               : objects::hex(hmac_sha256(
                     signing_key(p.access_key, *secret, p.date, p.region, p.service), policy));
  if (!equal_in_constant_time(expected, p.signature)) {
    return wrong_signature(p.access_key, p.signature, policy);
  }
  out.principal = users_.owner(p.access_key);
  if (out.principal == nullptr) return unknown_key(p.access_key);
  out.form = true;
  out.version2 = version2;
  out.payload = Payload::kUnsigned;
  return {};
}

Error Authenticator::authenticate_call(const http::Request& r, int64_t now_ms,
                                       std::string_view services, std::string_view body_sha256,
                                       Authenticated& out) {
  if (!r.has_header("authorization")) return {"AccessDenied", ""};
  Parts p;
  p.services = services;
  if (Error e = parse_header(r, p)) return e;
  // What AWS has once for all regions is signed for the first.
  if (p.region != region_ && p.region != "us-east-1") {
    return {"AuthorizationHeaderMalformed", cat("The region '", p.region, "' is wrong")};
  }
  if (Error e = check_signed(r, p, now_ms)) return e;
  std::string key;
  return verify(r, p, body_sha256, key, out);
}

std::string_view claimed_key(const http::Request& r) {
  if (const std::string_view key = key_of_version2(r); !key.empty()) return key;
  constexpr std::string_view kCredential = "Credential=";
  const std::string* in_query = r.param("X-Amz-Credential");
  std::string_view text = in_query != nullptr ? *in_query : r.header("authorization");
  if (const size_t at = text.find(kCredential); in_query == nullptr && at != text.npos) {
    text.remove_prefix(at + kCredential.size());
  }
  return text.substr(0, text.find('/'));
}

}  // namespace cairn::s3
