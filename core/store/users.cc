#include "core/store/users.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "core/base/async.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"
#include "core/store/known_users.h"
#include "core/store/transaction.h"

namespace cairn {

// The one thread that computes hashes. Who asks stands in the line of his name and address; the
// lines take turns, so that one that is long keeps nobody else waiting. What waits is bounded: the
// last of the longest line goes for one of a shorter.
class Users::Worker {
 public:
  using Job = absl::AnyInvocable<void(bool done)>;  // false: it went
  ~Worker() {
    {
      std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  // False: too many wait.
  bool post(const std::string& line, Job job) {
    constexpr size_t kWaitingMax = 64;
    Job dropped;
    {
      std::lock_guard lock(mutex_);
      if (waiting_ >= kWaitingMax) {
        const auto longest = std::max_element(
            lines_.begin(), lines_.end(),
            [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
        const auto own = lines_.find(line);
        const size_t length = own == lines_.end() ? 0 : own->second.size();
        if (longest->second.size() <= length + 1) return false;
        dropped = std::move(longest->second.back());
        longest->second.pop_back();
        waiting_--;
      }
      lines_[line].push_back(std::move(job));
      waiting_++;
      if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
      changed_.notify_one();
    }
    if (dropped) dropped(false);
    return true;
  }
  // For who waits with a thread: a few at once, of each line one.
  bool enter(const std::string& line) {
    constexpr size_t kThreadsMax = 4;
    std::lock_guard lock(mutex_);
    return threads_.size() < kThreadsMax && threads_.insert(line).second;
  }
  void leave(const std::string& line) {
    std::lock_guard lock(mutex_);
    threads_.erase(line);
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (std::string last;;) {
      changed_.wait(lock, [this] { return ends_ || waiting_ > 0; });
      if (ends_) return;
      auto line = lines_.upper_bound(last);
      if (line == lines_.end()) line = lines_.begin();
      last = line->first;
      Job job = std::move(line->second.front());
      line->second.pop_front();
      if (line->second.empty()) lines_.erase(line);
      waiting_--;
      lock.unlock();
      job(true);
      job = nullptr;
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::deque<Job>> lines_;  // none is empty
  std::set<std::string> threads_;
  size_t waiting_ = 0;
  bool ends_ = false;
  std::thread thread_;
};

namespace {

Status too_many_logins() {
  return absl::ResourceExhaustedError("too many logins at once wait for their passwords' hashes");
}

std::string random_bytes(size_t n) {
  std::string out(n, '\0');
  fill_random(out.data(), n);
  return out;
}

std::string sha256_hex(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  EVP_Digest(text.data(), text.size(), digest, &n, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned int i = 0; i < n; i++) {
    out.push_back("0123456789abcdef"[digest[i] >> 4]);
    out.push_back("0123456789abcdef"[digest[i] & 15]);
  }
  return out;
}

std::shared_ptr<const Rights> no_rights() {
  auto rights = std::make_shared<Rights>();
  rights->nothing = rights->gone = true;
  return rights;
}

std::shared_ptr<const Rights> rights_of_anybody() {
  auto rights = std::make_shared<Rights>();
  rights->is_anybody = true;
  rights->id = "anonymous";
  return rights;
}

// Whose turn is one: a name from one address. Names that nobody has are one, or who makes them up
// had a turn for each.
std::string line_of(std::string_view user, bool known, std::string_view source) {
  const size_t colon = source.rfind(':');
  return cat(source.substr(0, colon), " ", known ? user : "");
}

std::string canonical_id(std::string_view unique_id) {
  return sha256_hex(cat("cairn user ", unique_id));
}

std::string seal_name(std::string_view key_id) { return cat("key:", key_id); }

Users::MadeKey random_key(std::string_view kind) {
  constexpr std::string_view kIds = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  constexpr std::string_view kSecrets =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {cat(kind, random_text(kIds, 16)), random_text(kSecrets, 40), {}};
}

}  // namespace

Users::Users(std::string root_user, std::string root_password, bool configured)
    : root_user_(std::move(root_user)),
      root_password_(std::move(root_password)),
      configured_(configured),
      root_(std::make_shared<Principal>(root_user_)),
      bearer_(std::make_shared<Principal>(std::string(kDefaultUser))),
      default_(std::make_shared<Principal>(std::string(kDefaultUser))),
      anybody_(std::make_shared<Principal>("anonymous", rights_of_anybody())),
      mark_key_(random_bytes(32)),
      worker_(std::make_unique<Worker>()),
      sessions_(std::make_unique<Sessions>()) {}

Users::~Users() = default;

// ---- who it is ----

bool Users::usable(const KeyRecord& key, const UserTable& table) const {
  const UserRecord* user = table.user_by_id(key.user);
  const bool off = user != nullptr && user->acl && !user->acl->on;
  if (!key.enabled || off) return false;
  return key.expires_ms == 0 || keyspace_->now_ms() < key.expires_ms;
}

bool is_acl_password(const AclRecord& acl, std::string_view password) {
  if (acl.nopass) return true;
  const std::string hash = sha256_hex(password);
  bool right = false;
  for (const std::string& one : acl.hashes) right |= equal_in_constant_time(one, hash);
  return right;
}

std::optional<AclRecord> Users::default_acl() const {
  const auto known = this->known();
  const UserRecord* record = known == nullptr ? nullptr : known->table.user(kDefaultUser);
  return record == nullptr ? std::nullopt : record->acl;
}

std::optional<Users::Claimed> Users::claimed(std::string_view user,
                                             std::string_view password) const {
  const auto known = this->known();
  if (known == nullptr) return std::nullopt;
  const UserRecord* record = known->table.user(user);
  // Redis's names have a case, and IAM's do: only what is compared has none.
  if (record == nullptr || record->name != user) return std::nullopt;
  // That any password is right holds at the Redis door alone, which asks for it itself.
  const bool right = record->acl && !record->acl->nopass && is_acl_password(*record->acl, password);
  const bool off = record->acl && !record->acl->on;
  if (off || (record->password.empty() && !right)) return std::nullopt;
  const auto it = known->principals.find(record->id);
  if (it == known->principals.end()) return std::nullopt;
  return Claimed{it->second, record->password, right};
}

std::string Users::mark_of(std::string_view hash, std::string_view password) const {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  const std::string text = cat(hash, password);
  HMAC(EVP_sha256(), mark_key_.data(), static_cast<int>(mark_key_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &n);
  return {reinterpret_cast<const char*>(digest), n};
}

void Users::set_verified(const Claimed& claimed, std::string_view password) const {
  std::string mark = mark_of(claimed.hash, password);
  MutexLock lock(claimed.principal->mutex_);
  claimed.principal->verified_ = std::move(mark);
}

PrincipalPtr Users::authenticate(std::string_view user, std::string_view password) const {
  if (user == "default") return authenticate(password);
  if (check(user, password)) return root_;
  const auto known = this->known();
  if (known == nullptr) return nullptr;
  if (is_session_key(user)) {
    const size_t colon = std::min(password.find(':'), password.size());
    const auto of_session = signer(user, password.substr(std::min(colon + 1, password.size())));
    const bool right =
        of_session && equal_in_constant_time(of_session->secret, password.substr(0, colon));
    if (right) return of_session->owner;
  }
  if (const auto it = known->keys.find(user); it != known->keys.end()) {
    const KnownUsers::Key& key = *it->second;
    const bool right = key.secret && equal_in_constant_time(*key.secret, password);
    return right && usable(*key.record, known->table) ? key.principal : nullptr;
  }
  const auto claim = claimed(user, password);
  if (!claim) return nullptr;
  if (claim->right) return claim->principal;
  const std::string mark = mark_of(claim->hash, password);
  MutexLock lock(claim->principal->mutex_);
  return equal_in_constant_time(claim->principal->verified_, mark) ? claim->principal : nullptr;
}

bool Users::may_be_right(std::string_view user, std::string_view password) const {
  constexpr size_t kPasswordMax = 1024;
  if (password.size() > kPasswordMax) return false;
  if (user == kDefaultUser || user == root_user_) return false;
  const auto claim = claimed(user, password);
  return claim ? claim->right || !claim->hash.empty() || hides_names() : hides_names();
}

bool Users::hides_names() const {
  const auto known = this->known();
  return known != nullptr && known->has_passwords;
}

namespace {
// What takes as long as a password's hash, for a name that has none.
const std::string& nobodys_hash() {
  static const std::string hash = hash_password(random_bytes(16));
  return hash;
}
}  // namespace

// Compares a password on the worker's thread, and says it to `told`, unless it is dropped.
bool Users::post_check(const std::string& line, std::string hash, std::string password,
                       std::function<void(bool done, bool right)> told) const {
  return worker_->post(line, [hash = std::move(hash), password = std::move(password),
                              told = std::move(told)](bool done) {
    const bool right = done && check_password(hash.empty() ? nobodys_hash() : hash, password);
    told(done, right && !hash.empty());
  });
}

awaitable<StatusOr<PrincipalPtr>> Users::authenticate_patiently(std::string user,
                                                                std::string password,
                                                                std::string_view source) const {
  PrincipalPtr who = authenticate(user, password);
  if (who != nullptr || !may_be_right(user, password)) co_return who;
  const std::optional<Claimed> claim = claimed(user, password);
  const std::string hash = claim ? claim->hash : "";
  // Whoever waits may be gone before the hash is there: the job owns all that it looks at.
  struct Told {
    Waiter waiter;
    bool done = false, right = false;
  };
  const auto told = std::make_shared<Told>();
  const std::string line = line_of(user, claim.has_value(), source);
  const bool posted = post_check(line, hash, password, [told](bool done, bool right) {
    told->done = done;
    told->right = right;
    told->waiter.wake();
  });
  if (!posted) co_return too_many_logins();
  co_await told->waiter.wait();
  if (!told->done) co_return too_many_logins();
  if (!told->right) co_return PrincipalPtr();
  set_verified(*claim, password);
  co_return claim->principal;
}

StatusOr<PrincipalPtr> Users::authenticate_at_once(std::string_view user, std::string_view password,
                                                   std::string_view source) const {
  PrincipalPtr who = authenticate(user, password);
  if (who != nullptr || !may_be_right(user, password)) return who;
  const std::optional<Claimed> claim = claimed(user, password);
  const std::string line = line_of(user, claim.has_value(), source);
  if (!worker_->enter(line)) return too_many_logins();
  const auto answer = std::make_shared<std::promise<std::pair<bool, bool>>>();
  auto future = answer->get_future();
  const bool posted = post_check(line, claim ? claim->hash : "", std::string(password),
                                 [answer](bool done, bool right) {
                                   answer->set_value({done, right});
                                 });
  const auto [done, right] = posted ? future.get() : std::pair(false, false);
  worker_->leave(line);
  if (!done) return too_many_logins();
  if (!right) return PrincipalPtr();
  set_verified(*claim, password);
  return claim->principal;
}

awaitable<StatusOr<std::string>> Users::hash(std::string password) const {
  struct Told {
    Waiter waiter;
    bool done = false;
    std::string hash;
  };
  const auto told = std::make_shared<Told>();
  const bool posted = worker_->post("", [told, password](bool done) {  // a line of its own
    if (done) told->hash = hash_password(password);
    told->done = done;
    told->waiter.wake();
  });
  if (!posted) co_return too_many_logins();
  co_await told->waiter.wait();
  if (!told->done) co_return too_many_logins();
  co_return told->hash;
}

std::optional<Users::Signer> Users::signer(std::string_view access_key, std::string_view token,
                                           NoSigner* why) const {
  NoSigner none = NoSigner::kUnknown;
  NoSigner& reason = why == nullptr ? none : *why;
  reason = token.empty() ? NoSigner::kUnknown : NoSigner::kInvalidToken;
  auto known = this->known();
  if (!token.empty()) {
    if (known == nullptr || token.size() > kTokenBytesMax) return std::nullopt;
    const SessionPtr session = sessions_->find(token, [&]() -> SessionPtr {
      auto claims = open_session(token, master_);
      if (!claims) return nullptr;
      auto made = std::make_shared<Session>();
      made->claims = *std::move(claims);
      if (!made->claims.policy.empty()) {
        made->policy = PolicyText::of(made->claims.policy).compiled;
        if (made->policy == nullptr) return nullptr;
      }
      // As it is known within this lock: who changes it looks at all sessions after.
      const auto now = this->known();
      auto rights = rights_of(now->table, *made);
      std::string name = rights->name;
      if (!made->claims.role.empty()) {
        const RoleRecord* role = now->table.role_by_id(made->claims.role);
        name = cat(role == nullptr ? std::string_view() : role->name, "/", made->claims.name);
      } else if (rights->is_root) {
        name = root_user_;
      }
      made->principal = std::make_shared<Principal>(std::move(name), std::move(rights),
                                                    &keyspace_->bucket_access());
      return made;
    });
    if (session == nullptr || session->claims.key_id != access_key) return std::nullopt;
    const auto rights = session->principal->rights();
    if (keyspace_->now_ms() >= session->claims.expires_ms) {
      reason = NoSigner::kExpiredToken;
      return std::nullopt;
    }
    if (rights->nothing) {
      reason = NoSigner::kUnknown;
      return std::nullopt;
    }
    return Signer{session->principal, session->claims.secret, session};
  }
  if (equal_in_constant_time(access_key, root_user_)) return Signer{root_, root_password_, nullptr};
  if (known == nullptr) return std::nullopt;
  const auto it = known->keys.find(access_key);
  if (it == known->keys.end()) return std::nullopt;
  const KnownUsers::Key& key = *it->second;
  if (!key.secret || key.principal == nullptr || !usable(*key.record, known->table))
    return std::nullopt;
  return Signer{key.principal, *key.secret, std::move(known)};
}

std::string Users::root_mark() const {
  return sha256_hex(cat("cairn root ", root_user_, " ", root_password_));
}

Users::MadeSession Users::make_session(SessionClaims claims) const {
  MadeKey key = random_key("ASIA");
  claims.key_id = key.id;
  claims.secret = key.secret;
  return {std::move(key.id), std::move(key.secret), seal_session(claims, master_)};
}

bool Users::knows(std::string_view user) const {
  if (user == "default" || user == root_user_) return true;
  const auto known = this->known();
  if (known == nullptr) return false;
  const UserRecord* record = known->table.user(user);
  return record != nullptr && record->name == user;
}

bool Users::knows(const policy::PrincipalPattern& principal) const {
  using policy::PrincipalPattern;
  const auto known = this->known();
  switch (principal.kind) {
    case PrincipalPattern::kEverybody:
      return true;
    case PrincipalPattern::kAccount:
      return principal.text == kAccount;
    case PrincipalPattern::kUser: {
      if (known == nullptr) return false;
      const std::string_view arn = principal.text;
      const std::string_view name = arn.substr(arn.rfind('/') + 1);
      const UserRecord* user = known->table.user(name);
      const RoleRecord* role = known->table.role(name);
      return (user != nullptr && arn_of(*user) == arn) || (role != nullptr && arn_of(*role) == arn);
    }
    case PrincipalPattern::kUniqueId:
      return known != nullptr && (known->table.user_by_id(principal.text) != nullptr ||
                                  known->table.role_by_id(principal.text) != nullptr);
    case PrincipalPattern::kCanonicalUser:
      return principal.text == kRootCanonicalId || user_of(principal.text).has_value();
    case PrincipalPattern::kProvider:
    case PrincipalPattern::kAnyUser:
      break;
  }
  return false;
}

std::optional<std::string> Users::user_of(std::string_view canonical_id) const {
  if (canonical_id == kRootCanonicalId) return root_user_;
  const auto known = this->known();
  if (known == nullptr) return std::nullopt;
  for (const auto& [id, principal] : known->principals) {
    const auto rights = principal->rights();
    if (rights != nullptr && !rights->nothing && rights->canonical_user == canonical_id) {
      return rights->name;
    }
  }
  return std::nullopt;
}

// ---- the table ----

void Users::add_policies(const UserTable& table, const Subject& subject, Rights& to) const {
  for (auto& [name, policy] : subject.inlined) to.add(policy.compiled);
  for (const std::string& id : subject.attached) {
    const PolicyRecord* policy = table.policy_by_id(id);
    to.add(policy == nullptr ? nullptr : policy->text.compiled);
  }
}

std::shared_ptr<const Rights> Users::rights_of(const UserTable& table, const UserRecord& user,
                                               const KeyRecord* key) const {
  auto rights = std::make_shared<Rights>();
  add_policies(table, user, *rights);
  for (const std::string& id : user.groups) {
    const GroupRecord* group = table.group_by_id(id);
    if (group == nullptr) {
      rights->nothing = true;
    } else {
      add_policies(table, *group, *rights);
    }
  }
  if (key != nullptr) {
    rights->nothing = rights->nothing || !key->enabled;
    rights->expires_ms = key->expires_ms;
    if (key->boundary) {
      rights->boundary = key->boundary->compiled;
      rights->nothing = rights->nothing || rights->boundary == nullptr;
    }
  }
  if (user.acl && compile_acl_) {
    rights->acl = compile_acl_(user.acl->rules);
    rights->nothing = rights->nothing || rights->acl == nullptr;
  }
  rights->name = user.name;
  rights->id = user.id;
  rights->arn = arn_of(user);
  rights->canonical_user = canonical_id(user.id);
  rights->clock = &keyspace_->clock();
  return rights;
}

std::shared_ptr<const Rights> Users::rights_of(const UserTable& table,
                                               const Session& session) const {
  const SessionClaims& claims = session.claims;
  const UserRecord* user = table.user_by_id(claims.user);
  const KeyRecord* key = table.key(claims.key);
  const RoleRecord* role = table.role_by_id(claims.role);
  const bool of_root = claims.user.empty() && claims.role.empty();
  const bool asker_gone =
      !claims.user.empty() &&
      (user == nullptr || key == nullptr || key->user != claims.user || !usable(*key, table));
  const bool gone = asker_gone || (of_root && claims.key != root_mark()) ||
                    (!claims.role.empty() && role == nullptr) ||
                    (!claims.provider.empty() && !table.provider_ids.contains(claims.provider));
  if (gone) return no_rights();
  std::shared_ptr<Rights> rights;
  if (role != nullptr) {
    rights = std::make_shared<Rights>();
    add_policies(table, *role, *rights);
    rights->id = cat(role->id, ":", claims.name);
    rights->arn = arn_of(*role);
    rights->session_arn =
        cat("arn:aws:sts::", kAccount, ":assumed-role/", role->name, "/", claims.name);
    rights->canonical_user = canonical_id(role->id);
    if (const auto it = table.provider_ids.find(claims.provider); it != table.provider_ids.end()) {
      if (const auto* provider = table.provider(it->second)) rights->provider = arn_of(*provider);
    }
  } else if (user != nullptr) {
    rights = std::make_shared<Rights>(*rights_of(table, *user, key));
  } else {
    rights = std::make_shared<Rights>();
    rights->is_root = true;
    rights->arn = root_arn();
    rights->id = kAccount;
    rights->canonical_user = kRootCanonicalId;
  }
  rights->clock = &keyspace_->clock();
  rights->issued_ms = claims.issued_ms;
  const int64_t key_ends_ms = key == nullptr ? 0 : key->expires_ms;
  rights->expires_ms =
      key_ends_ms == 0 ? claims.expires_ms : std::min(key_ends_ms, claims.expires_ms);
  if (session.policy != nullptr) rights->session.push_back(session.policy);
  for (const std::string& id : claims.policies) {
    const PolicyRecord* policy = table.policy_by_id(id);
    if (policy == nullptr || policy->text.compiled == nullptr) {
      rights->nothing = true;
    } else {
      rights->session.push_back(policy->text.compiled);
    }
  }
  return rights;
}

// Gives who is behind this user the rights that he has now. Who is renamed is another one: whoever
// knows the old name has lost him.
void Users::renew(KnownUsers& known, const std::string& user_id) const {
  const UserRecord* user = known.table.user_by_id(user_id);
  std::shared_ptr<Principal>& principal = known.principals[user_id];
  const bool renamed = principal != nullptr && user != nullptr && principal->name() != user->name;
  if (principal != nullptr && (user == nullptr || renamed)) {
    principal->set_rights(no_rights());
    principal = nullptr;
  }
  if (user != nullptr && user->name == kDefaultUser) principal = default_;
  if (user == nullptr) {
    known.principals.erase(user_id);
  } else if (principal == nullptr) {
    principal = std::make_shared<Principal>(user->name, rights_of(known.table, *user, nullptr),
                                            &keyspace_->bucket_access());
  } else {
    principal->set_rights(rights_of(known.table, *user, nullptr));
  }
}

namespace {

// The same for the keys of these users: `rights_of` and `open` say what a key may, and its secret.
void renew_keys(
    KnownUsers& known, const BucketAccessTable& buckets, const std::set<std::string>& users,
    absl::FunctionRef<std::shared_ptr<const Rights>(const UserRecord&, const KeyRecord&)> rights_of,
    absl::FunctionRef<std::optional<std::string>(const KeyRecord&)> open) {
  for (auto it = known.keys.begin(); it != known.keys.end();) {
    const bool gone = known.table.key(it->first) == nullptr;
    if (gone) it->second->principal->set_rights(no_rights());
    it = gone ? known.keys.erase(it) : std::next(it);
  }
  for (auto& [id, record] : known.table.keys) {
    if (!users.contains(record->user)) continue;
    const UserRecord* user = known.table.user_by_id(record->user);
    const std::string& name = user == nullptr ? id : user->name;
    auto rights = user == nullptr ? no_rights() : rights_of(*user, *record);
    auto key = std::make_shared<KnownUsers::Key>();
    key->record = record;
    const auto before = known.keys.find(id);
    if (before != known.keys.end()) {
      key->secret = before->second->secret;
      key->principal = before->second->principal;
    } else {
      key->secret = open(*record);
    }
    if (key->principal != nullptr && key->principal->name() != name) {
      key->principal->set_rights(no_rights());
      key->principal = nullptr;
    }
    if (key->principal == nullptr) {
      key->principal = std::make_shared<Principal>(name, std::move(rights), &buckets);
    } else {
      key->principal->set_rights(std::move(rights));
    }
    known.keys[id] = std::move(key);
  }
}

}  // namespace

void Users::load(Keyspace& keyspace, const MasterKey& master, const Report& report) {
  keyspace_ = &keyspace;
  master_ = master;
  for (const auto& principal : {root_, bearer_, default_, anybody_}) {
    principal->consult(keyspace.bucket_access());
  }
  auto known = std::make_shared<KnownUsers>();
  UserTable& table = known->table;
  Namespace& system = keyspace.system();
  std::vector<std::string> names;
  {
    MutexLock lock(system.order_mutex);
    for (auto it = system.order.lower_bound(kUsersPrefix);
         it != system.order.end() && (*it)->key().starts_with(kUsersPrefix); ++it) {
      names.emplace_back((*it)->key());
    }
  }
  Now now(keyspace.clock());
  for (const std::string& name : names) {
    const KeyHash hash = system.hash(name);
    const StripeLocks lock(keyspace, hash);
    const Entry* e = keyspace.find(system, name, hash, now);
    if (e == nullptr) continue;
    const auto take = [&](std::string_view prefix, auto& to, auto* ids, auto record) {
      if (!name.starts_with(prefix) || !decode(e->meta(), record)) return false;
      const std::string known_as = name.substr(prefix.size());
      if (ids != nullptr) {
        if constexpr (requires { record.name; }) {
          if (lower(record.name) != known_as) return false;
          (*ids)[record.id] = known_as;
        }
      } else if (record.id != known_as) {
        return false;
      }
      using Record = decltype(record);
      to[known_as] = std::make_shared<const Record>(std::move(record));
      return true;
    };
    UserTable::Names* const no_ids = nullptr;
    const bool taken =
        take(kUserPrefix, table.users, &table.user_ids, UserRecord()) ||
        take(kGroupPrefix, table.groups, &table.group_ids, GroupRecord()) ||
        take(kPolicyPrefix, table.policies, &table.policy_ids, PolicyRecord()) ||
        take(kKeyPrefix, table.keys, no_ids, KeyRecord()) ||
        take(kRolePrefix, table.roles, &table.role_ids, RoleRecord()) ||
        take(kProviderPrefix, table.providers, &table.provider_ids, ProviderRecord());
    if (taken) continue;
    table.unreadable.insert(name);
    if (report) {
      report(Severity::kError, "users",
             cat("the record ", name,
                 " cannot be read: it is kept, and whom it is about may do "
                 "nothing"));
    }
  }
  known->find_passwords();
  std::set<std::string> ids;
  for (auto& [name, user] : table.users) ids.insert(user->id);
  for (auto& [id, key] : table.keys) ids.insert(key->user);
  for (const std::string& id : ids) renew(*known, id);
  for (auto& [name, user] : table.users) keyspace.set_user_quota(user->id, user->quota);
  renew_keys(
      *known, keyspace.bucket_access(), ids,
      [&](const UserRecord& user, const KeyRecord& key) { return rights_of(table, user, &key); },
      [&](const KeyRecord& key) { return master_.open(key.sealed, seal_name(key.id)); });
  if (table.is_unreadable(cat(kUserPrefix, kDefaultUser))) default_->set_rights(no_rights());
  std::shared_ptr<const KnownUsers> next = std::move(known);
  {
    MutexLock lock(known_mutex_);
    known_.swap(next);
  }
  loading_.store(false, std::memory_order_release);
}

Status Users::check_sealed(bool repair, const Report& report) {
  const auto known = this->known();
  std::vector<std::string> closed;
  for (auto& [id, key] : known->keys) {
    if (!key->secret) closed.push_back(id);
  }
  if (closed.empty()) return absl::OkStatus();
  if (!repair) {
    return absl::FailedPreconditionError(
        cat(closed.size(),
            " access keys are sealed under another master key than this: give the one that they "
            "were made under (CAIRN_MASTER_KEY, CAIRN_MASTER_KEY_FILE, or the file master-key of "
            "the data directory, from the backup), or start once with --repair, which deletes "
            "these keys"));
  }
  const auto changed = change([&](Draft& draft) -> Status {
    for (const std::string& id : closed) {
      const KeyRecord* key = draft.table().key(id);
      const UserRecord* user = key == nullptr ? nullptr : draft.table().user_by_id(key->user);
      if (report) {
        report(Severity::kWarning, "users",
               cat("the access key ", id, " of the user ", user == nullptr ? "?" : user->name,
                   " is deleted: the master key does not open it"));
      }
      if (Status s = draft.delete_key(id); !s.ok()) return s;
    }
    return absl::OkStatus();
  });
  return changed.status();
}

void Users::know_actions(std::vector<std::string> names) {
  for (std::string& name : names) name = lower(name);
  MutexLock lock(changing_);
  actions_ = std::move(names);
}

Status Users::check_actions(const policy::Policy& policy) const {
  MutexLock lock(changing_);
  return policy::check_actions(policy, actions_);
}

StatusOr<Lsn> Users::change(absl::FunctionRef<Status(Draft&)> edit) {
  MutexLock one_at_a_time(changing_);
  const auto before = known();
  if (before == nullptr) return absl::UnavailableError("the store is being opened");
  Keyspace& keyspace = *keyspace_;
  Draft draft(before->table, keyspace.now_ms(), root_user_, actions_);
  if (Status s = edit(draft); !s.ok()) return s;
  if (Status s = keyspace.check_write(true); !s.ok()) return s;
  Namespace& system = keyspace.system();
  std::vector<KeyHash> hashes;
  for (auto& [name, contents] : draft.writes()) hashes.push_back(system.hash(name));
  Lsn lsn;
  if (!hashes.empty()) {
    StripeLocks lock(keyspace);
    lock.lock(hashes);
    Transaction txn(keyspace, &lock, Shape::kSeveral);
    for (auto& [name, contents] : draft.writes()) {
      const KeyHash hash = system.hash(name);
      if (contents) {
        RecordView r;
        r.ns = system.id;
        r.key = name;
        r.meta = *contents;
        if (!txn.put(system, hash, r).ok()) break;
      } else if (Entry* e = txn.find(system, name, hash); e != nullptr) {
        if (!txn.remove(system, hash, e).ok()) break;
      }
    }
    auto committed = txn.commit();
    if (!committed.ok()) return committed.status();
    lsn = *committed;
  }

  auto next = std::make_shared<KnownUsers>();
  next->table = draft.take();
  next->find_passwords();
  next->principals = before->principals;
  next->keys = before->keys;
  const auto& touched = draft.touched();
  std::set<std::string> ids;
  for (const std::string& id : touched) {
    if (before->table.user_by_id(id) != nullptr || next->table.user_by_id(id) != nullptr) {
      ids.insert(id);
    }
  }
  const auto any_touched = [&](const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(), [&](auto& id) { return touched.contains(id); });
  };
  for (auto& [name, user] : next->table.users) {
    bool changed = any_touched(user->attached) || any_touched(user->groups);
    for (const std::string& id : user->groups) {
      const GroupRecord* group = next->table.group_by_id(id);
      changed = changed || (group != nullptr && any_touched(group->attached));
    }
    if (changed) ids.insert(user->id);
  }
  for (const std::string& id : ids) {
    renew(*next, id);
    const UserRecord* user = next->table.user_by_id(id);
    keyspace.set_user_quota(id, user == nullptr ? Quota() : user->quota);
  }
  renew_keys(
      *next, keyspace.bucket_access(), ids,
      [&](const UserRecord& user, const KeyRecord& key) {
        return rights_of(next->table, user, &key);
      },
      [&](const KeyRecord& key) { return master_.open(key.sealed, seal_name(key.id)); });
  std::shared_ptr<const KnownUsers> shared = std::move(next);
  {
    MutexLock lock(known_mutex_);
    known_.swap(shared);
  }
  if (!draft.writes().empty()) renew_sessions(ids, touched);
  if (tell_changed_) tell_changed_();
  return lsn;
}

void Users::renew_sessions(const std::set<std::string>& users,
                           const std::set<std::string, std::less<>>& touched) const {
  const auto known = this->known();
  sessions_->for_each([&](const Session& session) {
    const SessionClaims& of = session.claims;
    const auto is_touched = [&](const std::string& id) { return touched.contains(id); };
    bool changed = users.contains(of.user) || is_touched(of.user) || is_touched(of.role) ||
                   is_touched(of.provider) ||
                   std::any_of(of.policies.begin(), of.policies.end(), is_touched);
    if (const RoleRecord* role = known->table.role_by_id(of.role)) {
      changed = changed || std::any_of(role->attached.begin(), role->attached.end(), is_touched);
    }
    if (changed) session.principal->set_rights(rights_of(known->table, session));
  });
}

Users::MadeKey Users::make_key() const {
  MadeKey made = random_key("AKIA");
  made.sealed = master_.seal(made.secret, seal_name(made.id));
  return made;
}

}  // namespace cairn
