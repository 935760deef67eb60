// Who writes waits here while the store cannot take more: the one way for all doors.
//
//   the log   more waits for the device than its tail may hold, or the cleaner is too far behind
//             (Log::congested): until neither is so
//   memory    more is held than may be (MemoryKeeper::overrun): who waits makes room himself, and
//             goes on when there is some, or after a second
//
// A door asks holds() before it appends, or, like that for Redis, before it answers and takes more
// from a client that has written; it holds no lock then, and while it waits no thread. Deletions
// wait as other writes do: they are appended too. Who only reads never waits for the log, and for
// memory only if values were brought back for him.
//
// Those who wait stand in line: the first is woken when something has changed, and wakes the next
// if he goes on. So as much goes in as there is room for, and not all of them at once.
//
// Threads: any. Owner: the store.
#pragma once

#include <atomic>
#include <deque>
#include <memory>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/log/log.h"
#include "core/store/memory.h"

namespace cairn {

class Backpressure {
 public:
  Backpressure(Log& log, MemoryKeeper& memory, Clock& clock)
      : log_(log), memory_(memory), clock_(clock) {}

  // Whether to wait().
  bool holds(bool writes = true) const { return (writes && log_.congested()) || memory_.overrun(); }
  // Until there is room; false: the errand was cancelled.
  awaitable<bool> wait(Errand& errand, bool writes = true);
  // For who waits on nobody's behalf that could go away.
  awaitable<void> wait(bool writes = true);

  // Something may have changed. Called after each flush of the log, and now and then.
  void look() {
    for_log_.wake();
    for_memory_.wake();
  }
  // Destroys who waits.
  void drop();

 private:
  class Line {
   public:
    // At the end, or at the front for who was woken in vain. Whether it is the first now.
    bool add(const std::shared_ptr<Waiter>& waiter, bool in_front);
    void remove(const std::shared_ptr<Waiter>& waiter);
    void wake() {
      if (length_.load() != 0) wake_first();
    }
    void drop();

   private:
    void wake_first();
    std::atomic<size_t> length_{0};
    Mutex mutex_;
    std::deque<std::shared_ptr<Waiter>> waiters_ ABSL_GUARDED_BY(mutex_);
  };
  // The first looks every so many milliseconds, if that is not 0.
  template <class Ready>  // bool()
  awaitable<bool> stand(Line& line, Errand& errand, int64_t look_ms, Ready ready);

  Log& log_;
  MemoryKeeper& memory_;
  Clock& clock_;
  Line for_log_, for_memory_;
};

}  // namespace cairn
