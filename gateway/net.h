// Sockets as the doors use them: an address to listen on, a stream that is plain or TLS, and a
// listener that spreads what it accepts over the I/O loops.
//
// Threads: a stream belongs to the loop that its connection runs on.
#pragma once

#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/types.h"

namespace cairn::net {

using tcp = asio::ip::tcp;
inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

// "HOST:PORT", "[V6]:PORT"; InvalidArgument says what is wrong with it.
StatusOr<tcp::endpoint> parse_endpoint(std::string_view text);
std::string to_string(const tcp::endpoint& endpoint);

// Reads wait for the socket to become readable before they try: a request that is not there yet
// then costs no failed receive.
class PlainStream {
 public:
  explicit PlainStream(tcp::socket socket) : socket_(std::move(socket)) {
    boost::system::error_code ec;
    socket_.set_option(tcp::no_delay(true), ec);
    socket_.non_blocking(true, ec);
    socket_.native_non_blocking(true, ec);
  }
  static constexpr bool kTls = false;
  tcp::socket& socket() { return socket_; }
  awaitable<bool> handshake() { co_return true; }

  // 0: the peer is gone.
  awaitable<size_t> read_some(MutableBytes into) {
    for (;;) {
      auto [ec] = co_await socket_.async_wait(tcp::socket::wait_read, kTuple);
      if (ec) co_return 0;
      ssize_t n = ::recv(socket_.native_handle(), into.data(), into.size(), 0);
      if (n >= 0) co_return static_cast<size_t>(n);
      if (errno != EAGAIN && errno != EINTR) co_return 0;
    }
  }
  // What can be sent without waiting; negative: the peer is gone.
  ssize_t try_write(Bytes data) {
    size_t done = 0;
    while (done < data.size()) {
      ssize_t n =
          ::send(socket_.native_handle(), data.data() + done, data.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return -1;
      done += static_cast<size_t>(n);
    }
    return static_cast<ssize_t>(done);
  }
  awaitable<bool> write(Bytes data) {
    for (;;) {
      ssize_t n = try_write(data);
      if (n < 0) co_return false;
      data = data.subspan(static_cast<size_t>(n));
      if (data.empty()) co_return true;
      auto [ec] = co_await socket_.async_wait(tcp::socket::wait_write, kTuple);
      if (ec) co_return false;
    }
  }
  awaitable<void> shutdown() {
    boost::system::error_code ec;
    socket_.shutdown(tcp::socket::shutdown_both, ec);
    co_return;
  }

 private:
  tcp::socket socket_;
};

class TlsStream {
 public:
  TlsStream(tcp::socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {
    boost::system::error_code ec;
    stream_.next_layer().set_option(tcp::no_delay(true), ec);
  }
  static constexpr bool kTls = true;
  tcp::socket& socket() { return stream_.next_layer(); }
  awaitable<bool> handshake() {
    auto [ec] = co_await stream_.async_handshake(asio::ssl::stream_base::server, kTuple);
    co_return !ec;
  }
  awaitable<size_t> read_some(MutableBytes into) {
    auto [ec, n] = co_await stream_.async_read_some(asio::buffer(into.data(), into.size()), kTuple);
    co_return ec ? 0 : n;
  }
  ssize_t try_write(Bytes) { return 0; }
  awaitable<bool> write(Bytes data) {
    auto [ec, n] =
        co_await asio::async_write(stream_, asio::buffer(data.data(), data.size()), kTuple);
    co_return !ec;
  }
  awaitable<void> shutdown() {
    boost::system::error_code ignored;
    co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
    socket().shutdown(tcp::socket::shutdown_both, ignored);
  }

 private:
  asio::ssl::stream<tcp::socket> stream_;
};

// The I/O loops of the process, each run by one thread.
struct Loops {
  std::vector<std::unique_ptr<asio::io_context>> contexts;
  std::vector<Executor> executors() const;
};

// Accepts on the first loop and hands connections to the loops in turn.
class Listener {
 public:
  // `serve` runs on the connection's loop and is told that loop's number.
  using Serve = std::function<awaitable<void>(tcp::socket, size_t loop)>;
  Listener(Loops& loops, Serve serve) : loops_(loops), serve_(std::move(serve)) {}
  Status listen(const tcp::endpoint& endpoint);  // FailedPrecondition: in use, not permitted
  tcp::endpoint local() const { return local_; }
  void start();
  void stop();

 private:
  awaitable<void> accept();
  Loops& loops_;
  Serve serve_;
  std::unique_ptr<tcp::acceptor> acceptor_;
  tcp::endpoint local_;
};

// A context that offers TLS 1.2 and 1.3 with this certificate chain and key.
StatusOr<std::shared_ptr<asio::ssl::context>> make_tls(const std::string& certificate_file,
                                                       const std::string& key_file);

}  // namespace cairn::net
