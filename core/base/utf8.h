// UTF-8 as RFC 3629 has it: the shortest form, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cairn {

// The character at the front of a text that is not empty, and how many bytes it takes; 0: none.
inline size_t decode_utf8(std::string_view text, uint32_t& c) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  c = first;
  if (first < 0x80) return 1;
  const size_t n = first >= 0xf8   ? 0
                   : first >= 0xf0 ? 4
                   : first >= 0xe0 ? 3
                   : first >= 0xc2 ? 2
                                   : 0;
  if (n == 0 || text.size() < n) return 0;
  c = first & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    c = c << 6 | (byte(i) & 0x3fu);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  return c < kLeast[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff ? 0 : n;
}

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    uint32_t c;
    const size_t n = decode_utf8(text, c);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

}  // namespace cairn
