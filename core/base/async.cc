#include "core/base/async.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/base/text.h"

namespace cairn {

Status status_of(std::exception_ptr error, const char* what) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const std::exception& e) {
    return absl::InternalError(cat(what, ": ", e.what()));
  } catch (...) {
    return absl::InternalError(cat(what, ": an exception"));
  }
}

void die_of(std::exception_ptr error, const char* what) {
  const Status status = status_of(std::move(error), what);
  std::fprintf(stderr, "cairn: an exception ended %s\n", std::string(status.message()).c_str());
  std::fflush(nullptr);
  std::abort();
}

// ---- Waiter ----

awaitable<Woken> Waiter::wait() {
  co_return co_await suspend<Woken>([this](Resume<Woken> resume) {
    MutexLock lock(mutex_);
    if (ended_) {
      resume(*ended_);
    } else {
      resume_ = std::move(resume);
    }
  });
}

awaitable<Woken> Waiter::wait(Clock& clock, int64_t ms) {
  Executor executor = co_await asio::this_coro::executor;
  auto timer = clock.call_after(executor, ms, [this] { end(Woken::kLate); });
  co_return co_await wait();
}

bool Waiter::end(Woken how, bool here) {
  Resume<Woken> resume;
  {
    MutexLock lock(mutex_);
    if (ended_) return false;
    ended_ = how;
    resume = std::move(resume_);
  }
  if (!resume) return true;
  if (here) {
    resume.here(how);
  } else {
    resume(how);
  }
  return true;
}

void Waiter::drop() {
  Resume<Woken> resume;  // destroyed after the lock is let go: the coroutine may hold the waiter
  MutexLock lock(mutex_);
  std::swap(resume, resume_);
}

// ---- Errand ----

void Errand::begin(const std::shared_ptr<Waiter>& waiter) {
  MutexLock lock(mutex_);
  waiter_ = waiter;
  if (cancelled_) waiter->cancel();
}

void Errand::end() {
  MutexLock lock(mutex_);
  waiter_ = nullptr;
}

awaitable<Woken> Errand::wait(std::shared_ptr<Waiter> waiter) {
  begin(waiter);
  const Woken how = co_await waiter->wait();
  end();
  co_return how;
}

awaitable<Woken> Errand::wait(std::shared_ptr<Waiter> waiter, Clock& clock, int64_t ms) {
  begin(waiter);
  const Woken how = co_await waiter->wait(clock, ms);
  end();
  co_return how;
}

void Errand::cancel() {
  MutexLock lock(mutex_);
  cancelled_ = true;
  if (waiter_ != nullptr) waiter_->cancel();
}

// ---- Gate ----

bool Gate::add(const std::shared_ptr<Waiter>& waiter, uint64_t seen) {
  MutexLock lock(mutex_);
  waiting_.store(waiters_.size() + 1);
  if (turn_.load() != seen) {  // notify() may have seen nobody
    waiting_.store(waiters_.size());
    return false;
  }
  waiters_.push_back(waiter);
  return true;
}

void Gate::remove(const Waiter* waiter) {
  MutexLock lock(mutex_);
  std::erase_if(waiters_, [&](auto& w) { return w.get() == waiter; });
  waiting_.store(waiters_.size());
}

void Gate::notify() {
  turn_.fetch_add(1);
  if (waiting_.load() == 0) return;
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    MutexLock lock(mutex_);
    waiters.swap(waiters_);
    waiting_.store(0);
  }
  for (auto& waiter : waiters) waiter->wake();
}

void Gate::drop() {
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    MutexLock lock(mutex_);
    waiters.swap(waiters_);
    waiting_.store(0);
  }
  for (auto& waiter : waiters) waiter->drop();
}

// ---- Tasks ----

void Tasks::spawn(const Executor& executor, const char* what, awaitable<void> work) {
  state_->running++;
  asio::co_spawn(executor, std::move(work), [state = state_, what](std::exception_ptr error) {
    if (error) die_of(error, what);
    state->running--;
    state->gate.notify();
  });
}

awaitable<void> Tasks::below(size_t count) {
  std::shared_ptr<State> state = state_;
  co_await state->gate.until([&] { return state->running < count; });
}

awaitable<void> Tasks::ended() { return below(1); }

}  // namespace cairn
