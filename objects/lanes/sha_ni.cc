// MD5 and SHA-256 of the same bytes, woven together. SHA-NI does four rounds of SHA-256 while the
// units for numbers do four steps of MD5.
#include <immintrin.h>

#include <bit>
#include <cstring>
#include <utility>

#include "objects/lanes/kernels.h"

namespace cairn::objects::lanes {

#define LANES inline __attribute__((always_inline, target("sha,sse4.1,ssse3")))

namespace {

template <int i>
LANES void md5_step(uint32_t (&s)[4], const uint32_t (&words)[16]) {
  uint32_t& a = s[(64 - i) % 4];
  const uint32_t b = s[(65 - i) % 4], c = s[(66 - i) % 4], d = s[(67 - i) % 4];
  a += words[md5_word(i)] + kMd5Sines[i];
  if constexpr (i < 16) {
    a += ((c ^ d) & b) ^ d;
  } else if constexpr (i < 32) {
    a += ~d & c;  // apart from the other half, which has to wait for b
    a += d & b;
  } else if constexpr (i < 48) {
    a += (c ^ d) ^ b;
  } else {
    a += (b | ~d) ^ c;
  }
  a = std::rotl(a, kMd5Shifts[i / 16][i % 4]) + b;
}

// Rounds 4 i to 4 i + 3 of SHA-256. Its state is kept as SHA-NI wants it: A, B, E, F and C, D, G,
// H.
template <int i>
LANES void sha256_rounds(__m128i& abef, __m128i& cdgh, __m128i (&words)[4]) {
  __m128i& word = words[i % 4];
  if constexpr (i >= 4) {
    const __m128i last = words[(i + 3) % 4];
    const __m128i seventh = _mm_alignr_epi8(last, words[(i + 2) % 4], 4);
    word = _mm_add_epi32(_mm_sha256msg1_epu32(word, words[(i + 1) % 4]), seventh);
    word = _mm_sha256msg2_epu32(word, last);
  }
  const __m128i keyed = _mm_add_epi32(
      word, _mm_load_si128(reinterpret_cast<const __m128i*>(kSha256Roots.data()) + i));
  cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
  abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0e));
}

template <size_t... i>
LANES void woven(uint32_t (&md5)[4], const uint32_t (&words)[16], __m128i& abef, __m128i& cdgh,
                 __m128i (&schedule)[4], std::index_sequence<i...>) {
  ((sha256_rounds<static_cast<int>(i)>(abef, cdgh, schedule),
    md5_step<static_cast<int>(4 * i)>(md5, words),
    md5_step<static_cast<int>(4 * i + 1)>(md5, words),
    md5_step<static_cast<int>(4 * i + 2)>(md5, words),
    md5_step<static_cast<int>(4 * i + 3)>(md5, words)),
   ...);
}

}  // namespace

__attribute__((target("sha,sse4.1,ssse3"))) void both_sha_ni(Md5State& md5, Sha256State& sha256,
                                                             const std::byte* data, size_t blocks) {
  const __m128i order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
  auto* halves = reinterpret_cast<__m128i*>(sha256.data());
  const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(halves), 0xb1);
  const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(halves + 1), 0x1b);
  __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
  __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
  uint32_t s[4] = {md5[0], md5[1], md5[2], md5[3]};
  for (; blocks > 0; blocks--, data += kHashBlockBytes) {
    uint32_t words[16];
    std::memcpy(words, data, sizeof(words));
    __m128i schedule[4];
    for (int i = 0; i < 4; i++) {
      schedule[i] =
          _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + i), order);
    }
    const __m128i abef_before = abef, cdgh_before = cdgh;
    const uint32_t before[4] = {s[0], s[1], s[2], s[3]};
    woven(s, words, abef, cdgh, schedule, std::make_index_sequence<16>());
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
    for (int i = 0; i < 4; i++) s[i] += before[i];
  }
  for (int i = 0; i < 4; i++) md5[static_cast<size_t>(i)] = s[i];
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128(halves, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(halves + 1, _mm_alignr_epi8(dchg, feba, 8));
}

}  // namespace cairn::objects::lanes
