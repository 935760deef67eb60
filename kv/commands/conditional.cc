// Commands of Redis 8.4 and Valkey 9 that change strings under a condition.
#include "kv/commands/compare.h"
#include "kv/commands/expire_options.h"

namespace cairn::kv {
namespace {

void delex(Context& c) {
  Comparison comparison;
  if (c.args.size() != 2 && c.args.size() != 4) {
    return c.reply.error("ERR wrong number of arguments for 'delex' command");
  }
  size_t i = 2;
  if (c.args.size() == 4 && !comparison.parse(c, i)) {
    return c.reply.error("ERR Invalid condition. Use IFEQ or IFNE");
  }
  Entry* e = c.find(c.args[1]);
  if (e == nullptr) return c.reply.integer(0);
  bool goes = true;
  if (comparison.given && !e->is_string()) {
    return c.reply.error("ERR Key should be of string type if conditions are specified");
  }
  if (comparison.given && !comparison.holds(c, e, goes)) return;
  if (goes && !c.remove(c.ns(), e)) return;
  c.reply.integer(goes);
}

void delifeq(Context& c) {
  const Comparison comparison{true, true, 2};
  Entry* e = c.find(c.args[1]);
  bool goes;
  if (!comparison.holds(c, e, goes)) return;
  if (goes && !c.remove(c.ns(), e)) return;
  c.reply.integer(goes);
}

void msetex(Context& c) {
  int64_t pairs;
  if (!c.integer(1, pairs)) return;
  const auto words = static_cast<int64_t>(c.args.size());
  if (pairs <= 0 || pairs > words) return c.reply.error("ERR invalid numkeys value");
  if (2 + 2 * pairs > words) return c.reply.error("ERR wrong number of key-value pairs");
  bool nx = false, xx = false, keep_ttl = false;
  size_t value_at = 0;
  ExpireOption expire;
  const auto end = static_cast<size_t>(2 + 2 * pairs);
  for (size_t i = end; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    if (equals_ignoring_case(word, "nx") && !xx) {
      nx = true;
    } else if (equals_ignoring_case(word, "xx") && !nx) {
      xx = true;
    } else if (equals_ignoring_case(word, "keepttl") && !expire.given()) {
      keep_ttl = true;
    } else if (!keep_ttl && i + 1 < c.args.size() && expire.parse(word)) {
      value_at = ++i;
    } else {
      return c.syntax_error();
    }
  }
  if (value_at != 0 && !expire.value(c, value_at)) return;
  for (size_t i = 2; i < end && (nx || xx); i += 2) {
    const bool there = c.find(c.args[i]) != nullptr;
    if (nx ? there : !there) return c.reply.integer(0);
  }
  for (size_t i = 2; i < end; i += 2) {
    Entry* old = c.find(c.args[i]);
    const int64_t at = keep_ttl && old != nullptr ? old->expire_ms() : expire.at_ms;
    if (at != 0 && at <= c.now_ms()) {  // already past: as if set and expired
      if (old != nullptr && !c.remove(c.ns(), old)) return;
    } else if (!c.put_word(c.args[i], i + 1, at)) {
      return;
    }
  }
  c.reply.integer(1);
}

constexpr std::string_view kGroup = "string";
constexpr KeySpec kTakesKey[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete}};
constexpr KeySpec kReplacesPairs[] = {
    {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly, .step = 2, .count_at = 0}};
constexpr Row kRows[] = {
    {"delex", -2, kWrite | kFast | kLongArgs, kTakesKey, delex, nullptr, kGroup,
     "Deletes a key, if it holds a value, or another one.", "8.4.0"},
    {"delifeq", 3, kWrite | kFast | kLongArgs, kTakesKey, delifeq, nullptr, kGroup,
     "Deletes a key that holds this value.", "8.4.0"},
    {"msetex", -4, kWrite | kDenyOom | kBatch | kBlobArgs, kReplacesPairs, msetex, nullptr, kGroup,
     "Atomically sets several keys, which expire together, if all or none of them are there.",
     "8.4.0"},
};

}  // namespace
std::span<const Row> conditional_rows() { return kRows; }

}  // namespace cairn::kv
