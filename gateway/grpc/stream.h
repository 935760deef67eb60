// Turns a stream's callbacks into something that a coroutine can await, one operation at a time,
// and for as long as its client may take.
//
// Threads: run() on the executor of the coroutine; finish() on gRPC's.
#pragma once

#include <boost/asio/post.hpp>
#include <memory>

#include "core/base/async.h"

namespace cairn::rpc {

class Turn {
 public:
  enum class End : uint8_t {
    kDone,
    kOver,     // there is no more, or nobody takes more
    kStalled,  // the operation is still under way, and stays so until the call has ended
  };

  Turn(Clock& clock, int64_t patience_ms) : clock_(clock), patience_ms_(patience_ms) {}

  // `start` begins the operation.
  template <class Start>
  awaitable<End> run(Start start) {
    co_return co_await suspend<End>([&](Resume<End> resume) {
      auto state = std::make_shared<State>();
      state->executor = resume.executor();
      state->resume = std::move(resume);
      state->timer = clock_.call_after(state->executor, patience_ms_,
                                       [state = state.get()] { state->end(End::kStalled); });
      state_ = std::move(state);
      start();
    });
  }
  // The operation that was started has ended.
  void finish(bool ok) {
    asio::post(state_->executor,
               [state = state_, ok] { state->end(ok ? End::kDone : End::kOver); });
  }

 private:
  struct State {  // outlives the call where its end comes after that of its client's patience
    void end(End how) {
      if (!resume) return;
      auto spent = std::move(timer);  // it may be what calls
      auto wake = std::move(resume);
      resume = {};
      wake.here(how);
    }
    Executor executor;
    std::unique_ptr<Clock::Timer> timer;
    Resume<End> resume;
  };
  Clock& clock_;
  const int64_t patience_ms_;
  std::shared_ptr<State> state_;
};

}  // namespace cairn::rpc
