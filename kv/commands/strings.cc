// The string commands.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/commands/blob_edit.h"
#include "kv/commands/compare.h"
#include "kv/commands/expire_options.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

void get(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  c.reply_value(e);
}

struct SetOptions {
  bool nx = false, xx = false, want_old = false, keep_ttl = false;
  size_t value_at = 0;  // of the expiry
  ExpireOption expire;
  Comparison comparison;

  bool parse(Context& c);
};

bool SetOptions::parse(Context& c) {
  for (size_t i = 3; i < c.args.size(); i++) {
    std::string_view word = c.args[i];
    if (equals_ignoring_case(word, "nx") && !xx && !comparison.given) {
      nx = true;
    } else if (equals_ignoring_case(word, "xx") && !nx && !comparison.given) {
      xx = true;
    } else if (equals_ignoring_case(word, "get")) {
      want_old = true;
    } else if (equals_ignoring_case(word, "keepttl") && !expire.given()) {
      keep_ttl = true;
    } else if (!nx && !xx && comparison.parse(c, i)) {
      continue;
    } else if (!keep_ttl && i + 1 < c.args.size() && expire.parse(word)) {
      value_at = ++i;
    } else {
      c.syntax_error();
      return false;
    }
  }
  return true;
}

// False, with nothing done: how the value compares is to be found out first.
bool set_if(Context& c, SetOptions& o, const Comparison::Found* found) {
  if (o.value_at != 0 && !o.expire.value(c, o.value_at)) return true;
  const bool looks = o.nx || o.xx || o.want_old || o.keep_ttl || o.comparison.given;
  Entry* old = looks ? c.find(c.args[1]) : nullptr;
  if (o.want_old && old != nullptr && !old->is_string()) return c.reply.error(kWrongType), true;
  bool goes = !(o.nx && old != nullptr) && !(o.xx && old == nullptr);
  if (o.comparison.given) {
    std::optional<bool> holds;
    if (!o.comparison.holds(c, old, found, holds)) return true;
    if (!holds) return false;
    goes = *holds;
  }
  if (!goes) {
    o.want_old ? c.reply_value(old) : c.reply.null();
    return true;
  }
  int64_t at = o.expire.given() ? o.expire.at_ms : c.default_expiry_ms();
  if (o.keep_ttl && old != nullptr) at = old->expire_ms();
  if (o.want_old) c.reply_value(old);
  if (at != 0 && at <= c.now_ms()) {  // already past: as if set and expired
    Entry* there = c.find(c.args[1]);
    c.will_change(c.ns(), c.request.keys[0].hash, c.args[1]);
    c.did_change(c.ns(), c.args[1]);
    c.add_event(Events::kGeneric, "expire", c.ns(), c.args[1]);
    c.add_event(Events::kExpired, "expired", c.ns(), c.args[1]);
    c.set_event({});
    if (there != nullptr && !c.remove(c.ns(), there)) return true;
  } else if (!c.put_word(c.args[1], 2, at)) {
    return true;
  } else if (o.expire.given()) {
    c.add_event(Events::kGeneric, "expire", c.ns(), c.args[1]);
  }
  if (!o.want_old) c.reply.ok();
  return true;
}

void set(Context& c) {
  SetOptions options;
  if (options.parse(c) && !set_if(c, options, nullptr)) c.defer();
}

awaitable<void> set_deferred(Context& c) {
  SetOptions options;
  if (!options.parse(c)) co_return;
  co_await compare_first(c, c.args[1], options.comparison, [&](const Comparison::Found& found) {
    return set_if(c, options, &found);
  });
}

void setnx(Context& c) {
  if (c.find(c.args[1]) != nullptr) return c.reply.integer(0);
  if (c.put_word(c.args[1], 2, c.default_expiry_ms())) c.reply.integer(1);
}

void set_with_ttl(Context& c, std::string_view unit) {
  ExpireOption expire;
  expire.parse(unit);
  if (!expire.value(c, 2)) return;
  if (!c.put_word(c.args[1], 3, expire.at_ms)) return;
  c.add_event(Events::kGeneric, "expire", c.ns(), c.args[1]);
  c.reply.ok();
}
void setex(Context& c) { set_with_ttl(c, "ex"); }
void psetex(Context& c) { set_with_ttl(c, "px"); }

void getset(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  c.reply_value(e);
  c.put_word(c.args[1], 2, c.default_expiry_ms());
}

void getdel(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  c.reply_value(e);
  if (e != nullptr) c.remove(c.ns(), e);
}

void getex(Context& c) {
  bool persist = false;
  size_t value_at = 0;
  ExpireOption expire;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "persist") && !expire.given()) {
      persist = true;
    } else if (!persist && i + 1 < c.args.size() && expire.parse(c.args[i])) {
      value_at = ++i;
    } else {
      return c.syntax_error();
    }
  }
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (e == nullptr) return c.reply.null();
  if (value_at != 0 && !expire.value(c, value_at)) return;
  c.reply_value(e);
  if (expire.given() && expire.at_ms <= c.now_ms()) {
    c.remove(c.ns(), e);
  } else if (expire.given() || (persist && e->has_expiry())) {
    c.put_expiry(e, expire.at_ms);
  }
}

void mget(Context& c) {
  c.reply.array(c.args.size() - 1);
  for (size_t i = 1; i < c.args.size(); i++) {
    Entry* e = c.find(c.args[i]);
    if (e != nullptr && !e->is_string()) e = nullptr;
    c.reply_value(e);
  }
}

bool put_pairs(Context& c) {
  for (size_t i = 1; i + 1 < c.args.size(); i += 2) {
    if (!c.put_word(c.args[i], i + 1, c.default_expiry_ms())) return false;
  }
  return true;
}

void mset(Context& c) {
  if (c.args.size() % 2 == 0) {
    return c.reply.error("ERR wrong number of arguments for 'mset' command");
  }
  if (put_pairs(c)) c.reply.ok();
}

void msetnx(Context& c) {
  if (c.args.size() % 2 == 0) {
    return c.reply.error("ERR wrong number of arguments for 'msetnx' command");
  }
  for (size_t i = 1; i < c.args.size(); i += 2) {
    if (c.find(c.args[i]) != nullptr) return c.reply.integer(0);
  }
  if (put_pairs(c)) c.reply.integer(1);
}

void strlen_(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  c.reply.integer(e == nullptr ? 0 : static_cast<int64_t>(value_length(e)));
}

void append_(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  uint64_t total = (e == nullptr ? 0 : value_length(e)) + c.args.length(2);
  if (total > c.engine.server().proto_max_bulk_len) {
    return c.reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  }
  if (e == nullptr) {
    if (c.put_word(c.args[1], 2, 0)) c.reply.integer(static_cast<int64_t>(total));
    return;
  }
  // Nothing appended is a change too, as Redis has it: watchers and listeners are told.
  if (goes_in_parts(c, e, total)) return;
  const auto text = text_at_once(c, e, total), more = text ? word_at_once(c, 2) : text;
  if (!more) return;
  Scratch room;
  std::string& value = room.text.assign(*text);
  value.append(*more);
  if (put_edited(c, e, value)) c.reply.integer(static_cast<int64_t>(total));
}

awaitable<void> append_deferred(Context& c) {
  BlobEdit edit;
  edit.offset = BlobEdit::kEnd;
  edit.word = 2;
  auto length = co_await edit_blob(c, c.args[1], edit);
  if (length) c.reply.integer(static_cast<int64_t>(*length));
}

void setrange(Context& c) {
  int64_t offset;
  if (!c.integer(2, offset)) return;
  if (offset < 0) return c.reply.error("ERR offset is out of range");
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  uint64_t old_size = e == nullptr ? 0 : value_length(e);
  uint64_t added = c.args.length(3);
  if (added == 0) return c.reply.integer(static_cast<int64_t>(old_size));
  const uint64_t end = capped_add(static_cast<uint64_t>(offset), added);
  if (end > c.engine.server().proto_max_bulk_len) {
    return c.reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  }
  if (goes_in_parts(c, e, end)) return;
  const auto text = text_at_once(c, e, end), word = text ? word_at_once(c, 3) : text;
  if (!word) return;
  Scratch room;
  std::string& value = room.text.assign(*text);
  if (value.size() < end) value.resize(end);
  value.replace(static_cast<size_t>(offset), added, *word);
  bool put = e == nullptr ? c.put_string(c.args[1], value, 0) : put_edited(c, e, value);
  if (put) c.reply.integer(static_cast<int64_t>(value.size()));
}

awaitable<void> setrange_deferred(Context& c) {
  BlobEdit edit;
  edit.offset = static_cast<uint64_t>(*parse_ll(c.args[2]));
  edit.word = 3;
  auto length = co_await edit_blob(c, c.args[1], edit);
  if (length) c.reply.integer(static_cast<int64_t>(*length));
}

void getrange(Context& c) {
  int64_t start, end;
  if (!c.integer(2, start) || !c.integer(3, end)) return;
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (e == nullptr) return c.reply.bulk("");
  auto size = static_cast<int64_t>(value_length(e));
  if (start < 0 && end < 0 && start > end) return c.reply.bulk("");
  if (start < 0) start = std::max<int64_t>(0, size + start);
  if (end < 0) end = std::max<int64_t>(0, size + end);
  end = std::min(end, size - 1);
  if (start > end || size == 0) return c.reply.bulk("");
  c.reply_range(e, static_cast<uint64_t>(start), static_cast<uint64_t>(end - start + 1));
}

void increment(Context& c, int64_t by) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  int64_t value = 0;
  if (e != nullptr) {
    auto parsed = e->is_blob() ? std::nullopt : parse_ll(e->value());
    if (!parsed) return c.reply.error("ERR value is not an integer or out of range");
    value = *parsed;
  }
  if (__builtin_add_overflow(value, by, &value)) {
    return c.reply.error("ERR increment or decrement would overflow");
  }
  std::string text = cat(value);
  bool put = e == nullptr ? c.put_string(c.args[1], text, 0) : put_edited(c, e, text);
  if (put) c.reply.integer(value);
}
void incr(Context& c) { increment(c, 1); }
void decr(Context& c) { increment(c, -1); }
void incrby(Context& c) {
  int64_t by;
  if (c.integer(2, by)) increment(c, by);
}
void decrby(Context& c) {
  int64_t by;
  if (!c.integer(2, by)) return;
  if (by == INT64_MIN) return c.reply.error("ERR decrement would overflow");
  increment(c, -by);
}

void incrbyfloat(Context& c) {
  auto by = parse_float(c.args[2]);
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  std::optional<long double> value = 0.0L;
  if (e != nullptr) value = e->is_blob() ? std::nullopt : parse_float(e->value());
  if (!value || !by) return c.reply.error("ERR value is not a valid float");
  long double sum = *value + *by;
  if (std::isnan(sum) || std::isinf(sum)) {
    return c.reply.error("ERR increment would produce NaN or Infinity");
  }
  std::string text = format_float(sum);
  bool put = e == nullptr ? c.put_string(c.args[1], text, 0) : put_edited(c, e, text);
  if (put) c.reply.bulk(text);
}

constexpr uint32_t kRead = kReadOnly | kFast;
constexpr uint32_t kStoreSlow = kWrite | kDenyOom;  // as Redis files them
constexpr uint32_t kStore = kStoreSlow | kFast;
constexpr std::string_view kGroup = "string";
constexpr uint16_t kReplacesRead = kKeyReadWrite | kKeyAccess | kKeyUpdate | kKeyLooked;
constexpr KeySpec kSetsKey[] = {{.flags = kReplacesRead | kKeyVariable,
                                 .unless_from = 3,
                                 .unless = {"get", "ifeq", "ifne", "ifdeq", "ifdne"},
                                 .otherwise = kKeyOverwrite | kKeyUpdate | kKeyNameOnly}};
constexpr KeySpec kMakesKey[] = {{.flags = kKeyOverwrite | kKeyInsert | kKeyNameOnly}};
constexpr KeySpec kReplacesKey[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly}};
constexpr KeySpec kReadsAndReplacesKey[] = {{.flags = kReplacesRead}};
constexpr KeySpec kTakesKey[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete | kKeyLooked}};
constexpr KeySpec kReadsKeys[] = {{.flags = kKeyReadOnly | kKeyAccess, .last = -1}};
constexpr KeySpec kReplacesPairs[] = {
    {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly, .last = -1, .step = 2}};
constexpr KeySpec kMakesPairs[] = {
    {.flags = kKeyOverwrite | kKeyInsert | kKeyNameOnly, .last = -1, .step = 2}};
constexpr Row kRows[] = {
    {"get", 2, kRead, kReadsKey, get, nullptr, kGroup, "Returns the string value of a key."},
    {"set", -3, kStoreSlow | kBlobArgs, kSetsKey, set, set_deferred, kGroup,
     "Sets the string value of a key, ignoring its type."},
    {"setnx", 3, kStore | kBlobArgs, kMakesKey, setnx, nullptr, kGroup,
     "Sets the string value of a key only when the key doesn't exist."},
    {"setex", 4, kStoreSlow | kBlobArgs, kReplacesKey, setex, nullptr, kGroup,
     "Sets the string value and expiration time of a key.", "2.0.0"},
    {"psetex", 4, kStoreSlow | kBlobArgs, kReplacesKey, psetex, nullptr, kGroup,
     "Sets both string value and expiration time in milliseconds of a key.", "2.6.0"},
    {"getset", 3, kStore | kBlobArgs, kReadsAndReplacesKey, getset, nullptr, kGroup,
     "Returns the previous string value of a key after setting it to a new value."},
    {"getdel", 2, kWrite | kFast, kTakesKey, getdel, nullptr, kGroup,
     "Returns the string value of a key after deleting the key.", "6.2.0"},
    {"getex", -2, kWrite | kFast, kReadsAndReplacesKey, getex, nullptr, kGroup,
     "Returns the string value of a key after setting its expiration time.", "6.2.0"},
    {"mget", -2, kRead, kReadsKeys, mget, nullptr, kGroup,
     "Atomically returns the string values of one or more keys."},
    {"mset", -3, kWrite | kDenyOom | kBatch | kBlobArgs, kReplacesPairs, mset, nullptr, kGroup,
     "Atomically creates or modifies the string values of one or more keys."},
    {"msetnx", -3, kWrite | kDenyOom | kBatch | kBlobArgs, kMakesPairs, msetnx, nullptr, kGroup,
     "Atomically modifies the string values of one or more keys only when all keys don't exist."},
    {"strlen", 2, kRead, kLooksAtName, strlen_, nullptr, kGroup,
     "Returns the length of a string value.", "2.2.0"},
    {"append", 3, kStore | kBlobArgs, kInsertsIntoKey, append_, append_deferred, kGroup,
     "Appends a string to the value of a key. Creates the key if it doesn't exist.", "2.0.0"},
    {"setrange", 4, kWrite | kDenyOom | kBlobArgs, kUpdatesKey, setrange, setrange_deferred, kGroup,
     "Overwrites a part of a string value with another by an offset.", "2.2.0"},
    {"getrange", 4, kReadOnly, kReadsKey, getrange, nullptr, kGroup,
     "Returns a substring of the string stored at a key.", "2.4.0"},
    {"substr", 4, kReadOnly, kReadsKey, getrange, nullptr, kGroup,
     "Returns a substring from a string value."},
    {"incr", 2, kStore, kChangesKey, incr, nullptr, kGroup,
     "Increments the integer value of a key by one."},
    {"decr", 2, kStore, kChangesKey, decr, nullptr, kGroup,
     "Decrements the integer value of a key by one."},
    {"incrby", 3, kStore, kChangesKey, incrby, nullptr, kGroup,
     "Increments the integer value of a key by a number."},
    {"decrby", 3, kStore, kChangesKey, decrby, nullptr, kGroup,
     "Decrements a number from the integer value of a key."},
    {"incrbyfloat", 3, kStore, kChangesKey, incrbyfloat, nullptr, kGroup,
     "Increments the floating point value of a key by a number.", "2.6.0"},
};

}  // namespace
std::span<const Row> string_rows() { return kRows; }

}  // namespace cairn::kv
