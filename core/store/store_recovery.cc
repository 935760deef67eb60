// How a store opens: its index from a checkpoint and the log, and what is derived from it.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <mutex>
#include <optional>

#include "core/base/limits.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/recovery.h"
#include "core/store/recovery_state.h"
#include "core/store/store.h"

namespace cairn {

awaitable<Status> Store::begin() {
  uint64_t id = random();
  Status opened =
      co_await manifest_.open(id == 0 ? 1 : id, options_.segment_bytes, options_.repair, notes_);
  if (!opened.ok()) co_return opened;
  const ManifestState known = manifest_.state();
  store_id_ = known.store;
  epoch_ = known.epoch;
  segment_bytes_ = known.segment_bytes;
  auto checkpoint = co_await find_checkpoint(volume_, store_id_, old_checkpoints_);
  if (!checkpoint.ok()) co_return checkpoint.status();
  checkpoint_ = std::move(*checkpoint);
  if (known.checkpoint != UINT64_MAX &&
      (!checkpoint_ || checkpoint_->file.number < known.checkpoint)) {
    notes_.push_back(cat(to_string({FileKind::kCheckpoint, known.checkpoint}),
                         " is missing or damaged; the log alone is enough"));
  }
  if (checkpoint_) {
    hash_seed_ = checkpoint_->footer.hash_seed;
    make_databases();
  }
  co_return absl::OkStatus();
}

awaitable<Status> Store::open() {
  if (segment_bytes_ == 0) {
    Status begun = co_await begin();
    if (!begun.ok()) co_return begun;
  }
  RecoveryOptions recover;
  recover.store = store_id_;
  recover.segment_bytes = segment_bytes_;
  const ManifestState known = manifest_.state();
  recover.segments = known.segments;
  recover.proven = Lsn(std::max(known.proven, checkpoint_ ? checkpoint_->footer.end : 0));
  recover.clean_stop = manifest_.was_clean();
  recover.lost = known.lost;
  recover.executors = executors_;
  recover.repair = options_.repair;
  recover.apply = [this](std::span<const LogRecord> records) { apply(records); };
  std::vector<std::pair<uint64_t, int64_t>> times;
  Mutex times_mutex;
  recover.note_time = [&](Lsn lsn, int64_t ms) {
    MutexLock lock(times_mutex);
    if (times.empty() || times.back().second / 1000 != ms / 1000) {
      times.emplace_back(lsn.value(), ms);
    }
  };
  recover.progress = &progress_;
  // A record that is read back to be folded into names its segment alone.
  lives_ = LogLives();
  for (const ManifestSegment& s : known.segments) lives_.add(SegmentId(s.number), s.epoch);
  recover.crowded = [this] { return recovery_->crowded(); };
  recover.fold = [this](Lsn before) { return recovery_->fold(*this, before); };
  usage_.start(segment_bytes_);
  std::vector<FileId> old_checkpoints = std::move(old_checkpoints_);
  auto begin_anew = [&] {
    begin_recovery();
    recovery_->note_time = recover.note_time;
    recovery_->kept_max = limits::kept_operations(memory_bytes_);
    if (!known.segments.empty()) {
      recovery_->first = Lsn(known.segments.front().number * segment_bytes_);
    }
  };
  auto again = [&] {  // without the checkpoint
    begin_anew();
    recovered_items_ = 0;
    recover.from = Lsn();
  };
  begin_anew();
  if (checkpoint_) {
    recover.from = Lsn(checkpoint_->footer.begin);
    recover.load_base = [&]() -> awaitable<Status> {
      Status loaded = co_await load_checkpoint(*checkpoint_);
      if (!loaded.ok()) again();
      co_return loaded;
    };
  }
  auto log = co_await recover_log(volume_, recover);
  if (!log.ok()) co_return log.status();
  uint64_t next_checkpoint = 0;
  if (checkpoint_) old_checkpoints.push_back(checkpoint_->file);
  for (FileId id : old_checkpoints) next_checkpoint = std::max(next_checkpoint, id.number + 1);
  Lsn base = log->on_base ? recover.from : Lsn();
  if (!log->proven.empty()) recovery_->first = log->proven.front().first;
  recovered_records_ = log->records;
  lives_ = log->lives;
  recovery_->lost = known.lost;
  recovery_->lost.insert(recovery_->lost.end(), log->lost.begin(), log->lost.end());
  recovered_ = log->proven;
  std::sort(times.begin(), times.end());
  for (auto& [lsn, ms] : times) log_.note_time(Lsn(lsn), ms);

  Status loaded = co_await load();
  recovery_.reset();
  if (!loaded.ok()) co_return loaded;
  Status started = co_await begin_life(*log);
  if (!started.ok()) co_return started;
  // The log can do without them, and on a nearly full volume it needs their room.
  auto free = co_await volume_.free_bytes();
  if (free.ok() && *free < 4 * segment_bytes_ && !old_checkpoints.empty()) {
    for (FileId id : old_checkpoints) (void)co_await volume_.remove(id);
    (void)co_await volume_.sync_directory();
    old_checkpoints.clear();
    base = Lsn();
    manifest_.change([](ManifestState& m) { m.checkpoint = UINT64_MAX; });
  }
  checkpointer_.start(next_checkpoint, base, std::move(old_checkpoints));
  // What the last life had set aside and did not use would be lost to a full volume, life by life.
  if (!log->proven.empty()) {
    const Lsn end = log->proven.back().second;
    const SegmentId last((end.value() - 1) / segment_bytes_);
    const uint64_t used = round_up(end.value() - last.value() * segment_bytes_, kBlockBytes);
    if (used < segment_bytes_) {
      (void)co_await volume_.punch({FileKind::kSegment, last.value()}, used, segment_bytes_ - used);
    }
  }
  LogStart start{store_id_, epoch_, segment_bytes_, log->next_segment, log->end, {}};
  for (auto& [first, end] : log->proven) {
    start.sealed.emplace_back(SegmentId(first.value() / segment_bytes_), end);
  }
  lives_.add(log->next_segment, epoch_);
  started = co_await log_.start(start);
  if (!started.ok()) co_return started;
  for (const NamespacePtr& ns : nameless_) {
    MutexLock lock(names_mutex_);
    ns->created = log_.append(name_record(*ns));
    usage_.add(ns->created, name_record(*ns).size());
  }
  nameless_.clear();
  for (auto& [ns, key] : std::exchange(given_up_, {})) {  // so that no later start asks for them
    RecordView gone;
    gone.type = RecordType::kDelete;
    gone.ns = ns;
    gone.key = key;
    log_.append(gone);
  }
  last_sync_ms_ = clock_.now_ms();
  loading_.store(false, std::memory_order_release);
  background_.spawn(executors_.front(), "the ticker", run_ticker());
  background_.spawn(executors_.front(), "expiry", run_expiry());
  background_.spawn(executors_.back(), "the cleaner", cleaner_.run());
  background_.spawn(executors_.back(), "the checkpointer", checkpointer_.run());
  background_.spawn(executors_.back(), "the compactor", compactor_.run());
  background_.spawn(executors_.back(), "the memory keeper", memory_.run());
  co_return absl::OkStatus();
}

// From what was proven: the manifest names it and no more, and what it does not name goes.
awaitable<Status> Store::begin_life(const RecoveredLog& log) {
  uint64_t lost_bytes = 0;
  for (const LsnRange& range : log.lost) lost_bytes += range.to - range.from;
  manifest_.change([&](ManifestState& m) {
    m.segments.clear();
    for (auto& [first, end] : log.proven) {
      const SegmentId segment(first.value() / segment_bytes_);
      m.segments.push_back({segment.value(), end.value(), log.lives.epoch_of(segment), 0});
    }
    m.proven = std::max(m.proven, log.end.value());
    m.lost.insert(m.lost.end(), log.lost.begin(), log.lost.end());
    m.next_namespace = std::max(m.next_namespace, next_namespace());
  });
  Status saved = co_await manifest_.save();
  if (!saved.ok()) co_return saved;
  notes_.insert(notes_.end(), log.notes.begin(), log.notes.end());
  const std::vector<LsnRange> lost = manifest_.state().lost;
  // What was not read may be all that is left of something.
  const bool keep = !lost.empty() || log.unread || manifest_.rebuilt();
  Status started = co_await extents_.start(store_id_, options_.extent_file_bytes, keep);
  if (!started.ok()) co_return started;
  // Before a new segment is made: on a full volume these make the room for it.
  for (SegmentId s : log.unused) {
    const FileId file{FileKind::kSegment, s.value()};
    Status gone;
    if (!log.lost.empty() || log.unread || manifest_.rebuilt()) {
      gone = co_await volume_.keep_apart(file);
      notes_.push_back(cat(to_string(file), " was set aside"));
    } else {
      gone = co_await volume_.recycle(file);
    }
    if (!gone.ok()) co_return gone;
  }
  if (!log.unused.empty()) {
    Status synced = co_await volume_.sync_directory();
    if (!synced.ok()) co_return synced;
  }
  if (lost_bytes > 0) {
    notes_.push_back(cat("up to ", lost_bytes,
                         " bytes of records are lost; keys that were changed "
                         "or deleted there are as they were before, or gone"));
  }
  if (!lost.empty() || !extents_.missing_files().empty()) name_lost(lost);
  co_return absl::OkStatus();
}

// The keys whose values are known to be lost; reading them is an error, deleting them is not.
void Store::name_lost(const std::vector<LsnRange>& lost) {
  constexpr size_t kNamed = 100;
  std::string names;
  size_t count = 0;
  const auto& files = extents_.missing_files();
  for (uint32_t file : files) {
    notes_.push_back(cat(to_string({FileKind::kExtents, file}), " is missing"));
  }
  auto is_lost = [&](const Entry* e) {
    if (e->is_cold()) return in_ranges(lost, e->lsn());
    if (!e->is_blob() || files.empty()) return false;
    const auto blob = BlobRef::decode(e->value());
    return std::any_of(blob->pieces.begin(), blob->pieces.end(), [&](const Piece& p) {
      return std::find(files.begin(), files.end(), p.file) != files.end();
    });
  };
  for (const NamespacePtr& ns : spaces()) {
    for (size_t s = 0; s < kStripes; s++) {
      ns->index->for_each(s, [&](const Entry* e) {
        if (!is_lost(e) || ++count > kNamed) return;
        append(names, count > 1 ? ", " : "", ns->name, "/", e->key());
      });
    }
  }
  if (count == 0) return;
  notes_.push_back(cat("the values of ", count, " keys are lost and cannot be read: ", names,
                       count > kNamed ? ", and others" : ""));
}

Namespace* Store::namespace_for_recovery(NamespaceId id) {
  if (id.value() < kDatabases) return databases_[id.value()].get();  // without a lock
  MutexLock lock(recovery_->mutex);
  auto& ns = recovery_->namespaces[id.value()];
  if (ns == nullptr) {
    ns = std::make_shared<Namespace>(id, "", 0, hash_seed_, memory_.shared_count());
  }
  return ns.get();
}

void Store::apply(std::span<const LogRecord> records) {
  constexpr size_t kGroup = 16;
  std::array<Namespace*, kGroup> spaces;
  std::array<KeyHash, kGroup> hashes;
  std::array<const LogRecord*, kGroup> group;
  while (!records.empty()) {
    size_t n = 0;
    for (; n < kGroup && !records.empty(); records = records.subspan(1)) {
      const RecordView& r = records.front().record;
      if (r.type != RecordType::kPut && r.type != RecordType::kDelete &&
          r.type != RecordType::kOperation) {
        apply_to_namespace(r, records.front().lsn);
        continue;
      }
      spaces[n] = namespace_for_recovery(r.ns);
      hashes[n] = spaces[n]->hash(r.key);
      prefetch(hashes[n]);
      group[n++] = &records.front();
    }
    if (n == 0) return;
    StripeLocks lock(*this);
    lock.lock({hashes.data(), n});
    prefetch({spaces.data(), n}, {hashes.data(), n}, true);
    for (size_t i = 0; i < n; i++) {
      apply_to_key(*spaces[i], hashes[i], group[i]->record, group[i]->lsn);
    }
  }
}

void Store::apply_to_namespace(const RecordView& r, Lsn lsn) {
  auto newest = [&](absl::flat_hash_map<uint32_t, Lsn>& map) {
    MutexLock lock(recovery_->mutex);
    Lsn& at = map[r.ns.value()];
    at = std::max(at, lsn);
  };
  switch (r.type) {
    case RecordType::kNamespaceCreate: {
      Namespace* ns = namespace_for_recovery(r.ns);
      MutexLock lock(recovery_->mutex);
      ns->name = std::string(r.key);
      ns->created = std::max(ns->created, lsn);
      if (r.value.size() == 8) std::memcpy(&ns->created_ms, r.value.data(), 8);
      recovery_->named[r.ns.value()] = true;
      return;
    }
    case RecordType::kNamespaceDrop:
      return newest(recovery_->dropped);
    case RecordType::kNamespaceFlush:
      if (r.ns.valid()) return newest(recovery_->flushed);
      for (uint32_t i = 0; i < kDatabases; i++) {
        MutexLock lock(recovery_->mutex);
        Lsn& at = recovery_->flushed[i];
        at = std::max(at, lsn);
      }
      return;
    default:
      return;  // of a later version's making; the format version guards against those
  }
}

void Store::apply_to_key(Namespace& ns, KeyHash hash, const RecordView& r, Lsn lsn) {
  if (r.has_origin()) recovery_->note_time(r.version, r.wall_ms);
  auto& graves = recovery_->tombstones_of(hash);
  // What concerns this key alone is ordered by its stripe's lock: without a tombstone in sight the
  // mutex, which two threads would wait for in turn, is not needed.
  std::unique_lock grave_lock(graves.mutex, std::defer_lock);
  if (r.type != RecordType::kPut || graves.any.load(std::memory_order_relaxed)) grave_lock.lock();
  if (r.type == RecordType::kOperation) {
    recovery_->keep({r.ns.value(), std::string(r.key)}, graves,
                    {lsn, r.has_origin() ? r.version : lsn, r.expire_ms, r.size(),
                     std::string(r.value), static_cast<uint8_t>(r.flags & ~kRecordHasOrigin)});
    return;
  }
  Entry* old = ns.index->find(r.key, hash);
  if (old != nullptr && old->lsn() > lsn) return;
  if (r.type == RecordType::kDelete) {
    graves.any.store(true, std::memory_order_relaxed);
    recovery_->bury({r.ns.value(), std::string(r.key)}, graves, lsn);
    if (old != nullptr) {
      ns.index->remove(old, hash);
      Entry::destroy(old);
    }
    return;
  }
  if (grave_lock.owns_lock()) {
    auto grave = graves.newest.find(std::pair(r.ns.value(), std::string(r.key)));
    if (grave != graves.newest.end() && grave->second > lsn && !planted(Bug::kTombstoneForgotten)) {
      return;
    }
  }
  if (old != nullptr && old->assign(r, lsn)) return;
  const uint64_t limit = memory_bytes_, before = old == nullptr ? 0 : old->bytes();
  Entry* entry = nullptr;
  const bool is_collection = r.flags >> 4 != 0;
  const bool stays = limit != 0 && !r.is_blob() &&
                     recovery_->entry_bytes.load(std::memory_order_relaxed) > limit / 2 &&
                     (!is_collection || r.value.size() <= part_bytes());
  if (is_collection && !stays) {
    auto c = make_collection(r.flags, r.value);
    if (c == nullptr) {
      MutexLock damaged(recovery_->mutex);
      recovery_->damage = absl::DataLossError("a collection cannot be read");
      return;
    }
    entry = Entry::make(r, lsn, std::move(c));
    entry->collection()->set_version(r.has_origin() ? r.version : lsn);
    begin_charges(*entry->collection(), lsn, r.size(), r.value.size());
  } else if (stays) {
    entry = Entry::make_cold(r, lsn);
  } else {
    entry = Entry::make(r, lsn);
  }
  if (limit != 0) {
    recovery_->entry_bytes.fetch_add(entry->bytes() - before, std::memory_order_relaxed);
  }
  if (old == nullptr) {
    ns.index->insert(entry, hash);
  } else {
    ns.index->replace(old, entry, hash);
    Entry::destroy(old);
  }
}

awaitable<Status> Store::replay_operations() {
  if (!recovery_->damage.ok()) co_return recovery_->damage;
  for (auto& graves : recovery_->tombstones) {
    std::vector<decltype(&*graves.operations.begin())> in_order;  // a table's own differs each time
    for (auto& item : graves.operations) in_order.push_back(&item);
    std::sort(in_order.begin(), in_order.end(), [](auto a, auto b) { return a->first < b->first; });
    for (auto* item : in_order) {
      auto& [name, operations] = *item;
      const auto& [number, key] = name;
      Namespace& ns = *namespace_for_recovery(NamespaceId(number));
      const auto since = recovered_since(ns);
      if (!since) continue;
      const KeyHash hash = ns.hash(key);
      Entry* e = ns.index->find(key, hash);
      const Lsn floor = recovery_->floor_of(ns, name, *since, e);
      std::erase_if(operations, [&](auto& o) { return o.lsn <= floor; });
      if (operations.empty()) continue;
      if (e != nullptr && e->is_cold()) {  // they change what a checkpoint left on disk
        auto record = co_await faults_.read_record(e->lsn(), e->record_bytes());
        auto hot = faults_.warm(e, ns.id, record);
        if (!hot.ok() && in_ranges(recovery_->lost, e->lsn())) continue;  // so are they, then
        if (!hot.ok()) {
          const Status why = record.status.ok() ? hot.status() : record.status;
          if (!absl::IsDataLoss(why)) co_return why;
          if (!options_.repair) {
            co_return absl::DataLossError(
                cat(why.message(),
                    ", on which later changes of it rest; nothing was changed; "
                    "--repair goes on without this key"));
          }
          notes_.push_back(cat("the value of ", ns.name, "/", key, " is lost: ", why.message()));
          given_up_.emplace_back(ns.id, key);
          ns.index->remove(e, hash);
          Entry::destroy(e);
          continue;
        }
        ns.index->replace(e, *hot, hash);
        Entry::destroy(e);
        e = *hot;
      }
      Status replayed = replay(ns, key, e, operations);
      if (!replayed.ok()) co_return replayed;
    }
    graves.operations.clear();
  }
  co_return absl::OkStatus();
}

// What a namespace held before this LSN is gone; nothing if all of it is. A drop or a flush
// concerns what was there before it, and not a namespace that was made later.
std::optional<Lsn> Store::recovered_since(const Namespace& ns) const {
  auto newest = [&](const absl::flat_hash_map<uint32_t, Lsn>& map) {
    auto it = map.find(ns.id.value());
    return it == map.end() ? Lsn() : it->second;
  };
  const Lsn dropped = newest(recovery_->dropped), flushed = newest(recovery_->flushed);
  if (dropped.valid() && ns.created <= dropped) return std::nullopt;
  return planted(Bug::kFlushForgotten) ? dropped : std::max(dropped, flushed);
}

// After all records are applied: forget what was dropped, and build what is derived.
awaitable<Status> Store::load() {
  Status replayed = co_await replay_operations();
  if (!replayed.ok()) co_return replayed;
  uint32_t next = std::max(kFirstBucket, manifest_.state().next_namespace);
  if (checkpoint_) next = std::max(next, checkpoint_->footer.next_namespace);
  for (auto& entry : recovery_->namespaces) {
    const uint32_t number = entry.first;
    const NamespacePtr ns = entry.second;
    next = std::max(next, number + 1);
    const auto since = recovered_since(*ns);
    if (!since) continue;
    if (ns->is_bucket()) {
      if (!recovery_->named[number]) {
        if (recovery_->lost.empty()) {
          co_return absl::DataLossError(cat("namespace ", number, " has keys but no name"));
        }
        MutexLock lock(names_mutex_);
        std::string name = cat("lost-", number);
        while (by_name_.contains(name)) append(name, "-");
        ns->name = name;
        ns->created_ms = clock_.now_ms();
        nameless_.push_back(ns);
        notes_.push_back(cat("the name of a bucket is lost; it is called ", name, " now"));
      }
      ns->order_end = Namespace::kAllHashes;
      MutexLock lock(names_mutex_);
      by_name_[ns->name] = ns;
      if (ns->created.valid()) usage_.add(ns->created, name_record(*ns).size());
    }
    {
      MutexLock lock(names_mutex_);
      by_id_[number] = ns;
    }
    std::atomic<size_t> next_stripe{0};
    Mutex mutex;
    Status status;
    auto work = [&]() -> awaitable<void> {
      constexpr size_t kStep = 64;
      auto executor = co_await asio::this_coro::executor;
      for (size_t s; (s = next_stripe.fetch_add(kStep)) < kStripes;) {
        for (size_t i = s; i < s + kStep; i++) {
          Status loaded = load_stripe(*ns, i, *since);
          if (loaded.ok()) continue;
          MutexLock lock(mutex);
          status = loaded;
        }
        co_await asio::post(executor, asio::use_awaitable);
      }
    };
    if (ns->size() > 0) {
      std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
      for (const Executor& e : executors_) jobs.emplace_back(e, work);
      co_await run_all(std::move(jobs));
    }
    if (!status.ok()) co_return status;
  }
  MutexLock lock(names_mutex_);
  next_namespace_ = next;
  co_return absl::OkStatus();
}

// What has expired is kept until the ticker removes it with a tombstone: it is served to nobody,
// and a clock that is set back at the next start brings nothing back.
Status Store::load_stripe(Namespace& ns, size_t s, Lsn since) {
  Stripe& stripe = (*stripes_)[s];
  std::vector<std::pair<Entry*, KeyHash>> gone;
  Status damage;
  uint64_t cold = 0;
  int64_t bytes = 0;
  ns.index->for_each(s, [&](Entry* e) {
    if (e->lsn() < since) {
      gone.emplace_back(e, ns.hash(e->key()));
      return;
    }
    bytes += held_bytes(e);
    if (Collection* c = e->collection()) forget_charges(*c, recovery_->first);
    count(e, 1);
    cold += e->is_cold();
    if (e->has_expiry()) note_expiry(ns, stripe, e);
    if (ns.ordered()) {
      MutexLock lock(ns.order_mutex);
      ns.order.insert(e);
      bytes += kOrderBytes;
    }
    if (e->is_blob()) {
      if (auto blob = BlobRef::decode(e->value())) {
        extents_.adopt(*blob);
      } else {
        damage = absl::DataLossError("a blob reference does not add up");
      }
    }
  });
  memory_.count().add(s, bytes);
  cold_ += cold;
  for (auto& [e, hash] : gone) {
    ns.index->remove(e, hash);
    Entry::destroy(e);
  }
  return damage;
}

// ---- checkpoints ----

void Store::begin_recovery() {
  recovery_ = std::make_unique<RecoveryState>();
  for (auto& ns : databases_) recovery_->namespaces[ns->id.value()] = ns;
  recovery_->namespaces[kSystemNamespace.value()] = system_;
  for (auto& entry : recovery_->namespaces) {
    for (size_t s = 0; s < kStripes && entry.second->size() > 0; s++) {
      entry.second->index->take_all(s, Entry::destroy);
    }
  }
}

int Store::loading_percent() const {
  const uint64_t total = progress_.total.load(), done = progress_.done.load();
  if (!loading()) return 100;
  return total == 0 ? 0 : static_cast<int>(std::min<uint64_t>(99, done * 100 / total));
}

awaitable<Status> Store::load_checkpoint(const FoundCheckpoint& checkpoint) {
  std::atomic<size_t> next{0};
  Mutex mutex;
  Status status;
  const size_t chunks = checkpoint.footer.chunks;
  progress_.total += checkpoint.footer.index_offset;
  auto work = [&]() -> awaitable<void> {
    for (size_t i; (i = next.fetch_add(1)) < chunks;) {
      Status applied;
      Status read = co_await read_chunk(volume_, checkpoint, i, [&](const CheckpointItem& item) {
        if (applied.ok()) applied = apply_item(item);
      });
      progress_.done += checkpoint.offsets[i + 1] - checkpoint.offsets[i];
      if (read.ok()) read = applied;
      if (read.ok()) continue;
      MutexLock lock(mutex);
      status = read;
      next = chunks;
    }
  };
  std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
  for (const Executor& e : executors_) jobs.emplace_back(e, work);
  co_await run_all(std::move(jobs));
  recovered_items_ = checkpoint.footer.items;
  co_return status;
}

Status Store::apply_item(const CheckpointItem& item) {
  const RecordView& r = item.record;
  if (item.kind == ItemKind::kTime) {
    recovery_->note_time(item.lsn, r.expire_ms);
    return absl::OkStatus();
  }
  if (item.kind == ItemKind::kNamespace) {
    RecordView name = r;
    name.type = RecordType::kNamespaceCreate;
    apply_to_namespace(name, item.lsn);
    return absl::OkStatus();
  }
  Namespace* ns = namespace_for_recovery(r.ns);
  const KeyHash hash = ns->hash(r.key);
  StripeLocks lock(*this, hash);
  if (item.kind == ItemKind::kPart) {
    auto& graves = recovery_->tombstones_of(hash);
    std::lock_guard grave_lock(graves.mutex);
    recovery_->keep({r.ns.value(), std::string(r.key)}, graves,
                    {item.lsn, r.version, r.expire_ms, 0, std::string(r.value),
                     static_cast<uint8_t>(r.flags & ~kRecordHasOrigin), item.oldest, item.charges});
    return absl::OkStatus();
  }
  Entry* entry = nullptr;
  const uint64_t limit = memory_bytes_;
  const bool full =
      limit != 0 && recovery_->entry_bytes.load(std::memory_order_relaxed) > limit / 2;
  if (item.kind == ItemKind::kCollection && full && item.image_size != 0) {
    RecordView cold = r;  // its newest record is all of it, and can be read back
    if (r.version == item.lsn) cold.flags &= static_cast<uint8_t>(~kRecordHasOrigin);
    entry = Entry::make_cold(cold, item.lsn);
    entry->value_size = item.image_size;
  } else if (item.kind == ItemKind::kCollection) {
    auto made = make_collection(r.flags, r.value);
    if (made == nullptr) return absl::DataLossError("a collection cannot be read");
    entry = Entry::make(r, item.lsn, std::move(made));
    Collection& c = *entry->collection();
    c.set_version(r.version);
    c.oldest_ = item.oldest;
    c.image_size_ = item.image_size;
    c.charges_ = {item.charges.begin(), item.charges.end()};
    for (auto& [at, bytes] : c.charges_) c.charged_ += bytes;
  } else if (item.kind == ItemKind::kCold) {
    entry = Entry::make_cold(r, item.lsn);
    entry->value_size = static_cast<uint32_t>(item.value_size);
  } else if (full && !r.is_blob()) {
    entry = Entry::make_cold(r, item.lsn);
  } else {
    entry = Entry::make(r, item.lsn);
  }
  if (limit != 0) {
    recovery_->entry_bytes.fetch_add(entry->bytes(), std::memory_order_relaxed);
  }
  // A key that was deleted and put again while the checkpoint was written may be in it twice.
  if (Entry* other = ns->index->find(entry->key(), hash); other == nullptr) {
    ns->index->insert(entry, hash);
  } else if (other->lsn() < entry->lsn()) {
    ns->index->replace(other, entry, hash);
    Entry::destroy(other);
  } else {
    Entry::destroy(entry);
  }
  return absl::OkStatus();
}

}  // namespace cairn
