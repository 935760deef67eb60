// A wake-up between coroutines of one thread: wait() returns once notify() was called after it
// began, or at once if it was called since the last wait. One waiter at a time.
#pragma once

#include <absl/functional/any_invocable.h>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "core/types.h"

namespace cairn {

class Event {
 public:
  awaitable<void> wait() {
    if (std::exchange(set_, false)) co_return;
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(
        [this](auto handler) {
          auto executor = asio::get_associated_executor(handler);
          waiter_ = [handler = std::move(handler), executor]() mutable {
            asio::post(executor, std::move(handler));
          };
        },
        asio::use_awaitable);
  }
  void notify() {
    if (waiter_) {
      auto waiter = std::exchange(waiter_, nullptr);
      waiter();
    } else {
      set_ = true;
    }
  }

 private:
  bool set_ = false;
  absl::AnyInvocable<void()> waiter_;
};

}  // namespace cairn
