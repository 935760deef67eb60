// What a client sent and no command has used up.
#include "gateway/resp/input.h"

#include <gtest/gtest.h>

namespace cairn::resp {
namespace {

// Against a plain string: bytes come, are skipped, put back, and cut out of the middle.
TEST(Input, HoldsWhatWasNotUsedUp) {
  uint32_t state = 7;
  auto random = [&](uint32_t below) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
  };
  Input input;
  std::string want;
  char next = 0;
  for (int i = 0; i < 20000; i++) {
    if (random(3) != 0) {
      const MutableBytes room = input.room();
      ASSERT_GT(room.size(), 0u);
      const size_t n = 1 + random(static_cast<uint32_t>(std::min<size_t>(room.size(), 3000)));
      for (size_t k = 0; k < std::min(n, room.size()); k++) {
        room[k] = static_cast<std::byte>(++next);
        want.push_back(next);
      }
      input.added(std::min(n, room.size()));
    }
    const size_t before = input.position(),
                 skipped = random(static_cast<uint32_t>(want.size()) + 1);
    input.skip(skipped);
    if (random(4) == 0) {
      input.go_back(before);
    } else {
      want.erase(0, skipped);
    }
    if (want.size() > 2 && random(5) == 0) {
      const size_t at = random(static_cast<uint32_t>(want.size())),
                   n = random(static_cast<uint32_t>(want.size() - at) + 1);
      input.cut(at, n);
      want.erase(at, n);
    }
    ASSERT_EQ(input.pending(), want);
    ASSERT_EQ(input.empty(), want.empty());
  }
}

TEST(Input, AConnectionAtRestHoldsAKilobyte) {
  Input input;
  EXPECT_EQ(input.capacity(), 0u);
  (void)input.room();
  EXPECT_EQ(input.capacity(), 1024u);
  input.added(100);
  input.skip(100);
  (void)input.room();
  EXPECT_EQ(input.capacity(), 1024u);
  for (int i = 0; i < 100; i++) input.added(input.room().size());  // a large command
  EXPECT_GT(input.capacity(), 1u << 20);
  input.skip(input.size());
  (void)input.room();
  EXPECT_EQ(input.capacity(), 16u << 10);
}

}  // namespace
}  // namespace cairn::resp
