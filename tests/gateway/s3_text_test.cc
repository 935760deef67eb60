// Texts as S3 has them: dates, percent-encoding, base64, encoded words, metadata, XML.
#include <absl/time/time.h>
#include <gtest/gtest.h>

#include <random>

#include "core/base/text.h"
#include "gateway/http/s3/metadata.h"
#include "gateway/http/s3/sigv4.h"
#include "gateway/http/s3/xml.h"

namespace cairn::s3 {
namespace {

TEST(S3Text, DatesGoBothWaysAndNothingElseIsOne) {
  EXPECT_EQ(http::http_date(784111777000), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http::iso_date(784111777042), "1994-11-06T08:49:37.042Z");
  for (auto text :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z", "1994-11-06T08:49:37.000Z"}) {
    EXPECT_EQ(http::parse_http_date(text), 784111777) << text;
  }
  for (auto text : {"", "yesterday", "784111777", "Sun, 06 Nov 1994 08:49:37 GMT x",
                    "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"}) {
    EXPECT_EQ(http::parse_http_date(text), std::nullopt) << text;
  }
}

TEST(S3Text, DatesAreThoseOfTheCalendar) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; i++) {
    const int64_t second = static_cast<int64_t>(random() % 253402300800);  // to the end of 9999
    const int64_t ms = second * 1000 + static_cast<int64_t>(random() % 1000);
    ASSERT_EQ(http::http_date(ms), absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT",
                                                    absl::FromUnixMillis(ms), absl::UTCTimeZone()));
    const std::string stamp =
        absl::FormatTime("%E4Y%m%dT%H%M%SZ", absl::FromUnixSeconds(second), absl::UTCTimeZone());
    ASSERT_EQ(parse_timestamp(stamp), second * 1000) << stamp;
    // Another digit or character in one place: what the library says.
    std::string other = stamp;
    other[random() % other.size()] = "0123456789TZ-+ "[random() % 15];
    absl::Time time;
    std::string error;
    const bool good =
        other.size() == 16 && other.find_first_not_of("0123456789TZ") == other.npos &&
        absl::ParseTime("%E4Y%m%dT%H%M%SZ", other, absl::UTCTimeZone(), &time, &error);
    if (other.ends_with("60Z")) continue;  // a leap second, which the library takes
    ASSERT_EQ(parse_timestamp(other), good ? std::optional(absl::ToUnixMillis(time)) : std::nullopt)
        << other;
  }
  EXPECT_EQ(http::http_date(-1), "Wed, 31 Dec 1969 23:59:59 GMT");
}

TEST(S3Text, PercentEncodingIsStrictAndGoesBothWays) {
  std::string all;
  for (int i = 0; i < 256; i++) all.push_back(static_cast<char>(i));
  for (bool slash : {false, true}) {
    EXPECT_EQ(http::percent_decode(http::percent_encode(all, slash), false), all);
  }
  EXPECT_EQ(http::percent_encode("a/b c+~", true), "a/b%20c%2B~");
  EXPECT_EQ(http::percent_encode("a/b", false), "a%2Fb");
  EXPECT_EQ(http::percent_decode("a+b%2B", true), "a b+");
  EXPECT_EQ(http::percent_decode("a+b", false), "a+b");
  for (auto text : {"%", "%4", "%zz", "a%2", "%-1"}) {
    EXPECT_EQ(http::percent_decode(text, false), std::nullopt) << text;
  }
}

TEST(S3Text, Base64AndHexTakeOneSpellingOfEachValue) {
  EXPECT_EQ(objects::base64_decode("YWI="), "ab");
  EXPECT_EQ(objects::base64_decode(""), "");
  for (auto text :
       {"YWI", "YWJ=", "YW I", " YWI=", "YWI=\n", "YWI==", "Y===", "=", "-_==", "!!!!"}) {
    EXPECT_EQ(objects::base64_decode(text), std::nullopt) << text;
  }
  EXPECT_EQ(objects::unhex("00fF"), std::string("\x00\xff", 2));
  for (auto text : {"0", "0g", "0x", " 0", "-1"}) EXPECT_EQ(objects::unhex(text), std::nullopt);
}

TEST(S3Text, EncodedWordsAreDecodedWholeOrNotAtAll) {
  for (auto text : {"", "plain", "\xc3\xa9", "=?UTF-8?B?w6k=?=", "a =?b", "=?"}) {
    EXPECT_EQ(decode_words(encode_words(text)), text);
    for (char c : encode_words(text)) EXPECT_FALSE(c & 0x80);
  }
  EXPECT_EQ(decode_words("=?UTF-8?B?w6k=?="), "\xc3\xa9");
  EXPECT_EQ(decode_words("=?utf-8?q?a=C3=A9_b?= =?UTF-8?b?w6k=?="), "a\xc3\xa9 b\xc3\xa9");
  for (auto text :
       {"=?UTF-8?B?w6k?=", "=?UTF-8?B?/w==?=", "=?ISO-8859-1?Q?=E9?=", "x =?UTF-8?B?w6k=?=",
        "=?UTF-8?Q?=C3=A?=", "=?UTF-8?B?w6k=?", "=?UTF-8?X?a?="}) {
    EXPECT_EQ(decode_words(text), text);
  }
}

TEST(S3Text, MetadataThatEntersCanBeWrittenAsHeaders) {
  auto check = [](std::string name, std::string value) {
    ObjectMeta meta;
    meta.user[name] = value;
    return check_meta(meta).ok();
  };
  EXPECT_TRUE(check("a-b.c_1", "text, with \t and \xc3\xa9"));
  EXPECT_TRUE(check("a", std::string(kUserMetaBytesMax - 1, 'x')));
  EXPECT_FALSE(check("a", std::string(kUserMetaBytesMax, 'x')));
  for (auto name : {"", "a: 1\r\nSet-Cookie: x\r\nB", "a b", "a:", "A", "\xc3\xa9", "a\n"}) {
    EXPECT_FALSE(check(name, "x")) << name;
  }
  EXPECT_FALSE(check(std::string("a\0b", 3), "x"));
  for (auto value : {"a\r\nb", "\n", "\x7f", "\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80"}) {
    EXPECT_FALSE(check("a", value)) << value;
  }
  EXPECT_FALSE(check("a", std::string("x\0", 2)));
  ObjectMeta meta;
  meta.headers["set-cookie"] = "x";
  EXPECT_FALSE(check_meta(meta).ok());
  meta.headers = {{"cache-control", "a\r\nb"}};
  EXPECT_FALSE(check_meta(meta).ok());
  meta.headers = {{"cache-control", "no-cache"}};
  meta.content_type = "text/plain\n";
  EXPECT_FALSE(check_meta(meta).ok());
  meta.content_type = "text/plain";
  EXPECT_TRUE(check_meta(meta).ok());
}

TEST(S3Text, XmlHoldsWhatXmlHolds) {
  for (auto text : {"a", "\t\r\n", "\xc3\xa9", "\xf0\x9f\x98\x80", "<&>\"']]>"}) {
    EXPECT_TRUE(is_xml_text(text));
    XmlOut out("Error", false);
    add(out.root(), "Message", std::string_view(text));
    XmlIn in;
    ASSERT_TRUE(in.parse(out.text(), "Error")) << out.text();
    EXPECT_EQ(text_of(in.root().child("Message")), text);
  }
  for (auto text : {"\x01", "\xff", "\xef\xbf\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_FALSE(is_xml_text(text));
  }
  EXPECT_FALSE(is_xml_text(std::string_view("\0", 1)));
}

}  // namespace
}  // namespace cairn::s3
