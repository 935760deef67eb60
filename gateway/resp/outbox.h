// What is pushed to a client beside the answers to its commands: messages of channels,
// invalidations, the answer to a command that waited. Any thread may push at any time; the
// connection sends it between two answers, never within one.
//
// It is bounded as Redis bounds a client's output (client-output-buffer-limit): who is over the
// hard limit at once, or over the soft one for so many seconds, is sent away, since he reads more
// slowly than others write.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "core/base/mutex.h"
#include "kv/engine/client_limits.h"

namespace cairn::resp {

class Outbox {
 public:
  using Limit = kv::OutputLimit;
  enum class Push : uint8_t {
    kAdded,    // its owner knows that there is something
    kFirst,    // its owner is to be told
    kRefused,  // over a limit: the client is to be sent away. Nothing is taken from now on.
  };

  Push push(std::string_view message, const Limit& limit, int64_t now_ms);
  // The oldest messages, whole ones, about so many bytes of them; for the owner to send.
  std::string take(size_t bytes);
  bool empty() const { return bytes() == 0; }
  uint64_t bytes() const { return bytes_.load(std::memory_order_acquire); }
  // Over the soft limit for too long; for who looks now and then, when nobody pushes.
  bool overdue(const Limit& limit, int64_t now_ms) const;

 private:
  std::atomic<uint64_t> bytes_{0};
  mutable Mutex mutex_;
  std::deque<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  bool refused_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t soft_since_ms_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: within the soft limit
};

}  // namespace cairn::resp
