// The checker itself: it takes what can have happened, and nothing else.
#include "tests/stress/history.h"

#include <gtest/gtest.h>

namespace cairn::stress {
namespace {

Event event(Event::Kind kind, uint64_t begin, uint64_t end, uint64_t lsn, uint64_t id = 0,
            int64_t expire_ms = 0) {
  return {kind, begin, end,      static_cast<int64_t>(begin), static_cast<int64_t>(end),
          lsn,  id,    expire_ms};
}
bool possible(std::vector<Event> events) {
  State state;
  return check_history(std::move(events), state).empty();
}
constexpr auto kPut = Event::kPut, kRemove = Event::kRemove, kSeen = Event::kSeen,
               kAbsent = Event::kAbsent;

TEST(History, TakesWhatCanHaveHappened) {
  EXPECT_TRUE(possible({event(kAbsent, 1, 2, 0), event(kPut, 3, 4, 8, 1), event(kSeen, 5, 6, 8, 1),
                        event(kRemove, 7, 8, 16), event(kAbsent, 9, 10, 0)}));
  // Calls that overlap may have come in either order.
  EXPECT_TRUE(
      possible({event(kPut, 1, 10, 8, 1), event(kAbsent, 2, 3, 0), event(kSeen, 4, 5, 8, 1)}));
  EXPECT_TRUE(possible({event(kPut, 1, 2, 8, 1), event(kPut, 3, 9, 16, 2), event(kSeen, 4, 5, 8, 1),
                        event(kSeen, 6, 7, 16, 2)}));
  EXPECT_TRUE(
      possible({event(kPut, 1, 2, 8, 1, 5), event(kSeen, 3, 4, 8, 1), event(kAbsent, 5, 6, 0)}));
}

TEST(History, RefusesWhatCannot) {
  EXPECT_FALSE(possible({event(kSeen, 1, 2, 8, 1)}));                           // nobody wrote it
  EXPECT_FALSE(possible({event(kPut, 5, 6, 8, 1), event(kSeen, 1, 2, 8, 1)}));  // before it was
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kSeen, 3, 4, 8, 2)}));  // another value
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kAbsent, 3, 4, 0)}));   // lost
  EXPECT_FALSE(possible({event(kPut, 1, 2, 16, 1), event(kPut, 3, 4, 8, 2)}));  // out of order
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kPut, 3, 4, 16, 2),     // an old one
                         event(kSeen, 5, 6, 8, 1)}));
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kPut, 3, 9, 16, 2),  // back in time
                         event(kSeen, 4, 5, 16, 2), event(kSeen, 6, 7, 8, 1)}));
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kRemove, 3, 4, 16),  // came back
                         event(kSeen, 5, 6, 8, 1)}));
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1, 5), event(kSeen, 7, 8, 8, 1)}));  // expired
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1, 50), event(kAbsent, 7, 8, 0)}));  // not yet
  EXPECT_FALSE(possible({event(kPut, 1, 20, 8, 1), event(kSeen, 2, 3, 8, 1),       // seen, then not
                         event(kAbsent, 4, 5, 0)}));
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kRemove, 3, 9, 16),  // gone, then back
                         event(kAbsent, 4, 5, 0), event(kSeen, 6, 7, 8, 1)}));
}

}  // namespace
}  // namespace cairn::stress
