#include "tests/stress/world.h"

#include <boost/asio/co_spawn.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <set>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/store/transaction.h"

namespace cairn::stress {

void fail(const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

namespace {

void must(const Status& status, const char* what) {
  if (!status.ok()) fail(cat(what, ": ", status.ToString()));
}

uint64_t tick() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

struct World::Call {
  explicit Call(World& world) : clock(world.clock_), begin_ms(clock.now_ms()), begin(tick()) {}
  // It happened between the call's begin and now.
  Event event(Event::Kind kind, Lsn lsn = {}, uint64_t id = 0, int64_t expire_ms = 0) const {
    const uint64_t end = tick();
    return {kind, begin, end, begin_ms, clock.now_ms(), lsn.value(), id, expire_ms};
  }
  Clock& clock;
  const int64_t begin_ms;
  const uint64_t begin;
};

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

template <class T>
T World::wait(awaitable<T> work) {
  std::promise<T> result;
  asio::co_spawn(*loops_[next_id() % kLoops], std::move(work),
                 [&](std::exception_ptr, T value) { result.set_value(std::move(value)); });
  return result.get_future().get();
}

void World::open() {
  auto volume = LocalVolume::open({directory_, true}, pool_.memory());
  must(volume.status(), "the volume does not open");
  volume_ = std::move(*volume);
  StoreOptions options;
  options.segment_bytes = 1 << 20;
  options.extent_file_bytes = 8 << 20;
  options.memory_bytes = 500 << 10;
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
    for (size_t g = 0; g < kGroups; g++) {
      for (size_t i = 0; i < kGroupKeys; i++) names.push_back(group_key(g, i));
    }
    return names;
  }();
  return all;
}

// ---- values: their number, and what follows from it ----

std::string World::value_of(uint64_t id, bool large) {
  const uint64_t mixed = id * 0x9e3779b97f4a7c15ULL >> 20;
  std::string value = cat(id, ":");
  value.resize(large ? 70'000 + mixed % 100'000 : 24 + mixed % 3000,
               static_cast<char>('a' + id % 26));
  return value;
}

uint64_t World::id_of(std::string_view value) {
  const auto id = parse_int<uint64_t>(value.substr(0, value.find(':'))).value_or(0);
  if (value != value_of(id, false) && value != value_of(id, true)) {
    fail(cat("a value is torn: ", value.substr(0, 40), ", ", value.size(), " bytes"));
  }
  return id;
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

// ---- single keys ----

void World::get(Notes& notes, const NamespacePtr& ns, const std::string& key) {
  const KeyHash hash = ns->hash(key);
  const Call call(*this);
  auto& events = notes.events[{ns->id.value(), key}];
  for (;;) {
    std::optional<BlobRef> blob;
    std::string value;
    Lsn version;
    {
      StripeLocks lock(*store_, hash);
      Now now(clock_);
      Entry* e = store_->find(*ns, key, hash, now);
      if (e == nullptr) return events.push_back(call.event(Event::kAbsent));
      e->touch();
      version = e->version();
      if (e->is_blob()) {
        blob = BlobRef::decode(e->value());
        store_->extents().ref(*blob);
      } else if (!e->is_cold()) {
        value = e->value();
      }
    }
    if (value.empty() && !blob) {
      fetch(ns, key);
      continue;
    }
    // The key was looked at before the blob was read, which takes its time.
    const Event seen = call.event(Event::kSeen, version);
    events.push_back(seen);
    events.back().id = blob ? read_blob(*blob) : id_of(value);
    return;
  }
}

bool World::put(Notes& notes, const NamespacePtr& ns, const std::string& key, bool large) {
  const KeyHash hash = ns->hash(key);
  const uint64_t id = next_id();
  std::string value = value_of(id, large);
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
  notes.events[{ns->id.value(), key}].push_back(call.event(Event::kPut, *lsn, id, r.expire_ms));
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
      call.event(lsn.valid() ? Event::kRemove : Event::kAbsent, lsn));
}

// ---- several keys ----

void World::change_group(Notes& notes, const NamespacePtr& ns, size_t group) {
  const bool removes = notes.pick(4) == 0;
  const uint64_t id = next_id();
  const std::string value = value_of(id, false);
  std::vector<std::string> keys;
  std::vector<KeyHash> hashes;
  for (size_t i = 0; i < kGroupKeys; i++) {
    keys.push_back(group_key(group, i));
    hashes.push_back(ns->hash(keys.back()));
  }
  const Call call(*this);
  std::vector<Event::Kind> kinds(kGroupKeys, removes ? Event::kRemove : Event::kPut);
  std::vector<Lsn> versions(kGroupKeys);
  {
    StripeLocks locks(*store_);
    locks.lock(hashes);
    Transaction t(*store_, &locks, Shape::kSeveral);
    for (size_t i = 0; i < kGroupKeys; i++) {
      RecordView r;
      r.ns = ns->id;
      r.key = keys[i];
      r.value = value;
      Entry* e = t.find(*ns, keys[i], hashes[i]);
      if (removes && e == nullptr) {
        kinds[i] = Event::kAbsent;
        continue;
      }
      Status done = removes ? t.remove(*ns, hashes[i], e) : t.put(*ns, hashes[i], r);
      must(done, "a group cannot be changed");
    }
    auto newest = t.commit();
    must(newest.status(), "a group cannot be committed");
    for (size_t i = 0; i < kGroupKeys; i++) {
      Entry* e = t.find(*ns, keys[i], hashes[i]);
      versions[i] = kinds[i] == Event::kPut ? e->version() : *newest;
    }
  }
  for (size_t i = 0; i < kGroupKeys; i++) {
    notes.events[{ns->id.value(), keys[i]}].push_back(
        call.event(kinds[i], kinds[i] == Event::kAbsent ? Lsn() : versions[i], id));
  }
}

void World::read_group(Notes& notes, const NamespacePtr& ns, size_t group) {
  std::vector<KeyHash> hashes;
  for (size_t i = 0; i < kGroupKeys; i++) hashes.push_back(ns->hash(group_key(group, i)));
  const Call call(*this);
  for (;;) {
    std::array<std::string, kGroupKeys> values;
    std::array<Lsn, kGroupKeys> versions;
    size_t present = 0;
    std::string cold;
    {
      StripeLocks locks(*store_);
      locks.lock(hashes);
      Now now(clock_);
      for (size_t i = 0; i < kGroupKeys; i++) {
        Entry* e = store_->find(*ns, group_key(group, i), hashes[i], now);
        if (e == nullptr) continue;
        present++;
        versions[i] = e->version();
        if (e->is_cold()) {
          cold = group_key(group, i);
        } else {
          values[i] = e->value();
        }
      }
    }
    if (!cold.empty()) {
      fetch(ns, cold);
      continue;
    }
    if (present != 0 && present != kGroupKeys) fail(cat("half of a group is there: ", group));
    for (size_t i = 0; i < kGroupKeys; i++) {
      if (values[i] != values[0]) fail(cat("a group is of two changes: ", group));
      notes.events[{ns->id.value(), group_key(group, i)}].push_back(
          present == 0 ? call.event(Event::kAbsent)
                       : call.event(Event::kSeen, versions[i], id_of(values[i])));
    }
    return;
  }
}

// What a listing reads, and how it reads it: under the lock of the order alone.
void World::list(Notes& notes, const NamespacePtr& ns) {
  const Call call(*this);
  must(wait<Status>(store_->ensure_ordered(ns)), "names cannot be put in order");
  struct Item {
    Lsn version;
    uint64_t size;
  };
  std::map<std::string, Item> found;
  std::string last;
  {
    MutexLock lock(ns->order_mutex);
    const int64_t now = clock_.now_ms();
    for (const Entry* e : ns->order) {
      if (e->expired(now) || !e->is_string()) continue;
      if (e->key() <= last) fail(cat("names are not in order: ", last, ", ", e->key()));
      last = e->key();
      found[last] = {e->version(),
                     e->is_blob() ? BlobRef::size_of(e->value()) : uint64_t{e->value_size}};
      if (!e->meta().empty()) fail("a value has got metadata");
    }
  }
  for (auto& name : names()) {
    auto it = found.find(name);
    notes.events[{ns->id.value(), name}].push_back(
        it == found.end() ? call.event(Event::kAbsent)
                          : call.event(Event::kSeen, it->second.version));
  }
  for (size_t g = 0; g < kGroups; g++) {
    std::set<uint64_t> sizes;
    for (size_t i = 0; i < kGroupKeys; i++) {
      auto it = found.find(group_key(g, i));
      sizes.insert(it == found.end() ? 0 : it->second.size);
    }
    if (sizes.size() != 1) fail(cat("a listing shows half of a group: ", g));
  }
}

void World::flush(Notes& notes, const NamespacePtr& ns) {
  const Call call(*this);
  Transaction t(*store_, nullptr, Shape::kOne);
  (void)t.flush(*ns);
  auto lsn = t.commit();
  must(lsn.status(), "a database cannot be flushed");
  for (auto& name : names()) {
    notes.events[{ns->id.value(), name}].push_back(call.event(Event::kRemove, *lsn));
  }
}

// ---- buckets ----

void World::live_and_die(Notes& notes, const std::string& bucket) {
  must(store_->create_bucket(bucket).status(), "a bucket cannot be made");
  const NamespacePtr ns = store_->find_namespace(bucket);
  if (ns == nullptr) fail("a bucket is not there");
  for (int i = 0; i < 20; i++) put(notes, ns, key(notes.pick(kKeys)), notes.pick(10) == 0);
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
  get(notes, ns, key(0));
}

}  // namespace cairn::stress
