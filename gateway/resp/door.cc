#include "gateway/resp/door.h"

#include <absl/cleanup/cleanup.h>

#include <boost/asio/post.hpp>

#include "core/base/async.h"
#include "core/base/limits.h"
#include "gateway/resp/connection.h"

namespace cairn::resp {

namespace {
constexpr std::string_view kFull = "-ERR max number of clients reached\r\n";
}

Door::Door(net::Loops& loops, kv::Server& server, std::vector<std::unique_ptr<kv::Engine>>& engines)
    : server_(server),
      engines_(engines),
      plain_(
          loops,
          [this](net::tcp::socket socket, size_t loop) {
            net::keep_alive(socket, server_.tcp_keepalive_s);
            return serve(net::PlainStream(std::move(socket)), loop);
          },
          kFull),
      secure_(loops, [this](net::tcp::socket socket, size_t loop) {
        net::keep_alive(socket, server_.tcp_keepalive_s);
        return serve(net::TlsStream(std::move(socket), *tls_), loop);
      }) {
  for (const Executor& loop : loops.executors()) {
    bells_.push_back(std::make_unique<kv::Bell>(loop));
  }
}

Status Door::listen(const net::tcp::endpoint& endpoint) { return plain_.listen(endpoint); }

Status Door::listen_tls(const net::tcp::endpoint& endpoint,
                        std::shared_ptr<asio::ssl::context> tls) {
  tls_ = std::move(tls);
  return secure_.listen(endpoint);
}

void Door::start() {
  server_.client_limits.set_memory(server_.store.memory_bytes());
  plain_.start();
  secure_.start();
  Executor first = server_.store.executors().front();
  spawn(first, "looking after clients", look_after());
}

// Once a second: clients that were silent for longer than CONFIG SET timeout allows, or that stand
// still in the middle of a large value, are sent away; so are those for whom there is no room any
// more since a limit has changed.
awaitable<void> Door::look_after() {
  constexpr size_t kTidied = 10'000;  // keys that clients track
  for (;;) {
    co_await server_.store.clock().sleep_ms(1000);
    server_.client_limits.set_memory(server_.store.memory_bytes());
    server_.sessions.keep_buffers_within(server_.client_limits.left());
    const uint64_t timeout_s = server_.timeout_s;
    const kv::OutputLimit pushed = server_.client_limits.output(kv::ClientClass::kPubsub);
    server_.tracking.tidy(kTidied);
    server_.events.streams.look_after();
    for (auto& session : server_.sessions.all()) {
      if (session->served) session->silent_s = 0;
      const auto silent_s = static_cast<uint64_t>(++session->silent_s);
      int64_t stalled_s = session->stalled_s;
      if (stalled_s != kv::Session::kNothingMoves) {  // unless it moves, or ends, meanwhile
        if (session->stalled_s.compare_exchange_strong(stalled_s, stalled_s + 1)) stalled_s++;
      }
      const bool listens = session->subscriptions.any_seen();  // what should it say?
      const bool silent = timeout_s != 0 && silent_s > timeout_s && !listens && !session->blocked;
      const bool late = session->outbox.overdue(pushed, kv::steady_ns() / 1'000'000);
      if (late) server_.stats.output_limit_disconnections.fetch_add(1, std::memory_order_relaxed);
      if (silent || late || stalled_s > limits::kStallS) session->kill();
      // Time alone may end a right: that of a key that expires, or one with a condition.
      if (listens || session->monitors || session->tracker->has(kv::Tracker::kOn)) {
        session->recheck();
      }
    }
  }
}

void Door::stop() {
  plain_.stop();
  secure_.stop();
}

template <class Stream>
awaitable<void> Door::serve(Stream stream, size_t loop) {
  server_.stats.connections.fetch_add(1, std::memory_order_relaxed);
  const auto peer = stream.peer(), local = stream.local();
  if (server_.sessions.size() >= server_.max_clients) {
    server_.stats.rejected_connections.fetch_add(1, std::memory_order_relaxed);
    if (!Stream::kTls) (void)stream.try_write(as_bytes(kFull));
    co_return;
  }
  const Executor executor = co_await asio::this_coro::executor;
  auto session = std::make_shared<kv::Session>(server_.store, server_.sessions.next_id(),
                                               net::to_string(peer), net::to_string(local));
  if (server_.default_is_let_in()) session->principal = server_.users.default_user();
  session->secure = Stream::kTls;
  auto connection = std::make_shared<Connection<Stream>>(std::move(stream), server_,
                                                         *engines_[loop], guests_, session);
  connection->offer_to(session, executor, *engines_[loop], *bells_[loop]);
  net::Guests::Guest guest(guests_, executor, [&stream = connection->stream()](net::End how) {
    how == net::End::kNow ? stream.abort() : stream.shutdown_receive();
  });
  server_.sessions.add(session);
  const absl::Cleanup leave = [&] {  // also where an exception ends it
    server_.sessions.remove(session->id);
    server_.lookout.monitor(*session, false);
    connection->stream().abort();  // whoever still pushes to it
  };
  co_await connection->run();
  connection->stream().abort();
  session->outbox.close();
  constexpr size_t kTurn = 1000;  // names that it listened to, before others have their turn
  while (server_.channels.leave(*session, kTurn) || server_.tracking.leave(*session, kTurn)) {
    co_await asio::post(executor, asio::use_awaitable);
  }
}

}  // namespace cairn::resp
