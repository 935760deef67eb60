// Commands about the server: INFO, CONFIG, durability, flushing.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "core/base/text.h"
#include "kv/engine/engine.h"
#include "kv/types/glob.h"
#include "kv/types/hash.h"

namespace cairn::kv {
namespace {

// ---- INFO ----

std::string human(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "K", "M", "G", "T"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit < 4) value /= 1024, unit++;
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f%s" : "%.2f%s", value, kUnits[unit]);
  return text;
}

double seconds(const timeval& t) { return static_cast<double>(t.tv_sec) + t.tv_usec / 1e6; }

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string_view durability_name(Durability d) {  // in Redis's words
  return d == Durability::kAlways ? "always" : d == Durability::kEverySec ? "everysec" : "no";
}

struct Section {
  std::string_view name;
  bool by_default;
  void (*print)(Context&, std::string&);
};

void info_server(Context& c, std::string& out) {
  Server& s = c.engine.server();
  utsname os{};
  ::uname(&os);
  const int64_t up = (c.now_ms() - s.start_ms) / 1000;
  append(out, "redis_version:7.4.0\r\ncairn_version:", CAIRN_VERSION,
         "\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n",
         "redis_mode:standalone\r\nos:", os.sysname, " ", os.release, " ", os.machine,
         "\r\narch_bits:64\r\nmonotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:epoll\r\n",
         "storage_engine:", s.volume_engine, "\r\ngcc_version:", __GNUC__, ".", __GNUC_MINOR__,
         ".0\r\nprocess_id:", ::getpid(), "\r\nprocess_supervised:no\r\nrun_id:", s.run_id,
         "\r\ntcp_port:", s.port, "\r\nserver_time_usec:", c.now_ms() * 1000,
         "\r\nuptime_in_seconds:", up, "\r\nuptime_in_days:", up / 86400,
         "\r\nhz:50\r\nconfigured_hz:50\r\nlru_clock:", (c.now_ms() / 1000) & 0xffffff,
         "\r\nexecutable:/proc/self/exe\r\nconfig_file:", s.config_file,
         "\r\nio_threads_active:", s.threads > 1 ? 1 : 0, "\r\n");
}

void info_clients(Context& c, std::string& out) {
  Server& s = c.engine.server();
  append(out, "connected_clients:", s.sessions.size(),
         "\r\ncluster_connections:0\r\nmaxclients:", s.max_clients.load(),
         "\r\nblocked_clients:0\r\ntracking_clients:0\r\n");
}

void info_memory(Context& c, std::string& out) {
  const uint64_t used = c.store.used_bytes(), rss = process_resident_bytes(),
                 max = c.store.memory_bytes(), top = c.store.memory().peak_bytes();
  append(out, "used_memory:", used, "\r\nused_memory_human:", human(used),
         "\r\nused_memory_rss:", rss, "\r\nused_memory_rss_human:", human(rss),
         "\r\nused_memory_peak:", top, "\r\nused_memory_peak_human:", human(top),
         "\r\nused_memory_dataset:", used, "\r\nused_memory_lua:0\r\nmaxmemory:", max,
         "\r\nmaxmemory_human:", human(max),
         "\r\nmaxmemory_policy:", name_of(c.store.memory().policy()),
         "\r\nmem_clients_normal:", c.engine.server().sessions.buffer_bytes(),
         "\r\nchunks_in_use:", c.store.pool().in_use(),
         "\r\nchunks_waited_for:", c.store.pool().waiting(),
         "\r\nkeys_with_value_on_disk:", c.store.cold_count(), "\r\nmem_fragmentation_ratio:",
         fixed(used > 0 ? static_cast<double>(rss) / static_cast<double>(used) : 0, 2),
         "\r\nmem_allocator:", "mimalloc", "\r\nactive_defrag_running:0\r\n");
}

void info_persistence(Context& c, std::string& out) {
  Server& s = c.engine.server();
  Status log = c.store.log().status();
  auto stats = c.store.log().stats();
  append(out, "loading:", c.store.loading() ? 1 : 0,
         "\r\nloading_loaded_perc:", c.store.loading_percent(), "\r\nasync_loading:0\r\n",
         "rdb_bgsave_in_progress:0\r\nrdb_last_save_time:", s.last_save_ms / 1000,
         "\r\nrdb_last_bgsave_status:", log.ok() ? "ok" : "err",
         "\r\nrdb_current_bgsave_time_sec:-1\r\naof_enabled:1\r\n",
         "aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:-1\r\n",
         "aof_current_rewrite_time_sec:-1\r\naof_last_bgrewrite_status:ok\r\n",
         "aof_last_write_status:", log.ok() ? "ok" : "err", "\r\naof_current_size:", stats.bytes,
         "\r\nlog_segments_freed:", c.store.cleaner().stats().segments_freed,
         "\r\ncheckpoints_written:", c.store.checkpointer().written(),
         "\r\nrecovered_from_checkpoint:", c.store.recovered_items(),
         "\r\nrecovered_from_log:", c.store.recovered_records(),
         "\r\nlog_frames_written:", stats.frames, "\r\nlog_syncs:", stats.syncs,
         "\r\nlog_tail_lsn:", c.store.log().tail().value(),
         "\r\nlog_durable_lsn:", c.store.log().durable().value(), "\r\n");
}

// Of the time since somebody asked before, at least a tenth of a second ago.
uint64_t ops_per_second(Context& c) {
  constexpr int64_t kLeastMs = 100;
  Rate& rate = c.engine.server().rate;
  MutexLock lock(rate.mutex);
  if (rate.at_ms == 0) rate.at_ms = c.engine.server().start_ms;
  const int64_t passed_ms = c.now_ms() - rate.at_ms;
  const uint64_t commands = c.engine.total_commands();
  if (passed_ms < kLeastMs && passed_ms >= 0) return rate.per_second;
  if (passed_ms > 0 && commands >= rate.commands) {
    rate.per_second = (commands - rate.commands) * 1000 / static_cast<uint64_t>(passed_ms);
  }
  rate.at_ms = c.now_ms();
  rate.commands = commands;
  return rate.per_second;
}

void info_stats(Context& c, std::string& out) {
  Server& s = c.engine.server();
  Stats& t = s.stats;
  append(out, "total_connections_received:", t.connections.load(),
         "\r\ntotal_commands_processed:", c.engine.total_commands(),
         "\r\ninstantaneous_ops_per_sec:", ops_per_second(c),
         "\r\ntotal_net_input_bytes:", t.bytes_in.load(),
         "\r\ntotal_net_output_bytes:", t.bytes_out.load(),
         "\r\nrejected_connections:", t.rejected_connections.load(),
         "\r\nevicted_clients:", s.sessions.sent_away(),
         "\r\nclient_output_buffer_limit_disconnections:", t.output_limit_disconnections.load(),
         "\r\nsync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\nexpired_keys:",
         c.store.expired_count(), "\r\nevicted_keys:", c.store.memory().stats().evicted,
         "\r\nspilled_values:", c.store.memory().stats().spilled,
         "\r\nvalue_reads:", c.store.faults().reads(), "\r\nkeyspace_hits:", c.engine.total_hits(),
         "\r\nkeyspace_misses:", c.engine.total_misses(),
         "\r\npubsub_channels:0\r\npubsub_patterns:0\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\n",
         "total_error_replies:", t.error_replies.load(), "\r\n");
}

void info_replication(Context& c, std::string& out) {
  append(out, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n",
         "master_replid:", c.engine.server().run_id,
         "\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:",
         c.store.log().tail().value(),
         "\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\nrepl_backlog_size:0\r\n",
         "repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n");
}

void info_cpu(Context&, std::string& out) {
  rusage self{}, children{};
  ::getrusage(RUSAGE_SELF, &self);
  ::getrusage(RUSAGE_CHILDREN, &children);
  append(out, "used_cpu_sys:", fixed(seconds(self.ru_stime), 6),
         "\r\nused_cpu_user:", fixed(seconds(self.ru_utime), 6),
         "\r\nused_cpu_sys_children:", fixed(seconds(children.ru_stime), 6),
         "\r\nused_cpu_user_children:", fixed(seconds(children.ru_utime), 6), "\r\n");
}

void info_modules(Context&, std::string&) {}

void info_commandstats(Context& c, std::string& out) {
  auto all = c.engine.calls();
  for (size_t i = 0; i < all.size(); i++) {
    const Engine::Calls& n = all[i];
    if (n.calls + n.rejected + n.failed == 0) continue;
    const double each = n.calls == 0 ? 0 : n.us / static_cast<double>(n.calls);
    append(out, "cmdstat_", c.engine.table().rows()[i].name, ":calls=", n.calls,
           ",usec=", static_cast<uint64_t>(n.us), ",usec_per_call=", fixed(each, 2),
           ",rejected_calls=", n.rejected, ",failed_calls=", n.failed, "\r\n");
  }
}

void info_errorstats(Context& c, std::string& out) {
  Stats& stats = c.engine.server().stats;
  MutexLock lock(stats.mutex);
  for (auto& [code, count] : stats.errors) {
    append(out, "errorstat_", code, ":count=", count, "\r\n");
  }
}

void info_cluster(Context&, std::string& out) { out += "cluster_enabled:0\r\n"; }

void info_keyspace(Context& c, std::string& out) {
  for (uint32_t i = 0; i < kDatabases; i++) {
    Namespace& ns = c.store.database(i);
    if (ns.size() == 0) continue;
    append(out, "db", i, ":keys=", ns.size(), ",expires=", ns.volatile_keys.load(),
           ",avg_ttl=", c.store.average_ttl_ms(ns), "\r\n");
  }
  for (auto& ns : c.store.buckets()) {
    append(out, "bucket_", ns->name, ":keys=", ns->size(), ",expires=", ns->volatile_keys.load(),
           ",avg_ttl=", c.store.average_ttl_ms(*ns), "\r\n");
  }
}

constexpr Section kSections[] = {
    {"Server", true, info_server},
    {"Clients", true, info_clients},
    {"Memory", true, info_memory},
    {"Persistence", true, info_persistence},
    {"Stats", true, info_stats},
    {"Replication", true, info_replication},
    {"CPU", true, info_cpu},
    {"Modules", true, info_modules},
    {"Commandstats", false, info_commandstats},
    {"Errorstats", true, info_errorstats},
    {"Cluster", true, info_cluster},
    {"Keyspace", true, info_keyspace},
};

void info(Context& c) {
  auto wanted = [&](const Section& s) {
    if (c.args.size() == 1) return s.by_default;
    for (size_t i = 1; i < c.args.size(); i++) {
      std::string_view word = c.args[i];
      if (equals_ignoring_case(word, "all") || equals_ignoring_case(word, "everything") ||
          (equals_ignoring_case(word, "default") && s.by_default) ||
          equals_ignoring_case(word, s.name)) {
        return true;
      }
    }
    return false;
  };
  std::string out;
  for (const Section& s : kSections) {
    if (!wanted(s)) continue;
    if (!out.empty()) out += "\r\n";
    append(out, "# ", s.name, "\r\n");
    s.print(c, out);
  }
  c.reply.verbatim(out);
}

// ---- CONFIG ----

std::optional<uint64_t> parse_memory(std::string_view text) {
  uint64_t bytes;
  return kv::parse_memory(text, bytes) ? std::optional(bytes) : std::nullopt;
}

// Why a value will not do; empty: it was taken.
using Refusal = std::string;

struct Parameter {
  std::string_view name;
  std::string (*get)(Server&);
  Refusal (*set)(Server&, std::string_view);  // null: cannot be changed at run time
};

Refusal set_durability(Server& s, std::string_view value) {
  for (auto d : {Durability::kAlways, Durability::kEverySec, Durability::kOff}) {
    if (!equals_ignoring_case(value, durability_name(d))) continue;
    s.durability = d;
    s.store.set_durability(d);
    return {};
  }
  return "argument(s) must be one of the following: everysec, always, no";
}

template <std::atomic<uint64_t> Server::*Field, uint64_t Min, uint64_t Max, bool IsMemory = false>
Refusal set_number(Server& s, std::string_view value) {
  const bool negative = parse_ll(value).value_or(0) < 0;
  const auto n = IsMemory ? parse_memory(value) : parse_int<uint64_t>(value);
  if (!n && !negative) {
    return IsMemory ? "argument must be a memory value"
                    : "argument couldn't be parsed into an integer";
  }
  if (negative || *n < Min || *n > Max) {
    return cat("argument must be between ", Min, " and ", Max, " inclusive");
  }
  (s.*Field) = *n;
  return {};
}

Refusal set_memory(Server& s, std::string_view value) {
  const auto n = parse_memory(value);
  if (!n) return "argument must be a memory value";
  s.store.set_memory_bytes(*n);
  return {};
}

Refusal set_policy(Server& s, std::string_view value) {
  const auto policy = eviction_policy(value);
  if (!policy) {
    return "argument(s) must be one of the following: volatile-lru, volatile-lfu, "
           "volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction";
  }
  s.store.memory().set_policy(*policy);
  return {};
}

Refusal taken(bool ok) { return ok ? "" : "argument couldn't be parsed or is not supported"; }

Refusal set_save(Server&, std::string_view value) {
  return value.empty() ? "" : "there are no snapshots: the log is the database";
}

constexpr Parameter kParameters[] = {
    {"appendfsync", [](Server& s) { return std::string(durability_name(s.durability)); },
     set_durability},
    {"appendonly", [](Server&) { return std::string("yes"); }, nullptr},
    {"bind", [](Server& s) { return s.bind_address; }, nullptr},
    {"client-output-buffer-limit", [](Server& s) { return s.client_limits.output_text(); },
     [](Server& s, std::string_view v) { return taken(s.client_limits.set_output(v)); }},
    {"cluster-enabled", [](Server&) { return std::string("no"); }, nullptr},
    {"databases", [](Server&) { return cat(kDatabases); }, nullptr},
    {"dir", [](Server& s) { return s.data_directory; }, nullptr},
    {"hash-max-listpack-entries", [](Server&) { return cat(Hash::kListpackEntries); }, nullptr},
    {"hash-max-listpack-value", [](Server&) { return cat(Hash::kListpackValue); }, nullptr},
    {"io-threads", [](Server& s) { return cat(s.threads); }, nullptr},
    {"maxclients", [](Server& s) { return cat(s.max_clients.load()); },
     set_number<&Server::max_clients, 1, UINT32_MAX>},
    {"maxmemory", [](Server& s) { return cat(s.store.memory_bytes()); }, set_memory},
    {"maxmemory-clients", [](Server& s) { return s.client_limits.together_text(); },
     [](Server& s, std::string_view v) { return taken(s.client_limits.set_together(v)); }},
    {"maxmemory-policy", [](Server& s) { return std::string(name_of(s.store.memory().policy())); },
     set_policy},
    {"port", [](Server& s) { return cat(s.port); }, nullptr},
    {"proto-max-bulk-len", [](Server& s) { return cat(s.proto_max_bulk_len.load()); },
     set_number<&Server::proto_max_bulk_len, 1 << 20, INT64_MAX, true>},
    {"save", [](Server&) { return std::string(); }, set_save},
    {"slave-read-only", [](Server&) { return std::string("yes"); }, nullptr},
    {"replica-read-only", [](Server&) { return std::string("yes"); }, nullptr},
    {"timeout", [](Server& s) { return cat(s.timeout_s.load()); },
     set_number<&Server::timeout_s, 0, INT32_MAX>},
    {"tls-port", [](Server& s) { return cat(s.tls_port); }, nullptr},
};

void config_get(Context& c) {
  std::vector<const Parameter*> found;
  for (const Parameter& p : kParameters) {
    for (size_t i = 2; i < c.args.size(); i++) {
      if (!glob_match(c.args[i], p.name, true)) continue;
      found.push_back(&p);
      break;
    }
  }
  c.reply.map(found.size());
  for (auto* p : found) {
    c.reply.bulk(p->name);
    c.reply.bulk(p->get(c.engine.server()));
  }
}

// All of them, or none.
void config_set(Context& c) {
  Server& server = c.engine.server();
  struct Change {
    const Parameter* parameter;
    std::string_view value;
    std::string before;
  };
  std::vector<Change> changes;
  auto refuse = [&](const Parameter& p, std::string_view why) {
    c.reply.error(
        cat("ERR CONFIG SET failed (possibly related to argument '", p.name, "') - ", why));
  };
  if (c.args.size() % 2 != 0) return c.syntax_error();
  for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
    const auto* p = std::find_if(std::begin(kParameters), std::end(kParameters), [&](auto& known) {
      return equals_ignoring_case(known.name, c.args[i]);
    });
    if (p == std::end(kParameters)) {
      return c.reply.error(cat("ERR Unknown option or number of arguments for CONFIG SET - '",
                               c.args[i].substr(0, 128), "'"));
    }
    if (p->set == nullptr) return refuse(*p, "can't set immutable config");
    for (const Change& other : changes) {
      if (other.parameter == p) return refuse(*p, "duplicate parameter");
    }
    changes.push_back({p, c.args[i + 1], p->get(server)});
  }
  for (size_t i = 0; i < changes.size(); i++) {
    const Refusal why = changes[i].parameter->set(server, changes[i].value);
    if (why.empty()) continue;
    for (size_t done = 0; done < i; done++) {
      (void)changes[done].parameter->set(server, changes[done].before);
    }
    return refuse(*changes[i].parameter, why);
  }
  c.session.wrote = true;  // a lower limit of memory holds before the answer leaves
  c.reply.ok();
}

void config_resetstat(Context& c) {
  c.engine.server().stats.reset();
  c.engine.reset_calls();
  c.reply.ok();
}

void config_rewrite(Context& c) {
  const Server& server = c.engine.server();
  if (server.config_file.empty() || !server.rewrite_config) {
    return c.reply.error("ERR The server is running without a config file");
  }
  const Status written = server.rewrite_config();
  if (written.ok()) return c.reply.ok();
  c.reply.error(cat("ERR Rewriting config file: ", written.message()));
}

// ---- the rest ----

void dbsize(Context& c) {
  c.saw_all(c.ns());
  c.reply.integer(static_cast<int64_t>(c.ns().size()));
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

void flushed(Context& c, const Status& status) {
  if (!status.ok()) return c.status_error(status);
  c.reply.ok();
}

void flushdb(Context& c) {
  if (flush_mode(c)) flushed(c, c.txn->flush(c.ns()));
}

// The numbered databases, as in Redis; buckets are left alone.
void flushall(Context& c) {
  if (flush_mode(c)) flushed(c, c.txn->flush_databases());
}

void time_(Context& c) {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  c.reply.array(2);
  c.reply.bulk(cat(now.tv_sec));
  c.reply.bulk(cat(now.tv_nsec / 1000));
}

void shutdown(Context& c) {
  for (size_t i = 1; i < c.args.size(); i++) {
    std::string word = lower(c.args[i]);
    if (word == "abort") return c.reply.error("ERR No shutdown in progress.");
    if (word != "nosave" && word != "save" && word != "now" && word != "force") {
      return c.syntax_error();
    }
  }
  c.session.close_after_reply = true;
  c.engine.server().shutdown();
}

// SAVE, BGSAVE and WAITAOF all mean: a log that is synced up to here.
void save(Context& c) { c.defer(); }

Lsn newest(Context& c) { return Lsn(c.store.log().tail().value() - 1); }

awaitable<Status> sync_log(Context& c) {
  Status status = co_await c.store.log().wait_durable(newest(c));
  if (status.ok()) c.engine.server().last_save_ms = c.now_ms();
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
  c.store.log().when_durable(newest(c), c.store.any_executor(), [&server](const Status& status) {
    if (status.ok()) server.last_save_ms = server.store.now_ms();
  });
  c.reply.simple("Background saving started");
}

void lastsave(Context& c) { c.reply.integer(c.engine.server().last_save_ms / 1000); }

void waitaof(Context& c) {
  int64_t local, replicas, timeout;
  if (!c.integer(1, local) || !c.integer(2, replicas) || !c.integer(3, timeout)) return;
  if (local < 0 || local > 1)
    return c.reply.error("ERR value is out of range, must be between 0 and 1");
  if (replicas < 0) return c.reply.error("ERR value is out of range, must be positive");
  if (timeout < 0) return c.reply.error("ERR timeout is negative");
  if (local == 1) return c.defer();
  c.reply.array(2);
  c.reply.integer(c.store.log().is_durable(Lsn(c.store.log().tail().value() - 1)));
  c.reply.integer(0);
}

// There are no replicas to wait for, so asking for some answers 0 of them at once. The wait ends
// too when its time is over, or somebody ends it.
awaitable<void> waitaof_deferred(Context& c) {
  int64_t timeout_ms = 0;
  if (!c.integer(3, timeout_ms)) co_return;
  Log& log = c.store.log();
  const Lsn last(log.tail().value() - 1);
  auto waiter = std::make_shared<Waiter>();
  auto status = std::make_shared<Status>();
  const Executor executor = co_await asio::this_coro::executor;
  log.when_durable(last, executor, [waiter, status](const Status& durable) {
    *status = durable;
    waiter->wake();
  });
  const Woken how = co_await c.session.wait(waiter, c.store.clock(), timeout_ms);
  if (how == Woken::kCancelled && c.session.unblocked() == Session::Unblock::kError) {
    co_return c.reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
  }
  if (!status->ok()) co_return c.status_error(*status);
  c.reply.array(2);
  c.reply.integer(log.is_durable(last));
  c.reply.integer(0);
}

constexpr std::string_view kGroup = "server";
constexpr uint32_t kConfig = kAdmin | kLoading | kNoScript | kDangerous;
constexpr uint32_t kSave = kAdmin | kNoScript | kDangerous;
constexpr Row kRows[] = {
    {"info",
     -1,
     kLoading | kDangerous,
     {},
     info,
     nullptr,
     kGroup,
     "Returns information and statistics about the server."},
    {"config",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for server configuration commands.",
     "2.0.0"},
    {"config|get",
     -3,
     kConfig | kLongArgs,
     {},
     config_get,
     nullptr,
     kGroup,
     "Returns the effective values of configuration parameters.",
     "2.0.0"},
    {"config|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "5.0.0"},
    {"config|resetstat",
     2,
     kConfig,
     {},
     config_resetstat,
     nullptr,
     kGroup,
     "Resets the server's statistics.",
     "2.0.0"},
    {"config|rewrite",
     2,
     kConfig,
     {},
     config_rewrite,
     nullptr,
     kGroup,
     "Persists the effective configuration to file.",
     "2.8.0"},
    {"config|set",
     -4,
     kConfig,
     {},
     config_set,
     nullptr,
     kGroup,
     "Sets configuration parameters in-flight.",
     "2.0.0"},
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
    {"lastsave",
     1,
     kFast | kLoading | kAdmin | kDangerous,
     {},
     lastsave,
     nullptr,
     kGroup,
     "Returns the Unix timestamp of the last successful save to disk."},
    {"waitaof",
     4,
     kNoMulti,
     {},
     waitaof,
     waitaof_deferred,
     "generic",
     "Blocks until all of the preceding write commands sent by the connection are synced to disk.",
     "7.2.0"},
};

}  // namespace
std::span<const Row> server_rows() { return kRows; }

bool set_parameter(Server& server, std::string_view name, std::string_view value) {
  for (const Parameter& p : kParameters) {
    if (p.name == name) return p.set != nullptr && p.set(server, value).empty();
  }
  return false;
}

std::string get_parameter(Server& server, std::string_view name) {
  for (const Parameter& p : kParameters) {
    if (p.name == name) return p.get(server);
  }
  return {};
}

}  // namespace cairn::kv
