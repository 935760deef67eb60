// The store under simulated crashes: a seeded workload of puts, deletes, batches, blobs, expiry and
// flushes by concurrent clients, cut off at any volume call, with failed writes, failed syncs and
// full volumes in between, checked against a model.
//
//   store_sim [--seeds N] [--from SEED] [--crashes N]     prints the failing seed
//   store_sim --from SEED --seeds 1                        replays it
//
// Laws checked after every crash:
//   1. The recovered state is a prefix of the log order: all changes below the proven end, whole,
//      and none after it. No record of an earlier life comes back.
//   2. Everything acknowledged as durable is below the proven end.
//   3. Every value reads back byte for byte, blobs through their extents.
//   4. Recovery succeeds: crashes alone never look like damage.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "core/store.h"
#include "core/text.h"
#include "tests/sim/sim_volume.h"

namespace cairn::sim {
namespace {

struct Value {
  std::string bytes;
  int64_t expire_ms = 0;
  Lsn version = {};
  bool operator==(const Value&) const = default;
};
using Key = std::pair<uint32_t, std::string>;  // namespace, key
struct Change {
  enum Kind { kPut, kDelete, kFlush } kind;
  Key key;
  Value value;
};

[[noreturn]] void fail(uint64_t seed, const std::string& what) {
  std::printf("FAILED seed %llu: %s\nreplay: build/release/tests/store_sim --from %llu --seeds 1\n",
              static_cast<unsigned long long>(seed), what.c_str(),
              static_cast<unsigned long long>(seed));
  std::exit(1);
}

class World {
 public:
  World(uint64_t seed, int crashes) : seed_(seed), rng_(seed), crashes_(crashes) {}

  void run() {
    for (int life = 0; life <= crashes_; life++) live(life == crashes_);
  }
  struct Seen {  // what the seeds ran into: a count of 0 would mean that something is not tested
    uint64_t crashes = 0, operations = 0, cleaned = 0, copied_bytes = 0, refused_full = 0,
             written_after_full = 0;
    void add(const Seen& o) {
      crashes += o.crashes;
      operations += o.operations;
      cleaned += o.cleaned;
      copied_bytes += o.copied_bytes;
      refused_full += o.refused_full;
      written_after_full += o.written_after_full;
    }
  } seen;

 private:
  uint64_t pick(uint64_t n) { return rng_() % n; }

  void live(bool last) {
    asio::io_context context;
    Scheduler scheduler(context, rng_);
    scheduler.set_now_ms(now_ms_);
    SimClock clock(scheduler);
    Faults faults;
    if (!last) faults.crash_at_call = 1 + pick(pick(4) == 0 ? 60 : 900);
    if (pick(16) == 0) {
      faults.write_error = 0.01;
      faults.sync_error = 0.01;
    }
    const bool full = !last && pick(8) == 0;  // the volume has little or no room left
    disk_.capacity_bytes = full ? disk_.used_bytes() + pick(2 << 20) : UINT64_MAX;
    SimVolume volume(disk_, scheduler, rng_, faults);
    ChunkPool pool;
    StoreOptions options;
    options.segment_bytes = 64 << 10;
    options.extent_threshold = 8 << 10;
    options.extent_file_bytes = 1 << 20;
    options.random_seed = rng_() | 1;
    auto store = std::make_unique<Store>(volume, clock, pool,
                                         std::vector<Executor>{context.get_executor()}, options);
    store_ = store.get();
    acked_ = Lsn();
    was_full_ = false;
    std::optional<Status> opened;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { opened = co_await store->open(); }, asio::detached);
    scheduler.run_until([&] { return opened.has_value() || volume.crashed(); });
    bool clean = false;
    if (opened.has_value() && !volume.crashed()) {
      if (!opened->ok()) {
        if (faults.write_error == 0 && !(full && absl::IsResourceExhausted(*opened))) {
          fail(seed_, cat("recovery refused: ", opened->message()));
        }
      } else {
        settle(store->recovered());
        bool checked = false;
        asio::co_spawn(
            context, [&]() -> awaitable<void> { co_await check(checked); }, asio::detached);
        scheduler.run_until([&] { return checked || volume.crashed(); });
        int clients = 0;
        std::optional<Status> closed;
        if (!volume.crashed()) {
          for (int i = 0; i < 4; i++) {
            clients++;
            asio::co_spawn(
                context,
                [&, i]() -> awaitable<void> {
                  co_await client(i, last ? 10 : 60 + pick(200));
                  clients--;
                },
                asio::detached);
          }
          scheduler.run_until([&] { return clients == 0 || volume.crashed(); });
        }
        if (!volume.crashed() && (last || pick(2) == 0)) {
          asio::co_spawn(
              context, [&]() -> awaitable<void> { closed = co_await store->close(); },
              asio::detached);
          scheduler.run_until([&] { return closed.has_value() || volume.crashed(); });
          if (closed.has_value() && closed->ok()) {
            clean = true;
            for (auto& [lsn, change] : changes_) acked_ = std::max(acked_, lsn);
          }
        }
      }
    }
    now_ms_ = scheduler.now_ms();
    auto cleaner = store->cleaner().stats();
    seen.cleaned += cleaner.segments_freed;
    seen.copied_bytes += cleaner.bytes_copied;
    durable_floor_ = std::max(durable_floor_, acked_);
    for (int i = 0; i < 50; i++) {  // coroutines that were cut off go before what they point to
      scheduler.clear();
      store->log().drop_waiters();
      context.restart();
      context.poll();
    }
    store.reset();
    if (!clean) {
      disk_.crash(rng_);
      seen.crashes++;
    }
  }

  // What lies in a proven range happened; the rest never did.
  void settle(const std::vector<std::pair<Lsn, Lsn>>& proven) {
    auto happened = [&](Lsn lsn) {
      if (!proven.empty() && lsn < proven.front().first) return true;  // cleaned since
      return std::any_of(proven.begin(), proven.end(),
                         [&](auto& range) { return range.first <= lsn && lsn < range.second; });
    };
    if (durable_floor_.valid() && !happened(durable_floor_)) {
      fail(seed_, cat("the acknowledged LSN ", durable_floor_.value(), " is not proven"));
    }
    bool missing = false;
    for (auto& [lsn, change] : changes_) {
      if (!happened(lsn)) {
        missing = true;
        continue;
      }
      if (missing) fail(seed_, cat("LSN ", lsn.value(), " came back, one before it did not"));
      change.value.version = lsn;
      apply(state_, change);
    }
    changes_.clear();
  }

  static void apply(std::map<Key, Value>& state, const Change& c) {
    switch (c.kind) {
      case Change::kPut:
        state[c.key] = c.value;
        break;
      case Change::kDelete:
        state.erase(c.key);
        break;
      case Change::kFlush:
        std::erase_if(state, [&](auto& kv) { return kv.first.first == c.key.first; });
        break;
    }
  }

  awaitable<void> check(bool& done) {
    uint64_t live = 0;
    for (auto& [key, value] : state_) {
      Namespace& ns = store_->database(key.first);
      auto got = co_await read(ns, key.second);
      bool expired = value.expire_ms != 0 && value.expire_ms <= store_->now_ms();
      if (expired && !got.has_value()) continue;
      if (!got.has_value()) fail(seed_, cat("key ", key.second, " is lost"));
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
    done = true;
  }

  awaitable<std::optional<Value>> read(Namespace& ns, const std::string& key) {
    std::unique_ptr<BlobReader> reader;
    Value value;
    {
      KeyHash hash = ns.hash(key);
      StripeLocks lock(*store_, hash);
      Entry* e = store_->find(ns, key, hash);
      if (e == nullptr) co_return std::nullopt;
      value.expire_ms = e->expire_ms();
      value.version = e->version();
      if (!e->is_blob()) {
        value.bytes = std::string(e->value());
        co_return value;
      }
      BlobRef ref = *BlobRef::decode(e->value());
      uint64_t size = ref.size;
      reader = std::make_unique<BlobReader>(store_->extents(), std::move(ref), 0, size);
    }
    auto bytes = co_await reader->read_all(1 << 24);
    if (!bytes.ok()) fail(seed_, cat("key ", key, ": ", bytes.status().message()));
    value.bytes = std::move(*bytes);
    co_return value;
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

  void acknowledge(Lsn lsn) { acked_ = std::max(acked_, lsn); }

  awaitable<void> client(int number, uint64_t steps) {
    for (uint64_t i = 0; i < steps; i++) {
      seen.operations++;
      Namespace& ns = store_->database(static_cast<uint32_t>(pick(3)));
      std::string key = cat("key", pick(40));
      KeyHash hash = ns.hash(key);
      Lsn lsn;
      switch (pick(20)) {
        case 0:
        case 1: {
          StripeLocks lock(*store_, hash);
          Entry* e = store_->find(ns, key, hash);
          if (e == nullptr) break;
          auto removed = store_->remove(ns, hash, e);
          if (!removed.ok()) {
            if (refused(removed.status())) break;
            co_return;
          }
          changes_[lsn = *removed] = {Change::kDelete, {ns.id.value(), key}, {}};
          break;
        }
        case 2:
        case 3: {  // a batch over several keys
          std::vector<std::string> keys;
          std::vector<KeyHash> hashes;
          keys.resize(2 + pick(6));
          for (auto& k : keys) k = cat("key", pick(40));
          hashes.reserve(keys.size());
          for (auto& k : keys) hashes.push_back(ns.hash(k));
          StripeLocks lock(*store_);
          lock.lock(hashes);
          WriteBatch batch(*store_);
          std::vector<Change> staged;
          std::vector<uint64_t> sizes;
          for (auto& k : keys) {
            std::string bytes = content(pick(2000));
            RecordView r;
            r.ns = ns.id;
            r.key = k;
            r.value = bytes;
            auto put = store_->put(ns, ns.hash(k), r, &batch);
            if (!put.ok()) {
              refused(put.status());
              break;
            }
            staged.push_back({Change::kPut, {ns.id.value(), k}, {bytes, 0}});
            sizes.push_back(r.size());
          }
          lsn = batch.commit();
          if (!lsn.valid()) break;
          // Within a batch the records lie one after the other and end at `lsn`.
          uint64_t at = lsn.value();
          for (size_t k = staged.size(); k-- > 0;) {
            changes_[Lsn(at)] = staged[k];
            if (k > 0) at -= sizes[k - 1];
          }
          break;
        }
        case 4:
          if (pick(10) == 0) {
            auto flushed = store_->flush(ns);
            if (!flushed.ok()) break;
            changes_[lsn = *flushed] = {Change::kFlush, {ns.id.value(), ""}, {}};
          }
          break;
        case 5:
        case 6:
        case 7: {  // a blob, streamed
          std::string bytes = content((9 << 10) + pick(300 << 10));
          BlobWriter writer(store_->extents(), pick(2) ? bytes.size() : 0);
          Status wrote = co_await writer.append(as_bytes(bytes));
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
          auto put = store_->put(ns, hash, r);
          if (!put.ok()) {
            if ((r.flags & kRecordIsBlob)) store_->extents().unref(*BlobRef::decode(r.value));
            if (refused(put.status())) break;
            co_return;
          }
          changes_[lsn = *put] = {Change::kPut, {ns.id.value(), key}, {bytes, 0}};
          break;
        }
        case 8:
        case 9: {  // read what is there now
          auto got = co_await read(ns, key);
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
          auto put = store_->put(ns, hash, r);
          if (!put.ok()) {
            if ((r.flags & kRecordIsBlob)) store_->extents().unref(*BlobRef::decode(r.value));
            if (refused(put.status())) break;
            co_return;
          }
          changes_[lsn = *put] = {Change::kPut, {ns.id.value(), key}, {bytes, r.expire_ms}};
        }
      }
      if (lsn.valid() && std::exchange(was_full_, false)) seen.written_after_full++;
      if (lsn.valid() && pick(3) != 0) {
        if (!(co_await store_->log().wait_durable(lsn)).ok()) co_return;
        acknowledge(lsn);
      }
      if (pick(8) == 0) co_await store_->clock().sleep_ms(static_cast<int64_t>(pick(50)));
    }
    (void)number;
  }

  const uint64_t seed_;
  Rng rng_;
  const int crashes_;
  Disk disk_;
  int64_t now_ms_ = 1'700'000'000'000;
  Store* store_ = nullptr;
  std::map<Key, Value> state_;     // proven
  std::map<Lsn, Change> changes_;  // of this life, in log order
  Lsn acked_, durable_floor_;
  uint64_t next_value_ = 1;
  bool was_full_ = false;
};

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) {
  uint64_t seeds = 250, from = 1;
  int crashes = 9;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i];
    uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--seeds") {
      seeds = value;
    } else if (flag == "--from") {
      from = value;
    } else if (flag == "--crashes") {
      crashes = static_cast<int>(value);
    } else {
      std::fprintf(stderr, "store_sim: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  cairn::sim::World::Seen seen;
  for (uint64_t seed = from; seed < from + seeds; seed++) {
    cairn::sim::World world(seed, crashes);
    world.run();
    seen.add(world.seen);
  }
  auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "%llu seeds, %llu crashes, %llu operations, %llu segments cleaned, %llu bytes copied, %llu "
      "writes refused by a full volume, %llu taken again: all laws held\n",
      number(seeds), number(seen.crashes), number(seen.operations), number(seen.cleaned),
      number(seen.copied_bytes), number(seen.refused_full), number(seen.written_after_full));
  if (seeds >= 250 && (seen.crashes < 2000 || seen.cleaned < 1000 || seen.refused_full == 0 ||
                       seen.written_after_full == 0)) {
    std::printf("too little happened to mean anything\n");
    return 1;
  }
  return 0;
}
