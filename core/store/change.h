// What changed, told to those who want to know: one place tells (the end of a transaction's
// commit), so whoever waits for keys, watches them or notifies about them hangs here.
//
// Threads: changed() is called by the thread that committed, under the locks of the stripes of the
// changed keys: it may take a lock of its own, must not touch the store, and must not wait.
// Listeners are added before the store takes its first change. Where nobody is interested, telling
// costs the look at one number.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/log/log_format.h"

namespace cairn {

class Namespace;

enum class What : uint8_t {
  kPut,      // the key has another value now, or one at all
  kRemove,   // the key is gone
  kOperate,  // a part of a collection changed
  kExpiry,   // its expiry alone changed
  kFlush,    // all keys of the namespace are gone; no key is named
  kSwap,     // it holds what `other` held, of which the like is told; no key is named
};
struct Change {
  const Namespace* ns;
  std::string_view key;  // as long as the call lasts
  What what;
  Cause cause;
  Lsn lsn;             // of the record that says so
  bool named = false;  // whoever made it tells what it was (Transaction::names_changes)
  // It was removed since the last part of it was due, not it itself (Collection::gone_at).
  bool last_part = false;
  // What is read at the key is as it was: who watches or caches that is not concerned.
  bool unseen = false;
  const Namespace* other = nullptr;  // of a swap: all stripes are locked, and either may be read
  bool of_all() const { return what == What::kFlush || what == What::kSwap; }
};

// Who committed a transaction, if he takes part in what it brings about: somebody who waits for a
// key is served by who made it, before anybody else can look (kv/engine/waiters.h).
class Committer {
 public:
  virtual ~Committer() = default;
  // A client waits for this key, which the transaction has changed. Within changed(), below.
  virtual void awaited(const std::shared_ptr<Namespace>& ns, std::string_view key) = 0;
};

class ChangeListener {
 public:
  virtual ~ChangeListener() = default;
  // The changes of one transaction, in the order in which they were made; `by` may be null.
  virtual void changed(std::span<const Change> changes, Committer* by) = 0;
};

class ChangeListeners {
 public:
  void add(ChangeListener& listener) { listeners_.push_back(&listener); }
  // A listener says how much interest began (or, below zero, ended). Interest in a key begins under
  // the lock of its stripe; then no change of it is missed.
  void interest(int by) { interest_.fetch_add(by, std::memory_order_relaxed); }
  bool any() const { return interest_.load(std::memory_order_relaxed) != 0; }
  void tell(std::span<const Change> changes, Committer* by) const {
    for (ChangeListener* l : listeners_) l->changed(changes, by);
  }

 private:
  std::vector<ChangeListener*> listeners_;
  std::atomic<int> interest_{0};
};

}  // namespace cairn
