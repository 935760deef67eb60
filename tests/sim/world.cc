#include "tests/sim/world.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>

#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/transaction.h"
#include "kv/types/hash.h"
#include "tests/sim/damage.h"
#include "tests/sim/sim_volume.h"

namespace cairn::sim {

void fail(uint64_t seed, const std::string& what) {
  std::printf("FAILED seed %llu: %s\nreplay: build/release/tests/store_sim --from %llu --seeds 1\n",
              static_cast<unsigned long long>(seed), what.c_str(),
              static_cast<unsigned long long>(seed));
  std::exit(1);
}

namespace {

class World : public ChangeListener {
 public:
  World(uint64_t seed, int crashes)
      : seed_(seed),
        long_(seed % 20 == 0),
        stays_full_(seed % 20 == 7),
        rng_(seed),
        crashes_(long_ ? 3 : crashes) {}

  void run() {
    for (life_ = 0; life_ <= crashes_; life_++) live(life_ == crashes_);
  }
  void changed(std::span<const cairn::Change> changes) override {
    for (auto& c : changes) heard_.push_back(c.lsn);
  }
  Seen seen;
  uint64_t trace = 0;  // of every call to the volume and its outcome

 private:
  uint64_t pick(uint64_t n) { return rng_() % n; }

  // One life of the store: it opens, works, and ends at a crash or by closing.
  void live(bool last) {
    asio::io_context context;
    Scheduler scheduler(context, rng_);
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
    const bool full = stays || (!last && (long_ || pick(8) == 0));
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
    StoreOptions options;
    options.segment_bytes = kSegmentBytes;
    options.extent_threshold = 8 << 10;
    options.extent_file_bytes = 1 << 20;
    options.random_seed = rng_() | 1;
    options.collections[static_cast<size_t>(ValueType::kHash)] = kv::Hash::make;
    if (pick(2) == 0)
      options.memory_bytes = (150 << 10) + (16 << 10 << pick(5));  // tables, some values
    // The executor twice, so that recovery reads segments in any order.
    const std::vector<Executor> executors(2, Executor(context.get_executor()));
    auto store = std::make_unique<Store>(volume, clock, pool, executors, options);
    store_ = store.get();
    store->listeners().add(*this);
    store->listeners().interest(1);
    acked_ = Lsn();
    was_full_ = false;
    Status opened = absl::UnknownError("");
    bool clean = false, has_reserve = false;
    auto open = [&]() -> awaitable<void> { opened = co_await store->open(); };
    if (!finish(open())) {
      seen.crashes_in_recovery++;
    } else if (!opened.ok()) {
      if (!errors && !(full && absl::IsResourceExhausted(opened)) &&
          !(unreadable && unread(opened))) {
        fail(seed_, cat("recovery refused: ", opened.message()));
      }
    } else {
      if (store->epoch() <= epoch_) fail(seed_, "an epoch was used twice");
      epoch_ = store->epoch();
      if (store->recovered_items() > 0) seen.starts_from_checkpoint++;
      settle(store->recovered());
      bool on = finish(check());
      on = on && finish(clock.sleep_ms(200));  // segments are prepared by then
      has_reserve =
          store->log().room() > kSegmentBytes * 5 / 2 && disk_.capacity_bytes > kSegmentBytes * 8;
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
      fail(seed_, cat("the log failed: ", store->log().status().message()));
    }
    now_ms_ = scheduler.now_ms();
    auto cleaner = store->cleaner().stats();
    seen.cleaned += cleaner.segments_freed;
    seen.copied_bytes += cleaner.bytes_copied;
    seen.checkpoints += store->checkpointer().written();
    seen.blobs_moved += store->compactor().stats().blobs_moved;
    seen.spilled += store->memory().stats().spilled;
    seen.value_reads += store->faults().reads();
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
    if (!errors && pick(4) == 0) look_at_damage(options, clean);
  }

  void look_at_damage(StoreOptions options, bool clean) {
    Believed believed{state_, changes_, ever_, {}};
    for (auto& [lsn, change] : changes_) {
      if (change.kind == Change::kPut) believed.ever.emplace(change.key, change.value.bytes);
    }
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
    open_damaged(seed_, rng_, disk_, believed, options, now_ms_, seen);
  }

  awaitable<void> close_under(std::vector<awaitable<void>> work) {
    auto executor = co_await asio::this_coro::executor;
    Tasks tasks;
    for (auto& w : work) tasks.spawn(executor, "a client", std::move(w));
    co_await store_->clock().sleep_ms(static_cast<int64_t>(pick(100)));
    Status closed = co_await store_->close();
    if (!closed.ok() && store_->log().status().ok()) {
      fail(seed_, cat("close: ", closed.message()));
    }
  }

  static awaitable<void> together(std::vector<awaitable<void>> work) {
    auto executor = co_await asio::this_coro::executor;
    Tasks tasks;
    for (auto& w : work) tasks.spawn(executor, "a client", std::move(w));
    co_await tasks.ended();
  }

  void settle(const Proven& proven) {
    auto happened = [&](Lsn lsn) { return sim::happened(proven, lsn, durable_floor_); };
    if (durable_floor_.valid() && !happened(durable_floor_)) {
      fail(seed_, cat("the acknowledged LSN ", durable_floor_.value(), " is not proven"));
    }
    bool missing = false, goes_on = false;
    for (auto& [lsn, change] : changes_) {
      if (!happened(lsn)) {
        if (goes_on) fail(seed_, cat("a transaction came back without its LSN ", lsn.value()));
        missing = true;
        continue;
      }
      goes_on = change.goes_on;
      if (missing) fail(seed_, cat("LSN ", lsn.value(), " came back, one before it did not"));
      change.value.version = lsn;
      if (change.kind == Change::kPut) ever_.emplace(change.key, change.value.bytes);
      sim::apply(state_, change);
    }
    changes_.clear();
  }

  // Law 5: left alone, the cleaner brings the log down to its multiple of what lives in it.
  awaitable<void> calm() {
    for (int i = 0; i < 1000 && store_->log().status().ok() && !store_->log().full(); i++) {
      auto s = store_->cleaner().stats();
      if (s.log_bytes <= 2 * s.live_bytes + 2 * kSegmentBytes) {
        seen.calm++;
        co_return;
      }
      co_await store_->clock().sleep_ms(20);
    }
    if (!store_->log().status().ok() || store_->log().full()) co_return;
    fail(seed_, cat("the log stays large: ", space()));
  }

  bool remove(const Key& key) {
    Namespace& ns = store_->database(key.first);
    KeyHash hash = ns.hash(key.second);
    StripeLocks lock(*store_, hash);
    Entry* e = ns.index->find(key.second, hash);
    if (e == nullptr) return true;  // it expired
    Transaction t(*store_, &lock, Shape::kOne);
    (void)t.remove(ns, hash, e);
    auto removed = t.commit();
    if (removed.ok()) changes_[*removed] = {Change::kDelete, key, {}};
    return removed.ok();
  }

  // Law 6: on a full volume keys can still be deleted, and then puts are taken again.
  awaitable<void> relieve() {
    while (!state_.empty() || !changes_.empty()) {  // what is there now, proven or not
      std::map<Key, Value> now = state_;
      for (auto& [lsn, change] : changes_) sim::apply(now, change);
      if (now.empty()) break;
      for (auto& [key, value] : now) {
        for (int i = 0; !remove(key); i++) {
          if (!store_->log().status().ok()) co_return;
          if (i == 100) fail(seed_, cat("deletions are refused: ", space()));
          co_await store_->clock().sleep_ms(20);  // the cleaner may have taken its share
        }
      }
      break;
    }
    for (int i = 0; i < 1000; i++) {
      if (!store_->log().status().ok()) co_return;
      if (Status s = store_->check_write(true); s.ok() || is_out_of_memory(s)) {
        seen.relieved++;
        co_return;
      }
      co_await store_->clock().sleep_ms(20);
    }
    fail(seed_, cat("no room although everything was deleted: ", space()));
  }

  std::string space() const {
    auto s = store_->cleaner().stats();
    return cat("the log has ", s.log_bytes, " bytes, live ", s.live_bytes, ", room ",
               store_->log().room(), "; the volume ", disk_.used_bytes(), " of ",
               disk_.capacity_bytes, "; ", s.status.message());
  }

  awaitable<void> check() {
    uint64_t live = 0;
    for (auto& [key, value] : state_) {
      Namespace& ns = store_->database(key.first);
      unread_ = false;
      auto got = co_await read(ns, key.second);
      if (!store_->log().status().ok()) co_return;
      if (unread_) continue;
      bool expired = value.expire_ms != 0 && value.expire_ms <= store_->now_ms();
      if (expired && !got.has_value()) continue;
      if (!got.has_value())
        fail(seed_, cat("key ", key.first, "/", key.second, " is lost, version ",
                        value.version.value(), " expiring ", value.expire_ms, ", now ",
                        store_->now_ms(), " fields ", value.fields.size()));
      if (*got != value && !expired) {
        fail(seed_, cat("key ", key.first, "/", key.second,
                        " has another value: ", got->bytes.substr(0, got->bytes.find(':')), " of ",
                        got->bytes.size(), " bytes expiring ", got->expire_ms, ", model ",
                        value.bytes.substr(0, value.bytes.find(':')), " of ", value.bytes.size(),
                        " bytes expiring ", value.expire_ms, ", now ", store_->now_ms(),
                        "; versions ", got->version.value(), " and ", value.version.value()));
      }
    }
    for (auto& [key, value] : state_) {
      if (value.expire_ms == 0 || value.expire_ms > store_->now_ms()) live++;
    }
    uint64_t found = 0;
    for (uint32_t n = 0; n < 3; n++) {
      Namespace& ns = store_->database(n);
      for (size_t s = 0; s < kStripes; s++) {
        StripeLocks lock(*store_, KeyHash{s} << (64 - kStripeBits));
        ns.index->for_each(s, [&](Entry* e) { found += !e->expired(store_->now_ms()); });
      }
    }
    if (found != live) fail(seed_, cat("keys ", found, ", model ", live));
  }

  // `pause_ms`: between opening a blob and reading it, as a slow client does.
  awaitable<std::optional<Value>> read(Namespace& ns, const std::string& key,
                                       int64_t pause_ms = 0) {
    std::unique_ptr<BlobReader> reader;
    Value value;
    const KeyHash hash = ns.hash(key);
    for (;;) {
      {
        StripeLocks lock(*store_, hash);
        Now now(store_->clock());
        Entry* e = store_->find(ns, key, hash, now);
        if (e == nullptr) co_return std::nullopt;
        value.expire_ms = e->expire_ms();
        value.version = e->version();
        if (e->is_blob()) {
          BlobRef ref = *BlobRef::decode(e->value());
          uint64_t size = ref.size;
          reader = std::make_unique<BlobReader>(store_->extents(), std::move(ref), 0, size);
          break;
        }
        if (const Collection* c = e->collection()) {
          static_cast<const kv::Hash*>(c)->for_each(
              [&](auto field, auto text) { value.fields[std::string(field)] = text; });
          co_return value;
        }
        if (!e->is_cold()) {
          e->touch();
          value.bytes = e->value();
          check_live({ns.id.value(), key}, value);
          co_return value;
        }
      }
      Status fetched = co_await store_->faults().fetch(ns.shared_from_this(), key);
      // The cleaner's newest copies are nowhere once the log failed.
      if (!fetched.ok() && !store_->log().status().ok()) co_return std::nullopt;
      if (unread(fetched)) co_return std::nullopt;
      if (!fetched.ok()) fail(seed_, cat("key ", key, ": ", fetched.message()));
    }
    if (pause_ms > 0) co_await store_->clock().sleep_ms(pause_ms);
    auto bytes = co_await reader->read_all(1 << 24);
    if (unread(bytes.status())) co_return std::nullopt;
    if (!bytes.ok()) fail(seed_, cat("key ", key, ": ", bytes.status().message()));
    value.bytes = std::move(*bytes);
    co_return value;
  }

  // A part of another blob, shared where it can be; `bytes` is what the writer holds.
  awaitable<Status> append_part(BlobWriter& writer, Namespace& ns, std::string& bytes) {
    const std::string from = cat("key", pick(40));
    std::unique_ptr<BlobReader> reader;  // holds the other one
    {
      const KeyHash hash = ns.hash(from);
      StripeLocks lock(*store_, hash);
      Now now(store_->clock());
      Entry* e = store_->find(ns, from, hash, now);
      if (e == nullptr || !e->is_blob()) co_return absl::OkStatus();
      const BlobRef ref = *BlobRef::decode(e->value());
      reader = std::make_unique<BlobReader>(store_->extents(), ref, 0, ref.size);
    }
    if (reader->left() > 1 << 20) co_return absl::OkStatus();
    auto text = co_await reader->read_all(1 << 20);
    if (unread(text.status())) co_return absl::OkStatus();
    if (!text.ok()) fail(seed_, cat("key ", from, ": ", text.status().message()));
    const uint64_t at = pick(text->size()), length = pick(text->size() - at + 1);
    bytes += text->substr(at, length);
    co_return co_await writer.append_range(reader->blob(), at, length);
  }

  // What is read while others write is what was written under that version.
  void check_live(const Key& key, const Value& value) {
    const Value* written = nullptr;
    if (auto change = changes_.find(value.version); change != changes_.end()) {
      written = &change->second.value;
    } else if (auto old = state_.find(key);
               old != state_.end() && old->second.version == value.version) {
      written = &old->second;
    }
    if (written != nullptr && written->bytes != value.bytes) {
      fail(seed_, cat("key ", key.second, " reads other bytes than were written"));
    }
  }

  std::string content(size_t size) {
    std::string s = cat("v", next_value_++, ":");
    for (uint64_t x = next_value_; s.size() < size; x = x * 6364136223846793005ULL + 1) {
      s.append(reinterpret_cast<const char*>(&x), sizeof(x));
    }
    s.resize(std::max<size_t>(size, 1));
    return s;
  }

  // Whether a write was refused for want of space, which ends by itself.
  bool refused(const Status& status) {
    if (!absl::IsResourceExhausted(status)) return false;
    seen.refused_full++;
    was_full_ = true;
    return true;
  }

  // Whether the volume would not read: the data is refused, and there.
  bool unread(const Status& status) {
    if (status.message().find("EIO on read") == std::string_view::npos) return false;
    seen.unread++;
    unread_ = true;
    return true;
  }

  void acknowledge(Lsn lsn) { acked_ = std::max(acked_, lsn); }

  awaitable<void> client(uint64_t steps) {
    for (uint64_t i = 0; i < steps; i++) {
      seen.operations++;
      Namespace& ns = store_->database(static_cast<uint32_t>(pick(3)));
      std::string key = cat("key", pick(40));
      KeyHash hash = ns.hash(key);
      Lsn lsn;
      switch (pick(26)) {
        case 20:
        case 21:
        case 22:
        case 23:
        case 24:
        case 25:
          if (!co_await change_hash(ns, cat("hash", pick(8)), lsn)) co_return;
          break;
        case 0:
        case 1: {
          StripeLocks lock(*store_, hash);
          Transaction t(*store_, &lock, Shape::kOne);
          Entry* e = t.find(ns, key, hash);
          if (e == nullptr) break;
          if (pick(4) == 0 && !e->is_cold()) {
            Change change{Change::kExpire, {ns.id.value(), key}, {}};
            (void)expire(t, ns, e, change);
            if (!take(t.commit(), change, lsn)) co_return;
            break;
          }
          (void)t.remove(ns, hash, e);
          if (!take(t.commit(), {Change::kDelete, {ns.id.value(), key}, {}}, lsn)) co_return;
          break;
        }
        case 2:
        case 3:
          if (!co_await change_several(lsn)) co_return;
          break;
        case 4:
          if (pick(10) == 0) {
            StripeLocks none(*store_);
            Transaction t(*store_, &none, Shape::kOne);
            (void)t.flush(ns);
            if (!take(t.commit(), {Change::kFlush, {ns.id.value(), ""}, {}}, lsn)) co_return;
          }
          break;
        case 5:
        case 6:
        case 7: {  // a blob, streamed
          std::string bytes = content((9 << 10) + pick(90 << 10));
          BlobWriter writer(store_->extents(), pick(2) ? bytes.size() : 0);
          Status wrote = co_await writer.append(as_bytes(bytes));
          if (wrote.ok() && pick(3) == 0) wrote = co_await append_part(writer, ns, bytes);
          if (!wrote.ok() && refused(wrote)) break;
          if (!wrote.ok()) co_return;
          auto blob = co_await writer.finish();
          if (!blob.ok() && refused(blob.status())) break;
          if (!blob.ok()) co_return;
          std::string encoded = blob->encode();
          RecordView r;
          r.flags = kRecordIsBlob;
          r.ns = ns.id;
          r.key = key;
          r.value = encoded;
          StripeLocks lock(*store_, hash);
          Transaction t(*store_, &lock, Shape::kOne);
          Status put = t.put(ns, hash, r);
          if (!put.ok()) store_->extents().unref(*blob);
          const Change change{Change::kPut, {ns.id.value(), key}, {bytes, {}, 0}};
          if (!take(t.commit(), change, lsn)) co_return;
          break;
        }
        case 8:
          if (!co_await rest_on(ns, key)) co_return;
          break;
        case 9: {  // read what is there now
          auto got = co_await read(ns, key, pick(3) == 0 ? static_cast<int64_t>(pick(200)) : 0);
          (void)got;  // concurrent writers may have changed it; read() itself checks the bytes
          break;
        }
        default: {
          std::string bytes = content(pick(6000));
          RecordView r;
          r.ns = ns.id;
          r.key = key;
          r.value = bytes;
          if (pick(5) == 0) {
            r.flags = kRecordHasExpiry;
            r.expire_ms = store_->now_ms() + static_cast<int64_t>(pick(3000));
          }
          StripeLocks lock(*store_, hash);
          Transaction t(*store_, &lock, Shape::kOne);
          (void)t.put(ns, hash, r);
          const Change change{Change::kPut, {ns.id.value(), key}, {bytes, {}, r.expire_ms}};
          if (!take(t.commit(), change, lsn)) co_return;
        }
      }
      if (lsn.valid() && std::exchange(was_full_, false)) seen.written_after_full++;
      if (lsn.valid() && pick(3) != 0) {
        if (!(co_await store_->log().wait_durable(lsn)).ok()) co_return;
        acknowledge(lsn);
      }
      if (pick(8) == 0) co_await store_->clock().sleep_ms(static_cast<int64_t>(pick(50)));
    }
  }

  // Reads a key, present or not, and waits as the answer would have to: then all that the answer
  // rests on is as good as acknowledged. False: the client is done.
  awaitable<bool> rest_on(Namespace& ns, const std::string& key) {
    const KeyHash hash = ns.hash(key);
    Lsn seen, rests_on;
    {
      StripeLocks lock(*store_, hash);
      Transaction t(*store_, &lock, Shape::kOne);
      const bool there = t.find(ns, key, hash) != nullptr;
      seen = t.seen();
      for (auto it = changes_.rbegin(); it != changes_.rend(); ++it) {
        const Change& c = it->second;
        const bool flush = c.kind == Change::kFlush;
        if (c.key.first != ns.id.value() || (!flush && c.key.second != key)) continue;
        // One that is gone without a deletion expired, which needs no record.
        if (there || flush || c.kind == Change::kDelete) rests_on = it->first;
        break;
      }
    }
    if (seen.valid()) {
      Status durable = co_await store_->log().wait_durable(seen);
      if (!durable.ok()) co_return false;
    }
    if (rests_on.valid() && !store_->log().is_durable(rests_on)) {
      fail(seed_, cat("an answer left before LSN ", rests_on.value(), " was durable"));
    }
    if (rests_on.valid()) acknowledge(rests_on);
    this->seen.rested++;
    co_return true;
  }

  // Notes what a transaction of one change did. False: the client is done.
  bool take(const StatusOr<Lsn>& done, const Change& change, Lsn& lsn) {
    if (!done.ok()) return refused(done.status());
    changes_[lsn = *done] = change;
    return true;
  }

  // The expiry of a string alone.
  Status expire(Transaction& t, Namespace& ns, Entry* e, Change& change) {
    RecordView r = e->record(ns.id);
    change.value.expire_ms = r.expire_ms = store_->now_ms() + 1 + static_cast<int64_t>(pick(3000));
    r.flags |= kRecordHasExpiry | kRecordHasOrigin;
    r.version = e->version();
    r.wall_ms = store_->log().time_of(r.version);
    const std::string key(e->key());
    if (!e->is_blob()) return t.put(ns, ns.hash(key), r);
    const BlobRef blob = *BlobRef::decode(e->value());
    store_->extents().ref(blob);
    Status put = t.put(ns, ns.hash(key), r);
    if (!put.ok()) store_->extents().unref(blob);
    return put;
  }

  // Several changes that happen together: some are given up, and then nothing happened. False: the
  // client is done.
  awaitable<bool> change_several(Lsn& lsn) {
    std::vector<std::pair<Namespace*, std::string>> keys(2 + pick(6));
    std::vector<KeyHash> hashes;
    cairn::Faults::Keys hash_keys;
    for (auto& [ns, key] : keys) {
      ns = &store_->database(static_cast<uint32_t>(pick(3)));
      key = pick(3) == 0 ? cat("hash", pick(8)) : cat("key", pick(40));
      hashes.push_back(ns->hash(key));
      if (key.starts_with("hash")) hash_keys.emplace_back(ns->shared_from_this(), key);
    }
    StripeLocks lock(*store_);
    Status locked = co_await store_->faults().lock_with_values(lock, hashes, hash_keys);
    if (!locked.ok()) {
      if (store_->log().status().ok() && !unread(locked)) {
        fail(seed_, cat("a batch: ", locked.message()));
      }
      co_return false;
    }
    std::vector<Change> made;
    const bool large = pick(6) == 0;  // larger than a frame, and often than a segment
    uint64_t bytes = 0;
    {
      Transaction t(*store_, &lock, Shape::kSeveral);
      for (size_t i = 0; i < keys.size() && t.status().ok(); i++) {
        auto& [ns, key] = keys[i];
        Change change{Change::kPut, {ns->id.value(), key}, {}};
        if (key.starts_with("hash")) {
          if (!change_hash(t, *ns, key, change, false)) continue;
        } else if (Entry* e = t.find(*ns, key, hashes[i]); e != nullptr && pick(4) == 0) {
          change.kind = Change::kDelete;
          (void)t.remove(*ns, hashes[i], e);
        } else {
          change.value.bytes = content(large ? (8 << 10) + pick(24 << 10) : pick(2000));
          bytes += change.value.bytes.size();
          RecordView r;
          r.ns = ns->id;
          r.key = key;
          r.value = change.value.bytes;
          if (pick(4) == 0) {
            r.flags = kRecordHasExpiry;
            change.value.expire_ms = r.expire_ms =
                store_->now_ms() + static_cast<int64_t>(pick(3000));
          }
          (void)t.put(*ns, hashes[i], r);
        }
        made.push_back(std::move(change));
      }
      if (pick(5) == 0) {
        seen.given_up++;
        co_return true;
      }
      heard_.clear();
      auto done = t.commit();
      if (!done.ok()) co_return refused(done.status());
      if (bytes > kSegmentBytes) seen.spanning++;
      if (heard_.size() != made.size())
        fail(seed_, "a transaction told of other changes than it made");
      for (size_t i = 0; i < made.size(); i++) {
        made[i].goes_on = i + 1 < made.size();
        changes_[lsn = heard_[i]] = made[i];
      }
    }
    co_return true;
  }

  // Some keys hold large hashes, and with time others' values. False: the client is done.
  awaitable<bool> change_hash(Namespace& ns, std::string key, Lsn& lsn) {
    const std::vector<KeyHash> hashes{ns.hash(key)};
    const cairn::Faults::Keys keys{{ns.shared_from_this(), key}};
    StripeLocks lock(*store_);
    Status locked = co_await store_->faults().lock_with_values(lock, hashes, keys);
    if (!locked.ok()) {
      if (unread(locked)) co_return true;
      if (store_->log().status().ok()) fail(seed_, cat("key ", key, ": ", locked.message()));
      co_return false;
    }
    Transaction t(*store_, &lock, Shape::kOne);
    Change change{Change::kSet, {ns.id.value(), key}, {}};
    if (!change_hash(t, ns, key, change, true)) co_return true;
    co_return take(t.commit(), change, lsn);
  }

  // False: there was nothing to do.
  bool change_hash(Transaction& t, Namespace& ns, const std::string& key, Change& change,
                   bool also_expiry) {
    const KeyHash hash = ns.hash(key);
    Entry* e = t.find(ns, key, hash);
    change.kind = Change::kSet;
    const bool large = key >= "hash6";
    const uint64_t names = large ? 400 : 20;
    RecordView r;
    r.type = RecordType::kOperation;
    r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
    r.ns = ns.id;
    r.key = key;
    if (e != nullptr && e->has_expiry()) {
      r.flags |= kRecordHasExpiry;
      r.expire_ms = e->expire_ms();
    }
    const auto* now = e == nullptr ? nullptr : static_cast<const kv::Hash*>(e->collection());
    const uint64_t what = pick(10);
    if (e != nullptr && what == 0 && (!large || pick(10) == 0)) {
      change.kind = Change::kDelete;
      (void)t.remove(ns, hash, e);
      return true;
    }
    if (e != nullptr && what == 1 && also_expiry) {
      change.kind = Change::kExpire;
      change.value.expire_ms = r.expire_ms =
          store_->now_ms() + 1000 + static_cast<int64_t>(pick(3000));
      r.flags |= kRecordHasExpiry;
      (void)t.operate(ns, hash, e, r);
      return true;
    }
    const bool unset = e != nullptr && what < 4;
    if (unset) change.kind = Change::kUnset;
    for (uint64_t i = 1 + pick(large ? 40 : 5); i > 0; i--) {
      std::string field = cat("f", pick(names));
      std::string text = unset ? "" : content(pick(large ? 200 : 60));
      if (unset && (!now->get(field) || change.value.fields.size() + 1 >= now->size())) continue;
      change.value.fields[field] = text;
    }
    std::string operation;
    for (auto& [field, text] : change.value.fields) {
      if (unset) {
        kv::Hash::add_delete(operation, field);
      } else {
        kv::Hash::add_set(operation, field, text);
      }
    }
    if (operation.empty()) return false;
    r.value = operation;
    change.value.expire_ms = r.expire_ms;
    if (e == nullptr) change.kind = Change::kPut;
    seen.hash_changes++;
    (void)t.operate(ns, hash, e, r);
    return true;
  }

  static constexpr uint64_t kSegmentBytes = 64 << 10;
  const uint64_t seed_;
  const bool long_;        // few lives, long ones, on a volume that is nearly full
  const bool stays_full_;  // the volume, from the second life on
  Rng rng_;
  const int crashes_;
  Disk disk_;
  int64_t now_ms_ = 1'700'000'000'000;
  Store* store_ = nullptr;
  std::map<Key, Value> state_;  // proven
  std::multimap<Key, std::string> ever_;
  std::map<Lsn, Change> changes_;  // of this life, in log order
  std::vector<Lsn> heard_;         // of changes that the store told of
  Lsn acked_, durable_floor_;
  uint64_t next_value_ = 1;
  uint32_t epoch_ = 0;
  int life_ = 0;
  bool was_full_ = false, had_reserve_ = false;
  bool unread_ = false;  // the value read last
};

}  // namespace

Outcome run_world(uint64_t seed, int crashes) {
  World world(seed, crashes);
  world.run();
  return {world.seen, world.trace};
}

}  // namespace cairn::sim
