// What the store does by itself: the ticker, what dies, what expires.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/plant.h"
#include "core/store/store.h"
#include "core/store/transaction.h"

namespace cairn {

awaitable<void> Store::rest(int64_t ms) {
  co_await stopped_.until([this] { return stopping_.load(); }, clock_, ms);
}

awaitable<void> Store::run_ticker() {
  constexpr int kSpaceTicks = 5;
  for (int n = 0; !stopping_; n++) {
    co_await rest(kTickMs);
    tick();
    if (!log_.status().ok()) extents_.stop_waiting();  // no deletion becomes durable any more
    co_await release_dead();
    co_await release_doomed();
    if (n % kSpaceTicks == 0) co_await log_.check_space();
  }
}

void Store::tick() {
  const int64_t now = clock_.now_ms();
  bool sync = durability_ != Durability::kOff && now - last_sync_ms_ >= 1000;
  sync |= extents_.pressed();
  if (sync || now < last_sync_ms_) last_sync_ms_ = now;
  log_.tick(sync);
}

// In steps: a blob of 3 TB has 49,000 pieces.
awaitable<void> Store::release_dead() {
  constexpr size_t kStep = 256;
  auto executor = co_await asio::this_coro::executor;
  for (size_t done = 0;;) {
    Entry* entry;
    {
      MutexLock lock(dead_mutex_);
      if (dead_.empty()) break;
      if (!log_.is_durable(dead_.front().first) && !planted(Bug::kBlobFreedTooSoon)) break;
      entry = dead_.front().second;
      dead_.pop_front();
    }
    const BlobRef blob = *BlobRef::decode(entry->value());
    Entry::destroy(entry);
    for (size_t i = 0; i < blob.pieces.size(); i += kStep) {
      auto first = blob.pieces.begin() + static_cast<ptrdiff_t>(i);
      auto last =
          blob.pieces.begin() + static_cast<ptrdiff_t>(std::min(i + kStep, blob.pieces.size()));
      extents_.unref({0, {first, last}});
      done += static_cast<size_t>(last - first);
      if (done >= kStep) {
        done = 0;
        co_await asio::post(executor, asio::use_awaitable);
      }
    }
    extents_.expected_unref(blob.extent_bytes());
  }
}

awaitable<void> Store::release_doomed() {
  auto executor = co_await asio::this_coro::executor;
  std::deque<std::unique_ptr<Collection>> doomed;
  {
    MutexLock lock(dead_mutex_);
    doomed.swap(doomed_);
  }
  for (auto& c : doomed) {
    if (c->in_use()) {
      MutexLock lock(dead_mutex_);
      doomed_.push_back(std::move(c));
      continue;
    }
    while (c->shed()) co_await asio::post(executor, asio::use_awaitable);
    c.reset();
  }
}

awaitable<void> Store::run_expiry() {
  while (!stopping_) {
    co_await rest(kTickMs);
    co_await expire_due(clock_.now_ms());
  }
}

// In steps, however many expire together: a lock is held for one step, a turn of the loop has a
// few.
awaitable<void> Store::expire_due(int64_t now) {
  constexpr size_t kTurn = 256;
  auto executor = co_await asio::this_coro::executor;
  size_t done = 0;
  for (size_t s = 0; s < kStripes && !stopping_;) {
    if ((*stripes_)[s].next_due.load(std::memory_order_relaxed) > now) {
      s++;
      continue;
    }
    const auto removed = expire_some(s, now);
    if (!removed.ok()) co_return;  // read-only: reads still skip it
    done += *removed;
    if (*removed < kExpireStep) s++;
    if (done < kTurn) continue;
    done = 0;
    if (log_.backlogged()) co_await log_.wait_for_backlog();
    co_await asio::post(executor, asio::use_awaitable);
  }
}

// At most kExpireStep keys of a stripe; fewer if no more are due.
StatusOr<size_t> Store::expire_some(size_t s, int64_t now) {
  Stripe& stripe = (*stripes_)[s];
  StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
  size_t looked_at = 0;
  for (; looked_at < kExpireStep && !stripe.expiry.empty(); looked_at++) {
    const ExpiryItem item = *stripe.expiry.begin();
    if (item.when_ms > now) break;
    if (item.index->retired) {
      stripe.expiry.erase(stripe.expiry.begin());
      continue;
    }
    Namespace& ns = *item.index->owner;
    if (planted(Bug::kExpiredSilently)) {
      link(ns, ns.hash(item.entry->key()), item.entry, nullptr);
      dispose(item.entry, log_.tail());
      continue;
    }
    Transaction t(*this, &lock, Shape::kOne, Wish::kNone, Cause::kExpiry);
    Status removed = t.remove(ns, ns.hash(item.entry->key()), item.entry);
    if (!removed.ok()) return removed;
    expired_++;
  }
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
  return looked_at;
}

}  // namespace cairn
