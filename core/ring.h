// One liburing ring for each io_context, found by asking the context for its RingService.
//
// Submissions of one turn of the loop are gathered and go to the kernel together; completions
// wake the same loop through an eventfd.
// Threads: a ring belongs to the single thread that runs its io_context; use only from there.
#pragma once

#include <liburing.h>

#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>

#include "core/async.h"

namespace cairn {

class RingService : public asio::execution_context::service {
 public:
  using key_type = RingService;
  static inline asio::execution_context::id id;

  explicit RingService(asio::execution_context& context);
  ~RingService() override;
  void shutdown() override;

  // Whether the kernel lets this process use io_uring at all; says why not.
  static Status probe();

  // Runs one operation and gives the kernel's result: bytes, or a negative errno.
  template <class Prepare>  // void(io_uring_sqe*)
  awaitable<int> run(Prepare prepare) {
    Op op;
    co_return co_await suspend<int>([&](Resume<int> resume) {
      op.resume = std::move(resume);
      io_uring_sqe* sqe = next_sqe();
      prepare(sqe);
      io_uring_sqe_set_data(sqe, &op);
    });
  }

  // The pages of `memory` stay registered with the ring, so that write_fixed can use index 0.
  bool registered(const void* p, size_t bytes) const {
    auto* b = static_cast<const std::byte*>(p);
    return b >= fixed_.data() && b + bytes <= fixed_.data() + fixed_.size();
  }
  void register_memory(MutableBytes memory);
  bool open() const { return ring_open_; }

 private:
  // One operation in flight; lives in the frame of run().
  struct Op {
    Resume<int> resume;
  };
  io_uring_sqe* next_sqe();
  void open_ring();
  void arm();
  void reap();
  void flush();

  asio::io_context& context_;
  io_uring ring_{};
  bool ring_open_ = false;
  bool flush_posted_ = false;
  bool armed_ = false;
  unsigned inflight_ = 0;
  MutableBytes fixed_;
  std::unique_ptr<asio::posix::stream_descriptor> event_;
};

}  // namespace cairn
