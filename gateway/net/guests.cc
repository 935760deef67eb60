#include "gateway/net/guests.h"

#include <boost/asio/post.hpp>

namespace cairn::net {

Guests::Guest::Guest(Guests& all, Executor executor, std::function<void(End)> end)
    : all_(all), state_(std::make_shared<State>(State{std::move(executor), std::move(end)})) {
  {
    MutexLock lock(all_.mutex_);
    all_.states_.insert(state_);
  }
  // Who came while the others were told hears it too.
  if (all_.closing()) state_->end(End::kWhenIdle);
}

Guests::Guest::~Guest() {
  state_->end = nullptr;
  {
    MutexLock lock(all_.mutex_);
    all_.states_.erase(state_);
  }
  all_.left_.notify();
}

size_t Guests::size() const {
  MutexLock lock(mutex_);
  return states_.size();
}

awaitable<bool> Guests::all_left(Clock& clock, int64_t ms) {
  co_return co_await left_.until([this] { return size() == 0; }, clock, ms);
}

void Guests::tell(End how) {
  MutexLock lock(mutex_);
  for (auto& state : states_) {
    asio::post(state->executor, [state, how] {
      if (state->end) state->end(how);
    });
  }
}

}  // namespace cairn::net
