// Lua 5.1, as its headers do not say it: with C linkage, though the library is the one built as
// C++ (liblua5.1-c++), in which an error is an exception and destructors run.
#pragma once

extern "C" {
#include <lua5.1/lauxlib.h>
#include <lua5.1/lua.h>
#include <lua5.1/lualib.h>
}

#include <string_view>

namespace cairn::kv {

inline void push(lua_State* lua, std::string_view text) {
  lua_pushlstring(lua, text.data(), text.size());
}
inline std::string_view text_at(lua_State* lua, int i) {
  size_t size = 0;
  const char* data = lua_tolstring(lua, i, &size);
  return {data, size};
}
// An argument that has to be a string, or a number.
inline std::string_view text_argument(lua_State* lua, int i) {
  size_t size = 0;
  const char* data = luaL_checklstring(lua, i, &size);
  return {data, size};
}

}  // namespace cairn::kv
