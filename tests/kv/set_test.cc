// The set type by itself: operations, images, parts.
#include "kv/types/set.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <set>

#include "kv/types/text_set.h"

namespace cairn::kv {
namespace {

using Members = std::set<std::string>;

Members members_of(const Set& s) {
  Members all;
  s.for_each([&](auto member) { EXPECT_TRUE(all.emplace(member).second) << member; });
  EXPECT_EQ(all.size(), s.size());
  return all;
}

// What members are made of.
enum class Of { kIntegers, kWide, kWords, kMixed };

struct Random {
  explicit Random(Of of, uint64_t names = 100) : of(of), names(names) {}
  const Of of;
  const uint64_t names;
  std::mt19937_64 rng{7};
  Set set{1};
  Members model;

  uint64_t pick(uint64_t n) { return rng() % n; }
  std::string member() {
    const auto n = static_cast<int64_t>(pick(names)) - static_cast<int64_t>(names / 2);
    switch (of) {
      case Of::kIntegers:
        return std::to_string(n);
      case Of::kWide:  // of all widths
        return std::to_string(n * (int64_t{1} << pick(50)));
      case Of::kWords:
        return "m" + std::to_string(n);
      default:
        return pick(2) == 0 ? std::to_string(n) : std::to_string(n) + std::string(pick(300), 'x');
    }
  }
  std::string step() {
    std::string operation;
    const bool there = pick(3) != 0;
    for (uint64_t i = 1 + pick(3); i > 0; i--) {
      const std::string m = member();
      if (there) {
        Set::add_there(operation, m);
        model.insert(m);
      } else {
        Set::add_gone(operation, m);
        model.erase(m);
      }
    }
    return operation;
  }
  void steps(int n) {
    for (int i = 0; i < n; i++) ASSERT_TRUE(set.apply(step()));
  }
};

template <class Fn>
void for_all_kinds(Fn fn) {
  for (Of of : {Of::kIntegers, Of::kWide, Of::kWords, Of::kMixed}) {
    for (uint64_t names : {3, 60, 600, 3000}) fn(of, names);
  }
}

TEST(Set, HoldsWhatASetHolds) {
  for_all_kinds([](Of of, uint64_t names) {
    Random r(of, names);
    for (int round = 0; round < 20; round++) {
      r.steps(500);
      ASSERT_EQ(members_of(r.set), r.model);
      for (int i = 0; i < 200; i++) {
        const std::string m = r.member();
        ASSERT_EQ(r.set.contains(m), r.model.contains(m)) << m;
      }
      Set::Digits digits;
      for (int i = 0; i < 20 && !r.model.empty(); i++) {
        ASSERT_TRUE(r.model.contains(std::string(r.set.random(r.rng(), digits))));
      }
    }
  });
}

TEST(Set, TextsThatAreNearlyIntegersAreOtherMembers) {
  const char* texts[] = {"7",     "07",    "+7",     " 7",     "7 ",
                         "-0",    "0",     "-7",     "",       "9223372036854775807",
                         "1e3",   "x",     "--7",    "7.0",    "9223372036854775808",
                         "32767", "32768", "-32768", "-32769", "-9223372036854775808"};
  for (size_t first = 0; first < std::size(texts); first++) {
    Set set(1);
    Members model;
    for (size_t i = 0; i < std::size(texts); i++) {
      const std::string text = texts[(first + i) % std::size(texts)];
      EXPECT_FALSE(set.contains(text)) << text;
      std::string operation;
      Set::add_there(operation, text);
      ASSERT_TRUE(set.apply(operation));
      model.insert(text);
      ASSERT_EQ(members_of(set), model);
    }
  }
}

TEST(Set, AnImageMakesAnEqualOne) {
  for_all_kinds([](Of of, uint64_t names) {
    Random r(of, names);
    r.steps(3000);
    const std::string image = r.set.image();
    EXPECT_NEAR(static_cast<double>(r.set.image_bytes()), static_cast<double>(image.size()),
                static_cast<double>(image.size()) * 0.25 + 1);
    Set copy(99);
    ASSERT_TRUE(copy.apply(image));
    EXPECT_EQ(members_of(copy), r.model);
    ASSERT_TRUE(copy.apply(image));  // twice does not matter
    EXPECT_EQ(members_of(copy), r.model);
    if (r.set.table() == nullptr) {
      EXPECT_EQ(members_of(*r.set.copy_of_small()), r.model);
      EXPECT_EQ(image.size(), r.model.empty() ? 0 : r.set.image_bytes());
    }
  });
}

TEST(Set, AnInverseBringsBackWhatWas) {
  for_all_kinds([](Of of, uint64_t names) {
    Random r(of, names);
    r.steps(500);
    for (int i = 0; i < 100; i++) {
      const Members before = r.model;
      std::string operation = r.step();
      if (i % 10 == 0) {
        Random other(Of::kIntegers, names);
        other.rng.seed(static_cast<uint64_t>(i));
        other.steps(20);
        operation = other.set.image();
      }
      std::vector<std::string> undo;
      r.set.inverse(operation, undo);
      ASSERT_TRUE(r.set.apply(operation));
      for (auto& o : undo) ASSERT_TRUE(r.set.apply(o));
      ASSERT_EQ(members_of(r.set), before);
      r.model = before;
      r.steps(1);
    }
  });
}

// What the cleaner, a checkpoint and a copy rely on: parts and the operations between, in order.
TEST(Set, PartsWithChangesBetweenThemMakeAnEqualOne) {
  for_all_kinds([](Of of, uint64_t names) {
    Random r(of, names);
    r.steps(10'000);
    Set copy(99);
    uint64_t cursor = 0;
    do {
      std::string part;
      cursor = r.set.save(cursor, 4000, part);
      EXPECT_LE(part.size(), 8000);
      ASSERT_TRUE(copy.apply(part));
      for (int i = 0; i < 20; i++) {
        const std::string operation = r.step();
        ASSERT_TRUE(r.set.apply(operation));
        ASSERT_TRUE(copy.apply(operation));
      }
    } while (cursor != 0);
    EXPECT_EQ(members_of(copy), r.model);
  });
}

TEST(Set, EveryMemberThatStaysIsScannedThroughGrowth) {
  for (uint64_t names : {100, 3000}) {
    Random r(Of::kWords, names);
    r.steps(10'000);
    const Members stay = r.model;
    Members seen;
    uint64_t cursor = 0;
    int next = 0;
    do {
      cursor = r.set.scan(cursor, 10, [&](auto member) { seen.emplace(member); });
      for (int i = 0; i < 50; i++) {
        std::string operation;
        Set::add_there(operation, "new" + std::to_string(next++));
        ASSERT_TRUE(r.set.apply(operation));
      }
    } while (cursor != 0);
    for (auto& m : stay) EXPECT_TRUE(seen.contains(m));
  }
}

// What SMEMBERS, and what SINTER of large sets rely on.
TEST(Set, AWalkAndALookBackSayWhatWasThere) {
  for (int lives : {1000, 20, 0}) {  // steps until the set is destroyed
    Random r(Of::kMixed, 10'000);
    r.steps(10'000);
    auto set = std::make_unique<Set>(3);
    ASSERT_TRUE(set->apply(r.set.image()));
    const Members before = r.model;
    Members seen;
    bool more = true;
    MemberTable::Walk walk(*set->table(), MemberTable::kNoTime, 5);
    MemberTable::Past past(*set->table(), MemberTable::kNoTime, 5);
    for (int n = 0; more; n++) {
      if (n == lives) {
        EXPECT_TRUE(set->in_use());
        set.reset();
      }
      more = walk.next([&](auto member, auto) {
        EXPECT_TRUE(seen.emplace(member).second) << "twice: " << member;
      });
      for (int i = 0; i < 300 && set != nullptr; i++) ASSERT_TRUE(set->apply(r.step()));
      for (int i = 0; i < 50; i++) {
        const std::string m = r.member();
        ASSERT_EQ(past.had(m), before.contains(m)) << m;
      }
    }
    EXPECT_EQ(seen, before);
    for (auto& m : before) ASSERT_TRUE(past.had(m));
    EXPECT_FALSE(walk.lost() || past.lost());
  }
}

TEST(Set, ALookBackThatEndedLeavesItsSetFree) {
  Random r(Of::kWords, 5000);
  r.steps(5000);
  {
    MemberTable::Past past(*r.set.table(), MemberTable::kNoTime, 5);
    EXPECT_TRUE(r.set.in_use());
    r.set.moved(6);
    EXPECT_EQ(past.key(), 6);
  }
  EXPECT_FALSE(r.set.in_use());
}

TEST(Set, OneThatNobodyNeedsIsFreedStepByStep) {
  Random r(Of::kWords, 20'000);
  r.steps(20'000);
  int steps = 0;
  while (r.set.free_some()) steps++;
  EXPECT_GE(steps, 8);
  EXPECT_LT(r.set.size(), 1000);
}

TEST(Set, BrokenOperationsAreRefused) {
  std::mt19937_64 rng{5};
  std::string good, integers;
  Set::add_there(good, "member");
  Set::add_there(good, std::string(300, 'x'));
  Set numbers(1);
  for (int i = 0; i < 20; i++) {
    std::string operation;
    Set::add_there(operation, std::to_string(i * 1000));
    ASSERT_TRUE(numbers.apply(operation));
  }
  integers = numbers.image();
  EXPECT_TRUE(Set(1).apply(""));  // of no change
  EXPECT_FALSE(Set(1).apply("\x07whatever"));
  EXPECT_FALSE(Set(1).apply("\x03"));
  EXPECT_FALSE(Set(1).apply(std::string("\x03\x03\x00\x00\x00", 5)));
  EXPECT_FALSE(Set(1).apply(std::string("\x03\x02\x00\x00\x00", 5)));
  const size_t whole = 1 + item_size("member");
  for (size_t n = 2; n < good.size(); n++) {
    EXPECT_EQ(Set(1).apply(good.substr(0, n)), n == whole) << n;
  }
  std::string disorder("\x03\x02", 2);  // none that we write, but no harm either
  for (int16_t n : {5, 3, 3, 9}) disorder.append(reinterpret_cast<const char*>(&n), 2);
  Set sorted(1);
  ASSERT_TRUE(sorted.apply(disorder));
  EXPECT_EQ(members_of(sorted), (Members{"3", "5", "9"}));
  for (int i = 0; i < 30'000; i++) {
    std::string bytes = i % 2 == 0 ? good : integers;
    for (int k = 0; k < 3; k++) bytes[rng() % bytes.size()] = static_cast<char>(rng());
    Set set(1);
    if (set.apply(bytes)) (void)members_of(set);
  }
}

TEST(Set, EncodingFollowsRedissThresholds) {
  const auto add = [](Set& set, const std::string& member) {
    std::string operation;
    Set::add_there(operation, member);
    ASSERT_TRUE(set.apply(operation));
  };
  Set integers(1);
  for (size_t i = 0; i <= Set::kIntsetEntries; i++) {
    EXPECT_EQ(integers.encoding(), "intset") << i;
    add(integers, std::to_string(i));
  }
  EXPECT_EQ(integers.encoding(), "hashtable");
  Set words(1);
  for (size_t i = 0; i < Set::kListpackEntries; i++) {
    add(words, std::string(60, 'x') + std::to_string(i));  // a table before it has as many members
    EXPECT_EQ(words.encoding(), "listpack") << i;
  }
  add(words, "x");
  EXPECT_EQ(words.encoding(), "hashtable");
  Set large(1);
  add(large, std::string(65, 'x'));
  EXPECT_EQ(large.encoding(), "hashtable");
  for (size_t n : {127, 128}) {  // integers that are joined by something else
    Set mixed(1);
    for (size_t i = 0; i < n; i++) add(mixed, std::to_string(i));
    add(mixed, "word");
    EXPECT_EQ(mixed.encoding(), n == 127 ? "listpack" : "hashtable");
  }
}

}  // namespace
}  // namespace cairn::kv
