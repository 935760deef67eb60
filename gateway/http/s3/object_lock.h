// Object lock as S3's requests and answers have it (core/store/version_lock.h): headers of what is
// written and read, and the bypass of governance.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// What a request that writes an object honours of it.
#define CAIRN_S3_LOCKS \
  "x-amz-object-lock-mode x-amz-object-lock-retain-until-date x-amz-object-lock-legal-hold "

// How x-amz-object-lock-* of a request that writes an object wants the version locked.
// AccessDenied: who may not lock; InvalidRequest: the bucket has no object lock.
Error lock_of(const Call& call, VersionLock& lock);
// Whether a body came with a digest of its own: Content-MD5, or a checksum in a header or trailer.
bool is_checked(const http::Request& request);
// InvalidRequest: the body is to be locked, by `lock` or the bucket's default, and is not checked.
Error check_locked_body(const Call& call, const VersionLock& lock);
// In an upload that is begun, and in one whose parts come.
void put_lock(ObjectMeta& upload, const VersionLock& lock);
Error check_locked_part(const Call& call, const ObjectMeta& upload);
// Of a GET or HEAD; what the caller may not ask for is left out.
void set_lock_headers(Call& call, const VersionLock& lock);
// Whether the request wants governance passed over, and its caller may do that to this key.
bool bypasses_governance(const Call& call, std::string_view key);
// CreateBucket: whether the bucket is to have object lock, which takes rights of its own.
Error wants_object_lock(const Call& call, bool& wanted);

}  // namespace cairn::s3
