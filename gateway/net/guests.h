// The connections that a door serves now, so that the process can end them: those at rest at once,
// those that work on something once it is answered, and in the end all of them.
//
// This is what makes a clean stop keep its word. Whoever was answered must find the write after a
// restart, and the last flush covers what was appended before it: so no answer may leave later.
// After dismiss() and a turn of every loop no connection can send any more.
//
// Threads: a Guest is made and destroyed on its connection's loop, where its function also runs;
// the rest may be called from any.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <atomic>
#include <functional>
#include <memory>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace cairn::net {

enum class End {
  kWhenIdle,  // read no further request; what was begun is answered
  kNow,       // nothing leaves any more
};

class Guests {
 public:
  class Guest {
   public:
    // `end` is called on `executor`, perhaps more than once, never after the destructor.
    Guest(Guests& all, Executor executor, std::function<void(End)> end);
    ~Guest();
    Guest(const Guest&) = delete;

   private:
    friend class Guests;
    struct State {
      Executor executor;
      std::function<void(End)> end;  // null once the guest has left; of the executor's thread
    };
    Guests& all_;
    std::shared_ptr<State> state_;
  };

  // From now on closing() is true: a connection that looks begins nothing new.
  void ask_to_leave() {
    closing_.store(true, std::memory_order_release);
    tell(End::kWhenIdle);
  }
  void dismiss() {
    closing_.store(true, std::memory_order_release);
    tell(End::kNow);
  }
  bool closing() const { return closing_.load(std::memory_order_acquire); }
  size_t size() const;
  // Until nobody is left, or for so long; whether nobody is.
  awaitable<bool> all_left(Clock& clock, int64_t ms);

 private:
  void tell(End how);

  std::atomic<bool> closing_{false};
  Gate left_;
  mutable Mutex mutex_;
  absl::flat_hash_set<std::shared_ptr<Guest::State>> states_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::net
