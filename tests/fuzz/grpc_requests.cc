// gRPC requests, as bytes, to every method over a store in memory: bytes that are no message of the
// method are INVALID_ARGUMENT; a message gets its answer, or an error that the interface knows;
// what must be refused for its form alone is never done.
//
//   input = call*
//   call  = u8 method, and in its upper two bits how many messages beyond one, for streams message*
//   message = u16 length  bytes
#include <absl/synchronization/mutex.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <climits>
#include <future>
#include <memory>
#include <thread>

#include "core/store/transaction.h"
#include "gateway/grpc/admin_service.h"
#include "gateway/grpc/collections_service.h"
#include "gateway/grpc/connections.h"
#include "gateway/grpc/kv_service.h"
#include "gateway/grpc/objects_service.h"
#include "kv/engine/engine.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"
#include "objects/multipart.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_volume.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CAIRN_FINDS_LEAKS
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CAIRN_FINDS_LEAKS
#endif
#ifdef CAIRN_FINDS_LEAKS
#include <sanitizer/lsan_interface.h>

// What an index holds it finds by addresses that carry more than the address: no leak, but it looks
// like one. So leaks are looked for between worlds.
static std::atomic<int> worlds{0};
extern "C" int __lsan_is_turned_off() { return worlds; }
#endif

namespace cairn::fuzz {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr size_t kCallsMax = 8;

// It lasts for as long as the client likes.
bool waits(const MethodDescriptor& method) {
  return method.input_type() == v1::StreamReadRequest::descriptor() ||
         method.input_type() == v1::StreamReadGroupRequest::descriptor();
}

std::vector<const MethodDescriptor*> all_methods() {
  std::vector<const MethodDescriptor*> out;
  for (const Descriptor* in_file :
       {v1::GetRequest::descriptor(), v1::StatRequest::descriptor(), v1::InfoRequest::descriptor(),
        v1::HashSetRequest::descriptor()}) {
    const auto* file = in_file->file();
    for (int s = 0; s < file->service_count(); s++) {
      for (int m = 0; m < file->service(s)->method_count(); m++) {
        out.push_back(file->service(s)->method(m));
      }
    }
  }
  return out;
}

std::unique_ptr<Message> message_of(const Descriptor* type) {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// Whether every key in the message, named or left out, is one, every enum has a value with a name,
// and every operation of a transaction is one.
bool well_formed(const Message& m) {
  const Descriptor* type = m.GetDescriptor();
  const auto* fields = m.GetReflection();
  if (type == v1::Key::descriptor()) {
    const auto& key = static_cast<const v1::Key&>(m).key();
    return !key.empty() && key.size() <= kKeyBytesMax;
  }
  if (type == v1::TxnOp::descriptor() &&
      static_cast<const v1::TxnOp&>(m).op_case() == v1::TxnOp::OP_NOT_SET) {
    return false;
  }
  for (int i = 0; i < type->field_count(); i++) {
    const FieldDescriptor* f = type->field(i);
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_ENUM && !f->is_repeated() &&
        f->enum_type()->FindValueByNumber(fields->GetEnumValue(m, f)) == nullptr) {
      return false;
    }
    if (f->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || f->is_map()) continue;
    if (f->is_repeated()) {
      for (int k = 0; k < fields->FieldSize(m, f); k++) {
        if (!well_formed(fields->GetRepeatedMessage(m, f, k))) return false;
      }
    } else if (fields->HasField(m, f) || f->message_type() == v1::Key::descriptor()) {
      if (!well_formed(fields->GetMessage(m, f))) return false;
    }
  }
  return true;
}

class World {
 public:
  World() {
#ifdef CAIRN_FINDS_LEAKS
    worlds++;
#endif
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    loop_ = std::thread([this] { context_.run(); });
    StoreOptions options;
    options.segment_bytes = 1 << 20;
    options.extent_threshold = 1 << 10;
    options.random_seed = 5;
    options.collections = kv::collection_types();
    store_ = std::make_unique<Store>(volume_, clock_, pool(),
                                     std::vector<Executor>{context_.get_executor()}, options);
    law(run(store_->open()).ok(), "an empty store opens");
    users_.load(*store_, MasterKey::random(), {});
    server_ = std::make_unique<kv::Server>(*store_, users_);
    engines_.push_back(std::make_unique<kv::Engine>(*server_, table_, engines_));
    connections_ = std::make_shared<rpc::Connections>(context_.get_executor(), clock_, INT_MAX);
    const rpc::Shared shared{*store_, users_, *connections_, 5'000, false, &engines_};
    kv_ = std::make_unique<rpc::KeyValueService>(shared);
    objects_ = std::make_unique<rpc::ObjectsService>(shared);
    collections_ = std::make_unique<rpc::CollectionsService>(shared);
    admin_ = std::make_unique<rpc::AdminService>(shared, *server_, *engines_.front());
    grpc::ServerBuilder builder;
    builder.SetContextAllocator(connections_->contexts());
    builder.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
    builder.SetMaxSendMessageSize(rpc::kMessageBytesMax);
    builder.RegisterService(kv_.get());
    builder.RegisterService(objects_.get());
    builder.RegisterService(collections_.get());
    builder.RegisterService(admin_.get());
    grpc_ = builder.BuildAndStart();
    stub_ = std::make_unique<grpc::GenericStub>(grpc_->InProcessChannel({}));
  }
  ~World() {
    stub_.reset();
    queue_.Shutdown();
    grpc_->Shutdown(std::chrono::system_clock::now());
    law(run(store_->close()).ok(), "the store closes");
    guard_.reset();
    context_.stop();
    loop_.join();
    store_->drop_waiters();
#ifdef CAIRN_FINDS_LEAKS
    worlds--;
#endif
  }

  // The keys that inputs begin with, and no others.
  void begin() {
    for (auto& space : store_->spaces()) {
      if (space->size() > 0) {
        Transaction t(*store_, nullptr, Shape::kOne);
        law(t.flush(*space).ok() && t.commit().ok(), "a namespace is emptied");
      }
      law(!space->is_bucket() || objects::drop_bucket(*store_, space->name).ok(), "a bucket goes");
    }
    law(store_->create_bucket("photos").ok(), "a bucket is made");
    put("small", "hello", ValueType::kString);
    std::string operation;
    kv::Hash::add_set(operation, "field", "value");
    put("hash", operation, ValueType::kHash);
  }

  struct Answer {
    grpc::Status status;
    std::vector<std::string> messages;
  };
  Answer call(const MethodDescriptor& method, const std::vector<std::string>& messages) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer password");
    const std::chrono::milliseconds patience(waits(method) ? 20 : 20'000);
    context.set_deadline(std::chrono::system_clock::now() + patience);
    const std::string path = cat("/", method.service()->full_name(), "/", method.name());
    auto stream = stub_->PrepareCall(&context, path, &queue_);
    const auto done = [&] {
      void* tag = nullptr;
      bool good = false;
      law(queue_.Next(&tag, &good), "the queue is open");
      return good;
    };
    Answer answer;
    stream->StartCall(nullptr);
    bool open = done();
    for (size_t i = 0; open && i < messages.size(); i++) {
      const grpc::Slice slice(messages[i]);
      stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
      open = done();  // the server may have heard enough
    }
    if (open) {
      stream->WritesDone(nullptr);
      done();
    }
    for (;;) {
      grpc::ByteBuffer got;
      stream->Read(&got, nullptr);
      if (!done()) break;
      grpc::Slice slice;
      law(got.DumpToSingleSlice(&slice).ok(), "an answer has its bytes");
      answer.messages.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    stream->Finish(&answer.status, nullptr);
    done();
    return answer;
  }

 private:
  static ChunkPool& pool() {
    static ChunkPool pool;
    return pool;
  }
  Status run(awaitable<Status> work) {
    std::promise<Status> result;
    spawn(
        context_.get_executor(), "a step of the target", std::move(work),
        [&](const Status& s) { result.set_value(s); },
        [&](const Status& s) { result.set_value(s); });
    return result.get_future().get();
  }
  void put(std::string_view key, std::string_view value, ValueType type) {
    RecordView r;
    r.key = key;
    r.value = value;
    r.flags = static_cast<uint8_t>(static_cast<unsigned>(type) << 4);
    Namespace& ns = store_->database(0);
    r.ns = ns.id;
    const KeyHash hash = ns.hash(key);
    StripeLocks lock(*store_, hash);
    Transaction t(*store_, &lock, Shape::kOne);
    law(t.put(ns, hash, r).ok() && t.commit().ok(), "a key is put");
  }

  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_{context_.get_executor()};
  std::thread loop_;
  MemoryVolume volume_;
  SystemClock clock_;
  Users users_{"root", "password", true};
  const kv::Table table_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<kv::Server> server_;
  std::vector<std::unique_ptr<kv::Engine>> engines_;
  std::shared_ptr<rpc::Connections> connections_;
  std::unique_ptr<rpc::KeyValueService> kv_;
  std::unique_ptr<rpc::ObjectsService> objects_;
  std::unique_ptr<rpc::CollectionsService> collections_;
  std::unique_ptr<rpc::AdminService> admin_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<grpc::GenericStub> stub_;
  grpc::CompletionQueue queue_;
};

void check_error(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::INVALID_ARGUMENT:
    case grpc::NOT_FOUND:
    case grpc::ALREADY_EXISTS:
    case grpc::FAILED_PRECONDITION:
    case grpc::OUT_OF_RANGE:
    case grpc::RESOURCE_EXHAUSTED:
    case grpc::DATA_LOSS:  // a checksum that the client declared
      break;
    default:
      std::fprintf(stderr, "%d: %s\n", status.error_code(), status.error_message().c_str());
      law(false, "an error is one that clients are told of");
  }
  v1::ErrorStatus detail;
  law(detail.ParseFromString(status.error_details()) && detail.code() == status.error_code() &&
          detail.details_size() == 1,
      "an error says what it is about");
}

void check_answer(const MethodDescriptor& method, const std::vector<std::string>& messages,
                  const World::Answer& answer) {
  bool whole = true, formed = true;
  for (auto& bytes : messages) {
    auto message = message_of(method.input_type());
    whole &= message->ParseFromString(bytes);
    formed &= whole && well_formed(*message);
  }
  const bool waited = waits(method) && answer.status.error_code() == grpc::DEADLINE_EXCEEDED;
  if (!answer.status.ok() && !waited) check_error(answer.status);
  if (!method.client_streaming() && !whole && !waited) {
    law(answer.status.error_code() == grpc::INVALID_ARGUMENT, "what is no message is refused");
  }
  law(!answer.status.ok() || (whole && formed), "nothing ill-formed is done");
  law(method.server_streaming() || answer.messages.size() == (answer.status.ok() ? 1 : 0),
      "there is one answer or an error");
  for (auto& bytes : answer.messages) {
    law(message_of(method.output_type())->ParseFromString(bytes), "an answer can be read");
  }
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  constexpr int kInputsPerWorld = 500;  // its log grows meanwhile
  static const std::vector<const MethodDescriptor*> methods = all_methods();
  static std::unique_ptr<World> world;
  static int inputs = 0;
  if (inputs++ % kInputsPerWorld == 0) {
    world.reset();
#ifdef CAIRN_FINDS_LEAKS
    law(__lsan_do_recoverable_leak_check() == 0, "a world leaves nothing behind");
#endif
    world = std::make_unique<World>();
  }
  world->begin();
  Input input(data, size);
  for (size_t calls = 0; calls < kCallsMax && !input.rest().empty(); calls++) {
    const unsigned first = input.byte();
    const MethodDescriptor& method = *methods[(first & 63) % methods.size()];
    std::vector<std::string> messages(1 + (method.client_streaming() ? first >> 6 : 0));
    for (auto& message : messages) {
      message = input.take(input.number(2));
    }
    check_answer(method, messages, world->call(method, messages));
  }
  return 0;
}
