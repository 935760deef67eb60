// CONFIG REWRITE: what CONFIG SET changed, written into the TOML file that the server was started
// with. Comments and whatever else is in the file stay as they are.
//
// Threads: any, one at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn {

struct Setting {
  std::string_view flag;  // as in the file
  std::string value;      // as TOML has it, strings quoted
  bool is_default;        // then it is not added, only corrected
};

// The whole file with these settings in it.
std::string with_settings(std::string_view file, const std::vector<Setting>& settings);

// The same, on disk: in one step, and durable when it returns.
Status rewrite_config_file(const std::string& path, const std::vector<Setting>& settings);

}  // namespace cairn
