#include "core/store/backpressure.h"

#include <algorithm>

namespace cairn {

bool Backpressure::Line::add(const std::shared_ptr<Waiter>& waiter, bool in_front) {
  MutexLock lock(mutex_);
  if (in_front) {
    waiters_.push_front(waiter);
  } else {
    waiters_.push_back(waiter);
  }
  length_.store(waiters_.size());
  return waiters_.front() == waiter;
}

void Backpressure::Line::remove(const std::shared_ptr<Waiter>& waiter) {
  MutexLock lock(mutex_);
  const auto at = std::find(waiters_.begin(), waiters_.end(), waiter);
  if (at != waiters_.end()) waiters_.erase(at);
  length_.store(waiters_.size());
}

void Backpressure::Line::wake_first() {
  for (;;) {
    std::shared_ptr<Waiter> first;
    {
      MutexLock lock(mutex_);
      if (waiters_.empty()) return;
      first = std::move(waiters_.front());
      waiters_.pop_front();
      length_.store(waiters_.size());
    }
    if (first->wake()) return;  // else he is on his way out
  }
}

void Backpressure::Line::drop() {
  std::deque<std::shared_ptr<Waiter>> waiters;
  {
    MutexLock lock(mutex_);
    waiters.swap(waiters_);
    length_.store(0);
  }
  for (auto& waiter : waiters) waiter->drop();
}

template <class Ready>
awaitable<bool> Backpressure::stand(Line& line, Errand& errand, int64_t look_ms, Ready ready) {
  for (bool again = false; !ready(); again = true) {
    auto waiter = std::make_shared<Waiter>();
    const bool first = line.add(waiter, again);
    if (ready()) {  // it changed before there was anybody to tell
      line.remove(waiter);
      break;
    }
    Woken how = Woken::kCalled;
    if (first && look_ms > 0) {
      how = co_await errand.wait(waiter, clock_, look_ms);
    } else {
      how = co_await errand.wait(waiter);
    }
    if (how != Woken::kCalled) line.remove(waiter);
    if (how == Woken::kCancelled) {
      line.wake();
      co_return false;
    }
  }
  line.wake();
  co_return true;
}

awaitable<bool> Backpressure::wait(Errand& errand, bool writes) {
  if (writes) {
    const auto ready = [this] { return !log_.congested(); };
    const bool passed = co_await stand(for_log_, errand, 0, ready);
    if (!passed) co_return false;
  }
  // What could go may have to become durable or cold before it can: then it is a matter of time.
  constexpr int64_t kLookMs = 1, kPatienceMs = 1000;
  const auto ready = [this, begun = clock_.now_ms()]() mutable {
    if (!memory_.overrun() || memory_.help()) return true;
    const int64_t now = clock_.now_ms();
    begun = std::min(begun, now);  // the clock may be set back
    return now - begun >= kPatienceMs;
  };
  const bool passed = co_await stand(for_memory_, errand, kLookMs, ready);
  co_return passed;
}

awaitable<void> Backpressure::wait(bool writes) {
  Errand errand;
  (void)co_await wait(errand, writes);
}

void Backpressure::drop() {
  for_log_.drop();
  for_memory_.drop();
}

}  // namespace cairn
