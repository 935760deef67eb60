// What the clients of the simulation do to collections; see life.h. Of a hash the model knows each
// change; of the other types it is told what the live one is after it, and holds what is recovered
// against that: that a change does what it should is for their unit tests.
#include <algorithm>

#include "core/base/text.h"
#include "core/store/collection_copy.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"
#include "tests/sim/life.h"

namespace cairn::sim {

Fields fields_of(const Entry& e, int64_t now_ms) {
  Fields fields;
  const Collection* c = e.collection();
  if (e.type() == ValueType::kHash) {
    const auto& hash = static_cast<const kv::Hash&>(*c);
    hash.for_each(now_ms, [&](auto field, auto text) {
      fields[std::string(field)] = {std::string(text), hash.find(field, now_ms)->until_ms};
    });
  } else if (e.type() == ValueType::kList) {
    const auto& list = static_cast<const kv::List&>(*c);
    list.walk(0, list.size(), [&](std::string_view element) {
      fields[cat(1'000'000 + fields.size())] = {std::string(element)};
      return true;
    });
  } else if (e.type() == ValueType::kSet) {
    static_cast<const kv::Set&>(*c).for_each(
        [&](std::string_view member) { fields[std::string(member)] = {}; });
  } else {
    static_cast<const kv::SortedSet&>(*c).for_each([&](const kv::SortedSet::Item& item) {
      fields[std::string(item.member)] = {std::to_string(item.score)};
    });
  }
  return fields;
}

// Some keys hold large ones. False: the client is done.
awaitable<bool> World::change_collection(NamespacePtr ns, std::string key, Lsn& lsn) {
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
  if (!change_collection(t, *ns, key, change)) co_return true;
  co_return take(t.commit(), change, lsn);
}

RecordView operation_on(const Namespace& ns, const std::string& key, ValueType type,
                        std::string_view operation) {
  RecordView r;
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(static_cast<uint8_t>(type) << 4);
  r.ns = ns.id;
  r.key = key;
  r.value = operation;
  return r;
}

// False: there was nothing to do.
bool World::change_collection(Transaction& t, Namespace& ns, const std::string& key,
                              Change& change) {
  const KeyHash hash = ns.hash(key);
  Entry* e = t.find(ns, key, hash);
  const uint64_t what = pick(10);
  if (e != nullptr && what == 0 && (!is_large(key) || pick(10) == 0)) {
    change.kind = Change::kDelete;
    (void)t.remove(ns, hash, e);
    return true;
  }
  if (e != nullptr && what == 1) {
    (void)expire(t, ns, e, change);
    return true;
  }
  if (kind_of(key) == "hash") return change_hash(t, ns, key, e, change);
  const std::string operation = some_change(key, e);
  if (operation.empty()) return false;
  const ValueType type = kind_of(key) == "list"  ? ValueType::kList
                         : kind_of(key) == "set" ? ValueType::kSet
                                                 : ValueType::kSortedSet;
  change.kind = Change::kPut;
  if (!t.operate(ns, hash, e, operation_on(ns, key, type, operation)).ok()) return true;
  e = t.find(ns, key, hash);
  change.value.fields = fields_of(*e, 0);
  change.value.expire_ms = e->expire_ms();
  seen.other_changes++;
  return true;
}

std::string World::some_change(const std::string& key, const Entry* e) {
  const Collection* c = e == nullptr ? nullptr : e->collection();
  if (kind_of(key) == "list") return change_list(c, is_large(key));
  if (kind_of(key) == "set") return change_set(c, is_large(key));
  return change_sorted_set(c, is_large(key));
}

// Now and then it does not fit into a segment. To clean that of such a one, more room is needed
// than the log keeps (README, Disk, memory, restart): so there is room then.
uint64_t World::element_bytes(bool large) {
  if (!long_elements_ || pick(500) != 0) return pick(large ? 400 : 60);
  seen.long_elements++;
  return kSegmentBytes + pick(kSegmentBytes);
}

std::string World::change_list(const Collection* c, bool large) {
  const auto* list = static_cast<const kv::List*>(c);
  const uint64_t n = list == nullptr ? 0 : list->size();
  const auto element = [&] { return content(element_bytes(large)); };
  std::string operation;
  const uint64_t what = n < 2 ? 0 : n > 500 ? 4 : pick(7);
  switch (what) {
    case 4:  // from an end
    case 5: {
      const uint64_t gone = 1 + pick(n > 500 ? n - 1 : std::min<uint64_t>(n - 1, 20));
      list->add_erase(pick(2) == 0 ? 0 : n - gone, gone, operation);
      break;
    }
    case 6: {
      std::vector<uint64_t> places;
      for (uint64_t i = 0; i < n && places.size() + 1 < n; i++) {
        if (pick(10) == 0) places.push_back(i);
      }
      if (!places.empty()) list->add_remove(places, operation);
      break;
    }
    case 3:
      list->add_insert(1 + pick(n - 1), element(), operation);
      break;
    case 2:
      if (pick(2) == 0) {
        list->add_set(pick(n), element(), operation);
      } else {
        list->add_rotate(pick(2) == 0, pick(2) == 0, operation);
      }
      break;
    default: {
      std::vector<std::string> elements(1 + pick(large ? 40 : 5));
      for (auto& text : elements) text = element();
      const std::vector<std::string_view> views(elements.begin(), elements.end());
      kv::List::add_push(list, pick(2) == 0, views, operation);
    }
  }
  return operation;
}

std::string World::change_set(const Collection* c, bool large) {
  const auto* set = static_cast<const kv::Set*>(c);
  const uint64_t n = set == nullptr ? 0 : set->size();
  std::string operation;
  if (n > 1 && pick(3) == 0) {
    uint64_t left = n;
    set->for_each([&](std::string_view member) {
      if (left == 1 || pick(8) != 0) return;
      kv::Set::add_gone(operation, member);
      left--;
    });
    return operation;
  }
  for (uint64_t i = 1 + pick(large ? 40 : 5); i > 0; i--) {
    const uint64_t member = pick(large ? 4000 : 20);
    kv::Set::add_there(operation, pick(3) == 0 ? cat("m", member) : cat(member * member));
  }
  return operation;
}

std::string World::change_sorted_set(const Collection* c, bool large) {
  const auto* set = static_cast<const kv::SortedSet*>(c);
  const uint64_t n = set == nullptr ? 0 : set->size();
  std::string operation;
  if (n > 1 && pick(6) == 0) {
    const uint64_t first = 1 + pick(n - 1), last = std::min(n - 1, first + pick(20));
    const kv::SortedSet::Item low = set->at(first), high = set->at(last);
    return kv::SortedSet::range_gone(low, high);
  }
  if (n > 1 && pick(4) == 0) {
    uint64_t left = n;
    set->for_each([&](const kv::SortedSet::Item& item) {
      if (left == 1 || pick(8) != 0) return;
      kv::SortedSet::add_gone(operation, item.member);
      left--;
    });
    return operation;
  }
  for (uint64_t i = 1 + pick(large ? 40 : 5); i > 0; i--) {
    const std::string member = cat("m", pick(large ? 800 : 20));
    kv::SortedSet::add_score(operation, {static_cast<double>(pick(1000)) / 8, member});
  }
  return operation;
}

// False: there was nothing to do.
bool World::change_hash(Transaction& t, Namespace& ns, const std::string& key, Entry* e,
                        Change& change) {
  const KeyHash hash = ns.hash(key);
  const uint64_t what = 2 + pick(8);
  change.kind = Change::kSet;
  const bool unset = e != nullptr && what < 4, retime = e != nullptr && what == 4;
  if (unset) change.kind = Change::kUnset;
  choose_fields(key, e, unset, change);
  if (retime) change.value.fields = some_times(fields_of(*e, t.now().ms()));
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
  if (e != nullptr) change.value.expire_ms = e->expire_ms();
  if (e == nullptr) change.kind = Change::kPut;
  seen.hash_changes++;
  (void)t.operate(ns, hash, e, operation_on(ns, key, ValueType::kHash, operation));
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
  change.value.fields = fields_of(*e, kv::Hash::kNoTime);
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

awaitable<bool> World::rename_collection(Lsn& lsn) {
  NamespacePtr from = some_space(), to = some_space();
  std::string key = some_collection();
  for (int i = 0; i < 20; i++) {  // mostly one of those that are large
    const KeyHash hash = from->hash(key);
    StripeLocks lock(*store_, hash);
    const Entry* e = from->index->find(key, hash);
    if (e != nullptr && Transaction::has_identity(e)) break;
    from = some_space();
    key = some_collection();
  }
  const std::string new_key =
      cat(kind_of(key), pick(2) == 0 ? pick(kOfAKind) : kOfAKind - 1 - pick(2));
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
awaitable<bool> World::copy_collection(Lsn& lsn) {
  NamespacePtr from = some_space(), to = some_space();
  const char* kind = some_kind();
  const std::string key = cat_key(kind, kOfAKind - 1 - pick(2));
  const std::string new_key = cat_key(kind, pick(kOfAKind));
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
        change.value.fields = fields_of(*e, kv::Hash::kNoTime);
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
  const bool large = is_large(key);
  const auto* now = e == nullptr ? nullptr : static_cast<const kv::Hash*>(e->collection());
  const int64_t now_ms = store_->now_ms();
  for (uint64_t i = 1 + pick(large ? 40 : 5); i > 0; i--) {
    std::string field = cat("f", pick(large ? 400 : 20));
    std::string text = unset ? "" : content(element_bytes(large));
    if (unset &&
        (!now->get(field, now_ms) || change.value.fields.size() + 1 >= now->size(now_ms))) {
      continue;
    }
    change.value.fields[field] = {text};
  }
}

}  // namespace cairn::sim
