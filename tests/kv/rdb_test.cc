// Values as Redis serializes them: what is written is read as the same value, in pieces of any
// size; what is broken is refused, or is another value, and nothing else happens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/base/text.h"
#include "kv/types/list.h"
#include "kv/types/rdb_read.h"
#include "kv/types/rdb_write.h"
#include "kv/types/set.h"
#include "kv/types/type.h"

namespace cairn::kv {
namespace {

using Got = rdb::Reader::Got;
constexpr int64_t kNowMs = 1'700'000'000'000;
constexpr uint64_t kItemMax = 1 << 20;

std::unique_ptr<Collection> make(ValueType type, std::string_view operation) {
  auto made = type_of(type).collection.make(7);
  EXPECT_TRUE(made->apply(operation));
  return made;
}

uint64_t size_of(ValueType type, const Collection& c) {
  switch (type) {
    case ValueType::kHash:
      return static_cast<const Hash&>(c).size(Hash::kNoTime);
    case ValueType::kList:
      return static_cast<const List&>(c).size();
    case ValueType::kSet:
      return static_cast<const Set&>(c).size();
    case ValueType::kSortedSet:
      return static_cast<const SortedSet&>(c).size();
    default:
      return static_cast<const Stream&>(c).size();
  }
}

// All that there is to be told of a value, in an order of its own.
std::string told(ValueType type, const Collection& c) {
  std::vector<std::string> items;
  switch (type) {
    case ValueType::kHash:
      static_cast<const Hash&>(c).for_each_item(0, [&](const Hash::Item& i) {
        items.push_back(cat(i.field.size(), ":", i.field, "=", i.value, "@", i.until_ms));
      });
      std::sort(items.begin(), items.end());
      break;
    case ValueType::kSet:
      static_cast<const Set&>(c).for_each(
          [&](std::string_view m) { items.push_back(cat(m.size(), ":", m)); });
      std::sort(items.begin(), items.end());
      break;
    case ValueType::kList: {
      const auto& list = static_cast<const List&>(c);
      list.walk(0, list.size(), [&](std::string_view e) {
        items.push_back(cat(e.size(), ":", e));
        return true;
      });
      break;
    }
    case ValueType::kSortedSet:
      static_cast<const SortedSet&>(c).for_each([&](const SortedSet::Item& i) {
        items.push_back(cat(i.member.size(), ":", i.member, "=", rdb::score_text(i.score)));
      });
      break;
    default: {
      const auto& stream = static_cast<const Stream&>(c);
      Stream::Walk walk(stream.tree(), kStreamIdMin, kStreamIdMax);
      for (StreamEntry e; walk.next(e);) {
        items.push_back(cat(e.id.ms, "-", e.id.seq));
        e.for_each([&](auto field, auto value) { append(items.back(), " ", field, "=", value); });
      }
      std::string rest;
      rdb::add_stream_state(rest, stream);
      rdb::StreamGroups groups(stream);
      while (groups.step(rest, SIZE_MAX)) {
      }
      items.push_back(rest);
    }
  }
  std::string all = cat(items.size(), " ");
  for (const std::string& item : items) append(all, item, ",");
  return all;
}

// Reads a body in pieces of this size; null: it was refused.
std::unique_ptr<Collection> read(std::string_view body, ValueType type, size_t step,
                                 size_t part = SIZE_MAX) {
  rdb::Reader reader(kItemMax, kNowMs);
  auto made = type_of(type).collection.make(9);
  std::string have, operation;
  for (;;) {
    const size_t n = std::min(step, body.size());
    have.append(body.substr(0, n));
    body.remove_prefix(n);
    std::string_view rest = have;
    Got got = Got::kFull;
    while (got == Got::kFull) {
      got = reader.read(rest, body.empty(), part, operation);
      if (got == Got::kBad || got == Got::kTooLong || reader.type() != type) {
        return nullptr;
      }
      EXPECT_TRUE(made->apply(operation));
      operation.clear();
    }
    have.erase(0, have.size() - rest.size());
    if (got == Got::kWhole) break;
    EXPECT_FALSE(body.empty() && n == 0) << "it asks for more than there is";
  }
  if (size_of(type, *made) != reader.members()) return nullptr;
  return made;
}

struct Random {
  explicit Random(uint64_t seed) : rng(seed) {}
  std::mt19937_64 rng;
  uint64_t pick(uint64_t n) { return rng() % n; }

  std::string word() {
    switch (pick(6)) {
      case 0:
        return std::to_string(static_cast<int64_t>(rng()) >> pick(64));
      case 1:
        return std::string(pick(100), 'x');
      case 2:
        return cat("word", pick(1000));
      case 3:
        return pick(20) == 0 ? std::string(pick(9000), 'y') : cat("-", pick(10));
      case 4:
        return cat(pick(2) == 0 ? "0" : "-0", pick(3) == 0 ? "" : "7");
      default:
        return std::string("\0\xff\r\n", pick(5));
    }
  }
  double score() {
    constexpr double kSome[] = {0, -0.0, 1, -1, 1.5, 3.3, HUGE_VAL, -HUGE_VAL, 1e300, 5e-324, 1e18};
    return pick(2) == 0 ? kSome[pick(std::size(kSome))]
                        : static_cast<double>(static_cast<int64_t>(rng()) >> pick(64));
  }
  StreamId id(StreamId after) {
    return pick(3) == 0 ? StreamId{after.ms, after.seq + 1 + pick(3)}
                        : StreamId{after.ms + 1 + pick(1000), pick(5)};
  }

  std::unique_ptr<Collection> value(ValueType type, size_t n) {
    std::string o;
    if (type == ValueType::kStream) return stream(n);
    if (type == ValueType::kList) {
      std::vector<std::string> words;
      for (size_t i = 0; i < n; i++) words.push_back(word());
      const std::vector<std::string_view> views(words.begin(), words.end());
      List::add_push(nullptr, pick(2) == 0, views, o);
      return make(type, o);
    }
    const bool timed = pick(3) == 0, integers = pick(3) == 0;
    for (size_t i = 0; i < n; i++) {
      if (type == ValueType::kSet) {
        Set::add_there(
            o, integers ? std::to_string(static_cast<int64_t>(rng()) >> (8 + pick(56))) : word());
      } else if (type == ValueType::kSortedSet) {
        const std::string member = word();
        SortedSet::add_score(o, {score(), member});
      } else if (timed) {
        const auto until = pick(2) == 0 ? 0 : kNowMs + 1 + static_cast<int64_t>(pick(1 << 30));
        Hash::add_set_until(o, word(), word(), until);
      } else {
        Hash::add_set(o, word(), word());
      }
    }
    return make(type, o);
  }
  std::unique_ptr<Collection> stream(size_t n) {
    std::string o;
    Stream::State state;
    std::vector<StreamId> ids;
    const std::string name = word();
    for (size_t i = 0; i < n; i++) {
      state.last = id(state.last);
      const std::string a = word(), b = word(), c = pick(4) == 0 ? word() : name;
      const std::string_view words[] = {c, a, "f", b};
      Stream::add_entry(o, state.last, std::span(words).first(pick(4) == 0 ? 2 : 4));
      ids.push_back(state.last);
    }
    state.added = n + pick(5);
    if (pick(2) == 0) state.max_deleted = state.last;
    Stream::add_state(o, state);
    for (uint64_t g = pick(3); g > 0; g--) {
      Stream::add_group_name(o, cat("group", g));
      Stream::add_group(o, pick(2) == 0 ? state.last : StreamId{pick(9), 1},
                        pick(2) == 0 ? StreamGroup::kUnknown : static_cast<int64_t>(pick(n + 1)));
      for (uint64_t c = pick(3); c > 0; c--) {
        const auto seen = kNowMs - static_cast<int64_t>(pick(1000));
        Stream::add_consumer(o, cat("consumer", c), seen, seen);
        for (const StreamId& i : ids) {
          if (pick(4) == 0) {
            Stream::add_pending(o, kNowMs - static_cast<int64_t>(pick(3)), 1 + pick(2), {&i, 1});
          }
        }
      }
    }
    return make(ValueType::kStream, o);
  }
};

constexpr ValueType kAll[] = {ValueType::kHash, ValueType::kList, ValueType::kSet,
                              ValueType::kSortedSet, ValueType::kStream};

TEST(Rdb, WhatIsWrittenIsReadAsTheSame) {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    Random r(seed);
    for (ValueType type : kAll) {
      const auto value = r.value(type, 1 + r.pick(seed % 10 == 0 ? 3000 : 150));
      std::string body;
      rdb::add_value(body, type, *value, kNowMs);
      for (size_t step : {SIZE_MAX, size_t{1} + r.pick(200)}) {
        for (size_t part : {SIZE_MAX, size_t{1} + r.pick(500)}) {
          const auto back = read(body, type, step, part);
          ASSERT_NE(back, nullptr) << "seed " << seed << " type " << int(type);
          ASSERT_TRUE(told(type, *back) == told(type, *value))
              << "seed " << seed << " " << int(type);
        }
      }
    }
  }
}

TEST(Rdb, WhatIsBrokenIsRefusedOrAnotherValue) {
  for (uint64_t seed = 1; seed <= 12; seed++) {
    Random r(seed);
    for (ValueType type : kAll) {
      const auto value = r.value(type, 1 + r.pick(seed % 4 == 0 ? 150 : 12));
      std::string body;
      rdb::add_value(body, type, *value, kNowMs);
      const size_t step = 1 + body.size() / 1500;
      for (size_t n = 0; n < body.size(); n += step) {
        EXPECT_EQ(read(body.substr(0, n), type, SIZE_MAX), nullptr);
      }
      for (size_t i = 0; i < body.size(); i += step) {
        std::string broken = body;
        broken[i] = static_cast<char>(broken[i] ^ (1 << r.pick(8)));
        (void)read(broken, type, SIZE_MAX);
        broken[i] = static_cast<char>(r.rng());
        (void)read(broken, type, 100);
        broken.erase(i, 1 + r.pick(9));
        (void)read(broken, type, SIZE_MAX);
      }
    }
  }
}

TEST(Rdb, ChecksumIsThatOfRedis) {
  EXPECT_EQ(rdb::crc64(0, "123456789"), 0xe9c6d914c4b8d9caULL);
  const std::string long_text(1000, 'q');
  uint64_t crc = 0;
  for (char c : long_text) crc = rdb::crc64(crc, {&c, 1});
  EXPECT_EQ(crc, rdb::crc64(0, long_text));
}

std::string text_of(std::string_view body) {
  rdb::Reader reader(kItemMax, kNowMs);
  std::string text;
  return reader.read(body, true, UINT64_MAX, text) == Got::kWhole ? text : "refused";
}

TEST(Rdb, StringsAreReadInAllForms) {
  using namespace std::literals;
  EXPECT_EQ(text_of("\x00\xc0\xff"sv), "-1");
  EXPECT_EQ(text_of("\x00\xc1\x00\x80"sv), "-32768");
  EXPECT_EQ(text_of("\x00\xc2\x15\xcd\x5b\x07"sv), "123456789");
  EXPECT_EQ(text_of("\x00\x03"
                    "abc"sv),
            "abc");
  EXPECT_EQ(text_of("\x00\x40\x03"
                    "abc"sv),
            "abc");
  EXPECT_EQ(text_of("\x00\x80\x00\x00\x00\x03"
                    "abc"sv),
            "abc");
  EXPECT_EQ(text_of("\x00\x81\x00\x00\x00\x00\x00\x00\x00\x03"
                    "abc"sv),
            "abc");
  EXPECT_EQ(text_of("\x00\xc3\x05\x0c\x00"
                    "a\xe0\x02\x00"sv),
            std::string(12, 'a'));
}

// Each was made to break a reader: lengths beyond all there is, bombs, members that come twice.
TEST(Rdb, HostileBodiesAreRefused) {
  using namespace std::literals;
  constexpr std::string_view kHostile[] = {
      ""sv,
      "\x00"sv,
      "\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"sv,          // a length of 2^64 - 1
      "\x00\x82\x01"sv,                                      // no length at all
      "\x00\xc4\x01\x01"sv,                                  // no encoding that there is
      "\x00\xc3\x02\x80\x7f\xff\xff\xff\x00\x61"sv,          // 2 GiB out of two bytes
      "\x00\xc3\x03\x05\x20\x05\x00"sv,                      // back before the beginning
      "\x00\xc3\x00\x00"sv,                                  // nothing, compressed
      "\x02\x00"sv,                                          // a set without members
      "\x02\x02\x01\x61\x01\x61"sv,                          // a member twice
      "\x02\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x61"sv,  // 2^63 members
      "\x04\x01\x01\x61"sv,                                  // a field without a value
      "\x05\x01\x01\x61\x00\x00\x00\x00\x00\x00\xf8\x7f"sv,  // NaN
      "\x03\x01\x01\x61\xfd"sv,                              // NaN, in the oldest form
      "\x03\x01\x01\x61\x02\x31\x78"sv,                      // a score that is none
      "\x06\x01"sv,                                          // a module
      "\x07\x01"sv,
      "\x08"sv,
      "\xff"sv,
      "\x0b\x08\x02\x00\x00\x00\xff\xff\xff\xff"sv,                  // 2^32 - 1 integers, and none
      "\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x05\x00\x05\x00"sv,  // one twice
      "\x0b\x0b\x03\x00\x00\x00\x01\x00\x00\x00\x05\x00\x05"sv,      // of three bytes
      "\x14\x07\x07\x00\x00\x00\x00\x00\xff"sv,                      // an empty listpack
      "\x14\x07\x07\x00\x00\x00\x05\x00\xff"sv,                      // five elements in no room
      "\x14\x08\xff\xff\xff\xff\x01\x00\x01\xff"sv,                  // longer than it is
      "\x14\x0c\x0c\x00\x00\x00\x01\x00\xf0\xff\xff\xff\xff\xff"sv,
      "\x10\x09\x09\x00\x00\x00\x01\x00\x01\x01\xff"sv,          // a field without a value
      "\x0d\x0b\x0b\x00\x00\x00\x0a\x00\x00\x00\x00\x00\xff"sv,  // no fields
      "\x0a\x0e\x0e\x00\x00\x00\x0a\x00\x00\x00\x01\x00\xfe\x01\x61\xff"sv,
      "\x09\x03\x01\xfe\xff"sv,  // a zipmap whose name is not there
      "\x12\x01\x03\x01\x61"sv,  // a node of no kind
      "\x12\x01\x01\x00"sv,
      "\x13\x01\x01\x61\x01\x61"sv,                          // no ID
      "\x13\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00"sv,  // entries that are not there
      "\x13\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02\x01\x67\x00\x00\x00\x00\x00\x01\x67"sv,
  };
  for (std::string_view body : kHostile) {
    rdb::Reader reader(kItemMax, kNowMs);
    std::string operation;
    std::string_view rest = body;
    const Got got = reader.read(rest, true, SIZE_MAX, operation);
    bool whole = got == Got::kWhole;
    if (whole && reader.type() != ValueType::kString) {
      const auto made = make(reader.type(), operation);
      whole = size_of(reader.type(), *made) == reader.members();
    }
    EXPECT_FALSE(whole) << testing::PrintToString(body);
    EXPECT_LT(reader.held_bytes(), 1 << 16);
  }
}

TEST(Rdb, FieldsWithATimeAreReadInAllForms) {
  using namespace std::literals;
  const auto hash_of = [](std::string body) {
    const auto made = read(body, ValueType::kHash, SIZE_MAX);
    return made == nullptr ? "refused" : told(ValueType::kHash, *made);
  };
  std::string early("\x16\x02"s), later("\x18"s), packed;
  rdb::add_length(early, kNowMs + 5);
  early +=
      "\x01"
      "a\x01"
      "x"s;
  early +=
      "\x00\x01"
      "b\x01"
      "y"s;
  const std::string wanted = cat("2 1:a=x@", kNowMs + 5, ",1:b=y@0,");
  EXPECT_EQ(hash_of(early), wanted);
  rdb::add_raw(later, kNowMs + 2);
  later +=
      "\x02\x04\x01"
      "a\x01"
      "x\x00\x01"
      "b\x01"
      "y"s;
  EXPECT_EQ(hash_of(later), wanted);
  rdb::ListpackWriter p;
  for (std::string_view w : {"a", "x"}) p.add(w);
  p.add(kNowMs + 5);
  for (std::string_view w : {"b", "y"}) p.add(w);
  p.add(int64_t{0});
  rdb::add_string(packed, p.finish());
  EXPECT_EQ(hash_of("\x17"s + packed), wanted);
  std::string head("\x19"s);
  rdb::add_raw(head, kNowMs + 5);
  EXPECT_EQ(hash_of(head + packed), wanted);
}

}  // namespace
}  // namespace cairn::kv
