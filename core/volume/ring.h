// One liburing ring for each io_context, found by asking the context for its RingService.
//
// Submissions of one turn of the loop are gathered and go to the kernel together; completions
// wake the same loop through an eventfd. What finds no slot waits for one: any number of operations
// may be asked for at once.
// Threads: a ring belongs to the single thread that runs its io_context; use only from there.
// Errors: an operation's result is the kernel's. A ring that cannot be made now (no descriptors)
// gives the reason as the result, and the next operation tries again; one that the kernel does not
// take submissions from any more gives the reason to all that it had not taken, and to all after.
#pragma once

#include <liburing.h>

#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <vector>

#include "core/base/async.h"

namespace cairn {

class Ring {
 public:
  // io_uring_submit's contract: how many were taken, or a negative errno. Tests give another.
  using Submit = int (*)(io_uring*);

  explicit Ring(asio::io_context& context, Submit submit = io_uring_submit);
  ~Ring();
  Ring(const Ring&) = delete;
  void shutdown();  // before the context's other services go

  // Whether the kernel lets this process use io_uring at all; says why not.
  static Status probe();

  // Runs one operation and gives the kernel's result: bytes, or a negative errno.
  template <class Prepare>  // void(io_uring_sqe*)
  awaitable<int> run(Prepare prepare) {
    Op op;
    op.prepare = &prepare;
    op.call = [](void* prepare, io_uring_sqe* sqe) { (*static_cast<Prepare*>(prepare))(sqe); };
    co_return co_await suspend<int>([&](Resume<int> resume) {
      op.resume = std::move(resume);
      start(op);
    });
  }

  // The pages of `memory` stay registered with the ring, so that write_fixed can use index 0.
  bool registered(const void* p, size_t bytes) const {
    auto* b = static_cast<const std::byte*>(p);
    return b >= fixed_.data() && b + bytes <= fixed_.data() + fixed_.size();
  }
  void register_memory(MutableBytes memory);
  bool open() const { return open_; }

 private:
  // One operation; lives in the frame of run().
  struct Op {
    void* prepare;
    void (*call)(void*, io_uring_sqe*);
    Resume<int> resume;
  };
  void start(Op& op);
  int open_ring();  // 0, or a negative errno
  bool place(Op& op);
  void flush_later();
  void flush();
  void retry_later();
  void fail_all(int error);
  void arm();
  void reap();

  asio::io_context& context_;
  const Submit submit_;
  io_uring ring_{};
  bool open_ = false;
  bool flush_posted_ = false;
  bool armed_ = false;
  int broken_ = 0;                // a negative errno: nothing is submitted any more
  unsigned inflight_ = 0;         // have a slot
  std::vector<Op*> unsubmitted_;  // of those, what the kernel has not taken, oldest first
  std::deque<Op*> waiting_;       // for a slot
  MutableBytes fixed_;
  std::unique_ptr<asio::posix::stream_descriptor> event_;
  std::unique_ptr<asio::steady_timer> retry_;
};

class RingService : public asio::execution_context::service, public Ring {
 public:
  using key_type = RingService;
  static inline asio::execution_context::id id;

  explicit RingService(asio::execution_context& context)
      : asio::execution_context::service(context), Ring(static_cast<asio::io_context&>(context)) {}
  void shutdown() override { Ring::shutdown(); }
};

}  // namespace cairn
