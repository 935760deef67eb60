// The hash commands about fields that are there until a time: Redis 7.4's and, from HGETDEL on,
// 8.0's; https://redis.io/docs/latest/develop/data-types/hashes/#field-expiration.
#include <absl/container/flat_hash_map.h>

#include "core/base/text.h"
#include "kv/commands/hash_view.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

// What a command does to the fields that it names, one after the other: one that is named twice is
// found the second time as the first left it. Either some are removed or some get another time.
class Changes {
 public:
  explicit Changes(const HashView& hash) : hash_(hash) {}

  std::optional<Hash::Item> find(std::string_view field) const {
    auto changed = changed_.find(field);
    return changed != changed_.end() ? changed->second : hash_.find(field);
  }
  void remove(const Hash::Item& item) {
    changed_[item.field] = std::nullopt;
    Hash::add_delete(operation_, item.field);
    removed_++;
  }
  void set_until(Hash::Item item, int64_t until_ms) {
    item.until_ms = until_ms;
    changed_[item.field] = item;
    Hash::add_until(operation_, item.field, until_ms);
  }
  // The store's error, if there is one, is the command's answer then.
  void make(Context& c) {
    if (removed_ > 0 && removed_ == hash_.size()) {  // no hash is empty
      (void)c.remove(c.ns(), hash_.entry());
    } else if (!operation_.empty()) {
      (void)c.operate(ValueType::kHash, c.args[1], hash_.entry(), operation_);
    }
  }

 private:
  const HashView& hash_;
  absl::flat_hash_map<std::string_view, std::optional<Hash::Item>> changed_;
  std::string operation_;
  size_t removed_ = 0;
};

struct Unit {
  std::string_view option;
  int64_t ms;
  bool absolute;
};
constexpr Unit kUnits[] = {
    {"ex", 1000, false}, {"px", 1, false}, {"exat", 1000, true}, {"pxat", 1, true}};
const Unit* unit_named(std::string_view word) {
  for (const Unit& unit : kUnits) {
    if (equals_ignoring_case(word, unit.option)) return &unit;
  }
  return nullptr;
}

// Reads word i as a time in this unit; false after an answer.
bool parse_time(Context& c, size_t i, const Unit& unit, int64_t& at_ms) {
  constexpr int64_t kMost = (int64_t{1} << 46) - 1;  // Redis's
  int64_t n;
  if (!c.integer(i, n)) return false;
  if (n < 0) {
    c.reply.error("ERR invalid expire time, must be >= 0");
    return false;
  }
  const int64_t base = unit.absolute ? 0 : c.now_ms();
  if (n > kMost / unit.ms || n * unit.ms > kMost - base) {
    c.reply.error(cat("ERR invalid expire time in '", c.row.name, "' command"));
    return false;
  }
  at_ms = n * unit.ms + base;
  return true;
}

constexpr std::string_view kBadCount = "ERR Number of fields must be a positive integer";

// FIELDS, their number, and they, up to the last word: the word of the first; 0 after an answer.
size_t first_field(Context& c, size_t at, std::string_view bad_count = kBadCount) {
  if (at >= c.args.size() || !equals_ignoring_case(c.args[at], "fields")) {
    c.reply.error("ERR Mandatory argument FIELDS is missing or not at the right position");
    return 0;
  }
  const auto count = at + 1 < c.args.size() ? parse_ll(c.args[at + 1]) : std::nullopt;
  if (!count || *count < 1) {
    c.reply.error(bad_count);
    return 0;
  }
  if (static_cast<uint64_t>(*count) != c.args.size() - at - 2) {
    c.reply.error("ERR The `numfields` parameter must match the number of arguments");
    return 0;
  }
  return at + 2;
}

// Answers one value for each field from this word on.
template <class Fn>
void reply_each(Context& c, size_t first, Fn fn) {
  c.reply.array(c.args.size() - first);
  for (size_t i = first; i < c.args.size(); i++) fn(c.args[i]);
}

void reply_value(Context& c, const std::optional<Hash::Item>& item) {
  if (item) {
    c.reply.bulk(item->value);
  } else {
    c.reply.null();
  }
}

enum : int64_t { kNoField = -2, kNoTtl = -1, kConditionNotMet = 0, kDone = 1, kDeleted = 2 };

// ---- HEXPIRE and the like ----

struct Condition {
  std::string_view name;
  // Whether a field with this time (none: kForEver) may get that one.
  bool (*holds)(int64_t before, int64_t after);
};
constexpr Condition kConditions[] = {
    {"nx", [](int64_t before, int64_t) { return before == Hash::kForEver; }},
    {"xx", [](int64_t before, int64_t) { return before != Hash::kForEver; }},
    {"gt",
     [](int64_t before, int64_t after) { return before != Hash::kForEver && before < after; }},
    {"lt",
     [](int64_t before, int64_t after) { return before == Hash::kForEver || before > after; }},
};

void expire_fields(Context& c, const Unit& unit) {
  HashView h;
  int64_t until;
  if (!find(c, h) || !parse_time(c, 2, unit, until)) return;
  const Condition* condition = nullptr;
  for (const Condition& one : kConditions) {
    if (equals_ignoring_case(c.args[3], one.name)) condition = &one;
  }
  const size_t first = first_field(c, condition == nullptr ? 3 : 4,
                                   "ERR Parameter `numFields` should be greater than 0");
  if (first == 0) return;
  const bool past = until <= c.now_ms();
  if (past) c.set_event("hdel");
  Changes changes(h);
  reply_each(c, first, [&](std::string_view field) {
    const auto item = changes.find(field);
    if (!item) return c.reply.integer(kNoField);
    if (condition != nullptr && !condition->holds(item->until_ms, until)) {
      return c.reply.integer(kConditionNotMet);
    }
    if (past) {
      changes.remove(*item);
    } else {
      changes.set_until(*item, until);
    }
    c.reply.integer(past ? kDeleted : kDone);
  });
  changes.make(c);
}

template <size_t kUnit>
void hexpire(Context& c) {
  expire_fields(c, kUnits[kUnit]);
}

void hpersist(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  const size_t first = first_field(c, 2);
  if (first == 0) return;
  Changes changes(h);
  reply_each(c, first, [&](std::string_view field) {
    const auto item = changes.find(field);
    if (!item) return c.reply.integer(kNoField);
    if (item->until_ms == Hash::kForEver) return c.reply.integer(kNoTtl);
    changes.set_until(*item, Hash::kForEver);
    c.reply.integer(kDone);
  });
  changes.make(c);
}

// ---- HTTL and the like ----

template <size_t kUnit>
void httl(Context& c) {
  constexpr const Unit& unit = kUnits[kUnit];
  HashView h;
  if (!find(c, h)) return;
  const size_t first = first_field(c, 2);
  if (first == 0) return;
  reply_each(c, first, [&](std::string_view field) {
    const auto item = h.find(field);
    if (!item) return c.reply.integer(kNoField);
    if (item->until_ms == Hash::kForEver) return c.reply.integer(kNoTtl);
    const int64_t ms = item->until_ms - (unit.absolute ? 0 : c.now_ms());
    c.reply.integer((ms + unit.ms - 1) / unit.ms);
  });
}

// ---- HGETDEL, HGETEX, HSETEX ----

void hgetdel(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  const size_t first = first_field(c, 2);
  if (first == 0) return;
  Changes changes(h);
  reply_each(c, first, [&](std::string_view field) {
    const auto item = changes.find(field);
    reply_value(c, item);
    if (item) changes.remove(*item);
  });
  changes.make(c);
}

void hgetex(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  const Unit* unit = unit_named(c.args[2]);
  const bool persists = equals_ignoring_case(c.args[2], "persist");
  int64_t until = Hash::kForEver;
  if (unit != nullptr && !parse_time(c, 3, *unit, until)) return;
  const size_t first = first_field(c, unit != nullptr ? 4 : persists ? 3 : 2);
  if (first == 0) return;
  const bool past = unit != nullptr && until <= c.now_ms();
  Changes changes(h);
  reply_each(c, first, [&](std::string_view field) {
    const auto item = changes.find(field);
    reply_value(c, item);
    if (!item) return;
    if (past) {
      changes.remove(*item);
    } else if ((unit != nullptr || persists) && item->until_ms != until) {
      changes.set_until(*item, until);
    }
  });
  changes.make(c);
}

struct SetExOptions {
  const Unit* unit = nullptr;
  bool keeps = false;    // KEEPTTL
  bool if_none = false;  // FNX
  bool if_all = false;   // FXX
  int64_t until_ms = Hash::kForEver;
  size_t first = 0;  // field
};

// The fields and their values, from behind FIELDS on.
bool parse_pairs(Context& c, size_t at, SetExOptions& o) {
  const auto wrong = [&] {
    c.reply.error(cat("ERR wrong number of arguments for '", c.row.name, "' command"));
    return false;
  };
  if (at + 3 > c.args.size()) return wrong();
  const auto count = parse_ll(c.args[at]);
  if (!count || *count < 1 || *count > INT32_MAX) {
    c.reply.error("ERR invalid number of fields");
    return false;
  }
  o.first = at + 1;
  return static_cast<uint64_t>(*count) * 2 == c.args.size() - o.first || wrong();
}

bool parse_setex(Context& c, SetExOptions& o) {
  const auto error = [&](std::string_view text) {
    c.reply.error(text);
    return false;
  };
  for (size_t i = 2; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    const Unit* unit = unit_named(word);
    const bool keeps = equals_ignoring_case(word, "keepttl");
    const bool if_none = equals_ignoring_case(word, "fnx");
    if (equals_ignoring_case(word, "fields")) return parse_pairs(c, i + 1, o);
    if (unit != nullptr || keeps) {
      if (o.unit != nullptr || o.keeps) {
        return error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
      }
      o.unit = unit;
      o.keeps = keeps;
      if (keeps) continue;
      if (++i == c.args.size()) return error("ERR missing expire time");
      if (!parse_time(c, i, *unit, o.until_ms)) return false;
    } else if (if_none || equals_ignoring_case(word, "fxx")) {
      if (o.if_none || o.if_all) {
        return error("ERR Only one of FXX or FNX arguments can be specified");
      }
      (if_none ? o.if_none : o.if_all) = true;
    } else {
      return error(cat("ERR unknown argument: ", word.substr(0, 128)));
    }
  }
  c.syntax_error();
  return false;
}

bool set_fields(Context& c, const HashView& h, const SetExOptions& o) {
  std::string operation;
  bool timed = o.unit != nullptr;
  for (size_t i = o.first; i < c.args.size() && o.keeps && !timed; i += 2) {
    const auto old = h.find(c.args[i]);
    timed = old && old->until_ms != Hash::kForEver;
  }
  for (size_t i = o.first; i < c.args.size(); i += 2) {
    if (!timed) {
      Hash::add_set(operation, c.args[i], c.args[i + 1]);
      continue;
    }
    const auto old = o.keeps ? h.find(c.args[i]) : std::nullopt;
    Hash::add_set_until(operation, c.args[i], c.args[i + 1], old ? old->until_ms : o.until_ms);
  }
  return c.operate(ValueType::kHash, c.args[1], h.entry(), operation);
}

void hsetex(Context& c) {
  SetExOptions o;
  HashView h;
  if (!parse_setex(c, o) || !find(c, h)) return;
  for (size_t i = o.first; i < c.args.size() && (o.if_none || o.if_all); i += 2) {
    if (h.find(c.args[i]).has_value() != o.if_all) return c.reply.integer(0);
  }
  if (o.unit == nullptr || o.until_ms > c.now_ms()) {
    if (!set_fields(c, h, o)) return;
    if (o.unit != nullptr) c.add_event(Events::kHash, "hexpire", c.ns(), c.args[1]);
    c.reply.integer(1);
    return;
  }
  Changes changes(h);  // set, and gone at once
  for (size_t i = o.first; i < c.args.size(); i += 2) {
    if (const auto item = changes.find(c.args[i])) changes.remove(*item);
  }
  changes.make(c);
  c.reply.integer(1);
}

enum : size_t { kEx, kPx, kExAt, kPxAt };  // in kUnits

constexpr uint32_t kRead = kReadOnly | kFast | kLongArgs;
constexpr uint32_t kExpires = kWrite | kDenyOom | kFast | kLongArgs;
constexpr std::string_view kGroup = "hash";
constexpr KeySpec kTakesFromKey[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete}};
constexpr Row kRows[] = {
    {"hexpire", -6, kExpires, kUpdatesKey, hexpire<kEx>, nullptr, kGroup,
     "Set expiry for hash field using relative time to expire (seconds)", "7.4.0"},
    {"hpexpire", -6, kExpires, kUpdatesKey, hexpire<kPx>, nullptr, kGroup,
     "Set expiry for hash field using relative time to expire (milliseconds)", "7.4.0"},
    {"hexpireat", -6, kExpires, kUpdatesKey, hexpire<kExAt>, nullptr, kGroup,
     "Set expiry for hash field using an absolute Unix timestamp (seconds)", "7.4.0"},
    {"hpexpireat", -6, kExpires, kUpdatesKey, hexpire<kPxAt>, nullptr, kGroup,
     "Set expiry for hash field using an absolute Unix timestamp (milliseconds)", "7.4.0"},
    {"hpersist", -5, kWrite | kFast | kLongArgs, kUpdatesKey, hpersist, nullptr, kGroup,
     "Removes the expiration time for each specified field", "7.4.0"},
    {"httl", -5, kRead, kReadsKey, httl<kEx>, nullptr, kGroup,
     "Returns the TTL in seconds of a hash field.", "7.4.0"},
    {"hpttl", -5, kRead, kReadsKey, httl<kPx>, nullptr, kGroup,
     "Returns the TTL in milliseconds of a hash field.", "7.4.0"},
    {"hexpiretime", -5, kRead, kReadsKey, httl<kExAt>, nullptr, kGroup,
     "Returns the expiration time of a hash field as a Unix timestamp, in seconds.", "7.4.0"},
    {"hpexpiretime", -5, kRead, kReadsKey, httl<kPxAt>, nullptr, kGroup,
     "Returns the expiration time of a hash field as a Unix timestamp, in msec.", "7.4.0"},
    {"hgetdel", -5, kWrite | kFast | kLongArgs, kTakesFromKey, hgetdel, nullptr, kGroup,
     "Returns the value of a field and deletes it from the hash.", "8.0.0"},
    {"hgetex", -5, kWrite | kFast | kLongArgs, kChangesKey, hgetex, nullptr, kGroup,
     "Get the value of one or more fields of a given hash key, and optionally set their "
     "expiration.",
     "8.0.0"},
    {"hsetex", -6, kExpires, kUpdatesKey, hsetex, nullptr, kGroup,
     "Set the value of one or more fields of a given hash key, and optionally set their "
     "expiration.",
     "8.0.0"},
};

}  // namespace
std::span<const Row> hash_expiry_rows() { return kRows; }

}  // namespace cairn::kv
