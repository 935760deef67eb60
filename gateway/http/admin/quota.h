// Quotas under /-/quota/: GET, PUT and DELETE of /-/quota/namespace/NAME, where NAME is a bucket or
// a database, and of /-/quota/user/NAME. Bodies are JSON:
//
//   PUT     {"bytes": 1000000, "keys": 100, "user": "ann"}     of a limit that is missing or null
//                                                              there is none; "user" null: it
//                                                              counts for nobody; missing: that
//                                                              stays, and a user's has none
//   answer  {"bytes": …, "keys": …, "user": …, "used_bytes": …, "used_keys": …}
//
// Credentials are those of the metrics: HTTP Basic or bearer. Rights are of their own, so that who
// may all in a bucket does not lift its quota.
//
// Threads: any.
#pragma once

#include <string_view>

#include "core/store/keyspace.h"
#include "core/store/users.h"
#include "gateway/http/message.h"

namespace cairn::admin {

inline constexpr Action kGetQuota{"admin", "GetQuota", Access::kAdmin};
inline constexpr Action kSetQuota{"admin", "SetQuota", Access::kAdmin};
inline constexpr std::string_view kQuotaPath = "/-/quota/";

// What a PUT says; InvalidArgument: it is none. A namespace's where `user` is not null, which gets
// the name, empty for nobody.
Status parse_quota(std::string_view text, Quota& quota, std::optional<std::string>* user);

// `who` was let in, and may what the method does.
awaitable<void> serve_quota(Keyspace& keyspace, Users& users, const http::Request& request,
                            http::Response& response);

}  // namespace cairn::admin
