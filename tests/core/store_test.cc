// Opening a store: formats of later versions are refused by the name of their file.
#include "core/store.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <optional>

#include "core/checkpoint.h"
#include "core/superblock.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

struct Opening : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume volume{disk, scheduler, rng};
  ChunkPool pool;

  Status run(awaitable<Status> work) {
    std::optional<Status> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    return *result;
  }
  // Opens, puts one key, closes; or says why it would not open.
  Status once() {
    StoreOptions options;
    options.segment_bytes = 64 << 10;
    options.random_seed = 5;
    Store store(volume, clock, pool, {context.get_executor()}, options);
    Status opened = run(store.open());
    if (!opened.ok()) return opened;
    Namespace& ns = store.database(0);
    {
      RecordView r;
      r.ns = ns.id;
      r.key = "key";
      r.value = "value";
      StripeLocks lock(store, ns.hash(r.key));
      EXPECT_TRUE(store.put(ns, ns.hash(r.key), r).ok());
    }
    return run(store.close());
  }
  // Changes a header in a file and makes its checksum right again.
  template <class Header>
  std::string age(FileKind kind, uint64_t seed_store, uint64_t offset_from_end) {
    for (auto& [id, file] : disk.files) {
      Header h;
      const uint64_t at = offset_from_end == 0 ? 0 : file->view.size() - offset_from_end;
      if (id.kind != kind || file->view.size() < at + sizeof(h)) continue;
      std::memcpy(&h, file->view.data() + at, sizeof(h));
      if (h.version == 0) continue;
      h.version = 99;
      seal_header(h, seed_store, id.number, at);
      std::memcpy(file->view.data() + at, &h, sizeof(h));
      return to_string(id);
    }
    return "none";
  }
  uint64_t store_id() {
    Superblock s{};
    for (auto& [id, file] : disk.files) {
      if (id.kind == FileKind::kSuperblock && file->view.size() >= sizeof(s)) {
        std::memcpy(&s, file->view.data(), sizeof(s));
      }
    }
    return s.store;
  }
  void expect_refused(const std::string& name) {
    Status s = once();
    EXPECT_TRUE(absl::IsFailedPrecondition(s)) << s;
    EXPECT_NE(s.message().find("format version 99"), std::string::npos) << s;
    EXPECT_NE(s.message().find(name), std::string::npos) << s << name;
  }
};

TEST_F(Opening, ALaterSegmentIsRefusedByName) {
  ASSERT_TRUE(once().ok());
  expect_refused(age<SegmentHeader>(FileKind::kSegment, store_id(), 0));
}

TEST_F(Opening, ALaterCheckpointIsRefusedByName) {
  ASSERT_TRUE(once().ok());
  expect_refused(age<CheckpointFooter>(FileKind::kCheckpoint, store_id(), kBlockBytes));
}

TEST_F(Opening, ALaterSuperblockIsRefused) {
  ASSERT_TRUE(once().ok());
  ASSERT_NE(age<Superblock>(FileKind::kSuperblock, 0, 0), "none");
  expect_refused("the store");
}

TEST_F(Opening, ADamagedCheckpointCostsNothing) {
  ASSERT_TRUE(once().ok());
  for (auto& [id, file] : disk.files) {
    if (id.kind == FileKind::kCheckpoint) file->view[40] ^= std::byte{1};
  }
  StoreOptions options;
  options.random_seed = 6;
  Store store(volume, clock, pool, {context.get_executor()}, options);
  ASSERT_TRUE(run(store.open()).ok());
  EXPECT_EQ(store.recovered_items(), 0u);
  EXPECT_EQ(store.database(0).size(), 1u);
  ASSERT_TRUE(run(store.close()).ok());
}

}  // namespace
}  // namespace cairn
