// Chunked bodies: any split of the bytes gives the same body, which is the one that a decoder of
// RFC 9112's grammar alone gives.
#include "core/base/text.h"
#include "gateway/http/head.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

struct Decoded {
  bool good = false;
  std::string body;
  size_t used = 0;
};

// By Cairn, fed `step` bytes at a time into rooms of `room` bytes.
Decoded by_cairn(std::string_view text, size_t step, size_t room) {
  http::ChunkDecoder decoder;
  Decoded out;
  std::vector<std::byte> sink(room);
  size_t begin = 0, end = 0;
  while (!decoder.done()) {
    auto put = decoder.put(as_bytes(text.substr(begin, end - begin)), sink);
    if (!put.ok()) return out;
    law(put->used <= end - begin && put->made <= room, "steps stay within bounds");
    begin += put->used;
    out.body.append(reinterpret_cast<char*>(sink.data()), put->made);
    if (decoder.done() || put->used > 0) continue;
    if (end == text.size()) return out;  // the bytes end in the middle
    end = std::min(text.size(), end + step);
  }
  out.good = true;
  out.used = begin;
  return out;
}

bool take_line(std::string_view& text, std::string_view& line) {
  const size_t end = text.find("\r\n");
  if (end == text.npos) return false;
  line = text.substr(0, end);
  text.remove_prefix(end + 2);
  return true;
}

// By the grammar, forgiving in extensions and trailers: a law only where this one is sure.
Decoded by_grammar(std::string_view text) {
  Decoded out;
  const size_t all = text.size();
  for (;;) {
    std::string_view line;
    if (!take_line(text, line)) return out;
    line = line.substr(0, line.find_first_of("; \t"));
    auto size = parse_int<uint64_t>(line, 16);
    if (!size || line[0] == '-') return out;
    if (*size == 0) break;
    if (*size > text.size() || text.size() - *size < 2) return out;
    out.body.append(text.substr(0, *size));
    if (text.substr(*size, 2) != "\r\n") return out;
    text.remove_prefix(*size + 2);
  }
  for (std::string_view line = "x"; !line.empty();) {
    if (!take_line(text, line)) return out;
  }
  out.good = true;
  out.used = all - text.size();
  return out;
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  Input input(data, size);
  const size_t step = 1 + input.byte(), room = 1 + input.byte();
  const std::string_view text = input.rest();
  const Decoded whole = by_cairn(text, text.size() + 1, 4096);
  const Decoded split = by_cairn(text, step, room);
  law(whole.good == split.good, "a split changes no verdict");
  if (!whole.good) return 0;
  law(whole.body == split.body && whole.used == split.used, "a split changes no byte");
  const Decoded grammar = by_grammar(text);
  law(grammar.good && grammar.body == whole.body && grammar.used == whole.used,
      "the body is what the grammar says");
  return 0;
}
