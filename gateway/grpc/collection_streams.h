// Long answers about collections: what is there at one moment, piece by piece (RangeCall), and what
// comes to a stream for as long as the client likes (TailCall).
//
// One message is under way at a time, so a client that takes little has little made for it. A tail
// that waits holds no lock and takes no turn: it stands in the line of its key like an XREAD with
// BLOCK, until an entry comes, the call ends, or the server does.
//
// Threads: each call runs on a loop of the store; Tails are any thread's.
#pragma once

#include <absl/cleanup/cleanup.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "core/base/mutex.h"
#include "gateway/grpc/collection_call.h"
#include "gateway/grpc/connections.h"
#include "gateway/grpc/stream.h"

namespace cairn::rpc {

// A reactor that sends items while there are any.
template <class Message>
class ItemStream : public grpc::ServerWriteReactor<Message> {
 public:
  ItemStream(const Shared& shared, Caller by, Context* context)
      : shared_(shared),
        by_(std::move(by)),
        context_(context),
        turn_(shared.store.clock(), shared.patience_ms) {}
  void OnSendInitialMetadataDone(bool ok) override { turn_.finish(ok); }
  void OnWriteDone(bool ok) override { turn_.finish(ok); }
  void OnDone() override { delete this; }

 protected:
  // What is left of the values. `sent` hears of each message that was.
  template <class Sent>
  awaitable<grpc::Status> send(kv::Values& values, const v1::Key& key, Sent sent) {
    constexpr size_t kPartBytes = 64 << 10;
    while (values.more()) {
      message_.Clear();
      size_t bytes = 0;
      do {
        bytes += take_item(values, message_);
      } while (bytes < kPartBytes && values.more() && !values.broken());
      if (values.broken()) {
        co_return error(grpc::INTERNAL, "INTERNAL", "unexpected answer", &key);
      }
      if (message_.ByteSizeLong() > kAnswerBytesMax) {
        co_return too_large("read it over another door", &key);
      }
      grpc::Status room = co_await count(std::max<uint64_t>(bytes, values.bytes()));
      if (!room.ok()) co_return room;
      if (!co_await run([this] { this->StartWrite(&message_); })) {
        co_return grpc::Status::CANCELLED;
      }
      sent(std::as_const(message_));
    }
    if (!values.lost()) co_return grpc::Status();
    co_return error(grpc::ABORTED, "CHANGED", "too much of it changed while it was read; try again",
                    &key);
  }
  // False: nobody takes it.
  template <class Start>
  awaitable<bool> run(Start start) {
    const Turn::End end = co_await turn_.run(std::move(start));
    if (end == Turn::End::kStalled) context_->TryCancel();  // a status would wait behind the bytes
    co_return end == Turn::End::kDone && !context_->IsCancelled();
  }

  const Shared& shared_;
  const Caller by_;
  Context* const context_;

 private:
  // What it holds at once counts until it ends.
  awaitable<grpc::Status> count(uint64_t bytes) {
    if (bytes <= counted_) co_return grpc::Status();
    const uint64_t more = bytes - std::exchange(counted_, bytes);
    co_return co_await room_for_answer(shared_, *context_, more);
  }

  Message message_;
  uint64_t counted_ = 0;
  Turn turn_;
};

template <class Request, class Message>
class RangeCall final : public ItemStream<Message> {
 public:
  RangeCall(const Shared& shared, const Caller& by, Context* context, const Request& request)
      : ItemStream<Message>(shared, by, context), request_(request), step_(shared.store) {
    spawn_to_end(shared.store, run_all(),
                 [this](const grpc::Status& status) { this->Finish(status); });
  }

 private:
  awaitable<grpc::Status> run_all() {
    const Shared& shared = this->shared_;
    const absl::Cleanup drop = [this] { step_.command.values.drop(); };
    grpc::Status status = step_.ask(shared, request_);
    if (status.ok()) status = step_.enter(shared, this->by_);
    if (!status.ok()) co_return status;
    status = co_await perform(shared, *this->context_, step_, wishes_of(request_), nullptr);
    if (!status.ok()) co_return status;
    (void)step_.command.values.count();
    co_return co_await this->send(step_.command.values, request_.key(), [](const Message&) {});
  }

  const Request request_;
  CollectionStep step_;
};

// All tails, which the server ends when it does.
class Tails {
 public:
  class Tail {
   public:
    virtual ~Tail() = default;
    virtual void stop() = 0;  // any thread; it ends by itself then
  };
  void add(Tail& tail) {
    MutexLock lock(mutex_);
    all_.insert(&tail);
    if (stopped_) tail.stop();
  }
  void remove(Tail& tail) {
    MutexLock lock(mutex_);
    all_.erase(&tail);
  }
  void stop() {
    MutexLock lock(mutex_);
    stopped_ = true;
    for (Tail* tail : all_) tail->stop();
  }

 private:
  Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<Tail*> all_ ABSL_GUARDED_BY(mutex_);
};

template <class Request, class Message>
class TailCall final : public ItemStream<Message>, private Tails::Tail {
 public:
  TailCall(const Shared& shared, const Caller& by, Context* context, const Request& request,
           Tails& tails)
      : ItemStream<Message>(shared, by, context), request_(request), tails_(tails) {
    tails_.add(*this);
    spawn_to_end(shared.store, run_all(),
                 [this](const grpc::Status& status) { this->Finish(status); });
  }
  ~TailCall() override { tails_.remove(*this); }
  void OnCancel() override { end(); }

 private:
  void stop() override {
    stopped_ = true;
    end();
  }
  void end() {
    MutexLock lock(mutex_);
    ended_ = true;
    if (errand_ != nullptr) errand_->cancel();
  }
  // What may be ended while it waits.
  void show(kv::Errand* errand) {
    MutexLock lock(mutex_);
    errand_ = errand;
    if (errand != nullptr && ended_) errand->cancel();
  }
  grpc::Status ended() const {
    return stopped_ ? grpc::Status(grpc::UNAVAILABLE, "the server ends") : cancelled();
  }

  awaitable<grpc::Status> run_all() {
    const Shared& shared = this->shared_;
    const v1::Key& key = request_.key();
    grpc::Status status = check(request_);
    if (!status.ok()) co_return status;
    const NamespacePtr ns = find_namespace(shared.store, this->by_, Access::kRead, key, status);
    if (ns == nullptr) co_return status;
    if constexpr (requires { request_.after(); }) {
      after_ = request_.after();
      if (request_.has_new_ones()) status = co_await find_last(ns);
      if (!status.ok()) co_return status;
    }
    // From here on the client misses nothing.
    if (!co_await this->run([this] { this->StartSendInitialMetadata(); })) co_return ended();
    const Executor loop = co_await asio::this_coro::executor;
    kv::Errand errand(kv::engine_of(*shared.engines, loop));
    const absl::Cleanup hide = [this] { show(nullptr); };
    show(&errand);
    do {
      status = co_await send_next(errand, ns);
    } while (status.ok());
    co_return status;
  }

  awaitable<grpc::Status> find_last(const NamespacePtr& ns) {
    const Shared& shared = this->shared_;
    CollectionStep step(shared.store);
    v1::StreamRangeRequest last;
    *last.mutable_key() = request_.key();
    last.set_reverse(true);
    last.set_limit(1);
    grpc::Status status = step.ask(shared, last);
    step.ns = ns;
    step.hash = ns->hash(request_.key().key());
    if (status.ok()) {
      status = co_await perform(shared, *this->context_, step, CollectionWishes(), nullptr);
    }
    after_ = "0";
    if (!status.ok() || step.command.values.count() == 0) co_return status;
    v1::StreamEntry entry;
    (void)take_item(step.command.values, entry);
    after_ = entry.id();
    co_return status;
  }

  // Waits for the next entries.
  awaitable<grpc::Status> send_next(kv::Errand& errand, const NamespacePtr& ns) {
    const Shared& shared = this->shared_;
    const v1::Key& key = request_.key();
    if (ns->dropped) co_return no_such_namespace(&key);
    kv::Command command(shared.store);
    say(request_, after_, command.words());
    command.find_row(errand.engine().table());
    command.enter(errand.engine(), ns);
    const std::string failure = co_await errand.wait(command);
    if (errand.cancelled()) co_return ended();
    if (!failure.empty()) co_return error_of_command(failure, key);
    grpc::Status status = co_await settled(shared.store, errand.seen());
    if (!status.ok()) co_return status;
    kv::Values& values = command.values;
    if (values.is_null()) co_return grpc::Status();  // others took it
    (void)values.count();                            // streams
    (void)values.count();
    (void)values.text();  // its key
    (void)values.count();
    co_return co_await this->send(values, key, [this](const Message& sent) {
      after_ = sent.entries(sent.entries_size() - 1).id();
    });
  }

  const Request request_;
  Tails& tails_;
  std::string after_;  // the last entry that was sent
  std::atomic<bool> stopped_{false};
  Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  kv::Errand* errand_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace cairn::rpc
