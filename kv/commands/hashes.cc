// The hash commands.
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <cmath>

#include "core/base/text.h"
#include "kv/commands/hash_view.h"
#include "kv/engine/call_session.h"
#include "kv/engine/engine.h"
#include "kv/types/glob.h"
#include "kv/types/hash.h"

namespace cairn::kv {

namespace {

// The number of fields that are new, or nothing after an error. A field's time, if it had one, is
// forgotten.
std::optional<int64_t> set_pairs(Context& c) {
  if (c.args.size() % 2 != 0) {
    c.reply.error(cat("ERR wrong number of arguments for '", c.row.name, "' command"));
    return std::nullopt;
  }
  HashView h;
  if (!find(c, h)) return std::nullopt;
  const size_t before = h.size();
  Scratch room;
  std::string& operation = room.text;
  for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
    Hash::add_set(operation, c.args[i], c.args[i + 1]);
  }
  if (!c.operate(ValueType::kHash, c.args[1], h.entry(), operation)) return std::nullopt;
  return static_cast<int64_t>(HashView(c, c.find(c.args[1])).size() - before);
}

void hset(Context& c) {
  if (auto added = set_pairs(c)) c.reply.integer(*added);
}

void hmset(Context& c) {
  if (set_pairs(c)) c.reply.ok();
}

void hsetnx(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  if (h.get(c.args[2])) return c.reply.integer(0);
  Scratch room;
  std::string& operation = room.text;
  Hash::add_set(operation, c.args[2], c.args[3]);
  if (c.operate(ValueType::kHash, c.args[1], h.entry(), operation)) c.reply.integer(1);
}

void reply_field(Context& c, const HashView& h, std::string_view field) {
  if (auto value = h.get(field)) {
    c.reply.bulk(*value);
  } else {
    c.reply.null();
  }
}

void hget(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  reply_field(c, h, c.args[2]);
}

void hmget(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  c.reply.array(c.args.size() - 2);
  for (size_t i = 2; i < c.args.size(); i++) reply_field(c, h, c.args[i]);
}

void hdel(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  if (!h) return c.reply.integer(0);
  Met gone;
  Scratch room;
  std::string& operation = room.text;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (h.get(c.args[i]) && gone.add(c.args[i])) {
      Hash::add_delete(operation, c.args[i]);
    }
  }
  if (gone.size() == h.size()) {  // no hash is empty
    if (!c.remove(c.ns(), h.entry())) return;
  } else if (gone.size() > 0 && !c.operate(ValueType::kHash, c.args[1], h.entry(), operation)) {
    return;
  }
  c.reply.integer(static_cast<int64_t>(gone.size()));
}

void hlen(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  c.reply.integer(static_cast<int64_t>(h.size()));
}

void hstrlen(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  auto value = h.get(c.args[2]);
  c.reply.integer(value ? static_cast<int64_t>(value->size()) : 0);
}

void hexists(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  c.reply.integer(h.get(c.args[2]).has_value());
}

// What of each field is in an answer.
enum class Part : uint8_t { kFields, kValues, kBoth, kPairs };

void add_item(Reply& reply, Part part, std::string_view field, std::string_view value) {
  if (part == Part::kPairs) reply.array(2);
  if (part != Part::kValues) reply.bulk(field);
  if (part != Part::kFields) reply.bulk(value);
}

// So many fields of a large hash as it was, each with the same chance. They come in the order of
// the table: the order of HRANDFIELD with a positive count is not random in Redis either.
class Fields final : public Series {
 public:
  Fields(Store& store, KeyHash key, const HashView& h, Part part, uint64_t count)
      : store_(store), walk_(*h, h.now_ms(), key), part_(part), left_(h.size()), count_(count) {}
  bool next(Reply& reply) override {
    StripeLocks lock(store_);
    for (KeyHash key = walk_.key(); !locked_ && !lock.covers(key);
         key = walk_.key()) {  // it may be renamed
      lock.unlock();
      lock.lock(key);
    }
    const bool more = walk_.next([&](auto field, auto value) {
      if (count_ == left_ || store_.random() % left_ < count_) {
        add_item(reply, part_, field, value);
        count_--;
      }
      left_--;
    });
    return more && count_ > 0;
  }
  bool lost() const override { return walk_.lost(); }
  std::optional<KeyHash> needs() const override { return walk_.key(); }

 private:
  Store& store_;
  Hash::Walk walk_;
  const Part part_;
  uint64_t left_;   // fields to come
  uint64_t count_;  // of them to be handed out
};

// Fields by chance, again and again, of a hash that is not large: as it was, so that no lock is
// held while they are drawn. A million in one go stopped their thread for 0.6 s.
class Draws final : public Series {
 public:
  Draws(Store& store, const HashView& h, Part part, uint64_t count)
      : store_(store), part_(part), left_(count) {
    (*h).for_each(h.now_ms(), [&](auto field, auto value) {
      items_.push_back({static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(field.size()),
                        static_cast<uint32_t>(value.size())});
      append(text_, field, value);
    });
  }
  bool next(Reply& reply) override {
    const Item& item = items_[store_.random() % items_.size()];
    const std::string_view text = std::string_view(text_).substr(item.at);
    add_item(reply, part_, text.substr(0, item.field), text.substr(item.field, item.value));
    return --left_ > 0;
  }
  size_t bytes() const override { return text_.capacity() + items_.capacity() * sizeof(Item); }

 private:
  struct Item {
    uint32_t at, field, value;  // its place, and sizes
  };
  Store& store_;
  const Part part_;
  uint64_t left_;
  std::string text_;
  std::vector<Item> items_;
};

// Above that an answer about many of its fields is made piece by piece, between which others have
// their turn: in one go, 10 million fields took their thread for 14 s.
bool is_large(const HashView& h) { return h && (*h).image_bytes() > (256 << 10); }

// HKEYS, HVALS and HGETALL.
template <Part kPart>
void reply_all(Context& c) {
  HashView h;
  if (!find(c, h)) return;
  const size_t n = h.size();
  if (kPart == Part::kBoth) {
    c.reply.map(n);
  } else {
    c.reply.array(n);
  }
  if (is_large(h)) {
    return c.reply.series(std::make_unique<Fields>(c.store, c.ns().hash(c.args[1]), h, kPart, n),
                          n * (kPart == Part::kBoth ? 2 : 1));
  }
  if (!h) return;
  (*h).for_each(h.now_ms(),
                [&](auto field, auto value) { add_item(c.reply, kPart, field, value); });
}

// Gives a field another value; its time stays.
bool change_field(Context& c, const HashView& h, const std::optional<Hash::Item>& old,
                  std::string_view value) {
  Scratch room;
  std::string& operation = room.text;
  if (old && old->until_ms != Hash::kForEver) {
    Hash::add_set_until(operation, c.args[2], value, old->until_ms);
  } else {
    Hash::add_set(operation, c.args[2], value);
  }
  return c.operate(ValueType::kHash, c.args[1], h.entry(), operation);
}

void hincrby(Context& c) {
  int64_t by, value = 0;
  if (!c.integer(3, by)) return;
  HashView h;
  if (!find(c, h)) return;
  const auto old = h.find(c.args[2]);
  if (old) {
    auto parsed = parse_ll(old->value);
    if (!parsed) return c.reply.error("ERR hash value is not an integer");
    value = *parsed;
  }
  if (__builtin_add_overflow(value, by, &value)) {
    return c.reply.error("ERR increment or decrement would overflow");
  }
  if (change_field(c, h, old, cat(value))) c.reply.integer(value);
}

void hincrbyfloat(Context& c) {
  auto by = parse_float(c.args[3]);
  if (!by) return c.reply.error("ERR value is not a valid float");
  if (std::isinf(*by)) return c.reply.error("ERR value is NaN or Infinity");
  HashView h;
  if (!find(c, h)) return;
  long double sum = *by;
  const auto old = h.find(c.args[2]);
  if (old) {
    auto value = parse_float(old->value);
    if (!value) return c.reply.error("ERR hash value is not a float");
    sum += *value;
  }
  if (std::isnan(sum) || std::isinf(sum)) {
    return c.reply.error("ERR increment would produce NaN or Infinity");
  }
  const std::string text = format_float(sum);
  if (change_field(c, h, old, text)) c.reply.bulk(text);
}

void hrandfield(Context& c) {
  if (c.args.size() == 2) {
    HashView h;
    if (!find(c, h)) return;
    if (!h) return c.reply.null();
    return c.reply.bulk((*h).random(c.store.random(), h.now_ms()).first);
  }
  int64_t count;
  if (!c.integer(2, count)) return;
  if (count == INT64_MIN) {
    return c.reply.error(
        "ERR value is out of range, value must between -9223372036854775807 and "
        "9223372036854775807");
  }
  const bool values = c.args.size() == 4;
  if (c.args.size() > 4 || (values && !equals_ignoring_case(c.args[3], "withvalues"))) {
    return c.syntax_error();
  }
  if (values && (count < -INT64_MAX / 2 || count > INT64_MAX / 2)) {
    return c.reply.error("ERR value is out of range");
  }
  using Item = std::pair<std::string_view, std::string_view>;
  HashView h;
  if (!find(c, h)) return;
  const size_t size = h.size();
  const bool pairs = values && c.session.resp == 3;
  const Part part = pairs ? Part::kPairs : values ? Part::kBoth : Part::kFields;
  const auto want = static_cast<size_t>(std::abs(count));
  const size_t words = part == Part::kBoth ? 2 : 1;
  constexpr size_t kDrawsMax = 1000;  // of a large hash at once
  if (count > 0 && want > kDrawsMax && is_large(h)) {
    const size_t n = std::min(want, size);
    c.reply.array(n * words);
    return c.reply.series(std::make_unique<Fields>(c.store, c.ns().hash(c.args[1]), h, part, n),
                          n * words);
  }
  constexpr size_t kLargeDrawsMax = 100'000;  // with repetition, of a large hash: its lock is held
  if (h && count < 0 && want > kLargeDrawsMax && is_large(h)) {
    return c.reply.error("ERR value is out of range");
  }
  if (h && count < 0 && want > kDrawsMax && !is_large(h)) {
    c.reply.array(want * words);
    return c.reply.series(std::make_unique<Draws>(c.store, h, part, want), want * words);
  }
  // Where most of it is due, or wanted, all that is there is looked at once.
  std::vector<Item> there;
  if (h && ((count > 0 && want * 3 >= size) || (*h).size(Hash::kNoTime) > 2 * size)) {
    (*h).for_each(h.now_ms(), [&](auto field, auto value) { there.emplace_back(field, value); });
  }
  const auto draw = [&] {
    if (there.empty()) return (*h).random(c.store.random(), h.now_ms());
    return there[c.store.random() % there.size()];
  };
  if (h && count < 0) {
    c.reply.array(want * words);
    for (size_t i = 0; i < want; i++) {
      const auto [field, value] = draw();
      add_item(c.reply, part, field, value);
    }
    return;
  }
  std::vector<Item> chosen;
  if (h && want * 3 < size) {
    absl::flat_hash_set<std::string_view> seen;
    while (chosen.size() < want) {
      Item item = draw();
      if (seen.insert(item.first).second) chosen.push_back(item);
    }
  } else if (h && want > 0) {
    chosen = std::move(there);
    for (size_t i = 0; i < std::min(want, chosen.size()) && want < chosen.size(); i++) {
      std::swap(chosen[i], chosen[i + c.store.random() % (chosen.size() - i)]);
    }
    if (want < chosen.size()) chosen.resize(want);
  }
  c.reply.array(chosen.size() * words);
  for (auto& [field, value] : chosen) add_item(c.reply, part, field, value);
}

// Fields and values, and after each pair when it goes, in Unix milliseconds; 0: it stays.
void reply_with_times(Context& c, const HashView& h, std::span<const std::string_view> pairs) {
  c.reply.array(pairs.size() / 2 * 3);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    c.reply.bulk(pairs[i]);
    c.reply.bulk(pairs[i + 1]);
    const auto item = h.find(pairs[i]);
    c.reply.integer(item && item->until_ms != Hash::kForEver ? item->until_ms : 0);
  }
}

void hscan(Context& c) {
  uint64_t cursor;
  if (!parse_cursor(c, c.args[2], cursor)) return;
  HashView h;
  if (!find(c, h)) return;
  const auto nothing = [&c] {
    c.reply.array(2);
    c.reply.bulk("0");
    c.reply.array(0);
  };
  if (!h) return nothing();  // before the options are looked at, as in Redis
  int64_t count = 10;
  bool values = true, times = false;  // until when they are there: no client may say that
  std::optional<Glob> match;
  for (size_t i = 3; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "novalues")) {
      values = false;
    } else if (c.session.id == kNoClient && c.args[i] == "until") {
      times = true;
    } else if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "match")) {
      match.emplace(c.args[++i]);
    } else if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "count")) {
      if (!c.integer(++i, count)) return;
      if (count < 1) return c.syntax_error();
    } else {
      return c.syntax_error();
    }
  }
  if (cursor > UINT64_MAX >> 16) return nothing();  // behind its last field
  std::vector<std::string_view> found;
  const auto limit = static_cast<size_t>(std::min(count, kScanCountMax));
  const uint64_t next = (*h).scan(cursor, limit, h.now_ms(), [&](auto field, auto value) {
    if (match && !match->matches(field)) return;
    found.push_back(field);
    if (values) found.push_back(value);
  });
  c.reply.array(2);
  c.reply.bulk(cat(next));
  if (times) return reply_with_times(c, h, found);
  c.reply.array(found.size());
  for (auto word : found) c.reply.bulk(word);
}

constexpr uint32_t kRead = kReadOnly | kFast;
constexpr uint32_t kReadAll = kReadOnly;
constexpr uint32_t kStore = kWrite | kDenyOom | kFast | kLongArgs;
constexpr std::string_view kGroup = "hash";
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr Row kRows[] = {
    {"hset", -4, kStore, kUpdatesKey, hset, nullptr, kGroup,
     "Creates or modifies the value of a field in a hash.", "2.0.0"},
    {"hmset", -4, kStore, kUpdatesKey, hmset, nullptr, kGroup,
     "Sets the values of multiple fields.", "2.0.0"},
    {"hsetnx", 4, kStore, kInsertsIntoKey, hsetnx, nullptr, kGroup,
     "Sets the value of a field in a hash only when the field doesn't exist.", "2.0.0"},
    {"hget", 3, kRead | kLongArgs, kReadsKey, hget, nullptr, kGroup,
     "Returns the value of a field in a hash.", "2.0.0"},
    {"hmget", -3, kRead | kLongArgs, kReadsKey, hmget, nullptr, kGroup,
     "Returns the values of all fields in a hash.", "2.0.0"},
    {"hdel", -3, kWrite | kFast | kLongArgs, kDeletesFromKey, hdel, nullptr, kGroup,
     "Deletes one or more fields and their values from a hash.", "2.0.0"},
    {"hlen", 2, kRead, kLooksAtKey, hlen, nullptr, kGroup,
     "Returns the number of fields in a hash.", "2.0.0"},
    {"hstrlen", 3, kRead | kLongArgs, kLooksAtKey, hstrlen, nullptr, kGroup,
     "Returns the length of the value of a field.", "3.2.0"},
    {"hexists", 3, kRead | kLongArgs, kLooksAtKey, hexists, nullptr, kGroup,
     "Determines whether a field exists in a hash.", "2.0.0"},
    {"hkeys", 2, kReadAll, kReadsKey, reply_all<Part::kFields>, nullptr, kGroup,
     "Returns all fields in a hash.", "2.0.0"},
    {"hvals", 2, kReadAll, kReadsKey, reply_all<Part::kValues>, nullptr, kGroup,
     "Returns all values in a hash.", "2.0.0"},
    {"hgetall", 2, kReadAll, kReadsKey, reply_all<Part::kBoth>, nullptr, kGroup,
     "Returns all fields and values in a hash.", "2.0.0"},
    {"hincrby", 4, kStore, kChangesKey, hincrby, nullptr, kGroup,
     "Increments the integer value of a field in a hash by a number.", "2.0.0"},
    {"hincrbyfloat", 4, kStore, kChangesKey, hincrbyfloat, nullptr, kGroup,
     "Increments the floating point value of a field by a number.", "2.6.0"},
    {"hrandfield", -2, kReadAll, kReadsKey, hrandfield, nullptr, kGroup,
     "Returns one or more random fields from a hash.", "6.2.0"},
    {"hscan", -3, kReadAll | kLongArgs, kReadsKey, hscan, nullptr, kGroup,
     "Iterates over fields and values of a hash.", "2.8.0"},
};

}  // namespace
std::span<const Row> hash_rows() { return kRows; }

}  // namespace cairn::kv
