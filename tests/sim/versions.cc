// What the clients of the simulation do to buckets that keep versions, and the law of those; see
// life.h. Such buckets are theirs alone.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/extents/blob_writer.h"
#include "tests/sim/life.h"

namespace cairn::sim {

namespace {
constexpr uint64_t kBuckets = 2, kKeys = 6;
constexpr int kTries = 4;
constexpr std::string_view kName = "kept";

const Kept* current_of(const Versions& versions, const Key& key) {
  const auto it = versions.find(key);
  return it == versions.end() || it->second.empty() ? nullptr : &it->second.front();
}
}  // namespace

bool World::keeps_versions(const Namespace& ns) { return ns.name.starts_with(kName); }

State World::now() const {
  State now;
  now.versions = state_.versions;
  now.versioning = state_.versioning;
  now.object_lock = state_.object_lock;
  for (auto& [lsn, change] : changes_) {
    if (change.kind >= Change::kVersioning || change.kind == Change::kCreate ||
        change.kind == Change::kFlush || change.kind == Change::kDrop) {
      now.apply(change);
    }
  }
  return now;
}

NamespacePtr World::some_kept_bucket() {
  return store_->find_namespace(cat_key(kName.data(), pick(kBuckets)));
}

awaitable<bool> World::use_versions(Lsn& lsn) {
  const NamespacePtr ns = some_kept_bucket();
  if (ns == nullptr) co_return make_kept_bucket(lsn);
  const std::string key = cat("name", pick(kKeys), pick(3) == 0 ? std::string_view("\0x", 2) : "");
  const uint64_t what = pick(40);
  if (what == 0) co_return drop_kept_bucket(*ns, lsn);
  if (what < 4) co_return set_versioning(*ns, lsn);
  if (what == 4) co_return set_object_lock(*ns, lsn);
  if (what < 10) co_return co_await put_kept_blob(ns, key, lsn);
  for (int i = 0; i < kTries; i++) {
    Status refused_for;
    const bool on = what >= 36 ? lock_version(*ns, key, lsn, refused_for)
                               : change_kept(*ns, key, what, lsn, refused_for);
    if (!is_value_on_disk(refused_for)) co_return on;
    seen.versions_fetched++;
    const bool fetched = co_await fetch_kept(ns, refused_for);
    if (!fetched) co_return false;
  }
  co_return true;
}

// What a change has to write again is on disk: it comes back. False: the client is done.
awaitable<bool> World::fetch_kept(NamespacePtr ns, Status why) {
  auto [id, name] = where_on_disk(why);
  NamespacePtr in = id == ns->id ? ns : ns->versions()->shared_from_this();
  Status fetched = co_await store_->faults().fetch(in, std::move(name));
  if (!fetched.ok() && store_->log().status().ok() && !unread(fetched)) {
    wrong(cat("a version: ", fetched.message()));
  }
  co_return fetched.ok();
}

bool World::make_kept_bucket(Lsn& lsn) {
  std::string name;
  for (uint64_t i = 0; i < kBuckets; i++) {
    name = cat_key(kName.data(), i);
    if (store_->find_namespace(name) == nullptr) break;
  }
  const bool locked = pick(4) == 0;
  Properties set;
  if (locked) set.object_lock.emplace();
  auto made = store_->create_bucket(name, set);
  if (!made.ok()) return absl::IsAlreadyExists(made.status()) || refused(made.status());
  const uint32_t id = store_->find_namespace(name)->id.value();
  if (!ids_.insert(id).second) wrong(cat("the id ", id, " is that of another bucket too"));
  Change change{Change::kCreate, {id, name}, {}};
  if (locked) change.value.bytes = "locked";
  changes_[lsn = *made] = std::move(change);
  return true;
}

bool World::drop_kept_bucket(Namespace& ns, Lsn& lsn) {
  const uint32_t id = ns.id.value();
  if (pick(3) == 0) {
    StripeLocks none(*store_);
    Transaction t(*store_, &none, Shape::kOne);
    const Status flushed = t.flush(ns);
    if (absl::IsPermissionDenied(flushed) != now().object_lock.contains(id)) {
      wrong(cat("bucket ", ns.name, " is flushed, or is not: ", flushed.message()));
    }
    if (absl::IsPermissionDenied(flushed)) return true;
    return take(t.commit(), {Change::kFlush, {id, ""}, {}}, lsn);
  }
  const State before = now();
  const auto from = before.versions.lower_bound({id, ""});
  const bool empty = from == before.versions.end() || from->first.first != id;
  heard_.clear();
  auto dropped = store_->drop_bucket(ns.name);
  if (absl::IsFailedPrecondition(dropped.status())) {
    if (empty) wrong("an empty bucket is not dropped");
    return true;
  }
  if (!dropped.ok()) return refused(dropped.status());
  if (!empty) wrong("a bucket was dropped with versions in it");
  heard_.clear();
  seen.buckets_dropped++;
  return take(dropped, {Change::kDrop, {id, ""}, {}}, lsn);
}

bool World::set_versioning(Namespace& ns, Lsn& lsn) {
  const bool enabled = pick(3) != 0;
  auto set = store_->set_versioning(ns, enabled);
  const bool fixed = !enabled && now().object_lock.contains(ns.id.value());
  if (absl::IsFailedPrecondition(set.status()) && fixed) return true;
  if (set.ok() && fixed) wrong("a bucket with object lock was suspended");
  if (!set.ok()) return refused(set.status());
  Change change{Change::kVersioning, {ns.id.value(), ""}, {}};
  change.value.bytes = enabled ? "enabled" : "suspended";
  changes_[lsn = *set] = std::move(change);
  seen.versionings++;
  return true;
}

bool World::set_object_lock(Namespace& ns, Lsn& lsn) {
  DefaultRetention by_default;
  if (pick(4) == 0) by_default = {Retention::kGovernance, false, 1};
  const auto versioning = now().versioning;
  const auto is = versioning.find(ns.id.value());
  const bool may = is != versioning.end() && is->second == "enabled";
  auto set = store_->set_object_lock(ns, by_default);
  if (absl::IsFailedPrecondition(set.status()) && !may) return true;
  if (set.ok() && !may) wrong("a bucket without versions has object lock");
  if (!set.ok()) return refused(set.status());
  changes_[lsn = *set] = {Change::kObjectLock, {ns.id.value(), ""}, {}};
  return true;
}

// Few that stay for long: a full volume has to come to have room again.
VersionLock World::some_lock() {
  VersionLock lock;
  if (pick(12) == 0) lock.hold = pick(2) == 0 ? LegalHold::kOn : LegalHold::kOff;
  if (const uint64_t of = pick(8); of < 6) {
    lock.retention = of == 0 ? Retention::kCompliance : Retention::kGovernance;
    lock.until_ms = store_->lock_now_ms() + static_cast<int64_t>(pick(20'000));
  }
  return lock;
}

// Another lock of one version, as far as the one that it has allows.
bool World::lock_version(Namespace& ns, const std::string& key, Lsn& lsn, Status& why) {
  const State before = now();
  const auto known = before.versions.find({ns.id.value(), key});
  if (known == before.versions.end() || !before.object_lock.contains(ns.id.value())) return true;
  const Kept& kept = known->second[pick(known->second.size())];
  if (kept.version.marker) return true;
  const VersionLock next = some_lock();
  const bool bypass = pick(3) == 0, may = kept.lock.allows(next, store_->lock_now_ms(), bypass);
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(*store_, hash);
  Transaction t(*store_, &lock, Shape::kOne);
  const auto found = t.find_version(ns, key, hash, kept.version);
  if (found.entry == nullptr) wrong(cat("a version of ", key, " is not there to be locked"));
  why = t.change_lock(found, "", next, bypass);
  if (absl::IsPermissionDenied(why) == may) {
    wrong(cat("the lock of a version of ", key, " is changed, or is not: ", why.message()));
  }
  seen.locks_held += !may;
  if (!may) return true;
  if (!why.ok()) return is_value_on_disk(why) || refused(why);
  Change change{Change::kLockVersion, {ns.id.value(), key}, {}};
  change.kept.version = kept.version;
  change.kept.lock = next;
  seen.locks++;
  return take(t.commit(), change, lsn);
}

awaitable<bool> World::put_kept_blob(NamespacePtr ns, std::string key, Lsn& lsn) {
  const std::string bytes = content((9 << 10) + pick(60 << 10));
  BlobWriter writer(store_->extents(), bytes.size());
  Status wrote = co_await writer.append(as_bytes(bytes));
  if (!wrote.ok()) co_return refused(wrote);
  auto blob = co_await writer.finish();
  if (!blob.ok()) co_return refused(blob.status());
  const std::string encoded = blob->encode();
  RecordView r;
  r.flags = kRecordIsBlob;
  r.ns = ns->id;
  r.key = key;
  r.value = encoded;
  Status put;
  for (int i = 0; i < kTries; i++) {
    {
      const KeyHash hash = ns->hash(key);
      StripeLocks lock(*store_, hash);
      Transaction t(*store_, &lock, Shape::kOne);
      put = t.put(*ns, hash, r);
      if (put.ok()) {
        Kept kept{t.made().value_or(Version{0, true, false}), bytes, 0};
        kept.lock = store_->lock_of(*ns, ns->index->find(key, hash));
        co_return note_version(*ns, key, std::move(kept), t.commit(), lsn);
      }
    }
    if (!is_value_on_disk(put)) break;
    const bool fetched = co_await fetch_kept(ns, put);
    if (!fetched) break;
  }
  store_->extents().unref(*blob);
  co_return is_value_on_disk(put) || refused(put);
}

bool World::note_version(const Namespace& ns, const std::string& key, Kept kept,
                         const StatusOr<Lsn>& done, Lsn& lsn) {
  Change change{Change::kAddVersion, {ns.id.value(), key}, {}};
  change.value.bytes = kept.bytes;
  seen.versions++;
  seen.locks += !kept.lock.empty();
  change.kept = std::move(kept);
  return take(done, change, lsn);
}

// One transaction, of one or several changes of the key. False: the client is done.
bool World::change_kept(Namespace& ns, const std::string& key, uint64_t what, Lsn& lsn,
                        Status& why) {
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(*store_, hash);
  const State before = now();
  const auto known = before.versions.find({ns.id.value(), key});
  if (what < 18 && known != before.versions.end()) {  // a version, or nothing that is there
    const auto& all = known->second;
    Version gone = all[pick(all.size())].version;
    if (pick(8) == 0) gone.number ^= 1, gone.null = false;
    const auto of =
        std::find_if(all.begin(), all.end(), [&](auto& k) { return is_same(k.version, gone); });
    const bool there = of != all.end(), bypass = pick(2) == 0;
    const bool locked = there && of->lock.forbids_removal(store_->lock_now_ms(), bypass);
    Transaction t(*store_, &lock, Shape::kOne);
    auto removed = t.remove_version(ns, hash, key, gone, bypass);
    why = removed.status();
    if (absl::IsPermissionDenied(why) != locked) {
      wrong(cat("a version of ", key, " is locked, or is not: ", why.message()));
    }
    seen.locks_held += locked;
    if (locked) return true;
    if (!removed.ok()) return is_value_on_disk(why) || refused(why);
    if (*removed != there) wrong(cat("a version of ", key, " is there, or is not"));
    if (!there) return true;
    Change change{Change::kTakeVersion, {ns.id.value(), key}, {}};
    change.kept.version = gone;
    seen.versions_taken++;
    return take(t.commit(), change, lsn);
  }
  const bool several = pick(3) == 0;
  Transaction t(*store_, &lock, several ? Shape::kSeveral : Shape::kOne);
  if (pick(3) == 0) t.lock_versions(some_lock());
  std::optional<Kept> kept;
  const bool versioned = ns.versions() != nullptr;
  bool removed_plainly = false;
  for (uint64_t left = several ? 1 + pick(3) : 1; left > 0 && why.ok(); left--) {
    Entry* e = t.find(ns, key, hash);
    const uint64_t how = pick(8);
    if (how < 2 && (e != nullptr || versioned)) {
      why = e != nullptr && pick(2) == 0 ? t.remove(ns, hash, e)
            : versioned                  ? t.mark(ns, hash, key)
                                         : t.remove(ns, hash, e);
      kept = Kept{{0, true, true}, "", 0};
      removed_plainly = !versioned;
    } else if (how == 2 && e != nullptr && !several && !e->is_cold()) {
      const std::string bytes = current_of(before.versions, {ns.id.value(), key})->bytes;
      const int64_t at = pick(2) == 0 ? 0 : store_->now_ms() + static_cast<int64_t>(pick(3000));
      why = t.expire(ns, hash, e, at);
      kept = Kept{{0, true, false}, bytes, at};
      if (!versioned) {
        if (!why.ok()) break;
        Change change{Change::kAddVersion, {ns.id.value(), key}, {}};
        change.kept = *kept;
        change.value.bytes = bytes;
        return take(t.commit(), change, lsn);
      }
    } else {
      kept = Kept{{0, true, false}, content(pick(5000)), 0};
      RecordView r;
      r.ns = ns.id;
      r.key = key;
      r.value = kept->bytes;
      if (pick(5) == 0) {
        r.flags = kRecordHasExpiry;
        kept->expire_ms = r.expire_ms = store_->now_ms() + static_cast<int64_t>(pick(3000));
      }
      why = t.put(ns, hash, r);
      removed_plainly = false;
    }
    if (t.made()) kept->version = *t.made();
  }
  if (!why.ok()) return is_value_on_disk(why) || refused(why);
  if (!kept->version.marker) kept->lock = store_->lock_of(ns, ns.index->find(key, hash));
  if (several && pick(5) == 0) {
    seen.given_up++;
    return true;
  }
  if (!removed_plainly) return note_version(ns, key, std::move(*kept), t.commit(), lsn);
  Change change{Change::kTakeVersion, {ns.id.value(), key}, {}};
  change.kept.version = {0, true, false};
  return take(t.commit(), change, lsn);
}

// A key of such a bucket expired.
void World::note_kept_expiry(const cairn::Change& c, const Key& key) {
  const Namespace& ns = *find_space(key.first);
  Change change{Change::kTakeVersion, key, {}, false, true};
  change.kept.version = {0, true, false};
  if (ns.versions() != nullptr) {
    const Entry* e = Keyspace::newest_version(*ns.versions(), key.second);
    if (e == nullptr || !store_->version_of(*ns.versions(), e).marker) {
      wrong(cat("key ", key.second, " expired without a marker"));
    }
    change.kind = Change::kAddVersion;
    change.kept = {store_->version_of(*ns.versions(), e), "", 0};
  }
  changes_[c.lsn] = std::move(change);
}

// Law 15: each key has the versions that were made of it and not removed, in the order in which
// they were made, and locked as they were; and the newest is current. None is removed that is
// locked (change_kept).
awaitable<bool> World::check_versions() {
  struct Wanted {
    NamespacePtr ns;
    std::string name, key, bytes;
  };
  std::vector<Wanted> wanted;
  const State now = this->now();
  Lsn since;
  if (!changes_.empty()) since = changes_.rbegin()->first;
  Versions found;
  for (auto& ns : store_->buckets()) {
    if (!keeps_versions(*ns)) continue;
    const auto add = [&](Namespace& in, const Entry* e, std::string key) {
      Kept kept{store_->version_of(in, e), "", e->expire_ms(), &in == ns.get(),
                store_->lock_of(in, e)};
      const bool marker = kept.version.marker;
      auto& all = found[{ns->id.value(), key}];
      if (!marker) wanted.push_back({in.shared_from_this(), std::string(e->key()), key, ""});
      all.push_back(std::move(kept));
    };
    const Versioning versioning = ns->properties()->versioning;
    const auto set = now.versioning.find(ns->id.value());
    const std::string is = versioning == Versioning::kOff       ? ""
                           : versioning == Versioning::kEnabled ? "enabled"
                                                                : "suspended";
    if (is != (set == now.versioning.end() ? "" : set->second) ||
        (versioning != Versioning::kOff) != (ns->versions() != nullptr) ||
        (versioning == Versioning::kSuspended) != ns->suspended()) {
      wrong(cat("bucket ", ns->name, " keeps versions, or keeps none: ", is));
    }
    if (ns->properties()->object_lock.has_value() != now.object_lock.contains(ns->id.value())) {
      wrong(cat("bucket ", ns->name, " has object lock, or has none"));
    }
    for (size_t s = 0; s < kStripes; s++) {
      StripeLocks lock(*store_, KeyHash{s} << (64 - kStripeBits));
      ns->index->for_each(s, [&](Entry* e) { add(*ns, e, std::string(e->key())); });
    }
    if (ns->versions() == nullptr) continue;
    Namespace& versions = *ns->versions();
    size_t in_order = 0;
    {
      MutexLock lock(versions.order_mutex);
      for (const Entry* e : versions.order) add(versions, e, *key_of_version(e->key()));
      in_order = versions.order.size();
    }
    if (in_order != versions.size()) wrong("versions are not in order");
  }
  for (auto& [key, all] : found) {
    std::sort(all.begin(), all.end(),
              [](auto& a, auto& b) { return a.version.number > b.version.number; });
    for (auto& kept : all) {
      if (kept.current != (&kept == &all.front() && !kept.version.marker)) {
        wrong(cat("key ", key.second, ": the newest version is not current, or another one is"));
      }
    }
  }
  const auto same = [](const Kept& a, const Kept& b) {
    return is_same(a.version, b.version) && a.version.marker == b.version.marker &&
           a.expire_ms == b.expire_ms && a.lock == b.lock;
  };
  for (auto& [key, all] : now.versions) {
    const auto got = found.find(key);
    const size_t there = got == found.end() ? 0 : got->second.size();
    if (there != all.size() || !std::equal(all.begin(), all.end(), got->second.begin(), same)) {
      wrong(cat("key ", key.second, " has ", there, " versions, or others; model ", all.size()));
    }
  }
  if (found.size() != now.versions.size()) wrong("there are versions of other keys");
  for (auto& w : wanted) {
    unread_ = false;
    const auto got = co_await read(w.ns, w.name);
    if (!store_->log().status().ok()) co_return false;
    const Key key{is_versions(w.ns->id) ? bucket_of(w.ns->id).value() : w.ns->id.value(), w.key};
    if (unread_ || changed_since(key, since)) continue;
    const auto& all = now.versions.at(key);
    if (!got.has_value()) {
      if (all.front().expire_ms != 0 && all.front().expire_ms <= store_->now_ms()) continue;
      wrong(cat("a version of ", w.key, " cannot be read"));
    }
    const auto tag = version_in(got->meta);
    const auto of = std::find_if(all.begin(), all.end(), [&](auto& k) {
      if (!tag) return k.version.null;
      return tag->version.null ? k.version.null
                               : !k.version.null && k.version.number == tag->version.number;
    });
    if (of == all.end() || of->bytes != got->bytes)
      wrong(cat("a version of ", w.key, " is another"));
    seen.versions_read++;
  }
  co_return true;
}

// For room on a full volume: the oldest go first, so that none becomes current again; nor does one
// that is locked and stays.
bool World::take_versions(const Key& key) {
  const NamespacePtr ns = find_space(key.first);
  if (ns == nullptr) return true;
  const State before = now();
  const auto known = before.versions.find(key);
  if (known == before.versions.end()) return true;
  const KeyHash hash = ns->hash(key.second);
  bool stays = false;
  for (auto it = known->second.rbegin(); it != known->second.rend(); ++it) {
    if (stays && std::next(it) == known->second.rend()) break;
    StripeLocks lock(*store_, hash);
    Transaction t(*store_, &lock, Shape::kOne);
    auto removed = t.remove_version(*ns, hash, key.second, it->version, true);
    if (absl::IsPermissionDenied(removed.status()) &&
        it->lock.forbids_removal(store_->lock_now_ms(), true)) {
      stays = true;
      continue;
    }
    if (!removed.ok()) return false;
    if (!*removed) continue;
    Change change{Change::kTakeVersion, key, {}};
    change.kept.version = it->version;
    Lsn lsn;
    (void)take(t.commit(), change, lsn);
  }
  return true;
}

}  // namespace cairn::sim
