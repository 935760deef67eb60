// The library `cjson`: what Lua CJSON 2.1 has, with its settings and words. The settings hold for
// the rest of the run: what one user's script sets is nothing to the next one.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/script/bytes.h"
#include "kv/script/state.h"

namespace cairn::kv {
namespace {

using Settings = LuaState::Json;

// Whatever is set: deeper ones would need more of the C stack than there is.
constexpr int kDepthMax = 5000;

// ---- encode ----

class Encoder {
 public:
  explicit Encoder(lua_State* lua) : lua_(lua), set_(LuaState::of(lua).json), out_(lua) {}
  int all() {
    value(1, lua_gettop(lua_));
    return out_.push_all();
  }

 private:
  [[noreturn]] void fail(int at, const char* why) {
    luaL_error(lua_, "Cannot serialise %s: %s", luaL_typename(lua_, at), why);
    std::abort();  // it does not return
  }

  void text(std::string_view s) {
    out_.add('"');
    size_t plain = 0;  // from where on nothing was added yet
    for (size_t i = 0; i < s.size(); i++) {
      const auto c = static_cast<unsigned char>(s[i]);
      const char* escape = nullptr;
      char code[8];
      switch (c) {
        case '"':
          escape = "\\\"";
          break;
        case '\\':
          escape = "\\\\";
          break;
        case '/':
          escape = "\\/";
          break;
        case '\b':
          escape = "\\b";
          break;
        case '\t':
          escape = "\\t";
          break;
        case '\n':
          escape = "\\n";
          break;
        case '\f':
          escape = "\\f";
          break;
        case '\r':
          escape = "\\r";
          break;
        default:
          if (c >= ' ' && c != 127) continue;
          std::snprintf(code, sizeof(code), "\\u%04x", c);
          escape = code;
      }
      out_.add(s.substr(plain, i - plain));
      out_.add(std::string_view(escape));
      plain = i + 1;
    }
    out_.add(s.substr(plain));
    out_.add('"');
  }

  void number(int at) {
    const lua_Number n = lua_tonumber(lua_, at);
    if (std::isnan(n) || std::isinf(n)) {
      if (set_.encode_invalid_null) return out_.add(std::string_view("null"));
      if (!set_.encode_invalid) fail(at, "must not be NaN or Inf");
      if (std::isnan(n)) return out_.add(std::string_view("nan"));
    }
    char digits[64];
    const int size = std::snprintf(digits, sizeof(digits), "%.*g", set_.precision, n);
    out_.add(std::string_view(digits, static_cast<size_t>(size)));
  }

  // The length of a table that is an array; -1: it is an object.
  int64_t array_length(int at) {
    int64_t most = 0, count = 0;
    lua_pushnil(lua_);
    while (lua_next(lua_, at) != 0) {
      const lua_Number k = lua_type(lua_, -2) == LUA_TNUMBER ? lua_tonumber(lua_, -2) : 0;
      lua_pop(lua_, 1);
      if (!(k >= 1) || std::floor(k) != k || k > INT32_MAX) {
        lua_pop(lua_, 1);
        return -1;
      }
      most = std::max(most, static_cast<int64_t>(k));
      count++;
    }
    if (set_.encode_sparse_ratio > 0 && most > count * set_.encode_sparse_ratio &&
        most > set_.encode_sparse_safe) {
      if (!set_.encode_sparse_convert) fail(at, "excessively sparse array");
      return -1;
    }
    return most;
  }

  void table(int depth, int at) {
    if (depth > std::min(set_.encode_max_depth, kDepthMax) || lua_checkstack(lua_, 4) == 0) {
      luaL_error(lua_, "Cannot serialise, excessive nesting (%d)", depth);
    }
    const int64_t length = array_length(at);
    if (length > 0) {
      out_.add('[');
      for (int64_t i = 1; i <= length; i++) {
        if (i > 1) out_.add(',');
        lua_rawgeti(lua_, at, static_cast<int>(i));
        value(depth, lua_gettop(lua_));
        lua_pop(lua_, 1);
      }
      return out_.add(']');
    }
    out_.add('{');
    bool first = true;
    for (lua_pushnil(lua_); lua_next(lua_, at) != 0; lua_pop(lua_, 1)) {
      if (!first) out_.add(',');
      first = false;
      const int key = lua_gettop(lua_) - 1;
      if (lua_type(lua_, key) == LUA_TNUMBER) {
        out_.add('"');
        number(key);
        out_.add(std::string_view("\":"));
      } else if (lua_type(lua_, key) == LUA_TSTRING) {
        text(text_at(lua_, key));
        out_.add(':');
      } else {
        fail(key, "table key must be a number or string");
      }
      value(depth, key + 1);
    }
    out_.add('}');
  }

  void value(int depth, int at) {
    LuaState::of(lua_).work_on_value(lua_);
    switch (lua_type(lua_, at)) {
      case LUA_TSTRING:
        return text(text_at(lua_, at));
      case LUA_TNUMBER:
        return number(at);
      case LUA_TBOOLEAN:
        return out_.add(std::string_view(lua_toboolean(lua_, at) != 0 ? "true" : "false"));
      case LUA_TTABLE:
        return table(depth + (at == 1 ? 0 : 1), at);
      case LUA_TNIL:
        return out_.add(std::string_view("null"));
      case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(lua_, at) == nullptr) return out_.add(std::string_view("null"));
        [[fallthrough]];
      default:
        fail(at, "type not supported");
    }
  }

  lua_State* const lua_;
  const Settings& set_;
  Bytes out_;
};

int encode(lua_State* lua) {
  luaL_argcheck(lua, lua_gettop(lua) == 1, 1, "expected 1 argument");
  return Encoder(lua).all();
}

// ---- decode ----

class Decoder {
 public:
  Decoder(lua_State* lua, std::string_view in) : lua_(lua), state_(LuaState::of(lua)), in_(in) {}

  int all() {
    // As UTF-16 or UTF-32 it would begin with a zero byte.
    if (in_.size() >= 2 && (in_[0] == 0 || in_[1] == 0)) {
      luaL_error(lua_, "JSON parser does not support UTF-16 or UTF-32");
    }
    value(next(), 0);
    if (const Token end = next(); end.type != Type::kEnd) expected("the end", end);
    return 1;
  }

 private:
  enum class Type : uint8_t {
    kObjBegin,
    kObjEnd,
    kArrBegin,
    kArrEnd,
    kString,
    kNumber,
    kBoolean,
    kNull,
    kColon,
    kComma,
    kEnd,
    kError,
  };
  struct Token {
    Type type;
    size_t at;
    double number = 0;
    const char* error = nullptr;
  };

  static const char* name_of(Type t) {
    constexpr const char* kNames[] = {"T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END",
                                      "T_STRING",    "T_NUMBER",  "T_BOOLEAN",   "T_NULL",
                                      "T_COLON",     "T_COMMA",   "T_END",       "T_ERROR"};
    return kNames[static_cast<size_t>(t)];
  }
  [[noreturn]] void expected(const char* what, const Token& t) {
    const char* found = t.type == Type::kError ? t.error : name_of(t.type);
    luaL_error(lua_, "Expected %s but found %s at character %d", what, found,
               static_cast<int>(t.at + 1));
    std::abort();  // it does not return
  }

  char here() const { return at_ < in_.size() ? in_[at_] : '\0'; }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  Token error(size_t at, const char* why) { return {Type::kError, at, 0, why}; }

  Token word(std::string_view text, Type type, double number = 0) {
    if (in_.substr(at_, text.size()) != text) return error(at_, "invalid token");
    const Token t{type, at_, number};
    at_ += text.size();
    return t;
  }

  // What JSON has no number for, but who invites it takes: hex, inf, nan, leading zeros and signs.
  static bool is_invalid(std::string_view s) {
    size_t i = 0;
    if (i < s.size() && s[i] == '+') return true;
    if (i < s.size() && s[i] == '-') i++;
    if (i >= s.size()) return true;
    if (s[i] == '0') {
      const char c = i + 1 < s.size() ? s[i + 1] : '\0';
      return c == 'x' || c == 'X' || is_digit(c);
    }
    return !is_digit(s[i]);
  }

  Token number() {
    const std::string_view rest = in_.substr(at_, 400);
    // It ends at the first byte that no number has, so that strtod sees no more.
    const std::string text(
        rest.substr(0, rest.find_first_not_of("+-.0123456789abcdefxABCDEFXinIpPtyNTY")));
    if (is_invalid(text) && !state_.json.decode_invalid) return error(at_, "invalid number");
    char* end;
    const double n = std::strtod(text.c_str(), &end);
    if (end == text.c_str()) return error(at_, "invalid number");
    const Token t{Type::kNumber, at_, n};
    at_ += static_cast<size_t>(end - text.c_str());
    return t;
  }

  Token next() {
    state_.work(lua_, 8);
    while (at_ < in_.size() &&
           (in_[at_] == ' ' || in_[at_] == '\t' || in_[at_] == '\n' || in_[at_] == '\r')) {
      at_++;
    }
    if (at_ >= in_.size()) return {Type::kEnd, at_};
    const Token one{Type::kError, at_};
    const auto single = [&](Type type) {
      at_++;
      return Token{type, one.at};
    };
    switch (in_[at_]) {
      case '{':
        return single(Type::kObjBegin);
      case '}':
        return single(Type::kObjEnd);
      case '[':
        return single(Type::kArrBegin);
      case ']':
        return single(Type::kArrEnd);
      case ',':
        return single(Type::kComma);
      case ':':
        return single(Type::kColon);
      case '"':
        return string();
      case 't':
        return word("true", Type::kBoolean, 1);
      case 'f':
        return word("false", Type::kBoolean, 0);
      case 'n':
        if (in_.substr(at_, 4) == "null") return word("null", Type::kNull);
        [[fallthrough]];
      case 'N':
      case 'i':
      case 'I':
        return state_.json.decode_invalid && begins_like_number() ? number()
                                                                  : error(at_, "invalid token");
      default:
        if (in_[at_] == '-' || in_[at_] == '+' || is_digit(in_[at_])) {
          if (in_[at_] == '+' && !state_.json.decode_invalid) return error(at_, "invalid token");
          return number();
        }
        return error(at_, "invalid token");
    }
  }

  bool begins_like_number() const {
    return equals_ignoring_case(in_.substr(at_, 3), "inf") ||
           equals_ignoring_case(in_.substr(at_, 3), "nan");
  }

  std::optional<uint32_t> hex4(size_t at) const {
    if (in_.size() < 4 || at > in_.size() - 4) return std::nullopt;
    uint32_t code = 0;
    for (size_t i = at; i < at + 4; i++) {
      const char c = in_[i];
      uint32_t digit;
      if (is_digit(c))
        digit = static_cast<uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        digit = static_cast<uint32_t>(c - 'a') + 10;
      else if (c >= 'A' && c <= 'F')
        digit = static_cast<uint32_t>(c - 'A') + 10;
      else
        return std::nullopt;
      code = code << 4 | digit;
    }
    return code;
  }

  // "\uXXXX", of which two may be one character; at_ is behind the 'u'.
  bool unicode() {
    auto code = hex4(at_);
    if (!code) return false;
    at_ += 4;
    if ((*code & 0xF800) == 0xD800) {
      if ((*code & 0x400) != 0 || in_.substr(at_, 2) != "\\u") return false;
      const auto low = hex4(at_ + 2);
      if (!low || (*low & 0xFC00) != 0xDC00) return false;
      at_ += 6;
      code = ((*code & 0x3FF) << 10 | (*low & 0x3FF)) + 0x10000;
    }
    const uint32_t c = *code;
    const auto add = [this](uint32_t byte) { text_ += static_cast<char>(byte); };
    if (c < 0x80) {
      add(c);
    } else if (c < 0x800) {
      add(0xC0 | c >> 6), add(0x80 | (c & 63));
    } else if (c < 0x10000) {
      add(0xE0 | c >> 12), add(0x80 | (c >> 6 & 63)), add(0x80 | (c & 63));
    } else {
      add(0xF0 | c >> 18), add(0x80 | (c >> 12 & 63)), add(0x80 | (c >> 6 & 63));
      add(0x80 | (c & 63));
    }
    return true;
  }

  // The text is in text_ then, which is no longer than what it was read from.
  Token string() {
    const size_t begin = at_++;
    text_.clear();
    for (;;) {
      const size_t end = in_.find_first_of("\"\\", at_);
      if (end == in_.npos) return error(in_.size(), "unexpected end of string");
      const std::string_view plain = in_.substr(at_, end - at_);
      for (size_t i = 0; i < plain.size(); i++) {
        if (static_cast<unsigned char>(plain[i]) == 0) return error(at_ + i, "invalid token");
      }
      text_.append(plain);
      at_ = end + 1;
      if (in_[end] == '"') return {Type::kString, begin};
      const size_t escape = end;
      const char c = here();
      at_++;
      switch (c) {
        case '"':
        case '\\':
        case '/':
          text_ += c;
          break;
        case 'b':
          text_ += '\b';
          break;
        case 't':
          text_ += '\t';
          break;
        case 'n':
          text_ += '\n';
          break;
        case 'f':
          text_ += '\f';
          break;
        case 'r':
          text_ += '\r';
          break;
        case 'u':
          if (!unicode()) return error(escape, "invalid unicode escape code");
          break;
        default:
          return error(escape, "invalid escape code");
      }
    }
  }

  void value(const Token& t, int depth) {
    switch (t.type) {
      case Type::kString:
        return push(lua_, text_);
      case Type::kNumber:
        return lua_pushnumber(lua_, t.number);
      case Type::kBoolean:
        return lua_pushboolean(lua_, t.number != 0);
      case Type::kNull:
        return lua_pushlightuserdata(lua_, nullptr);
      case Type::kObjBegin:
        return object(depth + 1);
      case Type::kArrBegin:
        return array(depth + 1);
      default:
        expected("value", t);
    }
  }

  void check_depth(int depth) {
    if (depth <= std::min(state_.json.decode_max_depth, kDepthMax) &&
        lua_checkstack(lua_, 3) != 0) {
      return;
    }
    luaL_error(lua_, "Found too many nested data structures (%d) at character %d", depth,
               static_cast<int>(at_));
  }

  void object(int depth) {
    check_depth(depth);
    lua_newtable(lua_);
    Token t = next();
    if (t.type == Type::kObjEnd) return;
    for (;;) {
      if (t.type != Type::kString) expected("object key string", t);
      push(lua_, text_);
      t = next();
      if (t.type != Type::kColon) expected("colon", t);
      value(next(), depth);
      lua_rawset(lua_, -3);
      t = next();
      if (t.type == Type::kObjEnd) return;
      if (t.type != Type::kComma) expected("comma or object end", t);
      t = next();
    }
  }

  void array(int depth) {
    check_depth(depth);
    lua_newtable(lua_);
    Token t = next();
    if (t.type == Type::kArrEnd) return;
    for (int i = 1;; i++) {
      value(t, depth);
      lua_rawseti(lua_, -2, i);
      t = next();
      if (t.type == Type::kArrEnd) return;
      if (t.type != Type::kComma) expected("comma or array end", t);
      t = next();
    }
  }

  lua_State* const lua_;
  LuaState& state_;
  const std::string_view in_;
  size_t at_ = 0;
  std::string text_;
};

int decode(lua_State* lua) {
  luaL_argcheck(lua, lua_gettop(lua) == 1, 1, "expected 1 argument");
  const std::string_view in = text_argument(lua, 1);
  LuaState::of(lua).need(lua, in.size());  // a text within it takes as much at most
  return Decoder(lua, in).all();
}

// ---- settings ----

int number_setting(lua_State* lua, int i, int& setting, int least, int most) {
  if (!lua_isnoneornil(lua, i)) {
    const lua_Integer n = luaL_checkinteger(lua, i);
    if (n < least || n > most) {
      return luaL_argerror(lua, i,
                           lua_pushfstring(lua, "expected integer between %d and %d", least, most));
    }
    setting = static_cast<int>(n);
  }
  lua_pushinteger(lua, setting);
  return 1;
}
int flag_setting(lua_State* lua, int i, bool& setting) {
  if (!lua_isnoneornil(lua, i)) {
    const char* const words[] = {"off", "on", nullptr};
    setting = lua_isboolean(lua, i) ? lua_toboolean(lua, i) != 0
                                    : luaL_checkoption(lua, i, nullptr, words) != 0;
  }
  lua_pushboolean(lua, setting);
  return 1;
}
void at_most(lua_State* lua, int n) {
  luaL_argcheck(lua, lua_gettop(lua) <= n, n + 1, "found too many arguments");
  lua_settop(lua, n);
}

int encode_sparse_array(lua_State* lua) {
  at_most(lua, 3);
  Settings& s = LuaState::of(lua).json;
  return flag_setting(lua, 1, s.encode_sparse_convert) +
         number_setting(lua, 2, s.encode_sparse_ratio, 0, INT32_MAX) +
         number_setting(lua, 3, s.encode_sparse_safe, 0, INT32_MAX);
}
int encode_max_depth(lua_State* lua) {
  at_most(lua, 1);
  return number_setting(lua, 1, LuaState::of(lua).json.encode_max_depth, 1, INT32_MAX);
}
int decode_max_depth(lua_State* lua) {
  at_most(lua, 1);
  return number_setting(lua, 1, LuaState::of(lua).json.decode_max_depth, 1, INT32_MAX);
}
int encode_number_precision(lua_State* lua) {
  at_most(lua, 1);
  return number_setting(lua, 1, LuaState::of(lua).json.precision, 1, 14);
}
int encode_keep_buffer(lua_State* lua) {
  at_most(lua, 1);
  return flag_setting(lua, 1, LuaState::of(lua).json.keep_buffer);
}
int encode_invalid_numbers(lua_State* lua) {
  at_most(lua, 1);
  Settings& s = LuaState::of(lua).json;
  if (lua_type(lua, 1) == LUA_TSTRING) {
    if (text_at(lua, 1) != "null") return luaL_argerror(lua, 1, "invalid option");
    s.encode_invalid_null = true;
  } else if (!lua_isnil(lua, 1)) {
    s.encode_invalid_null = false;
    (void)flag_setting(lua, 1, s.encode_invalid);
  }
  if (s.encode_invalid_null) {
    lua_pushliteral(lua, "null");
  } else {
    lua_pushboolean(lua, s.encode_invalid);
  }
  return 1;
}
int decode_invalid_numbers(lua_State* lua) {
  at_most(lua, 1);
  return flag_setting(lua, 1, LuaState::of(lua).json.decode_invalid);
}

void fill(lua_State* lua);
int make(lua_State* lua) {
  fill(lua);
  return 1;
}

void fill(lua_State* lua) {
  constexpr luaL_Reg kFunctions[] = {{"encode", encode},
                                     {"decode", decode},
                                     {"encode_sparse_array", encode_sparse_array},
                                     {"encode_max_depth", encode_max_depth},
                                     {"decode_max_depth", decode_max_depth},
                                     {"encode_number_precision", encode_number_precision},
                                     {"encode_keep_buffer", encode_keep_buffer},
                                     {"encode_invalid_numbers", encode_invalid_numbers},
                                     {"decode_invalid_numbers", decode_invalid_numbers},
                                     {"new", make},
                                     {nullptr, nullptr}};
  lua_newtable(lua);
  set_functions(lua, kFunctions);
  lua_pushlightuserdata(lua, nullptr);
  lua_setfield(lua, -2, "null");
  lua_pushliteral(lua, "cjson");
  lua_setfield(lua, -2, "_NAME");
  lua_pushliteral(lua, "2.1.0");
  lua_setfield(lua, -2, "_VERSION");
}

}  // namespace

void open_json(lua_State* lua) { fill(lua); }

}  // namespace cairn::kv
