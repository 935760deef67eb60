// The pieces that Redis's serialization of values is made of: lengths, strings, and the packed
// forms (listpack, ziplist, intset, zipmap) in which it keeps what is small. A payload of DUMP is
//
//   payload = u8 type  body  u16 version  u64 crc64      all little-endian but lengths
//   length  = 00nnnnnn | 01nnnnnn u8 | 80 u32 | 81 u64   big-endian
//   string  = length bytes | c0 i8 | c1 i16 | c2 i32 | c3 length length LZF
//
// Bytes of a payload are hostile: nothing here reads outside of what it was given, and no length
// is believed before so much is there.
//
// Threads: one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::kv::rdb {

enum Type : uint8_t {
  kString = 0,
  kList = 1,
  kSet = 2,
  kZset = 3,
  kHash = 4,
  kZset2 = 5,
  kHashZipmap = 9,
  kListZiplist = 10,
  kSetIntset = 11,
  kZsetZiplist = 12,
  kHashZiplist = 13,
  kListQuicklist = 14,
  kStream = 15,
  kHashListpack = 16,
  kZsetListpack = 17,
  kListQuicklist2 = 18,
  kStream2 = 19,
  kSetListpack = 20,
  kStream3 = 21,
  kHashTimesEarly = 22,  // of 7.4's candidates
  kHashListpackTimesEarly = 23,
  kHashTimes = 24,
  kHashListpackTimes = 25,
};

inline constexpr uint16_t kVersionPlain = 10, kVersionTimes = 12, kVersionMax = 12;
inline constexpr size_t kFooterBytes = 10;

// CRC-64 of Jones, as Redis has it: a running value starts at 0 and is passed back in to continue.
uint64_t crc64(uint64_t running, std::string_view data);
// Closes a payload, whose bytes have this checksum so far.
std::string footer(uint16_t version, uint64_t crc);
// Of a footer, what the checksum of all before it and of the version must be; nothing for a version
// that is not known.
struct Footer {
  uint16_t version;
  uint64_t crc;
};
std::optional<Footer> take_footer(std::string_view bytes);

// ---- writing ----
template <class T>
void add_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
void add_length(std::string& out, uint64_t n);
void add_string(std::string& out, std::string_view s);  // integers as such, as Redis does
std::string score_text(double score);                   // 17 digits

class ListpackWriter {
 public:
  void add(std::string_view element);  // integers as such
  void add(int64_t element);
  // All of it, as the string of a body.
  std::string finish();
  size_t bytes() const { return out_.size(); }

 private:
  void end(size_t begin);
  std::string out_ = std::string(6, '\0');
  uint64_t count_ = 0;
};

// ---- reading ----

// What is there of a body; more may come. What could not be read is either `bad`, or there is too
// little of it.
struct Source {
  std::string_view rest;
  bool bad = false;
  bool too_long = false;  // a string is above what the caller takes

  bool take_byte(uint8_t& byte);
  template <class T>
  bool take_raw(T& value) {
    if (rest.size() < sizeof(value)) return false;
    __builtin_memcpy(&value, rest.data(), sizeof(value));
    rest.remove_prefix(sizeof(value));
    return true;
  }
  bool take_length(uint64_t& n);
  // `held` is where it lies if it is not in the source as it is.
  bool take_string(std::string_view& s, std::string& held, uint64_t bytes_max);
  bool take_bytes(uint64_t n, std::string_view& bytes);
  bool fail() { return bad = true, false; }

 private:
  bool take_length(uint64_t& n, bool& encoded);
};

// False if the bytes are no LZF of so many.
bool decompress_lzf(std::string_view in, uint64_t bytes, std::string& out);

// The elements of one of the packed forms, in turn.
class Packed {
 public:
  enum class Form : uint8_t { kListpack, kZiplist, kIntset, kZipmap };
  // False if the head, or the length, is none of this form.
  bool open(Form form, std::string bytes);
  struct Element {
    std::string_view text;          // also of a number; good until the next
    std::optional<int64_t> number;  // as which it is kept
  };
  bool next(Element& element);  // false at the end, or if it is broken
  bool number(int64_t& n);      // the next, which has to be one
  bool broken() const { return broken_; }
  bool at_end() const { return !broken_ && ended_; }
  void clear() { bytes_ = std::string(); }
  size_t bytes() const { return bytes_.capacity(); }

 private:
  bool fail() { return broken_ = true, false; }
  bool next_of_listpack(Element& element);
  bool next_of_ziplist(Element& element);
  bool next_of_intset(Element& element);
  bool next_of_zipmap(Element& element);
  bool take_text(uint64_t n, Element& element);
  template <class T>
  bool take_number(Element& element, size_t bytes = sizeof(T));
  void set(Element& element, int64_t number);
  bool take_zipmap_length(uint64_t& n);

  Form form_ = Form::kListpack;
  std::string bytes_;
  std::string_view rest_;  // without the mark at the end
  uint64_t count_ = 0, seen_ = 0;
  bool counted_ = false;  // the head says how many there are
  uint64_t before_ = 0;   // of a ziplist: how long the element before was
  uint8_t width_ = 0;     // of an intset
  std::optional<int64_t> last_;
  bool broken_ = false, ended_ = false;
  std::array<char, 24> digits_;
};

}  // namespace cairn::kv::rdb
