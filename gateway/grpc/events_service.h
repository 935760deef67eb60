// cairn.v1.Events: changes of the store, from its log (core/store/change_feed.h).
//
// A call holds a place in the log and one message, and nothing of the log for a client that does
// not take what it is told: who is too slow is told so, and begins anew. Its caller may list the
// namespace, and is told of the keys that he may read, as long as he may. Of a bucket that keeps
// versions it is told what is current.
//
// Threads: gRPC's, any number at once; stop() once, from any.
#pragma once

#include <atomic>

#include "gateway/grpc/method.h"

namespace cairn::rpc {

class EventsService final : public Service {
 public:
  static constexpr size_t kWatchesMax = 10'000;

  explicit EventsService(const Shared& shared);
  // Ends all calls, within a moment.
  void stop() { stopping_ = true; }

 private:
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> watches_{0};
};

}  // namespace cairn::rpc
