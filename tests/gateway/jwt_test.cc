#include "gateway/http/iam/jwt.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>

#include <memory>

#include "core/base/text.h"
#include "objects/digest.h"

namespace cairn::iam {
namespace {

std::string base64url(std::string_view raw) {
  std::string text = objects::base64(raw);
  while (text.ends_with('=')) text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

using Key = std::unique_ptr<EVP_PKEY, WebKey::Free>;

std::string number_of(EVP_PKEY* key, const char* name, int bytes = 0) {
  BIGNUM* n = nullptr;
  EVP_PKEY_get_bn_param(key, name, &n);
  std::string out(static_cast<size_t>(bytes == 0 ? BN_num_bytes(n) : bytes), '\0');
  BN_bn2binpad(n, reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
  BN_free(n);
  return out;
}

std::string jwk_of(EVP_PKEY* key, std::string_view id) {
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    return cat(R"({"kty":"RSA","kid":")", id, R"(","n":")",
               base64url(number_of(key, OSSL_PKEY_PARAM_RSA_N)), R"(","e":")",
               base64url(number_of(key, OSSL_PKEY_PARAM_RSA_E)), R"("})");
  }
  return cat(R"({"kty":"EC","crv":"P-256","kid":")", id, R"(","x":")",
             base64url(number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, 32)), R"(","y":")",
             base64url(number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, 32)), R"("})");
}

std::string sign(EVP_PKEY* key, std::string_view text) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, key);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  size_t size = 0;
  EVP_DigestSign(context, nullptr, &size, bytes, text.size());
  std::string out(size, '\0');
  EVP_DigestSign(context, reinterpret_cast<unsigned char*>(out.data()), &size, bytes, text.size());
  out.resize(size);
  EVP_MD_CTX_free(context);
  if (EVP_PKEY_is_a(key, "EC") != 1) return out;
  const auto* der = reinterpret_cast<const unsigned char*>(out.data());
  ECDSA_SIG* both = d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(out.size()));
  std::string raw(64, '\0');
  auto* to = reinterpret_cast<unsigned char*>(raw.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(both), to, 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(both), to + 32, 32);
  ECDSA_SIG_free(both);
  return raw;
}

std::string token_of(EVP_PKEY* key, std::string_view head, std::string_view claims) {
  const std::string text = cat(base64url(head), ".", base64url(claims));
  return cat(text, ".", base64url(sign(key, text)));
}

struct Jwt : testing::Test {
  const Key rsa{EVP_RSA_gen(2048)}, other{EVP_RSA_gen(2048)}, ec{EVP_EC_gen("P-256")};
  const std::string keys =
      cat(R"({"keys":[)", jwk_of(rsa.get(), "r"), ",", jwk_of(ec.get(), "e"), "]}");
  Signed verified(const std::string& token) const {
    const auto parsed = parse_token(token);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() ? verify(*parsed, *parse_keys(keys)) : Signed::kWrong;
  }
};

TEST_F(Jwt, AKeyThatSignedItVerifiesItAndNoOtherDoes) {
  const std::string claims = R"({"sub":"a","exp":1700000000.5,"aud":["x","y"],"n":7,"t":true})";
  const std::string by_rsa = token_of(rsa.get(), R"({"alg":"RS256","kid":"r"})", claims);
  const std::string by_ec = token_of(ec.get(), R"({"alg":"ES256"})", claims);
  for (const auto& token : {by_rsa, by_ec}) {
    EXPECT_EQ(verified(token), Signed::kRight);
    const auto parsed = parse_token(token);
    EXPECT_EQ(parsed->claim("sub"), "a");
    EXPECT_EQ(parsed->expires_s, 1'700'000'000);
    EXPECT_EQ(parsed->claims.find("aud")->second, (std::vector<std::string>{"x", "y"}));
    EXPECT_EQ(parsed->claim("n"), "7");
    EXPECT_EQ(parsed->claim("t"), "true");
    // Each character of it counts.
    for (size_t i = 0; i < token.size(); i += 7) {
      std::string changed = token;
      changed[i] = changed[i] == 'A' ? 'B' : 'A';
      const auto of = parse_token(changed);
      const bool right = of.ok() && verify(*of, *parse_keys(keys)) == Signed::kRight;
      EXPECT_FALSE(right) << i;
    }
  }
  EXPECT_EQ(verified(token_of(other.get(), R"({"alg":"RS256","kid":"r"})", claims)),
            Signed::kWrong);
  EXPECT_EQ(verified(token_of(other.get(), R"({"alg":"RS256","kid":"x"})", claims)),
            Signed::kNoKey);
  // A key signs by its own algorithm alone.
  EXPECT_EQ(verified(token_of(rsa.get(), R"({"alg":"ES256","kid":"r"})", claims)), Signed::kNoKey);
}

TEST_F(Jwt, WhatIsNoTokenIsRefused) {
  const auto refused = [](std::string_view head, std::string_view claims, std::string_view mark) {
    return !parse_token(cat(base64url(head), ".", base64url(claims), ".", base64url(mark))).ok();
  };
  EXPECT_FALSE(refused(R"({"alg":"RS256"})", "{}", "x"));
  EXPECT_TRUE(refused(R"({"alg":"none"})", "{}", "x"));
  EXPECT_TRUE(refused(R"({"alg":"HS256"})", "{}", "x"));
  EXPECT_TRUE(refused(R"({"alg":["RS256"]})", "{}", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256","crit":["a"]})", "{}", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256","kid":5})", "{}", "x"));
  for (const char* loose : {R"({"iss":["ISSUER"]})", R"({"sub":["repo:me/x"]})", R"({"sub":7})",
                            R"({"azp":["party"]})", R"({"aud":7})", R"({"aud":["x",7]})"}) {
    EXPECT_TRUE(refused(R"({"alg":"RS256"})", loose, "x")) << loose;
  }
  EXPECT_FALSE(refused(R"({"alg":"RS256"})", R"({"aud":["x","y"],"sub":"a"})", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256"})", "[]", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256"})", "{}", ""));
  EXPECT_TRUE(refused(R"({"alg":"RS256"})", R"({"exp":"soon"})", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256"})", R"({"exp":-1})", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256"})", R"({"exp":1e300})", "x"));
  EXPECT_TRUE(refused(R"({"alg":"RS256"})", std::string(100, '['), "x"));
  const std::string good = cat(base64url(R"({"alg":"RS256"})"), ".", base64url("{}"), ".eA");
  EXPECT_TRUE(parse_token(good).ok());
  for (const std::string& bad :
       {good + ".eA", good + "=", good.substr(0, good.size() - 1), good + "!",
        std::string(Token::kBytesMax + 1, '.'), std::string()}) {
    EXPECT_FALSE(parse_token(bad).ok()) << bad.substr(0, 100);
  }
}

TEST_F(Jwt, KeysThatCannotSignAreNone) {
  const auto count = [](std::string_view list) {
    const auto parsed = parse_keys(cat(R"({"keys":[)", list, "]}"));
    return parsed.ok() ? static_cast<int>(parsed->size()) : -1;
  };
  EXPECT_EQ(count(""), 0);
  EXPECT_EQ(count(jwk_of(rsa.get(), "r")), 1);
  EXPECT_EQ(count(R"({"kty":"oct","k":"AAAA"})"), 0);
  EXPECT_EQ(count(R"({"kty":"RSA","n":"AQAB","e":"AQAB"})"), 0);  // too short
  const Key small(EVP_RSA_gen(1024));
  EXPECT_EQ(count(jwk_of(small.get(), "s")), 0);
  std::string of_encryption = jwk_of(rsa.get(), "r");
  of_encryption.insert(1, R"("use":"enc",)");
  EXPECT_EQ(count(of_encryption), 0);
  // A point that is not on the curve.
  EXPECT_EQ(count(cat(R"({"kty":"EC","crv":"P-256","x":")", base64url(std::string(32, '\1')),
                      R"(","y":")", base64url(std::string(32, '\2')), R"("})")),
            0);
  EXPECT_EQ(count("7"), -1);
  EXPECT_FALSE(parse_keys("{}").ok());
  EXPECT_FALSE(parse_keys("").ok());
  std::string many;
  for (size_t i = 0; i <= kKeysMax; i++) append(many, i == 0 ? "" : ",", jwk_of(ec.get(), cat(i)));
  EXPECT_EQ(count(many), -1);
}

}  // namespace
}  // namespace cairn::iam
