// What the clients of the simulation do to keys; see life.h.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "kv/types/hash.h"
#include "tests/sim/life.h"

namespace cairn::sim {

// ---- values and answers ----

std::string World::content(size_t size) {
  std::string s = cat("v", next_value_++, ":");
  for (uint64_t x = next_value_; s.size() < size; x = x * 6364136223846793005ULL + 1) {
    s.append(reinterpret_cast<const char*>(&x), sizeof(x));
  }
  s.resize(std::max<size_t>(size, 1));
  return s;
}

bool World::refused(const Status& status) {
  if (absl::IsNotFound(status)) {
    seen.bucket_gone++;
    return true;
  }
  if (!absl::IsResourceExhausted(status)) return false;
  seen.refused_full++;
  was_full_ = true;
  return true;
}

bool World::unread(const Status& status) {
  if (status.message().find("EIO on read") == std::string_view::npos &&
      status.message().find("has a header that cannot be read") == std::string_view::npos) {
    return false;
  }
  seen.unread++;
  unread_ = true;
  return true;
}

bool World::take(const StatusOr<Lsn>& done, const Change& change, Lsn& lsn) {
  if (!done.ok()) return refused(done.status());
  changes_[lsn = *done] = change;
  return true;
}

// What happened to keys by itself is noted as the store tells of it.
void World::changed(std::span<const cairn::Change> changes, cairn::Committer* /*by*/) {
  const size_t first = heard_.size();
  for (auto& c : changes) {
    if (c.what == cairn::What::kSwap) continue;  // who made it notes it
    const Key key{c.ns->id.value(), std::string(c.key)};
    if (is_versions(c.ns->id)) wrong("a version that is not current is told of");
    if (c.cause == Cause::kExpiry && c.what == What::kOperate) {
      note_lapse(c, key);
      continue;
    }
    if (c.cause == Cause::kExpiry || c.cause == Cause::kEviction) {
      (c.cause == Cause::kExpiry ? seen.expired : seen.evicted)++;
      if (keeps_versions(*c.ns)) {
        note_kept_expiry(c, key);
        continue;
      }
      changes_[c.lsn] = {Change::kDelete, key, {}, false, true};
      continue;
    }
    heard_.push_back({key, c.what, c.lsn, &c != &changes.back()});
  }
  if (heard_.size() > first + 1)
    groups_[heard_.back().lsn].assign(heard_.begin() + static_cast<ptrdiff_t>(first), heard_.end());
}

// Some fields of a hash expired. Which ones depends on whose turn it was: what is left says it.
void World::note_lapse(const cairn::Change& c, const Key& key) {
  seen.lapsed++;
  const Namespace& ns = *find_space(key.first);
  const Entry* e = ns.index->find(key.second, ns.hash(key.second));
  Change change{Change::kLapse, key, {}, false, true};
  change.value.fields = fields_of(*e, kv::Hash::kNoTime);
  const State& proven = state_;
  if (auto old = proven.keys.find(key); old != proven.keys.end() && !changed_since(key, Lsn())) {
    for (auto& [field, f] : old->second.fields) {
      const bool left = change.value.fields.contains(field);
      if (!left && !f.is_due(store_->now_ms())) wrong(cat("field ", field, " expired too early"));
    }
  }
  changes_[c.lsn] = std::move(change);
}

NamespacePtr World::find_space(uint32_t id) const {
  if (id < kDatabasesUsual) return store_->database(id).shared_from_this();
  if (id == kSystemNamespace.value()) return store_->system().shared_from_this();
  for (auto& bucket : store_->buckets()) {
    if (bucket->id.value() == id) return bucket;
  }
  return nullptr;
}

NamespacePtr World::some_space() {
  auto buckets = store_->buckets();
  std::erase_if(buckets, [](auto& b) { return keeps_versions(*b); });
  const uint64_t n = pick(kDatabasesUsed + buckets.size());
  if (n >= kDatabasesUsed) return buckets[n - kDatabasesUsed];
  return store_->database(static_cast<uint32_t>(n)).shared_from_this();
}

// ---- reading ----

awaitable<std::optional<Value>> World::read(NamespacePtr ns, std::string key, int64_t pause_ms) {
  std::unique_ptr<BlobReader> reader;
  Value value;
  const KeyHash hash = ns->hash(key);
  for (;;) {
    {
      StripeLocks lock(*store_, hash);
      Now now(store_->clock());
      Entry* e = store_->find(*ns, key, hash, now);
      if (e == nullptr) co_return std::nullopt;
      value.expire_ms = e->expire_ms();
      value.version = e->version();
      value.meta = e->meta();
      if (e->is_blob()) {
        BlobRef ref = *BlobRef::decode(e->value());
        uint64_t size = ref.size;
        reader = std::make_unique<BlobReader>(store_->extents(), std::move(ref), 0, size);
        break;
      }
      if (e->collection() != nullptr) {
        value.fields = fields_of(*e, now.ms());
        co_return value;
      }
      if (!e->is_cold()) {
        e->touch();
        value.bytes = e->value();
        check_live({ns->id.value(), key}, value);
        co_return value;
      }
    }
    Status fetched = co_await store_->faults().fetch(ns, key);
    // The cleaner's newest copies are nowhere once the log failed.
    if (!fetched.ok() && !store_->log().status().ok()) co_return std::nullopt;
    if (unread(fetched)) co_return std::nullopt;
    if (!fetched.ok()) wrong(cat("key ", key, ": ", fetched.message()));
  }
  if (pause_ms > 0) co_await store_->clock().sleep_ms(pause_ms);
  auto bytes = co_await reader->read_all(1 << 24);
  if (unread(bytes.status())) co_return std::nullopt;
  if (!bytes.ok()) wrong(cat("key ", key, ": ", bytes.status().message()));
  value.bytes = std::move(*bytes);
  check_live({ns->id.value(), key}, value);
  co_return value;
}

// What is read while others write is what was written under that version.
void World::check_live(const Key& key, const Value& value) {
  const Value* written = nullptr;
  if (auto change = changes_.find(value.version); change != changes_.end()) {
    written = &change->second.value;
  } else if (auto old = state_.keys.find(key);
             old != state_.keys.end() && old->second.version == value.version) {
    written = &old->second;
  }
  if (written != nullptr && written->bytes != value.bytes) {
    wrong(cat("key ", key.second, " reads other bytes than were written"));
  }
}

// Reads a key, present or not, and waits as the answer would have to: then all that the answer
// rests on is as good as acknowledged. False: the client is done.
awaitable<bool> World::rest_on(NamespacePtr ns, std::string key) {
  const KeyHash hash = ns->hash(key);
  Lsn seen_lsn, rests_on;
  {
    StripeLocks lock(*store_, hash);
    Transaction t(*store_, &lock, Shape::kOne);
    (void)t.find(*ns, key, hash);
    seen_lsn = t.seen();
    for (auto it = changes_.rbegin(); it != changes_.rend(); ++it) {
      const Change& c = it->second;
      if (!c.concerns({ns->id.value(), key})) continue;
      // One that is gone without a deletion expired: that it does rests on this one, too.
      if (!c.unwished) rests_on = it->first;
      break;
    }
  }
  if (seen_lsn.valid()) {
    Status durable = co_await store_->log().wait_durable(seen_lsn);
    if (!durable.ok()) co_return false;
  }
  if (rests_on.valid() && !store_->log().is_durable(rests_on)) {
    wrong(cat("an answer left before LSN ", rests_on.value(), " was durable"));
  }
  if (rests_on.valid()) acknowledge(rests_on);
  seen.rested++;
  co_return true;
}

// ---- the clients ----

awaitable<void> World::client(uint64_t steps) {
  for (uint64_t i = 0; i < steps; i++) {
    seen.operations++;
    Lsn lsn;
    const bool goes_on = co_await step(lsn);
    if (!goes_on) co_return;
    if (lsn.valid() && std::exchange(was_full_, false)) seen.written_after_full++;
    if (lsn.valid() && pick(3) != 0) {
      Status durable = co_await store_->log().wait_durable(lsn);
      if (!durable.ok()) co_return;
      acknowledge(lsn);
    }
    if (pick(200) == 0) turn_clock(true);
    if (pick(8) == 0) co_await store_->clock().sleep_ms(static_cast<int64_t>(pick(50)));
  }
}

// One thing that a client does; `lsn` gets what it changed. False: the client is done.
awaitable<bool> World::step(Lsn& lsn) {
  if (versions_ && pick(4) == 0) co_return co_await use_versions(lsn);
  NamespacePtr ns = some_space();
  std::string key = some_key();
  switch (pick(32)) {
    case 0:
    case 1:
      co_return co_await remove_one(ns, key, lsn);
    case 2:
    case 3:
      co_return co_await change_several(lsn);
    case 4: {
      const uint64_t what = pick(10);
      if (what > 1) {
        if (pick(3) == 0) key = some_collection();
        co_return change_expiry(*ns, key, lsn);
      }
      if (what == 1) co_return swap_databases(lsn);
      StripeLocks none(*store_);
      Transaction t(*store_, &none, Shape::kOne);
      (void)t.flush(*ns);
      co_return take(t.commit(), {Change::kFlush, {ns->id.value(), ""}, {}}, lsn);
    }
    case 5:
    case 6:
    case 7:
      co_return co_await put_blob(ns, key, lsn);
    case 8:
      if (!changes_.empty() && pick(2) == 0) {  // what was changed just now
        const Key& newest = changes_.rbegin()->second.key;
        ns = find_space(newest.first);
        key = newest.second;
        if (ns == nullptr || keeps_versions(*ns)) co_return true;
      }
      co_return co_await rest_on(ns, key);
    case 9: {  // others may have changed it meanwhile; read() itself checks the bytes
      const int64_t pause_ms = pick(3) == 0 ? static_cast<int64_t>(pick(200)) : 0;
      auto got = co_await read(ns, key, pause_ms);
      (void)got;
      co_return true;
    }
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
      co_return co_await change_collection(ns, some_collection(), lsn);
    case 16:
    case 17:
    case 18:
      co_return co_await use_buckets(lsn);
    case 19:
      co_return co_await rename_collection(lsn);
    case 20:
      co_return co_await copy_collection(lsn);
    default:
      co_return put_small(*ns, key, lsn);
  }
}

bool World::swap_databases(Lsn& lsn) {
  const auto a = static_cast<uint32_t>(pick(kDatabasesUsed));
  const auto b = static_cast<uint32_t>((a + 1 + pick(kDatabasesUsed - 1)) % kDatabasesUsed);
  StripeLocks none(*store_);
  Transaction t(*store_, &none, Shape::kOne);
  (void)t.swap(store_->database(a), store_->database(b));
  seen.swaps++;
  return take(t.commit(), {Change::kSwap, {a, ""}, {}, false, false, {b, ""}}, lsn);
}

awaitable<bool> World::remove_one(NamespacePtr ns, std::string key, Lsn& lsn) {
  const KeyHash hash = ns->hash(key);
  StripeLocks lock(*store_, hash);
  Transaction t(*store_, &lock, Shape::kOne);
  Entry* e = t.find(*ns, key, hash);
  if (e == nullptr) co_return true;
  (void)t.remove(*ns, hash, e);
  co_return take(t.commit(), {Change::kDelete, {ns->id.value(), key}, {}}, lsn);
}

bool World::put_small(Namespace& ns, const std::string& key, Lsn& lsn) {
  Change change{Change::kPut, {ns.id.value(), key}, {content(pick(6000)), {}, 0}};
  if (pick(6) == 0) change.value.meta = content(1 + pick(300));
  RecordView r;
  r.ns = ns.id;
  r.key = key;
  r.value = change.value.bytes;
  r.meta = change.value.meta;
  if (pick(5) == 0) {
    r.flags = kRecordHasExpiry;
    change.value.expire_ms = r.expire_ms = store_->now_ms() + static_cast<int64_t>(pick(3000));
  }
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(*store_, hash);
  Transaction t(*store_, &lock, Shape::kOne);
  (void)t.put(ns, hash, r);
  return take(t.commit(), change, lsn);
}

awaitable<bool> World::put_blob(NamespacePtr ns, std::string key, Lsn& lsn) {
  std::string bytes = content((9 << 10) + pick(90 << 10));
  BlobWriter writer(store_->extents(), pick(2) ? bytes.size() : 0);
  Status wrote = co_await writer.append(as_bytes(bytes));
  if (wrote.ok() && pick(3) == 0) wrote = co_await append_part(writer, ns, bytes);
  if (!wrote.ok()) co_return refused(wrote);
  auto blob = co_await writer.finish();
  if (!blob.ok()) co_return refused(blob.status());
  std::string encoded = blob->encode();
  RecordView r;
  r.flags = kRecordIsBlob;
  r.ns = ns->id;
  r.key = key;
  r.value = encoded;
  const KeyHash hash = ns->hash(key);
  StripeLocks lock(*store_, hash);
  Transaction t(*store_, &lock, Shape::kOne);
  Status put = t.put(*ns, hash, r);
  if (!put.ok()) store_->extents().unref(*blob);
  const Change change{Change::kPut, {ns->id.value(), key}, {bytes, {}, 0}};
  co_return take(t.commit(), change, lsn);
}

// A part of another blob, shared where it can be; `bytes` is what the writer holds.
awaitable<Status> World::append_part(BlobWriter& writer, NamespacePtr ns, std::string& bytes) {
  const std::string from = some_key();
  std::unique_ptr<BlobReader> reader;  // holds the other one
  {
    const KeyHash hash = ns->hash(from);
    StripeLocks lock(*store_, hash);
    Now now(store_->clock());
    Entry* e = store_->find(*ns, from, hash, now);
    if (e == nullptr || !e->is_blob()) co_return absl::OkStatus();
    const BlobRef ref = *BlobRef::decode(e->value());
    reader = std::make_unique<BlobReader>(store_->extents(), ref, 0, ref.size);
  }
  if (reader->left() > 1 << 20) co_return absl::OkStatus();
  auto text = co_await reader->read_all(1 << 20);
  if (unread(text.status())) co_return absl::OkStatus();
  if (!text.ok()) wrong(cat("key ", from, ": ", text.status().message()));
  const bool whole = pick(2) == 0;  // then its extents are shared, however small
  const uint64_t at = whole ? 0 : pick(text->size());
  const uint64_t length = whole ? text->size() : pick(text->size() - at + 1);
  bytes += text->substr(at, length);
  co_return co_await writer.append_range(reader->blob(), at, length);
}

// Of any value, in memory or on disk: it is not looked at.
bool World::change_expiry(Namespace& ns, const std::string& key, Lsn& lsn) {
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(*store_, hash);
  Transaction t(*store_, &lock, Shape::kOne);
  Entry* e = t.find(ns, key, hash);
  if (e == nullptr) return true;
  if (e->is_cold()) seen.cold_expiries++;
  Change change{Change::kExpire, {ns.id.value(), key}, {}};
  (void)expire(t, ns, e, change);
  return take(t.commit(), change, lsn);
}

Status World::expire(Transaction& t, Namespace& ns, Entry* e, Change& change) {
  change.kind = Change::kExpire;
  if (pick(4) != 0) {
    change.value.expire_ms = store_->now_ms() + 1 + static_cast<int64_t>(pick(6000));
  }
  return t.expire(ns, ns.hash(e->key()), e, change.value.expire_ms);
}

// ---- several at once ----

// Several changes that happen together: some are given up, and then nothing happened.
awaitable<bool> World::change_several(Lsn& lsn) {
  Keys keys(2 + pick(6));
  std::vector<KeyHash> hashes;
  cairn::Faults::Keys collection_keys;
  for (auto& [ns, key] : keys) {
    ns = some_space();
    key = pick(3) == 0 ? some_collection() : some_key();
    hashes.push_back(ns->hash(key));
    if (is_collection(key)) collection_keys.emplace_back(ns, key);
  }
  StripeLocks lock(*store_);
  Status locked = co_await store_->faults().lock_with_values(lock, hashes, collection_keys);
  if (!locked.ok()) {
    if (store_->log().status().ok() && !unread(locked)) wrong(cat("a batch: ", locked.message()));
    co_return false;
  }
  std::vector<Change> made;
  const bool large = pick(6) == 0;  // larger than a frame, and often than a segment
  uint64_t bytes = 0;
  Transaction t(*store_, &lock, Shape::kSeveral);
  for (size_t i = 0; i < keys.size() && t.status().ok(); i++) {
    if (!change_in(t, keys, i, large, made, bytes)) continue;
  }
  if (pick(5) == 0) {
    seen.given_up++;
    co_return true;
  }
  heard_.clear();
  auto done = t.commit();
  if (!done.ok()) co_return refused(done.status());
  if (bytes > kSegmentBytes) seen.spanning++;
  co_return take_group(made, lsn);
}

// What a transaction did, of which the store told.
bool World::take_group(std::vector<Change>& made, Lsn& lsn) {
  // A rename is one record, and told of as two changes.
  const auto end = std::unique(heard_.begin(), heard_.end(),
                               [](const Heard& a, const Heard& b) { return a.lsn == b.lsn; });
  heard_.erase(end, heard_.end());
  if (heard_.size() != made.size()) wrong("a transaction told of other changes than it made");
  for (size_t i = 0; i < made.size(); i++) {
    made[i].goes_on = i + 1 < made.size();
    changes_[lsn = heard_[i].lsn] = made[i];
  }
  return true;
}

// One of them. False: there was nothing to do.
bool World::change_in(Transaction& t, const Keys& keys, size_t i, bool large,
                      std::vector<Change>& made, uint64_t& bytes) {
  Namespace& ns = *keys[i].first;
  const std::string& key = keys[i].second;
  const KeyHash hash = ns.hash(key);
  Change change{Change::kPut, {ns.id.value(), key}, {}};
  if (is_collection(key)) {
    const auto& to = keys[pick(keys.size())];
    Entry* e = t.find(ns, key, hash);
    if (e != nullptr && pick(3) == 0 && kind_of(to.second) == kind_of(key) && to != keys[i]) {
      rename(t, ns, e, *to.first, to.second, made);
      return true;
    }
    if (!change_collection(t, ns, key, change)) return false;
  } else if (Entry* e = t.find(ns, key, hash); e != nullptr && pick(4) == 0) {
    change.kind = Change::kDelete;
    (void)t.remove(ns, hash, e);
  } else if (e != nullptr && pick(4) == 0) {
    (void)expire(t, ns, e, change);
  } else {
    change.value.bytes = content(large ? (8 << 10) + pick(24 << 10) : pick(2000));
    bytes += change.value.bytes.size();
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = change.value.bytes;
    if (pick(4) == 0) {
      r.flags = kRecordHasExpiry;
      change.value.expire_ms = r.expire_ms = store_->now_ms() + static_cast<int64_t>(pick(3000));
    }
    (void)t.put(ns, hash, r);
  }
  made.push_back(std::move(change));
  return true;
}

}  // namespace cairn::sim
