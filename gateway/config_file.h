// CONFIG REWRITE: what CONFIG SET changed, written into the TOML file that the server was started
// with. Comments and whatever else is in the file stay as they are.
//
// Threads: any, one at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn {

struct Setting {
  std::string_view flag;   // as in the file
  std::string value;       // as TOML has it: toml_string()
  bool is_default;         // then it is not added, only corrected
  bool is_secret = false;  // unless it is the default, the file becomes its owner's alone
};

// A text as a basic string of TOML; nothing: it is no UTF-8, of which such a file is made.
std::optional<std::string> toml_string(std::string_view text);
// The text of the string that a line has behind its `=`, with nothing after it but a comment.
// Nothing: it is none.
std::optional<std::string> string_of_toml(std::string_view value);

// The whole file with these settings in it.
std::string with_settings(std::string_view file, const std::vector<Setting>& settings);

// The same, on disk: in one step, and durable when it returns.
Status rewrite_config_file(const std::string& path, const std::vector<Setting>& settings);

}  // namespace cairn
