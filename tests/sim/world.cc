// The lives of a store and the laws that hold between them; see life.h.
#include "tests/sim/world.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>

#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/text.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"
#include "tests/sim/damage.h"
#include "tests/sim/life.h"

namespace cairn::sim {

void fail(uint64_t seed, const std::string& what) {
  std::printf("FAILED seed %llu: %s\nreplay: build/release/tests/store_sim --from %llu --seeds 1\n",
              static_cast<unsigned long long>(seed), what.c_str(),
              static_cast<unsigned long long>(seed));
  std::exit(1);
}

// ---- lives ----

StoreOptions World::make_options() {
  StoreOptions options;
  options.segment_bytes = kSegmentBytes;
  options.extent_threshold = 8 << 10;
  options.extent_file_bytes = 1 << 20;
  options.random_seed = rng_() | 1;
  options.collections = kv::collection_types();
  if (pick(2) == 0) {
    options.memory_bytes = (150 << 10) + (16 << 10 << pick(5));  // tables, some values
  }
  return options;
}

// Clocks are set, and mostly forward.
void World::turn_clock(bool running) {
  const uint64_t range = pick(16) == 0 ? 100'000'000 : 3'000;
  const auto by = static_cast<int64_t>(pick(range));
  const bool back = pick(3) == 0;
  if (back) seen.clocks_back++;
  if (running) {
    scheduler_->turn_wall_ms(back ? -by : by / 4);
  } else {
    now_ms_ += back ? -by : by;
  }
}

// One life of the store: it opens, works, and ends at a crash or by closing.
void World::live(bool last) {
  asio::io_context context;
  Scheduler scheduler(context, rng_);
  scheduler_ = &scheduler;
  if (life_ > 0 && pick(8) == 0) turn_clock(false);
  scheduler.set_now_ms(now_ms_);
  SimClock clock(scheduler);
  Faults faults;
  // Many lives end while they recover; in a long seed all that do not are long.
  const uint64_t calls_max = pick(4) == 0 ? 60 : long_ ? 12'000 : 900;
  if (!last && pick(6) != 0) faults.crash_at_call = 1 + pick(calls_max);
  const bool errors = pick(16) == 0;
  if (errors) faults.write_error = faults.sync_error = 0.01;
  const bool unreadable = !errors && pick(16) == 0;
  // Little or no room is left; now and then for all lives from the second on.
  const bool stays = stays_full_ && life_ > 0;
  const bool full = stays || (!last && (long_ || pick(8) == 0) && !long_elements_);
  unreadable_ = unreadable;
  if (unreadable) faults.read_error = 0.005;
  if (!stays || life_ == 1) disk_.capacity_bytes = UINT64_MAX;
  if (full && (!stays || life_ == 1))
    disk_.capacity_bytes = disk_.used_bytes() + pick(long_ ? 400 << 10 : 2 << 20);
  SimVolume volume(disk_, scheduler, rng_, faults);
  auto finish = [&](awaitable<void> work) {  // false: the world ended before
    bool done = false;
    asio::co_spawn(context, std::move(work), [&](std::exception_ptr) { done = true; });
    scheduler.run_until([&] { return done || volume.crashed(); });
    return done && !volume.crashed();
  };
  ChunkPool pool;
  const StoreOptions options = make_options();
  // The executor twice, so that recovery reads segments in any order.
  const std::vector<Executor> executors(2, Executor(context.get_executor()));
  auto store = std::make_unique<Store>(volume, clock, pool, executors, options);
  store_ = store.get();
  store->listeners().add(*this);
  store->listeners().interest(1);
  if (options.memory_bytes != 0 && pick(6) == 0) {
    store->memory().set_policy(EvictionPolicy::kAllKeysLru);
  }
  acked_ = Lsn();
  was_full_ = false;
  Status opened = absl::UnknownError("");
  bool clean = false, has_reserve = false;
  disk_.aside.clear();
  auto open = [&]() -> awaitable<void> { opened = co_await store->open(); };
  if (!finish(open())) {
    seen.crashes_in_recovery++;
  } else if (!opened.ok()) {
    if (!errors && !(full && absl::IsResourceExhausted(opened)) &&
        !(unreadable && unread(opened))) {
      wrong(cat("recovery refused: ", opened.message()));
    }
  } else {
    if (!disk_.aside.empty() && !errors && !unreadable) {
      wrong(cat("what a crash left was taken for another's: ", to_string(disk_.aside[0].first)));
    }
    if (store->epoch() <= epoch_) wrong("an epoch was used twice");
    epoch_ = store->epoch();
    if (store->recovered_items() > 0) seen.starts_from_checkpoint++;
    settle(store->recovered());
    note_superblocks();
    bool on = finish(check());
    on = on && finish(clock.sleep_ms(200));  // segments are prepared by then
    has_reserve =
        store->log().room() > kSegmentBytes * 5 / 2 && disk_.capacity_bytes > kSegmentBytes * 8;
    followed_.clear();
    followed_to_ = Lsn();
    follows_ = on && pick(3) == 0;
    if (follows_) asio::co_spawn(context, follow(), asio::detached);
    if (on) {
      std::vector<awaitable<void>> clients;
      clients.reserve(4);
      for (int i = 0; i < 4; i++) {
        clients.push_back(client(last ? 10 : long_ ? 500 + pick(300) : 20 + pick(60)));
      }
      if (pick(8) == 0) {  // closed while they work: what they were told is durable is
        on = finish(close_under(std::move(clients)));
        seen.closed_under_load += on;
        on = false;
      } else {
        on = finish(together(std::move(clients)));
        if (on && follows_) on = finish(check_followed());
        if (on && pick(4) == 0) on = finish(check_now());
      }
    }
    // Restarts do not use the reserve up: what was there once is there again.
    had_reserve_ = stays && (had_reserve_ || has_reserve);
    const bool reserve = has_reserve || had_reserve_;
    if (on && !errors && pick(2) == 0) on = finish(full && reserve ? relieve() : calm());
    if (on && (last || pick(2) == 0)) {
      Status closed;
      auto close = [&]() -> awaitable<void> { closed = co_await store->close(); };
      if (finish(close()) && closed.ok()) {
        clean = true;
        for (auto& [lsn, change] : changes_) acked_ = std::max(acked_, lsn);
      }
    }
  }
  if ((has_reserve || had_reserve_) && !errors && !volume.crashed() &&
      !store->log().status().ok()) {
    wrong(cat("the log failed: ", store->log().status().message(), "; ", space()));
  }
  now_ms_ = scheduler.wall_ms();
  count(*store);
  durable_floor_ = std::max(durable_floor_, acked_);
  for (int i = 0; i < 50; i++) {  // coroutines that were cut off go before what they point to
    scheduler.clear();
    store->drop_waiters();
    context.restart();
    context.poll();
  }
  store.reset();
  trace = volume.trace(trace);
  if (!clean) {
    disk_.crash(rng_);
    seen.crashes++;
  }
  if (!errors && pick(4) == 0) look_at_damage(options, clean, nullptr);
  // Apart from the world's own course.
  Rng apart(seed_ << 8 | static_cast<uint64_t>(life_));
  if (!errors && !older_.empty() && apart() % 4 == 0) {
    std::swap(rng_, apart);
    look_at_damage(options, clean, &older_[rng_() % older_.size()]);
    std::swap(rng_, apart);
  }
  note_superblocks();
}

void World::note_superblocks() {
  Superblocks both = superblocks_of(disk_);
  if (both.size() == 2) older_.push_back(std::move(both));  // else the first start was cut off
}

void World::count(Store& store) {
  const auto cleaner = store.cleaner().stats();
  seen.cleaned += cleaner.segments_freed;
  seen.copied_bytes += cleaner.bytes_copied;
  seen.checkpoints += store.checkpointer().written();
  seen.blobs_moved += store.compactor().stats().blobs_moved;
  seen.spilled += store.memory().stats().spilled;
  seen.value_reads += store.faults().reads();
}

void World::look_at_damage(const StoreOptions& options, bool clean, const Superblocks* older) {
  Believed believed{state_, changes_, ever_, {}, epoch_};
  // The tail can only be told from a torn one where something says that it was durable.
  ManifestState known;
  for (uint64_t copy = 0; copy < 2; copy++) {
    auto file = disk_.files.find({FileKind::kSuperblock, copy});
    if (file == disk_.files.end()) return;  // the first start was cut off
    auto manifest = ManifestState::decode(file->second->view, copy);
    if (!manifest) return;  // so was this save: one copy is all there is
    if (manifest->generation > known.generation) known = *manifest;
  }
  for (auto& [lsn, change] : changes_) {
    // A start that was cut off may have gone on behind what it found not to have happened: what
    // lies in no segment, or behind the end of one, never did.
    const uint64_t at = lsn.value();
    const bool never = !known.segments.empty() &&
                       at / kSegmentBytes >= known.segments.front().number &&
                       std::none_of(known.segments.begin(), known.segments.end(), [&](auto& s) {
                         return s.number == at / kSegmentBytes && (s.end == 0 || at < s.end);
                       });
    if (at < known.proven && !never) believed.durable = lsn;
  }
  if (clean) believed.durable = durable_floor_;
  open_damaged(seed_, rng_, disk_, older, believed, options, now_ms_, seen);
}

awaitable<void> World::close_under(std::vector<awaitable<void>> work) {
  auto executor = co_await asio::this_coro::executor;
  Tasks tasks;
  for (auto& w : work) tasks.spawn(executor, "a client", std::move(w));
  co_await store_->clock().sleep_ms(static_cast<int64_t>(pick(100)));
  Status closed = co_await store_->close();
  if (!closed.ok() && store_->log().status().ok()) wrong(cat("close: ", closed.message()));
}

awaitable<void> World::together(std::vector<awaitable<void>> work) {
  auto executor = co_await asio::this_coro::executor;
  Tasks tasks;
  for (auto& w : work) tasks.spawn(executor, "a client", std::move(w));
  co_await tasks.ended();
}

// ---- what came back ----

void World::settle(const Proven& proven) {
  auto happened = [&](Lsn lsn) { return sim::happened(proven, lsn, durable_floor_); };
  if (durable_floor_.valid() && !happened(durable_floor_)) {
    wrong(cat("the acknowledged LSN ", durable_floor_.value(), " is not proven"));
  }
  bool missing = false, goes_on = false;
  for (auto& [lsn, change] : changes_) {
    if (!happened(lsn)) {
      if (goes_on) wrong(cat("a transaction came back without its LSN ", lsn.value()));
      missing = true;
      if (change.kind == Change::kCreate) ids_.erase(change.key.first);
      continue;
    }
    goes_on = change.goes_on;
    if (missing) wrong(cat("LSN ", lsn.value(), " came back, one before it did not"));
    change.value.version = lsn;
    note(ever_, change);
    state_.apply(change);
  }
  changes_.clear();
  groups_.clear();
  heard_.clear();
}

bool World::changed_since(const Key& key, Lsn since) const {
  return std::any_of(changes_.upper_bound(since), changes_.end(),
                     [&](auto& c) { return c.second.concerns(key); });
}

// What is there while the store runs is what will be there.
awaitable<void> World::check_now() {
  State now = state_;
  Lsn since;
  for (auto [lsn, change] : changes_) {
    change.value.version = since = lsn;
    now.apply(change);
  }
  check_parts();
  for (auto& [key, value] : now.keys) {
    const NamespacePtr ns = find_space(key.first);
    if (ns == nullptr) wrong(cat("key ", key.second, " of a bucket that is gone"));
    unread_ = false;
    const auto got = co_await read(ns, key.second);
    if (!store_->log().status().ok()) co_return;
    if (!unread_) check_key(key, value, got, since);
  }
}

awaitable<void> World::check() {
  check_buckets();
  for (auto& [key, value] : state_.keys) {
    const NamespacePtr ns = find_space(key.first);
    if (ns == nullptr) wrong(cat("key ", key.second, " of a bucket that is gone"));
    unread_ = false;
    const auto got = co_await read(ns, key.second);
    if (!store_->log().status().ok()) co_return;
    if (!unread_) check_key(key, value, got, Lsn());
  }
  check_count();
  for (auto& [id, name] : state_.buckets) {
    const bool on = co_await check_listing(find_space(id));
    if (!on) co_return;
  }
  const bool on = co_await check_listing(store_->system().shared_from_this());
  if (on) check_sweep();
}

void World::check_key(const Key& key, const Value& value, const std::optional<Value>& got,
                      Lsn since) {
  const bool expired = value.expired(store_->now_ms());
  if (!got.has_value() && (expired || changed_since(key, since))) return;
  if (!got.has_value()) {
    wrong(cat("key ", key.first, "/", key.second, " is lost, version ", value.version.value(),
              " expiring ", value.expire_ms, ", now ", store_->now_ms(), " fields ",
              value.fields.size()));
  }
  if (expired || value.is_seen_as(*got, store_->now_ms())) return;
  wrong(cat("key ", key.first, "/", key.second,
            " has another value: ", got->bytes.substr(0, got->bytes.find(':')), " of ",
            got->bytes.size(), " bytes expiring ", got->expire_ms, ", model ",
            value.bytes.substr(0, value.bytes.find(':')), " of ", value.bytes.size(),
            " bytes expiring ", value.expire_ms, ", now ", store_->now_ms(), "; versions ",
            got->version.value(), " and ", value.version.value(), "; meta ", got->meta.size(),
            " and ", value.meta.size()));
}

// Law 14, as long as the cleaner does not overtake it.
awaitable<void> World::follow() {
  followed_to_ = followed_from_ = store_->log().durable();
  LogTail tail = store_->tail(followed_from_);
  for (Lsn last; follows_;) {
    const auto records = co_await tail.next();
    if (!records.ok()) {
      follows_ = false;
      const Status& why = records.status();
      if (!absl::IsOutOfRange(why) && !absl::IsCancelled(why) && !absl::IsUnavailable(why) &&
          !(unreadable_ && absl::IsDataLoss(why))) {
        wrong(cat("the log's tail: ", why.message()));
      }
      co_return;
    }
    for (const LogRecord& r : *records) {
      if (r.lsn <= last || !store_->log().is_durable(r.lsn)) {
        wrong(cat("the log's tail gave LSN ", r.lsn.value(), " after ", last.value()));
      }
      followed_.insert(last = r.lsn);
      seen.followed++;
    }
    followed_to_ = tail.at();
  }
}

awaitable<void> World::check_followed() {
  for (int i = 0; i < 1000 && follows_ && followed_to_ <= acked_; i++) {
    co_await store_->clock().sleep_ms(5);
  }
  if (!follows_ || !store_->log().status().ok()) co_return;
  if (followed_to_ <= acked_) wrong("the log's tail does not come to what is durable");
  for (auto& [lsn, change] : changes_) {
    if (followed_from_ <= lsn && lsn < followed_to_ && !followed_.contains(lsn)) {
      wrong(cat("the log's tail left out LSN ", lsn.value()));
    }
  }
}

// There is nothing else.
void World::check_count() {
  uint64_t live = 0, found = 0;
  for (auto& held : state_.keys) {
    const bool gone = std::any_of(changes_.begin(), changes_.end(), [&](auto& c) {
      return c.second.kind != Change::kLapse && c.second.concerns(held.first);
    });
    live += !held.second.expired(store_->now_ms()) && !gone;
  }
  for (auto& ns : store_->spaces()) {
    for (size_t s = 0; s < kStripes && ns->size() > 0; s++) {
      StripeLocks lock(*store_, KeyHash{s} << (64 - kStripeBits));
      ns->index->for_each(s, [&](Entry* e) { found += !e->expired(store_->now_ms()); });
    }
  }
  if (found != live) wrong(cat("keys ", found, ", model ", live));
}

// ---- what the cleaner and a full volume owe ----

// Law 5: left alone, the cleaner brings the log down to its multiple of what lives in it.
awaitable<void> World::calm() {
  for (int i = 0; i < 1000 && store_->log().status().ok() && !store_->log().full(); i++) {
    auto s = store_->cleaner().stats();
    if (s.log_bytes <= 2 * s.live_bytes + 2 * kSegmentBytes) {
      seen.calm++;
      co_return;
    }
    co_await store_->clock().sleep_ms(20);
  }
  if (!store_->log().status().ok() || store_->log().full()) co_return;
  wrong(cat("the log stays large: ", space()));
}

bool World::remove(const Key& key) {
  const NamespacePtr ns = find_space(key.first);
  if (ns == nullptr) return true;
  const KeyHash hash = ns->hash(key.second);
  StripeLocks lock(*store_, hash);
  Entry* e = ns->index->find(key.second, hash);
  if (e == nullptr) return true;  // it expired
  Transaction t(*store_, &lock, Shape::kOne);
  (void)t.remove(*ns, hash, e);
  auto removed = t.commit();
  if (removed.ok()) changes_[*removed] = {Change::kDelete, key, {}};
  return removed.ok();
}

// Law 6: on a full volume keys can still be deleted, and then puts are taken again.
awaitable<void> World::relieve() {
  std::set<Key> keys;  // that are there now, proven or not
  for (auto& [key, value] : state_.keys) keys.insert(key);
  for (auto& [lsn, change] : changes_) {
    if (change.kind == Change::kSwap) {  // what one of them held the other may hold
      for (const Key& key : std::set<Key>(keys)) {
        if (key.first < kDatabasesUsed) {
          for (uint32_t i = 0; i < kDatabasesUsed; i++) keys.insert({i, key.second});
        }
      }
    } else if (change.kind != Change::kCreate && change.kind != Change::kTag) {
      keys.insert(change.key);
    }
  }
  for (const Key& key : keys) {
    for (int i = 0; !remove(key); i++) {
      if (!store_->log().status().ok()) co_return;
      if (i == 100) wrong(cat("deletions are refused: ", space()));
      co_await store_->clock().sleep_ms(20);  // the cleaner may have taken its share
    }
  }
  for (int i = 0; i < 1000; i++) {
    if (!store_->log().status().ok()) co_return;
    if (Status s = store_->check_write(true); s.ok() || is_out_of_memory(s)) {
      seen.relieved++;
      co_return;
    }
    co_await store_->clock().sleep_ms(20);
  }
  wrong(cat("no room although everything was deleted: ", space()));
}

std::string World::space() const {
  auto s = store_->cleaner().stats();
  return cat("the log has ", s.log_bytes, " bytes, live ", s.live_bytes, ", room ",
             store_->log().room(), "; the volume ", disk_.used_bytes(), " of ",
             disk_.capacity_bytes, "; ", s.status.message());
}

Outcome run_world(uint64_t seed, int crashes) {
  World world(seed, crashes);
  world.run();
  return {world.seen, world.trace};
}

}  // namespace cairn::sim
