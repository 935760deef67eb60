// Uploads in parts: held against a model, beside what looks after them, and over what fails.
#include "objects/multipart.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/base/text.h"
#include "objects/digest.h"
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

// ---- a model ----

struct Part {
  std::string bytes, etag;
  std::map<std::string, std::string> checksums;
};
struct Begun {
  std::string key;
  std::optional<Algorithm> algorithm;
  bool full = false;  // its checksum is that of all bytes
  std::map<unsigned, Part> parts;
};
struct Made {
  std::string bytes, etag, checksum;
  std::string upload;
  std::vector<CompletePart> parts;
};

// Parts of any size, in any order and again, and completions of any of them, good or not: what
// there is then is what the model says, and what was refused changed nothing.
struct MultipartModel : MultipartTest {
  static constexpr uint64_t kPartMin = 10;  // of each but the last
  std::unique_ptr<Store> store;
  NamespacePtr bucket;
  std::map<std::string, Begun> begun;  // by id
  std::map<std::string, Made> made;    // by key
  size_t completed = 0, refused = 0;

  void start() {
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
    if (store->find_namespace("photos") == nullptr) {
      ASSERT_TRUE(store->create_bucket("photos").ok());
    }
    bucket = store->find_namespace("photos");
  }
  void stop() {
    ASSERT_TRUE(run(store->close())->ok());
    bucket = nullptr;
    take_apart(std::move(store));
  }

  uint64_t pick(uint64_t n) { return rng() % n; }
  std::string some_bytes() {
    constexpr uint64_t kMost[] = {1, 30, 3000, 9000, 60'000};  // in the record, or in extents
    std::string bytes(pick(kMost[pick(std::size(kMost))]), '\0');
    for (char& c : bytes) c = static_cast<char>(rng());
    return bytes;
  }
  template <class Map>
  std::string some_of(const Map& map) {
    return std::next(map.begin(), static_cast<ptrdiff_t>(pick(map.size())))->first;
  }

  void begin() {
    constexpr Algorithm kAlgorithms[] = {Algorithm::kCrc32, Algorithm::kCrc32c,
                                         Algorithm::kCrc64nvme, Algorithm::kSha1,
                                         Algorithm::kSha256};
    Begun upload{cat(pick(2) == 0 ? "a/" : "", "key", pick(3)), {}, false, {}};
    ObjectMeta meta;
    if (pick(3) > 0) {
      upload.algorithm = kAlgorithms[pick(std::size(kAlgorithms))];
      upload.full = is_crc(*upload.algorithm) && pick(2) == 0;
      meta.extra["algorithm"] = name_of(*upload.algorithm);
      meta.extra["type"] = upload.full ? "FULL_OBJECT" : "COMPOSITE";
    }
    const auto got = create_upload(*store, *bucket, upload.key, meta);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_TRUE(begun.emplace(got->id, upload).second) << "an id was given twice";
  }

  // Of an upload that is there, or else is refused.
  void send_part(const std::string& key, const std::string& id) {
    const auto upload = begun.find(id);
    const bool known = upload != begun.end() && upload->second.key == key;
    const auto number = static_cast<unsigned>(pick(8) == 0 ? kPartNumberMax : 1 + pick(5));
    Part part{some_bytes(), "", {}};
    Upload bytes(*store, pick(2) == 0 ? part.bytes.size() : 0);
    for (std::string_view rest = part.bytes; !rest.empty();) {
      const std::string_view piece = rest.substr(0, 1 + pick(rest.size()));
      ASSERT_TRUE(run(bytes.append(as_bytes(piece)))->ok());
      rest.remove_prefix(piece.size());
    }
    ASSERT_TRUE(run(bytes.finish())->ok());
    part.etag = hex(digest_of(Algorithm::kMd5, part.bytes));
    if (known && upload->second.algorithm) {
      const Algorithm a = *upload->second.algorithm;
      part.checksums[std::string(name_of(a))] = base64(digest_of(a, part.bytes));
    }
    ObjectMeta meta;
    meta.etag = part.etag;
    meta.checksums = part.checksums;
    const auto result = put_part(*store, *bucket, key, id, number, bytes, meta);
    if (!known) {
      EXPECT_TRUE(absl::IsNotFound(result.status())) << result.status();
      return;
    }
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->etag, part.etag);
    upload->second.parts[number] = std::move(part);
  }

  void give_up(const std::string& id) {
    const std::string key = begun[id].key;
    EXPECT_TRUE(absl::IsNotFound(abort_upload(*store, *bucket, key + "x", id).status()));
    ASSERT_TRUE(abort_upload(*store, *bucket, key, id).ok());
    EXPECT_TRUE(absl::IsNotFound(abort_upload(*store, *bucket, key, id).status()));
    begun.erase(id);
    send_part(key, id);
  }

  // Some of the parts, and what they make; `code`: why they make nothing.
  std::vector<CompletePart> choose(const Begun& upload, Made& object, std::string& code) {
    std::vector<CompletePart> chosen;
    std::string digests, sums;
    size_t last_bytes = kPartMin;
    for (auto& [number, part] : upload.parts) {
      if (pick(3) == 0) continue;
      if (last_bytes < kPartMin) code = "EntityTooSmall";
      last_bytes = part.bytes.size();
      chosen.push_back({number, part.etag, {}});
      if (pick(2) == 0) chosen.back().checksums = part.checksums;
      object.bytes += part.bytes;
      digests += digest_of(Algorithm::kMd5, part.bytes);
      if (upload.algorithm) sums += digest_of(*upload.algorithm, part.bytes);
    }
    object.etag = cat(hex(digest_of(Algorithm::kMd5, digests)), "-", chosen.size());
    if (upload.algorithm) {
      object.checksum = upload.full
                            ? base64(digest_of(*upload.algorithm, object.bytes))
                            : cat(base64(digest_of(*upload.algorithm, sums)), "-", chosen.size());
    }
    return chosen;
  }

  // Breaks one thing of a good completion, and says what it is to be called; "": it did not.
  std::string spoil(const Begun& upload, std::vector<CompletePart>& parts, Expected& expected,
                    Conditions& conditions) {
    CompletePart& some = parts[pick(parts.size())];
    switch (pick(9)) {
      case 0:
        some.etag = hex(digest_of(Algorithm::kMd5, "another"));
        return "InvalidPart";
      case 1:
        some.etag.pop_back();
        return "InvalidPart";
      case 2:
        parts.front().number = 77;
        parts.resize(1);
        return "InvalidPart";
      case 3:
        parts.push_back(CompletePart(parts[pick(parts.size())]));
        return "InvalidPartOrder";
      case 4:
        some.checksums["sha256"] = "AAAA";
        return "InvalidPart";
      case 5:
        expected.size = pick(1000) + (1 << 30);
        return "InvalidRequest";
      case 6:
        expected.algorithm = upload.algorithm ? name_of(*upload.algorithm) : "crc32";
        expected.checksum = "another";
        return upload.algorithm ? "BadDigest" : "InvalidRequest";
      case 7:
        expected.checksum_type = upload.full ? "COMPOSITE" : "FULL_OBJECT";
        return "InvalidRequest";
      default:
        conditions.if_none_match = "*";
        return made.contains(upload.key) ? "condition" : "";
    }
  }

  void finish(const std::string& id) {
    const Begun upload = begun[id];
    Made object;
    std::string code;
    std::vector<CompletePart> parts = choose(upload, object, code);
    Expected expected;
    Conditions conditions;
    if (parts.empty()) {
      code = "MalformedXML";
    } else if (code.empty() && pick(3) == 0) {
      code = spoil(upload, parts, expected, conditions);
    } else if (pick(2) == 0 && upload.algorithm) {
      expected.algorithm = name_of(*upload.algorithm);
      expected.checksum = object.checksum;
      expected.checksum_type = upload.full ? "FULL_OBJECT" : "COMPOSITE";
      expected.size = object.bytes.size();
    }
    const auto result = *run(
        complete_upload(*store, *bucket, upload.key, id, parts, conditions, expected, kPartMin));
    if (!code.empty()) {
      refused++;
      ASSERT_FALSE(result.ok()) << code;
      EXPECT_NE(result.status().message().find(code), std::string::npos)
          << result.status() << " in place of " << code;
      return;
    }
    completed++;
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->put.etag, object.etag);
    EXPECT_EQ(result->checksum, object.checksum);
    EXPECT_EQ(result->full_object, upload.full);
    object.parts = parts;
    object.upload = id;
    made[upload.key] = object;
    begun.erase(id);
    send_part(upload.key, id);
  }

  // A client that did not get the answer asks again.
  void finish_again(const std::string& key) {
    const Made& object = made[key];
    const auto ask = [&](const std::vector<CompletePart>& parts) {
      return *run(complete_upload(*store, *bucket, key, object.upload, parts, {}, {}, kPartMin));
    };
    const auto again = ask(object.parts);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->put.etag, object.etag);
    EXPECT_EQ(again->checksum, object.checksum);
    std::vector<CompletePart> others = object.parts;
    others.back().etag = hex(digest_of(Algorithm::kMd5, "another"));
    EXPECT_TRUE(absl::IsNotFound(ask(others).status()));
  }

  void check() {
    for (auto& [id, upload] : begun) {
      const auto found = find_upload(*store, *bucket, upload.key, id);
      ASSERT_TRUE(found.ok()) << found.status();
      const PartList list = list_parts(*store, id);
      ASSERT_EQ(list.parts.size(), upload.parts.size());
      auto expected = upload.parts.begin();
      for (const PartInfo& part : list.parts) {
        EXPECT_EQ(part.number, expected->first);
        EXPECT_EQ(part.size, expected->second.bytes.size());
        EXPECT_EQ(part.etag, expected->second.etag);
        EXPECT_EQ(part.checksums, expected->second.checksums);
        ++expected;
      }
    }
    check_uploads("");
    check_uploads("a/");
    ASSERT_EQ(bucket->size(), made.size());
    for (auto& [key, object] : made) {
      auto opened = *run(objects::open(*store, *bucket, key, std::nullopt));
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_EQ(opened->info.etag, object.etag);
      EXPECT_EQ(opened->info.meta.part_sizes.size(), object.parts.size());
      std::string bytes = opened->inline_bytes;
      if (opened->reader != nullptr) bytes = **run(opened->reader->read_all(1 << 30));
      EXPECT_TRUE(bytes == object.bytes) << key;
    }
  }

  // Page by page, of any size: each upload once, by key and then by id.
  void check_uploads(const std::string& prefix) {
    std::set<std::pair<std::string, std::string>> expected;
    for (auto& [id, upload] : begun) {
      if (upload.key.starts_with(prefix)) expected.emplace(upload.key, id);
    }
    auto next = expected.begin();
    std::string key, id;
    for (bool more = true; more;) {
      const size_t limit = 1 + pick(4);
      const UploadPage page = list_uploads(*store, *bucket, prefix, "", key, id, limit);
      EXPECT_LE(page.uploads.size(), limit);
      for (const UploadInfo& upload : page.uploads) {
        ASSERT_NE(next, expected.end());
        EXPECT_EQ(std::pair(upload.key, upload.id), *next);
        ++next;
        key = upload.key;
        id = upload.id;
      }
      more = page.truncated;
      ASSERT_FALSE(more && page.uploads.empty());
    }
    EXPECT_EQ(next, expected.end());
  }

  void step() {
    if (begun.empty() || (begun.size() < 6 && pick(8) == 0)) return begin();
    const std::string id = some_of(begun), key = begun[id].key;
    switch (pick(12)) {
      case 0:
        return give_up(id);
      case 1:
      case 2:
      case 3:
        return finish(id);
      case 4:
        if (!made.empty()) finish_again(some_of(made));
        return;
      case 5:
        if (!made.empty() && pick(3) == 0) {
          const std::string gone = some_of(made);
          ASSERT_TRUE(remove(*store, *bucket, gone).ok());
          made.erase(gone);
        }
        return;
      case 6:
        return send_part(pick(2) == 0 ? key + "x" : key, pick(2) == 0 ? cat(id, "0") : id);
      default:
        return send_part(key, id);
    }
  }
};

TEST_F(MultipartModel, IsWhatTheModelSays) {
  for (int life = 0; life < 4 && !HasFailure(); life++) {
    start();
    check();
    for (int i = 0; i < 250 && !HasFailure(); i++) {
      SCOPED_TRACE(cat("life ", life, ", step ", i));
      step();
      check();
    }
    stop();
  }
  EXPECT_GT(completed, 50u);
  EXPECT_GT(refused, 20u);
}

// What was given up, replaced, left out or removed takes no room.
TEST_F(MultipartModel, NothingIsLeftOfWhatEnded) {
  start();
  for (int i = 0; i < 300 && !HasFailure(); i++) step();
  while (!begun.empty() && !HasFailure()) give_up(some_of(begun));
  for (auto& [key, object] : made) ASSERT_TRUE(remove(*store, *bucket, key).ok());
  for (int i = 0; i < 1000 && store->extents().stats().extents > 0; i++) sleep(20);
  EXPECT_EQ(store->extents().stats().extents, 0u);
  EXPECT_EQ(store->system().size(), 0u);
  EXPECT_EQ(pool.in_use(), 0u);
  stop();
}

}  // namespace
}  // namespace cairn::objects
