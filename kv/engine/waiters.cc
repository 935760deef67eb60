#include "kv/engine/waiters.h"

#include <boost/asio/post.hpp>

#include "kv/engine/engine.h"

namespace cairn::kv {

namespace {
// Each of the keys that it waits for, once for each word.
template <class Fn>
void for_each_awaited(const Waiting& waiting, Fn fn) {
  const auto& keys = waiting.request.keys;
  const size_t n = std::min(keys.size(), waiting.awaited.keys());
  for (size_t i = 0; i < n; i++) fn(keys[i]);
}
}  // namespace

void Waiters::add(const std::shared_ptr<Waiting>& waiting) {
  waiting->number_ = next_.fetch_add(1, std::memory_order_relaxed);
  listeners_.interest(1);
  waiting_.fetch_add(1, std::memory_order_relaxed);
  for_each_awaited(*waiting, [&](const kv::Key& key) {
    Shard& s = shard(*key.ns, key.name);
    MutexLock lock(s.mutex);
    auto [it, made] = s.lines.try_emplace(Key(key.ns, key.name));
    Line& line = it->second;
    if (made) {
      line.ns = key.ns->shared_from_this();
      keys_count_.fetch_add(1, std::memory_order_relaxed);
    }
    // A key that is named twice stands for its first word.
    if (!line.places.try_emplace(waiting->number_, Place{waiting, key.word}).second) return;
    line.hear_loss += waiting->awaited.hears_loss() ? 1 : 0;
  });
}

void Waiters::take(Shard& shard, Lines::iterator line, std::map<uint64_t, Place>::iterator place) {
  line->second.hear_loss -= place->second.waiting->awaited.hears_loss() ? 1 : 0;
  line->second.places.erase(place);
  if (!line->second.places.empty()) return;
  shard.lines.erase(line);
  keys_count_.fetch_sub(1, std::memory_order_relaxed);
}

void Waiters::remove(const std::shared_ptr<Waiting>& waiting) {
  for_each_awaited(*waiting, [&](const kv::Key& key) {
    Shard& s = shard(*key.ns, key.name);
    MutexLock lock(s.mutex);
    auto line = s.lines.find(KeyView(key.ns, key.name));
    if (line == s.lines.end()) return;
    auto place = line->second.places.find(waiting->number_);
    if (place != line->second.places.end()) take(s, line, place);
  });
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  listeners_.interest(-1);
}

bool Waiters::waits(const Namespace& ns, std::string_view key, ValueType type) {
  if (waiting_.load(std::memory_order_relaxed) == 0) return false;
  Shard& s = shard(ns, key);
  MutexLock lock(s.mutex);
  auto line = s.lines.find(KeyView(&ns, key));
  if (line == s.lines.end()) return false;
  for (auto& [number, place] : line->second.places) {
    const Waiting& w = *place.waiting;
    if (w.awaited.type() == type && !w.ended()) return true;
  }
  return false;
}

Waiters::Claimed Waiters::claim(const ReadyKey& key, bool there, uint64_t& after,
                                absl::FunctionRef<Offer(const Waiting&, size_t)> ask) {
  Shard& s = shard(*key.ns, key.name);
  MutexLock lock(s.mutex);
  auto line = s.lines.find(KeyView(key.ns.get(), key.name));
  if (line == s.lines.end()) return {};
  if (!there && line->second.hear_loss == 0) return {};
  auto& places = line->second.places;
  for (auto place = places.upper_bound(after); place != places.end(); ++place) {
    after = place->first;
    const Offer offer = ask(*place->second.waiting, place->second.word);
    if (offer == Offer::kStop) return {};
    if (offer == Offer::kPass || !place->second.waiting->claim()) continue;
    Claimed claimed{place->second.waiting, place->second.word};
    take(s, line, place);  // so that the next one is found at once
    return claimed;
  }
  return {};
}

// ---- what changed ----

void Waiters::tell(const Line& line, std::string_view key, Committer* by) {
  if (by != nullptr) return by->awaited(line.ns, key);
  const Waiting& first = *line.places.begin()->second.waiting;
  asio::post(first.executor, [&engine = first.engine, ns = line.ns, name = std::string(key)] {
    engine.serve(ReadyKey{ns, name});
  });
}

void Waiters::tell_all(const Change& change, Committer* by) {
  // After a swap something else is there, or may be gone.
  const bool all = change.what == What::kSwap || change.ns->dropped.load(std::memory_order_relaxed);
  for (Shard& s : shards_) {
    MutexLock lock(s.mutex);
    for (auto& [key, line] : s.lines) {
      if (key.first == change.ns && (all || line.hear_loss > 0)) tell(line, key.second, by);
    }
  }
}

void Waiters::changed(std::span<const Change> changes, Committer* by) {
  if (waiting_.load(std::memory_order_relaxed) == 0) return;
  for (const Change& c : changes) {
    if (c.of_all()) {
      tell_all(c, by);
      continue;
    }
    if (c.what == What::kExpiry) continue;  // what is there stays, or goes by another change
    Shard& s = shard(*c.ns, c.key);
    MutexLock lock(s.mutex);
    auto line = s.lines.find(KeyView(c.ns, c.key));
    if (line == s.lines.end()) continue;
    if (c.what == What::kRemove && line->second.hear_loss == 0) continue;
    tell(line->second, c.key, by);
  }
}

}  // namespace cairn::kv
