// Eight messages in vectors of 256 bits.
#include <immintrin.h>

#include <utility>

#include "objects/lanes/kernels.h"

namespace cairn::objects::lanes {

#define LANES inline __attribute__((always_inline, target("avx2")))

namespace avx2 {
namespace {

using V = __m256i;
constexpr size_t kLanes = 8;

LANES V add(V a, V b) { return _mm256_add_epi32(a, b); }
LANES V splat(uint32_t word) { return _mm256_set1_epi32(static_cast<int>(word)); }
template <int n>
LANES V shift_right(V a) {
  return _mm256_srli_epi32(a, n);
}
template <int n>
LANES V rotate_left(V a) {
  return _mm256_or_si256(_mm256_slli_epi32(a, n), _mm256_srli_epi32(a, 32 - n));
}
template <int n>
LANES V rotate_right(V a) {
  return rotate_left<32 - n>(a);
}
LANES V exclusive_or(V a, V b, V c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }
LANES V choose(V a, V b, V c) {
  return _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(b, c), a), c);
}
LANES V majority(V a, V b, V c) {
  return _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(_mm256_or_si256(a, b), c));
}
LANES V md5_last(V b, V c, V d) {
  const V not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
  return _mm256_xor_si256(_mm256_or_si256(b, not_d), c);
}
LANES V swap_bytes(V a) {
  const V order = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
  return _mm256_shuffle_epi8(a, order);
}
LANES V load_words(const uint32_t* from) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
}
LANES void store_words(uint32_t* to, V a) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), a); }

// Rows become columns: pairs of words, of pairs, and of halves change places.
LANES void transpose(V (&r)[8]) {
  V t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    const V low = r[i], high = r[i + 4];
    r[i] = _mm256_permute2x128_si256(low, high, 0x20);
    r[i + 4] = _mm256_permute2x128_si256(low, high, 0x31);
  }
}

LANES void load_block(const std::byte* const (&data)[kLanes], V (&words)[16]) {
  for (size_t half = 0; half < 2; half++) {
    V rows[8];
    for (size_t lane = 0; lane < kLanes; lane++) {
      rows[lane] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data[lane]) + half);
    }
    transpose(rows);
    for (size_t i = 0; i < 8; i++) words[8 * half + i] = rows[i];
  }
}

#include "objects/lanes/kernel.inc"

}  // namespace
}  // namespace avx2

__attribute__((target("avx2"))) void md5_avx2(const BlockHasher::Md5Lane* lanes, size_t count,
                                              size_t blocks) {
  avx2::over_blocks<BlockHasher::Md5Lane, 4>(lanes, count, blocks, avx2::Md5Block());
}
__attribute__((target("avx2"))) void sha256_avx2(const BlockHasher::Sha256Lane* lanes, size_t count,
                                                 size_t blocks) {
  avx2::over_blocks<BlockHasher::Sha256Lane, 8>(lanes, count, blocks, avx2::Sha256Block());
}

}  // namespace cairn::objects::lanes
