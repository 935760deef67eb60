// Signatures: those that AWS published are good, and of any request and any body nothing that is
// signed can change unnoticed. The signer is one of our own for tests (aws_signer.h).
#include "gateway/http/s3/sigv4.h"

#include <absl/time/time.h>
#include <gtest/gtest.h>

#include <random>

#include "core/base/text.h"
#include "gateway/http/head.h"
#include "gateway/http/s3/payload.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gateway/aws_signer.h"

namespace cairn::s3 {
namespace {

// "Signature Calculations" of the Amazon S3 API reference: its keys, its requests, its signatures.
constexpr std::string_view kUser = "AKIAIOSFODNN7EXAMPLE";
constexpr std::string_view kSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
constexpr std::string_view kStamp = "20130524T000000Z";
constexpr int64_t kStampMs = 1369353600000;
constexpr std::string_view kScope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

struct SigV4 : testing::Test {
  const Users users{std::string(kUser), std::string(kSecret), true};
  Authenticator authenticator{users, "us-east-1"};
  const aws::Signer signer{std::string(kUser), std::string(kSecret), std::string(kStamp)};
  std::mt19937_64 rng{7};

  // Its code, or nothing if it is good.
  std::string refusal(const http::Request& r, int64_t now_ms = kStampMs) {
    Authenticated out;
    return std::string(authenticator.authenticate(r, now_ms, out).code);
  }
  static http::Request parse(const std::string& head) {
    http::Request r;
    http::Framing framing;
    EXPECT_TRUE(http::read_head(head, r, framing).ok()) << head;
    return r;
  }

  uint64_t pick(uint64_t n) { return rng() % n; }
  std::string word(size_t most, std::string_view of = {}) {
    std::string text(pick(most + 1), '\0');
    for (char& c : text) c = of.empty() ? static_cast<char>(rng()) : of[pick(of.size())];
    return text;
  }
  // Any request as a parser leaves it, of names and values that take every escape.
  http::Request some_request() {
    http::Request r;
    constexpr std::string_view kMethods[] = {"GET", "PUT", "POST", "DELETE", "HEAD"};
    r.method = kMethods[pick(std::size(kMethods))];
    r.path = cat("/", word(20));
    for (uint64_t i = pick(4); i > 0; i--) r.query.emplace_back(word(4), word(8));
    r.headers["host"] = "examplebucket.s3.amazonaws.com";
    for (uint64_t i = pick(4); i > 0; i--) {
      std::string value = word(12, "abcXYZ019=/+;:, \xc3\xa4");
      while (value.starts_with(' ')) value.erase(0, 1);
      while (value.ends_with(' ')) value.pop_back();
      r.headers[cat("x-amz-meta-", pick(9))] = value;
    }
    if (pick(3) == 0) r.headers["range"] = "bytes=0-9";
    return r;
  }
};

struct Published {
  std::string_view head, signed_headers, content, signature;
};
constexpr std::string_view kEmpty =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr Published kPublished[] = {
    {"GET /test.txt HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\nRange: bytes=0-9\r\n",
     "host;range;x-amz-content-sha256;x-amz-date", kEmpty,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT /test$file.text HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n"
     "Date: Fri, 24 May 2013 00:00:00 GMT\r\nx-amz-storage-class: REDUCED_REDUNDANCY\r\n",
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET /?lifecycle HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n",
     "host;x-amz-content-sha256;x-amz-date", kEmpty,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET /?max-keys=2&prefix=J HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n",
     "host;x-amz-content-sha256;x-amz-date", kEmpty,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

TEST_F(SigV4, PublishedRequestsAreGood) {
  for (const Published& p : kPublished) {
    const http::Request r =
        parse(cat(p.head, "x-amz-content-sha256: ", p.content, "\r\nx-amz-date: ", kStamp,
                  "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=", kScope,
                  ",SignedHeaders=", p.signed_headers, ",Signature=", p.signature, "\r\n\r\n"));
    Authenticated out;
    const Error error = authenticator.authenticate(r, kStampMs, out);
    EXPECT_FALSE(error) << p.head << error.code;
    EXPECT_EQ(out.payload, Payload::kSigned);
    EXPECT_EQ(out.payload_sha256, p.content);
    ASSERT_NE(out.principal, nullptr);
    EXPECT_EQ(out.principal->name(), kUser);
    EXPECT_FALSE(out.presigned);
  }
}

TEST_F(SigV4, ThePublishedPresignedUrlIsGood) {
  const http::Request r = parse(
      "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F"
      "20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
      "X-Amz-SignedHeaders=host&X-Amz-Signature="
      "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\r\n"
      "Host: examplebucket.s3.amazonaws.com\r\n\r\n");
  Authenticated out;
  EXPECT_FALSE(authenticator.authenticate(r, kStampMs, out));
  EXPECT_TRUE(out.presigned);
  EXPECT_EQ(out.payload, Payload::kUnsigned);
}

// ---- any request ----

TEST_F(SigV4, WhatIsSignedIsGoodAndNoByteOfItCanChange) {
  for (int round = 0; round < 120; round++) {
    http::Request good = some_request();
    const bool presigned = pick(2) == 0;
    if (presigned) {
      signer.presign(good, "3600");
    } else {
      signer.sign(good, pick(2) == 0 ? std::string(kEmpty) : "UNSIGNED-PAYLOAD");
    }
    ASSERT_EQ(refusal(good), "") << round;
    const auto each_byte = [&](const char* what, auto text_in) {
      const size_t size = text_in(good).size();
      for (size_t i = 0; i < size; i++) {
        http::Request r = good;
        std::string& text = text_in(r);
        text[i] = static_cast<char>(text[i] ^ (1 << pick(8)));
        ASSERT_NE(refusal(r), "") << round << ": " << what << " was changed at " << i;
      }
    };
    each_byte(
        "the method", [](auto& r) -> auto& { return r.method; });
    each_byte(
        "the path", [](auto& r) -> auto& { return r.path; });
    for (size_t q = 0; q < good.query.size(); q++) {
      each_byte(
          "a name in the query", [q](auto& r) -> auto& { return r.query[q].first; });
      each_byte(
          "a value in the query", [q](auto& r) -> auto& { return r.query[q].second; });
    }
    for (auto& header : good.headers) {
      const std::string& name = header.first;
      if (name == "authorization") continue;
      each_byte(
          name.c_str(), [&](auto& r) -> auto& { return r.headers[name]; });
    }
    if (presigned) continue;
    const std::string words = good.headers["authorization"];
    for (std::string_view part : {"Credential=", "SignedHeaders=", "Signature="}) {
      const size_t begin = words.find(part) + part.size();
      const size_t end = std::min(words.find(',', begin), words.size());
      for (size_t i = begin; i < end; i++) {
        http::Request r = good;
        char& c = r.headers["authorization"][i];
        c = static_cast<char>(c ^ (1 << pick(8)));
        ASSERT_NE(refusal(r), "") << round << ": " << part << " was changed at " << i - begin;
      }
    }
  }
}

TEST_F(SigV4, NothingIsAddedToOrTakenFromWhatIsSigned) {
  for (int round = 0; round < 300; round++) {
    http::Request good = some_request();
    const bool presigned = pick(2) == 0;
    const size_t named = good.query.size();
    if (presigned) {
      signer.presign(good, "3600");
    } else {
      signer.sign(good, "UNSIGNED-PAYLOAD");
    }
    http::Request more = good;
    more.headers[cat("x-amz-meta-", 10 + pick(9))] = word(4, "ab");
    EXPECT_NE(refusal(more), "") << "a header was added";
    more = good;
    more.query.insert(more.query.begin() + static_cast<ptrdiff_t>(pick(named + 1)),
                      {word(3), word(3)});
    EXPECT_NE(refusal(more), "") << "a parameter was added";
    if (named > 0) {
      http::Request less = good;
      less.query.erase(less.query.begin() + static_cast<ptrdiff_t>(pick(named)));
      EXPECT_NE(refusal(less), "") << "a parameter was taken away";
    }
    http::Request less = good;
    const auto header =
        std::next(less.headers.begin(), static_cast<ptrdiff_t>(pick(less.headers.size())));
    if (header->second.empty()) continue;
    less.headers.erase(std::string(header->first));
    EXPECT_NE(refusal(less), "") << "a header was taken away";
  }
}

// The order of a query, and runs of blanks in a header, say nothing.
TEST_F(SigV4, WhatSaysNothingMayDiffer) {
  for (int round = 0; round < 300; round++) {
    http::Request r = some_request();
    r.headers["x-amz-meta-blanks"] = "a b";
    signer.sign(r, "UNSIGNED-PAYLOAD");
    std::shuffle(r.query.begin(), r.query.end(), rng);
    r.headers["x-amz-meta-blanks"] = cat("a", std::string(1 + pick(5), ' '), "b");
    r.headers["user-agent"] = word(5, "abc");
    EXPECT_EQ(refusal(r), "");
  }
}

TEST_F(SigV4, OfAnotherKeyRegionOrDayNothingIsGood) {
  for (int round = 0; round < 100; round++) {
    aws::Signer other = signer;
    constexpr std::string_view kExpected[] = {"InvalidAccessKeyId", "SignatureDoesNotMatch",
                                              "AuthorizationHeaderMalformed"};
    const uint64_t which = pick(3);
    (which == 0 ? other.user : which == 1 ? other.secret : other.region) = cat("b", word(9, "ab1"));
    http::Request r = some_request();
    other.sign(r, "UNSIGNED-PAYLOAD");
    EXPECT_EQ(refusal(r), kExpected[which]);
    // The key of another day: what is kept of this one is not taken for it, nor the other way.
    r = some_request();
    signer.sign(r, "UNSIGNED-PAYLOAD");
    EXPECT_EQ(refusal(r), "");
    other = signer;
    other.stamp = "20130523T235959Z";
    r = some_request();
    other.sign(r, "UNSIGNED-PAYLOAD");
    EXPECT_EQ(refusal(r), "");
    r.headers["x-amz-date"] = kStamp;
    EXPECT_NE(refusal(r), "");
  }
}

// ---- time ----

TEST_F(SigV4, ARequestIsGoodForAQuarterOfAnHourEitherWay) {
  constexpr int64_t kMost = int64_t{15} * 60 * 1000;
  http::Request r = some_request();
  signer.sign(r, "UNSIGNED-PAYLOAD");
  for (int round = 0; round < 300; round++) {
    const auto by = static_cast<int64_t>(pick(3)) - 1 +
                    (pick(2) == 0 ? kMost : static_cast<int64_t>(pick(3 * kMost)));
    for (const int64_t now : {kStampMs + by, kStampMs - by}) {
      EXPECT_EQ(refusal(r, now), by <= kMost ? "" : "RequestTimeTooSkewed") << by;
    }
  }
}

TEST_F(SigV4, APresignedUrlIsGoodUntilItExpires) {
  for (int round = 0; round < 300; round++) {
    const auto seconds = static_cast<int64_t>(1 + pick(604800));
    http::Request r = some_request();
    signer.presign(r, std::to_string(seconds));
    const int64_t end = kStampMs + seconds * 1000;
    const int64_t begin = kStampMs - int64_t{15} * 60 * 1000;
    EXPECT_EQ(
        refusal(r, begin + static_cast<int64_t>(pick(static_cast<uint64_t>(end - begin + 1)))), "");
    EXPECT_EQ(refusal(r, end), "");
    EXPECT_EQ(refusal(r, begin), "");
    EXPECT_EQ(refusal(r, end + 1 + static_cast<int64_t>(pick(10'000'000))), "AccessDenied");
    EXPECT_EQ(refusal(r, begin - 1 - static_cast<int64_t>(pick(10'000'000))), "AccessDenied");
  }
  for (const char* expires : {"0", "-1", "604801", "99999999999999999999", "1e3", "", " 5"}) {
    http::Request r = some_request();
    signer.presign(r, expires);
    EXPECT_EQ(refusal(r), "AuthorizationQueryParametersError") << expires;
  }
}

TEST_F(SigV4, AStampIsOneTimeOrNone) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  for (int round = 0; round < 2000; round++) {
    const auto seconds = static_cast<int64_t>(pick(4'000'000'000));
    std::string text = absl::FormatTime("%Y%m%dT%H%M%SZ", absl::FromUnixSeconds(seconds), utc);
    ASSERT_EQ(parse_timestamp(text), seconds * 1000) << text;
    text[pick(text.size())] = static_cast<char>(pick(2) == 0 ? rng() : '0' + pick(10));
    const auto other = parse_timestamp(text);
    if (!other) continue;
    EXPECT_EQ(absl::FormatTime("%E4Y%m%dT%H%M%SZ", absl::FromUnixMillis(*other), utc), text);
  }
}

// ---- bodies ----

struct Read {
  Status status;
  std::string body;
  std::map<std::string, std::string> trailers;
};
awaitable<Status> read_into(http::Body& body, size_t room, std::string& out) {
  std::vector<std::byte> sink(room);
  for (;;) {
    const auto n = co_await body.read(sink);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return absl::OkStatus();
    out.append(reinterpret_cast<char*>(sink.data()), *n);
  }
}
// A body that comes in pieces of `step` bytes and is read in pieces of `room`.
Read read(const Authenticated& auth, std::string_view text, size_t step, size_t room) {
  fuzz::TextBody raw(text, step);
  PayloadBody body(raw, auth);
  Read out;
  out.status = fuzz::run(read_into(body, room, out.body));
  out.trailers = body.trailers();
  return out;
}

struct SigV4Body : SigV4 {
  Authenticated authenticated(const std::string& content, std::string extra = "") {
    http::Request r = some_request();
    if (!extra.empty()) r.headers["x-amz-trailer"] = extra;
    signer.sign(r, content);
    Authenticated auth;
    EXPECT_FALSE(authenticator.authenticate(r, kStampMs, auth));
    return auth;
  }
  std::vector<std::string> some_chunks() {
    std::vector<std::string> chunks(pick(4));
    for (auto& chunk : chunks) chunk = cat(word(pick(2) == 0 ? 20 : 9000), "x");
    return chunks;
  }
  static std::string joined(const std::vector<std::string>& chunks) {
    std::string all;
    for (auto& chunk : chunks) all += chunk;
    return all;
  }
};

// "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".
TEST_F(SigV4Body, PublishedChunksAreGood) {
  const std::string bytes(66560, 'a');
  const auto chunk = [&](size_t n, std::string_view signature) {
    char size[20];
    std::snprintf(size, sizeof(size), "%zx", n);
    return cat(std::string_view(size), ";chunk-signature=", signature, "\r\n",
               std::string_view(bytes).substr(0, n), n > 0 ? "\r\n" : "");
  };
  const auto request = [&](std::string_view content, std::string_view extra,
                           std::string_view signed_headers, std::string_view signature) {
    const http::Request r = parse(
        cat("PUT /examplebucket/chunkObject.txt HTTP/1.1\r\nHost: s3.amazonaws.com\r\n"
            "x-amz-date: ",
            kStamp, "\r\nx-amz-storage-class: REDUCED_REDUNDANCY\r\nContent-Encoding: aws-chunked",
            "\r\nx-amz-decoded-content-length: 66560\r\nx-amz-content-sha256: ", content, "\r\n",
            extra, "Authorization: AWS4-HMAC-SHA256 Credential=", kScope,
            ",SignedHeaders=", signed_headers, ",Signature=", signature, "\r\n\r\n"));
    Authenticated auth;
    const Error error = authenticator.authenticate(r, kStampMs, auth);
    EXPECT_FALSE(error) << error.code;
    return auth;
  };
  Authenticated auth =
      request("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Length: 66824\r\n",
              "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
              "x-amz-decoded-content-length;x-amz-storage-class",
              "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
  Read got = read(
      auth,
      cat(chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
          chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
          chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"), "\r\n"),
      1000, 777);
  EXPECT_TRUE(got.status.ok()) << got.status;
  EXPECT_EQ(got.body, bytes);

  auth = request("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                 "x-amz-trailer: x-amz-checksum-crc32c\r\n",
                 "content-encoding;host;x-amz-content-sha256;x-amz-date;"
                 "x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
                 "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
  got = read(auth,
             cat(chunk(65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
                 chunk(1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
                 chunk(0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
                 "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
                 "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"),
             1000, 777);
  EXPECT_TRUE(got.status.ok()) << got.status;
  EXPECT_EQ(got.body, bytes);
  EXPECT_EQ(got.trailers.at("x-amz-checksum-crc32c"), "sOO8/Q==");
}

TEST_F(SigV4Body, SignedChunksAreReadAndNoByteOfThemCanChange) {
  for (int round = 0; round < 60; round++) {
    const bool trailer = pick(2) == 0;
    const std::string name = "x-amz-checksum-crc32";
    const Authenticated auth = authenticated(trailer ? "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
                                                     : "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                                             trailer ? name : "");
    const std::vector<std::string> chunks = some_chunks();
    std::vector<std::pair<std::string, std::string>> trailers;
    if (trailer) trailers.emplace_back(name, word(8, "abc=/"));
    const std::string text = signer.chunked(auth.seed_signature, chunks, trailers, trailer);
    const std::string whole = joined(chunks);
    const auto some_read = [&](std::string_view from) {
      return read(auth, from, 1 + pick(from.size() + 1), 1 + pick(8000));
    };
    Read got = some_read(text);
    ASSERT_TRUE(got.status.ok()) << got.status;
    ASSERT_EQ(got.body, whole);
    ASSERT_EQ(got.trailers.size(), trailers.size());
    for (auto& [name, value] : trailers) ASSERT_EQ(got.trailers.at(name), value);

    for (int change = 0; change < 200; change++) {
      std::string other = text;
      // Most bytes are data: half of the changes are where the frames are.
      size_t at = pick(text.size());
      if (change % 2 == 0) at = std::min(text.size() - 1, text.find(';', at) + pick(90));
      other[at] = static_cast<char>(other[at] ^ (1 << pick(8)));
      got = some_read(other);
      if (!got.status.ok()) continue;
      // The case of a size, or of a trailer's name, says nothing.
      ASSERT_TRUE(equals_ignoring_case(other, text)) << "changed at " << at;
      ASSERT_EQ(got.body, whole);
    }
    for (int cut = 0; cut < 50; cut++) {  // the last line end alone may be left out
      const size_t n = pick(2) == 0 ? pick(text.size()) : text.size() - 1 - pick(20) % text.size();
      got = some_read(text.substr(0, n));
      ASSERT_TRUE(!got.status.ok() || n + 2 == text.size()) << n << " of " << text.size();
    }
    got = some_read(text + "x");
    ASSERT_FALSE(got.status.ok()) << "something follows";
  }
}

// Each chunk rests on the one before it.
TEST_F(SigV4Body, ChunksComeInTheirOrderAndOnce) {
  for (int round = 0; round < 200; round++) {
    const Authenticated auth = authenticated("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    std::vector<std::string> chunks(2 + pick(4));
    for (size_t i = 0; i < chunks.size(); i++) chunks[i] = cat(i, word(30), "x");
    const std::string text = signer.chunked(auth.seed_signature, chunks, {}, false);
    // As they lie in the body: a line of 2 or 1 digits, its signature, the bytes.
    std::vector<std::string> frames;
    size_t at = 0;
    for (const std::string& chunk : chunks) {
      const size_t end = text.find("\r\n", at) + 2 + chunk.size() + 2;
      frames.push_back(text.substr(at, end - at));
      at = end;
    }
    const std::string last = text.substr(at);
    ASSERT_TRUE(read(auth, joined(frames) + last, 100, 100).status.ok());
    std::vector<std::string> others = frames;
    const size_t i = pick(frames.size());
    switch (pick(3)) {
      case 0:
        others.erase(others.begin() + static_cast<ptrdiff_t>(i));
        break;
      case 1:
        others.insert(others.begin() + static_cast<ptrdiff_t>(i), frames[pick(frames.size())]);
        break;
      default:
        std::swap(others[i], others[(i + 1) % others.size()]);
    }
    const Read got = read(auth, joined(others) + last, 1 + pick(300), 1 + pick(300));
    EXPECT_FALSE(got.status.ok());
  }
}

TEST_F(SigV4Body, AHashOfTheBodyIsThatOfThisBody) {
  for (int round = 0; round < 200; round++) {
    std::string body = word(5000);
    const Authenticated auth = authenticated(aws::sha256(body));
    ASSERT_EQ(auth.payload, Payload::kSigned);
    const auto some_read = [&] { return read(auth, body, 1 + pick(6000), 1 + pick(6000)).status; };
    EXPECT_TRUE(some_read().ok());
    if (body.empty() || pick(2) == 0) {
      body.push_back(static_cast<char>(rng()));
    } else {
      char& c = body[pick(body.size())];
      c = static_cast<char>(c ^ (1 << pick(8)));
    }
    EXPECT_TRUE(std::string(some_read().message()).starts_with("XAmzContentSHA256Mismatch "));
  }
}

}  // namespace
}  // namespace cairn::s3
