// Objects.GetBatch: many objects in one stream, one message in flight.
//
// Threads: any. What it returns deletes itself when its call is over.
#pragma once

#include "cairn/v1/objects.pb.h"
#include "gateway/grpc/method.h"

namespace cairn::rpc {

grpc::ServerWriteReactor<v1::GetBatchResponse>* start_batch(const Shared& shared, const Caller& by,
                                                            Context* context,
                                                            const v1::GetBatchRequest* request);

}  // namespace cairn::rpc
