// BITFIELD: integers of any width at any bit. Bit 0 is the most significant bit of the first byte.
#include <algorithm>
#include <cstring>

#include "core/base/text.h"
#include "kv/commands/bits.h"
#include "kv/commands/blob_edit.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

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
  if (goes_in_parts(c, e, end)) return;
  const auto text = text_at_once(c, e, end);
  if (!text) return;
  Scratch room;
  std::string& value = room.text.assign(*text);
  if (value.size() < end) value.resize(end);
  run_fields(c, fields, value, 0);
  if (end == 0) return;
  if (e == nullptr) {
    c.put_string(c.args[1], value, 0);
  } else if (value != *text) {
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
  constexpr uint64_t kCopies = 4;  // as it was, as it becomes, and on its way
  const auto share =
      co_await c.workspace(kCopies * (end - first) + c.store.options().extent_threshold);
  if (share == nullptr) co_return;
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
  edit.grows_to = fields_end_bytes(fields, true);  // what is read alone adds nothing
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
constexpr KeySpec kBitfield[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyUpdate | kKeyVariable,
                                  .unless_from = 2,
                                  .unless = {"set", "incrby"},
                                  .otherwise = kKeyReadOnly | kKeyAccess}};
constexpr Row kRows[] = {
    {"bitfield", -2, kWrite | kDenyOom, kBitfield, bitfield, bitfield_deferred, kGroup,
     "Performs arbitrary bitfield integer operations on strings.", "3.2.0"},
    {"bitfield_ro", -2, kReadOnly | kFast, kReadsKey, bitfield_ro, bitfield_deferred, kGroup,
     "Performs arbitrary read-only bitfield integer operations on strings.", "6.0.0"},
};

}  // namespace
std::span<const Row> bitfield_rows() { return kRows; }

}  // namespace cairn::kv
