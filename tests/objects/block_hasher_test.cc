// Blocks side by side: each choice that this CPU has says what OpenSSL says of each message alone.
#include "objects/lanes/block_hasher.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <random>
#include <string>

#include "core/base/text.h"
#include "objects/message_digests.h"

namespace cairn::objects {
namespace {

std::string reference(const char* name, std::string_view text) {
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

std::string name_of(const BlockHasher& hasher) {
  constexpr std::string_view kNames[] = {"one by one", "AVX2", "AVX-512"};
  return cat(kNames[static_cast<size_t>(hasher.vectors())], hasher.sha_ni() ? ", SHA-NI" : "");
}

void expect_right(const BlockHasher& hasher, MessageDigests& message, std::string_view text) {
  const std::string md5 = message.digest(hasher, Algorithm::kMd5);
  const std::string sha256 = message.digest(hasher, Algorithm::kSha256);
  if (!md5.empty()) {
    EXPECT_EQ(hex(md5), hex(reference("MD5", text))) << name_of(hasher) << " of " << text.size();
  }
  if (!sha256.empty()) {
    EXPECT_EQ(hex(sha256), hex(reference("SHA256", text)))
        << name_of(hasher) << " of " << text.size();
  }
}

// As MessageDigests::add() is asked: both, or one of them.
void add_some(MessageDigests& message, uint64_t which) {
  if (which % 3 != 0) message.add(Algorithm::kMd5);
  if (which % 3 != 1) message.add(Algorithm::kSha256);
}

TEST(BlockHasher, TheBestIsOneOfTheChoicesAndOneNeedsNothing) {
  const auto choices = BlockHasher::choices();
  EXPECT_EQ(name_of(choices.front()), "one by one");
  EXPECT_EQ(name_of(BlockHasher()), name_of(choices.back()));
  for (const BlockHasher& hasher : choices) {
    RecordProperty(name_of(hasher), "");
    EXPECT_LE(hasher.lanes_max(), MessageDigests::kTurnsMax);
  }
}

// Lanes of any number, more than a vector has too, at any address.
TEST(BlockHasher, EachLaneGoesOnAsItWouldAlone) {
  std::mt19937_64 rng(11);
  for (const BlockHasher& hasher : BlockHasher::choices()) {
    for (size_t count = 0; count <= 40; count++) {
      const size_t blocks = rng() % 5, offset = rng() % 64;
      std::vector<std::string> texts;
      std::vector<Md5State> md5(count, kMd5Start), md5_alone(count, kMd5Start);
      std::vector<Sha256State> sha256(count, kSha256Start), sha256_alone(count, kSha256Start);
      std::vector<BlockHasher::Md5Lane> md5_lanes;
      std::vector<BlockHasher::Sha256Lane> sha256_lanes;
      for (size_t i = 0; i < count; i++) {
        texts.push_back(random_text(rng, offset + blocks * kHashBlockBytes));
      }
      const BlockHasher plain(BlockHasher::Vectors::kNone, false);
      for (size_t i = 0; i < count; i++) {
        const std::byte* data = as_bytes(texts[i]).data() + offset;
        md5_lanes.push_back({&md5[i], data});
        sha256_lanes.push_back({&sha256[i], data});
        plain.both(md5_alone[i], sha256_alone[i], data, blocks);
      }
      hasher.md5(md5_lanes, blocks);
      hasher.sha256(sha256_lanes, blocks);
      EXPECT_EQ(md5, md5_alone) << name_of(hasher) << " " << count;
      EXPECT_EQ(sha256, sha256_alone) << name_of(hasher) << " " << count;
    }
  }
}

// Lengths around the ends of blocks are where padding may be wrong.
TEST(MessageDigests, AnyLengthGivesWhatOpenSslGives) {
  std::mt19937_64 rng(12);
  for (const BlockHasher& hasher : BlockHasher::choices()) {
    for (size_t size = 0; size <= 4 * kHashBlockBytes + 1; size++) {
      const std::string text = random_text(rng, size);
      MessageDigests message;
      add_some(message, size);
      message.update(hasher, as_bytes(text));
      expect_right(hasher, message, text);
      expect_right(hasher, message, text);  // and a second time
    }
  }
}

// Messages of all kinds, whose pieces are cut anywhere and come in turns of any company.
TEST(MessageDigests, CompanyAndSplitsChangeNothing) {
  std::mt19937_64 rng(13);
  for (const BlockHasher& hasher : BlockHasher::choices()) {
    for (int round = 0; round < 60; round++) {
      const size_t count = 1 + rng() % MessageDigests::kTurnsMax;
      std::vector<MessageDigests> messages(count);
      std::vector<std::string> texts;
      std::vector<size_t> done(count, 0);
      const uint64_t kind = rng();
      for (size_t i = 0; i < count; i++) {
        texts.push_back(random_text(rng, rng() % (size_t{1} << (1 + rng() % 14))));
        add_some(messages[i], round % 2 == 0 ? kind : kind + i);
        if (rng() % 4 == 0) messages[i].add(Algorithm::kCrc32c);
      }
      for (bool any = true; any;) {
        std::vector<MessageDigests::Turn> turns;
        any = false;
        for (size_t i = 0; i < count; i++) {
          const std::string_view rest = std::string_view(texts[i]).substr(done[i]);
          any |= !rest.empty();
          if (rng() % 4 == 0) continue;
          const size_t n = std::min<size_t>(rest.size(), rng() % (size_t{1} << (rng() % 13)));
          turns.push_back({&messages[i], as_bytes(rest.substr(0, n))});
          done[i] += n;
        }
        MessageDigests::update_together(hasher, turns);
      }
      for (size_t i = 0; i < count; i++) {
        expect_right(hasher, messages[i], texts[i]);
        if (const auto crc = messages[i].digest(hasher, Algorithm::kCrc32c); !crc.empty()) {
          EXPECT_EQ(hex(crc), hex(digest_of(Algorithm::kCrc32c, texts[i])));
        }
      }
    }
  }
}

}  // namespace
}  // namespace cairn::objects
