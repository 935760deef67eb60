// What a script, or a function, says of itself in words. Threads: any.
#pragma once

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>

#include "kv/engine/scripts.h"
#include "kv/engine/server.h"

namespace cairn::kv {

inline constexpr std::pair<std::string_view, uint32_t> kScriptFlagNames[] = {
    {"no-writes", kScriptNoWrites},
    {"allow-oom", kScriptAllowOom},
    {"allow-stale", kScriptAllowStale},
    {"no-cluster", kScriptNoCluster},
    {"allow-cross-slot-keys", kScriptAllowCrossSlotKeys},
};

// False: there is no such flag.
inline bool add_script_flag(std::string_view name, uint32_t& flags) {
  for (auto& [known, flag] : kScriptFlagNames) {
    if (name != known) continue;
    flags |= flag;
    return true;
  }
  return false;
}

inline constexpr std::string_view kBadLibraryName =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one "
    "character long";
inline bool is_library_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c < 128 && (std::isalnum(c) != 0 || c == '_');
  });
}

// kRedisVersion as a number, as scripts ask for it. It is 7.2.0, whose list of commands is what the
// README compares with: clients that see a later one use what came with it, without asking. What
// there is of later versions, such as HEXPIRE, is found by COMMAND.
inline constexpr int kRedisVersionNumber = 0x00070200;
static_assert(kRedisVersion == "7.2.0");

}  // namespace cairn::kv
