// MEMORY: what is held, and for what.
#include "kv/commands/memory.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/index/entry_heap.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

// Of each key that goes at a time: its place among those that do (Keyspace::held_bytes).
constexpr uint64_t kTimeBytes = 32;

uint64_t keys_of(const Namespace& ns) {
  return static_cast<uint64_t>(std::max<int64_t>(ns.committed_size(), 0));
}
uint64_t times_of(const Namespace& ns) {
  return static_cast<uint64_t>(std::max<int64_t>(ns.volatile_keys.load(), 0)) * kTimeBytes;
}

}  // namespace

double ratio_of(uint64_t a, uint64_t b) {
  return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b);
}

HeldMemory::HeldMemory(Context& c) {
  const Server& s = c.engine.server();
  const auto add = [this](const Namespace& ns) {
    tables += ns.index->table_bytes();
    times += times_of(ns);
    key_count += keys_of(ns);
  };
  for (uint32_t i = 0; i < c.store.databases(); i++) add(c.store.database(i));
  for (auto& ns : c.store.buckets()) add(*ns);
  startup = s.startup_bytes;
  keys = c.store.used_bytes();
  clients = c.engine.server().sessions.buffer_bytes();
  scripts = s.scripts.bytes();
  functions = s.function_counts().bytes;
  const uint64_t beside = startup + clients + scripts + functions;
  used = beside + keys;
  peak = std::max(used, beside + c.store.memory().peak_bytes());
  resident = process_resident_bytes();
  active = s.allocator_bytes ? std::min(s.allocator_bytes(), resident) : resident;
  allocated = active - std::min(active, entry_heap::loose_bytes());
}

double HeldMemory::dataset_percent() const {
  return 100 * ratio_of(dataset(), used - std::min(used, startup));
}

namespace {

// What the key costs in memory: nothing is sampled, since each value knows what it holds. A value
// that is on disk, or in an extent, costs what is kept of it. Of the table it has the part that
// each key has: where there are few keys, most of a table is empty.
void memory_usage(Context& c) {
  for (size_t i = 3; i < c.args.size(); i += 2) {
    int64_t samples;
    if (!equals_ignoring_case(c.args[i], "samples") || i + 1 >= c.args.size()) {
      return c.syntax_error();
    }
    if (!c.integer(i + 1, samples)) return;
    if (samples < 0) return c.syntax_error();
  }
  const Entry* e = c.look(c.args[2]);
  if (e == nullptr) return c.reply.null();
  const Index& index = *c.ns().index;
  uint64_t bytes = e->bytes() + index.table_bytes() / std::max<uint64_t>(index.size(), 1);
  if (e->due_ms() != INT64_MAX) bytes += kTimeBytes;
  const Collection* collection = e->collection();
  if (collection != nullptr && collection->identity() != nullptr) {
    bytes += sizeof(Identity) + sizeof(Identities::Name) + e->key().size();
  }
  c.reply.integer(static_cast<int64_t>(bytes));
}

// Redis's names, in its order. Its log is no copy in memory, and there are no replicas.
void memory_stats(Context& c) {
  const HeldMemory held(c);
  const auto pair = [&](std::string_view name, uint64_t value) {
    c.reply.bulk(name);
    c.reply.integer(static_cast<int64_t>(value));
  };
  const auto part = [&](std::string_view name, double value) {
    c.reply.bulk(name);
    c.reply.real(value);
  };
  // What `of` has beyond `in`, as a ratio and in bytes.
  const auto beyond = [&](std::string_view name, uint64_t of, uint64_t in) {
    part(cat(name, ".ratio"), ratio_of(of, in));
    pair(cat(name, ".bytes"), of - std::min(of, in));
  };
  uint32_t databases = 0;
  for (uint32_t i = 0; i < c.store.databases(); i++) databases += keys_of(c.store.database(i)) > 0;
  constexpr size_t kPairs = 27;
  c.reply.map(kPairs + databases);
  pair("peak.allocated", held.peak);
  pair("total.allocated", held.used);
  pair("startup.allocated", held.startup);
  pair("replication.backlog", 0);
  pair("clients.slaves", 0);
  pair("clients.normal", held.clients);
  pair("cluster.links", 0);
  pair("aof.buffer", 0);
  pair("lua.caches", held.scripts);
  pair("functions.caches", held.functions);
  for (uint32_t i = 0; i < c.store.databases(); i++) {
    const Namespace& ns = c.store.database(i);
    if (keys_of(ns) == 0) continue;
    c.reply.bulk(cat("db.", i));
    c.reply.map(3);
    pair("overhead.hashtable.main", ns.index->table_bytes());
    pair("overhead.hashtable.expires", times_of(ns));
    pair("overhead.hashtable.slot-to-keys", 0);
  }
  pair("overhead.total", held.overhead());
  pair("keys.count", held.key_count);
  pair("keys.bytes-per-key", held.key_count == 0 ? 0 : held.keys / held.key_count);
  pair("dataset.bytes", held.dataset());
  part("dataset.percentage", held.dataset_percent());
  part("peak.percentage", 100 * ratio_of(held.used, held.peak));
  pair("allocator.allocated", held.allocated);
  pair("allocator.active", held.active);
  pair("allocator.resident", held.active);
  beyond("allocator-fragmentation", held.active, held.allocated);
  beyond("allocator-rss", held.active, held.active);
  beyond("rss-overhead", held.resident, held.active);
  part("fragmentation", ratio_of(held.resident, held.used));
  pair("fragmentation.bytes", held.resident - std::min(held.resident, held.used));
}

void memory_doctor(Context& c) {
  constexpr uint64_t kSmall = 5 << 20;
  const HeldMemory held(c);
  const uint64_t used = held.used, rss = held.resident;
  if (held.keys < kSmall)
    return c.reply.verbatim("There is too little in memory to say anything.\n");
  std::string text;
  if (c.store.memory().exhausted()) {
    text += "* Memory is full and nothing more can leave it: writes are refused.\n";
  }
  if (rss > used * 2 && rss > (256 << 20)) {
    append(text, "* The process holds ", rss >> 20, " MiB for ", used >> 20,
           " MiB: MEMORY PURGE gives back what the allocator keeps.\n");
  }
  if (held.clients > held.keys / 4) {
    append(text, "* Clients hold ", held.clients >> 20,
           " MiB: CLIENT LIST says who (tot-mem), maxmemory-clients bounds it.\n");
  }
  if (text.empty()) text = "Nothing is wrong with the memory.\n";
  c.reply.verbatim(text);
}

void memory_malloc_stats(Context& c) {
  const auto& stats = c.engine.server().allocator_stats;
  c.reply.verbatim(stats ? stats() : "Stats not supported for the current allocator");
}

void memory_purge(Context& c) {
  c.store.memory().release();
  c.reply.ok();
}

constexpr std::string_view kGroup = "server";
constexpr KeySpec kUsage[] = {{.flags = kKeyReadOnly | kKeyNameOnly, .first = 2}};
constexpr Row kRows[] = {
    {"memory",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for memory diagnostics commands.",
     "4.0.0"},
    {"memory|doctor",
     2,
     0,
     {},
     memory_doctor,
     nullptr,
     kGroup,
     "Outputs a memory problems report.",
     "4.0.0"},
    {"memory|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "4.0.0"},
    {"memory|malloc-stats",
     2,
     0,
     {},
     memory_malloc_stats,
     nullptr,
     kGroup,
     "Returns the allocator statistics.",
     "4.0.0"},
    {"memory|purge",
     2,
     0,
     {},
     memory_purge,
     nullptr,
     kGroup,
     "Asks the allocator to release memory.",
     "4.0.0"},
    {"memory|stats",
     2,
     0,
     {},
     memory_stats,
     nullptr,
     kGroup,
     "Returns details about memory usage.",
     "4.0.0"},
    {"memory|usage", -3, kReadOnly, kUsage, memory_usage, nullptr, kGroup,
     "Estimates the memory usage of a key.", "4.0.0"},
};

}  // namespace
std::span<const Row> memory_rows() { return kRows; }

}  // namespace cairn::kv
