// The HTTP door: HTTP/1.1 over plain or TLS sockets, kept alive, one request at a time on a
// connection. Bodies with a length go from the socket straight to whoever pulls them.
//
// Deadlines: a header comes within 10 s, and its deadline ends with it; an idle connection stays
// for 120 s. A body, either way, is judged by progress: who moves nothing for two minutes is sent
// away, and so is who moves less than 1 KiB/s over minutes, since a client that drips bytes is
// waited for no longer than one that stands still. Progress of a download is what the peer has
// acknowledged, not what the kernel took. While buffers are scarce, both are judged more strictly.
// A handler that works has no deadline; where it said that this may take long, the answer begins
// after 10 s with the head of a 200 and white space.
// Limits: header 16 KiB; 8,192 connections. A connection has 4 KiB, and asks for more where its
// header or its chunks need it (net/buffers.h): who has sent no whole header gets next to nothing,
// and is refused where there is no more.
// Threads: start() and stop() once; a connection lives on one loop.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>

#include "gateway/http/message.h"
#include "gateway/net/buffers.h"
#include "gateway/net/guests.h"
#include "gateway/net/net.h"

namespace cairn::http {

struct Stats {
  std::atomic<uint64_t> connections{0}, requests{0}, errors_4xx{0}, errors_5xx{0};
  std::atomic<uint64_t> not_implemented{0};  // 501s: neither side's error
  std::atomic<uint64_t> bytes_in{0}, bytes_out{0};
};

// How long what may take; tests have less of it.
struct Times {
  using Duration = std::chrono::steady_clock::duration;
  Duration header = std::chrono::seconds(10);
  Duration idle = std::chrono::seconds(120);
  Duration stall = std::chrono::seconds(120);
  Duration stall_scarce = std::chrono::seconds(20);  // while buffers are scarce
  Duration watch = std::chrono::seconds(5);          // how often progress is looked at
  Duration pulse = std::chrono::seconds(10);         // between signs of life of a long operation
  int64_t rate_min = 1 << 10;                        // bytes per second
  int64_t rate_min_scarce = 16 << 10;
};

using Handler = std::function<awaitable<void>(Request&, Response&)>;

class Door {
 public:
  // `scarce` says whether somebody waits for a buffer; from any loop. `buffers` outlives the loops.
  Door(net::Loops& loops, net::Buffers& buffers, Handler handler, Times times = {},
       std::function<bool()> scarce = {});
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
  net::Buffers& buffers_;
  const Handler handler_;
  const Times times_;
  const std::function<bool()> scarce_;
  Stats stats_;
  std::shared_ptr<asio::ssl::context> tls_;
  net::Guests guests_;
  net::Listener plain_;
  net::Listener secure_;
};

}  // namespace cairn::http
