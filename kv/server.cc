// Commands about the server: INFO, CONFIG, COMMAND, durability, flushing.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "core/text.h"
#include "kv/engine.h"
#include "kv/hash.h"

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
         "\r\nclient_recent_max_input_buffer:0\r\nclient_recent_max_output_buffer:0\r\n",
         "blocked_clients:0\r\ntracking_clients:0\r\nclients_in_timeout_table:0\r\n");
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
         "\r\nmem_allocator:", "mimalloc",
         "\r\nactive_defrag_running:0\r\nlazyfree_pending_objects:0\r\n");
}

void info_persistence(Context& c, std::string& out) {
  Server& s = c.engine.server();
  Status log = c.store.log().status();
  auto stats = c.store.log().stats();
  append(out, "loading:", c.store.loading() ? 1 : 0,
         "\r\nloading_loaded_perc:", c.store.loading_percent(), "\r\nasync_loading:0\r\n",
         "rdb_bgsave_in_progress:0\r\nrdb_last_save_time:", s.last_save_ms / 1000,
         "\r\nrdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:0\r\n",
         "rdb_current_bgsave_time_sec:-1\r\nrdb_saves:0\r\naof_enabled:1\r\n",
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
  auto calls = c.engine.calls();
  for (size_t i = 0; i < calls.size(); i++) {
    if (calls[i] == 0) continue;
    append(out, "cmdstat_", c.engine.table().rows()[i].name, ":calls=", calls[i], "\r\n");
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

struct Parameter {
  std::string_view name;
  std::string (*get)(Server&);
  bool (*set)(Server&, std::string_view);  // null: cannot be changed at run time
};

bool set_durability(Server& s, std::string_view value) {
  for (auto d : {Durability::kAlways, Durability::kEverySec, Durability::kOff}) {
    if (!equals_ignoring_case(value, durability_name(d))) continue;
    s.durability = d;
    s.store.set_durability(d);
    return true;
  }
  return false;
}

template <std::atomic<uint64_t> Server::*Field>
bool set_number(Server& s, std::string_view value) {
  auto n = parse_memory(value);
  if (n) (s.*Field) = *n;
  return n.has_value();
}

constexpr Parameter kParameters[] = {
    {"appendfsync", [](Server& s) { return std::string(durability_name(s.durability)); },
     set_durability},
    {"appendonly", [](Server&) { return std::string("yes"); }, nullptr},
    {"bind", [](Server& s) { return s.bind_address; }, nullptr},
    {"client-output-buffer-limit", [](Server& s) { return s.client_limits.output_text(); },
     [](Server& s, std::string_view v) { return s.client_limits.set_output(v); }},
    {"cluster-enabled", [](Server&) { return std::string("no"); }, nullptr},
    {"databases", [](Server&) { return cat(kDatabases); }, nullptr},
    {"dir", [](Server& s) { return s.data_directory; }, nullptr},
    {"hash-max-listpack-entries", [](Server&) { return cat(Hash::kListpackEntries); }, nullptr},
    {"hash-max-listpack-value", [](Server&) { return cat(Hash::kListpackValue); }, nullptr},
    {"io-threads", [](Server& s) { return cat(s.threads); }, nullptr},
    {"maxclients", [](Server& s) { return cat(s.max_clients.load()); },
     [](Server& s, std::string_view v) {
       auto n = parse_memory(v);
       if (!n || *n == 0) return false;  // nobody could ever change it again
       s.max_clients = *n;
       return true;
     }},
    {"maxmemory", [](Server& s) { return cat(s.store.memory_bytes()); },
     [](Server& s, std::string_view v) {
       auto n = parse_memory(v);
       if (n) s.store.set_memory_bytes(*n);
       return n.has_value();
     }},
    {"maxmemory-clients", [](Server& s) { return s.client_limits.together_text(); },
     [](Server& s, std::string_view v) { return s.client_limits.set_together(v); }},
    {"maxmemory-policy", [](Server& s) { return std::string(name_of(s.store.memory().policy())); },
     [](Server& s, std::string_view v) {
       auto policy = eviction_policy(v);
       if (policy) s.store.memory().set_policy(*policy);
       return policy.has_value();
     }},
    {"port", [](Server& s) { return cat(s.port); }, nullptr},
    {"proto-max-bulk-len", [](Server& s) { return cat(s.proto_max_bulk_len.load()); },
     [](Server& s, std::string_view v) {
       auto n = parse_memory(v);
       if (!n || *n < (1 << 20)) return false;
       s.proto_max_bulk_len = *n;
       return true;
     }},
    {"save", [](Server&) { return std::string(); },
     [](Server&, std::string_view v) { return v.empty(); }},
    {"slave-read-only", [](Server&) { return std::string("yes"); }, nullptr},
    {"replica-read-only", [](Server&) { return std::string("yes"); }, nullptr},
    {"timeout", [](Server& s) { return cat(s.timeout_s.load()); }, set_number<&Server::timeout_s>},
    {"tls-port", [](Server& s) { return cat(s.tls_port); }, nullptr},
};

void config(Context& c) {
  Server& server = c.engine.server();
  std::string sub = lower(c.args[1]);
  if (sub == "get" && c.args.size() >= 3) {
    std::vector<const Parameter*> found;
    for (const Parameter& p : kParameters) {
      for (size_t i = 2; i < c.args.size(); i++) {
        if (glob_match(c.args[i], p.name, true)) {
          found.push_back(&p);
          break;
        }
      }
    }
    c.reply.map(found.size());
    for (auto* p : found) {
      c.reply.bulk(p->name);
      c.reply.bulk(p->get(server));
    }
    return;
  }
  if (sub == "set" && c.args.size() >= 4 && c.args.size() % 2 == 0) {
    std::vector<std::pair<const Parameter*, std::string_view>> changes;
    for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
      const Parameter* found = nullptr;
      for (const Parameter& p : kParameters) {
        if (equals_ignoring_case(p.name, c.args[i])) found = &p;
      }
      if (found == nullptr) {
        return c.reply.error(cat("ERR Unknown option or number of arguments for CONFIG SET - '",
                                 c.args[i].substr(0, 128), "'"));
      }
      if (found->set == nullptr) {
        return c.reply.error(cat("ERR CONFIG SET failed (possibly related to argument '",
                                 found->name, "') - can't set immutable config"));
      }
      changes.emplace_back(found, c.args[i + 1]);
    }
    for (auto& [p, value] : changes) {
      if (!p->set(server, value)) {
        return c.reply.error(cat("ERR CONFIG SET failed (possibly related to argument '", p->name,
                                 "') - argument couldn't be parsed or is not supported"));
      }
    }
    c.session.wrote = true;  // a lower limit of memory holds before the answer leaves
    return c.reply.ok();
  }
  if (sub == "resetstat" && c.args.size() == 2) {
    server.stats.reset();
    c.engine.reset_calls();
    return c.reply.ok();
  }
  if (sub == "rewrite" && c.args.size() == 2) {
    if (server.config_file.empty() || !server.rewrite_config) {
      return c.reply.error("ERR The server is running without a config file");
    }
    Status written = server.rewrite_config();
    if (written.ok()) return c.reply.ok();
    return c.reply.error(cat("ERR Rewriting config file: ", written.message()));
  }
  if (sub == "get" || sub == "set" || sub == "resetstat") {
    return c.reply.error(cat("ERR wrong number of arguments for 'config|", sub, "' command"));
  }
  c.reply.error(cat("ERR unknown subcommand '", c.args[1].substr(0, 128), "'. Try CONFIG HELP."));
}

// ---- COMMAND ----

void reply_flags(Context& c, const Row& row) {
  std::vector<std::string_view> names;
  for (auto [flag, name] : {std::pair(kWrite, "write"), std::pair(kReadOnly, "readonly"),
                            std::pair(kDenyOom, "denyoom"), std::pair(kAdmin, "admin"),
                            std::pair(kFast, "fast"), std::pair(kNoAuth, "no_auth"),
                            std::pair(kNoMulti, "no_multi"), std::pair(kLoading, "loading")}) {
    if (row.flags & flag) names.push_back(name);
  }
  c.reply.set(names.size());
  for (auto n : names) c.reply.simple(n);
}

void reply_command(Context& c, const Row& row) {
  c.reply.array(10);
  c.reply.bulk(row.name);
  c.reply.integer(row.arity);
  reply_flags(c, row);
  c.reply.integer(row.first_key);
  c.reply.integer(row.last_key);
  c.reply.integer(row.key_step);
  std::vector<std::string> categories;
  categories.push_back(cat("@", row.group == "generic" ? "keyspace" : row.group));
  if (row.flags & kWrite) categories.emplace_back("@write");
  if (row.flags & kReadOnly) categories.emplace_back("@read");
  if (row.flags & kAdmin) categories.emplace_back("@admin");
  categories.emplace_back(row.flags & kFast ? "@fast" : "@slow");
  c.reply.set(categories.size());
  for (auto& n : categories) c.reply.simple(n);
  c.reply.array(0);  // tips
  c.reply.array(0);  // key specifications
  c.reply.array(0);  // subcommands
}

void reply_docs(Context& c, const Row& row) {
  c.reply.bulk(row.name);
  c.reply.map(3);
  c.reply.bulk("summary");
  c.reply.bulk(row.summary);
  c.reply.bulk("since");
  c.reply.bulk(row.since);
  c.reply.bulk("group");
  c.reply.bulk(row.group);
}

void command_getkeys(Context& c) {
  if (c.args.size() < 3) {
    return c.reply.error("ERR wrong number of arguments for 'command|getkeys' command");
  }
  const Row* row = c.engine.table().find(c.args[2]);
  if (row == nullptr) return c.reply.error("ERR Invalid command specified");
  auto n = static_cast<int>(c.args.size()) - 2;
  if (row->arity > 0 ? n != row->arity : n < -row->arity) {
    return c.reply.error("ERR Invalid number of arguments specified for command");
  }
  std::vector<std::string_view> keys;
  if (row->first_key != 0) {
    int last = row->last_key < 0 ? n + row->last_key : row->last_key;
    for (int i = row->first_key; i <= last && i < n; i += row->key_step) {
      keys.push_back(c.args[static_cast<size_t>(i) + 2]);
    }
  }
  if (keys.empty()) return c.reply.error("ERR The command has no key arguments");
  c.reply.array(keys.size());
  for (auto k : keys) c.reply.bulk(k);
}

void command_list(Context& c) {
  std::optional<std::string_view> pattern, category;
  if (c.args.size() == 5 && equals_ignoring_case(c.args[2], "filterby")) {
    if (equals_ignoring_case(c.args[3], "pattern")) {
      pattern = c.args[4];
    } else if (equals_ignoring_case(c.args[3], "aclcat")) {
      category = c.args[4];
    } else if (equals_ignoring_case(c.args[3], "module")) {
      return c.reply.array(0);
    } else {
      return c.syntax_error();
    }
  } else if (c.args.size() != 2) {
    return c.syntax_error();
  }
  std::vector<std::string_view> names;
  for (const Row& row : c.engine.table().rows()) {
    if (pattern && !glob_match(*pattern, row.name, true)) continue;
    if (category && !equals_ignoring_case(*category, row.group) &&
        !(equals_ignoring_case(*category, "write") && (row.flags & kWrite)) &&
        !(equals_ignoring_case(*category, "read") && (row.flags & kReadOnly)) &&
        !(equals_ignoring_case(*category, "fast") && (row.flags & kFast)) &&
        !(equals_ignoring_case(*category, "admin") && (row.flags & kAdmin))) {
      continue;
    }
    names.push_back(row.name);
  }
  c.reply.array(names.size());
  for (auto n : names) c.reply.bulk(n);
}

void command(Context& c) {
  auto rows = c.engine.table().rows();
  std::string sub = c.args.size() > 1 ? lower(c.args[1]) : "";
  if (c.args.size() == 1 || (sub == "info" && c.args.size() == 2)) {
    c.reply.array(rows.size());
    for (const Row& row : rows) reply_command(c, row);
  } else if (sub == "count" && c.args.size() == 2) {
    c.reply.integer(static_cast<int64_t>(rows.size()));
  } else if (sub == "info") {
    c.reply.array(c.args.size() - 2);
    for (size_t i = 2; i < c.args.size(); i++) {
      const Row* row = c.engine.table().find(c.args[i]);
      if (row == nullptr) {
        c.reply.null_array();
      } else {
        reply_command(c, *row);
      }
    }
  } else if (sub == "docs") {
    std::vector<const Row*> found;
    for (const Row& row : rows) {
      bool wanted = c.args.size() == 2;
      for (size_t i = 2; i < c.args.size(); i++) {
        wanted |= equals_ignoring_case(c.args[i], row.name);
      }
      if (wanted) found.push_back(&row);
    }
    c.reply.map(found.size());
    for (auto* row : found) reply_docs(c, *row);
  } else if (sub == "getkeys") {
    command_getkeys(c);
  } else if (sub == "list") {
    command_list(c);
  } else {
    c.reply.error(
        cat("ERR unknown subcommand '", c.args[1].substr(0, 128), "'. Try COMMAND HELP."));
  }
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
void needs_sync(Context& c) { c.defer(); }

awaitable<Status> sync_log(Context& c) {
  Lsn tail = c.store.log().tail();
  Status status = co_await c.store.log().wait_durable(Lsn(tail.value() - 1));
  if (status.ok()) c.engine.server().last_save_ms = c.now_ms();
  co_return status;
}

awaitable<void> save_deferred(Context& c) {
  Status status = co_await sync_log(c);
  if (!status.ok()) co_return c.status_error(status);
  if (c.row.name == "bgsave") co_return c.reply.simple("Background saving started");
  c.reply.ok();
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
constexpr Row kRows[] = {
    {"info", -1, kLoading, 0, 0, 0, info, nullptr, kGroup,
     "Returns information and statistics about the server."},
    {"config", -2, kAdmin | kLoading, 0, 0, 0, config, nullptr, kGroup,
     "A container for server configuration commands.", "2.0.0"},
    {"command", -1, kLoading, 0, 0, 0, command, nullptr, kGroup,
     "Returns detailed information about all commands.", "2.8.13"},
    {"dbsize", 1, kReadOnly | kFast, 0, 0, 0, dbsize, nullptr, kGroup,
     "Returns the number of keys in the database."},
    {"flushdb", -1, kWrite | kWholeSpace, 0, 0, 0, flushdb, nullptr, kGroup,
     "Removes all keys from the current database."},
    {"flushall", -1, kWrite | kWholeSpace, 0, 0, 0, flushall, nullptr, kGroup,
     "Removes all keys from all numbered databases."},
    {"time", 1, kFast | kLoading, 0, 0, 0, time_, nullptr, kGroup, "Returns the server time.",
     "2.6.0"},
    {"shutdown", -1, kAdmin | kNoMulti, 0, 0, 0, shutdown, nullptr, kGroup,
     "Synchronously saves the database(s) to disk and shuts down the server."},
    {"save", 1, kAdmin | kNoMulti, 0, 0, 0, needs_sync, save_deferred, kGroup,
     "Makes everything written so far durable."},
    {"bgsave", -1, kAdmin | kNoMulti, 0, 0, 0, needs_sync, save_deferred, kGroup,
     "Makes everything written so far durable."},
    {"lastsave", 1, kFast | kLoading, 0, 0, 0, lastsave, nullptr, kGroup,
     "Returns the Unix timestamp of the last successful save to disk."},
    {"waitaof", 4, kNoMulti, 0, 0, 0, waitaof, waitaof_deferred, "generic",
     "Blocks until all of the preceding write commands sent by the connection are synced to disk.",
     "7.2.0"},
};

}  // namespace
std::span<const Row> server_rows() { return kRows; }

bool set_parameter(Server& server, std::string_view name, std::string_view value) {
  for (const Parameter& p : kParameters) {
    if (p.name == name) return p.set != nullptr && p.set(server, value);
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
