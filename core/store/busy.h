// Stripes that are *busy*: held for longer than a turn, by a script that computes for seconds on a
// thread of its own. No I/O thread stands still for such a one.
//
//   a request     asks for its stripes by lock_idle(), hears that one is busy, and is suspended in
//                 until_idle(); when the holder has had them for longer than `patience_ms`, it is
//                 refused (held_too_long)
//   a tick        (expiry, eviction) passes over a busy stripe and comes again
//   who can do    neither, and who came in between asking and locking, locks as ever: then the
//                 holder is told to give way. It takes all of it back, lets go, and begins again
//                 once those have passed.
//
// Invariants
//  1. Of what a holder changes nothing is in the log while its stripes are busy: it settles before
//     it commits. Who waits for all that is in the log's tail to be in the index may pass over
//     them.
//  2. A holder waits for no stripe while it has others that are busy: it takes all of them first,
//     and none where one is busy already.
//  3. Who waits with its thread is in Holder::unwilling, and the holder looks there every moment.
//
// Threads: any.
#pragma once

#include <absl/functional/function_ref.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <span>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/index/index.h"

namespace cairn {

class StripeLocks;

class Busy {
 public:
  // Who holds stripes for long; for as long as it goes on, also between two goes.
  class Holder {
   public:
    // `who`: what it calls itself in held_too_long(), a literal.
    explicit Holder(const char* who) : who(who) {}
    // Somebody waits with its thread.
    bool must_give_way() const { return unwilling_.load(std::memory_order_relaxed) > 0; }
    // With nothing locked: until those have passed.
    void let_pass() const {
      for (int n = unwilling_.load(); n > 0; n = unwilling_.load()) unwilling_.wait(n);
    }

    const char* const who;

   private:
    friend class Busy;
    std::atomic<int64_t> since_ms_{0};  // 0: it has held nothing yet
    std::atomic<int> unwilling_{0};
  };
  using HolderPtr = std::shared_ptr<Holder>;
  using Mutexes = std::function<SmallMutex&(size_t stripe)>;

  Busy(Clock& clock, Mutexes mutexes) : clock_(clock), mutexes_(std::move(mutexes)) {}

  // For how long requests wait; 0: as long as it takes.
  std::atomic<int64_t> patience_ms{5000};
  static constexpr int64_t kPatienceMsMax = int64_t{1} << 40;  // that a timer can be set for

  bool any() const { return holds_.load(std::memory_order_relaxed) != 0; }
  bool is_busy(KeyHash hash) const { return any() && mutexes_(stripe_of(hash)).is_busy(); }
  enum class Patience : uint8_t { kOfRequests, kEndless };
  // Until none of their stripes is busy, which may be otherwise a moment later.
  awaitable<Status> until_idle(std::span<const KeyHash> hashes,
                               Patience patience = Patience::kOfRequests);
  awaitable<Status> until_idle(KeyHash hash, Patience patience = Patience::kOfRequests);
  awaitable<Status> until_all_idle(Patience patience = Patience::kOfRequests);
  void drop_waiters() { idle_.drop(); }

 private:
  friend class StripeLocks;
  struct Hold {
    const StripeLocks* locks;
    HolderPtr holder;
  };
  struct Unwilling {  // waits with its thread
    uint32_t stripe;
    HolderPtr asked;  // to give way
  };
  // Waits with its thread, and takes it; the holder gives way.
  void lock_anyway(uint32_t stripe);
  void begin(const StripeLocks& locks, HolderPtr holder);
  // Changes what a hold covers; nobody else may look at it meanwhile.
  void widen(const StripeLocks& locks, absl::FunctionRef<void()> change);
  void end(const StripeLocks& locks);
  static void ask(Unwilling& who, HolderPtr holder);
  void ask_all(const Hold& hold) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  HolderPtr holder_of(size_t stripe) const;
  // Who holds the first of them that is busy.
  HolderPtr met(std::span<const uint32_t> stripes) const;
  awaitable<Status> until(std::vector<uint32_t> stripes, Patience patience);

  Clock& clock_;
  const Mutexes mutexes_;
  std::atomic<size_t> holds_{0};
  Gate idle_;  // a hold has ended
  mutable Mutex mutex_;
  std::list<Hold> all_ ABSL_GUARDED_BY(mutex_);
  std::list<Unwilling*> unwilling_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
