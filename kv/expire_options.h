// EX, PX, EXAT and PXAT with their value, as SET, GETEX, SETEX and the like take them.
#pragma once

#include "core/text.h"
#include "kv/command.h"

namespace cairn::kv {

struct ExpireOption {
  int64_t at_ms = 0;  // Unix milliseconds once value() succeeded
  bool given() const { return unit_ != 0; }

  bool parse(std::string_view word) {
    for (auto [name, unit, absolute] :
         {std::tuple("ex", 1000, false), std::tuple("px", 1, false), std::tuple("exat", 1000, true),
          std::tuple("pxat", 1, true)}) {
      if (equals_ignoring_case(word, name)) {
        unit_ = unit;
        absolute_ = absolute;
        return true;
      }
    }
    return false;
  }

  // Reads word i; answers Redis's error and returns false if it will not do.
  bool value(Context& c, size_t i) {
    int64_t n;
    if (!c.integer(i, n)) return false;
    const int64_t base = absolute_ ? 0 : c.now_ms();
    if (n <= 0 || __builtin_mul_overflow(n, unit_, &at_ms) ||
        __builtin_add_overflow(at_ms, base, &at_ms)) {
      c.reply.error(cat("ERR invalid expire time in '", c.row.name, "' command"));
      return false;
    }
    return true;
  }

 private:
  int64_t unit_ = 0;
  bool absolute_ = false;
};

}  // namespace cairn::kv
