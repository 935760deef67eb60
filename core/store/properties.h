// What is set for a namespace as a whole: the value of the record that names it
// (RecordType::kNamespace), written again whole whenever one of them changes.
//
//   properties = i64 created_ms  field*     field = u8 tag  u32 size  bytes, of the tags below
//
// No tag is in use yet. One that the program does not know is of a later version's making: what it
// asks for could not be honoured, so the store is not opened.
//
// Threads: immutable once a namespace has it; Namespace::properties() hands it out to any.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace cairn {

struct Properties {
  int64_t created_ms = 0;  // Unix time

  std::string encode() const { return {reinterpret_cast<const char*>(&created_ms), 8}; }
  // Nothing if the bytes hold something else, or more.
  static std::optional<Properties> decode(std::string_view bytes) {
    if (bytes.size() != 8) return std::nullopt;
    Properties p;
    std::memcpy(&p.created_ms, bytes.data(), 8);
    return p;
  }
};

}  // namespace cairn
