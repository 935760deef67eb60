// How much a bucket, a database, or a user may hold.
//
// What counts is what is there: of each key its name, its metadata, and its value as long as it is
// (a large one with all its bytes, whoever shares them; a collection as its image in the log would
// be). Versions and delete markers of a bucket count as its keys. What expired counts until it is
// gone. A namespace counts for at most one user: who made the bucket, or whom the quota names.
//
// A transaction that would make a namespace hold more than it may fails as a whole, with
// is_quota_exceeded(): it is judged at its commit, by all that it did, so that one which does not
// grow the namespace always goes. Removals, what expires, is evicted or written by the store itself
// are never refused, though a delete marker counts. Of two that grow at the same moment, and fit
// only alone, both may be refused, but never do both pass.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

namespace cairn {

struct Quota {
  std::optional<uint64_t> bytes = {}, keys = {};  // nothing: no limit
  bool operator==(const Quota&) const = default;
  bool empty() const { return !bytes && !keys; }
};

// The same for who looks while it is changed.
class QuotaLimits {
 public:
  void set(const Quota& quota) {
    bytes_.store(quota.bytes.value_or(kNone), std::memory_order_relaxed);
    keys_.store(quota.keys.value_or(kNone), std::memory_order_relaxed);
  }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t keys() const { return keys_.load(std::memory_order_relaxed); }
  static constexpr uint64_t kNone = UINT64_MAX;

 private:
  std::atomic<uint64_t> bytes_{kNone}, keys_{kNone};
};

struct Usage {
  uint64_t bytes = 0, keys = 0;
};
// By how much it becomes another.
struct Growth {
  int64_t keys = 0, bytes = 0;
  Growth& operator+=(const Growth& more) {
    keys += more.keys;
    bytes += more.bytes;
    return *this;
  }
};

// What the namespaces hold together that count for a user.
class UserMeter {
 public:
  void add(int64_t keys, int64_t bytes) {
    if (keys != 0) keys_.fetch_add(keys, std::memory_order_relaxed);
    if (bytes != 0) bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  Usage usage() const {
    const auto positive = [](int64_t n) { return static_cast<uint64_t>(n < 0 ? 0 : n); };
    return {positive(bytes_.load(std::memory_order_relaxed)),
            positive(keys_.load(std::memory_order_relaxed))};
  }
  QuotaLimits limits;

 private:
  std::atomic<int64_t> keys_{0}, bytes_{0};
};

}  // namespace cairn
