// Ranges of sorted sets: by rank, score or member. Each is turned into ranks once, so that all that
// is done with one, LIMIT included, is arithmetic.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

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

// Part of a set as it was.
class Stretch final : public Series {
 public:
  Stretch(const SortedSet& set, const Ranks& ranks, Form form)
      : view_(set), ranks_(ranks), form_(form) {}
  bool next(Reply& reply) override {
    constexpr uint64_t kStep = 500;
    const uint64_t n = std::min(ranks_.count, kStep);
    const bool there = view_.for_each(ranks_.first, n, ranks_.down,
                                      [&](const Item& item) { reply_item(reply, form_, item); });
    ranks_.first += ranks_.down ? -n : n;
    ranks_.count -= n;
    return there && ranks_.count > 0;
  }
  bool lost() const override { return view_.lost(); }
  size_t bytes() const override { return view_.bytes(); }

 private:
  const SortedSet::View view_;
  Ranks ranks_;
  const Form form_;
};

// ZRANGE and what became part of it: `at` is the word of the key that is read.
template <By kBy, bool kDown, bool kAuto, bool kStores>
void range(Context& c) {
  constexpr size_t kAt = kStores ? 2 : 1;
  Range r;
  r.by = kBy;
  r.down = kDown;
  bool scores = false, limited = false;
  for (size_t i = kAt + 3; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    if (!kStores && equals_ignoring_case(word, "withscores")) {
      scores = true;
    } else if (equals_ignoring_case(word, "limit") && i + 2 < c.args.size()) {
      if (!c.integer(i + 1, r.offset) || !c.integer(i + 2, r.limit)) return;
      limited = r.limit != -1;
      i += 2;
    } else if (kAuto && equals_ignoring_case(word, "rev")) {
      r.down = true;
    } else if (kAuto && r.by == By::kRank && equals_ignoring_case(word, "bylex")) {
      r.by = By::kLex;
    } else if (kAuto && r.by == By::kRank && equals_ignoring_case(word, "byscore")) {
      r.by = By::kScore;
    } else {
      return c.syntax_error();
    }
  }
  if (r.by == By::kRank && limited) {
    return c.reply.error(
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
  }
  if (r.by == By::kLex && scores) {
    return c.reply.error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
  }
  const bool swapped = r.down && r.by != By::kRank;
  if (!parse_ends(c, r, swapped ? kAt + 2 : kAt + 1, swapped ? kAt + 1 : kAt + 2)) return;
  Entry* entry;
  if (!find_sorted_set(c, c.args[kAt], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  const Ranks ranks = set == nullptr ? Ranks() : resolve(r, *set);
  if constexpr (kStores) {
    std::string operation;
    if (ranks.count > 0) {
      Ranks up = ranks;
      if (up.down) up.first = ranks.first + 1 - ranks.count;
      set->for_each(up.first, up.count, false,
                    [&](const Item& item) { SortedSet::add_score(operation, item); });
    }
    if (store(c, c.args[1], operation, ranks.count)) {
      c.reply.integer(static_cast<int64_t>(ranks.count));
    }
  } else {
    c.engine.count_hit(entry != nullptr);
    if (ranks.count == 0) return c.reply.array(0);
    reply_ranks(c, *set, ranks, form_of(scores, c.session.resp));
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

template <By kBy>
void remove(Context& c) {
  Range r;
  r.by = kBy;
  if (!parse_ends(c, r, 2, 3)) return;
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const SortedSet* set = sorted_set_of(entry);
  if (set == nullptr) return c.reply.integer(0);
  const Ranks ranks = resolve(r, *set);
  if (remove_ranks(c, c.args[1], entry, ranks)) {
    c.reply.integer(static_cast<int64_t>(ranks.count));
  }
}

constexpr std::string_view kGroup = kSortedSetGroup;
constexpr KeySpec kStoresRange[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly},
                                    {.flags = kKeyReadOnly | kKeyAccess, .first = 2}};
constexpr Row kRows[] = {
    {"zrange", -4, kReadOnly, kReadsKey, range<By::kRank, false, true, false>, nullptr, kGroup,
     "Returns members in a sorted set within a range of indexes.", "1.2.0"},
    {"zrangestore", -5, kWrite | kDenyOom, kStoresRange, range<By::kRank, false, true, true>,
     nullptr, kGroup, "Stores a range of members from a sorted set in a key.", "6.2.0"},
    {"zrevrange", -4, kReadOnly, kReadsKey, range<By::kRank, true, false, false>, nullptr, kGroup,
     "Returns members in a sorted set within a range of indexes in reverse order.", "1.2.0"},
    {"zrangebyscore", -4, kReadOnly, kReadsKey, range<By::kScore, false, false, false>, nullptr,
     kGroup, "Returns members in a sorted set within a range of scores.", "1.0.5"},
    {"zrevrangebyscore", -4, kReadOnly, kReadsKey, range<By::kScore, true, false, false>, nullptr,
     kGroup, "Returns members in a sorted set within a range of scores in reverse order.", "2.2.0"},
    {"zrangebylex", -4, kReadOnly, kReadsKey, range<By::kLex, false, false, false>, nullptr, kGroup,
     "Returns members in a sorted set within a lexicographical range.", "2.8.9"},
    {"zrevrangebylex", -4, kReadOnly, kReadsKey, range<By::kLex, true, false, false>, nullptr,
     kGroup, "Returns members in a sorted set within a lexicographical range in reverse order.",
     "2.8.9"},
    {"zcount", 4, kReadOnly | kFast, kReadsKey, count<By::kScore>, nullptr, kGroup,
     "Returns the count of members in a sorted set that have scores within a range.", "2.0.0"},
    {"zlexcount", 4, kReadOnly | kFast, kReadsKey, count<By::kLex>, nullptr, kGroup,
     "Returns the number of members in a sorted set within a lexicographical range.", "2.8.9"},
    {"zremrangebyrank", 4, kWrite, kDeletesFromSortedSet, remove<By::kRank>, nullptr, kGroup,
     "Removes members in a sorted set within a range of indexes.", "2.0.0"},
    {"zremrangebyscore", 4, kWrite, kDeletesFromSortedSet, remove<By::kScore>, nullptr, kGroup,
     "Removes members in a sorted set within a range of scores.", "1.2.0"},
    {"zremrangebylex", 4, kWrite, kDeletesFromSortedSet, remove<By::kLex>, nullptr, kGroup,
     "Removes members in a sorted set within a lexicographical range.", "2.8.9"},
};

}  // namespace

void reply_ranks(Context& c, const SortedSet& set, const Ranks& ranks, Form form) {
  const uint64_t values = announce(c.reply, form, ranks.count);
  if (ranks.count > kMembersAtOnce) {
    return c.reply.series(std::make_unique<Stretch>(set, ranks, form), values);
  }
  set.for_each(ranks.first, ranks.count, ranks.down,
               [&](const Item& item) { reply_item(c.reply, form, item); });
}

std::span<const Row> sorted_set_range_rows() { return kRows; }

}  // namespace cairn::kv
