// WATCH: which sessions want to know that a key changed before their EXEC. Told by the end of every
// commit (core/store/change.h), so nothing is missed that leaves the key as it was (SET and DEL of
// a key that is not there), and nothing else counts as a change (another key, a copy by the
// cleaner).
//
// Threads: Watches from any; a WatchList belongs to its session's thread, and only its flag is set
// by others.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/mutex.h"
#include "core/store/store.h"

namespace cairn::kv {

class Watches final : public ChangeListener {
 public:
  explicit Watches(Store& store) : clock_(store.clock()), listeners_(store.listeners()) {
    listeners_.add(*this);
  }
  void changed(std::span<const Change> changes, Committer* by) override;

 private:
  friend class WatchList;
  using Key = std::pair<const Namespace*, std::string>;
  struct Watcher {
    std::atomic<bool>* touched;
    bool present;  // whether the key was there
  };
  void touch(std::vector<Watcher>& watchers, const Change& change);
  void swapped(const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock& clock_;
  ChangeListeners& listeners_;
  std::atomic<size_t> watched_{0};  // keys; others than watchers may be interested in changes
  Mutex mutex_;
  absl::flat_hash_map<Key, std::vector<Watcher>> keys_ ABSL_GUARDED_BY(mutex_);
};

// What one session watches.
class WatchList {
 public:
  struct Watched {
    NamespacePtr ns;
    std::string key;
    bool present;
  };
  WatchList() = default;
  ~WatchList() { clear(); }
  WatchList(const WatchList&) = delete;

  // Under the lock of the key's stripe; once for each key.
  void add(Watches& watches, const NamespacePtr& ns, std::string_view key, bool present);
  void clear();
  const std::deque<Watched>& keys() const { return keys_; }
  uint64_t bytes() const { return bytes_; }  // that they take here and there, about
  // Whether one of them changed. Under the locks of the keys' stripes nothing more can.
  bool touched() const { return touched_.load(std::memory_order_acquire); }

 private:
  Watches* watches_ = nullptr;
  uint64_t bytes_ = 0;
  std::deque<Watched> keys_;  // whose addresses stay
  absl::flat_hash_set<std::pair<const Namespace*, std::string_view>> known_;  // the same
  std::atomic<bool> touched_{false};
};

}  // namespace cairn::kv
