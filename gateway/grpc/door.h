// The gRPC door: KeyValue, Objects and Admin, with health and reflection. gRPC's own threads call
// the store in place; work that needs storage I/O goes to an I/O loop as a coroutine.
//
// Every call but health and reflection needs credentials, in the metadata "authorization":
// "Bearer PASSWORD" or "Basic base64(USER:PASSWORD)".
// Threads: start() and stop() once.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>

#include "kv/engine.h"

namespace cairn::rpc {

inline constexpr int kMessageBytesMax = 4 << 20;
inline constexpr uint64_t kValueBytesMax = 3 << 20;    // in one message
inline constexpr uint64_t kInlineBytesMax = 64 << 10;  // values in Txn and Scan

struct TlsFiles {
  std::string certificate, key;
};

class Door {
 public:
  Door(kv::Server& server, kv::Engine& engine);
  ~Door();
  // Addresses as HOST:PORT; port 0 picks one. `tls_address` may be empty.
  Status start(const std::string& address, const std::string& tls_address, const TlsFiles& tls);
  int port() const { return port_; }
  int tls_port() const { return tls_port_; }
  // Accepts nothing any more; calls that are not done by then are cancelled. Returns when all
  // ended.
  void stop(std::chrono::milliseconds patience);

 private:
  struct Services;
  kv::Server& server_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> grpc_;
  int port_ = 0, tls_port_ = 0;
};

}  // namespace cairn::rpc
