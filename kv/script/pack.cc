// The library `struct`: values packed into bytes as C lays them out, by a format. The formats are
// those of Lua's struct 0.2: > < ! x b B h H l L T i I c s f d.
#include <bit>
#include <cctype>
#include <cmath>

#include "kv/script/bytes.h"
#include "kv/script/state.h"

namespace cairn::kv {
namespace {

constexpr uint64_t kIntegerMax = 32;  // bytes
constexpr uint64_t kNative = 8;       // what "!" alone aligns to

// One letter of the format, with what belongs to it.
struct Item {
  char letter;
  uint64_t size = 0;
  uint64_t align = 0;  // bytes that come before it
};

// Goes through a format.
class Format {
 public:
  Format(lua_State* lua, std::string_view text) : lua_(lua), text_(text) {}
  bool big() const { return big_; }

  // The next item, of what will lie at `offset`; false at the end.
  bool next(uint64_t offset, Item& item) {
    while (at_ < text_.size()) {
      item = Item{text_[at_++]};
      switch (item.letter) {
        case ' ':
          continue;
        case '>':
          big_ = true;
          continue;
        case '<':
          big_ = false;
          continue;
        case '!': {
          align_ = number(kNative);
          if (align_ == 0 || !std::has_single_bit(align_)) {
            luaL_error(lua_, "alignment %d is not a power of 2", static_cast<int>(align_));
          }
          continue;
        }
        case 'x':
        case 'b':
        case 'B':
          item.size = 1;
          break;
        case 'h':
        case 'H':
          item.size = 2;
          break;
        case 'l':
        case 'L':
        case 'T':
        case 'd':
          item.size = 8;
          break;
        case 'f':
          item.size = 4;
          break;
        case 'i':
        case 'I':
          item.size = number(sizeof(int));
          if (item.size > kIntegerMax) {
            luaL_error(lua_, "integral size %d is larger than limit of %d",
                       static_cast<int>(item.size), static_cast<int>(kIntegerMax));
          }
          break;
        case 'c':
          item.size = number(1);
          break;
        case 's':
          break;
        default: {
          const char* why = lua_pushfstring(lua_, "invalid format option '%c'", item.letter);
          luaL_argerror(lua_, 1, why);
        }
      }
      const bool aligned = item.letter != 'c' && item.letter != 's' && item.letter != 'x';
      const uint64_t to = std::min(item.size, align_);
      if (aligned && to > 1) item.align = (to - (offset & (to - 1))) & (to - 1);
      return true;
    }
    return false;
  }

 private:
  uint64_t number(uint64_t none) {
    if (at_ >= text_.size() || std::isdigit(static_cast<unsigned char>(text_[at_])) == 0) {
      return none;
    }
    uint64_t n = 0;
    while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
      n = 10 * n + static_cast<uint64_t>(text_[at_++] - '0');
      if (n > INT32_MAX) luaL_error(lua_, "integral size overflow");
    }
    return n;
  }

  lua_State* const lua_;
  const std::string_view text_;
  size_t at_ = 0;
  bool big_ = std::endian::native == std::endian::big;
  uint64_t align_ = 1;
};

// Of a number of any size the lower 64 bits; a negative one as two's complement.
uint64_t bits_of(double n) {
  if (std::isnan(n)) return uint64_t{1} << 63;
  if (n >= -0x1p63 && n < 0x1p63) return static_cast<uint64_t>(static_cast<int64_t>(n));
  if (n >= 0 && n < 0x1p64) return static_cast<uint64_t>(n);
  return uint64_t{1} << 63;
}

void add_integer(Bytes& out, uint64_t bits, uint64_t size, bool big, bool negative) {
  for (uint64_t i = 0; i < size; i++) {
    const uint64_t at = big ? size - 1 - i : i;
    const uint64_t byte = at < 8 ? bits >> (8 * at) & 0xFF : (negative ? 0xFF : 0);
    out.add(static_cast<char>(byte));
  }
}

double number_argument(lua_State* lua, int i) { return luaL_checknumber(lua, i); }

int pack(lua_State* lua) {
  Format format(lua, text_argument(lua, 1));
  Bytes out(lua);
  lua_pushnil(lua);  // where the arguments end
  int argument = 2;
  Item item{};
  while (format.next(out.size(), item)) {
    for (uint64_t i = 0; i < item.align; i++) out.add('\0');
    switch (item.letter) {
      case 'x':
        out.add('\0');
        break;
      case 'f': {
        const auto bits =
            std::bit_cast<uint32_t>(static_cast<float>(number_argument(lua, argument++)));
        add_integer(out, bits, item.size, format.big(), false);
        break;
      }
      case 'd':
        add_integer(out, std::bit_cast<uint64_t>(number_argument(lua, argument++)), item.size,
                    format.big(), false);
        break;
      case 'c':
      case 's': {
        const std::string_view text = text_argument(lua, argument++);
        const uint64_t n = item.letter == 'c' && item.size != 0 ? item.size : text.size();
        luaL_argcheck(lua, text.size() >= n, argument, "string too short");
        out.add(text.substr(0, n));
        if (item.letter == 's') out.add('\0');
        break;
      }
      default: {
        const double n = number_argument(lua, argument++);
        add_integer(out, bits_of(n), item.size, format.big(), n < 0);
      }
    }
  }
  return out.push_all();
}

double integer_at(std::string_view bytes, bool big, bool is_signed) {
  uint64_t bits = 0;
  const size_t n = bytes.size();
  for (size_t i = std::min<size_t>(n, 8); i-- > 0;) {  // its lower 64 bits
    bits = bits << 8 | static_cast<uint8_t>(bytes[big ? n - 1 - i : i]);
  }
  if (!is_signed) return static_cast<double>(bits);
  if (n < 8 && n > 0 && (bits >> (8 * n - 1) & 1) != 0) bits |= ~uint64_t{0} << (8 * n);
  return static_cast<double>(static_cast<int64_t>(bits));
}

int unpack(lua_State* lua) {
  Format format(lua, text_argument(lua, 1));
  const std::string_view in = text_argument(lua, 2);
  const lua_Integer from = luaL_optinteger(lua, 3, 1);
  luaL_argcheck(lua, from > 0, 3, "offset must be 1 or greater");
  auto at = static_cast<uint64_t>(from) - 1;
  int n = 0;
  Item item{};
  while (format.next(at, item)) {
    at += item.align;
    luaL_argcheck(lua, at <= in.size() && item.size <= in.size() - at, 2, "data string too short");
    luaL_checkstack(lua, 2, "too many results");
    const std::string_view rest = in.substr(at);
    uint64_t size = item.size;
    switch (item.letter) {
      case 'x':
        n--;
        break;
      case 'f': {
        const auto bits = static_cast<uint32_t>(integer_at(rest.substr(0, 4), format.big(), false));
        lua_pushnumber(lua, std::bit_cast<float>(bits));
        break;
      }
      case 'd': {
        uint64_t bits = 0;
        for (size_t i = 0; i < 8; i++) {
          bits = bits << 8 | static_cast<uint8_t>(rest[format.big() ? i : 7 - i]);
        }
        lua_pushnumber(lua, std::bit_cast<double>(bits));
        break;
      }
      case 'c': {
        if (size == 0) {
          if (n == 0 || lua_isnumber(lua, -1) == 0) {
            return luaL_error(lua, "format 'c0' needs a previous size");
          }
          const double said = lua_tonumber(lua, -1);
          luaL_argcheck(lua, said >= 0 && said <= static_cast<double>(rest.size()), 2,
                        "data string too short");
          size = static_cast<uint64_t>(said);
          lua_pop(lua, 1);
          n--;
        }
        push(lua, rest.substr(0, size));
        break;
      }
      case 's': {
        const size_t end = rest.find('\0');
        if (end == rest.npos) return luaL_error(lua, "unfinished string in data");
        push(lua, rest.substr(0, end));
        size = end + 1;
        break;
      }
      default:
        lua_pushnumber(lua, integer_at(rest.substr(0, size), format.big(),
                                       std::islower(static_cast<unsigned char>(item.letter)) != 0));
    }
    n++;
    at += size;
  }
  lua_pushinteger(lua, static_cast<lua_Integer>(at + 1));
  return n + 1;
}

int size(lua_State* lua) {
  Format format(lua, text_argument(lua, 1));
  uint64_t at = 0;
  Item item{};
  while (format.next(at, item)) {
    const bool fixed = item.letter != 's' && !(item.letter == 'c' && item.size == 0);
    if (!fixed) {
      luaL_argerror(
          lua, 1,
          item.letter == 's' ? "option 's' has no fixed size" : "option 'c0' has no fixed size");
    }
    at += item.align + item.size;
  }
  lua_pushnumber(lua, static_cast<lua_Number>(at));
  return 1;
}

}  // namespace

void open_pack(lua_State* lua) {
  constexpr luaL_Reg kFunctions[] = {
      {"pack", pack}, {"unpack", unpack}, {"size", size}, {nullptr, nullptr}};
  lua_newtable(lua);
  set_functions(lua, kFunctions);
}

}  // namespace cairn::kv
