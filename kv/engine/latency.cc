#include "kv/engine/latency.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace cairn::kv {

uint64_t total_of(const Durations::Sums& sums) {
  return std::accumulate(sums.begin(), sums.end(), uint64_t{0});
}

uint64_t percentile_of(const Durations::Sums& sums, double percent) {
  const double share = std::clamp(percent, 0.0, 100.0) / 100;
  const auto total = total_of(sums);
  const auto rank =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(total))));
  uint64_t below = 0;
  for (size_t i = 0; i < sums.size(); i++) {
    below += sums[i];
    if (below >= rank) return Durations::upper_ns(i);
  }
  return 0;
}

std::string percent_text(double percent) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", percent);
  return text;
}

void LatencyDiary::add(std::string_view event, int64_t at_s, uint64_t ms) {
  MutexLock lock(mutex_);
  auto it = events_.find(event);
  if (it == events_.end()) it = events_.emplace(event, Event{std::string(event), {}, 0}).first;
  Event& e = it->second;
  e.worst_ms = std::max(e.worst_ms, ms);
  if (!e.samples.empty() && e.samples.back().at_s == at_s) {
    e.samples.back().ms = std::max(e.samples.back().ms, ms);
    return;
  }
  e.samples.push_back({at_s, ms});
  if (e.samples.size() > kSamplesMax) e.samples.pop_front();
}

std::vector<LatencyDiary::Event> LatencyDiary::all() const {
  MutexLock lock(mutex_);
  std::vector<Event> out;
  for (auto& [name, event] : events_) out.push_back(event);
  return out;
}

LatencyDiary::Event LatencyDiary::event(std::string_view name) const {
  MutexLock lock(mutex_);
  const auto it = events_.find(name);
  return it == events_.end() ? Event{} : it->second;
}

size_t LatencyDiary::forget(std::string_view name) {
  MutexLock lock(mutex_);
  const auto it = events_.find(name);
  if (it == events_.end()) return 0;
  events_.erase(it);
  return 1;
}

size_t LatencyDiary::forget_all() {
  MutexLock lock(mutex_);
  const size_t n = events_.size();
  events_.clear();
  return n;
}

}  // namespace cairn::kv
