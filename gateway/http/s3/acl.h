// Access control lists (core/store/acl.h) as S3's headers and bodies have them.
//
// They count in buckets whose ownership is not BucketOwnerEnforced; in all others a write may say
// "private" or "bucket-owner-full-control", which is so, and nothing else.
//
// Threads: any.
#pragma once

#include "core/store/acl.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// Of an object, beside its bytes.
Acl acl_of(const ObjectMeta& meta);
void set_acl(ObjectMeta& meta, const Acl& acl);

enum class AclOf : uint8_t { kBucket, kObject };
// What x-amz-acl or x-amz-grant-* of a request say; nothing: it has none of them.
Error acl_in_headers(const http::Request& request, const Users& users, AclOf what,
                     std::optional<Acl>& acl);
// The body of PutBucketAcl and PutObjectAcl.
Error parse_acl(const std::string& xml, const Users& users, Acl& acl);

// Puts what the headers of a write ask for into the metadata of the object that it makes, which has
// no other list than that. AccessDenied; AccessControlListNotSupported.
Error acl_for_object(const Call& call, ObjectMeta& meta);
// What CreateBucket asks for: a list, and an ownership.
Error access_for_bucket(const Call& call, Properties& set);

#define CAIRN_S3_GRANTS \
  "x-amz-acl x-amz-grant-read x-amz-grant-read-acp x-amz-grant-write-acp x-amz-grant-full-control"

}  // namespace cairn::s3
