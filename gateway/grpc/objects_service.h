// cairn.v1.Objects over the store. Threads: gRPC's, any number at once.
#pragma once

#include "cairn/v1/objects.pb.h"
#include "gateway/grpc/method.h"
#include "objects/find.h"

namespace cairn::rpc {

class ObjectsService final : public Service {
 public:
  explicit ObjectsService(const Shared& shared);

 private:
  Unary* stat(Context* c, const Caller& by, const v1::StatRequest* q, v1::StatResponse* a);
  Unary* find(Context* c, const Caller& by, const v1::FindRequest* q, v1::FindResponse* a);
  awaitable<grpc::Status> find_page(Context* c, Caller by, NamespacePtr ns,
                                    objects::FindExpression expression, const v1::FindRequest* q,
                                    v1::FindResponse* a);
  Unary* list(Context* c, const Caller& by, const v1::ListRequest* q, v1::ListResponse* a);
  Unary* copy(Context* c, const Caller& by, const v1::CopyRequest* q, v1::CopyResponse* a);
  Unary* remove(Context* c, const Caller& by, const v1::DeleteObjectRequest* q,
                v1::DeleteObjectResponse* a);
  Unary* create_bucket(Context* c, const Caller& by, const v1::CreateBucketRequest* q,
                       v1::CreateBucketResponse* a);
  Unary* delete_bucket(Context* c, const Caller& by, const v1::DeleteBucketRequest* q,
                       v1::DeleteBucketResponse* a);
  Unary* list_buckets(Context* c, const Caller& by, const v1::ListBucketsRequest* q,
                      v1::ListBucketsResponse* a);

  awaitable<grpc::Status> stat_when_idle(NamespacePtr ns, const v1::StatRequest* q,
                                         v1::StatResponse* a);
  awaitable<grpc::Status> remove_when_idle(NamespacePtr ns, const v1::DeleteObjectRequest* q,
                                           v1::DeleteObjectResponse* a);
  awaitable<grpc::Status> list_page(Context* c, NamespacePtr ns, const v1::ListRequest* q,
                                    v1::ListResponse* a);
  awaitable<grpc::Status> copy_bytes(Context* c, Caller by, const v1::CopyRequest* q,
                                     v1::CopyResponse* a);
};

}  // namespace cairn::rpc
