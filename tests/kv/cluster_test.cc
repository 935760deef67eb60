// Hash slots, and what a cluster of one node refuses.
#include "kv/engine/cluster.h"

#include <algorithm>

#include "core/base/text.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

TEST(ClusterSlot, IsRedissOfKnownKeys) {
  // CRC16 of this is 0x31c3, by which the polynomial is known; the others are redis-server's.
  EXPECT_EQ(cluster_slot("123456789"), 0x31c3);
  EXPECT_EQ(cluster_slot(""), 0);
  EXPECT_EQ(cluster_slot("foo"), 12182);
  EXPECT_EQ(cluster_slot("t"), 15891);
}

TEST(ClusterSlot, IsThatOfTheFirstTagWhichIsNotEmpty) {
  for (std::string_view key : {"{user}.name", "a{user}", "{user}{other}", "x{user}}"}) {
    EXPECT_EQ(cluster_slot(key), cluster_slot("user")) << key;
  }
  EXPECT_EQ(cluster_slot("a{{b}}c"), cluster_slot("{b"));
  // No tag: all of the key counts, whatever follows.
  EXPECT_EQ(cluster_slot("a{}{user}"), cluster_slot(cat("a{", "}{user}")));
  for (std::string_view key : {"a{}{user}", "{user", "user}", "}user{"}) {
    EXPECT_NE(cluster_slot(key), cluster_slot("user")) << key;
  }
}

TEST(ClusterSlot, OfAPatternIsThatOfATagBeforeItsStar) {
  EXPECT_EQ(cluster_slot_of_pattern("w_{t}*"), cluster_slot("t"));
  EXPECT_EQ(cluster_slot_of_pattern("w_{t}*->field"), cluster_slot("t"));
  EXPECT_EQ(cluster_slot_of_pattern("plain"), cluster_slot("plain"));
  // An element with braces would make a tag of its own.
  for (std::string_view pattern : {"w_*", "w_*{t}", "w_{*}", "w_{}{*", "*"}) {
    EXPECT_EQ(cluster_slot_of_pattern(pattern), kNoSlot) << pattern;
  }
}

struct ClusterTest : EngineTest {
  void SetUp() override {
    EngineTest::SetUp();
    server->cluster.enabled = true;
  }
  std::string count_in(std::string_view tag) {
    return run({"CLUSTER", "COUNTKEYSINSLOT", cat(cluster_slot(tag))});
  }
  const std::string crosses = cat("-", kCrossSlot);
};

using Words = std::vector<std::string>;

TEST_F(ClusterTest, KeysOfSeveralSlotsAreRefused) {
  for (const Words& words : {Words{"MSET", "a", "1", "b", "2"},
                             {"DEL", "a", "b"},
                             {"SSUBSCRIBE", "a", "b"},
                             {"EVAL", "return 1", "2", "a", "b"}}) {
    EXPECT_EQ(run(words), crosses) << words[0];
  }
  EXPECT_EQ(run({"MSET", "{t}a", "1", "{t}b", "2"}), "+OK");
  server->cluster.enabled = false;
  EXPECT_EQ(run({"MSET", "a", "1", "b", "2"}), "+OK");
}

TEST_F(ClusterTest, ATransactionIsInOneSlot) {
  run({"MULTI"});
  run({"SET", "a", "1"});
  run({"SET", "b", "1"});
  EXPECT_EQ(run({"EXEC"}), crosses);
  EXPECT_FALSE(session->in_multi);
  EXPECT_EQ(run({"EXISTS", "a"}), ":0");
}

TEST_F(ClusterTest, CountsKeysInTurnsAsAtOnce) {
  for (int i = 0; i < 25'000; i++) run({"SET", cat("key", i), ""});  // more than one turn sees
  const int64_t others = *parse_ll(count_in("t").substr(1));
  for (int i = 0; i < 300; i++) run({"SET", cat("{t}", i), ""});
  EXPECT_EQ(count_in("t"), cat(":", others + 300));
  run({"MULTI"});
  run({"DEL", "{t}0"});
  count_in("t");
  EXPECT_EQ(run({"EXEC"}), cat("*2 :1 :", others + 299));
}

TEST_F(ClusterTest, KeysOfASlotAreAsManyAsAreAskedFor) {
  for (int i = 0; i < 3'000; i++) run({"SET", cat("{t}", i), ""});
  const std::string slot = cat(cluster_slot("t"));
  EXPECT_EQ(run({"CLUSTER", "GETKEYSINSLOT", slot, "0"}), "*0");
  EXPECT_TRUE(run({"CLUSTER", "GETKEYSINSLOT", slot, "5"}).starts_with("*5 {t}"));
  const RecordedReply all = answer(*session, {"CLUSTER", "GETKEYSINSLOT", slot, "100000"});
  EXPECT_EQ(all.count(), 1U);
  EXPECT_EQ(all.values.size(), 3'001U);
}

}  // namespace
}  // namespace cairn::kv
