// The library `cmsgpack`: MessagePack as lua-cmsgpack 0.4 reads and writes it.
#include <bit>
#include <cmath>

#include "kv/script/bytes.h"
#include "kv/script/state.h"

namespace cairn::kv {
namespace {

constexpr int kWrittenDepthMax = 16;  // what is deeper is written as nil
constexpr int kReadDepthMax = 1000;   // what is deeper is refused

class Packer {
 public:
  explicit Packer(lua_State* lua) : lua_(lua), out_(lua) {}
  void value(int at, int depth) {
    LuaState::of(lua_).work_on_value(lua_);
    switch (lua_type(lua_, at)) {
      case LUA_TSTRING:
        return text(text_at(lua_, at));
      case LUA_TBOOLEAN:
        return byte(lua_toboolean(lua_, at) != 0 ? 0xC3 : 0xC2);
      case LUA_TNUMBER:
        return number(lua_tonumber(lua_, at));
      case LUA_TTABLE:
        if (depth < kWrittenDepthMax) return table(at, depth);
        [[fallthrough]];
      default:
        return byte(0xC0);
    }
  }
  int push_all() { return out_.push_all(); }

 private:
  void byte(unsigned value) { out_.add(static_cast<char>(value)); }
  // Big-endian, in so many bytes.
  void big(uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) byte(static_cast<unsigned>(value >> (8 * i) & 0xFF));
  }
  void sized(unsigned code, uint64_t size, int bytes) {
    byte(code);
    big(size, bytes);
  }

  void text(std::string_view s) {
    const size_t n = s.size();
    if (n < 32) {
      byte(0xA0 | static_cast<unsigned>(n));
    } else if (n <= 0xFF) {
      sized(0xD9, n, 1);
    } else if (n <= 0xFFFF) {
      sized(0xDA, n, 2);
    } else {
      sized(0xDB, n, 4);
    }
    out_.add(s);
  }

  void number(double n) {
    const bool whole = n >= -0x1p63 && n < 0x1p63 && std::floor(n) == n;
    return whole ? integer(static_cast<int64_t>(n)) : real(n);
  }
  void real(double n) {
    const auto narrow = static_cast<float>(n);
    if (static_cast<double>(narrow) == n) return sized(0xCA, std::bit_cast<uint32_t>(narrow), 4);
    sized(0xCB, std::bit_cast<uint64_t>(n), 8);
  }
  void integer(int64_t n) {
    const auto bits = static_cast<uint64_t>(n);
    if (n >= 0) {
      if (n <= 127) return byte(static_cast<unsigned>(n));
      if (n <= 0xFF) return sized(0xCC, bits, 1);
      if (n <= 0xFFFF) return sized(0xCD, bits, 2);
      if (n <= 0xFFFF'FFFFLL) return sized(0xCE, bits, 4);
      return sized(0xCF, bits, 8);
    }
    if (n >= -32) return byte(static_cast<unsigned>(bits & 0xFF));
    if (n >= INT8_MIN) return sized(0xD0, bits, 1);
    if (n >= INT16_MIN) return sized(0xD1, bits, 2);
    if (n >= INT32_MIN) return sized(0xD2, bits, 4);
    sized(0xD3, bits, 8);
  }

  void count(uint64_t n, unsigned few, unsigned many) {
    if (n < 16) return byte(few | static_cast<unsigned>(n));
    if (n <= 0xFFFF) return sized(many, n, 2);
    sized(many + 1, n, 4);
  }

  void table(int at, int depth) {
    luaL_checkstack(lua_, 4, "in function pack");
    // An array if its keys are the numbers from 1 to their count.
    uint64_t pairs = 0;
    double most = 0;
    bool array = true;
    for (lua_pushnil(lua_); lua_next(lua_, at) != 0; lua_pop(lua_, 1)) {
      pairs++;
      const double k = lua_type(lua_, -2) == LUA_TNUMBER ? lua_tonumber(lua_, -2) : 0;
      array = array && k >= 1 && std::floor(k) == k;
      most = std::max(most, k);
    }
    if (array && most == static_cast<double>(pairs)) {
      count(pairs, 0x90, 0xDC);
      for (uint64_t i = 1; i <= pairs; i++) {
        lua_rawgeti(lua_, at, static_cast<int>(i));
        value(lua_gettop(lua_), depth + 1);
        lua_pop(lua_, 1);
      }
      return;
    }
    count(pairs, 0x80, 0xDE);
    for (lua_pushnil(lua_); lua_next(lua_, at) != 0; lua_pop(lua_, 1)) {
      const int key = lua_gettop(lua_) - 1;
      value(key, depth + 1);
      value(key + 1, depth + 1);
    }
  }

  lua_State* const lua_;
  Bytes out_;
};

int pack(lua_State* lua) {
  const int n = lua_gettop(lua);
  if (n == 0) return luaL_argerror(lua, 0, "MessagePack pack needs input.");
  Packer packer(lua);
  for (int i = 1; i <= n; i++) packer.value(i, 0);
  return packer.push_all();
}

class Unpacker {
 public:
  Unpacker(lua_State* lua, std::string_view in) : lua_(lua), state_(LuaState::of(lua)), in_(in) {}
  size_t left() const { return in_.size(); }

  void value(int depth) {
    state_.work(lua_, 8);
    if (depth > kReadDepthMax) luaL_error(lua_, "Bad data format in input.");
    luaL_checkstack(lua_, 4,
                    "too many return values at once; use unpack_one or unpack_limit "
                    "instead.");
    const auto code = static_cast<unsigned>(big(1));
    if (code <= 0x7F) return lua_pushnumber(lua_, code);
    if (code >= 0xE0) return lua_pushnumber(lua_, static_cast<int8_t>(code));
    if ((code & 0xE0) == 0xA0) return text(code & 0x1F);
    if ((code & 0xF0) == 0x90) return array(code & 0x0F, depth);
    if ((code & 0xF0) == 0x80) return map(code & 0x0F, depth);
    switch (code) {
      case 0xC0:
        return lua_pushnil(lua_);
      case 0xC2:
        return lua_pushboolean(lua_, 0);
      case 0xC3:
        return lua_pushboolean(lua_, 1);
      case 0xC4:
      case 0xD9:
        return text(big(1));
      case 0xC5:
      case 0xDA:
        return text(big(2));
      case 0xC6:
      case 0xDB:
        return text(big(4));
      case 0xCA:
        return lua_pushnumber(lua_, std::bit_cast<float>(static_cast<uint32_t>(big(4))));
      case 0xCB:
        return lua_pushnumber(lua_, std::bit_cast<double>(big(8)));
      case 0xCC:
        return lua_pushnumber(lua_, static_cast<lua_Number>(big(1)));
      case 0xCD:
        return lua_pushnumber(lua_, static_cast<lua_Number>(big(2)));
      case 0xCE:
        return lua_pushnumber(lua_, static_cast<lua_Number>(big(4)));
      case 0xCF:
        return lua_pushnumber(lua_, static_cast<lua_Number>(big(8)));
      case 0xD0:
        return lua_pushnumber(lua_, static_cast<int8_t>(big(1)));
      case 0xD1:
        return lua_pushnumber(lua_, static_cast<int16_t>(big(2)));
      case 0xD2:
        return lua_pushnumber(lua_, static_cast<int32_t>(big(4)));
      case 0xD3:
        return lua_pushnumber(lua_, static_cast<lua_Number>(static_cast<int64_t>(big(8))));
      case 0xDC:
        return array(big(2), depth);
      case 0xDD:
        return array(big(4), depth);
      case 0xDE:
        return map(big(2), depth);
      case 0xDF:
        return map(big(4), depth);
      default:
        luaL_error(lua_, "Bad data format in input.");
    }
  }

 private:
  std::string_view take(uint64_t n) {
    if (n > in_.size()) luaL_error(lua_, "Missing bytes in input.");
    const std::string_view bytes = in_.substr(0, n);
    in_.remove_prefix(n);
    return bytes;
  }
  uint64_t big(size_t n) {
    uint64_t value = 0;
    for (char c : take(n)) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }
  void text(uint64_t n) { push(lua_, take(n)); }
  // Each member takes a byte at least, so a count that is larger ends soon.
  void array(uint64_t n, int depth) {
    lua_newtable(lua_);
    for (uint64_t i = 1; i <= n; i++) {
      lua_pushnumber(lua_, static_cast<lua_Number>(i));
      value(depth + 1);
      lua_settable(lua_, -3);
    }
  }
  void map(uint64_t n, int depth) {
    lua_newtable(lua_);
    for (; n > 0; n--) {
      value(depth + 1);
      value(depth + 1);
      const bool is_key = !lua_isnil(lua_, -2) &&
                          !(lua_isnumber(lua_, -2) != 0 && std::isnan(lua_tonumber(lua_, -2)));
      is_key ? lua_rawset(lua_, -3) : lua_pop(lua_, 2);
    }
  }

  lua_State* const lua_;
  LuaState& state_;
  std::string_view in_;
};

// `most` values from `offset` on, or all; tells where it stopped unless it went to the end at once.
int unpack_some(lua_State* lua, int64_t most, int64_t offset) {
  const std::string_view in = text_argument(lua, 1);
  const auto size = static_cast<int64_t>(in.size());
  if (offset < 0 || most < 0) {
    return luaL_error(lua, "Invalid request to unpack with offset of %d and limit of %d.",
                      static_cast<int>(offset), static_cast<int>(size));
  }
  if (offset > size) {
    return luaL_error(lua, "Start offset %d greater than input length %d.",
                      static_cast<int>(offset), static_cast<int>(size));
  }
  const bool all = most == 0;
  Unpacker unpacker(lua, in.substr(static_cast<size_t>(offset)));
  int n = 0;
  while (unpacker.left() > 0 && (all || n < most)) {
    unpacker.value(0);
    n++;
  }
  if (all) return n;
  const auto at = static_cast<lua_Number>(in.size() - unpacker.left());
  lua_pushnumber(lua, unpacker.left() == 0 ? -1 : at);
  lua_insert(lua, -n - 1);
  return n + 1;
}

int unpack(lua_State* lua) { return unpack_some(lua, 0, 0); }
int unpack_one(lua_State* lua) { return unpack_some(lua, 1, luaL_optint(lua, 2, 0)); }
int unpack_limit(lua_State* lua) {
  return unpack_some(lua, luaL_checkint(lua, 2), luaL_optint(lua, 3, 0));
}

}  // namespace

void open_msgpack(lua_State* lua) {
  constexpr luaL_Reg kFunctions[] = {{"pack", pack},
                                     {"unpack", unpack},
                                     {"unpack_one", unpack_one},
                                     {"unpack_limit", unpack_limit},
                                     {nullptr, nullptr}};
  constexpr std::pair<const char*, const char*> kTexts[] = {
      {"_NAME", "cmsgpack"},
      {"_VERSION", "lua-cmsgpack 0.4.0"},
      {"_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"},
      {"_DESCRIPTION", "MessagePack C implementation for Lua"}};
  lua_newtable(lua);
  set_functions(lua, kFunctions);
  for (auto [name, text] : kTexts) {
    lua_pushstring(lua, text);
    lua_setfield(lua, -2, name);
  }
}

}  // namespace cairn::kv
