#include "kv/commands/command_flags.h"

#include <algorithm>
#include <span>

#include "kv/commands/sort.h"

namespace cairn::kv {
namespace {

// They are answered, however long a script runs. WATCH is not, of a key that the script has.
constexpr std::string_view kAllowBusy[] = {
    "auth", "discard",  "function|kill", "function|stats", "hello",    "multi",
    "quit", "replconf", "reset",         "script|kill",    "shutdown", "unwatch"};
// What Redis refuses while a replica loads beside the data that it had; no server here does.
constexpr std::string_view kNoAsyncLoading[] = {"bgrewriteaof",
                                                "bgsave",
                                                "cluster|addslots",
                                                "cluster|addslotsrange",
                                                "cluster|bumpepoch",
                                                "cluster|delslots",
                                                "cluster|delslotsrange",
                                                "cluster|failover",
                                                "cluster|flushslots",
                                                "cluster|forget",
                                                "cluster|meet",
                                                "cluster|replicate",
                                                "cluster|saveconfig",
                                                "cluster|set-config-epoch",
                                                "cluster|setslot",
                                                "psync",
                                                "replicaof",
                                                "save",
                                                "slaveof",
                                                "sync"};
// Beside what runs while the store loads, clusters and scripts.
constexpr std::string_view kStale[] = {"echo",        "failover", "replicaof",
                                       "script|load", "shutdown", "slaveof"};

constexpr Deprecated kDeprecated[] = {
    {"brpoplpush", "6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"},
    {"cluster|slaves", "5.0.0", "`CLUSTER REPLICAS`"},
    {"cluster|slots", "7.0.0", "`CLUSTER SHARDS`"},
    {"georadius", "6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"},
    {"georadius_ro", "6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"},
    {"georadiusbymember", "6.2.0",
     "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"},
    {"georadiusbymember_ro", "6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"},
    {"getset", "6.2.0", "`SET` with the `!GET` argument"},
    {"hmset", "4.0.0", "`HSET` with multiple field-value pairs"},
    {"rpoplpush", "6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"},
    {"slaveof", "5.0.0", "`REPLICAOF`"},
    {"substr", "2.0.0", "`GETRANGE`"},
    {"zrangebylex", "6.2.0", "`ZRANGE` with the `BYLEX` argument"},
    {"zrangebyscore", "6.2.0", "`ZRANGE` with the `BYSCORE` argument"},
    {"zrevrange", "6.2.0", "`ZRANGE` with the `REV` argument"},
    {"zrevrangebylex", "6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"},
    {"zrevrangebyscore", "6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"},
};
constexpr std::string_view kOfSystem[] = {"debug", "pfdebug", "pfselftest", "replconf",
                                          "restore-asking"};

bool is_one_of(const Row& row, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), row.name) != names.end();
}

// What a replica answers that has lost its master, in Redis: here none is refused for that.
bool is_stale(const Row& row) {
  const bool runs_script = row.group == "scripting" && row.has_keys();
  const bool of_cluster = row.name.starts_with("cluster|");
  return (row.flags & kLoading) != 0 || runs_script || of_cluster || is_one_of(row, kStale);
}

}  // namespace

std::vector<std::string_view> flag_names(const Row& row) {
  std::vector<std::string_view> names;
  for (auto [flag, name] :
       {std::pair(kWrite, "write"), std::pair(kReadOnly, "readonly"),
        std::pair(kDenyOom, "denyoom"), std::pair(kAdmin, "admin"),
        std::pair(kNoScript, "noscript"), std::pair(kLoading, "loading"), std::pair(kFast, "fast"),
        std::pair(kNoAuth, "no_auth"), std::pair(kNoMulti, "no_multi"),
        std::pair(kPubsub, "pubsub"), std::pair(kBlocking, "blocking")}) {
    if (row.flags & flag) names.push_back(name);
  }
  const auto movable = [](const KeySpec& s) {
    return s.count_at >= 0 || !s.keyword.empty() || (s.flags & kKeyUnknown) != 0;
  };
  if (std::any_of(row.keys.begin(), row.keys.end(), movable)) names.push_back("movablekeys");
  if (row.group == "scripting" && row.has_keys()) {
    names.push_back("skip_monitor");
    names.push_back("no_mandatory_keys");
  }
  for (auto [flag, is_so] :
       {std::pair("stale", is_stale(row)), std::pair("allow_busy", is_one_of(row, kAllowBusy)),
        std::pair("no_async_loading", is_one_of(row, kNoAsyncLoading)),
        std::pair("skip_slowlog", (row.flags & kQueue) != 0),
        std::pair("asking", row.name == "restore-asking")}) {
    if (is_so) names.emplace_back(flag);
  }
  return names;
}

std::vector<std::string_view> categories(const Row& row) {
  std::vector<std::string_view> names;
  if (row.run == nullptr) return {"slow"};  // the rest is its subcommands'
  for (auto [group, name] :
       {std::pair("generic", "keyspace"), std::pair("string", "string"),
        std::pair("bitmap", "bitmap"), std::pair("hyperloglog", "hyperloglog"),
        std::pair("hash", "hash"), std::pair("list", "list"), std::pair("set", "set"),
        std::pair("sorted-set", "sortedset"), std::pair("stream", "stream"),
        std::pair("geo", "geo"), std::pair("connection", "connection"),
        std::pair("transactions", "transaction"), std::pair("scripting", "scripting")}) {
    if (row.group != group) continue;
    const bool waits = row.keys.empty() && !row.is_subcommand() &&  // WAIT
                       (row.flags & (kWrite | kReadOnly)) == 0 && row.group == "generic";
    names.emplace_back(waits ? "connection" : name);
  }
  if (row.name == "sort" || row.name == "sort_ro") names = {"set", "sortedset", "list"};
  // Those of the server that are about its keys: DBSIZE, FLUSHALL.
  if (row.group == "server" && (row.flags & (kWrite | kReadOnly)) != 0 && row.name != "lolwut" &&
      row.name != "memory|usage") {
    names.emplace_back("keyspace");
  }
  if (row.name.substr(0, row.name.find('|')) == "command" ||
      (row.group == "cluster" && !row.is_subcommand())) {
    names.emplace_back("connection");
  }
  // For operators, though anybody may: they tell of the server and change nothing.
  if (row.name == "lastsave" || row.name == "role") names.emplace_back("admin");
  for (auto [flag, name] : {std::pair(kWrite, "write"), std::pair(kReadOnly, "read"),
                            std::pair(kAdmin, "admin"), std::pair(kDangerous, "dangerous"),
                            std::pair(kPubsub, "pubsub"), std::pair(kBlocking, "blocking")}) {
    // Whoever may run scripts that only read has not thereby said what they may read.
    if (flag == kReadOnly && row.group == "scripting") continue;
    if (row.flags & flag) names.emplace_back(name);
  }
  names.emplace_back(row.flags & kFast ? "fast" : "slow");
  return names;
}

const Deprecated* deprecated(const Row& row) {
  const auto* end = std::end(kDeprecated);
  const auto* it = std::find_if(std::begin(kDeprecated), end,
                                [&row](const Deprecated& d) { return d.name == row.name; });
  return it == end ? nullptr : it;
}

bool is_of_system(const Row& row) { return is_one_of(row, kOfSystem); }

}  // namespace cairn::kv
