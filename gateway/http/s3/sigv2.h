// AWS Signature Version 2, by header and by URL, which clients of old make, and today's for URLs of
// us-east-1. Source: "Signing and authenticating REST requests (AWS signature version 2)" of the
// Amazon S3 user guide.
//
// It covers the method, the path, headers x-amz-*, Content-MD5, Content-Type and the date, and of
// the query what that guide lists. What else a query has may not choose an operation: a
// request is refused that has more than what narrows a listing. The host and the body are not
// covered, unless by Content-MD5.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/sigv4.h"

namespace cairn::s3 {

// Whether a request claims to be signed in this way.
bool is_version2(const http::Request& request);
// The access key that it names; empty: none.
std::string_view key_of_version2(const http::Request& request);
// `host_bucket`: the one that the host names, which the signature has in front of the path.
Error authenticate_version2(const Users& users, const http::Request& request,
                            std::string_view host_bucket, int64_t now_ms, Authenticated& out);

}  // namespace cairn::s3
