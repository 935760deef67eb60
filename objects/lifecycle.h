// Lifecycle: what a bucket's rules say becomes of its objects, done by itself.
//
// Days are S3's: what is to be gone in N days is gone at the first midnight in UTC behind them; for
// tests a day may be shorter. All keys of a bucket are looked at once after its rules changed, and
// once after a start; else a key is looked at by the first midnight after it was written, and then
// when something of it is due. For that each key that a rule concerns stands in the set of those
// that are to be looked at by the same midnight: so the work is of what was written and of what is
// due, and of the markers that would go if they were alone, which are looked at once a day. Tags of
// a version that is not current count as they are at such a look. A bucket without rules costs
// nothing; one with rules costs its keys once more in memory.
//
// Whatever goes, goes through a transaction as it would for a client, with the cause kLifecycle: an
// object of a bucket that keeps versions gets a delete marker, a version that is locked stays and
// is looked at again a day later, and all of it is told to who listens.
//
// Threads: changed() any, as ChangeListener has it; run() on one executor; the rest any.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/store/store.h"
#include "objects/object.h"

namespace cairn::objects {

// When a rule takes the object, at the earliest, and which one.
struct Expiration {
  int64_t at_ms = 0;
  std::string rule;
};
std::optional<Expiration> expiration_of(const Properties& properties, std::string_view key,
                                        const Info& info, int64_t day_ms);
// Likewise of an upload that is not completed.
std::optional<Expiration> abort_of(const Properties& properties, std::string_view key,
                                   int64_t started_ms, int64_t day_ms);

class Lifecycle final : public ChangeListener {
 public:
  // Days are as long as the store's options say.
  explicit Lifecycle(Store& store) : store_(store), day_ms_(store.options().lifecycle_day_ms) {}

  // Once the store is open: looks at all buckets whose rules are new to it, and at what is due.
  awaitable<void> run();
  void stop() { stopping_ = true; }
  void changed(std::span<const Change> changes, Committer* by) override;
  // For tests: how many looks at a key, or at an upload, there were.
  uint64_t looks() const { return looks_.load(std::memory_order_relaxed); }

 private:
  // A key of a bucket; of the system namespace, the name of an upload of it.
  struct Item {
    uint32_t bucket;
    bool upload;
    std::string name;
    bool operator==(const Item&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const Item& i) {
      return H::combine(std::move(h), i.bucket, i.upload, i.name);
    }
  };
  struct Found;

  int64_t midnight(int64_t ms) const;  // the first one then or later
  void note(Item item, int64_t due_ms);
  std::optional<Item> next_due(int64_t now_ms);
  awaitable<void> look_for_rules();
  awaitable<void> pass(NamespacePtr ns);
  // Does what is due, and says when the next look is.
  awaitable<int64_t> look(NamespacePtr ns, std::string key);
  awaitable<bool> expire(NamespacePtr ns, std::string key, Lsn version);
  awaitable<bool> take(NamespacePtr ns, std::string key, Version version);
  int64_t look_at_upload(const Namespace& ns, const std::string& name);

  Store& store_;
  const int64_t day_ms_;
  std::atomic<uint64_t> looks_{0};
  std::atomic<bool> stopping_{false};
  Mutex mutex_;
  std::map<int64_t, absl::flat_hash_set<Item>> due_ ABSL_GUARDED_BY(mutex_);
  // By bucket, those that were looked at last; of who calls run().
  std::map<uint32_t, std::vector<LifecycleRule>> rules_;
};

}  // namespace cairn::objects
