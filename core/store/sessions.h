// Credentials of a session: what its token says, and the sessions that are known to be going on.
//
// A token is sealed under the store's master key, so that nothing is kept of a session, and any
// number may be given out. What it says holds until its time is over, or until what it rests on
// goes: the user, the access key that it was asked for with, the role. Its bytes, in base64:
//
//   token = sealed of u8 1  field*      field = u8 tag  u32 size  bytes
//
// Threads: any.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/mutex.h"
#include "core/store/policy.h"
#include "core/store/sealing.h"

namespace cairn {

class Principal;

struct SessionClaims {
  std::string key_id, secret;  // "ASIA…"
  std::string user;            // the id of who asked; empty: root, or whom a provider identified
  std::string key;             // the access key that he asked with; of root: Users::root_mark()
  std::string role;            // the id of the one that was assumed; empty: none
  std::string name;            // of the role's session
  std::string provider;        // the id of who identified him
  int64_t issued_ms = 0, expires_ms = 0;
  std::string policy;                 // within which all is; empty: none
  std::vector<std::string> policies;  // ids of more
};

inline constexpr size_t kSessionPoliciesMax = 11;  // ten by name, and one as text
inline constexpr size_t kTokenBytesMax = 8 << 10;
std::string seal_session(const SessionClaims& claims, const MasterKey& master);
// Nothing: it is none, or of another store.
std::optional<SessionClaims> open_session(std::string_view token, const MasterKey& master);
inline bool is_session_key(std::string_view access_key) { return access_key.starts_with("ASIA"); }

struct Session {
  SessionClaims claims;
  std::shared_ptr<const policy::Policy> policy;  // of claims.policy
  std::shared_ptr<Principal> principal;
};
using SessionPtr = std::shared_ptr<const Session>;

// Those that made a request lately, or whose connection stands: all whose rights may have to
// change.
class Sessions {
 public:
  static constexpr size_t kIdleMax = 4096;
  // The one of this token; made by `make` if it is not known, null if that says so. A change of
  // rights happens before it or after it, never in the middle.
  SessionPtr find(std::string_view token, absl::FunctionRef<SessionPtr()> make);
  void for_each(absl::FunctionRef<void(const Session&)> look_at);

 private:
  struct Kept {
    std::string token;
    SessionPtr session;
  };
  Mutex mutex_;
  std::list<Kept> all_ ABSL_GUARDED_BY(mutex_);  // the one that was asked for last in front
  std::unordered_map<std::string_view, std::list<Kept>::iterator> by_token_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
