// aws-chunked bodies. Any split gives the same; what is accepted of a signed body was signed: the
// chain of signatures over the very bytes is computed here again.
#include "core/base/text.h"
#include "gateway/http/s3/payload.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gateway/aws_signer.h"

namespace cairn::fuzz {
namespace {

const aws::Signer kSigner{"user", "secret-1", "20260101T000000Z"};

s3::Authenticated authenticated(s3::Payload payload) {
  static const std::string key = kSigner.key();
  s3::Authenticated a;
  a.payload = payload;
  a.signing_key = key;
  a.scope = kSigner.scope();
  a.timestamp = kSigner.stamp;
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

using Trailers = std::vector<std::pair<std::string, std::string>>;

// Some, of the last bytes of the text; as a line can hold them.
Trailers trailers_of(std::string_view text, unsigned count) {
  Trailers out;
  for (unsigned i = 0; i < count; i++) {
    std::string value;
    for (char c : text.substr(text.size() - std::min<size_t>(text.size(), 6 * i + 6))) {
      if (c != '\r' && c != '\n' && c != ' ') value.push_back(c);
    }
    out.emplace_back(cat("x-amz-checksum-", i), value);
  }
  return out;
}

// Few, since each takes a while to sign.
std::vector<std::string> chunks_of(std::string_view text, size_t step) {
  step = std::max(step, text.size() / 8);
  std::vector<std::string> out;
  for (; !text.empty(); text.remove_prefix(out.back().size()))
    out.emplace_back(text.substr(0, step));
  return out;
}

// What was signed is read; with one bit changed it is refused, unless that is the case of a size,
// or of a trailer's name.
void check_signed(s3::Payload payload, std::string_view text, const Trailers& trailers, size_t step,
                  size_t room) {
  const bool trailer = payload == s3::Payload::kStreamingTrailer;
  const auto same = [&](const Read& r) {
    return r.body == text && r.trailers.size() == trailers.size() &&
           std::equal(trailers.begin(), trailers.end(), r.trailers.begin(),
                      [](auto& a, auto& b) { return a.first == b.first && a.second == b.second; });
  };
  std::string body =
      kSigner.chunked(std::string(64, 'a'), chunks_of(text, step), trailers, trailer);
  const Read whole = read(payload, body, step, room);
  law(whole.good && same(whole), "what was signed is read");
  // From the end as often as from the start: the trailers are there.
  size_t at = (step * 257 + room) % body.size();
  if (room % 2 != 0) at = body.size() - 1 - at % std::min<size_t>(body.size(), 400);
  body[at] = static_cast<char>(body[at] ^ (1 << (room / 2 % 8)));
  const Read changed = read(payload, body, step, room);
  law(!changed.good || same(changed), "no changed byte is taken");
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  Input input(data, size);
  const unsigned kind = input.byte();
  const auto payload = static_cast<s3::Payload>(2 + kind % 3);
  const size_t step = 1 + input.byte(), room = 1 + input.byte();
  const std::string_view text = input.rest();
  const Read whole = read(payload, text, text.size() + 1, 4096);
  const Read split = read(payload, text, step, room);
  law(whole.good == split.good, "a split changes no verdict");
  if (whole.good) {
    law(whole.body == split.body && whole.trailers == split.trailers, "a split changes no byte");
  }
  if (payload == s3::Payload::kStreamingUnsignedTrailer) return 0;
  // Nobody can sign without the key, so a signed body that is accepted came from here.
  law(!whole.good, "what was not signed is refused");
  const bool trailer = payload == s3::Payload::kStreamingTrailer;
  check_signed(payload, text, trailers_of(text, trailer ? kind / 3 % 4 : 0), step, room);
  return 0;
}
