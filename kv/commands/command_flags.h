// What COMMAND says of a row that the row itself does not: Redis's names of its flags, its
// categories, and what came in its place.
//
// Threads: constants.
#pragma once

#include <string_view>
#include <vector>

#include "kv/engine/command.h"

namespace cairn::kv {

std::vector<std::string_view> flag_names(const Row& row);
std::vector<std::string_view> categories(const Row& row);

struct Deprecated {
  std::string_view name;
  std::string_view since;    // this version of Redis
  std::string_view instead;  // as Redis words it
};
const Deprecated* deprecated(const Row& row);  // null: it is not
// Part of the system, and for no application.
bool is_of_system(const Row& row);

}  // namespace cairn::kv
