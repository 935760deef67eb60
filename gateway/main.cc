// cairnd: builds the parts, hands them down by reference, runs.
#ifdef CAIRN_MIMALLOC  // not under a sanitizer
#include <mimalloc.h>
#endif
#include <spdlog/spdlog.h>
#include <sys/prctl.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <future>
#include <initializer_list>
#include <thread>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/audit.h"
#include "core/base/descriptors.h"
#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/store/change_feed.h"
#include "core/volume/local_volume.h"
#include "gateway/auth/credentials.h"
#include "gateway/events/notifier.h"
#include "gateway/events/webhook.h"
#include "gateway/grpc/door.h"
#include "gateway/http/admin/admin.h"
#include "gateway/http/admin/quota.h"
#include "gateway/http/door.h"
#include "gateway/http/iam/iam.h"
#include "gateway/http/iam/key_sets.h"
#include "gateway/http/kms/kms.h"
#include "gateway/http/s3/access_log.h"
#include "gateway/http/s3/service.h"
#include "gateway/net/net.h"
#include "gateway/options.h"
#include "gateway/report_sink.h"
#include "gateway/resp/door.h"
#include "gateway/settings.h"
#include "kv/commands/acl_rules.h"
#include "kv/engine/errand.h"
#include "kv/engine/long_scripts.h"
#include "kv/types/type.h"
#include "objects/hashers.h"
#include "objects/lifecycle.h"

namespace cairn {
namespace {

spdlog::level::level_enum level_of(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return spdlog::level::debug;
    case Severity::kInfo:
      return spdlog::level::info;
    case Severity::kWarning:
      return spdlog::level::warn;
    case Severity::kError:
      break;
  }
  return spdlog::level::err;
}

[[noreturn]] void die(const Status& status, int exit_code = 1) {
  spdlog::error("{}", std::string(status.message()));
  std::fflush(nullptr);
  std::_Exit(exit_code);  // loops may be running
}

// The options were checked.
net::tcp::endpoint endpoint(const std::string& text) { return net::parse_endpoint(text).value(); }

void die_unless(const Status& status) {
  if (!status.ok()) die(status);
}

// Runs a coroutine on the first loop to its end.
Status run_to_end(net::Loops& loops, awaitable<Status> work) {
  std::promise<Status> result;
  const auto set = [&](const Status& status) { result.set_value(status); };
  spawn(loops.contexts.front()->get_executor(), "the main thread's work", std::move(work), set,
        set);
  return result.get_future().get();
}

awaitable<Status> load_functions(kv::Engine& engine) {
  kv::Command stats(engine.store());
  for (const char* word : {"FUNCTION", "STATS"}) stats.words().add(word);
  stats.find_row(engine.table());
  stats.enter(engine, engine.store().database(0).shared_from_this());
  const std::string failure = co_await kv::Errand(engine).wait(stats);
  if (!failure.empty()) spdlog::warn("the libraries of functions were not loaded: {}", failure);
  co_return absl::OkStatus();
}

// What was begun is answered; what is not done after a while is not, at any door. After this no
// answer leaves, so that the flush that follows covers all that was ever acknowledged.
void part_with_clients(net::Loops& loops, std::initializer_list<net::Guests*> doors, rpc::Door& rpc,
                       Clock& clock) {
  static constexpr auto kPatience = std::chrono::milliseconds(limits::kPartingMs);
  std::promise<void> ended;
  std::future<void> rpc_ended = ended.get_future();
  std::thread([&rpc, ended = std::move(ended)]() mutable {
    rpc.stop(kPatience);
    ended.set_value();
  }).detach();
  for (net::Guests* guests : doors) guests->ask_to_leave();
  const auto all_left = [&]() -> awaitable<Status> {
    const auto begun = std::chrono::steady_clock::now();
    for (net::Guests* guests : doors) {
      const auto left = begun + kPatience - std::chrono::steady_clock::now();
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
      (void)co_await guests->all_left(clock, std::max<int64_t>(ms, 0));
    }
    co_return absl::OkStatus();
  };
  die_unless(run_to_end(loops, all_left()));
  for (net::Guests* guests : doors) guests->dismiss();
  loops.wait_for_turn();
  // Its calls are cancelled by now. One that does not hear of it keeps nobody from stopping.
  if (rpc_ended.wait_for(2 * kPatience) != std::future_status::ready) {
    spdlog::warn("a gRPC call did not end");
  }
}

int serve(const Options& options) {
  // What is less severe than `least` is left out; CONFIG SET loglevel changes it.
  static std::atomic<Severity> least{options.log_level};
  static const Reporter reporter(stderr, Severity::kDebug, options.log_format);
  static Alarms alarms([](Severity severity, std::string_view part, std::string_view text) {
    if (severity >= least) reporter.write(severity, part, text);
  });
  log_through(reporter);
  spdlog::set_level(level_of(least));
  std::signal(SIGPIPE, SIG_IGN);
  const int clients_below = net::claim_descriptors();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk
  // Nobody has a use for these, and they would end it without a flush.
  for (int s : {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR, SIGSTKFLT}) {
    std::signal(s, SIG_IGN);
  }
  for (int s = SIGRTMIN; s <= SIGRTMAX; s++) std::signal(s, SIG_IGN);

  // Large pages for memory that is used at random cost more than they gain: they round the resident
  // size up, and on a virtual machine without nested paging 10 million records took 47 s to load
  // with them and 10 s without. For large elements on their way alone (madvise) they are no help
  // either: one of 200 MB then held others up for 1.4 s instead of 0.3.
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

  // Storage.
  SystemClock clock;
  const uint64_t memory = options.memory_bytes;
  ChunkPool pool({limits::read_chunks(memory), limits::write_chunks(memory)},
                 limits::kept_chunks(memory));
  auto volume = LocalVolume::open({options.data, options.io != "threads"}, pool.memory());
  if (!volume.ok()) die(volume.status());
  if ((*volume)->engine() != "io_uring" && options.io != "threads") {
    spdlog::warn("{}; reading and writing through a pool of threads", (*volume)->fallback_reason());
    if (options.io == "uring") return 1;
  }
  auto root = load_root_credentials(options.data);
  if (!root.ok()) die(root.status());
  if (root->fresh) {
    std::printf("root user: %s  password: %s  (kept in %s/root-credentials)\n", root->user.c_str(),
                root->password.c_str(), options.data.c_str());
  }
  Users users(root->user, root->password, root->configured);
  users.expect_records();
  bool made_master_key = false;
  const auto master_key = MasterKey::load(options.data, made_master_key);
  if (!master_key.ok()) die(master_key.status());
  std::unique_ptr<Audit> audit;
  if (!options.audit_log.empty()) {
    auto opened = Audit::open(options.audit_log, options.audit_log_rate, alarms.report());
    if (!opened.ok()) die(opened.status());
    audit = *std::move(opened);
    users.audit_to(audit.get());
  }
  const auto tell_master_key = [&] {
    if (!made_master_key) return;
    if (const Status s = master_key->keep(options.data); !s.ok()) die(s);
    spdlog::info(
        "no CAIRN_MASTER_KEY is given: one was made, {}/master-key; keep a copy, the secrets of "
        "access keys and the keys of encrypted objects are sealed under it",
        options.data);
  };

  // Loops.
  net::Loops loops;
  loops.clients_below = clients_below;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work;
  for (size_t i = 0; i < options.threads; i++) {
    loops.contexts.push_back(std::make_unique<asio::io_context>(1));
    work.emplace_back(loops.contexts.back()->get_executor());
  }
  std::vector<std::thread> threads;
  for (auto& context : loops.contexts) threads.emplace_back([&] { context->run(); });

  // The store.
  StoreOptions store_options;
  store_options.memory_bytes = options.memory_bytes;
  store_options.resident_bytes = process_resident_bytes;
#ifdef CAIRN_MIMALLOC
  store_options.release_memory = [] {
    mi_option_set(mi_option_decommit_delay, 0);  // from now on at once: no later call would do it
    mi_collect(true);
  };
#endif
  store_options.databases = options.databases;
  store_options.space_amplification = options.space_amplification;
  store_options.collections = kv::collection_types();
  store_options.durability = options.durability;
  store_options.repair = options.repair;
  store_options.lifecycle_day_ms = options.lifecycle_day_s * 1000;
  store_options.report = alarms.report();
  Store store(**volume, clock, pool, loops.executors(), store_options);
  store.memory().set_policy(options.policy);
  objects::Lifecycle lifecycle(store);
  store.listeners().add(lifecycle);
  die_unless(run_to_end(loops, store.begin()));
  // The Redis door.
  const auto resp_endpoint = endpoint(options.resp);
  kv::Server server(store, users);
  // One answer for all its addresses: who may come in by one of them may do everything.
  bool loopback_alone = net::is_loopback(resp_endpoint.address());
  if (!options.resp_tls.empty()) {
    loopback_alone &= net::is_loopback(endpoint(options.resp_tls).address());
  }
  server.auth_required = root->configured || !loopback_alone;
  server.loopback_alone = loopback_alone;
  server.log_level = [] { return least.load(); };
  server.set_log_level = [](Severity severity) {
    least = severity;
    spdlog::set_level(level_of(severity));
  };
#ifdef CAIRN_MIMALLOC
  server.allocator_stats = [] {
    std::string text;
    mi_stats_print_out([](const char* part, void* to) { *static_cast<std::string*>(to) += part; },
                       &text);
    return text;
  };
  server.allocator_bytes = [] {
    size_t n[7], committed = 0;
    mi_process_info(&n[0], &n[1], &n[2], &n[3], &n[4], &committed, &n[5], &n[6]);
    return uint64_t{committed};
  };
#endif
  server.data_directory = options.data;
  server.config_file = options.config_file;
  server.acl_file = options.acl_file;
  server.debug_command = options.debug_command;
  server.cluster = {options.cluster_enabled == "yes", options.cluster_announce_ip,
                    options.cluster_announce_port, options.cluster_announce_tls_port};
  server.bind_address = resp_endpoint.address().to_string();
  server.tls_cert_file = options.tls_cert;
  server.tls_key_file = options.tls_key;
  server.threads = options.threads;
  server.start_ms = clock.now_ms();
  server.last_save_ms = clock.now_ms();
  server.volume_engine = (*volume)->engine();
  server.run_id = random_hex(20);
  server.durability = options.durability;
  server.log_verbose = options.log_verbose;
  server.max_clients = std::min<uint64_t>(server.max_clients, descriptors_for_clients());
  Settings settings(options, server);
  if (const Status taken = settings.take(); !taken.ok()) die(taken, kUsageExit);
  if (!options.config_file.empty()) {
    server.rewrite_config = [&settings] { return settings.rewrite(); };
  }
  std::promise<void> stop;
  std::atomic<bool> stopping{false};
  server.report = [](std::string_view text) { spdlog::error("{}", text); };
  server.shutdown = [&] {
    if (!stopping.exchange(true)) stop.set_value();
  };
  const kv::Table table;
  std::vector<std::unique_ptr<kv::Engine>> engines;
  for (size_t i = 0; i < options.threads; i++) {
    engines.push_back(std::make_unique<kv::Engine>(server, table, engines));
  }
  for (size_t i = 0; i < kv::LongScripts::kThreads; i++) {
    engines.push_back(std::make_unique<kv::Engine>(server, table, engines));
  }
  kv::LongScripts long_scripts(server, engines, options.threads);
  std::shared_ptr<asio::ssl::context> tls;
  if (!options.tls_cert.empty()) {
    auto made = net::make_tls(options.tls_cert, options.tls_key);
    if (!made.ok()) die(made.status());
    tls = *made;
  }
  users.compile_acl_by([&table](std::string_view rules) { return kv::compile_acl(table, rules); });
  users.when_changed([&server] { server.recheck(); });
  resp::Door resp(loops, server, engines);
  die_unless(resp.listen(resp_endpoint));
  server.port = resp.local().port();
  if (!options.resp_tls.empty()) {
    die_unless(resp.listen_tls(endpoint(options.resp_tls), tls));
    server.tls_port = resp.local_tls().port();
  }

  // Who is told of changes.
  ChangeFeed feed(store);
  store.pins().set_limit(options.events_backlog);
  store.pins().set_history(options.events_history);
  auto client_tls = events::make_client_tls(options.webhook_ca);
  if (!client_tls.ok()) die(client_tls.status(), kUsageExit);
  events::Notifier notifier(feed, {server, engines, *client_tls, options.webhook_records},
                            options.event_targets, std::string(users.root_user()), options.region);

  // The HTTP door.
  objects::Hashers hashers(objects::Hashers::threads_for_this_machine());
  s3::AccessLog access_log(store, int64_t{options.access_log_period_s} * 1000, options.region);
  s3::Service s3(store, users, options.domain, options.region, &engines, options.put_max, &notifier,
                 &hashers, &access_log);
  auto provider_tls = events::make_client_tls({});
  if (!provider_tls.ok()) die(provider_tls.status());
  auto key_sets = iam::KeySets::make(clock, options.oidc_jwks, *provider_tls);
  if (!key_sets.ok()) die(key_sets.status(), kUsageExit);
  iam::Service iam(store, users, **key_sets, options.region);
  kms::Service kms(store, users, options.region);
  std::unique_ptr<admin::Admin> admin;
  auto handler = [&](http::Request& request, http::Response& response) -> awaitable<void> {
    if (request.path.substr(0, 3) == "/-/" && s3.bucket_of_host(request).empty()) {
      co_await admin->handle(request, response);
      co_return;
    }
    if (iam::Service::is_call(request) && s3.bucket_of_host(request).empty()) {
      co_await iam.handle(request, response);
      co_return;
    }
    if (kms::Service::is_call(request) && s3.bucket_of_host(request).empty()) {
      co_await kms.handle(request, response);
      co_return;
    }
    co_await s3.handle(request, response);
  };
  auto scarce = [&pool] { return pool.waiting() > 0; };
  // Half of what clients may hold together; those of the Redis door have the rest, whatever it is.
  net::Buffers http_buffers([&server] { return server.client_limits.together() / 2; });
  server.client_limits.set_others([&http_buffers] { return http_buffers.bytes(); });
  http::Door http(loops, http_buffers, handler, http::Times(), scarce);
  admin = std::make_unique<admin::Admin>(server, *engines.front(), http.stats(), alarms,
                                         options.metrics_on_loopback, &notifier, &access_log);
  die_unless(http.listen(endpoint(options.http)));
  if (!options.http_tls.empty()) {
    die_unless(http.listen_tls(endpoint(options.http_tls), tls));
  }

  // Before anything can be acknowledged. While the store loads there is nothing to flush.
  asio::signal_set signals(*loops.contexts.front(), SIGTERM, SIGINT, SIGQUIT);
  struct sigaction hangup {};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (audit == nullptr && hangup.sa_handler != SIG_IGN)
    signals.add(SIGHUP);  // nohup asked to go on
  asio::signal_set hangups(*loops.contexts.front());
  std::function<void()> wait_for_hangup = [&] {
    hangups.async_wait([&](boost::system::error_code ec, int) {
      if (ec) return;
      audit->reopen();
      wait_for_hangup();
    });
  };
  if (audit != nullptr) {
    hangups.add(SIGHUP);
    wait_for_hangup();
  }
  signals.async_wait([&](boost::system::error_code ec, int) {
    if (ec) return;
    if (store.loading()) std::_Exit(0);
    server.shutdown();
  });

  // These two say how far the start is; the third opens when it is done.
  resp.start();
  http.start();
  std::promise<void> opened;
  std::thread progress([&, end = opened.get_future()] {
    for (int last = 0; end.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready;) {
      const int percent = store.loading_percent();
      if (percent < last + 10 || percent >= 99) continue;
      spdlog::info("loading: {} %", percent);
      last = percent;
    }
  });
  Status open = run_to_end(loops, store.open());
  opened.set_value();
  progress.join();
  for (const std::string& note : store.notes()) spdlog::warn("{}", note);
  for (const char* name : {"dump.rdb", "appendonly.aof", "appendonlydir"}) {
    const std::string path = cat(options.data, "/", name);
    if (::access(path.c_str(), F_OK) != 0) continue;
    spdlog::warn("{} is Redis's, and nothing of it is loaded: see README, Coming from Redis", path);
  }
  die_unless(open);
  die_unless(store.keys().load(*master_key, options.repair, alarms.report()));
  users.load(store, *master_key, alarms.report());
  die_unless(users.check_sealed(options.repair, alarms.report()));
  tell_master_key();
  store.keys().begin();
  if (!options.acl_file.empty()) die_unless(kv::load_acl_file(server, table).status());
  if (users.default_acl()) {  // who came while it loaded was let in by what the start says
    for (auto& session : server.sessions.all()) session->kill();
  }
  if (Status swept = objects::sweep_uploads(store); !swept.ok()) {
    spdlog::warn("uploads of buckets that are gone were not removed: {}",
                 std::string(swept.message()));
  }
  spdlog::info(
      "store {:016x} epoch {} open: {} items of a checkpoint and {} records of the log, "
      "storage through {}",
      store.store_id(), store.epoch(), store.recovered_items(), store.recovered_records(),
      (*volume)->engine());

  die_unless(run_to_end(loops, notifier.start()));
  access_log.start(store.any_executor());
  spawn(loops.contexts.back()->get_executor(), "the rules of lifecycles", lifecycle.run());

  // FCALL would do it too, but INFO tells of the libraries before anybody calls one.
  die_unless(run_to_end(loops, load_functions(*engines.front())));

  // The gRPC door.
  rpc::Door rpc(loops, server, engines, feed);
  rpc::DoorOptions rpc_options;
  rpc_options.address = endpoint(options.grpc);
  if (!options.grpc_tls.empty()) {
    rpc_options.tls_address = endpoint(options.grpc_tls);
  }
  rpc_options.tls = {options.tls_cert, options.tls_key};
  rpc_options.patience_ms = int64_t{options.patience_s} * 1000;
  rpc_options.open_on_loopback = options.reflection_on_loopback;
  die_unless(rpc.start(rpc_options));
  std::vector<std::string> actions = rpc.action_names();
  for (const kv::Row& row : table.rows()) {
    if (row.run != nullptr) actions.push_back(cat("resp:", row.name));
  }
  for (const Action& action : {admin::kMetrics, admin::kGetQuota, admin::kSetQuota}) {
    actions.push_back(cat("admin:", action.name));
  }
  for (auto rows : iam::all_rows()) {
    for (const iam::Row& row : rows) actions.push_back(cat(row.service, ":", row.name));
  }
  for (const kms::Row& row : kms::rows()) actions.push_back(cat("kms:", row.name));
  users.know_actions(std::move(actions));

  const uint64_t resident = process_resident_bytes();
  server.startup_bytes = resident - std::min(resident, store.used_bytes());
  std::string ready =
      cat("ready resp=", net::to_string(resp.local()), " http=", net::to_string(http.local()),
          " grpc=", net::to_string(rpc.local()));
  if (!options.resp_tls.empty()) append(ready, " resp-tls=", net::to_string(resp.local_tls()));
  if (!options.http_tls.empty()) append(ready, " http-tls=", net::to_string(http.local_tls()));
  if (!options.grpc_tls.empty()) append(ready, " grpc-tls=", net::to_string(rpc.local_tls()));
  std::printf("%s\n", ready.c_str());
  std::fflush(stdout);

  stop.get_future().wait();
  long_scripts.stop();
  resp.stop();
  http.stop();
  part_with_clients(loops, {&resp.guests(), &http.guests()}, rpc, clock);
  const auto stop_notifier = [&notifier, &access_log]() -> awaitable<Status> {
    co_await access_log.stop();
    co_await notifier.stop();
    co_return absl::OkStatus();
  };
  die_unless(run_to_end(loops, stop_notifier()));
  const auto write_events = [&server]() -> awaitable<Status> {
    (void)co_await server.events.streams.write(Wish::kNone);
    co_return absl::OkStatus();
  };
  die_unless(run_to_end(loops, write_events()));
  lifecycle.stop();
  Status closed = run_to_end(loops, store.close());
  if (!closed.ok()) {
    spdlog::error("the last flush failed: {}", std::string(closed.message()));
    std::_Exit(1);
  }
  if (audit != nullptr) audit->flush();
  spdlog::info("stopped");
  spdlog::shutdown();
  // Everything acknowledged is durable. Connections still hold references into the parts above, so
  // the process ends here rather than take them apart one by one.
  std::fflush(nullptr);
  std::_Exit(0);
}

}  // namespace
}  // namespace cairn

int main(int argc, char** argv) { return cairn::serve(cairn::parse_options(argc, argv)); }
