// Every flag of cairnd, from the command line and the configuration file.
// Nothing else reads either.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/memory.h"
#include "core/store/options.h"
#include "gateway/events/target.h"

namespace cairn {

struct Options {
  std::string data = "data";
  std::string resp = "127.0.0.1:6379";
  std::string http = "127.0.0.1:9000";
  std::string grpc = "127.0.0.1:50051";
  std::string resp_tls;  // empty: no such door
  std::string http_tls;
  std::string grpc_tls;
  std::string tls_cert, tls_key;
  size_t threads = 1;
  uint64_t memory_bytes = 0;
  uint32_t databases = 16;
  EvictionPolicy policy = EvictionPolicy::kNoEviction;
  double space_amplification = 2;
  int64_t lifecycle_day_s = int64_t{24} * 3600;
  Durability durability = Durability::kEverySec;
  std::string domain = "localhost";      // BUCKET.domain addresses a bucket
  std::string region = "us-east-1";      // that S3's signatures are for
  uint64_t put_max = uint64_t{5} << 30;  // bytes of one PUT over HTTP, as S3 has it; 0: any
  std::string audit_log;                 // a file; empty: none
  uint64_t audit_log_rate = 20'000;      // lines a second; 0: all
  uint32_t access_log_period_s = 300;    // how often access logs of buckets are put
  std::string acl_file;                  // of ACL LOAD and SAVE; empty: there is none
  bool metrics_on_loopback = false;      // /-/metrics takes no credentials from a peer there
  std::string io = "auto";               // auto, uring, threads
  bool repair = false;
  unsigned patience_s = 60;  // with a client that does nothing in the middle of a stream
  bool reflection_on_loopback = false;
  Severity log_level = Severity::kInfo;
  bool log_verbose = false;  // kDebug was called verbose
  Reporter::Format log_format = Reporter::Format::kText;
  std::string config_file;
  std::map<std::string, size_t, std::less<>> config_lines;  // of the flags that it gave, from 1
  std::string debug_command = "no";                         // no, local, yes
  std::string cluster_enabled = "no";                       // no, yes
  std::string cluster_announce_ip;                          // empty: where the client came to
  uint16_t cluster_announce_port = 0, cluster_announce_tls_port = 0;  // 0: the same
  events::TargetOptions event_options;
  std::vector<events::Target> event_targets;  // what these name
  std::string webhook_ca;                     // a file; empty: the system's certificates alone
  size_t webhook_records = 1;
  std::vector<std::string> oidc_jwks;                          // "ISSUER FILE"
  uint64_t events_backlog = 1 << 30, events_history = 0;       // bytes
  std::map<std::string, std::string, std::less<>> parameters;  // that were given, by name

  // What to call a flag in a message: "--resp", or "FILE:3: resp" if the file gave it.
  std::string named(std::string_view flag) const;
};

// What CONFIG SET can change too, in its own words.
struct Parameter {
  std::string name;
  std::string standard;  // as CONFIG GET shows it
  std::string about;
  std::string allowed;  // "is not" this
  // Its value is shown to nobody, and is what was said; elsewhere, where a value may be empty,
  // `none` is the word for that.
  bool secret = false;
};
const std::vector<Parameter>& parameters();

// "512mb", "1.5gb", "1073741824": bytes, in units of 1024; nothing below zero.
std::optional<uint64_t> parse_size(std::string_view text);

// The least limit of memory that there may be.
inline constexpr uint64_t kMemoryMin = 1 << 20;

// The exit code of a command line or configuration file that cannot be.
inline constexpr int kUsageExit = 2;

// Exits by itself after --help, --version, or an error, which it names. Every HOST:PORT is one
// when it returns.
Options parse_options(int argc, char** argv);

}  // namespace cairn
