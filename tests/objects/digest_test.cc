// Digests: what they say of any bytes, however these come in pieces, is what others say of them.
#include "objects/digest.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <random>

#include "core/base/text.h"

namespace cairn::objects {
namespace {

constexpr Algorithm kAll[] = {Algorithm::kCrc32,    Algorithm::kCrc32c,   Algorithm::kCrc64nvme,
                              Algorithm::kSha1,     Algorithm::kSha256,   Algorithm::kSha512,
                              Algorithm::kMd5,      Algorithm::kXxhash64, Algorithm::kXxhash3,
                              Algorithm::kXxhash128};
constexpr Algorithm kCrcs[] = {Algorithm::kCrc32, Algorithm::kCrc32c, Algorithm::kCrc64nvme};

// As RFC 1321, FIPS 180, the catalogue of CRCs and xxHash's specification have them.
TEST(Digest, AgreesWithPublishedValues) {
  struct Row {
    Algorithm algorithm;
    std::string_view text, hex;
  };
  constexpr Row kRows[] = {
      {Algorithm::kMd5, "", "d41d8cd98f00b204e9800998ecf8427e"},
      {Algorithm::kMd5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
      {Algorithm::kSha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
      {Algorithm::kSha256, "abc",
       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {Algorithm::kSha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {Algorithm::kSha512, "abc",
       "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3f"
       "ee"
       "bbd454d4423643ce80e2a9ac94fa54ca49f"},
      {Algorithm::kXxhash64, "", "ef46db3751d8e999"},
      {Algorithm::kXxhash64, "abc", "44bc2cf5ad770999"},
      {Algorithm::kXxhash3, "", "2d06800538d394c2"},
      {Algorithm::kXxhash128, "", "99aa06d3014798d86001c324468d497f"},
      {Algorithm::kCrc32, "123456789", "cbf43926"},
      {Algorithm::kCrc32, "", "00000000"},
      {Algorithm::kCrc32c, "123456789", "e3069283"},
      {Algorithm::kCrc64nvme, "123456789", "ae8b14860a799888"}};
  for (const Row& row : kRows) {
    EXPECT_EQ(hex(digest_of(row.algorithm, row.text)), row.hex) << name_of(row.algorithm);
  }
}

// Bit by bit, as the polynomial is written down.
std::string slow_crc(Algorithm algorithm, std::string_view text) {
  const int bytes = algorithm == Algorithm::kCrc64nvme ? 8 : 4;
  const uint64_t all = bytes == 8 ? UINT64_MAX : UINT32_MAX;
  const uint64_t poly = algorithm == Algorithm::kCrc64nvme ? 0xad93d23594c93659ULL
                        : algorithm == Algorithm::kCrc32c  ? 0x1edc6f41ULL
                                                           : 0x04c11db7ULL;
  const int top = bytes * 8 - 1;
  uint64_t crc = all;
  for (unsigned char c : text) {
    for (int bit = 0; bit < 8; bit++) {
      const bool out = (crc >> top & 1) != (uint64_t{c} >> bit & 1);
      crc = (crc << 1 & all) ^ (out ? poly : 0);
    }
  }
  uint64_t mirrored = 0;
  for (int bit = 0; bit <= top; bit++) mirrored |= (crc >> bit & 1) << (top - bit);
  mirrored ^= all;
  std::string raw;
  for (int byte = bytes - 1; byte >= 0; byte--) {
    raw.push_back(static_cast<char>(mirrored >> (8 * byte)));
  }
  return raw;
}

std::string reference(Algorithm algorithm, std::string_view text) {
  if (is_crc(algorithm)) return slow_crc(algorithm, text);
  const auto number = [](uint64_t value) {
    std::string raw;
    for (int byte = 7; byte >= 0; byte--) raw.push_back(static_cast<char>(value >> (8 * byte)));
    return raw;
  };
  if (algorithm == Algorithm::kXxhash64) return number(XXH64(text.data(), text.size(), 0));
  if (algorithm == Algorithm::kXxhash3) return number(XXH3_64bits(text.data(), text.size()));
  if (algorithm == Algorithm::kXxhash128) {
    const XXH128_hash_t sum = XXH3_128bits(text.data(), text.size());
    return number(sum.high64) + number(sum.low64);
  }
  const char* name = algorithm == Algorithm::kMd5      ? "MD5"
                     : algorithm == Algorithm::kSha1   ? "SHA1"
                     : algorithm == Algorithm::kSha512 ? "SHA512"
                                                       : "SHA256";
  std::array<unsigned char, EVP_MAX_MD_SIZE> out;
  size_t n = 0;
  EVP_Q_digest(nullptr, name, nullptr, text.data(), text.size(), out.data(), &n);
  return {reinterpret_cast<char*>(out.data()), n};
}

std::string random_text(std::mt19937_64& rng, size_t n) {
  std::string text(n, '\0');
  for (char& c : text) c = static_cast<char>(rng());
  return text;
}
// Mostly short, and now and then longer than anything works in at once.
size_t some_size(std::mt19937_64& rng) { return rng() % (size_t{1} << (rng() % 17)); }

TEST(Digest, AnySplitGivesWhatOnePieceGives) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 150; round++) {
    const std::string text = random_text(rng, some_size(rng));
    for (Algorithm a : kAll) {
      const std::string expected = reference(a, text);
      ASSERT_EQ(hex(digest_of(a, text)), hex(expected)) << name_of(a) << " of " << text.size();
      Digest digest(a);
      for (std::string_view rest = text; !rest.empty();) {
        const size_t n = std::min(rest.size(), some_size(rng));  // nothing at all, too
        digest.update(as_bytes(rest.substr(0, n)));
        rest.remove_prefix(n);
        if (rng() % 4 == 0) {  // it may change its place meanwhile
          Digest moved = std::move(digest);
          digest = std::move(moved);
        }
      }
      ASSERT_EQ(hex(digest.finish()), hex(expected)) << name_of(a) << " of " << text.size();
      ASSERT_EQ(digest.algorithm(), a);
    }
  }
}

// Digests that run beside each other do not mix.
TEST(Digest, StreamsAreApart) {
  std::mt19937_64 rng(2);
  std::vector<std::pair<Digest, std::string>> streams;
  streams.reserve(24);
  for (int i = 0; i < 24; i++) streams.emplace_back(Digest(kAll[rng() % std::size(kAll)]), "");
  for (int i = 0; i < 2000; i++) {
    auto& [digest, text] = streams[rng() % streams.size()];
    const std::string piece = random_text(rng, rng() % 300);
    digest.update(as_bytes(piece));
    text += piece;
  }
  for (auto& [digest, text] : streams) {
    EXPECT_EQ(hex(digest.finish()), hex(reference(digest.algorithm(), text)));
  }
}

TEST(Digest, CrcsOfPartsMakeThatOfTheWhole) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 200; round++) {
    std::vector<std::string> parts(1 + rng() % 5);
    std::string whole;
    for (auto& part : parts) whole += part = random_text(rng, some_size(rng));
    for (Algorithm a : kCrcs) {
      std::string running = digest_of(a, parts[0]);
      for (size_t i = 1; i < parts.size(); i++) {
        running = combine_crc(a, running, digest_of(a, parts[i]), parts[i].size());
      }
      ASSERT_EQ(hex(running), hex(digest_of(a, whole))) << name_of(a);
    }
  }
}

// Parts of any length: it does not matter which are joined first. Terabytes cannot be hashed here.
TEST(Digest, CrcsOfPartsOfAnyLengthJoinInAnyOrder) {
  std::mt19937_64 rng(4);
  for (int round = 0; round < 60; round++) {
    for (Algorithm a : kCrcs) {
      const size_t n = a == Algorithm::kCrc64nvme ? 8 : 4;
      const std::string x = random_text(rng, n), y = random_text(rng, n), z = random_text(rng, n);
      const uint64_t of_y = rng() >> (2 + rng() % 62), of_z = rng() >> (2 + rng() % 62);
      const std::string left = combine_crc(a, combine_crc(a, x, y, of_y), z, of_z);
      const std::string right = combine_crc(a, x, combine_crc(a, y, z, of_z), of_y + of_z);
      ASSERT_EQ(hex(left), hex(right)) << name_of(a) << " " << of_y << " " << of_z;
      ASSERT_EQ(hex(combine_crc(a, x, std::string(n, '\0'), 0)), hex(x));
    }
  }
}

TEST(Digest, NamesGoBothWaysAndNothingElseIsOne) {
  for (Algorithm a : kAll) {
    const auto named = algorithm_named(name_of(a));
    EXPECT_EQ(named, std::optional(a));
    const std::string name(name_of(a));
    for (const std::string& other : {name + " ", name.substr(1), cat("S", name), std::string()}) {
      EXPECT_FALSE(algorithm_named(other)) << other;
    }
  }
}

}  // namespace
}  // namespace cairn::objects
