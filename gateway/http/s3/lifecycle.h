// The lifecycle of a bucket as S3's documents and headers have it (objects/lifecycle.h).
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// Rules without an id get one. InvalidRequest, InvalidArgument, MalformedXML; NotImplemented: other
// storage classes.
Error parse_lifecycle(const std::string& xml, int64_t day_ms, std::vector<LifecycleRule>& rules);
// x-amz-expiration, if a rule takes what is current.
void say_expiration(Call& call, std::string_view key, const objects::Info& info);
void say_expiration(Call& call, std::string_view key, const ObjectMeta& meta, uint64_t size);
// x-amz-abort-date and x-amz-abort-rule-id, if a rule aborts this upload of the key of the call.
void say_abort(Call& call, int64_t started_ms);

}  // namespace cairn::s3
