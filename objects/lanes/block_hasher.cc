#include "objects/lanes/block_hasher.h"

// The forms of OpenSSL that show their state, so that a message can go on in a lane.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/md5.h>
#include <openssl/sha.h>

#include <algorithm>

#include "objects/lanes/kernels.h"

namespace cairn::objects {

namespace {

void md5_alone(Md5State& state, const std::byte* data, size_t blocks) {
  MD5_CTX context{};
  context.A = state[0];
  context.B = state[1];
  context.C = state[2];
  context.D = state[3];
  MD5_Update(&context, data, blocks * kHashBlockBytes);
  state = {context.A, context.B, context.C, context.D};
}

void sha256_alone(Sha256State& state, const std::byte* data, size_t blocks) {
  SHA256_CTX context{};
  context.md_len = SHA256_DIGEST_LENGTH;
  std::copy(state.begin(), state.end(), context.h);
  SHA256_Update(&context, data, blocks * kHashBlockBytes);
  std::copy(std::begin(context.h), std::end(context.h), state.begin());
}

// SHA-NI is a word of CPUID that GCC 12 does not know by name.
bool has_sha_ni() {
#if defined(__x86_64__)
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return (b >> 29 & 1) != 0;
#else
  return false;
#endif
}

// From so many messages on a vector is quicker than one after the other. MB/s of a core of Zen 5:
//   messages          1     2     3     4     6     8    12    16
//   MD5, OpenSSL    861
//   MD5, AVX2       272   550   829  1077  1641  2194
//   MD5, AVX-512    384   792  1123  1532  2308  3040  4472  6078
//   SHA-256, SHA-NI 2000, OpenSSL without it 763
//   SHA-256, AVX2   141   282   417   566   853  1150
//   SHA-256, AVX-512 285  576   899  1185  1725  2280  3326  4293
//   both, woven     906
constexpr size_t kNever = SIZE_MAX;

size_t md5_least(BlockHasher::Vectors vectors) {
  if (vectors == BlockHasher::Vectors::kNone) return kNever;
  return vectors == BlockHasher::Vectors::kAvx2 ? 4 : 3;
}
size_t sha256_least(BlockHasher::Vectors vectors, bool sha_ni) {
  if (vectors == BlockHasher::Vectors::kNone) return kNever;
  if (vectors == BlockHasher::Vectors::kAvx2) return sha_ni ? kNever : 6;
  return sha_ni ? 8 : 3;
}

template <class Lane, class Vector, class Alone>
void hash(std::span<const Lane> lanes, size_t blocks, size_t width, size_t least, Vector vector,
          Alone alone) {
  while (lanes.size() >= least) {
    const size_t n = std::min(lanes.size(), width);
    vector(lanes.data(), n, blocks);
    lanes = lanes.subspan(n);
  }
  for (const Lane& lane : lanes) alone(*lane.state, lane.data, blocks);
}

}  // namespace

BlockHasher::BlockHasher() : BlockHasher(choices().back()) {}

BlockHasher::BlockHasher(Vectors vectors, bool sha_ni) : vectors_(vectors), sha_ni_(sha_ni) {}

std::vector<BlockHasher> BlockHasher::choices() {
  std::vector<Vectors> vectors = {Vectors::kNone};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) vectors.push_back(Vectors::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
    vectors.push_back(Vectors::kAvx512);
  }
#endif
  std::vector<BlockHasher> all;
  for (const bool sha_ni : {false, true}) {
    for (const Vectors v : vectors) {
      if (!sha_ni || has_sha_ni()) all.emplace_back(v, sha_ni);
    }
  }
  return all;
}

size_t BlockHasher::lanes_max() const {
  return vectors_ == Vectors::kAvx512 ? 16 : vectors_ == Vectors::kAvx2 ? 8 : 1;
}

void BlockHasher::md5(std::span<const Md5Lane> lanes, size_t blocks) const {
  const auto vector = vectors_ == Vectors::kAvx512 ? lanes::md5_avx512 : lanes::md5_avx2;
  hash(lanes, blocks, lanes_max(), md5_least(vectors_), vector, md5_alone);
}

void BlockHasher::sha256(std::span<const Sha256Lane> lanes, size_t blocks) const {
  const auto vector = vectors_ == Vectors::kAvx512 ? lanes::sha256_avx512 : lanes::sha256_avx2;
  hash(lanes, blocks, lanes_max(), sha256_least(vectors_, sha_ni_), vector, sha256_alone);
}

bool BlockHasher::apart(size_t count) const {
  if (vectors_ == Vectors::kNone) return false;
  if (!sha_ni_) return count >= md5_least(vectors_);
  return count >= (vectors_ == Vectors::kAvx2 ? 7 : 5);
}

void BlockHasher::both(Md5State& md5, Sha256State& sha256, const std::byte* data,
                       size_t blocks) const {
  if (sha_ni_) return lanes::both_sha_ni(md5, sha256, data, blocks);
  md5_alone(md5, data, blocks);
  sha256_alone(sha256, data, blocks);
}

}  // namespace cairn::objects
