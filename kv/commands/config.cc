// CONFIG: parameters by Redis's names.
#include "kv/commands/config.h"

#include <algorithm>
#include <fstream>

#include "core/base/descriptors.h"
#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/store/known_users.h"
#include "kv/commands/secrets.h"
#include "kv/engine/engine.h"
#include "kv/types/glob.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/stream_block.h"
#include "kv/types/thresholds.h"

namespace cairn::kv {
namespace {

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
  // Then: why it is as it is; who asks for just that has it. Empty: it is said at the start alone.
  std::string_view why = {};
  std::string_view value = {};  // where it is always this, and `get` null
};

std::string get(const Parameter& p, Server& server) {
  return p.get != nullptr ? p.get(server) : std::string(p.value);
}

Refusal set(const Parameter& p, Server& server, std::string_view value) {
  if (p.set != nullptr) return p.set(server, value);
  const bool same = equals_ignoring_case(value, get(p, server));
  return same ? Refusal() : cat("it is '", get(p, server), "' here: ", p.why);
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

// Bytes, or a part of the machine's memory.
Refusal set_memory(Server& s, std::string_view value) {
  if (!value.empty() && value.back() == '%') {
    const auto percent = parse_int<uint64_t>(value.substr(0, value.size() - 1));
    if (!percent) return "argument must be a memory or percent value";
    if (*percent > 100) return "percentage argument must be less or equal to 100";
    s.store.set_memory_bytes(limits::memory_of(0) / 100 * *percent);
    return {};
  }
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

std::string yes_or_no(bool yes) { return yes ? "yes" : "no"; }
std::optional<bool> parse_yes(std::string_view value) {
  if (equals_ignoring_case(value, "yes")) return true;
  return equals_ignoring_case(value, "no") ? std::optional(false) : std::nullopt;
}
constexpr std::string_view kYesOrNo = "argument must be 'yes' or 'no'";

// Of what is always on: who asks for it has it.
std::string get_yes(Server&) { return "yes"; }
Refusal set_yes(Server&, std::string_view value) {
  const auto yes = parse_yes(value);
  if (!yes) return std::string(kYesOrNo);
  return *yes ? "" : "it cannot be switched off";
}

// That so much is on disk after so many seconds: the log is synced each second while there is such
// a point, also where it would not be.
void choose_syncs(Server& s) {
  const Durability d = s.durability;
  const bool by_points = d == Durability::kOff && !s.save_points().empty();
  s.store.set_durability(by_points ? Durability::kEverySec : d);
}

Refusal set_durability(Server& s, std::string_view value) {
  for (auto d : {Durability::kAlways, Durability::kEverySec, Durability::kOff}) {
    if (!equals_ignoring_case(value, durability_name(d))) continue;
    s.durability = d;
    choose_syncs(s);
    return {};
  }
  return "argument(s) must be one of the following: everysec, always, no";
}

Refusal set_save(Server& s, std::string_view value) {
  const auto words = words_of(value);
  bool good = words.size() % 2 == 0;
  for (auto word : words) good &= parse_ll(word).value_or(0) >= 1;
  if (!good) return "Invalid save parameters";
  s.set_save_points(value);
  choose_syncs(s);
  return {};
}

constexpr std::string_view kPassword = "requirepass";

Refusal set_password(Server& s, std::string_view value) {
  if (value.empty() && !s.loopback_alone) {
    return "the Redis door is open to other machines, and would be to anybody";
  }
  s.set_default_password(value);
  if (!s.users.default_acl() || value == kRootsPassword) return {};
  const auto changed = s.users.change([](Draft& draft) -> Status {
    const UserRecord* user = draft.table().user(kDefaultUser);
    if (user == nullptr || !user->acl) return absl::OkStatus();
    AclRecord acl = *user->acl;
    acl.as_started = true;  // with this password, and no other
    acl.nopass = false;
    acl.hashes.clear();
    return draft.set_acl(kDefaultUser, std::move(acl));
  });
  return changed.ok() ? Refusal() : Refusal(changed.status().message());
}

std::string get_channels_default(Server& s) {
  return s.acl_channels_open ? "allchannels" : "resetchannels";
}
Refusal set_channels_default(Server& s, std::string_view value) {
  const bool open = equals_ignoring_case(value, "allchannels");
  if (!open && !equals_ignoring_case(value, "resetchannels")) {
    return "argument(s) must be one of the following: allchannels, resetchannels";
  }
  s.acl_channels_open = open;
  return {};
}
void take_acl_log_length(Server& s, uint64_t n) { s.acl_log.set_length_max(n); }

// Redis's names, from the most that is said to the least. Here verbose is debug, but for its name.
constexpr std::pair<std::string_view, Severity> kLogLevels[] = {{"debug", Severity::kDebug},
                                                                {"verbose", Severity::kDebug},
                                                                {"notice", Severity::kInfo},
                                                                {"warning", Severity::kWarning}};
std::string get_log_level(Server& s) {
  const Severity least = s.log_level ? s.log_level() : Severity::kInfo;
  for (auto [name, severity] : kLogLevels) {
    const bool other = severity == Severity::kDebug && (name == "verbose") != s.log_verbose;
    if (severity == least && !other) return std::string(name);
  }
  return "warning";
}
Refusal set_log_level(Server& s, std::string_view value) {
  for (auto [name, severity] : kLogLevels) {
    if (!equals_ignoring_case(value, name)) continue;
    if (s.set_log_level) s.set_log_level(severity);
    s.log_verbose = name == "verbose";
    return {};
  }
  return "argument(s) must be one of the following: debug, verbose, notice, warning";
}

Refusal set_slower_than(Server& s, std::string_view value) {
  const auto us = parse_ll(value);
  if (!us) return "argument couldn't be parsed into an integer";
  if (*us < -1) return cat("argument must be between -1 and ", INT64_MAX, " inclusive");
  s.lookout.set_slower_than_us(*us);
  return {};
}

// A number that something else keeps.
template <void (*Take)(Server&, uint64_t), uint64_t Max>
Refusal set_count(Server& s, std::string_view value) {
  const auto n = parse_ll(value);
  if (!n) return "argument couldn't be parsed into an integer";
  if (*n < 0 || static_cast<uint64_t>(*n) > Max) {
    return cat("argument must be between 0 and ", Max, " inclusive");
  }
  Take(s, static_cast<uint64_t>(*n));
  return {};
}
void take_slowlog_length(Server& s, uint64_t n) { s.lookout.slowlog.set_length_max(n); }
void take_diary_ms(Server& s, uint64_t n) { s.lookout.set_diary_ms(n); }

Refusal set_tracking(Server& s, std::string_view value) {
  const auto yes = parse_yes(value);
  if (!yes) return std::string(kYesOrNo);
  s.lookout.set(Lookout::kHistograms, *yes);
  return {};
}

std::string get_percentiles(Server& s) {
  std::string text;
  for (const double percent : s.percentiles()) {
    append(text, text.empty() ? "" : " ", percent_text(percent));
  }
  return text;
}
Refusal set_percentiles(Server& s, std::string_view value) {
  std::vector<double> percents;
  for (auto word : words_of(value)) {
    const auto percent = parse_float(word);
    if (!percent) return "Invalid latency-tracking-info-percentiles parameters";
    if (!(*percent >= 0 && *percent <= 100)) {
      return "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
    }
    constexpr size_t kMost = 32;
    if (percents.size() == kMost) return cat("at most ", kMost, " percentiles are told");
    percents.push_back(static_cast<double>(*percent));
  }
  s.set_percentiles(std::move(percents));
  return {};
}

constexpr std::string_view kShape =
    "it lies in the value as it is kept, and the log's replay makes that anew";

// Of what OBJECT ENCODING answers.
template <Thresholds& Of, std::atomic<uint64_t> Thresholds::*Which>
std::string get_threshold(Server&) {
  return cat((Of.*Which).load());
}
template <Thresholds& Of, std::atomic<uint64_t> Thresholds::*Which>
Refusal set_threshold(Server&, std::string_view value) {
  if constexpr (Which == &Thresholds::value) {
    const auto bytes = parse_memory(value);
    if (!bytes) return "argument must be a memory value";
    (Of.*Which) = *bytes;
    return {};
  }
  const auto n = parse_ll(value);
  if (!n) return "argument couldn't be parsed into an integer";
  if (*n < 0) return cat("argument must be between 0 and ", INT64_MAX, " inclusive");
  (Of.*Which) = static_cast<uint64_t>(*n);
  return {};
}

Refusal set_sparse_max(Server&, std::string_view value) {
  const auto bytes = parse_memory(value);
  if (!bytes) return "argument must be a memory value";
  hll_sparse_bytes_max = *bytes;
  return {};
}

// Expired keys and what else is due are looked for so often; who asks for less has more.
constexpr int64_t kHz = 1000 / Keyspace::kTickMs;
Refusal set_hz(Server&, std::string_view value) {
  const auto n = parse_ll(value);
  if (!n) return "argument couldn't be parsed into an integer";
  return *n <= kHz ? Refusal() : cat("what is due is looked for ", kHz, " times a second");
}

// As many as there can be sockets for.
Refusal set_max_clients(Server& s, std::string_view value) {
  const auto n = parse_int<uint64_t>(value);
  if (n && *n >= 1 && *n <= UINT32_MAX && *n > descriptors_for_clients()) {
    return cat(
        "The operating system is not able to handle the specified number of clients, try with ",
        descriptors_for_clients());
  }
  return set_number<&Server::max_clients, 1, UINT32_MAX>(s, value);
}
constexpr std::string_view kAtStart = "it is an option of the start";

// After how long others get BUSY while a script has their keys; as in Redis, 0 is never.
std::string get_busy_threshold(Server& s) { return cat(s.store.busy().patience_ms.load()); }
Refusal set_busy_threshold(Server& s, std::string_view value) {
  const auto ms = parse_ll(value);
  if (!ms) return "argument couldn't be parsed into an integer";
  if (*ms < 0) return cat("argument must be between 0 and ", INT64_MAX, " inclusive");
  s.store.busy().patience_ms = *ms;
  return {};
}

constexpr Parameter kParameters[] = {
    {"acl-pubsub-default", get_channels_default, set_channels_default},
    {"aclfile", [](Server& s) { return s.acl_file; }, nullptr, kAtStart},
    {"acllog-max-len", [](Server& s) { return cat(s.acl_log.length_max()); },
     set_count<take_acl_log_length, 20'000>},
    {"appendfsync", [](Server& s) { return std::string(durability_name(s.durability)); },
     set_durability},
    {"appendonly", get_yes, set_yes},
    {"bind", [](Server& s) { return s.bind_address; }, nullptr, kAtStart},
    {"busy-reply-threshold", get_busy_threshold, set_busy_threshold},
    {"client-output-buffer-limit", [](Server& s) { return s.client_limits.output_text(); },
     [](Server& s, std::string_view v) { return s.client_limits.set_output(v); }},
    {"cluster-announce-ip", [](Server& s) { return s.cluster.announce_ip; }, nullptr, kAtStart},
    {"cluster-announce-port", [](Server& s) { return cat(s.cluster.announce_port); }, nullptr,
     kAtStart},
    {"cluster-announce-tls-port", [](Server& s) { return cat(s.cluster.announce_tls_port); },
     nullptr, kAtStart},
    {"cluster-enabled", [](Server& s) { return yes_or_no(s.cluster.enabled); }, nullptr},
    {"databases", [](Server& s) { return cat(s.store.databases()); }, nullptr},
    {"dir", [](Server& s) { return s.data_directory; }, nullptr, kAtStart},
    {"hash-max-listpack-entries", get_threshold<hash_thresholds, &Thresholds::entries>,
     set_threshold<hash_thresholds, &Thresholds::entries>},
    {"hash-max-listpack-value", get_threshold<hash_thresholds, &Thresholds::value>,
     set_threshold<hash_thresholds, &Thresholds::value>},
    {"hll-sparse-max-bytes", [](Server&) { return cat(hll_sparse_bytes_max.load()); },
     set_sparse_max},
    {"hz", [](Server&) { return cat(kHz); }, set_hz},
    {"io-threads", [](Server& s) { return cat(s.threads); }, nullptr},
    {"list-max-listpack-size", [](Server&) { return cat(List::kMaxListpackSize); }, nullptr,
     kShape},
    {"list-max-ziplist-size", [](Server&) { return cat(List::kMaxListpackSize); }, nullptr, kShape},
    {"lua-time-limit", get_busy_threshold, set_busy_threshold},
    {"maxclients", [](Server& s) { return cat(s.max_clients.load()); }, set_max_clients},
    {"maxmemory", [](Server& s) { return cat(s.store.memory_bytes()); }, set_memory},
    {"maxmemory-clients", [](Server& s) { return s.client_limits.together_text(); },
     [](Server& s, std::string_view v) { return s.client_limits.set_together(v); }},
    {"maxmemory-policy", [](Server& s) { return std::string(name_of(s.store.memory().policy())); },
     set_policy},
    {"notify-keyspace-events", [](Server& s) { return s.events.text(); },
     [](Server& s, std::string_view letters) -> Refusal {
       return s.events.set(letters) ? "" : "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
     }},
    {"notify-keyspace-stream", [](Server& s) { return s.events.kept_text(); },
     [](Server& s, std::string_view letters) -> Refusal {
       return s.events.keep(letters) ? ""
                                     : "Invalid event class character. Use 'Ag$lshzxetmdn': the "
                                       "stream has the event and the key.";
     }},
    {"notify-keyspace-stream-maxlen",
     [](Server& s) { return cat(s.event_stream_length_max.load()); },
     set_number<&Server::event_stream_length_max, 0, INT64_MAX>},
    {"port", [](Server& s) { return cat(s.port); }, nullptr, kAtStart},
    {"proto-max-bulk-len", [](Server& s) { return cat(s.proto_max_bulk_len.load()); },
     set_number<&Server::proto_max_bulk_len, 1 << 20, INT64_MAX, true>},
    {"save", [](Server& s) { return s.save_points(); }, set_save},
    {"set-max-intset-entries", [](Server&) { return cat(Set::kIntsetEntries); }, nullptr, kShape},
    {"set-max-listpack-entries", get_threshold<set_thresholds, &Thresholds::entries>,
     set_threshold<set_thresholds, &Thresholds::entries>},
    {"set-max-listpack-value", get_threshold<set_thresholds, &Thresholds::value>,
     set_threshold<set_thresholds, &Thresholds::value>},
    {"slave-read-only", get_yes, set_yes},
    {"replica-read-only", get_yes, set_yes},
    {"stream-node-max-bytes", [](Server&) { return cat(StreamBlock::kBytesMax); }, nullptr, kShape},
    {"stream-node-max-entries", [](Server&) { return cat(StreamBlock::kEntriesMax); }, nullptr,
     kShape},
    {"tcp-keepalive", [](Server& s) { return cat(s.tcp_keepalive_s.load()); },
     set_number<&Server::tcp_keepalive_s, 0, INT32_MAX>},
    {"tls-cert-file", [](Server& s) { return s.tls_cert_file; }, nullptr, kAtStart},
    {"tls-key-file", [](Server& s) { return s.tls_key_file; }, nullptr, kAtStart},
    {"timeout", [](Server& s) { return cat(s.timeout_s.load()); },
     set_number<&Server::timeout_s, 0, INT32_MAX>},
    {"tls-port", [](Server& s) { return cat(s.tls_port); }, nullptr, kAtStart},
    {"zset-max-listpack-entries", get_threshold<sorted_set_thresholds, &Thresholds::entries>,
     set_threshold<sorted_set_thresholds, &Thresholds::entries>},
    {"hash-max-ziplist-entries", get_threshold<hash_thresholds, &Thresholds::entries>,
     set_threshold<hash_thresholds, &Thresholds::entries>},
    {"hash-max-ziplist-value", get_threshold<hash_thresholds, &Thresholds::value>,
     set_threshold<hash_thresholds, &Thresholds::value>},
    {"zset-max-ziplist-entries", get_threshold<sorted_set_thresholds, &Thresholds::entries>,
     set_threshold<sorted_set_thresholds, &Thresholds::entries>},
    {"zset-max-listpack-value", get_threshold<sorted_set_thresholds, &Thresholds::value>,
     set_threshold<sorted_set_thresholds, &Thresholds::value>},
    {"zset-max-ziplist-value", get_threshold<sorted_set_thresholds, &Thresholds::value>,
     set_threshold<sorted_set_thresholds, &Thresholds::value>},
    {"enable-debug-command", [](Server& s) { return s.debug_command; }, nullptr},
    {"latency-monitor-threshold", [](Server& s) { return cat(s.lookout.diary_ms()); },
     set_count<take_diary_ms, INT64_MAX>},
    {"latency-tracking",
     [](Server& s) { return yes_or_no((s.lookout.bits() & Lookout::kHistograms) != 0); },
     set_tracking},
    {"latency-tracking-info-percentiles", get_percentiles, set_percentiles},
    {"loglevel", get_log_level, set_log_level},
    {kPassword, [](Server& s) { return s.default_password(); }, set_password},
    {"slowlog-log-slower-than", [](Server& s) { return cat(s.lookout.slower_than_us()); },
     set_slower_than},
    {"slowlog-max-len", [](Server& s) { return cat(s.lookout.slowlog.length_max()); },
     set_count<take_slowlog_length, 20'000>},
    {"tracking-table-max-keys", [](Server& s) { return cat(s.tracking_keys_max.load()); },
     set_number<&Server::tracking_keys_max, 0, INT64_MAX>},
};

// All that there are.
const std::vector<Parameter>& all_parameters() {
  static const std::vector<Parameter> all = [] {
    std::vector<Parameter> both(std::begin(kParameters), std::end(kParameters));
    for (const FixedParameter& f : fixed_parameters()) {
      both.push_back({f.name, nullptr, nullptr, f.why, f.value});
    }
    return both;
  }();
  return all;
}

const Parameter* find_parameter(std::string_view name) {
  for (const Parameter& p : all_parameters()) {
    if (equals_ignoring_case(p.name, name)) return &p;
  }
  return nullptr;
}

bool sees_password(const Context& c) {
  return sees_secrets(c) && manages(c, "PutUserPolicy", kDefaultUser);
}

// Whoever asks for one by its name is told of it under the name that he said.
void config_get(Context& c) {
  std::vector<std::pair<const Parameter*, std::string_view>> found;
  const auto add = [&found](const Parameter& p, std::string_view name) {
    const auto is_it = [&p](const auto& other) { return other.first == &p; };
    if (std::none_of(found.begin(), found.end(), is_it)) found.emplace_back(&p, name);
  };
  for (size_t i = 2; i < c.args.size(); i++) {
    if (c.args[i].find_first_of("[*?") == c.args[i].npos) {
      if (const Parameter* p = find_parameter(c.args[i])) add(*p, c.args[i]);
      continue;
    }
    Glob pattern(c.args[i], true);
    for (const Parameter& p : all_parameters()) {
      if (pattern.matches(p.name)) add(p, p.name);
    }
  }
  c.reply.map(found.size());
  for (auto [p, name] : found) {
    c.reply.bulk(name);
    c.reply.bulk(p->name == kPassword && !sees_password(c) ? "" : get(*p, c.engine.server()));
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
  auto refuse = [&](std::string_view name, std::string_view why) {
    c.reply.error(cat("ERR CONFIG SET failed (possibly related to argument '", name, "') - ", why));
  };
  if (c.args.size() % 2 != 0) return c.syntax_error();
  for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
    const Parameter* p = find_parameter(c.args[i]);
    if (p == nullptr) {
      return c.reply.error(cat("ERR Unknown option or number of arguments for CONFIG SET - '",
                               c.args[i].substr(0, 128), "'"));
    }
    if (p->set == nullptr && p->why.empty()) return refuse(c.args[i], "can't set immutable config");
    for (const Change& other : changes) {
      if (other.parameter == p) return refuse(c.args[i], "duplicate parameter");
    }
    if (p->name == kPassword && !may_make_secrets(c)) return;
    if (p->name == kPassword && !manages(c, "PutUserPolicy", kDefaultUser)) {
      return refuse_to_manage(c);
    }
    changes.push_back({p, c.args[i + 1], get(*p, server)});
  }
  for (size_t i = 0; i < changes.size(); i++) {
    const Refusal why = set(*changes[i].parameter, server, changes[i].value);
    if (why.empty()) continue;
    for (size_t done = 0; done < i; done++) {
      (void)set(*changes[done].parameter, server, changes[done].before);
    }
    return refuse(changes[i].parameter->name, why);
  }
  c.session.wrote = true;  // a lower limit of memory holds before the answer leaves
  c.reply.ok();
}

void config_resetstat(Context& c) {
  c.engine.server().reset_stats();
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

constexpr std::string_view kGroup = "server";
constexpr uint32_t kConfig = kAdmin | kLoading | kNoScript | kDangerous;
constexpr Row kRows[] = {
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
};

}  // namespace
std::span<const Row> config_rows() { return kRows; }

bool set_parameter(Server& server, std::string_view name, std::string_view value) {
  const Parameter* p = find_parameter(name);
  return p != nullptr && p->set != nullptr && p->set(server, value).empty();
}

std::vector<std::string_view> settings() {
  std::vector<const Parameter*> found;
  for (const Parameter& p : all_parameters()) {
    const auto is_same = [&p](const Parameter* q) { return q->set == p.set && q->get == p.get; };
    if (p.set != nullptr && std::none_of(found.begin(), found.end(), is_same)) found.push_back(&p);
  }
  std::vector<std::string_view> names;
  names.reserve(found.size());
  for (const Parameter* p : found) names.push_back(p->name);
  return names;
}

std::string get_parameter(Server& server, std::string_view name) {
  const Parameter* p = find_parameter(name);
  return p == nullptr ? std::string() : get(*p, server);
}

}  // namespace cairn::kv
