// Who is known to the store, as its records have it: users, groups, roles, policies that have a
// name, access keys, and OpenID Connect providers. They are records of the system namespace without
// a value, their contents in the meta part, which never leaves memory:
//
//   "a/u/" NAME   a user        "a/g/" NAME   a group       NAME in lower case, as IAM tells
//   "a/p/" NAME   a policy      "a/k/" ID     a key         names apart
//   "a/r/" NAME   a role        "a/o/" URL    who identifies others' users, without its scheme
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
  static PolicyText of_trust(std::string text);
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

// Who is nobody himself: others become it for a while, whom `trust` names.
struct RoleRecord : Subject {
  std::string description;
  PolicyText trust;  // its principals by their unique ids
  int64_t max_session_s = 3600;
};

// Who says who somebody is, in tokens of OpenID Connect.
struct ProviderRecord {
  std::string id;
  std::string name;                                  // its URL without the scheme
  bool plain = false;                                // that is http, not https
  std::vector<std::string> client_ids, thumbprints;  // thumbprints: SHA-1 in hexadecimal digits
  int64_t created_ms = 0;
};

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
                                  kPolicyPrefix = "a/p/", kKeyPrefix = "a/k/", kRolePrefix = "a/r/",
                                  kProviderPrefix = "a/o/", kUsersPrefix = "a/";

std::string encode(const UserRecord& r);
std::string encode(const GroupRecord& r);
std::string encode(const PolicyRecord& r);
std::string encode(const KeyRecord& r);
std::string encode(const RoleRecord& r);
std::string encode(const ProviderRecord& r);
// False: it cannot be read.
[[nodiscard]] bool decode(std::string_view bytes, UserRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, GroupRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, PolicyRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, KeyRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, RoleRecord& to);
[[nodiscard]] bool decode(std::string_view bytes, ProviderRecord& to);

}  // namespace cairn
