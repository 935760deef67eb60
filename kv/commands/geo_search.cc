// GEOSEARCH and what came before it: members within an area.
//
// An area is turned into ranges of scores (geo::cells_of), those into ranks; the members that stand
// there are looked at. Where they are few this is done in place, and inside an EXEC always.
// Otherwise it is done in turns over the set as it was at one moment, as the algebra of sorted sets
// is done (sorted_set_algebra.cc).
//
// Members that are equally far are answered in the order in which they were found. In 7.0.15 that
// is so too, unless COUNT leaves some of more than six out: then it is by chance of its sort. It
// misses members across a pole and on the edges of the grid, which are found here.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <deque>

#include "core/base/text.h"
#include "kv/commands/geo.h"
#include "kv/commands/run_sort.h"
#include "kv/commands/store_made.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

// ---- the question ----

enum class Kind : uint8_t { kRadius, kRadiusByMember, kSearch, kSearchStore };
enum class Order : uint8_t { kNone, kNearest, kFarthest };

struct Question {
  Kind kind;
  bool may_store;
  geo::Area area;
  Order order = Order::kNone;
  uint64_t most = UINT64_MAX;
  bool any = false;  // so many of them as are found first
  bool with_distance = false, with_hash = false, with_place = false;
  size_t store_at = 0;  // the word of the destination; 0: it is answered
  bool store_distance = false;
  // Which the words have said already.
  bool centered = false, from_member = false, shaped = false, counted = false;

  bool is_search() const { return kind == Kind::kSearch || kind == Kind::kSearchStore; }
  size_t source_at() const { return kind == Kind::kSearchStore ? 2 : 1; }
};

bool parse_number(Context& c, size_t i, double& value, std::string_view error) {
  const auto parsed = parse_score(c.args[i]);
  if (!parsed) return c.reply.error(error), false;
  value = *parsed;
  return true;
}

bool parse_radius(Context& c, Question& q, size_t i) {
  if (!parse_number(c, i, q.area.radius, "ERR need numeric radius")) return false;
  if (q.area.radius < 0) return c.reply.error("ERR radius cannot be negative"), false;
  q.shaped = true;
  return parse_unit(c, c.args[i + 1], q.area.unit);
}

bool parse_box(Context& c, Question& q, size_t i) {
  if (!parse_number(c, i, q.area.width, "ERR need numeric width")) return false;
  if (!parse_number(c, i + 1, q.area.height, "ERR need numeric height")) return false;
  if (q.area.width < 0 || q.area.height < 0) {
    return c.reply.error("ERR height or width cannot be negative"), false;
  }
  q.shaped = q.area.is_box = true;
  return parse_unit(c, c.args[i + 2], q.area.unit);
}

// Without a set the answer is known, but for what is wrong with the words that follow.
bool parse_member(Context& c, Question& q, const SortedSet* set, size_t i) {
  q.centered = q.from_member = true;
  if (set == nullptr) return true;
  const auto place = place_in(set, c.args[i]);
  if (!place) return c.reply.error("ERR could not decode requested zset member"), false;
  q.area.center = *place;
  return true;
}

bool parse_count(Context& c, Question& q, size_t i) {
  int64_t count;
  if (!c.integer(i, count)) return false;
  if (count <= 0) return c.reply.error("ERR COUNT must be > 0"), false;
  q.most = static_cast<uint64_t>(count);
  q.counted = true;
  return true;
}

// A word that stands alone; false: it is none.
bool parse_plain(Question& q, std::string_view word) {
  if (equals_ignoring_case(word, "withdist")) return q.with_distance = true;
  if (equals_ignoring_case(word, "withhash")) return q.with_hash = true;
  if (equals_ignoring_case(word, "withcoord")) return q.with_place = true;
  if (equals_ignoring_case(word, "any")) return q.any = true;
  if (equals_ignoring_case(word, "asc")) return q.order = Order::kNearest, true;
  if (equals_ignoring_case(word, "desc")) return q.order = Order::kFarthest, true;
  if (q.kind != Kind::kSearchStore || !equals_ignoring_case(word, "storedist")) return false;
  return q.store_distance = true;
}

bool parse_options(Context& c, Question& q, const SortedSet* set, size_t i) {
  while (i < c.args.size()) {
    const std::string_view word = c.args[i];
    const size_t left = c.args.size() - i - 1;
    const bool dist = equals_ignoring_case(word, "storedist");
    if (parse_plain(q, word)) {
      i += 1;
    } else if (left >= 1 && equals_ignoring_case(word, "count")) {
      if (!parse_count(c, q, i + 1)) return false;
      i += 2;
    } else if (!q.is_search()) {
      if (!q.may_store || left < 1 || !(dist || equals_ignoring_case(word, "store"))) {
        return c.syntax_error(), false;
      }
      q.store_at = i + 1;
      q.store_distance = dist;
      i += 2;
    } else if (left >= 1 && equals_ignoring_case(word, "frommember") &&
               (!q.centered || q.from_member)) {
      if (!parse_member(c, q, set, i + 1)) return false;
      i += 2;
    } else if (left >= 2 && equals_ignoring_case(word, "fromlonlat") && !q.from_member) {
      if (!parse_place(c, i + 1, q.area.center)) return false;
      q.centered = true;
      i += 3;
    } else if (left >= 2 && equals_ignoring_case(word, "byradius") && !q.area.is_box) {
      if (!parse_radius(c, q, i + 1)) return false;
      i += 3;
    } else if (left >= 3 && equals_ignoring_case(word, "bybox") && (!q.shaped || q.area.is_box)) {
      if (!parse_box(c, q, i + 1)) return false;
      i += 4;
    } else {
      return c.syntax_error(), false;
    }
  }
  return true;
}

bool names(const Context& c, size_t word) {
  const auto& keys = c.request.keys;
  return std::any_of(keys.begin(), keys.end(), [&](const Key& k) { return k.word == word; });
}

bool check(Context& c, const Question& q) {
  const std::string_view name = c.args[0].substr(0, c.args[0].find('\0'));
  std::string error;
  if (q.store_at != 0 && (q.with_distance || q.with_hash || q.with_place)) {
    error = cat("ERR ", q.is_search() ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS",
                " is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
  } else if (q.is_search() && !q.centered) {
    error = cat("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ", name);
  } else if (q.is_search() && !q.shaped) {
    error = cat("ERR exactly one of BYRADIUS and BYBOX can be specified for ", name);
  } else if (q.store_at != 0 && !names(c, q.store_at)) {
    error = "ERR syntax error";  // it is not what was locked
  } else if (q.any && !q.counted) {
    error = "ERR the ANY argument requires COUNT argument";
  }
  if (!error.empty()) c.reply.error(error);
  return error.empty();
}

// With the keys locked; `set` becomes null where there is none.
bool parse(Context& c, Question& q, const SortedSet*& set) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[q.source_at()], entry)) return false;
  set = sorted_set_of(entry);
  size_t options = q.source_at() + 1;
  if (q.kind == Kind::kRadius) {
    if (!parse_place(c, 2, q.area.center) || !parse_radius(c, q, 4)) return false;
    options = 6;
  } else if (q.kind == Kind::kRadiusByMember) {
    if (!parse_member(c, q, set, 2)) return false;
    if (set != nullptr && !parse_radius(c, q, 3)) return false;
    options = 5;
  } else if (q.kind == Kind::kSearchStore) {
    q.store_at = 1;
  }
  if (!parse_options(c, q, set, options) || !check(c, q)) return false;
  if (q.counted && q.order == Order::kNone && !q.any) q.order = Order::kNearest;
  return true;
}

// ---- the search ----

struct Point {
  double distance, score;  // meters; its place
  std::string_view member;
};
struct Nearer {
  bool farthest = false;
  bool operator()(const Point& a, const Point& b) const {
    return farthest ? b.distance < a.distance : a.distance < b.distance;
  }
};

// Where members of the area may stand, and those that were found there; their names are its own.
class Search {
 public:
  Search(const Question& q, const SortedSet& set)
      : area_(q.area),
        most_(q.any ? q.most : UINT64_MAX),
        sorts_(q.order != Order::kNone),
        found_(Nearer{q.order == Order::kFarthest}) {
    const auto below = [&](double score) {
      return set.count_before([&](const auto& item) { return item.score < score; });
    };
    for (const geo::Scores& scores : geo::cells_of(area_)) {
      const uint64_t first = below(scores.first), end = below(scores.end);
      if (end <= first) continue;
      stretches_.push_back({first, end - first});
      cost_ += end - first;
    }
  }
  // How many members have to be looked at, at most.
  uint64_t cost() const { return cost_; }
  uint64_t found_most() const { return std::min(cost_, most_); }
  static uint64_t bytes_for(uint64_t count, uint64_t name_bytes) {
    return name_bytes + count * (RunSort<Point, Nearer>::kBytesEach + 2 * sizeof(SortedSet::Item));
  }

  // Looks at some more; false when it has looked at all. `lost`: they cannot be had any more.
  template <class Source>
  bool step(const Source& set, bool& lost) {
    constexpr uint64_t kStep = 1000;
    if (at_ == stretches_.size() || found_.size() >= most_) return false;
    auto& [first, count] = stretches_[at_];
    const uint64_t n = std::min(count, kStep);
    lost = !look(set, first, n);
    first += n;
    count -= n;
    if (count == 0) at_++;
    return !lost;
  }
  bool sort_some() { return sorts_ && found_.sort_some(); }
  size_t size() const { return found_.size(); }
  const Point& take() { return sorts_ ? found_.take() : found_.items()[taken_++]; }

 private:
  void look_at(const SortedSet::Item& item) {
    double distance;
    if (found_.size() >= most_ || !area_.contains(geo::place_of(item.score), distance)) return;
    found_.add({distance, item.score, keep(item.member)});
  }
  bool look(const SortedSet& set, uint64_t first, uint64_t n) {
    set.for_each(first, n, false, [&](const auto& item) { look_at(item); });
    return true;
  }
  bool look(const SortedSet::View& set, uint64_t first, uint64_t n) {
    return set.for_each(first, n, false, [&](const auto& item) { look_at(item); });
  }
  std::string_view keep(std::string_view member) {
    constexpr size_t kStretch = 64 << 10, kFirst = 1 << 10;
    if (names_.empty() || names_.back().capacity() - names_.back().size() < member.size()) {
      const size_t room = names_.empty() ? kFirst : kStretch;
      names_.emplace_back().reserve(std::max(room, member.size()));
    }
    std::string& names = names_.back();
    names.append(member);
    return std::string_view(names).substr(names.size() - member.size());
  }

  const geo::Area area_;
  const uint64_t most_;
  const bool sorts_;
  std::vector<std::pair<uint64_t, uint64_t>> stretches_;  // a rank, and how many from there on
  uint64_t cost_ = 0;
  size_t at_ = 0, taken_ = 0;
  std::deque<std::string> names_;
  RunSort<Point, Nearer> found_;
};

// ---- the answer ----

void reply_point(Reply& reply, const Question& q, const Point& p) {
  const size_t more = size_t{q.with_distance} + size_t{q.with_hash} + size_t{q.with_place};
  if (more > 0) reply.array(1 + more);
  reply.bulk(p.member);
  if (q.with_distance) reply.bulk(geo::format_distance(p.distance / q.area.unit));
  if (q.with_hash) reply.integer(static_cast<int64_t>(p.score));
  if (q.with_place) reply_place(reply, geo::place_of(p.score));
}

class Points final : public Series {
 public:
  Points(const Question& q, std::unique_ptr<Search> search, std::unique_ptr<Workspace::Share> share,
         uint64_t count)
      : question_(q), search_(std::move(search)), share_(std::move(share)), left_(count) {}
  bool next(Reply& reply) override {
    constexpr int kStep = 200;
    for (int i = 0; i < kStep && left_ > 0; i++, left_--) {
      reply_point(reply, question_, search_->take());
    }
    return left_ > 0;
  }

 private:
  const Question question_;
  const std::unique_ptr<Search> search_;
  const std::unique_ptr<Workspace::Share> share_;
  uint64_t left_;
};

uint64_t count_of(const Question& q, const Search& search) {
  return std::min<uint64_t>(search.size(), q.most);
}

void answer(Context& c, const Question& q, std::unique_ptr<Search> search,
            std::unique_ptr<Workspace::Share> share) {
  const uint64_t n = count_of(q, *search);
  c.reply.array(n);
  if (share != nullptr && n > kMembersAtOnce) {
    return c.reply.series(std::make_unique<Points>(q, std::move(search), std::move(share), n), n);
  }
  for (uint64_t i = 0; i < n; i++) reply_point(c.reply, q, search->take());
}

// What is to be stored, in its order; the members' names are those of the search.
class Stored {
 public:
  Stored(const Question& q, std::unique_ptr<Search> search)
      : search_(std::move(search)),
        count_(count_of(q, *search_)),
        unit_(q.store_distance ? q.area.unit : 0) {
    items_.reserve(count_);
  }
  // Step by step; false when they are in order.
  bool sort_some() {
    constexpr uint64_t kStep = 1000;
    if (items_.size() == count_) return items_.sort_some();
    const uint64_t end = std::min(count_, items_.size() + kStep);
    while (items_.size() < end) {
      const Point& p = search_->take();
      items_.add({unit_ != 0 ? p.distance / unit_ : p.score, p.member});
    }
    return true;
  }
  uint64_t size() const { return count_; }
  const SortedSet::Item& take() { return items_.take(); }

 private:
  const std::unique_ptr<Search> search_;
  const uint64_t count_;
  const double unit_;  // 0: their places are stored
  RunSort<SortedSet::Item, std::less<>> items_;
};

void answer_nothing(Context& c, const Question& q) {
  if (q.store_at == 0) return c.reply.array(0);
  if (store(c, c.args[q.store_at], {}, 0)) c.reply.integer(0);
}

void answer_at_once(Context& c, const Question& q, const SortedSet& set,
                    std::unique_ptr<Search> search) {
  bool lost = false;
  while (search->step(set, lost)) {
  }
  while (search->sort_some()) {
  }
  if (q.store_at == 0) return answer(c, q, std::move(search), nullptr);
  Stored stored(q, std::move(search));
  while (stored.sort_some()) {
  }
  const uint64_t n = stored.size();
  std::string operation;
  for (uint64_t i = 0; i < n; i++) SortedSet::add_score(operation, stored.take());
  if (store(c, c.args[q.store_at], operation, n)) c.reply.integer(static_cast<int64_t>(n));
}

// About how many bytes so many of its members take.
uint64_t bytes_of(const SortedSet& set, uint64_t count) {
  return (set.image_bytes() / set.size() + 1) * count;
}

template <Kind kKind, bool kMayStore>
void run(Context& c) {
  constexpr uint64_t kInPlaceMax = 10'000;
  Question q{kKind, kMayStore, {}};
  const SortedSet* set;
  if (!parse(c, q, set)) return;
  if (set == nullptr) return answer_nothing(c, q);
  auto search = std::make_unique<Search>(q, *set);
  const bool much =
      search->cost() > kInPlaceMax || bytes_of(*set, search->found_most()) > put_at_once_max(c);
  if (much && !c.in_exec) return c.defer();
  answer_at_once(c, q, *set, std::move(search));
}

// ---- in turns ----

// A search in a set as it was.
struct Begun {
  Question question;
  SortedSet::View view;
  std::unique_ptr<Search> search;
  std::unique_ptr<Workspace::Share> share;  // memory for it
  Lsn version;                              // of the destination
};

// In the set as it is now; nothing after it answered.
awaitable<std::optional<Begun>> begin(Context& c, const Question& blank) {
  std::unique_ptr<Workspace::Share> share;
  for (;;) {  // nothing is held by who waits; what is there may change meanwhile
    uint64_t bytes = 0;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked) co_return std::nullopt;
      Context::Turn turn(c, locks);
      Begun begun{blank, SortedSet::View(), nullptr, nullptr, Lsn()};
      Question& q = begun.question;
      const SortedSet* set;
      if (!parse(c, q, set)) co_return std::nullopt;
      if (set == nullptr) {
        if (q.store_at == 0 || may_write_still(c)) answer_nothing(c, q);
        co_return std::nullopt;
      }
      begun.search = std::make_unique<Search>(q, *set);
      const uint64_t found = begun.search->found_most();
      bytes = Search::bytes_for(found, 2 * bytes_of(*set, found));
      if (share != nullptr && bytes <= share->bytes()) {
        begun.view = SortedSet::View(*set);
        begun.share = std::move(share);
        if (q.store_at != 0) begun.version = version_at(c, c.args[q.store_at]);
        co_return begun;
      }
    }
    share.reset();
    share = co_await c.workspace(bytes);
    if (share == nullptr) co_return std::nullopt;
  }
}

// False after an answer.
awaitable<bool> look_in_turns(Context& c, const SortedSet::View& set, Search& search) {
  const auto executor = co_await asio::this_coro::executor;
  bool lost = false;
  while (search.step(set, lost)) {
    if (c.given_up()) co_return false;
    co_await asio::post(executor, asio::use_awaitable);
  }
  if (lost) c.reply.error("ERR the values change faster than they can be read");
  while (!lost && search.sort_some()) co_await asio::post(executor, asio::use_awaitable);
  co_return !lost;
}

// False if what it is to take the place of was changed.
awaitable<bool> in_turns(Context& c, const Question& blank) {
  auto begun = co_await begin(c, blank);
  if (!begun) co_return true;
  const Question& q = begun->question;
  const bool looked = co_await look_in_turns(c, begun->view, *begun->search);
  if (!looked) co_return true;
  begun->view = SortedSet::View();  // a change need not keep anything for it
  if (q.store_at == 0) {
    answer(c, q, std::move(begun->search), std::move(begun->share));
    co_return true;
  }
  auto stored = std::make_shared<Stored>(q, std::move(begun->search));
  const auto executor = co_await asio::this_coro::executor;
  while (stored->sort_some()) co_await asio::post(executor, asio::use_awaitable);
  const uint64_t count = stored->size();
  co_return co_await store_made(c, ValueType::kSortedSet, c.args[q.store_at], begun->version,
                                parts_of(std::move(stored)), count);
}

template <Kind kKind, bool kMayStore>
awaitable<void> run_deferred(Context& c) {
  Question blank{kKind, kMayStore, {}};
  for (int tries = 0; tries < kTriesInTurns; tries++) {
    if (c.given_up()) co_return;
    const bool done = co_await in_turns(c, blank);
    if (done) co_return;
  }
  // Nobody may change them any more: then others wait for once.
  StripeLocks locks(c.store);
  const bool locked = co_await lock_keys(c, locks);
  if (!locked) co_return;
  Context::Turn turn(c, locks);
  const SortedSet* set;
  if (!may_write_still(c) || !parse(c, blank, set)) co_return;
  if (set == nullptr) co_return answer_nothing(c, blank);
  answer_at_once(c, blank, *set, std::make_unique<Search>(blank, *set));
}

constexpr KeySpec kSearchStores[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly},
                                     {.flags = kKeyReadOnly | kKeyAccess, .first = 2}};
constexpr KeySpec::Option kBesideStore[] = {{"count", 1}, {"storedist", 1}};
constexpr KeySpec::Option kBesideStoreDist[] = {{"count", 1}, {"store", 1}};
constexpr KeySpec stores(int from) {
  return {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly,
          .first = from,
          .keyword = "STORE",
          .options = kBesideStore,
          .last_counts = true};
}
constexpr KeySpec stores_distances(int from) {
  KeySpec spec = stores(from);
  spec.keyword = "STOREDIST";
  spec.options = kBesideStoreDist;
  return spec;
}
constexpr KeySpec kRadiusStores[] = {
    {.flags = kKeyReadOnly | kKeyAccess}, stores(6), stores_distances(6)};
constexpr KeySpec kRadiusByMemberStores[] = {
    {.flags = kKeyReadOnly | kKeyAccess}, stores(5), stores_distances(5)};

template <Kind kKind, bool kMayStore>
constexpr Row row(std::string_view name, int arity, std::span<const KeySpec> keys,
                  std::string_view summary, std::string_view since) {
  return {name,
          arity,
          (kMayStore ? kWrite | kDenyOom : uint32_t{kReadOnly}) | kLongArgs,
          keys,
          run<kKind, kMayStore>,
          run_deferred<kKind, kMayStore>,
          kGeoGroup,
          summary,
          since};
}
constexpr Row kRows[] = {
    row<Kind::kSearch, false>(
        "geosearch", -7, kReadsKey,
        "Queries a geospatial index for members inside an area of a box or a circle.", "6.2.0"),
    row<Kind::kSearchStore, true>("geosearchstore", -8, kSearchStores,
                                  "Queries a geospatial index for members inside an area of a box "
                                  "or a circle, and stores the result.",
                                  "6.2.0"),
    row<Kind::kRadius, true>("georadius", -6, kRadiusStores,
                             "Queries a geospatial index for members within a distance from a "
                             "coordinate, optionally stores the result.",
                             "3.2.0"),
    row<Kind::kRadius, false>(
        "georadius_ro", -6, kReadsKey,
        "Returns members from a geospatial index that are within a distance from a coordinate.",
        "3.2.10"),
    row<Kind::kRadiusByMember, true>("georadiusbymember", -5, kRadiusByMemberStores,
                                     "Queries a geospatial index for members within a distance "
                                     "from a member, optionally stores the result.",
                                     "3.2.0"),
    row<Kind::kRadiusByMember, false>(
        "georadiusbymember_ro", -5, kReadsKey,
        "Returns members from a geospatial index that are within a distance from a member.",
        "3.2.10"),
};

}  // namespace
std::span<const Row> geo_search_rows() { return kRows; }

}  // namespace cairn::kv
