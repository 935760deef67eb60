// cairn.v1.KeyValue over the store. Threads: gRPC's, any number at once.
#pragma once

#include "cairn/v1/kv.grpc.pb.h"
#include "gateway/grpc/call.h"

namespace cairn::rpc {

class KeyValueService final : public v1::KeyValue::CallbackService {
 public:
  explicit KeyValueService(Shared shared) : shared_(shared), store_(shared.store) {}
  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  Unary* Get(Context* c, const v1::GetRequest* q, v1::GetResponse* a) override;
  Unary* Put(Context* c, const v1::PutRequest* q, v1::PutResponse* a) override;
  Unary* Delete(Context* c, const v1::DeleteRequest* q, v1::DeleteResponse* a) override;
  Unary* BatchGet(Context* c, const v1::BatchGetRequest* q, v1::BatchGetResponse* a) override;
  Unary* Txn(Context* c, const v1::TxnRequest* q, v1::TxnResponse* a) override;
  Unary* Scan(Context* c, const v1::ScanRequest* q, v1::ScanResponse* a) override;

 private:
  grpc::Status publish(const v1::PutRequest& q, RecordView record, v1::PutResponse& a, Lsn& lsn);
  awaitable<grpc::Status> put_large(const v1::PutRequest* q, v1::PutResponse* a);
  awaitable<grpc::Status> get_all(const v1::BatchGetRequest* q, v1::BatchGetResponse* a);
  awaitable<grpc::Status> scan(NamespacePtr ns, const v1::ScanRequest* q, v1::ScanResponse* a);
  awaitable<grpc::Status> transact(const v1::TxnRequest* q, v1::TxnResponse* a);
  Shared shared_;
  Store& store_;
};

}  // namespace cairn::rpc
