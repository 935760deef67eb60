#include "objects/digest.h"

#include <absl/strings/escaping.h>
#include <openssl/evp.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <bit>

#include "core/base/checksum.h"

namespace cairn::objects {

std::string hex(std::string_view raw) { return absl::BytesToHexString({raw.data(), raw.size()}); }

std::optional<std::string> unhex(std::string_view text) {
  if (text.size() % 2 != 0 || text.find_first_not_of("0123456789abcdefABCDEF") != text.npos) {
    return std::nullopt;
  }
  return absl::HexStringToBytes({text.data(), text.size()});
}

std::string base64(std::string_view raw) { return absl::Base64Escape({raw.data(), raw.size()}); }

// Abseil skips blanks and takes a text without its padding: what it made has to give this very
// text.
std::optional<std::string> base64_decode(std::string_view text, size_t text_max) {
  std::string out;
  if (text.size() % 4 != 0 || text.size() > text_max ||
      !absl::Base64Unescape({text.data(), text.size()}, &out) || base64(out) != text) {
    return std::nullopt;
  }
  return out;
}

namespace {
constexpr std::pair<std::string_view, Algorithm> kNames[] = {{"crc32", Algorithm::kCrc32},
                                                             {"crc32c", Algorithm::kCrc32c},
                                                             {"crc64nvme", Algorithm::kCrc64nvme},
                                                             {"sha1", Algorithm::kSha1},
                                                             {"sha256", Algorithm::kSha256},
                                                             {"sha512", Algorithm::kSha512},
                                                             {"md5", Algorithm::kMd5},
                                                             {"xxhash64", Algorithm::kXxhash64},
                                                             {"xxhash3", Algorithm::kXxhash3},
                                                             {"xxhash128", Algorithm::kXxhash128}};

std::string big_endian(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; i--) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
int crc_bytes(Algorithm a) { return a == Algorithm::kCrc64nvme ? 8 : 4; }
}  // namespace

std::optional<Algorithm> algorithm_named(std::string_view name) {
  for (auto& [n, a] : kNames) {
    if (n == name) return a;
  }
  return std::nullopt;
}

std::string_view name_of(Algorithm algorithm) {
  for (auto& [n, a] : kNames) {
    if (a == algorithm) return n;
  }
  return "";
}

namespace {
XXH64_state_t* of_xxh64(void* context) { return static_cast<XXH64_state_t*>(context); }
XXH3_state_t* of_xxh3(void* context) { return static_cast<XXH3_state_t*>(context); }
}  // namespace

void Digest::Free::operator()(void* context) const {
  switch (algorithm) {
    case Algorithm::kXxhash64:
      XXH64_freeState(of_xxh64(context));
      return;
    case Algorithm::kXxhash3:
    case Algorithm::kXxhash128:
      XXH3_freeState(of_xxh3(context));
      return;
    default:
      EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context));
  }
}

// Looked up once: by EVP_sha256() and the like OpenSSL does it at each use, under a lock.
static const EVP_MD* fetched(Algorithm algorithm) {
  static const EVP_MD* const md5 = EVP_MD_fetch(nullptr, "MD5", nullptr);
  static const EVP_MD* const sha1 = EVP_MD_fetch(nullptr, "SHA1", nullptr);
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  static const EVP_MD* const sha512 = EVP_MD_fetch(nullptr, "SHA512", nullptr);
  return algorithm == Algorithm::kMd5      ? md5
         : algorithm == Algorithm::kSha1   ? sha1
         : algorithm == Algorithm::kSha512 ? sha512
                                           : sha256;
}

Digest::Digest(Algorithm algorithm) : algorithm_(algorithm), context_(nullptr, Free{algorithm}) {
  switch (algorithm) {
    case Algorithm::kCrc32:
    case Algorithm::kCrc32c:
    case Algorithm::kCrc64nvme:
      return;
    case Algorithm::kXxhash64:
      context_.reset(XXH64_createState());
      XXH64_reset(of_xxh64(context_.get()), 0);
      return;
    case Algorithm::kXxhash3:
      context_.reset(XXH3_createState());
      XXH3_64bits_reset(of_xxh3(context_.get()));
      return;
    case Algorithm::kXxhash128:
      context_.reset(XXH3_createState());
      XXH3_128bits_reset(of_xxh3(context_.get()));
      return;
    default:
      context_.reset(EVP_MD_CTX_new());
      EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_.get()), fetched(algorithm), nullptr);
  }
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(Bytes data) {
  switch (algorithm_) {
    case Algorithm::kCrc32:
      crc_ = crc32(static_cast<uint32_t>(crc_), data);
      return;
    case Algorithm::kCrc32c:
      crc_ = crc32c(static_cast<uint32_t>(crc_), data);
      return;
    case Algorithm::kCrc64nvme:
      crc_ = crc64nvme(crc_, data);
      return;
    case Algorithm::kXxhash64:
      XXH64_update(of_xxh64(context_.get()), data.data(), data.size());
      return;
    case Algorithm::kXxhash3:
      XXH3_64bits_update(of_xxh3(context_.get()), data.data(), data.size());
      return;
    case Algorithm::kXxhash128:
      XXH3_128bits_update(of_xxh3(context_.get()), data.data(), data.size());
      return;
    default:
      EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_.get()), data.data(), data.size());
  }
}

std::string Digest::finish() {
  if (is_crc(algorithm_)) return big_endian(crc_, crc_bytes(algorithm_));
  if (algorithm_ == Algorithm::kXxhash64) {
    return big_endian(XXH64_digest(of_xxh64(context_.get())), 8);
  }
  if (algorithm_ == Algorithm::kXxhash3) {
    return big_endian(XXH3_64bits_digest(of_xxh3(context_.get())), 8);
  }
  if (algorithm_ == Algorithm::kXxhash128) {
    const XXH128_hash_t sum = XXH3_128bits_digest(of_xxh3(context_.get()));
    return big_endian(sum.high64, 8) + big_endian(sum.low64, 8);
  }
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_.get()), out, &n);
  return {reinterpret_cast<char*>(out), n};
}

std::string digest_of(Algorithm algorithm, std::string_view data) {
  Digest d(algorithm);
  d.update(as_bytes(data));
  return d.finish();
}

// Appending n zero bytes is a linear map of the CRC register; its matrix is squared up to n.
std::string combine_crc(Algorithm algorithm, std::string_view crc_a, std::string_view crc_b,
                        uint64_t length_b) {
  const int bits = crc_bytes(algorithm) * 8;
  const uint64_t poly = algorithm == Algorithm::kCrc64nvme ? 0x9a6c9329ac4bc9b5ULL
                        : algorithm == Algorithm::kCrc32c  ? 0x82f63b78ULL
                                                           : 0xedb88320ULL;
  using Matrix = std::array<uint64_t, 64>;
  auto times = [&](const Matrix& m, uint64_t v) {
    uint64_t sum = 0;
    for (int i = 0; v != 0; i++, v >>= 1) {
      if (v & 1) sum ^= m[static_cast<size_t>(i)];
    }
    return sum;
  };
  auto square = [&](const Matrix& m) {
    Matrix out{};
    for (int i = 0; i < bits; i++)
      out[static_cast<size_t>(i)] = times(m, m[static_cast<size_t>(i)]);
    return out;
  };
  Matrix m{};  // one zero bit
  m[0] = poly;
  for (int i = 1; i < bits; i++) m[static_cast<size_t>(i)] = uint64_t{1} << (i - 1);
  for (int i = 0; i < 3; i++) m = square(m);  // one zero byte
  auto value = [](std::string_view raw) {
    uint64_t v = 0;
    for (unsigned char c : raw) v = v << 8 | c;
    return v;
  };
  uint64_t a = value(crc_a);
  for (uint64_t n = length_b; n != 0; n >>= 1) {
    if (n & 1) a = times(m, a);
    m = square(m);
  }
  return big_endian(a ^ value(crc_b), crc_bytes(algorithm));
}

}  // namespace cairn::objects
