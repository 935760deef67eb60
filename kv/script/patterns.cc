// Lua's patterns: find, match, gmatch, gsub, as the reference manual (5.4 of Lua 5.1) describes
// them. Our own, since the library's recurse without a limit and never look at the time, which a
// pattern like ".-.-.-.-x" takes without end.
#include <cctype>
#include <cstring>

#include "kv/script/state.h"

namespace cairn::kv {
namespace {

constexpr char kEscape = '%';
constexpr int kCapturesMax = 32;
constexpr std::string_view kSpecials = "^$*+?.([%-";

class Matcher {
 public:
  Matcher(lua_State* lua, std::string_view subject, std::string_view pattern)
      : lua_(lua), state_(LuaState::of(lua)), subject_(subject), pattern_(pattern) {}

  // The end of a match that begins at `at`; npos: there is none.
  size_t match(size_t at) {
    captures_ = 0;
    return match(at, 0);
  }
  // Pushes the captures; the whole match from `begin` to `end` if there are none and it is asked
  // for. Returns how many.
  int push_captures(size_t begin, size_t end, bool whole) {
    const int n = captures_ == 0 && whole ? 1 : captures_;
    luaL_checkstack(lua_, n, "too many captures");
    for (int i = 0; i < n; i++) push_capture(i, begin, end);
    return n;
  }
  void push_whole(size_t begin, size_t end) { push(lua_, subject_.substr(begin, end - begin)); }
  void push_capture(int i, size_t begin, size_t end) {
    if (i >= captures_) {
      if (i != 0) luaL_error(lua_, "invalid capture index");
      return push_whole(begin, end);
    }
    const Capture& c = capture_[i];
    if (c.size == kUnfinished) luaL_error(lua_, "unfinished capture");
    if (c.size == kPosition) return lua_pushinteger(lua_, static_cast<lua_Integer>(c.at + 1));
    push(lua_, subject_.substr(c.at, c.size));
  }

 private:
  static constexpr size_t kNone = std::string_view::npos;
  static constexpr size_t kUnfinished = kNone, kPosition = kNone - 1;
  static constexpr int kDepthMax = 200;
  struct Capture {
    size_t at, size;
  };

  unsigned char at(size_t i) const { return static_cast<unsigned char>(subject_[i]); }
  void step(uint64_t n = 1) { state_.work(lua_, n); }

  static bool in_class(unsigned char c, unsigned char name) {
    bool is;
    switch (std::tolower(name)) {
      case 'a':
        is = std::isalpha(c) != 0;
        break;
      case 'c':
        is = std::iscntrl(c) != 0;
        break;
      case 'd':
        is = std::isdigit(c) != 0;
        break;
      case 'l':
        is = std::islower(c) != 0;
        break;
      case 'p':
        is = std::ispunct(c) != 0;
        break;
      case 's':
        is = std::isspace(c) != 0;
        break;
      case 'u':
        is = std::isupper(c) != 0;
        break;
      case 'w':
        is = std::isalnum(c) != 0;
        break;
      case 'x':
        is = std::isxdigit(c) != 0;
        break;
      case 'z':
        is = c == 0;
        break;
      default:
        return name == c;
    }
    return std::isupper(name) != 0 ? !is : is;
  }

  // Where the single-character class that begins at p ends.
  size_t class_end(size_t p) {
    const char c = pattern_[p++];
    if (c == kEscape) {
      if (p >= pattern_.size()) luaL_error(lua_, "malformed pattern (ends with '%%')");
      return p + 1;
    }
    if (c != '[') return p;
    if (p < pattern_.size() && pattern_[p] == '^') p++;
    do {  // the first one may be ']'
      if (p >= pattern_.size()) luaL_error(lua_, "malformed pattern (missing ']')");
      if (pattern_[p++] == kEscape) {
        if (p >= pattern_.size()) luaL_error(lua_, "malformed pattern (missing ']')");
        p++;
      }
    } while (p >= pattern_.size() || pattern_[p] != ']');
    return p + 1;
  }

  // Whether c is in the set from p to its end, the place of ']'.
  bool in_set(unsigned char c, size_t p, size_t end) const {
    bool positive = true;
    p++;
    if (pattern_[p] == '^') {
      positive = false;
      p++;
    }
    const auto pattern = [this](size_t i) { return static_cast<unsigned char>(pattern_[i]); };
    for (; p < end; p++) {
      if (pattern_[p] == kEscape && p + 1 < end) {
        if (in_class(c, pattern(++p))) return positive;
      } else if (p + 2 < end && pattern_[p + 1] == '-') {
        if (pattern(p) <= c && c <= pattern(p + 2)) return positive;
        p += 2;
      } else if (pattern(p) == c) {
        return positive;
      }
    }
    return !positive;
  }

  bool single(size_t s, size_t p, size_t end) {
    step(end - p);  // a set may be long
    if (s >= subject_.size()) return false;
    switch (pattern_[p]) {
      case '.':
        return true;
      case kEscape:
        return in_class(at(s), static_cast<unsigned char>(pattern_[p + 1]));
      case '[':
        return in_set(at(s), p, end - 1);
      default:
        return pattern_[p] == subject_[s];
    }
  }

  size_t match(size_t s, size_t p) {
    if (depth_ >= kDepthMax) luaL_error(lua_, "pattern too complex");
    struct Deeper {
      explicit Deeper(int& d) : d(d) { d++; }
      ~Deeper() { d--; }
      int& d;
    } deeper(depth_);
    while (p < pattern_.size()) {
      const char c = pattern_[p];
      if (c == '(') {
        const bool position = p + 1 < pattern_.size() && pattern_[p + 1] == ')';
        return open(s, p + (position ? 2 : 1), position ? kPosition : kUnfinished);
      }
      if (c == ')') return close(s, p + 1);
      if (c == '$' && p + 1 == pattern_.size()) return s == subject_.size() ? s : kNone;
      if (c == kEscape && p + 1 < pattern_.size()) {
        const char next = pattern_[p + 1];
        if (next == 'b') {
          s = balanced(s, p + 2);
          if (s == kNone) return kNone;
          p += 4;
          continue;
        }
        if (next == 'f') {
          p = frontier(s, p + 2);
          if (p == kNone) return kNone;
          continue;
        }
        if (std::isdigit(static_cast<unsigned char>(next)) != 0) {
          s = again(s, next);
          if (s == kNone) return kNone;
          p += 2;
          continue;
        }
      }
      const size_t end = class_end(p);
      const char repeat = end < pattern_.size() ? pattern_[end] : '\0';
      if (repeat == '?') {
        if (single(s, p, end)) {
          const size_t found = match(s + 1, end + 1);
          if (found != kNone) return found;
        }
        p = end + 1;
      } else if (repeat == '*' || repeat == '+') {
        return longest(s, p, end, repeat == '+' ? 1 : 0);
      } else if (repeat == '-') {
        return shortest(s, p, end);
      } else {
        if (!single(s, p, end)) return kNone;
        s++;
        p = end;
      }
    }
    return s;
  }

  size_t longest(size_t s, size_t p, size_t end, size_t least) {
    size_t n = 0;
    while (single(s + n, p, end)) n++;
    for (;; n--) {
      if (n < least) return kNone;
      step();
      const size_t found = match(s + n, end + 1);
      if (found != kNone) return found;
      if (n == 0) return kNone;
    }
  }

  size_t shortest(size_t s, size_t p, size_t end) {
    for (;; s++) {
      const size_t found = match(s, end + 1);
      if (found != kNone) return found;
      if (!single(s, p, end)) return kNone;
    }
  }

  size_t open(size_t s, size_t p, size_t size) {
    if (captures_ >= kCapturesMax) luaL_error(lua_, "too many captures");
    capture_[captures_++] = {s, size};
    const size_t found = match(s, p);
    if (found == kNone) captures_--;
    return found;
  }

  size_t close(size_t s, size_t p) {
    int i = captures_ - 1;
    while (i >= 0 && capture_[i].size != kUnfinished) i--;
    if (i < 0) luaL_error(lua_, "invalid pattern capture");
    capture_[i].size = s - capture_[i].at;
    const size_t found = match(s, p);
    if (found == kNone) capture_[i].size = kUnfinished;
    return found;
  }

  size_t balanced(size_t s, size_t p) {
    if (p + 1 >= pattern_.size()) luaL_error(lua_, "unbalanced pattern");
    if (s >= subject_.size() || subject_[s] != pattern_[p]) return kNone;
    const char begin = pattern_[p], end = pattern_[p + 1];
    size_t open = 1;
    while (++s < subject_.size()) {
      step();
      if (subject_[s] == end) {
        if (--open == 0) return s + 1;
      } else if (subject_[s] == begin) {
        open++;
      }
    }
    return kNone;
  }

  // Behind "%f": where the pattern goes on, if it holds.
  size_t frontier(size_t s, size_t p) {
    if (p >= pattern_.size() || pattern_[p] != '[') {
      luaL_error(lua_, "missing '[' after '%%f' in pattern");
    }
    const size_t end = class_end(p);
    step(end - p);
    const unsigned char before = s == 0 ? 0 : at(s - 1);
    const unsigned char here = s < subject_.size() ? at(s) : 0;
    return !in_set(before, p, end - 1) && in_set(here, p, end - 1) ? end : kNone;
  }

  size_t again(size_t s, char digit) {
    const int i = digit - '1';
    if (i < 0 || i >= captures_ || capture_[i].size >= kPosition) {
      luaL_error(lua_, "invalid capture index");
    }
    const Capture& c = capture_[i];
    if (subject_.size() - s < c.size) return kNone;
    step(c.size + 1);
    return subject_.substr(s, c.size) == subject_.substr(c.at, c.size) ? s + c.size : kNone;
  }

  lua_State* const lua_;
  LuaState& state_;
  const std::string_view subject_, pattern_;
  int depth_ = 0;
  int captures_ = 0;
  Capture capture_[kCapturesMax];
};

// find and match.
int search(lua_State* lua, bool find) {
  const std::string_view subject = text_argument(lua, 1), pattern = text_argument(lua, 2);
  lua_Integer init = luaL_optinteger(lua, 3, 1);
  if (init < 0) init += static_cast<lua_Integer>(subject.size()) + 1;
  size_t at = init > 0 ? static_cast<size_t>(init) - 1 : 0;
  at = std::min(at, subject.size());
  if (find && (lua_toboolean(lua, 4) != 0 || pattern.find_first_of(kSpecials) == pattern.npos)) {
    // memmem takes a time that grows with the lengths alone; string_view's find does not.
    const void* found =
        memmem(subject.data() + at, subject.size() - at, pattern.data(), pattern.size());
    if (found == nullptr) {
      lua_pushnil(lua);
      return 1;
    }
    const auto begin = static_cast<lua_Integer>(static_cast<const char*>(found) - subject.data());
    lua_pushinteger(lua, begin + 1);
    lua_pushinteger(lua, begin + static_cast<lua_Integer>(pattern.size()));
    return 2;
  }
  const bool anchored = pattern.starts_with('^');
  Matcher m(lua, subject, pattern.substr(anchored ? 1 : 0));
  do {
    const size_t end = m.match(at);
    if (end == std::string_view::npos) continue;
    if (!find) return m.push_captures(at, end, true);
    lua_pushinteger(lua, static_cast<lua_Integer>(at + 1));
    lua_pushinteger(lua, static_cast<lua_Integer>(end));
    return m.push_captures(at, end, false) + 2;
  } while (++at <= subject.size() && !anchored);
  lua_pushnil(lua);
  return 1;
}

int find(lua_State* lua) { return search(lua, true); }
int match(lua_State* lua) { return search(lua, false); }

int next_match(lua_State* lua) {
  const std::string_view subject = text_at(lua, lua_upvalueindex(1));
  Matcher m(lua, subject, text_at(lua, lua_upvalueindex(2)));
  for (auto at = static_cast<size_t>(lua_tointeger(lua, lua_upvalueindex(3))); at <= subject.size();
       at++) {
    const size_t end = m.match(at);
    if (end == std::string_view::npos) continue;
    lua_pushinteger(lua, static_cast<lua_Integer>(end == at ? end + 1 : end));
    lua_replace(lua, lua_upvalueindex(3));
    return m.push_captures(at, end, true);
  }
  return 0;
}

int each_match(lua_State* lua) {
  (void)text_argument(lua, 1);
  (void)text_argument(lua, 2);
  lua_settop(lua, 2);
  lua_pushinteger(lua, 0);
  lua_pushcclosure(lua, next_match, 3);
  return 1;
}

// "%1" and the like in the text that takes the place of a match.
void add_text(luaL_Buffer& out, Matcher& m, std::string_view text, size_t begin, size_t end) {
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != kEscape) {
      luaL_addchar(&out, text[i]);
      continue;
    }
    const char c = ++i < text.size() ? text[i] : '\0';
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) {
      luaL_addchar(&out, c);
    } else {
      c == '0' ? m.push_whole(begin, end) : m.push_capture(c - '1', begin, end);
      luaL_addvalue(&out);
    }
  }
}

int substitute(lua_State* lua) {
  constexpr int kNestedMax = 40;  // each has a buffer of 8 KiB on the C stack
  const LuaState::Level level(lua, kNestedMax);
  const std::string_view subject = text_argument(lua, 1), pattern = text_argument(lua, 2);
  const int kind = lua_type(lua, 3);
  const bool anchored = pattern.starts_with('^');
  luaL_argcheck(
      lua,
      kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION || kind == LUA_TTABLE, 3,
      "string/function/table expected");
  const auto most = static_cast<size_t>(std::max<lua_Integer>(
      luaL_optinteger(lua, 4, static_cast<lua_Integer>(subject.size() + 1)), 0));
  Matcher m(lua, subject, pattern.substr(anchored ? 1 : 0));
  const std::string_view by = kind == LUA_TNUMBER || kind == LUA_TSTRING ? text_at(lua, 3) : "";
  luaL_Buffer out;
  luaL_buffinit(lua, &out);
  size_t at = 0, n = 0;
  while (n < most) {
    const size_t end = m.match(at);
    if (end != std::string_view::npos) {
      n++;
      if (kind == LUA_TNUMBER || kind == LUA_TSTRING) {
        add_text(out, m, by, at, end);
      } else {
        if (kind == LUA_TTABLE) {
          m.push_capture(0, at, end);
          lua_gettable(lua, 3);
        } else {
          lua_pushvalue(lua, 3);
          const int arguments = m.push_captures(at, end, true);
          lua_call(lua, arguments, 1);
        }
        if (lua_toboolean(lua, -1) == 0) {  // it stays
          lua_pop(lua, 1);
          push(lua, subject.substr(at, end - at));
        } else if (lua_isstring(lua, -1) == 0) {
          return luaL_error(lua, "invalid replacement value (a %s)", luaL_typename(lua, -1));
        }
        luaL_addvalue(&out);
      }
    }
    if (end != std::string_view::npos && end > at) {
      at = end;
    } else if (at < subject.size()) {
      luaL_addchar(&out, subject[at++]);
    } else {
      break;
    }
    if (anchored) break;
  }
  luaL_addlstring(&out, subject.data() + std::min(at, subject.size()),
                  subject.size() - std::min(at, subject.size()));
  luaL_pushresult(&out);
  lua_pushinteger(lua, static_cast<lua_Integer>(n));
  return 2;
}

}  // namespace

void open_patterns(lua_State* lua) {
  constexpr luaL_Reg kFunctions[] = {{"find", find},         {"match", match},
                                     {"gmatch", each_match}, {"gfind", each_match},
                                     {"gsub", substitute},   {nullptr, nullptr}};
  set_functions(lua, kFunctions);
}

}  // namespace cairn::kv
