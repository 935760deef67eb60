// The bitmap commands. Bit 0 is the most significant bit of the first byte.
#include "kv/commands/bits.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "kv/commands/blob_edit.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

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
  if (goes_in_parts(c, e, byte + 1)) return;
  const auto text = text_at_once(c, e, byte + 1);
  if (!text) return;
  Scratch room;
  std::string& value = room.text.assign(*text);
  int old = get_bit(value, static_cast<uint64_t>(offset));
  if (byte < value.size() && old == bit) return c.reply.integer(old);  // nothing was changed
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
  if (goes_in_parts(c, e)) return;
  if (const auto text = text_at_once(c, e)) {
    c.reply.integer(get_bit(*text, static_cast<uint64_t>(offset)));
  }
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
  if (goes_in_parts(c, e)) return;
  if (const auto text = text_at_once(c, e)) {
    c.reply.integer(static_cast<int64_t>(count_in(*text, 0, range)));
  }
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
  if (goes_in_parts(c, e)) return;
  const auto text = text_at_once(c, e);
  if (!text) return;
  const int64_t at = find_in(*text, 0, range, bit);
  c.reply.integer(at >= 0 ? at : bitpos_miss(c, bit, text->size()));
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
template <class Word>
void combine_as(Op op, std::string& sum, std::string_view next, size_t& i) {
  for (; i + sizeof(Word) <= std::min(sum.size(), next.size()); i += sizeof(Word)) {
    Word x, y;
    std::memcpy(&x, sum.data() + i, sizeof(x));
    std::memcpy(&y, next.data() + i, sizeof(y));
    x = static_cast<Word>(op == Op::kAnd ? x & y : op == Op::kOr ? x | y : x ^ y);
    std::memcpy(sum.data() + i, &x, sizeof(x));
  }
}
void combine(Op op, std::string& sum, std::string_view next) {
  size_t i = 0;
  combine_as<uint64_t>(op, sum, next, i);
  combine_as<uint8_t>(op, sum, next, i);
  if (op == Op::kAnd && i < sum.size())
    std::fill(sum.begin() + static_cast<ptrdiff_t>(i), sum.end(), '\0');
}

// What BITOP is made of. A key that is named again changes nothing, but that of XOR two cancel each
// other: of such a one its length alone counts.
struct Sources {
  std::vector<std::string_view> keys;  // each once
  std::vector<bool> cancelled;

  Sources(const Context& c, Op op) {
    absl::flat_hash_map<std::string_view, size_t> places;
    for (size_t i = 3; i < c.args.size(); i++) {
      auto [place, first] = places.try_emplace(c.args[i], keys.size());
      if (first) {
        keys.push_back(c.args[i]);
        cancelled.push_back(false);
      } else if (op == Op::kXor) {
        cancelled[place->second] = !cancelled[place->second];
      }
    }
  }
};

// The sources so far, combined.
struct Sum {
  bool any = false;
  std::string bytes;

  void add(Op op, bool cancelled, std::string_view value) {
    const bool first = !std::exchange(any, true);
    if (first && !cancelled) {
      bytes = value;
      return;
    }
    bytes.resize(std::max(bytes.size(), value.size()));
    if (!cancelled) combine(op, bytes, value);
  }
};

void bitop(Context& c) {
  Op op;
  if (!parse_op(c, op)) return;
  const Sources sources(c, op);
  std::vector<const Entry*> entries;
  const Entry* in_extents = nullptr;
  for (size_t i = 3; i < c.args.size(); i++) {
    Entry* e;
    if (!c.find(c.args[i], ValueType::kString, e)) return;
    // One that is named again is missed again, and is the same.
    const size_t next = entries.size();
    if (next == sources.keys.size() || sources.keys[next].data() != c.args[i].data()) continue;
    entries.push_back(e);
    if (e != nullptr && e->is_blob()) in_extents = e;
  }
  if (goes_in_parts(c, in_extents)) return;
  Sum sum;
  for (size_t i = 0; i < entries.size(); i++) {
    const auto text = text_at_once(c, entries[i]);
    if (!text) return;
    sum.add(op, sources.cancelled[i], *text);
  }
  if (op == Op::kNot) {
    for (char& x : sum.bytes) x = static_cast<char>(~x);
  }
  if (sum.bytes.empty()) {
    Entry* to = c.find(c.args[2]);
    if (to != nullptr && !c.remove(c.ns(), to)) return;
  } else if (!c.put_string(c.args[2], sum.bytes, 0)) {
    return;
  }
  c.reply.integer(static_cast<int64_t>(sum.bytes.size()));
}

// The sources at one moment. Those in memory are combined there and then: of a million of them
// copies would take 64 GB.
struct HeldSources {
  std::vector<Lsn> versions;
  Sum in_memory;
  std::vector<HeldValue> in_extents;  // that are not cancelled
  uint64_t longest = 0;
};

awaitable<std::optional<HeldSources>> hold_sources(Context& c, Op op, const Sources& sources) {
  HeldSources held;
  held.versions.resize(sources.keys.size());
  const bool all = co_await look_at_values(c, sources.keys, [&](size_t i, const Entry* e) {
    if (e != nullptr) held.versions[i] = e->version();
    if (e == nullptr || !e->is_blob()) {
      held.in_memory.add(op, sources.cancelled[i], e == nullptr ? std::string_view() : e->value());
      held.longest = std::max(held.longest, held.in_memory.bytes.size());
      return;
    }
    HeldValue value;
    value.hold(c.store, e);
    held.longest = std::max(held.longest, value.size());
    if (!sources.cancelled[i]) held.in_extents.push_back(std::move(value));
  });
  if (!all) co_return std::nullopt;
  co_return std::move(held);
}

awaitable<StatusOr<BlobRef>> combine_held(Context& c, Op op, const HeldSources& sources) {
  BlobWriter writer(c.store.extents(), sources.longest);
  for (uint64_t at = 0; at < sources.longest; at += kExtentBlockBytes) {
    const uint64_t n = std::min<uint64_t>(kExtentBlockBytes, sources.longest - at);
    Sum sum;
    if (sources.in_memory.any) {
      const std::string_view bytes = sources.in_memory.bytes;
      sum.add(op, false, bytes.substr(std::min<uint64_t>(at, bytes.size()), n));
    }
    for (const HeldValue& source : sources.in_extents) {
      auto bytes = co_await read_held(c, source, at, n);
      if (!bytes.ok()) co_return bytes.status();
      sum.add(op, false, *bytes);
    }
    sum.bytes.resize(n);
    if (op == Op::kNot) {
      for (char& x : sum.bytes) x = static_cast<char>(~x);
    }
    Status added = co_await writer.append(as_bytes(sum.bytes));
    if (!added.ok()) co_return added;
  }
  co_return co_await writer.finish();
}

bool same_as_held(Context& c, const Sources& sources, const HeldSources& held) {
  for (size_t i = 0; i < sources.keys.size(); i++) {
    Entry* e = c.find(sources.keys[i]);
    if ((e == nullptr ? Lsn() : e->version()) != held.versions[i]) return false;
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
  const Sources sources(c, op);
  std::vector<KeyHash> hashes{c.ns().hash(c.args[2])};
  for (std::string_view key : sources.keys) hashes.push_back(c.ns().hash(key));
  while (!c.given_up()) {  // until nobody changed a source meanwhile
    auto held = co_await hold_sources(c, op, sources);
    if (!held) co_return;
    auto blob = co_await combine_held(c, op, *held);
    if (!blob.ok()) co_return c.status_error(blob.status());
    (void)co_await c.store.busy().until_idle(hashes, Busy::Patience::kEndless);
    StripeLocks lock(c.store);
    lock.lock(hashes);
    Context::Turn turn(c, lock);
    const bool same = same_as_held(c, sources, *held);
    bool done = false;
    if (same && held->longest > 0) done = put_blob(c, c.args[2], *blob);
    if (!done) c.store.extents().unref(*blob);
    if (same && held->longest == 0) {
      Entry* to = c.find(c.args[2]);
      done = to == nullptr || c.remove(c.ns(), to);
    }
    if (done) c.reply.integer(static_cast<int64_t>(held->longest));
    if (same) co_return;
  }
}

constexpr std::string_view kGroup = "bitmap";
constexpr KeySpec kBitop[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly, .first = 2},
                              {.flags = kKeyReadOnly | kKeyAccess, .first = 3, .last = -1}};
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
};

}  // namespace

bool bit_offset(Context& c, std::string_view word, int64_t& offset, unsigned bits) {
  constexpr int64_t kBitsMax = int64_t{1} << 32;  // as Redis: 512 MB of them
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

std::span<const Row> bit_rows() { return kRows; }

}  // namespace cairn::kv
