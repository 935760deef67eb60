// Quotas as doors set and tell them (core/store/quota.h): of a bucket or a database by its name,
// and for which user it counts; of a user by his.
//
// Threads: any. An answer about what was set waits for the LSN; of what is told, for `rests_on`.
// Errors: NotFound (no such bucket, database or user), InvalidArgument (root has no quota).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/store/keyspace.h"
#include "core/store/users.h"

namespace cairn {

struct QuotaReport {
  Quota quota;
  Usage usage;
  std::string user;  // of a namespace: for whom it counts; empty: nobody, or he is gone
  Lsn rests_on;
};

StatusOr<QuotaReport> quota_of_namespace(const Keyspace& keyspace, const Users& users,
                                         std::string_view name);
StatusOr<QuotaReport> quota_of_user(const Keyspace& keyspace, const Users& users,
                                    std::string_view name);
// `user`: for whom it counts from now on; empty: for nobody; nothing: that stays. Takes all
// stripes.
StatusOr<Lsn> set_quota_of_namespace(Keyspace& keyspace, const Users& users, std::string_view name,
                                     const Quota& quota, std::optional<std::string_view> user);
StatusOr<Lsn> set_quota_of_user(Users& users, std::string_view name, const Quota& quota);

// For whom a bucket counts that `maker` makes: the id of the user, or nothing, if it is root or a
// role.
std::string charged_for(const Users& users, const Principal& maker);

}  // namespace cairn
