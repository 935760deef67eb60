// Why a signature was not believed, with what S3 says beside: the one who signed compares it with
// what he made himself.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/store/users.h"
#include "gateway/http/s3/errors.h"

namespace cairn::s3 {

inline constexpr int64_t kSkewMaxMs = int64_t{15} * 60 * 1000;

// RequestTimeTooSkewed; `time` as it was sent.
Error too_skewed(std::string_view time, int64_t now_ms);
// AccessDenied; `expires_s`: the X-Amz-Expires of a URL of version 4.
Error has_expired(int64_t at_ms, std::optional<int64_t> expires_s, int64_t now_ms);
// InvalidAccessKeyId.
Error unknown_key(std::string_view access_key);
// The same of a session, also InvalidToken and ExpiredToken.
Error no_signer(std::string_view access_key, Users::NoSigner why);
// SignatureDoesNotMatch; `canonical`: the canonical request of version 4.
Error wrong_signature(std::string_view access_key, std::string_view signature,
                      std::string_view to_sign, std::string_view canonical = {});

}  // namespace cairn::s3
