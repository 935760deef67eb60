#include "kv/script/function_dump.h"

#include <array>
#include <cstdint>

#include "kv/script/functions.h"

namespace cairn::kv {
namespace {

constexpr uint8_t kLibrary = 0xF5;
constexpr uint16_t kVersionWritten = 10, kVersionMax = 12;
constexpr size_t kEndBytes = 10;

// CRC-64 of Jones, which Redis has.
uint64_t crc64(std::string_view bytes) {
  static const auto table = [] {
    std::array<uint64_t, 256> t{};
    for (uint64_t i = 0; i < t.size(); i++) {
      uint64_t crc = i;
      for (int bit = 0; bit < 8; bit++) {
        crc = (crc & 1) != 0 ? crc >> 1 ^ 0x95AC9329AC4BC9B5ULL : crc >> 1;
      }
      t[i] = crc;
    }
    return t;
  }();
  uint64_t crc = 0;
  for (char c : bytes) crc = table[(crc ^ static_cast<uint8_t>(c)) & 0xFF] ^ crc >> 8;
  return crc;
}

void add_little(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) out += static_cast<char>(value >> (8 * i) & 0xFF);
}
uint64_t little(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void add_length(std::string& out, uint64_t n) {
  if (n < 1 << 6) {
    out += static_cast<char>(n);
  } else if (n < 1 << 14) {
    out += static_cast<char>(0x40 | n >> 8);
    out += static_cast<char>(n & 0xFF);
  } else {
    out += static_cast<char>(0x80);
    for (int i = 3; i >= 0; i--) out += static_cast<char>(n >> (8 * i) & 0xFF);
  }
}

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  bool empty() const { return in_.empty(); }
  std::optional<uint8_t> byte() {
    if (in_.empty()) return std::nullopt;
    const auto b = static_cast<uint8_t>(in_[0]);
    in_.remove_prefix(1);
    return b;
  }
  std::optional<std::string_view> take(uint64_t n) {
    if (n > in_.size()) return std::nullopt;
    const std::string_view bytes = in_.substr(0, n);
    in_.remove_prefix(n);
    return bytes;
  }
  // `special`: it is no length, but says what follows.
  std::optional<uint64_t> length(bool& special) {
    const auto first = byte();
    if (!first) return std::nullopt;
    special = *first >> 6 == 3;
    if (special || *first >> 6 == 0) return *first & 0x3F;
    if (*first >> 6 == 1) {
      const auto second = byte();
      if (!second) return std::nullopt;
      return uint64_t{*first & 0x3Fu} << 8 | *second;
    }
    if (*first != 0x80 && *first != 0x81) return std::nullopt;
    const auto bytes = take(*first == 0x80 ? 4 : 8);
    if (!bytes) return std::nullopt;
    uint64_t n = 0;
    for (char c : *bytes) n = n << 8 | static_cast<uint8_t>(c);
    return n;
  }
  std::optional<std::string> string() {
    constexpr uint64_t kCompressed = 3;
    bool special;
    const auto n = length(special);
    if (!n) return std::nullopt;
    if (!special) {
      const auto bytes = take(*n);
      if (!bytes || !take_room(bytes->size() + sizeof(std::string))) return std::nullopt;
      return std::string(*bytes);
    }
    if (*n != kCompressed) return std::nullopt;  // an integer is no library
    const auto packed = length(special);
    if (!packed || special) return std::nullopt;
    const auto whole = length(special);
    if (!whole || special || !take_room(*whole + sizeof(std::string))) return std::nullopt;
    const auto bytes = take(*packed);
    if (!bytes) return std::nullopt;
    return unpack(*bytes, *whole);
  }

 private:
  bool take_room(uint64_t bytes) {
    if (bytes > room_) return false;
    room_ -= bytes;
    return true;
  }
  // LZF: runs of literal bytes, and of what came before.
  static std::optional<std::string> unpack(std::string_view in, uint64_t size) {
    std::string out;
    out.reserve(size);
    const auto at = [&](size_t i) { return static_cast<uint8_t>(in[i]); };
    for (size_t i = 0; i < in.size();) {
      const size_t code = at(i++);
      if (code < 32) {
        const size_t n = code + 1;
        if (n > in.size() - i || n > size - out.size()) return std::nullopt;
        out.append(in.substr(i, n));
        i += n;
        continue;
      }
      size_t n = code >> 5;
      if (n == 7) {
        if (i >= in.size()) return std::nullopt;
        n += at(i++);
      }
      n += 2;
      if (i >= in.size()) return std::nullopt;
      const size_t back = ((code & 31) << 8 | at(i++)) + 1;
      if (back > out.size() || n > size - out.size()) return std::nullopt;
      for (size_t from = out.size() - back; n > 0; n--, from++) out += out[from];
    }
    return out.size() == size ? std::optional(std::move(out)) : std::nullopt;
  }

  std::string_view in_;
  uint64_t room_ = Functions::kBytesMax;  // for all sources together
};

}  // namespace

std::string dump_libraries(const std::vector<std::string_view>& sources) {
  std::string out;
  for (std::string_view source : sources) {
    out += static_cast<char>(kLibrary);
    add_length(out, source.size());
    out += source;
  }
  add_little(out, kVersionWritten, 2);
  add_little(out, crc64(out), 8);
  return out;
}

std::optional<std::vector<std::string>> read_libraries(std::string_view dump, bool& bad) {
  bad = false;
  if (dump.size() < kEndBytes) return std::nullopt;
  // Sources within the limit take no more, however they are written; beyond, no sum is made.
  if (dump.size() > 2 * Functions::kBytesMax) return bad = true, std::vector<std::string>();
  const std::string_view body = dump.substr(0, dump.size() - 8);
  if (little(dump.substr(dump.size() - kEndBytes, 2)) > kVersionMax ||
      little(dump.substr(dump.size() - 8)) != crc64(body)) {
    return std::nullopt;
  }
  std::vector<std::string> sources;
  Reader reader(dump.substr(0, dump.size() - kEndBytes));
  while (!reader.empty()) {
    const auto type = reader.byte();
    auto source = type == kLibrary ? reader.string() : std::nullopt;
    if (!source) return bad = true, std::vector<std::string>();
    sources.push_back(*std::move(source));
  }
  return sources;
}

}  // namespace cairn::kv
