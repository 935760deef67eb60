// What a bucket's other settings are as long as nobody can set them: S3's own answers for what is
// not set. Setting them is not implemented (carried.h).
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

// The error for what has no default.
struct Unset {
  std::string_view subresource, code;
};
constexpr Unset kUnset[] = {
    {"replication", "ReplicationConfigurationNotFoundError"},
};

awaitable<Error> get_unset(Call& c) {
  for (auto& [subresource, code] : kUnset) {
    if (subresource == c.row->subresource) co_return not_set(c, code);
  }
  co_return Error{"InternalError", ""};
}

awaitable<Error> get_accelerate(Call& c) {
  reply_xml(c, XmlOut("AccelerateConfiguration"));
  co_return Error{};
}

constexpr Action get(std::string_view name) { return {action::kDoor, name, Access::kRead}; }
constexpr Row of_bucket(std::string_view operation, std::string_view action,
                        std::string_view subresource, Operation run = get_unset) {
  return {operation, get(action), "GET", Scope::kBucket, subresource, "", run, "", ""};
}
constexpr Row kRows[] = {
    of_bucket("GetBucketAccelerateConfiguration", "GetAccelerateConfiguration", "accelerate",
              get_accelerate),
    of_bucket("GetBucketReplication", "GetReplicationConfiguration", "replication"),
};

}  // namespace

std::span<const Row> settings_rows() { return kRows; }

}  // namespace cairn::s3
