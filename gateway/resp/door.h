// The Redis door: accepts connections, runs their commands on the loop that accepted them.
//
// Threads: start() and stop() once. A connection and its session live on one loop.
// Memory: an input buffer of 1 KiB at rest to the largest command, an output buffer that is sent as
// soon as it holds 256 KiB, and what is pushed; all of it bounded for each client and for all
// together (kv/engine/client_limits.h). Words above the extent threshold go through a few chunks of
// 1 MiB.
#pragma once

#include <memory>

#include "gateway/net/guests.h"
#include "gateway/net/net.h"
#include "kv/engine/engine.h"

namespace cairn::resp {

class Door {
 public:
  Door(net::Loops& loops, kv::Server& server, std::vector<std::unique_ptr<kv::Engine>>& engines);

  Status listen(const net::tcp::endpoint& endpoint);
  Status listen_tls(const net::tcp::endpoint& endpoint, std::shared_ptr<asio::ssl::context> tls);
  net::tcp::endpoint local() const { return plain_.local(); }
  net::tcp::endpoint local_tls() const { return secure_.local(); }
  void start();
  void stop();  // accepts nobody any more
  net::Guests& guests() { return guests_; }

 private:
  template <class Stream>
  awaitable<void> serve(Stream stream, size_t loop);
  awaitable<void> look_after();

  kv::Server& server_;
  std::vector<std::unique_ptr<kv::Engine>>& engines_;
  std::shared_ptr<asio::ssl::context> tls_;
  net::Guests guests_;
  net::Listener plain_;
  net::Listener secure_;
  std::vector<std::unique_ptr<kv::Bell>> bells_;  // of each loop
};

}  // namespace cairn::resp
