// Appending and renaming: the bytes that are there are not moved, and what fails changes nothing.
#include "objects/append.h"

#include <gtest/gtest.h>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "objects/multipart.h"
#include "objects/rename.h"
#include "tests/core/fault_fixture.h"

namespace cairn::objects {
namespace {

struct AppendTest : FaultTest {
  std::unique_ptr<Store> store;
  NamespacePtr bucket;

  void start() {
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
    if (store->find_namespace("photos") == nullptr) {
      ASSERT_TRUE(store->create_bucket("photos").ok());
    }
    bucket = store->find_namespace("photos");
  }
  void restart() {
    take_apart(std::move(store));
    start();
  }
  StatusOr<PutResult> append(const std::string& key, uint64_t offset, const std::string& text,
                             const ObjectMeta& meta = {}, bool meanwhile = false) {
    const Conditions none;
    Append append(*store, *bucket, key, offset, text.size());
    auto begun = run(append.begin(none, {}));
    if (!begun) return absl::DeadlineExceededError("it does not end");
    if (!begun->ok()) return *begun;
    EXPECT_TRUE(run(append.upload().append(as_bytes(text)))->ok());
    EXPECT_TRUE(run(append.upload().finish())->ok());
    if (meanwhile) put(key, std::string(offset, 'z'));
    return settled(append.put(meta, std::nullopt));
  }
  void put(const std::string& key, const std::string& text, const ObjectMeta& meta = {}) {
    Upload bytes(*store, 0);
    ASSERT_TRUE(run(bytes.append(as_bytes(text)))->ok());
    ASSERT_TRUE(run(bytes.finish())->ok());
    const auto done = settled(objects::put(*store, *bucket, key, bytes, meta, 0, {}));
    ASSERT_TRUE(done.ok()) << done.status();
  }
  StatusOr<PutResult> rename(const std::string& from, const std::string& to,
                             const std::string& token = "") {
    Renaming renaming;
    renaming.from = from;
    renaming.to = to;
    renaming.token = token;
    auto done = run(objects::rename(*store, *bucket, renaming));
    if (!done) return absl::DeadlineExceededError("it does not end");
    return settled(*done);
  }
  StatusOr<PutResult> settled(const StatusOr<PutResult>& done) {
    if (done.ok()) {
      EXPECT_TRUE(run(store->log().wait_durable(done->seen))->ok());
    }
    return done;
  }
  std::string read(const std::string& key) {
    auto opened = run(open(*store, *bucket, key, std::nullopt));
    if (!opened->ok()) return std::string(opened->status().message());
    if ((*opened)->reader == nullptr) return (*opened)->inline_bytes;
    auto bytes = run((*opened)->reader->read_all(1 << 24));
    return bytes->ok() ? **bytes : std::string(bytes->status().message());
  }
  void fail_reads() {
    volume.fail_nth(1, true, absl::UnavailableError("EIO on read"),
                    [](Call call, std::optional<FileId>) { return call == Call::kRead; });
  }
  void leave_memory() {
    store->set_memory_bytes(1);
    for (int i = 0; i < 100 && store->cold_count() == 0; i++) (void)store->memory().help();
    ASSERT_GT(store->cold_count(), 0u);
  }
};

TEST_F(AppendTest, MakesAndGoesOn) {
  start();
  ObjectMeta meta;
  meta.content_type = "text/x";
  std::string whole;
  for (size_t size : {7u, 40'000u, 300'000u, 1u, 70'000u}) {
    const std::string piece(size, static_cast<char>('a' + whole.size() % 26));
    ASSERT_TRUE(append("key", whole.size(), piece, meta).ok());
    whole += piece;
    ASSERT_EQ(read("key"), whole);
    EXPECT_EQ(stat(*store, *bucket, "key")->meta.content_type, "text/x");
  }
  const Info info = *stat(*store, *bucket, "key");
  EXPECT_EQ(info.meta.part_sizes, (std::vector<uint64_t>{7, 40'000, 300'000, 1, 70'000}));
  EXPECT_TRUE(info.etag.ends_with("-5"));
  restart();
  EXPECT_EQ(read("key"), whole);
  take_apart(std::move(store));
}

TEST_F(AppendTest, AtAnotherOffsetIsRefused) {
  start();
  put("key", "12345");
  for (uint64_t offset : {uint64_t{0}, uint64_t{4}, uint64_t{6}, UINT64_MAX}) {
    EXPECT_EQ(append("key", offset, "x").status().message(), "InvalidWriteOffset") << offset;
  }
  EXPECT_EQ(append("none", 1, "x").status().message(), "InvalidWriteOffset");
  EXPECT_EQ(read("key"), "12345");
  // Another value of this length came meanwhile: its writer would lose it.
  EXPECT_TRUE(absl::IsAborted(append("key", 5, "x", {}, true).status()));
  EXPECT_EQ(read("key"), "zzzzz");
  take_apart(std::move(store));
}

TEST_F(AppendTest, ShareTheBytesThatAreThere) {
  start();
  const std::string text(300'000, 'x');
  put("key", text);
  fail_reads();
  ASSERT_TRUE(append("key", text.size(), "end").ok());
  volume.heal();
  EXPECT_EQ(read("key"), text + "end");
  put("key", "");
  ASSERT_TRUE(remove(*store, *bucket, "key").ok());
  take_apart(std::move(store));
}

// It had the old ones of those that nobody had computed again.
TEST_F(AppendTest, KeepsNoChecksumOfWhatWasThere) {
  start();
  ObjectMeta meta;
  for (Algorithm a : {Algorithm::kCrc32, Algorithm::kSha256}) {
    meta.checksums.emplace(name_of(a), base64(digest_of(a, "12345")));
  }
  put("key", "12345", meta);
  ASSERT_TRUE(append("key", 5, "6").ok());
  const std::map<std::string, std::string> want = {
      {"crc32", base64(digest_of(Algorithm::kCrc32, "123456"))}};
  EXPECT_EQ(stat(*store, *bucket, "key")->meta.checksums, want);
  take_apart(std::move(store));
}

TEST_F(AppendTest, HaveALimitOfParts) {
  segment_bytes = 1 << 20;  // for their sizes
  start();
  ObjectMeta meta;
  meta.part_sizes.assign(kAppendPartsMax - 1, 0);
  meta.part_sizes[0] = 5;
  put("key", "12345", meta);
  ASSERT_TRUE(append("key", 5, "6").ok());
  EXPECT_EQ(append("key", 6, "7").status().message(), "TooManyParts");
  EXPECT_EQ(read("key"), "123456");
  take_apart(std::move(store));
}

TEST_F(AppendTest, RenamingReadsNothingInExtents) {
  start();
  const std::string text(300'000, 'x');
  ObjectMeta meta;
  meta.etag = "etag";
  put("from", text, meta);
  put("to", std::string(200'000, 'y'));
  fail_reads();
  ASSERT_TRUE(rename("from", "to").ok());
  volume.heal();
  EXPECT_EQ(read("to"), text);
  EXPECT_EQ(stat(*store, *bucket, "to")->etag, "etag");
  EXPECT_TRUE(absl::IsNotFound(stat(*store, *bucket, "from").status()));
  restart();
  EXPECT_EQ(read("to"), text);
  EXPECT_TRUE(absl::IsNotFound(stat(*store, *bucket, "from").status()));
  take_apart(std::move(store));
}

TEST_F(AppendTest, RenamingOfWhatLeftMemoryBringsItBack) {
  start();
  put("from", std::string(5000, 'x'));
  leave_memory();
  fail_reads();
  EXPECT_FALSE(rename("from", "to").ok());
  EXPECT_TRUE(absl::IsNotFound(stat(*store, *bucket, "to").status()));
  volume.heal();
  ASSERT_TRUE(rename("from", "to").ok());
  EXPECT_EQ(read("to"), std::string(5000, 'x'));
  EXPECT_TRUE(absl::IsNotFound(rename("from", "to").status()));
  take_apart(std::move(store));
}

TEST_F(AppendTest, RenamingWithATokenIsDoneOnce) {
  start();
  put("a", "1");
  const auto first = rename("a", "b", "token");
  ASSERT_TRUE(first.ok());
  put("a", "2");
  restart();
  EXPECT_EQ(rename("a", "b", "token")->version, first->version);
  EXPECT_EQ(read("b"), "1");
  EXPECT_EQ(rename("c", "b", "token").status().message(), "IdempotencyParameterMismatch");
  ASSERT_TRUE(rename("a", "b", "other").ok());
  EXPECT_EQ(read("b"), "2");
  take_apart(std::move(store));
}

}  // namespace
}  // namespace cairn::objects
