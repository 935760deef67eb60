// Sixteen messages in vectors of 512 bits.
#include <immintrin.h>

#include <utility>

#include "objects/lanes/kernels.h"

namespace cairn::objects::lanes {

#define LANES inline __attribute__((always_inline, target("avx512f,avx512bw")))

namespace avx512 {
namespace {

using V = __m512i;
constexpr size_t kLanes = 16;

LANES V add(V a, V b) { return _mm512_add_epi32(a, b); }
LANES V splat(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
template <int n>
LANES V shift_right(V a) {
  return _mm512_srli_epi32(a, n);
}
template <int n>
LANES V rotate_left(V a) {
  return _mm512_rol_epi32(a, n);
}
template <int n>
LANES V rotate_right(V a) {
  return _mm512_ror_epi32(a, n);
}
// The last argument is the table of the function: bit abc of it is the answer.
LANES V exclusive_or(V a, V b, V c) { return _mm512_ternarylogic_epi32(a, b, c, 0b10010110); }
LANES V choose(V a, V b, V c) { return _mm512_ternarylogic_epi32(a, b, c, 0b11001010); }
LANES V majority(V a, V b, V c) { return _mm512_ternarylogic_epi32(a, b, c, 0b11101000); }
LANES V md5_last(V b, V c, V d) { return _mm512_ternarylogic_epi32(b, c, d, 0b00111001); }
LANES V swap_bytes(V a) {
  const V order =
      _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
  return _mm512_shuffle_epi8(a, order);
}
LANES V load_words(const uint32_t* from) { return _mm512_load_si512(from); }
LANES void store_words(uint32_t* to, V a) { _mm512_store_si512(to, a); }

// Rows become columns: words, pairs of them, quarters and halves change places.
LANES void load_block(const std::byte* const (&data)[kLanes], V (&words)[16]) {
  V r[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(data[i]);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 g + j] has, in quarter q, word 4 q + j of the lanes of group g.
  for (int j = 0; j < 4; j++) {
    const V even_low = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    const V odd_low = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    const V even_high = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const V odd_high = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    words[j] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    words[8 + j] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
    words[4 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    words[12 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
  }
}

#include "objects/lanes/kernel.inc"

}  // namespace
}  // namespace avx512

__attribute__((target("avx512f,avx512bw"))) void md5_avx512(const BlockHasher::Md5Lane* lanes,
                                                            size_t count, size_t blocks) {
  avx512::over_blocks<BlockHasher::Md5Lane, 4>(lanes, count, blocks, avx512::Md5Block());
}
__attribute__((target("avx512f,avx512bw"))) void sha256_avx512(const BlockHasher::Sha256Lane* lanes,
                                                               size_t count, size_t blocks) {
  avx512::over_blocks<BlockHasher::Sha256Lane, 8>(lanes, count, blocks, avx512::Sha256Block());
}

}  // namespace cairn::objects::lanes
