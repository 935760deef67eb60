// Who is known to the store, as its records have it: users, groups, policies that have a name, and
// access keys. They are records of the system namespace without a value, their contents in the meta
// part, which never leaves memory:
//
//   "a/u/" NAME   a user        "a/g/" NAME   a group       NAME in lower case, as IAM tells
//   "a/p/" NAME   a policy      "a/k/" ID     a key         names apart
//
//   contents = u8 1  field*     field = u8 tag  u32 size  bytes
//
// A tag that is not known is of a later version's making. Such a record, like any that cannot be
// read, is kept, not written over, and denies.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/policy.h"
#include "core/store/quota.h"

namespace cairn {

using PolicyPtr = std::shared_ptr<const policy::Policy>;  // as users.h has it

// A policy and what it was made of. `compiled` is null where the text is none (any more): whom it
// is about may do nothing.
struct PolicyText {
  std::string text;
  PolicyPtr compiled;
  static PolicyText of(std::string text);
};

// What users and groups have in common.
struct Subject {
  std::string id;  // never used again
  std::string name, path = "/";
  int64_t created_ms = 0;
  std::vector<std::string> attached;          // ids of policies
  std::map<std::string, PolicyText> inlined;  // by name
};

// What RESP's ACL says of a user, in its notation. Passwords are kept as what Redis takes and
// prints, their SHA-256.
struct AclRecord {
  bool on = false;
  bool nopass = false;  // any password is right
                        // Told to who asks: every payload is checked.
  bool skips_sanitizing = false, sanitizes = false;
  // Of the user "default": his passwords are those that the server was started with, beside these.
  bool as_started = false;
  std::vector<std::string> hashes;  // in hexadecimal digits
  // What he may, as ACL LIST prints it: "~a* &* -@all +get (%R~b* -@all +@read)".
  std::string rules;
};

struct UserRecord : Subject {
  std::vector<std::string> groups;  // ids
  std::string password;             // its hash (sealing.h); empty: there is none
  int64_t password_ms = 0;          // when it was set
  std::optional<AclRecord> acl;
  Quota quota;  // of all that counts for him
};

struct GroupRecord : Subject {};

struct PolicyRecord {
  std::string id, name, path = "/", description;
  int64_t created_ms = 0, updated_ms = 0;
  int64_t version = 1;  // only the newest is kept
  PolicyText text;
};

struct KeyRecord {
  std::string id;      // what requests name
  std::string user;    // the id of whom it belongs to
  std::string sealed;  // the secret, of "key:ID"
  bool enabled = true;
  int64_t created_ms = 0;
  int64_t expires_ms = 0;              // Unix time; 0: never
  std::optional<PolicyText> boundary;  // at most this may be done with it
};

inline constexpr std::string_view kUserPrefix = "a/u/", kGroupPrefix = "a/g/",
                                  kPolicyPrefix = "a/p/", kKeyPrefix = "a/k/", kUsersPrefix = "a/";

std::string encode(const UserRecord& r);
std::string encode(const GroupRecord& r);
std::string encode(const PolicyRecord& r);
std::string encode(const KeyRecord& r);
// False: it cannot be read.
[[nodiscard]] bool decode(std::string_view bytes, UserRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, GroupRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, PolicyRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, KeyRecord& to);

}  // namespace cairn
