// Whether a service is served, for everybody who asks: grpc.health.v1.Health. The one that comes
// with gRPC has its watches last for as long as anybody likes; here a stranger's ends after a while
// (connections.h), and all end when the server does.
//
// Threads: gRPC's, any number at once; stop() once, from any.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mutex.h"
#include "gateway/grpc/method.h"
#include "grpc/health/v1/health.pb.h"

namespace cairn::rpc {

class HealthService final : public Service {
 public:
  // `services`: the names of all that are served.
  HealthService(const Shared& shared, std::vector<std::string> services);
  // Ends all watches.
  void stop();

 private:
  class Watch;
  using Request = grpc::health::v1::HealthCheckRequest;
  using Answer = grpc::health::v1::HealthCheckResponse;
  Unary* check(Unary* c, const Caller& by, const Request* request, Answer* answer);
  grpc::ServerWriteReactor<Answer>* watch(Context* context, const Request& request);
  bool serves(std::string_view name) const;

  const std::vector<std::string> services_;
  Mutex mutex_;
  absl::flat_hash_set<Watch*> watches_ ABSL_GUARDED_BY(mutex_);  // each until it is done
};

}  // namespace cairn::rpc
