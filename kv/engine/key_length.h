// Keys that are longer than any key can be (kKeyBytesMax): nothing is there under such a name. Who
// looks for one, or takes away what is there, is answered so; who would put something there is
// refused.
//
// Threads: any; functions of what they are given.
#pragma once

#include "kv/engine/command.h"

namespace cairn::kv {

inline constexpr std::string_view kKeyTooLong = "ERR a key has at most 65535 bytes";

inline bool is_refused_for_length(const Row& row, const Key& key) {
  if (key.name.size() <= kKeyBytesMax) return false;
  return (row.flags & kWrite) != 0 && (key.flags & (kKeyUpdate | kKeyInsert | kKeyOverwrite)) != 0;
}

}  // namespace cairn::kv
