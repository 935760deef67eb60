// JSON Web Tokens and key sets: whatever comes, what is taken for a token says what its parts say,
// and no key that did not sign it verifies it.
#include "gateway/http/iam/jwt.h"

#include "core/base/text.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using fuzz::law;
  // Whose private half nobody has.
  static const iam::WebKeys keys = *iam::parse_keys(
      R"({"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
      R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})");
  law(keys.size() == 1, "the key is one");
  const std::string_view text = fuzz::text_of(data, size);
  const auto token = iam::parse_token(text);
  if (token.ok()) {
    law(text.starts_with(token->signed_text), "what is signed is what came");
    law(text.size() <= iam::Token::kBytesMax, "a token is not long");
    law(!token->signature.empty(), "a token has a signature");
    law(iam::verify(*token, keys) != iam::Signed::kRight, "nobody signed it");
    for (const auto& moment : {token->expires_s, token->not_before_s, token->issued_s}) {
      law(!moment || *moment >= 0, "a moment is one");
    }
  } else {
    law(!token.status().message().empty(), "a refusal says why");
  }
  const auto set = iam::parse_keys(text);
  if (set.ok()) {
    law(set->size() <= iam::kKeysMax, "a set is not large");
    for (const iam::WebKey& key : *set) law(key.key != nullptr, "a key is one");
  }
  return 0;
}
