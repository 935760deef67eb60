// Commands of Redis about what a server that is alone has not: a cluster, replicas, modules. They
// answer as a redis-server without them does, and where that would become a replica, an error.
#include "kv/commands/alone.h"

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

void no_cluster(Context& c) { c.reply.error("ERR This instance has cluster support disabled"); }

constexpr std::string_view kNoReplication =
    "ERR Cairn does not replicate: there are no replicas, and it is none. MIGRATE, or DUMP and "
    "RESTORE, take keys elsewhere";
void no_replication(Context& c) { c.reply.error(kNoReplication); }

void replicaof(Context& c) {
  const bool alone =
      equals_ignoring_case(c.args[1], "no") && equals_ignoring_case(c.args[2], "one");
  return alone ? c.reply.ok() : c.reply.error(kNoReplication);
}

// With nobody to fail over to, what remains is to look at the words.
void failover(Context& c) {
  if (c.args.size() == 2 && equals_ignoring_case(c.args[1], "abort")) {
    return c.reply.error("ERR No failover in progress.");
  }
  bool timeout_given = false, to_given = false, force = false;
  for (size_t i = 1; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    if (equals_ignoring_case(word, "timeout") && i + 1 < c.args.size() && !timeout_given) {
      int64_t ms;
      if (!c.integer(++i, ms)) return;
      if (ms <= 0) return c.reply.error("ERR FAILOVER timeout must be greater than 0");
      timeout_given = true;
    } else if (equals_ignoring_case(word, "to") && i + 2 < c.args.size() && !to_given) {
      int64_t port;
      if (!c.integer(i + 2, port)) return;
      i += 2;
      to_given = true;
    } else if (equals_ignoring_case(word, "force") && !force) {
      force = true;
    } else {
      return c.syntax_error();
    }
  }
  c.reply.error("ERR FAILOVER requires connected replicas.");
}

void module_list(Context& c) { c.reply.array(0); }

void lolwut(Context& c) {
  int64_t version;
  const bool chosen = c.args.size() >= 3 && equals_ignoring_case(c.args[1], "version");
  if (chosen && !c.integer(2, version)) return;
  c.reply.verbatim(cat("      _\n     (_)\n    (___)\n  (_______)\n (__________)\nCairn ver. ",
                       CAIRN_VERSION, "\n"));
}

constexpr std::string_view kCluster = "cluster", kServer = "server";
constexpr uint32_t kOperator = kAdmin | kDangerous;
constexpr uint32_t kReplication = kAdmin | kDangerous | kNoScript;

constexpr Row in_cluster(std::string_view name, int arity, uint32_t flags,
                         std::string_view since = "3.0.0") {
  return {name,       arity,   flags,    {},
          no_cluster, nullptr, kCluster, "Of a cluster, and this server is in none.",
          since};
}

constexpr Row kRows[] = {
    in_cluster("asking", 1, kFast),
    {"cluster",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kCluster,
     "A container for cluster commands.",
     "3.0.0"},
    in_cluster("cluster|addslots", -3, kOperator),
    in_cluster("cluster|addslotsrange", -4, kOperator, "7.0.0"),
    in_cluster("cluster|bumpepoch", 2, kOperator),
    in_cluster("cluster|count-failure-reports", 3, kOperator),
    in_cluster("cluster|countkeysinslot", 3, 0),
    in_cluster("cluster|delslots", -3, kOperator),
    in_cluster("cluster|delslotsrange", -4, kOperator, "7.0.0"),
    in_cluster("cluster|failover", -2, kOperator),
    in_cluster("cluster|flushslots", 2, kOperator),
    in_cluster("cluster|forget", 3, kOperator),
    in_cluster("cluster|getkeysinslot", 4, 0),
    in_cluster("cluster|help", 2, kLoading, "5.0.0"),
    in_cluster("cluster|info", 2, 0),
    in_cluster("cluster|keyslot", 3, 0),
    in_cluster("cluster|links", 2, 0, "7.0.0"),
    in_cluster("cluster|meet", -4, kOperator),
    in_cluster("cluster|myid", 2, 0),
    in_cluster("cluster|myshardid", 2, 0, "7.2.0"),
    in_cluster("cluster|nodes", 2, 0),
    in_cluster("cluster|replicas", 3, kOperator, "5.0.0"),
    in_cluster("cluster|replicate", 3, kOperator),
    in_cluster("cluster|reset", -2, kReplication),
    in_cluster("cluster|saveconfig", 2, kOperator),
    in_cluster("cluster|set-config-epoch", 3, kOperator),
    in_cluster("cluster|setslot", -4, kOperator),
    in_cluster("cluster|shards", 2, 0, "7.0.0"),
    in_cluster("cluster|slaves", 3, kOperator),
    in_cluster("cluster|slots", 2, 0),
    {"failover",
     -1,
     kReplication,
     {},
     failover,
     nullptr,
     kServer,
     "Hands over to a replica, of which there is none.",
     "6.2.0"},
    {"lolwut",
     -1,
     kReadOnly | kFast,
     {},
     lolwut,
     nullptr,
     kServer,
     "Draws something, and tells the version.",
     "5.0.0"},
    {"module", -2, 0, {}, nullptr, nullptr, kServer, "A container for module commands.", "4.0.0"},
    {"module|help", 2, kLoading, {}, help, nullptr, kServer, "Prints this help.", "5.0.0"},
    {"module|list",
     2,
     kReplication,
     {},
     module_list,
     nullptr,
     kServer,
     "Lists all modules: there are none.",
     "4.0.0"},
    {"psync",
     -3,
     kReplication | kNoMulti,
     {},
     no_replication,
     nullptr,
     kServer,
     "What a replica says, of which there is none.",
     "2.8.0"},
    in_cluster("readonly", 1, kLoading | kFast),
    in_cluster("readwrite", 1, kLoading | kFast),
    {"replconf",
     -1,
     kReplication | kLoading,
     {},
     no_replication,
     nullptr,
     kServer,
     "What a replica says, of which there is none.",
     "3.0.0"},
    {"replicaof",
     3,
     kReplication,
     {},
     replicaof,
     nullptr,
     kServer,
     "Makes the server a replica, which it cannot be, or none, which it is.",
     "5.0.0"},
    {"slaveof",
     3,
     kReplication,
     {},
     replicaof,
     nullptr,
     kServer,
     "Makes the server a replica, which it cannot be, or none, which it is.",
     "1.0.0"},
    {"sync",
     1,
     kReplication | kNoMulti,
     {},
     no_replication,
     nullptr,
     kServer,
     "What a replica says, of which there is none.",
     "1.0.0"},
};

}  // namespace
std::span<const Row> alone_rows() { return kRows; }

}  // namespace cairn::kv
