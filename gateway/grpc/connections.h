// The connections of the gRPC door. gRPC 1.51 takes whoever comes, and bounds nothing that a peer
// makes it remember by opening streams and resetting them at once. So connections are accepted
// here, counted, and then handed over; those that have not shown good credentials yet are
// strangers, who may send only a little, and leave first.
//
//   - kConnectionsMax at once; kStrangersMax of them strangers: the oldest goes for a new one.
//   - A stranger may send kStrangerBytes, and kStrangerBytesPerSecond more for as long as it stays.
//   - A descriptor at or above `descriptors_below` is refused: those are for the storage.
//
// A connection's own descriptor is gRPC's, who closes it. What is kept of a stranger is a
// duplicate, since one that is held cannot become another connection's; of the others the inode,
// to count them.
//
// Threads: any. It outlives the loop of its executor.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <grpcpp/server_builder.h>
#include <sys/types.h>

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/mutex.h"
#include "core/types.h"

namespace cairn::rpc {

class Connections {
 public:
  static constexpr size_t kConnectionsMax = 10'000;
  static constexpr size_t kStrangersMax = 1'000;
  static constexpr uint64_t kStrangerBytes = 1 << 20;
  static constexpr uint64_t kStrangerBytesPerSecond = 64 << 10;

  using HandOver = std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>;

  Connections(Executor executor, Clock& clock, int descriptors_below);
  ~Connections();

  // Binds; the port. Connections wait until start().
  StatusOr<int> listen(const std::string& address, HandOver to);
  void start();
  // Accepts nothing any more.
  void stop();

  // A call over this connection came with good credentials. `peer` as gRPC names it.
  void trust(std::string_view peer);

 private:
  struct Listener {
    asio::ip::tcp::acceptor acceptor;
    HandOver to;
  };
  struct Stranger {
    std::string peer;
    int descriptor;  // gRPC's
    int duplicate;
    ino_t inode;
    std::chrono::steady_clock::time_point since;
  };
  struct Known {
    int descriptor;
    ino_t inode;
  };

  awaitable<void> accept(size_t listener);
  bool admit(int descriptor, const asio::ip::tcp::endpoint& peer);
  awaitable<void> watch();
  void look_at_strangers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void forget_closed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void drop(std::list<Stranger>::iterator stranger, bool cut) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Executor executor_;
  Clock& clock_;
  const int descriptors_below_;
  std::vector<Listener> listeners_;  // constant once started

  Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool watching_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Stranger> strangers_ ABSL_GUARDED_BY(mutex_);  // the oldest first
  absl::flat_hash_map<std::string, std::list<Stranger>::iterator> by_peer_ ABSL_GUARDED_BY(mutex_);
  std::vector<Known> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::rpc
