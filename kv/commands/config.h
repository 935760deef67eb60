// The parameters of CONFIG: those that can change, and those that are no settings here.
//
// Threads: constants.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace cairn::kv {

struct FixedParameter {
  std::string_view name, value;
  std::string_view why;  // it is as it is
};
std::span<const FixedParameter> fixed_parameters();

// The names of those that CONFIG SET changes; of several names for one thing, the first.
std::vector<std::string_view> settings();

}  // namespace cairn::kv
