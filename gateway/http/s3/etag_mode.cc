// What the ETags of a bucket's objects are made of: GET and PUT of BUCKET?cairn-etag, with md5 or
// fast in x-cairn-etag. MD5 is S3's own and most of what an upload costs. Fast is a CRC64NVME,
// which guards the bytes all the same but not against who makes them up; it has the form that
// clients do not take for an MD5. What is there keeps the ETag that it has.
#include "core/base/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

using objects::Algorithm;

Algorithm etag_algorithm(const Call& c) {
  const bool has_md5 = c.request.has_header("content-md5");  // which is known then anyway
  return c.bucket->properties()->fast_etags && !has_md5 ? Algorithm::kCrc64nvme : Algorithm::kMd5;
}

// The mode may have changed since the upload began.
std::string etag_digest(objects::Upload& upload) {
  const std::string md5 = upload.digest(Algorithm::kMd5);
  return objects::hex(md5.empty() ? upload.digest(Algorithm::kCrc64nvme) : md5);
}

std::string etag_of_upload(objects::Upload& upload) {
  constexpr size_t kMd5Digits = 32;
  const std::string digits = etag_digest(upload);
  return digits.size() == kMd5Digits ? digits : cat(digits, "-1");
}

namespace {

constexpr std::string_view kHeader = "x-cairn-etag";

awaitable<Error> get_etag(Call& c) {
  c.response.set(kHeader, c.bucket->properties()->fast_etags ? "fast" : "md5");
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> put_etag(Call& c) {
  const std::string_view mode = c.request.header(kHeader);
  if (mode != "fast" && mode != "md5") {
    co_return argument_invalid(kHeader, mode, "x-cairn-etag is md5 or fast");
  }
  auto lsn =
      c.store.change_properties(*c.bucket, [&](Properties& p) { p.fast_etags = mode == "fast"; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

// Who may make a bucket says what its ETags are.
constexpr Row kRows[] = {
    {"GetBucketEtag", action::kListBucket, "GET", Scope::kBucket, "cairn-etag", "", get_etag, "",
     ""},
    {"PutBucketEtag", action::kCreateBucket, "PUT", Scope::kBucket, "cairn-etag", "", put_etag,
     kHeader, ""},
};

}  // namespace

std::span<const Row> etag_rows() { return kRows; }

}  // namespace cairn::s3
