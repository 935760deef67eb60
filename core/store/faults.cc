#include "core/store/faults.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"
#include "core/store/memory.h"

namespace cairn {

void Faults::drop_waiters() {
  decltype(waiting_) waiting;  // destroyed after the lock is let go
  MutexLock lock(mutex_);
  waiting.swap(waiting_);
}

AlignedBuffer Faults::take_buffer(uint64_t bytes) {
  if (bytes > kBufferBytes) return AlignedBuffer(bytes);
  MutexLock lock(mutex_);
  if (buffers_.empty()) return AlignedBuffer(kBufferBytes);
  AlignedBuffer buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void Faults::keep_buffer(AlignedBuffer buffer) {
  MutexLock lock(mutex_);
  if (buffer.size() == kBufferBytes && buffers_.size() < kBuffersMax) {
    buffers_.push_back(std::move(buffer));
  }
}

awaitable<Status> Faults::fetch(std::shared_ptr<Namespace> ns, std::string key) {
  const KeyHash hash = ns->hash(key);
  for (;;) {
    Lsn lsn;
    uint64_t record_bytes = 0;
    Status idle = co_await keyspace_.busy().until_idle(hash);
    if (!idle.ok()) co_return idle;
    {
      StripeLocks lock(keyspace_);
      if (!lock.lock_idle(hash)) continue;
      Entry* e = ns->index->find(key, hash);
      if (e == nullptr || !e->is_cold()) co_return absl::OkStatus();
      lsn = e->lsn();
      record_bytes = e->record_bytes();
    }
    if (!keyspace_.log().is_durable(lsn) &&
        !planted(Bug::kFaultTooSoon)) {  // the cleaner moved it just now
      Status durable = co_await keyspace_.log().wait_durable(lsn);
      if (!durable.ok()) co_return durable;
      continue;
    }
    bool leads;
    {
      MutexLock lock(mutex_);
      leads = waiting_.try_emplace(lsn.value()).second;
    }
    if (!leads) {
      co_await suspend<>([this, lsn](Resume<> wake) {
        MutexLock lock(mutex_);
        auto it = waiting_.find(lsn.value());
        if (it == waiting_.end()) return wake();
        it->second.push_back(std::move(wake));
      });
      continue;
    }
    Status status = co_await read(*ns, key, lsn, record_bytes);
    std::vector<Resume<>> others;
    {
      MutexLock lock(mutex_);
      if (auto it = waiting_.find(lsn.value()); it != waiting_.end()) {
        others = std::move(it->second);
        waiting_.erase(it);
      }
    }
    for (auto& wake : others) wake();
    if (!status.ok()) co_return status;
  }
}

void Faults::keep_cold(Keys& keys) const {
  std::erase_if(keys, [&](auto& k) {
    Entry* e = k.first->index->find(k.second, k.first->hash(k.second));
    return e == nullptr || !e->is_cold();
  });
}

awaitable<Status> Faults::lock_with_values(StripeLocks& locks, const std::vector<KeyHash>& hashes,
                                           const Keys& keys) {
  return lock_with_values(locks, hashes, keys, Busy::Patience::kOfRequests);
}

awaitable<Status> Faults::lock_with_values(StripeLocks& locks, const std::vector<KeyHash>& hashes,
                                           const Keys& keys, Busy::Patience patience) {
  constexpr int kTries = 3;  // then memory holds still
  std::optional<MemoryKeeper::Hold> hold;
  const int64_t most_ms =
      patience == Busy::Patience::kEndless ? 0 : keyspace_.busy().patience_ms.load();
  const int64_t begun_ms = keyspace_.clock_.now_ms();
  for (int tries = 0;; tries++) {
    if (tries == kTries) hold.emplace(memory_);
    while (!locks.lock_idle(hashes)) {
      hold.reset();  // it is not to stand still for so long
      tries = 0;
      // Also where each who holds one of them has not had it for long.
      if (most_ms > 0 && keyspace_.clock_.now_ms() - begun_ms > most_ms) {
        co_return held_too_long("script");
      }
      Status idle = co_await keyspace_.busy().until_idle(hashes, patience);
      if (!idle.ok()) co_return idle;
    }
    if (!keyspace_.has_cold()) co_return absl::OkStatus();
    Keys cold = keys;
    keep_cold(cold);
    if (cold.empty()) co_return absl::OkStatus();
    locks.unlock();
    Status fetched = co_await fetch_all(cold);
    const bool may_wait =
        patience == Busy::Patience::kEndless && !held_too_long_by(fetched).empty();
    if (!fetched.ok() && !may_wait) co_return fetched;
  }
}

awaitable<void> Faults::fetch_into(std::shared_ptr<Namespace> ns, std::string key, Status& first) {
  Status fetched = co_await fetch(std::move(ns), std::move(key));
  if (first.ok()) first = std::move(fetched);
}

awaitable<Status> Faults::fetch_all(const Keys& keys) {
  constexpr size_t kAtOnce = 64;
  if (keys.size() == 1) {
    std::string key(keys[0].second);
    co_return co_await fetch(keys[0].first, std::move(key));
  }
  auto executor = co_await asio::this_coro::executor;
  Status first;
  Tasks reads;
  for (auto& [ns, key] : keys) {
    co_await reads.below(kAtOnce);
    reads.spawn(executor, "reading a value back", fetch_into(ns, std::string(key), first));
  }
  co_await reads.ended();
  co_return first;
}

void Faults::start(std::shared_ptr<Namespace> ns, std::string_view key) {
  auto work = [](Faults& faults, std::shared_ptr<Namespace> in,
                 std::string name) -> awaitable<void> {
    (void)co_await faults.fetch(std::move(in), std::move(name));
  };
  keyspace_.background_.spawn(keyspace_.any_executor(), "reading a value back",
                              work(*this, std::move(ns), std::string(key)));
}

awaitable<Status> Faults::read(Namespace& ns, std::string_view key, Lsn lsn,
                               uint64_t record_bytes) {
  Record record = co_await read_record(lsn, record_bytes);
  Status installed = install(ns, key, lsn, record);
  keep_buffer(std::move(record.buffer));
  Status status = installed.ok() || record.status.ok() ? installed : record.status;
  if (absl::IsDataLoss(status)) {
    keyspace_.report(Severity::kWarning, alarm::kDamage, std::string(status.message()));
  }
  co_return status;
}

awaitable<Faults::Record> Faults::read_record(Lsn lsn, uint64_t record_bytes) {
  const uint64_t segment_bytes = keyspace_.usage_.segment_bytes();
  const uint64_t segment = lsn.value() / segment_bytes, offset = lsn.value() % segment_bytes;
  const uint64_t begin = offset / kBlockBytes * kBlockBytes;
  const uint64_t end = round_up(offset + record_bytes, kBlockBytes);
  Record out;
  out.buffer = take_buffer(end - begin);
  reads_.fetch_add(1, std::memory_order_relaxed);
  auto n = co_await keyspace_.volume_.read({FileKind::kSegment, segment}, begin,
                                           out.buffer.span(0, end - begin));
  out.status = n.status();
  if (absl::IsNotFound(out.status)) {
    out.status = absl::DataLossError(cat(to_string({FileKind::kSegment, segment}), " is missing"));
  }
  if (!n.ok() || *n <= offset - begin) co_return out;
  const uint32_t epoch = keyspace_.lives_.epoch_of(SegmentId(segment));
  out.view = decode_record(Bytes(out.buffer.data(), *n).subspan(offset - begin),
                           record_seed(keyspace_.store_id(), SegmentId(segment), offset, epoch));
  co_return out;
}

// The entry with its value, or DataLoss; the caller owns it and the one without.
StatusOr<Entry*> Faults::warm(const Entry* e, NamespaceId ns, const Record& record) {
  const auto& r = record.view;
  std::unique_ptr<Collection> c;
  const bool same = r && r->key == e->key() && r->ns == ns && r->value.size() == e->value_bytes() &&
                    r->flags >> 4 == e->flags >> 4;
  if (same && !e->is_string()) c = keyspace_.make_collection(r->flags, r->value);
  if (!same || (!e->is_string() && c == nullptr)) {
    const uint64_t segment_bytes = keyspace_.usage_.segment_bytes();
    const uint64_t segment = e->lsn().value() / segment_bytes;
    return absl::DataLossError(cat(
        "segment ", segment, " (", to_string({FileKind::kSegment, segment}),
        ") is damaged at offset ", e->lsn().value() % segment_bytes, ": a value cannot be read"));
  }
  if (e->is_string()) return e->make_hot(r->value);
  Entry* hot = e->make_hot(std::move(c));
  keyspace_.begin_charges(*hot->collection(), e->lsn(), *r);
  return hot;
}

// The record may have been moved, and its segment freed or used again, while it was read: then the
// index names another place, and what was read does not count.
Status Faults::install(Namespace& ns, std::string_view key, Lsn lsn, const Record& record) {
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(keyspace_);
  if (!lock.lock_idle(hash)) return absl::OkStatus();  // who needs it looks again
  if (memory_.pressed()) memory_.shed(ns, stripe_of(hash));
  Entry* e = ns.index->find(key, hash);
  if (e == nullptr || !e->is_cold() || e->lsn() != lsn) return absl::OkStatus();
  auto hot = warm(e, ns.stored(), record);
  if (!hot.ok()) return hot.status();
  keyspace_.link(ns, hash, e, *hot);
  Entry::destroy(e);
  return absl::OkStatus();
}

}  // namespace cairn
