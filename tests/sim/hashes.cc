// What the clients of the simulation do to hashes; see life.h.
#include <algorithm>

#include "core/base/text.h"
#include "core/store/collection_copy.h"
#include "kv/types/hash.h"
#include "tests/sim/life.h"

namespace cairn::sim {

// Some keys hold large hashes, and with time others' values. False: the client is done.
awaitable<bool> World::change_hash(NamespacePtr ns, std::string key, Lsn& lsn) {
  const std::vector<KeyHash> hashes{ns->hash(key)};
  const cairn::Faults::Keys keys{{ns, key}};
  StripeLocks lock(*store_);
  Status locked = co_await store_->faults().lock_with_values(lock, hashes, keys);
  if (!locked.ok()) {
    if (unread(locked)) co_return true;
    if (store_->log().status().ok()) wrong(cat("key ", key, ": ", locked.message()));
    co_return false;
  }
  Transaction t(*store_, &lock, Shape::kOne);
  Change change{Change::kSet, {ns->id.value(), key}, {}};
  if (!change_hash(t, *ns, key, change)) co_return true;
  co_return take(t.commit(), change, lsn);
}

// False: there was nothing to do.
bool World::change_hash(Transaction& t, Namespace& ns, const std::string& key, Change& change) {
  const KeyHash hash = ns.hash(key);
  Entry* e = t.find(ns, key, hash);
  change.kind = Change::kSet;
  RecordView r;
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
  r.ns = ns.id;
  r.key = key;
  const uint64_t what = pick(10);
  if (e != nullptr && what == 0 && (key < "hash6" || pick(10) == 0)) {
    change.kind = Change::kDelete;
    (void)t.remove(ns, hash, e);
    return true;
  }
  if (e != nullptr && what == 1) {
    (void)expire(t, ns, e, change);
    return true;
  }
  const bool unset = e != nullptr && what < 4, retime = e != nullptr && what == 4;
  if (unset) change.kind = Change::kUnset;
  choose_fields(key, e, unset, change);
  if (retime) change.value.fields = some_times(fields_of(*e->collection(), t.now().ms()));
  if (!unset && !retime && pick(4) == 0) change.value.fields = some_times(change.value.fields);
  const bool timed = std::any_of(change.value.fields.begin(), change.value.fields.end(),
                                 [](auto& f) { return f.second.until_ms != 0; });
  std::string operation;
  for (auto& [field, f] : change.value.fields) {
    if (unset) {
      kv::Hash::add_delete(operation, field);
    } else if (retime) {
      kv::Hash::add_until(operation, field, f.until_ms);
    } else if (timed) {
      kv::Hash::add_set_until(operation, field, f.text, f.until_ms);
    } else {
      kv::Hash::add_set(operation, field, f.text);
    }
  }
  if (operation.empty()) return false;
  r.value = operation;
  if (e != nullptr) change.value.expire_ms = e->expire_ms();
  if (e == nullptr) change.kind = Change::kPut;
  seen.hash_changes++;
  (void)t.operate(ns, hash, e, r);
  return true;
}

// Some of these fields, mostly with a time that comes soon.
Fields World::some_times(Fields fields) {
  const uint64_t all = 1 + pick(4);
  std::erase_if(fields, [&](auto&) { return pick(all) != 0; });
  for (auto& f : fields) {
    const auto after = static_cast<int64_t>(1 + pick(2000));
    f.second.until_ms = pick(4) == 0 ? 0 : store_->now_ms() + after;
  }
  return fields;
}

// As RENAME and MOVE do it: a large one by one record, another is put and removed.
void World::rename(Transaction& t, Namespace& from, Entry* e, Namespace& to, const std::string& key,
                   std::vector<Change>& made) {
  Change change{Change::kRename, {to.id.value(), key}, {}};
  change.from = {from.id.value(), std::string(e->key())};
  change.value.expire_ms = e->expire_ms();
  change.value.fields = fields_of(*e->collection(), kv::Hash::kNoTime);
  const KeyHash hash = from.hash(e->key()), to_hash = to.hash(key);
  if (Transaction::has_identity(e)) {
    seen.renamed++;
    made.push_back(change);
    return (void)t.rename(from, hash, e, to, to_hash, key);
  }
  seen.renamed_whole++;
  const std::string image = e->collection()->image();
  RecordView r = e->record(to.id);
  r.key = key;
  r.value = image;
  change.kind = Change::kPut;
  made.push_back(change);
  made.push_back({Change::kDelete, change.from, {}});
  (void)t.put(to, to_hash, r);
  if (t.status().ok()) (void)t.remove(from, hash, e);
}

awaitable<bool> World::rename_hash(Lsn& lsn) {
  NamespacePtr from = some_space(), to = some_space();
  std::string key = cat_key("hash", pick(kHashes));
  for (int i = 0; i < 20; i++) {  // mostly one of those that are large
    const KeyHash hash = from->hash(key);
    StripeLocks lock(*store_, hash);
    const Entry* e = from->index->find(key, hash);
    if (e != nullptr && Transaction::has_identity(e)) break;
    from = some_space();
    key = cat_key("hash", pick(kHashes));
  }
  const std::string new_key = cat_key("hash", pick(2) == 0 ? pick(kHashes) : 6 + pick(2));
  if (from == to && key == new_key) co_return true;
  const std::vector<KeyHash> hashes{from->hash(key), to->hash(new_key)};
  const cairn::Faults::Keys keys{{from, key}};
  StripeLocks lock(*store_);
  Status locked = co_await store_->faults().lock_with_values(lock, hashes, keys);
  if (!locked.ok()) {
    if (unread(locked)) co_return true;
    if (store_->log().status().ok()) wrong(cat("a rename: ", locked.message()));
    co_return false;
  }
  Transaction t(*store_, &lock, Shape::kSeveral);
  Entry* e = t.find(*from, key, hashes[0]);
  if (e == nullptr) co_return true;
  std::vector<Change> made;
  rename(t, *from, e, *to, new_key, made);
  heard_.clear();
  auto done = t.commit();
  if (!done.ok()) co_return refused(done.status());
  co_return take_group(made, lsn);
}

// As COPY does it: a large one in turns, and what it is at the last one counts.
awaitable<bool> World::copy_hash(Lsn& lsn) {
  NamespacePtr from = some_space(), to = some_space();
  const std::string key = cat_key("hash", 6 + pick(2)), new_key = cat_key("hash", pick(kHashes));
  if (from == to && key == new_key) co_return true;
  CollectionCopy copying(*store_);
  const KeyHash to_hash = to->hash(new_key);
  const std::vector<KeyHash> hashes{from->hash(key), to_hash, copying.hash()};
  const cairn::Faults::Keys keys{{from, key}};
  for (bool begins = true;; begins = false) {
    {
      StripeLocks lock(*store_);
      Status locked = co_await store_->faults().lock_with_values(lock, hashes, keys);
      if (!locked.ok()) {
        if (unread(locked)) co_return true;
        if (store_->log().status().ok()) wrong(cat("a copy: ", locked.message()));
        co_return false;
      }
      Transaction t(*store_, &lock, Shape::kSeveral);
      Entry* e = t.find(*from, key, hashes[0]);
      if (e == nullptr || !CollectionCopy::is_for(*store_, e)) co_return true;
      Status status;
      if (begins) status = copying.begin(*from, e);
      if (!status.ok()) co_return refused(status);
      if (!copying.follows(e)) co_return true;  // it has become another one
      status = copying.step(lock, e);
      if (!status.ok()) co_return refused(status);
      if (copying.whole()) {
        Change change{Change::kPut, {to->id.value(), new_key}, {}};
        change.value.expire_ms = e->expire_ms();
        change.value.fields = fields_of(*e->collection(), kv::Hash::kNoTime);
        (void)copying.name(t, e, *to, to_hash, new_key);
        seen.copied++;
        co_return take(t.commit(), change, lsn);
      }
    }
    if (pick(8) == 0) co_return true;  // given up
    seen.copy_turns++;
    co_await store_->clock().sleep_ms(static_cast<int64_t>(1 + pick(20)));
  }
}

void World::choose_fields(const std::string& key, const Entry* e, bool unset, Change& change) {
  const bool large = key >= "hash6";
  const auto* now = e == nullptr ? nullptr : static_cast<const kv::Hash*>(e->collection());
  const int64_t now_ms = store_->now_ms();
  for (uint64_t i = 1 + pick(large ? 40 : 5); i > 0; i--) {
    std::string field = cat("f", pick(large ? 400 : 20));
    std::string text = unset ? "" : content(pick(large ? 400 : 60));
    if (unset &&
        (!now->get(field, now_ms) || change.value.fields.size() + 1 >= now->size(now_ms))) {
      continue;
    }
    change.value.fields[field] = {text};
  }
}

}  // namespace cairn::sim
