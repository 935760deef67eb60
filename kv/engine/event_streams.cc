#include "kv/engine/event_streams.h"

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include "core/base/text.h"
#include "kv/engine/frequency.h"
#include "kv/types/stream.h"

namespace cairn::kv {

namespace {
// In one record, under one lock of the stream's stripe.
constexpr size_t kEventsAtOnce = 1024;
constexpr uint64_t kBytesAtOnce = 64 << 10;
// What an entry takes beside the name of its key, at most.
constexpr uint64_t kEntryBytes = 96;
}  // namespace

void EventStreams::Batch::skip(size_t count) {
  for (const size_t end = next + count; next < end; next++) at += items[next].key_bytes;
}

void EventStreams::Batch::clear() {
  constexpr size_t kKept = 4096;  // events; what many needed is not kept
  if (items.capacity() > kKept || keys.capacity() > 64 * kKept) {
    *this = Batch();
  } else {
    items.clear();
    keys.clear();
    next = at = 0;
  }
}

// ---- noting ----

void EventStreams::note(const Namespace& ns, std::string_view event, std::string_view key) {
  QueuePtr full;
  {
    MutexLock lock(mutex_);
    QueuePtr& q = queues_[&ns];
    if (q == nullptr) {
      // None was made as a constant.
      q = std::make_shared<Queue>(std::const_pointer_cast<Namespace>(ns.shared_from_this()));
    }
    if (!std::exchange(q->dirty, true)) dirty_.push_back(q);
    if (q->noted.keys.size() + q->noted.items.size() * sizeof(Batch::Item) < kQueuedBytesMax) {
      q->noted.items.push_back({event, static_cast<uint32_t>(key.size())});
      q->noted.keys += key;
      q->noted_count++;
    } else {
      full = q;
    }
  }
  if (full != nullptr) count_lost(*full, 1, "too many are to be written");
}

// ---- writing ----

EventStreams::Due EventStreams::due() {
  Due due;
  MutexLock lock(mutex_);
  for (const QueuePtr& q : dirty_) due.emplace_back(q, q->noted_count);
  return due;
}

bool EventStreams::write_at_once(Wish wish, Lsn& seen) {
  size_t turns = 4;  // some milliseconds
  bool all = true;
  for (auto& [q, until] : due()) {
    Left left = Left::kMore;
    for (; left == Left::kMore && turns > 0; turns--) {
      StripeLocks locks(store_);
      if (!locks.lock_idle(q->hash)) break;
      left = write_some(*q, until, locks, wish);
    }
    all &= left == Left::kNothing;
  }
  seen = rests_on(wish);
  return all;
}

awaitable<Lsn> EventStreams::write(Wish wish) {
  Lsn seen;
  if (write_at_once(wish, seen)) co_return seen;
  const auto executor = co_await asio::this_coro::executor;
  const Due due = this->due();
  for (auto& [q, until] : due) {
    const std::vector<KeyHash> hashes{q->hash};
    const Faults::Keys values{{q->ns, kKey}};
    for (Left left = Left::kMore; left != Left::kNothing;) {
      {
        StripeLocks locks(store_);
        const Status locked = co_await store_.faults().lock_with_values(locks, hashes, values,
                                                                        Busy::Patience::kEndless);
        if (!locked.ok()) {
          locks.lock(q->hash);
          {
            MutexLock lock(mutex_);
            take(*q);
          }
          lose(*q, q->taken.left(), cat(locked.message()));
        }
        // What others note meanwhile is theirs to write, or to lose.
        const bool done = !locked.ok() && q->done_count >= until;
        left = done ? Left::kNothing : write_some(*q, until, locks, wish);
      }
      (void)store_.memory().help();
      if (store_.log().backlogged()) co_await store_.log().wait_for_backlog();
      co_await asio::post(executor, asio::use_awaitable);
    }
  }
  co_return rests_on(wish);
}

void EventStreams::write_soon() {
  if (told_.exchange(true)) return;
  const Executor executor = store_.any_executor();
  asio::post(executor, [this, executor] { spawn(executor, "writing events", write_for_nobody()); });
}

awaitable<void> EventStreams::write_for_nobody() {
  told_ = false;
  const bool durable = durability_.load() == Durability::kAlways;
  (void)co_await write(durable ? Wish::kDurable : Wish::kNone);
  (void)store_.memory().help();
}

void EventStreams::look_after() {
  bool any;
  std::vector<QueuePtr> idle;  // freed without the lock
  {
    MutexLock lock(mutex_);
    for (auto& [ns, q] : queues_) {
      if (!q->dirty) idle.push_back(q);
    }
    any = !dirty_.empty();
  }
  for (const QueuePtr& q : idle) {
    StripeLocks locks(store_);
    if (!locks.lock_idle(q->hash)) continue;
    // One that is made again knows no ID: those that were given are to be past.
    const bool past = q->last.ms < static_cast<uint64_t>(store_.now_ms());
    MutexLock lock(mutex_);
    const bool needless = q->ns->dropped || (past && q->lost == 0);
    if (needless && !q->dirty) queues_.erase(q->ns.get());
  }
  if (any) write_soon();
}

void EventStreams::note_written(Lsn lsn) {
  uint64_t before = written_.load(std::memory_order_relaxed);
  while (before < lsn.value() &&
         !written_.compare_exchange_weak(before, lsn.value(), std::memory_order_acq_rel)) {
  }
}

// ---- under the lock of the stream's stripe ----

void EventStreams::take(Queue& q) {
  if (!q.taken.empty()) return;  // those come first
  q.taken.clear();
  std::swap(q.taken, q.noted);
}

EventStreams::Left EventStreams::write_some(Queue& q, uint64_t until, const StripeLocks& locks,
                                            Wish wish) {
  uint64_t lost;
  {
    MutexLock lock(mutex_);
    take(q);
    lost = q.taken.empty() ? 0 : q.lost;  // nothing is written that could tell of them
  }
  if (!q.taken.empty() && !append(q, locks, wish, lost)) return Left::kCold;
  MutexLock lock(mutex_);
  q.lost -= lost;
  if (q.taken.empty() && q.noted.empty()) {
    q.dirty = false;
    std::erase_if(dirty_, [&](const QueuePtr& one) { return one.get() == &q; });
  }
  return q.done_count < until ? Left::kMore : Left::kNothing;
}

bool EventStreams::append(Queue& q, const StripeLocks& locks, Wish wish, uint64_t& lost) {
  const uint64_t tells = std::exchange(lost, 0);
  const size_t all = q.taken.left();
  if (q.ns->dropped) {  // with all that anybody might want to know of it
    q.taken.skip(all);
    q.done_count += all;
    return true;
  }
  Transaction t(store_, &locks, Shape::kOne, wish);
  t.passes_quotas();  // it tells of what somebody else did
  t.names_changes();
  Entry* entry = t.find(*q.ns, kKey, q.hash);
  if (entry != nullptr && entry->is_cold()) return false;
  if (entry != nullptr && entry->type() != ValueType::kStream) {
    return lose(q, all, cat(kKey, " is no stream")), true;
  }
  const auto* stream = entry == nullptr ? nullptr : static_cast<const Stream*>(entry->collection());
  if (stream != nullptr && stream->state().last.ms == UINT64_MAX) {  // which a client made it
    return lose(q, all, cat(kKey, " has no ID left")), true;
  }
  if (entry != nullptr) {
    if (store_.memory().counts_frequency()) {
      Frequency::note_use(entry, store_.random());
    } else {
      entry->touch();
    }
  }
  const bool expired =
      entry == nullptr && q.ns->index->find(kKey, q.hash) != nullptr && tell_expired_(*q.ns);
  const size_t count = make_operation(q, stream, t.now().ms(), expired, tells);
  RecordView r;
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(static_cast<unsigned>(ValueType::kStream) << 4);
  r.ns = q.ns->id;
  r.key = kKey;
  r.value = q.operation;
  (void)t.operate(*q.ns, q.hash, entry, r);
  const StatusOr<Lsn> lsn = t.commit();
  if (!lsn.ok()) return lose(q, count, cat(lsn.status().message())), true;
  q.taken.skip(count);
  q.done_count += count;
  note_written(*lsn);
  lost = tells;
  return true;
}

size_t EventStreams::make_operation(Queue& q, const Stream* stream, int64_t now_ms, bool expired,
                                    uint64_t lost) {
  const Batch& b = q.taken;
  const uint64_t bytes_max = std::min(kBytesAtOnce, store_.log().record_bytes_max() / 2);
  size_t count = 0;
  for (uint64_t bytes = kEntryBytes; b.next + count < b.items.size() && count < kEventsAtOnce;) {
    bytes += b.items[b.next + count].key_bytes + kEntryBytes;
    if (count > 0 && bytes > bytes_max) break;
    count++;
  }
  q.operation.clear();
  Stream::State state = stream == nullptr ? Stream::State() : stream->state();
  // What goes, goes first.
  const uint64_t size = stream == nullptr ? 0 : stream->size();
  uint64_t most = length_max_.load(std::memory_order_relaxed);
  if (most == 0) most = UINT64_MAX;
  if (store_.memory().exhausted()) most = std::min(most, std::max(size, kLengthLeast));
  if (size + count > most) {
    constexpr uint64_t kTrimmedAtOnce = 10'000;
    const StreamId to = stream == nullptr
                            ? kStreamIdMin
                            : stream->whole_blocks(most - std::min<uint64_t>(most, count),
                                                   std::nullopt, kTrimmedAtOnce, kStreamIdMin, 0);
    if (to != kStreamIdMin) Stream::add_trim(q.operation, to);
  }
  state.last = std::max(state.last, q.last);  // also where a client made it anew
  const auto now = static_cast<uint64_t>(now_ms);
  const auto add = [&](std::span<const std::string_view> words) {
    state.last = now > state.last.ms ? StreamId{now, 0} : state.last.next();
    state.added++;
    Stream::add_entry(q.operation, state.last, words);
  };
  if (expired) add(std::array<std::string_view, 4>{"event", "expired", "key", kKey});
  if (lost > 0) {
    const std::string text = cat(lost);
    add(std::array<std::string_view, 6>{"event", "lost", "key", "", "count", text});
  }
  size_t at = b.at;
  for (size_t i = 0; i < count; i++) {
    const Batch::Item& item = b.items[b.next + i];
    const std::string_view key = std::string_view(b.keys).substr(at, item.key_bytes);
    at += item.key_bytes;
    add(std::array<std::string_view, 4>{"event", item.event, "key", key});
  }
  Stream::add_state(q.operation, state);
  // But not one that follows on what a client made up: DEL is to mend that.
  constexpr uint64_t kAheadMsMax = 1000;
  if (state.last.ms <= now + kAheadMsMax) q.last = state.last;
  return count;
}

// ---- what cannot be written ----

void EventStreams::count_lost(Queue& q, uint64_t count, std::string_view why) {
  if (count == 0) return;
  lost_.fetch_add(count, std::memory_order_relaxed);
  {
    MutexLock lock(mutex_);
    if (std::exchange(q.lost, q.lost + count) != 0) return;
  }
  if (!store_.options().report) return;
  // Not under the locks that the caller has.
  asio::post(store_.any_executor(),
             [this, text = cat("keyspace events of ", q.ns->name, " are lost: ", why)] {
               store_.options().report(Severity::kWarning, "events", text);
             });
}

void EventStreams::lose(Queue& q, size_t count, std::string_view why) {
  q.taken.skip(count);
  q.done_count += count;
  count_lost(q, count, why);
}

}  // namespace cairn::kv
