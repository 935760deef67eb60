// The stream type by itself: operations, images, parts, inverses, snapshots.
#include "kv/types/stream.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "core/base/limits.h"
#include "core/base/text.h"

namespace cairn::kv {
namespace {

struct Text {
  std::string names, values;
  uint64_t fields = 0;
  void add(std::string_view field, std::string_view value) {
    add_bytes(names, field);
    add_bytes(values, value);
    fields++;
  }
  StreamEntry entry(StreamId id) const { return {id, fields, names, values}; }
  bool operator==(const Text&) const = default;
};

struct Model {
  struct Consumer {
    int64_t seen = 0, active = -1;
    bool operator==(const Consumer&) const = default;
  };
  struct Pending {
    std::string consumer;
    int64_t since = 0;
    uint64_t times = 0;
    bool operator==(const Pending&) const = default;
  };
  struct Group {
    StreamId last;
    int64_t read = -1;
    std::map<std::string, Consumer> consumers;
    std::map<StreamId, Pending> pending;
    bool operator==(const Group&) const = default;
  };
  std::map<StreamId, Text> entries;
  Stream::State state;
  std::map<std::string, Group> groups;
  bool operator==(const Model&) const = default;
};

Model model_of(const Stream& s) {
  Model m;
  m.state = s.state();
  Stream::Walk walk(s.tree(), kStreamIdMin, kStreamIdMax);
  StreamId last;
  for (StreamEntry e; walk.next(e); last = e.id) {
    EXPECT_LT(last, e.id);
    Text t;
    e.for_each([&](auto field, auto value) { t.add(field, value); });
    m.entries[e.id] = t;
  }
  EXPECT_EQ(m.entries.size(), s.size());
  for (auto& [name, g] : s.groups()) {
    Model::Group& group = m.groups[name];
    group.last = g->last();
    group.read = g->entries_read();
    size_t pending = 0;
    for (auto& [n, c] : g->consumers()) {
      group.consumers[n] = {c->seen_ms, c->active_ms};
      pending += c->pending.size();
      for (auto& id : c->pending) EXPECT_EQ(g->pending().find(id)->second.consumer, c.get());
    }
    EXPECT_EQ(pending, g->pending().size());
    for (auto& [id, p] : g->pending()) {
      group.pending[id] = {p.consumer->name, p.since_ms, p.times};
    }
  }
  return m;
}

// Operations by chance, beside a model.
struct Random {
  std::mt19937_64 rng{5};
  Model model;
  uint64_t ms = 1000;
  size_t value_max = 20;
  uint64_t groups = 3;

  uint64_t pick(uint64_t n) { return rng() % n; }
  Text text() {
    Text t;
    const bool usual = pick(5) != 0;
    const uint64_t n = usual ? 2 : 1 + pick(4);
    for (uint64_t i = 0; i < n; i++) {
      const std::string field = usual ? cat("field", i) : cat("f", pick(4));
      t.add(field, std::string(pick(value_max), static_cast<char>('a' + pick(26))));
    }
    return t;
  }
  StreamId some_id() {
    if (model.entries.empty() || pick(5) == 0) return {pick(ms + 5), pick(4)};
    auto it = model.entries.lower_bound({pick(ms + 1), 0});
    return it == model.entries.end() ? model.entries.rbegin()->first : it->first;
  }
  void entry(std::string& op) {
    if (pick(3) == 0) ms += pick(50);
    StreamId id{ms, 1};
    if (model.state.last >= id) id = model.state.last.next();
    const Text t = text();
    Stream::add_entry(op, t.entry(id));
    model.entries[id] = t;
    model.state.last = id;
    model.state.added++;
    Stream::add_state(op, model.state);
  }
  void group_item(std::string& op) {
    const std::string name = cat("g", pick(groups)), consumer = cat("c", pick(4));
    const auto now = static_cast<int64_t>(ms);
    Stream::add_group_name(op, name);
    const uint64_t kind = pick(20);
    if (kind == 0) {
      Stream::add_group_gone(op);
      model.groups.erase(name);
    } else if (kind <= 3 || !model.groups.contains(name)) {
      Model::Group& g = model.groups[name];
      g.last = some_id();
      g.read = static_cast<int64_t>(pick(10)) - 1;
      Stream::add_group(op, g.last, g.read);
    } else if (kind == 4) {
      Model::Group& g = model.groups[name];
      Stream::add_consumer_gone(op, consumer);
      g.consumers.erase(consumer);
      std::erase_if(g.pending, [&](auto& p) { return p.second.consumer == consumer; });
    } else {
      Model::Group& g = model.groups[name];
      std::vector<StreamId> ids;
      for (uint64_t n = pick(6); n > 0; n--) ids.push_back(some_id());
      if (kind <= 8) {
        Stream::add_acknowledged(op, ids);
        for (auto& id : ids) g.pending.erase(id);
      } else {
        g.consumers[consumer] = {now, pick(2) == 0 ? -1 : now};
        Stream::add_consumer(op, consumer, now, g.consumers[consumer].active);
        const uint64_t times = 1 + pick(3);
        Stream::add_pending(op, now, times, ids);
        for (auto& id : ids) g.pending[id] = {consumer, now, times};
      }
    }
  }
  std::string step() {
    std::string op;
    for (uint64_t n = 1 + pick(3); n > 0; n--) {
      const uint64_t kind = pick(20);
      if (kind < 11) {
        entry(op);
      } else if (kind == 11 && pick(30) == 0) {
        const StreamId to{pick(ms / 2 + 1), 0};
        Stream::add_trim(op, to);
        std::erase_if(model.entries, [&](auto& e) { return e.first <= to; });
      } else if (kind <= 13) {
        const StreamId id = some_id();
        Stream::add_delete(op, id);
        model.entries.erase(id);
        model.state.max_deleted = std::max(model.state.max_deleted, id);
        Stream::add_state(op, model.state);
      } else {
        group_item(op);
      }
    }
    return op;
  }
};

TEST(Stream, HoldsWhatTheModelHolds) {
  for (size_t value_max : {20, 3000}) {
    Random r;
    r.value_max = value_max;
    Stream s(1);
    for (int i = 0; i < 8000; i++) {
      ASSERT_TRUE(s.apply(r.step()));
      if (i % 500 != 0) continue;
      ASSERT_EQ(model_of(s), r.model);
      uint64_t rank = 0;
      for (auto& [id, text] : r.model.entries) {
        ASSERT_EQ(s.rank(id), rank);
        ASSERT_EQ(s.id_at(rank++), id);
        ASSERT_EQ(s.find(id)->values, text.values);
      }
    }
    EXPECT_GT(r.model.entries.size(), 100U);
  }
}

TEST(Stream, AWalkGoesFromOneIdToAnotherBothWays) {
  Random r;
  Stream s(1);
  for (int i = 0; i < 3000; i++) ASSERT_TRUE(s.apply(r.step()));
  for (int i = 0; i < 300; i++) {
    StreamId from = r.some_id(), to = r.some_id();
    std::vector<StreamId> want, there, back;
    for (auto& [id, text] : r.model.entries) {
      if (id >= from && id <= to) want.push_back(id);
    }
    Stream::Walk forward(s.tree(), from, to), backward(s.tree(), from, to, true);
    for (StreamEntry e; forward.next(e);) there.push_back(e.id);
    for (StreamEntry e; backward.next(e);) back.push_back(e.id);
    std::reverse(back.begin(), back.end());
    ASSERT_EQ(there, want);
    ASSERT_EQ(back, want);
  }
}

TEST(Stream, AnImageMakesAnEqualOneAndIsAboutAsLongAsItSays) {
  for (size_t value_max : {20, 3000}) {
    Random r;
    r.value_max = value_max;
    Stream s(1), copy(99);
    for (int i = 0; i < 5000; i++) ASSERT_TRUE(s.apply(r.step()));
    const std::string image = s.image();
    ASSERT_TRUE(copy.apply(image));
    EXPECT_EQ(model_of(copy), r.model);
    EXPECT_LT(image.size(), s.image_bytes() * 5 / 4 + 1000);
    EXPECT_GT(image.size(), s.image_bytes() / 2);
  }
  Stream empty(1), copy(2);
  EXPECT_FALSE(empty.image().empty());
  ASSERT_TRUE(copy.apply(empty.image()));
  EXPECT_EQ(model_of(copy), Model());
}

// What a transaction that comes to nothing relies on.
TEST(Stream, AnInverseBringsEverythingBack) {
  Random r;
  Stream s(1);
  for (int i = 0; i < 1500; i++) ASSERT_TRUE(s.apply(r.step()));
  for (int i = 0; i < 1500; i++) {
    const Model before = r.model;
    const std::string operation = r.step();
    if (i % 3 == 0) {
      ASSERT_TRUE(s.apply(operation));
      continue;
    }
    std::vector<std::string> undo;
    s.inverse(operation, undo);
    ASSERT_TRUE(s.apply(operation));
    for (auto& o : undo) ASSERT_TRUE(s.apply(o));
    r.model = before;
    if (i % 5 == 0) {
      ASSERT_EQ(model_of(s), before) << i;
    }
  }
  EXPECT_EQ(model_of(s), r.model);
}

// What the log relies on: a part is about as long as it was asked for, or one element.
TEST(Stream, PartsAreNotMuchLongerThanAskedFor) {
  for (uint64_t bytes : {10, 1000, 4096, 64 << 10}) {
    Random r;
    r.value_max = 200;
    Stream s(1), copy(99);
    for (int i = 0; i < 3000; i++) {
      if (r.pick(300) == 0) r.value_max = 50'000;
      ASSERT_TRUE(s.apply(r.step()));
      r.value_max = 200;
    }
    uint64_t cursor = 0;
    do {
      std::string part;
      cursor = s.save(cursor, bytes, part);
      Stream alone(1);
      ASSERT_TRUE(alone.apply(part));
      EXPECT_TRUE(part.size() <= 2 * bytes + 100 || alone.size() == 1) << part.size();
      ASSERT_TRUE(copy.apply(part));
    } while (cursor != 0);
    EXPECT_EQ(model_of(copy), r.model);
  }
}

// What the cleaner and a checkpoint rely on: parts and the operations between them, in order, also
// when some that are older come first.
TEST(Stream, PartsWithChangesBetweenThemMakeAnEqualOne) {
  for (uint64_t seed = 1; seed <= 10; seed++) {
    Random r;
    r.rng.seed(seed);
    Stream s(1), copy(99);
    for (int i = 0; i < 5000; i++) ASSERT_TRUE(s.apply(r.step()));
    for (int i = 0; i < 50; i++) {
      const std::string older = r.step();
      ASSERT_TRUE(s.apply(older));
      ASSERT_TRUE(copy.apply(older));
    }
    uint64_t cursor = 0;
    int parts = 0;
    do {
      std::string part;
      cursor = s.save(cursor, 4000, part);
      ASSERT_TRUE(copy.apply(part));
      parts++;
      for (int i = 0; i < 10; i++) {
        const Model before = r.model;
        const std::string operation = r.step();
        std::vector<std::string> undo;
        s.inverse(operation, undo);
        ASSERT_TRUE(s.apply(operation));
        if (r.pick(3) == 0) {  // it came to nothing, and is in no log
          for (auto& o : undo) ASSERT_TRUE(s.apply(o));
          r.model = before;
        } else {
          ASSERT_TRUE(copy.apply(operation));
        }
      }
    } while (cursor != 0);
    EXPECT_GT(parts, 5);
    EXPECT_EQ(model_of(s), r.model);
    Model made = model_of(copy);
    for (auto& [id, text] : r.model.entries) ASSERT_TRUE(made.entries.contains(id)) << seed;
    EXPECT_EQ(made, r.model) << seed;
  }
}

TEST(Stream, OperationsTwiceAreAsOnce) {
  Random r;
  Stream s(1);
  std::vector<std::string> log;
  log.reserve(1000);
  for (int i = 0; i < 1000; i++) log.push_back(r.step());
  for (auto& o : log) ASSERT_TRUE(s.apply(o));
  for (size_t i = 500; i < log.size(); i++) ASSERT_TRUE(s.apply(log[i]));
  EXPECT_EQ(model_of(s), r.model);
}

TEST(Stream, ASnapshotStaysAsItWas) {
  Random r;
  auto s = std::make_unique<Stream>(1);
  for (int i = 0; i < 5000; i++) ASSERT_TRUE(s->apply(r.step()));
  const Model before = r.model;
  auto snapshot = s->snapshot();
  for (int i = 0; i < 1000; i++) ASSERT_TRUE(s->apply(r.step()));
  const auto check = [&] {
    std::map<StreamId, Text> seen;
    ASSERT_TRUE(snapshot.read([&](const Stream::Tree& tree) {
      Stream::Walk walk(tree, kStreamIdMin, kStreamIdMax);
      for (StreamEntry e; walk.next(e);)
        seen[e.id] = {std::string(e.names), std::string(e.values), e.fields};
    }));
    ASSERT_EQ(seen, before.entries);
  };
  check();
  for (int i = 0; s->free_some() && i < 1000; i++) continue;
  s.reset();
  check();
}

// Blocks that grow after it was taken are none of its own, and are not counted as kept for it.
TEST(Stream, ASnapshotOutlivesAnyNumberOfEntriesThatAreAdded) {
  Stream s(1);
  Text text;
  text.add("f", std::string(1000, 'x'));
  const auto add = [&](uint64_t ms) {
    std::string operation;
    Stream::add_entry(operation, text.entry({ms, 0}));
    ASSERT_TRUE(s.apply(operation));
  };
  add(1);
  const auto snapshot = s.snapshot();
  for (uint64_t i = 2; i * 1000 < limits::kKeptBytesMax + (limits::kKeptBytesMax >> 1); i++) {
    add(i);
    if (i % 8 == 0) {  // and goes, as no reader has seen it
      std::string operation;
      Stream::add_delete(operation, {i, 0});
      ASSERT_TRUE(s.apply(operation));
    }
  }
  EXPECT_FALSE(snapshot.lost());
}

TEST(Stream, MemoryIsCountedAndFreedInSteps) {
  Random r;
  Stream s(1);
  const uint64_t empty = s.memory_bytes();
  uint64_t text = 0;
  for (int i = 0; i < 20000; i++) ASSERT_TRUE(s.apply(r.step()));
  for (auto& [id, t] : r.model.entries) text += t.values.size();
  EXPECT_GT(s.memory_bytes(), empty + text);
  while (s.free_some()) continue;
  EXPECT_EQ(s.size(), 0U);
  Stream gone(1);
  for (int i = 0; i < 3000; i++) ASSERT_TRUE(gone.apply(r.step()));
  std::string all;
  Stream::add_trim(all, kStreamIdMax);
  for (int g = 0; g < 3; g++) {
    Stream::add_group_name(all, cat("g", g));
    Stream::add_group_gone(all);
  }
  ASSERT_TRUE(gone.apply(all));
  EXPECT_EQ(gone.memory_bytes(), empty);
  EXPECT_LT(gone.image_bytes(), 100U);
}

TEST(Stream, BrokenOperationsAreRefused) {
  Random r;
  EXPECT_TRUE(Stream(1).apply(""));
  EXPECT_FALSE(Stream(1).apply("\x17whatever"));
  for (int i = 0; i < 20000; i++) {
    std::string bytes;
    for (int k = 0; k < 4; k++) bytes += r.step();
    if (bytes.empty()) continue;
    if (i % 4 == 0) bytes.resize(r.pick(bytes.size()) + 1);
    for (uint64_t k = r.pick(4); k > 0; k--)
      bytes[r.pick(bytes.size())] = static_cast<char>(r.rng());
    Stream s(1);
    std::vector<std::string> undo;
    s.inverse(bytes, undo);
    (void)s.apply(bytes);  // under the sanitizers: it reads nothing that is not there
    Stream copy(2);
    ASSERT_TRUE(copy.apply(s.image()));
    model_of(copy);
  }
}

// XSETID and XGROUP say what they like; the largest stopped the server, and each start after it.
TEST(Stream, CountsAreModulo2To64) {
  Stream s(1), copy(2);
  Text t;
  t.add("f", "v");
  for (uint64_t added : {uint64_t{INT64_MAX}, uint64_t{INT64_MAX} + 1, UINT64_MAX}) {
    for (int64_t read : {INT64_MAX, INT64_MAX - 1, int64_t{0}, INT64_MIN, int64_t{-1}}) {
      std::string op;
      Stream::add_entry(op, t.entry({1, 1}));
      Stream::add_state(op, {{1, 1}, added, {}});
      Stream::add_group_name(op, "g");
      Stream::add_group(op, {0, 1}, read);
      ASSERT_TRUE(s.apply(op));
      EXPECT_EQ(s.state().added, added);
      const StreamGroup& group = *s.group("g");
      EXPECT_EQ(group.entries_read(), read);
      const StreamId id{1, 1};
      (void)s.read_after({1, 1}, read, {&id, 1});
      (void)s.lag(group);
      (void)s.estimate_read({0, 5});
      ASSERT_TRUE(copy.apply(s.image()));
      EXPECT_EQ(model_of(copy), model_of(s));
    }
  }
}

// Groups that came and went were kept by the thousands, and counted as nothing.
TEST(Stream, AGroupThatWentIsCountedUntilItIsFreedAndFreedAsFastAsOthersCome) {
  Stream s(1);
  std::vector<StreamId> ids;
  for (uint64_t i = 1; i <= 5000; i++) ids.push_back({i, 1});
  uint64_t with_it = 0;
  for (int i = 0; i < 50; i++) {
    std::string made, gone;
    for (std::string* op : {&made, &gone}) Stream::add_group_name(*op, "g");
    Stream::add_group(made, {}, 0);
    Stream::add_consumer(made, "c", 1, 1);
    Stream::add_pending(made, 1, 1, ids);
    Stream::add_group_gone(gone);
    ASSERT_TRUE(s.apply(made));
    with_it = std::max(with_it, s.memory_bytes());
    ASSERT_TRUE(s.apply(gone));
    EXPECT_EQ(s.groups().size(), 0U);
    if (i == 0) {
      EXPECT_GT(s.memory_bytes(), with_it / 2);
    }
    EXPECT_LE(s.memory_bytes(), with_it);
  }
  Stream alone(1);
  std::string made;
  Stream::add_group_name(made, "g");
  Stream::add_group(made, {}, 0);
  Stream::add_consumer(made, "c", 1, 1);
  Stream::add_pending(made, 1, 1, ids);
  ASSERT_TRUE(alone.apply(made));
  EXPECT_LE(with_it, 2 * alone.memory_bytes());
  while (s.free_some()) continue;
}

TEST(Stream, TheLargestIdIsAnEntryLikeOthers) {
  Stream s(1), copy(2);
  Text t;
  t.add("f", "v");
  std::string op;
  Stream::add_entry(op, t.entry({1, 1}));
  Stream::add_entry(op, t.entry(kStreamIdMax));
  Stream::add_state(op, {kStreamIdMax, 2, {}});
  ASSERT_TRUE(s.apply(op));
  uint64_t cursor = 0;
  do {
    std::string part;
    cursor = s.save(cursor, 1, part);
    ASSERT_TRUE(copy.apply(part));
  } while (cursor != 0);
  EXPECT_EQ(model_of(copy), model_of(s));
}

}  // namespace
}  // namespace cairn::kv
