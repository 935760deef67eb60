// How a transaction makes versions, and takes them away.
#include <algorithm>
#include <cassert>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/store/transaction.h"

namespace cairn {

// ---- what there is ----

Version Keyspace::version_of(const Namespace& ns, const Entry* entry) const {
  const NamespaceId bucket = is_versions(ns.id) ? bucket_of(ns.id) : ns.id;
  const auto tag = version_in(entry->meta());
  if (tag && tag->bucket == bucket) return tag->version;
  const int64_t written_ms = log_.time_of(entry->version());
  return {static_cast<uint64_t>(std::max<int64_t>(written_ms, 0)) * 1000, true, false};
}

VersionLock Keyspace::lock_of(const Namespace& ns, const Entry* entry) const {
  const NamespaceId bucket = is_versions(ns.id) ? bucket_of(ns.id) : ns.id;
  const auto tag = version_in(entry->meta());
  return tag && tag->bucket == bucket ? tag->lock : VersionLock();
}

Entry* Keyspace::newest_version(Namespace& versions, std::string_view key, uint64_t below) {
  const std::string prefix = version_prefix(key);
  const std::string from = version_key(key, {below - 1, false, false});
  const auto number = [](const Entry* e) {
    const auto tag = version_in(e->meta());
    return tag ? tag->version.number : 0;
  };
  MutexLock lock(versions.order_mutex);
  Entry* newest = nullptr;
  auto it = versions.order.lower_bound(std::string_view(prefix));
  if (it != versions.order.end() && (*it)->key() == prefix && number(*it) < below) newest = *it;
  it = versions.order.lower_bound(std::string_view(from));
  if (it == versions.order.end() || !(*it)->key().starts_with(prefix)) return newest;
  return newest != nullptr && number(newest) > number(*it) ? newest : *it;
}

uint64_t Keyspace::next_version(uint64_t newest, int64_t now_ms) {
  const uint64_t now = static_cast<uint64_t>(std::max<int64_t>(now_ms, 0)) * 1000;
  uint64_t last = newest_version_.load(std::memory_order_relaxed);
  for (;;) {  // one that was removed is not given again
    const uint64_t next = std::max({now, newest + 1, last + 1});
    if (newest_version_.compare_exchange_weak(last, next)) return next;
  }
}

Transaction::FoundVersion Transaction::find_version(Namespace& ns, std::string_view key,
                                                    KeyHash hash, const Version& version) {
  Entry* current = ns.index->find(key, hash);
  saw(keyspace_.rests_on(ns, hash, current));
  if (current != nullptr && current->is_string()) {
    const Version is = keyspace_.version_of(ns, current);
    if (version.null ? is.null : !is.null && is.number == version.number) {
      return {&ns, current, is};
    }
  }
  Namespace* versions = ns.versions();
  if (versions == nullptr) return {};
  const std::string name = version_key(key, version);
  const KeyHash at = versions->hash(name);
  Entry* e = versions->index->find(name, at);
  saw(keyspace_.rests_on(*versions, at, e));
  return e == nullptr ? FoundVersion()
                      : FoundVersion{versions, e, keyspace_.version_of(*versions, e)};
}

Transaction::FoundVersion Transaction::find_newest(Namespace& ns, std::string_view key,
                                                   KeyHash hash) {
  Entry* current = find(ns, key, hash);
  if (current != nullptr) return {&ns, current, keyspace_.version_of(ns, current)};
  Namespace* versions = ns.versions();
  Entry* e = versions == nullptr ? nullptr : Keyspace::newest_version(*versions, key);
  if (e == nullptr) return {};
  saw(keyspace_.rests_on(*versions, hash, e));
  return {versions, e, keyspace_.version_of(*versions, e)};
}

// ---- steps ----

Status Transaction::at_once(absl::FunctionRef<Status()> change, const RecordView* given) {
  if (several_) return change();
  if (!status_.ok()) return status_;
  if (work_ != nullptr) {  // of the change before
    end();
    leave_work();
  }
  several_ = true;
  Status done = change();
  if (!done.ok()) {
    (void)refuse(done);
    if (work_ != nullptr) roll_back();
  } else if (work_ != nullptr) {
    std::optional<BlobRef> blob;
    if (given != nullptr && given->is_blob()) blob = BlobRef::decode(given->value);
    if (blob) keyspace_.extents_.ref(*blob);
    auto lsn = commit_several();
    if (lsn.ok()) lsn_ = *lsn;
    if (lsn.ok() && blob) keyspace_.extents_.unref(*blob);
    done = lsn.status();
  }
  several_ = false;
  return done;
}

// The bytes stay where they are, if they are in extents.
Status Transaction::put_again(Namespace& from, const Entry* entry, Namespace& to,
                              std::string_view key, std::string_view meta, Need need) {
  if (entry->is_cold()) return refuse(value_on_disk(from.id, entry->key()));
  RecordView r = keyspace_.copy_record(to, entry, entry->value());
  r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
  r.key = key;
  r.meta = meta;
  if (Status s = reserve(r, need); !s.ok()) return s;
  if (r.is_blob()) keyspace_.extents_.ref(*BlobRef::decode(r.value));
  put_later(to, to.hash(key), r, nullptr);
  work_->steps.back().wished = keyspace_.still_wished(entry);
  return absl::OkStatus();
}

// What this transaction's version of the key is numbered with. The first time, what was current
// goes to the others.
StatusOr<uint64_t> Transaction::begin_version(Namespace& ns, KeyHash hash, std::string_view key,
                                              Entry* old) {
  assert(covers(hash));
  (void)hash;
  if (work_ == nullptr) work_ = take_work();
  const auto name = std::pair(static_cast<const Namespace*>(&ns), std::string(key));
  if (auto it = work_->numbers.find(name); it != work_->numbers.end()) return it->second;
  Namespace& versions = *ns.versions();
  if (version_key(key, {}).size() > kKeyBytesMax) {
    return refuse(absl::InvalidArgumentError("the key is too long"));
  }
  if (ns.suspended()) {
    if (Status s = may_replace_null(ns, key, old); !s.ok()) return s;
  }
  uint64_t newest = 0;
  if (old != nullptr && old->is_string()) {
    const Version before = keyspace_.version_of(ns, old);
    newest = before.number;
    if (!ns.suspended() || !before.null) {
      const VersionLock lock =
          planted(Bug::kLockForgotten) ? VersionLock() : keyspace_.lock_of(ns, old);
      const std::string meta = with_version(old->meta(), {ns.id, before, lock});
      Status kept = planted(Bug::kVersionForgotten)
                        ? absl::OkStatus()
                        : put_again(ns, old, versions, version_key(key, before), meta, Need::kPut);
      if (!kept.ok()) return kept;
    }
  } else if (const Entry* e = Keyspace::newest_version(versions, key)) {
    newest = keyspace_.version_of(versions, e).number;
  }
  const uint64_t number = keyspace_.next_version(newest, now_.ms());
  work_->numbers.emplace(name, number);
  return number;
}

Status Transaction::add_version(Namespace& ns, KeyHash hash, const RecordView& r) {
  if (r.flags >> 4 != 0) {
    // Not in the place of an object that has its name, which would be lost.
    const Entry* there = ns.index->find(r.key, hash);
    if (is_events(r.key, static_cast<ValueType>(r.flags >> 4)) &&
        (there == nullptr || !there->is_string())) {
      return put_plain(ns, hash, r);
    }
    return refuse(no_collections());
  }
  auto number = begin_version(ns, hash, r.key, ns.index->find(r.key, hash));
  if (!number.ok()) return number.status();
  const Version version{*number, ns.suspended(), false};
  // A marker that this transaction made of the key before, or the null version that was.
  Namespace& versions = *ns.versions();
  const std::string aside = version_key(r.key, version);
  const KeyHash at = versions.hash(aside);
  Entry* replaced = versions.index->find(aside, at);
  if (replaced != nullptr && !planted(Bug::kNullVersionKept)) {
    if (Status s = remove_plain(versions, at, replaced); !s.ok()) return s;
  }
  const std::string meta = with_version(r.meta, {ns.id, version, lock_of_new(ns)});
  RecordView stamped = r;
  stamped.meta = meta;
  Status put = put_plain(ns, hash, stamped);
  if (put.ok()) made_ = version;
  return put;
}

VersionLock Transaction::lock_of_new(const Namespace& ns) {
  const auto properties = ns.properties();
  if (!properties->object_lock) return {};
  VersionLock lock = lock_;
  const DefaultRetention& by_default = *properties->object_lock;
  if (lock.retention == Retention::kNone && by_default.retention != Retention::kNone) {
    lock.retention = by_default.retention;
    lock.until_ms = by_default.until_ms(keyspace_.lock_clock_.later_ms());
  }
  return lock;
}

// Object lock keeps a bucket from being suspended. This is for one whose name, and with it what it
// has, was lost to damage.
Status Transaction::may_replace_null(Namespace& ns, std::string_view key, const Entry* current) {
  const auto locked = [&](const Namespace& in, const Entry* e) {
    const VersionLock lock = keyspace_.lock_of(in, e);
    return !lock.empty() && lock.forbids_removal(keyspace_.lock_now_ms(), false);
  };
  if (current != nullptr && current->is_string() && keyspace_.version_of(ns, current).null &&
      locked(ns, current)) {
    return refuse(object_locked());
  }
  Namespace& versions = *ns.versions();
  const std::string aside = version_key(key, {0, true, false});
  const Entry* e = versions.index->find(aside, versions.hash(aside));
  return e != nullptr && locked(versions, e) ? refuse(object_locked()) : absl::OkStatus();
}

Status Transaction::expire_version(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms) {
  if (entry->is_cold()) return refuse(value_on_disk(ns.id, entry->key()));
  RecordView r = entry->record(ns.stored());
  r.expire_ms = expire_ms;
  r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
  if (expire_ms != 0) r.flags |= kRecordHasExpiry;
  std::optional<BlobRef> blob;
  if (r.is_blob()) blob = BlobRef::decode(r.value);
  if (blob) keyspace_.extents_.ref(*blob);
  Status put = add_version(ns, hash, r);
  if (!put.ok() && blob) keyspace_.extents_.unref(*blob);
  return put;
}

// ---- markers ----

Status Transaction::hide(Namespace& ns, KeyHash hash, std::string_view key, Entry* entry) {
  if (entry != nullptr && !entry->is_string()) return remove_plain(ns, hash, entry);
  auto number = begin_version(ns, hash, key, entry);
  if (!number.ok()) return number.status();
  const Version version{*number, ns.suspended(), true};
  const std::string meta = with_version({}, {ns.id, version});
  if (entry != nullptr) {
    if (Status s = remove_plain(ns, hash, entry, meta); !s.ok()) return s;
  }
  Namespace& versions = *ns.versions();
  const std::string name = version_key(key, version);
  const RecordView marker{RecordType::kPut, 0, versions.stored(), 0, name, meta, {}};
  Status put = put_plain(versions, versions.hash(name), marker);
  if (put.ok()) made_ = version;
  return put;
}

Status Transaction::mark(Namespace& ns, KeyHash hash, std::string_view key) {
  assert(covers(hash) && ns.versions() != nullptr);
  if (Status s = check_put(ns, RecordView{}); !s.ok()) return s;
  return at_once(
      [&] { return freely([&] { return hide(ns, hash, key, ns.index->find(key, hash)); }); });
}

// ---- removal of one ----

// The one place where a version goes for good by itself.
Status Transaction::take_for_good(const FoundVersion& found, bool bypass_governance) {
  const VersionLock lock = keyspace_.lock_of(*found.ns, found.entry);
  if (!lock.empty() && lock.forbids_removal(keyspace_.lock_now_ms(), bypass_governance) &&
      !planted(Bug::kLockPassedOver)) {
    return refuse(resting_on(object_locked(), seen_));
  }
  const NamespaceId id = found.ns->id;
  const NamespaceId bucket = is_versions(id) ? bucket_of(id) : id;
  return remove_plain(*found.ns, found.ns->hash(found.entry->key()), found.entry,
                      with_version({}, {bucket, found.version}));
}

Status Transaction::promote(Namespace& ns, std::string_view key, Entry* next) {
  Namespace& versions = *ns.versions();
  if (planted(Bug::kNotPromoted) || keyspace_.version_of(versions, next).marker) {
    return absl::OkStatus();
  }
  work_->frees = true;
  Status put = put_again(versions, next, ns, key, next->meta(), Need::kDelete);
  if (!put.ok()) return put;
  return remove_plain(versions, versions.hash(next->key()), next);
}

StatusOr<bool> Transaction::remove_version(Namespace& ns, KeyHash hash, std::string_view key,
                                           const Version& version, bool bypass_governance) {
  assert(covers(hash));
  const FoundVersion found = find_version(ns, key, hash, version);
  if (found.entry == nullptr) return false;
  Status done = at_once([&]() -> Status {
    Namespace* versions = ns.versions();
    const Entry* current = ns.index->find(key, hash);
    Entry* next = nullptr;
    if (found.entry == current) {
      next = versions == nullptr ? nullptr : Keyspace::newest_version(*versions, key);
    } else if (current == nullptr && Keyspace::newest_version(*versions, key) == found.entry) {
      next = Keyspace::newest_version(*versions, key, found.version.number);
    }
    if (Status s = take_for_good(found, bypass_governance); !s.ok()) return s;
    if (next == nullptr) return absl::OkStatus();
    return freely([&] { return promote(ns, key, next); });
  });
  if (!done.ok()) return done;
  return true;
}

// ---- the same version with other metadata ----

Status Transaction::amend(Namespace& ns, KeyHash hash, Entry* entry, std::string_view meta) {
  return amend(ns, hash, entry, meta, version_in(entry->meta()));
}

Status Transaction::amend(Namespace& ns, KeyHash hash, Entry* entry, std::string_view meta,
                          const std::optional<VersionTag>& tag) {
  assert(covers(hash) && entry->is_string());
  if (entry->is_cold()) return refuse(value_on_disk(ns.id, entry->key()));
  const std::string value(entry->value());  // the entry may be overwritten
  RecordView r = keyspace_.copy_record(ns, entry, value);
  const std::string tagged = tag ? with_version(meta, *tag) : std::string(meta);
  r.meta = tagged;
  std::optional<BlobRef> blob;
  if (r.is_blob()) blob = BlobRef::decode(r.value);
  if (blob) keyspace_.extents_.ref(*blob);
  Status put =
      asks_quota(ns) ? at_once([&] { return put_plain(ns, hash, r); }, &r) : put_plain(ns, hash, r);
  if (!put.ok() && blob) keyspace_.extents_.unref(*blob);
  return put;
}

Status Transaction::change_lock(const FoundVersion& found, std::string_view meta,
                                const VersionLock& lock, bool bypass_governance) {
  assert(!found.version.marker);
  Namespace& ns = *found.ns;
  const VersionLock before = keyspace_.lock_of(ns, found.entry);
  if (!before.allows(lock, keyspace_.lock_now_ms(), bypass_governance) &&
      !planted(Bug::kLockShortened)) {
    return refuse(resting_on(object_locked(), seen_));
  }
  const NamespaceId bucket = is_versions(ns.id) ? bucket_of(ns.id) : ns.id;
  return amend(ns, ns.hash(found.entry->key()), found.entry, meta,
               VersionTag{bucket, found.version, lock});
}

}  // namespace cairn
