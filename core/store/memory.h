// Memory within one figure: when it is reached, the coldest values leave memory. They are in the
// log already, so this only forgets them; the key, its expiry and its metadata stay. A value that
// is wanted again is read back from where its record lies (Faults), before the command runs.
//
// Which: a hand goes round every stripe's table. A use warms an entry (Entry::touch), the hand
// cools it, and what it finds cold goes: an approximation of least recently used, or of least
// frequently used where the policy says so. A value that came back stays only if it is used a
// second time. Under a policy other than noeviction the keys that the policy is about are deleted
// instead, as Redis does; the others' values leave memory.
//
// How much: what the store holds is counted exactly (core/base/memory_count.h), and kept within a
// budget, so that the limit acts with the write that reaches it. The budget is the limit less what
// the process holds beside, which is measured: StoreOptions::resident_bytes tells how much it holds
// in all. Where no such measure is given, or the limit is less than an empty process needs, the
// budget is the limit itself. Whoever took the store past its budget makes room before its answer
// leaves (help()).
//
// What left memory leaves holes in the pages of those that stay. They are counted (entry_heap.h),
// and where they are many and memory is short, those entries go first whose pages are nearly empty,
// and others are moved together, so that pages serve again. Without that, a process of 256 MiB with
// more and more keys on disk held 270, of which 30 were holes.
//
// Threads: run() is one coroutine on one executor; shed() from any thread under a stripe's lock;
// the rest from any.
//
// Invariants
//  1. A value leaves memory only when its record is durable and the index names it.
//  2. Writes are refused for want of memory only after the hand went round often enough to cool
//     everything and found nothing that could go.
#pragma once

#include <absl/functional/function_ref.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/memory_count.h"
#include "core/base/mutex.h"
#include "core/index/index.h"
#include "core/volume/volume.h"

namespace cairn {

class Keyspace;
class Namespace;
class StripeLocks;

// Redis's maxmemory-policy, https://redis.io/docs/latest/develop/reference/eviction/.
enum class EvictionPolicy : uint8_t {
  kNoEviction,
  kAllKeysLru,
  kAllKeysLfu,
  kAllKeysRandom,
  kVolatileLru,
  kVolatileLfu,
  kVolatileRandom,
  kVolatileTtl,
};
std::string_view name_of(EvictionPolicy policy);
std::optional<EvictionPolicy> eviction_policy(std::string_view name);

// What the process holds of physical memory, from /proc; 0 where that is not to be had.
uint64_t process_resident_bytes();

class MemoryKeeper {
 public:
  explicit MemoryKeeper(Keyspace& keyspace);

  awaitable<void> run();

  uint64_t peak_bytes() const { return std::max(peak_bytes_.load(), count_.total()); }

  // Whether whoever takes memory should make room as he goes, and whether no more can be made.
  bool pressed() const { return count_.pressed(); }
  bool exhausted() const { return count_.exhausted(); }
  // More is held than may be, and room can be made: whoever took some should help().
  bool overrun() const { return count_.over() && !exhausted(); }
  // Makes some room in a stripe that is locked; entries of `ns` may be replaced or removed.
  void shed(Namespace& ns, size_t stripe);
  // Makes room wherever there is some, as much as is missing but no longer than a turn. The caller
  // holds no stripe. Whether overrun() is over; if not, what could go may have to become durable
  // first.
  bool help();
  // For a writer who found overrun(): helps until that is over, or for a second, or until `gone`
  // says that nobody waits for him. What could go may have to become durable first: the flush that
  // makes it so wakes him.
  awaitable<void> wait_for_room(absl::FunctionRef<bool()> gone);

  EvictionPolicy policy() const { return policy_.load(std::memory_order_relaxed); }
  void set_policy(EvictionPolicy policy) {
    policy_ = policy;
    limit_changed();
  }
  // Has all threads give back to the system what is free in their parts of the allocator: those of
  // the loops, and by `others` those that are not loops and may sleep.
  void release();
  void release_others_by(std::function<void()> others) {
    MutexLock lock(others_mutex_);
    release_others_ = std::move(others);
  }
  // The store's limit, or what may leave memory, is another one.
  void limit_changed();
  bool counts_frequency() const {
    return policy() == EvictionPolicy::kAllKeysLfu || policy() == EvictionPolicy::kVolatileLfu;
  }

  // Nothing leaves memory while one of these lives: for a command that needs more values at once
  // than stay by themselves.
  class Hold {
   public:
    explicit Hold(MemoryKeeper& keeper) : keeper_(keeper) { keeper_.holds_++; }
    ~Hold() { keeper_.holds_--; }
    Hold(const Hold&) = delete;

   private:
    MemoryKeeper& keeper_;
  };

  struct Stats {
    uint64_t spilled = 0;  // values that left memory
    uint64_t evicted = 0;  // keys that a policy deleted
  };
  Stats stats() const { return {spilled_.load(), evicted_.load()}; }

 private:
  static constexpr size_t kVictimsMax = 128;
  struct Sweep {
    uint64_t freed_bytes = 0;
    size_t slots = 0;
    bool end = false;        // of the stripe's table
    bool undurable = false;  // something could go once it is durable
  };

  class Moves;

  void measure();
  void measure_process(uint64_t limit, uint64_t used);
  void look_for_holes(uint64_t limit, uint64_t used, uint64_t loose);
  uint64_t budget();
  // `may_choose`: may leave alone what could go, where that would only make a hole.
  Sweep sweep(Namespace& ns, size_t stripe, size_t slots, size_t victims_max, bool may_choose);
  bool may_spill(const Entry* entry) const;
  bool evicts(const Entry* entry) const;
  bool has_measure() const;
  awaitable<void> make_room();
  awaitable<void> move_together();
  size_t move_some(Namespace& ns, size_t stripe, size_t& slots);

  Keyspace& keyspace_;
  MemoryCount& count_;
  std::atomic<EvictionPolicy> policy_{EvictionPolicy::kNoEviction};
  Mutex others_mutex_;
  std::function<void()> release_others_ ABSL_GUARDED_BY(others_mutex_);
  std::atomic<bool> waits_for_log_{false};  // something could go once it is durable
  std::atomic<bool> begins_anew_{false};    // what was found barren may not be so any more
  std::atomic<uint64_t> beside_bytes_{0};   // what the process holds that is not counted
  std::atomic<uint64_t> apart_bytes_{0};    // the same as measured, without what lies loosely
  std::atomic<bool> scattered_{false};      // much lies free between entries, and memory is short
  std::atomic<uint64_t> peak_bytes_{0};     // of what is counted, as measured
  std::atomic<size_t> help_stripe_{0};
  std::atomic<int> holds_{0};
  std::atomic<unsigned> sheds_{0};
  std::atomic<uint64_t> spilled_{0}, evicted_{0};

  // Owned by run().
  uint64_t deficit_bytes_ = 0;
  size_t stripe_ = 0;
  int barren_rounds_ = 0;  // since something worth it went, each over all stripes
  uint64_t round_freed_ = 0;
  bool round_waits_ = false;
  int64_t rests_until_ms_ = 0;
  int64_t next_cut_ms_ = 0, measured_ms_ = 0;
  uint64_t reserve_bytes_ = 0, reserve_for_ = 0;  // for holes, and of which limit it is a part
  uint64_t cut_above_ = 0;
  size_t moved_stripe_ = 0;
  uint64_t moved_bytes_ = 0;   // in the present round over all stripes
  int64_t moves_from_ms_ = 0;  // no sooner
};
}  // namespace cairn
