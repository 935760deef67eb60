// CONFIG: parameters by Redis's names.
#include <algorithm>
#include <fstream>

#include "core/base/text.h"
#include "kv/engine/engine.h"
#include "kv/types/glob.h"
#include "kv/types/hash.h"
#include "kv/types/hyperloglog.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"
#include "kv/types/stream_block.h"

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
};

Refusal set_durability(Server& s, std::string_view value) {
  for (auto d : {Durability::kAlways, Durability::kEverySec, Durability::kOff}) {
    if (!equals_ignoring_case(value, durability_name(d))) continue;
    s.durability = d;
    s.store.set_durability(d);
    return {};
  }
  return "argument(s) must be one of the following: everysec, always, no";
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

Refusal set_memory(Server& s, std::string_view value) {
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

// Of what is always on: who asks for it has it.
std::string get_yes(Server&) { return "yes"; }
Refusal set_yes(Server&, std::string_view value) {
  if (equals_ignoring_case(value, "yes")) return {};
  return equals_ignoring_case(value, "no") ? "it cannot be switched off"
                                           : "argument must be 'yes' or 'no'";
}

Refusal set_save(Server&, std::string_view value) {
  return value.empty() ? "" : "there are no snapshots: the log is the database";
}

// After how long others get BUSY while a script runs; as in Redis, 0 is never.
std::string get_never(Server&) { return "0"; }
Refusal set_never(Server&, std::string_view value) {
  return value == "0" ? ""
                      : "nobody gets BUSY: a script is ended after 1000 ms, and nothing of it is "
                        "done";
}

constexpr Parameter kParameters[] = {
    {"appendfsync", [](Server& s) { return std::string(durability_name(s.durability)); },
     set_durability},
    {"appendonly", get_yes, set_yes},
    {"bind", [](Server& s) { return s.bind_address; }, nullptr},
    {"busy-reply-threshold", get_never, set_never},
    {"client-output-buffer-limit", [](Server& s) { return s.client_limits.output_text(); },
     [](Server& s, std::string_view v) { return s.client_limits.set_output(v); }},
    {"cluster-enabled", [](Server&) { return std::string("no"); }, nullptr},
    {"databases", [](Server&) { return cat(kDatabases); }, nullptr},
    {"dir", [](Server& s) { return s.data_directory; }, nullptr},
    {"hash-max-listpack-entries", [](Server&) { return cat(Hash::kListpackEntries); }, nullptr},
    {"hash-max-listpack-value", [](Server&) { return cat(Hash::kListpackValue); }, nullptr},
    {"hll-sparse-max-bytes", [](Server&) { return cat(hll::kSparseBytesMax); }, nullptr},
    {"io-threads", [](Server& s) { return cat(s.threads); }, nullptr},
    {"list-max-listpack-size", [](Server&) { return cat(List::kMaxListpackSize); }, nullptr},
    {"list-max-ziplist-size", [](Server&) { return cat(List::kMaxListpackSize); }, nullptr},
    {"lua-time-limit", get_never, set_never},
    {"maxclients", [](Server& s) { return cat(s.max_clients.load()); },
     set_number<&Server::max_clients, 1, UINT32_MAX>},
    {"maxmemory", [](Server& s) { return cat(s.store.memory_bytes()); }, set_memory},
    {"maxmemory-clients", [](Server& s) { return s.client_limits.together_text(); },
     [](Server& s, std::string_view v) { return s.client_limits.set_together(v); }},
    {"maxmemory-policy", [](Server& s) { return std::string(name_of(s.store.memory().policy())); },
     set_policy},
    {"notify-keyspace-events", [](Server& s) { return s.events.text(); },
     [](Server& s, std::string_view letters) -> Refusal {
       return s.events.set(letters) ? "" : "Invalid event class character. Use 'Ag$lszhxeKEtmdn'.";
     }},
    {"port", [](Server& s) { return cat(s.port); }, nullptr},
    {"proto-max-bulk-len", [](Server& s) { return cat(s.proto_max_bulk_len.load()); },
     set_number<&Server::proto_max_bulk_len, 1 << 20, INT64_MAX, true>},
    {"save", [](Server&) { return std::string(); }, set_save},
    {"set-max-intset-entries", [](Server&) { return cat(Set::kIntsetEntries); }, nullptr},
    {"set-max-listpack-entries", [](Server&) { return cat(Set::kListpackEntries); }, nullptr},
    {"set-max-listpack-value", [](Server&) { return cat(Set::kListpackValue); }, nullptr},
    {"slave-read-only", get_yes, set_yes},
    {"replica-read-only", get_yes, set_yes},
    {"stream-node-max-bytes", [](Server&) { return cat(StreamBlock::kBytesMax); }, nullptr},
    {"stream-node-max-entries", [](Server&) { return cat(StreamBlock::kEntriesMax); }, nullptr},
    {"timeout", [](Server& s) { return cat(s.timeout_s.load()); },
     set_number<&Server::timeout_s, 0, INT32_MAX>},
    {"tls-port", [](Server& s) { return cat(s.tls_port); }, nullptr},
    {"tracking-table-max-keys", [](Server& s) { return cat(s.tracking_keys_max.load()); },
     set_number<&Server::tracking_keys_max, 0, INT64_MAX>},
    {"zset-max-listpack-entries", [](Server&) { return cat(SortedSet::kListpackEntries); },
     nullptr},
    {"zset-max-listpack-value", [](Server&) { return cat(SortedSet::kListpackValue); }, nullptr},
};

void config_get(Context& c) {
  std::vector<const Parameter*> found;
  for (const Parameter& p : kParameters) {
    for (size_t i = 2; i < c.args.size(); i++) {
      if (!glob_match(c.args[i], p.name, true)) continue;
      found.push_back(&p);
      break;
    }
  }
  c.reply.map(found.size());
  for (auto* p : found) {
    c.reply.bulk(p->name);
    c.reply.bulk(p->get(c.engine.server()));
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
  auto refuse = [&](const Parameter& p, std::string_view why) {
    c.reply.error(
        cat("ERR CONFIG SET failed (possibly related to argument '", p.name, "') - ", why));
  };
  if (c.args.size() % 2 != 0) return c.syntax_error();
  for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
    const auto* p = std::find_if(std::begin(kParameters), std::end(kParameters), [&](auto& known) {
      return equals_ignoring_case(known.name, c.args[i]);
    });
    if (p == std::end(kParameters)) {
      return c.reply.error(cat("ERR Unknown option or number of arguments for CONFIG SET - '",
                               c.args[i].substr(0, 128), "'"));
    }
    if (p->set == nullptr) return refuse(*p, "can't set immutable config");
    for (const Change& other : changes) {
      if (other.parameter == p) return refuse(*p, "duplicate parameter");
    }
    changes.push_back({p, c.args[i + 1], p->get(server)});
  }
  for (size_t i = 0; i < changes.size(); i++) {
    const Refusal why = changes[i].parameter->set(server, changes[i].value);
    if (why.empty()) continue;
    for (size_t done = 0; done < i; done++) {
      (void)changes[done].parameter->set(server, changes[done].before);
    }
    return refuse(*changes[i].parameter, why);
  }
  c.session.wrote = true;  // a lower limit of memory holds before the answer leaves
  c.reply.ok();
}

void config_resetstat(Context& c) {
  c.engine.server().stats.reset();
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
  for (const Parameter& p : kParameters) {
    if (p.name == name) return p.set != nullptr && p.set(server, value).empty();
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
