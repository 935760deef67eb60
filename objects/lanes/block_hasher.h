// MD5 and SHA-256 over whole blocks, of many messages side by side.
//
// One MD5 leaves most of a CPU idle: each of its steps waits for the one before. A vector of 8
// (AVX2) or 16 (AVX-512) messages takes as long as one of them. What is best is chosen by the CPU
// and by how many messages there are; OpenSSL does them one by one where that is quicker.
//
// Threads: any; a call touches its lanes and nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cairn::objects {

inline constexpr size_t kHashBlockBytes = 64;  // of MD5 and of SHA-256

using Md5State = std::array<uint32_t, 4>;
using Sha256State = std::array<uint32_t, 8>;
inline constexpr Md5State kMd5Start = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
inline constexpr Sha256State kSha256Start = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

class BlockHasher {
 public:
  template <class State>
  struct Lane {
    State* state;
    const std::byte* data;  // of any alignment
  };
  using Md5Lane = Lane<Md5State>;
  using Sha256Lane = Lane<Sha256State>;
  enum class Vectors : uint8_t { kNone, kAvx2, kAvx512 };

  // The best for this CPU.
  BlockHasher();
  // A choice of one's own, which the CPU must have.
  BlockHasher(Vectors vectors, bool sha_ni);
  // All choices that this CPU has.
  static std::vector<BlockHasher> choices();

  // So many messages at once are hashed best.
  size_t lanes_max() const;
  Vectors vectors() const { return vectors_; }
  bool sha_ni() const { return sha_ni_; }

  // Any number of lanes, of different states; each goes on by so many blocks.
  void md5(std::span<const Md5Lane> lanes, size_t blocks) const;
  void sha256(std::span<const Sha256Lane> lanes, size_t blocks) const;
  // Both digests of the same bytes. Of so many messages, md5() and sha256() one after the other are
  // quicker if apart().
  bool apart(size_t count) const;
  void both(Md5State& md5, Sha256State& sha256, const std::byte* data, size_t blocks) const;

 private:
  Vectors vectors_;
  bool sha_ni_;
};

}  // namespace cairn::objects
