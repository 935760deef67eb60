// The bitmap commands. Bit 0 is the most significant bit of the first byte.
#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/text.h"
#include "kv/commands/blob_edit.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

constexpr int64_t kBitsMax = int64_t{1} << 32;  // as Redis: 512 MB of them

bool bit_offset(Context& c, std::string_view word, int64_t& offset, unsigned bits = 0) {
  bool multiply = bits != 0 && !word.empty() && word[0] == '#';
  auto parsed = parse_ll(multiply ? word.substr(1) : word);
  const int64_t max = static_cast<int64_t>(
      std::min<uint64_t>(c.engine.server().proto_max_bulk_len, INT64_MAX / 8) * 8);
  if (!parsed || *parsed < 0 || __builtin_mul_overflow(*parsed, multiply ? bits : 1, &offset) ||
      offset >= std::max(max, kBitsMax)) {
    c.reply.error("ERR bit offset is not an integer or out of range");
    return false;
  }
  return true;
}

int get_bit(std::string_view bytes, uint64_t offset) {
  uint64_t byte = offset / 8;
  if (byte >= bytes.size()) return 0;
  return (static_cast<uint8_t>(bytes[byte]) >> (7 - offset % 8)) & 1;
}

void put_bit(std::string& bytes, uint64_t offset, int bit) {
  auto mask = static_cast<char>(1 << (7 - offset % 8));
  char& byte = bytes[offset / 8];
  byte = static_cast<char>(bit ? byte | mask : byte & ~mask);
}

bool parse_bit(Context& c, std::string_view word, int& bit) {
  if (word != "0" && word != "1") {
    c.reply.error("ERR bit is not an integer or out of range");
    return false;
  }
  bit = word[0] - '0';
  return true;
}

void setbit(Context& c) {
  int64_t offset;
  int bit;
  if (!bit_offset(c, c.args[2], offset) || !parse_bit(c, c.args[3], bit)) return;
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  auto byte = static_cast<uint64_t>(offset) / 8;
  if ((e != nullptr && e->is_blob()) || byte >= c.store.options().extent_threshold)
    return c.defer();
  std::string value(e == nullptr ? std::string_view() : e->value());
  int old = get_bit(value, static_cast<uint64_t>(offset));
  if (value.size() <= byte) value.resize(byte + 1);
  put_bit(value, static_cast<uint64_t>(offset), bit);
  bool put = e == nullptr ? c.put_string(c.args[1], value, 0) : put_edited(c, e, value);
  if (put) c.reply.integer(old);
}

awaitable<void> setbit_deferred(Context& c) {
  auto offset = static_cast<uint64_t>(*parse_ll(c.args[2]));
  int bit = c.args[3][0] - '0', old = 0;
  BlobEdit edit;
  edit.offset = offset / 8;
  edit.length = 1;
  edit.change = [&](std::string& byte) {
    old = get_bit(byte, offset % 8);
    put_bit(byte, offset % 8, bit);
  };
  auto done = co_await edit_blob(c, c.args[1], edit);
  if (done) c.reply.integer(old);
}

void getbit(Context& c) {
  int64_t offset;
  if (!bit_offset(c, c.args[2], offset)) return;
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (e == nullptr) return c.reply.integer(0);
  if (e->is_blob()) return c.defer();
  c.reply.integer(get_bit(e->value(), static_cast<uint64_t>(offset)));
}

awaitable<void> getbit_deferred(Context& c) {
  auto offset = static_cast<uint64_t>(*parse_ll(c.args[2]));
  auto value = co_await hold_value(c, c.args[1]);
  if (!value) co_return;
  auto byte = co_await read_held(c, *value, offset / 8, 1);
  if (!byte.ok()) co_return c.status_error(byte.status());
  c.reply.integer(get_bit(*byte, offset % 8));
}

uint64_t count_bits(std::string_view bytes) {
  uint64_t n = 0;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    n += static_cast<uint64_t>(std::popcount(word));
  }
  for (; i < bytes.size(); i++) {
    n += static_cast<uint64_t>(std::popcount(static_cast<uint8_t>(bytes[i])));
  }
  return n;
}

// A range of bits, first to last, from words that count bytes or bits and may be negative.
struct BitRange {
  int64_t first = 0, last = -1;
  bool empty() const { return first > last; }
};

bool parse_range(Context& c, size_t from, uint64_t size_bytes, BitRange& out) {
  int64_t start = 0, end = -1;
  bool bits = false;
  const size_t n = c.args.size();
  if (n > from + 3) return c.syntax_error(), false;
  const bool position = from == 3;  // BITPOS looks at the unit before it looks at the end
  if (n > from && !c.integer(from, start)) return false;
  if (!position && n > from + 1 && !c.integer(from + 1, end)) return false;
  if (n > from + 2) {
    if (equals_ignoring_case(c.args[from + 2], "bit")) {
      bits = true;
    } else if (!equals_ignoring_case(c.args[from + 2], "byte")) {
      return c.syntax_error(), false;
    }
  }
  if (position && n > from + 1 && !c.integer(from + 1, end)) return false;
  auto size = static_cast<int64_t>(bits ? size_bytes * 8 : size_bytes);
  // BITCOUNT, not BITPOS, takes a range that is backwards as written for empty.
  if (!position && start < 0 && end < 0 && start > end) return true;
  if (start < 0) start = std::max<int64_t>(0, start + size);
  if (end < 0) end = std::max<int64_t>(0, end + size);
  end = std::min(end, size - 1);
  if (start > end) return true;
  out.first = bits ? start : start * 8;
  out.last = bits ? end : end * 8 + 7;
  return true;
}

// Bits that are set in [first, last] of a stretch of bytes that begins at bit `base`.
uint64_t count_in(std::string_view bytes, int64_t base, const BitRange& r) {
  int64_t first = std::max(r.first - base, int64_t{0});
  int64_t last = std::min(r.last - base, static_cast<int64_t>(bytes.size()) * 8 - 1);
  if (first > last) return 0;
  uint64_t n = count_bits(
      bytes.substr(static_cast<size_t>(first / 8), static_cast<size_t>(last / 8 - first / 8 + 1)));
  for (int64_t i = first / 8 * 8; i < first; i++) n -= get_bit(bytes, static_cast<uint64_t>(i));
  for (int64_t i = last + 1; i < last / 8 * 8 + 8; i++) {
    n -= get_bit(bytes, static_cast<uint64_t>(i));
  }
  return n;
}

void bitcount(Context& c) {
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (e == nullptr) return c.reply.integer(0);  // before the arguments are looked at, as Redis 7.0
  if (c.args.size() == 3) return c.syntax_error();
  BitRange range;
  if (!parse_range(c, 2, value_length(e), range)) return;
  if (range.empty()) return c.reply.integer(0);
  if (e->is_blob()) return c.defer();
  c.reply.integer(static_cast<int64_t>(count_in(e->value(), 0, range)));
}

// Streams the bytes of a held value that cover `range` to fn(bytes, first bit); fn returns false
// to stop. False after an error was answered.
awaitable<bool> scan_held(Context& c, const HeldValue& v, const BitRange& range,
                          std::function<bool(std::string_view, int64_t)> fn) {
  auto from = static_cast<uint64_t>(range.first / 8);
  auto to = std::min(static_cast<uint64_t>(range.last / 8) + 1, v.size());
  if (!v.blob) {
    fn(std::string_view(v.inline_bytes).substr(from, to - from), static_cast<int64_t>(from * 8));
    co_return true;
  }
  BlobReader reader(c.store.extents(), *v.blob, from, to - from);
  while (reader.left() > 0) {
    auto bytes = co_await reader.next();
    if (!bytes.ok()) {
      c.status_error(bytes.status());
      co_return false;
    }
    if (!fn(as_text(*bytes), static_cast<int64_t>(from * 8))) break;
    from += bytes->size();
  }
  co_return true;
}

awaitable<void> bitcount_deferred(Context& c) {
  auto held = co_await hold_value(c, c.args[1]);
  if (!held) co_return;
  const HeldValue& v = *held;
  BitRange range;
  if (!parse_range(c, 2, v.size(), range)) co_return;
  uint64_t n = 0;
  if (!range.empty()) {
    std::function<bool(std::string_view, int64_t)> fn = [&](std::string_view bytes, int64_t base) {
      n += count_in(bytes, base, range);
      return true;
    };
    bool done = co_await scan_held(c, v, range, fn);
    if (!done) co_return;
  }
  c.reply.integer(static_cast<int64_t>(n));
}

// First position of `bit` in [first, last] of the bytes that begin at bit `base`, or -1.
int64_t find_in(std::string_view bytes, int64_t base, const BitRange& r, int bit) {
  int64_t first = std::max(r.first - base, int64_t{0});
  int64_t last = std::min(r.last - base, static_cast<int64_t>(bytes.size()) * 8 - 1);
  const char skip = bit ? '\0' : '\xff';
  for (int64_t i = first; i <= last;) {
    if (i % 8 == 0 && i + 8 <= last && bytes[static_cast<size_t>(i / 8)] == skip) {
      i += 8;
      continue;
    }
    if (get_bit(bytes, static_cast<uint64_t>(i)) == bit) return base + i;
    i++;
  }
  return -1;
}

// Redis: looking for 0 without an end, in a value of ones, the bit after the value is the answer.
int64_t bitpos_miss(Context& c, int bit, uint64_t size) {
  return bit == 0 && c.args.size() < 5 ? static_cast<int64_t>(size * 8) : -1;
}

void bitpos(Context& c) {
  int bit;
  auto parsed = parse_ll(c.args[2]);
  if (!parsed) return c.reply.error("ERR value is not an integer or out of range");
  if (*parsed != 0 && *parsed != 1) return c.reply.error("ERR The bit argument must be 1 or 0.");
  bit = static_cast<int>(*parsed);
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (e == nullptr) return c.reply.integer(bit == 1 ? -1 : 0);
  BitRange range;
  if (!parse_range(c, 3, value_length(e), range)) return;
  if (range.empty()) return c.reply.integer(-1);
  if (e->is_blob()) return c.defer();
  int64_t at = find_in(e->value(), 0, range, bit);
  c.reply.integer(at >= 0 ? at : bitpos_miss(c, bit, e->value_size));
}

awaitable<void> bitpos_deferred(Context& c) {
  int bit = c.args[2] == "1";
  auto held = co_await hold_value(c, c.args[1]);
  if (!held) co_return;
  const HeldValue& v = *held;
  if (!v.exists) co_return c.reply.integer(bit == 1 ? -1 : 0);
  BitRange range;
  if (!parse_range(c, 3, v.size(), range)) co_return;
  int64_t at = -1;
  if (!range.empty()) {
    std::function<bool(std::string_view, int64_t)> fn = [&](std::string_view bytes, int64_t base) {
      at = find_in(bytes, base, range, bit);
      return at < 0;
    };
    bool done = co_await scan_held(c, v, range, fn);
    if (!done) co_return;
  }
  c.reply.integer(at >= 0 || range.empty() ? at : bitpos_miss(c, bit, v.size()));
}

enum class Op { kAnd, kOr, kXor, kNot };

bool parse_op(Context& c, Op& op) {
  for (auto [name, value] : {std::pair("and", Op::kAnd), std::pair("or", Op::kOr),
                             std::pair("xor", Op::kXor), std::pair("not", Op::kNot)}) {
    if (!equals_ignoring_case(c.args[1], name)) continue;
    op = value;
    if (op == Op::kNot && c.args.size() != 4) {
      c.reply.error("ERR BITOP NOT must be called with a single source key.");
      return false;
    }
    return true;
  }
  c.syntax_error();
  return false;
}

// `sum` and the next source, both padded with zeros to the same length.
void combine(Op op, std::string& sum, std::string_view next) {
  for (size_t i = 0; i < sum.size(); i++) {
    char x = i < next.size() ? next[i] : '\0';
    if (op == Op::kAnd) sum[i] = static_cast<char>(sum[i] & x);
    if (op == Op::kOr) sum[i] = static_cast<char>(sum[i] | x);
    if (op == Op::kXor) sum[i] = static_cast<char>(sum[i] ^ x);
  }
}

void bitop(Context& c) {
  Op op;
  if (!parse_op(c, op)) return;
  size_t longest = 0;
  bool in_extents = false;
  for (size_t i = 3; i < c.args.size(); i++) {
    Entry* e;
    if (!c.find(c.args[i], ValueType::kString, e)) return;
    if (e == nullptr) continue;
    in_extents |= e->is_blob();
    longest = std::max<size_t>(longest, e->value_size);
  }
  if (in_extents) return c.defer();
  std::string sum;
  for (size_t i = 3; i < c.args.size(); i++) {
    Entry* e = c.find(c.args[i]);
    std::string_view value = e == nullptr ? std::string_view() : e->value();
    if (i == 3) {
      sum = value;
      sum.resize(longest);
    } else {
      combine(op, sum, value);
    }
  }
  if (op == Op::kNot) {
    for (char& x : sum) x = static_cast<char>(~x);
  }
  if (longest == 0) {
    Entry* to = c.find(c.args[2]);
    if (to != nullptr && !c.remove(c.ns(), to)) return;
  } else if (!c.put_string(c.args[2], sum, 0)) {
    return;
  }
  c.reply.integer(static_cast<int64_t>(longest));
}

// The result over what all sources were at one moment.
awaitable<StatusOr<BlobRef>> combine_held(Context& c, Op op, const std::vector<HeldValue>& sources,
                                          uint64_t longest) {
  BlobWriter writer(c.store.extents(), longest);
  for (uint64_t at = 0; at < longest; at += kExtentBlockBytes) {
    const uint64_t n = std::min<uint64_t>(kExtentBlockBytes, longest - at);
    std::string sum;
    for (size_t i = 0; i < sources.size(); i++) {
      auto bytes = co_await read_held(c, sources[i], at, n);
      if (!bytes.ok()) co_return bytes.status();
      if (i == 0) {
        sum = std::move(*bytes);
        sum.resize(n);
      } else {
        combine(op, sum, *bytes);
      }
    }
    if (op == Op::kNot) {
      for (char& x : sum) x = static_cast<char>(~x);
    }
    Status added = co_await writer.append(as_bytes(sum));
    if (!added.ok()) co_return added;
  }
  co_return co_await writer.finish();
}

bool same_as_held(Context& c, const std::vector<HeldValue>& sources) {
  for (size_t i = 0; i < sources.size(); i++) {
    Entry* e = c.find(c.args[i + 3]);
    if ((e == nullptr ? Lsn() : e->version()) != sources[i].version) return false;
  }
  return true;
}

bool put_blob(Context& c, std::string_view key, const BlobRef& blob) {
  std::string encoded = blob.encode();
  RecordView r;
  r.ns = c.ns().id;
  r.key = key;
  r.value = encoded;
  r.flags = kRecordIsBlob;
  return c.put(c.ns(), r);
}

awaitable<void> bitop_deferred(Context& c) {
  Op op;
  if (!parse_op(c, op)) co_return;
  std::vector<std::string_view> names;
  std::vector<KeyHash> hashes{c.ns().hash(c.args[2])};
  for (size_t i = 3; i < c.args.size(); i++) {
    names.push_back(c.args[i]);
    hashes.push_back(c.ns().hash(c.args[i]));
  }
  for (;;) {  // until nobody changed a source meanwhile
    auto held = co_await hold_values(c, names);
    if (!held) co_return;
    uint64_t longest = 0;
    for (auto& v : *held) longest = std::max(longest, v.size());
    auto blob = co_await combine_held(c, op, *held, longest);
    if (!blob.ok()) co_return c.status_error(blob.status());
    StripeLocks lock(c.store);
    lock.lock(hashes);
    Context::Turn turn(c, lock);
    const bool same = same_as_held(c, *held);
    bool done = false;
    if (same && longest > 0) done = put_blob(c, c.args[2], *blob);
    if (!done) c.store.extents().unref(*blob);
    if (same && longest == 0) {
      Entry* to = c.find(c.args[2]);
      done = to == nullptr || c.remove(c.ns(), to);
    }
    if (done) c.reply.integer(static_cast<int64_t>(longest));
    if (same) co_return;
  }
}

// ---- BITFIELD ----

enum class Overflow { kWrap, kSat, kFail };
struct Field {
  enum Kind { kGet, kSet, kIncr } kind;
  bool is_signed;
  unsigned bits;
  uint64_t offset;
  int64_t value;
  Overflow overflow;
};

uint64_t read_field(std::string_view bytes, uint64_t offset, unsigned bits) {
  uint64_t v = 0;
  for (unsigned i = 0; i < bits; i++) {
    v = v << 1 | static_cast<uint64_t>(get_bit(bytes, offset + i));
  }
  return v;
}
void write_field(std::string& bytes, uint64_t offset, unsigned bits, uint64_t v) {
  for (unsigned i = 0; i < bits; i++) {
    put_bit(bytes, offset + i, (v >> (bits - 1 - i)) & 1);
  }
}
int64_t sign_extend(uint64_t v, unsigned bits) {
  if (bits < 64 && (v >> (bits - 1)) & 1) v |= ~uint64_t{0} << bits;
  return static_cast<int64_t>(v);
}

bool parse_fields(Context& c, bool read_only, std::vector<Field>& fields) {
  Overflow overflow = Overflow::kWrap;
  for (size_t i = 2; i < c.args.size();) {
    std::string_view word = c.args[i];
    if (equals_ignoring_case(word, "overflow") && i + 1 < c.args.size()) {
      std::string_view how = c.args[i + 1];
      if (equals_ignoring_case(how, "wrap")) {
        overflow = Overflow::kWrap;
      } else if (equals_ignoring_case(how, "sat")) {
        overflow = Overflow::kSat;
      } else if (equals_ignoring_case(how, "fail")) {
        overflow = Overflow::kFail;
      } else {
        c.reply.error("ERR Invalid OVERFLOW type specified");
        return false;
      }
      i += 2;
      continue;
    }
    Field f{};
    f.overflow = overflow;
    size_t need = 3;
    if (equals_ignoring_case(word, "get")) {
      f.kind = Field::kGet;
    } else if (equals_ignoring_case(word, "set")) {
      f.kind = Field::kSet;
      need = 4;
    } else if (equals_ignoring_case(word, "incrby")) {
      f.kind = Field::kIncr;
      need = 4;
    } else {
      return c.syntax_error(), false;
    }
    if (i + need > c.args.size()) return c.syntax_error(), false;
    std::string_view type = c.args[i + 1];
    auto bits = type.size() > 1 ? parse_ll(type.substr(1)) : std::nullopt;
    f.is_signed = !type.empty() && type[0] == 'i';
    const bool is_unsigned = !type.empty() && type[0] == 'u';
    if ((!f.is_signed && !is_unsigned) || !bits || *bits < 1 || *bits > (f.is_signed ? 64 : 63)) {
      c.reply.error(
          "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported "
          "but i64 is.");
      return false;
    }
    f.bits = static_cast<unsigned>(*bits);
    int64_t offset;
    if (!bit_offset(c, c.args[i + 2], offset, f.bits)) return false;
    f.offset = static_cast<uint64_t>(offset);
    if (need == 4 && !c.integer(i + 3, f.value)) return false;
    fields.push_back(f);
    i += need;
  }
  // Redis looks at this once all is parsed.
  if (read_only && std::any_of(fields.begin(), fields.end(),
                               [](const Field& f) { return f.kind != Field::kGet; })) {
    c.reply.error("ERR BITFIELD_RO only supports the GET subcommand");
    return false;
  }
  return true;
}

// The new value of a field, or nothing if it overflows under FAIL.
std::optional<uint64_t> field_result(const Field& f, uint64_t old) {
  const uint64_t mask = f.bits == 64 ? ~uint64_t{0} : (uint64_t{1} << f.bits) - 1;
  if (f.is_signed) {
    const int64_t max = static_cast<int64_t>(mask >> 1), min = -max - 1;
    int64_t base = f.kind == Field::kIncr ? sign_extend(old, f.bits) : 0;
    int64_t sum;
    bool over = __builtin_add_overflow(base, f.value, &sum);
    bool up = over ? f.value > 0 : sum > max;
    bool down = over ? f.value < 0 : sum < min;
    if (up || down) {
      if (f.overflow == Overflow::kFail) return std::nullopt;
      if (f.overflow == Overflow::kSat) return static_cast<uint64_t>(up ? max : min) & mask;
      sum = static_cast<int64_t>(static_cast<uint64_t>(base) + static_cast<uint64_t>(f.value));
    }
    return static_cast<uint64_t>(sum) & mask;
  }
  const __int128 sum =
      (f.kind == Field::kIncr ? static_cast<__int128>(old) : 0) +
      (f.kind == Field::kIncr ? static_cast<__int128>(f.value)
                              : static_cast<__int128>(static_cast<uint64_t>(f.value)));
  if (sum > static_cast<__int128>(mask) || sum < 0) {
    if (f.overflow == Overflow::kFail) return std::nullopt;
    if (f.overflow == Overflow::kSat) return sum < 0 ? 0 : mask;
  }
  return static_cast<uint64_t>(sum) & mask;
}

// Runs the fields over `bytes`, which begin at bit `base` of the value; answers all.
void run_fields(Context& c, const std::vector<Field>& fields, std::string& bytes, uint64_t base) {
  c.reply.array(fields.size());
  for (const Field& f : fields) {
    uint64_t old = read_field(bytes, f.offset - base, f.bits);
    auto as_reply = [&](uint64_t v) {
      c.reply.integer(f.is_signed ? sign_extend(v, f.bits) : static_cast<int64_t>(v));
    };
    if (f.kind == Field::kGet) {
      as_reply(old);
      continue;
    }
    auto result = field_result(f, old);
    if (!result) {
      c.reply.null();
      continue;
    }
    write_field(bytes, f.offset - base, f.bits, *result);
    as_reply(f.kind == Field::kSet ? old : *result);
  }
}

uint64_t fields_end_bytes(const std::vector<Field>& fields, bool writes_only) {
  uint64_t end = 0;
  for (const Field& f : fields) {
    if (!writes_only || f.kind != Field::kGet) end = std::max(end, (f.offset + f.bits + 7) / 8);
  }
  return end;
}

void bitfield_with(Context& c, bool read_only) {
  std::vector<Field> fields;
  if (!parse_fields(c, read_only, fields)) return;
  Entry* e;
  if (!c.find(c.args[1], ValueType::kString, e)) return;
  if (fields.empty()) return c.reply.array(0);
  const uint64_t end = fields_end_bytes(fields, true);
  if ((e != nullptr && e->is_blob()) || end > c.store.options().extent_threshold) return c.defer();
  std::string value(e == nullptr ? std::string_view() : e->value());
  if (value.size() < end) value.resize(end);
  run_fields(c, fields, value, 0);
  if (end == 0) return;
  if (e == nullptr) {
    c.put_string(c.args[1], value, 0);
  } else {
    put_edited(c, e, value);
  }
}
void bitfield(Context& c) { bitfield_with(c, false); }
void bitfield_ro(Context& c) { bitfield_with(c, true); }

awaitable<void> bitfield_deferred(Context& c) {
  std::vector<Field> fields;
  if (!parse_fields(c, false, fields)) co_return;
  // The stretch of bytes that all fields together cover.
  uint64_t first = UINT64_MAX;
  for (const Field& f : fields) first = std::min(first, f.offset / 8);
  const uint64_t end = fields_end_bytes(fields, false);
  constexpr uint64_t kStretchMax = 4 << 20;
  if (end - first > kStretchMax) {
    co_return c.reply.error(
        "ERR the fields of one BITFIELD on a value in extents lie too far apart");
  }
  if (fields_end_bytes(fields, true) == 0) {
    auto value = co_await hold_value(c, c.args[1]);
    if (!value) co_return;
    auto bytes = co_await read_held(c, *value, first, end - first);
    if (!bytes.ok()) co_return c.status_error(bytes.status());
    run_fields(c, fields, *bytes, first * 8);
    co_return;
  }
  // A retry would answer twice, so the answers are gathered in the last attempt only.
  BlobEdit edit;
  edit.offset = first;
  edit.length = end - first;
  std::string before;
  edit.change = [&](std::string& bytes) {
    before = bytes;
    for (const Field& f : fields) {
      if (f.kind == Field::kGet) continue;
      auto result = field_result(f, read_field(bytes, f.offset - first * 8, f.bits));
      if (result) write_field(bytes, f.offset - first * 8, f.bits, *result);
    }
  };
  auto done = co_await edit_blob(c, c.args[1], edit);
  if (done) run_fields(c, fields, before, first * 8);
}

constexpr std::string_view kGroup = "bitmap";
constexpr KeySpec kBitop[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly, .first = 2},
                              {.flags = kKeyReadOnly | kKeyAccess, .first = 3, .last = -1}};
constexpr KeySpec kBitfield[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyUpdate | kKeyVariable,
                                  .unless_from = 2,
                                  .unless = {"set", "incrby"},
                                  .otherwise = kKeyReadOnly | kKeyAccess}};
constexpr Row kRows[] = {
    {"setbit", 4, kWrite | kDenyOom, kChangesKey, setbit, setbit_deferred, kGroup,
     "Sets or clears the bit at offset of the string value.", "2.2.0"},
    {"getbit", 3, kReadOnly | kFast, kReadsKey, getbit, getbit_deferred, kGroup,
     "Returns a bit value by offset.", "2.2.0"},
    {"bitcount", -2, kReadOnly, kReadsKey, bitcount, bitcount_deferred, kGroup,
     "Counts the number of set bits (population counting) in a string.", "2.6.0"},
    {"bitpos", -3, kReadOnly, kReadsKey, bitpos, bitpos_deferred, kGroup,
     "Finds the first set (1) or clear (0) bit in a string.", "2.8.7"},
    {"bitop", -4, kWrite | kDenyOom, kBitop, bitop, bitop_deferred, kGroup,
     "Performs bitwise operations on multiple strings, and stores the result.", "2.6.0"},
    {"bitfield", -2, kWrite | kDenyOom, kBitfield, bitfield, bitfield_deferred, kGroup,
     "Performs arbitrary bitfield integer operations on strings.", "3.2.0"},
    {"bitfield_ro", -2, kReadOnly | kFast, kReadsKey, bitfield_ro, bitfield_deferred, kGroup,
     "Performs arbitrary read-only bitfield integer operations on strings.", "6.0.0"},
};

}  // namespace
std::span<const Row> bit_rows() { return kRows; }

}  // namespace cairn::kv
