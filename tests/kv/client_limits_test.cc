// What clients may hold, as CONFIG has it.
#include "kv/engine/client_limits.h"

#include <gtest/gtest.h>

#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

TEST(ClientLimits, AreReadAndShownInRedissWords) {
  ClientLimits limits;
  EXPECT_EQ(limits.output_text(),
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
  EXPECT_EQ(limits.set_output("pubsub 1mb 512kb 5  normal 20kb 0 0"), "");
  EXPECT_EQ(limits.output_text(),
            "normal 20480 0 0 slave 268435456 67108864 60 pubsub 1048576 524288 5");
  EXPECT_EQ(limits.set_output("replica 0 0 0"), "");
  const std::string before = limits.output_text();
  EXPECT_EQ(limits.set_output(""), "");
  for (const char* bad : {"normal 1 2", "normal 1 2 3 4", "nobody 1 2 3", "normal x 0 0",
                          "normal 0 -1 0", "normal 0 0 -1", "pubsub 1 1 1 normal 0 0 x"}) {
    EXPECT_NE(limits.set_output(bad), "") << bad;
    EXPECT_EQ(limits.output_text(), before);
  }
  EXPECT_EQ(limits.together_text(), "25%");
  limits.set_memory(1000 << 20);
  EXPECT_EQ(limits.together(), 250u << 20);
  EXPECT_EQ(limits.answer_max(), 20u << 10);  // the hard limit of normal clients
  EXPECT_EQ(limits.set_together("50mb"), "");
  EXPECT_EQ(limits.together(), 50u << 20);
  EXPECT_EQ(limits.set_together("10%"), "");
  EXPECT_EQ(limits.together(), 100u << 20);
  EXPECT_EQ(limits.set_together("0"), "");
  EXPECT_EQ(limits.together(), UINT64_MAX);
  for (const char* bad : {"", "%", "101%", "-1", "x", "5 %"})
    EXPECT_NE(limits.set_together(bad), "");
}

// A limit of 2 MB, in a test of eviction, once left clients 512 KB, and sent one of them away for
// the room that its last answer had taken.
TEST(ClientLimits, ASmallLimitOfMemoryIsAboutTheDataAlone) {
  ClientLimits limits;
  limits.set_memory(128 << 20);
  const uint64_t least = limits.together();
  limits.set_memory(2 << 20);
  EXPECT_EQ(limits.together(), least);
  EXPECT_EQ(limits.set_together("1mb"), "");
  EXPECT_EQ(limits.together(), 1u << 20);
}

// "maxmemory-clients 1" once let nobody in any more, not even who wanted to take it back.
TEST(ClientLimits, AreNeverSoSmallThatNobodyCanChangeThem) {
  ClientLimits limits;
  limits.set_memory(128 << 20);
  for (const char* small : {"1", "1000", "64kb", "128kb"}) {
    EXPECT_EQ(limits.set_together(small), "");
    EXPECT_EQ(limits.together(), 128u << 10) << small;
    EXPECT_EQ(limits.query_max(), 128u << 10) << small;
    EXPECT_EQ(limits.answer_max(), 128u << 10) << small;
  }
  EXPECT_EQ(limits.set_together("129kb"), "");
  EXPECT_EQ(limits.together(), 129u << 10);
  EXPECT_EQ(limits.set_output("normal 1 1 1"), "");
  EXPECT_EQ(limits.answer_max(), 16u << 10);
}

}  // namespace
}  // namespace cairn::kv
