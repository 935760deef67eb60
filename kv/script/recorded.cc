#include "kv/script/recorded.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "kv/script/state.h"

namespace cairn::kv {

void Recorded::write_real(double value) {
  if (version_ >= 3) return add(Kind::kReal, std::bit_cast<uint64_t>(value));
  char text[64];
  const int n = std::snprintf(text, sizeof(text), "%.17g", value);
  std::string_view digits(text, static_cast<size_t>(n));
  if (std::isinf(value)) digits = value > 0 ? "inf" : "-inf";
  write_bulk(digits);
}

void Recorded::write_decimal(std::string_view digits) {
  if (version_ < 3) return write_bulk(digits);
  write_real(std::strtod(std::string(digits).c_str(), nullptr));  // as Lua has numbers
}

void Recorded::write_stream(std::unique_ptr<BlobReader> blob) {
  if (lacking != nullptr) {
    if (const std::string* value = lacking->find_fetched(*blob)) return write_bulk(*value);
  }
  streams_.push_back(std::move(blob));
  write_null();  // nobody will see it
}

// The stripes that it is under are locked by the script.
void Recorded::write_series(std::unique_ptr<Series> values) {
  values->keep_locks();
  const uint64_t due = due_;
  while (!overflowed_ && values->next(*this)) {
  }
  due_ = due;  // they were taken off when the series was announced
}

void Recorded::write_notice(std::string_view what, std::optional<std::string_view> name,
                            size_t count) {
  write_array(3);
  write_bulk(what);
  name ? write_bulk(*name) : write_null();
  write_integer(static_cast<int64_t>(count));
}

namespace {
// Of the many kinds of value that RESP3 has, those that Lua has no like of are tables of one field.
void wrap(lua_State* lua, const char* field) {
  lua_createtable(lua, 0, 1);
  lua_insert(lua, -2);
  lua_setfield(lua, -2, field);
}
}  // namespace

void Recorded::push_next(lua_State* lua, size_t& at, int depth) const {
  constexpr int kDepthMax = 100;  // no command's answer is as deep
  const Value v = at < values_.size() ? values_[at] : Value{Kind::kNull, 0, 0};
  at++;
  if (depth > kDepthMax) luaL_error(lua, "the answer is too deep");
  luaL_checkstack(lua, 6, "the answer is too deep");
  switch (v.kind) {
    case Kind::kStatus:
      kv::push(lua, text_of(v));
      return wrap(lua, "ok");
    case Kind::kError:
      kv::push(lua, text_of(v));
      return wrap(lua, "err");
    case Kind::kInteger:
      return lua_pushnumber(lua, static_cast<lua_Number>(static_cast<int64_t>(v.size)));
    case Kind::kReal:
      lua_pushnumber(lua, std::bit_cast<double>(v.size));
      return wrap(lua, "double");
    case Kind::kBoolean:
      return lua_pushboolean(lua, static_cast<int>(v.size));
    case Kind::kBulk:
      return kv::push(lua, text_of(v));
    case Kind::kVerbatim:
      lua_createtable(lua, 0, 2);
      lua_pushliteral(lua, "txt");
      lua_setfield(lua, -2, "format");
      kv::push(lua, text_of(v));
      lua_setfield(lua, -2, "string");
      return wrap(lua, "verbatim_string");
    case Kind::kBigNumber:
      kv::push(lua, text_of(v));
      return wrap(lua, "big_number");
    case Kind::kNull:
    case Kind::kNullArray:
      return version_ < 3 ? lua_pushboolean(lua, 0) : lua_pushnil(lua);
    case Kind::kArray:
      lua_createtable(lua, static_cast<int>(std::min<uint64_t>(v.size, 1 << 20)), 0);
      for (uint64_t i = 0; i < v.size; i++) {
        push_next(lua, at, depth + 1);
        lua_rawseti(lua, -2, static_cast<int>(i + 1));
      }
      return;
    case Kind::kMap:
    case Kind::kSet:
      lua_createtable(lua, 0, static_cast<int>(std::min<uint64_t>(v.size, 1 << 20)));
      for (uint64_t i = 0; i < v.size; i++) {
        push_next(lua, at, depth + 1);
        const bool is_key = !lua_isnil(lua, -1);
        if (v.kind == Kind::kMap) {
          push_next(lua, at, depth + 1);
        } else {
          lua_pushboolean(lua, 1);
        }
        is_key ? lua_rawset(lua, -3) : lua_pop(lua, 2);
      }
      return wrap(lua, v.kind == Kind::kMap ? "map" : "set");
  }
}

// ---- from Lua ----

namespace {

// A line of the protocol has no line breaks.
std::string line_of(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\r' || c == '\n') c = ' ';
  }
  return line;
}

// Pushes the field, unless the table at the top has none of that name and type.
bool field(lua_State* lua, const char* name, int type) {
  lua_pushstring(lua, name);
  lua_rawget(lua, -2);
  if (lua_type(lua, -1) == type) return true;
  lua_pop(lua, 1);
  return false;
}

size_t count_pairs(lua_State* lua) {
  size_t n = 0;
  for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) n++;
  return n;
}

void answer(lua_State* lua, Reply& reply, int version, int depth);

// A table of one field that says what it is; false: it is an array. The field is popped.
bool answer_tagged(lua_State* lua, Reply& reply, int version, int depth) {
  if (field(lua, "err", LUA_TSTRING)) {
    reply.error(line_of(text_at(lua, -1)));
    lua_pushvalue(lua, -2);
    if (field(lua, kCountedError, LUA_TBOOLEAN)) {
      Run* run = LuaState::of(lua).current();
      if (lua_toboolean(lua, -1) != 0 && run != nullptr) run->c.errors_told++;
      lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
  } else if (field(lua, "ok", LUA_TSTRING)) {
    reply.simple(line_of(text_at(lua, -1)));
  } else if (field(lua, "double", LUA_TNUMBER)) {
    reply.real(lua_tonumber(lua, -1));
  } else if (field(lua, "map", LUA_TTABLE)) {
    reply.map(count_pairs(lua));
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
      lua_pushvalue(lua, -2);
      answer(lua, reply, version, depth + 1);
      lua_pushvalue(lua, -1);
      answer(lua, reply, version, depth + 1);
    }
  } else if (field(lua, "set", LUA_TTABLE)) {
    reply.set(count_pairs(lua));
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
      lua_pushvalue(lua, -2);
      answer(lua, reply, version, depth + 1);
    }
  } else if (field(lua, "big_number", LUA_TSTRING)) {
    reply.big_number(line_of(text_at(lua, -1)));
  } else if (field(lua, "verbatim_string", LUA_TTABLE)) {
    const bool text = field(lua, "format", LUA_TSTRING);
    const bool whole = text && (lua_insert(lua, -2), field(lua, "string", LUA_TSTRING));
    if (!whole) {
      lua_pop(lua, text ? 2 : 1);
      return false;
    }
    reply.verbatim(text_at(lua, -1), text_at(lua, -3));
    lua_pop(lua, 2);
  } else {
    return false;
  }
  lua_pop(lua, 1);
  return true;
}

// Tables may hold others many times over: what is answered has no limit but those of time and of
// the client, and an error ends it.
void answer(lua_State* lua, Reply& reply, int version, int depth) {
  constexpr int kDepthMax = 2000;
  LuaState::of(lua).work_on_value(lua);
  if (reply.overflowed()) luaL_error(lua, "the answer is too large");
  if (depth > kDepthMax || lua_checkstack(lua, 8) == 0) {
    reply.error("ERR reached lua stack limit");
    return lua_pop(lua, 1);
  }
  switch (lua_type(lua, -1)) {
    case LUA_TSTRING:
      reply.bulk(text_at(lua, -1));
      break;
    case LUA_TBOOLEAN:
      if (version >= 3) {
        reply.boolean(lua_toboolean(lua, -1) != 0);
      } else if (lua_toboolean(lua, -1) != 0) {
        reply.integer(1);
      } else {
        reply.null();
      }
      break;
    case LUA_TNUMBER: {
      const lua_Number n = lua_tonumber(lua, -1);
      // What has no integer is what the processor makes of it.
      const bool fits = n >= -0x1p63 && n < 0x1p63;
      reply.integer(fits ? static_cast<int64_t>(n) : INT64_MIN);
      break;
    }
    case LUA_TTABLE: {
      if (answer_tagged(lua, reply, version, depth)) break;
      size_t n = 0;
      for (;; n++) {
        lua_rawgeti(lua, -1, static_cast<int>(n + 1));
        const bool end = lua_isnil(lua, -1);
        lua_pop(lua, 1);
        if (end) break;
      }
      reply.array(n);
      for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(lua, -1, static_cast<int>(i));
        answer(lua, reply, version, depth + 1);
      }
      break;
    }
    default:
      reply.null();
  }
  lua_pop(lua, 1);
}

}  // namespace

void answer_value(lua_State* lua, Reply& reply, int version) { answer(lua, reply, version, 0); }

}  // namespace cairn::kv
