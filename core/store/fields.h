// Fields with a tag, one behind another, as records hold them that may get more of them:
//
//   field = u8 tag  u32 size  bytes        little-endian
//
// Threads: any.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace cairn {

inline void add_field(std::string& out, uint8_t tag, std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  out.push_back(static_cast<char>(tag));
  out.append(reinterpret_cast<const char*>(&size), sizeof(size));
  out.append(bytes);
}

struct Field {
  uint8_t tag;
  std::string_view bytes;
};
// Takes the field at the front of `in`, which is not empty; nothing if there is none that is whole.
inline std::optional<Field> take_field(std::string_view& in) {
  uint32_t size;
  if (in.size() < 1 + sizeof(size)) return std::nullopt;
  std::memcpy(&size, in.data() + 1, sizeof(size));
  const auto tag = static_cast<uint8_t>(in[0]);
  in.remove_prefix(1 + sizeof(size));
  if (size > in.size()) return std::nullopt;
  const Field field{tag, in.substr(0, size)};
  in.remove_prefix(size);
  return field;
}

// A name and a value in one field: name NUL value. Nothing if there is no NUL.
struct NamedValue {
  std::string_view name, value;
};
inline std::optional<NamedValue> split_named(std::string_view bytes) {
  const size_t nul = bytes.find('\0');
  if (nul == bytes.npos) return std::nullopt;
  return NamedValue{bytes.substr(0, nul), bytes.substr(nul + 1)};
}

}  // namespace cairn
