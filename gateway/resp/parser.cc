#include "gateway/resp/parser.h"

#include <algorithm>
#include <cstring>

#include "core/base/text.h"

namespace cairn::resp {

void Parser::reset() {
  words_.clear();
  at_ = 0;
  left_ = -1;
  inline_ = false;
}

Parser::Result Parser::fail(std::string_view why) {
  error_ = cat("ERR Protocol error: ", why);
  return Result::kError;
}

bool Parser::read_length(std::string_view buffer, int64_t& value, bool& bad, size_t& next) const {
  constexpr size_t kLineMax = 32;
  size_t i = at_ + 1;
  bool negative = i < buffer.size() && buffer[i] == '-';
  if (negative) i++;
  const size_t first = i;
  value = 0;
  bad = false;
  for (; i < buffer.size() && buffer[i] >= '0' && buffer[i] <= '9' && i - first < 19; i++) {
    value = value * 10 + (buffer[i] - '0');  // at most 18 digits: no overflow
    if (i - first >= 18) bad = true;
  }
  if (i + 1 >= buffer.size()) {
    bad |= i - at_ > kLineMax;
    return bad;
  }
  if (i == first || buffer[i] != '\r' || buffer[i + 1] != '\n') bad = true;
  if (negative) value = -value;
  next = i + 2;
  return true;
}

Parser::Result Parser::parse(std::string_view buffer, const ParserLimits& limits) {
  if (buffer.empty() && left_ < 0) return Result::kNeedMore;
  int64_t n;
  bool bad;
  size_t next = 0;
  if (left_ < 0) {
    if (buffer[0] != '*') return parse_inline(buffer);
    if (!read_length(buffer, n, bad, next)) return Result::kNeedMore;
    if (bad || n > INT32_MAX) return fail("invalid multibulk length");
    if (n > static_cast<int64_t>(limits.words_max)) {
      return fail(limits.words_max <= 10 ? "unauthenticated multibulk length"
                                         : "invalid multibulk length");
    }
    at_ = next;
    if (n <= 0) return Result::kEmpty;
    left_ = n;
    words_.reserve(static_cast<size_t>(std::min<int64_t>(n, 1024)));
  }
  while (left_ > 0) {
    if (at_ >= buffer.size()) return Result::kNeedMore;
    if (buffer[at_] != '$') {
      return fail(cat("expected '$', got '", std::string_view(&buffer[at_], 1), "'"));
    }
    if (!read_length(buffer, n, bad, next)) return Result::kNeedMore;
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
    words_.push_back({next, length, false});
    at_ = next + length + 2;
    left_--;
  }
  return Result::kCommand;
}

void Parser::streamed() {
  words_.push_back({0, 0, true});
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
    words_.push_back({start, inline_text_.size() - start, false});
  }
  return words_.empty() ? Result::kEmpty : Result::kCommand;
}

}  // namespace cairn::resp
