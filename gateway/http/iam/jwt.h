// JSON Web Tokens (RFC 7519), as providers of OpenID Connect make them: what one says, and whether
// a key of its maker's signed it. RS256 and ES256 (RFC 7518) alone, in the compact form.
//
// Nothing of a token counts before verify() has said yes.
//
// Threads: any.
#pragma once

#include <openssl/evp.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn::iam {

struct Token {
  static constexpr size_t kBytesMax = 20'000;  // as STS has it
  bool elliptic = false;                       // ES256, else RS256
  std::string key_id;                          // empty: it names none
  std::string signed_text, signature;
  // What it claims: texts, numbers and truth values, and lists of these.
  std::map<std::string, std::vector<std::string>, std::less<>> claims;
  std::optional<int64_t> expires_s, not_before_s, issued_s;  // Unix time

  // The first value; empty: there is none.
  std::string_view claim(std::string_view name) const {
    const auto it = claims.find(name);
    return it == claims.end() || it->second.empty() ? std::string_view() : it->second.front();
  }
};
// InvalidArgument: it is none, or of a kind that is not taken; the message says why.
StatusOr<Token> parse_token(std::string_view text);

// A public key of a JSON Web Key Set (RFC 7517).
struct WebKey {
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  std::string id;  // empty: it has none
  bool elliptic = false;
  std::shared_ptr<EVP_PKEY> key;
};
using WebKeys = std::vector<WebKey>;
// Those that can sign such tokens, of at most kKeysMax; others are passed over. InvalidArgument: it
// is no key set.
inline constexpr size_t kKeysMax = 64;
StatusOr<WebKeys> parse_keys(std::string_view json);

// Whether there is a key that may have signed it, and whether one did.
enum class Signed : uint8_t { kNoKey, kWrong, kRight };
Signed verify(const Token& token, const WebKeys& keys);

}  // namespace cairn::iam
