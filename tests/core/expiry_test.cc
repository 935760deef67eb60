// Changes of an expiry alone: what they cost, what they leave as it was, and that they are kept.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

struct ExpiryTest : FaultTest {
  struct Held {
    std::string bytes;
    // Of a hash: the fields, and until when they are there.
    std::map<std::string, std::pair<std::string, int64_t>> fields;
    int64_t expire_ms = 0;
    Lsn version;
    bool operator==(const Held&) const = default;
  };
  using Model = std::map<std::string, Held>;
  static constexpr uint64_t kSegment = 64 << 10;
  static constexpr int64_t kFar = 1'000'000'000;  // nothing expires here

  uint64_t renames = 0;
  bool times = true;  // of fields; a hash with one stays in memory

  uint64_t pick(uint64_t n) { return rng() % n; }
  int64_t some_time() { return clock.now_ms() + kFar + static_cast<int64_t>(pick(1'000'000)); }
  void kill(std::unique_ptr<Store> store) {
    take_apart(std::move(store));
    disk.crash(rng);
  }
  std::unique_ptr<Store> opened() {
    auto store = make();
    auto status = run(store->open());
    EXPECT_TRUE(status && status->ok()) << *status;
    return store;
  }
  void sync(Store& store) {
    auto wait = [](Store& s) -> awaitable<Status> {
      co_return co_await s.log().wait_durable(Lsn(s.log().tail().value() - 1));
    };
    ASSERT_TRUE(run(wait(store))->ok());
  }
  static Entry* find(Store& store, const std::string& key) {
    Namespace& ns = store.database(0);
    return ns.index->find(key, ns.hash(key));
  }
  // A string, or a field of a hash.
  Status write(Transaction& t, Namespace& ns, const std::string& key, Held& held) {
    const KeyHash hash = ns.hash(key);
    Entry* e = t.find(ns, key, hash);
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    std::string operation;
    if (key[0] != 'h' || e == nullptr) held.expire_ms = pick(3) == 0 ? some_time() : 0;
    if (held.expire_ms != 0) r.flags |= kRecordHasExpiry;
    r.expire_ms = held.expire_ms;
    if (key[0] != 'h') {
      const std::array<size_t, 3> sizes{10, 300, 3000};
      held.bytes = std::string(sizes[pick(3)], static_cast<char>('a' + pick(26)));
      r.value = held.bytes;
      return t.put(ns, hash, r);
    }
    const int64_t until = times && pick(12) == 0 ? some_time() : kv::Hash::kForEver;
    for (size_t n = 1 + pick(pick(6) == 0 ? 60 : 4); n > 0; n--) {
      const std::string field = "f" + std::to_string(pick(60));
      const std::string text(pick(400), static_cast<char>('a' + pick(26)));
      held.fields[field] = {text, until};
      if (until == kv::Hash::kForEver) {
        kv::Hash::add_set(operation, field, text);
      } else {
        kv::Hash::add_set_until(operation, field, text, until);
      }
    }
    r.type = RecordType::kOperation;
    r.flags |= static_cast<uint8_t>(ValueType::kHash) << 4;
    r.value = operation;
    return t.operate(ns, hash, e, r);
  }
  // `model` is what holds if it is committed; `key` may be another one then.
  Status change(Store& store, Transaction& t, std::string& key, Model& model) {
    Namespace& ns = store.database(0);
    Entry* e = t.find(ns, key, ns.hash(key));
    const std::string to = "h" + std::to_string(pick(3));
    if (e != nullptr && t.shape() == Shape::kSeveral && Transaction::has_identity(e) && to != key &&
        pick(3) == 0) {
      renames++;
      const KeyHash hash = ns.hash(key);
      model[to] = model.extract(key).mapped();
      key = to;
      return t.rename(ns, hash, e, ns, ns.hash(to), to);
    }
    const uint64_t what = pick(8);
    if (e != nullptr && what < 4) {
      const int64_t at = pick(3) == 0 ? 0 : some_time();
      model[key].expire_ms = at;
      return t.expire(ns, ns.hash(key), e, at);
    }
    if (e != nullptr && what == 4) {
      model.erase(key);
      return t.remove(ns, ns.hash(key), e);
    }
    if (key[0] == 'h' && e != nullptr && e->is_cold()) return absl::OkStatus();
    return write(t, ns, key, model[key]);
  }
  // Some keys at once, of which all or none change.
  void step(Store& store, Model& model) {
    if (pick(12) == 0) return sleep(static_cast<int64_t>(pick(100)));
    const std::string large = "b" + std::to_string(pick(3));
    if (pick(12) == 0) {
      Held held{std::string(9000 + pick(4000), static_cast<char>('a' + pick(26))), {}, 0, {}};
      ASSERT_TRUE(run(put(store, large, held.bytes))->ok());
      held.version = find(store, large)->version();
      model[large] = held;
      return;
    }
    const auto some = [&] {
      const auto kind = pick(8);
      return kind == 0 ? large : (kind < 3 ? "h" : "k") + std::to_string(pick(kind < 3 ? 3 : 12));
    };
    const bool one = pick(2) == 0;
    std::vector<std::string> keys{some()};
    while (!one && keys.size() < 5) keys.push_back(some());
    if (pick(4) == 0) {
      auto fetch = store.faults().fetch(store.database(0).shared_from_this(), keys[0]);
      ASSERT_TRUE(run(std::move(fetch))->ok());
    }
    Model after = model;
    StripeLocks lock(store);
    lock.lock_all();
    {
      Transaction t(store, &lock, one ? Shape::kOne : Shape::kSeveral);
      for (auto& key : keys) {
        if (key[0] == 'b' && find(store, key) == nullptr) continue;
        if (key[0] == 'b') {  // its expiry alone
          const int64_t at = some_time();
          after[key].expire_ms = at;
          ASSERT_TRUE(
              t.expire(store.database(0), store.database(0).hash(key), find(store, key), at).ok());
          continue;
        }
        ASSERT_TRUE(change(store, t, key, after).ok());
      }
      if (!one && pick(4) == 0) return;  // given up
      ASSERT_TRUE(t.commit().ok());
    }
    model = std::move(after);
    for (auto& key : keys) {
      if (model.contains(key)) model[key].version = find(store, key)->version();
    }
  }
  void check(Store& store, const Model& model) {
    EXPECT_EQ(store.database(0).size(), model.size());
    for (auto& [key, held] : model) {
      SCOPED_TRACE(key);
      const Entry* e = find(store, key);
      ASSERT_NE(e, nullptr);
      EXPECT_EQ(e->expire_ms(), held.expire_ms);
      EXPECT_EQ(e->version(), held.version);
      if (key[0] != 'h') {
        auto got = run(get(store, key));
        ASSERT_TRUE(got && got->ok()) << got->status();
        EXPECT_TRUE(**got == held.bytes);
        continue;
      }
      auto fetched = run(store.faults().fetch(store.database(0).shared_from_this(), key));
      ASSERT_TRUE(fetched && fetched->ok()) << *fetched;
      decltype(held.fields) fields;
      const auto& hash = static_cast<const kv::Hash&>(*find(store, key)->collection());
      hash.for_each(0, [&](auto f, auto v) {
        fields[std::string(f)] = {std::string(v), hash.find(f, 0)->until_ms};
      });
      EXPECT_TRUE(fields == held.fields);
      EXPECT_EQ(find(store, key)->expire_ms(), held.expire_ms);
    }
  }
};

// Of strings, blobs and hashes, in memory and on disk, under other names too, whatever the cleaner,
// checkpoints and restarts do; what is given up changes nothing.
TEST_F(ExpiryTest, IsKeptWhateverElseHappens) {
  amplification = 1.3;
  uint64_t cleaned = 0, cold = 0, based = 0;
  for (int seed = 0; seed < 4; seed++) {
    disk = sim::Disk();
    Model model;
    for (int life = 0; life < 12; life++) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " life " << life);
      const std::array<uint64_t, 3> limits{1, 60'000, 0};
      memory_bytes = limits[pick(3)];
      auto store = opened();
      cold += store->cold_count();
      based += store->recovered_items();
      check(*store, model);
      const uint64_t steps = 100 + pick(200);
      for (uint64_t i = 0; i < steps && !HasFatalFailure(); i++) step(*store, model);
      if (HasFailure()) return;
      cleaned += store->cleaner().stats().segments_freed;
      check(*store, model);
      if (pick(2) == 0) {
        EXPECT_TRUE(run(store->close())->ok());
      } else {
        sync(*store);
      }
      kill(std::move(store));
      if (pick(3) == 0) {
        std::erase_if(disk.files, [](auto& f) { return f.first.kind == FileKind::kCheckpoint; });
      }
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(cleaned, 0u);
  EXPECT_GT(cold, 0u);
  EXPECT_GT(based, 0u);
  EXPECT_GT(renames, 0u);
}

TEST_F(ExpiryTest, OfAValueOnDiskReadsAndWritesNoneOfIt) {
  amplification = 1000;
  times = false;
  Model model;
  {
    auto store = opened();
    for (const std::string key : {"k1", "k2", "k3", "h1", "h2", "h3"}) {
      StripeLocks lock(*store, store->database(0).hash(key));
      Held& held = model[key];
      do {
        Transaction t(*store, &lock, Shape::kOne);
        ASSERT_TRUE(write(t, store->database(0), key, held).ok());
      } while (key[0] == 'k' && held.bytes.size() < 3000);
      held.version = find(*store, key)->version();
    }
    ASSERT_TRUE(run(store->close())->ok());
    kill(std::move(store));
  }
  memory_bytes = 1;  // values stay on disk
  const std::array<int64_t, 3> times{some_time(), some_time(), 0};
  for (int64_t at : times) {
    auto store = opened();
    const uint64_t cold = store->cold_count();
    ASSERT_GE(cold + 1, model.size());  // one may have been read before memory was used up
    for (auto& [key, held] : model) {
      Namespace& ns = store->database(0);
      Entry* e = find(*store, key);
      if (!e->is_cold()) continue;
      const uint64_t reads = store->faults().reads(), tail = store->log().tail().value();
      const uint64_t live = store->cleaner().stats().live_bytes;
      const Lsn lsn = e->lsn();
      StripeLocks lock(*store, ns.hash(key));
      Transaction t(*store, &lock, Shape::kOne);
      ASSERT_TRUE(t.expire(ns, ns.hash(key), e, at).ok());
      held.expire_ms = at;
      e = find(*store, key);
      EXPECT_TRUE(e->is_cold());
      EXPECT_EQ(e->lsn(), lsn);
      EXPECT_EQ(store->faults().reads(), reads);
      EXPECT_LT(store->log().tail().value() - tail, 200u);
      EXPECT_EQ(store->cleaner().stats().live_bytes, live);
    }
    sync(*store);
    kill(std::move(store));
    store = opened();  // nor does a start read it
    EXPECT_EQ(store->cold_count(), cold);
    EXPECT_EQ(store->faults().reads(), 0u);
    check(*store, model);
    kill(std::move(store));
  }
}

// Also one that says that the key is gone.
TEST_F(ExpiryTest, AnAnswerWaitsForItWhereItsWriterWantedItDurable) {
  auto store = opened();
  Namespace& ns = store->database(0);
  for (const std::string key : {"k1", "k2"}) ASSERT_TRUE(run(put(*store, key, "value"))->ok());
  auto expire = [&](const std::string& key, int64_t at, Wish wish) {
    StripeLocks lock(*store, ns.hash(key));
    Transaction t(*store, &lock, Shape::kOne, wish);
    EXPECT_TRUE(t.expire(ns, ns.hash(key), t.find(ns, key, ns.hash(key)), at).ok());
    return *t.commit();
  };
  auto seen = [&](const std::string& key) {
    StripeLocks lock(*store, ns.hash(key));
    Transaction t(*store, &lock, Shape::kOne);
    (void)t.find(ns, key, ns.hash(key));
    return t.seen();
  };
  const Lsn before = seen("k1");
  EXPECT_TRUE(store->log().is_durable(before));
  expire("k1", some_time(), Wish::kNone);
  EXPECT_EQ(seen("k1"), before);
  const Lsn changed = expire("k1", some_time(), Wish::kDurable);
  EXPECT_EQ(seen("k1"), changed);
  EXPECT_EQ(Lsn(ns.removed.load()), changed);  // as do answers about all keys
  const Lsn ended = expire("k2", clock.now_ms() + 1, Wish::kDurable);
  sleep(1);
  EXPECT_EQ(seen("k2"), ended);
  take_apart(std::move(store));
}

// And then the log alone says so.
TEST_F(ExpiryTest, WhatACheckpointHasOfItSurvivesTheLossOfItsRecord) {
  amplification = 1000;
  const std::array<int64_t, 2> early{some_time(), some_time()};
  std::map<std::string, int64_t> want;
  std::vector<Lsn> lost;
  {
    auto store = opened();
    Namespace& ns = store->database(0);
    auto expire = [&](const std::string& key, int64_t at) {
      StripeLocks lock(*store, ns.hash(key));
      Transaction t(*store, &lock, Shape::kOne);
      EXPECT_TRUE(t.expire(ns, ns.hash(key), find(*store, key), at).ok());
      want[key] = at;
      return *t.commit();
    };
    for (const std::string key : {"k1", "k2", "k3", "k4"}) {
      ASSERT_TRUE(run(put(*store, key, std::string(100, 'v')))->ok());
    }
    expire("k1", early[0]);
    expire("k2", early[1]);
    sync(*store);
    lost = {expire("k1", some_time()), expire("k2", 0), expire("k3", some_time())};
    sync(*store);
    ASSERT_TRUE(run(put(*store, "k4", "the log goes on"))->ok());
    want["k4"] = 0;
    ASSERT_TRUE(run(store->close())->ok());
    kill(std::move(store));
  }
  for (Lsn lsn : lost) {
    auto& file = *disk.files.at({FileKind::kSegment, lsn.value() / kSegment});
    const uint64_t at = lsn.value() % kSegment / kBlockBytes * kBlockBytes;
    std::fill_n(file.view.begin() + static_cast<ptrdiff_t>(at), kBlockBytes, std::byte{});
    file.durable = file.view;
  }
  repair = true;
  for (int life = 0; life < 2; life++) {
    auto store = opened();
    for (auto& [key, at] : want) {
      ASSERT_NE(find(*store, key), nullptr) << key;
      EXPECT_EQ(find(*store, key)->expire_ms(), at) << key << " in life " << life;
    }
    kill(std::move(store));
    repair = false;
    std::erase_if(disk.files, [](auto& f) { return f.first.kind == FileKind::kCheckpoint; });
  }
}

}  // namespace
}  // namespace cairn
