// Ranges of sorted sets: by rank, score or member. Each is turned into ranks once, so that all that
// is done with one, LIMIT included, is arithmetic.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/commands/store_made.h"
#include "kv/commands/turns.h"
#include "kv/engine/call_session.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

using Item = SortedSet::Item;

enum class By : uint8_t { kAny, kRank, kScore, kLex };

// An end of a range of scores or members; of one of ranks the two numbers.
struct Bound {
  double score = 0;
  std::string_view member;
  int infinite = 0;  // of members: -1 before all, 1 behind all
  bool excluded = false;
};

struct Range {
  By by = By::kRank;
  bool down = false;
  int64_t start = 0, stop = 0;  // ranks, from the end if negative
  Bound min, max;
  int64_t offset = 0, limit = -1;
};

// A word as a C string, as strtod sees it in Redis: it may be empty.
bool parse_bound(std::string_view word, Bound& bound) {
  std::string text(word.substr(0, word.find('\0')));
  const char* begin = text.c_str();
  bound.excluded = *begin == '(';
  if (bound.excluded) begin++;
  char* end;
  bound.score = std::strtod(begin, &end);
  return *end == '\0' && !std::isnan(bound.score);
}

bool parse_member(std::string_view word, Bound& bound) {
  const char kind = word.empty() ? '\0' : word[0];
  const bool alone = word.size() < 2 || word[1] == '\0';
  if (kind == '+' || kind == '-') {
    bound.infinite = kind == '+' ? 1 : -1;
    return alone;
  }
  if (kind != '(' && kind != '[') return false;
  bound.excluded = kind == '(';
  bound.member = word.substr(1);
  return true;
}

// The two words, lowest first but for ranks; answers the error.
bool parse_ends(Context& c, Range& r, size_t first, size_t second) {
  if (r.by == By::kRank) return c.integer(first, r.start) && c.integer(second, r.stop);
  if (r.by == By::kScore) {
    if (parse_bound(c.args[first], r.min) && parse_bound(c.args[second], r.max)) return true;
    c.reply.error("ERR min or max is not a float");
    return false;
  }
  if (parse_member(c.args[first], r.min) && parse_member(c.args[second], r.max)) return true;
  c.reply.error("ERR min or max not valid string range item");
  return false;
}

Ranks cut(const Range& r, uint64_t size, uint64_t from, uint64_t to) {
  Ranks ranks{0, 0, r.down};
  uint64_t count = to > from ? to - from : 0;
  if (r.offset < 0 || static_cast<uint64_t>(r.offset) >= count) return ranks;
  const auto offset = static_cast<uint64_t>(r.offset);
  count -= offset;
  if (r.limit >= 0) count = std::min(count, static_cast<uint64_t>(r.limit));
  (void)size;
  ranks.count = count;
  ranks.first = r.down ? to - 1 - offset : from + offset;
  return ranks;
}

Ranks by_rank(const Range& r, uint64_t size) {
  const auto n = static_cast<int64_t>(size);
  const int64_t start = std::max<int64_t>(r.start < 0 ? r.start + n : r.start, 0);
  const int64_t stop = std::min(r.stop < 0 ? r.stop + n : r.stop, n - 1);
  if (start > stop || start >= n) return {0, 0, r.down};
  const auto first = static_cast<uint64_t>(start), count = static_cast<uint64_t>(stop - start + 1);
  return {r.down ? size - 1 - first : first, count, r.down};
}

bool below(const Bound& min, std::string_view member) {  // not in the range for it
  if (min.infinite != 0) return min.infinite > 0;
  return min.excluded ? member <= min.member : member < min.member;
}
bool above(const Bound& max, std::string_view member) {
  if (max.infinite != 0) return max.infinite < 0;
  return max.excluded ? member >= max.member : member > max.member;
}

// Where not all scores are the same the answer is unspecified. Of a small one it is Redis's.
Ranks by_member(const Range& r, const SortedSet& set) {
  const uint64_t size = set.size();
  if (r.min.infinite > 0 || r.max.infinite < 0) return {0, 0, r.down};
  if (r.min.infinite == 0 && r.max.infinite == 0) {
    const int order = r.min.member.compare(r.max.member);
    if (order > 0 || (order == 0 && (r.min.excluded || r.max.excluded))) return {0, 0, r.down};
  }
  if (below(r.min, set.at(size - 1).member) || above(r.max, set.at(0).member)) {
    return {0, 0, r.down};
  }
  uint64_t from, to;
  if (r.down && set.is_compact()) {
    uint64_t i = size;
    from = to = size;
    bool inside = false, done = false;
    set.for_each(size - 1, size, true, [&](const Item& item) {
      i--;
      if (done) return;
      if (!inside && !above(r.max, item.member)) {
        inside = true;
        to = i + 1;
        from = to;
      }
      if (!inside) return;
      done = below(r.min, item.member);
      if (!done) from = i;
    });
    return cut(r, size, inside ? from : 0, inside ? to : 0);
  }
  from = set.count_before([&](const Item& item) { return below(r.min, item.member); });
  if (set.is_compact()) {
    uint64_t i = 0;
    to = set.count_before(
        [&](const Item& item) { return i++ < from || !above(r.max, item.member); });
  } else {
    to = set.count_before([&](const Item& item) { return !above(r.max, item.member); });
  }
  return cut(r, size, from, to);
}

Ranks resolve(const Range& r, const SortedSet& set) {
  if (r.by == By::kRank) return by_rank(r, set.size());
  if (r.by == By::kLex) return by_member(r, set);
  const uint64_t from = set.count_before([&](const Item& item) {
    return item.score < r.min.score || (r.min.excluded && item.score == r.min.score);
  });
  const uint64_t to = set.count_before([&](const Item& item) {
    return item.score < r.max.score || (!r.max.excluded && item.score == r.max.score);
  });
  return cut(r, set.size(), from, to);
}

// Answers some of them, which leave `ranks`. Where a set is only a view of what was, it may be
// gone.
template <class SomeSet>
bool reply_some(Reply& reply, const SomeSet& set, Ranks& ranks, Form form) {
  constexpr uint64_t kStep = 64;
  constexpr size_t kBytes = 256 << 10, kScoreBytes = 16;
  for (size_t bytes = 0; ranks.count > 0 && bytes < kBytes;) {
    const uint64_t n = std::min(ranks.count, kStep);
    const auto visit = [&](const Item& item) {
      reply_item(reply, form, item);
      bytes += item.member.size() + kScoreBytes;
    };
    if constexpr (std::is_same_v<SomeSet, SortedSet>) {
      set.for_each(ranks.first, n, ranks.down, visit);
    } else {
      if (!set.for_each(ranks.first, n, ranks.down, visit)) return false;
    }
    ranks.first += ranks.down ? -n : n;
    ranks.count -= n;
  }
  return true;
}

// Part of a set as it was.
class Stretch final : public Series {
 public:
  Stretch(const SortedSet& set, const Ranks& ranks, Form form)
      : view_(set), ranks_(ranks), form_(form) {}
  bool next(Reply& reply) override {
    return reply_some(reply, view_, ranks_, form_) && ranks_.count > 0;
  }
  bool lost() const override { return view_.lost(); }
  size_t bytes() const override { return view_.bytes(); }

 private:
  const SortedSet::View view_;
  Ranks ranks_;
  const Form form_;
};

// ZRANGE and what became part of it: the word `at` is the key that is read. Answers the error.
bool parse_range(Context& c, size_t at, bool any, bool stores, Range& r, bool& scores) {
  bool limited = false;
  for (size_t i = at + 3; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    if (!stores && equals_ignoring_case(word, "withscores")) {
      scores = true;
    } else if (equals_ignoring_case(word, "limit") && i + 2 < c.args.size()) {
      if (!c.integer(i + 1, r.offset) || !c.integer(i + 2, r.limit)) return false;
      limited = r.limit != -1;
      i += 2;
    } else if (any && equals_ignoring_case(word, "rev")) {
      r.down = true;
    } else if (any && r.by == By::kRank && equals_ignoring_case(word, "bylex")) {
      r.by = By::kLex;
    } else if (any && r.by == By::kRank && equals_ignoring_case(word, "byscore")) {
      r.by = By::kScore;
    } else {
      return c.syntax_error(), false;
    }
  }
  if (r.by == By::kRank && limited) {
    c.reply.error(
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
    return false;
  }
  if (r.by == By::kLex && scores && call_of(c.session) == nullptr) {  // a client, as in Redis
    c.reply.error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
    return false;
  }
  const bool swapped = r.down && r.by != By::kRank;
  return parse_ends(c, r, swapped ? at + 2 : at + 1, swapped ? at + 1 : at + 2);
}

template <By kBy, bool kDown, bool kAny>
void range(Context& c) {
  Range r;
  r.by = kBy;
  r.down = kDown;
  bool scores = false;
  if (!parse_range(c, 1, kAny, false, r, scores)) return;
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  const Ranks ranks = set == nullptr ? Ranks() : resolve(r, *set);
  if (ranks.count == 0) return c.reply.array(0);
  reply_ranks(c, *set, ranks, form_of(scores, c.session.resp));
}

// ---- ZRANGESTORE ----

// What it is to store, upwards; false after it answered the error.
bool find_source(Context& c, const SortedSet*& set, Ranks& ranks) {
  Range r;
  bool scores = false;
  if (!parse_range(c, 2, true, true, r, scores)) return false;
  Entry* entry;
  if (!find_sorted_set(c, c.args[2], entry)) return false;
  set = sorted_set_of(entry);
  if (set != nullptr) ranks = resolve(r, *set);
  if (ranks.down && ranks.count > 0) ranks.first -= ranks.count - 1;
  return true;
}

void store_at_once(Context& c, const SortedSet* set, const Ranks& ranks) {
  std::string operation;
  if (ranks.count > 0) {
    set->for_each(ranks.first, ranks.count, false,
                  [&](const Item& item) { SortedSet::add_score(operation, item); });
  }
  if (store(c, c.args[1], operation, ranks.count)) {
    c.reply.integer(static_cast<int64_t>(ranks.count));
  }
}

void zrangestore(Context& c) {
  const SortedSet* set = nullptr;
  Ranks ranks;
  if (!find_source(c, set, ranks)) return;
  const bool much =
      ranks.count > kMembersAtOnce ||
      (set != nullptr && set->image_bytes() / set->size() * ranks.count > put_at_once_max(c));
  if (much && !c.in_exec) return c.defer();
  store_at_once(c, set, ranks);
}

// Part of a set as it was, as operations.
NextPart parts_of(std::shared_ptr<const SortedSet::View> view, Ranks ranks) {
  return [view = std::move(view), ranks](uint64_t bytes) mutable -> std::optional<std::string> {
    constexpr uint64_t kStep = 100;
    std::string operation;
    while (ranks.count > 0 && operation.size() < bytes) {
      const uint64_t n = std::min(ranks.count, kStep);
      const bool there = view->for_each(ranks.first, n, false, [&](const Item& item) {
        if (operation.size() >= bytes) return;
        SortedSet::add_score(operation, item);
        ranks.first++;
        ranks.count--;
      });
      if (!there) return std::nullopt;
    }
    return operation;
  };
}

awaitable<void> zrangestore_deferred(Context& c) {
  for (int tries = 0; tries <= kTriesInTurns && !c.given_up(); tries++) {
    Lsn version;
    Ranks ranks;
    std::shared_ptr<const SortedSet::View> view;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked) co_return;
      Context::Turn turn(c, locks);
      const SortedSet* set = nullptr;
      if (!find_source(c, set, ranks)) co_return;
      // What was changed again and again is done at once, while others wait.
      if (set == nullptr || tries == kTriesInTurns) {
        if (may_write_still(c)) store_at_once(c, set, ranks);
        co_return;
      }
      view = std::make_shared<const SortedSet::View>(*set);
      version = version_at(c, c.args[1]);
    }
    const bool done = co_await store_made(c, ValueType::kSortedSet, c.args[1], version,
                                          parts_of(std::move(view), ranks), ranks.count);
    if (done) co_return;
  }
}

template <By kBy>
void count(Context& c) {
  Range r;
  r.by = kBy;
  if (!parse_ends(c, r, 2, 3)) return;
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  c.reply.integer(set == nullptr ? 0 : static_cast<int64_t>(resolve(r, *set).count));
}

// ---- ZREMRANGEBY* ----

// More than so many are removed in turns: others see the set grow smaller meanwhile. A million in
// one go stop their thread for half a second.
constexpr uint64_t kRemovedAtOnce = 10'000;

// What it is to remove; false after it answered.
template <By kBy>
bool find_range(Context& c, Entry*& entry, Ranks& ranks) {
  Range r;
  r.by = kBy;
  if (!parse_ends(c, r, 2, 3) || !find_sorted_set(c, c.args[1], entry)) return false;
  if (entry != nullptr) ranks = resolve(r, *sorted_set_of(entry));
  return true;
}

template <By kBy>
void remove(Context& c) {
  Entry* entry;
  Ranks ranks;
  if (!find_range<kBy>(c, entry, ranks)) return;
  if (ranks.count > kRemovedAtOnce && ranks.count < sorted_set_of(entry)->size() && !c.in_exec) {
    return c.defer();
  }
  if (ranks.count == 0 || remove_ranks(c, c.args[1], entry, ranks)) {
    c.reply.integer(static_cast<int64_t>(ranks.count));
  }
}

// What stood in the range when the command began, from a first item to a last.
struct Removal {
  double first_score, last_score;
  std::string first_member, last_member;
  uint64_t left, done = 0;

  Removal(const SortedSet& set, const Ranks& ranks) : left(ranks.count) {
    const Item first = set.at(ranks.first), last = set.at(ranks.first + ranks.count - 1);
    first_score = first.score;
    first_member = first.member;
    last_score = last.score;
    last_member = last.member;
  }
  // Where the next stand now, at most as many as are left.
  Ranks next(const SortedSet& set) const {
    constexpr uint64_t kATurn = 1000;
    const Item first{first_score, first_member}, last{last_score, last_member};
    const uint64_t from = set.count_before([&](const Item& i) { return i < first; });
    const uint64_t to = set.count_before([&](const Item& i) { return !(last < i); });
    return {from, std::min({to - std::min(from, to), left, kATurn})};
  }
};

// False when nothing is left to be done.
template <By kBy>
bool remove_turn(Context& c, StripeLocks& locks, std::optional<Removal>& removal) {
  Context::Turn turn(c, locks);
  Entry* entry;
  Ranks ranks;
  if (!removal) {
    if (!find_range<kBy>(c, entry, ranks)) return false;
    if (ranks.count == 0) return c.reply.integer(0), false;
    removal.emplace(*sorted_set_of(entry), ranks);
  } else {
    entry = c.find(c.args[1]);
    if (entry != nullptr && entry->type() != ValueType::kSortedSet) entry = nullptr;
  }
  if (entry != nullptr) ranks = removal->next(*sorted_set_of(entry));
  if (entry == nullptr || ranks.count == 0) {
    return c.reply.integer(static_cast<int64_t>(removal->done)), false;
  }
  const bool done = may_write_still(c) && remove_ranks(c, c.args[1], entry, ranks);
  if (!done || !turn.commit()) return false;
  removal->done += ranks.count;
  removal->left -= ranks.count;
  if (removal->left == 0) c.reply.integer(static_cast<int64_t>(removal->done));
  return removal->left > 0;
}

template <By kBy>
awaitable<void> remove_deferred(Context& c) {
  std::optional<Removal> removal;
  while (!c.given_up()) {
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked || !remove_turn<kBy>(c, locks, removal)) co_return;
    }
    co_await between_turns(c);
  }
}

constexpr std::string_view kGroup = kSortedSetGroup;
constexpr KeySpec kStoresRange[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly},
                                    {.flags = kKeyReadOnly | kKeyAccess, .first = 2}};
constexpr Row kRows[] = {
    {"zrange", -4, kReadOnly | kLongArgs, kReadsKey, range<By::kRank, false, true>, nullptr, kGroup,
     "Returns members in a sorted set within a range of indexes.", "1.2.0"},
    {"zrangestore", -5, kWrite | kDenyOom | kLongArgs, kStoresRange, zrangestore,
     zrangestore_deferred, kGroup, "Stores a range of members from a sorted set in a key.",
     "6.2.0"},
    {"zrevrange", -4, kReadOnly, kReadsKey, range<By::kRank, true, false>, nullptr, kGroup,
     "Returns members in a sorted set within a range of indexes in reverse order.", "1.2.0"},
    {"zrangebyscore", -4, kReadOnly, kReadsKey, range<By::kScore, false, false>, nullptr, kGroup,
     "Returns members in a sorted set within a range of scores.", "1.0.5"},
    {"zrevrangebyscore", -4, kReadOnly, kReadsKey, range<By::kScore, true, false>, nullptr, kGroup,
     "Returns members in a sorted set within a range of scores in reverse order.", "2.2.0"},
    {"zrangebylex", -4, kReadOnly | kLongArgs, kReadsKey, range<By::kLex, false, false>, nullptr,
     kGroup, "Returns members in a sorted set within a lexicographical range.", "2.8.9"},
    {"zrevrangebylex", -4, kReadOnly | kLongArgs, kReadsKey, range<By::kLex, true, false>, nullptr,
     kGroup, "Returns members in a sorted set within a lexicographical range in reverse order.",
     "2.8.9"},
    {"zcount", 4, kReadOnly | kFast, kReadsKey, count<By::kScore>, nullptr, kGroup,
     "Returns the count of members in a sorted set that have scores within a range.", "2.0.0"},
    {"zlexcount", 4, kReadOnly | kFast | kLongArgs, kReadsKey, count<By::kLex>, nullptr, kGroup,
     "Returns the number of members in a sorted set within a lexicographical range.", "2.8.9"},
    {"zremrangebyrank", 4, kWrite, kDeletesFromSortedSet, remove<By::kRank>,
     remove_deferred<By::kRank>, kGroup,
     "Removes members in a sorted set within a range of indexes.", "2.0.0"},
    {"zremrangebyscore", 4, kWrite, kDeletesFromSortedSet, remove<By::kScore>,
     remove_deferred<By::kScore>, kGroup,
     "Removes members in a sorted set within a range of scores.", "1.2.0"},
    {"zremrangebylex", 4, kWrite | kLongArgs, kDeletesFromSortedSet, remove<By::kLex>,
     remove_deferred<By::kLex>, kGroup,
     "Removes members in a sorted set within a lexicographical range.", "2.8.9"},
};

}  // namespace

void reply_ranks(Context& c, const SortedSet& set, const Ranks& ranks, Form form) {
  const uint64_t values = announce(c.reply, form, ranks.count);
  if (ranks.count == 0) return;
  Ranks rest = ranks;
  reply_some(c.reply, set, rest, form);
  if (rest.count == 0) return;
  const uint64_t left = values / ranks.count * rest.count;
  c.reply.series(std::make_unique<Stretch>(set, rest, form), left);
}

std::span<const Row> sorted_set_range_rows() { return kRows; }

}  // namespace cairn::kv
