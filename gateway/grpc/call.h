// What the three services share: credentials, errors, and the two ways to finish a call.
//
// Threads: any.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <optional>

#include "cairn/v1/common.pb.h"
#include "core/store.h"
#include "core/users.h"
#include "objects/object.h"

namespace cairn::rpc {

struct Shared {
  Store& store;
  const Users& users;
};

// UNAUTHENTICATED unless the call carries good credentials.
grpc::Status authorize(const grpc::CallbackServerContext& context, const Users& users);

grpc::Status error(grpc::StatusCode code, std::string_view reason, std::string_view message,
                   const v1::Key* key = nullptr);
// The one table from the store's errors to gRPC's.
grpc::Status error_of(const Status& status, const v1::Key* key = nullptr);

// The namespace a key names, with the key checked; sets `error` if it will not do.
NamespacePtr find_namespace(Store& store, const v1::Key& key, grpc::Status& error);
// FAILED_PRECONDITION unless the condition holds for what is there.
grpc::Status check(const v1::Condition& condition, const Entry* entry, const v1::Key& key);
// Unix milliseconds, 0 for none; sets `error` if both ways are used or the time is past.
int64_t expiry_of(Store& store, int64_t ttl_ms, int64_t at_ms, grpc::Status& error);

// Finishes when what the answer, good or bad, rests on is durable.
grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, Store& store,
                                 grpc::Status status, Lsn rests_on = Lsn());
// Runs the rest of a call on an I/O loop; `finish` gets INTERNAL if an exception leaves it.
void spawn_to_end(Store& store, awaitable<grpc::Status> work,
                  std::function<void(const grpc::Status&)> finish);
grpc::ServerUnaryReactor* spawn(grpc::CallbackServerContext* context, Store& store,
                                awaitable<grpc::Status> work);
awaitable<grpc::Status> settled(Store& store, Lsn lsn);
// The error for a status of an operation on a key, once what it rests on is durable.
awaitable<grpc::Status> refused(Store& store, const Status& status, const v1::Key& key);

}  // namespace cairn::rpc
