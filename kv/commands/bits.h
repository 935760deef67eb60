// What the bitmap commands and BITFIELD share. Bit 0 is the most significant bit of the first byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kv/engine/engine.h"

namespace cairn::kv {

inline int get_bit(std::string_view bytes, uint64_t offset) {
  uint64_t byte = offset / 8;
  if (byte >= bytes.size()) return 0;
  return (static_cast<uint8_t>(bytes[byte]) >> (7 - offset % 8)) & 1;
}

inline void put_bit(std::string& bytes, uint64_t offset, int bit) {
  auto mask = static_cast<char>(1 << (7 - offset % 8));
  char& byte = bytes[offset / 8];
  byte = static_cast<char>(bit ? byte | mask : byte & ~mask);
}

// Reads the offset of a bit; with `bits` it may be "#N", the N-th field so wide. False after the
// error was answered.
bool bit_offset(Context& c, std::string_view word, int64_t& offset, unsigned bits = 0);

}  // namespace cairn::kv
