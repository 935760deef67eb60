// Uploads by forms: what a browser sends is read whatever it comes in, and what its policy says is
// what it may.
#include "gateway/http/s3/form.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <random>

#include "core/base/text.h"
#include "gateway/http/s3/post_policy.h"
#include "objects/digest.h"

namespace cairn::s3 {
namespace {

// Comes in pieces of at most so many bytes.
struct PiecesBody final : http::Body {
  PiecesBody(std::string text, size_t most) : text(std::move(text)), most(most) {}
  awaitable<StatusOr<size_t>> read(MutableBytes into) override {
    const size_t n = std::min({into.size(), most, text.size() - at});
    std::memcpy(into.data(), text.data() + at, n);
    at += n;
    co_return n;
  }
  awaitable<Status> ready() override { co_return absl::OkStatus(); }
  const std::string text;
  const size_t most;
  size_t at = 0;
};

struct Read {
  Error error;
  std::map<std::string, std::string> fields;
  bool has_file = false;
  std::string name, file;
  Status end;
};
Read read(const std::string& text, size_t most, std::string_view boundary, size_t room = 1000,
          uint64_t least = 0, uint64_t max = UINT64_MAX) {
  asio::io_context context;
  Read out;
  PiecesBody raw(text, most);
  Form form(raw, boundary);
  form.set_range(least, max);
  auto work = [&]() -> awaitable<void> {
    out.error = co_await form.read_fields();
    out.fields = form.fields();
    out.has_file = form.has_file();
    out.name = form.file_name();
    std::string into(room, '\0');
    while (!out.error) {
      auto n = co_await form.read({reinterpret_cast<std::byte*>(into.data()), into.size()});
      out.end = n.status();
      if (!n.ok() || *n == 0) break;
      out.file.append(into, 0, *n);
    }
  };
  asio::co_spawn(context, work(), asio::detached);
  context.run();
  return out;
}

TEST(Form, IsReadInWhateverPiecesItComes) {
  std::mt19937_64 rng(1);
  const auto bytes = [&](size_t most) {
    std::string text(rng() % (most + 1), '\0');
    for (char& c : text) c = "\r\n-ab\0"[rng() % 6];
    return text;
  };
  for (int i = 0; i < 3000; i++) {
    const std::string boundary = rng() % 2 == 0 ? "a" : "----WebKitFormBoundary7MA4YWxk";
    const std::string delimiter = cat("\r\n--", boundary);
    const auto content = [&](size_t most) {
      std::string text = bytes(most);
      while (text.find(delimiter) != text.npos ||
             cat(text, delimiter).find(delimiter) != text.size()) {
        text = bytes(most);
      }
      return text;
    };
    std::map<std::string, std::string> fields;
    std::string text = rng() % 3 == 0 ? cat("\r\n--", boundary) : cat("--", boundary);
    for (uint64_t n = rng() % 5; n > 0; n--) {
      const std::string name = cat("Field", n), value = content(40);
      fields[lower(name)] = value;
      append(text, "\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n",
             rng() % 2 == 0 ? "Content-Type: text/plain\r\n" : "", "\r\n", value, delimiter);
    }
    const std::string file = content(rng() % 10 == 0 ? 40'000 : 200);
    append(text,
           "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\photos\\a.jpg\"",
           "\r\nContent-Type: image/jpeg\r\n\r\n", file, delimiter,
           rng() % 2 == 0 ? "--\r\n" : "\r\nContent-Disposition: form-data; name=late\r\n\r\nx");
    const Read got = read(text, 1 + rng() % 5000, boundary, 1 + rng() % 3000);
    ASSERT_FALSE(got.error) << got.error.code;
    EXPECT_TRUE(got.end.ok()) << got.end;
    EXPECT_EQ(got.fields, fields);
    EXPECT_EQ(got.name, "a.jpg");
    ASSERT_EQ(got.file, file);
    // One that ends early is no upload.
    const size_t end = text.find(delimiter, text.find("image/jpeg")) + delimiter.size();
    const Read cut = read(text.substr(0, rng() % end), 1000, boundary);
    EXPECT_TRUE(cut.error || !cut.end.ok());
  }
}

TEST(Form, HasLimitsAndAForm) {
  const auto code = [](const std::string& text) {
    return std::string(read(text, 999, "b").error.code);
  };
  const auto field = [](const std::string& name, const std::string& value) {
    return cat("\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n\r\n", value, "\r\n--b");
  };
  EXPECT_EQ(code(""), "MalformedPOSTRequest");
  EXPECT_EQ(code("no form at all"), "MalformedPOSTRequest");
  EXPECT_EQ(code("--b\r\n\r\nvalue\r\n--b--"), "MalformedPOSTRequest");
  EXPECT_EQ(code("--b\r\nContent-Type: text/plain\r\n\r\nvalue\r\n--b--"), "MalformedPOSTRequest");
  EXPECT_EQ(code("--b odd\r\nContent-Disposition: form-data; name=a\r\n\r\nvalue\r\n--b--"),
            "MalformedPOSTRequest");
  EXPECT_EQ(code(cat("--b", field("a", "1"), field("A", "2"), "--")), "InvalidArgument");
  EXPECT_EQ(code(cat("--b", field("a", std::string(kFormFieldsMax, 'x')), "--")),
            "MaxPostPreDataLengthExceededError");
  EXPECT_EQ(code(cat("--b", field(std::string(kFormFieldsMax, 'x'), "a"), "--")),
            "MaxPostPreDataLengthExceededError");
  const Read none = read(cat("--b", field("a", "1"), "--\r\n"), 7, "b");
  EXPECT_FALSE(none.error);
  EXPECT_FALSE(none.has_file);
  const std::string file = "--b\r\nContent-Disposition: form-data; name=file\r\n\r\n12345\r\n--b--";
  EXPECT_TRUE(read(file, 7, "b", 1000, 5, 5).end.ok());
  EXPECT_EQ(read(file, 7, "b", 1000, 6, 9).end.message(), "EntityTooSmall");
  EXPECT_EQ(read(file, 7, "b", 1000, 0, 4).end.message(), "EntityTooLarge");
  EXPECT_EQ(boundary_of("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(boundary_of("Multipart/Form-Data; charset=x; Boundary=\"a b\""), "a b");
  for (const char* none :
       {"multipart/form-data", "text/plain; boundary=a", "multipart/form-data; boundary="}) {
    EXPECT_EQ(boundary_of(none), std::nullopt) << none;
  }
}

struct Verdict {
  std::string code, message;
};
Verdict judge(const std::string& policy, const std::map<std::string, std::string>& fields) {
  PostPolicy parsed;
  Error e = parse_post_policy(objects::base64(policy), parsed);
  if (!e) e = check_post_policy(parsed, fields, "photos", 1'000'000'000'000);
  return {std::string(e.code), e.message};
}

TEST(PostPolicy, SaysWhatAFormMayHave) {
  const auto of = [](const std::string& conditions) {
    return cat("{\"expiration\": \"2001-09-09T01:46:41Z\", \"conditions\": [", conditions, "]}");
  };
  const std::map<std::string, std::string> form{
      {"key", "user/eric/a.jpg"}, {"acl", "private"},   {"policy", "x"},
      {"x-amz-signature", "y"},   {"x-ignore-me", "z"}, {"content-type", "image/a,image/b"}};
  const std::string good =
      "{\"bucket\": \"photos\"}, [\"starts-with\", \"$key\", \"user/eric/\"], {\"acl\": "
      "\"private\"}, "
      "[\"starts-with\", \"$Content-Type\", \"image/\"], [\"content-length-range\", 1, \"10\"]";
  EXPECT_EQ(judge(of(good), form).code, "");
  for (auto& [conditions, message] : std::initializer_list<std::pair<std::string, std::string>>{
           {good + ", [\"eq\", \"$bucket\", \"other\"]",
            "Policy Condition failed: [\"eq\", \"$bucket\", \"other\"]"},
           {good + ", [\"eq\", \"$key\", \"user/eric/b.jpg\"]",
            "Policy Condition failed: [\"eq\", \"$key\", \"user/eric/b.jpg\"]"},
           {good + ", {\"x-amz-meta-a\": \"b\"}",
            "Policy Condition failed: [\"eq\", \"$x-amz-meta-a\", \"b\"]"},
           {good + ", [\"starts-with\", \"$Content-Type\", \"image/a\"]",
            "Policy Condition failed: [\"starts-with\", \"$content-type\", \"image/a\"]"},
           {"{\"bucket\": \"photos\"}, [\"starts-with\", \"$key\", \"\"]",
            "Extra input fields: acl, content-type"}}) {
    const Verdict v = judge(of(conditions), form);
    EXPECT_EQ(v.code, "AccessDenied") << conditions;
    EXPECT_EQ(v.message, cat("Invalid according to Policy: ", message));
  }
  EXPECT_EQ(judge("{\"expiration\": \"2001-09-09T01:46:40Z\", \"conditions\": []}", {}).message,
            "Invalid according to Policy: Policy expired.");
  for (const std::string& policy :
       {std::string("{"), std::string("[]"), std::string("{\"conditions\": []}"),
        std::string("{\"expiration\": \"2100-01-01T00:00:00Z\"}"),
        std::string("{\"expiration\": \"soon\", \"conditions\": []}"),
        std::string("{\"expiration\": 5, \"conditions\": []}"),
        std::string("{\"expiration\": \"2100-01-01T00:00:00Z\", \"conditions\": {}}"),
        std::string("{\"expiration\": \"2100-01-01T00:00:00Z\", \"conditions\": [], \"more\": 1}"),
        of("1"), of("{}"), of("{\"a\": \"b\", \"c\": \"d\"}"), of("{\"a\": 1}"),
        of("[\"eq\", \"$a\"]"), of("[\"eq\", \"a\", \"b\"]"), of("[\"eq\", \"$\", \"b\"]"),
        of("[\"ends-with\", \"$a\", \"b\"]"), of("[\"eq\", \"$a\", 1]"),
        of("[\"content-length-range\", -1, 5]"), of("[\"content-length-range\", \"a\", 5]")}) {
    EXPECT_EQ(judge(policy, {}).code, "InvalidPolicyDocument") << policy;
  }
  PostPolicy parsed;
  EXPECT_EQ(parse_post_policy("not base64!", parsed).code, "InvalidPolicyDocument");
  parsed = {};
  EXPECT_FALSE(parse_post_policy(
      objects::base64(
          of("[\"content-length-range\", 5, 90], [\"content-length-range\", \"7\", 100]")),
      parsed));
  EXPECT_EQ(parsed.bytes_least, 7u);
  EXPECT_EQ(parsed.bytes_most, 90u);
}

}  // namespace
}  // namespace cairn::s3
