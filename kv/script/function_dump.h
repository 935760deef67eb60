// FUNCTION DUMP's bytes: the sources of libraries as Redis's RDB files hold them, with a version
// and a checksum at the end. Little: it reads what Redis 7 writes, and writes no compressed
// strings.
//
//   dump    = (0xF5 string)*  u16 version  u64 crc       little-endian, of all before it
//   string  = length bytes | 0xC0..0xC2 integer | 0xC3 length length LZF
//   length  = 00xxxxxx | 01xxxxxx x8 | 0x80 x32 | 0x81 x64           big-endian
//
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::kv {

std::string dump_libraries(const std::vector<std::string_view>& sources);
// Nothing: the version or the checksum are wrong. An empty list, and `bad`: what is in it is no
// library, or more than there may be (Functions::kBytesMax), which is not unpacked.
std::optional<std::vector<std::string>> read_libraries(std::string_view dump, bool& bad);

}  // namespace cairn::kv
