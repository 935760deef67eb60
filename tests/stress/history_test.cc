// The checker itself: it takes what can have happened, and nothing else.
#include "tests/stress/history.h"

#include <gtest/gtest.h>

namespace cairn::stress {
namespace {

// Of a string; times by both clocks are the same.
Event event(Event::Kind kind, uint64_t begin, uint64_t end, uint64_t lsn, uint64_t id = 0,
            int64_t expire_ms = 0) {
  Event e{kind, begin, end, static_cast<int64_t>(begin), static_cast<int64_t>(end), lsn, expire_ms};
  if (id != 0) e.fields[""].id = id;
  return e;
}
Event of_hash(Event::Kind kind, uint64_t begin, uint64_t end, uint64_t lsn, Fields fields,
              Event::Found found = Event::kNotLooked) {
  Event e = event(kind, begin, end, lsn);
  e.fields = std::move(fields);
  e.found = found;
  return e;
}
bool possible(std::vector<Event> events) {
  State state;
  return check_history(std::move(events), state).empty();
}
constexpr auto kPut = Event::kPut, kRemove = Event::kRemove, kSeen = Event::kSeen,
               kAbsent = Event::kAbsent, kExpire = Event::kExpire, kSet = Event::kSet,
               kUnset = Event::kUnset;
constexpr auto kNothing = Event::kNothing, kSomething = Event::kSomething;

TEST(History, TakesWhatCanHaveHappened) {
  EXPECT_TRUE(possible({event(kAbsent, 1, 2, 0), event(kPut, 3, 4, 8, 1), event(kSeen, 5, 6, 8, 1),
                        event(kRemove, 7, 8, 16), event(kAbsent, 9, 10, 0)}));
  // Calls that overlap may have come in either order.
  EXPECT_TRUE(
      possible({event(kPut, 1, 10, 8, 1), event(kAbsent, 2, 3, 0), event(kSeen, 4, 5, 8, 1)}));
  EXPECT_TRUE(possible({event(kPut, 1, 2, 8, 1), event(kPut, 3, 9, 16, 2), event(kSeen, 4, 5, 8, 1),
                        event(kSeen, 6, 7, 16, 2)}));
  EXPECT_TRUE(
      possible({event(kPut, 1, 2, 8, 1, 5), event(kSeen, 3, 4, 8, 1, 5), event(kAbsent, 5, 6, 0)}));
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
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1, 5), event(kSeen, 7, 8, 8, 1, 5)}));  // expired
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1, 50), event(kAbsent, 7, 8, 0)}));     // not yet
  EXPECT_FALSE(possible({event(kPut, 1, 20, 8, 1), event(kSeen, 2, 3, 8, 1),  // seen, then not
                         event(kAbsent, 4, 5, 0)}));
  EXPECT_FALSE(possible({event(kPut, 1, 2, 8, 1), event(kRemove, 3, 9, 16),  // gone, then back
                         event(kAbsent, 4, 5, 0), event(kSeen, 6, 7, 8, 1)}));
}

TEST(History, KnowsWhatAnExpiryChanges) {
  const Event put = event(kPut, 1, 2, 8, 1, 50), longer = event(kExpire, 3, 4, 16, 0, 90),
              never = event(kExpire, 3, 4, 16);
  EXPECT_TRUE(possible({put, longer, event(kSeen, 60, 61, 8, 1, 90), event(kAbsent, 90, 91, 0)}));
  EXPECT_TRUE(possible({put, never, event(kSeen, 99, 100, 8, 1)}));
  // It is lost, or changes the version; an older one comes back; a key that expired does.
  EXPECT_FALSE(possible({put, longer, event(kAbsent, 60, 61, 0)}));
  EXPECT_FALSE(possible({put, never, event(kSeen, 5, 6, 16, 1)}));
  EXPECT_FALSE(possible({put, longer, event(kSeen, 5, 6, 8, 1, 50)}));
  Event late = event(kExpire, 60, 61, 16, 0, 90);
  late.found = kSomething;
  EXPECT_FALSE(possible({put, late}));
}

TEST(History, KnowsWhatBecomesOfFields) {
  const Event made = of_hash(kSet, 1, 2, 8, {{"a", {1}}, {"b", {2, 50}}}, kNothing);
  const Event more = of_hash(kSet, 3, 4, 16, {{"c", {3}}}, kSomething);
  const Event less = of_hash(kUnset, 3, 4, 16, {{"a", {1}}}, kSomething);
  EXPECT_TRUE(
      possible({made, more, of_hash(kSeen, 5, 6, 16, {{"a", {1}}, {"b", {2, 50}}, {"c", {3}}})}));
  EXPECT_TRUE(possible(
      {made, less, of_hash(kSeen, 5, 6, 16, {{"b", {2, 50}}}), event(kAbsent, 50, 51, 0)}));
  // A field goes when its time comes, and the version changes when the store takes it out.
  EXPECT_TRUE(possible(
      {made, of_hash(kSeen, 50, 51, 8, {{"a", {1}}}), of_hash(kSeen, 52, 53, 16, {{"a", {1}}})}));
  EXPECT_FALSE(possible(
      {made, of_hash(kSeen, 50, 51, 16, {{"a", {1}}}), of_hash(kSeen, 52, 53, 8, {{"a", {1}}})}));
  EXPECT_FALSE(possible({made, of_hash(kSeen, 5, 6, 16, {{"a", {1}}, {"b", {2, 50}}})}));
  EXPECT_FALSE(possible({made, of_hash(kSeen, 50, 51, 8, {{"a", {1}}, {"b", {2, 50}}})}));
  // Half of a change, a field that is lost, one that came back, one for another time.
  EXPECT_FALSE(possible({made, of_hash(kSeen, 3, 4, 8, {{"a", {1}}})}));
  EXPECT_FALSE(possible({made, more, of_hash(kSeen, 5, 6, 16, {{"b", {2, 50}}, {"c", {3}}})}));
  EXPECT_FALSE(possible({made, less, of_hash(kSeen, 5, 6, 16, {{"a", {1}}, {"b", {2, 50}}})}));
  EXPECT_FALSE(possible({made, of_hash(kSeen, 3, 4, 8, {{"a", {1}}, {"b", {2, 60}}})}));
  // Who changed it found it, or not.
  EXPECT_FALSE(possible({made, of_hash(kSet, 3, 4, 16, {{"c", {3}}}, kNothing)}));
  EXPECT_FALSE(possible({of_hash(kSet, 3, 4, 16, {{"c", {3}}}, kSomething)}));
  EXPECT_FALSE(possible({made, of_hash(kUnset, 3, 4, 16, {{"c", {1}}}, kSomething)}));
}

}  // namespace
}  // namespace cairn::stress
