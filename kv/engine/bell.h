// Tells a loop which of its connections have something to be sent. Whoever pushes to many of them
// wakes the loop once, and a connection is told once for all that came until its turn.
//
// Threads: ring() from any; senders are told on the loop's.
#pragma once

#include <algorithm>
#include <boost/asio/post.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/mutex.h"
#include "core/base/types.h"

namespace cairn::kv {

class Sender {
 public:
  virtual ~Sender() = default;
  virtual void send_pushes() = 0;
};

class Bell {
 public:
  explicit Bell(Executor loop) : loop_(std::move(loop)) {}  // outlived by it
  Bell(const Bell&) = delete;

  void ring(const std::weak_ptr<Sender>& who) {
    {
      MutexLock lock(mutex_);
      rung_.push_back(who);
      if (std::exchange(heard_, true)) return;
    }
    listen();
  }

 private:
  static constexpr size_t kTurnMax = 64;  // then others have theirs

  void listen() {
    asio::post(loop_, [this] { answer(); });
  }
  void answer() {
    if (next_ == turn_.size()) {
      turn_.clear();
      next_ = 0;
      MutexLock lock(mutex_);
      turn_.swap(rung_);
    }
    const size_t end = std::min(turn_.size(), next_ + kTurnMax);
    while (next_ < end) {
      if (auto who = turn_[next_++].lock()) who->send_pushes();
    }
    if (next_ == turn_.size()) {
      MutexLock lock(mutex_);
      if (rung_.empty()) heard_ = false;
      if (rung_.empty()) return;
    }
    listen();
  }

  const Executor loop_;
  Mutex mutex_;
  std::vector<std::weak_ptr<Sender>> rung_ ABSL_GUARDED_BY(mutex_);
  bool heard_ ABSL_GUARDED_BY(mutex_) = false;  // answer() is on its way
  // The loop's.
  std::vector<std::weak_ptr<Sender>> turn_;
  size_t next_ = 0;
};

}  // namespace cairn::kv
