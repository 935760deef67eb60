// Members of a tar archive, in the format that POSIX calls pax: a header of ustar, and before it
// one of extended records where the name or the size does not fit there.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::objects::tar {

inline constexpr size_t kBlockBytes = 512;

struct Member {
  std::string_view name;  // any bytes but NUL; a NUL, which no archive can hold, becomes '?'
  uint64_t size = 0;
  int64_t modified_ms = 0;  // Unix time; whole seconds of it are kept
  // More extended records, by keyword, of which none has '='.
  std::vector<std::pair<std::string, std::string>> records = {};
};

// What stands before the bytes of a member, and behind them.
std::string header(const Member& member);
inline size_t padding(uint64_t size) { return (kBlockBytes - size % kBlockBytes) % kBlockBytes; }
// Behind the last member.
std::string end();

}  // namespace cairn::objects::tar
