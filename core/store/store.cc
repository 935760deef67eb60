#include "core/store/store.h"

#include <algorithm>

#include "core/base/text.h"

namespace cairn {

Store::Store(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
             StoreOptions options)
    : Keyspace(volume, clock, pool, std::move(executors), options),
      durability_(options.durability),
      memory_(*this),
      faults_(*this, memory_),
      cleaner_(*this, volume),
      compactor_(*this),
      checkpointer_(*this, volume) {}

Store::~Store() { drop_waiters(); }  // coroutines may hold readers and writers of the extents

void Store::drop_waiters() {
  log_.drop_waiters();
  faults_.drop_waiters();
  busy().drop_waiters();
  extents_.drop_waiters();
  manifest_.drop_waiters();
  stopped_.drop();
  background_.drop();
  for (auto& ns : spaces()) ns->order_built.drop();
}

awaitable<Status> Store::close() {
  stopping_ = true;
  stopped_.notify();
  extents_.stop_waiting();  // who lets go of what is deleted ends too
  co_await background_.ended();
  Status status = co_await log_.close();
  // Without one the start takes longer; on a full volume it would take the room of deletions.
  if (status.ok() && !log_.full()) (void)co_await checkpointer_.write();
  if (status.ok()) {
    manifest_.note_proven(log_.durable());
    const auto believed = static_cast<uint32_t>(lock_clock_.believed_ms() / 60000);
    manifest_.change([&](ManifestState& m) {
      m.clean_stop = true;
      if (locks_) m.believed_minutes = std::max(m.believed_minutes, believed);
    });
    (void)co_await manifest_.save();
  }
  co_await release_dead();
  co_await extents_.close();
  co_return status;
}

int64_t Store::average_ttl_ms(const Namespace& ns) {
  constexpr size_t kSample = 128, kLook = 1024;  // in all; in one stripe
  if (ns.volatile_keys.load(std::memory_order_relaxed) <= 0) return 0;
  const int64_t now = clock_.now_ms();
  const size_t first = random() % kStripes;
  double sum = 0;
  size_t seen = 0;
  for (size_t i = 0; i < kStripes && seen < kSample; i++) {
    const size_t s = (first + i) % kStripes;
    if ((*stripes_)[s].next_due.load(std::memory_order_relaxed) == INT64_MAX) continue;
    StripeLocks lock(*this);
    // Of one that is held, perhaps by who asks, as a script may, nothing is known.
    if (!lock.add(KeyHash{s} << (64 - kStripeBits))) continue;
    size_t looked = 0;
    for (const ExpiryItem& item : (*stripes_)[s].expiry) {
      if (looked++ == kLook) break;
      if (item.index != ns.index.get() || !item.entry->has_expiry()) continue;
      sum += static_cast<double>(std::max<int64_t>(item.entry->expire_ms() - now, 0));
      seen++;
    }
  }
  return seen == 0 ? 0 : static_cast<int64_t>(sum / static_cast<double>(seen));
}

Store::Health Store::health() const {
  Health health;
  auto add = [&](bool serves, std::string problem) {
    health.ready &= serves;
    health.problems.push_back(std::move(problem));
  };
  if (loading()) {
    add(false, cat("loading ", loading_percent(), "%"));
    return health;
  }
  const Status put = log_.admit(Need::kPut);
  if (Status log = log_.trouble(); !log.ok()) add(put.ok(), std::string(log.message()));
  // Once the log has failed nobody waits: writes are refused.
  if (const int64_t ms = log_.late_ms(); log_.status().ok() && ms > Log::kLateMs) {
    add(true, cat("the disk has not taken what was written ", ms / 1000, " s ago: writers wait"));
  }
  if (memory_.exhausted()) add(true, "memory is used up, and commands that need some are refused");
  if (Status s = extents_.trouble(); !s.ok()) {
    add(true, cat("a file for large values failed and is not written any more: ", s.message()));
  }
  if (Status s = cleaner_.stats().status; !s.ok() && !absl::IsCancelled(s)) {
    add(true, cat("the log cannot be cleaned: ", s.message()));
  }
  for (uint32_t file : extents_.missing_files()) {
    add(true, cat(to_string({FileKind::kExtents, file}), " is missing, with the values in it"));
  }
  uint64_t lost_bytes = 0;
  for (const LsnRange& range : manifest_.state().lost) lost_bytes += range.to - range.from;
  if (lost_bytes > 0) add(true, cat("up to ", lost_bytes, " bytes of the log's records are lost"));
  return health;
}

}  // namespace cairn
