// Commands of Redis about what a server that is alone has not: replicas, modules. They answer as a
// redis-server without them does, and where that would become a replica, an error.
#include "kv/commands/alone.h"

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

void no_replication(Context& c) {
  c.reply.error(
      "ERR Cairn does not replicate: there are no replicas, and it is none. redis-cli --rdb takes "
      "all keys elsewhere, MIGRATE, or DUMP and RESTORE, some");
}

namespace {

bool in_cluster(const Context& c) { return c.engine.server().cluster.enabled; }

void replicaof(Context& c) {
  if (in_cluster(c)) return c.reply.error("ERR REPLICAOF not allowed in cluster mode.");
  const bool alone =
      equals_ignoring_case(c.args[1], "no") && equals_ignoring_case(c.args[2], "one");
  return alone ? c.reply.ok() : no_replication(c);
}

// With nobody to fail over to, what remains is to look at the words.
void failover(Context& c) {
  if (in_cluster(c)) {
    return c.reply.error(
        "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.");
  }
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

constexpr std::string_view kServer = "server";
constexpr uint32_t kReplication = kAdmin | kDangerous | kNoScript;

constexpr Row kRows[] = {
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
};

}  // namespace
std::span<const Row> alone_rows() { return kRows; }

}  // namespace cairn::kv
