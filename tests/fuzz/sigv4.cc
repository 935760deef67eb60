// SigV4: a request signed here is accepted; whatever is accepted after a change carries the very
// signature that a signer of our own for tests computes for it.
#include "gateway/http/s3/sigv4.h"

#include <algorithm>

#include "core/base/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gateway/aws_signer.h"

namespace cairn::fuzz {
namespace {

constexpr std::string_view kUser = "user", kSecret = "secret-1", kStamp = "20260101T000000Z";
constexpr int64_t kNowMs = 1767225600000;

const aws::Signer kSigner{std::string(kUser), std::string(kSecret), std::string(kStamp)};

// A request made of the input; header values are as a parser leaves them.
http::Request make(Input& in) {
  http::Request r;
  r.method = in.byte() % 2 ? "GET" : "PUT";
  r.path = cat("/", in.take(in.byte() % 24));
  for (int i = in.byte() % 4; i > 0; i--) {
    std::string name(in.take(in.byte() % 6)), value(in.take(in.byte() % 12));
    if (!name.starts_with("X-Amz-")) r.query.emplace_back(std::move(name), std::move(value));
  }
  r.headers["host"] = "127.0.0.1:9000";
  for (int i = in.byte() % 4; i > 0; i--) {
    std::string name = cat("x-amz-meta-", in.byte() % 8), value;
    for (char c : in.take(in.byte() % 12)) {
      if (static_cast<unsigned char>(c) >= 0x20) value.push_back(c);
    }
    while (!value.empty() && value.back() == ' ') value.pop_back();
    while (!value.empty() && value.front() == ' ') value.erase(0, 1);
    r.headers[name] = value;
  }
  return r;
}

void edit(std::string& text, Input& in) {
  const size_t at = text.empty() ? 0 : in.byte() % text.size();
  switch (in.byte() % 4) {
    case 0:
      if (!text.empty()) text[at] = static_cast<char>(text[at] ^ (1 << (in.byte() % 8)));
      break;
    case 1:
      text.insert(at, in.take(1 + in.byte() % 3));
      break;
    case 2:
      text.erase(at, 1);
      break;
    default:
      text = std::string(in.take(in.byte()));
  }
}

// Changes one thing.
void change(http::Request& r, Input& in) {
  switch (in.byte() % 6) {
    case 0:
      edit(r.method, in);
      break;
    case 1:
      edit(r.path, in);
      break;
    case 2:
      if (!r.query.empty()) edit(r.query[in.byte() % r.query.size()].second, in);
      break;
    case 3:
      if (!r.query.empty()) edit(r.query[in.byte() % r.query.size()].first, in);
      break;
    case 4:
      edit(std::next(r.headers.begin(), in.byte() % static_cast<int>(r.headers.size()))->second,
           in);
      break;
    default:
      r.headers[cat("x-amz-meta-", in.byte() % 10)] = std::string(in.take(in.byte() % 8));
  }
}

// What the request says of itself, wherever it says it.
std::string part_of(const std::string& authorization, std::string_view name) {
  size_t at = authorization.find(name);
  if (at == std::string::npos) return "";
  at += name.size();
  return authorization.substr(at, authorization.find_first_of(", ", at) - at);
}

void check_accepted(const http::Request& r) {
  const std::string* by_query = r.param("X-Amz-Signature");
  const std::string authorization(r.header("authorization"));
  const std::string names =
      by_query ? *r.param("X-Amz-SignedHeaders") : part_of(authorization, "SignedHeaders=");
  const std::string signature = by_query ? *by_query : part_of(authorization, "Signature=");
  const std::string_view payload =
      r.has_header("x-amz-content-sha256") ? r.header("x-amz-content-sha256") : "UNSIGNED-PAYLOAD";
  const std::string stamp = by_query ? *r.param("X-Amz-Date") : std::string(r.header("x-amz-date"));
  aws::Signer signer = kSigner;
  signer.stamp = stamp;
  law(signature == signer.signature(r, names, payload, by_query != nullptr),
      "what is accepted has the signature of this request");
  for (auto& [name, value] : r.headers) {
    law(!name.starts_with("x-amz-") ||
            cat(";", names, ";").find(cat(";", name, ";")) != std::string::npos,
        "every x-amz- header is signed");
  }
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  static const Users users{std::string(kUser), std::string(kSecret), true};
  static s3::Authenticator authenticator(users, "us-east-1");
  Input in(data, size);
  const bool presigned = in.byte() % 2;
  http::Request r = make(in);
  if (presigned) {
    kSigner.presign(r, "60");
  } else {
    kSigner.sign(r, aws::sha256("body"));
  }
  s3::Authenticated who;
  law(!authenticator.authenticate(r, kNowMs, who) && who.principal->name() == kUser,
      "a signed request is accepted");
  change(r, in);
  s3::Authenticated other;
  if (!authenticator.authenticate(r, kNowMs, other) && !other.anonymous) check_accepted(r);
  // Words of any kind where a signature would be.
  http::Request wild = make(in);
  wild.headers["authorization"] = std::string(in.take(in.byte()));
  wild.headers["x-amz-date"] = kStamp;
  wild.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD";
  law(bool(authenticator.authenticate(wild, kNowMs, other)), "what nobody signed is refused");
  return 0;
}
