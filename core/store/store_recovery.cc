// How a store opens: its index from a checkpoint and the log, and what is derived from it.
#include <algorithm>
#include <bit>
#include <boost/asio/post.hpp>
#include <mutex>
#include <optional>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/recovery.h"
#include "core/store/replay.h"
#include "core/store/store.h"
#include "core/store/transaction.h"

namespace cairn {

namespace {
// The log has some segments in reserve and one that it writes, which cannot be cleaned: a volume
// has to have many, or all of it is these. On one of 217 MB, three of 64 MiB took no more than 33
// MB.
uint64_t segment_bytes_for(uint64_t volume_bytes, uint64_t most) {
  constexpr uint64_t kSegments = 16, kLeast = 4 << 20;
  return std::min(most, std::max(kLeast, std::bit_floor(volume_bytes / kSegments)));
}
}  // namespace

awaitable<Status> Store::begin() {
  uint64_t id = random();
  auto room = co_await volume_.free_bytes();
  if (!room.ok()) co_return room.status();
  Status opened = co_await manifest_.open(
      id == 0 ? 1 : id, segment_bytes_for(*room, options_.segment_bytes), options_.repair, notes_);
  if (!opened.ok()) co_return opened;
  const ManifestState known = manifest_.state();
  store_id_ = known.store;
  epoch_ = known.epoch;
  segment_bytes_ = known.segment_bytes;
  auto checkpoint = co_await find_checkpoint(volume_, store_id_, old_checkpoints_, foreign_);
  if (!checkpoint.ok()) co_return checkpoint.status();
  checkpoint_ = std::move(*checkpoint);
  if (known.checkpoint != UINT64_MAX &&
      (!checkpoint_ || checkpoint_->file.number < known.checkpoint)) {
    const FileId named{FileKind::kCheckpoint, known.checkpoint};
    const bool there = std::count(old_checkpoints_.begin(), old_checkpoints_.end(), named) > 0 ||
                       std::count(foreign_.begin(), foreign_.end(), named) > 0;
    notes_.push_back(
        cat(to_string(named), there ? " is damaged" : " is missing", "; the log alone is enough"));
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
  // The first one of each second, as the log kept them; segments are read side by side.
  absl::flat_hash_map<int64_t, std::pair<uint64_t, int64_t>> seconds;
  Mutex times_mutex;
  recover.note_time = [&](Lsn lsn, int64_t ms) {
    MutexLock lock(times_mutex);
    auto [it, first] = seconds.try_emplace(ms / 1000, lsn.value(), ms);
    if (!first) it->second = std::min(it->second, {lsn.value(), ms});
  };
  auto replay = std::make_unique<Replay>(*this, faults_, recover.note_time);
  recover.apply = [&](std::span<const LogRecord> records) { replay->apply(records); };
  // A record that is read back to be folded into names its segment alone.
  lives_ = LogLives();
  for (const ManifestSegment& s : known.segments) lives_.add(SegmentId(s.number), s.epoch);
  const auto expect = [&] {
    if (!known.segments.empty()) {
      replay->expect(Lsn(known.segments.front().number * segment_bytes_));
    }
  };
  expect();
  recover.crowded = [&](bool ahead) { return replay->crowded(ahead); };
  recover.fold = [&](Lsn before) { return replay->fold(before); };
  recover.progress = &progress_;
  usage_.start(segment_bytes_);
  std::vector<FileId> old_checkpoints = std::move(old_checkpoints_);
  if (checkpoint_) {
    recover.from = Lsn(checkpoint_->footer.begin);
    recover.load_base = [&]() -> awaitable<Status> {
      Status loaded = co_await load_checkpoint(*checkpoint_, *replay);
      if (!loaded.ok()) {  // the log alone, then
        replay = std::make_unique<Replay>(*this, faults_, recover.note_time);
        expect();
        recovered_items_ = 0;
        recover.from = Lsn();
      } else {
        replay->on_base(recover.from);
      }
      co_return loaded;
    };
  }
  auto log = co_await recover_log(volume_, recover);
  if (!log.ok()) co_return log.status();
  uint64_t next_checkpoint = 0;
  if (checkpoint_) old_checkpoints.push_back(checkpoint_->file);
  for (FileId id : old_checkpoints) next_checkpoint = std::max(next_checkpoint, id.number + 1);
  Lsn base = log->on_base ? recover.from : Lsn();
  recovered_records_ = log->records;
  lives_ = log->lives;
  recovered_ = log->proven;
  std::vector<std::pair<uint64_t, int64_t>> times;
  times.reserve(seconds.size());
  for (auto& item : seconds) times.push_back(item.second);
  std::sort(times.begin(), times.end());
  for (auto& [lsn, ms] : times) log_.note_time(Lsn(lsn), ms);

  std::vector<LsnRange> lost = known.lost;
  lost.insert(lost.end(), log->lost.begin(), log->lost.end());
  Lsn first;
  if (!log->proven.empty()) first = log->proven.front().first;
  Status loaded = co_await replay->finish(first, std::move(lost));
  if (!loaded.ok()) co_return loaded;
  notes_.insert(notes_.end(), replay->notes().begin(), replay->notes().end());
  const auto given_up = replay->given_up(), restated = replay->restated();
  loaded = co_await load(*replay);
  replay.reset();
  if (!loaded.ok()) co_return loaded;
  Status started = co_await begin_life(*log);
  if (!started.ok()) co_return started;
  // The log can do without them, and on a nearly full volume it needs their room. One that went on
  // from segments which are lost would count again when others have taken their place.
  auto free = co_await volume_.free_bytes();
  const bool needed = free.ok() && *free < 4 * segment_bytes_;
  const bool astray = manifest_.rebuilt() && !log->on_base;
  if ((needed || astray) && !old_checkpoints.empty()) {
    for (FileId id : old_checkpoints) {
      if (needed) {
        (void)co_await volume_.remove(id);
      } else {  // it may be all that is left of something
        (void)co_await set_aside(id, "");
      }
    }
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
    write_name(*ns);
  }
  nameless_.clear();
  if (swap_lost_) write_swap();
  for (auto& [ns, key] : given_up) {  // so that no later start asks for them
    RecordView gone;
    gone.type = RecordType::kDelete;
    gone.ns = ns;
    gone.key = key;
    log_.append(gone);
  }
  if (!log->lost.empty()) (void)co_await save_from_checkpoint(log->lost);
  if (!log->lost.empty()) (void)co_await save_expiries(log->lost, restated);
  (void)co_await log_.wait_durable(Lsn(log_.tail().value() - 1));
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
  const uint32_t next = next_namespace();
  manifest_.change([&](ManifestState& m) {
    m.segments.clear();
    for (auto& [first, end] : log.proven) {
      const SegmentId segment(first.value() / segment_bytes_);
      m.segments.push_back({segment.value(), end.value(), log.lives.epoch_of(segment), 0});
    }
    m.proven = std::max(m.proven, log.end.value());
    m.lost.insert(m.lost.end(), log.lost.begin(), log.lost.end());
    m.next_namespace = std::max(m.next_namespace, next);
  });
  Status saved = co_await manifest_.save();
  if (!saved.ok()) co_return saved;
  notes_.insert(notes_.end(), log.notes.begin(), log.notes.end());
  const std::vector<LsnRange> lost = manifest_.state().lost;
  // What was not read may be all that is left of something.
  const bool keep = !lost.empty() || log.unread || manifest_.rebuilt();
  Status started = co_await extents_.start(store_id_, options_.extent_file_bytes, keep);
  if (!started.ok()) co_return started;
  const auto& others = extents_.foreign_files();
  foreign_.insert(foreign_.end(), others.begin(), others.end());
  foreign_.insert(foreign_.end(), log.foreign.begin(), log.foreign.end());
  for (const FileId& file : foreign_) {
    Status gone = co_await set_aside(file, "is none of this store's files, and ");
    if (!gone.ok()) co_return gone;
  }
  // Before a new segment is made: on a full volume these make the room for it.
  for (SegmentId s : log.unused) {
    const FileId file{FileKind::kSegment, s.value()};
    Status gone;
    if (!log.lost.empty() || log.unread || manifest_.rebuilt()) {
      gone = co_await set_aside(file, "");
    } else {
      gone = co_await volume_.recycle(file);
    }
    if (!gone.ok()) co_return gone;
  }
  if (!log.unused.empty() || !foreign_.empty()) {
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

awaitable<Status> Store::set_aside(FileId file, std::string_view why) {
  Status kept = co_await volume_.keep_apart(file);
  if (absl::IsNotFound(kept)) co_return absl::OkStatus();  // somebody was faster
  if (kept.ok()) notes_.push_back(cat(to_string(file), " ", why, "was set aside"));
  co_return kept;
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

// What a checkpoint had kept of records that are lost is appended again: the log alone is enough
// once more, and the cleaner need not know.
awaitable<Status> Store::save_from_checkpoint(const std::vector<LsnRange>& lost) {
  auto is_lost = [&](const Entry* e) {
    const Collection* c = e->collection();
    const Lsn first = c == nullptr ? e->lsn() : c->share_.oldest();
    return !e->is_cold() && std::any_of(lost.begin(), lost.end(), [&](const LsnRange& r) {
      return r.from <= e->lsn().value() && first.value() < r.to;
    });
  };
  for (const NamespacePtr& ns : spaces()) {
    for (size_t s = 0; s < kStripes; s++) {
      std::vector<std::string> keys;
      {
        StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
        ns->index->for_each(s, [&](const Entry* e) {
          if (is_lost(e)) keys.emplace_back(e->key());
        });
      }
      for (std::string& key : keys) {
        if (Status room = log_.admit(Need::kPut); !room.ok()) co_return room;
        Known which;
        {
          const KeyHash hash = ns->hash(key);
          StripeLocks lock(*this, hash);
          Entry* e = ns->index->find(key, hash);
          const Collection* c = e->collection();
          if (c == nullptr) move(*ns, hash, e, copy_record(*ns, e, e->value()));
          if (c != nullptr && c->image_bytes() <= part_bytes()) rewrite(*ns, hash, e);
          if (c == nullptr || c->image_bytes() <= part_bytes()) continue;
          which = known(*ns, e);
        }
        Status rewritten = co_await rewrite_parts(std::move(which), log_.tail(),
                                                  [this](uint64_t) -> awaitable<void> {
                                                    co_await log_.wait_for_backlog();
                                                    co_await log_.wait_for_large();
                                                  });
        if (!rewritten.ok()) co_return rewritten;
      }
    }
  }
  co_return absl::OkStatus();
}

// An expiry that a record in a lost range may have set: it is said again, of every key whose own
// record is older than that.
awaitable<Status> Store::save_expiries(
    const std::vector<LsnRange>& lost,
    const std::vector<std::pair<NamespaceId, std::string>>& also) {
  uint64_t end = 0;
  for (const LsnRange& range : lost) end = std::max(end, range.to);
  const auto doubtful = [&](const Entry* e) {
    const Collection* c = e->collection();
    const bool apart = c == nullptr ? e->expiry_apart() : c->share_.expires() != e->has_expiry();
    return (apart || e->has_expiry()) && e->lsn().value() < end;
  };
  for (auto& [id, key] : also) {
    const NamespacePtr ns = namespace_by_id(id);
    if (ns == nullptr) continue;
    if (Status said = say_expiry(*ns, key); !said.ok()) co_return said;
    if (log_.backlogged()) co_await log_.wait_for_backlog();
  }
  for (const NamespacePtr& ns : spaces()) {
    for (size_t s = 0; s < kStripes; s++) {
      std::vector<std::string> keys;
      {
        StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
        ns->index->for_each(s, [&](const Entry* e) {
          if (doubtful(e)) keys.emplace_back(e->key());
        });
      }
      for (const std::string& key : keys) {
        if (Status said = say_expiry(*ns, key); !said.ok()) co_return said;
      }
      if (log_.backlogged()) co_await log_.wait_for_backlog();
    }
  }
  co_return absl::OkStatus();
}

Status Store::say_expiry(Namespace& ns, std::string_view key) {
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(*this, hash);
  Entry* e = ns.index->find(key, hash);
  if (e == nullptr) return absl::OkStatus();
  Transaction t(*this, &lock, Shape::kOne, Wish::kNone, Cause::kCopy);
  return t.expire(ns, hash, e, e->expire_ms());
}

// After all records are applied: what is derived from what is there.
awaitable<Status> Store::load(const Replay& replay) {
  uint32_t next =
      std::max({kFirstBucket, manifest_.state().next_namespace, replay.next_namespace()});
  if (checkpoint_) next = std::max(next, checkpoint_->footer.next_namespace);
  if (planted(Bug::kIdUsedAgain)) next = kFirstBucket;
  const std::vector<Replay::Space> all = replay.namespaces();
  for (const Replay::Space& alive : all) {
    const NamespacePtr& ns = alive.space;
    const Lsn since = alive.since;
    if (!is_database(ns->id)) next = std::max(next, (ns->id.value() & ~kVersionsBit) + 1);
    if (is_versions(ns->id)) ns->order_end = Namespace::kAllHashes;
    if (ns->is_bucket()) {
      MutexLock lock(names_mutex_);
      if (!ns->named.valid()) {
        std::string name = cat("lost-", ns->id.value());
        while (by_name_.contains(name)) append(name, "-");
        ns->name = name;
        ns->set_properties(std::make_shared<const Properties>(Properties{clock_.now_ms()}));
        nameless_.push_back(ns);
        notes_.push_back(cat("the name of a bucket is lost; it is called ", name, " now"));
      } else if (ns->named < replay.first() || replay.is_lost(ns->named)) {
        // A checkpoint alone knows it: its record is lost. Or it was dropped, its record was
        // cleaned away, and then what said that it was dropped got lost.
        nameless_.push_back(ns);
      }
      ns->order_end = Namespace::kAllHashes;
      by_name_[ns->name] = ns;
    }
    {
      MutexLock lock(names_mutex_);
      if (ns->named.valid()) usage_.add(ns->named, ns->name_bytes);
      by_id_[ns->id.value()] = ns;
    }
    std::atomic<size_t> next_stripe{0};
    Mutex mutex;
    Status status;
    std::vector<std::string> emptied;
    auto work = [&]() -> awaitable<void> {
      constexpr size_t kStep = 64;
      auto executor = co_await asio::this_coro::executor;
      for (size_t s; (s = next_stripe.fetch_add(kStep)) < kStripes;) {
        for (size_t i = s; i < s + kStep; i++) {
          std::vector<std::string> none;
          Status loaded = load_stripe(*ns, i, since, replay.first(), none);
          if (loaded.ok() && none.empty()) continue;
          MutexLock lock(mutex);
          emptied.insert(emptied.end(), none.begin(), none.end());
          if (!loaded.ok()) status = loaded;
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
    note_emptied(*ns, std::move(emptied));
    ns->committed_keys_ = static_cast<int64_t>(ns->size());
    ns->index->loading = false;
  }
  link_versions(replay);
  int64_t believed_ms = int64_t{manifest_.state().believed_minutes} * 60000;
  if (locks_ && believed_ms == 0) {  // what it had was not saved: it began with the first lock
    for (const Replay::Space& alive : replay.namespaces()) {
      const Namespace& ns = *alive.space;
      if (!ns.is_bucket() || !ns.properties()->object_lock || !ns.named.valid()) continue;
      const int64_t named_ms = log_.time_of(ns.named);
      believed_ms = believed_ms == 0 ? named_ms : std::min(believed_ms, named_ms);
    }
  }
  lock_clock_.begin(believed_ms);
  if (const Lsn swapped = replay.swapped(); swapped.valid()) {
    note_swap_record(swapped, replay.holdings());
    // A checkpoint alone has it, or it is not about all of those that there are now.
    swap_lost_ = swapped < replay.first() || replay.is_lost(swapped) ||
                 replay.holdings().numbers.size() != databases();
  }
  MutexLock lock(names_mutex_);
  const auto note = [&](Namespace& ns) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    note_access(ns);
    ns.set_quota(ns.properties()->quota, meter(ns.properties()->charged_to));
  };
  for (const auto& ns : databases_) note(*ns);
  for (const auto& [name, ns] : by_name_) note(*ns);
  next_namespace_ = next;
  co_return absl::OkStatus();
}

// Buckets and their companions; of one that is empty the log has nothing.
void Store::link_versions(const Replay& replay) {
  MutexLock lock(names_mutex_);
  for (const Replay::Space& alive : replay.namespaces()) {
    Namespace& ns = *alive.space;
    if (!ns.is_bucket()) continue;
    NamespacePtr& versions = by_id_[versions_of(ns.id).value()];
    const Versioning versioning = ns.properties()->versioning;
    if (ns.properties()->object_lock) locks_ = true;
    if (versioning == Versioning::kOff && versions == nullptr) {
      by_id_.erase(versions_of(ns.id).value());
      continue;
    }
    if (versions == nullptr) versions = make_companion(ns);
    versions->name = cat(ns.name, " (versions)");
    // Where its name is lost, so is whether they are made: none is replaced.
    const bool lost = versioning == Versioning::kOff;
    if (lost) {
      Properties kept = *ns.properties();
      kept.versioning = Versioning::kSuspended;
      ns.set_properties(std::make_shared<const Properties>(std::move(kept)));
    }
    ns.keep_versions(versions, versioning != Versioning::kEnabled);
  }
}

void Store::note_emptied(const Namespace& ns, std::vector<std::string> keys) {
  constexpr size_t kNamed = 100;
  if (keys.empty()) return;
  std::sort(keys.begin(), keys.end());
  std::string names;
  for (size_t i = 0; i < std::min(keys.size(), kNamed); i++) {
    append(names, i > 0 ? ", " : "", ns.name, "/", keys[i]);
  }
  notes_.push_back(cat("nothing is left of ", keys.size(), " keys, which are gone: ", names,
                       keys.size() > kNamed ? ", and others" : ""));
}

// What has expired is kept until the ticker removes it with a tombstone: it is served to nobody,
// and a clock that is set back at the next start brings nothing back.
Status Store::load_stripe(Namespace& ns, size_t s, Lsn since, Lsn first,
                          std::vector<std::string>& emptied) {
  Stripe& stripe = (*stripes_)[s];
  std::vector<std::pair<Entry*, KeyHash>> gone;
  Status damage;
  SegmentUsage::Sum usage(usage_);
  const bool ordered = ns.ordered();
  uint64_t cold = 0;
  int64_t bytes = 0, counted = 0;
  ns.index->for_each(s, [&](Entry* e) {
    if (e->lsn() < since || (planted(Bug::kExpiredNotLoaded) && e->expired(clock_.now_ms()))) {
      gone.emplace_back(e, ns.hash(e->key()));
      return;
    }
    // Its records make the same of it at each start, until they are cleaned away.
    if (e->collection() != nullptr && e->collection()->empty()) {
      emptied.emplace_back(e->key());
      gone.emplace_back(e, ns.hash(e->key()));
      return;
    }
    bytes += held_bytes(e);
    counted += quota_bytes(e);
    if (Collection* c = e->collection()) {
      forget_charges(*c, first);
      count(*c, 1);
      note_due(ns, stripe, e);
    } else {
      usage.add(e->lsn(), e->record_bytes());
      if (e->has_expiry()) note_due(ns, stripe, e);
    }
    cold += e->is_cold();
    ns.note_encrypted(e);
    if (ordered && !(e->is_cold() && planted(Bug::kColdNotListed))) {
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
  memory_count_->add(s, bytes);
  ns.index->add_bytes(counted);
  cold_ += cold;
  for (auto& [e, hash] : gone) {
    ns.index->remove(e, hash);
    Entry::destroy(e);
  }
  ns.index->fit(s);
  return damage;
}

// ---- checkpoints ----

int Store::loading_percent() const {
  const uint64_t total = progress_.total.load(), done = progress_.done.load();
  if (!loading()) return 100;
  return total == 0 ? 0 : static_cast<int>(std::min<uint64_t>(99, done * 100 / total));
}

awaitable<Status> Store::load_checkpoint(const FoundCheckpoint& checkpoint, Replay& replay) {
  std::atomic<size_t> next{0};
  Mutex mutex;
  Status status;
  const size_t chunks = checkpoint.footer.chunks;
  progress_.total += checkpoint.footer.index_offset;
  auto work = [&]() -> awaitable<void> {
    for (size_t i; (i = next.fetch_add(1)) < chunks;) {
      Status applied;
      Status read = co_await read_chunk(volume_, checkpoint, i, [&](const CheckpointItem& item) {
        if (applied.ok()) applied = replay.apply(item);
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
  for (const Executor& e : executors_) {  // one works while the other's chunk comes
    for (int i = 0; i < 2; i++) jobs.emplace_back(e, work);
  }
  co_await run_all(std::move(jobs));
  recovered_items_ = checkpoint.footer.items;
  co_return status;
}

}  // namespace cairn
