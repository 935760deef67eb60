// What the engine has to look at beside each command: whether it took long, whether somebody looks
// on (MONITOR), whether commands are to wait (CLIENT PAUSE). Of all that nothing costs a command
// more than one look at `bits` while nobody asked for it.
//
// When it is timed: a command that is brief by its nature (Row::brief) each 64th time, as for the
// statistics, unless what counts as slow is less than a millisecond; every other always.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "kv/engine/latency.h"
#include "kv/engine/slowlog.h"
#include "kv/engine/ticks.h"

namespace cairn::kv {

class Channels;
class Context;
class Session;
struct Request;

// Who sees all commands.
class Monitors {
 public:
  // False: it was so before.
  bool add(Session& session);
  bool remove(Session& session);
  // One line to each, made once; a line is worth as much as a message of a channel.
  void tell(Channels& channels, const Context& c) const;
  size_t size() const;

 private:
  mutable Mutex mutex_;
  std::vector<Session*> sessions_ ABSL_GUARDED_BY(mutex_);
};

// CLIENT PAUSE: until when commands wait, and which.
class Pause {
 public:
  enum class What : uint8_t { kNothing, kWrites, kAll };

  // A longer pause stays, and so does one of more.
  void begin(What what, int64_t until_ms);
  void end();
  What what(int64_t now_ms) const;
  // Whether this one is to wait.
  bool holds(const Session& session, const Request& request, int64_t now_ms) const;
  // Until it may go on, or its session ends.
  awaitable<void> wait(Session& session, Clock& clock);

 private:
  mutable Mutex mutex_;
  What what_ ABSL_GUARDED_BY(mutex_) = What::kNothing;
  int64_t until_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  std::list<std::shared_ptr<Waiter>> waiting_ ABSL_GUARDED_BY(mutex_);
};

class Lookout {
 public:
  enum Bits : uint32_t { kTimesAll = 1, kMonitored = 2, kPaused = 4, kHistograms = 8 };
  uint32_t bits() const { return bits_.load(std::memory_order_relaxed); }
  void set(Bits bit, bool on) { on ? bits_ |= bit : bits_ &= ~static_cast<uint32_t>(bit); }

  // MONITOR, and its end: at RESET, or with the connection.
  void monitor(Session& session, bool on);
  void pause_until(Pause::What what, int64_t until_ms);
  void unpause();
  bool pauses(const Session& session, const Request& request, int64_t now_ms);

  uint64_t slow_ns() const { return slow_ns_.load(std::memory_order_relaxed); }
  int64_t slower_than_us() const { return slower_than_us_; }
  uint64_t diary_ms() const { return diary_ms_; }
  void set_slower_than_us(int64_t us) {  // negative: never
    slower_than_us_ = us;
    refresh();
  }
  void set_diary_ms(uint64_t ms) {  // 0: never
    diary_ms_ = ms;
    refresh();
  }
  // A command was slow, by slow_ns().
  void note_slow(const Context& c, uint64_t ns);

  const Ticks ticks;
  Slowlog slowlog;
  LatencyDiary diary;
  Monitors monitors;
  Pause pause;

 private:
  void refresh();

  Mutex mutex_;  // of changes: a bit is what its part says
  std::atomic<uint32_t> bits_{kHistograms};
  std::atomic<uint64_t> slow_ns_{10'000'000};
  std::atomic<int64_t> slower_than_us_{10'000};
  std::atomic<uint64_t> diary_ms_{0};
};

}  // namespace cairn::kv
