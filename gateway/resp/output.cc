#include "gateway/resp/output.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/base/text.h"

namespace cairn::resp {

void Output::header(char type, size_t count) {
  char line[24];
  line[0] = type;
  char* end = std::to_chars(line + 1, line + sizeof(line) - 2, count).ptr;
  *end++ = '\r';
  *end++ = '\n';
  text_.append(line, static_cast<size_t>(end - line));
}

void Output::write_simple(std::string_view text) {
  if (text_.size() > limit_) return overflow();
  if (text == "OK") {  // most of all
    text_.append("+OK\r\n", 5);
  } else {
    append(text_, "+", text, "\r\n");
  }
}

void Output::write_error(std::string_view text) {
  text_.push_back('-');
  for (char c : text) text_.push_back(c == '\r' || c == '\n' ? ' ' : c);
  text_.append("\r\n");
}

void Output::write_integer(int64_t value) {
  if (text_.size() > limit_) return overflow();  // an array may be of many
  append(text_, ":", value, "\r\n");
}

void Output::write_real(double value) {
  constexpr double kWholeMax = 1e15;  // up to here it has all its digits without an exponent
  if (std::abs(value) < kWholeMax) {
    const auto whole = static_cast<int64_t>(value);
    if (static_cast<double>(whole) == value && (whole != 0 || !std::signbit(value))) {
      char digits[24];
      const char* end = std::to_chars(digits, digits + sizeof(digits), whole).ptr;
      return write_decimal({digits, static_cast<size_t>(end - digits)});
    }
  }
  char text[64];
  int n = std::snprintf(text, sizeof(text), "%.17g", value);
  std::string_view digits(text, static_cast<size_t>(n));
  if (std::isinf(value)) digits = value > 0 ? "inf" : "-inf";
  write_decimal(digits);
}

void Output::write_decimal(std::string_view digits) {
  if (version_ < 3) return write_bulk(digits);
  append(text_, ",", digits, "\r\n");
}

void Output::write_boolean(bool value) {
  if (version_ < 3) return write_integer(value);
  text_.append(value ? "#t\r\n" : "#f\r\n");
}

void Output::overflow() {
  overflowed_ = true;
  limit_ = 0;
  text_ = std::string();
  streams_.clear();
  stream_bytes_ = 0;
  beside_.clear();
}

void Output::write_bulk(std::string_view bytes) {
  if (text_.size() + stream_bytes_ + bytes.size() > limit_) return overflow();
  constexpr size_t kShort = 64;
  if (bytes.size() <= kShort) {  // put together first: one append instead of three
    char all[kShort + 8];
    char* at = all;
    *at++ = '$';
    if (bytes.size() >= 10) *at++ = static_cast<char>('0' + bytes.size() / 10);
    *at++ = static_cast<char>('0' + bytes.size() % 10);
    *at++ = '\r';
    *at++ = '\n';
    at += bytes.copy(at, bytes.size());
    *at++ = '\r';
    *at++ = '\n';
    text_.append(all, static_cast<size_t>(at - all));
    return;
  }
  header('$', bytes.size());
  text_.append(bytes);
  text_.append("\r\n", 2);
}

void Output::write_verbatim_as(std::string_view format, std::string_view text) {
  constexpr size_t kFormatBytes = 3;
  if (version_ < 3) return write_bulk(text);
  if (text_.size() + stream_bytes_ + text.size() > limit_) return overflow();
  header('=', text.size() + kFormatBytes + 1);
  std::string name(format.substr(0, kFormatBytes));
  name.resize(kFormatBytes, ' ');
  append(text_, name, ":", text, "\r\n");
}

void Output::write_big_number(std::string_view digits) {
  if (version_ < 3) return write_bulk(digits);
  if (text_.size() + stream_bytes_ + digits.size() > limit_) return overflow();
  append(text_, "(", digits, "\r\n");
}

void Output::write_stream(std::unique_ptr<BlobReader> blob) {
  const size_t bytes =
      sizeof(Stream) + sizeof(BlobReader) + blob->blob().pieces.size() * sizeof(Piece);
  if (text_.size() + stream_bytes_ + bytes > limit_) return overflow();
  header('$', blob->left());
  streams_.push_back({text_.size(), std::move(blob), nullptr, bytes});
  stream_bytes_ += bytes;
  text_.append("\r\n");
}

void Output::write_series(std::unique_ptr<kv::Series> values) {
  const size_t bytes = values->bytes();
  if (text_.size() + stream_bytes_ + bytes > limit_) return overflow();
  streams_.push_back({text_.size(), nullptr, std::move(values), bytes});
  stream_bytes_ += bytes;
}

void Output::write_null() {
  if (text_.size() > limit_) return overflow();
  text_.append(version_ < 3 ? "$-1\r\n" : "_\r\n");
}
void Output::write_null_array() { text_.append(version_ < 3 ? "*-1\r\n" : "_\r\n"); }
void Output::write_array(size_t count) {
  if (text_.size() > limit_) return overflow();
  header('*', count);
}
void Output::write_map(size_t pairs) { version_ < 3 ? header('*', pairs * 2) : header('%', pairs); }
void Output::write_set(size_t count) { header(version_ < 3 ? '*' : '~', count); }

void Output::note_beside(size_t begin) {
  if (!beside_.empty() && beside_.back().second == begin) {
    beside_.back().second = text_.size();
  } else {
    beside_.emplace_back(begin, text_.size());
  }
}

void Output::write_notice(std::string_view what, std::optional<std::string_view> name,
                          size_t count) {
  if (text_.size() + stream_bytes_ + what.size() + (name ? name->size() : 0) > limit_) {
    return overflow();
  }
  const size_t begin = text_.size();
  header(push_byte(), 3);
  write_bulk(what);
  name ? write_bulk(*name) : write_null();
  header(':', count);
  if (!overflowed_) note_beside(begin);
}

void Output::pushed_first() {
  if (outbox_ == nullptr || outbox_->empty() || overflowed_) return;
  const size_t begin = text_.size();
  outbox_->drain(text_, push_byte());
  note_beside(begin);
  if (text_.size() + stream_bytes_ > limit_) overflow();
}

void Output::cut_answers(const Mark& mark) {
  std::string kept;
  for (auto [from, to] : beside_) {
    if (from >= mark.text && to <= text_.size()) kept.append(text_, from, to - from);
  }
  cut(mark);
  text_ += kept;
}

}  // namespace cairn::resp
