// aws-chunked bodies. Any split gives the same; what is accepted of a signed body was signed: the
// chain of signatures over the very bytes is computed here again.
#include "core/base/text.h"
#include "gateway/http/s3/payload.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

constexpr std::string_view kKey = "0123456789abcdef0123456789abcdef";

s3::Authenticated authenticated(s3::Payload payload) {
  s3::Authenticated a;
  a.payload = payload;
  a.signing_key = kKey;
  a.scope = "20260101/us-east-1/s3/aws4_request";
  a.timestamp = "20260101T000000Z";
  a.seed_signature = std::string(64, 'a');
  return a;
}

struct Read {
  bool good = false;
  std::string body;
  std::map<std::string, std::string> trailers;
};

awaitable<bool> read_into(http::Body& body, size_t room, std::string& out) {
  std::vector<std::byte> sink(room);
  for (;;) {
    auto n = co_await body.read(sink);
    if (!n.ok()) co_return false;
    if (*n == 0) co_return true;
    law(*n <= room, "reads stay within bounds");
    out.append(reinterpret_cast<char*>(sink.data()), *n);
  }
}

Read read(s3::Payload payload, std::string_view text, size_t step, size_t room) {
  const s3::Authenticated auth = authenticated(payload);
  TextBody raw(text, step);
  s3::PayloadBody body(raw, auth);
  Read out;
  out.good = run(read_into(body, room, out.body));
  out.trailers = body.trailers();
  return out;
}

std::string sign(std::string_view kind, std::string_view previous, std::string_view rest) {
  return objects::hex(s3::hmac_sha256(
      kKey,
      cat(kind, "\n20260101T000000Z\n20260101/us-east-1/s3/aws4_request\n", previous, "\n", rest)));
}

std::string sha(std::string_view text) {
  return objects::hex(objects::digest_of(objects::Algorithm::kSha256, text));
}

// The body of this text, signed as a client would, in chunks of `n` bytes.
std::string signed_body(std::string_view text, size_t n) {
  std::string out, previous(64, 'a');
  for (;;) {
    const std::string_view part = text.substr(0, n);
    text.remove_prefix(part.size());
    previous = sign("AWS4-HMAC-SHA256-PAYLOAD", previous, cat(sha(""), "\n", sha(part)));
    char size[20];
    const char* end = std::to_chars(size, size + sizeof(size), part.size(), 16).ptr;
    append(out, std::string_view(size, static_cast<size_t>(end - size)),
           ";chunk-signature=", previous, "\r\n", part, "\r\n");
    if (part.empty()) return out;
  }
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  Input input(data, size);
  const auto payload = static_cast<s3::Payload>(2 + input.byte() % 3);
  const size_t step = 1 + input.byte(), room = 1 + input.byte();
  const std::string_view text = input.rest();
  const Read whole = read(payload, text, text.size() + 1, 4096);
  const Read split = read(payload, text, step, room);
  law(whole.good == split.good, "a split changes no verdict");
  if (whole.good) {
    law(whole.body == split.body && whole.trailers == split.trailers, "a split changes no byte");
  }
  // Nobody can sign without the key, so a signed body that is accepted came from here.
  if (payload == s3::Payload::kStreaming) {
    law(!whole.good, "what was not signed is refused");
    std::string good = signed_body(text, step);
    const Read signed_read = read(payload, good, step, room);
    law(signed_read.good && signed_read.body == text, "what was signed is read");
    // One changed bit of a chunk or a signature is refused, unless it changes the case of a size.
    const size_t at = (size_t{step} * 257 + room) % good.size();
    good[at] = static_cast<char>(good[at] ^ (1 << (room % 8)));
    const Read changed = read(payload, good, step, room);
    law(!changed.good || changed.body == text, "no changed byte is taken");
  }
  return 0;
}
