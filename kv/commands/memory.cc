// MEMORY: what is held, and for what.
#include <algorithm>

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

constexpr uint64_t kSlotBytes = 8;  // of the index's table, for each key
// Of each key that goes at a time: its place among those that do (Keyspace::held_bytes).
constexpr uint64_t kTimeBytes = 32;

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

double ratio(uint64_t a, uint64_t b) {
  return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b);
}

uint64_t keys_of(Context& c) {
  uint64_t keys = 0;
  for (uint32_t i = 0; i < kDatabases; i++) {
    keys += static_cast<uint64_t>(std::max<int64_t>(c.store.database(i).committed_size(), 0));
  }
  for (auto& ns : c.store.buckets()) {
    keys += static_cast<uint64_t>(std::max<int64_t>(ns->committed_size(), 0));
  }
  return keys;
}

void memory_stats(Context& c) {
  const uint64_t used = c.store.used_bytes(), rss = process_resident_bytes(),
                 peak = c.store.memory().peak_bytes(), keys = keys_of(c),
                 clients = c.engine.server().sessions.buffer_bytes();
  const auto pair = [&](std::string_view name, uint64_t value) {
    c.reply.bulk(name);
    c.reply.integer(static_cast<int64_t>(value));
  };
  const auto part = [&](std::string_view name, double value) {
    c.reply.bulk(name);
    c.reply.real(value);
  };
  c.reply.map(15);
  pair("peak.allocated", peak);
  pair("total.allocated", used);
  pair("startup.allocated", 0);
  pair("replication.backlog", 0);
  pair("clients.slaves", 0);
  pair("clients.normal", clients);
  pair("overhead.total", clients + keys * kSlotBytes);
  pair("keys.count", keys);
  pair("keys.bytes-per-key", keys == 0 ? 0 : used / keys);
  pair("dataset.bytes", used);
  part("dataset.percentage", used == 0 ? 0 : 100);
  part("peak.percentage", 100 * ratio(used, peak));
  pair("allocator.resident", rss);
  part("fragmentation", ratio(rss, used));
  pair("fragmentation.bytes", rss > used ? rss - used : 0);
}

void memory_doctor(Context& c) {
  constexpr uint64_t kSmall = 5 << 20;
  const uint64_t used = c.store.used_bytes(), rss = process_resident_bytes(),
                 clients = c.engine.server().sessions.buffer_bytes();
  if (used < kSmall) return c.reply.verbatim("There is too little in memory to say anything.\n");
  std::string text;
  if (c.store.memory().exhausted()) {
    text += "* Memory is full and nothing more can leave it: writes are refused.\n";
  }
  if (rss > used * 2 && rss > (256 << 20)) {
    append(text, "* The process holds ", rss >> 20, " MiB for ", used >> 20,
           " MiB: MEMORY PURGE gives back what the allocator keeps.\n");
  }
  if (clients > used / 4) {
    append(text, "* Clients hold ", clients >> 20,
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
