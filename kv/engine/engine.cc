#include "kv/engine/engine.h"

#include <absl/cleanup/cleanup.h>
#include <absl/container/flat_hash_set.h>
#include <absl/container/inlined_vector.h>

#include "core/base/audit.h"
#include "core/base/errors.h"
#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "kv/engine/broadcasts.h"
#include "kv/engine/errand.h"
#include "kv/engine/key_length.h"
#include "kv/engine/long_scripts.h"
#include "kv/engine/replicable.h"

namespace cairn::kv {

Engine::Engine(Server& server, const Table& table, std::vector<std::unique_ptr<Engine>>& all)
    : server_(server),
      store_(server.store),
      table_(table),
      all_(all),
      counts_(table.rows().size()),
      executor_(store_.executors()[all.size() % store_.executors().size()]) {
  for (size_t i = 0; i < kGroupMax; i++) group_.emplace_back(server.store);
}

std::vector<Engine::Calls> Engine::calls() const {
  std::vector<Calls> sum(counts_.size());
  for (auto& engine : all_) {
    for (size_t i = 0; i < sum.size(); i++) {
      const Counts& c = engine->counts_[i];
      sum[i].calls += c.calls.load(std::memory_order_relaxed);
      sum[i].rejected += c.rejected.load(std::memory_order_relaxed);
      sum[i].failed += c.failed.load(std::memory_order_relaxed);
      sum[i].us += static_cast<double>(c.ns.load(std::memory_order_relaxed)) / 1000;
    }
  }
  return sum;
}

std::vector<Durations::Sums> Engine::durations() const {
  std::vector<Durations::Sums> sums(counts_.size());
  for (auto& engine : all_) {
    for (size_t i = 0; i < sums.size(); i++) {
      const Durations* d = engine->counts_[i].durations.load(std::memory_order_acquire);
      if (d != nullptr) d->add_to(sums[i]);
    }
  }
  return sums;
}

void Engine::reset_calls() {
  for (auto& engine : all_) {
    for (auto& c : engine->counts_) {
      if (Durations* d = c.durations.load(std::memory_order_acquire)) d->reset();
      for (auto* n : {&c.calls, &c.ns, &c.rejected, &c.failed}) n->store(0);
    }
    engine->hits_ = 0;
    engine->misses_ = 0;
  }
}

uint64_t Engine::total_commands() const {
  uint64_t sum = 0;
  for (auto& engine : all_) {
    for (auto& c : engine->counts_) sum += c.calls.load(std::memory_order_relaxed);
  }
  return sum;
}

uint64_t Engine::total_hits() const {
  uint64_t sum = 0;
  for (auto& e : all_) sum += e->hits_.load(std::memory_order_relaxed);
  return sum;
}
uint64_t Engine::total_misses() const {
  uint64_t sum = 0;
  for (auto& e : all_) sum += e->misses_.load(std::memory_order_relaxed);
  return sum;
}

// ---- what is known of a request before it runs ----

namespace {
// The word that is its only key, of the session's namespace; 0: there is none, or not one alone.
size_t only_key(const Row& row, const Args& args) {
  if (row.one_key != 0) return row.one_key;
  if (row.keys.size() != 1 || row.keys[0].count_at < 0 || row.run_deferred != nullptr) return 0;
  // As many as a word says, as of scripts.
  const KeySpec& s = row.keys[0];
  const size_t count = static_cast<size_t>(s.first) + static_cast<size_t>(s.count_at);
  const bool one = s.keyword.empty() && s.after_count == 1 && s.space_word == 0 &&
                   s.space_option.empty() && count < args.size() && args[count] == "1";
  return one ? count + 1 : 0;
}
}  // namespace

void Engine::prepare(Session& session, Request& request) {
  // As the command before it in this place, mostly; not by the name of a subcommand's row.
  const Row* row = request.row;
  if (row == nullptr || row->one_key != 1 || !equals_ignoring_case(row->name, request.args[0])) {
    row = request.row = table_.find(request.args.words());
  }
  request.hash = 0;
  if (row == nullptr || session.in_multi) return;
  const size_t word = only_key(*row, request.args);
  if (word == 0 || word >= request.args.size()) return;
  const std::string_view key = request.args[word];
  request.hash = session.ns->hash(key);
  if (request.keys.size() != 1) request.keys.resize(1);  // as it was for the command before it
  request.keys[0] = {session.ns.get(), key, request.hash, static_cast<uint32_t>(word),
                     flags_of(row->keys[0], request.args)};
  store().prefetch(request.hash);
}

void Engine::resolve(const NamespacePtr& space, Request& request) {
  const Row& row = *request.row;
  const Args& args = request.args;
  request.forget_keys();
  request.spaces.clear();
  request.selected = nullptr;
  if (row.selects != 0) {
    request.selected =
        store().find_namespace(namespace_name(args[static_cast<size_t>(row.selects)]));
  }
  for_each_key(row.keys, args.words(), [&](size_t word, const KeySpec& spec, uint16_t flags) {
    Namespace* ns = space.get();
    if (const size_t named = space_of(spec, args.words()); named != 0) {
      NamespacePtr to = store().find_namespace(namespace_name(args[named]));
      ns = to.get();
      request.spaces.push_back(std::move(to));
    }
    const KeyHash hash = ns == nullptr ? 0 : ns->hash(args[word]);
    request.keys.push_back({ns, args[word], hash, static_cast<uint32_t>(word), flags});
  });
  // An empty word takes the place of the one key of MIGRATE where KEYS names several.
  if (request.keys.size() > 1 && request.keys[0].name.empty() &&
      row.keys.back().keyword == "KEYS") {
    request.keys.erase(request.keys.begin());
  }
}

void Engine::resolve_queue(Session& session) {
  NamespacePtr space = session.ns;
  for (Request& queued : session.queue) {
    resolve(space, queued);
    // A cluster has one database, and SELECT of another is refused.
    if (queued.selected != nullptr && !server_.cluster.enabled) space = queued.selected;
  }
}

namespace {
bool may_all(const Session& session) {  // commands before AUTH need no right
  return session.principal == nullptr || session.principal->may_all();
}

// Whether what it does beside its keys is nothing that a right on keys allows.
bool needs_its_name(const Row& row) {
  return (row.action.access & (Access::kAdmin | Access::kByName)) != Access::kNone;
}

struct Asker {
  Asker(const Principal& who, const Session& session, bool granted)
      : who(who), from(session.circumstances()) {
    from.granted = granted;
  }
  const Principal& who;
  Circumstances from;
  bool operator()(const Action& action, std::string_view space = {},
                  std::string_view key = {}) const {
    return authorize(who, action, space, key, from);
  }
};
}  // namespace

namespace {

// Scripts do nothing that is not asked for one by one, but they take a thread and memory: whom
// nothing is allowed has no use of them.
bool runs_scripts(const Row& row) {
  return row.group == "scripting" && (row.has_keys() || row.name == "script|load");
}
bool uses_data(const Rights& rights) {
  static const int uses[] = {policy::s3_number("GetObject"), policy::s3_number("PutObject"),
                             policy::s3_number("DeleteObject"), policy::s3_number("ListBucket")};
  for (const policy::Policy* policy : rights.policies) {
    for (const policy::Statement& s : policy->statements) {
      if (!s.allow) continue;
      const auto has = [&](int n) { return s.actions.has_s3(static_cast<size_t>(n)); };
      const auto is_of_resp = [](const std::string& text) {
        return equals_ignoring_case(text.substr(0, text.find(':')), "resp");
      };
      const auto& texts = s.actions.texts();
      if (s.not_action || std::any_of(std::begin(uses), std::end(uses), has) ||
          std::any_of(texts.begin(), texts.end(), is_of_resp)) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

// What policies say of it. `granted`: the ACL allows it.
AclAnswer Engine::ask_policies(const Principal& who, const Session& session, const Request& request,
                               const Namespace& space, bool granted) const {
  const Row& row = *request.row;
  const Asker may(who, session, granted);
  const Action plain{row.action.door, row.action.name, Access::kNone};
  bool allowed = may(plain);
  if (!granted && runs_scripts(row)) {
    const std::shared_ptr<const Rights> rights = who.rights();
    allowed = allowed && (rights == nullptr || uses_data(*rights));
  }
  if (allowed && needs_its_name(row)) {
    allowed = may(row.action);
  } else if (allowed && request.keys.empty()) {
    if (row.flags & kAllDatabases) {
      for (uint32_t i = 0; i < store_.databases(); i++) {
        allowed = allowed && may(row.action, store_.database(i).name);
      }
    } else if (row.flags & (kWrite | kReadOnly)) {
      allowed = may(row.action, space.name);
    } else {
      allowed = may(row.action);
    }
  }
  if (!allowed) return {AclDenied::kCommand, 0};
  for (const Key& key : request.keys) {
    if (key.ns == nullptr) continue;  // nothing there to be touched
    const Action action{plain.door, plain.name, kv::access_of(key.flags)};
    if (!may(action, key.ns->name, key.name)) return {AclDenied::kKey, key.word};
  }
  return {};
}

AclAnswer Engine::ask(const Principal& who, const Session& session, const Request& request,
                      const Namespace& space) const {
  if (who.may_all()) return {};
  const std::shared_ptr<const Rights> rights = who.rights();
  const Acl* acl = rights == nullptr || session.id == kNoClient ? nullptr : acl_of(*rights);
  AclAnswer by_acl{AclDenied::kCommand, 0};
  if (acl != nullptr) by_acl = acl->check(table_.index_of(*request.row), request);
  const bool granted = by_acl.denied == AclDenied::kNo;
  if (acl != nullptr && rights->policies.empty() && !rights->nothing && !who.may_be_in_buckets()) {
    if (!granted || (rights->boundary == nullptr && rights->expires_ms == 0)) return by_acl;
  }
  const AclAnswer by_policies = ask_policies(who, session, request, space, granted);
  return by_policies.denied == AclDenied::kNo || acl == nullptr || granted ? by_policies : by_acl;
}

bool may_hear_of_all(const Engine& engine, const Session& session, const Request& request) {
  if (session.principal == nullptr) return true;
  const Action& of = request.row->action;
  Circumstances from = session.circumstances();
  from.granted = engine.acl_allows(session, request);
  return authorize(*session.principal, {of.door, of.name, Access::kByName}, {}, {}, from);
}

bool Engine::may_go_on(const Session& session) const {
  if (may_all(session) || session.close_after_reply || session.away) return true;
  const std::shared_ptr<const Rights> rights = session.principal->rights();
  if (rights == nullptr) return true;
  if (rights->gone) return false;
  Request request(store_);
  const auto may = [&](std::initializer_list<std::string_view> words,
                       std::optional<Channels::Kind> names) {
    request.clear();
    request.forget_keys();
    for (const std::string_view word : words) request.args.add(word);
    if (names) {
      server_.channels.for_each_of(session, *names,
                                   [&](std::string_view name) { request.args.add(name); });
    }
    request.row = table_.find(request.args.words());
    return request.row != nullptr && ask(session, request, *session.ns).denied == AclDenied::kNo;
  };
  using Kind = Channels::Kind;
  const Subscriptions& to = session.subscriptions;
  return (!session.monitors || may({"monitor"}, {})) &&
         (!session.tracker->has(Tracker::kOn) ||
          (may({"client", "tracking", "on"}, {}) && (!session.tracker->has(Tracker::kBroadcast) ||
                                                     may_hear_of_all(*this, session, request)))) &&
         (to.size(Kind::kChannel) == 0 || may({"subscribe"}, Kind::kChannel)) &&
         (to.size(Kind::kPattern) == 0 || may({"psubscribe"}, Kind::kPattern)) &&
         (to.size(Kind::kShardChannel) == 0 || may({"ssubscribe"}, Kind::kShardChannel));
}

bool Engine::acl_allows(const Session& session, const Request& request) const {
  if (session.principal == nullptr || session.id == kNoClient) return false;
  const std::shared_ptr<const Rights> rights = session.principal->rights();
  const Acl* acl = rights == nullptr ? nullptr : acl_of(*rights);
  return acl != nullptr &&
         acl->check(table_.index_of(*request.row), request).denied == AclDenied::kNo;
}

bool Engine::acl_reads_all(const Session& session, const Request& request) const {
  if (session.principal == nullptr || session.id == kNoClient) return false;
  const std::shared_ptr<const Rights> rights = session.principal->rights();
  const Acl* acl = rights == nullptr ? nullptr : acl_of(*rights);
  return acl != nullptr && acl->reads_all(table_.index_of(*request.row), request);
}

void Engine::note_refused(const Session& session, const Request& request, const AclAnswer& answer,
                          std::string_view context) const {
  note_audit(session, request, *session.ns, false);
  AclLog::Entry e;
  e.context = context;
  e.at_ms = store_.now_ms();
  e.reason = answer.denied == AclDenied::kCommand ? "command"
             : answer.denied == AclDenied::kKey   ? "key"
                                                  : "channel";
  constexpr size_t kShownBytes = 1024;
  e.object = answer.denied == AclDenied::kCommand
                 ? request.row->name
                 : request.args[answer.word].substr(0, kShownBytes);
  e.user = session.principal->name();
  e.client = session.describe(e.at_ms);
  server_.acl_log.add(std::move(e));
}

void Engine::note_audit(const Session& session, const Request& request, const Namespace& space,
                        bool allowed) const {
  Audit* audit = server_.users.audit();
  if (audit == nullptr) return;
  Audit::Entry e{"resp",
                 session.principal == nullptr ? std::string_view() : session.principal->name(),
                 session.address, request.row->name};
  e.allowed = allowed;
  if (!request.keys.empty() || (request.row->flags & (kWrite | kReadOnly)) != 0)
    e.space = space.name;
  // Whom it is about.
  const bool sets_user = request.row->name == "acl|setuser";
  if (sets_user || request.row->name == "acl|deluser") {
    const size_t end = sets_user ? 3 : request.args.size();
    for (size_t i = 2; i < end && i < request.args.size(); i++) {
      e.key = request.args[i];
      audit->note(e);
    }
    return;
  }
  if (request.keys.empty()) return audit->note(e);
  for (const Key& key : request.keys) {
    if (key.ns != nullptr) e.space = key.ns->name;
    e.key = key.name;
    audit->note(e);
  }
}

bool Engine::permitted(const Session& session, const Request& request, const Namespace& space,
                       Reply& reply) const {
  const AclAnswer answer = ask(session, request, space);
  if (answer.denied == AclDenied::kNo) return true;
  note_refused(session, request, answer, session.in_multi ? "multi" : "toplevel");
  if (answer.denied == AclDenied::kCommand) {
    reply.error(
        cat("NOPERM this user has no permissions to run the '", request.row->name, "' command"));
  } else {
    reply.error(cat("NOPERM this user has no permissions to access one of the ",
                    answer.denied == AclDenied::kKey ? "keys" : "channels", " used as arguments"));
  }
  return false;
}

bool Engine::still_permitted(const Session& session, const Request& request, Reply& reply) const {
  const AclAnswer answer = ask(session, request, *session.ns);
  if (answer.denied == AclDenied::kNo) return true;
  note_refused(session, request, answer, "multi");
  reply.error(cat(
      "NOPERM ACLs rules changed between the moment the transaction was accumulated and the "
      "EXEC call. This command is no longer allowed for the following reason: ",
      answer.denied == AclDenied::kCommand ? "no permission to execute the command or subcommand"
      : answer.denied == AclDenied::kKey
          ? "no permission to touch the specified keys"
          : "no permission to access one of the channels used as arguments to the command"));
  return false;
}

bool Engine::lock_group(Session& session, std::span<const Request> requests, StripeLocks& locks) {
  absl::InlinedVector<KeyHash, kGroupMax> hashes;
  for (const Request& r : requests) hashes.push_back(r.hash);
  if (!locks.lock_idle(hashes)) return false;
  store().prefetch(*session.ns, hashes);
  return true;
}

namespace {

constexpr size_t kQuotedBytes = 128;  // of a word

bool is_unknown(const Request& request) {  // or has no such subcommand
  return request.row == nullptr || (request.row->subcommands > 0 && request.args.size() > 1);
}

void unknown_command(const Args& args, Reply& reply) {
  auto shown = [](std::string_view word) {  // as a C string, like Redis
    return word.substr(0, std::min(word.find('\0'), kQuotedBytes));
  };
  std::string text = cat("ERR unknown command '", shown(args[0]), "', with args beginning with: ");
  for (size_t i = 1; i < args.size() && text.size() < 256; i++) {
    append(text, "'", shown(args[i]), "' ");
  }
  reply.error(text);
}

// Whether there is such a command, and with so many words.
bool well_formed(const Row* row, const Args& args, Reply& reply) {
  if (row == nullptr) {
    unknown_command(args, reply);
    return false;
  }
  if (row->subcommands > 0 && args.size() > 1) {
    std::string_view word = args[1];
    word = word.substr(0, std::min<size_t>(word.find('\0'), 128));
    reply.error(cat("ERR unknown subcommand '", word, "'. Try ", upper(row->name), " HELP."));
    return false;
  }
  const auto n = static_cast<int>(args.size());
  if (row->arity > 0 ? n != row->arity : n < -row->arity) {
    reply.error(cat("ERR wrong number of arguments for '", row->name, "' command"));
    return false;
  }
  return true;
}

}  // namespace

void Engine::count_refused(const Row* row, std::string_view error) {
  if (row != nullptr) bump(counts_[table_.index_of(*row)].rejected);
  server_.stats.count_error(error.substr(0, error.find(' ')));
}

Engine::Refused Engine::check_form(const Request& request) const {
  if (is_unknown(request)) return Refused::kUnknown;
  const Row* row = request.row;
  const auto n = static_cast<int>(request.args.size());
  return (row->arity > 0 ? n != row->arity : n < -row->arity) ? Refused::kArity : Refused::kNo;
}

namespace {

// Keys are words of the request, never blobs: one that still is one is looked at when it was read
// back, or is as long as a value.
bool keys_fit(const Request& request, Reply& reply) {
  const Row& row = *request.row;
  const Args& args = request.args;
  for (const Key& key : request.keys) {
    const bool blob = args.has_blobs() && args.blob(key.word) != nullptr;
    if (blob ? (row.flags & kBlobArgs) == 0 : !is_refused_for_length(row, key)) continue;
    reply.error(kKeyTooLong);
    return false;
  }
  return true;
}

}  // namespace

bool Engine::fits_listener(const Session& session, const Row& row, Reply& reply) {
  if (!session.only_listens() || (row.flags & kListener)) return true;
  const bool aborts = row.flags & kQueue;
  reply.error(cat(aborts ? "EXECABORT Transaction discarded because of: " : "ERR ",
                  "Can't execute '", row.name,
                  "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
                  "this context"));
  return false;
}

bool Engine::in_one_slot(Session& session, const Request& request, Reply& reply) {
  if (session.id == kNoClient) return true;  // another door's keys are where they are
  OneSlot slot;
  bool one = slot.add(*request.row, request.args);
  if ((request.row->flags & kQueue) != 0 && session.in_multi) {
    for (const Request& queued : session.queue) one = one && slot.add(*queued.row, queued.args);
  }
  session.slot = slot.slot();
  if (!one) reply.error(kCrossSlot);
  return one;
}

static constexpr std::string_view kNoAuthText = "NOAUTH Authentication required.";

bool Engine::admit(Session& session, Request& request, Reply& reply) {
  const Row* row = request.row;
  const Args& args = request.args;
  if (!well_formed(row, args, reply)) return false;
  if (session.principal == nullptr && !(row->flags & kNoAuth)) {
    reply.error(kNoAuthText);
    return false;
  }
  if (store_.loading() && (!(row->flags & kLoading) || row->has_keys())) {
    reply.error("LOADING Redis is loading the dataset in memory");
    return false;
  }
  if (!args.lost().ok()) {
    reply.error(error_text(args.lost()));
    return false;
  }
  // Of anybody: what he would say is read into memory.
  if (args.has_blobs() && (row->flags & kNoAuth) != 0) {
    reply.error(cat("ERR an argument of '", row->name, "' is too long"));
    return false;
  }
  // What is queued runs where a SELECT before it leads.
  const NamespacePtr& space = session.queued_ns != nullptr ? session.queued_ns : session.ns;
  if (request.hash == 0) resolve(space, request);
  if (!keys_fit(request, reply)) return false;
  const bool at_once = !session.in_multi || (row->flags & kNoQueue) != 0;
  if (!may_all(session) && !permitted(session, request, *space, reply)) return false;
  if (server_.users.audit() != nullptr) [[unlikely]]
    note_audit(session, request, *space, true);
  const bool may_span = row->one_key == 0 && server_.cluster.enabled;
  if (may_span && !in_one_slot(session, request, reply)) return false;
  if (at_once) return fits_listener(session, *row, reply);
  request.forget_keys();  // of what is queued: they are looked up when it runs
  if (!fits_listener(session, *row, reply)) return false;
  if (row->flags & kNoMulti) {
    reply.error("ERR Command not allowed inside a transaction");
    return false;
  }
  const Status writes =
      (row->flags & kWrite) ? store().check_write(row->flags & kDenyOom) : absl::OkStatus();
  if (!writes.ok()) reply.error(error_text(writes));
  return writes.ok();
}

bool Engine::may_write(Context& c) {
  if (!(c.row.flags & kWrite)) return true;
  c.session.wrote = true;
  Status status = store().check_write(c.row.flags & kDenyOom);
  if (!status.ok()) c.status_error(status);
  return status.ok();
}

bool Engine::stripes_of(const Session& session, const Request& request,
                        absl::InlinedVector<KeyHash, 16>& hashes) const {
  const auto add = [&](const Request& r) {
    for (const Key& key : r.keys) {
      if (key.ns != nullptr) hashes.push_back(key.hash);
    }
  };
  add(request);
  const Row& row = *request.row;
  if ((row.flags & kWholeSpace) && (row.flags & kWrite) && !row.has_keys()) return true;  // a flush
  if (session.lacking != nullptr) {
    if (session.lacking->all_stripes) return true;
    for (auto& [ns, key] : session.lacking->keys) hashes.push_back(ns->hash(key));
  }
  if (request.row->flags & kQueue) {
    for (const Request& queued : session.queue) {
      if (queued.row->flags & kWholeSpace) return true;
      add(queued);
    }
    for (auto& w : session.watched.keys()) hashes.push_back(w.ns->hash(w.key));
  }
  return false;
}

bool Engine::lock_keys(const Session& session, const Request& request, StripeLocks& locks) {
  if (request.hash != 0) return locks.lock_idle(request.hash);
  absl::InlinedVector<KeyHash, 16> hashes;
  const bool all = stripes_of(session, request, hashes);
  if (holder_ != nullptr) return locks.lock_busy(holder_, hashes, all);
  if (all) return locks.lock_all_idle();
  return hashes.empty() || locks.lock_idle(hashes);
}

awaitable<Status> Engine::until_idle(Session& session, const Request& request) {
  Busy& busy = store_.busy();
  if (session.met_busy.has_value()) {
    const KeyHash met = *session.met_busy;
    session.met_busy.reset();
    co_return co_await busy.until_idle(met);
  }
  absl::InlinedVector<KeyHash, 16> hashes;
  const bool all = stripes_of(session, request, hashes);
  if (all) co_return co_await busy.until_all_idle();
  co_return co_await busy.until_idle(hashes);
}

// ---- running ----

void Engine::finish(Context& c, const Reply::Mark& mark) {
  Reply& reply = c.reply;
  // SHUTDOWN is answered by the end of the connection.
  const bool ends = c.session.close_after_reply && reply.due() == mark.due;
  if (!c.failure().empty()) {
    reply.cut(mark);
    reply.error(c.failure());
    c.errors_told = 0;
  } else if (!ends && reply.due() + 1 != mark.due) {
    server_.report(cat("the command '", c.row.name, "' did not answer exactly once"));
    reply.cut(mark);
    reply.error("ERR internal error: the command did not answer exactly once");
  }
  const uint64_t errors = reply.errors() - mark.errors;
  if (errors > c.errors_counted) bump(counts_[table_.index_of(c.row)].failed);
  if (errors > c.errors_counted + c.errors_told) {
    server_.stats.count_error(reply.last_error_code());
  }
}

namespace {
// Whether it looks at a value that only other doors can read. Scripts are asked at each call.
bool looks_at_encrypted(const Context& c) {
  for (const Key& key : c.request.keys) {
    if (key.ns == nullptr || !key.ns->may_hold_encrypted()) [[likely]]
      continue;
    if (!looks_at_value(key.flags) || c.row.group == "scripting") continue;
    const Entry* e = c.txn->find(*key.ns, key.name, key.hash);
    if (e != nullptr && is_encrypted(e)) return true;
  }
  return false;
}
}  // namespace

void Engine::call(Context& c) {
  constexpr uint64_t kAlwaysTimed = 16, kTimedEach = 64;
  Counts& counts = counts_[table_.index_of(c.row)];
  const uint64_t n = counts.calls.load(std::memory_order_relaxed);
  bump(counts.calls);
  if (looks_at_encrypted(c)) [[unlikely]]
    return c.reply.error(cat("ERR ", kEncrypted));
  if (server_.tracking.any()) [[unlikely]]
    server_.tracking.runs(c);
  const uint32_t looks = server_.lookout.bits();
  const bool brief = c.args.size() == c.row.brief && (looks & Lookout::kTimesAll) == 0;
  if (brief && n >= kAlwaysTimed && n % kTimedEach != 0) {
    bump(counts.ns, counts.last_ns);
    if ((looks & Lookout::kHistograms) != 0) count_duration(counts, counts.last_bucket);
    c.row.run(c);
  } else {
    const uint64_t begun = Ticks::now();
    c.row.run(c);
    const uint64_t ended = Ticks::now();  // on another processor it may seem to be before
    timed(c, counts, server_.lookout.ticks.ns(ended > begun ? ended - begun : 0));
  }
  if ((looks & Lookout::kMonitored) != 0) [[unlikely]] {
    if (!c.again) show(c);
    if (c.in_exec) return;
    c.session.shown_now = 0;
    if (!c.again) c.session.shown_before = 0;
  }
}

void Engine::show(Context& c) {
  if (std::exchange(c.shown, true) || (c.row.flags & kAdmin) != 0) return;
  if ((server_.lookout.bits() & Lookout::kMonitored) == 0) return;
  Session& session = c.session;
  if (++session.shown_now <= session.shown_before) return;
  session.shown_before = session.shown_now;
  server_.lookout.monitors.tell(server_.channels, c);
}

void Engine::timed(Context& c, Counts& counts, uint64_t ns) {
  Lookout& lookout = server_.lookout;
  counts.last_ns = ns;
  counts.last_bucket = Durations::bucket(ns);
  bump(counts.ns, ns);
  if (c.deferred() || c.again) return;  // what it takes is still to come
  if ((lookout.bits() & Lookout::kHistograms) != 0) count_duration(counts, counts.last_bucket);
  if (ns >= lookout.slow_ns()) lookout.note_slow(c, ns);
}

void Engine::count_duration(Counts& counts, size_t bucket) {
  Durations* durations = counts.durations.load(std::memory_order_relaxed);
  if (durations == nullptr) {
    durations = std::make_unique<Durations>().release();
    counts.durations.store(durations, std::memory_order_release);
  }
  durations->add(bucket);
}

bool Engine::paused(const Session& session, const Request& request) const {
  Lookout& lookout = server_.lookout;
  if ((lookout.bits() & Lookout::kPaused) == 0 || request.row == nullptr) return false;
  const int64_t now_ms = store_.now_ms();
  if (!lookout.pauses(session, request, now_ms)) return false;
  if (lookout.pause.what(now_ms) == Pause::What::kAll) return true;
  const auto writes = [&](const Request& r) {
    return may_replicate(*r.row) && !says_it_writes_nothing(server_, r);
  };
  const bool runs_queue = (request.row->flags & kQueue) != 0;
  return runs_queue ? std::any_of(session.queue.begin(), session.queue.end(), writes)
                    : writes(request);
}

Engine::Outcome Engine::run(Session& session, Request& request, Reply& reply, StripeLocks* held) {
  const Reply::Mark mark = reply.mark();
  StripeLocks own(store());
  const Outcome outcome = run_locked(session, request, reply, mark, held, own);
  if (server_.tracking.any()) [[unlikely]] {
    server_.tracking.ran(session, request.row, outcome.cold, !outcome.deferred);
  }
  if (!ready_.keys.empty()) serve_ready(held != nullptr ? *held : own);
  return outcome;
}

Engine::Outcome Engine::run_busy(Session& session, Request& request, Reply& reply,
                                 Busy::HolderPtr holder) {
  holder_ = std::move(holder);
  const Outcome outcome = run(session, request, reply);
  holder_ = nullptr;
  return outcome;
}

// What EXEC was refused for, as Redis says it, in MULTI or not.
static void say_aborted(Reply& reply, const Reply::Mark& mark) {
  constexpr std::string_view kArity = "wrong number of arguments for 'exec' command";
  const bool stranger = reply.last_error_code() == "NOAUTH";
  if (!stranger && reply.last_error_code() != "ERR") return;
  reply.cut(mark);
  reply.error(cat("EXECABORT Transaction discarded because of: ", stranger ? kNoAuthText : kArity));
}

Engine::Outcome Engine::run_locked(Session& session, Request& request, Reply& reply,
                                   const Reply::Mark& mark, StripeLocks* held, StripeLocks& own) {
  session.listed_row.store(request.row, std::memory_order_relaxed);
  if (request.args.has_blobs() && is_unknown(request) && session.principal != nullptr &&
      request.args.lost().ok()) {
    return {Lsn(), true, true};
  }
  if (!admit(session, request, reply)) {
    if (session.in_multi) session.multi_failed = true;
    const bool queues = request.row != nullptr && (request.row->flags & kQueue);
    if (queues) {
      session.leave_multi();  // as Redis, also where there is none
      say_aborted(reply, mark);
    }
    if (request.row != nullptr) bump(counts_[table_.index_of(*request.row)].rejected);
    server_.stats.count_error(reply.last_error_code());
    return {};
  }
  const Row* row = request.row;
  Args& args = request.args;
  if (paused(session, request)) return {Lsn(), true, true};
  if (args.has_blobs() && !(row->flags & kBlobArgs)) return {Lsn(), true, true};
  if (session.in_multi && !(row->flags & kNoQueue)) {
    enqueue(session, request, reply);
    return {};
  }
  if (row->flags & kQueue) resolve_queue(session);
  if (session.lacking != nullptr) request.hash = 0;  // a script's one key is not all it needs
  Context c(*this, session, request, reply);
  if (!may_write(c)) {
    bump(counts_[table_.index_of(*row)].rejected);
    reply.error(c.failure());
    server_.stats.count_error(reply.last_error_code());
    return {};
  }
  c.locks = held != nullptr ? held : &own;
  const bool several = (row->flags & kBatch) && args.size() > 2;
  Transaction txn(store(), c.locks, several ? Shape::kSeveral : Shape::kOne, c.wish());
  txn.set_committer(committer(session.id));
  c.txn = &txn;
  txn.names_changes();
  if (held == nullptr && !lock_keys(session, request, own)) return {Lsn(), true, true, true};
  c.locked = request.hash;
  if (waits_for_values(session, request)) return {Lsn(), true, true};
  const uint64_t hits = hits_.load(std::memory_order_relaxed);
  const uint64_t misses = misses_.load(std::memory_order_relaxed);
  call(c);
  if (c.again || c.deferred()) {  // it reads its keys once more
    hits_.store(hits, std::memory_order_relaxed);
    misses_.store(misses, std::memory_order_relaxed);
  }
  if (c.again) {
    session.unsent.clear();
    reply.cut(mark);
    const bool runs_long = session.lacking != nullptr && session.lacking->runs_long != nullptr;
    return {Lsn(), true, true, runs_long || session.met_busy.has_value()};
  }
  if (c.failure().empty()) {
    if (auto lsn = txn.commit(); !lsn.ok()) c.status_error(lsn.status());
  }
  // What is deferred looks for all of it again.
  c.tell_events(c.failure().empty() && !c.deferred());
  send_messages(c);
  c.saw(txn.seen());
  if (request.hash != 0 && (row->flags & kDenyOom) && store().memory().pressed()) {
    store().memory().shed(*session.ns, stripe_of(request.hash));
  }
  if (!c.deferred()) {
    finish(c, mark);
  } else {
    reply.cut(mark);
  }
  return {c.seen(), c.deferred(), false};
}

// ---- commands that wait ----

namespace {
// The keys whose values a request looks at.
void add_values(const Request& request, Faults::Keys& to) {
  for (const Key& key : request.keys) {
    if (key.ns == nullptr || !key.needs_value()) continue;
    to.emplace_back(key.ns->shared_from_this(), key.name);
  }
}
}  // namespace

Faults::Keys Engine::values_of(const Session& session, const Request& request) const {
  Faults::Keys keys;
  add_values(request, keys);
  if (session.lacking != nullptr) {
    for (auto& [ns, key] : session.lacking->keys) keys.emplace_back(ns, key);
  }
  if (request.row->flags & kQueue) {
    for (const Request& queued : session.queue) add_values(queued, keys);
  }
  return keys;
}

bool Engine::waits_for_values(Session& session, const Request& request) {
  if (!store().has_cold()) return false;
  if (request.hash != 0) {
    const Key& key = request.keys[0];
    if (!key.needs_value()) return false;
    Entry* e = key.ns->index->find(key.name, key.hash);
    return e != nullptr && e->is_cold();
  }
  Faults::Keys keys = values_of(session, request);
  store().faults().keep_cold(keys);
  return !keys.empty();
}

bool Engine::looks_at_cold(const Request& request) {
  return std::any_of(request.keys.begin(), request.keys.end(), [](const Key& key) {
    if (key.ns == nullptr || !key.needs_value()) return false;
    const Entry* e = key.ns->index->find(key.name, key.hash);
    return e != nullptr && e->is_cold();
  });
}

void Engine::note_lacking(Session& session, const Request& request, const Transaction& txn) {
  for (const Key& key : request.keys) {
    if (key.ns == nullptr) continue;
    session.lacks().keys.emplace_back(txn.outside(*key.ns).shared_from_this(),
                                      std::string(key.name));
  }
}

void Engine::send_messages(Context& c) {
  for (const Session::Message& m : c.session.unsent) {
    if (c.failure().empty()) (void)server_.channels.publish(m.kind, m.channel, m.text);
  }
  c.session.unsent.clear();
}

void Engine::run_inner(Context& inner) {
  const Reply::Mark mark = inner.reply.mark();
  call(inner);
  if (!inner.again) finish(inner, mark);
}

void Engine::fetch_ahead(Session& session, const Request& request) {
  if (request.hash == 0 || !request.keys[0].needs_value()) return;
  store().faults().start(session.ns, request.keys[0].name);
}

namespace {

// Of the keys those whose values are on disk alone, each once; how many bytes they take.
uint64_t keep_cold_once(Store& store, Faults::Keys& keys) {
  absl::flat_hash_set<std::pair<const Namespace*, std::string_view>> seen;
  uint64_t bytes = 0;
  std::erase_if(keys, [&](auto& k) {
    auto& [ns, name] = k;
    if (!seen.insert({ns.get(), name}).second) return true;
    const KeyHash hash = ns->hash(name);
    StripeLocks lock(store);
    if (!lock.lock_idle(hash)) return true;  // it is looked for when the command runs
    const Entry* e = ns->index->find(name, hash);
    if (e == nullptr || !e->is_cold()) return true;
    bytes += e->record_bytes();
    return false;
  });
  return bytes;
}

// All values of a command have to be in memory at once, beside what cannot leave it. One alone
// always may.
bool too_large_at_once(Store& store, const Faults::Keys& keys, uint64_t bytes) {
  constexpr uint64_t kAlways = 16 << 20;  // so much makes no difference, whatever the limit is
  const uint64_t budget = store.memory_count().budget();
  return keys.size() > 1 && budget != UINT64_MAX && bytes > std::max(budget / 2, kAlways);
}

}  // namespace

StatusOr<uint64_t> Engine::long_bytes(const Request& request) const {
  if (!request.args.has_blobs() || (request.row->flags & kBlobArgs)) return 0;
  constexpr uint64_t kPlain = 1 << 20;  // of commands for which long words are nothing usual
  uint64_t most = (request.row->flags & kLongArgs)
                      ? 2 * limits::element_bytes_max(store_.memory_bytes())
                      : kPlain;
  if (request.row->flags & kMessage) {
    const uint64_t word = server_.proto_max_bulk_len;
    most = capped_add(word, word);
  }
  uint64_t bytes = 0;
  for (size_t i = 1; i < request.args.size(); i++) {
    if (const BlobRef* blob = request.args.blob(i)) bytes = capped_add(bytes, blob->size);
  }
  if (bytes <= most) return bytes;
  return absl::ResourceExhaustedError(
      cat("the arguments of '", request.row->name, "' are too long"));
}

awaitable<Status> Engine::read_long_args(Request& request) {
  for (size_t i = 1; i < request.args.size(); i++) {
    const BlobRef* blob = request.args.blob(i);
    if (blob == nullptr) continue;
    store().extents().ref(*blob);
    BlobReader reader(store().extents(), *blob, 0, blob->size);
    store().extents().unref(*blob);
    auto text = co_await reader.read_all(blob->size);
    if (!text.ok()) co_return text.status();
    request.args.set_text(i, std::move(*text));
    request.hash = 0;  // it may be a key
  }
  co_return absl::OkStatus();
}

// What is quoted of an unknown command: the beginnings of its words.
static awaitable<Status> read_beginnings(Store& store, Args& args) {
  for (size_t i = 0; i < args.size(); i++) {
    const BlobRef* blob = args.blob(i);
    if (blob == nullptr) continue;
    const uint64_t bytes = std::min<uint64_t>(blob->size, kQuotedBytes);
    store.extents().ref(*blob);
    BlobReader reader(store.extents(), *blob, 0, bytes);
    store.extents().unref(*blob);
    auto text = co_await reader.read_all(bytes);
    if (!text.ok()) co_return text.status();
    args.set_text(i, std::move(*text));
  }
  co_return absl::OkStatus();
}

awaitable<Status> Engine::read_lacking(Session& session) {
  if (session.lacking == nullptr || session.lacking->blob == nullptr) co_return absl::OkStatus();
  Session::Lacking& lacking = *session.lacking;
  const std::unique_ptr<BlobReader> reader = std::move(lacking.blob);
  const uint64_t most = text_at_once_max(store_.memory_bytes());
  if (reader->left() > most - std::min(most, lacking.fetched_bytes)) {
    co_return absl::ResourceExhaustedError("the values are too long for a script or a transaction");
  }
  std::string name = Session::Lacking::name_of(*reader);
  auto value = co_await reader->read_all(most);
  if (!value.ok()) co_return value.status();
  lacking.fetched_bytes += value->size();
  lacking.fetched.emplace_back(std::move(name), *std::move(value));
  co_return absl::OkStatus();
}

awaitable<Engine::Outcome> Engine::run_cold(Session& session, Args& args, Reply& reply) {
  constexpr int kTries = 3;  // then memory holds still
  Request request(store());
  request.args.swap(args);
  prepare(session, request);
  if (is_unknown(request)) {
    (void)co_await read_beginnings(store(), request.args);  // else they are not quoted
    co_return run(session, request, reply);
  }
  const Row& row = *request.row;
  const Reply::Mark mark = reply.mark();
  std::optional<MemoryKeeper::Hold> hold;
  const auto long_ones = long_bytes(request);
  session.served = true;
  const absl::Cleanup forget = [&session] {
    session.lacking = nullptr;
    session.served = false;
  };
  const OfClient words(server_, session, long_ones.value_or(0));
  bool busy = true;  // perhaps
  std::optional<int64_t> busy_since_ms;
  const auto waited_too_long = [&] {
    const int64_t most_ms = store_.busy().patience_ms;
    return most_ms > 0 && busy_since_ms && store_.clock().now_ms() - *busy_since_ms > most_ms;
  };
  for (int tries = 0;; tries++) {
    if (paused(session, request)) hold.reset();  // memory is not to stand still for so long
    bool gone = session.ends();
    while (!gone && paused(session, request)) {
      const Blocked blocked(server_);  // as in Redis
      co_await server_.lookout.pause.wait(session, store().clock());
      // As in Redis, what is kept back of who hangs up is not done.
      gone = session.ends() || session.unblocked() == Session::Unblock::kGone;
    }
    if (tries == kTries) hold.emplace(store().memory());
    if (gone) {
      Context ended(*this, session, request, reply);
      ended.give_up();
      finish(ended, mark);
      co_return Outcome{};
    }
    if (request.hash == 0) resolve(session.ns, request);
    if (row.flags & kQueue) resolve_queue(session);
    if (busy) hold.reset();
    Status fetched;  // not by ?:, in which GCC 12 destroys what is awaited once too often
    if (busy && waited_too_long()) {  // though each who held one of them did so for a moment
      fetched = held_too_long(kBusyScript);
    } else if (busy) {
      fetched = co_await until_idle(session, request);
    }
    Faults::Keys keys = values_of(session, request);
    const uint64_t bytes = keep_cold_once(store(), keys);
    if (!fetched.ok()) {
      // They are not waited for any longer.
    } else if (!long_ones.ok()) {
      fetched = long_ones.status();
    } else if (!words.allowed()) {
      fetched = out_of_memory("clients hold too much.");
    } else if (too_large_at_once(store(), keys, bytes)) {
      fetched = out_of_memory("the values of this command do not fit in memory together.");
    } else {
      fetched = co_await store().faults().fetch_all(keys);
    }
    if (fetched.ok()) fetched = co_await read_lacking(session);
    if (fetched.ok() && !(row.flags & kBlobArgs)) fetched = co_await read_long_args(request);
    Outcome outcome;
    if (fetched.ok() && session.lacking != nullptr && session.lacking->runs_long != nullptr) {
      hold.reset();
      auto ran = co_await server_.long_scripts->run(session, request, reply);
      fetched = ran.status();
      if (ran.ok()) outcome = *ran;
    } else if (fetched.ok()) {
      outcome = run(session, request, reply);
    }
    if (!fetched.ok()) {
      // As every command that is refused before it runs: a transaction comes to nothing.
      if (session.in_multi && (row.flags & kNoQueue) == 0) session.multi_failed = true;
      Context failed(*this, session, request, reply);
      if (row.flags & kQueue) {
        discard_refused(failed, fetched);
      } else {
        failed.status_error(fetched);
      }
      finish(failed, mark);
      if (server_.tracking.any()) server_.tracking.ran(session, &row, false, true);
      co_return Outcome{};
    }
    busy = outcome.busy;
    if (!busy) {
      busy_since_ms.reset();
    } else if (!busy_since_ms) {
      busy_since_ms = store_.clock().now_ms();
    }
    if (busy && (session.lacking == nullptr || session.lacking->runs_long == nullptr)) tries = -1;
    if (outcome.cold) {
      if (session.ends()) {  // a script may go on and on
        session.close_after_reply = true;
        co_return Outcome{};
      }
      continue;
    }
    if (outcome.deferred) args.swap(request.args);
    co_return outcome;
  }
}

awaitable<Lsn> Engine::run_deferred(Session& session, Args& args, Reply& reply) {
  Request request(store());
  request.args.swap(args);
  prepare(session, request);
  if (request.hash == 0) resolve(session.ns, request);
  const Row& row = *request.row;
  const Reply::Mark mark = reply.mark();
  Context c(*this, session, request, reply);
  Transaction txn(store(), nullptr, Shape::kOne);  // of no change: each turn has its own
  c.txn = &txn;
  session.served = true;
  const Status idle = co_await until_idle(session, request);
  session.served = false;
  const int64_t begun = steady_ns(), waited = session.waited_ns;
  if (idle.ok()) {
    co_await row.run_deferred(c);
  } else {
    c.status_error(idle);
  }
  const int64_t busy = steady_ns() - begun - (session.waited_ns - waited);
  timed(c, counts_[table_.index_of(row)], static_cast<uint64_t>(std::max<int64_t>(busy, 0)));
  finish(c, mark);
  if (server_.tracking.any()) [[unlikely]]
    server_.tracking.answered(session, request);
  if (!ready_.keys.empty()) {
    StripeLocks none(store());
    serve_ready(none);
  }
  co_return c.seen();
}

}  // namespace cairn::kv
