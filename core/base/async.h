// The one place where coroutines are started, put to sleep and woken.
//
//   spawn   starts one; an exception that leaves it ends the process, or goes where the caller says
//   Tasks   starts several, and waits until all of them have ended
//   suspend puts the running coroutine to sleep and gives away the one way to wake it
//   Waiter  one coroutine waits for one call, a cancellation, or the end of its patience
//   Errand  what is done on behalf of somebody who may go away: that cancels what it waits for
//   Gate    any number wait until something is true; who changes it says so
//
// Nobody sleeps in a loop to look again: who waits is woken by who changes what he waits for.
//
// Threads: any thread may wake. Who is woken goes on on the executor that he waited on, in a later
// turn of it; at once only by here() and wake_here(). A coroutine that is never woken is destroyed
// with what would have woken it; drop() does that for an owner whose waiters hold what it is about
// to take apart.
#pragma once

#include <absl/functional/any_invocable.h>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace cairn {

// ---- starting ----

// Says what ended how, and ends the process: after an exception that nobody caught no state can be
// believed any more.
[[noreturn]] void die_of(std::exception_ptr error, const char* what);
// An exception as an error value: Internal, with its text.
Status status_of(std::exception_ptr error, const char* what);

// `what` names the coroutine to a person; a literal.
inline void spawn(const Executor& executor, const char* what, awaitable<void> work) {
  asio::co_spawn(executor, std::move(work), [what](std::exception_ptr error) {
    if (error) die_of(error, what);
  });
}
// `failed(Status)` is called instead if an exception leaves it: for work whose failure is another's
// to answer for, a connection's or the log's.
template <class Failed>
void spawn(const Executor& executor, const char* what, awaitable<void> work, Failed failed) {
  asio::co_spawn(executor, std::move(work),
                 [what, failed = std::move(failed)](std::exception_ptr error) mutable {
                   if (error) failed(status_of(error, what));
                 });
}
// For a caller outside of coroutines who wants the result: done(T) or failed(Status).
template <class T, class Done, class Failed>
void spawn(const Executor& executor, const char* what, awaitable<T> work, Done done,
           Failed failed) {
  asio::co_spawn(executor, std::move(work),
                 [what, done = std::move(done), failed = std::move(failed)](
                     std::exception_ptr error, T result) mutable {
                   if (error) return failed(status_of(error, what));
                   done(std::move(result));
                 });
}

// ---- waiting ----

// Wakes one coroutine, once. Move-only; one that is destroyed unused destroys the coroutine.
template <class... T>  // nothing, or the type of what the coroutine gets
class Resume {
 public:
  Resume() = default;
  template <class Handler>
  explicit Resume(Handler handler)
      : executor_(asio::get_associated_executor(handler)), handler_(std::move(handler)) {}
  explicit operator bool() const { return static_cast<bool>(handler_); }
  const Executor& executor() const { return executor_; }

  void operator()(T... value) {
    auto handler = std::exchange(handler_, nullptr);
    asio::post(executor_, [handler = std::move(handler), ... value = std::move(value)]() mutable {
      handler(std::move(value)...);
    });
  }
  // What wakes it, for a caller that keeps it beside the executor and calls it there.
  absl::AnyInvocable<void(T...)> release() { return std::exchange(handler_, nullptr); }
  // At once, for a caller that runs on executor()'s thread and touches nothing of the coroutine's
  // afterwards.
  void here(T... value) {
    auto handler = std::exchange(handler_, nullptr);
    handler(std::move(value)...);
  }

 private:
  Executor executor_;
  absl::AnyInvocable<void(T...)> handler_;
};

// Calls `start(Resume<T...>)` when the coroutine is asleep.
template <class... T, class Start>
auto suspend(Start start) {
  return asio::async_initiate<const asio::use_awaitable_t<>, void(T...)>(
      [start = std::move(start)](auto handler) mutable { start(Resume<T...>(std::move(handler))); },
      asio::use_awaitable);
}

enum class Woken : uint8_t { kCalled, kCancelled, kLate };

// Whoever may wake from another thread holds it by shared_ptr.
class Waiter {
 public:
  // At once if it was woken before. One coroutine, once.
  awaitable<Woken> wait();
  // Patience in milliseconds; kLate when it ends.
  awaitable<Woken> wait(Clock& clock, int64_t ms);
  // Any thread; the first counts, and is told so.
  bool wake() { return end(Woken::kCalled); }
  bool cancel() { return end(Woken::kCancelled); }
  // As Resume::here().
  bool wake_here() { return end(Woken::kCalled, true); }
  // Destroys who waits.
  void drop();

 private:
  bool end(Woken how, bool here = false);

  Mutex mutex_;
  std::optional<Woken> ended_ ABSL_GUARDED_BY(mutex_);
  Resume<Woken> resume_ ABSL_GUARDED_BY(mutex_);
};

// Its owner outlives who waits.
class Errand {
 public:
  // As the waiter's own; cancelled at once if the errand was before.
  awaitable<Woken> wait(std::shared_ptr<Waiter> waiter);
  awaitable<Woken> wait(std::shared_ptr<Waiter> waiter, Clock& clock, int64_t ms);
  // Any thread. Whatever it waits for, now or later, is for nothing.
  void cancel();

 private:
  void begin(const std::shared_ptr<Waiter>& waiter);
  void end();

  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<Waiter> waiter_ ABSL_GUARDED_BY(mutex_);
};

// What is waited for is a predicate over state that others change: they change it, then notify().
// `ready` may be called on any turn of the waiter's executor, and by nobody else.
class Gate {
 public:
  ~Gate() { drop(); }

  template <class Ready>  // bool()
  awaitable<void> until(Ready ready) {
    for (;;) {
      const uint64_t seen = turn_.load();
      if (ready()) co_return;
      auto waiter = std::make_shared<Waiter>();
      if (!add(waiter, seen)) continue;
      co_await waiter->wait();
    }
  }
  // At most for so long; whether it is ready then.
  template <class Ready>
  awaitable<bool> until(Ready ready, Clock& clock, int64_t ms) {
    if (ready()) co_return true;
    bool late = false;
    std::shared_ptr<Waiter> waiter;
    Executor executor = co_await asio::this_coro::executor;
    auto timer = clock.call_after(executor, ms, [&] {
      late = true;
      if (waiter != nullptr) waiter->cancel();
    });
    while (!late) {  // NOLINT(bugprone-infinite-loop): the timer ends it
      const uint64_t seen = turn_.load();
      if (ready()) co_return true;
      waiter = std::make_shared<Waiter>();
      if (!add(waiter, seen)) continue;
      co_await waiter->wait();
      remove(waiter.get());
    }
    co_return ready();
  }

  // Something changed: all who wait look again.
  void notify();
  // Destroys who waits.
  void drop();

 private:
  bool add(const std::shared_ptr<Waiter>& waiter, uint64_t seen);
  void remove(const Waiter* waiter);

  std::atomic<uint64_t> turn_{0};   // of changes
  std::atomic<size_t> waiting_{0};  // about so many in waiters_
  Mutex mutex_;
  std::vector<std::shared_ptr<Waiter>> waiters_ ABSL_GUARDED_BY(mutex_);
};

// Coroutines that end before their owner does.
class Tasks {
 public:
  // An exception ends the process.
  void spawn(const Executor& executor, const char* what, awaitable<void> work);
  // Until fewer than so many are running.
  awaitable<void> below(size_t count);
  // Until all that were started have ended.
  awaitable<void> ended();
  size_t running() const { return state_->running.load(); }
  void drop() { state_->gate.drop(); }

 private:
  struct State {
    std::atomic<size_t> running{0};
    Gate gate;
  };
  // Also of those who end, who may still be at it when the owner has seen that they have.
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace cairn
