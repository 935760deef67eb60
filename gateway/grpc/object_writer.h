// A stream that answers with the bytes of objects, for Download and GetBatch.
//
// Threads: a call is one coroutine on its loop; OnWriteDone() on gRPC's.
#pragma once

#include <utility>

#include "gateway/grpc/call.h"
#include "gateway/grpc/method.h"
#include "gateway/grpc/stream.h"
#include "objects/object.h"

namespace cairn::rpc {

inline constexpr uint64_t kChunkBytes = 1 << 20;  // no message has more bytes of a value

// `Response` has the description of an object, or `data`.
template <class Response>
class ObjectWriter : public grpc::ServerWriteReactor<Response> {
 public:
  void OnWriteDone(bool ok) override { turn_.finish(ok); }
  void OnDone() override { delete this; }

 protected:
  ObjectWriter(const Shared& shared, Context* context)
      : context_(context), turn_(shared.store.clock(), shared.patience_ms) {}

  // What message_ holds. False: nobody takes it.
  awaitable<bool> write() {
    const Turn::End end = co_await turn_.run([this] { this->StartWrite(&message_); });
    if (end == Turn::End::kStalled) context_->TryCancel();  // a status would wait behind the bytes
    co_return end == Turn::End::kDone && !context_->IsCancelled();
  }
  // All bytes of what was opened, a message after the other.
  awaitable<grpc::Status> write_bytes(objects::Opened& opened, const v1::Key& key) {
    bool sent = true;
    if (opened.reader == nullptr && !opened.inline_bytes.empty()) {
      message_.set_data(std::move(opened.inline_bytes));
      sent = co_await write();
    }
    const Executor executor = co_await asio::this_coro::executor;
    while (sent && opened.reader != nullptr && opened.reader->left() > 0) {
      auto bytes = co_await opened.reader->next();
      if (!bytes.ok()) co_return error_of(bytes.status(), &key);
      message_.set_data(bytes->data(), bytes->size());
      opened.reader->offer(0, executor);  // others may need its chunks more meanwhile
      sent = co_await write();
    }
    co_return sent ? grpc::Status() : grpc::Status::CANCELLED;
  }

  Context* const context_;
  Response message_;

 private:
  Turn turn_;
};

}  // namespace cairn::rpc
