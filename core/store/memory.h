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
// the process holds beside (StoreOptions::resident_bytes tells how much it holds in all); where
// that is not given, or the limit is less than an empty process needs, the limit itself. Whoever
// took the store past its budget makes room before its answer leaves (help()).
//
// Threads: run() is one coroutine on one executor; shed() from any thread under a stripe's lock;
// the rest from any.
//
// Invariants
//  1. A value leaves memory only when its record is durable and the index names it.
//  2. Writes are refused for want of memory only after the hand went round often enough to cool
//     everything and found nothing that could go.
#pragma once

#include <absl/container/flat_hash_map.h>

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

class Store;
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
  explicit MemoryKeeper(Store& store) : store_(store) {}

  awaitable<void> run();

  // What is held; others count here too what they hold for the store.
  MemoryCount& count() { return *count_; }
  const MemoryCount& count() const { return *count_; }
  std::shared_ptr<MemoryCount> shared_count() const { return count_; }
  uint64_t peak_bytes() const { return std::max(peak_bytes_.load(), count_->total()); }

  // Whether whoever takes memory should make room as he goes, and whether no more can be made.
  bool pressed() const { return count_->pressed(); }
  bool exhausted() const { return exhausted_.load(std::memory_order_relaxed); }
  // More is held than may be, and room can be made: whoever took some should help().
  bool overrun() const { return count_->over() && !exhausted(); }
  // Makes some room in a stripe that is locked; entries of `ns` may be replaced or removed.
  void shed(Namespace& ns, size_t stripe);
  // Makes room wherever there is some, as much as is missing but no longer than a turn. The caller
  // holds no stripe. Whether overrun() is over; if not, what could go may have to become durable
  // first.
  bool help();

  EvictionPolicy policy() const { return policy_.load(std::memory_order_relaxed); }
  void set_policy(EvictionPolicy policy) {
    policy_ = policy;
    limit_changed();
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

  void measure();
  uint64_t budget();
  Sweep sweep(Namespace& ns, size_t stripe, size_t slots, size_t victims_max);
  bool may_spill(const Entry* entry) const;
  bool evicts(const Entry* entry) const;
  awaitable<void> make_room();
  void release();

  Store& store_;
  const std::shared_ptr<MemoryCount> count_ = std::make_shared<MemoryCount>();
  std::atomic<bool> exhausted_{false};
  std::atomic<EvictionPolicy> policy_{EvictionPolicy::kNoEviction};
  std::atomic<bool> waits_for_log_{false};  // something could go once it is durable
  std::atomic<bool> begins_anew_{false};    // what was found barren may not be so any more
  std::atomic<uint64_t> beside_bytes_{0};   // what the process holds that is not counted
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
  uint64_t last_held_ = 0, last_used_ = 0;  // when it was measured before
};

// Values on their way back into memory: one read for all who wait for the same record.
//
// Threads: any; fetch() is awaited on an I/O executor.
class Faults {
 public:
  explicit Faults(Store& store) : store_(store) {}

  // Brings the value of a key back. OK also if there is no such key, or its value is in memory.
  // DataLoss: its record is damaged; other errors are the volume's.
  awaitable<Status> fetch(std::shared_ptr<Namespace> ns, std::string key);

  using Keys = std::vector<std::pair<std::shared_ptr<Namespace>, std::string_view>>;
  awaitable<Status> fetch_all(const Keys& keys);
  // Takes the locks of `hashes` at a moment when the values of all these keys are in memory; they
  // are among the keys that the locks are for.
  awaitable<Status> lock_with_values(StripeLocks& locks, const std::vector<KeyHash>& hashes,
                                     const Keys& keys);
  // Those of the keys whose values are on disk alone, under their locks.
  void keep_cold(Keys& keys) const;
  // The same as fetch(), for nobody; who needs it meets the error.
  void start(std::shared_ptr<Namespace> ns, std::string_view key);

  uint64_t reads() const { return reads_.load(std::memory_order_relaxed); }
  // Destroys who still waits; for an owner that is going away.
  void drop_waiters();

 private:
  friend class Replay;
  friend class Store;
  struct Record {
    AlignedBuffer buffer;
    std::optional<RecordView> view;  // into the buffer; none if it does not hold
    Status status;                   // of the read
  };
  awaitable<void> fetch_into(std::shared_ptr<Namespace> ns, std::string key, Status& first);
  awaitable<Status> read(Namespace& ns, std::string_view key, Lsn lsn, uint64_t record_bytes);
  awaitable<Record> read_record(Lsn lsn, uint64_t record_bytes);
  StatusOr<Entry*> warm(const Entry* cold, NamespaceId ns, const Record& record);
  Status install(Namespace& ns, std::string_view key, Lsn lsn, const Record& record);
  AlignedBuffer take_buffer(uint64_t bytes);
  void keep_buffer(AlignedBuffer buffer);

  // Kept for the next reads: as many as 64 pipelined connections have under way. With 64, a GET of
  // theirs took 43 µs of CPU and not 15, in pages given back to the system and faulted in again.
  static constexpr size_t kBuffersMax = 1024;
  static constexpr uint64_t kBufferBytes = 8 << 10;

  Store& store_;
  std::atomic<uint64_t> reads_{0};
  Mutex mutex_;
  // By LSN: who else waits for it.
  absl::flat_hash_map<uint64_t, std::vector<Resume<>>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::vector<AlignedBuffer> buffers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
