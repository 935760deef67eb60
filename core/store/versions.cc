#include "core/store/versions.h"

#include <algorithm>
#include <cstring>

namespace cairn {

namespace {
constexpr std::string_view kEnd("\0\0", 2), kNul("\0\1", 2);
constexpr size_t kNumberBytes = 8;

// Where the escaped key ends, and whether it has a NUL in it; npos: it does not end.
size_t end_of_key(std::string_view version_key, bool& escaped) {
  escaped = false;
  for (size_t at = 0;; at += 2) {
    at = version_key.find('\0', at);
    if (at == version_key.npos || at + 1 == version_key.size()) return version_key.npos;
    if (version_key[at + 1] == '\0') return at;
    escaped = true;
  }
}

std::string unescape(std::string_view escaped) {
  std::string key;
  key.reserve(escaped.size());
  for (size_t i = 0; i < escaped.size(); i++) {
    key.push_back(escaped[i]);
    if (escaped[i] == '\0') i++;
  }
  return key;
}
}  // namespace

std::string version_prefix(std::string_view key) {
  std::string out;
  out.reserve(key.size() + kEnd.size() + kNumberBytes);
  for (;;) {
    const size_t nul = key.find('\0');
    out.append(key.substr(0, nul));
    if (nul == key.npos) break;
    out.append(kNul);
    key.remove_prefix(nul + 1);
  }
  return out.append(kEnd);
}

std::string version_key(std::string_view key, const Version& version) {
  std::string out = version_prefix(key);
  if (version.null) return out;
  const uint64_t inverted = __builtin_bswap64(~version.number);
  return out.append(reinterpret_cast<const char*>(&inverted), kNumberBytes);
}

std::optional<std::string> key_of_version(std::string_view version_key) {
  bool escaped;
  const size_t end = end_of_key(version_key, escaped);
  if (end == version_key.npos) return std::nullopt;
  return unescape(version_key.substr(0, end));
}

std::optional<Version> version_of_key(std::string_view version_key) {
  bool escaped;
  const size_t end = end_of_key(version_key, escaped);
  if (end == version_key.npos) return std::nullopt;
  const std::string_view number = version_key.substr(end + kEnd.size());
  if (number.empty()) return Version{0, true, false};
  if (number.size() != kNumberBytes) return std::nullopt;
  uint64_t inverted;
  std::memcpy(&inverted, number.data(), sizeof(inverted));
  return Version{~__builtin_bswap64(inverted), false, false};
}

KeyHash hash_version_key(std::string_view version_key, uint64_t seed) {
  constexpr KeyHash kStripe = ~KeyHash{0} << (64 - kStripeBits);
  bool escaped;
  const size_t end = end_of_key(version_key, escaped);
  const std::string_view key = version_key.substr(0, end);
  const KeyHash of_key = escaped ? hash_key(unescape(key), seed) : hash_key(key, seed);
  const KeyHash hash = (of_key & kStripe) | (hash_key(version_key, seed) & ~kStripe);
  return std::max<KeyHash>(hash, 1);
}

}  // namespace cairn
