// The laws of lifecycles: what is due goes, and no sooner, what is locked stays, and nothing is
// looked at for nothing. A day has a second.
#include "objects/lifecycle.h"

#include <absl/strings/str_split.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "core/base/text.h"
#include "objects/multipart.h"
#include "objects/versions.h"
#include "tests/core/versions_fixture.h"

namespace cairn::objects {
namespace {

constexpr int64_t kDay = 1000;

TEST(LifecycleRule, IsReadAsItWasWritten) {
  LifecycleRule rule{"id", false, true, "prefix", {{"a", ""}, {"b", "c"}}, 5, 9};
  Properties p;
  p.lifecycle = {rule, {}};
  EXPECT_EQ(Properties::decode(p.encode()), p);
  rule.days = 3;
  rule.date_ms = 86400000;
  rule.markers = true;
  rule.noncurrent_days = 4;
  rule.newer_noncurrent = 2;
  rule.upload_days = 1;
  p.lifecycle = {rule};
  EXPECT_EQ(Properties::decode(p.encode()), p);
}

TEST(Expiration, IsTheEarliestOfWhatFits) {
  Properties p;
  LifecycleRule all{"all"}, tagged{"tagged", true, false, "a"}, off{"off", false};
  all.days = 10;
  tagged.days = 2;
  tagged.tags = {{"t", "u"}};
  off.days = 1;
  p.lifecycle = {all, tagged, off};
  Info info;
  info.modified_ms = 1500;
  const auto first = expiration_of(p, "a", info, kDay);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->rule, "all");
  EXPECT_EQ(first->at_ms, 12 * kDay);
  info.meta.tags = {{"t", "u"}};
  EXPECT_EQ(expiration_of(p, "a", info, kDay)->at_ms, 4 * kDay);
  EXPECT_EQ(expiration_of(p, "b", info, kDay)->rule, "all");
}

struct LifecycleTest : VersionsTest {
  std::unique_ptr<Lifecycle> lifecycle;
  bool ended = true;

  void begin() {
    lifecycle = std::make_unique<Lifecycle>(*store);
    store->listeners().add(*lifecycle);
    ended = false;
    spawn(context.get_executor(), "lifecycle", [](LifecycleTest& t) -> awaitable<void> {
      co_await t.lifecycle->run();
      t.ended = true;
    }(*this));
  }
  void end() {
    lifecycle->stop();
    for (int i = 0; i < 100 && !ended; i++) sleep(100);
    EXPECT_TRUE(ended);
  }
  void begin_with(bool versioned) {
    open();
    ASSERT_TRUE(store->create_bucket("bucket").ok());
    ns = store->find_namespace("bucket");
    if (versioned) {
      ASSERT_TRUE(store->set_versioning(*ns, true).ok());
    }
    begin();
  }
  void reopen_with_rules() {
    end();
    ASSERT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
    open();
    begin();
  }
  awaitable<Status> all_durable() {
    co_return co_await store->log().wait_durable(Lsn(store->log().tail().value() - 1));
  }
  // The power fails, whatever it was about to do.
  void fall() {
    take_apart(std::move(store));
    lifecycle = nullptr;
    disk.crash(rng);
    open();
    begin();
  }
  void TearDown() override {
    if (lifecycle != nullptr) end();
    VersionsTest::TearDown();
  }
  void set(std::vector<LifecycleRule> rules) {
    ASSERT_TRUE(store->change_properties(*ns, [&](Properties& p) { p.lifecycle = rules; }).ok());
  }
  bool there(const std::string& key) { return stat(*store, *ns, key).ok(); }
  void days(double count) { sleep(static_cast<int64_t>(count * kDay)); }
};

TEST_F(LifecycleTest, WhatIsDueGoesAtTheNextMidnight) {
  begin_with(false);
  ASSERT_TRUE(put("a-before", "1").ok());
  LifecycleRule rule{"r", true, false, "a"};
  rule.days = 3;
  set({rule});
  days(0.5);
  ASSERT_TRUE(put("a-after", "1").ok());
  ASSERT_TRUE(put("b", "1").ok());
  days(2);
  EXPECT_TRUE(there("a-before"));
  EXPECT_TRUE(there("a-after"));
  days(1);
  ASSERT_TRUE(put("a-after", "2").ok());  // it is a new one
  days(1.5);
  EXPECT_FALSE(there("a-before"));
  EXPECT_TRUE(there("a-after"));
  days(2.5);
  EXPECT_FALSE(there("a-after"));
  EXPECT_TRUE(there("b"));
}

TEST_F(LifecycleTest, ADateIsForAllFromThenOn) {
  begin_with(false);
  LifecycleRule rule{"r"};
  rule.date_ms = (store->now_ms() / kDay + 3) * kDay;
  set({rule});
  ASSERT_TRUE(put("a", "1").ok());
  days(1.5);
  EXPECT_TRUE(there("a"));
  days(2);
  EXPECT_FALSE(there("a"));
  ASSERT_TRUE(put("b", "1").ok());
  days(1.5);
  EXPECT_FALSE(there("b"));
}

TEST_F(LifecycleTest, OfVersionsTheNewestFewStay) {
  begin_with(true);
  LifecycleRule rule{"r"};
  rule.noncurrent_days = 2;
  rule.newer_noncurrent = 1;
  set({rule});
  for (const char* value : {"1", "2", "3", "4"}) ASSERT_TRUE(put("k", value).ok());
  days(1);
  EXPECT_EQ(versions("k"), "4*, 3, 2, 1");
  days(2.5);
  EXPECT_EQ(versions("k"), "4*, 3");
  ASSERT_TRUE(put("k", "5").ok());
  days(1.5);
  EXPECT_EQ(versions("k"), "5*, 4");
  reopen_with_rules();
  days(1.5);
  EXPECT_EQ(versions("k"), "5*, 4");
}

TEST_F(LifecycleTest, WhatIsCurrentIsHiddenAndAMarkerAloneGoes) {
  begin_with(true);
  LifecycleRule expire{"e"}, markers{"m"};
  expire.days = 1;
  expire.noncurrent_days = 2;
  markers.markers = true;
  set({expire});
  ASSERT_TRUE(put("k", "1").ok());
  days(2.5);
  EXPECT_EQ(versions("k"), "-, 1");
  set({});
  days(4);
  EXPECT_EQ(versions("k"), "-, 1");
  LifecycleRule old{"o"};
  old.noncurrent_days = 1;
  set({old, markers});
  days(4);
  EXPECT_EQ(versions("k"), "");
}

// Long after the marker was made, a client removes what is below it.
TEST_F(LifecycleTest, AMarkerGoesWhenAClientLeavesItAlone) {
  begin_with(true);
  LifecycleRule rule{"m"};
  rule.markers = true;
  set({rule});
  ASSERT_TRUE(put("k", "1").ok());
  ASSERT_TRUE(remove("k").ok());
  days(4);
  ASSERT_EQ(versions("k"), "-, 1");
  ASSERT_TRUE(take("k", numbers[1]).ok());
  days(1.5);
  EXPECT_EQ(versions("k"), "");
}

TEST_F(LifecycleTest, WhatIsLockedStaysUntilItIsNot) {
  begin_with(true);
  ASSERT_TRUE(store->set_object_lock(*ns, {}).ok());
  LifecycleRule rule{"r"};
  rule.days = 1;
  rule.noncurrent_days = 1;
  set({rule});
  ASSERT_TRUE(
      change("k", [&](Transaction& t, KeyHash hash) {
        t.lock_versions({Retention::kCompliance, LegalHold::kNone, store->now_ms() + 9 * kDay});
        return t.put(*ns, hash, record("k", "1"));
      }).ok());
  days(7);
  EXPECT_EQ(versions("k"), "-, 1");
  days(5);
  EXPECT_EQ(versions("k").find('1'), std::string::npos);
}

TEST_F(LifecycleTest, NothingIsLookedAtForNothing) {
  begin_with(false);
  LifecycleRule rule{"r", true, false, "a"};
  rule.days = 1000;
  set({rule});
  days(0.5);
  for (int i = 0; i < 500; i++) {
    ASSERT_TRUE(put(cat("a", i % 100), "1").ok());
    ASSERT_TRUE(put(cat("b", i), "1").ok());
  }
  days(5);
  EXPECT_EQ(lifecycle->looks(), 100u);  // each once, at midnight
  days(5);
  EXPECT_EQ(lifecycle->looks(), 100u);
  rule.days = 900;
  set({rule});
  days(5);
  EXPECT_EQ(lifecycle->looks(), 200u);
}

TEST_F(LifecycleTest, UploadsThatAreNotCompletedAreAborted) {
  begin_with(false);
  LifecycleRule rule{"r", true, false, "a"};
  rule.upload_days = 1;
  ASSERT_TRUE(create_upload(*store, *ns, "a-before", {}).ok());
  set({rule});
  days(0.2);
  ASSERT_TRUE(create_upload(*store, *ns, "a-after", {}).ok());
  ASSERT_TRUE(create_upload(*store, *ns, "b", {}).ok());
  days(4);
  const auto left = list_uploads(*store, *ns, "", "", "", "", 10);
  ASSERT_EQ(left.uploads.size(), 1u);
  EXPECT_EQ(left.uploads[0].key, "b");
}

// However it was written, and whatever was restarted or fell meanwhile: the newest few stay, and of
// the others those that are locked, all of which were durable.
TEST_F(LifecycleTest, InTheEndThereIsWhatTheRulesLeave) {
  begin_with(true);
  ASSERT_TRUE(store->set_object_lock(*ns, {}).ok());
  LifecycleRule rule{"r"};
  rule.days = 1;
  rule.noncurrent_days = 1;
  rule.newer_noncurrent = 2;
  set({rule});
  ASSERT_TRUE(run(all_durable())->ok());
  std::set<std::string> locked;
  for (int i = 0; i < 400; i++) {
    const std::string key = cat("k", rng() % 7), value = cat("v", i);
    const VersionLock lock{Retention::kCompliance, LegalHold::kNone, clock.now_ms() + 1000 * kDay};
    if (rng() % 3 == 0) {
      (void)remove(key);
    } else if (rng() % 8 == 0) {
      ASSERT_TRUE(change(key, [&](Transaction& t, KeyHash hash) {
                    t.lock_versions(lock);
                    return t.put(*ns, hash, record(key, value));
                  }).ok());
      ASSERT_TRUE(run(all_durable())->ok());
      locked.insert(value);
    } else {
      ASSERT_TRUE(put(key, value).ok());
    }
    if (rng() % 8 == 0) sleep(static_cast<int64_t>(rng() % 400));
    if (rng() % 90 == 0) reopen_with_rules();
    if (rng() % 60 == 0) fall();
  }
  days(6);
  for (int i = 0; i < 7; i++) {
    const std::string all = versions(cat("k", i));
    EXPECT_TRUE(all.starts_with("-")) << all;
    const std::vector<std::string> each = absl::StrSplit(all, ", ");
    for (size_t k = 0; k < each.size(); k++) {
      const bool is_locked = locked.erase(each[k]) > 0;
      EXPECT_TRUE(k < 3 || is_locked) << all;
    }
  }
  EXPECT_TRUE(locked.empty()) << *locked.begin();
}

}  // namespace
}  // namespace cairn::objects
