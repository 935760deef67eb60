// The library `bit`: operations on 32-bit integers, as BitOp 1.0 has them (bitop.luajit.org).
#include <bit>
#include <cmath>

#include "kv/script/state.h"

namespace cairn::kv {
namespace {

// A number modulo 2^32, by the bits of its sum with 2^52 + 2^51.
uint32_t bits_of(lua_State* lua, int i) {
  const double shifted = luaL_checknumber(lua, i) + 6755399441055744.0;
  return static_cast<uint32_t>(std::bit_cast<uint64_t>(shifted));
}

int answer(lua_State* lua, uint32_t bits) {
  lua_pushnumber(lua, static_cast<int32_t>(bits));
  return 1;
}

int tobit(lua_State* lua) { return answer(lua, bits_of(lua, 1)); }
int bnot(lua_State* lua) { return answer(lua, ~bits_of(lua, 1)); }
int bswap(lua_State* lua) { return answer(lua, __builtin_bswap32(bits_of(lua, 1))); }

template <class Op>
int fold(lua_State* lua, Op op) {
  uint32_t bits = bits_of(lua, 1);
  for (int i = lua_gettop(lua); i > 1; i--) bits = op(bits, bits_of(lua, i));
  return answer(lua, bits);
}
int band(lua_State* lua) {
  return fold(lua, [](uint32_t a, uint32_t b) { return a & b; });
}
int bor(lua_State* lua) {
  return fold(lua, [](uint32_t a, uint32_t b) { return a | b; });
}
int bxor(lua_State* lua) {
  return fold(lua, [](uint32_t a, uint32_t b) { return a ^ b; });
}

template <class Op>
int shift(lua_State* lua, Op op) {
  const uint32_t bits = bits_of(lua, 1), by = bits_of(lua, 2) & 31;
  return answer(lua, op(bits, by));
}
int lshift(lua_State* lua) {
  return shift(lua, [](uint32_t b, uint32_t n) { return b << n; });
}
int rshift(lua_State* lua) {
  return shift(lua, [](uint32_t b, uint32_t n) { return b >> n; });
}
int arshift(lua_State* lua) {
  return shift(lua, [](uint32_t b, uint32_t n) {
    return static_cast<uint32_t>(static_cast<int32_t>(b) >> n);
  });
}
int rol(lua_State* lua) {
  return shift(lua, [](uint32_t b, uint32_t n) { return std::rotl(b, static_cast<int>(n)); });
}
int ror(lua_State* lua) {
  return shift(lua, [](uint32_t b, uint32_t n) { return std::rotr(b, static_cast<int>(n)); });
}

// So many hex digits, at most the 8 that there are; capital ones if the number is negative.
int tohex(lua_State* lua) {
  constexpr int64_t kDigits = 8;
  uint32_t bits = bits_of(lua, 1);
  const int64_t asked =
      lua_isnone(lua, 2) ? kDigits : int64_t{static_cast<int32_t>(bits_of(lua, 2))};
  const char* digits = asked < 0 ? "0123456789ABCDEF" : "0123456789abcdef";
  const auto n = static_cast<size_t>(std::min(asked < 0 ? -asked : asked, kDigits));
  char text[kDigits];
  for (size_t i = n; i-- > 0; bits >>= 4) text[i] = digits[bits & 15];
  lua_pushlstring(lua, text, n);
  return 1;
}

}  // namespace

void open_bits(lua_State* lua) {
  constexpr luaL_Reg kFunctions[] = {
      {"tobit", tobit},   {"bnot", bnot},     {"band", band},       {"bor", bor}, {"bxor", bxor},
      {"lshift", lshift}, {"rshift", rshift}, {"arshift", arshift}, {"rol", rol}, {"ror", ror},
      {"bswap", bswap},   {"tohex", tohex},   {nullptr, nullptr}};
  lua_newtable(lua);
  set_functions(lua, kFunctions);
}

}  // namespace cairn::kv
