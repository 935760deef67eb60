#include "gateway/http/s3/refusals.h"

#include <absl/time/time.h>

#include "core/base/text.h"
#include "objects/digest.h"

namespace cairn::s3 {

namespace {

// 2006-02-03T16:45:09Z
std::string time_of(int64_t ms) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

// "61 62": what stands in the text where an XML document cannot show it.
std::string bytes_of(std::string_view text) {
  const std::string digits = objects::hex(text);
  std::string out;
  for (size_t i = 0; i < digits.size(); i += 2) {
    append(out, i == 0 ? "" : " ", std::string_view(digits).substr(i, 2));
  }
  return out;
}

}  // namespace

Error too_skewed(std::string_view time, int64_t now_ms) {
  return {"RequestTimeTooSkewed",
          "",
          {},
          {{"RequestTime", std::string(time)},
           {"ServerTime", time_of(now_ms)},
           {"MaxAllowedSkewMilliseconds", cat(kSkewMaxMs)}}};
}

Error has_expired(int64_t at_ms, std::optional<int64_t> expires_s, int64_t now_ms) {
  Error e{"AccessDenied", "Request has expired"};
  if (expires_s) e.fields.emplace_back("X-Amz-Expires", cat(*expires_s));
  e.fields.emplace_back("Expires", time_of(at_ms));
  e.fields.emplace_back("ServerTime", time_of(now_ms));
  return e;
}

Error unknown_key(std::string_view access_key) {
  return {"InvalidAccessKeyId", "", {}, {{"AWSAccessKeyId", std::string(access_key)}}};
}

Error no_signer(std::string_view access_key, Users::NoSigner why) {
  switch (why) {
    case Users::NoSigner::kInvalidToken:
      return {"InvalidToken", ""};
    case Users::NoSigner::kExpiredToken:
      return {"ExpiredToken", ""};
    case Users::NoSigner::kUnknown:
      break;
  }
  return unknown_key(access_key);
}

Error wrong_signature(std::string_view access_key, std::string_view signature,
                      std::string_view to_sign, std::string_view canonical) {
  Error e{"SignatureDoesNotMatch",
          "",
          {},
          {{"AWSAccessKeyId", std::string(access_key)},
           {"StringToSign", std::string(to_sign)},
           {"SignatureProvided", std::string(signature)},
           {"StringToSignBytes", bytes_of(to_sign)}}};
  if (!canonical.empty()) {
    e.fields.emplace_back("CanonicalRequest", canonical);
    e.fields.emplace_back("CanonicalRequestBytes", bytes_of(canonical));
  }
  return e;
}

}  // namespace cairn::s3
