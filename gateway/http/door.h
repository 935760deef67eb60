// The HTTP door: HTTP/1.1 over plain or TLS sockets, kept alive, one request at a time on a
// connection. Beast reads the header and chunked bodies; bodies with a length go from the socket
// straight to whoever pulls them.
//
// Limits: header 16 KiB, header within 10 s; a body that stands still for 30 s, or comes at less
// than 4 KiB/s for so long, or leaves at less than a 1 MiB chunk in 30 s (chunks are few), ends the
// connection; idle 120 s; 8,192 connections.
// Threads: start() and stop() once; a connection lives on one loop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "gateway/guests.h"
#include "gateway/http/message.h"
#include "gateway/net.h"

namespace cairn::http {

struct Stats {
  std::atomic<uint64_t> connections{0}, requests{0}, errors_4xx{0}, errors_5xx{0};
  std::atomic<uint64_t> bytes_in{0}, bytes_out{0};
};

using Handler = std::function<awaitable<void>(Request&, Response&)>;

class Door {
 public:
  Door(net::Loops& loops, Handler handler);
  Status listen(const net::tcp::endpoint& endpoint);
  Status listen_tls(const net::tcp::endpoint& endpoint, std::shared_ptr<asio::ssl::context> tls);
  net::tcp::endpoint local() const { return plain_.local(); }
  net::tcp::endpoint local_tls() const { return secure_.local(); }
  void start();
  void stop();  // accepts nobody any more
  net::Guests& guests() { return guests_; }
  Stats& stats() { return stats_; }

 private:
  template <class Stream>
  awaitable<void> serve(Stream stream);
  Handler handler_;
  Stats stats_;
  std::shared_ptr<asio::ssl::context> tls_;
  net::Guests guests_;
  net::Listener plain_;
  net::Listener secure_;
};

}  // namespace cairn::http
