// What is pushed to a client beside the answers to its commands: messages of channels,
// invalidations, notifications. Any thread may push at any time; the connection sends it between
// two answers, never within one.
//
// A message is one text, whoever and however many get it: each outbox holds a reference. Only its
// first byte is the receiver's own, since an array (RESP2) and a push (RESP3) differ in nothing
// else; that of a line of MONITOR is the same for all.
//
// It is bounded as Redis bounds a client's output (client-output-buffer-limit): who is over the
// hard limit at once, or over the soft one for so many seconds, is sent away, since he reads more
// slowly than others write. What is shared counts in full for each, as if it were his alone.
//
// Threads: any; the second half is for the owner's alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "kv/engine/bell.h"
#include "kv/engine/client_limits.h"

namespace cairn::kv {

// A message without its first byte: "3\r\n$7\r\nmessage\r\n", and the rest.
struct Push {
  std::shared_ptr<const std::string> head, body;
  char first = 0;  // whoever gets it; 0: the receiver's own
  size_t size() const { return 1 + head->size() + body->size(); }
};

class Outbox {
 public:
  enum class Added : uint8_t {
    kAdded,
    kRefused,  // over a limit: the client is to be sent away
    kGone,     // it was, or it ended: nothing is taken any more
  };
  static constexpr uint64_t kPushBytes = sizeof(Push);  // counted for each beside its text

  // Who is told that there is something to send. Once, before anybody pushes.
  void belongs_to(std::weak_ptr<Sender> owner, Bell& bell) {
    owner_ = std::move(owner);
    bell_ = &bell;
  }
  Added push(const Push& push, const OutputLimit& limit, int64_t now_ms);
  uint64_t bytes() const { return bytes_.load(std::memory_order_acquire); }
  bool empty() const { return bytes() == 0; }
  // Nothing is taken any more.
  bool closed() const {
    MutexLock lock(mutex_);
    return closed_;
  }
  // Over the soft limit for too long; for who looks now and then, when nobody pushes.
  bool overdue(const OutputLimit& limit, int64_t now_ms) const;

  // ---- the owner's thread ----
  // Copies what is to be sent next, at most so much, but takes nothing away. `begun`: no more than
  // the rest of a message of which a part was sent. 0: there is nothing, and the next push rings.
  size_t copy(char* to, size_t room, char first, bool begun);
  // So much of it was sent.
  void sent(size_t bytes);
  // Of the next message a part was sent.
  bool begun() const { return at_ > 0; }
  // Everything, but for the rest of a message that was begun, as one text.
  void drain(std::string& to, char first);
  // The owner looks again in another turn of its loop.
  void ring() {
    if (bell_ != nullptr) bell_->ring(owner_);
  }
  // It ends.
  void close();

 private:
  // An owner who sends nothing is told each time that so much came: it says what it holds then.
  static constexpr uint64_t kRungEach = 16 << 10;
  static constexpr size_t kKeptMax = 1 << 10;  // room for messages that is kept

  static uint64_t cost(const Push& push) { return push.size() + kPushBytes; }
  void take_in();
  static void append(std::string& to, const Push& push, char first);

  std::weak_ptr<Sender> owner_;  // constant once there are pushes
  Bell* bell_ = nullptr;

  std::atomic<uint64_t> bytes_{0};  // of all that was not sent
  mutable SmallMutex mutex_;
  std::vector<Push> coming_ ABSL_GUARDED_BY(mutex_);
  uint64_t coming_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t ring_at_ ABSL_GUARDED_BY(mutex_) = 0;  // once it holds so much; 0: at the next push
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t soft_since_ms_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: within the soft limit

  // The owner's.
  std::vector<Push> going_;  // older than those that are coming
  size_t next_ = 0;          // of them; those before it were sent
  size_t at_ = 0;            // so much of it was sent
};

}  // namespace cairn::kv
