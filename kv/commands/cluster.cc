#include "kv/commands/cluster.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/text.h"
#include "kv/commands/key_walk.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

// Without cluster-enabled all of them answer the same.
template <void (*kRun)(Context&)>
void in_cluster(Context& c) {
  if (c.engine.server().cluster.enabled) return kRun(c);
  c.reply.error("ERR This instance has cluster support disabled");
}

// ---- who it is, and where ----

// 40 hex digits, which are the store's for as long as it is; `which` of several.
std::string made_of_store(const Store& store, uint64_t which) {
  uint64_t state = store.store_id() + which;
  std::string digits;
  while (digits.size() < 40) {  // splitmix64
    state += 0x9e3779b97f4a7c15ULL;
    uint64_t x = state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(x ^ x >> 31));
    digits += text;
  }
  return digits.substr(0, 40);
}
std::string node_id(const Context& c) { return made_of_store(c.store, 0); }
std::string shard_id(const Context& c) { return made_of_store(c.store, 1); }

struct Address {
  std::string host;
  uint16_t port;              // of the door that the client came by
  uint16_t plain, encrypted;  // of each door; 0: there is none
};

// A client is told the address that it came to, which it can reach for sure, unless another one is
// announced.
Address address_for(const Context& c) {
  const Server& server = c.engine.server();
  const Cluster& cluster = server.cluster;
  const std::string_view local = c.session.local_address;
  const size_t colon = std::min(local.rfind(':'), local.size());
  std::string_view host = local.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  // IPv4 by a socket of IPv6.
  constexpr std::string_view kMapped = "::ffff:";
  if (host.starts_with(kMapped) && host.find('.') != host.npos) host.remove_prefix(kMapped.size());
  const auto port =
      parse_int<uint16_t>(local.substr(std::min(colon + 1, local.size()))).value_or(server.port);
  const auto announced = [](uint16_t port, uint16_t own) { return port != 0 ? port : own; };
  Address to;
  to.host = cluster.announce_ip.empty() ? std::string(host) : cluster.announce_ip;
  to.plain = announced(cluster.announce_port, server.port);
  to.encrypted =
      server.tls_port == 0 ? uint16_t{0} : announced(cluster.announce_tls_port, server.tls_port);
  const bool encrypts = server.tls_port != 0 && port == server.tls_port;
  to.port = encrypts ? to.encrypted : announced(cluster.announce_port, port);
  return to;
}

// The one node was never given another epoch than its first.
constexpr int kEpoch = 1;

void info(Context& c) {
  c.reply.verbatim(cat("cluster_state:ok\r\ncluster_slots_assigned:", kClusterSlots,
                       "\r\ncluster_slots_ok:", kClusterSlots,
                       "\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n",
                       "cluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:", kEpoch,
                       "\r\ncluster_my_epoch:", kEpoch,
                       "\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n",
                       "total_cluster_links_buffer_limit_exceeded:0\r\n"));
}

// Nodes speak to each other at the port behind the "@": there is none.
void nodes(Context& c) {
  const Address at = address_for(c);
  c.reply.verbatim(cat(node_id(c), " ", at.host, ":", at.port, "@0 myself,master - 0 0 ", kEpoch,
                       " connected 0-", kClusterSlots - 1, "\n"));
}

void slots(Context& c) {
  const Address at = address_for(c);
  c.reply.array(1);
  c.reply.array(3);
  c.reply.integer(0);
  c.reply.integer(kClusterSlots - 1);
  c.reply.array(4);
  c.reply.bulk(at.host);
  c.reply.integer(at.port);
  c.reply.bulk(node_id(c));
  c.reply.map(0);
}

void shards(Context& c) {
  const Address at = address_for(c);
  c.reply.array(1);
  c.reply.map(2);
  c.reply.bulk("slots");
  c.reply.array(2);
  c.reply.integer(0);
  c.reply.integer(kClusterSlots - 1);
  c.reply.bulk("nodes");
  c.reply.array(1);
  c.reply.map(at.encrypted != 0 ? 8 : 7);
  c.reply.bulk("id");
  c.reply.bulk(node_id(c));
  c.reply.bulk("port");
  c.reply.integer(at.plain);
  if (at.encrypted != 0) {
    c.reply.bulk("tls-port");
    c.reply.integer(at.encrypted);
  }
  for (std::string_view name : {"ip", "endpoint"}) {
    c.reply.bulk(name);
    c.reply.bulk(at.host);
  }
  c.reply.bulk("role");
  c.reply.bulk("master");
  c.reply.bulk("replication-offset");
  c.reply.integer(static_cast<int64_t>(c.store.log().tail().value()));
  c.reply.bulk("health");
  c.reply.bulk("online");
}

void links(Context& c) { c.reply.array(0); }
void my_id(Context& c) { c.reply.bulk(node_id(c)); }
void my_shard_id(Context& c) { c.reply.bulk(shard_id(c)); }

// Whether word 2 names this node; else it answered that it knows no such node.
bool names_itself(Context& c) {
  if (c.args[2] == node_id(c)) return true;
  c.reply.error(cat("ERR Unknown node ", c.args[2].substr(0, 128)));
  return false;
}
void replicas(Context& c) {
  if (names_itself(c)) c.reply.array(0);
}
void count_failure_reports(Context& c) {
  if (names_itself(c)) c.reply.integer(0);
}

// ---- keys of a slot ----

void key_slot(Context& c) { c.reply.integer(cluster_slot(c.args[2])); }

// All keys of the database are looked at (key_walk.h), since nothing else says which of them are in
// a slot: what needs it is rare, and each key would pay for a list of them.

// False after it answered the error.
bool read_slot(Context& c, int64_t& slot) {
  if (!c.integer(2, slot)) return false;
  if (slot >= 0 && slot < kClusterSlots) return true;
  c.reply.error("ERR Invalid slot");
  return false;
}

// For a walk: what counts the keys of a slot.
auto counter(int64_t& n, int64_t slot) {
  return [&n, slot](const Entry* e) {
    n += cluster_slot(e->key()) == slot ? 1 : 0;
    return true;
  };
}

void count_keys(Context& c) {
  int64_t slot, n = 0;
  if (!read_slot(c, slot)) return;
  if (KeyWalk::takes_turns(c)) return c.defer();
  if (KeyWalk(c).all(counter(n, slot))) c.reply.integer(n);
}
awaitable<void> count_keys_in_turns(Context& c) {
  int64_t slot, n = 0;
  if (!read_slot(c, slot)) co_return;
  KeyWalk walk(c);
  for (auto seen = KeyWalk::Seen::kSome; seen != KeyWalk::Seen::kAll;) {
    seen = walk.turn(counter(n, slot));
    if (walk.began_anew()) n = 0;
    if (seen == KeyWalk::Seen::kAll) break;
    const bool goes_on = co_await walk.wait_for_turn(seen);
    if (!goes_on) co_return;
  }
  c.reply.integer(n);
}

bool read_slot_and_count(Context& c, int64_t& slot, int64_t& count) {
  if (!c.integer(2, slot) || !c.integer(3, count)) return false;
  if (slot >= 0 && slot < kClusterSlots && count >= 0) return true;
  c.reply.error("ERR Invalid slot or number of keys");
  return false;
}

// Adds the key if it is of the slot, as many as are asked for.
bool add_of_slot(Context& c, int64_t slot, int64_t count, const Entry* e, Names& names) {
  if (cluster_slot(e->key()) != slot) return true;
  c.saw(e);
  names.add(e->key());
  return names.size() < static_cast<uint64_t>(count);
}

void get_keys(Context& c) {
  int64_t slot, count;
  if (!read_slot_and_count(c, slot, count)) return;
  if (count == 0) return c.reply.array(0);
  if (KeyWalk::takes_turns(c)) return c.defer();
  auto names = std::make_unique<Names>();
  const bool all =
      KeyWalk(c).all([&](const Entry* e) { return add_of_slot(c, slot, count, e, *names); });
  if (all) reply_names(c, std::move(names));
}
awaitable<void> get_keys_in_turns(Context& c) {
  int64_t slot, count;
  if (!read_slot_and_count(c, slot, count)) co_return;
  co_await reply_names_in_turns(c, [&](KeyWalk&, const Entry* e, Names& names) {
    return add_of_slot(c, slot, count, e, names);
  });
}

// ---- what would change the cluster ----
//
// As a node answers that is alone and holds all slots, and an error in place of what would change
// that.

void refuse(Context& c) {
  const std::string_view sub = c.row.name.substr(c.row.name.find('|') + 1);
  c.reply.error(cat("ERR CLUSTER ", upper(sub),
                    " is not possible: this server is the one node of its cluster and keeps all "
                    "slots"));
}

void wrong_words(Context& c) {
  c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                    c.args[1].substr(0, 128), "'. Try CLUSTER HELP."));
}

// False after it answered the error.
bool read_owned(Context& c, size_t i, int64_t& slot) {
  const auto number = parse_ll(c.args[i]);
  slot = number.value_or(-1);
  if (slot >= 0 && slot < kClusterSlots) return true;
  c.reply.error("ERR Invalid or out of range slot");
  return false;
}
bool read_slots(Context& c) {
  int64_t slot;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (!read_owned(c, i, slot)) return false;
  }
  return true;
}
bool read_ranges(Context& c) {
  if (c.args.size() % 2 != 0) {
    c.reply.error(cat("ERR wrong number of arguments for '", c.row.name, "' command"));
    return false;
  }
  for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
    int64_t begin, end;
    if (!read_owned(c, i, begin) || !read_owned(c, i + 1, end)) return false;
    if (begin <= end) continue;
    c.reply.error(cat("ERR start slot number ", begin, " is greater than end slot number ", end));
    return false;
  }
  return true;
}

void is_busy(Context& c) {
  c.reply.error(cat("ERR Slot ", *parse_ll(c.args[2]), " is already busy"));
}
void add_slots(Context& c) {
  if (read_slots(c)) is_busy(c);
}
void add_ranges(Context& c) {
  if (read_ranges(c)) is_busy(c);
}
void del_slots(Context& c) {
  if (read_slots(c)) refuse(c);
}
void del_ranges(Context& c) {
  if (read_ranges(c)) refuse(c);
}

void set_slot(Context& c) {
  int64_t slot;
  if (!read_owned(c, 2, slot)) return;
  const std::string_view action = c.args[3];
  const size_t words = c.args.size();
  const bool itself = words == 5 && c.args[4] == node_id(c);
  if (equals_ignoring_case(action, "migrating") && words == 5) {
    if (itself) return refuse(c);
    return c.reply.error(cat("ERR I don't know about node ", c.args[4].substr(0, 128)));
  }
  if (equals_ignoring_case(action, "importing") && words == 5) {
    return c.reply.error(cat("ERR I'm already the owner of hash slot ", slot));
  }
  if (equals_ignoring_case(action, "stable") && words == 4) return c.reply.ok();
  if (equals_ignoring_case(action, "node") && words == 5) {
    if (itself) return c.reply.ok();
    return c.reply.error(cat("ERR Unknown node ", c.args[4].substr(0, 128)));
  }
  c.reply.error("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");
}

void bump_epoch(Context& c) { c.reply.simple(cat("STILL ", kEpoch)); }
void set_epoch(Context& c) {
  int64_t epoch;
  if (!c.integer(2, epoch)) return;
  if (epoch < 0) return c.reply.error(cat("ERR Invalid config epoch specified: ", epoch));
  c.reply.error("ERR Node config epoch is already non-zero");
}
void save(Context& c) { c.reply.ok(); }  // nothing of it ever changes

void meet(Context& c) {
  if (c.args.size() > 5) return wrong_words(c);
  for (size_t i = 3; i < c.args.size(); i++) {
    if (parse_ll(c.args[i])) continue;
    return c.reply.error(cat("ERR Invalid ", i == 3 ? "TCP base" : "bus",
                             " port specified: ", c.args[i].substr(0, 128)));
  }
  refuse(c);
}
void forget(Context& c) {
  if (names_itself(c)) c.reply.error("ERR I tried hard but I can't forget myself...");
}
void replicate(Context& c) {
  if (names_itself(c)) c.reply.error("ERR Can't replicate myself");
}
// FAILOVER and RESET have one option, which is one of two.
bool read_option(Context& c, std::string_view one, std::string_view other) {
  if (c.args.size() > 3) return wrong_words(c), false;
  const bool known = c.args.size() == 2 || equals_ignoring_case(c.args[2], one) ||
                     equals_ignoring_case(c.args[2], other);
  if (!known) c.syntax_error();
  return known;
}
void failover(Context& c) {
  if (!read_option(c, "force", "takeover")) return;
  c.reply.error("ERR You should send CLUSTER FAILOVER to a replica");
}
void reset(Context& c) {
  if (read_option(c, "hard", "soft")) refuse(c);
}

// ---- what a client wants of nodes ----

void asking(Context& c) { c.reply.ok(); }  // no slot is on its way
void readonly(Context& c) {
  c.session.reads_replicas = true;
  c.reply.ok();
}
void readwrite(Context& c) {
  c.session.reads_replicas = false;
  c.reply.ok();
}

constexpr std::string_view kGroup = "cluster";
constexpr uint32_t kOperator = kAdmin | kDangerous;

template <void (*kRun)(Context&)>
constexpr Row row(std::string_view name, int arity, uint32_t flags, std::string_view summary,
                  std::string_view since = "3.0.0",
                  awaitable<void> (*run_deferred)(Context&) = nullptr) {
  return {name, arity, flags, {}, in_cluster<kRun>, run_deferred, kGroup, summary, since};
}

constexpr Row kRows[] = {
    row<asking>("asking", 1, kFast, "Asks for a slot that is on its way: none ever is."),
    {"cluster", -2, 0, {}, nullptr, nullptr, kGroup, "A container for cluster commands.", "3.0.0"},
    row<add_slots>("cluster|addslots", -3, kOperator, "An error: all slots are assigned."),
    row<add_ranges>("cluster|addslotsrange", -4, kOperator, "An error: all slots are assigned.",
                    "7.0.0"),
    row<bump_epoch>("cluster|bumpepoch", 2, kOperator, "Tells the epoch, which is the newest."),
    row<count_failure_reports>("cluster|count-failure-reports", 3, kOperator,
                               "Returns how many nodes report that a node failed: none."),
    row<count_keys>("cluster|countkeysinslot", 3, kWholeSpace,
                    "Returns the number of keys in a hash slot.", "3.0.0", count_keys_in_turns),
    row<del_slots>("cluster|delslots", -3, kOperator, "An error: the node keeps all slots."),
    row<del_ranges>("cluster|delslotsrange", -4, kOperator, "An error: the node keeps all slots.",
                    "7.0.0"),
    row<failover>("cluster|failover", -2, kOperator, "An error: this is no replica."),
    row<refuse>("cluster|flushslots", 2, kOperator, "An error: the node keeps all slots."),
    row<forget>("cluster|forget", 3, kOperator, "Removes a node, of which there is no other."),
    row<get_keys>("cluster|getkeysinslot", 4, kWholeSpace, "Returns the key names in a hash slot.",
                  "3.0.0", get_keys_in_turns),
    row<help>("cluster|help", 2, kLoading, "Prints this help.", "5.0.0"),
    row<info>("cluster|info", 2, 0, "Returns information about the state of the cluster."),
    row<key_slot>("cluster|keyslot", 3, 0, "Returns the hash slot for a key."),
    row<links>("cluster|links", 2, 0, "Returns the links to other nodes: none.", "7.0.0"),
    row<meet>("cluster|meet", -4, kOperator, "An error: the node stays alone."),
    row<my_id>("cluster|myid", 2, 0, "Returns the ID of the node."),
    row<my_shard_id>("cluster|myshardid", 2, 0, "Returns the shard ID of the node.", "7.2.0"),
    row<nodes>("cluster|nodes", 2, 0, "Returns the cluster configuration, node by node."),
    row<replicas>("cluster|replicas", 3, kOperator, "Lists the replicas of a node: none.", "5.0.0"),
    row<replicate>("cluster|replicate", 3, kOperator, "An error: there is no other node."),
    row<reset>("cluster|reset", -2, kOperator | kNoScript, "An error: the node keeps all slots."),
    row<save>("cluster|saveconfig", 2, kOperator, "Nothing of the configuration ever changes."),
    row<set_epoch>("cluster|set-config-epoch", 3, kOperator, "An error: the node has its epoch."),
    row<set_slot>("cluster|setslot", -4, kOperator, "Binds a slot to the node that has it."),
    row<shards>("cluster|shards", 2, 0, "Returns the mapping of hash slots to shards.", "7.0.0"),
    row<replicas>("cluster|slaves", 3, kOperator, "Lists the replicas of a node: none."),
    row<slots>("cluster|slots", 2, 0, "Returns the mapping of hash slots to nodes."),
    row<readonly>("readonly", 1, kLoading | kFast,
                  "Allows reads from replicas, of which there is none."),
    row<readwrite>("readwrite", 1, kLoading | kFast, "Takes back what READONLY said."),
};

}  // namespace
std::span<const Row> cluster_rows() { return kRows; }

}  // namespace cairn::kv
