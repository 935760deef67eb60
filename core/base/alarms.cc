#include "core/base/alarms.h"

#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <algorithm>
#include <utility>

#include "core/base/text.h"

namespace cairn {

namespace {
size_t index_of(std::string_view part) {
  return static_cast<size_t>(std::find(alarm::kAll.begin(), alarm::kAll.end(), part) -
                             alarm::kAll.begin());
}
}  // namespace

void Alarms::take(Severity severity, std::string_view part, std::string_view text) {
  take(absl::ToUnixMillis(absl::Now()), severity, part, text);
}

void Alarms::take(int64_t now_ms, Severity severity, std::string_view part, std::string_view text) {
  const size_t i = index_of(part);
  if (i == alarm::kAll.size()) return next_(severity, part, text);
  uint64_t untold = 0;
  {
    MutexLock lock(mutex_);
    State& state = states_[i];
    state.last = text;
    // A clock that was set back does not silence it.
    const bool just_told =
        state.count++ > 0 && now_ms >= state.told_ms && now_ms - state.told_ms < kPauseMs;
    if (just_told) {
      state.untold++;
      return;
    }
    state.told_ms = now_ms;
    untold = std::exchange(state.untold, 0);
  }
  const std::string more = untold == 0 ? "" : cat(" (and ", untold, " more since the last line)");
  next_(severity, part, cat(text, more));
}

uint64_t Alarms::count(std::string_view part) const {
  MutexLock lock(mutex_);
  return states_.at(index_of(part)).count;
}

std::string Alarms::last(std::string_view part) const {
  MutexLock lock(mutex_);
  return states_.at(index_of(part)).last;
}

std::string quoted_name(std::string_view name) {
  constexpr size_t kNameMax = 32;
  std::string out = "'";
  for (const char c : name.substr(0, kNameMax)) out += c >= ' ' && c <= '~' && c != '\'' ? c : '?';
  return out + (name.size() > kNameMax ? "…'" : "'");
}

}  // namespace cairn
