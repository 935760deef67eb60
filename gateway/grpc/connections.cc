#include "gateway/grpc/connections.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "core/base/async.h"
#include "core/base/text.h"
#include "gateway/grpc/tcp_info.h"

namespace cairn::rpc {

namespace {

using asio::ip::tcp;

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

// Ends a connection with a reset, and forgets what came in and was not read: shutdown() alone would
// have gRPC read megabytes more.
void disconnect(int descriptor) {
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  if (::connect(descriptor, &nobody, sizeof(nobody)) != 0) ::shutdown(descriptor, SHUT_RDWR);
}

}  // namespace

class Connections::Contexts final : public grpc::ContextAllocator {
 public:
  explicit Contexts(std::shared_ptr<Connections> connections)
      : connections_(std::move(connections)) {}
  grpc::CallbackServerContext* NewCallbackServerContext() override {
    connections_->call_begins();
    return new grpc::CallbackServerContext;
  }
  void Release(grpc::CallbackServerContext* context) override {
    delete context;
    connections_->call_ended();
  }

 private:
  const std::shared_ptr<Connections> connections_;
};

std::unique_ptr<grpc::ContextAllocator> Connections::contexts() {
  return std::make_unique<Contexts>(shared_from_this());
}

Connections::~Connections() {
  MutexLock lock(mutex_);
  while (!strangers_.empty()) drop(strangers_.begin(), false);
}

bool Connections::add(int descriptor, const tcp::endpoint& peer) {
  if (calls() > kCallsMax) return false;
  bool unwatched = false;
  {
    MutexLock lock(mutex_);
    if (strangers_.size() >= kStrangersMax) forget_closed();
    if (strangers_.size() >= kStrangersMax) drop(strangers_.begin(), true);
    const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return false;
    if (copy >= descriptors_below_) {
      ::close(copy);
      return false;
    }
    std::string name = name_of(peer);
    if (auto old = by_peer_.find(name); old != by_peer_.end()) drop(old->second, false);
    strangers_.push_back({name, copy});
    by_peer_[std::move(name)] = std::prev(strangers_.end());
    strangers_count_ = strangers_.size();
    unwatched = !std::exchange(watching_, true);
  }
  if (unwatched) spawn(executor_, "watching gRPC connections", watch(shared_from_this()));
  return true;
}

// As long as there are any: a duplicate keeps a descriptor that others may need.
awaitable<void> Connections::watch(std::shared_ptr<Connections> self) {
  constexpr int64_t kPauseMs = 500;
  for (;;) {
    co_await self->clock_.sleep_ms(kPauseMs);
    MutexLock lock(self->mutex_);
    self->forget_closed();
    if (!self->strangers_.empty()) continue;
    self->watching_ = false;
    co_return;
  }
}

void Connections::forget_closed() {
  for (auto it = strangers_.begin(); it != strangers_.end();) {
    const Place stranger = it++;
    if (tcp_state(stranger->duplicate).closed) drop(stranger, false);
  }
}

// It runs on the thread that reads what makes the calls.
void Connections::too_many() {
  constexpr int64_t kPauseNs = 1'000'000;
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::steady_clock::now().time_since_epoch())
                          .count();
  int64_t next = next_look_ns_.load(std::memory_order_relaxed);
  if (now < next || !next_look_ns_.compare_exchange_strong(next, now + kPauseNs)) return;
  MutexLock lock(mutex_);
  for (auto it = strangers_.begin(); it != strangers_.end();) {
    const Place stranger = it++;
    if (tcp_state(stranger->duplicate).bytes_received > kStrangerBytes) drop(stranger, true);
  }
}

void Connections::drop(Place stranger, bool cut) {
  if (cut) disconnect(stranger->duplicate);
  ::close(stranger->duplicate);
  by_peer_.erase(stranger->peer);
  strangers_.erase(stranger);
  strangers_count_ = strangers_.size();
}

void Connections::trust(std::string_view peer) {
  const std::string name = plain_peer(peer);
  MutexLock lock(mutex_);
  if (auto found = by_peer_.find(name); found != by_peer_.end()) drop(found->second, false);
}

}  // namespace cairn::rpc
