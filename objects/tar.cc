#include "objects/tar.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/text.h"

namespace cairn::objects::tar {

namespace {

// The header of POSIX.1-1988: numbers are octal digits that end with NUL.
struct Header {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[6];
  char version[2];
  char user[32];
  char group[32];
  char major[8];
  char minor[8];
  char prefix[155];
  char rest[12];
};
static_assert(sizeof(Header) == kBlockBytes);

constexpr uint64_t kSizeMax = 077777777777;  // 8 GiB - 1

template <size_t N>
void octal(char (&field)[N], uint64_t n) {
  field[N - 1] = 0;
  for (size_t i = N - 1; i-- > 0; n >>= 3) field[i] = static_cast<char>('0' + (n & 7));
}

template <size_t N>
void copy(char (&field)[N], std::string_view text) {
  std::memcpy(field, text.data(), std::min(text.size(), N));
}

std::string block(std::string_view name, uint64_t size, int64_t modified_s, char type) {
  Header h{};
  copy(h.name, name);
  octal(h.mode, 0644);
  octal(h.uid, 0);
  octal(h.gid, 0);
  octal(h.size, std::min(size, kSizeMax));
  octal(h.mtime,
        std::min<uint64_t>(static_cast<uint64_t>(std::max<int64_t>(modified_s, 0)), kSizeMax));
  h.type = type;
  copy(h.magic, std::string_view("ustar\0", 6));
  copy(h.version, "00");
  octal(h.major, 0);
  octal(h.minor, 0);
  std::memset(h.checksum, ' ', sizeof(h.checksum));
  std::array<unsigned char, kBlockBytes> bytes;
  std::memcpy(bytes.data(), &h, kBlockBytes);
  uint64_t sum = 0;
  for (const unsigned char c : bytes) sum += c;
  char digits[7];
  octal(digits, sum);
  std::memcpy(h.checksum, digits, sizeof(digits));
  return {reinterpret_cast<const char*>(&h), sizeof(h)};
}

// "LENGTH KEYWORD=VALUE\n", where the length counts itself.
void add_record(std::string& out, std::string_view keyword, std::string_view value) {
  const size_t rest = keyword.size() + value.size() + 3;
  size_t length = rest + 1;
  while (cat(length).size() + rest != length) length = cat(length).size() + rest;
  append(out, length, " ", keyword, "=", value, "\n");
}

}  // namespace

std::string header(const Member& member) {
  std::string name(member.name);
  std::replace(name.begin(), name.end(), '\0', '?');
  const int64_t modified_s = member.modified_ms / 1000;
  std::string records;
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  // A name that ends with a slash would be a directory to old readers, of this header alone too.
  if (name.size() > sizeof(Header::name) || !plain) {
    add_record(records, "path", name);
  }
  if (member.size > kSizeMax) add_record(records, "size", cat(member.size));
  for (auto& [keyword, value] : member.records) add_record(records, keyword, value);
  std::string out;
  if (!records.empty()) {
    out = block("././@PaxHeader", records.size(), modified_s, 'x');
    records.append(padding(records.size()), '\0');
    out += records;
  }
  return out + block(name, member.size, modified_s, '0');
}

std::string end() { return std::string(2 * kBlockBytes, '\0'); }

}  // namespace cairn::objects::tar
