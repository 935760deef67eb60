// Commands of later Redis and of Valkey that change strings under a condition, and DIGEST.
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kv/commands/compare.h"
#include "kv/commands/expire_options.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

void digest(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (goes_in_parts(c, e)) return;
  const auto text = text_at_once(c, e);
  if (!text) return;
  e == nullptr ? c.reply.null() : c.reply.bulk(digest_of(*text));
}

awaitable<void> digest_deferred(Context& c) {
  const auto held = co_await hold_value(c, c.args[1]);
  if (!held) co_return;
  if (!held->exists) co_return c.reply.null();
  const auto digest = co_await digest_of(c, *held);
  if (c.given_up()) co_return;
  digest.ok() ? c.reply.bulk(*digest) : c.status_error(digest.status());
}

// False, with nothing done: how the value compares is to be found out first. In Redis's order: the
// condition is read once there is something that it could hold for.
bool delete_if(Context& c, Comparison& comparison, const Comparison::Found* found) {
  if (c.args.size() != 2 && c.args.size() != 4) {
    return c.reply.error("ERR wrong number of arguments for 'delex' command"), true;
  }
  Entry* e = c.find(c.args[1]);
  std::optional<bool> goes = true;
  if (e == nullptr) return c.reply.integer(0), true;
  if (c.args.size() == 4) {
    if (!e->is_string()) {
      c.reply.error("ERR Key should be of string type if conditions are specified");
      return true;
    }
    size_t i = 2;
    if (!comparison.given && !comparison.parse(c, i)) {
      return c.reply.error("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"), true;
    }
    if (!comparison.holds(c, e, found, goes)) return true;
  }
  if (!goes) return false;
  if (!*goes || c.remove(c.ns(), e)) c.reply.integer(*goes);
  return true;
}

constexpr Comparison kDelIfEq{true, true, false, 2};

void delex(Context& c) {
  Comparison comparison;
  if (!delete_if(c, comparison, nullptr)) c.defer();
}

awaitable<void> delex_deferred(Context& c) {
  Comparison comparison;
  size_t i = 2;
  (void)comparison.parse(c, i);  // which found the value in question before
  co_await compare_first(c, c.args[1], comparison, [&](const Comparison::Found& found) {
    return delete_if(c, comparison, &found);
  });
}

// The value is compared before its type is asked for.
bool delete_equal(Context& c, const Comparison::Found* found) {
  Entry* e = c.find(c.args[1]);
  std::optional<bool> goes;
  if (!kDelIfEq.holds(c, e, found, goes)) return true;
  if (!goes) return false;
  if (!*goes || c.remove(c.ns(), e)) c.reply.integer(*goes);
  return true;
}

void delifeq(Context& c) {
  if (!delete_equal(c, nullptr)) c.defer();
}

awaitable<void> delifeq_deferred(Context& c) {
  co_await compare_first(c, c.args[1], kDelIfEq,
                         [&](const Comparison::Found& found) { return delete_equal(c, &found); });
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
    int64_t at = expire.given() ? expire.at_ms : c.default_expiry_ms();
    if (keep_ttl && old != nullptr) at = old->expire_ms();
    if (at != 0 && at <= c.now_ms()) {  // already past: as if set and expired
      if (old != nullptr && !c.remove(c.ns(), old)) return;
    } else if (!c.put_word(c.args[i], i + 1, at)) {
      return;
    } else if (expire.given()) {
      c.add_event(Events::kGeneric, "expire", c.ns(), c.args[i]);
    }
  }
  c.reply.integer(1);
}

// ---- INCREX, of Redis 8.8 ----

// What is added, and between what the sum is to stay: in integers, or in floating point numbers.
template <class Number>
struct Increment {
  Number by, least, most;
};

struct IncrexOptions {
  size_t by = 0, least = 0, most = 0, expire_at = 0;  // words
  bool real = false, saturate = false, persist = false, if_none = false;
  bool if_absent = false, if_there = false;  // the key
  ExpireOption expire;

  bool parse(Context& c);

 private:
  bool take(Context& c, size_t& i);
};

// One option and what belongs to it, each once; `i` is then at its last word.
bool IncrexOptions::take(Context& c, size_t& i) {
  const std::string_view word = c.args[i];
  const auto once = [](bool& flag) { return !std::exchange(flag, true); };
  if (equals_ignoring_case(word, "saturate")) return once(saturate);
  if (equals_ignoring_case(word, "nx")) return !if_there && once(if_absent);
  if (equals_ignoring_case(word, "xx")) return !if_absent && once(if_there);
  if (equals_ignoring_case(word, "enx")) return !persist && once(if_none);
  if (equals_ignoring_case(word, "persist")) return !if_none && !expire.given() && once(persist);
  if (i + 1 >= c.args.size()) return false;
  const auto value = [&](size_t& at) { return std::exchange(at, ++i) == 0; };
  if (equals_ignoring_case(word, "byint")) return value(by);
  if (equals_ignoring_case(word, "byfloat")) return real = true, value(by);
  if (equals_ignoring_case(word, "lbound")) return value(least);
  if (equals_ignoring_case(word, "ubound")) return value(most);
  return !persist && !expire.given() && expire.parse(word) && value(expire_at);
}

bool IncrexOptions::parse(Context& c) {
  for (size_t i = 2; i < c.args.size(); i++) {
    if (!take(c, i)) return c.syntax_error(), false;
  }
  if (!if_none || expire.given()) return true;
  c.reply.error("ERR ENX flag requires an expiration");
  return false;
}

bool read(Context& c, size_t word, std::string_view what, int64_t& value) {
  return word == 0 ||
         c.integer(word, value, cat("ERR ", what, " is not an integer or out of range"));
}

bool read(Context& c, size_t word, std::string_view what, long double& value) {
  if (word == 0) return true;
  const auto parsed = parse_float(c.args[word]);
  if (!parsed) return c.reply.error(cat("ERR ", what, " is not a valid float")), false;
  value = *parsed;
  return true;
}

template <class Number>
bool read(Context& c, const IncrexOptions& o, Increment<Number>& increment) {
  if (!read(c, o.by, "Increment", increment.by)) return false;
  if constexpr (std::is_floating_point_v<Number>) {
    if (std::isinf(increment.by)) {
      return c.reply.error("ERR BYFLOAT increment cannot be Infinity"), false;
    }
  }
  if (!read(c, o.least, "LBOUND", increment.least) || !read(c, o.most, "UBOUND", increment.most)) {
    return false;
  }
  if (increment.least <= increment.most) return true;
  c.reply.error("ERR LBOUND can't be greater than UBOUND");
  return false;
}

// The number that the key holds; false after it answered that it holds none.
bool value_of(Context& c, Entry* e, int64_t& value) {
  const auto parsed = e->is_blob() ? std::nullopt : parse_ll(e->value());
  if (!parsed) return c.reply.error("ERR value is not an integer or out of range"), false;
  value = *parsed;
  return true;
}

bool value_of(Context& c, Entry* e, long double& value) {
  const auto parsed = e->is_blob() ? std::nullopt : parse_float(e->value());
  if (!parsed) return c.reply.error("ERR value is not a valid float"), false;
  if (std::isinf(*parsed)) return c.reply.error("ERR value cannot be Infinity"), false;
  value = *parsed;
  return true;
}

// Whether the sum is beyond a bound, or beyond what a number can be: above (1), below (-1), no (0).
int beyond(int64_t value, const Increment<int64_t>& increment, int64_t& sum) {
  if (__builtin_add_overflow(value, increment.by, &sum)) return increment.by > 0 ? 1 : -1;
  return sum > increment.most ? 1 : sum < increment.least ? -1 : 0;
}

int beyond(long double value, const Increment<long double>& increment, long double& sum) {
  sum = value + increment.by;
  if (std::isinf(sum)) return sum > 0 ? 1 : -1;
  return sum > increment.most ? 1 : sum < increment.least ? -1 : 0;
}

// What was added in the end; false after it answered that no number says so.
bool added(Context& c, int64_t before, int64_t after, int64_t& difference) {
  if (!__builtin_sub_overflow(after, before, &difference)) return true;
  return c.reply.error("ERR applied increment would overflow"), false;
}

bool added(Context& c, long double before, long double after, long double& difference) {
  difference = after - before;
  if (!std::isinf(difference)) return true;
  return c.reply.error("ERR applied increment would be Infinity"), false;
}

std::string text_of(int64_t value) { return cat(value); }
std::string text_of(long double value) { return format_float(value); }

void reply_both(Context& c, int64_t value, int64_t difference) {
  c.reply.array(2);
  c.reply.integer(value);
  c.reply.integer(difference);
}

void reply_both(Context& c, long double value, long double difference) {
  c.reply.array(2);
  for (const long double number : {value, difference}) c.reply.decimal(format_float(number));
}

// False after the store refused.
bool put_number(Context& c, Entry* e, std::string_view text, const IncrexOptions& o) {
  const std::string_view key = c.args[1];
  const bool expires = e != nullptr && e->has_expiry();
  const bool sets = o.expire.given() && !(o.if_none && expires);
  if (sets && o.expire.at_ms <= c.now_ms()) return e == nullptr || c.remove(c.ns(), e);
  int64_t at = expires && !o.persist ? e->expire_ms() : 0;
  if (sets) at = o.expire.at_ms;
  c.set_event(o.real ? "incrbyfloat" : "incrby");
  if (!c.put_string(key, text, at)) return false;
  if (sets) c.add_event(Events::kGeneric, "expire", c.ns(), key);
  if (o.persist && expires) c.add_event(Events::kGeneric, "persist", c.ns(), key);
  return true;
}

template <class Number>
void increx(Context& c, IncrexOptions& o, Increment<Number> increment) {
  if (!read(c, o, increment)) return;
  if (o.expire_at != 0 && !o.expire.value(c, o.expire_at)) return;
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (e == nullptr ? o.if_there : o.if_absent) return c.reply.null();
  Number before = 0, after;
  if (e != nullptr && !value_of(c, e, before)) return;
  Number difference = increment.by;
  if (const int side = beyond(before, increment, after); side != 0) {
    if (!o.saturate) return reply_both(c, before, Number(0));
    after = side > 0 ? increment.most : increment.least;
    if (!added(c, before, after, difference)) return;
  }
  if (put_number(c, e, text_of(after), o)) reply_both(c, after, difference);
}

void increx(Context& c) {
  IncrexOptions o;
  if (!o.parse(c)) return;
  using Reals = std::numeric_limits<long double>;
  if (o.real) return increx<long double>(c, o, {0, Reals::lowest(), Reals::max()});
  increx<int64_t>(c, o, {1, INT64_MIN, INT64_MAX});
}

constexpr std::string_view kGroup = "string";
constexpr KeySpec kTakesKey[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete}};
constexpr KeySpec kReplacesPairs[] = {
    {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly, .step = 2, .count_at = 0}};
constexpr uint32_t kTakes = kWrite | kFast | kLongArgs;
constexpr Row kRows[] = {
    {"delex", -2, kTakes, kTakesKey, delex, delex_deferred, kGroup,
     "Conditionally removes the specified key based on value or hash digest comparison.", "8.4.0"},
    {"delifeq", 3, kTakes, kTakesKey, delifeq, delifeq_deferred, kGroup,
     "Deletes a key that holds this value.", "8.4.0"},
    {"digest", 2, kReadOnly | kFast, kReadsKey, digest, digest_deferred, kGroup,
     "Returns the XXH3 hash of a string value.", "8.4.0"},
    {"increx", -2, kWrite | kDenyOom | kFast, kChangesKey, increx, nullptr, kGroup,
     "Increments the numeric value of a key by a number and sets its expiration time. Uses 0 as "
     "initial value if the key doesn't exist.",
     "8.8.0"},
    {"msetex", -4, kWrite | kDenyOom | kBatch | kBlobArgs, kReplacesPairs, msetex, nullptr, kGroup,
     "Atomically sets several keys, which expire together, if all or none of them are there.",
     "8.4.0"},
};

}  // namespace
std::span<const Row> conditional_rows() { return kRows; }

}  // namespace cairn::kv
