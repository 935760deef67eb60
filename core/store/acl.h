// Access control lists of buckets and objects, as S3 has them: who may do which of a few things.
//
//   acl   = u8 count  grant*
//   grant = u8 whom  u8 permission  [64 bytes: a canonical id]      the id of kUser alone
//
// All that is in a store belongs to its account, whose root may do all: a grant to the owner says
// what is so anyway, and is kept to be shown. Where there is no list, that grant is all of it.
// A list counts where the bucket's ownership lets it (core/store/properties.h).
//
// Threads: constant once made; any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/policy.h"

namespace cairn {

// On disk: never renumber. Permission is a set.
enum class Whom : uint8_t {
  kOwner = 1,
  kUser = 2,
  kEverybody = 3,      // S3's group AllUsers: who has not said who he is too
  kAuthenticated = 4,  // AuthenticatedUsers: every user of this store
  kLogDelivery = 5,    // who writes access logs; no caller is one
};
enum class Permission : uint8_t {
  kRead = 1,
  kWrite = 2,
  kReadAcp = 4,
  kWriteAcp = 8,
  kFullControl = 15,
};

struct Grant {
  Whom whom = Whom::kOwner;
  Permission permission = Permission::kFullControl;
  std::string user = {};  // of kUser: the canonical id
  bool is_public() const { return whom == Whom::kEverybody || whom == Whom::kAuthenticated; }
  bool operator==(const Grant&) const = default;
};

struct Acl {
  static constexpr size_t kGrantsMax = 100;  // as S3
  std::vector<Grant> grants = {Grant{}};     // one of each
  bool operator==(const Acl&) const = default;

  bool is_default() const { return *this == Acl{}; }
  bool is_public() const;
  std::string encode() const;
  static std::optional<Acl> decode(std::string_view bytes);

  // Of an object: whether the caller has what the S3 action of this number takes, as an object's
  // list can grant it. `without_public`: grants to groups do not count.
  bool grants_object(int s3_action, const policy::Caller& caller, bool without_public) const;
  // Of the bucket of this name: the same as a policy, which holds at every door.
  policy::Policy of_bucket(std::string_view bucket, bool without_public) const;
};

}  // namespace cairn
