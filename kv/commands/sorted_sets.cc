// The commands on single members of sorted sets.
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/base/text.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"
#include "kv/types/glob.h"

namespace cairn::kv {

void reply_item(Reply& reply, Form form, const SortedSet::Item& item) {
  if (form == Form::kPairs) reply.array(2);
  reply.bulk(item.member);
  if (form != Form::kMembers) reply.real(item.score);
}

uint64_t announce(Reply& reply, Form form, uint64_t count) {
  const uint64_t values = form == Form::kFlat ? 2 * count : count;
  reply.array(values);
  return values;
}

std::optional<double> parse_score(std::string_view word) {
  constexpr size_t kShort = 64;
  if (word.empty() || std::isspace(static_cast<unsigned char>(word[0]))) return std::nullopt;
  if (const auto integer = word.size() < 16 ? parse_int<int64_t>(word) : std::nullopt) {
    if (*integer != 0) return static_cast<double>(*integer);  // there is a -0
  }
  char text[kShort];
  std::string long_text;
  const char* begin = text;
  if (word.size() < kShort) {
    std::memcpy(text, word.data(), word.size());
    text[word.size()] = '\0';
  } else {
    long_text = word;
    begin = long_text.c_str();
  }
  char* end;
  errno = 0;
  const double value = std::strtod(begin, &end);
  if (end != begin + word.size() || std::isnan(value)) return std::nullopt;
  if (errno == ERANGE && (std::isinf(value) || value == 0)) return std::nullopt;
  return value;
}

namespace {

constexpr std::string_view kNoFloat = "ERR value is not a valid float";

bool parse(Context& c, AddOptions& o) {
  for (; o.first < c.args.size(); o.first++) {
    const std::string_view word = c.args[o.first];
    bool* option = nullptr;
    for (auto [name, flag] :
         {std::pair("nx", &o.nx), std::pair("xx", &o.xx), std::pair("gt", &o.gt),
          std::pair("lt", &o.lt), std::pair("ch", &o.changed), std::pair("incr", &o.increment)}) {
      if (equals_ignoring_case(word, name)) option = flag;
    }
    if (option == nullptr) break;
    *option = true;
  }
  const size_t words = c.args.size() - o.first;
  if (words == 0 || words % 2 != 0) return c.syntax_error(), false;
  std::string_view error;
  if (o.nx && o.xx) {
    error = "ERR XX and NX options at the same time are not compatible";
  } else if ((o.nx && (o.gt || o.lt)) || (o.gt && o.lt)) {
    error = "ERR GT, LT, and/or NX options at the same time are not compatible";
  } else if (o.increment && words > 2) {
    error = "ERR INCR option supports a single increment-element pair";
  }
  if (!error.empty()) c.reply.error(error);
  return error.empty();
}

// What happened to one member.
enum class Done : uint8_t { kNothing, kSame, kUpdated, kAdded, kNotANumber };

// What becomes of a member that has the score `old`, or is none; `score` becomes what it has then.
Done decide(const AddOptions& o, std::optional<double> old, double& score) {
  if (!old) return o.xx ? Done::kNothing : Done::kAdded;
  if (o.nx) return Done::kNothing;
  if (o.increment) score += *old;
  if (std::isnan(score)) return Done::kNotANumber;
  if ((o.gt && score <= *old) || (o.lt && score >= *old)) return Done::kNothing;
  return score == *old ? Done::kSame : Done::kUpdated;
}

void add(Context& c, const AddOptions& o) {
  absl::InlinedVector<SortedSet::Item, 8> items;
  for (size_t i = o.first; i < c.args.size(); i += 2) {
    const auto score = parse_score(c.args[i]);
    if (!score) return c.reply.error(kNoFloat);
    items.push_back({*score, c.args[i + 1]});
  }
  add_items(c, o, {items.data(), items.size()});
}

void zadd(Context& c) {
  AddOptions o;
  if (parse(c, o)) add(c, o);
}

void zincrby(Context& c) {
  AddOptions o;
  o.increment = true;
  add(c, o);
}

void zrem(Context& c) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  if (set == nullptr) return c.reply.integer(0);
  Met gone;
  Scratch room;
  std::string& operation = room.text;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (set->score(c.args[i]) && gone.add(c.args[i])) {
      SortedSet::add_gone(operation, c.args[i]);
    }
  }
  if (gone.size() == set->size()) {  // none is empty
    if (!c.remove(c.ns(), entry)) return;
  } else if (gone.size() > 0 && !c.operate(ValueType::kSortedSet, c.args[1], entry, operation)) {
    return;
  }
  c.reply.integer(static_cast<int64_t>(gone.size()));
}

void zcard(Context& c) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  c.reply.integer(set == nullptr ? 0 : static_cast<int64_t>(set->size()));
}

void reply_score(Context& c, const SortedSet* set, std::string_view member) {
  const auto score = set == nullptr ? std::nullopt : set->score(member);
  if (score) {
    c.reply.real(*score);
  } else {
    c.reply.null();
  }
}

void zscore(Context& c) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  reply_score(c, sorted_set_of(entry), c.args[2]);
}

void zmscore(Context& c) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  c.reply.array(c.args.size() - 2);
  for (size_t i = 2; i < c.args.size(); i++) reply_score(c, sorted_set_of(entry), c.args[i]);
}

template <bool kFromHighest>
void zrank(Context& c) {
  if (c.args.size() > 4) {
    return c.reply.error(cat("ERR wrong number of arguments for '", c.row.name, "' command"));
  }
  const bool with_score = c.args.size() == 4;
  if (with_score && !equals_ignoring_case(c.args[3], "withscore")) return c.syntax_error();
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  const auto place = set == nullptr ? std::nullopt : set->place_of(c.args[2]);
  if (!place) return with_score ? c.reply.null_array() : c.reply.null();
  const uint64_t rank = kFromHighest ? set->size() - 1 - place->rank : place->rank;
  if (with_score) c.reply.array(2);
  c.reply.integer(static_cast<int64_t>(rank));
  if (with_score) c.reply.real(place->score);
}

// Members by chance, again and again, of a set as it was.
class Draws final : public Series {
 public:
  Draws(Store& store, const SortedSet& set, Form form, uint64_t count)
      : store_(store), view_(set), form_(form), left_(count) {}
  bool next(Reply& reply) override {
    constexpr int kStep = 100;
    for (int i = 0; i < kStep && left_ > 0; i++, left_--) {
      const bool there = view_.for_each(store_.random() % view_.size(), 1, false,
                                        [&](const auto& item) { reply_item(reply, form_, item); });
      if (!there) return false;
    }
    return left_ > 0;
  }
  bool lost() const override { return view_.lost(); }
  size_t bytes() const override { return view_.bytes(); }

 private:
  Store& store_;
  const SortedSet::View view_;
  const Form form_;
  uint64_t left_;
};

// So many different ones, in order, each with the same chance.
class Sample final : public Series {
 public:
  Sample(Store& store, const SortedSet& set, Form form, uint64_t count)
      : store_(store), view_(set), form_(form), want_(count) {}
  bool next(Reply& reply) override {
    constexpr uint64_t kStep = 500;
    const uint64_t n = std::min(kStep, view_.size() - at_);
    const bool there = view_.for_each(at_, n, false, [&](const auto& item) {
      if (store_.random() % (view_.size() - at_++) >= want_) return;
      reply_item(reply, form_, item);
      want_--;
    });
    return there && want_ > 0;
  }
  bool lost() const override { return view_.lost(); }
  size_t bytes() const override { return view_.bytes(); }

 private:
  Store& store_;
  const SortedSet::View view_;
  const Form form_;
  uint64_t at_ = 0, want_;
};

void zrandmember(Context& c) {
  Entry* entry;
  if (c.args.size() == 2) {
    if (!find_sorted_set(c, c.args[1], entry)) return;
    const SortedSet* set = sorted_set_of(entry);
    if (set == nullptr) return c.reply.null();
    return c.reply.bulk(set->at(c.store.random() % set->size()).member);
  }
  int64_t count;
  if (!c.integer(2, count)) return;
  if (count == INT64_MIN) {
    return c.reply.error(
        "ERR value is out of range, value must between -9223372036854775807 and "
        "9223372036854775807");
  }
  const bool scores = c.args.size() == 4;
  if (c.args.size() > 4 || (scores && !equals_ignoring_case(c.args[3], "withscores"))) {
    return c.syntax_error();
  }
  if (scores && (count < -INT64_MAX / 2 || count > INT64_MAX / 2)) {
    return c.reply.error("ERR value is out of range");
  }
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  if (set == nullptr || count == 0) return c.reply.array(0);
  const Form form = form_of(scores, c.session.resp);
  const uint64_t size = set->size();
  if (count < 0) {
    const auto want = static_cast<uint64_t>(-count);
    const uint64_t values = announce(c.reply, form, want);
    return c.reply.series(std::make_unique<Draws>(c.store, *set, form, want), values);
  }
  const uint64_t want = std::min(static_cast<uint64_t>(count), size);
  const uint64_t values = announce(c.reply, form, want);
  if (want * 3 >= size) {
    return c.reply.series(std::make_unique<Sample>(c.store, *set, form, want), values);
  }
  if (want > kMembersAtOnce) {
    return c.reply.series(std::make_unique<Sample>(c.store, *set, form, want), values);
  }
  absl::flat_hash_set<uint64_t> seen;
  while (seen.size() < want) {
    const uint64_t rank = c.store.random() % size;
    if (seen.insert(rank).second) reply_item(c.reply, form, set->at(rank));
  }
}

void zscan(Context& c) {
  uint64_t cursor;
  if (!parse_cursor(c, c.args[2], cursor)) return;
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const auto nothing = [&c] {
    c.reply.array(2);
    c.reply.bulk("0");
    c.reply.array(0);
  };
  if (entry == nullptr) return nothing();  // before the options are looked at, as in Redis
  int64_t count = 10;
  std::optional<Glob> match;
  for (size_t i = 3; i < c.args.size(); i += 2) {
    if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "match")) {
      match.emplace(c.args[i + 1]);
    } else if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "count")) {
      if (!c.integer(i + 1, count)) return;
      if (count < 1) return c.syntax_error();
    } else {
      return c.syntax_error();
    }
  }
  if (cursor > UINT64_MAX >> 16) return nothing();  // behind its last member
  std::vector<SortedSet::Item> found;
  const auto limit = static_cast<size_t>(std::min(count, kScanCountMax));
  const uint64_t next = sorted_set_of(entry)->scan(cursor, limit, [&](const SortedSet::Item& item) {
    if (!match || match->matches(item.member)) found.push_back(item);
  });
  c.reply.array(2);
  c.reply.bulk(cat(next));
  c.reply.array(2 * found.size());
  for (const auto& item : found) {
    char text[64];
    const int n = std::snprintf(text, sizeof(text), "%.17g", item.score);
    c.reply.bulk(item.member);
    c.reply.bulk({text, static_cast<size_t>(n)});
  }
}

constexpr uint32_t kRead = kReadOnly | kFast;
constexpr uint32_t kAdd = kWrite | kDenyOom | kFast | kLongArgs;
constexpr std::string_view kGroup = kSortedSetGroup;
constexpr Row kRows[] = {
    {"zadd", -4, kAdd, kUpdatesKey, zadd, nullptr, kGroup,
     "Adds one or more members to a sorted set, or updates their scores.", "1.2.0"},
    {"zincrby", 4, kAdd, kChangesKey, zincrby, nullptr, kGroup,
     "Increments the score of a member in a sorted set.", "1.2.0"},
    {"zrem", -3, kWrite | kFast | kLongArgs, kDeletesFromSortedSet, zrem, nullptr, kGroup,
     "Removes one or more members from a sorted set.", "1.2.0"},
    {"zcard", 2, kRead, kLooksAtKey, zcard, nullptr, kGroup,
     "Returns the number of members in a sorted set.", "1.2.0"},
    {"zscore", 3, kRead | kLongArgs, kReadsKey, zscore, nullptr, kGroup,
     "Returns the score of a member in a sorted set.", "1.2.0"},
    {"zmscore", -3, kRead | kLongArgs, kReadsKey, zmscore, nullptr, kGroup,
     "Returns the score of one or more members in a sorted set.", "6.2.0"},
    {"zrank", -3, kRead | kLongArgs, kReadsKey, zrank<false>, nullptr, kGroup,
     "Returns the index of a member in a sorted set ordered by ascending scores.", "2.0.0"},
    {"zrevrank", -3, kRead | kLongArgs, kReadsKey, zrank<true>, nullptr, kGroup,
     "Returns the index of a member in a sorted set ordered by descending scores.", "2.0.0"},
    {"zrandmember", -2, kReadOnly, kReadsKey, zrandmember, nullptr, kGroup,
     "Returns one or more random members from a sorted set.", "6.2.0"},
    {"zscan", -3, kReadOnly | kLongArgs, kReadsKey, zscan, nullptr, kGroup,
     "Iterates over members and scores of a sorted set.", "2.8.0"},
};

}  // namespace

void add_items(Context& c, const AddOptions& o, std::span<SortedSet::Item> items) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  absl::flat_hash_map<std::string_view, double> said;  // where one may be named twice
  int64_t added = 0, updated = 0;
  Done done = Done::kNothing;
  Scratch room;
  std::string& operation = room.text;
  for (auto& item : items) {
    std::optional<double> old;
    if (auto it = said.find(item.member); it != said.end()) {
      old = it->second;
    } else if (set != nullptr) {
      old = set->score(item.member);
    }
    done = decide(o, old, item.score);
    if (done == Done::kNotANumber) {
      return c.reply.error("ERR resulting score is not a number (NaN)");
    }
    added += done == Done::kAdded;
    updated += done == Done::kUpdated;
    if (done != Done::kAdded && done != Done::kUpdated) continue;
    SortedSet::add_score(operation, item);
    if (items.size() > 1) said[item.member] = item.score;
  }
  c.set_event(o.increment ? "zincr" : "zadd");
  if (!operation.empty() && !c.operate(ValueType::kSortedSet, c.args[1], entry, operation)) return;
  if (!o.increment) return c.reply.integer(o.changed ? added + updated : added);
  if (done == Done::kNothing) return c.reply.null();
  c.reply.real(items[0].score);
}

bool store(Context& c, std::string_view key, std::string_view operation, uint64_t count) {
  if (count == 0) {
    Entry* to = c.find(key);
    return to == nullptr || c.remove(c.ns(), to);
  }
  RecordView r;
  r.ns = c.ns().id;
  r.key = key;
  r.value = operation;
  r.flags = static_cast<uint8_t>(static_cast<unsigned>(ValueType::kSortedSet) << 4);
  return c.put(c.ns(), r);
}

std::span<const Row> sorted_set_rows() { return kRows; }

}  // namespace cairn::kv
