#include "kv/types/rdb_format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/base/text.h"

namespace cairn::kv::rdb {

namespace {

// Slicing by 8: a payload of 512 MB takes half a second, a byte at a time it would take three.
struct Tables {
  std::array<std::array<uint64_t, 256>, 8> t;
  constexpr Tables() : t{} {
    constexpr uint64_t kPoly = 0x95ac9329ac4bc9b5ULL;  // 0xad93d23594c935a9 bit-reversed
    for (uint64_t i = 0; i < 256; i++) {
      uint64_t c = i;
      for (int k = 0; k < 8; k++) c = (c >> 1) ^ ((c & 1) != 0 ? kPoly : 0);
      t[0][i] = c;
    }
    for (size_t j = 1; j < 8; j++) {
      for (size_t i = 0; i < 256; i++) t[j][i] = (t[j - 1][i] >> 8) ^ t[0][t[j - 1][i] & 0xff];
    }
  }
};
constexpr Tables kTables;

template <class T>
T big_endian(T value) {
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
}

// The canonical form of an integer and nothing else.
std::optional<int64_t> integer_of(std::string_view s) {
  constexpr size_t kCharsMax = 20;
  if (s.empty() || s.size() > kCharsMax) return std::nullopt;
  const std::string_view digits = s[0] == '-' ? s.substr(1) : s;
  if (digits.empty() || (digits[0] == '0' && s.size() > 1)) return std::nullopt;
  return parse_int<int64_t>(s);
}

bool fits(int64_t n, int bits) {
  return n >= -(int64_t{1} << (bits - 1)) && n < int64_t{1} << (bits - 1);
}

}  // namespace

uint64_t crc64(uint64_t crc, std::string_view data) {
  const char* p = data.data();
  size_t left = data.size();
  const auto& t = kTables.t;
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = t[7][word & 0xff] ^ t[6][(word >> 8) & 0xff] ^ t[5][(word >> 16) & 0xff] ^
          t[4][(word >> 24) & 0xff] ^ t[3][(word >> 32) & 0xff] ^ t[2][(word >> 40) & 0xff] ^
          t[1][(word >> 48) & 0xff] ^ t[0][word >> 56];
  }
  for (; left > 0; left--, p++) crc = (crc >> 8) ^ t[0][(crc ^ static_cast<uint8_t>(*p)) & 0xff];
  return crc;
}

std::string footer(uint16_t version, uint64_t crc) {
  std::string out;
  add_raw(out, version);
  add_raw(out, crc64(crc, out));
  return out;
}

std::optional<Footer> take_footer(std::string_view bytes) {
  Footer f;
  if (bytes.size() != kFooterBytes) return std::nullopt;
  std::memcpy(&f.version, bytes.data(), sizeof(f.version));
  std::memcpy(&f.crc, bytes.data() + sizeof(f.version), sizeof(f.crc));
  if (f.version > kVersionMax) return std::nullopt;
  return f;
}

// ---- writing ----

void add_length(std::string& out, uint64_t n) {
  if (n < 1 << 6) {
    out.push_back(static_cast<char>(n));
  } else if (n < 1 << 14) {
    out.push_back(static_cast<char>(0x40 | n >> 8));
    out.push_back(static_cast<char>(n));
  } else if (n <= UINT32_MAX) {
    out.push_back(static_cast<char>(0x80));
    add_raw(out, big_endian(static_cast<uint32_t>(n)));
  } else {
    out.push_back(static_cast<char>(0x81));
    add_raw(out, big_endian(n));
  }
}

void add_string(std::string& out, std::string_view s) {
  constexpr size_t kDigitsMax = 11;
  const auto n = s.size() <= kDigitsMax ? integer_of(s) : std::nullopt;
  if (n && fits(*n, 8)) {
    out.push_back(static_cast<char>(0xc0));
    add_raw(out, static_cast<int8_t>(*n));
  } else if (n && fits(*n, 16)) {
    out.push_back(static_cast<char>(0xc1));
    add_raw(out, static_cast<int16_t>(*n));
  } else if (n && fits(*n, 32)) {
    out.push_back(static_cast<char>(0xc2));
    add_raw(out, static_cast<int32_t>(*n));
  } else {
    add_length(out, s.size());
    out.append(s);
  }
}

std::string score_text(double score) {
  if (std::isinf(score)) return score > 0 ? "inf" : "-inf";
  char text[64];
  const int n = std::snprintf(text, sizeof(text), "%.17g", score);
  return {text, static_cast<size_t>(n)};
}

// An element is followed by its own length, 7 bits a byte, the highest first; all but that first
// one are marked.
void ListpackWriter::end(size_t begin) {
  const uint64_t n = out_.size() - begin;
  constexpr uint64_t kSteps[] = {128, 16383, 2097151, 268435455};  // as Redis has them
  size_t bytes = 1;
  for (uint64_t step : kSteps) bytes += n >= step;
  for (size_t i = bytes; i-- > 0;) {
    const uint64_t part = n >> (7 * i) & 127;
    out_.push_back(static_cast<char>(i + 1 == bytes ? part : part | 128));
  }
  count_++;
}

void ListpackWriter::add(int64_t n) {
  const size_t begin = out_.size();
  const auto marked = [&](int mark, size_t bytes) {
    out_.push_back(static_cast<char>(mark));
    out_.append(reinterpret_cast<const char*>(&n), bytes);
  };
  if (n >= 0 && n < 128) {
    out_.push_back(static_cast<char>(n));
  } else if (fits(n, 13)) {
    const auto u = static_cast<uint64_t>(n) & 0x1fff;
    out_.push_back(static_cast<char>(0xc0 | u >> 8));
    out_.push_back(static_cast<char>(u));
  } else if (fits(n, 16)) {
    marked(0xf1, 2);
  } else if (fits(n, 24)) {
    marked(0xf2, 3);
  } else if (fits(n, 32)) {
    marked(0xf3, 4);
  } else {
    marked(0xf4, 8);
  }
  end(begin);
}

void ListpackWriter::add(std::string_view s) {
  if (const auto n = integer_of(s)) return add(*n);
  const size_t begin = out_.size();
  if (s.size() < 64) {
    out_.push_back(static_cast<char>(0x80 | s.size()));
  } else if (s.size() < 4096) {
    out_.push_back(static_cast<char>(0xe0 | s.size() >> 8));
    out_.push_back(static_cast<char>(s.size()));
  } else {
    out_.push_back(static_cast<char>(0xf0));
    add_raw(out_, static_cast<uint32_t>(s.size()));
  }
  out_.append(s);
  end(begin);
}

std::string ListpackWriter::finish() {
  out_.push_back(static_cast<char>(0xff));
  const auto bytes = static_cast<uint32_t>(out_.size());
  const auto count = static_cast<uint16_t>(std::min<uint64_t>(count_, UINT16_MAX));
  std::memcpy(out_.data(), &bytes, sizeof(bytes));
  std::memcpy(out_.data() + sizeof(bytes), &count, sizeof(count));
  return std::move(out_);
}

// ---- reading ----

bool Source::take_byte(uint8_t& byte) { return take_raw(byte); }

bool Source::take_bytes(uint64_t n, std::string_view& bytes) {
  if (n > rest.size()) return false;
  bytes = rest.substr(0, n);
  rest.remove_prefix(n);
  return true;
}

bool Source::take_length(uint64_t& n, bool& encoded) {
  uint8_t first, second;
  if (!take_byte(first)) return false;
  encoded = first >> 6 == 3;
  n = first & 63;
  if (first >> 6 == 0 || encoded) return true;
  if (first >> 6 == 1) {
    if (!take_byte(second)) return false;
    n = n << 8 | second;
    return true;
  }
  uint32_t small;
  if (first == 0x81) {
    if (!take_raw(n)) return false;
    n = big_endian(n);
    return true;
  }
  if (first != 0x80) return fail();
  if (!take_raw(small)) return false;
  n = big_endian(small);
  return true;
}

bool Source::take_length(uint64_t& n) {
  bool encoded;
  if (!take_length(n, encoded)) return false;
  return !encoded || fail();
}

bool Source::take_string(std::string_view& s, std::string& held, uint64_t bytes_max) {
  bool encoded;
  uint64_t n, packed;
  if (!take_length(n, encoded)) return false;
  if (!encoded) {
    if (n > bytes_max) return too_long = true, fail();
    return take_bytes(n, s);
  }
  const auto integer = [&]<class T>(T value) {
    if (!take_raw(value)) return false;
    held = cat(static_cast<int64_t>(value));
    s = held;
    return true;
  };
  if (n == 0) return integer(int8_t{});
  if (n == 1) return integer(int16_t{});
  if (n == 2) return integer(int32_t{});
  if (n != 3 || !take_length(packed) || !take_length(n)) return n > 3 ? fail() : false;
  if (n > bytes_max) return too_long = true, fail();
  // At most 264 bytes come out of 3.
  if (n == 0 || packed > bytes_max || n / 88 > packed) return fail();
  std::string_view bytes;
  if (!take_bytes(packed, bytes)) return false;
  if (!decompress_lzf(bytes, n, held)) return fail();
  s = held;
  return true;
}

bool decompress_lzf(std::string_view in, uint64_t bytes, std::string& out) {
  out.clear();
  out.reserve(bytes);
  for (size_t i = 0; i < in.size();) {
    const auto head = static_cast<uint8_t>(in[i++]);
    if (head < 32) {  // so many, and one more, as they are
      const size_t n = head + size_t{1};
      if (n > in.size() - i || n > bytes - out.size()) return false;
      out.append(in, i, n);
      i += n;
      continue;
    }
    size_t n = head >> 5;
    if (n == 7) {
      if (i == in.size()) return false;
      n += static_cast<uint8_t>(in[i++]);
    }
    if (i == in.size()) return false;
    const size_t back = (size_t{head & 31U} << 8 | static_cast<uint8_t>(in[i++])) + 1;
    n += 2;
    if (back > out.size() || n > bytes - out.size()) return false;
    for (size_t from = out.size() - back; n > 0; n--, from++) out.push_back(out[from]);
  }
  return out.size() == bytes;
}

// ---- packed forms ----

namespace {
template <class T>
bool take(std::string_view& in, T& value) {
  if (in.size() < sizeof(value)) return false;
  std::memcpy(&value, in.data(), sizeof(value));
  in.remove_prefix(sizeof(value));
  return true;
}
}  // namespace

bool Packed::open(Form form, std::string bytes) {
  *this = Packed();
  form_ = form;
  bytes_ = std::move(bytes);
  rest_ = bytes_;
  uint32_t size = 0, tail, wide;
  uint16_t count = 0;
  uint8_t small;
  if (form == Form::kIntset) {
    if (!take(rest_, wide) || !take(rest_, size) || (wide != 2 && wide != 4 && wide != 8)) {
      return fail();
    }
    width_ = static_cast<uint8_t>(wide);
    count_ = size;
    counted_ = true;
    return rest_.size() == count_ * width_ || fail();
  }
  if (rest_.empty() || static_cast<uint8_t>(rest_.back()) != 0xff) return fail();
  if (form == Form::kZipmap) {
    if (!take(rest_, small) || rest_.empty()) return fail();
    count_ = uint64_t{2} * small;
    counted_ = small < 254;
  } else {
    if (!take(rest_, size) || size != bytes_.size()) return fail();
    if (form == Form::kZiplist && !take(rest_, tail)) return fail();
    if (!take(rest_, count) || rest_.empty()) return fail();
    count_ = count;
    counted_ = count != UINT16_MAX;
  }
  rest_.remove_suffix(1);
  return true;
}

bool Packed::next(Element& element) {
  if (broken_ || ended_) return false;
  if (rest_.empty()) {
    ended_ = !counted_ || seen_ == count_;
    broken_ = !ended_;
    return false;
  }
  seen_++;
  element.number.reset();
  switch (form_) {
    case Form::kListpack:
      return next_of_listpack(element);
    case Form::kZiplist:
      return next_of_ziplist(element);
    case Form::kIntset:
      return next_of_intset(element);
    case Form::kZipmap:
      return next_of_zipmap(element);
  }
  return false;
}

bool Packed::number(int64_t& n) {
  Element e;
  if (!next(e) || !e.number) return fail();
  n = *e.number;
  return true;
}

void Packed::set(Element& element, int64_t number) {
  element.number = number;
  const auto end = std::to_chars(digits_.data(), digits_.data() + digits_.size(), number).ptr;
  element.text = {digits_.data(), static_cast<size_t>(end - digits_.data())};
}

bool Packed::take_text(uint64_t n, Element& element) {
  if (n > rest_.size()) return fail();
  element.text = rest_.substr(0, n);
  rest_.remove_prefix(n);
  return true;
}

// Of so many bytes, in the lowest ones of T.
template <class T>
bool Packed::take_number(Element& element, size_t bytes) {
  if (bytes > rest_.size()) return fail();
  T value{};
  std::memcpy(reinterpret_cast<char*>(&value) + sizeof(T) - bytes, rest_.data(), bytes);
  rest_.remove_prefix(bytes);
  set(element, value >> (8 * (sizeof(T) - bytes)));
  return true;
}

bool Packed::next_of_listpack(Element& element) {
  const char* begin = rest_.data();
  const auto head = static_cast<uint8_t>(rest_[0]);
  rest_.remove_prefix(1);
  uint8_t low;
  uint32_t size;
  bool taken;
  if (head < 0x80) {
    set(element, head);
    taken = true;
  } else if (head < 0xc0) {
    taken = take_text(head & 63, element);
  } else if (head < 0xe0) {
    taken = take(rest_, low);
    if (taken) set(element, static_cast<int16_t>(((head & 31) << 8 | low) << 3) >> 3);
  } else if (head < 0xf0) {
    taken = take(rest_, low) && take_text((head & 15U) << 8 | low, element);
  } else if (head == 0xf0) {
    taken = take(rest_, size) && take_text(size, element);
  } else if (head == 0xf1) {
    taken = take_number<int16_t>(element);
  } else if (head == 0xf2) {
    taken = take_number<int32_t>(element, 3);
  } else if (head == 0xf3) {
    taken = take_number<int32_t>(element);
  } else {
    taken = head == 0xf4 && take_number<int64_t>(element);
  }
  if (!taken) return fail();
  const auto n = static_cast<uint64_t>(rest_.data() - begin);
  constexpr uint64_t kSteps[] = {128, 16383, 2097151, 268435455};
  size_t bytes = 1;
  for (uint64_t step : kSteps) bytes += n >= step;
  if (bytes > rest_.size()) return fail();
  uint64_t said = 0;
  for (size_t i = 0; i < bytes; i++) said = said << 7 | (static_cast<uint8_t>(rest_[i]) & 127);
  rest_.remove_prefix(bytes);
  return said == n || fail();
}

bool Packed::next_of_ziplist(Element& element) {
  const char* begin = rest_.data();
  uint8_t head, low;
  uint32_t size;
  if (!take(rest_, head)) return fail();
  uint64_t before = head;
  if (head == 254) {
    if (!take(rest_, size)) return fail();
    before = size;
  }
  if (head == 255 || before != before_ || !take(rest_, head)) return fail();
  bool taken;
  if (head < 0x40) {
    taken = take_text(head, element);
  } else if (head < 0x80) {
    taken = take(rest_, low) && take_text((head & 63U) << 8 | low, element);
  } else if (head == 0x80) {
    taken = take(rest_, size) && take_text(big_endian(size), element);
  } else if (head == 0xc0) {
    taken = take_number<int16_t>(element);
  } else if (head == 0xd0) {
    taken = take_number<int32_t>(element);
  } else if (head == 0xe0) {
    taken = take_number<int64_t>(element);
  } else if (head == 0xf0) {
    taken = take_number<int32_t>(element, 3);
  } else if (head == 0xfe) {
    taken = take_number<int8_t>(element);
  } else {
    taken = head > 0xf0 && head < 0xfe;
    set(element, head - 0xf1);
  }
  before_ = static_cast<uint64_t>(rest_.data() - begin);
  return taken || fail();
}

bool Packed::next_of_intset(Element& element) {
  const bool taken = width_ == 2   ? take_number<int16_t>(element)
                     : width_ == 4 ? take_number<int32_t>(element)
                                   : take_number<int64_t>(element);
  if (!taken || (last_ && *element.number <= *last_)) return fail();  // in order, each once
  last_ = element.number;
  return true;
}

bool Packed::take_zipmap_length(uint64_t& n) {
  uint8_t small;
  uint32_t large;
  if (!take(rest_, small) || small == 255) return fail();
  n = small;
  if (small < 254) return true;
  if (!take(rest_, large)) return fail();
  n = large;
  return true;
}

// Names and values in turn; behind a value there may be room that is not used.
bool Packed::next_of_zipmap(Element& element) {
  uint64_t n;
  uint8_t unused = 0;
  if (!take_zipmap_length(n)) return false;
  const bool is_value = seen_ % 2 == 0;
  if (is_value && !take(rest_, unused)) return fail();
  if (!take_text(n, element)) return false;
  if (unused > rest_.size()) return fail();
  rest_.remove_prefix(unused);
  return true;
}

}  // namespace cairn::kv::rdb
