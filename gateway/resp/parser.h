// Reads RESP requests out of a buffer, piece by piece: arrays of bulk strings, and inline commands.
// The protocol is Redis's, https://redis.io/docs/latest/develop/reference/protocol-spec/.
//
// Words are kept as offsets from the first byte of the command, so the buffer may move or grow
// between calls. Lengths are checked against limits before anything is believed.
// Threads: one connection's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::resp {

struct ParserLimits {
  uint64_t bulk_bytes_max = 512ull << 20;  // a word
  uint64_t stream_above = 64 << 10;        // larger words are not buffered
  uint64_t words_max = 1 << 20;
  static constexpr uint64_t kInlineMax = 64 << 10;
};

class Parser {
 public:
  enum class Result {
    kNeedMore,  // the buffer ends inside a command
    kCommand,   // words() is a whole command, `consumed` bytes long
    kEmpty,     // an empty line: skip `consumed` bytes
    kStream,    // the next word has stream_bytes() bytes, which begin at `consumed`; not buffered
    kError,     // error() says why; the connection cannot go on
  };
  struct Word {
    size_t offset;
    size_t length;
    bool streamed;
  };

  // `buffer` begins at the first byte of the command. After kStream the caller takes the word's
  // bytes and its CRLF out of the stream and calls streamed(); what is in the buffer up to
  // `consumed` stays there.
  Result parse(std::string_view buffer, const ParserLimits& limits);
  void streamed();
  // Ready for the next command.
  void reset();

  std::span<const Word> words() const { return {words_.data(), count_}; }
  uint64_t buffer_bytes() const { return words_.size() * sizeof(Word); }
  size_t consumed() const { return at_; }
  uint64_t stream_bytes() const { return stream_bytes_; }
  const std::string& error() const { return error_; }
  // Words of an inline command are not in the buffer as they are: they lie in the parser, and only
  // until the next call of parse() or reset().
  bool is_inline() const { return inline_; }
  std::string_view text(const Word& w, std::string_view buffer) const {
    return (inline_ ? std::string_view(inline_text_) : buffer).substr(w.offset, w.length);
  }

 private:
  Result parse_header(std::string_view buffer, const ParserLimits& limits);
  Result parse_inline(std::string_view buffer);
  Result fail(std::string_view why);
  Result fail_word(char first);

  void add(Word word) {
    if (count_ == words_.size()) words_.resize(std::max<size_t>(8, 2 * count_));
    words_[count_++] = word;
  }

  static constexpr size_t kWordsKept = 1 << 12;  // a client at rest holds no more room than that
  std::vector<Word> words_;                      // room for them, of which are used
  size_t count_ = 0;
  size_t at_ = 0;
  int64_t left_ = -1;  // words still to come; -1 before the array header
  uint64_t stream_bytes_ = 0;
  bool inline_ = false;
  std::string inline_text_;
  std::string error_;
};

}  // namespace cairn::resp
