// A store over a volume whose calls fail, on a disk in memory that outlives it, with a record of
// what was acknowledged.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/store/store.h"
#include "core/store/transaction.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"
#include "tests/core/fault_volume.h"
#include "tests/sim/sim_volume.h"

namespace cairn {

// A clock that a test sets forth and back.
struct SetClock final : Clock {
  explicit SetClock(Clock& real) : real(real) {}
  int64_t now_ms() const override { return real.now_ms() + offset_ms; }
  int64_t steady_ms() const override { return real.steady_ms(); }
  awaitable<void> sleep_ms(int64_t ms) override { return real.sleep_ms(ms); }
  Clock& real;
  int64_t offset_ms = 0;
};

struct FaultTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  SetClock store_clock{clock};
  sim::SimVolume real{disk, scheduler, rng};
  FaultVolume volume{real};
  ChunkPool pool;
  std::map<std::string, std::string> acknowledged;  // what must be there, if not changed since
  std::map<std::string, std::set<std::string>> tried;

  template <class T>
  std::optional<T> run(awaitable<T> work, int64_t patience_ms = 600'000) {
    std::optional<T> result;
    const int64_t until = clock.now_ms() + patience_ms;
    spawn(context.get_executor(), "a test", [](auto work, auto& result) -> awaitable<void> {
      result = co_await std::move(work);
    }(std::move(work), result));
    scheduler.run_until([&] { return result.has_value() || clock.now_ms() > until; });
    return result;
  }
  void sleep(int64_t ms) {
    run([](Clock& c, int64_t wait_ms) -> awaitable<bool> {
      co_await c.sleep_ms(wait_ms);
      co_return true;
    }(clock, ms));
  }
  bool repair = false;
  double amplification = 2;
  uint64_t memory_bytes = 0, segment_bytes = 64 << 10;
  int64_t lifecycle_day_ms = 1000;
  std::unique_ptr<Store> make() {
    StoreOptions options;
    options.segment_bytes = segment_bytes;
    options.memory_bytes = memory_bytes;
    options.extent_threshold = 8 << 10;
    options.extent_file_bytes = 1 << 20;
    options.extent_debt_bytes = 4 << 20;
    options.random_seed = 5;
    options.repair = repair;
    options.lifecycle_day_ms = lifecycle_day_ms;
    options.space_amplification = amplification;
    options.collections = kv::collection_types();
    return std::make_unique<Store>(volume, store_clock, pool,
                                   std::vector<Executor>{context.get_executor()}, options);
  }
  void take_apart(std::unique_ptr<Store> store) {
    for (int i = 0; i < 20; i++) {  // what was cut off goes before what it points to
      scheduler.clear();
      store->drop_waiters();
      context.restart();
      context.poll();
    }
    store.reset();
  }

  awaitable<Status> put(Store& store, std::string key, std::string value) {
    Namespace& ns = store.database(0);
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = value;
    std::string encoded;
    if (value.size() > store.options().extent_threshold) {
      BlobWriter writer(store.extents(), value.size());
      Status added = co_await writer.append(as_bytes(value));
      if (!added.ok()) co_return added;
      auto blob = co_await writer.finish();
      if (!blob.ok()) co_return blob.status();
      encoded = blob->encode();
      r.value = encoded;
      r.flags = kRecordIsBlob;
    }
    tried[key].insert(value);
    Lsn lsn;
    {
      StripeLocks lock(store, ns.hash(key));
      Transaction t(store, &lock, Shape::kOne);
      Status done = t.put(ns, ns.hash(key), r);
      if (!done.ok() && r.flags != 0) store.extents().unref(*BlobRef::decode(encoded));
      if (!done.ok()) co_return done;
      lsn = *t.commit();
    }
    Status durable = co_await store.log().wait_durable(lsn);
    if (!durable.ok()) co_return durable;
    acknowledged[key] = value;
    tried[key] = {value};
    co_return durable;
  }
  awaitable<StatusOr<std::string>> get(Store& store, std::string key) {
    Namespace& ns = store.database(0);
    std::unique_ptr<BlobReader> reader;
    while (reader == nullptr) {
      {
        StripeLocks lock(store, ns.hash(key));
        Now now(store.clock());
        Entry* e = store.find(ns, key, ns.hash(key), now);
        if (e == nullptr) co_return absl::NotFoundError(key);
        if (!e->is_blob() && !e->is_cold()) co_return std::string(e->value());
        if (e->is_blob()) {
          const BlobRef ref = *BlobRef::decode(e->value());
          reader = std::make_unique<BlobReader>(store.extents(), ref, 0, ref.size);
          break;
        }
      }
      Status fetched = co_await store.faults().fetch(ns.shared_from_this(), key);
      if (!fetched.ok()) co_return fetched;
    }
    co_return co_await reader->read_all(1 << 30);
  }
  awaitable<Status> work(Store& store) {
    for (int i = 0; i < 40; i++) {
      const std::string key = "key" + std::to_string(i % 7);
      const std::string text(i % 3 == 0 ? 20'000 : 3000, static_cast<char>('a' + i % 26));
      (void)co_await put(store, key, text + std::to_string(i));
    }
    co_return absl::OkStatus();
  }
  // A life with faults; whether it opened.
  bool live() {
    auto store = make();
    auto opened = run(store->open());
    EXPECT_TRUE(opened.has_value()) << "open() hangs";
    if (opened && opened->ok()) {
      EXPECT_TRUE(run(work(*store)).has_value()) << "a client hangs";
      EXPECT_TRUE(run(store->close()).has_value()) << "close() hangs";
    }
    take_apart(std::move(store));
    return opened && opened->ok();
  }
  // And one without, after a crash: what was acknowledged is there.
  void check() {
    disk.crash(rng);
    auto store = make();
    auto opened = run(store->open());
    ASSERT_TRUE(opened.has_value() && opened->ok()) << *opened;
    for (auto& [key, value] : acknowledged) {
      auto got = run(get(*store, key));
      ASSERT_TRUE(got.has_value() && got->ok()) << key << " " << got->status();
      EXPECT_TRUE(tried[key].contains(**got)) << key << ": neither what was acknowledged nor later";
    }
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }

  // Every call of a life fails once, or it and all after it.
  void sweep(const Status& with, bool lasts,
             std::function<bool(Call, std::optional<FileId>)> concerns) {
    for (uint64_t n = 1;; n++) {
      SCOPED_TRACE(testing::Message() << "call " << n << ": " << with.message());
      uint64_t seen = 0;
      volume.set([&](Call call, std::optional<FileId> file) {
        if (!concerns(call, file)) return absl::OkStatus();
        seen++;
        return seen == n || (lasts && seen > n) ? with : absl::OkStatus();
      });
      live();
      volume.heal();
      check();
      if (HasFailure() || seen < n) return;
      ASSERT_LT(n, 5000u);
    }
  }
};

}  // namespace cairn
