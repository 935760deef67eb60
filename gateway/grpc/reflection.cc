#include "gateway/grpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>

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

class Call final : public grpc::ServerBidiReactor<Parsed<Request>, Answer> {
 public:
  explicit Call(const std::vector<std::string>& services) : services_(services) {
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish({});
    if (!request_.whole) {
      return Finish(bad_argument("the request is not the message that it should be"));
    }
    answer_.Clear();
    answer_to(request_.message, services_, answer_);
    StartWrite(&answer_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish({});
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  const std::vector<std::string>& services_;
  Parsed<Request> request_;
  Answer answer_;
};

}  // namespace

ReflectionService::ReflectionService(const Shared& shared, std::vector<std::string> services)
    : Service(shared), services_(std::move(services)) {
  // Named here, or the linker leaves out what its file registers.
  (void)grpc::reflection::v1alpha::ServerReflectionRequest::descriptor();
  for (const char* path : {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                           "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    both_stream<Request, Answer>(path, Access::kNone, [this] { return new Call(services_); });
  }
}

}  // namespace cairn::rpc
