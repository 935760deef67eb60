#include "gateway/resp/output.h"

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

void Output::write_integer(int64_t value) { append(text_, ":", value, "\r\n"); }

void Output::write_real(double value) {
  char text[64];
  int n = std::snprintf(text, sizeof(text), "%.17g", value);
  std::string_view digits(text, static_cast<size_t>(n));
  if (std::isinf(value)) digits = value > 0 ? "inf" : "-inf";
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

void Output::write_verbatim(std::string_view text) {
  if (version_ < 3) return write_bulk(text);
  header('=', text.size() + 4);
  append(text_, "txt:", text, "\r\n");
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

void Output::write_null() { text_.append(version_ < 3 ? "$-1\r\n" : "_\r\n"); }
void Output::write_null_array() { text_.append(version_ < 3 ? "*-1\r\n" : "_\r\n"); }
void Output::write_array(size_t count) { header('*', count); }
void Output::write_map(size_t pairs) { version_ < 3 ? header('*', pairs * 2) : header('%', pairs); }
void Output::write_set(size_t count) { header(version_ < 3 ? '*' : '~', count); }

}  // namespace cairn::resp
