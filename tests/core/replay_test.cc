// Replay, held against a model: the records of a generated log, in any order of arrival, some of
// them twice, all of them or what a cleaner left, make what they make one after the other.
#include "core/store/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/text.h"
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

constexpr auto kHashFlags = static_cast<uint8_t>(static_cast<uint8_t>(ValueType::kHash) << 4);

struct Value {
  bool is_hash = false;
  std::string bytes, meta;
  std::map<std::string, std::pair<std::string, int64_t>> fields;  // value, and until when
  int64_t expire_ms = 0;
  Lsn version, lsn;
  bool operator==(const Value&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Value& v) {
  return out << (v.is_hash ? cat("hash of ", v.fields.size()) : v.bytes) << " meta " << v.meta
             << " until " << v.expire_ms << " version " << v.version.value() << " at "
             << v.lsn.value();
}
struct Space {
  std::string name;
  int64_t created_ms = 0;
  Lsn named;
  std::map<std::string, Value> keys;
};
struct Record {
  RecordType type;
  uint8_t flags = 0;
  NamespaceId ns;
  int64_t expire_ms = 0;
  std::string key, meta, value;
  Lsn version;
  Lsn lsn;
  RecordView view() const {
    RecordView r{type, flags, ns, expire_ms, key, meta, value};
    r.version = version;
    r.wall_ms = 1;
    return r;
  }
};

// A log, and what it makes, record by record.
struct Story {
  explicit Story(uint64_t seed) : rng(seed) {
    for (uint32_t i = 0; i < kDatabasesUsual; i++) spaces[i].name = cat("db", i);
  }
  sim::Rng rng;
  std::vector<Record> records;
  std::map<uint32_t, Space> spaces;  // that are there, by their ids in the log
  Holdings holdings;                 // which database has which of them
  Lsn swapped;
  std::map<std::pair<uint32_t, std::string>, Lsn> oldest;  // of a hash
  uint32_t next_id = kFirstBucket;
  uint64_t next_lsn = kBlockBytes;

  uint64_t pick(uint64_t n) { return rng() % n; }
  std::string word(size_t most) {
    std::string text(pick(most + 1), '\0');
    for (char& c : text) c = static_cast<char>('a' + pick(26));
    return text;
  }
  int64_t some_time() {
    return pick(2) == 0 ? 0 : static_cast<int64_t>(1'800'000'000'000 + pick(9));
  }

  Lsn add(Record r) {
    if (r.expire_ms != 0) r.flags |= kRecordHasExpiry;
    if (r.version.valid()) r.flags |= kRecordHasOrigin;
    r.lsn = Lsn(next_lsn);
    next_lsn += r.view().size() + 8 * pick(50);
    records.push_back(r);
    return r.lsn;
  }
  static std::string image(const Value& v, const std::string& from = "",
                           const std::string& to = "~") {
    std::string operation;
    for (auto& [field, value] : v.fields) {
      if (field < from || field >= to) continue;
      kv::Hash::add_set_until(operation, field, value.first, value.second);
    }
    return operation;
  }

  void put(uint32_t ns, const std::string& key) {
    Value& v = spaces[ns].keys[key] = Value();
    v.is_hash = pick(2) == 0;
    v.expire_ms = some_time();
    Record r{RecordType::kPut, 0, NamespaceId(ns), v.expire_ms, key};
    if (v.is_hash) {
      r.flags = kHashFlags;
      for (uint64_t i = 1 + pick(5); i > 0; i--) v.fields[field()] = {word(20), some_time()};
      r.value = image(v);
    } else {
      r.value = v.bytes = word(pick(10) == 0 ? 3000 : 30);
      r.meta = v.meta = word(3);
    }
    v.version = v.lsn = add(r);
    oldest[{ns, key}] = v.lsn;
  }
  std::string field() { return std::string(1, static_cast<char>('a' + pick(8))) + word(1); }
  void operate(uint32_t ns, const std::string& key, Value& v) {
    Record r{RecordType::kOperation, kHashFlags, NamespaceId(ns), v.expire_ms, key};
    const std::string name = field();
    switch (pick(3)) {
      case 0:
        if (v.fields.size() == 1) return remove(ns, key);
        kv::Hash::add_delete(r.value, v.fields.begin()->first);
        v.fields.erase(v.fields.begin());
        break;
      case 1: {
        const int64_t until = some_time();
        kv::Hash::add_until(r.value, name, until);
        if (v.fields.contains(name)) v.fields[name].second = until;
        break;
      }
      default:
        v.fields[name] = {word(20), some_time()};
        kv::Hash::add_set_until(r.value, name, v.fields[name].first, v.fields[name].second);
    }
    v.version = v.lsn = pick(4) == 0 ? add_in_parts(r) : add(r);
  }
  Lsn add_in_parts(const Record& whole) {
    Lsn last;
    PartPlace place{0, whole.value.size()};
    while (place.offset < place.total) {
      Record r = whole;
      r.type = RecordType::kOperationPart;
      r.value = whole.value.substr(place.offset, 1 + pick(place.total));
      r.meta = {reinterpret_cast<const char*>(&place), sizeof(place)};
      last = add(r);
      place.offset += r.value.size();
    }
    return last;
  }
  void expire(uint32_t ns, const std::string& key, Value& v) {
    v.expire_ms = some_time();
    add({RecordType::kExpiry, 0, NamespaceId(ns), v.expire_ms, key});
  }
  void remove(uint32_t ns, const std::string& key) {
    spaces[ns].keys.erase(key);
    add({RecordType::kDelete, 0, NamespaceId(ns), 0, key});
  }
  // As the cleaner does: whole, or a hash in parts, between which others change it.
  void copy(uint32_t ns, const std::string& key) {
    Value& v = spaces[ns].keys[key];
    if (v.is_hash && pick(2) == 0) return copy_in_parts(ns, key);
    Record r{
        RecordType::kPut, v.is_hash ? kHashFlags : uint8_t{0}, NamespaceId(ns), v.expire_ms, key,
        v.meta,           v.is_hash ? image(v) : v.bytes,      v.version};
    v.lsn = oldest[{ns, key}] = add(r);
  }
  void copy_in_parts(uint32_t ns, const std::string& key) {
    Lsn begin;
    for (char from = 'a'; from < 'i'; from = static_cast<char>(from + 2)) {
      Value& v = spaces[ns].keys[key];
      const std::string to(1, static_cast<char>(from + 2));
      Record r{RecordType::kOperation,
               kHashFlags,
               NamespaceId(ns),
               v.expire_ms,
               key,
               "",
               image(v, std::string(1, from), to),
               v.version};
      if (r.value.empty()) kv::Hash::add_delete(r.value, "none");
      v.lsn = add(r);
      if (!begin.valid()) begin = v.lsn;
      if (to == "i") oldest[{ns, key}] = begin;
      if (v.fields.size() > 1 && pick(2) == 0) operate(ns, key, v);
    }
  }

  void name(uint32_t id) {
    Space& s = spaces[id];
    Properties p;
    p.created_ms = s.created_ms = static_cast<int64_t>(pick(1'000'000));
    p.tags["created"] = cat(p.created_ms);
    s.named = add({RecordType::kNamespace, 0, NamespaceId(id), 0, s.name, "", p.encode()});
  }
  void drop(uint32_t id) {
    spaces.erase(id);
    add({RecordType::kNamespaceDrop, 0, NamespaceId(id)});
  }
  void flush(NamespaceId id) {
    for (auto& [ns, space] : spaces) {
      if (id.valid() ? ns == id.value() : ns < kDatabasesUsual) space.keys.clear();
    }
    add({RecordType::kNamespaceFlush, 0, id});
  }
  void swap(uint32_t a, uint32_t b) {
    std::swap(holdings.numbers[a], holdings.numbers[b]);
    say_holdings();
  }
  void say_holdings() { swapped = add({RecordType::kSwap, 0, {}, 0, "", "", holdings.encode()}); }
  uint32_t some_space() {
    if (pick(2) == 0) return static_cast<uint32_t>(pick(3));
    const uint32_t id =
        std::next(spaces.begin(), static_cast<ptrdiff_t>(pick(spaces.size())))->first;
    return id < kDatabasesUsual ? id % 3 : id;
  }
  void step() {
    const uint64_t what = pick(200);
    const uint32_t ns = some_space();
    if (what < 4) {
      spaces[next_id].name = cat("bucket", pick(5));
      return name(next_id++);
    }
    if (what < 6) return name(ns);
    if (what < 8 && ns >= kFirstBucket) return drop(ns);
    if (what == 8) return flush(pick(2) == 0 ? NamespaceId(ns) : NamespaceId());
    if (what == 9) return swap(static_cast<uint32_t>(pick(3)), static_cast<uint32_t>(pick(3)));
    const std::string key = cat("key", pick(6));
    auto& keys = spaces[ns].keys;
    const auto there = keys.find(key);
    if (there == keys.end()) {
      if (what < 20) return remove(ns, key);  // a tombstone hides nothing
      return put(ns, key);
    }
    if (what < 40) return remove(ns, key);
    if (what < 70) return put(ns, key);
    if (what < 100) return expire(ns, key, there->second);
    if (what < 120) return copy(ns, key);
    if (there->second.is_hash) return operate(ns, key, there->second);
    put(ns, key);
  }

  // What is left when the cleaner came to this LSN: what lives before it was written again, and
  // all before it is gone.
  Lsn clean() {
    const Lsn until(records[pick(records.size())].lsn);
    if (swapped.valid() && swapped < until) say_holdings();
    for (auto& [id, space] : spaces) {
      if (space.named.valid() && space.named < until) {
        const int64_t created = space.created_ms;
        name(id);
        space.created_ms = created;
        Properties p;
        p.created_ms = created;
        p.tags["created"] = cat(created);
        records.back().value = p.encode();
      }
      for (auto& [key, value] : space.keys) {
        if (oldest[{id, key}] < until) copy(id, key);
      }
    }
    std::erase_if(records, [&](const Record& r) { return r.lsn < until; });
    return until;
  }
};

struct ReplayTest : FaultTest {
  std::unique_ptr<Store> store;
  std::unique_ptr<Replay> replay;
  std::set<Lsn> timed;
  // One that holds nothing.
  void start() {
    TearDown();
    store = make();
    replay = std::make_unique<Replay>(*store, store->faults(),
                                      [this](Lsn lsn, int64_t) { timed.insert(lsn); });
  }
  void TearDown() override {
    replay.reset();
    if (store != nullptr) take_apart(std::move(store));
    timed.clear();
  }
  uint64_t pick(uint64_t n) { return rng() % n; }

  void apply(const std::vector<const Record*>& records) {
    std::vector<LogRecord> group;
    for (size_t i = 0; i < records.size(); i++) {
      group.push_back({records[i]->view(), records[i]->lsn});
      if (pick(20) != 0 && i + 1 < records.size()) continue;
      replay->apply(group);
      group.clear();
    }
  }
  // Out of order, and some twice. In stages: what is before the end of one is folded then, while
  // some of what comes later came already.
  void apply_all(const Story& story, bool fold) {
    std::vector<Lsn> ends{Lsn(UINT64_MAX)};
    for (uint64_t i = fold ? 1 + pick(5) : 0; i > 0; i--) {
      ends.push_back(story.records[pick(story.records.size())].lsn);
    }
    std::sort(ends.begin(), ends.end());
    std::vector<std::vector<const Record*>> stages(ends.size());
    for (const Record& r : story.records) {
      const auto stage =
          static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), r.lsn) - ends.begin());
      for (uint64_t copies = pick(8) == 0 ? 2 : 1; copies > 0; copies--) {
        stages[pick(4) == 0 ? pick(stage + 1) : stage].push_back(&r);
      }
    }
    for (size_t i = 0; i < stages.size(); i++) {
      std::shuffle(stages[i].begin(), stages[i].end(), rng);
      apply(stages[i]);
      if (i + 1 == stages.size()) break;
      ASSERT_TRUE(run(folded(ends[i])).has_value());
    }
  }
  awaitable<bool> folded(Lsn before) {
    co_await replay->fold(before);
    co_return true;
  }

  static Value value_of(const Entry* e) {
    Value v;
    v.is_hash = !e->is_string();
    v.meta = e->meta();
    v.expire_ms = e->expire_ms();
    v.version = e->version();
    v.lsn = e->lsn();
    if (const Collection* c = e->collection()) {
      const auto* hash = static_cast<const kv::Hash*>(c);
      hash->for_each(kv::Hash::kNoTime, [&](auto field, auto value) {
        v.fields[std::string(field)] = {std::string(value),
                                        hash->find(field, kv::Hash::kNoTime)->until_ms};
      });
    } else if (!e->is_cold()) {
      v.bytes = e->value();
    }
    return v;
  }
  // `first`: no record of the log is older.
  void check(const Story& story, Lsn first) {
    const Status finished = *run(replay->finish(first, {}));
    ASSERT_TRUE(finished.ok()) << finished;
    std::set<uint32_t> there;
    for (const Replay::Space& s : replay->namespaces()) {
      const uint32_t id = s.space->id.value();
      if (id == kSystemNamespace.value()) continue;
      there.insert(id);
      const auto of_name = story.spaces.find(id);
      ASSERT_NE(of_name, story.spaces.end()) << "a namespace is back: " << id;
      EXPECT_EQ(s.space->name, of_name->second.name);
      const auto properties = s.space->properties();
      EXPECT_EQ(properties->created_ms, of_name->second.created_ms) << id;
      if (of_name->second.named.valid()) {
        EXPECT_EQ(properties->tags.at("created"), cat(properties->created_ms)) << id;
      }
      const uint32_t stored = id < kDatabasesUsual ? story.holdings.numbers[id] : id;
      EXPECT_EQ(s.space->stored(), NamespaceId(stored));
      const auto model = story.spaces.find(stored);
      std::map<std::string, Value> found;
      size_t cold = 0;
      for (size_t i = 0; i < kStripes; i++) {
        s.space->index->for_each(i, [&](const Entry* e) {
          if (e->lsn() < s.since) return;  // it was flushed
          Value& v = found[std::string(e->key())] = value_of(e);
          if (!e->is_cold()) return;
          cold++;
          const auto known = model->second.keys.find(std::string(e->key()));
          ASSERT_NE(known, model->second.keys.end());
          EXPECT_EQ(e->value_bytes(), known->second.bytes.size());
          v.bytes = known->second.bytes;
        });
      }
      EXPECT_TRUE(cold == 0 || store->memory_bytes() != 0);
      for (auto& [key, value] : model->second.keys) {
        const auto it = found.find(key);
        ASSERT_NE(it, found.end()) << model->second.name << "/" << key << " is gone";
        EXPECT_EQ(it->second, value) << model->second.name << "/" << key;
        found.erase(it);
      }
      for (auto& [key, value] : found)
        ADD_FAILURE() << model->second.name << "/" << key << " is back";
    }
    for (auto& [id, space] : story.spaces) EXPECT_TRUE(there.contains(id)) << space.name;
    EXPECT_TRUE(replay->notes().empty());
    EXPECT_TRUE(replay->given_up().empty());
    EXPECT_TRUE(replay->restated().empty());
    uint32_t newest = 0;
    for (const Record& r : story.records) {
      if (r.ns.valid()) newest = std::max(newest, r.ns.value());
      const bool copied = r.version.valid() && r.type != RecordType::kNamespace;
      EXPECT_TRUE(!copied || timed.contains(r.version));
    }
    EXPECT_GT(replay->next_namespace(), newest);
  }
  // A story of its own for each seed: told, cleaned now and then, and replayed.
  void tell(uint64_t seed, bool fold) {
    SCOPED_TRACE(cat("seed ", seed));
    Story story(seed);
    Lsn first;
    for (uint64_t part = 1 + story.pick(3); part > 0; part--) {
      for (uint64_t i = 1 + story.pick(400); i > 0; i--) story.step();
      if (story.pick(2) == 0) first = story.clean();
    }
    start();
    apply_all(story, fold);
    check(story, first);
  }
};

TEST_F(ReplayTest, AnyOrderMakesWhatTheRecordsMadeOneAfterTheOther) {
  for (uint64_t seed = 1; seed <= 150 && !HasFailure(); seed++) tell(seed, false);
}

TEST_F(ReplayTest, FoldingOnTheWayChangesNothing) {
  for (uint64_t seed = 1001; seed <= 1150 && !HasFailure(); seed++) tell(seed, true);
}

// With little memory values stay where they are read from; what is known of them is the same.
TEST_F(ReplayTest, WhatStaysOnDiskIsNamedAlike) {
  memory_bytes = 20'000;
  for (uint64_t seed = 2001; seed <= 2080 && !HasFailure(); seed++) tell(seed, seed % 2 == 0);
}

TEST_F(ReplayTest, OperationsOfWhatWasDroppedAreNotKept) {
  memory_bytes = 20'000'000;
  start();
  RecordView r;
  r.ns = NamespaceId(20);
  r.type = RecordType::kNamespaceDrop;
  const LogRecord drop{r, Lsn(uint64_t{1} << 30)};
  replay->apply({&drop, 1});
  std::string operation;
  kv::Hash::add_set(operation, "field", std::string(1000, 'v'));
  r.type = RecordType::kOperation;
  r.flags = kHashFlags;
  r.key = "h";
  r.value = operation;
  uint64_t lsn = 48;
  for (; !replay->crowded(true); lsn += 2000) {
    const LogRecord operated{r, Lsn(lsn)};
    replay->apply({&operated, 1});
  }
  ASSERT_TRUE(run(folded(Lsn(lsn))).has_value());
  EXPECT_FALSE(replay->crowded(true));
  EXPECT_TRUE(run(replay->finish(Lsn(48), {}))->ok());
  EXPECT_EQ(replay->namespaces().size(), kDatabasesUsual + 1);  // and that of the system
}

TEST_F(ReplayTest, NamesThatACollectionHadAreNotKept) {
  memory_bytes = 20'000'000;
  start();
  std::string operation;
  kv::Hash::add_set(operation, "field", "value");
  uint64_t lsn = 48;
  const auto apply_one = [&](RecordType type, NamespaceId ns, std::string_view key,
                             std::string_view value) {
    RecordView r{type, kHashFlags, ns, 0, key, {}, value};
    const LogRecord record{r, Lsn(lsn)};
    replay->apply({&record, 1});
    lsn += 16;
  };
  apply_one(RecordType::kOperation, kIdentities, Identity::key_of(1), operation);
  std::string key = std::string(20'000, 'k') + "0";
  apply_one(RecordType::kName, NamespaceId(0), key,
            NameRecord{1, Lsn(48), Lsn(48), {}, {}}.encode());
  for (int i = 1; !replay->crowded(true); i++) {
    const std::string old = std::exchange(key, cat(std::string(20'000, 'k'), i));
    apply_one(RecordType::kName, NamespaceId(0), key,
              NameRecord{1, Lsn(48), Lsn(48), NamespaceId(0), old}.encode());
  }
  ASSERT_TRUE(run(folded(Lsn(lsn))).has_value());
  EXPECT_FALSE(replay->crowded(true));
  ASSERT_TRUE(run(replay->finish(Lsn(48), {}))->ok());
  Namespace& ns = store->database(0);
  EXPECT_EQ(ns.size(), 1u);
  const Entry* e = ns.index->find(key, ns.hash(key));
  ASSERT_NE(e, nullptr);
  EXPECT_EQ(value_of(e).fields.size(), 1u);
}

// Parts of a checkpoint, between which the collection was changed: some are folded before others.
TEST_F(ReplayTest, PartsOfACheckpointAreAllThere) {
  start();
  for (auto& [field, lsn] : {std::pair("a", 88), std::pair("b", 496)}) {
    std::string operation;
    kv::Hash::add_set(operation, field, "value");
    CheckpointItem item;
    item.kind = ItemKind::kPart;
    item.lsn = item.record.version = Lsn(static_cast<uint64_t>(lsn));
    item.oldest = Lsn(48);
    item.record.flags = kHashFlags | kRecordHasOrigin;
    item.record.ns = NamespaceId(0);
    item.record.key = "h";
    item.record.value = operation;
    ASSERT_TRUE(replay->apply(item).ok());
  }
  replay->on_base(Lsn(96));
  ASSERT_TRUE(run(folded(Lsn(200))).has_value());
  ASSERT_TRUE(run(replay->finish(Lsn(48), {}))->ok());
  Namespace& ns = store->database(0);
  const Entry* e = ns.index->find("h", ns.hash("h"));
  ASSERT_NE(e, nullptr);
  EXPECT_EQ(value_of(e).fields.size(), 2);
}

// Large collections that are named, renamed, replaced, deleted and flushed; where each is at the
// end in any order of arrival, and whatever was dropped on the way.
struct Names {
  explicit Names(uint64_t seed) : story(seed) {}
  Story story;
  std::map<std::string, uint64_t> now;  // which identity a key has; 0: a string
  uint64_t at = 96, last = 0;

  Record& add(RecordType type, uint32_t ns, std::string key, std::string value = {}) {
    Record& r = story.records.emplace_back();
    r.type = type;
    r.ns = NamespaceId(ns);
    r.key = std::move(key);
    r.value = std::move(value);
    r.lsn = Lsn(at += 16);
    return r;
  }
  void step() {
    const std::string key = cat("key", story.pick(4)), other = cat("key", story.pick(4));
    const auto it = now.find(key);
    const bool large = it != now.end() && it->second != 0;
    switch (story.pick(8)) {
      case 0:
        add(RecordType::kNamespaceFlush, 0, {});
        return now.clear();
      case 1:
        add(RecordType::kPut, 0, key, "string");
        now[key] = 0;
        return;
      case 2:
        if (it == now.end()) return;
        add(RecordType::kDelete, 0, key);
        now.erase(it);
        return;
      case 3:
      case 4: {
        const uint64_t id = ++last;
        std::string operation;
        kv::Hash::add_set(operation, cat("of", id), "value");
        Record& part = add(RecordType::kOperation, kIdentities.value(),
                           std::string(Identity::key_of(id)), operation);
        part.flags = kHashFlags;
        const Lsn lsn = part.lsn;
        add(RecordType::kName, 0, key, NameRecord{id, lsn, lsn, {}, {}}.encode()).flags =
            kHashFlags;
        now[key] = id;
        return;
      }
      default:
        if (!large || key == other) return;
        const uint64_t id = it->second;
        add(RecordType::kName, 0, other, NameRecord{id, {}, {}, NamespaceId(0), key}.encode())
            .flags = kHashFlags;
        now.erase(it);
        now[other] = id;
    }
  }
};

TEST_F(ReplayTest, LargeCollectionsHaveTheirNewestNames) {
  for (uint64_t seed = 1; seed <= 400 && !HasFailure(); seed++) {
    SCOPED_TRACE(cat("seed ", seed));
    Names names(seed);
    while (names.story.records.size() < 40) names.step();
    start();
    apply_all(names.story, seed % 4 != 0);
    const Status finished = *run(replay->finish(Lsn(), {}));
    ASSERT_TRUE(finished.ok()) << finished;
    Lsn since;
    for (const Replay::Space& s : replay->namespaces()) {
      if (s.space->id == NamespaceId(0)) since = s.since;
    }
    std::map<std::string, uint64_t> found;
    for (size_t i = 0; i < kStripes; i++) {
      store->database(0).index->for_each(i, [&](const Entry* e) {
        if (e->lsn() < since) return;
        uint64_t& id = found[std::string(e->key())];
        for (auto& field : value_of(e).fields) {
          id = parse_int<uint64_t>(std::string_view(field.first).substr(2)).value_or(0);
        }
      });
    }
    EXPECT_EQ(found, names.now);
  }
}

}  // namespace
}  // namespace cairn
