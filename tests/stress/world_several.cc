#include <set>

#include "core/base/text.h"
#include "kv/types/hash.h"
#include "tests/stress/world.h"

namespace cairn::stress {

namespace {
constexpr const char* kGroupField = "all";  // of a group's hash

std::vector<std::string> keys_of(size_t group) {
  std::vector<std::string> keys;
  keys.reserve(World::kGroupKeys);
  for (size_t i = 0; i < World::kGroupKeys; i++) keys.push_back(World::group_key(group, i));
  return keys;
}
}  // namespace

// ---- groups ----

// A string has no expiry afterwards, and so has a hash; both keep nothing of what was.
Status World::put_in_group(Transaction& t, Namespace& ns, const std::string& key, uint64_t id) {
  const KeyHash hash = ns.hash(key);
  if (!is_hash(key)) {
    const std::string value = value_of(id, Size::kSmall);
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value;
    return t.put(ns, hash, r);
  }
  Entry* e = t.find(ns, key, hash);
  if (e != nullptr && e->has_expiry()) {
    if (Status s = t.expire(ns, hash, e, 0); !s.ok()) return s;
    e = t.find(ns, key, hash);
  }
  std::string operation;
  kv::Hash::add_set(operation, kGroupField, value_of(id, Size::kTiny));
  return operate(t, ns, key, e, operation);
}

void World::change_group(Notes& notes, const NamespacePtr& ns, size_t group) {
  const auto keys = keys_of(group);
  const Call call(*this);
  with_values(ns, keys, [&](StripeLocks& locks) { change_group(notes, locks, *ns, keys, call); });
}

void World::change_group(Notes& notes, const StripeLocks& locks, Namespace& ns,
                         const std::vector<std::string>& keys, const Call& call) {
  const uint64_t what = notes.pick(4), id = next_id();
  const bool removes = what == 0, expires = what == 1, gives_up = notes.pick(8) == 0;
  const int64_t expire_ms = expires ? some_time(notes) : 0;
  Transaction t(*store_, &locks, Shape::kSeveral);
  std::vector<Event::Found> found;
  found.reserve(keys.size());
  for (auto& key : keys) {
    const KeyHash hash = ns.hash(key);
    Entry* e = t.find(ns, key, hash);
    found.push_back(e == nullptr ? Event::kNothing : Event::kSomething);
    if (e == nullptr && (removes || expires)) continue;
    must(removes   ? t.remove(ns, hash, e)
         : expires ? t.expire(ns, hash, e, expire_ms)
                   : put_in_group(t, ns, key, id),
         "a group cannot be changed");
  }
  if (gives_up) return;
  auto newest = t.commit();
  must(newest.status(), "a group cannot be committed");
  for (size_t i = 0; i < keys.size(); i++) {
    auto& to = notes.events[{ns.id.value(), keys[i]}];
    if (!removes && !expires) {
      const Event::Kind kind = is_hash(keys[i]) ? Event::kSet : Event::kPut;
      const Fields fields{{is_hash(keys[i]) ? kGroupField : "", {id}}};
      const Entry* e = t.find(ns, keys[i], ns.hash(keys[i]));
      to.push_back(call.event(kind, e->version(), 0, fields, found[i]));
    } else if (found[i] == Event::kNothing) {
      to.push_back(call.event(Event::kAbsent));
    } else {
      const Event::Kind kind = removes ? Event::kRemove : Event::kExpire;
      to.push_back(call.event(kind, *newest, expire_ms, {}, found[i]));
    }
  }
}

void World::read_group(Notes& notes, const NamespacePtr& ns, size_t group) {
  const auto keys = keys_of(group);
  const Call call(*this);
  std::set<uint64_t> ids;
  size_t there = 0;
  with_values(ns, keys, [&](StripeLocks&) {
    Now now(clock_);
    for (auto& key : keys) {
      auto& to = notes.events[{ns->id.value(), key}];
      const Entry* e = store_->find(*ns, key, ns->hash(key), now);
      if (e == nullptr) {
        to.push_back(call.event(Event::kAbsent));
        continue;
      }
      there++;
      const Fields fields =
          is_hash(key) ? fields_of(e, now.ms()) : Fields{{"", {id_of(e->value())}}};
      if (fields.size() != 1) fail(cat("a group's hash has other fields: ", key));
      ids.insert(fields.begin()->second.id);
      to.push_back(call.event(Event::kSeen, e->version(), e->expire_ms(), fields));
    }
  });
  if (there != 0 && there != keys.size()) fail(cat("half of a group is there: ", group));
  if (ids.size() > 1) fail(cat("a group is of two changes: ", group));
}

// What a listing reads, and how it reads it: under the lock of the order alone.
void World::list(Notes& notes, const NamespacePtr& ns) {
  const Call call(*this);
  must(wait<Status>(store_->ensure_ordered(ns)), "names cannot be put in order");
  struct Item {
    Lsn version;
    int64_t expire_ms;
    uint64_t size;
  };
  std::map<std::string, Item> found;
  std::string last;
  {
    MutexLock lock(ns->order_mutex);
    const int64_t now = clock_.now_ms();
    for (const Entry* e : ns->order) {
      if (e->expired(now)) continue;
      if (e->key() <= last) fail(cat("names are not in order: ", last, ", ", e->key()));
      last = e->key();
      const uint64_t size = !e->is_string() ? 1
                            : e->is_blob()  ? BlobRef::size_of(e->value())
                                            : uint64_t{e->value_size};
      found[last] = {e->version(), e->expire_ms(), size};
      if (!e->meta().empty()) fail("a value has got metadata");
    }
  }
  for (auto& name : names()) {
    auto& to = notes.events[{ns->id.value(), name}];
    auto it = found.find(name);
    if (it == found.end()) {
      to.push_back(call.event(Event::kAbsent));
    } else {
      to.push_back(call.event(Event::kSeen, it->second.version, it->second.expire_ms));
      to.back().looked = false;
    }
  }
  for (size_t g = 0; g < kGroups; g++) {
    std::set<uint64_t> sizes;
    size_t there = 0;
    for (auto& key : keys_of(g)) {
      auto it = found.find(key);
      there += it != found.end() ? 1 : 0;
      if (it != found.end() && !is_hash(key)) sizes.insert(it->second.size);
    }
    if ((there != 0 && there != kGroupKeys) || sizes.size() > 1) {
      fail(cat("a listing shows half of a group: ", g));
    }
  }
}

void World::flush(Notes& notes, const NamespacePtr& ns) {
  const bool alone = notes.pick(2) == 0, gives_up = notes.pick(4) == 0;
  const std::string key = this->key(notes.pick(kKeys));
  const uint64_t id = next_id();
  const Call call(*this);
  StripeLocks locks(*store_);
  if (!alone) locks.lock_all();
  Transaction t(*store_, alone ? nullptr : &locks, alone ? Shape::kOne : Shape::kSeveral);
  (void)t.flush(*ns);
  if (!alone) {
    if (t.find(*ns, key, ns->hash(key)) != nullptr) fail("a key is there after a flush");
    must(put_in_group(t, *ns, key, id), "a key cannot be put after a flush");
    if (gives_up) return;
  }
  auto lsn = t.commit();
  must(lsn.status(), "a database cannot be flushed");
  for (auto& name : names()) {
    auto& to = notes.events[{ns->id.value(), name}];
    if (!alone && name == key) {
      to.push_back(call.event(Event::kPut, *lsn, 0, {{"", {id}}}));
    } else {
      to.push_back(call.event(Event::kRemove, *lsn));
    }
  }
}

// ---- buckets ----

void World::live_and_die(Notes& notes, const std::string& bucket) {
  must(store_->create_bucket(bucket).status(), "a bucket cannot be made");
  const NamespacePtr ns = store_->find_namespace(bucket);
  if (ns == nullptr) fail("a bucket is not there");
  for (int i = 0; i < 20; i++) put(notes, ns, key(notes.pick(kKeys)), notes.pick(10) == 0);
  for (int i = 0; i < 5; i++) change_hash(notes, ns, hash_key(notes.pick(kHashes)));
  list(notes, ns);
  for (;;) {  // others may write to it meanwhile
    for (auto& name : names()) remove(notes, ns, name);
    const Call call(*this);
    auto dropped = store_->drop_bucket(bucket);
    if (absl::IsFailedPrecondition(dropped.status())) continue;
    must(dropped.status(), "a bucket cannot be dropped");
    for (auto& name : names()) {  // it held none of these
      notes.events[{ns->id.value(), name}].push_back(call.event(Event::kAbsent));
    }
    break;
  }
  if (store_->find_namespace(bucket) != nullptr) fail("a bucket is there still");
  if (put(notes, ns, key(0), false)) fail("a bucket that is gone takes values");
  if (change_hash(notes, ns, hash_key(0))) fail("a bucket that is gone takes hashes");
  get(notes, ns, key(0));
}

}  // namespace cairn::stress
