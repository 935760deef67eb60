// Snapshots of a collection that is a CountedTree, for who reads it in pieces while others change
// it: what stands in one stays as it was, whatever becomes of the collection, its deletion
// included. Taking one costs O(1).
//
// What snapshots hold beyond what is in the collection is counted, for all collections of the
// process together: nodes that changes copied, items that they replaced, and all of it once the
// collection is gone. Beyond limits::kKeptBytesMax those of the collection that would need more are
// lost: they hold nothing any more, and who reads one learns that it has ended too early.
//
// All snapshots of a collection hold what they hold together, until the last of them ends: a copied
// node may be in several of them.
//
// Threads: Snapshots under the lock of the collection's key; a Snapshot belongs to who reads it,
// and needs no lock of the collection.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/limits.h"
#include "core/base/mutex.h"

namespace cairn::kv {

// What all snapshots of one collection hold beside it.
class KeptBytes {
 public:
  KeptBytes() = default;
  ~KeptBytes() { clear(); }
  KeptBytes(const KeptBytes&) = delete;
  // False: that is more than all readers of the process may.
  bool add(uint64_t bytes) {
    bytes_ += bytes;
    return of_all() += bytes, of_all() <= limits::kKeptBytesMax;
  }
  void clear() { of_all() -= bytes_.exchange(0); }

 private:
  static std::atomic<uint64_t>& of_all() {
    static std::atomic<uint64_t> bytes{0};
    return bytes;
  }
  std::atomic<uint64_t> bytes_{0};
};

template <class Tree>
class Snapshots;

template <class Tree>
class Snapshot {
 public:
  // Calls fn(const Tree&); false if it was lost.
  template <class Fn>
  bool read(Fn fn) const {
    MutexLock lock(state_->mutex);
    if (state_->lost) return false;
    fn(std::as_const(state_->tree));
    return true;
  }
  bool lost() const {
    MutexLock lock(state_->mutex);
    return state_->lost;
  }

 private:
  friend class Snapshots<Tree>;
  struct State {
    State(const Tree& tree, std::shared_ptr<KeptBytes> kept) : tree(tree), kept(std::move(kept)) {}
    Mutex mutex;  // with whoever changes the collection, for the moment when it is lost
    Tree tree ABSL_GUARDED_BY(mutex);
    bool lost ABSL_GUARDED_BY(mutex) = false;
    const std::shared_ptr<KeptBytes> kept;
  };
  explicit Snapshot(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// Those of a collection, which has one of these.
template <class Tree>
class Snapshots {
 public:
  Snapshot<Tree> take(const Tree& tree) {
    std::erase_if(states_, [](auto& s) { return s.expired(); });
    auto kept = kept_.lock();
    if (kept == nullptr) kept_ = kept = std::make_shared<KeptBytes>();
    auto state = std::make_shared<State>(tree, std::move(kept));
    states_.push_back(state);
    return Snapshot<Tree>(std::move(state));
  }
  bool any() const { return !kept_.expired(); }
  // A change left so many bytes to the snapshots alone (CountedTree::take_copied_bytes, and what
  // it replaced), or the collection goes and leaves all of it.
  void keep(uint64_t bytes) {
    if (bytes == 0 || states_.empty()) return;
    const auto kept = kept_.lock();
    if (kept == nullptr) return states_.clear();
    if (kept->add(bytes)) return;
    kept->clear();
    for (auto& weak : states_) {
      const auto state = weak.lock();
      if (state == nullptr) continue;
      Tree dropped;
      {
        MutexLock lock(state->mutex);
        state->lost = true;
        state->tree.swap(dropped);
      }
    }
    states_.clear();
    kept_.reset();
  }

 private:
  using State = typename Snapshot<Tree>::State;
  std::vector<std::weak_ptr<State>> states_;
  std::weak_ptr<KeptBytes> kept_;
};

}  // namespace cairn::kv
