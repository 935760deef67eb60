// cairn.v1.Objects over the store. Streams run as coroutines on an I/O loop, one message in flight
// each way. Threads: gRPC's, any number at once.
#pragma once

#include "cairn/v1/objects.grpc.pb.h"
#include "gateway/grpc/call.h"

namespace cairn::rpc {

class ObjectsService final : public v1::Objects::CallbackService {
 public:
  explicit ObjectsService(Shared shared) : shared_(shared), store_(shared.store) {}
  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  grpc::ServerReadReactor<v1::UploadRequest>* Upload(Context* c, v1::UploadResponse* a) override;
  grpc::ServerWriteReactor<v1::DownloadResponse>* Download(Context* c,
                                                           const v1::DownloadRequest* q) override;
  Unary* Stat(Context* c, const v1::StatRequest* q, v1::StatResponse* a) override;
  Unary* List(Context* c, const v1::ListRequest* q, v1::ListResponse* a) override;
  Unary* Copy(Context* c, const v1::CopyRequest* q, v1::CopyResponse* a) override;
  Unary* Delete(Context* c, const v1::DeleteObjectRequest* q, v1::DeleteObjectResponse* a) override;
  Unary* CreateBucket(Context* c, const v1::CreateBucketRequest* q,
                      v1::CreateBucketResponse* a) override;
  Unary* DeleteBucket(Context* c, const v1::DeleteBucketRequest* q,
                      v1::DeleteBucketResponse* a) override;
  Unary* ListBuckets(Context* c, const v1::ListBucketsRequest* q,
                     v1::ListBucketsResponse* a) override;

 private:
  awaitable<grpc::Status> list(NamespacePtr ns, const v1::ListRequest* q, v1::ListResponse* a);

  Shared shared_;
  Store& store_;
};

}  // namespace cairn::rpc
