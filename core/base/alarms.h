// Reports of what happens as often as clients like: each is counted, and the operator is told when
// it begins and from then on no more often than he can read. They are known by their part; all
// other reports pass as they are.
//
// Threads: any. Who gives a report() away outlives what uses it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/mutex.h"
#include "core/base/report.h"

namespace cairn {

namespace alarm {
inline constexpr std::string_view kDamage = "damage";  // a read found other bytes than were written
inline constexpr std::string_view kRefused = "refused";  // no room on disk for a large value
// Somebody was not who he said, at this door.
inline constexpr std::string_view kAuthResp = "auth-resp";
inline constexpr std::string_view kAuthS3 = "auth-s3";
inline constexpr std::string_view kAuthGrpc = "auth-grpc";
inline constexpr std::string_view kAuthMetrics = "auth-metrics";
inline constexpr std::array kAll{kDamage, kRefused, kAuthResp, kAuthS3, kAuthGrpc, kAuthMetrics};
}  // namespace alarm

class Alarms {
 public:
  // `next` takes what is told.
  explicit Alarms(Report next) : next_(std::move(next)) {}

  Report report() {
    return
        [this](Severity s, std::string_view part, std::string_view text) { take(s, part, text); };
  }
  void take(Severity severity, std::string_view part, std::string_view text);
  // The same for a time in milliseconds since 1970.
  void take(int64_t now_ms, Severity severity, std::string_view part, std::string_view text);

  uint64_t count(std::string_view part) const;
  std::string last(std::string_view part) const;  // the newest text, told or not

 private:
  static constexpr int64_t kPauseMs = 5'000;  // between two lines of a part
  struct State {
    uint64_t count = 0, untold = 0;
    int64_t told_ms = 0;
    std::string last;
  };
  const Report next_;
  mutable Mutex mutex_;
  std::array<State, alarm::kAll.size()> states_ ABSL_GUARDED_BY(mutex_);
};

// What a client sent as a name, in quotes: cut, and so that it cannot be taken for more of a line.
std::string quoted_name(std::string_view name);

}  // namespace cairn
