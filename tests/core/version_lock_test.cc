// The laws of object lock: what is locked stays, whoever wants it gone, and whatever the clock
// says.
#include "core/store/version_lock.h"

#include <gtest/gtest.h>

#include <string>

#include "core/store/lock_clock.h"
#include "tests/core/versions_fixture.h"

namespace cairn {
namespace {

constexpr int64_t kHourMs = 3'600'000, kDayMs = 24 * kHourMs;

TEST(VersionTag, HasALockThatGoesWithTheVersionAlone) {
  const VersionLock lock{Retention::kCompliance, LegalHold::kOff, 12345678901234};
  const VersionTag tag{NamespaceId(40), {5, false, false}, lock};
  const std::string meta = with_version("", tag);
  EXPECT_EQ(version_in(meta)->lock, lock);
  EXPECT_EQ(version_in(meta)->version, tag.version);
  const std::string other = with_version(meta, {NamespaceId(40), {6, false, false}});
  EXPECT_TRUE(version_in(other)->lock.empty());
}

TEST(Properties, HoldObjectLock) {
  Properties p;
  p.versioning = Versioning::kEnabled;
  p.object_lock.emplace();
  EXPECT_EQ(Properties::decode(p.encode()), p);
  p.object_lock = {Retention::kGovernance, true, 7};
  EXPECT_EQ(Properties::decode(p.encode()), p);
  EXPECT_FALSE(Properties::decode(p.encode() + "x"));
}

TEST(VersionLock, IsExtendedByAllAndShortenedByWhoMay) {
  const VersionLock none, governance{Retention::kGovernance, LegalHold::kNone, 100},
      compliance{Retention::kCompliance, LegalHold::kNone, 100};
  const auto until = [](Retention retention, int64_t ms) {
    return VersionLock{retention, LegalHold::kNone, ms};
  };
  for (const VersionLock& lock : {governance, compliance}) {
    const bool may = lock.retention == Retention::kGovernance;
    EXPECT_TRUE(lock.allows(until(lock.retention, 100), 50, false));
    EXPECT_TRUE(lock.allows(until(lock.retention, 101), 50, false));
    EXPECT_FALSE(lock.allows(until(lock.retention, 99), 50, false));
    EXPECT_FALSE(lock.allows(none, 50, false));
    EXPECT_EQ(lock.allows(until(lock.retention, 99), 50, true), may);
    EXPECT_EQ(lock.allows(none, 50, true), may);
    EXPECT_TRUE(lock.allows(none, 100, false));  // it is over
    EXPECT_TRUE(lock.forbids_removal(99, false));
    EXPECT_EQ(lock.forbids_removal(99, true), !may);
    EXPECT_FALSE(lock.forbids_removal(100, false));
  }
  EXPECT_FALSE(governance.allows(until(Retention::kCompliance, 200), 50, false));
  EXPECT_TRUE(governance.allows(until(Retention::kCompliance, 200), 50, true));
  EXPECT_FALSE(compliance.allows(until(Retention::kGovernance, 200), 50, true));
  const VersionLock held{Retention::kNone, LegalHold::kOn, 0};
  EXPECT_TRUE(held.forbids_removal(INT64_MAX, true));
  EXPECT_TRUE(held.allows(none, 0, false));
}

struct TwoClocks final : Clock {
  int64_t wall = 1'700'000'000'000, steady = 77;
  int64_t now_ms() const override { return wall; }
  int64_t steady_ms() const override { return steady; }
  awaitable<void> sleep_ms(int64_t) override { co_return; }
  void pass(int64_t ms) { wall += ms, steady += ms; }
};

TEST(LockClock, AWallClockThatIsSetForwardIsBelievedSlowly) {
  TwoClocks clock;
  LockClock believed(clock);
  believed.begin(0);
  const int64_t begun = believed.now_ms();
  EXPECT_EQ(begun, clock.wall);
  clock.pass(kDayMs);
  EXPECT_EQ(believed.now_ms(), begun + kDayMs);
  clock.wall += 3650 * kDayMs;
  EXPECT_EQ(believed.now_ms(), begun + kDayMs);
  clock.pass(kHourMs);
  EXPECT_EQ(believed.now_ms(), begun + 2 * kDayMs);
  EXPECT_EQ(believed.later_ms(), clock.wall);
  clock.wall -= 3650 * kDayMs;  // and it is right again
  EXPECT_EQ(believed.now_ms(), begun + kDayMs + kHourMs);
  EXPECT_EQ(believed.now_ms(), clock.wall);
}

TEST(LockClock, AWallClockThatIsSetBackProlongs) {
  TwoClocks clock;
  LockClock believed(clock);
  believed.begin(0);
  const int64_t begun = clock.wall;
  clock.wall -= 365 * kDayMs;
  clock.pass(kHourMs);
  EXPECT_EQ(believed.now_ms(), clock.wall);
  EXPECT_EQ(believed.later_ms(), begun + kHourMs);
  clock.wall += 365 * kDayMs;
  EXPECT_EQ(believed.now_ms(), begun + kHourMs);
}

TEST(LockClock, AStopIsMadeUpForInTime) {
  TwoClocks clock;
  LockClock believed(clock);
  believed.begin(clock.wall - 7 * kDayMs);
  EXPECT_EQ(believed.now_ms(), clock.wall - 7 * kDayMs);
  clock.pass(8 * kHourMs);
  EXPECT_EQ(believed.now_ms(), clock.wall);
}

struct LocksTest : VersionsTest {
  void open_locked() {
    open();
    Properties set;
    set.object_lock.emplace();
    ASSERT_TRUE(store->create_bucket("bucket", set).ok());
    ns = store->find_namespace("bucket");
  }
  Status put_locked(const std::string& key, const std::string& value, const VersionLock& lock) {
    return change(key, [&](Transaction& t, KeyHash hash) {
      t.lock_versions(lock);
      return t.put(*ns, hash, record(key, value));
    });
  }
  Status take(const std::string& key, const Version& version, bool bypass = false) {
    return change(key, [&](Transaction& t, KeyHash hash) {
      return t.remove_version(*ns, hash, key, version, bypass).status();
    });
  }
  Status lock_again(const std::string& key, const Version& version, const VersionLock& lock,
                    bool bypass = false) {
    return change(key, [&](Transaction& t, KeyHash hash) {
      const auto found = t.find_version(*ns, key, hash, version);
      return t.change_lock(found, "", lock, bypass);
    });
  }
  VersionLock lock_of(const std::string& key, const Version& version) {
    const KeyHash hash = ns->hash(key);
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kOne);
    const auto found = t.find_version(*ns, key, hash, version);
    EXPECT_NE(found.entry, nullptr);
    return found.entry == nullptr ? VersionLock() : store->lock_of(*found.ns, found.entry);
  }
  VersionLock for_a_day(Retention retention) {
    return {retention, LegalHold::kNone, store->now_ms() + kDayMs};
  }
};

TEST_F(LocksTest, WhatIsLockedStaysWhereverItIs) {
  open_locked();
  EXPECT_EQ(ns->properties()->versioning, Versioning::kEnabled);
  ASSERT_TRUE(put_locked("k", "one", for_a_day(Retention::kCompliance)).ok());
  ASSERT_TRUE(put_locked("k", "two", {Retention::kNone, LegalHold::kOn, 0}).ok());
  ASSERT_TRUE(put_locked("k", "three", for_a_day(Retention::kGovernance)).ok());
  for (int life = 0; life < 2; life++) {
    ASSERT_EQ(versions("k"), "three*, two, one");
    const auto all = numbers;
    for (const Version& v : all) {
      EXPECT_EQ(take("k", v).code(), absl::StatusCode::kPermissionDenied);
      EXPECT_EQ(take("k", v, true).ok(), v.number == all[0].number);
    }
    ASSERT_EQ(versions("k"), "two*, one");
    ASSERT_TRUE(put_locked("k", "three", for_a_day(Retention::kGovernance)).ok());
    reopen();
  }
}

TEST_F(LocksTest, ADefaultHoldsForWhatSaysNothing) {
  open_locked();
  ASSERT_TRUE(store->set_object_lock(*ns, {Retention::kGovernance, false, 2}).ok());
  reopen();
  ASSERT_TRUE(put("k", "one").ok());
  ASSERT_TRUE(put_locked("k", "two", for_a_day(Retention::kCompliance)).ok());
  (void)versions("k");
  const VersionLock by_default = lock_of("k", numbers[1]);
  EXPECT_EQ(by_default.retention, Retention::kGovernance);
  EXPECT_GE(by_default.until_ms, store->now_ms() + kDayMs);
  EXPECT_EQ(lock_of("k", numbers[0]).retention, Retention::kCompliance);
}

TEST_F(LocksTest, AChangeMakesNoVersionAndNeverShortensCompliance) {
  open_locked();
  ASSERT_TRUE(put("k", "one").ok());
  ASSERT_TRUE(put("k", "two").ok());
  const VersionLock day = for_a_day(Retention::kCompliance);
  (void)versions("k");
  const auto all = numbers;
  for (const Version& v : all) {
    ASSERT_TRUE(lock_again("k", v, day).ok());
    VersionLock next = day;
    next.until_ms -= 1;
    EXPECT_EQ(lock_again("k", v, next, true).code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(lock_again("k", v, {}, true).code(), absl::StatusCode::kPermissionDenied);
    next.until_ms += 2;
    EXPECT_TRUE(lock_again("k", v, next).ok());
    EXPECT_EQ(lock_of("k", v), next);
    EXPECT_FALSE(take("k", v, true).ok());
  }
  EXPECT_EQ(versions("k"), "two*, one");
  EXPECT_EQ(numbers, all);
  reopen();
  EXPECT_EQ(lock_of("k", all[1]).until_ms, day.until_ms + 1);
}

TEST_F(LocksTest, TheNullVersionIsLockedToo) {
  open_new(false);
  ASSERT_TRUE(put("k", "before").ok());
  EXPECT_EQ(store->set_object_lock(*ns, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store->set_versioning(*ns, true).ok());
  ASSERT_TRUE(store->set_object_lock(*ns, {}).ok());
  ASSERT_TRUE(lock_again("k", {0, true, false}, for_a_day(Retention::kCompliance)).ok());
  ASSERT_TRUE(put("k", "after").ok());
  EXPECT_EQ(versions("k"), "after*, [before]");
  EXPECT_FALSE(take("k", {0, true, false}, true).ok());
}

TEST_F(LocksTest, NothingTakesTheBucket) {
  open_locked();
  ASSERT_TRUE(put_locked("k", "one", for_a_day(Retention::kGovernance)).ok());
  EXPECT_FALSE(suspend(true).ok());
  Transaction t(*store, nullptr, Shape::kOne);
  EXPECT_EQ(t.flush(*ns).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(store->drop_bucket("bucket").status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(remove("k").ok());
  EXPECT_EQ(versions("k"), "-, one");
  EXPECT_EQ(store->drop_bucket("bucket").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(versions("k"), "-, one");
}

// An object named as the stream of events was replaced by it, and kept nowhere.
TEST_F(LocksTest, TheStreamOfEventsTakesNoObjectsPlace) {
  open_locked();
  const std::string name = "__events__";
  ASSERT_TRUE(put_locked(name, "one", for_a_day(Retention::kCompliance)).ok());
  const Status put = change(name, [&](Transaction& t, KeyHash hash) {
    RecordView r = record(name, "");
    r.flags = static_cast<uint8_t>(ValueType::kStream) << 4;
    return t.put(*ns, hash, r);
  });
  EXPECT_FALSE(put.ok());
  EXPECT_EQ(versions(name), "one*");
}

TEST_F(LocksTest, AClockThatIsSetForwardReleasesNothing) {
  open_locked();
  const int64_t until = store->now_ms() + 100'000;
  ASSERT_TRUE(put_locked("k", "one", {Retention::kCompliance, LegalHold::kNone, until}).ok());
  (void)versions("k");
  const Version one = numbers[0];
  store_clock.offset_ms += 3650 * kDayMs;
  EXPECT_FALSE(take("k", one, true).ok());
  EXPECT_FALSE(lock_again("k", one, {}, true).ok());
  sleep(2500);  // what is believed is in the manifest
  reopen();
  EXPECT_FALSE(take("k", one, true).ok());
  store_clock.offset_ms -= 3650 * kDayMs;
  EXPECT_FALSE(take("k", one, true).ok());
  sleep(120'000);
  EXPECT_TRUE(take("k", one).ok());
}

}  // namespace
}  // namespace cairn
