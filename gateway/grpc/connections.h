// Who is connected to the gRPC door and has shown no good credentials yet: strangers; and how many
// calls live.
//
// gRPC 1.51 bounds the streams of a connection that are open, and forgets at once those that its
// peer reset. Their calls it does not forget: it reads and parses as long as there are bytes, and
// lets no call end before it comes to a pause. Two connections that opened streams and reset them,
// without a password, made 2.7 GiB so. So the calls are counted where gRPC makes them, and when
// there are too many, the strangers that sent more than a little are cut off, in the middle of
// whatever they send; then it comes to its pause. A client with credentials is not cut off.
//
//   - kCallsMax calls live before strangers go; those whose bytes gRPC had read by then are more.
//   - A stranger that sent up to kStrangerBytes stays; while there are too many calls, none enters.
//   - kStrangersMax strangers: the oldest goes for a new one.
//
// A connection's descriptor is gRPC's, who closes it. Here is a duplicate of a stranger's, since
// the number alone might be another connection's by now; it is closed with the next look after
// gRPC closed its own.
//
// Threads: any.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace cairn::rpc {

class Connections : public std::enable_shared_from_this<Connections> {
 public:
  static constexpr size_t kStrangersMax = 1'000;
  static constexpr int64_t kCallsMax = 4'096;
  static constexpr uint64_t kStrangerBytes = 64 << 10;

  // Descriptors at or above `descriptors_below` are for the storage.
  Connections(Executor executor, Clock& clock, int descriptors_below)
      : executor_(std::move(executor)), clock_(clock), descriptors_below_(descriptors_below) {}
  ~Connections();
  Connections(const Connections&) = delete;

  // A new one, about to be handed to gRPC; false: refuse it.
  bool add(int descriptor, const asio::ip::tcp::endpoint& peer);
  // A call over this connection came with good credentials. `peer` as gRPC names it.
  void trust(std::string_view peer);
  bool has_strangers() const { return strangers_count_.load(std::memory_order_relaxed) > 0; }

  // What gRPC makes the contexts of calls with, and so counts them here.
  std::unique_ptr<grpc::ContextAllocator> contexts();
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  class Contexts;
  struct Stranger {
    std::string peer;
    int duplicate;
  };
  using Place = std::list<Stranger>::iterator;

  void call_begins() {
    const int64_t now = calls_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (now > kCallsMax) too_many();
  }
  void call_ended() { calls_.fetch_sub(1, std::memory_order_relaxed); }
  void too_many();
  static awaitable<void> watch(std::shared_ptr<Connections> self);
  void forget_closed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void drop(Place stranger, bool cut) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Executor executor_;
  Clock& clock_;
  const int descriptors_below_;
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> next_look_ns_{0};  // of too_many()
  std::atomic<size_t> strangers_count_{0};

  Mutex mutex_;
  bool watching_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Stranger> strangers_ ABSL_GUARDED_BY(mutex_);  // the oldest first
  absl::flat_hash_map<std::string, Place> by_peer_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::rpc
