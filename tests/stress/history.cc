#include "tests/stress/history.h"

#include <algorithm>

#include "core/base/text.h"

namespace cairn::stress {

namespace {

bool due(int64_t at_ms, int64_t now_ms) { return at_ms != 0 && at_ms <= now_ms; }

// Whether there is anything of it at this time. What is gone once stays so.
bool alive(const State& s, int64_t now_ms) {
  if (!s.present || due(s.expire_ms, now_ms)) return false;
  return std::any_of(s.fields.begin(), s.fields.end(),
                     [&](auto& f) { return !due(f.second.until_ms, now_ms); });
}

bool is_write(const Event& e) { return e.kind != Event::kSeen && e.kind != Event::kAbsent; }

std::string describe(const Event& e) {
  constexpr const char* kNames[] = {"put", "remove", "expire", "set", "unset", "seen", "absent"};
  std::string text = cat(kNames[e.kind], " lsn ", e.lsn, " [", e.begin, ", ", e.end, "] at [",
                         e.begin_ms, ", ", e.end_ms, "]");
  if (e.expire_ms != 0) text += cat(" until ", e.expire_ms);
  for (auto& [name, f] : e.fields) {
    text += cat(" ", name, "=", f.id);
    if (f.until_ms != 0) text += cat(" until ", f.until_ms);
  }
  return text;
}

// What the write makes of `s`.
State after(State s, const Event& e) {
  s.lsn = e.lsn;
  s.expire_ms = e.expire_ms;
  if (e.kind == Event::kExpire) return s;
  s.version = e.lsn;
  if (e.kind == Event::kUnset) {
    for (auto& [name, f] : e.fields) s.fields.erase(name);
    return s;
  }
  if (e.kind != Event::kSet || e.found == Event::kNothing) s.fields.clear();
  for (auto& [name, f] : e.fields) s.fields[name] = f;
  s.present = e.kind != Event::kRemove;
  return s;
}

// What is wrong if the write found `s`; null: nothing.
const char* found_wrong(const State& s, const Event& e) {
  if (e.found == Event::kSomething && !alive(s, e.begin_ms)) return "it was not there";
  if (e.found == Event::kNothing && alive(s, e.end_ms)) return "it was there";
  if (e.kind != Event::kUnset) return nullptr;
  for (auto& [name, f] : e.fields) {
    auto it = s.fields.find(name);
    if (it == s.fields.end() || due(it->second.until_ms, e.begin_ms)) return "no such field";
  }
  return nullptr;
}

// What is wrong if the read saw `s`; null: nothing.
const char* seen_wrong(const State& s, const Event& e) {
  if (e.kind == Event::kAbsent) return alive(s, e.end_ms) ? "it was there" : nullptr;
  if (!alive(s, e.begin_ms)) return "it was not there";
  if (s.expire_ms != e.expire_ms) return "another expiry";
  const bool lapsed = std::any_of(s.fields.begin(), s.fields.end(),
                                  [&](auto& f) { return due(f.second.until_ms, e.end_ms); });
  if (s.version != e.lsn && !(lapsed && s.version < e.lsn)) return "another version";
  if (!e.looked) return nullptr;
  size_t seen = 0;
  for (auto& [name, f] : s.fields) {
    auto it = e.fields.find(name);
    if (it == e.fields.end()) {
      if (!due(f.until_ms, e.end_ms)) return "a field is missing";
      continue;
    }
    seen++;
    if (it->second != f) return "another value";
    if (due(f.until_ms, e.begin_ms)) return "a field that was due";
  }
  return seen < e.fields.size() ? "a field that nobody wrote" : nullptr;
}

struct Step {
  const Event* write;  // null: the state that the round began with
  State state;         // after it
};

// The first step, of those that may be the newest that a read knew, that says what it saw. It is
// `steps.end()` if there is none; `why` says of each what is wrong then.
auto explain(const std::vector<Step>& steps, const Event& e, uint64_t floor, std::string& why) {
  auto step = std::upper_bound(steps.begin(), steps.end(), floor,
                               [](uint64_t lsn, const Step& s) { return lsn < s.state.lsn; });
  if (step != steps.begin()) --step;
  for (; step != steps.end(); ++step) {
    const char* wrong = seen_wrong(step->state, e);
    const auto next = std::next(step);
    if (step->write != nullptr && step->write->begin > e.end) wrong = "it began later";
    if (e.kind == Event::kSeen) {  // the store may have taken out fields after this step
      const bool after_next = next != steps.end() && next->state.lsn < e.lsn;
      const bool before_known = step->state.lsn < floor && e.lsn < floor;
      if (after_next || before_known) wrong = "another version of it was newer";
    }
    if (wrong == nullptr) return step;
    why += cat("\n  not after ", step->write == nullptr ? "what was" : describe(*step->write), ": ",
               wrong);
  }
  return step;
}

// By LSN, with the state after each; what is wrong goes to `wrong`.
std::vector<Step> in_order(const std::vector<Event>& events, const State& first,
                           std::string& wrong) {
  std::vector<Step> steps{{nullptr, first}};
  std::vector<const Event*> writes;
  for (const Event& e : events) {
    if (is_write(e)) writes.push_back(&e);
  }
  std::sort(writes.begin(), writes.end(), [](auto* x, auto* y) { return x->lsn < y->lsn; });
  for (const Event* e : writes) {
    const Step& last = steps.back();
    const char* found =
        e->lsn <= last.state.lsn ? "no LSN of its own" : found_wrong(last.state, *e);
    if (found != nullptr) {
      const std::string before = last.write == nullptr ? "what was" : describe(*last.write);
      wrong = cat(found, ": ", describe(*e), "\n  after ", before);
      return steps;
    }
    steps.push_back({e, after(last.state, *e)});
  }
  return steps;
}

}  // namespace

std::string check_history(std::vector<Event> events, State& state) {
  std::sort(events.begin(), events.end(), [](auto& x, auto& y) { return x.end < y.end; });
  std::string wrong;
  const std::vector<Step> steps = in_order(events, state, wrong);
  if (!wrong.empty()) return wrong;
  // What ended by a moment, as the newest LSN that anybody knew of then.
  std::vector<std::pair<uint64_t, uint64_t>> known{{0, state.lsn}};
  auto known_before = [&](uint64_t moment) {
    const std::pair<uint64_t, uint64_t> at(moment, 0);
    auto it = std::lower_bound(known.begin(), known.end(), at);
    return it == known.begin() ? 0 : std::prev(it)->second;
  };
  for (const Event& e : events) {
    const uint64_t floor = known_before(e.begin);
    uint64_t now = e.lsn;
    if (is_write(e)) {
      if (e.lsn <= floor) return cat("a write comes before what ended earlier: ", describe(e));
    } else {
      std::string why;
      const auto step = explain(steps, e, floor, why);
      if (step == steps.end()) {
        return cat("cannot have been, with ", floor, " known before: ", describe(e), why);
      }
      now = std::max(now, step->state.lsn);
    }
    known.emplace_back(e.end, std::max(known.back().second, now));
  }
  state = steps.back().state;
  return {};
}

}  // namespace cairn::stress
