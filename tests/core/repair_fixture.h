// Stores that are killed, damaged and opened again.
#pragma once

#include <string>
#include <vector>

#include "tests/core/fault_fixture.h"

namespace cairn {

inline constexpr uint64_t kSegment = 64 << 10;

struct RepairTest : FaultTest {
  std::set<uint64_t> blocks;  // of the records of put_together()

  // Keys m0, m1, … in one transaction, and durable.
  awaitable<Status> put_together(Store& store, int count, size_t bytes) {
    Namespace& ns = store.database(0);
    std::vector<std::string> keys;
    std::vector<KeyHash> hashes;
    for (int i = 0; i < count; i++) {
      keys.push_back("m" + std::to_string(i));
      hashes.push_back(ns.hash(keys.back()));
    }
    const std::string value(bytes, 'x');
    StripeLocks lock(store);
    lock.lock(hashes);
    Lsn lsn;
    {
      Transaction t(store, &lock, Shape::kSeveral);
      for (size_t i = 0; i < keys.size(); i++) {
        RecordView r;
        r.ns = ns.id;
        r.key = keys[i];
        r.value = value;
        Status put = t.put(ns, hashes[i], r);
        if (!put.ok()) co_return put;
      }
      auto done = t.commit();
      if (!done.ok()) co_return done.status();
      lsn = *done;
      for (size_t i = 0; i < keys.size(); i++) {
        blocks.insert(ns.index->find(keys[i], hashes[i])->lsn().value() / kBlockBytes);
      }
    }
    lock.unlock();
    co_return co_await store.log().wait_durable(lsn);
  }
  // A hash's first field, or one more.
  awaitable<StatusOr<Lsn>> put_field(Store& store, std::string key, bool first) {
    Namespace& ns = store.database(0);
    std::string operation;
    kv::Hash::add_set(operation, first ? "f" : "g", "1");
    RecordView r;
    r.ns = ns.id;
    r.key = key;
    r.value = operation;
    r.flags = static_cast<uint8_t>(ValueType::kHash) << 4;
    Lsn lsn;
    {
      StripeLocks lock(store, ns.hash(key));
      Transaction t(store, &lock, Shape::kOne);
      Status done;
      if (first) {
        done = t.put(ns, ns.hash(key), r);
      } else {
        r.type = RecordType::kOperation;
        done = t.operate(ns, ns.hash(key), ns.index->find(key, ns.hash(key)), r);
      }
      if (!done.ok()) co_return done;
      lsn = *t.commit();
    }
    Status durable = co_await store.log().wait_durable(lsn);
    if (!durable.ok()) co_return durable;
    co_return lsn;
  }
  sim::Disk copy() const {
    sim::Disk copy;
    for (auto& [id, file] : disk.files) copy.files[id] = std::make_shared<sim::Disk::File>(*file);
    return copy;
  }
  void zero(uint64_t lsn) {
    auto& file = *disk.files.at({FileKind::kSegment, lsn / kSegment});
    const uint64_t at = lsn % kSegment / kBlockBytes * kBlockBytes;
    std::fill_n(file.view.begin() + static_cast<ptrdiff_t>(at), kBlockBytes, std::byte{});
    file.durable = file.view;
  }
  void kill(std::unique_ptr<Store> store) {
    take_apart(std::move(store));
    disk.crash(rng);
  }
  // Opens, counts the keys of put_together(), and is killed.
  StatusOr<int> open(bool repairing, std::vector<std::string>* buckets = nullptr) {
    repair = repairing;
    auto store = make();
    auto opened = run(store->open());
    StatusOr<int> keys = absl::UnknownError("it hangs");
    if (opened && !opened->ok()) keys = *opened;
    if (opened && opened->ok()) {
      keys = 0;
      for (size_t s = 0; s < kStripes; s++) {
        store->database(0).index->for_each(s, [&](Entry* e) { *keys += e->key()[0] == 'm'; });
      }
      if (buckets != nullptr) {
        for (auto& ns : store->buckets()) buckets->push_back(ns->name);
      }
    }
    kill(std::move(store));
    return keys;
  }
  // Refused, repaired, and from then on open.
  int refused_and_repaired(std::vector<std::string>* buckets = nullptr) {
    auto refused = open(false);
    EXPECT_TRUE(absl::IsDataLoss(refused.status())) << refused.status();
    EXPECT_NE(refused.status().message().find("--repair"), std::string::npos) << refused.status();
    auto repaired = open(true);
    EXPECT_TRUE(repaired.ok()) << repaired.status();
    auto again = open(false, buckets);
    EXPECT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(repaired.value_or(-1), again.value_or(-2));
    return again.value_or(-1);
  }
};

}  // namespace cairn
