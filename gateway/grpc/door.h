// The gRPC door: KeyValue, Objects, the collections and Admin, with health and reflection. gRPC's
// own threads call the store in place; work that needs storage I/O goes to an I/O loop as a
// coroutine.
//
// Every call but health needs credentials, in the metadata "authorization": "Bearer PASSWORD" or
// "Basic base64(USER:PASSWORD)".
//
// Connections are accepted by our own listener and handed to gRPC, so that a port in use is said as
// at the other doors, and clients are refused before they take a descriptor that storage needs.
//
// Memory: what gRPC itself buffers of all connections together has a quota; beyond it gRPC closes
// idle connections and cancels streams. It does not count all that streams leave behind that are
// opened and reset at once; connections.h bounds how many of those clients without credentials can
// make.
// Threads: start() and stop() once.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "core/store/change_feed.h"
#include "gateway/net/net.h"
#include "kv/engine/engine.h"

namespace cairn::rpc {

inline constexpr size_t kQuotaBytes = 256 << 20;  // of gRPC's buffers
inline constexpr int kStreamsMax = 1000;          // at once on one connection
inline constexpr int kMetadataBytesMax = 16 << 10;
// gRPC reads so much at once at most, and makes calls of all of it before any can end: 4 MiB, its
// own limit, are 100,000 of them.
inline constexpr int kReadBytesMax = 128 << 10;

struct TlsFiles {
  std::string certificate, key;
};

struct DoorOptions {
  net::tcp::endpoint address;  // port 0 picks one
  std::optional<net::tcp::endpoint> tls_address;
  TlsFiles tls;
  // With a stream whose client does nothing, and with a call of who has shown no credentials.
  int64_t patience_ms = 60'000;
  bool open_on_loopback = false;  // reflection, without credentials
};

class Connections;

class Door {
 public:
  Door(net::Loops& loops, kv::Server& server,
       const std::vector<std::unique_ptr<kv::Engine>>& engines, ChangeFeed& feed);
  ~Door();
  Status start(const DoorOptions& options);
  // Of all methods, as policies have them, since start(): "grpc:cairn.v1.KeyValue/Get".
  std::vector<std::string> action_names() const;
  net::tcp::endpoint local() const { return plain_.local(); }
  net::tcp::endpoint local_tls() const { return secure_.local(); }
  // Accepts nothing any more; calls that are not done by then are cancelled. Returns when all
  // ended.
  void stop(std::chrono::milliseconds patience);

 private:
  struct Services;
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;
  awaitable<void> hand_over(net::tcp::socket socket, Acceptor& acceptor);

  kv::Server& server_;
  const std::vector<std::unique_ptr<kv::Engine>>& engines_;
  ChangeFeed& feed_;
  net::Loops& loops_;
  std::shared_ptr<Connections> connections_;  // since start()
  std::unique_ptr<Services> services_;
  std::unique_ptr<Acceptor> plain_acceptor_, secure_acceptor_;
  std::unique_ptr<grpc::Server> grpc_;
  net::Listener plain_, secure_;
};

}  // namespace cairn::rpc
