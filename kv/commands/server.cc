// Commands about the server: flushing, saving, shutting down.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/blocking.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

void dbsize(Context& c) {
  Namespace& ns = c.ns();
  c.reply.integer(c.in_exec ? static_cast<int64_t>(ns.size()) : ns.committed_size());
  c.saw_all(ns);
  c.saw(Lsn(ns.added.load(std::memory_order_relaxed)));
}

bool flush_mode(Context& c) {
  if (c.args.size() == 1) return true;
  if (c.args.size() == 2 &&
      (equals_ignoring_case(c.args[1], "async") || equals_ignoring_case(c.args[1], "sync"))) {
    return true;
  }
  c.syntax_error();
  return false;
}

void answer(Context& c, const Status& status) {
  if (!status.ok()) return c.status_error(status);
  c.reply.ok();
}

void flushdb(Context& c) {
  if (!flush_mode(c)) return;
  // A version goes for good by its id alone.
  if (c.ns().versions() != nullptr) {
    return c.reply.error(
        "ERR this bucket keeps versions of its keys, which FLUSHDB would remove for good; remove "
        "keys, or versions by their ids");
  }
  answer(c, c.txn->flush(c.ns()));
}

// The numbered databases, as in Redis; buckets are left alone.
void flushall(Context& c) {
  if (flush_mode(c)) answer(c, c.txn->flush_databases());
}

// A word of SWAPDB: Redis takes any int, and asks then whether there is such a database.
bool index_of(Context& c, size_t i, int64_t& index, std::string_view which) {
  const auto number = parse_ll(c.args[i]);
  if (number && *number == static_cast<int32_t>(*number)) return index = *number, true;
  c.reply.error(cat("ERR invalid ", which, " DB index"));
  return false;
}

// What the databases hold, and neither who is in them nor who waits there.
void swapdb(Context& c) {
  if (c.engine.server().cluster.enabled) {
    return c.reply.error("ERR SWAPDB is not allowed in cluster mode");
  }
  int64_t a, b;
  if (!index_of(c, 1, a, "first") || !index_of(c, 2, b, "second")) return;
  const auto is_there = [&c](int64_t i) { return i >= 0 && i < int64_t{c.store.databases()}; };
  if (!is_there(a) || !is_there(b)) return c.reply.error("ERR DB index is out of range");
  if (a == b) return answer(c, absl::OkStatus());
  Namespace& one = c.store.database(static_cast<uint32_t>(a));
  Namespace& other = c.store.database(static_cast<uint32_t>(b));
  if (one.encrypts() != other.encrypts()) return c.reply.error(cat("ERR ", kOnlyEncrypted));
  answer(c, c.txn->swap(one, other));
}

void time_(Context& c) {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  c.reply.array(2);
  c.reply.bulk(cat(now.tv_sec));
  c.reply.bulk(cat(now.tv_nsec / 1000));
}

void shutdown(Context& c) {
  bool saved = false, unsaved = false, hurries = false, aborts = false;
  for (size_t i = 1; i < c.args.size(); i++) {
    const std::string word = lower(c.args[i]);
    const bool hurry = word == "now" || word == "force";
    if (!hurry && word != "save" && word != "nosave" && word != "abort") return c.syntax_error();
    saved |= word == "save";
    unsaved |= word == "nosave";
    aborts |= word == "abort";
    hurries |= hurry;
  }
  if ((saved && unsaved) || (aborts && (saved || unsaved || hurries))) return c.syntax_error();
  if (aborts) return c.reply.error("ERR No shutdown in progress.");
  Server& server = c.engine.server();
  std::string_view busy;
  const int64_t most_ms = c.store.busy().patience_ms;
  (void)server.running_scripts.oldest([&](const RunningScripts::Running& r) {
    const bool late = most_ms > 0 && (steady_ns() - r.begun_ns) / 1'000'000 > most_ms;
    if (late) busy = r.function ? kBusyFunction : kBusyScript;
  });
  if (!busy.empty() && !unsaved) return c.reply.error(busy_text(busy));
  c.session.close_after_reply = true;
  server.shutdown();
}

// A master of nobody.
void role(Context& c) {
  c.reply.array(3);
  c.reply.bulk("master");
  c.reply.integer(static_cast<int64_t>(c.store.log().tail().value()));
  c.reply.array(0);
}

// SAVE, BGSAVE and WAITAOF all mean: a log that is synced up to here.
void save(Context& c) { c.defer(); }

Lsn newest(Context& c) { return Lsn(c.store.log().tail().value() - 1); }

awaitable<Status> sync_log(Context& c) {
  const uint64_t changes = c.store.log().stats().changes;
  Status status = co_await c.store.log().wait_durable(newest(c));
  if (status.ok()) c.engine.server().note_save(c.now_ms(), changes);
  co_return status;
}

awaitable<void> save_deferred(Context& c) {
  Status status = co_await sync_log(c);
  if (!status.ok()) co_return c.status_error(status);
  c.reply.ok();
}

void bgsave(Context& c) {
  if (c.args.size() > 2 || (c.args.size() == 2 && !equals_ignoring_case(c.args[1], "schedule"))) {
    return c.syntax_error();
  }
  Server& server = c.engine.server();
  const uint64_t changes = c.store.log().stats().changes;
  c.store.log().when_durable(newest(c), c.store.any_executor(),
                             [&server, changes](const Status& status) {
                               if (status.ok()) server.note_save(server.store.now_ms(), changes);
                             });
  c.reply.simple("Background saving started");
}

// The log is cleaned as it is written; what is left is what the next start need not read of it.
void bgrewriteaof(Context& c) {
  if (c.store.checkpointer().asked()) {
    return c.reply.error("ERR Background append only file rewriting already in progress");
  }
  c.store.ask_for_checkpoint();
  c.reply.simple("Background append only file rewriting started");
}

void lastsave(Context& c) { c.reply.integer(c.engine.server().last_save_ms / 1000); }

awaitable<Woken> wait_blocked(Context& c, std::shared_ptr<Waiter> waiter, int64_t timeout_ms) {
  const Blocked blocked(c.engine.server());
  co_return co_await c.session.wait(std::move(waiter), c.store.clock(), timeout_ms,
                                    Session::Seen::kBlocked);
}

struct WaitAof {
  int64_t local = 0, replicas = 0, timeout_ms = 0;
};

bool parse(Context& c, WaitAof& w) {
  if (!c.integer(1, w.local)) return false;
  if (w.local < 0 || w.local > 1) {
    c.reply.error("ERR value is out of range, must be between 0 and 1");
    return false;
  }
  constexpr std::string_view kNotPositive = "ERR value is out of range, must be positive";
  if (!c.integer(2, w.replicas, kNotPositive)) return false;
  if (w.replicas < 0) {
    c.reply.error(kNotPositive);
    return false;
  }
  return milliseconds_to_wait(c, 3, w.timeout_ms);
}

void reply_durable(Context& c, Lsn lsn) {
  c.reply.array(2);
  c.reply.integer(c.store.log().is_durable(lsn));
  c.reply.integer(0);
}

void waitaof(Context& c) {
  WaitAof w;
  if (!parse(c, w)) return;
  if ((w.local > 0 || w.replicas > 0) && !c.in_exec) return c.defer();
  reply_durable(c, newest(c));
}

// There are no replicas, so waiting for some is over when its time is, or somebody ends it.
awaitable<void> waitaof_deferred(Context& c) {
  WaitAof w;
  if (!parse(c, w)) co_return;
  Log& log = c.store.log();
  const Lsn last = newest(c);
  auto waiter = std::make_shared<Waiter>();
  auto status = std::make_shared<Status>();
  const Executor executor = co_await asio::this_coro::executor;
  log.when_durable(last, executor, [waiter, status, w](const Status& durable) {
    *status = durable;
    if (w.replicas == 0 || !durable.ok()) waiter->wake();
  });
  const Woken how = co_await wait_blocked(c, waiter, w.timeout_ms);
  if (how == Woken::kCancelled && c.session.unblocked() == Session::Unblock::kError) {
    co_return c.reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
  }
  if (!status->ok()) co_return c.status_error(*status);
  reply_durable(c, last);
}

// Without replicas none ever acknowledges anything: it is over when its time is.
void wait_replicas(Context& c) {
  int64_t replicas, timeout_ms;
  if (!c.integer(1, replicas) || !milliseconds_to_wait(c, 2, timeout_ms)) return;
  if (replicas > 0 && !c.in_exec) return c.defer();
  c.reply.integer(0);
}

awaitable<void> wait_replicas_deferred(Context& c) {
  int64_t timeout_ms = 0;
  if (!milliseconds_to_wait(c, 2, timeout_ms)) co_return;
  const Woken how = co_await wait_blocked(c, std::make_shared<Waiter>(), timeout_ms);
  if (how == Woken::kCancelled && c.session.unblocked() == Session::Unblock::kError) {
    co_return c.reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
  }
  c.reply.integer(0);
}

constexpr std::string_view kGroup = "server";
constexpr uint32_t kSave = kAdmin | kNoScript | kDangerous;
constexpr Row kRows[] = {
    {"dbsize",
     1,
     kReadOnly | kFast,
     {},
     dbsize,
     nullptr,
     kGroup,
     "Returns the number of keys in the database."},
    {"flushdb",
     -1,
     kWrite | kWholeSpace | kDangerous,
     {},
     flushdb,
     nullptr,
     kGroup,
     "Removes all keys from the current database."},
    {"flushall",
     -1,
     kWrite | kWholeSpace | kAllDatabases | kDangerous,
     {},
     flushall,
     nullptr,
     kGroup,
     "Removes all keys from all numbered databases."},
    {"swapdb",
     3,
     kWrite | kFast | kWholeSpace | kAllDatabases | kDangerous,
     {},
     swapdb,
     nullptr,
     kGroup,
     "Swaps what two numbered databases hold.",
     "4.0.0"},
    {"time", 1, kFast | kLoading, {}, time_, nullptr, kGroup, "Returns the server time.", "2.6.0"},
    {"shutdown",
     -1,
     kSave | kNoMulti | kLoading,
     {},
     shutdown,
     nullptr,
     kGroup,
     "Synchronously saves the database(s) to disk and shuts down the server."},
    {"save",
     1,
     kSave | kNoMulti,
     {},
     save,
     save_deferred,
     kGroup,
     "Makes everything written so far durable."},
    {"bgsave", -1, kSave, {}, bgsave, nullptr, kGroup, "Makes everything written so far durable."},
    {"bgrewriteaof",
     1,
     kSave,
     {},
     bgrewriteaof,
     nullptr,
     kGroup,
     "Writes a checkpoint, from which the next start goes on instead of the whole log."},
    {"lastsave",
     1,
     kFast | kLoading | kDangerous,
     {},
     lastsave,
     nullptr,
     kGroup,
     "Returns the Unix timestamp of the last successful save to disk."},
    {"role",
     1,
     kFast | kLoading | kNoScript | kDangerous,
     {},
     role,
     nullptr,
     kGroup,
     "Returns the replication role.",
     "2.8.12"},
    {"wait",
     3,
     kNoScript,
     {},
     wait_replicas,
     wait_replicas_deferred,
     "generic",
     "Blocks until the asynchronous replication of all preceding write commands sent by the "
     "connection is completed.",
     "3.0.0"},
    {"waitaof",
     4,
     kNoScript | kBlocking,
     {},
     waitaof,
     waitaof_deferred,
     "generic",
     "Blocks until all of the preceding write commands sent by the connection are synced to disk.",
     "7.2.0"},
};

}  // namespace
std::span<const Row> server_rows() { return kRows; }

}  // namespace cairn::kv
