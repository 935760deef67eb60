// What of the standard libraries scripts do not get as it is (state.h says why).
#include <cmath>
#include <ctime>

#include "kv/script/bytes.h"
#include "kv/script/state.h"

namespace cairn::kv {
namespace {

int plain_error(lua_State* lua, const char* text) {
  lua_pushstring(lua, text);
  return lua_error(lua);
}

lua_CFunction original(lua_State* lua) { return lua_tocfunction(lua, lua_upvalueindex(1)); }

// rawset, table.insert and the like, which ask no metatable.
int changes_table(lua_State* lua) {
  if (LuaState::of(lua).is_locked(lua, 1)) {
    return plain_error(lua, "Attempt to modify a readonly table");
  }
  return original(lua)(lua);
}

// The library moves what is between the end and the position, and takes a position beyond 32 bits
// for one below zero: billions of moves.
int insert(lua_State* lua) {
  constexpr lua_Number kBelowMax = 1 << 20;
  if (lua_istable(lua, 1) && lua_gettop(lua) == 3) {
    const lua_Number at = luaL_checknumber(lua, 2);
    if (!(at >= -kBelowMax && at <= INT32_MAX)) {
      return luaL_argerror(lua, 2, "position out of bounds");
    }
    const auto end = static_cast<lua_Number>(lua_objlen(lua, 1)) + 1;
    if (at < end) LuaState::of(lua).work(lua, static_cast<uint64_t>(end - at));
  }
  return changes_table(lua);
}

// The table that stands behind a locked one, in its place.
void see_through(lua_State* lua, int i) {
  if (!lua_istable(lua, i) || !LuaState::of(lua).is_locked(lua, i)) return;
  luaL_getmetafield(lua, i, "__index");
  lua_replace(lua, i);
}

// Goes on from a key of the table behind, and never gives that table away.
int next_of_locked(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  lua_settop(lua, 2);
  see_through(lua, 1);
  if (lua_next(lua, 1) != 0) return 2;
  lua_pushnil(lua);
  return 1;
}

int pairs(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_pushvalue(lua, 1);
  lua_pushnil(lua);
  return 3;
}

int raw_get(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  luaL_checkany(lua, 2);
  lua_settop(lua, 2);
  see_through(lua, 1);
  lua_rawget(lua, 1);
  return 1;
}

// An error of redis.call is a table on its way out, and a text to who catches it.
int call_protected(lua_State* lua) {
  luaL_checkany(lua, 1);
  LuaState& state = LuaState::of(lua);
  const LuaState::Level level(lua, LuaState::kLevelsMax);
  const int failed = lua_pcall(lua, lua_gettop(lua) - 1, LUA_MULTRET, 0);
  state.pass_on(lua);
  if (failed != 0 && lua_istable(lua, -1)) {
    lua_pushliteral(lua, "err");
    lua_rawget(lua, -2);
    lua_isstring(lua, -1) != 0 ? lua_replace(lua, -2) : lua_pop(lua, 1);
  }
  lua_pushboolean(lua, failed == 0);
  lua_insert(lua, 1);
  return lua_gettop(lua);
}

// Calls the handler of an error, its upvalue; but none when the script is over: that is an error
// within the hook, where no hook is called, and the handler might never end.
int handle(lua_State* lua) {
  lua_settop(lua, 1);
  if (LuaState::of(lua).is_over()) return 1;
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_insert(lua, 1);
  lua_call(lua, 1, 1);
  return 1;
}

int call_with_handler(lua_State* lua) {
  luaL_checkany(lua, 2);
  LuaState& state = LuaState::of(lua);
  const LuaState::Level level(lua, LuaState::kLevelsMax);
  lua_settop(lua, 2);
  lua_pushcclosure(lua, handle, 1);
  lua_insert(lua, 1);
  const int failed = lua_pcall(lua, 0, LUA_MULTRET, 1);
  state.pass_on(lua);
  lua_pushboolean(lua, failed == 0);
  lua_replace(lua, 1);
  return lua_gettop(lua);
}

// Calls a function of the library, or the one that coroutine.wrap made, in which a script's code
// runs with a C stack of its own.
int resume(lua_State* lua) {
  LuaState& state = LuaState::of(lua);
  const LuaState::Level level(lua, LuaState::kLevelsMax);
  if (state.coroutines >= LuaState::kCoroutinesMax) return luaL_error(lua, "C stack overflow");
  // The function of the library has none, and that of wrap() its coroutine.
  const bool wrapped = lua_getupvalue(lua, lua_upvalueindex(1), 1) != nullptr;
  lua_State* to = lua_tothread(lua, wrapped ? -1 : 1);
  if (wrapped) lua_pop(lua, 1);
  // Each counts its own instructions, and begins anew here.
  state.look_at_time(lua);
  struct Nested {
    Nested(LuaState& s, lua_State* to) : s(s), from(s.running) {
      s.coroutines++;
      if (to == nullptr) return;
      s.running = to;
      s.set_hook(to);
    }
    ~Nested() {
      s.coroutines--;
      s.running = from;
      s.set_hook(from);
    }
    LuaState& s;
    lua_State* from;
  } nested(state, to);
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_insert(lua, 1);
  lua_call(lua, lua_gettop(lua) - 1, LUA_MULTRET);
  state.pass_on(lua);
  return lua_gettop(lua);
}

int wrap(lua_State* lua) {
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_insert(lua, 1);
  lua_call(lua, lua_gettop(lua) - 1, 1);
  lua_pushcclosure(lua, resume, 1);
  return 1;
}

int load_text(lua_State* lua, std::string_view source, const char* name) {
  if (!source.empty() && source[0] == LUA_SIGNATURE[0]) {
    lua_pushnil(lua);
    lua_pushliteral(lua, "attempt to load bytecode");
    return 2;
  }
  if (source.size() > kSourceBytesMax) {
    lua_pushnil(lua);
    lua_pushfstring(lua, "a chunk has at most %d bytes", static_cast<int>(kSourceBytesMax));
    return 2;
  }
  LuaState& state = LuaState::of(lua);
  state.look_at_time(lua);
  lua_pushstring(lua, name);  // the parser does not keep it itself
  lua_gc(lua, LUA_GCSTOP, 0);
  const int failed = luaL_loadbuffer(lua, source.data(), source.size(), name);
  lua_gc(lua, LUA_GCRESTART, 0);
  state.look_at_time(lua);
  if (failed == 0) return 1;
  lua_pushnil(lua);
  lua_insert(lua, -2);
  return 2;
}

int load_string(lua_State* lua) {
  const std::string_view source = text_argument(lua, 1);
  return load_text(lua, source, luaL_optstring(lua, 2, source.data()));
}

// The pieces are put together first: no code of the script runs within the parser.
int load_pieces(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TFUNCTION);
  const char* name = luaL_optstring(lua, 2, "=(load)");
  lua_settop(lua, 2);
  LuaState& state = LuaState::of(lua);
  const LuaState::Level level(lua, LuaState::kLevelsMax);
  Bytes source(lua);
  while (source.size() <= kSourceBytesMax) {
    constexpr uint64_t kCallSteps = 16;
    state.work(lua, kCallSteps);  // it may be one of a library, without an instruction of Lua
    lua_pushvalue(lua, 1);
    lua_call(lua, 0, 1);
    if (lua_isnil(lua, -1)) break;
    if (lua_isstring(lua, -1) == 0) {
      return luaL_error(lua, "reader function must return a string");
    }
    const std::string_view piece = text_at(lua, -1);
    if (piece.empty()) break;
    source.add(piece);
    lua_pop(lua, 1);
  }
  lua_settop(lua, 2);
  source.push_all();
  return load_text(lua, text_at(lua, 3), name);
}

int unpack(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  const int64_t from = luaL_optint(lua, 2, 1);
  const int64_t to =
      lua_isnoneornil(lua, 3) ? static_cast<int64_t>(lua_objlen(lua, 1)) : luaL_checkint(lua, 3);
  if (from > to) return 0;
  const int64_t n = to - from + 1;
  if (n > LUAI_MAXCSTACK || lua_checkstack(lua, static_cast<int>(n)) == 0) {
    return luaL_error(lua, "too many results to unpack");
  }
  for (int64_t i = from; i <= to; i++) lua_rawgeti(lua, 1, static_cast<int>(i));
  return static_cast<int>(n);
}

// The collector works for all scripts: what would stop it, or make it lazy, does nothing.
int collect(lua_State* lua) {
  LuaState::of(lua).look_at_time(lua);
  const std::string_view what = luaL_optstring(lua, 1, "collect");
  if (what == "count") {
    lua_pushnumber(lua, lua_gc(lua, LUA_GCCOUNT, 0) +
                            static_cast<lua_Number>(lua_gc(lua, LUA_GCCOUNTB, 0)) / 1024);
  } else if (what == "step") {
    lua_pushboolean(lua, lua_gc(lua, LUA_GCSTEP, 0));
  } else if (what == "collect") {
    lua_pushnumber(lua, lua_gc(lua, LUA_GCCOLLECT, 0));
  } else if (what == "stop" || what == "restart" || what == "setpause" || what == "setstepmul") {
    lua_pushnumber(lua, 0);
  } else {
    return luaL_argerror(lua, 1, lua_pushfstring(lua, "invalid option '%s'", what.data()));
  }
  return 1;
}

int repeat(lua_State* lua) {
  const uint64_t size = text_argument(lua, 1).size();
  const int n = luaL_checkint(lua, 2);
  if (n <= 0 || size == 0) {
    lua_pushliteral(lua, "");
    return 1;
  }
  LuaState::of(lua).need(lua, size * static_cast<uint64_t>(n));
  return original(lua)(lua);
}

// Goes through all of a large table, and makes texts of its numbers.
int long_walk(lua_State* lua) {
  LuaState::of(lua).look_at_time(lua);
  return original(lua)(lua);
}

// table.sort and the like call argument 2 for each element. If that is a function of a library, it
// is called by one of Lua, whose instructions are counted.
void count_calls(lua_State* lua) {
  if (lua_iscfunction(lua, 2) == 0) return;
  lua_pushvalue(lua, lua_upvalueindex(2));
  lua_pushvalue(lua, 2);
  lua_call(lua, 1, 1);
  lua_replace(lua, 2);
}
constexpr char kCaller[] = "local f = ... return function(...) return f(...) end";

int for_each(lua_State* lua) {
  count_calls(lua);
  return original(lua)(lua);
}

// A large table is compared by a function of Lua, too.
int sort(lua_State* lua) {
  constexpr size_t kLarge = 1000;
  const LuaState::Level level(lua, LuaState::kLevelsMax);
  count_calls(lua);
  if (lua_istable(lua, 1) && lua_isnoneornil(lua, 2) && lua_objlen(lua, 1) > kLarge) {
    lua_settop(lua, 1);
    lua_pushvalue(lua, lua_upvalueindex(3));
  }
  return changes_table(lua);
}

// The generator of drand48, so that scripts that give a seed draw what they draw in Redis. Others
// draw other numbers in each run.
int64_t draw(LuaState& state) {
  if (!state.random_seeded) {
    state.random = state.new_seed();
    state.random_seeded = true;
  }
  state.random = (state.random * 0x5DEECE66DULL + 0xB) & 0xFFFF'FFFF'FFFFULL;
  return static_cast<int64_t>(state.random >> 17);
}

int random(lua_State* lua) {
  constexpr int64_t kMax = INT32_MAX;
  const lua_Number r = static_cast<lua_Number>(draw(LuaState::of(lua)) % kMax) / kMax;
  switch (lua_gettop(lua)) {
    case 0:
      lua_pushnumber(lua, r);
      return 1;
    case 1: {
      const int u = luaL_checkint(lua, 1);
      luaL_argcheck(lua, 1 <= u, 1, "interval is empty");
      lua_pushnumber(lua, std::floor(r * u) + 1);
      return 1;
    }
    case 2: {
      const lua_Number l = luaL_checkint(lua, 1), u = luaL_checkint(lua, 2);
      luaL_argcheck(lua, l <= u, 2, "interval is empty");
      lua_pushnumber(lua, std::floor(r * (u - l + 1)) + l);
      return 1;
    }
    default:
      return luaL_error(lua, "wrong number of arguments");
  }
}

int random_seed(lua_State* lua) {
  const auto seed = static_cast<uint32_t>(luaL_checkint(lua, 1));
  LuaState& state = LuaState::of(lua);
  state.random = (uint64_t{seed} << 16) + 0x330E;
  state.random_seeded = true;
  return 0;
}

int os_clock(lua_State* lua) {
  lua_pushnumber(lua, static_cast<lua_Number>(std::clock()) / CLOCKS_PER_SEC);
  return 1;
}

// The function `name` of the table at the top is from now on `by`, which knows what it was.
void replace(lua_State* lua, const char* name, lua_CFunction by) {
  lua_getfield(lua, -1, name);
  lua_pushcclosure(lua, by, 1);
  lua_setfield(lua, -2, name);
}

}  // namespace

void mend_libraries(lua_State* lua) {
  lua_pushvalue(lua, LUA_GLOBALSINDEX);
  for (const char* name : {"print", "dofile", "loadfile", "newproxy", "getfenv", "setfenv",
                           "module", "require", "package"}) {
    lua_pushnil(lua);
    lua_setfield(lua, -2, name);
  }
  constexpr luaL_Reg kBase[] = {{"pcall", call_protected},   {"xpcall", call_with_handler},
                                {"loadstring", load_string}, {"load", load_pieces},
                                {"unpack", unpack},          {"collectgarbage", collect},
                                {"rawget", raw_get},         {"next", next_of_locked},
                                {nullptr, nullptr}};
  set_functions(lua, kBase);
  lua_pushcfunction(lua, next_of_locked);
  lua_pushcclosure(lua, pairs, 1);
  lua_setfield(lua, -2, "pairs");
  replace(lua, "rawset", changes_table);
  replace(lua, "setmetatable", changes_table);
  lua_pop(lua, 1);

  lua_getglobal(lua, "table");
  replace(lua, "insert", insert);
  for (const char* name : {"remove", "setn"}) replace(lua, name, changes_table);
  for (const char* name : {"concat", "maxn"}) replace(lua, name, long_walk);
  for (const char* name : {"foreach", "foreachi"}) {
    lua_getfield(lua, -1, name);
    (void)luaL_loadstring(lua, kCaller);
    lua_pushcclosure(lua, for_each, 2);
    lua_setfield(lua, -2, name);
  }
  lua_getfield(lua, -1, "sort");
  (void)luaL_loadstring(lua, kCaller);
  (void)luaL_loadstring(lua, "local a, b = ... return a < b");
  lua_pushcclosure(lua, sort, 3);
  lua_setfield(lua, -2, "sort");
  lua_pop(lua, 1);

  lua_getglobal(lua, "string");
  lua_pushnil(lua);
  lua_setfield(lua, -2, "dump");
  replace(lua, "rep", repeat);
  open_patterns(lua);
  lua_pop(lua, 1);

  lua_getglobal(lua, "math");
  lua_pushcfunction(lua, random);
  lua_setfield(lua, -2, "random");
  lua_pushcfunction(lua, random_seed);
  lua_setfield(lua, -2, "randomseed");
  lua_pop(lua, 1);

  lua_getglobal(lua, "coroutine");
  lua_getfield(lua, -1, "resume");
  lua_pushcclosure(lua, resume, 1);
  lua_setfield(lua, -2, "resume");
  lua_getfield(lua, -1, "wrap");
  lua_pushcclosure(lua, wrap, 1);
  lua_setfield(lua, -2, "wrap");
  lua_pop(lua, 1);

  lua_createtable(lua, 0, 1);
  lua_pushcfunction(lua, os_clock);
  lua_setfield(lua, -2, "clock");
  lua_setglobal(lua, "os");
}

}  // namespace cairn::kv
