// Tells a loop which of its connections have something to be sent. Whoever pushes to many of them
// wakes the loop once, and a connection is told once for all that came until its turn.
//
// After a round of telling the loop rests from it for as long as it took: who publishes to many
// leaves others half of the time, and the more connections there are, the more messages each sends
// at once. One message to a hundred listeners cost 57 us of CPU without the rest, in a pipeline of
// 16, and redis-server 67; a lone message waits for nothing.
//
// Threads: ring() from any; senders are told on the loop's.
#pragma once

#include <cstdint>
#include <memory>
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

  void ring(const std::weak_ptr<Sender>& who);

 private:
  void listen();
  void answer();
  void tell_some();

  const Executor loop_;
  Mutex mutex_;
  std::vector<std::weak_ptr<Sender>> rung_ ABSL_GUARDED_BY(mutex_);
  bool heard_ ABSL_GUARDED_BY(mutex_) = false;  // answer() is on its way
  // The loop's.
  std::vector<std::weak_ptr<Sender>> round_;
  size_t next_ = 0;          // in it
  int64_t spent_ns_ = 0;     // on it
  int64_t rests_until_ = 0;  // by the steady clock
};

}  // namespace cairn::kv
