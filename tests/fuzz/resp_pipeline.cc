// Pipelined requests: any split of what a client sends gives the same answers, one whole value for
// each command, in order; also where words go to extents while they arrive.
//
//   input = u8 bytes at a time  u8 whether the client is known, and its protocol  text
#include <algorithm>
#include <array>

#include "gateway/resp/pipeline.h"
#include "gateway/resp/streamed_word.h"
#include "tests/fuzz/kv_world.h"

namespace cairn::fuzz {
namespace {

using resp::Pipeline;
using Next = Pipeline::Next;

// The client's side of a connection: so many bytes at a time, and then no more.
class Stream {
 public:
  static constexpr bool kTls = true;  // as one whose bytes are copied

  Stream(std::string_view text, size_t step) : rest_(text), step_(step) {}
  size_t take(MutableBytes into) {
    const size_t n = std::min({step_, into.size(), rest_.size()});
    std::copy_n(rest_.data(), n, reinterpret_cast<char*>(into.data()));
    rest_.remove_prefix(n);
    return n;
  }
  awaitable<size_t> read_some(MutableBytes into) { co_return take(into); }

 private:
  std::string_view rest_;
  const size_t step_;
};

struct Talk {
  std::string answers;
  bool ended = false;  // by the server
};

// As Connection::run() does it.
Talk talk(std::string_view text, size_t step, bool known, int version) {
  Talk out;
  KvWorld world;
  auto session = world.new_session();
  if (!known) session->principal = nullptr;
  world.server->auth_required = !known;
  session->resp = version;
  {
    Stream stream(text, step);
    Pipeline pipeline(*world.server, world.engine(), *session);
    Next next = Next::kRead;
    for (;;) {
      next = pipeline.run();
      if (next == Next::kWord) {
        out.answers += world.sent(pipeline.output(), session->resp);
        pipeline.answers_left();
        const bool taken = world.run(resp::take_streamed_word(
            stream, pipeline, world.store->extents(), next, [](size_t) {}));
        if (!taken) break;  // the client is gone
      }
      if (next == Next::kFetch) next = world.run(pipeline.fetch());
      if (next == Next::kSleep) next = world.run(pipeline.sleep());
      if (next == Next::kWord || next == Next::kMore) continue;
      out.answers += world.sent(pipeline.output(), session->resp);
      pipeline.answers_left();
      if (next == Next::kEnd) break;
      if (next != Next::kRead) continue;
      const size_t n = stream.take(pipeline.input().room());
      if (n == 0) break;
      pipeline.input().added(n);
    }
    out.ended = next == Next::kEnd;
  }
  session.reset();
  return out;
}

// What a reader of the protocol alone makes of the text.
struct Expected {
  size_t commands = 0;
  bool error = false;    // it ends with one
  bool plain = true;     // no word that silences answers, changes limits or ends the conversation
  bool timeless = true;  // no word whose answer depends on when, or on how it came
};

Expected expect(std::string_view text) {
  constexpr std::string_view kNotPlain[] = {"reply",
                                            "proto-max-bulk-len",
                                            "quit",
                                            "shutdown",
                                            "post",
                                            "host:",
                                            "client-query-buffer-limit",
                                            "client-output-buffer-limit",
                                            "subscribe",
                                            "unsubscribe",
                                            "psubscribe",
                                            "punsubscribe",
                                            "ssubscribe",
                                            "sunsubscribe"};
  constexpr std::string_view kNotTimeless[] = {"info", "client", "ex",     "px",    "exat",
                                               "pxat", "time",   "memory", "config"};
  const auto is_one = [](const auto& list, std::string_view word) {
    return std::find(std::begin(list), std::end(list), word) != std::end(list);
  };
  Expected out;
  resp::Parser parser;
  resp::ParserLimits limits;
  limits.stream_above = UINT64_MAX;
  for (;;) {
    const auto result = parser.parse(text, limits);
    if (result == resp::Parser::Result::kError) out.error = true;
    if (result != resp::Parser::Result::kCommand && result != resp::Parser::Result::kEmpty) break;
    if (result == resp::Parser::Result::kCommand) out.commands++;
    for (auto& w : parser.words()) {
      const std::string word = lower(parser.text(w, text));
      out.plain &= !is_one(kNotPlain, word);
      out.timeless &= !is_one(kNotTimeless, word) && word.find("ttl") == word.npos &&
                      word.find("expire") == word.npos;
    }
    text.remove_prefix(parser.consumed());
    parser.reset();
  }
  return out;
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  Input input(data, size);
  const size_t step = 1 + input.byte();
  const unsigned who = input.byte();
  const bool known = who % 8 != 0;
  const int version = who & 16 ? 3 : 2;
  const std::string_view text = input.rest();
  const Expected expected = expect(text);
  const Talk whole = talk(text, text.size() + 1, known, version);
  const Talk split = talk(text, step, known, version);
  if (expected.timeless) {
    law(whole.answers == split.answers && whole.ended == split.ended, "a split changes no answer");
  }
  for (const Talk* t : {&whole, &split}) {
    size_t values = 0;
    for (std::string_view rest = t->answers; !rest.empty(); values++) {
      law(take_value(rest), "answers are whole values");
    }
    if (!expected.plain) continue;
    if (t->ended) {
      law(values >= 1 && values <= expected.commands + 1, "the end is an answer");
    } else {
      law(values == expected.commands, "each command has one answer");
    }
  }
  return 0;
}
