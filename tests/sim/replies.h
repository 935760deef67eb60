// What a client gets, as text.
#pragma once

#include <string_view>

#include "core/base/text.h"

namespace cairn::sim {

// Takes one whole value of RESP 2 or 3 off the front of it; false if there is none.
inline bool take_value(std::string_view& text, int depth = 0) {
  const size_t end = text.find("\r\n");
  if (end == text.npos || end == 0 || depth > 32) return false;
  const char type = text[0];
  const std::string_view line = text.substr(1, end - 1);
  text.remove_prefix(end + 2);
  if (line.find_first_of("\r\n") != line.npos) return false;
  switch (type) {
    case '+':
    case '-':
    case ',':
    case '(':
      return true;
    case ':':
      return parse_int<int64_t>(line).has_value();
    case '_':
      return line.empty();
    case '#':
      return line == "t" || line == "f";
    default:
      break;
  }
  const auto n = parse_int<int64_t>(line);
  if (!n) return false;
  if (type == '$' || type == '=' || type == '!') {
    if (*n == -1) return type == '$';
    const auto bytes = static_cast<uint64_t>(*n);
    if (*n < 0 || text.size() < 2 || bytes > text.size() - 2) return false;
    if (text.substr(bytes, 2) != "\r\n") return false;
    text.remove_prefix(bytes + 2);
    return true;
  }
  if (*n == -1) return type == '*';
  if (*n < 0 || (type != '*' && type != '%' && type != '~' && type != '>')) return false;
  for (int64_t i = 0; i < (type == '%' ? 2 * *n : *n); i++) {
    if (!take_value(text, depth + 1)) return false;
  }
  return true;
}

}  // namespace cairn::sim
