// The parameters of CONFIG that are no settings here.
//
// Threads: constants.
#pragma once

#include <span>
#include <string_view>

namespace cairn::kv {

struct FixedParameter {
  std::string_view name, value;
  std::string_view why;  // it is as it is
};
std::span<const FixedParameter> fixed_parameters();

}  // namespace cairn::kv
