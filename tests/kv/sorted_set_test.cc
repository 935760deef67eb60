// Laws of the sorted set type, over generated operations beside a simple model.
#include "kv/types/sorted_set.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

namespace cairn::kv {
namespace {

using Item = SortedSet::Item;
using Scores = std::map<std::string, double>;

Scores scores_of(const SortedSet& set) {
  Scores all;
  set.for_each([&](const Item& item) { all[std::string(item.member)] = item.score; });
  return all;
}

struct Random {
  std::mt19937_64 rng{7};
  SortedSet set{1};
  Scores model;

  uint64_t pick(uint64_t n) { return rng() % n; }
  double score() {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    const double some[] = {0,     -0.0,   1.5,  0.1, 0.1F, kInf,  -kInf,
                           1e300, 1e-300, -127, 128, -128, 40000, -3e9};
    return pick(4) == 0 ? some[pick(std::size(some))] : static_cast<double>(pick(50));
  }
  // One of any kind, already done to the model.
  std::string operation(uint64_t names, size_t size_max) {
    std::string o;
    const uint64_t kind = pick(40);
    if (kind == 0 && !model.empty()) {
      const double a = score(), b = a + static_cast<double>(pick(3));
      o = SortedSet::range_gone({a, "m2"}, {b, "m7"});
      std::erase_if(model, [&](auto& m) {
        const Item item{m.second, m.first};
        return !(item < Item{a, "m2"}) && !(Item{b, "m7"} < item);
      });
      return o;
    }
    for (uint64_t i = 1 + pick(3); i > 0; i--) {
      std::string member = "m" + std::to_string(pick(names));
      if (size_max > 0 && pick(100) == 0) member.append(pick(size_max), 'x');
      if (kind < 12) {
        SortedSet::add_gone(o, member);
        model.erase(member);
      } else {
        const double s = score();
        SortedSet::add_score(o, {s, member});
        model[member] = s;
      }
    }
    return o;
  }
  void step(uint64_t names, size_t size_max = 0) {
    ASSERT_TRUE(set.apply(operation(names, size_max)));
  }
  std::vector<Item> order() const {
    std::vector<Item> items;
    for (auto& [member, score] : model) items.push_back({score, member});
    std::sort(items.begin(), items.end());
    return items;
  }
  void check() {
    const auto items = order();
    ASSERT_EQ(set.size(), items.size());
    size_t i = 0;
    set.for_each([&](const Item& item) {
      ASSERT_EQ(item.member, items[i].member);
      ASSERT_EQ(item.score, items[i].score);
      ASSERT_EQ(std::signbit(item.score), std::signbit(items[i].score));
      i++;
    });
    for (int k = 0; k < 20 && !items.empty(); k++) {
      const uint64_t rank = pick(items.size());
      const auto place = set.place_of(items[rank].member);
      ASSERT_TRUE(place.has_value());
      ASSERT_EQ(place->rank, rank);
      ASSERT_EQ(set.at(rank).member, items[rank].member);
      ASSERT_EQ(set.count_before([&](const Item& item) { return item < items[rank]; }), rank);
      const uint64_t count = 1 + pick(rank + 1);
      uint64_t at = rank + 1;
      set.for_each(rank, count, true,
                   [&](const Item& item) { ASSERT_EQ(item.member, items[--at].member); });
      ASSERT_EQ(at, rank + 1 - count);
    }
    ASSERT_FALSE(set.score("other"));
  }
};

TEST(SortedSet, HoldsWhatAMapHoldsInOrderSmallAndLarge) {
  for (uint64_t names : {5, 120, 3000}) {
    Random r;
    for (int i = 0; i < 10000; i++) {
      r.step(names, 300);
      if (i % (names > 1000 ? 500 : 50) == 0) r.check();
    }
    r.check();
    SortedSet copy(99);
    ASSERT_TRUE(copy.apply(r.set.image()));
    EXPECT_EQ(scores_of(copy), r.model);
  }
}

TEST(SortedSet, AnInverseBringsBackWhatWas) {
  for (uint64_t names : {5, 1000}) {
    Random r;
    for (int i = 0; i < 2000; i++) r.step(names);
    for (int i = 0; i < 2000; i++) {
      const Scores before = r.model;
      const std::string operation = r.operation(names, 100);
      std::vector<std::string> undo;
      r.set.inverse(operation, undo);
      ASSERT_TRUE(r.set.apply(operation));
      for (auto& o : undo) ASSERT_TRUE(r.set.apply(o));
      r.model = before;
      if (i % 50 == 0) r.check();
    }
    r.check();
  }
}

// What the cleaner and a checkpoint rely on: parts and the operations between them, in order.
TEST(SortedSet, PartsWithChangesBetweenThemMakeAnEqualOne) {
  Random r;
  for (int i = 0; i < 30000; i++) r.step(3000, 50);
  SortedSet copy(99);
  uint64_t cursor = 0;
  int parts = 0;
  do {
    std::string part;
    cursor = r.set.save(cursor, 2000, part);
    EXPECT_LE(part.size(), 4000U);
    ASSERT_TRUE(copy.apply(part));
    parts++;
    for (int i = 0; i < 20; i++) {
      const std::string operation = r.operation(3000, 50);
      ASSERT_TRUE(r.set.apply(operation));
      ASSERT_TRUE(copy.apply(operation));
    }
  } while (cursor != 0);
  EXPECT_GT(parts, 5);
  EXPECT_EQ(scores_of(copy), r.model);
}

TEST(SortedSet, OperationsThatAreReplayedAgainWithAllLaterOnesChangeNothing) {
  for (uint64_t names : {20, 500}) {
    Random r;
    std::vector<std::string> log;
    for (int i = 0; i < 3000; i++) {
      log.push_back(r.operation(names, 0));
      ASSERT_TRUE(r.set.apply(log.back()));
    }
    for (int i = 0; i < 10; i++) {
      for (size_t at = r.pick(log.size()); at < log.size(); at++) {
        ASSERT_TRUE(r.set.apply(log[at]));
      }
      r.check();
    }
  }
}

TEST(SortedSet, AViewStaysWhatItWasWhateverBecomesOfIt) {
  for (uint64_t names : {50, 3000}) {
    for (int lives : {1000, 5}) {  // steps until it is destroyed
      Random r;
      for (int i = 0; i < 10000; i++) r.step(names);
      auto set = std::make_unique<SortedSet>(3);
      ASSERT_TRUE(set->apply(r.set.image()));
      std::vector<std::pair<Scores, SortedSet::View>> views;
      for (int n = 0; n < 20; n++) {
        if (n == lives) set.reset();
        if (set != nullptr) {
          views.emplace_back(r.model, SortedSet::View(*set));
          EXPECT_EQ(set->in_use(), !set->is_compact());
        }
        for (int i = 0; i < 200 && set != nullptr; i++) {
          ASSERT_TRUE(set->apply(r.operation(names, 0)));
        }
        if (n % 3 == 2 && !views.empty())
          views.erase(views.begin() + static_cast<ptrdiff_t>(r.pick(views.size())));
        for (auto& [model, view] : views) {
          Scores seen;
          ASSERT_EQ(view.size(), model.size());
          ASSERT_TRUE(view.for_each(0, view.size(), false, [&](const Item& item) {
            seen[std::string(item.member)] = item.score;
          }));
          ASSERT_EQ(seen, model);
        }
      }
      views.clear();
      if (set != nullptr) {
        EXPECT_FALSE(set->in_use());
      }
    }
  }
}

TEST(SortedSet, BrokenOperationsAreRefused) {
  Random r;
  std::string scores, gone;
  SortedSet::add_score(scores, {0.1, std::string(300, 'x')});
  SortedSet::add_gone(gone, "member");
  const std::string range = SortedSet::range_gone({1, "a"}, {1e9, "b"});
  for (const std::string& o : {scores, gone, range}) {
    for (size_t n = 2; n < o.size(); n++) EXPECT_FALSE(SortedSet(1).apply(o.substr(0, n))) << n;
  }
  EXPECT_TRUE(SortedSet(1).apply(""));  // of no change
  EXPECT_FALSE(SortedSet(1).apply("\x07whatever"));
  std::string nan;
  SortedSet::add_score(nan, {std::nan(""), "m"});
  EXPECT_FALSE(SortedSet(1).apply(nan));
  for (int i = 0; i < 30000; i++) {
    std::string bytes = i % 3 == 0 ? scores : i % 3 == 1 ? gone : range;
    for (int k = 0; k < 3; k++) bytes[r.pick(bytes.size())] = static_cast<char>(r.rng());
    SortedSet set(1);
    (void)set.apply(bytes);  // under the sanitizers: it reads nothing that is not there
  }
}

TEST(SortedSet, EncodingFollowsRedissThresholds) {
  SortedSet set(1);
  for (size_t i = 0; i <= SortedSet::kListpackEntries; i++) {
    EXPECT_EQ(set.encoding(), "listpack") << i;
    std::string o;
    SortedSet::add_score(o, {1, "m" + std::to_string(i) + std::string(55, 'v')});
    ASSERT_TRUE(set.apply(o));
  }
  EXPECT_EQ(set.encoding(), "skiplist");
  SortedSet other(1);
  std::string o;
  SortedSet::add_score(o, {1, std::string(65, 'x')});
  ASSERT_TRUE(other.apply(o));
  EXPECT_EQ(other.encoding(), "skiplist");
}

}  // namespace
}  // namespace cairn::kv
