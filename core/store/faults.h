// Values on their way back into memory: one read for all who wait for the same record.
//
// Threads: any; fetch() is awaited on an I/O executor.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/index/index.h"
#include "core/store/busy.h"
#include "core/volume/volume.h"

namespace cairn {

class Keyspace;
class MemoryKeeper;
class Namespace;
class StripeLocks;

class Faults {
 public:
  Faults(Keyspace& keyspace, MemoryKeeper& memory) : keyspace_(keyspace), memory_(memory) {}

  // Brings the value of a key back. OK also if there is no such key, or its value is in memory.
  // DataLoss: its record is damaged; other errors are the volume's.
  awaitable<Status> fetch(std::shared_ptr<Namespace> ns, std::string key);

  using Keys = std::vector<std::pair<std::shared_ptr<Namespace>, std::string_view>>;
  awaitable<Status> fetch_all(const Keys& keys);
  // Takes the locks of `hashes` at a moment when the values of all these keys are in memory; they
  // are among the keys that the locks are for.
  // Where one of those is busy it is waited for, with this patience (core/store/busy.h).
  awaitable<Status> lock_with_values(StripeLocks& locks, const std::vector<KeyHash>& hashes,
                                     const Keys& keys, Busy::Patience patience);
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

  Keyspace& keyspace_;
  MemoryKeeper& memory_;
  std::atomic<uint64_t> reads_{0};
  Mutex mutex_;
  // By LSN: who else waits for it.
  absl::flat_hash_map<uint64_t, std::vector<Resume<>>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::vector<AlignedBuffer> buffers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
