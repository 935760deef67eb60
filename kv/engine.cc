#include "kv/engine.h"

#include <absl/container/inlined_vector.h>

#include <cassert>
#include <cstring>

#include "core/text.h"

namespace cairn::kv {

// ---- the table ----

size_t Table::slot_of(std::string_view name) {
  uint64_t head = 0;
  for (size_t i = 0; i < name.size() && i < 8; i++) {
    head = head << 8 | static_cast<uint8_t>(name[i] | 32);
  }
  head ^= name.size() * 0x9e3779b97f4a7c15ULL;
  return (head * 0xbf58476d1ce4e5b9ULL) >> 54;
}

Table::Table() : slots_(kSlots) {
  for (auto family : {string_rows(), bit_rows(), hash_rows(), key_rows(), connection_rows(),
                      server_rows(), transaction_rows()}) {
    rows_.insert(rows_.end(), family.begin(), family.end());
  }
  for (const Row& row : rows_) {
    size_t i = slot_of(row.name);
    while (slots_[i] != nullptr) i = (i + 1) % kSlots;
    slots_[i] = &row;
  }
}

const Row* Table::find(std::string_view name) const {
  for (size_t i = slot_of(name); slots_[i] != nullptr; i = (i + 1) % kSlots) {
    if (equals_ignoring_case(slots_[i]->name, name)) return slots_[i];
  }
  return nullptr;
}

// ---- running ----

Engine::Engine(Server& server, const Table& table, std::vector<std::unique_ptr<Engine>>& all)
    : server_(server), table_(table), all_(all), calls_(table.rows().size()) {
  for (size_t i = 0; i < kGroupMax; i++) group_.emplace_back(server.store);
}

std::vector<uint64_t> Engine::calls() const {
  std::vector<uint64_t> sum(calls_.size());
  for (auto& engine : all_) {
    for (size_t i = 0; i < sum.size(); i++) {
      sum[i] += engine->calls_[i].load(std::memory_order_relaxed);
    }
  }
  return sum;
}

void Engine::reset_calls() {
  for (auto& engine : all_) {
    for (auto& c : engine->calls_) c = 0;
    engine->hits_ = 0;
    engine->misses_ = 0;
  }
}

uint64_t Engine::total_commands() const {
  uint64_t sum = 0;
  for (uint64_t n : calls()) sum += n;
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

namespace {
bool has_one_key(const Row& row) {
  return row.first_key != 0 && row.last_key == row.first_key && row.name != "move";
}
}  // namespace

void Engine::prepare(Session& session, Request& request) {
  const Row* row = request.row = table_.find(request.args[0]);
  request.hash = 0;
  if (row == nullptr || session.in_multi || !has_one_key(*row)) return;
  const auto key = static_cast<size_t>(row->first_key);
  if (key >= request.args.size()) return;
  request.hash = session.ns->hash(request.args[key]);
  store().prefetch(request.hash);
}

void Engine::lock_group(Session& session, std::span<const Request> requests, StripeLocks& locks) {
  absl::InlinedVector<KeyHash, kGroupMax> hashes;
  for (const Request& r : requests) hashes.push_back(r.hash);
  locks.lock(hashes);
  store().prefetch(*session.ns, hashes);
}

const Row* Engine::admit(Session& session, const Request& request, Reply& reply) {
  const Row* row = request.row;
  const Args& args = request.args;
  if (row == nullptr) {
    auto shown = [](std::string_view word) {  // as a C string, like Redis
      return word.substr(0, std::min<size_t>(word.find('\0'), 128));
    };
    std::string text =
        cat("ERR unknown command '", shown(args[0]), "', with args beginning with: ");
    for (size_t i = 1; i < args.size() && text.size() < 256; i++) {
      append(text, "'", shown(args[i]), "' ");
    }
    reply.error(text);
    return nullptr;
  }
  auto n = static_cast<int>(args.size());
  if (row->arity > 0 ? n != row->arity : n < -row->arity) {
    reply.error(cat("ERR wrong number of arguments for '", row->name, "' command"));
    return nullptr;
  }
  if (server_.auth_required && !session.authenticated && !(row->flags & kNoAuth)) {
    reply.error("NOAUTH Authentication required.");
    return nullptr;
  }
  if (store().loading() && (!(row->flags & kLoading) || row->first_key != 0)) {
    reply.error("LOADING Redis is loading the dataset in memory");
    return nullptr;
  }
  if (args.has_blobs() && !(row->flags & (kBlobArgs | kLongArgs))) {
    reply.error(cat("ERR an argument of '", row->name, "' is too long"));
    return nullptr;
  }
  if (row->first_key != 0) {  // keys are words of the request, never blobs
    int last = row->last_key < 0 ? n + row->last_key : row->last_key;
    for (int i = row->first_key; i <= last && i < n; i += row->key_step) {
      auto at = static_cast<size_t>(i);
      if (args[at].size() > kKeyBytesMax || (args.has_blobs() && args.blob(at) != nullptr)) {
        reply.error("ERR a key has at most 65535 bytes");
        return nullptr;
      }
    }
  }
  return row;
}

bool Engine::may_write(Context& c) {
  if (!(c.row.flags & kWrite)) return true;
  c.session.wrote = true;
  Status status = store().check_write(c.row.flags & kDenyOom);
  if (status.ok()) return true;
  c.status_error(status);
  return false;
}

void Engine::lock_keys(Session& session, const Request& request, StripeLocks& locks) {
  const Row& row = *request.row;
  if (request.hash != 0) return locks.lock(request.hash);
  if (row.first_key == 0 || static_cast<size_t>(row.first_key) >= request.args.size()) return;
  std::vector<KeyHash> hashes;
  for (auto& [ns, key] : keys_of(row, session, request.args, store())) {
    hashes.push_back(ns->hash(key));
  }
  locks.lock(hashes);
}

Engine::Outcome Engine::run(Session& session, Request& request, Reply& reply, StripeLocks* held) {
  reply.clear_failed();
  Args& args = request.args;
  const Row* row = admit(session, request, reply);
  if (row == nullptr) {
    if (session.in_multi) session.multi_failed = true;
    return {};
  }
  if (args.has_blobs() && !(row->flags & kBlobArgs)) return {Lsn(), true, true};
  if (session.in_multi && !(row->flags & kNoQueue)) {
    enqueue(session, *row, args, reply);
    return {};
  }
  Context c(*this, session, *row, args, reply);
  if (!may_write(c)) return {};
  if (request.hash != 0) c.know_hash(request.hash);
  StripeLocks own(store());
  c.locks = held != nullptr ? held : &own;
  const bool several = (row->flags & kBatch) && args.size() > 2;
  Transaction txn(store(), c.locks, several ? Shape::kSeveral : Shape::kOne, c.wish());
  c.txn = &txn;
  if (held == nullptr) lock_keys(session, request, own);
  if (waits_for_values(session, request)) return {Lsn(), true, true};
  auto& calls = calls_[table_.index_of(*row)];
  calls.store(calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  row->run(c);
  if (auto lsn = txn.commit(); !lsn.ok()) c.status_error(lsn.status());
  c.saw(txn.seen());
  if (request.hash != 0 && (row->flags & kDenyOom) && store().memory().pressed()) {
    store().memory().shed(*session.ns, stripe_of(request.hash));
  }
  return {c.seen(), c.deferred(), c.waits_for_values()};
}

// ---- commands that wait ----

namespace {

// Whether the command looks at the values of its keys.
bool needs_values(const Row& row, const Args& args) {
  if (row.flags & kKeyOnly) return false;
  if (row.name != "set") return true;
  for (size_t i = 3; i < args.size(); i++) {
    if (equals_ignoring_case(args[i], "get")) return true;
  }
  return false;
}

// The keys of a transaction's commands; a SELECT among them moves those that follow.
KeyList queued_keys(Session& session, Store& store, bool with_values) {
  KeyList all;
  const NamespacePtr home = session.ns;
  for (auto& q : session.queue) {
    if (!with_values || needs_values(*q.row, *q.args)) {
      for (auto& key : keys_of(*q.row, session, *q.args, store)) all.push_back(std::move(key));
    }
    if (q.row->name == "select") {
      if (auto to = store.find_namespace(namespace_name((*q.args)[1]))) session.ns = to;
    }
  }
  session.ns = home;
  return all;
}

}  // namespace

KeyList Engine::keys_with_values(Session& session, const Row& row, const Args& args) {
  if (row.run == exec) return queued_keys(session, store(), true);
  if (!needs_values(row, args)) return {};
  return keys_of(row, session, args, store());
}

bool Engine::waits_for_values(Session& session, const Request& request) {
  if (!store().has_cold() || !needs_values(*request.row, request.args)) return false;
  if (request.hash != 0) {
    const auto key = request.args[static_cast<size_t>(request.row->first_key)];
    Entry* e = session.ns->index->find(key, request.hash);
    return e != nullptr && e->is_cold();
  }
  KeyList keys = keys_of(*request.row, session, request.args, store());
  store().faults().keep_cold(keys);
  return !keys.empty();
}

void Engine::fetch_ahead(Session& session, const Request& request) {
  if (request.hash == 0 || !needs_values(*request.row, request.args)) return;
  store().faults().start(session.ns, request.args[static_cast<size_t>(request.row->first_key)]);
}

awaitable<Lsn> Engine::run_deferred(Session& session, Args& args, Reply& reply) {
  constexpr int kTries = 3;  // then memory holds still
  Request request(store());
  request.args.swap(args);
  request.row = table_.find(request.args[0]);
  const Row& row = *request.row;
  Context c(*this, session, row, request.args, reply);
  Transaction txn(store(), nullptr, Shape::kOne);  // of no change: each turn has its own
  c.txn = &txn;
  std::optional<MemoryKeeper::Hold> hold;
  for (int tries = 0;; tries++) {
    if (tries == kTries) hold.emplace(store().memory());
    const KeyList keys = keys_with_values(session, row, request.args);
    Status fetched = co_await store().faults().fetch_all(keys);
    for (size_t i = 1; i < request.args.size() && fetched.ok(); i++) {
      const BlobRef* blob = (row.flags & kBlobArgs) ? nullptr : request.args.blob(i);
      if (blob == nullptr) continue;
      store().extents().ref(*blob);
      BlobReader reader(store().extents(), *blob, 0, blob->size);
      store().extents().unref(*blob);
      auto text = co_await reader.read_all(Entry::kValueBytesMax);
      fetched = text.status();
      if (text.ok()) request.args.set_text(i, std::move(*text));
    }
    if (!fetched.ok()) {
      c.status_error(fetched);
      co_return Lsn();
    }
    const Outcome outcome = run(session, request, reply);
    if (!outcome.deferred) co_return outcome.seen;
    if (!outcome.cold) break;
  }
  co_await row.run_deferred(c);
  co_return c.seen();
}

// ---- transactions ----

void Engine::enqueue(Session& session, const Row& row, Args& args, Reply& reply) {
  constexpr uint64_t kQueuedBytesMax = 512 << 20;
  constexpr size_t kQueuedMax = 1'000'000;
  if (row.flags & kNoMulti) {
    session.multi_failed = true;
    return reply.error("ERR Command not allowed inside a transaction");
  }
  if (row.flags & kWrite) {
    if (Status s = store().check_write(row.flags & kDenyOom); !s.ok()) {
      session.multi_failed = true;
      return reply.error(error_text(s));
    }
  }
  constexpr uint64_t kCommandBytes = 256, kWordBytes = 64;  // what it takes to keep them
  session.queued_bytes += kCommandBytes;
  for (size_t i = 0; i < args.size(); i++) session.queued_bytes += args[i].size() + kWordBytes;
  if (session.queued_bytes > kQueuedBytesMax || session.queue.size() >= kQueuedMax) {
    session.multi_failed = true;
    return reply.error("ERR the transaction is too large");
  }
  auto owned = std::make_unique<Args>(store());
  owned->assign_owned(args);
  session.queue.push_back({&row, std::move(owned)});
  reply.simple("QUEUED");
}

void Engine::multi(Context& c) {
  if (c.session.in_multi) return c.reply.error("ERR MULTI calls can not be nested");
  c.session.in_multi = true;
  c.reply.ok();
}

void Engine::discard(Context& c) {
  if (!c.session.in_multi) return c.reply.error("ERR DISCARD without MULTI");
  c.session.leave_multi();
  c.reply.ok();
}

void Engine::watch(Context& c) {
  if (c.session.in_multi) return c.reply.error("ERR WATCH inside MULTI is not allowed");
  for (size_t i = 1; i < c.args.size(); i++) {
    const bool present = c.find(c.args[i]) != nullptr;
    c.session.watched.add(c.engine.server().watches, c.session.ns, c.args[i], present);
  }
  c.reply.ok();
}

void Engine::unwatch(Context& c) {
  c.session.watched.clear();
  c.reply.ok();
}

namespace {
// Nothing of the transaction was done.
void discard_refused(Context& c, const Status& status) {
  c.session.leave_multi();
  c.reply.error(cat("EXECABORT Transaction discarded because of: ", error_text(status)));
}
}  // namespace

void Engine::exec(Context& c) {
  Session& session = c.session;
  Engine& engine = c.engine;
  if (!session.in_multi) return c.reply.error("ERR EXEC without MULTI");
  if (session.multi_failed) {
    session.leave_multi();
    return c.reply.error("EXECABORT Transaction discarded because of previous errors.");
  }
  std::vector<KeyHash> hashes;
  for (auto& [ns, key] : queued_keys(session, c.store, false)) hashes.push_back(ns->hash(key));
  for (auto& w : session.watched.keys()) hashes.push_back(w.ns->hash(w.key));
  uint32_t flags = 0;  // of any of them
  for (auto& q : session.queue) flags |= q.row->flags;
  if (flags & kWrite) {
    session.wrote = true;
    Status status = c.store.check_write(flags & kDenyOom);
    if (!status.ok()) return discard_refused(c, status);
  }
  StripeLocks& locks = *c.locks;
  if (flags & kWholeSpace) {
    locks.lock_all();
  } else if (!hashes.empty()) {
    locks.lock(hashes);
  }
  if (c.store.has_cold()) {
    KeyList cold = queued_keys(session, c.store, true);
    c.store.faults().keep_cold(cold);
    if (!cold.empty()) return c.wait_for_values();
  }
  std::vector<Session::Queued> queue = std::move(session.queue);
  bool touched = session.watched.touched();
  for (auto& w : session.watched.keys()) {  // all of them: a refusal rests on what they are now
    const Entry* e = c.find(*w.ns, w.key);
    touched |= w.present && e == nullptr;  // one that expired may still be there
  }
  session.leave_multi();
  if (touched) return c.reply.null_array();
  const Reply::Mark begin = c.reply.mark();
  const NamespacePtr home = session.ns;
  Transaction txn(c.store, &locks, Shape::kSeveral, c.wish());
  c.reply.array(queue.size());
  for (auto& q : queue) {
    Context inner(engine, session, *q.row, *q.args, c.reply);
    inner.locks = &locks;
    inner.txn = &txn;
    inner.in_exec = true;
    q.row->run(inner);
    c.saw(inner.seen());
    if (!txn.status().ok()) break;
  }
  auto lsn = txn.commit();
  c.saw(txn.seen());
  if (lsn.ok()) return;
  c.reply.cut(begin);
  session.ns = home;
  discard_refused(c, lsn.status());
}

namespace {
constexpr Row kTransactionRows[] = {
    {"multi", 1, kFast | kNoQueue | kLoading, 0, 0, 0, Engine::multi, nullptr, "transactions",
     "Starts a transaction."},
    {"exec", 1, kNoQueue | kLoading, 0, 0, 0, Engine::exec, nullptr, "transactions",
     "Executes all commands in a transaction."},
    {"discard", 1, kFast | kNoQueue | kLoading, 0, 0, 0, Engine::discard, nullptr, "transactions",
     "Discards a transaction."},
    {"watch", -2, kFast | kNoQueue | kLoading | kKeyOnly, 1, -1, 1, Engine::watch, nullptr,
     "transactions", "Monitors changes to keys to determine the execution of a transaction."},
    {"unwatch", 1, kFast | kLoading, 0, 0, 0, Engine::unwatch, nullptr, "transactions",
     "Forgets about watched keys of a transaction."},
};
}  // namespace
std::span<const Row> transaction_rows() { return kTransactionRows; }

}  // namespace cairn::kv
