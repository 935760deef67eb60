// The methods of a service, as rows: path, what it does to keys, function. Each call passes the
// same gate before its function runs: the request is the message that it should be, and its caller
// may call this; which keys he may touch is asked where they are looked up (call.h).
//
// This takes the place of the classes that protoc makes, since they answer UNIMPLEMENTED where a
// request does not parse: here a request comes with the word whether it did.
// Threads: gRPC's, any number at once.
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>
#include <grpcpp/impl/codegen/proto_buffer_reader.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/server_callback.h>

#include "gateway/grpc/call.h"

namespace cairn::rpc {

template <class Message>
struct Parsed {
  Message message;
  bool whole = false;  // the bytes that came are such a message
};

using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

// A stream that is over before it began.
template <class Reactor>
class Refused final : public Reactor {
 public:
  explicit Refused(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

class Service : public grpc::Service {
 public:
  struct Row {
    std::string path;
    Action action;  // named as the method, without the first slash
  };
  const std::vector<Row>& rows() const { return rows_; }

 protected:
  // Whose calls are served: of who is known, or also of strangers, within their limits.
  enum class For : uint8_t { kKnown, kEverybody };
  explicit Service(const Shared& shared, For whom = For::kKnown)
      : shared_(shared), store_(shared.store), whom_(whom) {}

  // `access` is all that the method does to any key. `run` is a member function of the service.
  // `s3`: the operation of S3 that it is, where it is done to a bucket.
  template <class Self, class Request, class Answer>
  void unary(const char* path, Access access,
             Unary* (Self::*run)(Context*, const Caller&, const Request*, Answer*),
             std::string_view s3 = {}) {
    using Handler = grpc::internal::CallbackUnaryHandler<Parsed<Request>, Answer>;
    const Action action = action_of(path, access, s3);
    add(path, action, grpc::internal::RpcMethod::NORMAL_RPC,
        new Handler([this, action, run](Context* c, const Parsed<Request>* q, Answer* a) {
          Caller by{nullptr, action};
          grpc::Status status = check(*c, by, q->whole);
          if (!status.ok()) return finish(c, store_, status);
          return (static_cast<Self*>(this)->*run)(c, by, &q->message, a);
        }));
  }
  // `make` returns a reactor that deletes itself. Messages may come that are none: Parsed::whole.
  template <class Request, class Answer, class Make>
  void client_stream(const char* path, Access access, Make make) {
    using Reactor = grpc::ServerReadReactor<Parsed<Request>>;
    using Handler = grpc::internal::CallbackClientStreamingHandler<Parsed<Request>, Answer>;
    const Action action = action_of(path, access);
    add(path, action, grpc::internal::RpcMethod::CLIENT_STREAMING,
        new Handler([this, action, make](Context* c, Answer* a) -> Reactor* {
          Caller by{nullptr, action};
          grpc::Status status = check(*c, by, true);
          if (!status.ok()) return new Refused<Reactor>(status);
          return make(c, by, a);
        }));
  }
  template <class Request, class Answer, class Make>
  void server_stream(const char* path, Access access, Make make) {
    using Reactor = grpc::ServerWriteReactor<Answer>;
    using Handler = grpc::internal::CallbackServerStreamingHandler<Parsed<Request>, Answer>;
    const Action action = action_of(path, access);
    add(path, action, grpc::internal::RpcMethod::SERVER_STREAMING,
        new Handler([this, action, make](Context* c, const Parsed<Request>* q) -> Reactor* {
          Caller by{nullptr, action};
          grpc::Status status = check(*c, by, q->whole);
          if (!status.ok()) return new Refused<Reactor>(status);
          return make(c, by, &q->message);
        }));
  }
  template <class Request, class Answer, class Make>
  void both_stream(const char* path, Access access, Make make) {
    using Reactor = grpc::ServerBidiReactor<Parsed<Request>, Answer>;
    using Handler = grpc::internal::CallbackBidiHandler<Parsed<Request>, Answer>;
    const Action action = action_of(path, access);
    add(path, action, grpc::internal::RpcMethod::BIDI_STREAMING,
        new Handler([this, action, make](Context* c) -> Reactor* {
          Caller by{nullptr, action};
          grpc::Status status = check(*c, by, true);
          if (!status.ok()) return new Refused<Reactor>(status);
          return make(c, by);
        }));
  }

  const Shared shared_;
  Store& store_;

 private:
  static Action action_of(const char* path, Access access, std::string_view s3 = {}) {
    return {"grpc", path + 1, access, s3};
  }
  grpc::Status check(Context& context, Caller& by, bool whole) const;
  void add(const char* path, Action action, grpc::internal::RpcMethod::RpcType type,
           grpc::internal::MethodHandler* handler);

  const For whom_;
  std::vector<Row> rows_;
};

}  // namespace cairn::rpc

namespace grpc {

template <class Message>
class SerializationTraits<cairn::rpc::Parsed<Message>> {
 public:
  // Never fails: who gets the message looks whether it is whole.
  static Status Deserialize(ByteBuffer* buffer, cairn::rpc::Parsed<Message>* to) {
    Slice slice;
    if (buffer == nullptr) {
      to->whole = false;
    } else if (buffer->TrySingleSlice(&slice).ok()) {
      to->whole = to->message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
    } else {
      ProtoBufferReader reader(buffer);
      to->whole = reader.status().ok() && to->message.ParseFromZeroCopyStream(&reader);
    }
    if (buffer != nullptr) buffer->Clear();
    return {};
  }
};

}  // namespace grpc
