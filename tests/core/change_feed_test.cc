// What follows the log is told each change once, in order, from wherever it begins, in this life of
// the store and in the next; and the cleaner leaves to it what it still needs, up to a limit.
#include "core/store/change_feed.h"

#include <gtest/gtest.h>

#include "core/base/text.h"
#include "core/store/value.h"
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

struct ChangeFeedTest : FaultTest {
  struct Told {
    Lsn lsn;
    std::string what;
    bool operator==(const Told&) const = default;
  };
  std::unique_ptr<Store> store;
  std::unique_ptr<ChangeFeed> feed;
  std::vector<Told> made;  // all that was changed

  void start() {
    store = make();
    const auto opened = run(store->open());
    ASSERT_TRUE(opened.has_value() && opened->ok()) << *opened;
    feed = std::make_unique<ChangeFeed>(*store);
  }
  void stop() {
    EXPECT_TRUE(run(store->close())->ok());
    run([](ChangeFeed& f) -> awaitable<bool> {
      co_await f.stop();
      co_return true;
    }(*feed));
    take_apart(std::move(store));
    feed = nullptr;
  }
  void TearDown() override {
    if (store != nullptr) stop();
  }

  static std::string text_of(const FeedEvent& e) {
    using Kind = FeedEvent::Kind;
    const std::string ns = e.ns != nullptr ? e.ns->name : "?";
    switch (e.kind) {
      case Kind::kPut:
        return cat("put ", ns, "/", e.key, "=", e.value.substr(0, 8), " ", e.size);
      case Kind::kRemove:
        return cat("remove ", ns, "/", e.key, " ", static_cast<int>(e.cause));
      case Kind::kPutBack:
        return cat("put back ", ns, "/", e.key, "=", e.value);
      case Kind::kMarker:
        return cat("marker ", ns, "/", e.key);
      case Kind::kVersionPut:
        return cat("put version ", ns, "/", e.key);
      case Kind::kVersionRemove:
        return cat("remove version ", ns, "/", e.key);
      case Kind::kExpiry:
        return cat("expiry ", ns, "/", e.key, " ", e.expire_ms);
      case Kind::kFlush:
        return cat("flush ", ns);
      case Kind::kSwap:
        return "swap";
      case Kind::kDrop:
        return cat("drop ", ns);
      case Kind::kOperate:
        break;
    }
    return cat("operate ", ns, "/", e.key);
  }
  void put(Namespace& ns, const std::string& key, const std::string& value,
           Cause cause = Cause::kUser) {
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value;
    StripeLocks lock(*store, ns.hash(key));
    Transaction t(*store, &lock, Shape::kOne, Wish::kDurable, cause);
    ASSERT_TRUE(t.put(ns, ns.hash(key), r).ok());
    made.push_back(
        {*t.commit(), cat("put ", ns.name, "/", key, "=", value.substr(0, 8), " ", value.size())});
  }
  void remove(Namespace& ns, const std::string& key) {
    StripeLocks lock(*store, ns.hash(key));
    Transaction t(*store, &lock, Shape::kOne);
    Entry* e = t.find(ns, key, ns.hash(key));
    ASSERT_NE(e, nullptr);
    ASSERT_TRUE(t.remove(ns, ns.hash(key), e).ok());
    made.push_back({*t.commit(), cat("remove ", ns.name, "/", key, " 1")});
  }
  void some_changes(int count) {
    Namespace& ns = store->database(0);
    for (int i = 0; i < count; i++) {
      const std::string key = cat("key", rng() % 50);
      StripeLocks lock(*store, ns.hash(key));
      Now now(store->clock());
      const bool there = store->find(ns, key, ns.hash(key), now) != nullptr;
      lock.unlock();
      if (there && rng() % 3 == 0) {
        remove(ns, key);
      } else {
        put(ns, key, std::string(rng() % 2000, static_cast<char>('a' + rng() % 26)));
      }
    }
  }
  awaitable<Status> all_durable() {
    return store->log().wait_durable(Lsn(store->log().tail().value() - 1));
  }
  // All that a cursor is told up to the end of the log.
  static awaitable<StatusOr<std::vector<Told>>> follow(ChangeFeed& feed, Lsn from, Lsn to) {
    ChangeFeed::Cursor cursor(feed, from);
    std::vector<Told> told;
    while (cursor.at() < to) {
      auto taken = co_await cursor.next(100);
      if (!taken.ok()) co_return taken.status();
      for (const FeedEvent& e : taken->events()) told.push_back({e.lsn, text_of(e)});
    }
    co_return told;
  }
  std::vector<Told> made_from(Lsn from) const {
    std::vector<Told> some;
    for (const Told& one : made) {
      if (one.lsn >= from) some.push_back(one);
    }
    return some;
  }
  void check(Lsn from) {
    const auto told = run(follow(*feed, from, store->log().durable()));
    ASSERT_TRUE(told.has_value()) << "it waits for ever";
    ASSERT_TRUE(told->ok()) << told->status();
    const auto want = made_from(from);
    ASSERT_EQ((**told).size(), want.size());
    for (size_t i = 0; i < want.size(); i++) {
      EXPECT_EQ((**told)[i].lsn, want[i].lsn);
      EXPECT_EQ((**told)[i].what, want[i].what);
    }
  }
};

std::ostream& operator<<(std::ostream& out, const ChangeFeedTest::Told& told) {
  return out << told.lsn.value() << " " << told.what;
}

TEST_F(ChangeFeedTest, EachChangeIsToldOnceAndInOrderFromAnyPosition) {
  amplification = 100;  // nothing is cleaned away
  start();
  some_changes(300);
  ASSERT_TRUE(run(all_durable())->ok());
  check(made.front().lsn);
  check(made[150].lsn);
  check(Lsn(made[150].lsn.value() + 1));
  check(Lsn(made.back().lsn.value() + 1));
}

TEST_F(ChangeFeedTest, AfterACrashItGoesOnWhereItWas) {
  amplification = 100;
  start();
  some_changes(100);
  ASSERT_TRUE(run(all_durable())->ok());
  take_apart(std::move(store));
  feed = nullptr;
  disk.crash(rng);
  start();
  some_changes(100);
  ASSERT_TRUE(run(all_durable())->ok());
  check(made.front().lsn);
  check(made[70].lsn);
}

// Those who wait share what one reader reads; all are told all of it.
TEST_F(ChangeFeedTest, ManyWhoWaitAreAllTold) {
  amplification = 100;
  start();
  constexpr size_t kMany = 300;
  const Lsn from = feed->now();
  std::vector<std::vector<Told>> told(kMany);
  std::vector<std::unique_ptr<ChangeFeed::Cursor>> cursors;
  size_t ended = 0;
  constexpr size_t kChanges = 200;
  for (size_t i = 0; i < kMany; i++) {
    spawn(context.get_executor(), "a follower",
          [](ChangeFeed& f, Lsn start, std::vector<Told>& out, size_t& done) -> awaitable<void> {
            ChangeFeed::Cursor cursor(f, start);
            while (out.size() < kChanges) {
              auto taken = co_await cursor.next(1000);
              EXPECT_TRUE(taken.ok()) << taken.status();
              if (!taken.ok()) break;
              for (const FeedEvent& e : taken->events()) out.push_back({e.lsn, text_of(e)});
            }
            done++;
          }(*feed, from, told[i], ended));
  }
  sleep(10);
  EXPECT_EQ(feed->cursors(), kMany);
  for (size_t i = 0; i < kChanges; i += 20) {
    some_changes(20);
    ASSERT_TRUE(run(all_durable())->ok());
  }
  scheduler.run_until([&] { return ended == kMany; });
  for (auto& one : told) EXPECT_EQ(one, made);
  EXPECT_EQ(feed->cursors(), 0u);
}

// Who wants nothing costs nothing: without cursors nobody reads.
TEST_F(ChangeFeedTest, WhatWasPassedOverIsReadFromTheLog) {
  amplification = 100;
  start();
  {
    ChangeFeed::Cursor cursor(*feed, feed->now());
    some_changes(10);
    ASSERT_TRUE(run(all_durable())->ok());
    const auto taken = run(cursor.next(1000));
    ASSERT_TRUE(taken->ok());
    EXPECT_FALSE((*taken)->events().empty());
  }
  some_changes(50);
  ASSERT_TRUE(run(all_durable())->ok());
  sleep(100);
  check(made[5].lsn);
}

TEST_F(ChangeFeedTest, ACauseSaysHowAnObjectCameToBe) {
  start();
  ASSERT_TRUE(store->create_bucket("bucket").ok());
  const auto bucket = store->find_namespace("bucket");
  ChangeFeed::Cursor cursor(*feed, feed->now());
  put(*bucket, "a", "1", Cause::kPartsCompleted);
  put(*bucket, "b", "2", Cause::kObjectCopy);
  ASSERT_TRUE(run(all_durable())->ok());
  std::vector<Cause> causes;
  while (causes.size() < 2) {
    const auto taken = run(cursor.next(1000));
    ASSERT_TRUE(taken->ok());
    for (const FeedEvent& e : (*taken)->events()) causes.push_back(e.cause);
  }
  EXPECT_EQ(causes, (std::vector{Cause::kPartsCompleted, Cause::kObjectCopy}));
}

// Whose a key of a database is, is what held when it was written.
TEST_F(ChangeFeedTest, KeysAreOfTheDatabaseThatTheyWereWrittenIn) {
  amplification = 100;
  start();
  const Lsn from = feed->now();
  put(store->database(0), "a", "1");
  {
    StripeLocks locks(*store);
    locks.lock_all();
    Transaction t(*store, &locks, Shape::kSeveral);
    ASSERT_TRUE(t.swap(store->database(0), store->database(1)).ok());
    made.push_back({*t.commit(), "swap"});
  }
  put(store->database(0), "b", "2");
  put(store->database(1), "c", "3");
  ASSERT_TRUE(run(all_durable())->ok());
  check(Lsn(made[1].lsn.value() + 1));
  ChangeFeed::Cursor later(*feed, Lsn(made[1].lsn.value() + 1));
  EXPECT_TRUE(later.knows_databases());
  // What was before the swap is of a database that cannot be named any more.
  ChangeFeed::Cursor earlier(*feed, from);
  EXPECT_FALSE(earlier.knows_databases());
}

// Where a bucket keeps versions, what lies in its companion is told under the bucket's own keys,
// and what was only moved there is not told.
TEST_F(ChangeFeedTest, VersionsAreToldOfUnderTheirBucket) {
  amplification = 100;
  start();
  ASSERT_TRUE(store->create_bucket("bucket").ok());
  const auto bucket = store->find_namespace("bucket");
  ASSERT_TRUE(store->set_versioning(*bucket, true).ok());
  Namespace& ns = *bucket;
  const std::string key("a\0b", 3);
  const KeyHash hash = ns.hash(key);
  ChangeFeed::Cursor cursor(*feed, feed->now());
  const auto change = [&](auto step, Cause cause = Cause::kUser) {
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kOne, Wish::kDurable, cause);
    step(t);
    EXPECT_TRUE(t.commit().ok());
    return t.made();
  };
  // What the change is told as, with the version of each, and where a transaction ends a full stop.
  const auto told = [&] {
    EXPECT_TRUE(run(all_durable())->ok());
    std::string text;
    while (cursor.at() < store->log().durable()) {
      const auto taken = run(cursor.next(100));
      EXPECT_TRUE(taken->ok());
      for (const FeedEvent& e : (*taken)->events()) {
        EXPECT_EQ(e.key, key);
        EXPECT_EQ(e.ns, bucket);
        append(text, text_of(e).erase(text_of(e).find('\0'), 2), " #",
               e.version ? e.version->number % 1000 : 0, e.ends ? "." : ", ");
      }
    }
    return text;
  };
  const auto put_value = [&](const std::string& value) {
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value;
    return *change([&](Transaction& t) { EXPECT_TRUE(t.put(ns, hash, r).ok()); });
  };
  const auto number = [](const Version& v) { return cat(" #", v.number % 1000); };
  const Version one = put_value("1");
  EXPECT_EQ(told(), cat("put bucket/a=1 1", number(one), "."));
  const Version two = put_value("2");
  EXPECT_EQ(told(), cat("put bucket/a=2 1", number(two), "."));
  const Version marker =
      *change([&](Transaction& t) { EXPECT_TRUE(t.remove(ns, hash, t.find(ns, key, hash)).ok()); });
  EXPECT_EQ(told(),
            cat("remove bucket/a 1", number(marker), ", marker bucket/a", number(marker), "."));
  const auto remove_one = [&](const Version& v) {
    change([&](Transaction& t) { EXPECT_TRUE(*t.remove_version(ns, hash, key, v)); });
  };
  remove_one(marker);
  EXPECT_EQ(told(), cat("remove version bucket/a", number(marker), ", put back bucket/a=2",
                        number(two), "."));
  const Version three = put_value("3");
  (void)told();
  remove_one(one);
  EXPECT_EQ(told(), cat("remove version bucket/a", number(one), "."));
  change(
      [&](Transaction& t) {
        const auto found = t.find_version(ns, key, hash, two);
        ObjectMeta meta;
        meta.tags["a"] = "b";
        EXPECT_TRUE(
            t.amend(*found.ns, found.ns->hash(found.entry->key()), found.entry, meta.encode())
                .ok());
      },
      Cause::kTagsPut);
  EXPECT_EQ(told(), cat("put version bucket/a", number(two), "."));
  remove_one(three);
  EXPECT_EQ(told(),
            cat("remove bucket/a 1", number(three), ", put back bucket/a=2", number(two), "."));
  change([&](Transaction& t) { EXPECT_TRUE(t.flush(ns).ok()); });
  EXPECT_TRUE(run(all_durable())->ok());
}

// ---- what the cleaner leaves ----

struct PinTest : ChangeFeedTest {
  PinTest() { amplification = 1.2; }
  void overwrite(int times) {
    for (int i = 0; i < times; i++) {
      some_changes(100);
      ASSERT_TRUE(run(all_durable())->ok());
      sleep(200);
    }
  }
};

TEST_F(PinTest, WhatAPinStillNeedsStays) {
  start();
  const Lsn from = feed->now();
  LogPins::Pin pin(store->pins(), from);
  overwrite(20);
  EXPECT_EQ(store->cleaner().stats().segments_freed, 0u);
  EXPECT_TRUE(store->cleaner().stats().kept);
  EXPECT_FALSE(store->log().congested());  // and keeps nobody from writing
  check(from);
  pin.move(feed->now());
  overwrite(2);
  EXPECT_GT(store->cleaner().stats().segments_freed, 5u);
  EXPECT_FALSE(store->log().stretch(feed->now()).gone);
  EXPECT_TRUE(store->log().stretch(from).gone);
}

TEST_F(PinTest, WithoutOneItGoes) {
  start();
  const Lsn from = feed->now();
  overwrite(20);
  EXPECT_GT(store->cleaner().stats().segments_freed, 5u);
  const auto told = run(follow(*feed, from, store->log().durable()));
  EXPECT_TRUE(absl::IsOutOfRange(told->status())) << told->status();
}

TEST_F(PinTest, OneThatIsTooFarBehindKeepsNothing) {
  start();
  store->pins().set_limit(10 * segment_bytes);
  LogPins::Pin dead(store->pins(), feed->now());
  LogPins::Pin slow(store->pins(), feed->now());
  overwrite(40);
  EXPECT_GT(store->cleaner().stats().segments_freed, 5u);
  EXPECT_LT(store->cleaner().stats().log_bytes, 20 * segment_bytes);
  const Lsn now = feed->now();
  slow.move(now);  // and another one is kept for all the same
  overwrite(2);
  check(now);
}

TEST_F(PinTest, OfTheLogSoMuchStaysForWhoComesBack) {
  start();
  store->pins().set_history(1 << 20);  // 16 segments
  overwrite(40);
  EXPECT_GT(store->cleaner().stats().segments_freed, 5u);
  EXPECT_FALSE(store->log().stretch(Lsn(feed->now().value() - 15 * segment_bytes)).gone);
  store->pins().set_history(0);
  overwrite(2);
  EXPECT_LT(store->cleaner().stats().log_bytes, 10 * segment_bytes);
}

TEST_F(PinTest, WhoHasNotSaidYetWhatHeNeedsKeepsAll) {
  start();
  store->pins().set_limit(2 * segment_bytes);
  auto pin = std::make_unique<LogPins::Pin>(store->pins());
  overwrite(10);
  EXPECT_EQ(store->cleaner().stats().segments_freed, 0u);
  pin = nullptr;
  overwrite(2);
  EXPECT_GT(store->cleaner().stats().segments_freed, 2u);
}

}  // namespace
}  // namespace cairn
