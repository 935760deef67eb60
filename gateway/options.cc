#include "gateway/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <thread>

#include "core/base/text.h"

namespace cairn {

// A number, perhaps with a fraction, and a unit of 1024s: 512mb, 1.5gb, 4g,
// 1073741824.
std::optional<uint64_t> parse_size(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  std::string unit = lower(text.substr(static_cast<size_t>(end - text.data())));
  if (unit.size() == 3 && unit.substr(1) == "ib") unit.erase(1, 1);
  if (unit.size() == 2 && unit[1] == 'b') unit.pop_back();
  if (unit == "b") unit.clear();
  constexpr std::string_view kUnits = "kmgtp";
  int power = 0;
  if (!unit.empty()) {
    const size_t at = unit.size() == 1 ? kUnits.find(unit[0]) : kUnits.npos;
    if (at == kUnits.npos) return std::nullopt;
    power = static_cast<int>(at) + 1;
  }
  const double bytes = std::ldexp(number, 10 * power);
  if (bytes >= 0x1p63) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

namespace {

constexpr uint64_t kMemoryMin = 1 << 20;

// The value is named, and what it should look like: an option's text reaches
// people who did not write it.
void take_memory(Options& o, const std::string& text) {
  const auto bytes = parse_size(text);
  if (!bytes) {
    throw CLI::ValidationError("--memory",
                               cat("'", text, "' is no size: say 512mb, 1.5gb, or 0 for no limit"));
  }
  if (*bytes != 0 && *bytes < kMemoryMin) {
    throw CLI::ValidationError(
        "--memory",
        cat("'", text, "' is less than a server can work in: ", "at least 1mb, or 0 for no limit"));
  }
  o.memory_bytes = *bytes;
}

void take_durability(Options& o, const std::string& text) {
  const std::string word = lower(text);
  if (word == "always") {
    o.durability = Durability::kAlways;
  } else if (word == "everysec") {
    o.durability = Durability::kEverySec;
  } else if (word == "off") {
    o.durability = Durability::kOff;
  } else {
    throw CLI::ValidationError("--durability",
                               cat("'", text, "' is none of always, everysec and off"));
  }
}

void take_policy(Options& o, const std::string& text) {
  const auto policy = eviction_policy(text);
  if (!policy) {
    throw CLI::ValidationError("--maxmemory-policy",
                               cat("'", text,
                                   "' is no policy: noeviction, or allkeys- or "
                                   "volatile- with lru, lfu, ",
                                   "random, or volatile-ttl"));
  }
  o.policy = *policy;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  o.threads = std::max(1u, std::thread::hardware_concurrency());
  CLI::App app{
      "cairnd: one store for values of any size, with Redis, S3 and "
      "gRPC doors"};
  app.set_version_flag("--version", CAIRN_VERSION);
  app.set_config("--config", "", "read flags from this TOML file; the command line wins");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option("--data", o.data, "data directory")->capture_default_str();
  app.add_option("--resp", o.resp, "HOST:PORT of the Redis door")->capture_default_str();
  app.add_option("--http", o.http, "HOST:PORT of the S3 door")->capture_default_str();
  app.add_option("--grpc", o.grpc, "HOST:PORT of the gRPC door")->capture_default_str();
  app.add_option("--resp-tls", o.resp_tls, "HOST:PORT of the Redis door with TLS");
  app.add_option("--http-tls", o.http_tls, "HOST:PORT of the S3 door with TLS");
  app.add_option("--grpc-tls", o.grpc_tls, "HOST:PORT of the gRPC door with TLS");
  app.add_option("--tls-cert", o.tls_cert, "certificate chain, PEM")->check(CLI::ExistingFile);
  app.add_option("--tls-key", o.tls_key, "private key, PEM")->check(CLI::ExistingFile);
  app.add_option("--threads", o.threads, "I/O threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--memory", [&o](const std::string& text) { take_memory(o, text); },
         "resident memory, as 512mb or 1.5gb; past it values stay on disk; 0: "
         "no limit")
      ->type_name("SIZE")
      ->default_str("0");
  app.add_option_function<std::string>(
         "--maxmemory-policy", [&o](const std::string& name) { take_policy(o, name); },
         "which keys are deleted when memory is full, in Redis's words")
      ->default_str("noeviction");
  app.add_option("--space-amplification", o.space_amplification,
                 "the log may be so many times as large as what lives in it")
      ->check(CLI::Range(1.1, 100.0))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--durability", [&o](const std::string& text) { take_durability(o, text); },
         "of RESP writes: always, everysec or off")
      ->default_str("everysec");
  app.add_option("--maxclients", o.max_clients, "clients of the Redis door at once");
  app.add_option("--timeout", o.timeout, "seconds after which a silent Redis client is sent away");
  app.add_option("--proto-max-bulk-len", o.proto_max_bulk_len, "longest word of a Redis command");
  app.add_option("--maxmemory-clients", o.maxmemory_clients,
                 "buffers of all Redis clients together, in bytes or as 25%");
  app.add_option("--client-output-buffer-limit", o.output_buffer_limit,
                 "what a client may leave unread, as Redis's CONFIG SET takes it");
  app.add_option("--domain", o.domain, "host names BUCKET.DOMAIN address a bucket over HTTP")
      ->capture_default_str();
  app.add_option("--region", o.region, "the region that S3's signatures are for")
      ->capture_default_str();
  app.add_flag("--metrics-on-loopback", o.metrics_on_loopback,
               "/-/metrics takes no credentials from a client on this machine");
  app.add_option("--io", o.io, "storage engine")
      ->check(CLI::IsMember({"auto", "uring", "threads"}))
      ->capture_default_str();
  app.add_option("--patience", o.patience_s,
                 "seconds until a gRPC stream whose client does nothing is ended")
      ->check(CLI::Range(1u, 86400u))
      ->capture_default_str();
  app.add_flag("--reflection-on-loopback", o.reflection_on_loopback,
               "gRPC reflection takes no credentials from a client on this machine");
  app.add_flag("--repair", o.repair, "start over damage in the log, losing what it names");
  app.add_option_function<std::string>(
         "--log-level", [&o](const std::string& name) { o.log_level = *severity(name); },
         "what is told on standard error, at least: debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->default_str("info");
  app.add_option_function<std::string>(
         "--log-format",
         [&o](const std::string& name) {
           o.log_format = name == "json" ? Reporter::Format::kJson : Reporter::Format::kText;
         },
         "of these lines: text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->default_str("text");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int rc = app.exit(e);
    std::exit(rc == 0 ? 0 : 2);
  }
  if (auto* file = app.get_config_ptr(); file != nullptr && file->count() > 0) {
    o.config_file = file->as<std::string>();
  }
  bool wants_tls = !o.resp_tls.empty() || !o.http_tls.empty() || !o.grpc_tls.empty();
  if (wants_tls && (o.tls_cert.empty() || o.tls_key.empty())) {
    std::fprintf(stderr, "cairnd: a TLS door needs --tls-cert and --tls-key\n");
    std::exit(2);
  }
  return o;
}

}  // namespace cairn
