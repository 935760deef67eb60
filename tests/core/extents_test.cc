// Blobs: what is written comes back, what is shared is shared, what is damaged is refused.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <optional>
#include <random>

#include "core/base/errors.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/extents/extent_format.h"
#include "core/log/log_format.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

struct Extents : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume volume{disk, scheduler, rng};
  ChunkPool pool;
  Manifest manifest{volume};
  std::vector<std::string> notes;
  ExtentStore store{volume, clock, pool, manifest, context.get_executor()};

  void SetUp() override {
    ASSERT_TRUE(run(manifest.open(77, 64 << 10, false, notes)).ok());
    ASSERT_TRUE(run(store.start(77, 64 << 20)).ok());
  }

  template <class T>
  T run(awaitable<T> work) {
    std::optional<T> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    return *result;
  }
  std::string random_bytes(size_t n) {
    std::string s(n, '\0');
    for (char& c : s) c = static_cast<char>(rng());
    return s;
  }
  awaitable<StatusOr<BlobRef>> write(std::string bytes) {
    BlobWriter writer(store, 0);
    Status added = co_await writer.append(as_bytes(bytes));
    if (!added.ok()) co_return added;
    co_return co_await writer.finish();
  }
  awaitable<StatusOr<std::string>> read(BlobRef blob, uint64_t offset, uint64_t length) {
    BlobReader reader(store, blob, offset, length);
    co_return co_await reader.read_all(1 << 30);
  }
};

TEST_F(Extents, AnyRangeOfABlobComesBack) {
  std::string bytes = random_bytes((3 << 20) + 777);
  auto blob = run(write(bytes));
  ASSERT_TRUE(blob.ok());
  EXPECT_EQ(blob->size, bytes.size());
  for (int i = 0; i < 60; i++) {
    uint64_t offset = rng() % bytes.size(), length = rng() % (bytes.size() - offset + 1);
    auto got = run(read(*blob, offset, length));
    ASSERT_TRUE(got.ok());
    ASSERT_EQ(*got, bytes.substr(offset, length));
  }
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST_F(Extents, ABlobComposedOfRangesSharesTheirBytes) {
  std::string bytes = random_bytes(1 << 20);
  auto blob = run(write(bytes));
  ASSERT_TRUE(blob.ok());
  auto compose = [&]() -> awaitable<StatusOr<BlobRef>> {
    BlobWriter writer(store, 0);
    (void)co_await writer.append_range(*blob, 1000, 500000);
    (void)co_await writer.append(as_bytes("middle"));
    (void)co_await writer.append_zeros(1 << 20);
    (void)co_await writer.append_range(*blob, 0, blob->size);
    co_return co_await writer.finish();
  };
  auto made = run(compose());
  ASSERT_TRUE(made.ok());
  std::string want = bytes.substr(1000, 500000) + "middle" + std::string(1 << 20, '\0') + bytes;
  auto got = run(read(*made, 0, made->size));
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(*got == want, true);
  EXPECT_LT(store.stats().live_bytes, 2u << 20);
  store.unref(*blob);
  got = run(read(*made, 0, made->size));
  EXPECT_TRUE(got.ok() && *got == want);
  store.unref(*made);
  run([](ExtentStore& s) -> awaitable<bool> {
    co_await s.close();
    co_return true;
  }(store));
  EXPECT_EQ(store.stats().extents, 0u);
}

TEST_F(Extents, APartOfAnExtentSurvivesARestartWithoutTheRest) {
  const std::string bytes = random_bytes(1 << 20);
  const auto blob = run(write(bytes));
  const auto next = run(write(bytes));  // right behind it
  ASSERT_TRUE(blob.ok() && next.ok());
  auto cut = [&]() -> awaitable<StatusOr<BlobRef>> {
    BlobWriter writer(store, 0);
    (void)co_await writer.append_range(*blob, 0, 100000);  // ends inside a block
    co_return co_await writer.finish();
  };
  const auto part = run(cut());
  ASSERT_TRUE(part.ok());
  ExtentStore again(volume, clock, pool, manifest, context.get_executor());
  again.adopt(*part);
  again.adopt(*next);
  ASSERT_TRUE(run(again.start(77, 64 << 20)).ok());
  auto all = [&](const BlobRef& from) -> awaitable<StatusOr<std::string>> {
    BlobReader reader(again, from, 0, from.size);
    co_return co_await reader.read_all(1 << 30);
  };
  auto got = run(all(*part));
  EXPECT_TRUE(got.ok() && *got == bytes.substr(0, 100000)) << got.status();
  again.unref(*part);  // what goes with it is its own
  run([](ExtentStore& s) -> awaitable<bool> {
    co_await s.close();
    co_return true;
  }(again));
  got = run(all(*next));
  EXPECT_TRUE(got.ok() && *got == bytes) << got.status();
}

TEST_F(Extents, EveryDamagedByteIsDetected) {
  std::string bytes = random_bytes(200000);
  auto blob = run(write(bytes));
  ASSERT_TRUE(blob.ok());
  auto& file = *disk.files.at({FileKind::kExtents, 1});
  for (size_t at = 0; at < 4096 + bytes.size(); at += 997) {
    if (at >= 64 && at < 4096 && at > 48 + 4 * 4)
      continue;  // checksums of blocks that are not there
    file.view[at] ^= std::byte{1};
    auto got = run(read(*blob, 0, blob->size));
    EXPECT_TRUE(absl::IsDataLoss(got.status())) << at;
    file.view[at] ^= std::byte{1};
  }
}

// A client that hung up in the middle of a value that was deleted meanwhile: what was read ahead
// for it met the hole, and the operator was told of a damaged block.
TEST_F(Extents, WhatNobodyReadsAnyMoreIsNoDamage) {
  std::vector<std::string> told;
  ExtentStore other(
      volume, clock, pool, manifest, context.get_executor(),
      [&](Severity, std::string_view, std::string_view text) { told.emplace_back(text); });
  ASSERT_TRUE(run(other.start(77, 64 << 20)).ok());
  const std::string bytes = random_bytes(3 << 20);
  for (int i = 0; i < 50; i++) {
    auto leave = [&]() -> awaitable<bool> {
      BlobWriter writer(other, 0);
      Status added = co_await writer.append(as_bytes(bytes));
      auto blob = co_await writer.finish();
      if (!added.ok() || !blob.ok()) co_return false;
      BlobReader reader(other, *blob, 0, blob->size);
      other.unref(*blob);
      auto got = co_await reader.next();
      co_return got.ok();  // the rest is being read
    };
    ASSERT_TRUE(run(leave()));
    ASSERT_TRUE(scheduler.run_until([&] { return pool.in_use() == 0; }));
    run([](ExtentStore& s) -> awaitable<bool> {
      co_await s.close();
      co_return true;
    }(other));
  }
  EXPECT_TRUE(told.empty()) << told.front();
}

TEST_F(Extents, ALaterFormatIsRefusedByName) {
  const auto blob = run(write(random_bytes(1000)));
  ASSERT_TRUE(blob.ok());
  auto& [id, file] = *disk.files.find({FileKind::kExtents, 1});
  ExtentHeader h;
  std::memcpy(&h, file->view.data(), sizeof(h));
  h.version = 99;
  seal_header(h, 77, id.number, 0);
  std::memcpy(file->view.data(), &h, sizeof(h));
  const auto got = run(read(*blob, 0, blob->size));
  EXPECT_TRUE(absl::IsFailedPrecondition(got.status()));
  EXPECT_NE(got.status().message().find(to_string(id) + " has format version 99"),
            std::string::npos)
      << got.status();
}

TEST_F(Extents, AWriterThatGivesUpLeavesNothing) {
  auto abandon = [&]() -> awaitable<bool> {
    BlobWriter writer(store, 0);
    (void)co_await writer.append(as_bytes(random_bytes(3 << 20)));
    co_return true;
  };
  EXPECT_TRUE(run(abandon()));
  EXPECT_TRUE(
      scheduler.run_until([&] { return pool.in_use() == 0; }));  // writes that were under way
  run([](ExtentStore& s) -> awaitable<bool> {
    co_await s.close();
    co_return true;
  }(store));
  EXPECT_EQ(store.stats().extents, 0u);
}

// A length that a client announced made a capacity of 0 where it wrapped around: an endless loop.
TEST_F(Extents, AnyAnnouncedLengthIsServedOrRefused) {
  auto write_hinted = [&](uint64_t hint) -> awaitable<Status> {
    BlobWriter writer(store, hint);
    co_return co_await writer.append(as_bytes("some bytes"));
  };
  auto write_zeros = [&](uint64_t length) -> awaitable<Status> {
    BlobWriter writer(store, 0);
    (void)co_await writer.append(as_bytes("some bytes"));
    co_return co_await writer.append_zeros(length);
  };
  for (int bits = 0; bits <= 64; bits++) {
    for (uint64_t n : {(bits == 64 ? 0 : uint64_t{1} << bits) - 1, uint64_t{1} << (bits % 64)}) {
      const Status hinted = run(write_hinted(n));
      EXPECT_EQ(hinted.ok(), n <= kBlobBytesMax) << n;
      if (!hinted.ok()) {
        EXPECT_TRUE(is_value_too_long(hinted));
      }
      EXPECT_EQ(run(write_zeros(n)).ok(), n + 10 >= n && n + 10 <= kBlobBytesMax) << n;
    }
  }
  EXPECT_EQ(pool.in_use(), 0u);
}

}  // namespace
}  // namespace cairn
