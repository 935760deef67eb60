#include "gateway/resp/parser.h"

#include <algorithm>
#include <cstring>

#include "core/base/text.h"

namespace cairn::resp {

void Parser::reset() {
  count_ = 0;
  if (words_.size() > kWordsKept) std::vector<Word>().swap(words_);
  at_ = 0;
  left_ = -1;
  inline_ = false;
}

Parser::Result Parser::fail(std::string_view why) {
  error_ = cat("ERR Protocol error: ", why);
  return Result::kError;
}

Parser::Result Parser::fail_word(char first) {
  return fail(cat("expected '$', got '", std::string_view(&first, 1), "'"));
}

namespace {

// The number in the line that begins at `at` + 1; false if the line is not whole yet.
[[gnu::noinline]] bool read_any_length(std::string_view buffer, size_t at, int64_t& value,
                                       bool& bad, size_t& next) {
  constexpr size_t kLineMax = 32;
  size_t i = at + 1;
  bool negative = i < buffer.size() && buffer[i] == '-';
  if (negative) i++;
  const size_t first = i;
  value = 0;
  bad = false;
  for (; i < buffer.size() && buffer[i] >= '0' && buffer[i] <= '9' && i - first < 19; i++) {
    if (i - first >= 18) {
      bad = true;  // no length has so many, and they could overflow
    } else {
      value = value * 10 + (buffer[i] - '0');
    }
  }
  if (i + 1 >= buffer.size()) {
    bad |= i - at > kLineMax;
    return bad;
  }
  if (i == first || buffer[i] != '\r' || buffer[i + 1] != '\n') bad = true;
  if (buffer[first] == '0' && (negative || i - first > 1)) bad = true;  // Redis takes no 01 and -0
  if (negative) value = -value;
  next = i + 2;
  return true;
}

// Nearly all are of a few digits, and whole.
inline bool read_length(std::string_view buffer, size_t at, int64_t& value, bool& bad,
                        size_t& next) {
  constexpr size_t kDigits = 3;
  if (buffer.size() - at > kDigits + 2) {
    const char* line = buffer.data() + at + 1;
    unsigned short_value = 0;
    size_t n = 0;
    for (unsigned digit; n < kDigits && (digit = static_cast<unsigned>(line[n] - '0')) <= 9; n++) {
      short_value = short_value * 10 + digit;
    }
    if (n > 0 && (n == 1 || line[0] != '0') && line[n] == '\r' && line[n + 1] == '\n') {
      value = short_value;
      bad = false;
      next = at + n + 3;
      return true;
    }
  }
  return read_any_length(buffer, at, value, bad, next);
}

}  // namespace

Parser::Result Parser::parse_header(std::string_view buffer, const ParserLimits& limits) {
  if (buffer.empty()) return Result::kNeedMore;
  if (buffer[0] != '*') return parse_inline(buffer);
  int64_t n;
  bool bad;
  size_t next = 0;
  if (!read_length(buffer, at_, n, bad, next)) return Result::kNeedMore;
  if (bad || n > INT32_MAX) return fail("invalid multibulk length");
  if (n > static_cast<int64_t>(limits.words_max)) {
    return fail(limits.words_max <= 10 ? "unauthenticated multibulk length"
                                       : "invalid multibulk length");
  }
  at_ = next;
  if (n <= 0) return Result::kEmpty;
  left_ = n;
  return Result::kCommand;
}

Parser::Result Parser::parse(std::string_view buffer, const ParserLimits& limits) {
  if (left_ < 0) {
    const Result begun = parse_header(buffer, limits);
    if (begun != Result::kCommand || inline_) return begun;
  }
  int64_t n;
  bool bad;
  size_t next = 0;
  while (left_ > 0) {
    if (at_ >= buffer.size()) return Result::kNeedMore;
    if (buffer[at_] != '$') return fail_word(buffer[at_]);
    if (!read_length(buffer, at_, n, bad, next)) return Result::kNeedMore;
    if (bad || n < 0 || static_cast<uint64_t>(n) > limits.bulk_bytes_max) {
      return fail(limits.words_max <= 10 && !bad && n > 0 ? "unauthenticated bulk length"
                                                          : "invalid bulk length");
    }
    auto length = static_cast<size_t>(n);
    if (length > limits.stream_above) {
      at_ = next;
      stream_bytes_ = length;
      return Result::kStream;
    }
    if (buffer.size() - next < length + 2) return Result::kNeedMore;
    if (buffer[next + length] != '\r' || buffer[next + length + 1] != '\n') {
      return fail("invalid bulk length");
    }
    add({next, length, false});
    at_ = next + length + 2;
    left_--;
  }
  return Result::kCommand;
}

void Parser::streamed() {
  add({0, 0, true});
  left_--;
}

// Words between blanks; "double quotes" with C escapes, 'single quotes' with \' alone.
Parser::Result Parser::parse_inline(std::string_view buffer) {
  const void* end =
      std::memchr(buffer.data(), '\n', std::min(buffer.size(), ParserLimits::kInlineMax));
  if (end == nullptr) {
    return buffer.size() >= ParserLimits::kInlineMax ? fail("too big inline request")
                                                     : Result::kNeedMore;
  }
  auto length = static_cast<size_t>(static_cast<const char*>(end) - buffer.data());
  at_ = length + 1;
  std::string_view line = buffer.substr(0, length);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  inline_ = true;
  inline_text_.clear();
  auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = static_cast<char>(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\0' || c == '\v'; };
  size_t i = 0;
  for (;;) {
    while (i < line.size() && blank(line[i])) i++;
    if (i == line.size()) break;
    const size_t start = inline_text_.size();
    while (i < line.size() && !blank(line[i])) {
      const char quote = line[i];
      if (quote != '"' && quote != '\'') {
        inline_text_.push_back(line[i++]);
        continue;
      }
      i++;
      bool closed = false;
      while (i < line.size() && !closed) {
        char c = line[i];
        if (c == quote) {
          closed = true;
        } else if (c == '\\' && quote == '"' && i + 1 < line.size()) {
          char x = line[i + 1];
          if (x == 'x' && i + 3 < line.size() && hex(line[i + 2]) >= 0 && hex(line[i + 3]) >= 0) {
            inline_text_.push_back(static_cast<char>(hex(line[i + 2]) * 16 + hex(line[i + 3])));
            i += 3;
          } else {
            constexpr std::string_view kFrom = "nrtba", kTo = "\n\r\t\b\a";
            size_t k = kFrom.find(x);
            inline_text_.push_back(k == kFrom.npos ? x : kTo[k]);
            i++;
          }
        } else if (c == '\\' && quote == '\'' && i + 1 < line.size() && line[i + 1] == '\'') {
          inline_text_.push_back('\'');
          i++;
        } else {
          inline_text_.push_back(c);
        }
        i++;
      }
      if (!closed || (i < line.size() && !blank(line[i]))) {
        return fail("unbalanced quotes in request");
      }
    }
    add({start, inline_text_.size() - start, false});
  }
  return count_ == 0 ? Result::kEmpty : Result::kCommand;
}

}  // namespace cairn::resp
