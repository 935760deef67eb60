#include "gateway/http/admin/admin.h"

#include <sys/resource.h>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/store/auth_failure.h"
#include "gateway/auth/credentials.h"
#include "gateway/http/admin/quota.h"

namespace cairn::admin {

awaitable<void> Admin::handle(const http::Request& request, http::Response& response) {
  const auto plain = [&response] { response.set("Content-Type", "text/plain; version=0.0.4"); };
  if (request.path.starts_with(kQuotaPath)) {
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (!reads && request.method != "PUT" && request.method != "DELETE") {
      plain();
      response.status = 405;
      response.body = "only GET, HEAD, PUT and DELETE\n";
      co_return;
    }
    const Action& action = reads ? kGetQuota : kSetQuota;
    const int status = co_await may(request, action);
    if (status != 200) {
      plain();
      co_return refuse(response, request, status, action);
    }
    co_return co_await serve_quota(server_.store, server_.users, request, response);
  }
  plain();
  if (request.method != "GET" && request.method != "HEAD") {
    response.status = 405;
    response.body = "only GET and HEAD\n";
  } else if (request.path == "/-/health/live") {
    response.body = "live\n";
  } else if (request.path == "/-/health/ready") {
    const Store::Health health = server_.store.health();
    response.status = health.ready ? 200 : 503;
    response.body = health.ready ? "ready\n" : "";
    for (const std::string& problem : health.problems) append(response.body, problem, "\n");
    if (const uint64_t reads = alarms_.count(alarm::kDamage); reads > 0) {
      append(response.body, "reads that met damage: ", reads, ", at last ",
             alarms_.last(alarm::kDamage), "\n");
    }
  } else if (request.path == "/-/metrics") {
    response.status = co_await may_see_metrics(request);
    if (response.status == 200) {
      response.body = metrics();
    } else {
      refuse(response, request, response.status, kMetrics);
    }
  } else {
    response.status = 404;
    response.body = "not found\n";
  }
  co_return;
}

void Admin::refuse(http::Response& response, const http::Request& request, int status,
                   const Action& action) const {
  response.status = status;
  if (status == 403) {
    response.body = cat("this user may not do it: it takes admin:", action.name, "\n");
  } else if (status == 503) {
    response.set("Retry-After", "1");
    response.body = "not now, try again later\n";
  } else {
    response.set("WWW-Authenticate", "Basic realm=\"cairn\"");
    response.body =
        request.has_header("authorization") ? "wrong user or password\n" : "it takes credentials\n";
  }
}

awaitable<int> Admin::may_see_metrics(const http::Request& request) const {
  if (metrics_on_loopback_ && request.from_loopback) co_return 200;
  co_return co_await may(request, kMetrics);
}

awaitable<int> Admin::may(const http::Request& request, const Action& action) const {
  if (server_.store.loading() || server_.users.loading()) co_return 503;
  const auto known = co_await authenticate_patiently(
      server_.users, std::string(request.header("authorization")), request.peer);
  if (!known.ok()) co_return 503;
  const PrincipalPtr& who = *known;
  if (who == nullptr && request.has_header("authorization")) {
    note_auth_failure(server_.users, server_.store.options().report, alarm::kAuthMetrics,
                      claimed_user(request.header("authorization")), request.peer);
  }
  if (who == nullptr) co_return 401;
  const bool may = authorize(*who, action, {}, {}, {request.peer, request.secure});
  if (Audit* audit = server_.users.audit(); audit != nullptr && action.name != kMetrics.name) {
    audit->note({"admin", who->name(), request.peer, action.name, request.path, {}, may});
  }
  co_return may ? 200 : 403;
}

// Of targets of events, by their ids.
void Admin::add_targets(std::string& out) const {
  if (notifier_ == nullptr) return;
  const auto all = notifier_->stats();
  if (all.empty()) return;
  const auto add = [&](std::string_view name, std::string_view type, std::string_view help,
                       auto value) {
    append(out, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
    for (const auto& s : all) append(out, name, "{target=\"", s.id, "\"} ", value(s), "\n");
  };
  using Stats = events::Notifier::Stats;
  add("cairn_events_sent_total", "counter", "Events that the target took.",
      [](const Stats& s) { return s.sent; });
  add("cairn_events_failures_total", "counter", "Tries that it did not take.",
      [](const Stats& s) { return s.failures; });
  add("cairn_events_refused_total", "counter", "Events that it called wrong, and were passed over.",
      [](const Stats& s) { return s.refused; });
  add("cairn_events_lost_bytes_total", "counter",
      "Bytes of the log that went before it was told of them.",
      [](const Stats& s) { return s.lost_bytes; });
  add("cairn_events_behind_bytes", "gauge", "Bytes of the log that it was not told of yet.",
      [](const Stats& s) { return s.behind; });
}

// The text format of Prometheus, https://prometheus.io/docs/instrumenting/exposition_formats/.
std::string Admin::metrics() const {
  std::string out;
  auto add = [&](std::string_view name, std::string_view type, std::string_view help, auto value) {
    append(out, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n", name, " ", value,
           "\n");
  };
  Store& store = server_.store;
  auto log = store.log().stats();
  auto extents = store.extents().stats();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto ms = [](const timeval& t) { return t.tv_sec * 1000 + t.tv_usec / 1000; };
  add("process_resident_memory_bytes", "gauge", "Resident memory.", process_resident_bytes());
  add("cairn_cpu_milliseconds_total", "counter", "User and system CPU time.",
      ms(usage.ru_utime) + ms(usage.ru_stime));
  add("cairn_uptime_seconds", "gauge", "Seconds since the start.",
      (store.now_ms() - server_.start_ms) / 1000);
  add("cairn_memory_used_bytes", "gauge", "Keys, values and tables.", store.used_bytes());
  add("cairn_memory_limit_bytes", "gauge", "The --memory figure; 0: no limit.",
      store.memory_bytes());
  add("cairn_log_bytes_total", "counter", "Bytes written to the log.", log.bytes);
  add("cairn_log_frames_total", "counter", "Group writes to the log.", log.frames);
  add("cairn_log_syncs_total", "counter", "Data syncs of the log.", log.syncs);
  add("cairn_log_tail_lsn", "gauge", "Where the next record goes.", store.log().tail().value());
  add("cairn_log_durable_lsn", "gauge", "Everything below is durable.",
      store.log().durable().value());
  add("cairn_log_failed", "gauge", "1 once the log failed and the store is read-only.",
      store.log().status().ok() ? 0 : 1);
  auto cleaner = store.cleaner().stats();
  add("cairn_log_record_bytes_total", "counter", "Bytes of records appended to the log.",
      log.record_bytes);
  add("cairn_log_size_bytes", "gauge", "Segments of the log that hold records.", cleaner.log_bytes);
  add("cairn_log_live_bytes", "gauge", "Records that the index names.", cleaner.live_bytes);
  add("cairn_log_full", "gauge", "1 while the disk has no room for another segment.",
      store.log().full() ? 1 : 0);
  add("cairn_cleaner_segments_freed_total", "counter", "Segments freed by the cleaner.",
      cleaner.segments_freed);
  add("cairn_cleaner_read_bytes_total", "counter", "Bytes that the cleaner read.",
      cleaner.bytes_read);
  add("cairn_cleaner_copied_bytes_total", "counter", "Records that the cleaner appended again.",
      cleaner.bytes_copied);
  add("cairn_cleaner_failed", "gauge", "1 while the oldest segment cannot be cleaned.",
      cleaner.status.ok() ? 0 : 1);
  add("cairn_log_write_amplification", "gauge",
      "Bytes written to the log for each byte of a record that was not the cleaner's.",
      log.record_bytes > cleaner.bytes_copied
          ? std::to_string(static_cast<double>(log.bytes) /
                           static_cast<double>(log.record_bytes - cleaner.bytes_copied))
          : "1");
  add("cairn_extents_files", "gauge", "Extent files.", extents.files);
  add("cairn_extents", "gauge", "Live extents.", extents.extents);
  add("cairn_extents_live_bytes", "gauge", "Bytes of live extents.", extents.live_bytes);
  const auto compactor = store.compactor().stats();
  add("cairn_compactor_moved_blobs_total", "counter",
      "Blobs moved out of extent files that were full of holes.", compactor.blobs_moved);
  add("cairn_compactor_copied_bytes_total", "counter", "Bytes of extents copied for that.",
      compactor.bytes_copied);
  add("cairn_damaged_reads_total", "counter", "Reads that found other bytes than were written.",
      alarms_.count(alarm::kDamage));
  add("cairn_large_values_refused_total", "counter",
      "Values above 64 KiB that the disk had no room for.", alarms_.count(alarm::kRefused));
  add("cairn_cold_keys", "gauge", "Keys whose value is on disk alone.", store.cold_count());
  add("cairn_spilled_values_total", "counter", "Values that left memory.",
      store.memory().stats().spilled);
  add("cairn_value_reads_total", "counter", "Reads of values that had left memory.",
      store.faults().reads());
  add("cairn_evicted_keys_total", "counter", "Keys deleted by the eviction policy.",
      store.memory().stats().evicted);
  add("cairn_expired_keys_total", "counter", "Keys that expired.", store.expired_count());
  add("cairn_resp_connections", "gauge", "Open Redis connections.", server_.sessions.size());
  add("cairn_resp_commands_total", "counter", "Redis commands.", engine_.total_commands());
  add("cairn_resp_error_replies_total", "counter", "Error answers.",
      server_.stats.error_replies.load());
  add("cairn_http_connections", "gauge", "Open HTTP connections.", http_.connections.load());
  add("cairn_http_requests_total", "counter", "HTTP requests.", http_.requests.load());
  add("cairn_http_4xx_total", "counter", "HTTP answers with a client error.",
      http_.errors_4xx.load());
  add("cairn_http_5xx_total", "counter", "HTTP answers with a server error.",
      http_.errors_5xx.load());
  add("cairn_http_not_implemented_total", "counter",
      "HTTP answers that Cairn does not have what was asked for.", http_.not_implemented.load());
  add("cairn_http_received_bytes_total", "counter", "Bytes received over HTTP.",
      http_.bytes_in.load());
  add("cairn_http_sent_bytes_total", "counter", "Bytes sent over HTTP, bodies included.",
      http_.bytes_out.load());
  if (const Audit* audit = server_.users.audit()) {
    add("cairn_audit_lost_lines_total", "counter", "Lines that the audit log did not take.",
        audit->lost());
  }
  if (access_log_ != nullptr) {
    add("cairn_access_log_lost_lines_total", "counter",
        "Lines of access logs that no object was made of.", access_log_->lost_lines());
  }
  add("cairn_cleaner_waits", "gauge",
      "1 while the oldest segment stays for who is told of changes.", cleaner.kept ? 1 : 0);
  add_targets(out);
  append(out,
         "# HELP cairn_auth_failures_total Clients that were not who they said.\n"
         "# TYPE cairn_auth_failures_total counter\n");
  for (auto [door, part] :
       {std::pair("resp", alarm::kAuthResp), std::pair("s3", alarm::kAuthS3),
        std::pair("grpc", alarm::kAuthGrpc), std::pair("metrics", alarm::kAuthMetrics)}) {
    append(out, "cairn_auth_failures_total{door=\"", door, "\"} ", alarms_.count(part), "\n");
  }
  append(out, "# HELP cairn_keys Keys in a namespace.\n# TYPE cairn_keys gauge\n");
  for (uint32_t i = 0; i < store.databases(); i++) {
    append(out, "cairn_keys{namespace=\"db", i, "\"} ", store.database(i).committed_size(), "\n");
  }
  const auto buckets = store.buckets();
  for (auto& b : buckets) {
    append(out, "cairn_keys{namespace=\"", b->name, "\"} ", b->committed_size(), "\n");
  }
  append(out,
         "# HELP cairn_bytes Names, metadata and values in a namespace, with versions, as quotas "
         "count them.\n# TYPE cairn_bytes gauge\n");
  for (uint32_t i = 0; i < store.databases(); i++) {
    append(out, "cairn_bytes{namespace=\"db", i, "\"} ", store.database(i).usage().bytes, "\n");
  }
  for (auto& b : buckets) {
    append(out, "cairn_bytes{namespace=\"", b->name, "\"} ", b->usage().bytes, "\n");
  }
  return out;
}

}  // namespace cairn::admin
