#include "gateway/http/door.h"

#include <absl/cleanup/cleanup.h>

#include "gateway/http/connection.h"

namespace cairn::http {

namespace {
constexpr std::string_view kFull =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
constexpr size_t kConnectionsMax = 8192;
}  // namespace

Door::Door(net::Loops& loops, net::Buffers& buffers, Handler handler, Times times,
           std::function<bool()> scarce)
    : buffers_(buffers),
      handler_(std::move(handler)),
      times_(times),
      scarce_(std::move(scarce)),
      plain_(
          loops,
          [this](net::tcp::socket socket, size_t) {
            return serve(net::PlainStream(std::move(socket)));
          },
          kFull),
      secure_(loops, [this](net::tcp::socket socket, size_t) {
        return serve(net::TlsStream(std::move(socket), *tls_));
      }) {}

Status Door::listen(const net::tcp::endpoint& endpoint) { return plain_.listen(endpoint); }

Status Door::listen_tls(const net::tcp::endpoint& endpoint,
                        std::shared_ptr<asio::ssl::context> tls) {
  tls_ = std::move(tls);
  return secure_.listen(endpoint);
}

void Door::start() {
  plain_.start();
  secure_.start();
}
void Door::stop() {
  plain_.stop();
  secure_.stop();
}

template <class Stream>
awaitable<void> Door::serve(Stream stream) {
  const bool full = stats_.connections.fetch_add(1) >= kConnectionsMax;
  const absl::Cleanup leave = [this] { stats_.connections.fetch_sub(1); };  // whatever ends it
  if (full) co_return;
  const auto peer = stream.peer();
  const Executor executor = co_await asio::this_coro::executor;
  Connection<Stream> connection(std::move(stream), stats_, buffers_, handler_, guests_, times_,
                                scarce_, net::to_string(peer), net::is_loopback(peer.address()));
  net::Guests::Guest guest(guests_, executor, [&](net::End how) { connection.end(how); });
  co_await connection.run();
}

}  // namespace cairn::http
