#include "gateway/http/message.h"

#include <ctime>

namespace cairn::http {

namespace {
int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 32);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '%') {
      if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) {
        return std::nullopt;
      }
      out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    bool keep = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                c == '-' || c == '.' || c == '_' || c == '~' || (keep_slash && c == '/');
    if (keep) {
      out.push_back(c);
    } else {
      auto u = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back("0123456789ABCDEF"[u >> 4]);
      out.push_back("0123456789ABCDEF"[u & 15]);
    }
  }
  return out;
}

std::string http_date(int64_t unix_ms) {
  time_t t = static_cast<time_t>(unix_ms / 1000);
  tm parts{};
  ::gmtime_r(&t, &parts);
  char text[64];
  size_t n = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text, n};
}

std::optional<int64_t> parse_http_date(std::string_view text) {
  std::string copy(text);
  for (const char* format : {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                             "%a %b %d %H:%M:%S %Y", "%Y-%m-%dT%H:%M:%S"}) {
    tm parts{};
    if (::strptime(copy.c_str(), format, &parts) != nullptr) return ::timegm(&parts);
  }
  return std::nullopt;
}

std::string iso_date(int64_t unix_ms) {
  time_t t = static_cast<time_t>(unix_ms / 1000);
  tm parts{};
  ::gmtime_r(&t, &parts);
  char text[64];
  size_t n = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  n += static_cast<size_t>(
      std::snprintf(text + n, sizeof(text) - n, ".%03dZ", static_cast<int>(unix_ms % 1000)));
  return {text, n};
}

awaitable<StatusOr<std::string>> read_all(Body& body, size_t limit) {
  std::string out;
  for (;;) {
    size_t at = out.size();
    if (at > limit) co_return absl::ResourceExhaustedError("the request body is too large");
    out.resize(at + std::min<size_t>(64 << 10, limit - at + 1));
    MutableBytes into{reinterpret_cast<std::byte*>(out.data()) + at, out.size() - at};
    auto n = co_await body.read(into);
    if (!n.ok()) co_return n.status();
    out.resize(at + *n);
    if (*n == 0) co_return out;
  }
}

}  // namespace cairn::http
