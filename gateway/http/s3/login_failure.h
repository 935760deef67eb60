// Which errors say that who sent a request was not believed, rather than refused: these are counted
// and noted (core/store/auth_failure.h). Of S3's authenticator, which IAM and KMS ask too.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <iterator>

#include "gateway/http/s3/errors.h"

namespace cairn::s3 {

inline bool is_login_failure(const Error& e) {
  constexpr std::string_view kCodes[] = {"InvalidAccessKeyId", "SignatureDoesNotMatch",
                                         "InvalidToken", "ExpiredToken"};
  return std::find(std::begin(kCodes), std::end(kCodes), e.code) != std::end(kCodes);
}

}  // namespace cairn::s3
