// cairn.v1.Admin: about the server. Threads: gRPC's, any number at once.
#pragma once

#include "cairn/v1/admin.pb.h"
#include "gateway/grpc/method.h"
#include "kv/engine/engine.h"

namespace cairn::rpc {

class AdminService final : public Service {
 public:
  AdminService(const Shared& shared, kv::Server& server, kv::Engine& engine);

 private:
  Unary* info(Context* c, const Caller& by, const v1::InfoRequest* q, v1::InfoResponse* a);
  Unary* stats(Context* c, const Caller& by, const v1::StatsRequest* q, v1::StatsResponse* a);
  Unary* get_quota(Context* c, const Caller& by, const v1::GetQuotaRequest* q,
                   v1::GetQuotaResponse* a);
  Unary* set_quota(Context* c, const Caller& by, const v1::SetQuotaRequest* q,
                   v1::SetQuotaResponse* a);

  kv::Server& server_;
  kv::Engine& engine_;
};

}  // namespace cairn::rpc
