#include "gateway/options.h"

#include <CLI/CLI.hpp>
#include <map>
#include <thread>

namespace cairn {

Options parse_options(int argc, char** argv) {
  Options o;
  o.threads = std::max(1u, std::thread::hardware_concurrency());
  CLI::App app{"cairnd: one store for values of any size, with Redis, S3 and gRPC doors"};
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
  app.add_option("--memory", o.memory_bytes,
                 "resident memory, as 512mb or 4gb; past it values stay on disk; 0: no limit")
      ->transform(CLI::AsSizeValue(false));
  app.add_option_function<std::string>(
         "--maxmemory-policy",
         [&o](const std::string& name) {
           auto policy = eviction_policy(name);
           if (!policy) throw CLI::ValidationError("--maxmemory-policy", "no policy of Redis's");
           o.policy = *policy;
         },
         "which keys are deleted when memory is full, in Redis's words")
      ->default_str("noeviction");
  app.add_option("--space-amplification", o.space_amplification,
                 "the log may be so many times as large as what lives in it")
      ->check(CLI::Range(1.1, 100.0))
      ->capture_default_str();
  std::map<std::string, Durability> durabilities{{"always", Durability::kAlways},
                                                 {"everysec", Durability::kEverySec},
                                                 {"off", Durability::kOff}};
  app.add_option("--durability", o.durability, "of RESP writes: always, everysec or off")
      ->transform(CLI::CheckedTransformer(durabilities, CLI::ignore_case));
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
