// The client side of cairn.v1, for the command-line tool: a channel with credentials, paths, and
// whole-file transfers.
//
// Threads: a Client may be used by many at once.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "cairn/v1/admin.grpc.pb.h"
#include "cairn/v1/kv.grpc.pb.h"
#include "cairn/v1/objects.grpc.pb.h"

namespace cairn::cli {

// Exit codes that scripts may rely on.
enum Exit { kOk = 0, kNotFound = 1, kUsage = 2, kCondition = 3, kDenied = 4, kFailed = 5 };
Exit exit_of(const grpc::Status& status);

struct Target {
  std::string server = "127.0.0.1:50051";
  std::string user, password;
  std::string password_from;  // a file or a variable
  std::string ca_file;        // TLS if set
};

// A failure of a file on this machine; its message names the file.
grpc::Status file_error(const std::string& message);
bool is_file_error(const grpc::Status& status);

// "BUCKET/KEY" with or without "cairn://" before it; the key may be empty.
bool parse_path(const std::string& text, v1::Key& key);
bool is_store_path(const std::string& text);  // begins with cairn://

using Progress = std::function<void(uint64_t bytes)>;

class Client {
 public:
  explicit Client(const Target& target);
  std::unique_ptr<grpc::ClientContext> context() const;

  grpc::Status upload(const v1::Key& key, const std::string& file, const Progress& progress,
                      v1::ObjectInfo* info = nullptr);
  // Writes to `file`, which appears only once it is whole; "-" is standard output.
  grpc::Status download(const v1::Key& key, const std::string& file, const Progress& progress);
  // Calls fn for every object (and common prefix, with `is_prefix`) under a prefix.
  grpc::Status list(const std::string& ns, const std::string& prefix, const std::string& delimiter,
                    const std::function<void(const v1::ObjectInfo&, bool is_prefix)>& fn);

  std::unique_ptr<v1::KeyValue::Stub> kv;
  std::unique_ptr<v1::Objects::Stub> objects;
  std::unique_ptr<v1::Admin::Stub> admin;

 private:
  std::string authorization_;
};

}  // namespace cairn::cli
