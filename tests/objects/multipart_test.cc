// Uploads in parts, beside what looks after them.
#include "objects/multipart.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/core/fault_fixture.h"

namespace cairn::objects {
namespace {

struct MultipartTest : FaultTest {};

// The doors are open when the uploads of buckets that are gone are removed.
TEST_F(MultipartTest, TheSweepTakesNoUploadThatBeganMeanwhile) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  std::atomic<bool> stop{false};
  std::vector<std::string> ids;
  const auto upload = [&](int i) {
    const std::string name = "bucket-" + std::to_string(i);
    ASSERT_TRUE(store->create_bucket(name).ok());
    const auto bucket = store->find_namespace(name);
    const auto made = create_upload(*store, *bucket, "key", {});
    ASSERT_TRUE(made.ok());
    Upload bytes(*store, 0);
    ASSERT_TRUE(put_part(*store, *bucket, "key", made->id, 1, bytes, {}).ok()) << i;
    ids.push_back(made->id);
  };
  std::thread client([&] {
    for (int i = 0; i < 3000 && !HasFailure(); i++) upload(i);
    stop = true;
  });
  while (!stop) EXPECT_TRUE(sweep_uploads(*store).ok());
  client.join();
  for (size_t i = 0; i < ids.size(); i++) {
    const auto bucket = store->find_namespace("bucket-" + std::to_string(i));
    EXPECT_TRUE(find_upload(*store, *bucket, "key", ids[i]).ok()) << i;
    EXPECT_EQ(list_parts(*store, ids[i]).parts.size(), 1u) << i;
    if (HasFailure()) break;
  }
  take_apart(std::move(store));
}

// A part that cannot be read now is no part that was never sent: who is told that gives up.
TEST_F(MultipartTest, APartThatCannotBeReadNowIsNotCalledInvalid) {
  auto store = make();
  ASSERT_TRUE(run(store->open())->ok());
  ASSERT_TRUE(store->create_bucket("photos").ok());
  const auto bucket = store->find_namespace("photos");
  const auto made = create_upload(*store, *bucket, "key", {});
  ASSERT_TRUE(made.ok());
  Upload bytes(*store, 0);
  const std::string text(5000, 'x');
  ASSERT_TRUE(run(bytes.append(as_bytes(text)))->ok());
  ObjectMeta meta;
  meta.etag = std::string(32, 'a');
  const auto part = put_part(*store, *bucket, "key", made->id, 1, bytes, meta);
  ASSERT_TRUE(part.ok());
  ASSERT_TRUE(run(store->log().wait_durable(part->version))->ok());
  store->set_memory_bytes(1);
  for (int i = 0; i < 100 && store->cold_count() == 0; i++) (void)store->memory().help();
  ASSERT_GT(store->cold_count(), 0u);
  volume.fail_nth(1, false, absl::UnavailableError("no descriptor"),
                  [](Call call, std::optional<FileId>) { return call == Call::kRead; });
  const std::vector<CompletePart> parts{{1, meta.etag, {}}};
  auto failed = run(complete_upload(*store, *bucket, "key", made->id, parts, {}, {}));
  ASSERT_TRUE(failed.has_value());
  EXPECT_TRUE(absl::IsUnavailable(failed->status())) << failed->status();
  auto done = run(complete_upload(*store, *bucket, "key", made->id, parts, {}, {}));
  ASSERT_TRUE(done.has_value());
  EXPECT_TRUE(done->ok()) << done->status();
  take_apart(std::move(store));
}

}  // namespace
}  // namespace cairn::objects
