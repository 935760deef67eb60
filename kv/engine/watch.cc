#include "kv/engine/watch.h"

#include <algorithm>

namespace cairn::kv {

namespace {
constexpr uint64_t kWatchBytes = 256;  // of each key in three tables, beside its name
}

void Watches::touch(std::vector<Watcher>& watchers, const Change& change) {
  // One that was not there, or had expired already, is still not there after these.
  const bool gone = change.what == What::kFlush || change.cause == Cause::kExpiry;
  for (Watcher& w : watchers) {
    if (w.present || !gone) w.touched->store(true, std::memory_order_release);
  }
}

// As in Redis: a key that is in neither of the two is as it was.
void Watches::swapped(const Change& c) {
  const int64_t now = clock_.now_ms();
  for (auto& [key, watchers] : keys_) {
    const auto& [ns, name] = key;
    if (ns != c.ns) continue;
    const KeyHash hash = ns->hash(name);
    const auto in = [&, &name = name](const Namespace& space) {
      const Entry* e = space.index->find(name, hash);
      return e != nullptr && !e->expired(now);
    };
    const bool there = in(*ns) || in(*c.other);
    for (Watcher& w : watchers) {
      if (w.present || there) w.touched->store(true, std::memory_order_release);
    }
  }
}

void Watches::changed(std::span<const Change> changes, Committer* /*by*/) {
  if (watched_.load(std::memory_order_relaxed) == 0) return;
  MutexLock lock(mutex_);
  for (const Change& c : changes) {
    if (c.unseen) continue;
    if (c.what == What::kSwap) {
      swapped(c);
    } else if (c.what == What::kFlush) {
      for (auto& [key, watchers] : keys_) {
        if (key.first == c.ns) touch(watchers, c);
      }
    } else if (auto it = keys_.find(Key(c.ns, c.key)); it != keys_.end()) {
      touch(it->second, c);
    }
  }
}

void WatchList::add(Watches& watches, const NamespacePtr& ns, std::string_view key, bool present) {
  if (known_.contains({ns.get(), key})) return;
  watches_ = &watches;
  keys_.push_back({ns, std::string(key), present});
  bytes_ += kWatchBytes + 2 * key.size();
  known_.insert({ns.get(), keys_.back().key});
  watches.listeners_.interest(1);
  watches.watched_.fetch_add(1, std::memory_order_relaxed);
  MutexLock lock(watches.mutex_);
  watches.keys_[{ns.get(), std::string(key)}].push_back({&touched_, present});
}

void WatchList::clear() {
  if (keys_.empty()) return;
  {
    MutexLock lock(watches_->mutex_);
    for (auto& w : keys_) {
      auto it = watches_->keys_.find(Watches::Key(w.ns.get(), w.key));
      std::erase_if(it->second, [&](auto& watcher) { return watcher.touched == &touched_; });
      if (it->second.empty()) watches_->keys_.erase(it);
    }
  }
  watches_->listeners_.interest(-static_cast<int>(keys_.size()));
  watches_->watched_.fetch_sub(keys_.size(), std::memory_order_relaxed);
  known_.clear();
  keys_.clear();
  bytes_ = 0;
  touched_ = false;
}

}  // namespace cairn::kv
