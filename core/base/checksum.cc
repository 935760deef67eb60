#include "core/base/checksum.h"

#include <isa-l/crc.h>

#include <array>
#include <cstring>

namespace cairn {

namespace {

// Slicing-by-8 tables for CRC-64/NVME; the packaged library does not have this polynomial.
struct Crc64Tables {
  std::array<std::array<uint64_t, 256>, 8> t;
  constexpr Crc64Tables() : t{} {
    constexpr uint64_t kPoly = 0x9a6c9329ac4bc9b5ULL;  // 0xad93d23594c93659 bit-reversed
    for (uint64_t i = 0; i < 256; i++) {
      uint64_t c = i;
      for (int k = 0; k < 8; k++) c = (c >> 1) ^ ((c & 1) ? kPoly : 0);
      t[0][i] = c;
    }
    for (int j = 1; j < 8; j++) {
      for (int i = 0; i < 256; i++) t[j][i] = (t[j - 1][i] >> 8) ^ t[0][t[j - 1][i] & 0xff];
    }
  }
};
constexpr Crc64Tables kCrc64;

unsigned char* writable(const std::byte* p) {  // the library's prototype lacks const
  return reinterpret_cast<unsigned char*>(const_cast<std::byte*>(p));
}

}  // namespace

uint32_t crc32c(uint32_t running, Bytes data) {
  uint32_t crc = ~running;
  const std::byte* p = data.data();
  size_t left = data.size();
  while (left > 0) {  // the library counts bytes in an int
    int step = static_cast<int>(left < (1u << 30) ? left : (1u << 30));
    crc = crc32_iscsi(writable(p), step, crc);
    p += step;
    left -= step;
  }
  return ~crc;
}

uint32_t crc32(uint32_t running, Bytes data) {
  return crc32_gzip_refl(running, writable(data.data()), data.size());
}

uint64_t crc64nvme(uint64_t running, Bytes data) {
  uint64_t crc = ~running;
  const auto* p = reinterpret_cast<const unsigned char*>(data.data());
  size_t left = data.size();
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = kCrc64.t[7][word & 0xff] ^ kCrc64.t[6][(word >> 8) & 0xff] ^
          kCrc64.t[5][(word >> 16) & 0xff] ^ kCrc64.t[4][(word >> 24) & 0xff] ^
          kCrc64.t[3][(word >> 32) & 0xff] ^ kCrc64.t[2][(word >> 40) & 0xff] ^
          kCrc64.t[1][(word >> 48) & 0xff] ^ kCrc64.t[0][word >> 56];
  }
  for (; left > 0; left--, p++) crc = (crc >> 8) ^ kCrc64.t[0][(crc ^ *p) & 0xff];
  return ~crc;
}

uint32_t place_seed(uint64_t store, uint64_t file, uint64_t offset) {
  // A bijective mix (splitmix64 finalizer) of the three, folded to 32 bits.
  uint64_t x = store ^ (file * 0x9e3779b97f4a7c15ULL) ^ (offset + 0x632be59bd9b4e019ULL);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return static_cast<uint32_t>(x ^ (x >> 32));
}

}  // namespace cairn
