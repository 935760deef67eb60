#include "core/volume/ring.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/text.h"

namespace cairn {

namespace {
constexpr unsigned kRingEntries = 256;  // submission slots; completions get twice as many
constexpr unsigned kInflightMax = 2 * kRingEntries;
constexpr auto kRetry = std::chrono::milliseconds(1);
}  // namespace

Ring::Ring(asio::io_context& context, Submit submit) : context_(context), submit_(submit) {}

Ring::~Ring() {
  if (open_) io_uring_queue_exit(&ring_);
}

void Ring::shutdown() {
  event_.reset();
  retry_.reset();
}

Status Ring::probe() {
  io_uring ring;
  if (int rc = io_uring_queue_init(8, &ring, 0); rc < 0) {
    return absl::UnavailableError(cat("the kernel refuses io_uring: ", std::strerror(-rc)));
  }
  io_uring_queue_exit(&ring);
  return absl::OkStatus();
}

int Ring::open_ring() {
  if (open_) return 0;
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
  int rc = io_uring_queue_init_params(kRingEntries, &ring_, &params);
  if (rc == -EINVAL) {  // kernels before 6.0 lack these flags
    params = {};
    rc = io_uring_queue_init_params(kRingEntries, &ring_, &params);
  }
  if (rc < 0) return rc;
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  rc = fd < 0 ? -errno : io_uring_register_eventfd(&ring_, fd);
  if (rc < 0) {
    if (fd >= 0) ::close(fd);
    io_uring_queue_exit(&ring_);
    return rc;
  }
  event_ = std::make_unique<asio::posix::stream_descriptor>(context_, fd);
  retry_ = std::make_unique<asio::steady_timer>(context_);
  open_ = true;
  return 0;
}

void Ring::register_memory(MutableBytes memory) {
  if (!fixed_.empty() || open_ring() != 0) return;
  iovec iov{memory.data(), memory.size()};
  // Refused where locked memory is limited; plain writes do the same then.
  if (io_uring_register_buffers(&ring_, &iov, 1) == 0) fixed_ = memory;
}

void Ring::start(Op& op) {
  const int error = broken_ != 0 ? broken_ : open_ring();
  if (error != 0) return op.resume(error);
  if (!waiting_.empty() || !place(op)) waiting_.push_back(&op);
  flush_later();
}

// False if there is no slot: the submission queue is full until flush(), or as much is in flight as
// there is room for completions.
bool Ring::place(Op& op) {
  if (inflight_ >= kInflightMax) return false;
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return false;
  op.call(op.prepare, sqe);
  io_uring_sqe_set_data(sqe, &op);
  unsubmitted_.push_back(&op);
  inflight_++;
  if (!armed_) arm();
  return true;
}

void Ring::flush_later() {
  if (!std::exchange(flush_posted_, true)) {
    asio::post(context_, [this] { flush(); });
  }
}

void Ring::flush() {
  flush_posted_ = false;
  while (broken_ == 0) {
    while (!waiting_.empty() && place(*waiting_.front())) waiting_.pop_front();
    if (unsubmitted_.empty()) return;  // whoever waits still does so for completions
    const int taken = submit_(&ring_);
    if (taken == -EINTR) continue;
    // No memory now, or completions must be fetched first.
    if (taken == -EAGAIN || taken == -EBUSY || taken == 0) return retry_later();
    if (taken < 0) return fail_all(taken);
    const auto end = unsubmitted_.begin() +
                     std::min<ptrdiff_t>(taken, static_cast<ptrdiff_t>(unsubmitted_.size()));
    unsubmitted_.erase(unsubmitted_.begin(), end);
  }
}

void Ring::retry_later() {
  reap();
  if (std::exchange(flush_posted_, true)) return;
  retry_->expires_after(kRetry);
  retry_->async_wait([this](boost::system::error_code ec) {
    if (!ec) flush();
  });
}

// What was not taken stays in the queue, which is never submitted again.
void Ring::fail_all(int error) {
  broken_ = error;
  std::vector<Op*> ops = std::move(unsubmitted_);
  inflight_ -= static_cast<unsigned>(ops.size());
  ops.insert(ops.end(), waiting_.begin(), waiting_.end());
  unsubmitted_.clear();
  waiting_.clear();
  if (inflight_ == 0 && armed_) event_->cancel();
  for (Op* op : ops) op->resume(error);
}

void Ring::arm() {
  armed_ = true;
  event_->async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](boost::system::error_code ec) {
                       armed_ = false;
                       if (ec) return;
                       uint64_t count;
                       (void)!::read(event_->native_handle(), &count, sizeof(count));
                       reap();
                       if (inflight_ > 0 && !armed_) arm();
                     });
}

void Ring::reap() {
  std::array<io_uring_cqe*, 64> cqes;
  std::array<std::pair<Op*, int>, 64> ended;
  while (const unsigned n = io_uring_peek_batch_cqe(&ring_, cqes.data(), cqes.size())) {
    for (unsigned i = 0; i < n; i++) {
      ended[i] = {static_cast<Op*>(io_uring_cqe_get_data(cqes[i])), cqes[i]->res};
    }
    io_uring_cq_advance(&ring_, n);
    inflight_ -= n;
    // The frame that holds the operation may go, and others begin, while it runs.
    for (unsigned i = 0; i < n; i++) ended[i].first->resume.here(ended[i].second);
  }
  if (!waiting_.empty()) flush_later();
}

}  // namespace cairn
