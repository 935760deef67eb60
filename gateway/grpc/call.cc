#include "gateway/grpc/call.h"

#include <spdlog/spdlog.h>

#include "core/async.h"
#include "core/errors.h"
#include "core/text.h"
#include "objects/digest.h"

namespace cairn::rpc {

grpc::Status authorize(const grpc::CallbackServerContext& context, const Users& users) {
  auto& metadata = context.client_metadata();
  auto it = metadata.find("authorization");
  if (it != metadata.end()) {
    std::string_view value(it->second.data(), it->second.size());
    size_t blank = value.find(' ');
    std::string_view scheme = value.substr(0, blank);
    std::string_view token = blank == value.npos ? "" : value.substr(blank + 1);
    if (equals_ignoring_case(scheme, "bearer") && users.check_default(token)) return {};
    if (equals_ignoring_case(scheme, "basic")) {
      auto pair = objects::base64_decode(token);
      size_t colon = pair ? pair->find(':') : std::string::npos;
      if (pair && colon != pair->npos &&
          users.check(std::string_view(*pair).substr(0, colon),
                      std::string_view(*pair).substr(colon + 1))) {
        return {};
      }
    }
  }
  return error(grpc::UNAUTHENTICATED, "UNAUTHENTICATED",
               "send the metadata authorization: Bearer PASSWORD or Basic base64(USER:PASSWORD)");
}

grpc::Status error(grpc::StatusCode code, std::string_view reason, std::string_view message,
                   const v1::Key* key) {
  v1::ErrorDetail detail;
  detail.set_reason(std::string(reason));
  if (key != nullptr) {
    detail.set_namespace_(key->namespace_());
    detail.set_key(key->key());
  }
  v1::ErrorStatus status;
  status.set_code(code);
  status.set_message(std::string(message));
  status.add_details()->PackFrom(detail);
  return {code, std::string(message), status.SerializeAsString()};
}

grpc::Status error_of(const Status& status, const v1::Key* key) {
  std::string text(status.message());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return {};
    case absl::StatusCode::kNotFound:
      return error(grpc::NOT_FOUND, "NO_SUCH_KEY", text, key);
    case absl::StatusCode::kFailedPrecondition:
      if (is_wrong_type(status)) return error(grpc::FAILED_PRECONDITION, "WRONG_TYPE", text, key);
      return error(grpc::FAILED_PRECONDITION, "CONDITION_FAILED", text, key);
    case absl::StatusCode::kOutOfRange:
      return error(grpc::OUT_OF_RANGE, "BAD_ARGUMENT", text, key);
    case absl::StatusCode::kInvalidArgument:
      return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", text, key);
    case absl::StatusCode::kAlreadyExists:
      return error(grpc::ALREADY_EXISTS, "CONDITION_FAILED", text, key);
    case absl::StatusCode::kResourceExhausted:
      return error(grpc::RESOURCE_EXHAUSTED,
                   is_disk_full(status)       ? "DISK_FULL"
                   : is_out_of_memory(status) ? "OUT_OF_MEMORY"
                                              : "TOO_LARGE",
                   text, key);
    case absl::StatusCode::kUnavailable:
      return error(grpc::UNAVAILABLE, "READ_ONLY", text, key);
    case absl::StatusCode::kDataLoss:
      return error(grpc::DATA_LOSS, "DAMAGED", text, key);
    case absl::StatusCode::kCancelled:
      return error(grpc::CANCELLED, "CANCELLED", text, key);
    default:
      return error(grpc::INTERNAL, "INTERNAL", text, key);
  }
}

NamespacePtr find_namespace(Store& store, const v1::Key& key, grpc::Status& status) {
  if (key.key().empty() || key.key().size() > kKeyBytesMax) {
    status = error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "a key has 1 to 65535 bytes", &key);
    return nullptr;
  }
  NamespacePtr ns = store.find_namespace(key.namespace_().empty() ? "db0" : key.namespace_());
  if (ns == nullptr) {
    status = error(grpc::NOT_FOUND, "NO_SUCH_NAMESPACE", "no such namespace", &key);
  }
  return ns;
}

grpc::Status check(const v1::Condition& c, const Entry* e, const v1::Key& key) {
  bool holds = (!c.has_version() || (e != nullptr && e->version().value() == c.version())) &&
               (!c.has_exists() || c.exists() == (e != nullptr));
  if (holds) return {};
  return error(grpc::FAILED_PRECONDITION, "CONDITION_FAILED", "a condition did not hold", &key);
}

int64_t expiry_of(Store& store, int64_t ttl_ms, int64_t at_ms, grpc::Status& status) {
  if (ttl_ms == 0 && at_ms == 0) return 0;
  int64_t at = at_ms;
  bool bad = ttl_ms < 0 || at_ms < 0 || (ttl_ms != 0 && at_ms != 0);
  if (ttl_ms != 0) bad |= __builtin_add_overflow(ttl_ms, store.now_ms(), &at);
  if (bad) {
    status = error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT",
                   "set one of ttl_ms and expires_at_ms, and not below zero");
    return 0;
  }
  return at;
}

grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, Store& store,
                                 grpc::Status status, Lsn rests_on) {
  auto* reactor = context->DefaultReactor();
  if (!rests_on.valid() || store.log().is_durable(rests_on)) {
    reactor->Finish(status);
  } else {
    store.log().when_durable(rests_on, store.any_executor(),
                             [reactor, status = std::move(status)](const Status& s) {
                               reactor->Finish(s.ok() ? status : error_of(s));
                             });
  }
  return reactor;
}

void spawn_to_end(Store& store, awaitable<grpc::Status> work,
                  std::function<void(const grpc::Status&)> finish) {
  cairn::spawn(store.any_executor(), "a gRPC call", std::move(work), finish,
               [finish](const Status& failure) {
                 spdlog::error("{}", std::string(failure.message()));
                 finish(error(grpc::INTERNAL, "INTERNAL", "unexpected"));
               });
}

grpc::ServerUnaryReactor* spawn(grpc::CallbackServerContext* context, Store& store,
                                awaitable<grpc::Status> work) {
  auto* reactor = context->DefaultReactor();
  spawn_to_end(store, std::move(work),
               [reactor](const grpc::Status& status) { reactor->Finish(status); });
  return reactor;
}

awaitable<grpc::Status> refused(Store& store, const Status& status, const v1::Key& key) {
  grpc::Status durable = co_await settled(store, rests_on(status));
  if (!durable.ok()) co_return durable;
  co_return error_of(status, &key);
}

awaitable<grpc::Status> settled(Store& store, Lsn lsn) {
  if (!lsn.valid()) co_return grpc::Status();
  Status durable = co_await store.log().wait_durable(lsn);
  co_return error_of(durable);
}

}  // namespace cairn::rpc
