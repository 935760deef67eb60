// Tags of objects: what hangs on a value is changed without it.
#include "objects/tags.h"

#include <gtest/gtest.h>

#include "core/base/text.h"
#include "objects/object.h"
#include "tests/core/fault_fixture.h"

namespace cairn::objects {
namespace {

TEST(Tags, AreOfLettersNumbersSeparatorsAndAFewMarks) {
  for (const char* good : {"a", "Z9", "a b", "+-=._:/@", "\u00e9", "\u4e2d", "\u0663", "\u2160",
                           "\u00a0", "\u3000", "\U00010400", "\U0002a6d6"}) {
    EXPECT_TRUE(is_tag_name(good)) << good;
    EXPECT_TRUE(is_tag_value(good)) << good;
  }
  for (const char* bad : {",", ";", "a!", "*", "%", "#", "\t", "\x7f", "\u0345", "\u20ac", "\u00d7",
                          "\U0001f600", "\xff", "a\xc3", "\ufffe"}) {
    EXPECT_FALSE(is_tag_name(bad)) << bad;
    EXPECT_FALSE(is_tag_value(bad)) << bad;
  }
  EXPECT_FALSE(is_tag_name(""));
  EXPECT_TRUE(is_tag_value(""));
  EXPECT_TRUE(is_tag_name(std::string(kTagNameMax, 'k')));
  EXPECT_FALSE(is_tag_name(std::string(kTagNameMax + 1, 'k')));
  EXPECT_TRUE(is_tag_value(std::string(kTagValueMax, 'v')));
  EXPECT_FALSE(is_tag_value(std::string(kTagValueMax + 1, 'v')));
}

struct TagsTest : FaultTest {
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
  Lsn put(const std::string& key, const std::string& text) {
    Upload bytes(*store, 0);
    EXPECT_TRUE(run(bytes.append(as_bytes(text)))->ok());
    EXPECT_TRUE(run(bytes.finish())->ok());
    ObjectMeta meta;
    meta.etag = "etag";
    meta.modified_ms = 1234;
    meta.user["a"] = "b";
    const auto done =
        objects::put(*store, *bucket, key, bytes, meta, store->now_ms() + 1'000'000, {});
    EXPECT_TRUE(done.ok()) << done.status();
    EXPECT_TRUE(run(store->log().wait_durable(done->version))->ok());
    return done->version;
  }
  StatusOr<PutResult> tag(const std::string& key, const Tags& tags) {
    auto done = run(set_tags(*store, *bucket, key, tags, Cause::kTagsPut));
    if (!done) return absl::DeadlineExceededError("it does not end");
    if (done->ok()) {
      EXPECT_TRUE(run(store->log().wait_durable((*done)->seen))->ok());
    }
    return *done;
  }
  std::string read(const std::string& key) {
    auto opened = run(open(*store, *bucket, key, std::nullopt));
    if (!opened->ok()) return std::string(opened->status().message());
    if ((*opened)->reader == nullptr) return (*opened)->inline_bytes;
    auto bytes = run((*opened)->reader->read_all(1 << 24));
    return bytes->ok() ? **bytes : std::string(bytes->status().message());
  }
  void expect(const std::string& key, const Tags& tags, const std::string& text) {
    const auto info = stat(*store, *bucket, key);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->meta.tags, tags);
    EXPECT_EQ(info->etag, "etag");
    EXPECT_EQ(info->modified_ms, 1234);
    EXPECT_EQ(info->meta.user, (std::map<std::string, std::string>{{"a", "b"}}));
    EXPECT_NE(info->expire_ms, 0);
    EXPECT_EQ(read(key), text);
  }
  void fail_reads() {
    volume.fail_nth(1, true, absl::UnavailableError("EIO on read"),
                    [](Call call, std::optional<FileId>) { return call == Call::kRead; });
  }
};

// Nothing is read, and what shares the extents goes on to have them.
TEST_F(TagsTest, OfAValueInExtentsNothingIsRead) {
  start();
  const std::string text(300'000, 'x');
  const Lsn before = put("large", text);
  fail_reads();
  const auto tagged = tag("large", {{"color", "red"}});
  ASSERT_TRUE(tagged.ok()) << tagged.status();
  EXPECT_GT(tagged->version, before);
  EXPECT_EQ(tagged->etag, "etag");
  volume.heal();
  expect("large", {{"color", "red"}}, text);
  for (int i = 0; i < 50; i++) ASSERT_TRUE(tag("large", {{"count", cat(i)}}).ok());
  ASSERT_TRUE(tag("large", {}).ok());
  expect("large", {}, text);
  take_apart(std::move(store));
  start();
  expect("large", {}, text);
  ASSERT_TRUE(remove(*store, *bucket, "large").ok());
  take_apart(std::move(store));
}

// One that left memory comes back for it; while it cannot, it keeps the tags that it had.
TEST_F(TagsTest, AValueThatLeftMemoryHasItsTagsChanged) {
  start();
  const std::string text(5000, 'x');
  put("small", text);
  ASSERT_TRUE(tag("small", {{"color", "red"}}).ok());
  store->set_memory_bytes(1);
  for (int i = 0; i < 100 && store->cold_count() == 0; i++) (void)store->memory().help();
  ASSERT_GT(store->cold_count(), 0u);
  fail_reads();
  EXPECT_FALSE(tag("small", {{"color", "blue"}}).ok());
  EXPECT_EQ(stat(*store, *bucket, "small")->meta.tags, (Tags{{"color", "red"}}));
  volume.heal();
  ASSERT_TRUE(tag("small", {{"color", "blue"}}).ok());
  expect("small", {{"color", "blue"}}, text);
  take_apart(std::move(store));
}

TEST_F(TagsTest, TheSameTagsAreNoChangeAndWrongOnesAreRefused) {
  start();
  put("key", "value");
  const auto first = tag("key", {{"color", "red"}});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(tag("key", {{"color", "red"}})->version, first->version);
  EXPECT_TRUE(absl::IsInvalidArgument(tag("key", {{"aws:color", "red"}}).status()));
  EXPECT_TRUE(absl::IsNotFound(tag("nothing", {{"color", "red"}}).status()));
  expect("key", {{"color", "red"}}, "value");
  take_apart(std::move(store));
}

}  // namespace
}  // namespace cairn::objects
