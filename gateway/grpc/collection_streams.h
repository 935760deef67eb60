// Long answers about collections: what is there at one moment, piece by piece (RangeCall), and what
// comes to a stream for as long as the client likes (TailCall).
//
// One message is under way at a time, so a client that takes little has little made for it. It
// counts among the answers (connections.h) from when it is made until gRPC has passed it on. A tail
// that waits holds no lock and takes no turn: it stands in the line of its key like an XREAD with
// BLOCK, until an entry comes, the call ends, or the server does. Tails have a sum of their own
// (Tails).
//
// One that reads is told only that there is something, and reads it when there is room: else one
// entry would be made once for each of them, at the same moment. What a group delivers is
// another's for each, so its consumers get it at once.
//
// Threads: each call runs on a loop of the store; Tails are any thread's.
#pragma once

#include <absl/cleanup/cleanup.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "core/base/limits.h"
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
  // It holds so many bytes from here on.
  void hold(uint64_t bytes) {
    if (bytes <= kSmallAnswerBytes) bytes = 0;
    if (bytes > counted_) {
      if (bytes - counted_ <= kSmallAnswerBytes) return;
      answered(shared_, *context_, bytes - counted_);
    } else {
      answer_keeps(shared_, *context_, bytes);
    }
    counted_ = bytes;
  }
  // Before a message is made: there is room for the largest. Who holds something already does not
  // wait for more, for which others might wait that do the same.
  awaitable<grpc::Status> begin_message() {
    if (counted_ != 0 || has_room_for_answer(shared_)) co_return grpc::Status();
    counted_ = kAnswerBytesMax;
    co_return co_await room_for_answer(shared_, *context_, counted_);
  }
  // What is left of the values. `sent` hears of each message that was.
  template <class Sent>
  awaitable<grpc::Status> send(kv::Values& values, const v1::Key& key, Sent sent) {
    constexpr size_t kPartBytes = 64 << 10;
    const absl::Cleanup all_gone = [this] { hold(0); };
    while (!values.ended()) {
      grpc::Status room = co_await begin_message();
      if (!room.ok()) co_return room;
      if (!values.more()) break;
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
      hold(bytes + values.bytes());
      message_goes(shared_, *context_, counted_);
      if (!co_await run([this] { this->StartWrite(&message_); })) {
        co_return grpc::Status::CANCELLED;
      }
      sent(std::as_const(message_));
      message_ = Message();  // Clear() keeps its memory
      hold(values.bytes());
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
  Message message_;
  uint64_t counted_ = 0;  // of what it holds
  Turn turn_;
};

// The errand of a call, which ends with it.
class CallErrand {
 protected:
  ~CallErrand() = default;
  void end() {
    MutexLock lock(mutex_);
    ended_ = true;
    if (errand_ != nullptr) errand_->cancel();
  }
  // What may be ended while it runs; null: nothing any more.
  void show(kv::Errand* errand) {
    MutexLock lock(mutex_);
    errand_ = errand;
    if (errand != nullptr && ended_) errand->cancel();
  }

 private:
  Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  kv::Errand* errand_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

template <class Request, class Message>
class RangeCall final : public ItemStream<Message>, private CallErrand {
 public:
  RangeCall(const Shared& shared, const Caller& by, Context* context, const Request& request)
      : ItemStream<Message>(shared, by, context), request_(request), step_(shared.store) {
    spawn_to_end(shared.store, run_all(),
                 [this](const grpc::Status& status) { this->Finish(status); });
  }
  void OnCancel() override { end(); }

 private:
  // Of several, which may be large: it is made in turns.
  static constexpr bool kCombines = std::is_same_v<Request, v1::SetCombineRequest> ||
                                    std::is_same_v<Request, v1::SortedSetCombineRequest>;
  awaitable<grpc::Status> run_all() {
    const Shared& shared = this->shared_;
    const absl::Cleanup drop = [this] { step_.command.values.drop(); };
    grpc::Status status = step_.ask(shared, request_);
    if (status.ok()) status = step_.enter(shared, this->by_);
    if (status.ok()) status = co_await this->begin_message();
    if (!status.ok()) co_return status;
    if constexpr (kCombines) {
      status = co_await combine();
    } else {
      status = co_await perform(shared, *this->context_, step_, wishes_of(request_), nullptr);
    }
    this->hold(step_.command.values.bytes());
    if (!status.ok()) co_return status;
    (void)step_.command.values.count();
    co_return co_await this->send(step_.command.values, request_.key(), [](const Message&) {});
  }

  awaitable<grpc::Status> combine() {
    Store& store = this->shared_.store;
    const Executor loop = co_await asio::this_coro::executor;
    kv::Errand errand(kv::engine_of(*this->shared_.engines, loop));
    const absl::Cleanup hide = [this] { show(nullptr); };
    show(&errand);
    const std::string failure = co_await errand.wait(step_.command);
    if (!failure.empty()) co_return error_of_command(failure, request_.key());
    Lsn rests_on = errand.seen();
    if (request_.durable()) {  // what was read is older
      rests_on = std::max(rests_on, Lsn(store.log().tail().value() - 1));
    }
    co_return co_await settled(store, rests_on);
  }

  const Request request_;
  CollectionStep step_;
};

// All tails, and calls that wait (collection_waits.h), which the server ends when it does. What
// they hold while they wait is in a sum of its own, as large as that of the answers; a connection
// has no more of it than it leaves to others.
class Tails {
 public:
  // Of one: its call in gRPC, what waits for it here, and a message that its client does not take
  // and gRPC has passed on; beside what its request has, which is here several times.
  static constexpr uint64_t kTailBytes = 64 << 10;
  static constexpr uint64_t kCopies = 4;

  class Tail {
   public:
    virtual ~Tail() = default;
    virtual void stop() = 0;  // any thread; it ends by itself then

   private:
    friend class Tails;
    std::string peer_;
    uint64_t bytes_ = 0;  // 0: it is none of them
  };
  // False: there are too many, where all have `most`.
  bool add(Tail& tail, std::string peer, uint64_t request_bytes, uint64_t most) {
    MutexLock lock(mutex_);
    const uint64_t bytes = kTailBytes + kCopies * request_bytes;
    uint64_t& held = held_by_[peer];
    const bool room = bytes_ < most && held + bytes <= most - bytes_;
    if (!room && held == 0) held_by_.erase(peer);
    if (!room) return false;
    held += bytes;
    bytes_ += bytes;
    tail.peer_ = std::move(peer);
    tail.bytes_ = bytes;
    all_.insert(&tail);
    if (stopped_) tail.stop();
    return true;
  }
  void remove(Tail& tail) {
    MutexLock lock(mutex_);
    if (all_.erase(&tail) == 0) return;
    bytes_ -= tail.bytes_;
    const auto held = held_by_.find(tail.peer_);
    if ((held->second -= tail.bytes_) == 0) held_by_.erase(held);
  }
  void stop() {
    MutexLock lock(mutex_);
    stopped_ = true;
    for (Tail* tail : all_) tail->stop();
  }

 private:
  Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, uint64_t> held_by_ ABSL_GUARDED_BY(mutex_);  // by connection
  absl::flat_hash_set<Tail*> all_ ABSL_GUARDED_BY(mutex_);
};

template <class Request, class Message>
class TailCall final : public ItemStream<Message>, private Tails::Tail, private CallErrand {
 public:
  TailCall(const Shared& shared, const Caller& by, Context* context, const Request& request,
           Tails& tails)
      : ItemStream<Message>(shared, by, context), request_(request), tails_(tails) {
    const uint64_t most = limits::answers(shared.store.memory_bytes());
    admitted_ = tails_.add(*this, context->peer(), request.ByteSizeLong(), most);
    spawn_to_end(shared.store, run_all(),
                 [this](const grpc::Status& status) { this->Finish(status); });
  }
  ~TailCall() override { tails_.remove(*this); }
  void OnCancel() override { end(); }

 private:
  static constexpr bool kByGroup = std::is_same_v<Request, v1::StreamReadGroupRequest>;

  void stop() override {
    stopped_ = true;
    end();
  }
  grpc::Status ended() const {
    return stopped_ ? grpc::Status(grpc::UNAVAILABLE, "the server ends") : cancelled();
  }

  awaitable<grpc::Status> run_all() {
    const Shared& shared = this->shared_;
    const v1::Key& key = request_.key();
    if (!admitted_) {
      co_return error(grpc::RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "too many tails at once", &key);
    }
    grpc::Status status = check_durability(request_.durability());
    if (status.ok()) status = check(request_);
    if (!status.ok()) co_return status;
    const NamespacePtr ns = find_namespace(shared.store, this->by_, Access::kRead, key, status);
    if (ns == nullptr) co_return status;
    if constexpr (kByGroup) {
      pending_ = request_.pending_first();
    } else {
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
    if (status.ok()) status = step.enter(shared, this->by_, ns);
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

  awaitable<grpc::Status> do_one(kv::Errand& errand, kv::Command& command, const NamespacePtr& ns) {
    const v1::Key& key = request_.key();
    if (ns->dropped) co_return no_such_namespace(&key);
    command.find_row(errand.engine().table());
    command.enter(errand.engine(), ns);
    command.values.set_array_limit(kEntryBytesMax);
    const std::string failure = co_await errand.wait(command);
    this->hold(command.values.bytes());
    if (errand.cancelled()) co_return ended();
    co_return failure.empty() ? grpc::Status() : error_of_command(failure, key);
  }

  // Waits for the next entries, and sends them.
  awaitable<grpc::Status> send_next(kv::Errand& errand, const NamespacePtr& ns) {
    Store& store = this->shared_.store;
    kv::Command command(store);
    grpc::Status status;
    if constexpr (kByGroup) {
      if (pending_) say_pending(request_, after_, command.words());
      if (!pending_) say_next(request_, command.words());
    } else {
      kv::Command wait(store);
      say_wait(request_, after_, wait.words());
      status = co_await do_one(errand, wait, ns);
      if (status.ok()) status = co_await this->begin_message();
      if (!status.ok()) co_return status;
      say_next(request_, after_, command.words());
    }
    status = co_await do_one(errand, command, ns);
    if (!status.ok()) co_return status;
    Lsn rests_on = errand.seen();
    if (wish_of(request_.durability()) == Wish::kDurable) {  // what was read, or given, is older
      rests_on = std::max(rests_on, Lsn(store.log().tail().value() - 1));
    }
    status = co_await settled(store, rests_on);
    kv::Values& values = command.values;
    if (!status.ok() || values.is_null()) co_return status;  // others took it, or it is gone
    (void)values.count();                                    // streams
    (void)values.count();
    (void)values.text();  // its key
    if (values.count() == 0) pending_ = false;
    status = co_await this->send(values, request_.key(), [this](const Message& sent) {
      after_ = sent.entries(sent.entries_size() - 1).id();
    });
    // Of one that reads, what changed meanwhile is read again.
    const bool again = !kByGroup && status.error_code() == grpc::ABORTED;
    co_return again ? grpc::Status() : status;
  }

  const Request request_;
  Tails& tails_;
  bool admitted_ = false;
  bool pending_ = false;     // it is sent what is pending with the consumer
  std::string after_ = "0";  // the last entry that was sent
  std::atomic<bool> stopped_{false};
};

}  // namespace cairn::rpc
