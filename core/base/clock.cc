#include "core/base/clock.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "core/base/async.h"

namespace cairn {

namespace {

using Call = absl::AnyInvocable<void()>;

// What a clock that can only sleep gives: the sleep goes on, and finds nothing to call.
struct SleepTimer final : Clock::Timer {
  ~SleepTimer() override { *call = nullptr; }
  std::shared_ptr<Call> call = std::make_shared<Call>();
};

struct SteadyTimer final : Clock::Timer {
  explicit SteadyTimer(const Executor& executor) : timer(executor) {}
  ~SteadyTimer() override { *call = nullptr; }  // its call may be under way already
  asio::steady_timer timer;
  std::shared_ptr<Call> call = std::make_shared<Call>();
};

void make_call(Call& call) {
  auto f = std::exchange(call, nullptr);
  if (f) f();
}

}  // namespace

int64_t Clock::steady_ms() const {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::unique_ptr<Clock::Timer> Clock::call_after(const Executor& executor, int64_t ms,
                                                absl::AnyInvocable<void()> f) {
  auto timer = std::make_unique<SleepTimer>();
  *timer->call = std::move(f);
  spawn(executor, "a timer",
        [](Clock& clock, int64_t wait_ms, std::shared_ptr<Call> call) -> awaitable<void> {
          co_await clock.sleep_ms(wait_ms);
          make_call(*call);
        }(*this, ms, timer->call));
  return timer;
}

std::unique_ptr<Clock::Timer> SystemClock::call_after(const Executor& executor, int64_t ms,
                                                      absl::AnyInvocable<void()> f) {
  auto timer = std::make_unique<SteadyTimer>(executor);
  *timer->call = std::move(f);
  timer->timer.expires_after(std::chrono::milliseconds(ms));
  timer->timer.async_wait([call = timer->call](boost::system::error_code ec) {
    if (!ec) make_call(*call);
  });
  return timer;
}

int64_t SystemClock::now_ms() const {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

awaitable<void> SystemClock::sleep_ms(int64_t ms) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(std::chrono::milliseconds(ms));
  boost::system::error_code ec;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
}

}  // namespace cairn
