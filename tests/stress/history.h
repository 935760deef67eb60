// Whether what threads saw of one key can have happened one after the other (linearizability), its
// absence included. Every write has its LSN, which is its place among the key's writes, and every
// read tells the LSN of what it saw; so no order has to be searched for, only checked:
//
//  1. what ended before something else began comes before it;
//  2. a read sees a write that had begun, and none that another had replaced before it began;
//  3. who finds nothing does so after a removal, or after the expiry, of what was there last, or
//     before the first write.
//
// Threads: one; each thread keeps events of its own and they are put together afterwards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cairn::stress {

struct Event {
  enum Kind : uint8_t { kPut, kRemove, kSeen, kAbsent };
  Kind kind;
  uint64_t begin, end;       // of the call, by a clock that all threads share
  int64_t begin_ms, end_ms;  // the same by the store's clock
  uint64_t lsn = 0;          // of the write, or of what was seen
  uint64_t id = 0;  // what a put wrote, or a read found in the value: unique; 0: it did not look
  int64_t expire_ms = 0;  // of a put; 0: never
};

// What a key holds at the end of one round is what it begins the next one with.
struct State {
  uint64_t lsn = 0, id = 0;
  int64_t expire_ms = 0;
  bool present = false;
};

// Empty if the events of one key can have happened; else what is wrong. `state` becomes the last
// one.
inline std::string check_history(std::vector<Event> events, State& state) {
  std::map<uint64_t, Event> writes;  // by LSN
  const Event first{state.present ? Event::kPut : Event::kRemove,
                    0,
                    0,
                    0,
                    0,
                    state.lsn,
                    state.id,
                    state.expire_ms};
  writes.emplace(state.lsn, first);
  auto describe = [](const Event& e) {
    constexpr const char* kNames[] = {"put", "remove", "seen", "absent"};
    return std::string(kNames[e.kind]) + " lsn " + std::to_string(e.lsn) + " id " +
           std::to_string(e.id) + " [" + std::to_string(e.begin) + ", " + std::to_string(e.end) +
           "]";
  };
  for (const Event& e : events) {
    if (e.kind != Event::kPut && e.kind != Event::kRemove) continue;
    if (!writes.emplace(e.lsn, e).second) return "two writes have one LSN: " + describe(e);
  }
  // What ended by a moment, as the newest LSN that anybody knew of then.
  std::sort(events.begin(), events.end(), [](auto& x, auto& y) { return x.end < y.end; });
  std::vector<std::pair<uint64_t, uint64_t>> known{{0, state.lsn}};
  auto known_before = [&](uint64_t moment) {
    const std::pair<uint64_t, uint64_t> at(moment, 0);
    auto it = std::lower_bound(known.begin(), known.end(), at);
    return it == known.begin() ? 0 : std::prev(it)->second;
  };
  for (const Event& e : events) {
    const uint64_t floor = known_before(e.begin);
    uint64_t now = e.lsn;
    if (e.kind == Event::kPut || e.kind == Event::kRemove) {
      if (e.lsn <= floor) return "a write comes before what ended earlier: " + describe(e);
    } else if (e.kind == Event::kSeen) {
      auto w = writes.find(e.lsn);
      if (w == writes.end()) return "nobody wrote what was seen: " + describe(e);
      if (w->second.kind != Event::kPut || (e.id != 0 && w->second.id != e.id)) {
        return "another value was seen: " + describe(e) + ", not " + describe(w->second);
      }
      if (w->second.begin > e.end) return "seen before it was written: " + describe(e);
      if (e.lsn < floor) return "an old value was seen: " + describe(e);
      if (w->second.expire_ms != 0 && w->second.expire_ms <= e.begin_ms) {
        return "an expired value was seen: " + describe(e);
      }
    } else {  // some write, after which there was nothing, may have been the last one
      auto w = writes.begin();
      auto explains = [&] {
        auto next = std::next(w);
        if (w->second.begin > e.end || (next != writes.end() && next->first <= floor)) return false;
        if (w->second.kind == Event::kRemove) return true;
        return w->second.expire_ms != 0 && w->second.expire_ms <= e.end_ms;
      };
      while (w != writes.end() && !explains()) ++w;
      if (w == writes.end()) return "not found though it was there: " + describe(e);
      now = w->first;
    }
    known.emplace_back(e.end, std::max(known.back().second, now));
  }
  const Event& last = writes.rbegin()->second;
  state = {last.lsn, last.id, last.expire_ms, last.kind == Event::kPut};
  return {};
}

}  // namespace cairn::stress
