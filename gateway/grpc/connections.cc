#include "gateway/grpc/connections.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/async.h"
#include "core/text.h"
#include "gateway/grpc/tcp_info.h"
#include "gateway/net.h"

namespace cairn::rpc {

namespace {

using asio::ip::tcp;
using std::chrono::steady_clock;

// ADDRESS:PORT without brackets, escapes and scope, of the peer's name as gRPC writes it:
// "ipv4:127.0.0.1:1234", "ipv6:%5B::1%5D:1234".
std::string plain_peer(std::string_view peer) {
  const size_t scheme = peer.find(':');
  const size_t colon = peer.rfind(':');
  if (scheme == peer.npos || colon <= scheme) return std::string(peer);
  std::string_view address = peer.substr(scheme + 1, colon - scheme - 1);
  for (std::string_view open : {"%5B", "["}) {
    if (address.starts_with(open)) address.remove_prefix(open.size());
  }
  return cat(address.substr(0, address.find_first_of("%]")), peer.substr(colon));
}

std::string name_of(const tcp::endpoint& peer) {
  asio::ip::address address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  const std::string text = address.to_string();
  return cat(std::string_view(text).substr(0, text.find('%')), ":", peer.port());
}

ino_t inode_of(int descriptor) {
  struct stat found {};
  return ::fstat(descriptor, &found) == 0 && S_ISSOCK(found.st_mode) ? found.st_ino : 0;
}

}  // namespace

Connections::Connections(Executor executor, Clock& clock, int descriptors_below)
    : executor_(std::move(executor)), clock_(clock), descriptors_below_(descriptors_below) {}

Connections::~Connections() {
  MutexLock lock(mutex_);
  while (!strangers_.empty()) drop(strangers_.begin(), false);
}

StatusOr<int> Connections::listen(const std::string& address, HandOver to) {
  auto endpoint = net::parse_endpoint(address);
  if (!endpoint.ok()) return endpoint.status();
  tcp::acceptor acceptor(executor_);
  boost::system::error_code ec;
  acceptor.open(endpoint->protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(*endpoint, ec);
  if (!ec) acceptor.listen(1024, ec);
  if (ec) {
    return absl::FailedPreconditionError(
        cat("cannot listen on ", address, " for gRPC: ", ec.message()));
  }
  const int port = acceptor.local_endpoint().port();
  listeners_.push_back({std::move(acceptor), std::move(to)});
  return port;
}

void Connections::start() {
  for (size_t i = 0; i < listeners_.size(); i++) {
    spawn(executor_, "accepting gRPC connections", accept(i));
  }
}

void Connections::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  asio::post(executor_, [this] {
    boost::system::error_code ignored;
    for (Listener& l : listeners_) l.acceptor.close(ignored);
  });
}

awaitable<void> Connections::accept(size_t listener) {
  Listener& l = listeners_[listener];
  while (l.acceptor.is_open()) {
    boost::system::error_code ec;
    tcp::endpoint peer;
    tcp::socket socket =
        co_await l.acceptor.async_accept(peer, asio::redirect_error(asio::use_awaitable, ec));
    if (ec) {  // none is free: whoever leaves makes room
      if (!l.acceptor.is_open()) co_return;
      co_await clock_.sleep_ms(10);
      continue;
    }
    socket.set_option(tcp::no_delay(true), ec);
    socket.native_non_blocking(true, ec);
    if (!admit(socket.native_handle(), peer)) continue;
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters handed;
    handed.listener_fd = l.acceptor.native_handle();
    handed.fd = socket.release(ec);
    if (!ec) l.to->HandleNewConnection(&handed);
  }
}

bool Connections::admit(int descriptor, const tcp::endpoint& peer) {
  if (descriptor >= descriptors_below_) return false;
  bool unwatched = false;
  {
    MutexLock lock(mutex_);
    if (stopping_) return false;
    if (known_.size() + strangers_.size() >= kConnectionsMax) forget_closed();
    if (known_.size() + strangers_.size() >= kConnectionsMax) return false;
    if (strangers_.size() >= kStrangersMax) drop(strangers_.begin(), true);
    const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return false;
    std::string name = name_of(peer);
    if (auto old = by_peer_.find(name); old != by_peer_.end()) drop(old->second, false);
    strangers_.push_back({name, descriptor, copy, inode_of(copy), steady_clock::now()});
    by_peer_[std::move(name)] = std::prev(strangers_.end());
    unwatched = !std::exchange(watching_, true);
  }
  if (unwatched) {  // it may run at once, and takes the lock
    spawn(executor_, "watching gRPC connections", watch());
  }
  return true;
}

// Often, since a stranger that means harm is fast; as long as there are any.
awaitable<void> Connections::watch() {
  constexpr int64_t kPauseMs = 20;
  for (;;) {
    {
      MutexLock lock(mutex_);
      look_at_strangers();
      if (strangers_.empty()) {
        watching_ = false;
        co_return;
      }
    }
    co_await clock_.sleep_ms(kPauseMs);
  }
}

void Connections::look_at_strangers() {
  const auto now = steady_clock::now();
  for (auto it = strangers_.begin(); it != strangers_.end();) {
    const auto stranger = it++;
    const auto seconds = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now - stranger->since).count());
    const TcpState state = tcp_state(stranger->duplicate);
    const bool too_much = state.bytes_received > kStrangerBytes + seconds * kStrangerBytesPerSecond;
    const bool closed = state.closed || inode_of(stranger->descriptor) != stranger->inode;
    if (closed || too_much) drop(stranger, too_much);
  }
}

void Connections::drop(std::list<Stranger>::iterator stranger, bool cut) {
  if (cut) ::shutdown(stranger->duplicate, SHUT_RDWR);
  ::close(stranger->duplicate);
  by_peer_.erase(stranger->peer);
  strangers_.erase(stranger);
}

void Connections::forget_closed() {
  std::erase_if(known_, [](const Known& k) { return inode_of(k.descriptor) != k.inode; });
}

void Connections::trust(std::string_view peer) {
  const std::string name = plain_peer(peer);
  MutexLock lock(mutex_);
  auto found = by_peer_.find(name);
  if (found == by_peer_.end()) return;
  known_.push_back({found->second->descriptor, found->second->inode});
  drop(found->second, false);
}

}  // namespace cairn::rpc
