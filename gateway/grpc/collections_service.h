// cairn.v1.Hashes, Lists, Sets, SortedSets and Streams, as one service of gRPC's: their rows
// differ, and nothing else. Each has typed messages; what is done is done by the commands of the
// Redis door (kv/engine/errand.h), so that both doors mean the same by a collection.
//
// Threads: gRPC's, any number at once; stop() once, from any.
#pragma once

#include "gateway/grpc/collection_waits.h"

namespace cairn::rpc {

class CollectionsService final : public Service {
 public:
  explicit CollectionsService(const Shared& shared);
  // Ends all tails, and calls that wait.
  void stop() { tails_.stop(); }

 private:
  template <class Request, class Answer>
  Unary* run(Context* c, const Caller& by, const Request* q, Answer* a);
  template <class Request, class Answer>
  void one(const char* path, Access access) {
    unary(path, access, &CollectionsService::run<Request, Answer>);
  }
  template <class Request, class Answer>
  void range(const char* path);
  template <class Request, class Answer>
  void tail(const char* path);

  Tails tails_;
};

}  // namespace cairn::rpc
