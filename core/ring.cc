#include "core/ring.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "core/text.h"

namespace cairn {

namespace {
constexpr unsigned kRingEntries = 256;  // submission slots; completions get twice as many
}

RingService::RingService(asio::execution_context& context)
    : asio::execution_context::service(context),
      context_(static_cast<asio::io_context&>(context)) {}

RingService::~RingService() {
  if (ring_open_) io_uring_queue_exit(&ring_);
}

void RingService::shutdown() { event_.reset(); }

Status RingService::probe() {
  io_uring ring;
  if (int rc = io_uring_queue_init(8, &ring, 0); rc < 0) {
    return absl::UnavailableError(cat("the kernel refuses io_uring: ", std::strerror(-rc)));
  }
  io_uring_queue_exit(&ring);
  return absl::OkStatus();
}

void RingService::open_ring() {
  if (ring_open_) return;
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
  int rc = io_uring_queue_init_params(kRingEntries, &ring_, &params);
  if (rc == -EINVAL) {  // kernels before 6.0 lack these flags
    params = {};
    rc = io_uring_queue_init_params(kRingEntries, &ring_, &params);
  }
  if (rc < 0) throw std::runtime_error(cat("io_uring_setup: ", std::strerror(-rc)));
  int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0 || io_uring_register_eventfd(&ring_, fd) < 0) {
    throw std::runtime_error("io_uring: cannot register an eventfd");
  }
  event_ = std::make_unique<asio::posix::stream_descriptor>(context_, fd);
  ring_open_ = true;
}

void RingService::register_memory(MutableBytes memory) {
  open_ring();
  if (!fixed_.empty()) return;
  iovec iov{memory.data(), memory.size()};
  // Refused where locked memory is limited; plain writes do the same then.
  if (io_uring_register_buffers(&ring_, &iov, 1) == 0) fixed_ = memory;
}

io_uring_sqe* RingService::next_sqe() {
  open_ring();
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  inflight_++;
  if (!armed_) arm();
  if (!std::exchange(flush_posted_, true)) {
    asio::post(context_, [this] { flush(); });
  }
  return sqe;
}

void RingService::flush() {
  flush_posted_ = false;
  int rc = io_uring_submit(&ring_);
  if (rc == -EAGAIN || rc == -EBUSY) {  // the completion queue is full: reap, then try again
    reap();
    flush_posted_ = true;
    asio::post(context_, [this] { flush(); });
  }
}

void RingService::arm() {
  armed_ = true;
  event_->async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](boost::system::error_code ec) {
                       if (ec) return;
                       uint64_t count;
                       (void)!::read(event_->native_handle(), &count, sizeof(count));
                       armed_ = false;
                       reap();
                       if (inflight_ > 0 && !armed_) arm();
                     });
}

void RingService::reap() {
  io_uring_cqe* cqes[64];
  while (unsigned n = io_uring_peek_batch_cqe(&ring_, cqes, 64)) {
    for (unsigned i = 0; i < n; i++) {
      auto* op = static_cast<Op*>(io_uring_cqe_get_data(cqes[i]));
      int result = cqes[i]->res;
      inflight_--;
      op->resume.here(result);  // the frame that holds `op` may go while it runs
    }
    io_uring_cq_advance(&ring_, n);
  }
}

}  // namespace cairn
