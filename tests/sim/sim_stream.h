// A client's connection without a socket, for what the doors call a stream (gateway/net/net.h): two
// strings, one for each direction. Bytes arrive at once; when each side runs is the scheduler's.
//
// Threads: one.
#pragma once

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "core/base/async.h"

namespace cairn::sim {

// What both sides hold.
struct Wire {
  std::string to_server, to_client;
  bool hung_up = false;     // the client sends no more
  bool ended = false;       // nothing goes either way
  Resume<> server, client;  // who waits for bytes
  absl::AnyInvocable<void()> when_hung_up;

  void wake_server() {
    if (server) std::exchange(server, Resume<>())();
  }
  void wake_client() {
    if (client) std::exchange(client, Resume<>())();
  }
  void end() {
    ended = true;
    wake_server();
    wake_client();
  }
  // Of a world that has ended: who waits is destroyed.
  void drop() {
    ended = true;
    const Resume<> none = std::exchange(server, Resume<>()),
                   nobody = std::exchange(client, Resume<>());
    when_hung_up = nullptr;
  }
};

// The server's side.
class SimStream {
 public:
  static constexpr bool kTls = false;
  SimStream(std::shared_ptr<Wire> wire, Executor executor)
      : wire_(std::move(wire)), executor_(std::move(executor)) {}

  const Executor& executor() const { return executor_; }
  ssize_t try_read(MutableBytes into) {
    if (wire_->ended) return 0;
    std::string& from = wire_->to_server;
    if (from.empty()) return wire_->hung_up ? 0 : -1;
    const size_t n = std::min(into.size(), from.size());
    std::memcpy(into.data(), from.data(), n);
    from.erase(0, n);
    return static_cast<ssize_t>(n);
  }
  awaitable<void> readable() {
    if (wire_->ended || wire_->hung_up || !wire_->to_server.empty()) {
      return asio::post(executor_, asio::use_awaitable);
    }
    return suspend<>([wire = wire_.get()](Resume<> resume) { wire->server = std::move(resume); });
  }
  awaitable<size_t> read_some(MutableBytes into) {
    for (;;) {
      const ssize_t n = try_read(into);
      if (n >= 0) co_return static_cast<size_t>(n);
      co_await readable();
    }
  }
  ssize_t try_write(Bytes data) {
    if (wire_->ended) return -1;
    wire_->to_client.append(reinterpret_cast<const char*>(data.data()), data.size());
    wire_->wake_client();
    return static_cast<ssize_t>(data.size());
  }
  awaitable<void> writable() { return asio::post(executor_, asio::use_awaitable); }
  awaitable<void> writable_or_readable() { return writable(); }
  awaitable<bool> write(Bytes data) { co_return try_write(data) >= 0; }
  int descriptor() const { return -1; }
  // Each has its turn alone: answers leave at once.
  void on_send(const absl::AnyInvocable<void()>&) {}
  bool sends_later() const { return false; }
  void send_later() {}
  void wake_reader() {}
  void when_ended(absl::AnyInvocable<void()> call) { wire_->when_hung_up = std::move(call); }
  void abort() { wire_->end(); }
  awaitable<void> shutdown() {
    abort();
    co_return;
  }

 private:
  std::shared_ptr<Wire> wire_;
  Executor executor_;
};

}  // namespace cairn::sim
