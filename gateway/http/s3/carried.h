// What a request carries: everything is honoured, or the request is refused. A condition, a key, a
// lock or a right that were overlooked would be served without it.
//
// Each row of the operation table names the headers and query parameters that it honours. Governed
// are all headers that S3 or RFC 9110 give a meaning that changes what is done: x-amz-*, x-cairn-*,
// if-*, content-range. Some are harmless anywhere; some are honoured with the one value that is
// true of Cairn. Other headers are for those in between, or say what Cairn ignores by their
// definition.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// Of a presigned URL: the headers that its query carries in their place become headers: x-amz-*, as
// AWS's SDK for JavaScript makes it, Content-MD5 and Content-Type, as its version 2 and botocore
// do. A checksum among them is passed over, as S3 does: that SDK puts the one of an empty body
// there before there is a body (aws-sdk-js-v3 #6994). InvalidRequest: the request has such a header
// with another value.
Error take_hoisted(http::Request& request);
// Whether a header of this name, in lower case, is honoured or refused.
bool governed(std::string_view name);
// The first thing that `row` does not honour, as S3's error: NotImplemented mostly.
Error check_carried(const Row& row, const Call& call);
// For a request that no row serves: what it asks for.
Error absent(const Call& call);

}  // namespace cairn::s3
