// RESP requests: any split of the bytes gives the same commands and the same errors, and a command
// that was accepted is accepted again, word for word, when it is written as Redis's protocol says.
#include "core/base/text.h"
#include "gateway/resp/input.h"
#include "gateway/resp/parser.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

using resp::Parser;
using resp::ParserLimits;

struct Command {
  std::vector<std::string> words;
  bool is_inline = false;
  bool operator==(const Command&) const = default;
};
struct Parsed {
  std::vector<Command> commands;
  std::string error;  // with which it ended
  size_t left = 0;    // bytes of a command that was not whole
  bool operator==(const Parsed&) const = default;
};

// The client's bytes on their way, `step` at a time, into what a connection keeps of them.
class Feed {
 public:
  Feed(std::string_view text, size_t step) : rest_(text), step_(step) {}
  bool more() {
    const MutableBytes room = input.room();
    law(!room.empty(), "there is room for what comes");
    const std::string_view part = rest_.substr(0, std::min(step_, room.size()));
    std::copy(part.begin(), part.end(), reinterpret_cast<char*>(room.data()));
    rest_.remove_prefix(part.size());
    input.added(part.size());
    return !part.empty();
  }
  size_t left() const { return input.size() + rest_.size(); }
  resp::Input input;

 private:
  std::string_view rest_;
  const size_t step_;
};

// Takes a large word and its CRLF out of the stream, as streamed_word.h does.
bool take_word(Feed& feed, size_t head, uint64_t bytes, std::string& word, bool& good) {
  while (feed.input.size() - head < bytes + 2) {
    if (!feed.more()) return false;
  }
  word = feed.input.pending().substr(head, bytes);
  good = feed.input.pending().substr(head + bytes, 2) == "\r\n";
  feed.input.cut(head, bytes + 2);
  return true;
}

Parsed parse(std::string_view text, size_t step, const ParserLimits& limits) {
  Parsed out;
  Feed feed(text, step);
  Parser parser;
  std::vector<std::string> large;
  for (;;) {
    const Parser::Result result = parser.parse(feed.input.pending(), limits);
    law(result == Parser::Result::kNeedMore || parser.consumed() <= feed.input.size(),
        "no more is used than there is");
    switch (result) {
      case Parser::Result::kNeedMore:
        if (feed.more()) continue;
        out.left = feed.left();
        return out;
      case Parser::Result::kError:
        out.error = parser.error();
        return out;
      case Parser::Result::kStream: {
        law(parser.stream_bytes() > limits.stream_above &&
                parser.stream_bytes() <= limits.bulk_bytes_max,
            "large words are within their limits");
        bool good = false;
        if (!take_word(feed, parser.consumed(), parser.stream_bytes(), large.emplace_back(), good))
          return out;
        if (!good) {
          out.error = "a large word without its end";
          return out;
        }
        parser.streamed();
        continue;
      }
      case Parser::Result::kCommand: {
        Command& command = out.commands.emplace_back();
        command.is_inline = parser.is_inline();
        size_t next = 0;
        for (auto& w : parser.words()) {
          command.words.push_back(w.streamed ? large[next++]
                                             : std::string(parser.text(w, feed.input.pending())));
        }
        law(!command.words.empty(), "a command has a name");
        law(command.is_inline || command.words.size() <= limits.words_max, "words have a limit");
        large.clear();
        break;
      }
      case Parser::Result::kEmpty:
        law(parser.consumed() > 0, "an empty line has its end");
        break;
    }
    feed.input.skip(parser.consumed());
    parser.reset();
  }
}

// As a client writes it.
std::string written(const Command& command) {
  if (!command.is_inline) {
    std::string out = cat("*", command.words.size(), "\r\n");
    for (auto& w : command.words) append(out, "$", w.size(), "\r\n", w, "\r\n");
    return out;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (auto& w : command.words) {
    out += out.empty() ? "\"" : " \"";
    for (char c : w) {
      const auto u = static_cast<unsigned char>(c);
      append(out, "\\x", kHex.substr(u >> 4, 1), kHex.substr(u & 15, 1));
    }
    out += '"';
  }
  return out + "\n";
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  Input input(data, size);
  const size_t step = 1 + input.byte();
  const bool stranger = input.byte() % 4 == 0;
  ParserLimits limits;
  limits.bulk_bytes_max = stranger ? 256 : 2048;
  limits.stream_above = stranger ? 64 : 512;
  limits.words_max = stranger ? 10 : 1000;
  const std::string_view text = input.rest();
  const Parsed whole = parse(text, text.size() + 1, limits);
  law(parse(text, step, limits) == whole, "a split changes nothing");
  law(parse(text, 1, limits) == whole, "nor does a byte at a time");
  for (const Command& command : whole.commands) {
    const std::string again = written(command);
    if (again.size() > ParserLimits::kInlineMax) continue;
    const Parsed parsed = parse(again, again.size(), limits);
    law(parsed.error.empty() && parsed.left == 0 && parsed.commands == std::vector{command},
        "what was read is read again");
  }
  return 0;
}
