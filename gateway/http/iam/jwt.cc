#include "gateway/http/iam/jwt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <utility>

#include "core/base/text.h"

namespace cairn::iam {
namespace {

namespace json = boost::json;

constexpr size_t kClaimsMax = 256;

template <auto free>
struct Freed {
  void operator()(auto* what) const { free(what); }
};
using Number = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using EcSignature = std::unique_ptr<ECDSA_SIG, Freed<ECDSA_SIG_free>>;

Status wrong(std::string_view why) { return absl::InvalidArgumentError(std::string(why)); }

std::string_view text_of(const json::string& s) { return {s.data(), s.size()}; }
std::string_view text_of(json::string_view s) { return {s.data(), s.size()}; }

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// RFC 4648's for URLs, without padding, and canonical.
std::optional<std::string> decode_base64url(std::string_view text) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    uint32_t digit = 0;
    if (c >= 'A' && c <= 'Z') {
      digit = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      digit = static_cast<uint32_t>(c - 'a') + 26;
    } else if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0') + 52;
    } else if (c == '-' || c == '_') {
      digit = c == '-' ? 62 : 63;
    } else {
      return std::nullopt;
    }
    bits = bits << 6 | digit;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count));
    bits &= (1U << count) - 1;
  }
  if (bits != 0) return std::nullopt;
  return out;
}

std::optional<json::object> parse_object(std::string_view text) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = 16;
  json::value value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.get_object());
}

std::string_view member(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || !value->is_string() ? std::string_view()
                                                 : text_of(value->get_string());
}

std::optional<std::string> scalar(const json::value& v) {
  if (v.is_string()) return std::string(text_of(v.get_string()));
  if (v.is_bool()) return v.get_bool() ? "true" : "false";
  if (v.is_int64()) return cat(v.get_int64());
  if (v.is_uint64()) return cat(v.get_uint64());
  return std::nullopt;
}

// Whether it is not there, or a string, as RFC 7515 and 7519 have it.
bool is_string(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_string();
}

// Of one audience, or of several.
bool is_audience(const json::value& value) {
  const auto is_text = [](const json::value& each) { return each.is_string(); };
  if (!value.is_array()) return value.is_string();
  return std::all_of(value.get_array().begin(), value.get_array().end(), is_text);
}

// A moment of the claims: seconds, which may have a fraction.
Status read_moment(const json::object& claims, const char* name, std::optional<int64_t>& to) {
  constexpr double kSecondsMax = 1e11;
  const json::value* value = claims.if_contains(name);
  if (value == nullptr) return absl::OkStatus();
  double seconds = -1;
  if (value->is_int64()) seconds = static_cast<double>(value->get_int64());
  if (value->is_uint64()) seconds = static_cast<double>(value->get_uint64());
  if (value->is_double()) seconds = value->get_double();
  if (!(seconds >= 0 && seconds <= kSecondsMax)) return wrong(cat("its ", name, " is no time"));
  to = static_cast<int64_t>(std::floor(seconds));
  return absl::OkStatus();
}

Status read_head(std::string_view text, Token& to) {
  const auto bytes = decode_base64url(text);
  const auto head = bytes ? parse_object(*bytes) : std::nullopt;
  if (!head) return wrong("its header is not JSON in base64url");
  const std::string_view algorithm = member(*head, "alg");
  if (algorithm != "RS256" && algorithm != "ES256") {
    return wrong("it is signed by neither RS256 nor ES256");
  }
  // What must be understood, and is not.
  if (head->contains("crit") || head->contains("b64")) return wrong("its header asks for more");
  if (!is_string(*head, "kid")) return wrong("its kid is no string");
  to.elliptic = algorithm == "ES256";
  to.key_id = member(*head, "kid");
  return absl::OkStatus();
}

Status read_claims(std::string_view text, Token& to) {
  const auto bytes = decode_base64url(text);
  const auto claims = bytes ? parse_object(*bytes) : std::nullopt;
  if (!claims) return wrong("its claims are not JSON in base64url");
  if (claims->size() > kClaimsMax) return wrong("it has too many claims");
  for (const char* name : {"iss", "sub", "azp", "jti"}) {
    if (!is_string(*claims, name)) return wrong(cat("its ", name, " is no string"));
  }
  const json::value* audience = claims->if_contains("aud");
  if (audience != nullptr && !is_audience(*audience))
    return wrong("its aud is no string, or list of strings");
  for (const auto& [name, value] : *claims) {
    auto& values = to.claims[std::string(text_of(name))];
    values.clear();
    if (auto one = scalar(value)) values.push_back(*std::move(one));
    if (!value.is_array()) continue;
    for (const json::value& each : value.get_array()) {
      if (auto one = scalar(each)) values.push_back(*std::move(one));
    }
  }
  for (const auto& [name, moment] :
       {std::pair{"exp", &to.expires_s}, {"nbf", &to.not_before_s}, {"iat", &to.issued_s}}) {
    if (Status s = read_moment(*claims, name, *moment); !s.ok()) return s;
  }
  return absl::OkStatus();
}

std::shared_ptr<EVP_PKEY> make_key(const char* type, OSSL_PARAM* params) {
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  const bool made = context != nullptr && params != nullptr &&
                    EVP_PKEY_fromdata_init(context.get()) == 1 &&
                    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params) == 1;
  return made ? std::shared_ptr<EVP_PKEY>(key, WebKey::Free()) : nullptr;
}

std::shared_ptr<EVP_PKEY> rsa_key(const json::object& o) {
  constexpr int kBitsMin = 2048, kBitsMax = 8192, kExponentBitsMax = 64;
  const auto n = decode_base64url(member(o, "n")), e = decode_base64url(member(o, "e"));
  if (!n || !e || n->size() > kBitsMax / 8 + 1 || e->size() > 16) return nullptr;
  const Number modulus(BN_bin2bn(bytes_of(*n), static_cast<int>(n->size()), nullptr));
  const Number exponent(BN_bin2bn(bytes_of(*e), static_cast<int>(e->size()), nullptr));
  const int bits = BN_num_bits(modulus.get());
  if (bits < kBitsMin || bits > kBitsMax || BN_is_odd(exponent.get()) == 0 ||
      BN_is_one(exponent.get()) == 1 || BN_num_bits(exponent.get()) > kExponentBitsMax) {
    return nullptr;
  }
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get());
  const Params params(OSSL_PARAM_BLD_to_param(builder.get()));
  return make_key("RSA", params.get());
}

constexpr size_t kP256Bytes = 32;

std::shared_ptr<EVP_PKEY> p256_key(const json::object& o) {
  if (member(o, "crv") != "P-256") return nullptr;
  const auto x = decode_base64url(member(o, "x")), y = decode_base64url(member(o, "y"));
  if (!x || !y || x->size() != kP256Bytes || y->size() != kP256Bytes) return nullptr;
  const std::string point = cat('\x04', *x, *y);
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                   point.size());
  const Params params(OSSL_PARAM_BLD_to_param(builder.get()));
  return make_key("EC", params.get());
}

// OpenSSL takes DER, the token has both numbers as they are.
std::string der_of(std::string_view both) {
  const EcSignature signature(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(bytes_of(both), kP256Bytes, nullptr);
  BIGNUM* s = BN_bin2bn(bytes_of(both) + kP256Bytes, kP256Bytes, nullptr);
  if (ECDSA_SIG_set0(signature.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return {};
  }
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(signature.get(), &der);
  if (size <= 0) return {};
  std::string out(reinterpret_cast<char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return out;
}

bool signed_by(const Token& token, EVP_PKEY* key) {
  std::string signature = token.signature;
  if (token.elliptic) {
    if (signature.size() != 2 * kP256Bytes) return false;
    signature = der_of(signature);
  }
  const DigestContext context(EVP_MD_CTX_new());
  return !signature.empty() &&
         EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(),
                          bytes_of(token.signed_text), token.signed_text.size()) == 1;
}

}  // namespace

StatusOr<Token> parse_token(std::string_view text) {
  if (text.size() > Token::kBytesMax) return wrong("it is too long");
  const size_t first = text.find('.');
  const size_t second = first == text.npos ? first : text.find('.', first + 1);
  if (second == text.npos || text.find('.', second + 1) != text.npos) {
    return wrong("it has not three parts");
  }
  Token token;
  token.signed_text = text.substr(0, second);
  if (Status s = read_head(text.substr(0, first), token); !s.ok()) return s;
  if (Status s = read_claims(text.substr(first + 1, second - first - 1), token); !s.ok()) return s;
  auto signature = decode_base64url(text.substr(second + 1));
  if (!signature || signature->empty()) return wrong("its signature is not base64url");
  token.signature = *std::move(signature);
  return token;
}

StatusOr<WebKeys> parse_keys(std::string_view text) {
  const auto set = parse_object(text);
  const json::value* list = set ? set->if_contains("keys") : nullptr;
  if (list == nullptr || !list->is_array()) return wrong("it is no JSON Web Key Set");
  WebKeys keys;
  for (const json::value& value : list->get_array()) {
    if (!value.is_object()) return wrong("a key is no object");
    const json::object& o = value.get_object();
    const std::string_view type = member(o, "kty"), algorithm = member(o, "alg");
    const bool elliptic = type == "EC";
    const std::string_view own = elliptic ? "ES256" : "RS256";
    const bool fits = (elliptic || type == "RSA") && member(o, "use") != "enc" &&
                      (algorithm.empty() || algorithm == own);
    if (!fits) continue;
    auto key = elliptic ? p256_key(o) : rsa_key(o);
    if (key == nullptr) continue;
    if (keys.size() == kKeysMax) return wrong("it has too many keys");
    keys.push_back({std::string(member(o, "kid")), elliptic, std::move(key)});
  }
  return keys;
}

Signed verify(const Token& token, const WebKeys& keys) {
  Signed found = Signed::kNoKey;
  for (const WebKey& key : keys) {
    const bool may_be = key.elliptic == token.elliptic &&
                        (token.key_id.empty() || key.id.empty() || key.id == token.key_id);
    if (!may_be) continue;
    if (signed_by(token, key.key.get())) return Signed::kRight;
    found = Signed::kWrong;
  }
  return found;
}

}  // namespace cairn::iam
