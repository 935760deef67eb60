// What COMMAND DOCS says of a command beyond its row: complexity, tips for clients, arguments.
//
// Threads: constants.
#pragma once

#include <string_view>

namespace cairn::kv {

struct Syntax {
  std::string_view name;        // of the row
  std::string_view complexity;  // may be empty
  std::string_view tips;        // with blanks between
  std::string_view arguments;   // in the notation of syntax.cc
};

const Syntax* syntax_of(std::string_view name);  // null: nothing is said

}  // namespace cairn::kv
