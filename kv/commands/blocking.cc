#include "kv/commands/blocking.h"

namespace cairn::kv {

namespace {

constexpr int64_t kLongestWaitMs = int64_t{100} * 365 * 24 * 3600 * 1000;  // what a timer can hold

bool in_range(Context& c, int64_t& ms) {
  if (ms < 0) return c.reply.error("ERR timeout is negative"), false;
  if (ms > INT64_MAX - c.now_ms()) return c.reply.error("ERR timeout is out of range"), false;
  ms = std::min(ms, kLongestWaitMs);
  return true;
}

}  // namespace

bool seconds_to_wait(Context& c, size_t word, int64_t& ms) {
  const auto seconds = parse_float(c.args[word]);
  if (!seconds) {
    c.reply.error("ERR timeout is not a float or out of range");
    return false;
  }
  const long double wanted = std::ceil(*seconds * 1000);
  if (wanted >= 0x1p63L) return c.reply.error("ERR timeout is out of range"), false;
  ms = wanted > -0x1p63L ? static_cast<int64_t>(wanted) : INT64_MIN;
  return in_range(c, ms);
}

bool milliseconds_to_wait(Context& c, size_t word, int64_t& ms) {
  return c.integer(word, ms, "ERR timeout is not an integer or out of range") && in_range(c, ms);
}

}  // namespace cairn::kv
