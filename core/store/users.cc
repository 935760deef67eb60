#include "core/store/users.h"

#include <algorithm>

namespace cairn {

bool authorize(const Principal& principal, const Action& action, std::string_view space,
               std::string_view key) {
  if (principal.may_all()) return true;
  const auto names = [](const std::string& pattern, std::string_view name) {
    return pattern.empty() || pattern == name;
  };
  const bool concerns_all = (action.access & Access::kAdmin) != Access::kNone;
  const auto allows = [&](const Right& right) {
    if (concerns_all && !(right.space.empty() && right.key_prefix.empty())) return false;
    return names(right.door, action.door) && names(right.action, action.name) &&
           (right.access & action.access) == action.access &&
           (space.empty() || names(right.space, space)) &&
           (space.empty() || key.substr(0, right.key_prefix.size()) == right.key_prefix);
  };
  const auto& rights = principal.rights();
  return std::any_of(rights.begin(), rights.end(), allows);
}

}  // namespace cairn
