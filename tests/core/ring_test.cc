// The ring takes any number of operations at once, and what the kernel says to a submission.
#include "core/volume/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstdlib>

#include "core/volume/volume.h"

namespace cairn {
namespace {

struct RingTest : testing::Test {
  asio::io_context context{1};
  int fd = -1;
  void SetUp() override {
    if (!Ring::probe().ok()) GTEST_SKIP() << "the kernel refuses io_uring";
    char name[] = "/tmp/cairn-ring-XXXXXX";
    fd = ::mkstemp(name);
    ::unlink(name);
  }
  void TearDown() override {
    if (fd >= 0) ::close(fd);
  }
  // So many writes at once, then as many reads at once: how many gave what they should.
  int exchange(Ring& ring, int count) {
    int good = 0;
    std::vector<AlignedBuffer> buffers;
    buffers.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; i++) buffers.emplace_back(kBlockBytes);
    auto one = [&](int i) -> awaitable<void> {
      AlignedBuffer& buffer = buffers[static_cast<size_t>(i)];
      const auto offset = static_cast<uint64_t>(i) * kBlockBytes;
      std::memset(buffer.data(), i % 251, kBlockBytes);
      const int wrote = co_await ring.run([&](io_uring_sqe* sqe) {
        io_uring_prep_write(sqe, fd, buffer.data(), kBlockBytes, offset);
      });
      std::memset(buffer.data(), 255, kBlockBytes);
      const int read = co_await ring.run([&](io_uring_sqe* sqe) {
        io_uring_prep_read(sqe, fd, buffer.data(), kBlockBytes, offset);
      });
      const bool same = buffer.data()[kBlockBytes - 1] == static_cast<std::byte>(i % 251);
      good += wrote == static_cast<int>(kBlockBytes) && read == wrote && same;
    };
    for (int i = 0; i < count; i++) spawn(context.get_executor(), "a test", one(i));
    context.restart();
    context.run();
    return good;
  }
};

// With more than 256 waiting there was no slot, and the process ended.
TEST_F(RingTest, TakesMoreThanItHasSlotsFor) {
  for (int count : {1, 255, 256, 257, 600, 3000}) {
    Ring ring(context);
    EXPECT_EQ(exchange(ring, count), count) << count;
    ring.shutdown();
  }
}

int tries = 0;
int fails_now_and_then(io_uring* ring) {
  constexpr int kErrors[] = {-EINTR, -EAGAIN, -EBUSY, 0};
  if (++tries % 5 != 0) return kErrors[tries % 4];
  return io_uring_submit(ring);
}

// One EINTR once hung an upload: what was not taken was never submitted again.
TEST_F(RingTest, ASubmissionThatFailsForNowIsTriedAgain) {
  Ring ring(context, fails_now_and_then);
  EXPECT_EQ(exchange(ring, 600), 600);
  ring.shutdown();
}

int breaks_later(io_uring* ring) { return ++tries > 2 ? -EBADF : io_uring_submit(ring); }

TEST_F(RingTest, ASubmissionThatFailsForGoodIsTheResultOfAllThatWait) {
  tries = 0;
  Ring ring(context, breaks_later);
  EXPECT_LT(exchange(ring, 600), 600);  // ends: everyone has an answer
  int result = 0;
  spawn(context.get_executor(), "a test", [](Ring& ring, int& result) -> awaitable<void> {
    result = co_await ring.run([](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); });
  }(ring, result));
  context.restart();
  context.run();
  EXPECT_EQ(result, -EBADF);
  ring.shutdown();
}

TEST_F(RingTest, SignalsInterruptNothing) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGALRM, &action, &before);
  const itimerval often{{0, 200}, {0, 200}};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  {
    Ring ring(context);
    for (int i = 0; i < 20; i++) EXPECT_EQ(exchange(ring, 600), 600);
    ring.shutdown();
  }
  const itimerval never{};
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
}

TEST_F(RingTest, WithoutDescriptorsTheOperationSaysSoAndTheNextMayGo) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  Ring ring(context);
  const int next = ::dup(0);
  ::close(next);
  const rlimit none{static_cast<rlim_t>(next), limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_EQ(exchange(ring, 1), 0);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(exchange(ring, 1), 1);
  ring.shutdown();
}

}  // namespace
}  // namespace cairn
