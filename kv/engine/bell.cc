#include "kv/engine/bell.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

namespace cairn::kv {

namespace {

int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

void Bell::ring(const std::weak_ptr<Sender>& who) {
  {
    MutexLock lock(mutex_);
    rung_.push_back(who);
    if (std::exchange(heard_, true)) return;
  }
  listen();
}

void Bell::listen() {
  asio::post(loop_, [this] { answer(); });
}

void Bell::answer() {
  constexpr int64_t kNotWorthATimer = 20'000;
  const int64_t begun = steady_ns(), rest = rests_until_ - begun;
  if (rest > kNotWorthATimer) {
    auto timer = std::make_shared<asio::steady_timer>(loop_, std::chrono::nanoseconds(rest));
    timer->async_wait([this, timer](boost::system::error_code) { tell_some(); });
    return;
  }
  tell_some();
}

void Bell::tell_some() {
  constexpr size_t kTurnMax = 64;          // then others have theirs
  constexpr int64_t kRestMax = 5'000'000;  // the thread may have been kept from running
  const int64_t begun = steady_ns();
  if (next_ == round_.size()) {
    round_.clear();
    next_ = 0;
    MutexLock lock(mutex_);
    round_.swap(rung_);
  }
  const size_t end = std::min(round_.size(), next_ + kTurnMax);
  while (next_ < end) {
    if (auto who = round_[next_++].lock()) who->send_pushes();
  }
  const int64_t now = steady_ns();
  spent_ns_ += now - begun;
  if (next_ == round_.size()) {
    rests_until_ = now + std::min(std::exchange(spent_ns_, 0), kRestMax);
    MutexLock lock(mutex_);
    if (rung_.empty()) heard_ = false;
    if (rung_.empty()) return;
  }
  listen();
}

}  // namespace cairn::kv
