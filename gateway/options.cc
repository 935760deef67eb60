#include "gateway/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <sstream>
#include <thread>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/store/holdings.h"
#include "gateway/config_file.h"
#include "gateway/net/net.h"
#include "kv/engine/client_limits.h"
#include "kv/engine/event_streams.h"
#include "kv/engine/tracking.h"

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

CLI::Validator not_empty() {
  return {[](std::string& text) { return std::string(text.empty() ? "must not be empty" : ""); },
          ""};
}

CLI::Validator is_number() {
  return {[](std::string& text) {
            const bool none = std::isnan(std::strtod(text.c_str(), nullptr));
            return none ? cat("'", text, "' is not a number") : std::string();
          },
          ""};
}

// The TOML file, which also knows in which line what was said. Strings are read here: the library
// takes a # in one for a comment, and knows no escapes.
class ConfigFile final : public CLI::ConfigTOML {
 public:
  explicit ConfigFile(std::map<std::string, size_t, std::less<>>& lines) : lines_(lines) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::string rest, line;
    std::vector<CLI::ConfigItem> strings;
    bool at_top = true;  // no table has begun, in which a name would be another
    for (size_t number = 1; std::getline(in, line); number++) {
      const size_t equals = line.find('=');
      const std::string name = CLI::detail::trim_copy(line.substr(0, equals));
      if (!name.empty() && name[0] != '#') lines_.emplace(name, number);
      at_top &= name.empty() || name[0] != '[';
      std::optional<std::string> text;
      if (at_top && equals != line.npos && !name.empty() && name[0] != '#') {
        text = string_of_toml(std::string_view(line).substr(equals + 1));
      }
      if (text) {
        add(strings, name, *text);
      } else {
        append(rest, line, "\n");
      }
    }
    std::istringstream in_rest(rest);
    std::vector<CLI::ConfigItem> items = CLI::ConfigTOML::from_config(in_rest);
    items.insert(items.begin(), strings.begin(), strings.end());
    return items;
  }
  std::string to_flag(const CLI::ConfigItem& item) const override {
    const bool known =
        item.inputs.size() == 1 && (item.inputs[0] == "true" || item.inputs[0] == "false");
    if (!known) throw CLI::ValidationError(cat("--", item.name), "is true or false");
    return item.inputs[0];
  }

 private:
  // One that is said twice has both values, and is refused.
  static void add(std::vector<CLI::ConfigItem>& items, std::string name, std::string_view text) {
    CLI::detail::remove_quotes(name);
    for (CLI::ConfigItem& item : items) {
      if (item.name == name) return item.inputs.emplace_back(text), void();
    }
    CLI::ConfigItem& item = items.emplace_back();
    item.name = name;
    item.inputs.emplace_back(text);
  }

  std::map<std::string, size_t, std::less<>>& lines_;
};

[[noreturn]] void refuse(std::string_view why) {
  std::fprintf(stderr, "cairnd: %s\nRun with --help for more information.\n",
               std::string(why).c_str());
  std::exit(kUsageExit);
}

// What is wrong, by the name under which the user said it. The library names a flag of the file as
// it names one of the command line, and a line that it cannot read as one of an INI file.
std::string told(const CLI::ParseError& e, const Options& o) {
  constexpr std::string_view kUnread = "INI was not able to parse ";
  constexpr std::string_view kNone = ": 1 required ";
  constexpr std::string_view kTwice = ": At Most 1 required but received";
  std::string text = e.what();
  if (text.starts_with(kUnread)) {
    const std::string name = text.substr(kUnread.size());
    const auto line = o.config_lines.find(name);
    return cat(o.config_file, line != o.config_lines.end() ? cat(":", line->second) : "", ": '",
               name, "' is no flag of cairnd");
  }
  if (const size_t at = text.find(kTwice); at != text.npos) {
    return cat(text.substr(0, at), " is given more than once");
  }
  if (const size_t at = text.find(kNone); at != text.npos) {
    return cat(text.substr(0, at), " needs a value");
  }
  const size_t begin = text.find("--");
  if (begin == text.npos) return text;
  const size_t end = std::min(text.size(), text.find_first_of(": =,", begin));
  const std::string flag = text.substr(begin + 2, end - begin - 2);
  return text.replace(begin, end - begin, o.named(flag));
}

void check(const Options& o) {
  const std::pair<std::string_view, const std::string*> doors[] = {
      {"resp", &o.resp},         {"http", &o.http},         {"grpc", &o.grpc},
      {"resp-tls", &o.resp_tls}, {"http-tls", &o.http_tls}, {"grpc-tls", &o.grpc_tls}};
  for (auto [flag, text] : doors) {
    if (text->empty() && flag.ends_with("-tls")) continue;  // no such door
    const auto endpoint = net::parse_endpoint(*text);
    if (!endpoint.ok()) refuse(cat(o.named(flag), ": ", endpoint.status().message()));
  }
  const bool wants_tls = !o.resp_tls.empty() || !o.http_tls.empty() || !o.grpc_tls.empty();
  if (wants_tls && (o.tls_cert.empty() || o.tls_key.empty())) {
    refuse("a TLS door needs --tls-cert and --tls-key");
  }
  if (!wants_tls && !(o.tls_cert.empty() && o.tls_key.empty())) {
    refuse(
        "--tls-cert and --tls-key are for a TLS door, and there is none: --resp-tls, --http-tls "
        "and --grpc-tls open one each");
  }
}

}  // namespace

std::string Options::named(std::string_view flag) const {
  const auto line = config_lines.find(flag);
  if (line == config_lines.end()) return cat("--", flag);
  return cat(config_file, ":", line->second, ": ", flag);
}

const std::vector<Parameter>& parameters() {
  static const kv::ClientLimits limits;
  static const std::vector<Parameter> all = {
      {"maxclients", cat(limits::kClientsMax), "clients of the Redis door at once",
       "a number of clients, at least 1, for which the system allows descriptors"},
      {"timeout", "0", "seconds after which a silent Redis client is sent away; 0: never",
       "a number of seconds, or 0 for no limit"},
      {"proto-max-bulk-len", "536870912", "the longest key or value that a Redis client may send",
       "a size of at least 1mb, as 512mb"},
      {"maxmemory-clients", limits.together_text(),
       "buffers of all Redis clients together: a size, as 64mb, or a share of the memory, as 25%",
       "a size, as 64mb, a share of the memory from 0% to 100%, or 0 for no limit"},
      {"client-output-buffer-limit", limits.output_text(),
       "what a Redis client may leave unread before it is sent away, for each class: CLASS MOST "
       "SOFT SECONDS, as Redis has it",
       "CLASS MOST SOFT SECONDS, as 'normal 256mb 64mb 60', for normal, replica and pubsub"},
      {"notify-keyspace-events", "", "classes of keyspace events that are told, as KEA or Kg$",
       "some of the letters KEAg$lshzxetmdn"},
      {"notify-keyspace-stream", "",
       "classes of keyspace events that are kept in the stream __events__, as A or g$x",
       "some of the letters Ag$lshzxetmdn"},
      {"notify-keyspace-stream-maxlen", cat(kv::EventStreams::kLengthMax),
       "about how many of them; 0: all", "a number of entries"},
      {"busy-reply-threshold", "5000",
       "milliseconds for which who needs what a script holds waits, before he is told BUSY; 0: "
       "as long as it takes",
       "a number of milliseconds"},
      {"slowlog-log-slower-than", "10000",
       "microseconds from which on a command is in SLOWLOG; below 0: none is",
       "a number of microseconds"},
      {"slowlog-max-len", "128", "how many of them", "a number of entries"},
      {"latency-monitor-threshold", "0",
       "milliseconds from which on LATENCY has what took so long; 0: nothing",
       "a number of milliseconds"},
      {"latency-tracking", "yes", "whether INFO latencystats has what commands take", "yes or no"},
      {"latency-tracking-info-percentiles", "50 99 99.9", "and at which percentiles",
       "a list of percentiles between 0 and 100"},
      {"tcp-keepalive", "300",
       "seconds after which the system asks whether a silent Redis client is still there; 0: never",
       "a number of seconds, or 0 for no question"},
      {"tracking-table-max-keys", cat(kv::Tracking::kKeysMax),
       "keys that are remembered for CLIENT TRACKING; 0: as many as there is memory for",
       "a number of keys, or 0 for no limit of their own"},
      {"save", "", "SECONDS CHANGES …: a checkpoint after so many seconds, if so much was changed",
       "pairs of a number of seconds and a number of changes, as '900 1 300 10'"},
      {"hash-max-listpack-entries", "512",
       "fields from which on OBJECT ENCODING calls a hash large", "a number"},
      {"hash-max-listpack-value", "64", "and the bytes of one, or of its value", "a size"},
      {"set-max-listpack-entries", "128",
       "members from which on it calls a set large, unless all are integers", "a number"},
      {"set-max-listpack-value", "64", "and the bytes of one", "a size"},
      {"zset-max-listpack-entries", "128", "members from which on it calls a sorted set large",
       "a number"},
      {"zset-max-listpack-value", "64", "and the bytes of one", "a size"},
      {"hll-sparse-max-bytes", "3000", "bytes above which PFADD makes a value of 12 KiB", "a size"},
      {"acl-pubsub-default", "resetchannels",
       "the channels of who is new to ACL: allchannels or resetchannels",
       "allchannels or resetchannels"},
      {"acllog-max-len", "128", "entries of ACL LOG", "a number of entries"},
      {"requirepass", "",
       "the password of Redis clients, which others see in the list of processes: the "
       "configuration "
       "file has a line for it. Without it root's is, if there is one",
       "a password; none at all is for loopback alone", true},
  };
  return all;
}

Options parse_options(int argc, char** argv) {
  Options o;
  o.threads = std::max(1u, std::thread::hardware_concurrency());
  CLI::App app{
      "cairnd: one store for values of any size, with Redis, S3 and "
      "gRPC doors"};
  app.footer(
      "Environment:\n"
      "  CAIRN_ROOT_USER, CAIRN_ROOT_PASSWORD\n"
      "                              Who may use the doors: a name, and a password of at least 8\n"
      "                              characters; at every start. Without them the first start "
      "makes\n"
      "                              up a password, prints it, and keeps it in root-credentials\n"
      "                              of the data directory; Redis on loopback then asks for none.");
  app.config_formatter(std::make_shared<ConfigFile>(o.config_lines));
  app.set_version_flag("--version", CAIRN_VERSION);
  app.set_config("--config", "", "read flags from this TOML file; the command line wins");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option("--data", o.data, "data directory")->check(not_empty())->capture_default_str();
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
  app.add_option("--databases", o.databases,
                 "numbered databases; a store that holds keys in another one does not start")
      ->check(CLI::Range(1u, kDatabasesMax))
      ->capture_default_str();
  app.add_option("--space-amplification", o.space_amplification,
                 "the log may be so many times as large as what lives in it")
      ->check(CLI::Range(1.1, 100.0))
      ->check(is_number())  // which a range takes everything for
      ->capture_default_str();
  app.add_option("--lifecycle-day", o.lifecycle_day_s,
                 "how many seconds a day has to the rules of lifecycles; less only for tests")
      ->check(CLI::Range(int64_t{1}, int64_t{24} * 3600))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--durability", [&o](const std::string& text) { take_durability(o, text); },
         "of RESP writes: always, everysec or off")
      ->default_str("everysec");
  for (const Parameter& p : parameters()) {
    app.add_option_function<std::string>(
           "--" + p.name, [&o, &p](const std::string& text) { o.parameters[p.name] = text; },
           p.about)
        ->default_str(p.secret || !p.standard.empty() ? p.standard : "none");
  }
  app.add_option("--enable-debug-command", o.debug_command,
                 "who may say DEBUG: no one, clients of this machine (local), or all (yes)")
      ->check(CLI::IsMember({"no", "local", "yes"}))
      ->capture_default_str();
  app.add_option("--cluster-enabled", o.cluster_enabled,
                 "yes: for clients of Redis Cluster it is one, of a single node")
      ->check(CLI::IsMember({"no", "yes"}))
      ->capture_default_str();
  app.add_option("--cluster-announce-ip", o.cluster_announce_ip,
                 "address or name that they are told; without it the one that they came to");
  app.add_option("--cluster-announce-port", o.cluster_announce_port,
                 "and the port of the Redis door");
  app.add_option("--cluster-announce-tls-port", o.cluster_announce_tls_port,
                 "and that of the one with TLS");
  app.add_option("--domain", o.domain, "host names BUCKET.DOMAIN address a bucket over HTTP")
      ->check(not_empty())
      ->capture_default_str();
  app.add_option("--region", o.region, "the region that S3's signatures are for")
      ->check(not_empty())
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--put-max",
         [&o](const std::string& text) {
           const auto bytes = parse_size(text);
           if (!bytes) throw CLI::ValidationError("--put-max", cat("'", text, "' is no size"));
           o.put_max = *bytes;
         },
         "what one PUT of an object or a part may bring over HTTP, as S3's 5gb; 0: no limit")
      ->type_name("SIZE")
      ->default_str("5gb");
  app.add_option("--audit-log", o.audit_log,
                 "file that has a line of JSON for who did what, and for who was refused; SIGHUP "
                 "opens it anew");
  app.add_option("--audit-log-rate", o.audit_log_rate,
                 "lines a second that it takes; what is more is counted; 0: all")
      ->capture_default_str();
  app.add_option("--access-log-period", o.access_log_period_s,
                 "seconds after which buckets that log their accesses get another object of lines")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
  app.add_option("--aclfile", o.acl_file,
                 "file of ACL LOAD and ACL SAVE, which the start reads; without it the store alone "
                 "keeps users");
  app.add_flag("--metrics-on-loopback", o.metrics_on_loopback,
               "/-/metrics takes no credentials from a client on this machine");
  app.add_option("--webhook", o.event_options.webhooks,
                 "'ID URL': a target of events of buckets, arn:cairn:sqs::ID:webhook; may be given "
                 "several times, as these three")
      ->allow_extra_args(false);
  app.add_option("--webhook-secret", o.event_options.secrets,
                 "'ID SECRET': what is sent to that webhook is signed with it; others see the "
                 "command line, and the configuration file has a line for it")
      ->allow_extra_args(false);
  app.add_option("--event-stream", o.event_options.streams,
                 "'ID DATABASE KEY': a target, arn:cairn:sqs::ID:redis: a stream of this store")
      ->allow_extra_args(false);
  app.add_option("--event-channel", o.event_options.channels,
                 "'ID CHANNEL': a target, arn:cairn:sns::ID:redis: who subscribes to it here")
      ->allow_extra_args(false);
  app.add_option("--webhook-ca", o.webhook_ca,
                 "certificates that webhooks may have, PEM, beside those that the system trusts")
      ->check(CLI::ExistingFile);
  app.add_option("--webhook-records", o.webhook_records, "events in one request, at most")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--oidc-jwks", o.oidc_jwks,
                 "'URL FILE': the keys of this OpenID Connect provider are those of a JSON Web Key "
                 "Set in a file, and it is not asked for them; may be given several times")
      ->allow_extra_args(false);
  const auto size_into = [](const char* name, uint64_t& to) {
    return [name, &to](const std::string& text) {
      const auto bytes = parse_size(text);
      if (!bytes) throw CLI::ValidationError(name, cat("'", text, "' is no size: say 1gb"));
      to = *bytes;
    };
  };
  app.add_option_function<std::string>(
         "--events-backlog", size_into("--events-backlog", o.events_backlog),
         "so much of the log is kept for a target that does not take its events")
      ->type_name("SIZE")
      ->default_str("1gb");
  app.add_option_function<std::string>(
         "--events-history", size_into("--events-history", o.events_history),
         "so much of the log is kept, beyond what it needs, for listeners and watchers who come "
         "back")
      ->type_name("SIZE")
      ->default_str("0");
  app.add_option("--io", o.io, "storage engine")
      ->check(CLI::IsMember({"auto", "uring", "threads"}))
      ->capture_default_str();
  app.add_option(
         "--patience", o.patience_s,
         "seconds that a gRPC stream waits for a client that neither sends nor reads, and that "
         "a call without credentials may last")
      ->check(CLI::Range(1u, 86400u))
      ->capture_default_str();
  app.add_flag("--reflection-on-loopback", o.reflection_on_loopback,
               "gRPC reflection takes no credentials from a client on this machine");
  app.add_flag(
      "--repair", o.repair,
      "start although the log is damaged, without what the damage took; says what that was");
  app.add_option_function<std::string>(
         "--log-level",
         [&o](const std::string& name) {
           o.log_verbose = name == "verbose";
           o.log_level = *severity(o.log_verbose ? "debug" : name);
         },
         "what is told on standard error, at least: debug (or verbose), info, warning or error")
      ->check(CLI::IsMember({"debug", "verbose", "info", "warning", "error"}))
      ->default_str("info");
  app.add_option_function<std::string>(
         "--log-format",
         [&o](const std::string& name) {
           o.log_format = name == "json" ? Reporter::Format::kJson : Reporter::Format::kText;
         },
         "of these lines: text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->default_str("text");
  const auto note_origins = [&] {  // the command line wins
    const auto* file = app.get_config_ptr();
    if (file->count() > 0) o.config_file = file->as<std::string>();
    for (int i = 1; i < argc; i++) {
      const std::string_view word = argv[i];
      if (word.starts_with("--")) {
        o.config_lines.erase(std::string(word.substr(2, word.find('=') - 2)));
      }
    }
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) std::exit(app.exit(e));  // --help, --version
    note_origins();
    refuse(told(e, o));
  }
  note_origins();
  check(o);
  auto targets = events::parse_targets(o.event_options, o.databases);
  if (!targets.ok()) refuse(cat("--", targets.status().message()));
  o.event_targets = std::move(*targets);
  return o;
}

}  // namespace cairn
