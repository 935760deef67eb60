// Who may use the store, and what for. One table for every door: RESP's AUTH, S3's access keys,
// gRPC's credentials and IAM's calls name the same users.
//
// Credentials of a session (sessions.h) are an access key that lives for a while, with a token that
// says whose it is: nothing is kept of it. A door that has no place for the token takes it behind
// the secret, "SECRET:TOKEN".
//
// A request goes through it in two steps. authenticate() and the like say who sent it: a Principal,
// or null for nobody. authorize() says whether that one may do this to that key; every row of every
// door (RESP command, S3 operation, gRPC method) names its Action, and asks for each key that it
// will touch, before it touches any. What nobody allowed is denied.
//
// Root, whom the environment names, may do all and is in no record; what a bucket's policy denies
// him he may not do either, but for reading, replacing and deleting that policy. All others, their
// groups, keys and policies are records of the store (user_records.h). A principal is known by one
// object as long as he is: what he may changes within it, so that every connection of his sees it
// at once.
//
// Threads: any. change() takes the stripes of its records; no lock is held for a reader for longer
// than the copy of a pointer. Passwords of the table are checked on a thread of their own
// (authenticate_patiently), since that takes a tenth of a second; successes are remembered.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>
#include <openssl/crypto.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/store/bucket_access.h"
#include "core/store/policy.h"
#include "core/store/sealing.h"
#include "core/store/sessions.h"

namespace cairn {

class Audit;
class Draft;
class Keyspace;
class UserTable;
struct AclRecord;
struct Subject;
struct KeyRecord;
struct KnownUsers;
struct UserRecord;

inline bool equal_in_constant_time(std::string_view a, std::string_view b) {
  // The length of the secret shows; its bytes do not.
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// What is done to a key, or to a namespace where there is no key. A set of these.
enum class Access : uint8_t {
  kNone = 0,     // it touches nothing, and everybody may who is not denied it
  kRead = 1,     // its value, or anything about it
  kWrite = 2,    // its value or its expiry is changed or replaced
  kInsert = 4,   // it is made where there was none
  kDelete = 8,   //
  kAdmin = 16,   // the server itself: settings, other clients, shutdown
  kAll = 31,     //
  kList = 32,    // names of keys, or how many there are
  kByName = 64,  // something else that only the action's own name allows: messages, INFO
};
constexpr Access operator|(Access a, Access b) {
  return static_cast<Access>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr Access operator&(Access a, Access b) {
  return static_cast<Access>(static_cast<uint8_t>(a) & static_cast<uint8_t>(b));
}

// What a row does. The names are those of the protocol: {"resp", "getset"}, {"s3", "GetObject"}.
// Policies name it so, "resp:getset", or by what S3 calls that which it does to a key: reading is
// s3:GetObject, writing and inserting s3:PutObject, deleting s3:DeleteObject, listing
// s3:ListBucket.
struct Action {
  std::string_view door;
  std::string_view name;
  Access access = Access::kNone;
  // Where another door does one of S3's operations, the name of that; it stands for `access`.
  std::string_view s3 = {};
};

using PolicyPtr = std::shared_ptr<const policy::Policy>;

// What RESP's ACL lets a user do at that door, as it has compiled it (kv/engine/acl.h). Constant.
struct CommandRights {
  virtual ~CommandRights() = default;
};

// What one may. Constant.
struct Rights {
  // What the policies of principals with this name or in these groups say, and the boundary of an
  // access key, within which all is.
  std::vector<PolicyPtr> kept;
  std::vector<const policy::Policy*> policies;  // the same
  PolicyPtr boundary;
  // Of a session: at most what these allow together; empty: what its user or role may.
  std::vector<PolicyPtr> session;
  std::shared_ptr<const CommandRights> acl;  // null: none
  bool is_root = false;                      // he may all
  bool is_anybody = false;                   // he has not said who he is
  bool gone = false;                         // the user, or the key, was deleted
  bool nothing = false;    // whoever he is, he is not any more; or something of it cannot be read
  int64_t expires_ms = 0;  // Unix time; 0: never
  int64_t issued_ms = 0;   // of a session; else 0
  // A role has no name. `id` is the unique one, and of a role, behind a ':', the session's name.
  std::string name, id, arn, canonical_user;
  std::string session_arn;  // of a role's session: "arn:aws:sts::…:assumed-role/ROLE/SESSION"
  std::string provider;     // likewise, if one identified him: its ARN
  bool is_session() const { return issued_ms != 0; }
  bool is_bounded() const { return boundary != nullptr || !session.empty(); }
  const std::string& shown_arn() const { return session_arn.empty() ? arn : session_arn; }
  const Clock* clock = nullptr;

  void add(PolicyPtr policy);  // null: one that cannot be read
  // Whether they allow all, so that nothing need be asked.
  bool allow_all() const;
};

class Principal {
 public:
  // One that may do all. `buckets`: what buckets say of it; null: nothing, or consult() will tell.
  explicit Principal(std::string name) : name_(std::move(name)), all_(true) {}
  Principal(std::string name, std::shared_ptr<const Rights> rights,
            const BucketAccessTable* buckets = nullptr)
      : name_(std::move(name)), buckets_(buckets) {
    set_rights(std::move(rights));
  }
  void consult(const BucketAccessTable& buckets) {
    buckets_.store(&buckets, std::memory_order_release);
  }

  const std::string& name() const { return name_; }
  // Whether nothing need be asked: for paths on which a question costs.
  bool may_all() const {
    if (!all_.load(std::memory_order_relaxed)) return false;
    const BucketAccessTable* buckets = buckets_.load(std::memory_order_acquire);
    return buckets == nullptr || !buckets->any_denies();
  }
  // Whether any bucket says who may use it.
  bool may_be_in_buckets() const {
    const BucketAccessTable* buckets = buckets_.load(std::memory_order_acquire);
    return buckets != nullptr && buckets->any();
  }
  // What the bucket or database of this name says. Null: nothing.
  BucketAccessPtr access_of(std::string_view space) const {
    const BucketAccessTable* buckets = buckets_.load(std::memory_order_acquire);
    return buckets == nullptr || space.empty() ? nullptr : buckets->find(space);
  }
  // Null: he may all.
  std::shared_ptr<const Rights> rights() const {
    MutexLock lock(mutex_);
    return rights_;
  }
  void set_rights(std::shared_ptr<const Rights> rights) {
    const bool all = rights == nullptr || rights->allow_all();
    MutexLock lock(mutex_);
    all_.store(all, std::memory_order_relaxed);
    rights_.swap(rights);
  }

 private:
  friend class Users;
  const std::string name_;
  std::atomic<bool> all_{false};
  std::atomic<const BucketAccessTable*> buckets_{nullptr};
  mutable SmallMutex mutex_;
  std::shared_ptr<const Rights> rights_ ABSL_GUARDED_BY(mutex_);
  std::string verified_ ABSL_GUARDED_BY(mutex_);  // of the last password that was right
};
using PrincipalPtr = std::shared_ptr<const Principal>;

// What a door knows of a request beside who and what, for the conditions of policies.
struct Circumstances {
  std::string_view address = {};  // of the client; a port behind it is not looked at
  bool secure = false;            // it came over TLS
  // What it says itself, of the keys that no principal and no connection has; may be null.
  const policy::Context* request = nullptr;
  // Something else than a policy allows it, as an ACL does: only a Deny, or the boundary of a key,
  // refuses it.
  bool granted = false;
};

// Whether `principal` may do `action` to `key` of the namespace called `space`. Both empty: the
// action touches none. `key` alone empty: the namespace as a whole; what is done to the keys of it,
// and does not just list them, must be allowed for all of them, and denied for none.
[[nodiscard]] bool authorize(const Principal& principal, const Action& action,
                             std::string_view space = {}, std::string_view key = {},
                             const Circumstances& from = {});
// The same for what is no key: a user, a group, a policy.
[[nodiscard]] bool authorize(const Principal& principal, const Action& action,
                             const policy::Resource& resource, const Circumstances& from);

// Whether `principal` may assume the role by what that trusts and he may himself: who is trusted by
// his own name need not be allowed it by a policy, who is as one of the account has to.
[[nodiscard]] bool may_assume(const Principal& principal, const Action& action,
                              const policy::Policy& trust, std::string_view role_arn,
                              const Circumstances& from);
// Whether he may whom the provider of this ARN identified.
[[nodiscard]] bool may_assume(std::string_view provider, const Action& action,
                              const policy::Policy& trust, std::string_view role_arn,
                              const Circumstances& from);

// Whether it is one of the passwords that ACL knows.
bool is_acl_password(const AclRecord& acl, std::string_view password);

class Users {
 public:
  Users(std::string root_user, std::string root_password, bool configured);
  ~Users();
  Users(const Users&) = delete;

  // Records will be loaded: until then nobody but root is known, and nobody else is refused for it.
  void expect_records() { loading_ = true; }
  bool loading() const { return loading_.load(std::memory_order_acquire); }
  // What makes rights of AclRecord::rules; null of what it cannot read, and then the user may do
  // nothing. And who is told that rights have changed, on the thread that changed them. Both before
  // load().
  using CompileAcl = std::function<std::shared_ptr<const CommandRights>(std::string_view rules)>;
  void compile_acl_by(CompileAcl compile) { compile_acl_ = std::move(compile); }
  void when_changed(std::function<void()> tell) { tell_changed_ = std::move(tell); }
  // Reads the records, of a store that is open.
  void load(Keyspace& keyspace, const MasterKey& master, const Report& report);
  // Once loaded: FailedPrecondition, with what to do, where there are access keys that the master
  // key does not open. `repair`: they are deleted, and `report` names them.
  Status check_sealed(bool repair, const Report& report);
  // The names that actions of these doors have ("resp:get"), for policies that are set from now on:
  // one that names none of them is refused. Once loaded.
  void know_actions(std::vector<std::string> names);
  // InvalidArgument: the policy names one that there is not.
  Status check_actions(const policy::Policy& policy) const;
  // Where doors note who did what; null: nowhere. Before there are clients.
  void audit_to(Audit* audit) { audit_ = audit; }
  Audit* audit() const { return audit_; }

  // ---- who it is ----
  // Null: no such user, or not with this password, or it would take time to tell (may_be_right).
  // A name may be that of an access key, with its secret. As in Redis with a password set, the user
  // "default" is the one who has root's.
  PrincipalPtr authenticate(std::string_view user, std::string_view password) const;
  PrincipalPtr authenticate(std::string_view password) const {
    return check_default(password) ? bearer_ : nullptr;
  }
  // Whether authenticate_patiently() may know more than authenticate() said.
  bool may_be_right(std::string_view user, std::string_view password) const;
  // `source`: the address that it comes from; those of one name and source wait behind each other,
  // and let others pass. ResourceExhausted: too many wait to be told the same. A name that nobody
  // has takes as long as one that somebody has.
  awaitable<StatusOr<PrincipalPtr>> authenticate_patiently(std::string user, std::string password,
                                                           std::string_view source) const;
  // The same; the calling thread, which is no I/O loop's, waits. A few threads at once, of one name
  // and source one.
  StatusOr<PrincipalPtr> authenticate_at_once(std::string_view user, std::string_view password,
                                              std::string_view source) const;
  awaitable<StatusOr<std::string>> hash(std::string password) const;  // as above

  // What a signature is verified with, and whose it is then. Nothing where there is no such access
  // key, or it is disabled or has expired. `token`: of a session.
  struct Signer {
    PrincipalPtr owner;
    std::string_view secret;
    std::shared_ptr<const void> kept;  // the secret
  };
  enum class NoSigner : uint8_t { kUnknown, kInvalidToken, kExpiredToken };
  std::optional<Signer> signer(std::string_view access_key, std::string_view token = {},
                               NoSigner* why = nullptr) const;
  // Credentials that end; `claims` without its key and secret, which are made.
  struct MadeSession {
    std::string id, secret, token;
  };
  MadeSession make_session(SessionClaims claims) const;
  // Nothing: the token is none.
  std::optional<SessionClaims> claims_of(std::string_view token) const {
    return open_session(token, master_);
  }
  // What SessionClaims::key is for root: another once he has another password.
  std::string root_mark() const;
  PrincipalPtr owner(std::string_view access_key) const {
    const auto known = signer(access_key);
    return known ? known->owner : nullptr;
  }

  bool knows(std::string_view user) const;
  // Whether a policy of a bucket may name him: a user by his ARN or his canonical id, the account.
  bool knows(const policy::PrincipalPattern& principal) const;
  // The name of who has this canonical id; nothing: nobody has.
  std::optional<std::string> user_of(std::string_view canonical_id) const;
  // Who a client of the Redis door is that did not say who it is.
  PrincipalPtr default_user() const { return default_; }
  // What ACL says of him; nothing: he may all, with the password that the server was started with.
  std::optional<AclRecord> default_acl() const;
  // Who has not said who he is at the HTTP door: he may what a bucket lets everybody do.
  PrincipalPtr anybody() const { return anybody_; }
  bool check(std::string_view user, std::string_view password) const {
    bool user_matches = equal_in_constant_time(user, root_user_);
    bool password_matches = equal_in_constant_time(password, root_password_);
    return user_matches && password_matches;
  }
  bool check_default(std::string_view password) const {
    return equal_in_constant_time(password, root_password_);
  }
  const std::string& root_user() const { return root_user_; }
  // Whether a person chose the credentials; if not, RESP on loopback is open.
  bool configured() const { return configured_; }

  // ---- the table ----
  std::shared_ptr<const KnownUsers> known() const {  // null: not loaded
    MutexLock lock(known_mutex_);
    return known_;
  }
  // Calls `edit` with the table as it is, and makes what it did to it true for all, if it says ok
  // and the records can be written. An answer waits until the LSN is durable. One at a time.
  StatusOr<Lsn> change(absl::FunctionRef<Status(Draft&)> edit);
  // For a new access key: an id, and a secret that is told once; and how the record has it.
  struct MadeKey {
    std::string id, secret, sealed;
  };
  MadeKey make_key() const;

 private:
  class Worker;
  std::shared_ptr<const Rights> rights_of(const UserTable& table, const UserRecord& user,
                                          const KeyRecord* key) const;
  void renew(KnownUsers& known, const std::string& user_id) const;
  void renew_sessions(const std::set<std::string>& users,
                      const std::set<std::string, std::less<>>& touched) const;
  bool usable(const KeyRecord& key, const UserTable& table) const;
  // Of a session, of what is known; `gone` where what it rests on is not there any more.
  std::shared_ptr<const Rights> rights_of(const UserTable& table, const Session& session) const;
  void add_policies(const UserTable& table, const Subject& subject, Rights& to) const;
  // Whose password may be right, with what is kept of it.
  struct Claimed {
    std::shared_ptr<Principal> principal;
    std::string hash;    // empty: he has no login profile
    bool right = false;  // by what ACL knows of his passwords
  };
  std::optional<Claimed> claimed(std::string_view user, std::string_view password) const;
  // Whether somebody has a login profile: then a name that has none takes as long to be refused.
  bool hides_names() const;
  bool post_check(const std::string& line, std::string hash, std::string password,
                  std::function<void(bool done, bool right)> told) const;
  std::string mark_of(std::string_view hash, std::string_view password) const;
  void set_verified(const Claimed& claimed, std::string_view password) const;

  const std::string root_user_;
  const std::string root_password_;
  const bool configured_;
  const std::shared_ptr<Principal> root_, bearer_, default_, anybody_;
  const std::string mark_key_;  // of this process
  const std::unique_ptr<Worker> worker_;

  // Constant once it is loaded.
  Keyspace* keyspace_ = nullptr;
  MasterKey master_;
  Audit* audit_ = nullptr;
  CompileAcl compile_acl_;
  std::function<void()> tell_changed_;

  std::atomic<bool> loading_{false};
  mutable Mutex changing_;
  std::vector<std::string> actions_ ABSL_GUARDED_BY(changing_);
  const std::unique_ptr<Sessions> sessions_;
  mutable SmallMutex known_mutex_;
  std::shared_ptr<const KnownUsers> known_ ABSL_GUARDED_BY(known_mutex_);
};

}  // namespace cairn
