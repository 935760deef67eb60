// PUT at a write offset, which is the object's end, as S3 has it in its directory buckets.
#include "objects/append.h"

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/http/s3/acl.h"
#include "gateway/http/s3/encryption.h"
#include "gateway/http/s3/metadata.h"
#include "gateway/http/s3/object_lock.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

awaitable<Error> append_object(Call& c, uint64_t offset) {
  ObjectMeta fresh;
  if (Error e = meta_of(c, fresh)) co_return e;
  if (Error e = tags_of(c, fresh.tags)) co_return e;
  if (Error e = acl_for_object(c, fresh)) co_return e;
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  std::optional<int64_t> ttl_ms;
  if (Error e = ttl_of(c, ttl_ms)) co_return e;
  VersionLock lock;
  if (Error e = lock_of(c, lock)) co_return e;
  if (Error e = check_locked_body(c, lock)) co_return e;
  objects::EncryptionWish wish;
  if (Error e = encryption_of(c, wish)) co_return e;
  objects::Append append(c.store, *c.bucket, c.key, offset, announced(c));
  Status begun = co_await append.begin(conditions, wish);
  if (!begun.ok()) co_return error_of(begun);
  if (append.before() != nullptr && says_encryption(c.request)) {
    const auto is = objects::Encryption::decode(append.before()->meta.encryption);
    if (!is || is->mode != wish.mode) {
      co_return Error{"InvalidRequest", "The object is encrypted in another way.",
                      append.before()->seen};
    }
  }
  const Lsn seen = append.before() == nullptr ? Lsn() : append.before()->seen;
  if (append.before() != nullptr &&
      (!fresh.user.empty() || !fresh.tags.empty() || !acl_of(fresh).is_default())) {
    co_return Error{"InvalidRequest",
                    "Cannot specify both a write offset value and user-defined object metadata for "
                    "existing objects.",
                    seen};
  }
  if (Error e = co_await receive(c, append.upload(), fresh.checksums)) co_return e;
  if (append.upload().size() == offset) {
    co_return Error{"InvalidRequest",
                    "Request body cannot be empty when 'write offset' is specified.", seen};
  }
  const std::string known = append.algorithm();
  if (!known.empty() && !fresh.checksums.empty() && !fresh.checksums.contains(known)) {
    co_return Error{"InvalidRequest",
                    cat("Checksum Type mismatch occurred, expected checksum Type: ", known,
                        ", actual checksum Type: ", fresh.checksums.begin()->first),
                    seen};
  }
  if (Error e = co_await until_idle(c, c.key)) co_return e;
  std::optional<int64_t> expire_ms;  // what is there keeps its own
  if (ttl_ms || append.before() == nullptr) expire_ms = expiry_after(c, ttl_ms);
  auto put = append.put(std::move(fresh), expire_ms, lock);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  answer_put(c, *put, append.meta(), append.upload());
  c.response.set("x-amz-object-size", append.upload().size());
  co_return Error{};
}

}  // namespace cairn::s3
