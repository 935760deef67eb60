#include "tools/cairn/client.h"

#include <absl/strings/escaping.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace cairn::cli {

Exit exit_of(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::OK:
      return kOk;
    case grpc::NOT_FOUND:
      return kNotFound;
    case grpc::INVALID_ARGUMENT:
    case grpc::OUT_OF_RANGE:
      return kUsage;
    case grpc::FAILED_PRECONDITION:
    case grpc::ALREADY_EXISTS:
    case grpc::ABORTED:
      return kCondition;
    case grpc::UNAUTHENTICATED:
    case grpc::PERMISSION_DENIED:
      return kDenied;
    default:
      return kFailed;
  }
}

namespace {
constexpr std::string_view kScheme = "cairn://";
constexpr const char* kOfFile = "file";  // details of a status, which a server's are not
}  // namespace

grpc::Status file_error(const std::string& message) {
  return {grpc::INVALID_ARGUMENT, message, kOfFile};
}

bool is_file_error(const grpc::Status& status) { return status.error_details() == kOfFile; }

bool is_store_path(const std::string& text) { return text.rfind(kScheme, 0) == 0; }

bool parse_path(const std::string& text, v1::Key& key) {
  std::string path = is_store_path(text) ? text.substr(kScheme.size()) : text;
  size_t slash = path.find('/');
  key.set_namespace_(path.substr(0, slash));
  key.set_key(slash == path.npos ? "" : path.substr(slash + 1));
  return !key.namespace_().empty();
}

Client::Client(const Target& target)
    : authorization_(target.user.empty()
                         ? "Bearer " + target.password
                         : "Basic " + absl::Base64Escape(target.user + ":" + target.password)) {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!target.ca_file.empty()) {
    std::ifstream in(target.ca_file);
    std::ostringstream text;
    text << in.rdbuf();
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = text.str();
    credentials = grpc::SslCredentials(options);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(8 << 20);
  auto channel = grpc::CreateCustomChannel(target.server, credentials, arguments);
  kv = v1::KeyValue::NewStub(channel);
  objects = v1::Objects::NewStub(channel);
  admin = v1::Admin::NewStub(channel);
}

std::unique_ptr<grpc::ClientContext> Client::context() const {
  auto c = std::make_unique<grpc::ClientContext>();
  c->AddMetadata("authorization", authorization_);
  return c;
}

grpc::Status Client::upload(const v1::Key& key, const std::string& file, const Progress& progress,
                            v1::ObjectInfo* info) {
  std::FILE* in = file == "-" ? stdin : std::fopen(file.c_str(), "rb");
  if (in == nullptr) return file_error(file + ": " + std::strerror(errno));
  auto c = context();
  v1::UploadResponse response;
  auto writer = objects->Upload(c.get(), &response);
  v1::UploadRequest message;
  *message.mutable_header()->mutable_key() = key;
  std::error_code ec;
  if (file != "-") {
    auto size = std::filesystem::file_size(file, ec);
    if (!ec) message.mutable_header()->set_size_bytes(size);
  }
  bool going = writer->Write(message);
  std::string chunk(1 << 20, '\0');
  while (going) {
    size_t n = std::fread(chunk.data(), 1, chunk.size(), in);
    if (n == 0) break;
    message.set_data(chunk.data(), n);
    going = writer->Write(message);
    if (going && progress) progress(n);
  }
  const bool bad_read = std::ferror(in);
  if (file != "-") std::fclose(in);
  if (bad_read) {
    c->TryCancel();
    writer->Finish();
    return file_error("cannot read " + file);
  }
  writer->WritesDone();
  grpc::Status status = writer->Finish();
  if (status.ok() && info != nullptr) *info = response.info();
  return status;
}

grpc::Status Client::download(const v1::Key& key, const std::string& file,
                              const Progress& progress) {
  auto c = context();
  v1::DownloadRequest request;
  *request.mutable_key() = key;
  auto reader = objects->Download(c.get(), request);
  // Beside the file, under a name that no key has: FILE.part may be another key's.
  std::random_device random;
  std::ostringstream name;
  name << ".cairn-" << std::hex << random() << random();
  const std::string part = (std::filesystem::path(file).parent_path() / name.str()).string();
  std::FILE* out = nullptr;
  v1::DownloadResponse message;
  bool bad_write = false;
  while (reader->Read(&message)) {
    if (out == nullptr) {
      out = file == "-" ? stdout : std::fopen(part.c_str(), "wbx");
      bad_write = out == nullptr;
    }
    if (bad_write) break;
    if (!message.has_data()) continue;
    bad_write =
        std::fwrite(message.data().data(), 1, message.data().size(), out) != message.data().size();
    if (progress) progress(message.data().size());
  }
  if (bad_write) c->TryCancel();
  grpc::Status status = reader->Finish();
  if (out != nullptr) bad_write |= (file == "-" ? std::fflush(out) : std::fclose(out)) != 0;
  if (bad_write) status = file_error(file + ": " + std::strerror(errno));
  if (file != "-") {
    std::error_code ec;
    if (status.ok()) {
      std::filesystem::rename(part, file, ec);
      if (ec) status = file_error(file + ": " + ec.message());
    } else if (out != nullptr) {
      std::filesystem::remove(part, ec);
    }
  }
  return status;
}

grpc::Status Client::list(const std::string& ns, const std::string& prefix,
                          const std::string& delimiter,
                          const std::function<void(const v1::ObjectInfo&, bool)>& fn) {
  v1::ListRequest request;
  request.set_namespace_(ns);
  request.set_prefix(prefix);
  request.set_delimiter(delimiter);
  for (;;) {
    auto c = context();
    v1::ListResponse response;
    grpc::Status status = objects->List(c.get(), request, &response);
    if (!status.ok()) return status;
    for (auto& p : response.common_prefixes()) {
      v1::ObjectInfo info;
      info.mutable_key()->set_namespace_(ns);
      info.mutable_key()->set_key(p);
      fn(info, true);
    }
    for (auto& o : response.objects()) fn(o, false);
    if (response.next_page_token().empty()) return {};
    request.set_page_token(response.next_page_token());
  }
}

}  // namespace cairn::cli
