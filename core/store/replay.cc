#include "core/store/replay.h"

#include <algorithm>
#include <cstring>

#include "core/base/limits.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"

namespace cairn {

Replay::Replay(Keyspace& keyspace, Faults& faults, std::function<void(Lsn, int64_t)> note_time)
    : keyspace_(keyspace),
      faults_(faults),
      note_time_(std::move(note_time)),
      kept_limit_(limits::kept_operations(keyspace.memory_bytes())) {
  for (auto& ns : keyspace_.databases_) namespaces_[ns->id.value()] = ns;
  namespaces_[kSystemNamespace.value()] = keyspace_.system_;
  for (auto& entry : namespaces_) {
    entry.second->index->loading = true;
    // What an attempt before left.
    for (size_t s = 0; s < kStripes && entry.second->size() > 0; s++) {
      entry.second->index->take_all(s, Entry::destroy);
    }
  }
}

Replay::Shard& Replay::shard(KeyHash hash) { return shards_[stripe_of(hash) % shards_.size()]; }

bool Replay::full() const {
  const uint64_t limit = keyspace_.memory_bytes();
  return limit != 0 && entry_bytes_.load(std::memory_order_relaxed) > limit / 2;
}

void Replay::grew(const Entry* before, const Entry* now) {
  if (keyspace_.memory_bytes() == 0) return;
  const uint64_t less = before == nullptr ? 0 : before->bytes();
  entry_bytes_.fetch_add(now->bytes() - less, std::memory_order_relaxed);
}

Namespace* Replay::namespace_of(NamespaceId id) {
  const uint32_t number = database_number(id);
  if (number < keyspace_.databases()) return keyspace_.databases_[number].get();  // without a lock
  MutexLock lock(mutex_);
  auto& ns = namespaces_[id.value()];
  if (ns == nullptr) {
    // One of a database that there was is empty in the end, or the start is refused.
    ns = std::make_shared<Namespace>(id, number == UINT32_MAX ? "" : cat("db", number),
                                     Properties{}, keyspace_.hash_seed_, keyspace_.memory_count_);
    ns->index->loading = true;
  }
  return ns.get();
}

void Replay::apply(std::span<const LogRecord> records) {
  constexpr size_t kGroup = 16;
  std::array<Namespace*, kGroup> spaces;
  std::array<KeyHash, kGroup> hashes;
  std::array<const LogRecord*, kGroup> group;
  while (!records.empty()) {
    size_t n = 0;
    for (; n < kGroup && !records.empty(); records = records.subspan(1)) {
      const RecordView& r = records.front().record;
      if (r.type == RecordType::kName) {
        if (r.has_origin()) note_time_(r.version, r.wall_ms);
        apply_name(r, records.front().lsn);
        continue;
      }
      if (r.type != RecordType::kPut && r.type != RecordType::kDelete &&
          r.type != RecordType::kOperation && r.type != RecordType::kOperationPart &&
          r.type != RecordType::kExpiry) {
        apply_to_namespace(r, records.front().lsn);
        continue;
      }
      spaces[n] = namespace_of(r.ns);
      hashes[n] = spaces[n]->hash(r.key);
      keyspace_.prefetch(hashes[n]);
      group[n++] = &records.front();
    }
    if (n == 0) return;
    StripeLocks lock(keyspace_);
    lock.lock({hashes.data(), n});
    keyspace_.prefetch({spaces.data(), n}, {hashes.data(), n}, true);
    for (size_t i = 0; i < n; i++) {
      apply_to_key(*spaces[i], hashes[i], group[i]->record, group[i]->lsn);
    }
  }
}

void Replay::apply_to_namespace(const RecordView& r, Lsn lsn) {
  auto newest = [&](absl::flat_hash_map<uint32_t, Lsn>& map, uint32_t ns, bool at_once) {
    if (at_once) remove_older(*namespace_of(NamespaceId(ns)), lsn);
    MutexLock lock(mutex_);
    Lsn& at = map[ns];
    at = std::max(at, lsn);
  };
  switch (r.type) {
    case RecordType::kNamespace: {
      Namespace* ns = namespace_of(r.ns);
      const auto properties = Properties::decode(r.value);
      MutexLock lock(mutex_);
      if (lsn < ns->named) return;
      if (!properties) {
        damage_ = absl::FailedPreconditionError(
            cat("the properties of namespace ", r.key, " are of a later version of the program"));
        return;
      }
      ns->name = std::string(r.key);
      ns->named = lsn;
      ns->name_bytes = r.size();
      ns->set_properties(std::make_shared<const Properties>(*properties));
      return;
    }
    case RecordType::kNamespaceDrop:
      return newest(dropped_, r.ns.value(), !planted(Bug::kDropForgotten));
    case RecordType::kNamespaceFlush: {
      const bool at_once = !planted(Bug::kFlushForgotten);
      if (r.ns.valid()) return newest(flushed_, r.ns.value(), at_once);
      for (uint32_t i = 0; i < kDatabasesMax; i++) {
        const uint32_t id = database_id(i).value();
        newest(flushed_, id, at_once && is_known(id));
      }
      return;
    }
    case RecordType::kSwap: {
      const auto holdings = Holdings::decode(r.value);
      MutexLock lock(mutex_);
      if (lsn < swapped_) return;
      if (!holdings) {
        damage_ = absl::DataLossError("which database holds which keys cannot be read");
        return;
      }
      holdings_ = *holdings;
      swapped_ = lsn;
      return;
    }
    default:
      return;  // of a later version's making; the format version guards against those
  }
}

// What came before it goes at once, and what comes later is not taken: 13 rounds of keys that were
// flushed took 499 MB of 128.
void Replay::remove_older(Namespace& ns, Lsn before) {
  uint64_t now = ns.flushed.load();
  while (now < before.value() && !ns.flushed.compare_exchange_weak(now, before.value())) {
  }
  std::vector<Entry*> older;
  for (size_t s = 0; s < kStripes && ns.size() > 0; s++) {
    if (!ns.index->touched(s)) continue;
    StripeLocks lock(keyspace_, KeyHash{s} << (64 - kStripeBits));
    older.clear();
    ns.index->for_each(s, [&](Entry* e) {
      if (e->lsn() < before) older.push_back(e);
    });
    for (Entry* e : older) drop(ns, ns.hash(e->key()), e, before);
  }
}

void Replay::apply_to_key(Namespace& ns, KeyHash hash, const RecordView& r, Lsn lsn) {
  if (r.has_origin()) note_time_(r.version, r.wall_ms);
  if (lsn.value() < ns.flushed.load(std::memory_order_relaxed)) return;
  Shard& known = shard(hash);
  // What concerns this key alone is ordered by its stripe's lock: without a tombstone in sight the
  // mutex, which two threads would wait for in turn, is not needed.
  std::unique_lock lock(known.mutex, std::defer_lock);
  if (r.type != RecordType::kPut || known.any.load(std::memory_order_relaxed)) lock.lock();
  if (r.type == RecordType::kExpiry) {
    return keep(known, {r.ns.value(), std::string(r.key)}, {lsn, r.has_expiry() ? r.expire_ms : 0});
  }
  if (r.type == RecordType::kOperation || r.type == RecordType::kOperationPart) {
    Operation o{lsn,
                r.has_origin() ? r.version : lsn,
                r.expire_ms,
                r.size(),
                std::string(r.value),
                static_cast<uint8_t>(r.flags & ~kRecordHasOrigin),
                r.has_expiry()};
    if (r.type == RecordType::kOperationPart) {
      o.place = PartPlace::decode(r.meta);
      if (!o.place) return;  // none of this program's
    }
    return keep(known, {r.ns.value(), std::string(r.key)}, std::move(o));
  }
  Entry* old = ns.index->find(r.key, hash);
  if (old != nullptr && old->lsn() > lsn) return;
  // This very record, as a checkpoint tells of it, and with what changed its expiry since.
  const int64_t expire_ms = r.has_expiry() ? r.expire_ms : 0;
  if (old != nullptr && old->lsn() == lsn && old->expire_ms() != expire_ms) return;
  if (r.type == RecordType::kDelete) return remove(known, ns, hash, r.key, lsn);
  if (lock.owns_lock()) {
    auto removed = known.removed.find(Name(r.ns.value(), std::string(r.key)));
    if (removed != known.removed.end() && removed->second > lsn &&
        !planted(Bug::kTombstoneForgotten)) {
      return;
    }
  }
  if (old != nullptr && old->assign(r, lsn)) return;
  Entry* entry = nullptr;
  const bool is_collection = r.flags >> 4 != 0;
  const bool stays = !r.is_blob() && full() &&
                     (!is_collection || (r.value.size() <= keyspace_.part_bytes() &&
                                         !keyspace_.has_times(r.flags, r.value)));
  if (is_collection && !stays) {
    auto c = keyspace_.make_collection(r.flags, r.value);
    if (c == nullptr) {
      MutexLock damaged(mutex_);
      damage_ = absl::DataLossError("a collection cannot be read");
      return;
    }
    entry = Entry::make(r, lsn, std::move(c));
    entry->collection()->set_version(r.has_origin() ? r.version : lsn);
    keyspace_.begin_charges(*entry->collection(), lsn, r);
  } else if (stays) {
    entry = Entry::make_cold(r, lsn);
  } else {
    entry = Entry::make(r, lsn);
  }
  grew(old, entry);
  insert(ns, hash, old, entry);
}

void Replay::remove(Shard& known, Namespace& ns, KeyHash hash, std::string_view key, Lsn lsn) {
  Entry* old = ns.index->find(key, hash);
  if (old != nullptr && old->lsn() > lsn) return;
  known.any.store(true, std::memory_order_relaxed);
  bury(known, {ns.id.value(), std::string(key)}, lsn);
  if (old == nullptr) return;
  drop(ns, hash, old, lsn);
}

void Replay::drop(Namespace& ns, KeyHash hash, Entry* entry, Lsn lsn) {
  lost_name(entry, lsn);
  entry_bytes_.fetch_sub(entry->bytes(), std::memory_order_relaxed);
  ns.index->remove(entry, hash);
  Entry::destroy(entry);
}

void Replay::insert(Namespace& ns, KeyHash hash, Entry* old, Entry* entry) {
  if (old == nullptr) {
    ns.index->insert(entry, hash);
  } else {
    lost_name(old, entry->lsn());
    ns.index->replace(old, entry, hash);
    Entry::destroy(old);
  }
}

Status Replay::apply(const CheckpointItem& item) {
  const RecordView& r = item.record;
  if (item.kind == ItemKind::kTime) {
    note_time_(item.lsn, r.expire_ms);
    return absl::OkStatus();
  }
  if (item.kind == ItemKind::kNamespace || item.kind == ItemKind::kSwap) {
    RecordView record = r;
    record.type = item.kind == ItemKind::kSwap ? RecordType::kSwap : RecordType::kNamespace;
    apply_to_namespace(record, item.lsn);
    return absl::OkStatus();
  }
  if (item.kind == ItemKind::kName) {
    apply_name(r, item.lsn);
    const auto name = NameRecord::decode(r.value);
    MutexLock lock(mutex_);
    if (name) based_.insert(name->identity);
    return damage_;
  }
  Namespace* ns = namespace_of(r.ns);
  if (item.kind == ItemKind::kStripe) {
    const uint64_t stripe = item.lsn.value() % kStripes;
    StripeLocks lock(keyspace_, KeyHash{stripe} << (64 - kStripeBits));
    ns->index->reserve(stripe, static_cast<uint32_t>(item.value_size));
    return absl::OkStatus();
  }
  const KeyHash hash = ns->hash(r.key);
  StripeLocks lock(keyspace_, hash);
  if (item.kind == ItemKind::kPart) {
    Shard& known = shard(hash);
    std::lock_guard known_lock(known.mutex);
    keep(known, {r.ns.value(), std::string(r.key)},
         {item.lsn, r.version, r.expire_ms, 0, std::string(r.value),
          static_cast<uint8_t>(r.flags & ~(kRecordHasOrigin | Entry::kExpiryApart)),
          r.has_expiry() != ((r.flags & Entry::kExpiryApart) != 0), item.oldest, item.charges});
    return absl::OkStatus();
  }
  Entry* entry = nullptr;
  if (item.kind == ItemKind::kCollection && full() && item.image_size != 0 &&
      !keyspace_.has_times(r.flags, r.value)) {
    RecordView cold = r;  // its newest record is all of it, and can be read back
    if (r.version == item.lsn) cold.flags &= static_cast<uint8_t>(~kRecordHasOrigin);
    entry = Entry::make_cold(cold, item.lsn);
    entry->value_size = item.image_size;
  } else if (item.kind == ItemKind::kCollection) {
    auto made = keyspace_.make_collection(r.flags, r.value);
    if (made == nullptr) return absl::DataLossError("a collection cannot be read");
    entry = Entry::make(r, item.lsn, std::move(made));
    Collection& c = *entry->collection();
    c.set_version(r.version);
    c.share_.set_record(item.image_size > Entry::kValueBytesMax ? 0 : item.image_size,
                        r.has_expiry() != ((r.flags & Entry::kExpiryApart) != 0));
    c.share_.restore(item.oldest, item.charges);
  } else if (item.kind == ItemKind::kCold) {
    RecordView cold = r;
    cold.value = {r.key.data(), item.value_size};  // its size alone
    entry = Entry::make_cold(cold, item.lsn);
  } else if (full() && !r.is_blob()) {
    entry = Entry::make_cold(r, item.lsn);
  } else {
    entry = Entry::make(r, item.lsn);
  }
  grew(nullptr, entry);
  // A key that was deleted and put again while the checkpoint was written may be in it twice.
  if (Entry* other = ns->index->find(entry->key(), hash); other == nullptr) {
    ns->index->insert(entry, hash);
  } else if (other->lsn() < entry->lsn()) {
    lost_name(other, entry->lsn());
    ns->index->replace(other, entry, hash);
    Entry::destroy(other);
  } else {
    Entry::destroy(entry);
  }
  return absl::OkStatus();
}

awaitable<Status> Replay::finish(Lsn first, std::vector<LsnRange> lost) {
  first_ = first;
  lost_ = std::move(lost);
  if (!damage_.ok()) co_return damage_;
  for (Shard& s : shards_) {
    Status done = co_await run_operations(s);
    if (!done.ok()) co_return done;
  }
  Status named = name_collections();
  if (!named.ok()) co_return named;
  for (const uint32_t id : companions()) (void)namespace_of(bucket_of(NamespaceId(id)));
  // Only now is it known which record of a collection with an identity is its newest.
  for (Shard& s : shards_) set_expiries(s, Lsn(UINT64_MAX));
  for (const Space& s : namespaces()) {
    if (!s.space->named.valid() && s.space->is_bucket() && !lossy()) {
      co_return absl::DataLossError(
          cat("namespace ", s.space->id.value(), " has keys but no name"));
    }
  }
  if (const uint32_t needed = databases_needed(); needed > keyspace_.databases()) {
    co_return absl::FailedPreconditionError(
        cat("database ", needed - 1, " is in use, and with --databases=", keyspace_.databases(),
            " there is none: ", needed, " are needed at least"));
  }
  apply_holdings();
  co_return absl::OkStatus();
}

bool Replay::is_known(uint32_t id) const {
  MutexLock lock(mutex_);
  return namespaces_.contains(id);
}

uint32_t Replay::databases_needed() const {
  uint32_t needed = keyspace_.databases();
  for (uint32_t i = needed; i < holdings_.numbers.size(); i++) {
    if (holdings_.numbers[i] != i) needed = i + 1;
  }
  for (auto& [id, ns] : namespaces_) {
    const uint32_t number = database_number(NamespaceId(id));
    if (number != UINT32_MAX && (ns->size() > 0 || ns->named.valid())) {
      needed = std::max(needed, number + 1);
    }
  }
  return needed;
}

const std::string& Replay::name_of(const Namespace& ns) const {
  for (uint32_t i = 0; i < keyspace_.databases(); i++) {
    if (database_id(holdings_.held_by(i)) == ns.id) return keyspace_.databases_[i]->name;
  }
  return ns.name;
}

void Replay::apply_holdings() {
  StripeLocks all(keyspace_);
  all.lock_all();
  for (uint32_t i = 0; i < keyspace_.databases(); i++) {
    const NamespacePtr& ns = keyspace_.databases_[i];
    const NamespacePtr other = keyspace_.namespace_by_id(database_id(holdings_.held_by(i)));
    if (other != ns) keyspace_.exchange(*ns, *other);
  }
}

awaitable<Status> Replay::run_operations(Shard& shard) {
  std::vector<decltype(&*shard.operations.begin())> in_order;  // a table's own differs each time
  for (auto& item : shard.operations) in_order.push_back(&item);
  std::sort(in_order.begin(), in_order.end(), [](auto a, auto b) { return a->first < b->first; });
  for (auto* item : in_order) {
    Status done = co_await run_operations(shard, item->first, item->second);
    if (!done.ok()) co_return done;
  }
  shard.operations.clear();
  co_return absl::OkStatus();
}

// Those of one key, over what its newest put, or a checkpoint, made of it.
awaitable<Status> Replay::run_operations(const Shard& shard, const Name& name,
                                         std::vector<Operation>& operations) {
  const std::string& key = name.second;
  Namespace& ns = *namespace_of(NamespaceId(name.first));
  const auto alive_since = since(ns);
  if (!alive_since) co_return absl::OkStatus();
  const KeyHash hash = ns.hash(key);
  Entry* e = ns.index->find(key, hash);
  // What a checkpoint tells of in parts is all of it, with the expiry that it had then: what comes
  // before, which is replayed too with `repair`, would bring back what it had earlier. A repair
  // folds nothing; elsewhere some of the parts may be in the entry already.
  Lsn told;
  const auto identity = ns.id == kIdentities ? Identity::of_key(key) : std::nullopt;
  const bool whole = !identity || based_.contains(*identity);  // else its name came no more
  for (const Operation& o : operations) {
    if (!keyspace_.options_.repair || !whole) break;
    if (o.oldest.valid()) told = told.valid() ? std::min(told, o.lsn) : o.lsn;
  }
  if (e != nullptr && e->lsn() <= told) {
    ns.index->remove(e, hash);
    Entry::destroy(e);
    e = nullptr;
  }
  const Lsn floor = floor_of(shard, ns, name, *alive_since, e);
  std::erase_if(operations,
                [&](auto& o) { return o.lsn <= floor || (!o.oldest.valid() && o.lsn <= told); });
  if (operations.empty()) co_return absl::OkStatus();
  if (e != nullptr && e->is_cold()) {  // they change what a checkpoint left on disk
    auto record = co_await faults_.read_record(e->lsn(), e->record_bytes());
    auto hot = faults_.warm(e, ns.id, record);
    if (!hot.ok()) {
      const Status why = record.status.ok() ? hot.status() : record.status;
      if (!absl::IsDataLoss(why)) co_return why;
      if (!keyspace_.options_.repair && !in_ranges(lost_, e->lsn())) {
        co_return absl::DataLossError(
            cat(why.message(),
                ", on which later changes of it rest; nothing was changed; "
                "--repair goes on without this key"));
      }
      notes_.push_back(cat("the value of ", name_of(ns), "/", key, " is lost: ", why.message()));
      given_up_.emplace_back(ns.id, key);
      ns.index->remove(e, hash);
      Entry::destroy(e);
      co_return absl::OkStatus();
    }
    ns.index->replace(e, *hot, hash);
    Entry::destroy(e);
    e = *hot;
  }
  co_return run_operations(ns, key, e, operations);
}

Status Replay::run_operations(Namespace& ns, std::string_view key, Entry* entry,
                              std::vector<Operation>& operations) {
  if (!planted(Bug::kOperationsUnsorted)) {
    // A part from a checkpoint knows what its newest record did, and what was changed since.
    std::sort(operations.begin(), operations.end(), [](auto& a, auto& b) {
      return a.lsn != b.lsn ? a.lsn < b.lsn : a.oldest < b.oldest;
    });
  }
  const KeyHash hash = ns.hash(key);
  const auto damage = [&] {
    return absl::DataLossError(cat("an operation on a collection in ", ns.name, " cannot be read"));
  };
  PartJoiner parts;
  for (Operation& o : operations) {
    const bool ends = !o.place || parts.add(*o.place, o.operation);
    if (o.place) o.operation = ends ? parts.take() : std::string();
    RecordView r{RecordType::kOperation, o.flags, ns.id, o.expire_ms, key, {}, o.operation};
    if (entry == nullptr) {
      auto c = keyspace_.make_collection(o.flags, "");
      if (c == nullptr) return damage();
      entry = Entry::make(r, o.lsn, std::move(c));
      entry->collection()->share_.begin(o.oldest.valid() ? o.oldest : o.lsn);
      ns.index->insert(entry, hash);
    }
    Collection* c = entry->collection();
    const bool other = c == nullptr || entry->type() != static_cast<ValueType>(o.flags >> 4);
    if (other || !c->apply(o.operation)) {
      if (!lossy()) return damage();
      // What made it this type was lost, and what it holds is known in part alone.
      if (ns.id != kIdentities)
        notes_.push_back(cat("the value of ", name_of(ns), "/", key, " is lost"));
      ns.index->remove(entry, hash);
      Entry::destroy(entry);
      return absl::OkStatus();
    }
    if (o.oldest.valid()) {  // a part from a checkpoint, with what is charged at that moment
      c->share_.restore(o.oldest, o.charges);
    } else {
      keyspace_.charge(*c, o.lsn, o.record_bytes, false);
    }
    c->share_.set_record(0, o.expires);
    c->set_version(o.version);
    entry->set_lsn(std::max(entry->lsn(), o.lsn));
    if (entry->expire_ms() != (r.has_expiry() ? r.expire_ms : 0)) {
      Entry* timed = Entry::make(r, o.lsn, nullptr);
      std::memcpy(const_cast<char*>(timed->value().data()), &c, kPointerBytes);
      ns.index->replace(entry, timed, hash);
      entry->detach();
      Entry::destroy(entry);
      entry = timed;
    }
  }
  return absl::OkStatus();
}

// What a namespace held before this LSN is gone; nothing if all of it is. A drop or a flush
// concerns what was there before it, and not a namespace that was made later.
std::vector<uint32_t> Replay::companions() const {
  MutexLock lock(mutex_);
  std::vector<uint32_t> ids;
  for (auto& [id, ns] : namespaces_) {
    if (is_versions(NamespaceId(id))) ids.push_back(id);
  }
  return ids;
}

std::optional<Lsn> Replay::since(const Namespace& ns) const {
  if (is_versions(ns.id)) {  // what drops the bucket drops them; it is empty of them then
    const auto bucket = namespaces_.find(bucket_of(ns.id).value());
    if (bucket == namespaces_.end() || !since(*bucket->second)) return std::nullopt;
  }
  auto newest = [&](const absl::flat_hash_map<uint32_t, Lsn>& map) {
    auto it = map.find(ns.stored().value());
    return it == map.end() ? Lsn() : it->second;
  };
  const Lsn dropped = newest(dropped_), flushed = newest(flushed_);
  if (dropped.valid() && ns.named <= dropped && !planted(Bug::kDropForgotten)) return std::nullopt;
  return planted(Bug::kFlushForgotten) ? dropped : std::max(dropped, flushed);
}

std::vector<Replay::Space> Replay::namespaces() const {
  std::vector<Space> there;
  for (auto& [id, ns] : namespaces_) {
    if (database_number(ns->id) != UINT32_MAX && database_number(ns->id) >= keyspace_.databases()) {
      continue;  // it is empty
    }
    if (const auto alive = since(*ns)) there.push_back({ns, *alive});
  }
  return there;
}

uint32_t Replay::next_namespace() const {
  uint32_t next = 0;
  for (auto& [id, ns] : namespaces_) {
    if (!is_database(NamespaceId(id))) next = std::max(next, (id & ~kVersionsBit) + 1);
  }
  return next;
}

}  // namespace cairn
