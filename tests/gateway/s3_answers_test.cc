// What the operations of S3 rest on, and what they keep of a body, without a wire.
#include <gtest/gtest.h>
#include <malloc.h>

#include "gateway/http/s3/service.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::s3 {
namespace {

struct TextBody final : http::Body {
  explicit TextBody(std::string text) : left(std::move(text)) {}
  awaitable<StatusOr<size_t>> read(MutableBytes into) override {
    const size_t n = std::min(into.size(), left.size());
    std::memcpy(into.data(), left.data(), n);
    left.erase(0, n);
    co_return n;
  }
  awaitable<Status> ready() override { co_return absl::OkStatus(); }
  std::string left;
};

struct S3Answers : kv::EngineTest {
  struct Answer {
    Error error;
    http::Response response;
    bool durable = false;  // all that was written before, when it would have left
  };
  using Words = std::map<std::string, std::string>;

  NamespacePtr bucket;
  Lsn last;  // of what was written, and is not durable yet

  // Writes are durable when time passes: the answer comes at once, unless it waits for them.
  Answer answer(std::string_view name, const std::string& key, Words headers, Words params) {
    Answer out;
    http::Request request;
    for (auto& [name, value] : headers) request.headers.add(name, value);
    for (auto& param : params) request.query.emplace_back(param);
    TextBody none("");
    request.body = &none;
    out.response.takes_long = [] {};
    Call call{*store, request, out.response, {},     "photos",
              key,    bucket,  nullptr,      "root", "us-east-1"};
    call.auth.principal = users.owner("root");
    PayloadBody body(none, call.auth);
    call.body = &body;
    for (auto rows : {object_rows(), multipart_rows()}) {
      for (const Row& row : rows) {
        if (row.name == name) call.row = &row;
      }
    }
    request.method = call.row->method;
    EXPECT_FALSE(store->log().is_durable(last)) << name;
    EXPECT_TRUE(finish([&]() -> awaitable<Status> {
                  out.error = co_await call.row->run(call);
                  co_return absl::OkStatus();
                }())
                    .ok());
    out.durable = store->log().is_durable(last) || (out.error && out.error.rests_on >= last);
    settle_all();
    return out;
  }
  void settle_all() { EXPECT_TRUE(finish(store->log().wait_durable(last)).ok()); }

  void put(const std::string& key, std::string_view text) {
    objects::Upload upload(*store, 0);
    EXPECT_TRUE(finish(upload.append(as_bytes(text))).ok());
    EXPECT_TRUE(finish(upload.finish()).ok());
    const auto done = objects::put(*store, *bucket, key, upload, {}, 0, {});
    ASSERT_TRUE(done.ok());
    last = done->version;
  }
  void remove(const std::string& key) {
    const auto done = objects::remove(*store, *bucket, key);
    ASSERT_TRUE(done.ok());
    last = done->version;
  }
  std::string begin_upload(const std::string& key) {
    const auto made = objects::create_upload(*store, *bucket, key, {});
    EXPECT_TRUE(made.ok());
    last = made->version;
    return made->id;
  }
  void put_part(const std::string& key, const std::string& id, unsigned number) {
    objects::Upload bytes(*store, 0);
    ObjectMeta meta;
    meta.etag = std::string(32, 'a');
    const auto put = objects::put_part(*store, *bucket, key, id, number, bytes, meta);
    ASSERT_TRUE(put.ok());
    last = put->version;
  }

  void SetUp() override {
    EngineTest::SetUp();
    ASSERT_TRUE(store->create_bucket("photos").ok());
    bucket = store->find_namespace("photos");
  }
};

TEST_F(S3Answers, RefuseACustomersKeyThatCameInTheOpen) {
  const std::string key(objects::kCustomerKeyBytes, 'k'), head = "x-amz-server-side-encryption-";
  const Words headers{{head + "customer-algorithm", "AES256"},
                      {head + "customer-key", objects::base64(key)},
                      {head + "customer-key-md5",
                       objects::base64(objects::digest_of(objects::Algorithm::kMd5, key))}};
  for (const char* operation : {"GetObject", "PutObject", "GetObjectAttributes"}) {
    put("a", "x");
    Words with = headers;
    with["x-amz-object-attributes"] = "ETag";
    const Answer got = answer(operation, "a", with, {});
    EXPECT_EQ(got.error.code, "InvalidRequest") << operation;
    EXPECT_NE(got.error.message.find("secure connection"), std::string::npos) << operation;
  }
}

// A crash would leave a client told of an object that never was, or of one's absence.
TEST_F(S3Answers, LeaveWhenWhatTheySawIsDurable) {
  put("a", "old");
  settle_all();
  struct Case {
    const char* operation;
    Words headers;
    const char* refusal;
  };
  const Case of_present[] = {
      {"PutObject", {{"if-none-match", "*"}, {"content-length", "0"}}, "PreconditionFailed"},
      {"PutObject", {{"if-match", "\"x\""}, {"content-length", "0"}}, "PreconditionFailed"},
      {"CopyObject",
       {{"x-amz-copy-source", "/photos/a"}, {"x-amz-copy-source-if-match", "\"x\""}},
       "PreconditionFailed"},
      {"CopyObject",
       {{"x-amz-copy-source", "/photos/a"}, {"x-amz-copy-source-if-none-match", "*"}},
       "PreconditionFailed"},
      {"GetObject", {{"if-match", "\"x\""}}, "PreconditionFailed"},
      {"GetObjectAttributes", {{"x-amz-object-attributes", "ETag"}}, ""},
      {"DeleteObject", {{"if-match", "\"x\""}}, "PreconditionFailed"},
      {"GetObject", {{"range", "bytes=100-"}}, "InvalidRange"}};
  for (auto& c : of_present) {
    put("a", "new");
    const Answer got = answer(c.operation, c.operation[0] == 'C' ? "b" : "a", c.headers, {});
    EXPECT_EQ(got.error.code, c.refusal) << c.operation;
    EXPECT_TRUE(got.durable) << c.operation << " " << c.headers.begin()->first;
  }
  const Case of_absent[] = {
      {"PutObject", {{"if-match", "\"x\""}, {"content-length", "0"}}, "NoSuchKey"},
      {"CopyObject", {{"x-amz-copy-source", "/photos/a"}}, "NoSuchKey"},
      {"DeleteObject", {{"if-match", "*"}}, "NoSuchKey"},
      {"GetObjectAttributes", {{"x-amz-object-attributes", "ETag"}}, "NoSuchKey"},
      {"GetObject", {}, "NoSuchKey"}};
  for (auto& c : of_absent) {
    put("a", "new");
    remove("a");
    const Answer got = answer(c.operation, c.operation[0] == 'C' ? "b" : "a", c.headers, {});
    EXPECT_EQ(got.error.code, c.refusal) << c.operation;
    EXPECT_TRUE(got.durable) << c.operation;
  }
  put("a", "new");
  Answer got = answer("GetObject", "a", {}, {{"partNumber", "2"}});
  EXPECT_EQ(got.error.code, "InvalidPartNumber");
  EXPECT_TRUE(got.durable);
}

TEST_F(S3Answers, OfUploadsLeaveWhenWhatTheySawIsDurable) {
  std::string id = begin_upload("k");
  Answer got = answer("ListMultipartUploads", "", {}, {});
  EXPECT_NE(got.response.body.find(id), std::string::npos);
  EXPECT_TRUE(got.durable);
  put_part("k", id, 1);
  got = answer("ListParts", "k", {}, {{"uploadId", id}});
  EXPECT_NE(got.response.body.find("<PartNumber>1<"), std::string::npos);
  EXPECT_TRUE(got.durable);

  const Words part_two{{"uploadId", id}, {"partNumber", "2"}};
  for (const Words& headers :
       {Words{{"x-amz-copy-source", "/photos/a"}, {"x-amz-copy-source-if-match", "\"x\""}},
        Words{{"x-amz-copy-source", "/photos/a"}, {"x-amz-copy-source-range", "bytes=0-9"}}}) {
    put("a", "new");
    got = answer("UploadPartCopy", "k", headers, part_two);
    EXPECT_TRUE(got.error);
    EXPECT_TRUE(got.durable) << got.error.code;
  }

  const auto aborted = objects::abort_upload(*store, *bucket, "k", id);
  ASSERT_TRUE(aborted.ok());
  last = *aborted;
  got = answer("ListMultipartUploads", "", {}, {});
  EXPECT_EQ(got.response.body.find(id), std::string::npos);
  EXPECT_TRUE(got.durable);
  id = begin_upload("k");
  settle_all();
  const auto gone = objects::abort_upload(*store, *bucket, "k", id);
  ASSERT_TRUE(gone.ok());
  last = *gone;
  got = answer("ListParts", "k", {}, {{"uploadId", id}});
  EXPECT_EQ(got.error.code, "NoSuchUpload");
  EXPECT_TRUE(got.durable);
}

#ifndef __SANITIZE_ADDRESS__
// 80 MB in frames that straddle the ends of what is read at a time.
struct Frames final : http::Body {
  static constexpr size_t kFrames = 20'000, kFrameBytes = 4096;  // 80 MB
  awaitable<StatusOr<size_t>> read(MutableBytes into) override {
    size_t n = 0;
    for (; n < into.size() && made < first.size() + kFrames * kFrameBytes + last.size(); n++) {
      into[n] = std::byte(made < first.size() ? first[made] : at(made - first.size()));
      made++;
    }
    co_return n;
  }
  char at(size_t place) const {
    return place < kFrames * kFrameBytes ? frame[place % kFrameBytes]
                                         : last[place - kFrames * kFrameBytes];
  }
  awaitable<Status> ready() override { co_return absl::OkStatus(); }
  const std::string frame = "1;" + std::string(kFrameBytes - 7, 'a') + "\r\nX\r\n";
  const std::string first = "1;" + std::string(1993, 'a') + "\r\nX\r\n", last = "0\r\n\r\n";
  size_t made = 0;
};

// A body of frames that straddle the ends of what is read at a time was kept whole: 240 MB of it.
TEST_F(S3Answers, TheBytesOfABodyThatWereUsedAreGivenBack) {
  Frames frames;
  Authenticated auth;
  auth.payload = Payload::kStreamingUnsignedTrailer;
  PayloadBody body(frames, auth);
  const auto used = [] {
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t before = used();
  size_t bytes = 0, most = 0;
  EXPECT_TRUE(finish([&]() -> awaitable<Status> {
                std::byte some[100];
                for (;;) {
                  auto n = co_await body.read({some, sizeof(some)});
                  if (!n.ok()) co_return n.status();
                  if (*n == 0) co_return absl::OkStatus();
                  bytes += *n;
                  most = std::max(most, used());
                }
              }())
                  .ok());
  EXPECT_EQ(bytes, Frames::kFrames + 1);
  EXPECT_LT(most - std::min(before, most), 1u << 20);
}
#endif

}  // namespace
}  // namespace cairn::s3
