// INFO: what the server is, has and did.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "kv/commands/memory.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

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

struct Section {
  std::string_view name;
  bool by_default;
  void (*print)(Context&, std::string&);
};

std::string executable() {
  std::error_code ec;
  return std::filesystem::read_symlink("/proc/self/exe", ec).string();
}

void info_server(Context& c, std::string& out) {
  Server& s = c.engine.server();
  utsname os{};
  ::uname(&os);
  const int64_t up = (c.now_ms() - s.start_ms) / 1000;
  append(out, "redis_version:", kRedisVersion, "\r\ncairn_version:", CAIRN_VERSION,
         "\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n",
         "redis_mode:", s.cluster.enabled ? "cluster" : "standalone", "\r\nos:", os.sysname, " ",
         os.release, " ", os.machine,
         "\r\narch_bits:64\r\nmonotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:epoll\r\n",
         "atomicvar_api:c++-builtin\r\n", "storage_engine:", s.volume_engine,
         "\r\ngcc_version:", __GNUC__, ".", __GNUC_MINOR__, ".0\r\nprocess_id:", ::getpid(),
         "\r\nprocess_supervised:no\r\nrun_id:", s.run_id, "\r\ntcp_port:", s.port,
         "\r\nserver_time_usec:", c.now_ms() * 1000, "\r\nuptime_in_seconds:", up,
         "\r\nuptime_in_days:", up / 86400,
         "\r\nhz:50\r\nconfigured_hz:50\r\nlru_clock:", (c.now_ms() / 1000) & 0xffffff,
         "\r\nexecutable:", executable(), "\r\nconfig_file:", s.config_file,
         "\r\nio_threads_active:", s.threads > 1 ? 1 : 0, "\r\n");
}

void info_clients(Context& c, std::string& out) {
  Server& s = c.engine.server();
  uint64_t largest_in = 0, largest_out = 0, timed = 0;
  for (auto& session : s.sessions.all()) {
    timed += session->timed ? 1 : 0;
    largest_in = std::max(largest_in, session->held.query.load());
    largest_out = std::max(largest_out, session->held.answers.load() + session->outbox.bytes());
  }
  append(out, "connected_clients:", s.sessions.size(),
         "\r\ncluster_connections:0\r\nmaxclients:", s.max_clients.load(),
         "\r\nclient_recent_max_input_buffer:", largest_in,
         "\r\nclient_recent_max_output_buffer:", largest_out,
         "\r\nblocked_clients:", s.blocked_clients.load(),
         "\r\ntracking_clients:", s.tracking.clients(), "\r\npubsub_clients:", s.channels.clients(),
         "\r\nclients_in_timeout_table:", timed, "\r\ntotal_blocking_keys:", s.waiters.keys(),
         "\r\nmonitoring_clients:", s.lookout.monitors.size(), "\r\n");
}

std::string part_of(uint64_t a, uint64_t b, double times) {
  return fixed(b > 0 ? times * static_cast<double>(a) / static_cast<double>(b) : 0, 2);
}

void info_allocator(const HeldMemory& held, std::string& out) {
  const auto beyond = [](uint64_t of, uint64_t in) { return of - std::min(of, in); };
  const uint64_t rss = held.resident, active = held.active;
  append(out, "\r\nallocator_frag_ratio:", part_of(active, held.allocated, 1),
         "\r\nallocator_frag_bytes:", beyond(active, held.allocated),
         "\r\nallocator_rss_ratio:1.00\r\nallocator_rss_bytes:0",
         "\r\nrss_overhead_ratio:", part_of(rss, active, 1),
         "\r\nrss_overhead_bytes:", beyond(rss, active),
         "\r\nmem_fragmentation_ratio:", part_of(rss, held.used, 1),
         "\r\nmem_fragmentation_bytes:", beyond(rss, held.used));
}

// One Lua for each thread, for EVAL and for functions alike: of functions is what the libraries
// keep in it.
void info_scripts(const Server& s, std::string& out) {
  const auto lua = static_cast<uint64_t>(std::max<int64_t>(s.script_bytes.load(), 0));
  const uint64_t cached = s.scripts.bytes();
  const Server::Part::Counts f = s.function_counts();
  const uint64_t of_functions = std::min(lua, f.kept_bytes * s.threads), eval = lua - of_functions;
  append(out, "\r\nused_memory_lua:", eval, "\r\nused_memory_vm_eval:", eval,
         "\r\nused_memory_lua_human:", human(eval), "\r\nused_memory_scripts_eval:", cached,
         "\r\nnumber_of_cached_scripts:", s.scripts.size(), "\r\nnumber_of_functions:", f.functions,
         "\r\nnumber_of_libraries:", f.libraries, "\r\nused_memory_vm_functions:", of_functions,
         "\r\nused_memory_vm_total:", lua, "\r\nused_memory_vm_total_human:", human(lua),
         "\r\nused_memory_functions:", f.bytes, "\r\nused_memory_scripts:", cached + f.bytes,
         "\r\nused_memory_scripts_human:", human(cached + f.bytes));
}

void info_memory(Context& c, std::string& out) {
  const HeldMemory held(c);
  const uint64_t used = held.used, rss = held.resident, max = c.store.memory_bytes(),
                 machine = limits::memory_of(0), overhead = std::min(used, held.overhead());
  append(out, "used_memory:", used, "\r\nused_memory_human:", human(used),
         "\r\nused_memory_rss:", rss, "\r\nused_memory_rss_human:", human(rss),
         "\r\nused_memory_peak:", held.peak, "\r\nused_memory_peak_human:", human(held.peak),
         "\r\nused_memory_peak_perc:", part_of(used, held.peak, 100), "%",
         "\r\nused_memory_overhead:", overhead, "\r\nused_memory_startup:", held.startup,
         "\r\nused_memory_dataset:", held.dataset(),
         "\r\nused_memory_dataset_perc:", fixed(held.dataset_percent(), 2), "%",
         "\r\nallocator_allocated:", held.allocated, "\r\nallocator_active:", held.active,
         "\r\nallocator_resident:", held.active, "\r\ntotal_system_memory:", machine,
         "\r\ntotal_system_memory_human:", human(machine));
  info_scripts(c.engine.server(), out);
  append(out, "\r\nmaxmemory:", max, "\r\nmaxmemory_human:", human(max),
         "\r\nmaxmemory_policy:", name_of(c.store.memory().policy()));
  info_allocator(held, out);
  // A limit that counts keys and values alone does not count the rest.
  const bool counts_keys = max != 0 && c.store.memory_count().budget() == max;
  const uint64_t uncounted = counts_keys ? used - held.keys : 0;
  append(out, "\r\nmem_not_counted_for_evict:", uncounted, "\r\nmem_replication_backlog:0",
         "\r\nmem_total_replication_buffers:0\r\nmem_clients_slaves:0",
         "\r\nmem_clients_normal:", held.clients, "\r\nmem_cluster_links:0\r\nmem_aof_buffer:0",
         "\r\nmem_allocator:mimalloc\r\nactive_defrag_running:0",
         "\r\nlazyfree_pending_objects:", c.store.to_free_count(),
         "\r\nlazyfreed_objects:", c.engine.server().counted_elsewhere().freed,
         "\r\nchunks_in_use:", c.store.pool().in_use(),
         "\r\nchunks_waited_for:", c.store.pool().waiting(),
         "\r\nkeys_with_value_on_disk:", c.store.cold_count(), "\r\n");
}

void info_persistence(Context& c, std::string& out) {
  Server& s = c.engine.server();
  Status log = c.store.log().status();
  auto stats = c.store.log().stats();
  append(out, "loading:", c.store.loading() ? 1 : 0,
         "\r\nloading_loaded_perc:", c.store.loading_percent(), "\r\nasync_loading:0\r\n");
  if (c.store.loading()) {  // clients come again after so long
    const int64_t took = (c.now_ms() - s.start_ms) / 1000;
    const auto percent = static_cast<int64_t>(c.store.loading_percent());
    append(out, "loading_start_time:", s.start_ms / 1000,
           "\r\nloading_eta_seconds:", percent == 0 ? took : took * (100 - percent) / percent,
           "\r\n");
  }
  // Nothing is copied to be saved: each change is in the log when it is answered.
  append(out, "current_cow_peak:0\r\ncurrent_cow_size:0\r\ncurrent_cow_size_age:0",
         "\r\ncurrent_fork_perc:0.00\r\ncurrent_save_keys_processed:0",
         "\r\ncurrent_save_keys_total:0\r\nrdb_changes_since_last_save:",
         stats.changes - std::min(stats.changes, s.saved_changes.load()),
         "\r\nrdb_saves:", s.saves.load(),
         "\r\nrdb_last_cow_size:0\r\nrdb_last_load_keys_expired:0",
         "\r\nrdb_last_load_keys_loaded:", c.store.recovered_items(),
         "\r\naof_rewrites:", c.store.checkpointer().written(),
         "\r\naof_rewrites_consecutive_failures:0\r\naof_last_cow_size:0",
         "\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n");
  append(out, "rdb_bgsave_in_progress:0\r\nrdb_last_save_time:", s.last_save_ms / 1000,
         "\r\nrdb_last_bgsave_status:", log.ok() ? "ok" : "err",
         "\r\nrdb_last_bgsave_time_sec:-1\r\nrdb_current_bgsave_time_sec:-1\r\naof_enabled:1\r\n",
         "aof_rewrite_in_progress:", c.store.checkpointer().asked() ? 1 : 0,
         "\r\naof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:-1\r\n",
         "aof_current_rewrite_time_sec:-1\r\naof_last_bgrewrite_status:",
         c.store.checkpointer().failed() ? "err" : "ok", "\r\n",
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
Rate::PerSecond per_second(Context& c) {
  constexpr int64_t kLeastMs = 100;
  Server& server = c.engine.server();
  Rate& rate = server.rate;
  MutexLock lock(rate.mutex);
  if (rate.at_ms == 0) rate.at_ms = server.start_ms;
  const int64_t passed_ms = c.now_ms() - rate.at_ms;
  if (passed_ms < kLeastMs && passed_ms >= 0) return rate.per_second;
  const auto grown = [&](uint64_t& before, uint64_t now, uint64_t& each) {
    if (passed_ms > 0 && now >= before) {  // else it was reset
      each = (now - before) * 1000 / static_cast<uint64_t>(passed_ms);
    }
    before = now;
  };
  grown(rate.commands, c.engine.total_commands(), rate.per_second.commands);
  grown(rate.bytes_in, server.stats.bytes_in, rate.per_second.bytes_in);
  grown(rate.bytes_out, server.stats.bytes_out, rate.per_second.bytes_out);
  rate.at_ms = c.now_ms();
  return rate.per_second;
}

std::string kilobytes(uint64_t bytes) { return fixed(static_cast<double>(bytes) / 1024, 2); }

// What threads do beside commands; of what is not done here it tells that it was not.
void info_traffic(const Server& s, std::string& out) {
  const uint64_t reads = s.stats.reads, writes = s.stats.writes;
  const bool threads = s.threads > 1;
  append(out, "total_reads_processed:", reads, "\r\ntotal_writes_processed:", writes,
         "\r\nio_threaded_reads_processed:", threads ? reads : 0,
         "\r\nio_threaded_writes_processed:", threads ? writes : 0,
         "\r\ntotal_eviction_exceeded_time:0\r\ncurrent_eviction_exceeded_time:0",
         "\r\nactive_defrag_hits:0\r\nactive_defrag_misses:0\r\nactive_defrag_key_hits:0",
         "\r\nactive_defrag_key_misses:0\r\ntotal_active_defrag_time:0",
         "\r\ncurrent_active_defrag_time:0\r\ndump_payload_sanitizations:0",
         "\r\nreply_buffer_shrinks:0\r\nreply_buffer_expands:0\r\n");
}

void info_stats(Context& c, std::string& out) {
  Server& s = c.engine.server();
  Stats& t = s.stats;
  const Rate::PerSecond rate = per_second(c);
  const CountedElsewhere others = s.counted_elsewhere();
  using Kind = Channels::Kind;
  append(out, "total_connections_received:", t.connections.load(),
         "\r\ntotal_commands_processed:", c.engine.total_commands(),
         "\r\ninstantaneous_ops_per_sec:", rate.commands,
         "\r\ntotal_net_input_bytes:", t.bytes_in.load(),
         "\r\ntotal_net_output_bytes:", t.bytes_out.load(),
         "\r\ntotal_net_repl_input_bytes:0\r\ntotal_net_repl_output_bytes:0",
         "\r\ninstantaneous_input_kbps:", kilobytes(rate.bytes_in),
         "\r\ninstantaneous_output_kbps:", kilobytes(rate.bytes_out),
         "\r\ninstantaneous_input_repl_kbps:0.00\r\ninstantaneous_output_repl_kbps:0.00",
         "\r\nrejected_connections:", t.rejected_connections.load(),
         "\r\nevicted_clients:", others.evicted_clients,
         "\r\nclient_output_buffer_limit_disconnections:", t.output_limit_disconnections.load(),
         "\r\nsync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\nexpired_keys:",
         others.expired_keys, "\r\nexpired_stale_perc:0.00\r\nexpired_time_cap_reached_count:0",
         "\r\nexpire_cycle_cpu_milliseconds:", others.expiry_ns / 1'000'000,
         "\r\nevicted_keys:", others.evicted_keys,
         "\r\nspilled_values:", c.store.memory().stats().spilled,
         "\r\nvalue_reads:", c.store.faults().reads(), "\r\nkeyspace_hits:", c.engine.total_hits(),
         "\r\nkeyspace_misses:", c.engine.total_misses(),
         "\r\npubsub_channels:", s.channels.names(Kind::kChannel),
         "\r\npubsub_patterns:", s.channels.names(Kind::kPattern),
         "\r\npubsubshard_channels:", s.channels.names(Kind::kShardChannel),
         "\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\n",
         "slave_expires_tracked_keys:0\r\ntracking_total_keys:", s.tracking.keys(),
         "\r\ntracking_total_items:", s.tracking.items(),
         "\r\ntracking_total_prefixes:", s.tracking.prefixes(),
         "\r\nkeyspace_events_lost:", s.events.streams.lost(), "\r\nunexpected_error_replies:0\r\n",
         "total_error_replies:", t.error_replies.load(), "\r\n");
  info_traffic(s, out);
}

void info_replication(Context& c, std::string& out) {
  append(out, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n",
         "master_replid:", c.engine.server().run_id,
         "\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:",
         c.store.log().tail().value(),
         "\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\nrepl_backlog_size:0\r\n",
         "repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n");
}

// Of the thread that began the process: user and system time, as /proc tells them.
std::pair<double, double> main_thread_seconds() {
  std::ifstream file(cat("/proc/self/task/", ::getpid(), "/stat"));
  std::string stat((std::istreambuf_iterator<char>(file)), {});
  constexpr size_t kUser = 11, kSystem = 12;  // behind the name, which may hold anything
  const auto words = words_of(std::string_view(stat).substr(stat.rfind(')') + 1));
  if (words.size() <= kSystem) return {};
  const auto in_seconds = [&](size_t word) {
    const auto ticks = static_cast<double>(parse_int<uint64_t>(words[word]).value_or(0));
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  };
  return {in_seconds(kUser), in_seconds(kSystem)};
}

void info_cpu(Context&, std::string& out) {
  rusage self{}, children{};
  ::getrusage(RUSAGE_SELF, &self);
  ::getrusage(RUSAGE_CHILDREN, &children);
  append(out, "used_cpu_sys:", fixed(seconds(self.ru_stime), 6),
         "\r\nused_cpu_user:", fixed(seconds(self.ru_utime), 6),
         "\r\nused_cpu_sys_children:", fixed(seconds(children.ru_stime), 6),
         "\r\nused_cpu_user_children:", fixed(seconds(children.ru_utime), 6));
  const auto [user, system] = main_thread_seconds();
  append(out, "\r\nused_cpu_sys_main_thread:", fixed(system, 6),
         "\r\nused_cpu_user_main_thread:", fixed(user, 6), "\r\n");
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

void info_latencystats(Context& c, std::string& out) {
  const auto all = c.engine.durations();
  const auto percents = c.engine.server().percentiles();
  for (size_t i = 0; i < all.size() && !percents.empty(); i++) {
    if (total_of(all[i]) == 0) continue;
    append(out, "latency_percentiles_usec_", c.engine.table().rows()[i].name, ":");
    for (size_t p = 0; p < percents.size(); p++) {
      const auto us = static_cast<double>(percentile_of(all[i], percents[p])) / 1000;
      append(out, p == 0 ? "p" : ",p", percent_text(percents[p]), "=", fixed(us, 3));
    }
    out += "\r\n";
  }
}

void info_cluster(Context& c, std::string& out) {
  append(out, "cluster_enabled:", c.engine.server().cluster.enabled ? 1 : 0, "\r\n");
}

void info_keyspace(Context& c, std::string& out) {
  const auto saw = [&](const Namespace& ns) {
    c.saw_all(ns);
    c.saw(Lsn(ns.added.load(std::memory_order_relaxed)));
  };
  c.saw(c.store.newest_name());
  for (uint32_t i = 0; i < c.store.databases(); i++) {
    Namespace& ns = c.store.database(i);
    const int64_t keys = ns.committed_size();
    saw(ns);
    if (keys == 0) continue;
    append(out, "db", i, ":keys=", keys, ",expires=", ns.volatile_keys.load(),
           ",avg_ttl=", c.store.average_ttl_ms(ns), "\r\n");
  }
  for (auto& ns : c.store.buckets()) {
    saw(*ns);
    append(out, "bucket_", ns->name, ":keys=", ns->committed_size(),
           ",expires=", ns->volatile_keys.load(), ",avg_ttl=", c.store.average_ttl_ms(*ns), "\r\n");
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
    {"Latencystats", false, info_latencystats},
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

constexpr std::string_view kGroup = "server";
constexpr Row kRows[] = {
    {"info",
     -1,
     kLoading | kDangerous,
     {},
     info,
     nullptr,
     kGroup,
     "Returns information and statistics about the server."},
};

}  // namespace
std::span<const Row> info_rows() { return kRows; }

}  // namespace cairn::kv
