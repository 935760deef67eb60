// EX, PX, EXAT and PXAT with their value, as SET, GETEX, SETEX and the like take them.
#pragma once

#include "core/base/text.h"
#include "kv/engine/command.h"

namespace cairn::kv {

struct ExpireOption {
  int64_t at_ms = 0;  // Unix milliseconds once value() succeeded
  bool given() const { return unit_ != nullptr; }

  // Whether the word is one of them, and no other than before: as in Redis, the same one may come
  // twice, and its last value counts.
  bool parse(std::string_view word) {
    for (const Unit& unit : kUnits) {
      if (!equals_ignoring_case(word, unit.name)) continue;
      if (given() && unit_ != &unit) return false;
      unit_ = &unit;
      return true;
    }
    return false;
  }

  // Reads word i; answers Redis's error and returns false if it will not do.
  bool value(Context& c, size_t i) {
    int64_t n;
    if (!c.integer(i, n)) return false;
    const int64_t base = unit_->absolute ? 0 : c.now_ms();
    if (n <= 0 || __builtin_mul_overflow(n, unit_->ms, &at_ms) ||
        __builtin_add_overflow(at_ms, base, &at_ms)) {
      c.reply.error(cat("ERR invalid expire time in '", c.row.name, "' command"));
      return false;
    }
    return true;
  }

 private:
  struct Unit {
    std::string_view name;
    int64_t ms;
    bool absolute;
  };
  static constexpr Unit kUnits[] = {
      {"ex", 1000, false}, {"px", 1, false}, {"exat", 1000, true}, {"pxat", 1, true}};
  const Unit* unit_ = nullptr;
};

}  // namespace cairn::kv
