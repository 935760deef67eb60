// Laws of the counted tree, against a vector.
#include "kv/types/counted_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace cairn::kv {
namespace {

// An item that says how many of its kind there are: none may be lost, or kept.
struct Item {
  std::shared_ptr<int> of;
  uint32_t value = 0, weight = 0;
};
struct Weigh {
  uint64_t operator()(const Item& item) const { return item.weight; }
};
using Tree = CountedTree<Item, Weigh>;

struct Model {
  std::vector<std::pair<uint32_t, uint32_t>> items;  // value, weight
  uint64_t weight(size_t end) const {
    uint64_t sum = 0;
    for (size_t i = 0; i < end; i++) sum += items[i].second;
    return sum;
  }
};

void expect_same(const Tree& tree, const Model& model) {
  ASSERT_EQ(tree.size(), model.weight(model.items.size()));
  ASSERT_EQ(tree.empty(), model.items.empty());
  size_t i = 0;
  for (auto c = tree.first(); c; c.next(), i++) {
    ASSERT_LT(i, model.items.size());
    ASSERT_EQ(c->value, model.items[i].first);
    ASSERT_EQ(c->weight, model.items[i].second);
  }
  ASSERT_EQ(i, model.items.size());
  if (tree.empty()) return;
  auto c = tree.last();
  for (;; c.prev()) {
    ASSERT_EQ(c->value, model.items[--i].first);
    if (c.is_first()) break;
  }
  ASSERT_EQ(i, 0u);
}

// The cursor at the i-th item, found in one of three ways.
Tree::Cursor at(const Tree& tree, const Model& model, size_t i, uint64_t way) {
  const uint64_t rank = model.weight(i);
  uint64_t within = 0, found = 0;
  Tree::Cursor c;
  if (i == model.items.size() || way == 0) {
    c = tree.end();
    for (size_t n = model.items.size(); n > i; n--) c.prev();
    return c;
  }
  if (way == 1) {
    const uint32_t into = model.items[i].second - 1;
    c = tree.at_rank(rank + into, within);
    EXPECT_EQ(within, into);
  } else {
    // Before: what stands in front, told by a count that grows with the place.
    std::vector<uint32_t> before;
    for (size_t n = 0; n < i; n++) before.push_back(model.items[n].first);
    c = tree.first_not(
        [&](const Item& item) {
          return std::find(before.begin(), before.end(), item.value) != before.end();
        },
        found);
    EXPECT_EQ(found, rank);
  }
  EXPECT_EQ(tree.rank_of(c), rank);
  return c;
}

class CountedTreeTest : public testing::TestWithParam<int> {};

TEST_P(CountedTreeTest, IsASequenceAndItsCopiesStayAsTheyWere) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  const auto pick = [&](uint64_t n) { return random() % n; };
  auto counted = std::make_shared<int>();
  {
    Tree tree;
    Model model;
    std::vector<std::pair<Tree, Model>> copies;
    uint32_t next = 1;
    const size_t most = size_t{1} << (3 + pick(9));
    const int steps = 3000;
    uint64_t grows = 8, where = pick(4);
    for (int step = 0; step < steps; step++) {
      if (pick(300) == 0) grows = 1 + pick(9), where = pick(4);
      if (pick(200) == 0) copies.emplace_back(tree, model);
      if (!copies.empty() && pick(150) == 0) {
        const size_t i = pick(copies.size());
        expect_same(copies[i].first, copies[i].second);
        copies.erase(copies.begin() + static_cast<ptrdiff_t>(i));
      }
      const size_t n = model.items.size();
      size_t i = where == 0 ? 0 : where == 1 ? n : pick(n + 1);
      const uint64_t what = pick(10);
      if (what < grows && n < most) {
        const Item item{counted, next++, static_cast<uint32_t>(1 + pick(5))};
        model.items.insert(model.items.begin() + static_cast<ptrdiff_t>(i),
                           {item.value, item.weight});
        Model before = model;
        before.items.erase(before.items.begin() + static_cast<ptrdiff_t>(i));
        tree.insert(at(tree, before, i, pick(2)), item);
      } else if (n > 0) {
        if (i == n) i--;
        const auto c = at(tree, model, i, pick(n < 300 ? 3 : 2));
        ASSERT_EQ(c->value, model.items[i].first);
        if (what == 9) {
          model.items[i].second = static_cast<uint32_t>(1 + pick(5));
          tree.change(c, [&](Item& item) { item.weight = model.items[i].second; });
        } else {
          ASSERT_EQ(tree.erase(c).value, model.items[i].first);
          model.items.erase(model.items.begin() + static_cast<ptrdiff_t>(i));
        }
      }
      if (step % 100 == 0) expect_same(tree, model);
    }
    expect_same(tree, model);
    for (auto& [copy, was] : copies) expect_same(copy, was);
    uint64_t within = 0;
    EXPECT_FALSE(tree.at_rank(tree.size(), within));
    EXPECT_FALSE(tree.at_rank(UINT64_MAX, within));
    Tree last = tree;
    while (tree.free_some()) {
    }
    EXPECT_TRUE(tree.empty());
    expect_same(last, model);
    while (last.free_some()) {
    }
    for (auto& [copy, was] : copies) expect_same(copy, was);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CountedTreeTest, testing::Range(0, 60));

struct One {
  uint64_t operator()(const uint64_t&) const { return 1; }
};

TEST(CountedTree, TakesTwelveBytesAnItemAtMost) {
  constexpr uint64_t kItems = 200'000;
  std::mt19937_64 random(7);
  CountedTree<uint64_t, One> at_end, at_front, anywhere;
  for (uint64_t i = 0; i < kItems; i++) {
    at_end.insert(at_end.end(), i);
    at_front.insert(at_front.first(), i);
    uint64_t within;
    anywhere.insert(anywhere.at_rank(random() % (i + 1), within), i);
  }
  EXPECT_LT(at_end.bytes(), kItems * 9);
  EXPECT_LT(at_front.bytes(), kItems * 9);
  EXPECT_LT(anywhere.bytes(), kItems * 123 / 10);
  // What is left after most of them went is not spread over all the nodes there were.
  while (anywhere.size() > kItems / 100) {
    uint64_t within;
    anywhere.erase(anywhere.at_rank(random() % anywhere.size(), within));
  }
  EXPECT_LT(anywhere.bytes(), kItems / 100 * 40);
}

}  // namespace
}  // namespace cairn::kv
