#include "gateway/grpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>

#include "gateway/grpc/stream.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace cairn::rpc {

namespace {

namespace reflection = grpc::reflection::v1;
using Request = reflection::ServerReflectionRequest;
using Answer = reflection::ServerReflectionResponse;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

void add_file(const FileDescriptor* file, std::set<const FileDescriptor*>& added,
              reflection::FileDescriptorResponse* out) {
  if (!added.insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  out->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); i++) add_file(file->dependency(i), added, out);
}

void refuse(grpc::StatusCode code, const char* text, Answer& answer) {
  answer.mutable_error_response()->set_error_code(code);
  answer.mutable_error_response()->set_error_message(text);
}

void answer_file(const FileDescriptor* file, Answer& answer) {
  if (file == nullptr) return refuse(grpc::NOT_FOUND, "no such file or symbol", answer);
  std::set<const FileDescriptor*> added;
  add_file(file, added, answer.mutable_file_descriptor_response());
}

void answer_extension_numbers(const std::string& type, Answer& answer) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  const auto* message = pool.FindMessageTypeByName(type);
  if (message == nullptr) return refuse(grpc::NOT_FOUND, "no such message", answer);
  std::vector<const google::protobuf::FieldDescriptor*> found;
  pool.FindAllExtensions(message, &found);
  auto* out = answer.mutable_all_extension_numbers_response();
  out->set_base_type_name(type);
  for (auto* extension : found) out->add_extension_number(extension->number());
}

void answer_to(const Request& q, const std::vector<std::string>& services, Answer& answer) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  answer.set_valid_host(q.host());
  *answer.mutable_original_request() = q;
  switch (q.message_request_case()) {
    case Request::kFileByFilename:
      return answer_file(pool.FindFileByName(q.file_by_filename()), answer);
    case Request::kFileContainingSymbol:
      return answer_file(pool.FindFileContainingSymbol(q.file_containing_symbol()), answer);
    case Request::kFileContainingExtension: {
      auto& wanted = q.file_containing_extension();
      const auto* type = pool.FindMessageTypeByName(wanted.containing_type());
      const auto* extension =
          type == nullptr ? nullptr : pool.FindExtensionByNumber(type, wanted.extension_number());
      return answer_file(extension == nullptr ? nullptr : extension->file(), answer);
    }
    case Request::kAllExtensionNumbersOfType:
      return answer_extension_numbers(q.all_extension_numbers_of_type(), answer);
    case Request::kListServices:
      for (auto& name : services) {
        answer.mutable_list_services_response()->add_service()->set_name(name);
      }
      return;
    case Request::MESSAGE_REQUEST_NOT_SET:
      break;
  }
  refuse(grpc::INVALID_ARGUMENT, "a request for nothing", answer);
}

// What comes back with each answer, and what an answer may have, about: all descriptors.
constexpr size_t kRequestBytesMax = 4 << 10;
constexpr uint64_t kAnswerBytes = 64 << 10;

// Everybody who is known may call it, also who has no right to anything else: so it takes little of
// each, is counted, and does not wait for who does nothing.
class Call final : public grpc::ServerBidiReactor<Parsed<Request>, Answer> {
 public:
  Call(const Shared& shared, Context* context, const std::vector<std::string>& services)
      : shared_(shared),
        context_(context),
        services_(services),
        turn_(shared.store.clock(), shared.patience_ms) {
    spawn_to_end(shared.store, run(), [this](const grpc::Status& status) { Finish(status); });
  }
  void OnReadDone(bool ok) override { turn_.finish(ok); }
  void OnWriteDone(bool ok) override { turn_.finish(ok); }
  void OnDone() override { delete this; }

 private:
  awaitable<grpc::Status> run() {
    for (bool counted = false;; counted = true) {
      const Turn::End read = co_await turn_.run([this] { StartRead(&request_); });
      if (read == Turn::End::kStalled) {
        co_return error(grpc::DEADLINE_EXCEEDED, "STALLED", "the client did nothing for too long");
      }
      if (read == Turn::End::kOver) co_return grpc::Status();
      if (!request_.whole) {
        co_return bad_argument("the request is not the message that it should be");
      }
      if (request_.message.ByteSizeLong() > kRequestBytesMax) {
        co_return error(grpc::RESOURCE_EXHAUSTED, "TOO_LARGE", "a request has 4096 bytes at most");
      }
      if (!counted) {
        grpc::Status room = co_await room_for_answer(shared_, *context_, kAnswerBytes);
        if (!room.ok()) co_return room;
      }
      answer_.Clear();
      answer_to(request_.message, services_, answer_);
      const Turn::End written = co_await turn_.run([this] { StartWrite(&answer_); });
      if (written == Turn::End::kStalled) context_->TryCancel();  // a status would wait behind it
      if (written != Turn::End::kDone) co_return grpc::Status::CANCELLED;
    }
  }

  const Shared& shared_;
  Context* const context_;
  const std::vector<std::string>& services_;
  Parsed<Request> request_;
  Answer answer_;
  Turn turn_;
};

}  // namespace

ReflectionService::ReflectionService(const Shared& shared, std::vector<std::string> services)
    : Service(shared), services_(std::move(services)) {
  // Named here, or the linker leaves out what its file registers.
  (void)grpc::reflection::v1alpha::ServerReflectionRequest::descriptor();
  for (const char* path : {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                           "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    both_stream<Request, Answer>(path, Access::kNone, [this](Context* c, const Caller&) {
      return new Call(shared_, c, services_);
    });
  }
}

}  // namespace cairn::rpc
