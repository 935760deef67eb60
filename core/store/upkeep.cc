// What the store does by itself: the ticker, what dies, what expires.
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>
#include <chrono>
#include <iterator>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/store/store.h"
#include "core/store/transaction.h"

namespace cairn {

awaitable<void> Store::run_ticker() {
  constexpr int kSpaceTicks = 5, kProofTicks = 1000 / kTickMs;
  for (int n = 0; !stopping_; n++) {
    co_await rest(kTickMs);
    tick();
    if (!log_.status().ok()) extents_.stop_waiting();  // no deletion becomes durable any more
    co_await release_dead();
    co_await release_doomed();
    if (n % kSpaceTicks == 0) co_await log_.check_space();
    if (n % kProofTicks == 0) {
      co_await prove_last();
      co_await note_believed();
    }
  }
}

// A frame says how far those before it were durable, and nothing says so of the last one: damage
// would look like a write that was torn. So where nothing follows, the manifest says it.
awaitable<void> Store::prove_last() {
  const Lsn durable = log_.durable();
  if (std::exchange(durable_before_, durable) != durable || durable == proven_last_) co_return;
  proven_last_ = durable;
  manifest_.note_proven(durable);
  (void)co_await manifest_.save();  // one that failed is met when the next segment is named
}

// Once a minute, where it matters.
awaitable<void> Store::note_believed() {
  if (!locks_) co_return;
  const auto minutes = static_cast<uint32_t>(lock_clock_.believed_ms() / 60000);
  bool later = false;
  manifest_.change([&](ManifestState& s) {
    later = minutes > s.believed_minutes;
    if (later) s.believed_minutes = minutes;
  });
  if (later) (void)co_await manifest_.save();
}

void Store::tick() {
  const int64_t now = clock_.now_ms();
  bool sync = durability_ != Durability::kOff && now - last_sync_ms_ >= 1000;
  sync |= extents_.pressed();
  if (sync || now < last_sync_ms_) last_sync_ms_ = now;
  log_.tick(sync);
}

awaitable<void> Store::run_expiry() {
  while (!stopping_) {
    co_await rest(kTickMs);
    if (removes_expired_) co_await expire_due(clock_.now_ms());
  }
}

size_t Store::due_from(size_t stripe, int64_t now) const {
  while (stripe < kStripes && (*stripes_)[stripe].next_due.load(std::memory_order_relaxed) > now) {
    stripe++;
  }
  return stripe;
}

// In steps, however many expire together: a lock is held for one step, a turn of the loop has a
// few.
awaitable<void> Store::expire_due(int64_t now) {
  constexpr size_t kTurn = 256;
  auto executor = co_await asio::this_coro::executor;
  size_t done = 0;
  for (size_t s = due_from(0, now); s < kStripes && !stopping_; s = due_from(s, now)) {
    const auto begun = std::chrono::steady_clock::now();
    const auto removed = expire_some(s, now);
    const auto took = std::chrono::steady_clock::now() - begun;
    expiry_ns_ +=
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
    if (!removed.ok()) co_return;  // read-only: reads still skip it
    done += *removed;
    if (*removed < kExpireStep) s++;
    if (done < kTurn) continue;
    done = 0;
    if (log_.backlogged()) co_await log_.wait_for_backlog();
    co_await asio::post(executor, asio::use_awaitable);
  }
}

// At most kExpireStep keys of a stripe, and parts of keys; fewer if no more are due.
StatusOr<size_t> Store::expire_some(size_t s, int64_t now) {
  Stripe& stripe = (*stripes_)[s];
  StripeLocks lock(*this);
  if (!lock.lock_idle(KeyHash{s} << (64 - kStripeBits))) return 0;  // the next tick comes by again
  // What becomes a version needs room, and has to be read first: it stays for now, and others go.
  size_t looked_at = 0, stays = 0;
  std::vector<std::pair<NamespacePtr, std::string>> on_disk;
  while (looked_at + stays < kExpireStep && stays < stripe.expiry.size()) {
    const ExpiryItem item = *std::next(stripe.expiry.begin(), static_cast<ptrdiff_t>(stays));
    if (item.when_ms > now) break;
    if (item.index->retired) {
      stripe.expiry.erase(item);
      looked_at++;
      continue;
    }
    auto gone = expire_one(lock, *item.index->owner, item.entry, now, kExpireStep - looked_at);
    if (!gone.ok() && item.index->owner->versions() != nullptr) {
      if (is_value_on_disk(gone.status())) {
        on_disk.emplace_back(item.index->owner->shared_from_this(), item.entry->key());
      }
      stays++;
      continue;
    }
    if (!gone.ok()) return gone;
    looked_at += *gone;
  }
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
  lock.unlock();
  for (auto& [ns, key] : on_disk) faults_.start(ns, key);
  return looked_at;
}

// What of the entry is due: itself, or at most so many parts. Returns how many went.
StatusOr<size_t> Store::expire_one(const StripeLocks& lock, Namespace& ns, Entry* entry,
                                   int64_t now, size_t most) {
  const KeyHash hash = ns.hash(entry->key());
  Transaction t(*this, &lock, Shape::kOne, Wish::kNone, Cause::kExpiry);
  if (!entry->expired(now)) {
    std::string operation;
    const size_t parts = entry->collection()->expire(now, most, operation);
    assert(parts > 0);
    if (planted(Bug::kPartExpiredSilently)) {
      const auto before = static_cast<int64_t>(entry->bytes());
      const int64_t due = entry->due_ms();
      (void)entry->collection()->apply(operation);
      memory_count_->add(stripe_of(hash), static_cast<int64_t>(entry->bytes()) - before);
      move_due(ns, hash, entry, due);
      return parts;
    }
    RecordView r{RecordType::kOperation, entry->flags,       ns.id,    entry->expire_ms(),
                 entry->key(),           std::string_view(), operation};
    Status changed = t.operate(ns, hash, entry, r);
    if (!changed.ok()) return changed;
    return parts;
  }
  if (planted(Bug::kExpiredSilently)) {
    link(ns, hash, entry, nullptr);
    dispose(entry, log_.tail());
    return 1;
  }
  const bool by_itself = entry->has_expiry() && entry->expire_ms() <= now;
  if (!by_itself) t.removes_last_part();
  Status removed = t.remove(ns, hash, entry);
  if (!removed.ok()) return removed;
  if (by_itself) expired_++;
  return 1;
}

}  // namespace cairn
