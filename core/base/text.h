// Text out of numbers and numbers out of text. (Abseil's own functions take its own string_view,
// which Debian's build keeps apart from the standard one.)
#pragma once

#include <algorithm>
#include <charconv>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

namespace detail {
inline void append_one(std::string& to, std::integral auto value) {
  if constexpr (std::same_as<decltype(value), char>) {
    to.push_back(value);
  } else {
    char digits[24];
    to.append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
  }
}
inline void append_one(std::string& to, const char* text) { to.append(text); }
template <class Text>
requires requires(const Text& t) {
  { t.data() } -> std::convertible_to<const char*>;
  { t.size() } -> std::convertible_to<size_t>;
}
void append_one(std::string& to, const Text& text) { to.append(text.data(), text.size()); }
}  // namespace detail

template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (detail::append_one(out, parts), ...);
  return out;
}
// Room for so many bytes more, if they are many, and for a little behind them: else the text moves
// with all of it for a mark that comes after.
inline void reserve_long(std::string& to, size_t bytes) {
  constexpr size_t kLong = 1 << 20, kBehind = 64;
  if (bytes < kLong || to.capacity() - to.size() >= bytes + kBehind) return;
  to.reserve(to.size() + std::max(bytes + kBehind, to.size()));
}

template <class... Parts>
void append(std::string& to, const Parts&... parts) {
  (detail::append_one(to, parts), ...);
}

// The whole text as a number, or nothing: no sign other than '-', no blanks, no overflow.
template <std::integral Int>
std::optional<Int> parse_int(std::string_view text, int base = 10) {
  Int value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// What stands between blanks.
inline std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t end = text.find(' ');
    if (end != 0) words.push_back(text.substr(0, end));
    text = end == text.npos ? "" : text.substr(end + 1);
  }
  return words;
}

inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}
inline bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); i++) {
    if (a[i] == b[i]) continue;
    const auto letter = static_cast<unsigned char>((a[i] | 32) - 'a');
    if ((a[i] ^ b[i]) != 32 || letter >= 26) return false;
  }
  return true;
}

}  // namespace cairn
