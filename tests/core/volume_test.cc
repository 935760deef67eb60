// The contract of Volume, run over every implementation.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/volume/local_volume.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

struct TempDirectory {
  TempDirectory() {
    char name[] = "/tmp/cairn-volume-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempDirectory() { std::filesystem::remove_all(path); }
  std::string path;
};

template <bool kUring>
struct Local {
  TempDirectory directory;
  asio::io_context context{1};  // outlives the volume's threads, which post to it
  std::unique_ptr<LocalVolume> volume =
      std::move(*LocalVolume::open({directory.path + "/data", kUring}));
  Volume& get() { return *volume; }
  template <class T>
  T run(awaitable<T> work) {
    std::optional<T> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    context.restart();
    while (!result) context.run_one();
    return *result;
  }
};

struct Simulated {
  sim::Disk disk;
  sim::Rng rng{1};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimVolume volume{disk, scheduler, rng};
  Volume& get() { return volume; }
  template <class T>
  T run(awaitable<T> work) {
    std::optional<T> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    return *result;
  }
};

template <class T>
class VolumeContract : public testing::Test {
 public:
  T v;
  FileId file{FileKind::kSegment, 7};
  AlignedBuffer filled(size_t bytes, char with) {
    AlignedBuffer b(bytes);
    std::memset(b.data(), with, bytes);
    return b;
  }
};
using Implementations = testing::Types<Local<true>, Local<false>, Simulated>;
TYPED_TEST_SUITE(VolumeContract, Implementations);

TYPED_TEST(VolumeContract, WhatIsWrittenIsReadBack) {
  Volume& v = this->v.get();
  ASSERT_TRUE(this->v.run(v.create(this->file, 0)).ok());
  AlignedBuffer out = this->filled(8192, 'x'), in = this->filled(8192, 0);
  for (auto mode : {WriteMode::kPlain, WriteMode::kDurable}) {
    ASSERT_TRUE(this->v.run(v.write(this->file, 4096, {out.data(), 8192}, mode)).ok());
    auto n = this->v.run(v.read(this->file, 4096, in.span(0, 8192)));
    ASSERT_TRUE(n.ok());
    EXPECT_EQ(*n, 8192u);
    EXPECT_EQ(std::memcmp(in.data(), out.data(), 8192), 0);
  }
  EXPECT_TRUE(this->v.run(v.sync(this->file)).ok());
  EXPECT_TRUE(this->v.run(v.sync_directory()).ok());
}

TYPED_TEST(VolumeContract, AHoleReadsAsZerosAndTheEndGivesFewerBytes) {
  Volume& v = this->v.get();
  ASSERT_TRUE(this->v.run(v.create(this->file, 0)).ok());
  AlignedBuffer out = this->filled(4096, 'x'), in = this->filled(16384, 'y');
  ASSERT_TRUE(this->v.run(v.write(this->file, 8192, {out.data(), 4096}, WriteMode::kPlain)).ok());
  auto n = this->v.run(v.read(this->file, 0, in.span(0, 16384)));
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(*n, 12288u);
  EXPECT_EQ(in.data()[4096], std::byte{0});
  EXPECT_EQ(in.data()[8192], std::byte{'x'});
}

TYPED_TEST(VolumeContract, APunchedRangeReadsAsZeros) {
  Volume& v = this->v.get();
  ASSERT_TRUE(this->v.run(v.create(this->file, 0)).ok());
  AlignedBuffer out = this->filled(12288, 'x'), in = this->filled(12288, 'y');
  ASSERT_TRUE(this->v.run(v.write(this->file, 0, {out.data(), 12288}, WriteMode::kPlain)).ok());
  ASSERT_TRUE(this->v.run(v.punch(this->file, 4096, 4096)).ok());
  ASSERT_TRUE(this->v.run(v.read(this->file, 0, in.span(0, 12288))).ok());
  EXPECT_EQ(in.data()[4095], std::byte{'x'});
  EXPECT_EQ(in.data()[4096], std::byte{0});
  EXPECT_EQ(in.data()[8192], std::byte{'x'});
}

TYPED_TEST(VolumeContract, ErrorsHaveTheirKinds) {
  Volume& v = this->v.get();
  AlignedBuffer b = this->filled(4096, 0);
  EXPECT_TRUE(absl::IsNotFound(this->v.run(v.read(this->file, 0, b.span(0, 4096))).status()));
  EXPECT_TRUE(absl::IsNotFound(this->v.run(v.sync(this->file))));
  EXPECT_TRUE(absl::IsNotFound(this->v.run(v.remove(this->file))));
  ASSERT_TRUE(this->v.run(v.create(this->file, 4096)).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(this->v.run(v.create(this->file, 0))));
}

// Clients are told why the store takes no more writes, and anybody who asks whether it is ready:
// where its data lies is not for them.
TYPED_TEST(VolumeContract, ErrorsNameTheFileAlone) {
  Volume& v = this->v.get();
  AlignedBuffer b = this->filled(4096, 0);
  ASSERT_TRUE(this->v.run(v.create({FileKind::kSegment, 77}, 4096)).ok());
  for (const Status& error :
       {this->v.run(v.read(this->file, 0, b.span(0, 4096))).status(),
        this->v.run(v.write(this->file, 0, {b.data(), 4096}, WriteMode::kPlain)),
        this->v.run(v.sync(this->file)), this->v.run(v.punch(this->file, 0, 4096)),
        this->v.run(v.remove(this->file)), this->v.run(v.create({FileKind::kSegment, 77}, 0))}) {
    EXPECT_FALSE(error.ok());
    EXPECT_EQ(error.message().find('/'), std::string_view::npos) << error;
  }
}

TYPED_TEST(VolumeContract, ListShowsWhatIsThereAndRemoveTakesIt) {
  Volume& v = this->v.get();
  ASSERT_TRUE(this->v.run(v.create(this->file, 8192)).ok());
  auto files = this->v.run(v.list());
  ASSERT_TRUE(files.ok());
  ASSERT_EQ(files->size(), 1u);
  EXPECT_EQ(files->front().id, this->file);
  EXPECT_EQ(files->front().size_bytes, 8192u);
  ASSERT_TRUE(this->v.run(v.remove(this->file)).ok());
  EXPECT_TRUE(this->v.run(v.list())->empty());
}

TYPED_TEST(VolumeContract, AFileThatIsSetAsideInPartGrowsIntoTheRest) {
  Volume& v = this->v.get();
  constexpr uint64_t kSize = 1 << 20, kPart = 64 << 10;
  AlignedBuffer out = this->filled(4096, 'x'), in = this->filled(4096, 0);
  ASSERT_TRUE(this->v.run(v.create_partly(this->file, kSize, kPart)).ok());
  for (uint64_t end : {kPart, 4 * kPart, kSize}) {
    ASSERT_TRUE(this->v.run(v.set_aside(this->file, end)).ok());
    const uint64_t at = end - 4096;
    ASSERT_TRUE(this->v.run(v.write(this->file, at, {out.data(), 4096}, WriteMode::kDurable)).ok());
    ASSERT_TRUE(this->v.run(v.read(this->file, at, in.span(0, 4096))).ok());
    EXPECT_EQ(std::memcmp(in.data(), out.data(), 4096), 0);
  }
  ASSERT_TRUE(this->v.run(v.recycle(this->file)).ok());
  EXPECT_TRUE(absl::IsNotFound(this->v.run(v.sync(this->file))));
  ASSERT_TRUE(this->v.run(v.create_partly(this->file, kSize, kPart)).ok());
  this->v.run([](Volume& volume) -> awaitable<bool> {
    co_await volume.drop_recycled();
    co_return true;
  }(v));
  EXPECT_EQ(this->v.run(v.list())->size(), 1u);
}

// Every file that was ever read once kept its descriptor.
TYPED_TEST(VolumeContract, AnyNumberOfFilesIsServedWithFewDescriptors) {
  Volume& v = this->v.get();
  constexpr uint64_t kFiles = 400;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int next = ::dup(0);
  ::close(next);
  AlignedBuffer out = this->filled(4096, 'x'), in = this->filled(4096, 0);
  ASSERT_TRUE(this->v.run(v.sync_directory()).ok());
  ASSERT_TRUE(this->v.run(v.create(this->file, 0)).ok());
  // A ring has its descriptors by now.
  ASSERT_TRUE(this->v.run(v.write(this->file, 0, {out.data(), 4096}, WriteMode::kDurable)).ok());
  const rlimit few{static_cast<rlim_t>(next) + 40, limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  for (uint64_t i = 0; i < kFiles; i++) {
    const FileId id{FileKind::kExtents, i};
    out.data()[0] = static_cast<std::byte>(i);
    EXPECT_TRUE(this->v.run(v.create(id, 0)).ok()) << i;
    EXPECT_TRUE(this->v.run(v.write(id, 0, {out.data(), 4096}, WriteMode::kPlain)).ok()) << i;
    EXPECT_TRUE(this->v.run(v.sync(id)).ok()) << i;
  }
  for (uint64_t i = 0; i < kFiles; i++) {
    auto n = this->v.run(v.read({FileKind::kExtents, i}, 0, in.span(0, 4096)));
    EXPECT_TRUE(n.ok() && in.data()[0] == static_cast<std::byte>(i)) << i << n.status();
  }
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(LocalVolumeTest, ASecondStoreOnADirectoryIsRefused) {
  TempDirectory directory;
  auto first = LocalVolume::open({directory.path, true});
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(LocalVolume::open({directory.path, true}).status()));
}

TEST(SimVolumeTest, ACrashTearsOnlyWhatWasNotSynced) {
  for (uint64_t seed = 1; seed < 50; seed++) {
    Simulated s;
    s.rng.seed(seed);
    FileId file{FileKind::kSegment, 1};
    AlignedBuffer a(4096), b(4096), in(8192);
    std::memset(a.data(), 'a', 4096);
    std::memset(b.data(), 'b', 4096);
    ASSERT_TRUE(s.run(s.volume.create(file, 8192)).ok());
    ASSERT_TRUE(s.run(s.volume.sync_directory()).ok());
    ASSERT_TRUE(s.run(s.volume.write(file, 0, {a.data(), 4096}, WriteMode::kPlain)).ok());
    ASSERT_TRUE(s.run(s.volume.sync(file)).ok());
    ASSERT_TRUE(s.run(s.volume.write(file, 4096, {b.data(), 4096}, WriteMode::kPlain)).ok());
    s.disk.crash(s.rng);
    ASSERT_TRUE(s.run(s.volume.read(file, 0, in.span(0, 8192))).ok());
    for (size_t i = 0; i < 4096; i++) ASSERT_EQ(in.data()[i], std::byte{'a'});
    for (size_t i = 4096; i < 8192; i += 512) {
      ASSERT_TRUE(in.data()[i] == std::byte{'b'} || in.data()[i] == std::byte{0});
    }
  }
}

// Past the page cache the kernel says ENODATA of a sector that cannot be read; --repair goes round
// what is DataLoss, and nothing else.
TEST(LocalVolume, ADeviceThatFailedIsDataLossByWhateverName) {
  for (int error : {EIO, ENODATA, EILSEQ, EREMOTEIO, ENOLINK, ETIMEDOUT, EBADMSG, EUCLEAN}) {
    EXPECT_EQ(volume_error_code(error), absl::StatusCode::kDataLoss) << error;
  }
  for (int error : {EMFILE, ENFILE, ENOMEM}) {
    EXPECT_EQ(volume_error_code(error), absl::StatusCode::kUnavailable) << error;
  }
  for (int error : {ENOSPC, EDQUOT, EFBIG}) {
    EXPECT_EQ(volume_error_code(error), absl::StatusCode::kResourceExhausted) << error;
  }
}

}  // namespace
}  // namespace cairn
