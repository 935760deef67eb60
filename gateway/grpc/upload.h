// The two streams of cairn.v1.Objects: each a coroutine on an I/O loop, one message in flight.
//
// Threads: any. What these functions return deletes itself when its call is over.
#pragma once

#include "cairn/v1/objects.pb.h"
#include "gateway/grpc/method.h"

namespace cairn::rpc {

void fill(const objects::Info& info, const v1::Key& key, v1::ObjectInfo* out);

grpc::ServerReadReactor<Parsed<v1::UploadRequest>>* start_upload(const Shared& shared,
                                                                 const Caller& by, Context* context,
                                                                 v1::UploadResponse* answer);
grpc::ServerWriteReactor<v1::DownloadResponse>* start_download(const Shared& shared,
                                                               const Caller& by, Context* context,
                                                               const v1::DownloadRequest* request);

}  // namespace cairn::rpc
