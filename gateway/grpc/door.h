// The gRPC door: KeyValue, Objects and Admin, with health and reflection. gRPC's own threads call
// the store in place; work that needs storage I/O goes to an I/O loop as a coroutine.
//
// Every call but health needs credentials, in the metadata "authorization": "Bearer PASSWORD" or
// "Basic base64(USER:PASSWORD)".
//
// Memory: what gRPC itself buffers of all connections together has a quota; beyond it gRPC closes
// idle connections and cancels streams. It does not count what
// streams that are opened and reset at once leave behind until they are worked off: connections.h
// bounds those of who has shown no credentials.
// Threads: start() and stop() once.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <climits>
#include <memory>

#include "kv/engine.h"

namespace cairn::rpc {

inline constexpr size_t kQuotaBytes = 256 << 20;  // of gRPC's buffers
inline constexpr int kStreamsMax = 1000;          // at once on one connection
inline constexpr int kMetadataBytesMax = 16 << 10;

struct TlsFiles {
  std::string certificate, key;
};

struct DoorOptions {
  std::string address;      // HOST:PORT; port 0 picks one
  std::string tls_address;  // may be empty
  TlsFiles tls;
  int64_t patience_ms = 60'000;     // with a stream whose client does nothing
  int descriptors_below = INT_MAX;  // of sockets; those above are for the storage
  bool open_on_loopback = false;    // reflection, without credentials
};

class Connections;

class Door {
 public:
  Door(kv::Server& server, kv::Engine& engine);
  ~Door();
  Status start(const DoorOptions& options);
  int port() const { return port_; }
  int tls_port() const { return tls_port_; }
  // Accepts nothing any more; calls that are not done by then are cancelled. Returns when all
  // ended.
  void stop(std::chrono::milliseconds patience);

 private:
  struct Services;
  kv::Server& server_;
  kv::Engine& engine_;
  std::unique_ptr<Connections> connections_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> grpc_;
  int port_ = 0, tls_port_ = 0;
};

}  // namespace cairn::rpc
