#include "gateway/grpc/method.h"

namespace cairn::rpc {

grpc::Status Service::check(Context& context, Caller& by, bool whole) const {
  grpc::Status status =
      whom_ == For::kEverybody ? admit_anybody(context, shared_, by) : admit(context, shared_, by);
  if (status.ok() && !whole)
    status = bad_argument("the request is not the message that it should be");
  return status;
}

void Service::add(const char* path, Action action, grpc::internal::RpcMethod::RpcType type,
                  grpc::internal::MethodHandler* handler) {
  AddMethod(new grpc::internal::RpcServiceMethod(path, type, nullptr));
  MarkMethodCallback(static_cast<int>(rows_.size()), handler);
  rows_.push_back({path, action});
}

}  // namespace cairn::rpc
