// The laws of a transaction: committed, it is what a model says; given up or refused at any step,
// nothing of it ever was.
#include "core/store/transaction.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <map>
#include <optional>
#include <set>

#include "core/store/store.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

using Fields = std::map<std::string, std::pair<std::string, int64_t>>;  // value, and until when
struct Value {
  std::string bytes;
  Fields fields;  // of a hash
  int64_t expire_ms = 0;
  bool operator==(const Value&) const = default;
};
using Model = std::map<std::pair<size_t, std::string>, Value>;  // by namespace and key

struct Told : ChangeListener {
  void changed(std::span<const Change> changes, Committer* /*by*/) override {
    for (auto& c : changes) {
      all.emplace_back(c.what, std::string(c.key), c.lsn);
      lsns.insert(c.lsn);
    }
  }
  std::vector<std::tuple<What, std::string, Lsn>> all;
  std::set<Lsn> lsns;  // a rename is one record, and told of as two changes
};

struct TransactionTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{11};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume volume{disk, scheduler, rng};
  ChunkPool pool;
  std::unique_ptr<Store> store;
  std::vector<NamespacePtr> spaces;
  Told told;
  bool flushed = false;  // what a flush took may still be counted
  size_t renames = 0;

  Status run(awaitable<Status> work) {
    std::optional<Status> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    return *result;
  }
  void SetUp() override {
    StoreOptions options;
    options.segment_bytes = 64 << 10;  // so that hashes are large soon
    options.random_seed = 5;
    options.collections = kv::collection_types();
    store = std::make_unique<Store>(volume, clock, pool,
                                    std::vector<Executor>{context.get_executor()}, options);
    store->listeners().add(told);
    store->listeners().interest(1);
    ASSERT_TRUE(run(store->open()).ok());
    ASSERT_TRUE(store->create_bucket("bucket").ok());
    spaces = {store->find_namespace("db0"), store->find_namespace("db1"),
              store->find_namespace("bucket")};
    ASSERT_TRUE(run(store->ensure_ordered(spaces[0])).ok());  // it moves with what is in order
  }
  void TearDown() override { EXPECT_TRUE(run(store->close()).ok()); }
  uint64_t pick(uint64_t n) { return rng() % n; }
  int64_t some_time() {
    const auto seconds = static_cast<int64_t>(pick(4));
    return seconds == 0 ? kv::Hash::kForEver : clock.now_ms() + seconds * 1000;
  }

  static Value value_of(const Entry* e) {
    Value v;
    v.expire_ms = e->expire_ms();
    if (const Collection* c = e->collection()) {
      const auto* h = static_cast<const kv::Hash*>(c);
      h->for_each(kv::Hash::kNoTime, [&](auto field, auto text) {
        v.fields[std::string(field)] = {std::string(text),
                                        h->find(field, kv::Hash::kNoTime)->until_ms};
      });
    } else {
      v.bytes = e->value();
    }
    return v;
  }

  // All that can be seen of a store, and what of it must add up.
  using Seen = std::map<std::pair<size_t, std::string>, std::pair<Value, Lsn>>;
  Seen look() {
    Seen seen;
    uint64_t bytes = 0;
    for (size_t i = 0; i < spaces.size(); i++) {
      Namespace& ns = *spaces[i];
      int64_t with_expiry = 0;
      std::vector<std::string> names;
      for (size_t s = 0; s < kStripes; s++) {
        StripeLocks lock(*store, KeyHash{s} << (64 - kStripeBits));
        ns.index->for_each(s, [&](Entry* e) {
          std::string key(e->key());
          seen[{i, key}] = {value_of(e), e->version()};
          EXPECT_TRUE(e->lsn().valid()) << key;
          bytes += static_cast<uint64_t>(Store::held_bytes(e));
          with_expiry += e->has_expiry();
        });
      }
      EXPECT_EQ(ns.volatile_keys.load(), with_expiry);
      EXPECT_EQ(ns.committed_size(), static_cast<int64_t>(ns.size()));
      EXPECT_EQ(ns.size(),
                static_cast<size_t>(std::count_if(seen.begin(), seen.end(),
                                                  [&](auto& v) { return v.first.first == i; })));
      bytes += ns.index->table_bytes();
      if (!ns.ordered()) continue;
      MutexLock lock(ns.order_mutex);
      bytes += ns.order.size() * static_cast<uint64_t>(Store::kOrderBytes);
      auto it = seen.lower_bound({i, ""});
      for (const Entry* e : ns.order) {
        EXPECT_EQ(e->key(), it->first.second);
        EXPECT_EQ(e->version(), it->second.second);
        ++it;
      }
      EXPECT_TRUE(it == seen.end() || it->first.first != i);
    }
    if (!flushed) {
      EXPECT_EQ(store->used_bytes(), bytes);
    }
    return seen;
  }

  // What a listing of the bucket says, which holds no stripe.
  std::vector<std::tuple<std::string, Lsn, int64_t>> listed() {
    std::vector<std::tuple<std::string, Lsn, int64_t>> all;
    MutexLock lock(spaces[2]->order_mutex);
    for (const Entry* e : spaces[2]->order)
      all.emplace_back(e->key(), e->version(), e->expire_ms());
    return all;
  }

  // One random change of both.
  Status change(Transaction& t, Model& model) {
    const size_t i = pick(spaces.size());
    Namespace& ns = *spaces[i];
    const bool hashes = pick(2) == 0;
    const std::string key = (hashes ? "hash" : "key") + std::to_string(pick(6));
    const KeyHash hash = ns.hash(key);
    Entry* e = t.find(ns, key, hash);
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    if (pick(3) == 0) {
      r.flags = kRecordHasExpiry;
      r.expire_ms = clock.now_ms() + 1000 + static_cast<int64_t>(pick(3)) * 1000;
    }
    const size_t j = pick(spaces.size());
    const std::string to = "hash" + std::to_string(pick(6));
    if (e != nullptr && Transaction::has_identity(e) && pick(3) == 0 && (i != j || to != key)) {
      renames++;
      auto value = model.extract({i, key});
      model[{j, to}] = std::move(value.mapped());
      return t.rename(ns, hash, e, *spaces[j], spaces[j]->hash(to), to);
    }
    if (e != nullptr && pick(8) == 0) {
      model.erase({i, key});
      return t.remove(ns, hash, e);
    }
    if (pick(60) == 0) {
      std::erase_if(model, [&](auto& kv) { return kv.first.first == i; });
      flushed = true;
      return t.flush(ns);
    }
    if (pick(25) == 0) {
      Model swapped;
      for (auto& [at, value] : model) {
        swapped[{at.first < 2 ? 1 - at.first : at.first, at.second}] = std::move(value);
      }
      model = std::move(swapped);
      return t.swap(*spaces[0], *spaces[1]);
    }
    Value& v = model[{i, key}];
    if (e != nullptr && pick(4) == 0) {
      v.expire_ms = r.expire_ms;
      return t.expire(ns, hash, e, r.expire_ms);
    }
    if (!hashes || e == nullptr) v.expire_ms = r.expire_ms;
    if (!hashes) {
      const std::string bytes(pick(200), static_cast<char>('a' + pick(26)));
      r.value = v.bytes = bytes;
      return t.put(ns, hash, r);
    }
    std::string operation;
    const std::string field = "f" + std::to_string(pick(pick(4) == 0 ? 400 : 5));
    if (v.fields.size() > 1 && v.fields.contains(field) && pick(2) == 0) {
      kv::Hash::add_delete(operation, field);
      v.fields.erase(field);
    } else if (e == nullptr || pick(4) != 0) {  // else times alone
      const bool timed = pick(3) == 0;
      for (size_t n = 1 + pick(pick(5) == 0 ? 300 : 3), k = 0; k < n; k++) {
        const std::string name = k == 0 ? field : "f" + std::to_string(pick(400));
        const std::string text(pick(pick(200) == 0 ? 150'000 : 90),  // longer than a segment
                               static_cast<char>('a' + pick(26)));
        const int64_t until = timed ? some_time() : kv::Hash::kForEver;
        if (timed) {
          kv::Hash::add_set_until(operation, name, text, until);
        } else {
          kv::Hash::add_set(operation, name, text);
        }
        v.fields[name] = {text, until};
      }
    } else if (pick(2) == 0) {
      for (auto& [name, f] : v.fields) {
        if (pick(4) == 0) kv::Hash::add_until(operation, name, f.second = some_time());
      }
    }
    if (operation.empty()) {
      v.expire_ms = r.expire_ms;
      return t.expire(ns, hash, e, r.expire_ms);
    }
    r.type = RecordType::kOperation;
    r.flags |= static_cast<uint8_t>(ValueType::kHash) << 4;
    r.value = operation;
    return t.operate(ns, hash, e, r);
  }
};

Model values(const std::map<std::pair<size_t, std::string>, std::pair<Value, Lsn>>& seen) {
  Model model;
  for (auto& [key, value] : seen) model[key] = value.first;
  return model;
}

TEST_F(TransactionTest, IsWholeOrNeverWas) {
  Model model;
  Seen before = look();
  for (int round = 0; round < 1500; round++) {
    const uint64_t live_before = store->cleaner().stats().live_bytes;
    told.all.clear();
    told.lsns.clear();
    Model after = model;
    const auto listed_before = listed();
    std::vector<int64_t> sizes;
    for (auto& ns : spaces) sizes.push_back(ns->committed_size());
    const size_t steps = pick(12);
    const uint64_t end = pick(4);
    bool committed = false;
    size_t made = 0;
    {
      StripeLocks lock(*store);
      lock.lock_all();
      Transaction t(*store, &lock, Shape::kSeveral);
      for (; made < steps; made++) ASSERT_TRUE(change(t, after).ok());
      EXPECT_TRUE(told.all.empty());
      EXPECT_EQ(listed(), listed_before);
      for (size_t i = 0; i < spaces.size(); i++) EXPECT_EQ(spaces[i]->committed_size(), sizes[i]);
      if (end == 0) {  // refused at this step
        const std::string key(kKeyBytesMax + 1, 'x');
        RecordView r;
        r.key = key;
        EXPECT_FALSE(t.put(*spaces[0], spaces[0]->hash(key), r).ok());
        EXPECT_FALSE(t.commit().ok());
      } else if (end > 1) {
        auto lsn = t.commit();
        ASSERT_TRUE(lsn.ok());
        EXPECT_EQ(lsn->valid(), steps > 0);
        committed = true;
      }
    }
    const Seen now = look();
    if (committed) {
      model = after;
      EXPECT_EQ(told.lsns.size(), steps);
    } else {
      EXPECT_EQ(now, before) << "round " << round;
      EXPECT_TRUE(told.all.empty());
      EXPECT_EQ(store->cleaner().stats().live_bytes, live_before);
    }
    ASSERT_EQ(values(now), model) << "round " << round;
    before = now;
    if (pick(50) == 0) {  // what a flush took is freed in between
      ASSERT_TRUE(run([&]() -> awaitable<Status> {
                    co_await clock.sleep_ms(101);  // nothing is due at this very moment
                    co_return absl::OkStatus();
                  }())
                      .ok());
      const auto is_due = [&](int64_t at) { return at != 0 && at <= clock.now_ms(); };
      for (auto it = model.begin(); it != model.end();) {
        Value& v = it->second;
        const bool had = !v.fields.empty();
        std::erase_if(v.fields, [&](auto& f) { return is_due(f.second.second); });
        const bool gone = is_due(v.expire_ms) || (had && v.fields.empty());
        it = gone ? model.erase(it) : std::next(it);
      }
      flushed = false;
      before = look();
      ASSERT_EQ(values(before), model);
    }
  }
}

// A put of any size is taken or refused alike by itself and among others: what a segment cannot
// hold is in none.
TEST_F(TransactionTest, WhatFitsInNoSegmentIsRefused) {
  const uint64_t most = store->log().record_bytes_max();
  Namespace& ns = *spaces[0];
  const std::string key = "key";
  const KeyHash hash = ns.hash(key);
  const auto put = [&](Shape shape, size_t size) {
    const std::string value(size, 'v');
    RecordView r;
    r.key = key;
    r.value = value;
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, shape);
    const bool taken = t.put(ns, hash, r).ok();
    EXPECT_EQ(taken, r.size() <= most) << size;
    EXPECT_EQ(t.commit().ok(), taken);
  };
  for (const Shape shape : {Shape::kOne, Shape::kSeveral}) {
    for (size_t size = most - 200; size < most + 200; size += 1 + pick(8)) put(shape, size);
    for (size_t size = most; size < 3 * most; size += 1 + pick(500)) put(shape, size);
    Status settled = run([&]() -> awaitable<Status> {
      co_await clock.sleep_ms(1000);
      co_return absl::OkStatus();
    }());
    ASSERT_TRUE(settled.ok());
  }
}

// A large hash is renamed by one record, however large it is; afterwards its changes are its own,
// and so are those of what takes its old name.
TEST_F(TransactionTest, RenamesALargeHashByOneRecord) {
  Namespace& ns = *spaces[0];
  const auto set = [&](const std::string& key, const std::string& field, size_t size) {
    const KeyHash hash = ns.hash(key);
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kOne);
    std::string operation;
    kv::Hash::add_set(operation, field, std::string(size, 'v'));
    RecordView r{RecordType::kOperation,
                 static_cast<uint8_t>(ValueType::kHash) << 4,
                 ns.id,
                 0,
                 key,
                 {},
                 operation};
    ASSERT_TRUE(t.operate(ns, hash, t.find(ns, key, hash), r).ok());
    ASSERT_TRUE(t.commit().ok());
  };
  for (int i = 0; i < 5000; i++) set("a", "f" + std::to_string(i), 100);
  const auto rename = [&](const std::string& from, const std::string& to) {
    const std::vector<KeyHash> hashes{ns.hash(from), ns.hash(to)};
    StripeLocks lock(*store);
    lock.lock(hashes);
    Transaction t(*store, &lock, Shape::kSeveral);
    Entry* e = t.find(ns, from, hashes[0]);
    ASSERT_TRUE(Transaction::has_identity(e));
    ASSERT_TRUE(t.rename(ns, hashes[0], e, ns, hashes[1], to).ok());
    ASSERT_TRUE(t.commit().ok());
  };
  const Lsn before = store->log().tail();
  rename("a", "b");
  EXPECT_LT(store->log().tail().value(), before.value() + 1000);
  set("a", "other", 1);
  rename("b", "c");
  set("c", "last", 2);
  EXPECT_EQ(told.all.size(), 5000u + 2 + 1 + 2 + 1);
  const Seen seen = look();
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen.at({0, "a"}).first.fields.size(), 1u);
  EXPECT_EQ(seen.at({0, "c"}).first.fields.size(), 5001u);
}

// Whatever was committed is what a start finds.
TEST_F(TransactionTest, ReplaysAsItWas) {
  Model model;
  for (int round = 0; round < 300; round++) {
    Model after = model;
    StripeLocks lock(*store);
    lock.lock_all();
    Transaction t(*store, &lock, Shape::kSeveral);
    for (size_t n = pick(8); n > 0; n--) ASSERT_TRUE(change(t, after).ok());
    if (pick(3) == 0) continue;
    ASSERT_TRUE(t.commit().ok());
    model = after;
  }
  const Seen before = look();
  ASSERT_EQ(values(before), model);
  ASSERT_TRUE(run(store->close()).ok());
  store.reset();
  spaces.clear();
  StoreOptions options;
  options.random_seed = 6;
  options.collections = kv::collection_types();
  store = std::make_unique<Store>(volume, clock, pool,
                                  std::vector<Executor>{context.get_executor()}, options);
  ASSERT_TRUE(run(store->open()).ok());
  spaces = {store->find_namespace("db0"), store->find_namespace("db1"),
            store->find_namespace("bucket")};
  EXPECT_EQ(look(), before);
}

// A key that was there at the first look is there at the last, however long it takes.
TEST_F(TransactionTest, HasOneTime) {
  Namespace& ns = *spaces[0];
  RecordView r;
  r.ns = ns.id;
  r.key = "key";
  r.value = "value";
  r.flags = kRecordHasExpiry;
  r.expire_ms = clock.now_ms() + 5;
  const KeyHash hash = ns.hash(r.key);
  StripeLocks lock(*store, hash);
  Transaction t(*store, &lock, Shape::kOne);
  ASSERT_TRUE(t.put(ns, hash, r).ok());
  ASSERT_NE(t.find(ns, r.key, hash), nullptr);
  scheduler.set_now_ms(clock.now_ms() + 1000);
  EXPECT_NE(t.find(ns, r.key, hash), nullptr);
  Now later(clock);
  EXPECT_EQ(store->find(ns, r.key, hash, later), nullptr);
}

// An answer waits for the newest change that it rests on, if that one's writer wanted it durable
// and it is not yet; absence is an answer. What nobody wanted durable delays nobody.
TEST_F(TransactionTest, AnswersRestOnWhatIsWishedDurable) {
  Namespace& ns = *spaces[0];
  struct Last {
    Lsn lsn;
    bool wished = false;
  };
  std::map<std::string, Last> last;
  for (const bool any_wishes : {false, true}) {
    for (int round = 0; round < 2000; round++) {
      const std::string key = "key" + std::to_string(pick(5));
      const KeyHash hash = ns.hash(key);
      const Wish wish = any_wishes && pick(2) == 0 ? Wish::kDurable : Wish::kNone;
      {
        StripeLocks lock(*store);
        if (pick(20) == 0) {
          lock.lock_all();
        } else {
          lock.lock(hash);
        }
        Transaction t(*store, &lock, pick(2) == 0 ? Shape::kOne : Shape::kSeveral, wish);
        Entry* e = t.find(ns, key, hash);
        const Last& now = last[key];
        if (now.wished && !store->log().is_durable(now.lsn)) {
          EXPECT_GE(t.seen(), now.lsn) << round;
        }
        if (!any_wishes) {
          EXPECT_FALSE(t.seen().valid());
        }
        RecordView r;
        r.ns = ns.id;
        r.key = key;
        const std::string value(pick(3), 'v');
        r.value = value;
        const bool flush = lock.all();
        const Lsn before = t.seen();
        if (flush) {
          ASSERT_TRUE(t.flush(ns).ok());
        } else if (e != nullptr && pick(2) == 0) {
          ASSERT_TRUE(t.remove(ns, hash, e).ok());
        } else {
          ASSERT_TRUE(t.put(ns, hash, r).ok());
        }
        auto lsn = t.commit();
        ASSERT_TRUE(lsn.ok());
        EXPECT_EQ(t.seen(), wish == Wish::kDurable ? *lsn : before);
        for (auto& [name, l] : last) {
          if (flush || name == key) l = {*lsn, wish == Wish::kDurable};
        }
      }
      if (pick(10) == 0) {
        ASSERT_TRUE(run(store->log().wait_durable(last[key].lsn)).ok());
      }
    }
  }
}

}  // namespace
}  // namespace cairn
