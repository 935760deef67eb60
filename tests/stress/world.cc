#include "tests/stress/world.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"

namespace cairn::stress {

void fail(const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

void must(const Status& status, const char* what) {
  if (!status.ok()) fail(cat(what, ": ", status.ToString()));
}

uint64_t World::Call::tick() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

World::World(std::string directory) : directory_(std::move(directory)) {
  for (size_t i = 0; i < kLoops; i++) {
    loops_.push_back(std::make_unique<asio::io_context>(1));
    work_.emplace_back(loops_.back()->get_executor());
  }
  for (auto& loop : loops_) threads_.emplace_back([&loop] { loop->run(); });
}

World::~World() {
  for (auto& loop : loops_) loop->stop();
  for (auto& t : threads_) t.join();
  if (store_ != nullptr) store_->drop_waiters();
  work_.clear();
  loops_.clear();
}

void World::open() {
  auto volume = LocalVolume::open({directory_, true}, pool_.memory());
  must(volume.status(), "the volume does not open");
  volume_ = std::move(*volume);
  StoreOptions options;
  options.segment_bytes = 1 << 20;
  options.extent_file_bytes = 8 << 20;
  options.memory_bytes = 400 << 10;
  options.collections = kv::collection_types();
  options.space_amplification = 1.3;
  std::vector<Executor> executors;
  for (auto& loop : loops_) executors.push_back(loop->get_executor());
  store_ = std::make_unique<Store>(*volume_, clock_, pool_, executors, options);
  must(wait(store_->open()), "the store does not open");
}

void World::close() {
  must(wait(store_->close()), "the store does not close");
  store_.reset();
  volume_.reset();
}

const std::vector<std::string>& World::names() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> names;
    for (size_t i = 0; i < kKeys; i++) names.push_back(key(i));
    for (size_t i = 0; i < kHashes; i++) names.push_back(hash_key(i));
    for (size_t g = 0; g < kGroups; g++) {
      for (size_t i = 0; i < kGroupKeys; i++) names.push_back(group_key(g, i));
    }
    return names;
  }();
  return all;
}

// ---- values: their number, and what follows from it ----

std::string World::value_of(uint64_t id, Size size) {
  const uint64_t mixed = id * 0x9e3779b97f4a7c15ULL >> 20;
  std::string value = cat(id, ":");
  const uint64_t bytes = size == Size::kLarge   ? 70'000 + mixed % 100'000
                         : size == Size::kSmall ? 24 + mixed % 3000
                                                : 22;
  value.resize(bytes, static_cast<char>('a' + id % 26));
  return value;
}

uint64_t World::id_of(std::string_view value) {
  const auto id = parse_int<uint64_t>(value.substr(0, value.find(':'))).value_or(0);
  for (const Size size : {Size::kTiny, Size::kSmall, Size::kLarge}) {
    if (value == value_of(id, size)) return id;
  }
  fail(cat("a value is torn: ", value.substr(0, 40), ", ", value.size(), " bytes"));
}

uint64_t World::read_blob(const BlobRef& blob) {
  auto work = [this, &blob]() -> awaitable<StatusOr<std::string>> {
    BlobReader reader(store_->extents(), blob, 0, blob.size);
    store_->extents().unref(blob);
    co_return co_await reader.read_all(1 << 20);
  };
  auto read = wait<StatusOr<std::string>>(work());
  must(read.status(), "a blob cannot be read");
  return id_of(*read);
}

void World::fetch(const NamespacePtr& ns, std::string key) {
  must(wait<Status>(store_->faults().fetch(ns, std::move(key))), "a value cannot be read back");
}

std::vector<KeyHash> World::hashes_of(const Namespace& ns, const std::vector<std::string>& keys) {
  std::vector<KeyHash> hashes;
  hashes.reserve(keys.size());
  for (auto& key : keys) hashes.push_back(ns.hash(key));
  return hashes;
}

int64_t World::some_time(Notes& notes) const {
  const auto after = static_cast<int64_t>(notes.pick(notes.pick(3) == 0 ? 2000 : 100));
  return notes.pick(4) == 0 ? 0 : clock_.now_ms() + after;
}

// ---- single keys ----

void World::get(Notes& notes, const NamespacePtr& ns, const std::string& key) {
  const KeyHash hash = ns->hash(key);
  const Call call(*this);
  auto& events = notes.events[{ns->id.value(), key}];
  for (;;) {
    std::optional<BlobRef> blob;
    std::string value;
    Event seen{};
    {
      StripeLocks lock(*store_, hash);
      Now now(clock_);
      Entry* e = store_->find(*ns, key, hash, now);
      if (e == nullptr) return events.push_back(call.event(Event::kAbsent));
      e->touch();
      seen = call.event(Event::kSeen, e->version(), e->expire_ms());
      if (e->is_blob()) {
        blob = BlobRef::decode(e->value());
        store_->extents().ref(*blob);
      } else if (e->collection() != nullptr) {
        seen.fields = fields_of(e, now.ms());
      } else if (!e->is_cold()) {
        value = e->value();
      }
    }
    if (value.empty() && !blob && seen.fields.empty()) {
      fetch(ns, key);
      continue;
    }
    if (blob) {
      seen.fields[""].id = read_blob(*blob);
    } else if (!value.empty()) {
      seen.fields[""].id = id_of(value);
    }
    return events.push_back(std::move(seen));
  }
}

bool World::put(Notes& notes, const NamespacePtr& ns, const std::string& key, bool large) {
  const KeyHash hash = ns->hash(key);
  const uint64_t id = next_id();
  std::string value = value_of(id, large ? Size::kLarge : Size::kSmall);
  RecordView r;
  r.ns = ns->id;
  r.key = key;
  if (large) {
    auto work = [this, &value]() -> awaitable<StatusOr<BlobRef>> {
      BlobWriter writer(store_->extents(), value.size());
      Status added = co_await writer.append(as_bytes(value));
      if (!added.ok()) co_return added;
      co_return co_await writer.finish();
    };
    auto blob = wait<StatusOr<BlobRef>>(work());
    must(blob.status(), "a blob cannot be written");
    value = blob->encode();
    r.flags |= kRecordIsBlob;
  }
  r.value = value;
  if (notes.pick(8) == 0) {
    r.flags |= kRecordHasExpiry;
    r.expire_ms = clock_.now_ms() + static_cast<int64_t>(notes.pick(100));
  }
  const Call call(*this);
  StatusOr<Lsn> lsn = Lsn();
  {
    StripeLocks lock(*store_, hash);
    Transaction t(*store_, &lock, Shape::kOne);
    (void)t.put(*ns, hash, r);
    lsn = t.commit();
  }
  if (absl::IsNotFound(lsn.status())) {
    if (large) store_->extents().unref(*BlobRef::decode(value));
    return false;
  }
  must(lsn.status(), "a value cannot be put");
  notes.events[{ns->id.value(), key}].push_back(
      call.event(Event::kPut, *lsn, r.expire_ms, {{"", {id}}}));
  return true;
}

void World::remove(Notes& notes, const NamespacePtr& ns, const std::string& key) {
  const KeyHash hash = ns->hash(key);
  const Call call(*this);
  Lsn lsn;
  {
    StripeLocks lock(*store_, hash);
    Transaction t(*store_, &lock, Shape::kOne);
    Entry* e = t.find(*ns, key, hash);
    if (e != nullptr) {
      must(t.remove(*ns, hash, e), "a key cannot be removed");
      lsn = *t.commit();
    }
  }
  notes.events[{ns->id.value(), key}].push_back(
      lsn.valid() ? call.event(Event::kRemove, lsn, 0, {}, Event::kSomething)
                  : call.event(Event::kAbsent));
}

bool World::change_expiry(Notes& notes, const NamespacePtr& ns, const std::string& key) {
  const KeyHash hash = ns->hash(key);
  const int64_t expire_ms = some_time(notes);
  auto& events = notes.events[{ns->id.value(), key}];
  const Call call(*this);
  StripeLocks lock(*store_, hash);
  Transaction t(*store_, &lock, Shape::kOne);
  Entry* e = t.find(*ns, key, hash);
  if (e == nullptr) {
    events.push_back(call.event(Event::kAbsent));
    return !ns->dropped;
  }
  // A bucket that was dropped is empty.
  must(t.expire(*ns, hash, e, expire_ms), "an expiry cannot be changed");
  events.push_back(call.event(Event::kExpire, *t.commit(), expire_ms, {}, Event::kSomething));
  return true;
}

// ---- hashes ----

Fields World::fields_of(const Entry* e, int64_t now_ms) {
  const auto& hash = static_cast<const kv::Hash&>(*e->collection());
  Fields fields;
  hash.for_each(now_ms, [&](std::string_view field, std::string_view value) {
    fields[std::string(field)] = {id_of(value), hash.find(field, now_ms)->until_ms};
  });
  if (fields.size() != hash.size(now_ms)) fail("a hash has fields that it does not count");
  return fields;
}

Event::Kind World::choose_change(Notes& notes, bool large, const Fields& there, Fields& fields,
                                 std::string& operation) {
  const uint64_t what = there.empty() ? 0 : notes.pick(8);
  if (what >= 4) {  // some of those that are there
    const uint64_t of = 1 + notes.pick(4);
    for (auto& f : there) {
      if (notes.pick(of) == 0) fields.insert(f);
    }
    if (what >= 6) {
      for (auto& [name, f] : fields) kv::Hash::add_delete(operation, name);
      return Event::kUnset;
    }
    for (auto& [name, f] : fields) {
      f.until_ms = some_time(notes);
      kv::Hash::add_until(operation, name, f.until_ms);
    }
    return Event::kSet;
  }
  const bool timed = notes.pick(3) == 0;
  for (uint64_t i = 1 + notes.pick(large ? 10 : 3); i > 0; i--) {
    fields[cat("field", notes.pick(large ? 80 : 8))] = {next_id(), timed ? some_time(notes) : 0};
  }
  for (auto& [name, f] : fields) {
    const std::string value = value_of(f.id, large ? Size::kSmall : Size::kTiny);
    if (timed) {
      kv::Hash::add_set_until(operation, name, value, f.until_ms);
    } else {
      kv::Hash::add_set(operation, name, value);
    }
  }
  return Event::kSet;
}

Status World::operate(Transaction& t, Namespace& ns, const std::string& key, Entry* e,
                      const std::string& operation) {
  RecordView r;
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
  r.ns = ns.id;
  r.key = key;
  r.value = operation;
  return t.operate(ns, ns.hash(key), e, r);
}

bool World::change_hash(Notes& notes, const NamespacePtr& ns, const std::string& key) {
  const Call call(*this);
  bool there = true;
  with_values(ns, {key},
              [&](StripeLocks& locks) { there = change_hash(notes, locks, *ns, key, call); });
  return there;
}

bool World::change_hash(Notes& notes, const StripeLocks& locks, Namespace& ns,
                        const std::string& key, const Call& call) {
  const KeyHash hash = ns.hash(key);
  auto& events = notes.events[{ns.id.value(), key}];
  Transaction t(*store_, &locks, Shape::kOne);
  Entry* e = t.find(ns, key, hash);
  const Event::Found found = e == nullptr ? Event::kNothing : Event::kSomething;
  const Fields there = e == nullptr ? Fields() : fields_of(e, t.now().ms());
  Fields fields;
  std::string operation;
  const auto kind = choose_change(notes, key == hash_key(kHashes - 1), there, fields, operation);
  if (operation.empty()) return true;
  if (kind == Event::kUnset && fields.size() == there.size()) {  // nothing would be left
    must(t.remove(ns, hash, e), "a hash cannot be removed");
    events.push_back(call.event(Event::kRemove, *t.commit(), 0, {}, found));
    return true;
  }
  const int64_t expire_ms = e == nullptr ? 0 : e->expire_ms();
  (void)operate(t, ns, key, e, operation);
  auto lsn = t.commit();
  if (absl::IsNotFound(lsn.status())) return false;
  must(lsn.status(), "a hash cannot be changed");
  events.push_back(call.event(kind, *lsn, expire_ms, std::move(fields), found));
  return true;
}

}  // namespace cairn::stress
