// Databases that exchange what they hold: nothing is lost, doubled or mixed, whatever becomes of
// the log meanwhile.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <utility>

#include "core/base/text.h"
#include "core/store/collection_copy.h"
#include "objects/object.h"
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

constexpr uint32_t kUsed = 3;
using Fields = std::map<std::string, std::string>;
struct Value {
  std::string bytes;
  Fields fields;  // of a hash
  bool operator==(const Value&) const = default;
};

struct SwapTest : FaultTest {
  std::unique_ptr<Store> store;
  std::array<std::map<std::string, Value>, kUsed> model;
  bool spills = false;
  size_t listings = 0;  // under way
  uint64_t from_checkpoint = 0, cleaned = 0, written = 0, renamed = 0;

  SwapTest() { amplification = 1.3; }
  void start() {
    memory_bytes = spills ? 120'000 : 0;
    store = make();
    const auto opened = run(store->open());
    ASSERT_TRUE(opened.has_value() && opened->ok()) << *opened;
    from_checkpoint += store->recovered_items() > 0;
  }
  void stop() {
    cleaned += store->cleaner().stats().segments_freed;
    written += store->checkpointer().written();
    take_apart(std::move(store));
  }
  void TearDown() override {
    if (store == nullptr) return;
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }
  void crash(bool with_checkpoint) {
    const Lsn newest(store->log().tail().value() - 1);
    ASSERT_TRUE(run(store->log().wait_durable(newest))->ok());
    if (with_checkpoint && pick(2) == 0) {
      ASSERT_TRUE(run(store->close())->ok());
    }
    stop();
    disk.crash(rng);
    if (!with_checkpoint) {
      std::erase_if(disk.files, [](auto& f) { return f.first.kind == FileKind::kCheckpoint; });
    }
    start();
  }

  // ---- changes ----

  uint64_t pick(uint64_t n) { return rng() % n; }
  std::string text(size_t most) {
    return std::string(1 + pick(most), static_cast<char>('a' + pick(26)));
  }
  void put(Transaction& t, uint32_t db, const std::string& key) {
    Namespace& ns = store->database(db);
    const std::string bytes = text(2000);
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = bytes;
    ASSERT_TRUE(t.put(ns, ns.hash(key), r).ok());
    model[db][key] = {bytes, {}};
  }
  void grow(Transaction& t, uint32_t db, const std::string& key, Entry* e) {
    Namespace& ns = store->database(db);
    Value& v = model[db][key];
    std::string operation;
    for (uint64_t i = 1 + pick(40); i > 0; i--) {
      const std::string field = cat("f", pick(200));
      kv::Hash::add_set(operation, field, v.fields[field] = text(160));
    }
    RecordView r;
    r.type = RecordType::kOperation;
    r.flags = static_cast<uint8_t>(static_cast<unsigned>(ValueType::kHash) << 4);
    r.key = key;
    r.value = operation;
    ASSERT_TRUE(t.operate(ns, ns.hash(key), e, r).ok());
  }
  void swap(Transaction& t) {
    const auto a = static_cast<uint32_t>(pick(kUsed));
    const auto b = static_cast<uint32_t>((a + 1 + pick(kUsed - 1)) % kUsed);
    ASSERT_TRUE(t.swap(store->database(a), store->database(b)).ok());
    std::swap(model[a], model[b]);
  }
  void change(Transaction& t) {
    const auto db = static_cast<uint32_t>(pick(kUsed));
    Namespace& ns = store->database(db);
    const bool is_hash = pick(3) == 0;
    const std::string key = cat(is_hash ? "hash" : "key", pick(is_hash ? 2 : 30));
    Entry* e = ns.index->find(key, ns.hash(key));
    const uint64_t what = pick(40);
    if (what < 4) return swap(t);
    if (what == 4 && pick(6) == 0) {
      ASSERT_TRUE(t.flush(ns).ok());
      return model[db].clear();
    }
    if (what < 10) {
      if (e == nullptr) return;
      ASSERT_TRUE(t.remove(ns, ns.hash(key), e).ok());
      model[db].erase(key);
      return;
    }
    if (what < 20 && t.shape() == Shape::kSeveral && e != nullptr && Transaction::has_identity(e)) {
      const auto to = static_cast<uint32_t>(pick(kUsed));
      const std::string name = cat("hash", pick(2));
      if (to == db && name == key) return;
      Namespace& other = store->database(to);
      ASSERT_TRUE(t.rename(ns, ns.hash(key), e, other, other.hash(name), name).ok());
      Value value = std::move(model[db][key]);
      model[db].erase(key);
      model[to][name] = std::move(value);
      renamed++;
      return;
    }
    if (is_hash && (e == nullptr || !e->is_cold())) return grow(t, db, key, e);
    if (!is_hash) put(t, db, key);
  }
  // One change, or several together, which may come to nothing.
  void change() {
    StripeLocks all(*store);
    all.lock_all();
    if (pick(2) == 0) {
      Transaction t(*store, &all, Shape::kOne);
      change(t);
      ASSERT_TRUE(t.commit().ok());
      return;
    }
    const auto before = model;
    Transaction t(*store, &all, Shape::kSeveral);
    for (uint64_t i = 1 + pick(6); i > 0; i--) change(t);
    if (pick(4) == 0) {
      model = before;
    } else {
      ASSERT_TRUE(t.commit().ok());
    }
  }

  // ---- what is there ----

  awaitable<Status> look(uint32_t db, std::map<std::string, Value>& found) {
    const NamespacePtr ns = store->database(db).shared_from_this();
    for (auto& [key, value] : model[db]) {
      Status fetched = co_await store->faults().fetch(ns, key);
      if (!fetched.ok()) co_return fetched;
      StripeLocks lock(*store, ns->hash(key));
      const Entry* e = ns->index->find(key, ns->hash(key));
      if (e == nullptr) continue;
      if (e->is_cold()) co_return absl::InternalError("it left memory at once");
      if (const Collection* c = e->collection()) {
        auto& fields = found[key].fields;
        static_cast<const kv::Hash*>(c)->for_each(
            kv::Hash::kNoTime, [&](auto field, auto text) { fields[std::string(field)] = text; });
      } else {
        found[key].bytes = e->value();
      }
    }
    co_return absl::OkStatus();
  }
  // Whatever is swapped meanwhile, a listing is of what the database holds when it is there.
  awaitable<bool> list(uint32_t db) {
    objects::ListQuery query;
    query.collections = true;
    const auto page = co_await objects::list(*store, store->database(db).shared_from_this(), query);
    EXPECT_TRUE(page.ok()) << page.status();
    std::vector<std::string> listed, known;
    if (page.ok()) {
      for (auto& item : page->items) listed.push_back(item.key);
    }
    for (auto& [key, value] : model[db]) known.push_back(key);
    EXPECT_EQ(listed, known) << "db" << db;
    co_return true;
  }
  awaitable<void> list_beside(uint32_t db) {
    listings++;
    (void)co_await list(db);
    listings--;
  }
  void check() {
    for (uint32_t db = 0; db < kUsed; db++) {
      SCOPED_TRACE(cat("db", db));
      std::map<std::string, Value> found;
      const auto looked = run(look(db, found));
      ASSERT_TRUE(looked && looked->ok()) << *looked;
      EXPECT_TRUE(found == model[db]);
      Namespace& ns = store->database(db);
      EXPECT_EQ(ns.size(), model[db].size());
      EXPECT_EQ(ns.committed_size(), static_cast<int64_t>(model[db].size()));
      EXPECT_EQ(ns.index->owner, &ns);
      ASSERT_TRUE(run(list(db)).has_value());
    }
  }
  void live(uint64_t seed) {
    SCOPED_TRACE(cat("seed ", seed));
    rng.seed(seed);
    start();
    for (int life = 0; life < 8 && !HasFailure(); life++) {
      SCOPED_TRACE(cat("life ", life));
      for (uint64_t i = 100 + pick(300); i > 0 && !HasFailure(); i--) {
        if (pick(20) == 0) {
          const auto db = static_cast<uint32_t>(pick(kUsed));
          spawn(context.get_executor(), "a listing", list_beside(db));
          for (uint64_t turns = pick(4); turns > 0; turns--) context.poll_one();
        }
        change();
        sleep(static_cast<int64_t>(pick(4)));
      }
      while (listings > 0) sleep(1);
      if (life % 2 == 0) check();
      crash(life % 3 != 0);
      check();
    }
    stop();
    disk.files.clear();
    model = {};
  }
  void live() {
    for (uint64_t seed = 1; seed <= 5 && !HasFailure(); seed++) live(seed);
    EXPECT_GT(cleaned, 20u);
    EXPECT_GT(written, 5u);
    EXPECT_GT(from_checkpoint, 5u);
    EXPECT_GT(renamed, 5u);
  }
};

// Swaps among all other changes, with values, large collections and listings, while the log is
// cleaned and checkpoints are written; life after life, from the log alone or with a checkpoint.
TEST_F(SwapTest, DatabasesHoldWhatTheModelSays) { live(); }

TEST_F(SwapTest, AlsoWhatIsOnDiskAlone) {
  spills = true;
  live();
}

// A swap is one record: it is there or it never was, with all that came before.
TEST_F(SwapTest, ATornEndLosesItWhole) {
  start();
  const auto put_one = [&](uint32_t db, const std::string& key) {
    StripeLocks lock(*store, store->database(db).hash(key));
    Transaction t(*store, &lock, Shape::kOne);
    put(t, db, key);
    ASSERT_TRUE(t.commit().ok());
  };
  put_one(0, "a");
  put_one(1, "b");
  crash(true);
  for (int i = 0; i < 20; i++) {
    {
      StripeLocks none(*store);
      Transaction t(*store, &none, Shape::kOne);
      ASSERT_TRUE(t.swap(store->database(0), store->database(1)).ok());
    }
    sleep(static_cast<int64_t>(pick(30)));  // it may be on its way
    stop();
    disk.crash(rng);
    start();
    Namespace& ns = store->database(0);
    const bool has = ns.index->find("a", ns.hash("a")) != nullptr;
    if (has != model[0].contains("a")) std::swap(model[0], model[1]);
    check();
  }
}

// What is being copied is copied from what it was begun with, or not at all.
TEST_F(SwapTest, ACopyDoesNotGoOnWithAnotherCollection) {
  start();
  for (uint32_t db : {0u, 1u}) {
    for (int i = 0; i < 20; i++) {
      StripeLocks all(*store);
      all.lock_all();
      Transaction t(*store, &all, Shape::kOne);
      Namespace& ns = store->database(db);
      grow(t, db, "hash", ns.index->find("hash", ns.hash("hash")));
    }
  }
  Namespace& ns = store->database(0);
  const KeyHash hash = ns.hash("hash");
  CollectionCopy copy(*store);
  {
    StripeLocks lock(*store);
    const KeyHash both[] = {hash, copy.hash()};
    lock.lock(both);
    Entry* source = ns.index->find("hash", hash);
    ASSERT_TRUE(CollectionCopy::is_for(*store, source));
    ASSERT_TRUE(copy.begin(ns, source).ok());
    ASSERT_TRUE(copy.step(lock, source).ok());
    EXPECT_TRUE(copy.follows(source));
  }
  StripeLocks all(*store);
  all.lock_all();
  Transaction t(*store, &all, Shape::kOne);
  ASSERT_TRUE(t.swap(ns, store->database(1)).ok());
  EXPECT_FALSE(copy.follows(ns.index->find("hash", hash)));
  EXPECT_TRUE(copy.follows(store->database(1).index->find("hash", hash)));
  std::swap(model[0], model[1]);
}

// An answer from there on rests on it, also one about a key that it did not touch.
TEST_F(SwapTest, WhatIsReadRestsOnIt) {
  start();
  {
    StripeLocks all(*store);
    all.lock_all();
    Transaction t(*store, &all, Shape::kOne);
    put(t, 0, "a");
  }
  crash(true);
  Lsn swapped;
  {
    StripeLocks none(*store);
    Transaction t(*store, &none, Shape::kOne);
    ASSERT_TRUE(t.swap(store->database(0), store->database(1)).ok());
    std::swap(model[0], model[1]);
    swapped = *t.commit();
  }
  for (uint32_t db : {0u, 1u, 2u}) {
    Namespace& ns = store->database(db);
    for (const char* key : {"a", "absent"}) {
      StripeLocks lock(*store, ns.hash(key));
      Transaction t(*store, &lock, Shape::kOne);
      (void)t.find(ns, key, ns.hash(key));
      EXPECT_EQ(t.seen(), db < 2 ? swapped : Lsn()) << db << " " << key;
    }
  }
}

}  // namespace
}  // namespace cairn
