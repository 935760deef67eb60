#include "gateway/http/s3/sigv4.h"

#include <absl/container/inlined_vector.h>
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

// OpenSSL's HMAC of each thread: its HMAC() makes a context, and looks its algorithms up, at each
// call. The state of the last key is kept: a key that signs, signs one request after the other.
class Hmac {
 public:
  explicit Hmac(std::string digest) {
    EVP_MAC* hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    context_ = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
        OSSL_PARAM_construct_end()};
    EVP_MAC_CTX_set_params(context_, params);
  }
  ~Hmac() { EVP_MAC_CTX_free(context_); }
  Hmac(const Hmac&) = delete;

  // Until the next one.
  std::string_view of(std::string_view key, std::string_view data) {
    if (key_ == key && !key.empty()) {
      EVP_MAC_init(context_, nullptr, 0, nullptr);
    } else {
      EVP_MAC_init(context_, reinterpret_cast<const unsigned char*>(key.data()), key.size(),
                   nullptr);
      key_ = key;
    }
    size_t n = 0;
    EVP_MAC_update(context_, reinterpret_cast<const unsigned char*>(data.data()), data.size());
    EVP_MAC_final(context_, out_.data(), &n, out_.size());
    return {reinterpret_cast<char*>(out_.data()), n};
  }

 private:
  EVP_MAC_CTX* context_;
  std::string key_;
  std::array<unsigned char, EVP_MAX_MD_SIZE> out_;
};

std::string_view hmac_sha256_of(std::string_view key, std::string_view data) {
  thread_local Hmac hmac("SHA256");
  return hmac.of(key, data);
}

// Likewise, and until the next one.
std::string_view sha256_of(std::string_view data) {
  struct Context {
    Context() : md(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context(EVP_MD_CTX_new()) {}
    ~Context() {
      EVP_MD_CTX_free(context);
      EVP_MD_free(md);
    }
    Context(const Context&) = delete;
    EVP_MD* const md;
    EVP_MD_CTX* const context;
    std::array<unsigned char, EVP_MAX_MD_SIZE> out;
  };
  thread_local Context c;
  unsigned n = 0;
  EVP_DigestInit_ex2(c.context, c.md, nullptr);
  EVP_DigestUpdate(c.context, data.data(), data.size());
  EVP_DigestFinal_ex(c.context, c.out.data(), &n);
  return {reinterpret_cast<char*>(c.out.data()), n};
}

void append_hex(std::string& out, std::string_view raw) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const char c : raw) {
    out.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
    out.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
  }
}

}  // namespace

std::string hmac_sha256(std::string_view key, std::string_view data) {
  return std::string(hmac_sha256_of(key, data));
}
std::string hmac_sha1(std::string_view key, std::string_view data) {
  thread_local Hmac hmac("SHA1");
  return std::string(hmac.of(key, data));
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

// Views of the request.
struct Authenticator::Parts {
  std::string_view access_key, date, region, service, scope, signature, timestamp;
  absl::InlinedVector<std::string_view, 16> signed_headers;
  bool presigned = false;
  int64_t expires_s = 0;
  std::string_view services = "s3";  // that it may be signed for, separated by blanks
  std::string made_timestamp;        // of a Date
};

namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr int64_t kPresignedSecondsMax = int64_t{7} * 24 * 3600;

using Parts = Authenticator::Parts;

// What stands before `by`, which goes with it.
std::string_view take_until(std::string_view& text, char by) {
  const size_t at = text.find(by);
  const std::string_view one = text.substr(0, at);
  text.remove_prefix(at == text.npos ? text.size() : at + 1);
  return one;
}

void split_names(std::string_view text, Parts& p) {
  p.signed_headers.clear();
  do {
    p.signed_headers.push_back(take_until(text, ';'));
  } while (!text.empty());
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// KEY/DATE/REGION/SERVICE/aws4_request; the key may hold slashes.
bool split_credential(std::string_view text, Parts& p) {
  std::array<std::string_view, 4> fields;  // the last ones
  std::string_view rest = text;
  for (size_t i = fields.size(); i-- > 0;) {
    const size_t slash = rest.rfind('/');
    if (slash == rest.npos) return false;
    fields[i] = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
  }
  p.access_key = rest;
  p.date = fields[0];
  p.region = fields[1];
  p.service = fields[2];
  p.scope = text.substr(rest.size() + 1);
  if (fields[3] != "aws4_request" || p.date.size() != 8) return false;
  for (std::string_view services = p.services; !services.empty();) {
    if (take_until(services, ' ') == p.service) return true;
  }
  return false;
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
  std::string_view credential;
  while (!text.empty()) {
    const std::string_view f = trim(take_until(text, ','));
    size_t eq = f.find('=');
    if (eq == f.npos) return {"AuthorizationHeaderMalformed", ""};
    std::string_view name = f.substr(0, eq), value = f.substr(eq + 1);
    if (name == "Credential") credential = value;
    if (name == "SignedHeaders") split_names(value, p);
    if (name == "Signature") p.signature = value;
  }
  if (!split_credential(credential, p) || p.signed_headers.empty() || p.signature.size() != 64) {
    return {"AuthorizationHeaderMalformed", ""};
  }
  p.timestamp = r.header("x-amz-date");
  if (p.timestamp.empty()) {  // a Date header does as well
    if (auto seconds = http::parse_http_date(r.header("date"))) {
      p.made_timestamp = absl::FormatTime("%E4Y%m%dT%H%M%SZ", absl::FromUnixSeconds(*seconds),
                                          absl::UTCTimeZone());
      p.timestamp = p.made_timestamp;
    }
  }
  return {};
}

Error parse_query(const http::Request& r, Parts& p) {
  auto value = [&](std::string_view name) {
    const std::string* v = r.param(name);
    return v == nullptr ? std::string_view() : std::string_view(*v);
  };
  p.presigned = true;
  if (value("X-Amz-Algorithm") != kAlgorithm || !split_credential(value("X-Amz-Credential"), p)) {
    return {"AuthorizationQueryParametersError", ""};
  }
  split_names(value("X-Amz-SignedHeaders"), p);
  p.signature = value("X-Amz-Signature");
  p.timestamp = value("X-Amz-Date");
  auto expires = parse_int<int64_t>(value("X-Amz-Expires"));
  if (!expires || *expires < 1 || *expires > kPresignedSecondsMax || p.signature.size() != 64) {
    return {"AuthorizationQueryParametersError", "X-Amz-Expires must be between 1 and 604800"};
  }
  p.expires_s = *expires;
  return {};
}

void append_canonical_request(std::string& out, const http::Request& r, const Parts& p,
                              std::string_view payload_hash) {
  append(out, r.method, "\n");
  http::append_percent_encoded(out, r.path, true);
  out += "\n";
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

namespace {

// What a secret gives for a day, a region and a service: four hashes, whose result is kept by the
// thread for those that sign right now. The secret is part of what it is found by, since an access
// key may come to have another.
std::string_view signing_key(const Parts& p, std::string_view secret) {
  struct Kept {
    std::string secret, date, region, service, key;
  };
  constexpr size_t kKept = 32;
  thread_local std::vector<Kept> kept;
  thread_local size_t next = 0;
  for (auto& k : kept) {
    if (k.date == p.date && k.region == p.region && k.service == p.service && k.secret == secret) {
      return k.key;
    }
  }
  std::string key = hmac_sha256(cat("AWS4", secret), p.date);
  key = hmac_sha256(key, p.region);
  key = hmac_sha256(key, p.service);
  key = hmac_sha256(key, "aws4_request");
  if (kept.size() < kKept) kept.emplace_back();
  Kept& k = kept[next++ % kKept];
  k = {std::string(secret), std::string(p.date), std::string(p.region), std::string(p.service),
       std::move(key)};
  return k.key;
}

}  // namespace

// Whether the signature is that of who it says; `key` lives until the next one is made.
Error Authenticator::verify(const http::Request& r, const Parts& p, std::string_view content,
                            std::string_view& key, Authenticated& out) {
  auto no_signer_why = Users::NoSigner::kUnknown;
  auto signer = users_.signer(p.access_key, token_of(r), &no_signer_why);
  if (!signer) return no_signer(p.access_key, no_signer_why);
  key = signing_key(p, signer->secret);
  thread_local std::string canonical, to_sign, expected;
  for (std::string* text : {&canonical, &to_sign, &expected}) text->clear();
  append_canonical_request(canonical, r, p, content);
  append(to_sign, kAlgorithm, "\n", p.timestamp, "\n", p.scope, "\n");
  append_hex(to_sign, sha256_of(canonical));
  append_hex(expected, hmac_sha256_of(key, to_sign));
  if (!equal_in_constant_time(expected, p.signature)) {
    return wrong_signature(p.access_key, p.signature, to_sign, canonical);
  }
  out.principal = std::move(signer->owner);
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
  std::string_view content = r.header("x-amz-content-sha256");
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
  std::string_view key;
  if (Error e = verify(r, p, content, key, out)) return e;
  out.presigned = p.presigned;
  if (Error e = payload_of(content, out)) return e;
  out.signed_ms = parse_timestamp(p.timestamp);
  if (out.payload == Payload::kStreaming || out.payload == Payload::kStreamingTrailer) {
    out.timestamp = p.timestamp;
    out.signing_key = key;
    out.scope = p.scope;
    out.seed_signature = p.signature;
  }
  return {};
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
  const auto token = fields.find("x-amz-security-token");
  auto no_signer_why = Users::NoSigner::kUnknown;
  auto signer = users_.signer(
      p.access_key, token == fields.end() ? std::string_view() : token->second, &no_signer_why);
  if (!signer) return no_signer(p.access_key, no_signer_why);
  const std::string expected =
      version2 ? objects::base64(hmac_sha1(signer->secret, policy))
               : objects::hex(hmac_sha256(signing_key(p, signer->secret), policy));
  if (!equal_in_constant_time(expected, p.signature)) {
    return wrong_signature(p.access_key, p.signature, policy);
  }
  out.principal = std::move(signer->owner);
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
  // What AWS has once for all regions is signed for the first, or by some clients for none.
  if (p.region != region_ && p.region != "us-east-1" && !p.region.empty()) {
    return {"AuthorizationHeaderMalformed", cat("The region '", p.region, "' is wrong")};
  }
  if (Error e = check_signed(r, p, now_ms)) return e;
  std::string_view key;
  return verify(r, p, body_sha256, key, out);
}

std::string_view token_of(const http::Request& r) {
  constexpr std::string_view kName = "x-amz-security-token";
  if (r.has_header(kName)) return r.header(kName);
  for (auto& [name, value] : r.query) {
    if (equals_ignoring_case(name, kName)) return value;
  }
  return {};
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
