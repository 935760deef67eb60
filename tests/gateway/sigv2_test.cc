// Version 2 of AWS's signature: what AWS published is good, and of any request nothing that is
// signed can change unnoticed, and nothing that is not signed decides what is done.
#include "gateway/http/s3/sigv2.h"

#include <gtest/gtest.h>
#include <openssl/hmac.h>

#include <random>

#include "core/base/text.h"
#include "gateway/http/head.h"
#include "objects/digest.h"

namespace cairn::s3 {
namespace {

constexpr std::string_view kUser = "AKIAIOSFODNN7EXAMPLE";
constexpr std::string_view kSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

struct SigV2 : testing::Test {
  const Users users{std::string(kUser), std::string(kSecret), true};
  Authenticator authenticator{users, "us-east-1"};
  std::mt19937_64 rng{7};

  static http::Request parse(const std::string& head) {
    http::Request r;
    http::Framing framing;
    EXPECT_TRUE(http::read_head(head, r, framing).ok()) << head;
    return r;
  }
  // Its code, or nothing if it is good.
  std::string refusal(const http::Request& r, int64_t now_ms, std::string_view host_bucket = {}) {
    Authenticated out;
    const Error e = authenticator.authenticate(r, now_ms, out, host_bucket);
    EXPECT_EQ(e.code.empty(), out.principal != nullptr);
    return std::string(e.code);
  }
  static std::string sign(std::string_view to_sign) {
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    HMAC(EVP_sha1(), kSecret.data(), static_cast<int>(kSecret.size()),
         reinterpret_cast<const unsigned char*>(to_sign.data()), to_sign.size(), mac, &n);
    return objects::base64({reinterpret_cast<char*>(mac), n});
  }
};

// "Authentication examples" of the S3 user guide.
struct Published {
  std::string_view head, bucket, signature, date;
};
constexpr Published kPublished[] = {
    {"GET /photos/puppy.jpg HTTP/1.1\r\nHost: johnsmith.s3.amazonaws.com\r\n", "johnsmith",
     "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", "Tue, 27 Mar 2007 19:36:42 +0000"},
    {"PUT /photos/puppy.jpg HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: 94328\r\n"
     "Host: johnsmith.s3.amazonaws.com\r\n",
     "johnsmith", "MyyxeRY7whkBe+bq8fHCL/2kKUg=", "Tue, 27 Mar 2007 21:15:45 +0000"},
    {"GET /?prefix=photos&max-keys=50&marker=puppy HTTP/1.1\r\nUser-Agent: Mozilla/5.0\r\n"
     "Host: johnsmith.s3.amazonaws.com\r\n",
     "johnsmith", "htDYFYduRNen8P9ZfE/s9SuKy0U=", "Tue, 27 Mar 2007 19:42:41 +0000"},
    {"GET /?acl HTTP/1.1\r\nHost: johnsmith.s3.amazonaws.com\r\n", "johnsmith",
     "c2WLPFtWHVgbEmeEG93a4cG37dM=", "Tue, 27 Mar 2007 19:44:46 +0000"},
    {"PUT /db-backup.dat.gz HTTP/1.1\r\nUser-Agent: curl/7.15.5\r\nHost: "
     "static.johnsmith.net:8080\r\n"
     "x-amz-acl: public-read\r\ncontent-type: application/x-download\r\n"
     "Content-MD5: 4gJE4saaMU4BqNR0kLY+lw==\r\nX-Amz-Meta-ReviewedBy: joe@johnsmith.net\r\n"
     "X-Amz-Meta-ReviewedBy: jane@johnsmith.net\r\nX-Amz-Meta-FileChecksum: 0x02661779\r\n"
     "X-Amz-Meta-ChecksumAlgorithm: crc32\r\nContent-Length: 5913339\r\n",
     "static.johnsmith.net", "ilyl83RwaSoYIEdixDQcA4OnAnc=", "Tue, 27 Mar 2007 21:06:08 +0000"},
    {"GET / HTTP/1.1\r\nHost: s3.amazonaws.com\r\n", "",
     "qGdzdERIC03wnaRNKh6OqZehG9s=", "Wed, 28 Mar 2007 01:29:59 +0000"},
    {"GET /dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re HTTP/1.1\r\nHost: s3.amazonaws.com\r\n", "",
     "DNEZGsoieTZ92F3bUfSPQcbGmlM=", "Wed, 28 Mar 2007 01:49:49 +0000"},
};

TEST_F(SigV2, PublishedRequestsAreGood) {
  for (const Published& p : kPublished) {
    const http::Request r = parse(cat(p.head, "Date: ", p.date, "\r\nAuthorization: AWS ", kUser,
                                      ":", p.signature, "\r\n\r\n"));
    const std::string date = cat(p.date.substr(0, p.date.size() - 5), "GMT");
    const int64_t now_ms = http::parse_http_date(date).value() * 1000;
    EXPECT_EQ(refusal(r, now_ms, p.bucket), "") << p.head;
    EXPECT_EQ(refusal(r, now_ms, "another"), "SignatureDoesNotMatch");
    EXPECT_EQ(refusal(r, now_ms + 16 * 60'000, p.bucket), "RequestTimeTooSkewed");
    EXPECT_EQ(refusal(r, now_ms - 16 * 60'000, p.bucket), "RequestTimeTooSkewed");
  }
}

TEST_F(SigV2, ThePublishedUrlIsGoodUntilItExpires) {
  const http::Request r = parse(cat("GET /photos/puppy.jpg?AWSAccessKeyId=", kUser,
                                    "&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&"
                                    "Expires=1175139620 HTTP/1.1\r\n"
                                    "Host: johnsmith.s3.amazonaws.com\r\n\r\n"));
  Authenticated out;
  EXPECT_FALSE(authenticator.authenticate(r, 1175139620'000, out, "johnsmith"));
  EXPECT_TRUE(out.presigned && out.version2);
  EXPECT_EQ(out.payload, Payload::kUnsigned);
  EXPECT_EQ(refusal(r, 1175139621'000, "johnsmith"), "AccessDenied");
}

// Each thing that the signature covers, and each that would choose what is done.
TEST_F(SigV2, WhatIsSignedCannotChangeAndWhatIsNotDecidesNothing) {
  constexpr int64_t kNowMs = 1175139620'000;
  const std::string date = http::http_date(kNowMs);
  struct Parts {
    std::string method = "PUT", target = "/b/k?uploadId=1&partNumber=2", md5 = "AAAA",
                type = "text/plain", meta = "one", date, extra;
  };
  const auto head = [&](const Parts& p, const std::string& signature, bool in_query) {
    const std::string query =
        cat(p.target.find('?') == p.target.npos ? "?" : "&", "AWSAccessKeyId=", kUser,
            "&Expires=1175139620&Signature=", http::percent_encode(signature, false));
    return cat(
        p.method, " ", p.target, in_query ? query : "", " HTTP/1.1\r\nHost: h\r\n",
        "Content-MD5: ", p.md5, "\r\nContent-Type: ", p.type, "\r\nx-amz-meta-a: ", p.meta, "\r\n",
        in_query ? ""
                 : cat("Date: ", p.date, "\r\nAuthorization: AWS ", kUser, ":", signature, "\r\n"),
        p.extra, "\r\n");
  };
  for (const bool in_query : {false, true}) {
    Parts good;
    good.date = date;
    const std::string signature =
        sign(cat("PUT\nAAAA\ntext/plain\n", in_query ? "1175139620" : date,
                 "\nx-amz-meta-a:one\n/b/k?partNumber=2&uploadId=1"));
    const auto code = [&](const Parts& p) {
      return refusal(parse(head(p, signature, in_query)), kNowMs);
    };
    EXPECT_EQ(code(good), "");
    const auto changed = [&](std::string Parts::*what, const std::string& to) {
      Parts p = good;
      p.*what = to;
      return code(p);
    };
    EXPECT_EQ(changed(&Parts::method, "GET"), "SignatureDoesNotMatch");
    EXPECT_EQ(changed(&Parts::md5, "AAAB"), "SignatureDoesNotMatch");
    EXPECT_EQ(changed(&Parts::type, "text/html"), "SignatureDoesNotMatch");
    EXPECT_EQ(changed(&Parts::meta, "two"), "SignatureDoesNotMatch");
    EXPECT_EQ(changed(&Parts::extra, "x-amz-copy-source: /b/other\r\n"), "SignatureDoesNotMatch");
    for (const char* target :
         {"/b/j?uploadId=1&partNumber=2", "/b/k?uploadId=1&partNumber=3", "/b/k?uploadId=1",
          "/b/k?uploadId=1&partNumber=2&tagging", "/b/k?uploadId=1&partNumber=2&acl=",
          "/b/k?uploadId=1&partNumber=2&%61cl", "/b/k?uploadId=1&partNumber=2&uploads"}) {
      EXPECT_EQ(changed(&Parts::target, target), "SignatureDoesNotMatch") << target;
    }
    for (const char* target :
         {"/b/k?uploadId=1&partNumber=2&attributes", "/b/k?uploadId=1&partNumber=2&retention",
          "/b/k?uploadId=1&partNumber=2&later"}) {
      EXPECT_EQ(changed(&Parts::target, target), "InvalidRequest") << target;
    }
    if (in_query) {  // what is a header too, when it is in the URL
      EXPECT_EQ(changed(&Parts::target, good.target + "&x-amz-acl=private"),
                "SignatureDoesNotMatch");
      EXPECT_EQ(changed(&Parts::target, good.target + "&X-Amz-Meta-B=x"), "SignatureDoesNotMatch");
    } else {
      EXPECT_EQ(changed(&Parts::date, http::http_date(kNowMs + 1000)), "SignatureDoesNotMatch");
    }
    // A value that is empty is none; rclone sends it and does not sign it.
    Parts named = good;
    const std::string of_name = sign(cat("PUT\nAAAA\ntext/plain\n", in_query ? "1175139620" : date,
                                         "\nx-amz-meta-a:one\n/b/k?uploads"));
    for (const char* target : {"/b/k?uploads=", "/b/k?uploads"}) {
      named.target = target;
      EXPECT_EQ(refusal(parse(head(named, of_name, in_query)), kNowMs), "") << target;
    }
    // These narrow a listing, and the order of the signed ones is not signed.
    EXPECT_EQ(changed(&Parts::target, "/b/k?partNumber=2&prefix=x&uploadId=1"), "");
  }
}

// botocore asks for "/bucket" and signs "/bucket/".
TEST_F(SigV2, ABucketIsTheSameWithASlash) {
  const auto code = [&](std::string_view path, std::string_view is_signed) {
    const std::string date = http::http_date(0);
    return refusal(
        parse(cat("GET ", path, "?uploads HTTP/1.1\r\nHost: h\r\nDate: ", date,
                  "\r\nAuthorization: AWS ", kUser, ":",
                  sign(cat("GET\n\n\n", date, "\n", is_signed, "?uploads")), "\r\n\r\n")),
        0);
  };
  EXPECT_EQ(code("/b", "/b"), "");
  EXPECT_EQ(code("/b", "/b/"), "");
  EXPECT_EQ(code("/b/", "/b/"), "");
  EXPECT_EQ(code("/b", "/b//"), "SignatureDoesNotMatch");
  EXPECT_EQ(code("/b", "/c/"), "SignatureDoesNotMatch");
  EXPECT_EQ(code("/b/k", "/b/k/"), "SignatureDoesNotMatch");
  EXPECT_EQ(code("/", "//"), "SignatureDoesNotMatch");
}

TEST_F(SigV2, ClaimsThatAreNoneAreRefused) {
  const auto code = [&](const std::string& target, const std::string& headers) {
    return refusal(parse(cat("GET ", target, " HTTP/1.1\r\nHost: h\r\n", headers, "\r\n")), 0);
  };
  EXPECT_EQ(code("/b", "Authorization: AWS \r\n"), "InvalidRequest");  // it is trimmed: no scheme
  EXPECT_EQ(code("/b", "Authorization: AWS key\r\n"), "InvalidArgument");
  EXPECT_EQ(code("/b", "Authorization: AWS key:sig\r\n"), "AccessDenied");
  EXPECT_EQ(code("/b", "Authorization: AWS key:sig\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            "InvalidAccessKeyId");
  EXPECT_EQ(code("/b?Signature=a", ""), "AccessDenied");
  EXPECT_EQ(code("/b?AWSAccessKeyId=a&Signature=a&Expires=soon", ""), "AccessDenied");
  EXPECT_EQ(code("/b?AWSAccessKeyId=a&Signature=a&Expires=10", ""), "InvalidAccessKeyId");
  EXPECT_EQ(code("/b?Signature=a", "Authorization: AWS key:sig\r\n"), "InvalidArgument");
  EXPECT_EQ(code("/b?AWSAccessKeyId=a&X-Amz-Signature=a", ""), "InvalidArgument");
}

}  // namespace
}  // namespace cairn::s3
