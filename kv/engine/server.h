// What all sessions share: the store, the users, the settings that CONFIG shows, and the counters
// that INFO shows.
//
// Threads: any; every field is constant after start, atomic, or under `mutex`.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/store/store.h"
#include "core/store/users.h"
#include "kv/engine/acl.h"
#include "kv/engine/channels.h"
#include "kv/engine/client_limits.h"
#include "kv/engine/cluster.h"
#include "kv/engine/lookout.h"
#include "kv/engine/scripts.h"
#include "kv/engine/session.h"
#include "kv/engine/tracking.h"
#include "kv/engine/waiters.h"
#include "kv/engine/workspace.h"

namespace cairn::kv {

class LongScripts;

struct Stats {
  // Errors by their code word, as many different ones as Redis keeps.
  void count_error(std::string_view code) {
    constexpr size_t kCodesMax = 128;
    error_replies.fetch_add(1, std::memory_order_relaxed);
    MutexLock lock(mutex);
    if (auto it = errors.find(code); it != errors.end()) {
      it->second++;
    } else if (errors.size() < kCodesMax) {
      errors.emplace(code, 1);
    }
  }
  void count_read(uint64_t bytes) {
    reads.fetch_add(1, std::memory_order_relaxed);
    bytes_in.fetch_add(bytes, std::memory_order_relaxed);
  }
  void count_write(uint64_t bytes) {
    writes.fetch_add(1, std::memory_order_relaxed);
    bytes_out.fetch_add(bytes, std::memory_order_relaxed);
  }
  Mutex mutex;
  std::map<std::string, uint64_t, std::less<>> errors ABSL_GUARDED_BY(mutex);
  std::atomic<uint64_t> connections{0}, rejected_connections{0}, commands{0};
  std::atomic<uint64_t> hits{0}, misses{0}, bytes_in{0}, bytes_out{0}, error_replies{0};
  std::atomic<uint64_t> reads{0}, writes{0};  // of sockets
  std::atomic<uint64_t> output_limit_disconnections{0};
  void reset() {
    for (auto* c : {&connections, &rejected_connections, &commands, &hits, &misses, &bytes_in,
                    &bytes_out, &error_replies, &output_limit_disconnections, &reads, &writes}) {
      c->store(0);
    }
    MutexLock lock(mutex);
    errors.clear();
  }
};

// What others count, since the last CONFIG RESETSTAT; they themselves go on, for the metrics.
struct CountedElsewhere {
  uint64_t expired_keys = 0, expiry_ns = 0, evicted_keys = 0, evicted_clients = 0, freed = 0;
};

// How much was done between two looks.
struct Rate {
  Mutex mutex;
  int64_t at_ms ABSL_GUARDED_BY(mutex) = 0;
  uint64_t commands ABSL_GUARDED_BY(mutex) = 0, bytes_in ABSL_GUARDED_BY(mutex) = 0,
                    bytes_out ABSL_GUARDED_BY(mutex) = 0;
  struct PerSecond {
    uint64_t commands = 0, bytes_in = 0, bytes_out = 0;
  };
  PerSecond per_second ABSL_GUARDED_BY(mutex);
};

// How root's password is shown, which is an S3 secret too; who sets this has it again.
inline constexpr std::string_view kRootsPassword = "(root's)";

struct Server {
  Server(Store& store, Users& users) : store(store), users(users) {}

  Store& store;
  Users& users;
  Watches watches{store};
  Sessions sessions;
  Stats stats;
  // Rights have changed: whoever may not go on with what he does is sent away. Any thread.
  void recheck();
  CountedElsewhere counted_elsewhere() const;
  void reset_stats();
  Rate rate;

  Lookout lookout;
  AclLog acl_log;
  std::atomic<bool> acl_channels_open{false};  // acl-pubsub-default
  std::string acl_file;                        // constant after start; empty: there is none

  // Whether the user "default" is whoever comes, without a word. CONFIG SET requirepass may change
  // that; until it does, his password is root's.
  std::atomic<bool> auth_required{true};
  // Whether nobody can come but from this machine, so that it may be without a password.
  bool loopback_alone = true;  // constant after start
  bool is_default_password(std::string_view password) const;
  std::string default_password() const;  // empty: there is none
  void set_default_password(std::string_view password);
  // All of that unless ACL has said something else of him: then that holds.
  bool default_is_let_in() const;  // without a word
  // The password itself, empty if any is right; nothing: it is root's, which is not shown.
  std::optional<std::string> started_password() const;

  // Constant after start.
  std::string data_directory;
  std::string config_file;
  std::string debug_command = "no";  // enable-debug-command: no, local, yes
  std::string bind_address;
  uint16_t port = 0, tls_port = 0;
  std::string tls_cert_file, tls_key_file;
  size_t threads = 1;
  int64_t start_ms = 0;
  std::string volume_engine;
  std::string run_id;  // 40 hex digits
  std::function<void()> shutdown;
  // Writes what CONFIG SET changed into `config_file`; none without one.
  std::function<Status()> rewrite_config;
  std::function<void(std::string_view)> report = [](std::string_view) {};  // to the operator

  std::atomic<bool> debug_in_scripts{false};  // DEBUG SET-DISABLE-DENY-SCRIPTS

  // CONFIG SET may change these.
  std::atomic<Durability> durability{Durability::kEverySec};
  Wish wish() const {  // of what a command changes
    return durability == Durability::kAlways ? Wish::kDurable : Wish::kNone;
  }
  std::atomic<uint64_t> proto_max_bulk_len{512ull << 20};
  std::atomic<uint64_t> max_clients{limits::kClientsMax};
  std::atomic<uint64_t> timeout_s{0};
  std::atomic<uint64_t> tcp_keepalive_s{300};  // of sockets that come from now on; 0: none
  ClientLimits client_limits;
  Workspace workspace;
  ScriptCache scripts;
  RunningScripts running_scripts;
  std::atomic<int64_t> script_bytes{0};  // that the states of all threads take, when none runs
  // The libraries of functions, which only kv/script knows; made by it once.
  struct Part {
    struct Counts {
      uint64_t libraries = 0, functions = 0, bytes = 0;
      uint64_t kept_bytes = 0;  // in each Lua
    };
    virtual ~Part() = default;
    virtual Counts counts() const = 0;
  };
  Part::Counts function_counts() const {
    MutexLock lock(functions_mutex);
    return functions == nullptr ? Part::Counts() : functions->counts();
  }
  mutable Mutex functions_mutex;
  std::shared_ptr<Part> functions ABSL_GUARDED_BY(functions_mutex);

  Channels channels{client_limits, stats.output_limit_disconnections};
  // CONFIG SET may change it.
  std::atomic<uint64_t> event_stream_length_max{EventStreams::kLengthMax};
  Events events{store, channels, event_stream_length_max, durability};
  std::atomic<uint64_t> tracking_keys_max{Tracking::kKeysMax};  // CONFIG SET may change it
  Tracking tracking{store, channels, tracking_keys_max};

  // SAVE and its like: when the last one was done, how many were, and what the log had changed
  // when that one began (Log::Stats::changes).
  std::atomic<int64_t> last_save_ms{0};
  std::atomic<uint64_t> saves{0}, saved_changes{0};
  void note_save(int64_t now_ms, uint64_t changes) {
    last_save_ms = now_ms;
    saves++;
    saved_changes = changes;
  }

  Waiters waiters{store};
  std::atomic<uint64_t> blocked_clients{0};

  // Constant after start; without them there is nothing to be told or done.
  std::function<std::string()> allocator_stats;
  // What the allocator has of the system; none: it does not say.
  std::function<uint64_t()> allocator_bytes;
  // What the process held when it was ready, beside keys and values; 0 before.
  std::atomic<uint64_t> startup_bytes{0};
  std::function<void(Severity)> set_log_level;
  std::function<Severity()> log_level;
  std::atomic<bool> log_verbose{false};  // what is kDebug was called verbose

  // What CONFIG SET save was told, which the log keeps anyhow.
  std::string save_points() const;
  void set_save_points(std::string_view text);
  // latency-tracking-info-percentiles.
  std::vector<double> percentiles() const;
  void set_percentiles(std::vector<double> percents);

  Cluster cluster;  // constant after start

 private:
  mutable Mutex texts_mutex_;
  std::optional<std::string> password_ ABSL_GUARDED_BY(texts_mutex_);
  std::string save_points_ ABSL_GUARDED_BY(texts_mutex_);
  std::vector<double> percentiles_ ABSL_GUARDED_BY(texts_mutex_){50, 99, 99.9};
  CountedElsewhere count_elsewhere() const;
  mutable Mutex counted_mutex_;
  CountedElsewhere counted_before_ ABSL_GUARDED_BY(counted_mutex_);

 public:
  LongScripts* long_scripts = nullptr;  // constant after start; null: scripts have no threads
};

// The version of Redis whose commands are here.
inline constexpr std::string_view kRedisVersion = "7.2.0";

inline std::string_view durability_name(Durability d) {  // in Redis's words
  return d == Durability::kAlways ? "always" : d == Durability::kEverySec ? "everysec" : "no";
}

// Counts a client that waits in a command which blocks.
class Blocked {
 public:
  explicit Blocked(Server& server) : server_(server) { server_.blocked_clients++; }
  ~Blocked() { server_.blocked_clients--; }
  Blocked(const Blocked&) = delete;

 private:
  Server& server_;
};

// What is in memory for a command is its client's, beside its buffers.
class OfClient {
 public:
  OfClient(Server& server, Session& session, uint64_t bytes)
      : server_(server), session_(session), before_(session.buffer_bytes) {
    if (bytes == 0) return;
    held_ = true;
    allowed_ =
        server_.sessions.note_buffers(session_, before_ + bytes, server_.client_limits.left());
  }
  ~OfClient() {
    if (held_) (void)server_.sessions.note_buffers(session_, before_, UINT64_MAX);
  }
  OfClient(const OfClient&) = delete;
  bool allowed() const { return allowed_; }  // else the client is sent away

 private:
  Server& server_;
  Session& session_;
  const uint64_t before_;
  bool held_ = false, allowed_ = true;
};

// The parameters of CONFIG GET and SET, by name: false if there is none of that name, it cannot
// change, or the value will not do; empty for none.
bool set_parameter(Server& server, std::string_view name, std::string_view value);
std::string get_parameter(Server& server, std::string_view name);

}  // namespace cairn::kv
