#include "gateway/grpc/batch.h"

#include "gateway/grpc/object_writer.h"
#include "gateway/grpc/upload.h"

namespace cairn::rpc {

namespace {

constexpr int kBatchMax = 1000;

class BatchCall final : public ObjectWriter<v1::GetBatchResponse> {
 public:
  BatchCall(const Shared& shared, Caller by, Context* context, const v1::GetBatchRequest* request)
      : ObjectWriter(shared, context),
        shared_(shared),
        store_(shared.store),
        by_(std::move(by)),
        request_(*request) {
    spawn_to_end(store_, run(), [this](const grpc::Status& status) { Finish(status); });
  }

 private:
  awaitable<grpc::Status> run() {
    if (request_.keys_size() == 0 || request_.keys_size() > kBatchMax) {
      co_return bad_argument("a batch is of 1 to 1000 keys");
    }
    for (const v1::Key& key :
         request_.keys()) {  // what names no key is of no object, missing or not
      if (const grpc::Status status = check_key(key); !status.ok()) co_return status;
    }
    // One message is under way at a time.
    const grpc::Status room = co_await room_for_answer(shared_, *context_, kChunkBytes);
    if (!room.ok()) co_return room;
    for (const v1::Key& key : request_.keys()) {
      grpc::Status status = co_await send(key);
      if (status.ok()) continue;
      const bool told =
          request_.continue_on_error() && (status.error_code() == grpc::NOT_FOUND ||
                                           status.error_code() == grpc::FAILED_PRECONDITION ||
                                           status.error_code() == grpc::INVALID_ARGUMENT ||
                                           status.error_code() == grpc::PERMISSION_DENIED);
      if (!told || begun_) co_return status;
      auto* missing = message_.mutable_missing();
      *missing->mutable_key() = key;
      missing->set_code(status.error_code());
      missing->set_message(status.error_message());
      const bool sent = co_await write();
      if (!sent) co_return grpc::Status::CANCELLED;
    }
    co_return grpc::Status();
  }

  // All of one. An error after its description has gone is one of the stream.
  awaitable<grpc::Status> send(const v1::Key& key) {
    begun_ = false;
    grpc::Status status;
    NamespacePtr ns = find_namespace(store_, by_, Access::kRead, key, status);
    if (ns == nullptr) co_return status;
    auto opened = co_await objects::open(store_, *ns, key.key(), std::nullopt);
    if (!opened.ok()) co_return co_await refused(store_, opened.status(), key);
    const objects::Info& info = opened->info;
    status = co_await settled(store_, request_.durable() ? info.version : info.seen);
    if (!status.ok()) co_return status;
    begun_ = true;
    fill(info, key, message_.mutable_info());
    const bool sent = co_await write();
    if (!sent) co_return grpc::Status::CANCELLED;
    co_return co_await write_bytes(*opened, key);
  }

  const Shared& shared_;
  Store& store_;
  const Caller by_;
  const v1::GetBatchRequest request_;
  bool begun_ = false;  // the one under way is described
};

}  // namespace

grpc::ServerWriteReactor<v1::GetBatchResponse>* start_batch(const Shared& shared, const Caller& by,
                                                            Context* context,
                                                            const v1::GetBatchRequest* request) {
  return new BatchCall(shared, by, context, request);
}

}  // namespace cairn::rpc
