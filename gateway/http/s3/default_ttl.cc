// For how long the objects of a bucket stay that say nothing themselves: GET, PUT and DELETE of
// BUCKET?cairn-ttl, a number of seconds in x-cairn-ttl as each object may have one. An expiry is a
// matter of the bucket's lifecycle, and so is the right to change it.
#include "core/base/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

awaitable<Error> get_ttl(Call& c) {
  const int64_t seconds = c.bucket->default_ttl_s();
  if (seconds == 0) co_return not_set(c, "NoSuchLifecycleConfiguration");
  c.response.set("x-cairn-ttl", seconds);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> set_ttl(Call& c, int64_t seconds) {
  if (c.bucket->default_ttl_s() == seconds) co_return co_await settle(c, c.store.newest_name());
  auto lsn =
      c.store.change_properties(*c.bucket, [=](Properties& p) { p.default_ttl_s = seconds; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> put_ttl(Call& c) {
  std::optional<int64_t> ttl_ms;
  if (Error e = ttl_of(c, ttl_ms)) co_return e;
  if (!ttl_ms) co_return Error{"InvalidArgument", "x-cairn-ttl is missing"};
  co_return co_await set_ttl(c, *ttl_ms / 1000);
}

awaitable<Error> delete_ttl(Call& c) {
  c.response.status = 204;
  co_return co_await set_ttl(c, 0);
}

constexpr std::string_view kSubresource = "cairn-ttl";
constexpr Action kGet{action::kDoor, "GetLifecycleConfiguration", Access::kRead};
constexpr Action kPut{action::kDoor, "PutLifecycleConfiguration", Access::kWrite};
constexpr Row kRows[] = {
    {"GetBucketDefaultTtl", kGet, "GET", Scope::kBucket, kSubresource, "", get_ttl, "", ""},
    {"PutBucketDefaultTtl", kPut, "PUT", Scope::kBucket, kSubresource, "", put_ttl, "x-cairn-ttl",
     ""},
    {"DeleteBucketDefaultTtl", kPut, "DELETE", Scope::kBucket, kSubresource, "", delete_ttl, "",
     ""},
};

}  // namespace

std::span<const Row> default_ttl_rows() { return kRows; }

}  // namespace cairn::s3
