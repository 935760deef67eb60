// What the server serves, told to clients that were not built with our .proto files: grpcurl and
// the like. The reflection service of gRPC 1.51 knows its older name alone, so this is one of our
// own, under both.
//
// Threads: gRPC's, any number at once.
#pragma once

#include "gateway/grpc/method.h"

namespace cairn::rpc {

class ReflectionService final : public Service {
 public:
  // `services`: the names of all that are served.
  ReflectionService(const Shared& shared, std::vector<std::string> services);

 private:
  const std::vector<std::string> services_;
};

}  // namespace cairn::rpc
