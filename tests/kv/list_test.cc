// The list type by itself: operations, images, parts, snapshots.
#include "kv/types/list.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace cairn::kv {
namespace {

using Model = std::deque<std::string>;

Model elements_of(const List& list) {
  Model all;
  if (list.size() > 0) {
    list.walk(0, list.size(), [&](std::string_view e) { return all.emplace_back(e), true; });
  }
  EXPECT_EQ(all.size(), list.size());
  return all;
}

Model elements_of(const Snapshot<List::Tree>& snapshot) {
  Model all;
  EXPECT_TRUE(snapshot.read([&](const List::Tree& tree) {
    List::walk(tree, 0, tree.size(), [&](std::string_view e) { return all.emplace_back(e), true; });
  }));
  return all;
}

// Operations by chance, beside a model, that the commands make.
struct Random {
  std::mt19937_64 rng;
  List list;
  Model model;
  size_t most, value_max;

  explicit Random(uint64_t seed, size_t most = 3000, size_t value_max = 60)
      : rng(seed), most(most), value_max(value_max) {}
  uint64_t pick(uint64_t n) { return rng() % n; }
  std::string some() {
    const bool large = pick(200) == 0;
    return std::string(pick(large ? 20'000 : value_max), static_cast<char>('a' + pick(26)));
  }
  std::string push(bool left, size_t n) {
    std::vector<std::string> made(n);
    for (auto& e : made) e = some();
    const std::vector<std::string_view> words(made.begin(), made.end());
    std::string operation;
    List::add_push(model.empty() ? nullptr : &list, left, words, operation);
    for (auto& e : made) left ? model.push_front(e) : model.push_back(e);
    return operation;
  }
  std::string erase(bool left, size_t n) {
    std::string operation;
    const size_t index = left ? 0 : model.size() - n;
    list.add_erase(index, n, operation);
    const auto at = model.begin() + static_cast<ptrdiff_t>(index);
    model.erase(at, at + static_cast<ptrdiff_t>(n));
    return operation;
  }
  std::string set(size_t index) {
    std::string operation;
    model[index] = some();
    list.add_set(index, model[index], operation);
    return operation;
  }
  std::string insert(size_t index) {
    std::string operation, e = some();
    if (index == 0 || index == model.size()) {
      const std::string_view word = e;
      List::add_push(&list, index == 0, {&word, 1}, operation);
    } else {
      list.add_insert(index, e, operation);
    }
    model.insert(model.begin() + static_cast<ptrdiff_t>(index), e);
    return operation;
  }
  std::string remove(std::vector<uint64_t> indexes) {
    std::string operation;
    list.add_remove(indexes, operation);
    for (size_t i = indexes.size(); i-- > 0;) {
      model.erase(model.begin() + static_cast<ptrdiff_t>(indexes[i]));
    }
    return operation;
  }
  std::string rotate(bool from_left, bool to_left) {
    std::string operation;
    list.add_rotate(from_left, to_left, operation);
    const std::string e = from_left ? model.front() : model.back();
    from_left ? model.pop_front() : model.pop_back();
    to_left ? model.push_front(e) : model.push_back(e);
    return operation;
  }
  std::vector<uint64_t> some_indexes() {
    std::vector<uint64_t> indexes;
    const size_t from = pick(model.size()), each = 1 + pick(20), runs = pick(3);
    for (size_t i = from; i < model.size() && indexes.size() < 1 + pick(200); i++) {
      if (runs == 0 || pick(each) == 0) indexes.push_back(i);
    }
    if (indexes.size() == model.size()) indexes.pop_back();
    return indexes;
  }
  // Not applied. The list is never empty.
  std::string step() {
    if (model.size() < 3) return push(pick(2) == 0, 1 + pick(20));
    switch (pick(model.size() > most ? 12 : 10)) {
      case 0:
      case 1:
      case 2:
        return push(pick(2) == 0, 1 + pick(pick(10) == 0 ? 500 : 3));
      case 3:
        return erase(pick(2) == 0, 1 + pick(2));
      case 4:
      case 5:
        return insert(pick(model.size() + 1));
      case 6:
        return insert(std::min(model.size(), model.size() / 2 + pick(3)));
      case 7:
        return set(pick(model.size()));
      case 8:
        return rotate(pick(2) == 0, pick(2) == 0);
      case 9:
        return remove(some_indexes());
      default:
        return erase(pick(2) == 0, 1 + pick(model.size() - 1));
    }
  }
  void change() { ASSERT_TRUE(list.apply(step())); }
  void check() {
    ASSERT_EQ(elements_of(list), model);
    Model back;
    if (!model.empty()) {
      list.walk_back(model.size() - 1, model.size(),
                     [&](std::string_view e) { return back.emplace_front(e), true; });
    }
    ASSERT_EQ(back, model);
    for (int i = 0; i < 20 && !model.empty(); i++) {
      const size_t index = pick(model.size());
      ASSERT_EQ(list.at(index), model[index]);
    }
    size_t packed = 0;
    for (auto& e : model) packed += packed_bytes(e.size());
    ASSERT_EQ(list.packed_bytes(), packed);
  }
};

TEST(List, HoldsWhatADequeHoldsSmallAndLarge) {
  for (size_t most : {5, 100, 3000}) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
      Random r(seed, most);
      for (int i = 0; i < 4000; i++) {
        r.change();
        if (i % (most > 100 ? 100 : 10) == 0) r.check();
      }
      r.check();
    }
  }
}

TEST(List, AnImageMakesAnEqualOne) {
  for (size_t most : {5, 3000}) {
    Random r(3, most);
    for (int i = 0; i < 3000; i++) r.change();
    List copy;
    ASSERT_TRUE(copy.apply(r.list.image()));
    EXPECT_EQ(elements_of(copy), r.model);
    EXPECT_LE(r.list.image().size(), r.list.image_bytes() + 100);
  }
}

// Insertions at one place use up the numbers there.
TEST(List, GrowsAtAnyPlaceByOperationsOfAFewKiB) {
  for (int place = 0; place < 3; place++) {
    Random r(5, 100'000, 20);
    ASSERT_TRUE(r.list.apply(r.push(false, 20'000)));
    size_t longest = 0, sum = 0;
    constexpr int kTimes = 30'000;
    for (int i = 0; i < kTimes; i++) {
      const size_t middle = 10'000 + (place == 0   ? 0
                                      : place == 1 ? static_cast<size_t>(i)
                                                   : r.pick(2));
      std::string operation;
      r.list.add_insert(middle, "inserted", operation);
      longest = std::max(longest, operation.size());
      sum += operation.size();
      ASSERT_TRUE(r.list.apply(operation));
    }
    EXPECT_EQ(r.list.size(), 20'000U + kTimes);
    EXPECT_EQ(r.list.at(10'001), "inserted");
    EXPECT_LT(longest, 1U << 20) << place;
    EXPECT_LT(sum / kTimes, 8U << 10) << place;
    List copy;
    ASSERT_TRUE(copy.apply(r.list.image()));
    EXPECT_EQ(elements_of(copy), elements_of(r.list));
  }
}

// What the log relies on: a part is about as long as it was asked for, or one element.
TEST(List, PartsAreNotMuchLongerThanAskedFor) {
  for (uint64_t seed = 1; seed <= 20; seed++) {
    Random r(seed);
    for (int i = 0; i < 1000; i++) r.change();
    List copy;
    constexpr uint64_t kBytes = 4096;
    uint64_t cursor = 0;
    do {
      std::string operation;
      cursor = r.list.save(cursor, kBytes, operation);
      List part;
      ASSERT_TRUE(part.apply(operation));
      EXPECT_TRUE(operation.size() <= 2 * kBytes || part.size() == 1) << operation.size();
      ASSERT_TRUE(copy.apply(operation));
    } while (cursor != 0);
    EXPECT_EQ(elements_of(copy), r.model);
  }
}

// What the cleaner, a checkpoint and a copy rely on: parts and the operations between them, in
// order, from the first part on, or with some of what came before it, or with some of it twice.
TEST(List, PartsWithChangesBetweenThemMakeAnEqualOneWhateverCameBefore) {
  for (uint64_t seed = 1; seed <= 12; seed++) {
    Random r(seed, seed % 3 == 0 ? 200 : 2000);
    std::vector<std::string> log;
    const auto change = [&] {
      log.push_back(r.step());
      ASSERT_TRUE(r.list.apply(log.back()));
    };
    for (int i = 0; i < 1500; i++) change();
    const size_t first_part = log.size();
    uint64_t cursor = 0;
    do {
      log.emplace_back();
      cursor = r.list.save(cursor, 3000, log.back());
      for (uint64_t i = r.pick(8); i > 0; i--) change();
    } while (cursor != 0);
    for (int i = 0; i < 50; i++) change();
    const std::string image = r.list.image();
    for (int from = 0; from < 12; from++) {
      List copy;
      // All of it, from the first part on, or with older operations; and upon a later state.
      const size_t begin = from == 0 ? first_part : r.pick(first_part + 1);
      if (from % 3 == 1) {
        ASSERT_TRUE(copy.apply(image));
      }
      if (from % 3 == 2) {  // some of it twice
        const size_t again = begin + r.pick(log.size() - begin);
        for (size_t i = begin; i < again; i++) ASSERT_TRUE(copy.apply(log[i]));
      }
      for (size_t i = begin; i < log.size(); i++) {
        ASSERT_TRUE(copy.apply(log[i]));
        if (i % 50 == 0) {  // one that is not whole yet can be asked for all this
          (void)copy.memory_bytes();
          List other;
          ASSERT_TRUE(other.apply(copy.image()));
          ASSERT_EQ(elements_of(other), elements_of(copy));
        }
      }
      ASSERT_EQ(elements_of(copy), r.model) << "seed " << seed << " from " << from;
    }
  }
}

// What a transaction that comes to nothing relies on; also of a copy that is not whole.
TEST(List, AnInverseBringsBackWhatWas) {
  for (size_t most : {5, 100, 2000}) {
    Random r(most, most);
    for (int i = 0; i < 1500; i++) r.change();
    for (int i = 0; i < 500; i++) {
      const Model before = r.model;
      const std::string image = r.list.image(), operation = r.step();
      std::vector<std::string> undo;
      r.list.inverse(operation, undo);
      ASSERT_TRUE(r.list.apply(operation));
      ASSERT_EQ(elements_of(r.list), r.model);
      for (auto& o : undo) ASSERT_TRUE(r.list.apply(o));
      ASSERT_EQ(elements_of(r.list), before);
      List same;
      ASSERT_TRUE(same.apply(image));
      for (uint64_t cursor = 0;;) {  // numbers, too
        std::string a, b;
        const uint64_t next = r.list.save(cursor, 1 << 20, a);
        ASSERT_EQ(same.save(cursor, 1 << 20, b), next);
        if ((cursor = next) == 0) break;
      }
      r.model = before;
      if (i % 3 == 0) r.change();
    }
  }
}

TEST(List, ASnapshotStaysWhateverBecomesOfTheList) {
  Random r(9);
  auto list = std::make_unique<List>();
  ASSERT_TRUE(r.list.apply(r.push(false, 5000)));
  ASSERT_TRUE(list->apply(r.list.image()));
  const Snapshot<List::Tree> first = list->snapshot();
  const Model before = r.model;
  for (int i = 0; i < 500; i++) {
    const std::string operation = r.step();
    ASSERT_TRUE(r.list.apply(operation));
    ASSERT_TRUE(list->apply(operation));
  }
  const Snapshot<List::Tree> second = list->snapshot();
  const Model between = r.model;
  EXPECT_EQ(elements_of(*list), between);
  while (list->free_some()) {
  }
  list.reset();
  EXPECT_EQ(elements_of(first), before);
  EXPECT_EQ(elements_of(second), between);
}

TEST(List, SnapshotsThatWouldKeepTooMuchAreLost) {
  List list;
  const std::string element(1 << 20, 'x');
  const std::string_view word = element;
  constexpr int kElements = 130;  // more than all readers may keep
  for (int i = 0; i < kElements; i++) {
    std::string operation;
    List::add_push(i == 0 ? nullptr : &list, false, {&word, 1}, operation);
    ASSERT_TRUE(list.apply(operation));
  }
  const Snapshot<List::Tree> lost = list.snapshot();
  std::string half;
  list.add_erase(0, kElements / 2, half);
  ASSERT_TRUE(list.apply(half));
  EXPECT_FALSE(lost.lost());
  std::string rest;
  list.add_erase(0, kElements / 2, rest);
  ASSERT_TRUE(list.apply(rest));
  EXPECT_TRUE(lost.lost());
  Random r(1);
  ASSERT_TRUE(r.list.apply(r.push(false, 5000)));  // others are not
  const Snapshot<List::Tree> other = r.list.snapshot();
  ASSERT_TRUE(r.list.apply(r.push(true, 5000)));
  EXPECT_FALSE(other.lost());
}

TEST(List, ASearchFindsWhatALookAtEachFinds) {
  for (size_t n : {10, 5000}) {
    Random r(n);
    std::vector<std::string> made(n);
    for (auto& e : made) e = std::to_string(r.pick(5));
    const std::vector<std::string_view> words(made.begin(), made.end());
    std::string operation;
    List::add_push(nullptr, false, words, operation);
    ASSERT_TRUE(r.list.apply(operation));
    for (int i = 0; i < 200; i++) {
      ListSearch search("3");
      search.back = r.pick(2) == 0;
      search.skip = r.pick(3);
      search.found_max = 1 + r.pick(n);
      search.looked_max = 1 + r.pick(2 * n);
      std::vector<uint64_t> expected;
      uint64_t skip = search.skip;
      for (size_t k = 0; k < std::min<uint64_t>(n, search.looked_max); k++) {
        const size_t index = search.back ? n - 1 - k : k;
        if (made[index] != "3") continue;
        if (skip > 0) {
          skip--;
        } else if (expected.size() < search.found_max) {
          expected.push_back(index);
        }
      }
      while (search.step(r.list, n, 1 + r.pick(1000))) {
      }
      ASSERT_EQ(search.found, expected);
    }
  }
}

TEST(List, BrokenOperationsAreRefused) {
  Random r(2);
  ASSERT_TRUE(r.list.apply(r.push(false, 3)));
  std::string good;
  const std::string element(300, 'x'), large(70'000, 'y');
  const std::string_view words[] = {"short", element, large, ""};
  List::add_push(nullptr, false, words, good);
  List with;
  ASSERT_TRUE(with.apply(good));
  with.add_erase(1, 2, good);
  for (size_t n = 1; n < good.size(); n += n < 500 || n > good.size() - 500 ? 1 : 977) {
    List list;
    (void)list.apply(std::string_view(good).substr(0, n));
    (void)list.image();
  }
  EXPECT_TRUE(List().apply(""));  // of no change
  EXPECT_FALSE(List().apply("\x07whatever"));
  std::string far = good;  // its first element has the last number that there is
  far.replace(1, 8, std::string(7, '\xff') + '\x7f');
  EXPECT_FALSE(List().apply(far));
  EXPECT_FALSE(List().apply(std::string_view(good).substr(0, 20)));
  for (int i = 0; i < 20'000; i++) {
    std::string bytes = good.substr(0, 400);
    if (i % 2 == 0) bytes = good.substr(good.size() - 17);
    for (int k = 0; k < 3; k++) bytes[r.rng() % bytes.size()] = static_cast<char>(r.rng());
    List list;
    (void)list.apply(bytes);  // under the sanitizers: it reads nothing that is not there
    std::vector<std::string> undo;
    r.list.inverse(bytes, undo);
  }
}

TEST(List, WhatItHoldsIsCountedAndSmallWhenPopped) {
  Random r(4, 1 << 20, 20);
  for (int i = 0; i < 200; i++) ASSERT_TRUE(r.list.apply(r.push(false, 100)));
  EXPECT_EQ(r.list.encoding(), "quicklist");
  EXPECT_LT(r.list.memory_bytes(), r.list.packed_bytes() * 11 / 10 + 20'000);
  ASSERT_TRUE(r.list.apply(r.erase(true, 19'990)));
  EXPECT_EQ(r.list.encoding(), "listpack");
  EXPECT_LT(r.list.memory_bytes(), 1000U + 2 * r.list.packed_bytes());
  r.check();
}

}  // namespace
}  // namespace cairn::kv
