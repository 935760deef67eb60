// Entries: finding them, and what hangs on each beside its index (order, expiry, usage, memory).
#include <algorithm>
#include <boost/asio/post.hpp>
#include <cassert>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/store.h"
#include "core/store/transaction.h"

namespace cairn {

int64_t Store::held_bytes(const Entry* e) {
  return static_cast<int64_t>(e->bytes()) + (e->due_ms() != INT64_MAX ? kDueBytes : 0);
}

void Store::prefetch(std::span<Namespace* const> spaces, std::span<const KeyHash> hashes,
                     bool insert) {
  for (size_t i = 0; i < spaces.size();) {  // runs of one namespace
    size_t end = i + 1;
    while (end < spaces.size() && spaces[end] == spaces[i]) end++;
    spaces[i]->index->prefetch(hashes.subspan(i, end - i), insert);
    i = end;
  }
}

Entry* Store::find(Namespace& ns, std::string_view key, KeyHash hash, Now& now) const {
  return alive(ns.index->find(key, hash), now);
}

void Store::note_due(Namespace& ns, Stripe& stripe, Entry* entry) {
  const int64_t when = entry->due_ms();
  if (entry->has_expiry()) ns.volatile_keys.fetch_add(1, std::memory_order_relaxed);
  if (when == INT64_MAX || ns.id == kIdentities) return;
  stripe.expiry.insert({when, entry, ns.index.get()});
  if (when < stripe.next_due.load(std::memory_order_relaxed)) stripe.next_due = when;
}

void Store::forget_due(Namespace& ns, Stripe& stripe, Entry* entry) {
  const int64_t when = entry->due_ms();
  if (entry->has_expiry()) ns.volatile_keys.fetch_sub(1, std::memory_order_relaxed);
  if (when == INT64_MAX || ns.id == kIdentities) return;
  stripe.expiry.erase({when, entry, ns.index.get()});
  stripe.next_due = stripe.expiry.empty() ? INT64_MAX : stripe.expiry.begin()->when_ms;
}

void Store::set_expiry(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms) {
  const int64_t due = entry->due_ms();
  entry->set_expire_ms(expire_ms);
  move_due(ns, hash, entry, due);
}

void Store::move_due(Namespace& ns, KeyHash hash, Entry* entry, int64_t before) {
  const int64_t when = entry->due_ms();
  if (when == before) return;
  if (ns.id != kIdentities) {
    Stripe& s = stripe(hash);
    if (before != INT64_MAX) s.expiry.erase({before, entry, ns.index.get()});
    if (when != INT64_MAX) s.expiry.insert({when, entry, ns.index.get()});
    s.next_due = s.expiry.empty() ? INT64_MAX : s.expiry.begin()->when_ms;
  }
  memory_.count().add(stripe_of(hash),
                      (when != INT64_MAX ? kDueBytes : 0) - (before != INT64_MAX ? kDueBytes : 0));
}

void Store::bury(Lsn lsn, Entry* entry) {
  extents_.expect_unref(BlobRef::decode(entry->value())->extent_bytes());
  MutexLock lock(dead_mutex_);
  if (lsn.valid()) {
    dead_.emplace_back(lsn, entry);
  } else {
    dead_.emplace_front(lsn, entry);
  }
}

void Store::dispose(Entry* old, Lsn lsn) {
  if (const Collection* c = old->collection(); c != nullptr && c->memory_bytes() > part_bytes()) {
    std::unique_ptr<Collection> doomed(old->detach());
    Entry::destroy(old);
    MutexLock lock(dead_mutex_);
    doomed_.push_back(std::move(doomed));
  } else if (!old->is_blob()) {
    Entry::destroy(old);
  } else {
    bury(lsn, old);
  }
}

void Store::place(Namespace& ns, KeyHash hash, Entry* old, Entry* entry) {
  Stripe& s = stripe(hash);
  int64_t bytes = 0;
  if (old != nullptr) {
    forget_due(ns, s, old);
    bytes -= held_bytes(old);
    if (old->is_cold()) cold_.fetch_sub(1, std::memory_order_relaxed);
  }
  if (old != nullptr && entry != nullptr) {
    ns.index->replace(old, entry, hash);
  } else if (old != nullptr) {
    ns.index->remove(old, hash);
  } else {
    ns.index->insert(entry, hash);
  }
  if (entry != nullptr) {
    bytes += held_bytes(entry);
    if (entry->is_cold()) cold_.fetch_add(1, std::memory_order_relaxed);
    note_due(ns, s, entry);
  }
  memory_.count().add(stripe_of(hash), bytes);
}

void Store::link(Namespace& ns, KeyHash hash, Entry* old,
                 Entry* entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const bool ordered = ns.orders(hash);
  int64_t names = 0;
  if (ordered) ns.order_mutex.lock();
  if (old != nullptr) {
    if (ordered) names -= static_cast<int64_t>(ns.order.erase(old));
    count(old, -1);
  }
  place(ns, hash, old, entry);
  note_keys(ns, int64_t{entry != nullptr} - int64_t{old != nullptr},
            entry != nullptr && entry->wished() ? entry->lsn() : Lsn());
  if (entry != nullptr) {
    count(entry, 1);
    if (ordered) names += static_cast<int64_t>(ns.order.insert(entry).second);
  }
  if (ordered) ns.order_mutex.unlock();
  if (names != 0) memory_.count().add(stripe_of(hash), names * kOrderBytes);
}

void Store::wait_for_locks() {
  for (size_t s = 0; s < kStripes; s++) {
    StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
  }
  MutexLock lock(names_mutex_);
}

void Store::move(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& copy) {
  const Lsn lsn = log_.append(copy);
  if (entry->has_origin() && copy.has_origin() && !entry->expiry_apart()) {
    usage_.sub(entry->lsn(), entry->record_bytes());
    // A transaction that spans segments is not durable when its first one is sealed.
    entry->set_wished(still_wished(entry));
    entry->set_lsn(lsn);
    usage_.add(lsn, entry->record_bytes());
    return;
  }
  Entry* moved = entry->is_cold() ? Entry::make_cold(copy, lsn) : Entry::make(copy, lsn);
  moved->set_marks(entry->marks());
  moved->set_wished(still_wished(entry));
  link(ns, hash, entry, moved);
  Entry::destroy(entry);  // the new one holds its blob
}

Status Store::move_blob(Namespace& ns, KeyHash hash, Entry* entry, const BlobRef& to) {
  if (Status s = log_.admit(Need::kPut); !s.ok()) return s;
  const std::string value = to.encode();
  const RecordView copy = copy_record(ns, entry, value);
  if (copy.size() > log_.record_bytes_max()) {
    return absl::ResourceExhaustedError("the record is larger than a log segment");
  }
  const Lsn lsn = planted(Bug::kBlobMovedSilently) ? entry->lsn() : log_.append(copy);
  extents_.ref(to);
  Entry* moved = Entry::make(copy, lsn);
  moved->set_wished(still_wished(entry));
  link(ns, hash, entry, moved);
  bury(lsn, entry);
  return absl::OkStatus();
}

Entry* Store::spill(Namespace& ns, KeyHash hash, Entry* entry) {
  Entry* cold = entry->make_cold();
  link(ns, hash, entry, cold);
  Entry::destroy(entry);
  return cold;
}

Entry* Store::next_to_expire(Namespace& ns, size_t stripe) {
  for (const ExpiryItem& item : (*stripes_)[stripe].expiry) {
    if (item.index == ns.index.get() && item.entry->has_expiry()) return item.entry;
  }
  return nullptr;
}

std::vector<NamespacePtr> Store::spaces() const {
  std::vector<NamespacePtr> all(databases_.begin(), databases_.end());
  all.push_back(system_);
  for (auto& bucket : buckets()) all.push_back(bucket);
  return all;
}

void Store::move_name(NamespaceId id, Lsn lsn) {
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(id.value());
  if (it == by_id_.end() || it->second->named != lsn || planted(Bug::kNameNotMoved)) return;
  write_name(*it->second);
}

NamespacePtr Store::namespace_by_id(NamespaceId id) const {
  if (id == kIdentities) return unnamed_;
  MutexLock lock(names_mutex_);
  auto it = by_id_.find(id.value());
  return it == by_id_.end() ? nullptr : it->second;
}

}  // namespace cairn
