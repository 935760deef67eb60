// Which key a collection with an identity has: see core/index/identities.h.
#include <algorithm>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"
#include "core/store/replay.h"

namespace cairn {

// What a key holds while it is not known whether all of its collection has come. The operations are
// those of a key like any other, in the namespace of identities.
class Replay::Reference final : public Collection {
 public:
  Reference(const NameRecord& name, const RecordView& r)
      : id(name.identity),
        from(name.from),
        to(name.to),
        record_bytes(r.size()),
        expires(r.has_expiry() != ((r.flags & Entry::kExpiryApart) != 0)) {}
  // Under a key's own name there are none behind the one that names its collection.
  bool apply(std::string_view) override { return false; }
  void inverse(std::string_view, std::vector<std::string>&) const override {}
  bool empty() const override { return false; }
  uint64_t memory_bytes() const override { return sizeof(*this); }
  uint64_t image_bytes() const override { return 0; }
  uint64_t save(uint64_t, uint64_t, std::string&) const override { return 0; }
  bool free_some() override { return false; }

  const uint64_t id;
  const Lsn from, to;
  const uint64_t record_bytes;
  const bool expires;  // as the record says
};

bool Replay::is_reference(const Entry* e) {
  return e != nullptr && dynamic_cast<const Reference*>(e->collection()) != nullptr;
}

void Replay::apply_name(const RecordView& r, Lsn lsn) {
  const auto name = NameRecord::decode(r.value);
  if (!name) {
    MutexLock damaged(mutex_);
    damage_ = absl::DataLossError("the name of a collection cannot be read");
    return;
  }
  Namespace& ns = *namespace_of(r.ns);
  const KeyHash hash = ns.hash(r.key);
  if (name->old_ns.valid() && !planted(Bug::kOldNameKept)) {
    Namespace& old = *namespace_of(name->old_ns);
    const KeyHash old_hash = old.hash(name->old_key);
    StripeLocks lock(keyspace_, old_hash);
    Shard& known = shard(old_hash);
    std::lock_guard known_lock(known.mutex);
    remove(known, old, old_hash, name->old_key, lsn);
  }
  StripeLocks lock(keyspace_, hash);
  Shard& known = shard(hash);
  std::lock_guard known_lock(known.mutex);
  if (const Lsn flushed(ns.flushed.load()); lsn < flushed) {
    return came_late(name->identity, flushed);
  }
  Entry* old = ns.index->find(r.key, hash);
  if (old != nullptr && old->lsn() > lsn) return came_late(name->identity, old->lsn());
  // This very record, as a checkpoint tells of it, and with what changed its expiry since.
  const int64_t expire_ms = r.has_expiry() ? r.expire_ms : 0;
  if (old != nullptr && old->lsn() == lsn && old->expire_ms() != expire_ms) return;
  const Name key(r.ns.value(), std::string(r.key));
  auto removed = known.removed.find(key);
  if (removed != known.removed.end() && removed->second > lsn) {
    return came_late(name->identity, removed->second);
  }
  Entry* entry = Entry::make(r, lsn, std::make_unique<Reference>(*name, r));
  entry->collection()->set_version(r.has_origin() ? r.version : lsn);
  grew(old, entry);
  insert(ns, hash, old, entry);
  if (known.named.insert(key).second) {
    kept_bytes_.fetch_add(held_bytes(key), std::memory_order_relaxed);
  }
  MutexLock names(mutex_);
  Named& named = names_[name->identity];
  named.there++;
  if (named.at > lsn) return;
  named.ns = r.ns;
  named.at = lsn;
}

void Replay::came_late(uint64_t identity, Lsn newer) {
  MutexLock lock(mutex_);
  Named& named = names_[identity];
  if (named.there == 0) named.gone = std::max(named.gone, newer);
}

void Replay::lost_name(const Entry* entry, Lsn lsn) {
  if (!is_reference(entry)) return;
  MutexLock lock(mutex_);
  Named& named = names_[static_cast<const Reference&>(*entry->collection()).id];
  named.there--;
  named.gone = std::max(named.gone, lsn);
}

// A name that comes later is not newer than what took the place of the last one, if that was before
// `before`: all of those have come. Only a repair, which went over some, can meet one.
void Replay::drop_nameless(Lsn before) {
  std::vector<std::pair<uint64_t, Lsn>> nameless;
  {
    MutexLock lock(mutex_);
    for (auto& [id, named] : names_) {
      Lsn gone = named.gone;
      if (named.there > 0) {
        const auto alive_since = since(*namespaces_.find(named.ns.value())->second);
        gone = alive_since ? *alive_since : dropped_.find(named.ns.value())->second;
        if (gone <= named.at) continue;
      }
      if (gone.valid() && gone < before) nameless.emplace_back(id, gone);
    }
    for (auto& [id, gone] : nameless) names_.erase(id);
  }
  std::sort(nameless.begin(), nameless.end());  // a table's own order differs each time
  Namespace& ns = *namespace_of(kIdentities);
  for (auto& [id, gone] : nameless) {
    const std::string_view key = Identity::key_of(id);
    const KeyHash hash = ns.hash(key);
    StripeLocks lock(keyspace_, hash);
    Shard& known = shard(hash);
    std::lock_guard known_lock(known.mutex);
    remove(known, ns, hash, key, gone);
  }
}

// Those that have another value by now, or none.
void Replay::drop_names(Shard& shard) {
  std::vector<Name> names;
  {
    std::lock_guard lock(shard.mutex);
    names.assign(shard.named.begin(), shard.named.end());
  }
  for (const Name& name : names) {
    const Namespace& ns = *namespace_of(NamespaceId(name.first));
    const KeyHash hash = ns.hash(name.second);
    StripeLocks lock(keyspace_, hash);
    std::lock_guard known_lock(shard.mutex);
    if (is_reference(ns.index->find(name.second, hash))) continue;
    kept_bytes_.fetch_sub(held_bytes(name), std::memory_order_relaxed);
    shard.named.erase(name);
  }
}

void Replay::give_up(Namespace& ns, KeyHash hash, Entry* entry) {
  notes_.push_back(cat("the value of ", name_of(ns), "/", entry->key(), " is lost"));
  given_up_.emplace_back(ns.id, entry->key());
  ns.index->remove(entry, hash);
  Entry::destroy(entry);
}

// All operations have been run. Where a repair left two keys the same collection, the newer name
// counts.
Status Replay::name_collections() {
  std::vector<std::pair<Lsn, Name>> named;
  for (Shard& s : shards_) {
    for (const Name& name : s.named) {
      Namespace& ns = *namespace_of(NamespaceId(name.first));
      const Entry* e = ns.index->find(name.second, ns.hash(name.second));
      if (is_reference(e)) named.emplace_back(e->lsn(), name);
    }
    s.named.clear();
  }
  std::sort(named.rbegin(), named.rend());
  for (auto& [lsn, name] : named) {
    Namespace& ns = *namespace_of(NamespaceId(name.first));
    const auto alive_since = since(ns);
    if (!alive_since) continue;
    Status done =
        name_collection(ns, ns.index->find(name.second, ns.hash(name.second)), *alive_since);
    if (!done.ok()) return done;
  }
  MutexLock lock(mutex_);
  namespaces_.erase(kIdentities.value());  // what has no name is none
  return absl::OkStatus();
}

Status Replay::name_collection(Namespace& ns, Entry* entry, Lsn since) {
  const auto& reference = static_cast<const Reference&>(*entry->collection());
  const KeyHash hash = ns.hash(entry->key());
  if (entry->lsn() < since) {
    ns.index->remove(entry, hash);
    Entry::destroy(entry);
    return absl::OkStatus();
  }
  Namespace& identities = *namespace_of(kIdentities);
  const std::string_view id = Identity::key_of(reference.id);
  const KeyHash id_hash = identities.hash(id);
  Entry* all = identities.index->find(id, id_hash);
  const bool there = all != nullptr && all->type() == entry->type();
  if (!there && !lossy()) {
    return absl::DataLossError(
        cat("the collection ", name_of(ns), "/", entry->key(), " has a name and no records"));
  }
  const bool in_part =
      !based_.contains(reference.id) && std::any_of(lost_.begin(), lost_.end(), [&](auto& range) {
        return range.from <= reference.to.value() && reference.from.value() < range.to;
      });
  if (!there || in_part) {
    give_up(ns, hash, entry);
    return absl::OkStatus();
  }
  Collection* c = all->detach();
  const Entry* newest = all->lsn() > entry->lsn() ? all : entry;
  const Lsn version = newest == all ? c->version_.load() : reference.version_.load();
  RecordView r{RecordType::kPut, newest->flags, ns.id, newest->expire_ms(), entry->key(), {}, {}};
  c->set_version(version);
  c->share_.set_record(0, newest == entry ? reference.expires : c->share_.expires());
  auto identity =
      std::make_unique<Identity>(keyspace_.identities_, reference.id, ns.id, entry->key());
  identity->from = reference.from;
  identity->to = reference.to;
  c->share_.set_identity(std::move(identity));
  keyspace_.charge_once(*c, entry->lsn(), reference.record_bytes);
  Entry* named = Entry::make(r, newest->lsn(), std::unique_ptr<Collection>(c));
  identities.index->remove(all, id_hash);
  Entry::destroy(all);
  insert(ns, hash, entry, named);
  return absl::OkStatus();
}

}  // namespace cairn
