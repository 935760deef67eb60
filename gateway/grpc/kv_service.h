// cairn.v1.KeyValue over the store. Threads: gRPC's, any number at once.
#pragma once

#include "cairn/v1/kv.pb.h"
#include "gateway/grpc/method.h"

namespace cairn::rpc {

class KeyValueService final : public Service {
 public:
  explicit KeyValueService(const Shared& shared);

 private:
  Unary* get(Context* c, const Caller& by, const v1::GetRequest* q, v1::GetResponse* a);
  Unary* put(Context* c, const Caller& by, const v1::PutRequest* q, v1::PutResponse* a);
  Unary* remove(Context* c, const Caller& by, const v1::DeleteRequest* q, v1::DeleteResponse* a);
  Unary* batch_get(Context* c, const Caller& by, const v1::BatchGetRequest* q,
                   v1::BatchGetResponse* a);
  Unary* txn(Context* c, const Caller& by, const v1::TxnRequest* q, v1::TxnResponse* a);
  Unary* scan(Context* c, const Caller& by, const v1::ScanRequest* q, v1::ScanResponse* a);

  grpc::Status publish(const Caller& by, const v1::PutRequest& q, RecordView record,
                       v1::PutResponse& a, Lsn& lsn);
  awaitable<grpc::Status> get_from_disk(Context* c, NamespacePtr ns, const v1::GetRequest* q,
                                        v1::GetResponse* a);
  awaitable<grpc::Status> put_when_idle(Caller by, const v1::PutRequest* q, v1::PutResponse* a);
  grpc::Status remove_now(const Caller& by, const v1::DeleteRequest& q, v1::DeleteResponse& a,
                          Lsn& lsn);
  awaitable<grpc::Status> remove_when_idle(Caller by, const v1::DeleteRequest* q,
                                           v1::DeleteResponse* a);
  awaitable<grpc::Status> put_large(Context* c, Caller by, const v1::PutRequest* q,
                                    v1::PutResponse* a);
  awaitable<grpc::Status> scan_from_disk(Context* c, NamespacePtr ns, const v1::ScanRequest* q,
                                         v1::ScanResponse* a);
};

}  // namespace cairn::rpc
