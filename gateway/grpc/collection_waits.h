// Calls that a command answers in its own time, over locks and transactions of its own: those that
// wait for what they pop, and those that work off what is large in turns.
//
// One that waits stands in the line of its key as a client of BLPOP does, and is served in that
// order; it holds no lock and takes no turn. What is there and would not fit in its answer is an
// error, and stays. They count among the tails (collection_streams.h), and end as those do: by the
// client's end, or the server's. One that was served before is answered all the same.
//
// Threads: each runs on a loop of the store.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "gateway/grpc/collection_streams.h"

namespace cairn::rpc {

// Commands that take turns where there is much to do. With a condition they are done in one.
template <class Request>
inline constexpr bool kTakesTurns = std::is_same_v<Request, v1::ListRemoveRequest> ||
                                    std::is_same_v<Request, v1::ListTrimRequest> ||
                                    std::is_same_v<Request, v1::SetCombineIntoRequest> ||
                                    std::is_same_v<Request, v1::SortedSetRemoveRangeRequest> ||
                                    std::is_same_v<Request, v1::SortedSetRangeIntoRequest> ||
                                    std::is_same_v<Request, v1::SortedSetCombineIntoRequest>;

template <class Request, class Answer>
class WaitingCall final : public Unary, private Tails::Tail, private CallErrand {
 public:
  WaitingCall(const Shared& shared, Caller by, Context* context, const Request& request,
              Answer* answer, Tails& tails)
      : shared_(shared),
        by_(std::move(by)),
        context_(*context),
        request_(request),
        answer_(*answer),
        tails_(tails),
        step_(shared.store) {
    const uint64_t most = limits::answers(shared.store.memory_bytes());
    admitted_ = tails_.add(*this, context->peer(), request.ByteSizeLong(), most);
    spawn_to_end(shared.store, run_all(), [this](const grpc::Status& status) {
      answer_goes(shared_, context_, answer_, status);
      this->Finish(status);
    });
  }
  ~WaitingCall() override { tails_.remove(*this); }
  void OnCancel() override { end(); }
  void OnDone() override { delete this; }

 private:
  void stop() override {
    stopped_ = true;
    end();
  }

  // Not beyond the call's deadline, and then for what it takes to answer, it waits for nothing.
  grpc::Status bound_wait() {
    if constexpr (requires { request_.set_wait_ms(0); }) {
      using std::chrono::milliseconds;
      constexpr milliseconds kToAnswer{100};
      const auto deadline = context_.deadline();
      if (deadline == std::chrono::system_clock::time_point::max()) return {};
      const auto left =
          std::chrono::duration_cast<milliseconds>(deadline - std::chrono::system_clock::now());
      if (left.count() <= 0) return cancelled(&request_.key());
      const auto most = std::max(left - kToAnswer, left / 2).count();
      request_.set_wait_ms(std::clamp<uint64_t>(request_.wait_ms(), 1, std::max<int64_t>(most, 1)));
    }
    return {};
  }

  awaitable<grpc::Status> run_all() {
    Store& store = shared_.store;
    const v1::Key& key = request_.key();
    if (!admitted_) {
      co_return error(grpc::RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "too many calls that wait", &key);
    }
    grpc::Status status = check_durability(request_.durability());
    if (status.ok() && has_condition(request_)) {
      status = bad_argument("with a condition it does not wait", &key);
    }
    if (status.ok() && wait_ms_of(request_) != 0) status = bound_wait();
    if (status.ok()) status = step_.ask<Answer>(shared_, request_);
    if (status.ok()) status = step_.enter(shared_, by_);
    if (!status.ok()) co_return status;
    const Executor loop = co_await asio::this_coro::executor;
    kv::Errand errand(kv::engine_of(*shared_.engines, loop));
    errand.change_durably(kAnswerBytesMax);
    errand.served_if([this] { return step_.may(by_); });
    const absl::Cleanup hide = [this] { show(nullptr); };
    show(&errand);
    const std::string failure = co_await errand.wait(step_.command);
    if (failure.empty()) {
      status = take(errand.changed());
    } else if (errand.cancelled()) {
      status = cancelled(&key);
      if (stopped_) status = grpc::Status(grpc::UNAVAILABLE, "the server ends");
    } else {
      status = error_of_command(failure, key);
    }
    const grpc::Status durable =
        co_await settled(store, paced(store, errand.seen(), errand.changed()));
    co_return durable.ok() ? status : durable;
  }

  grpc::Status take(Lsn version) {
    kv::Values& values = step_.command.values;
    step_.hear(values, answer_);
    if (values.broken()) {
      return error(grpc::INTERNAL, "INTERNAL", "unexpected answer", &request_.key());
    }
    step_.name_version(answer_, version);
    answered(shared_, context_, answer_.ByteSizeLong());
    return {};
  }

  const Shared& shared_;
  const Caller by_;
  Context& context_;
  Request request_;
  Answer& answer_;
  Tails& tails_;
  CollectionStep step_;
  bool admitted_ = false;
  std::atomic<bool> stopped_{false};
};

}  // namespace cairn::rpc
