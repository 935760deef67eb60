// A text that a function of a library makes: its memory counts as the script's, and is given back
// when the function returns or an error passes it. Threads: one.
#pragma once

#include <string>
#include <string_view>

#include "kv/script/state.h"

namespace cairn::kv {

class Bytes {
 public:
  explicit Bytes(lua_State* lua) : lua_(lua), state_(LuaState::of(lua)) {}
  void add(char c) { add(std::string_view(&c, 1)); }
  void add(std::string_view text) {
    constexpr size_t kLookEach = 1 << 20;
    // Twice: it is copied at the end, and there may be less room then.
    if (text_.size() + text.size() > text_.capacity()) {
      state_.need(lua_, 2 * (2 * text_.size() + text.size()));
    }
    text_.append(text);
    if (text_.size() >= next_look_) {
      next_look_ = text_.size() + kLookEach;
      state_.look_at_time(lua_);
    }
  }
  void drop_last() { text_.pop_back(); }
  size_t size() const { return text_.size(); }
  int push_all() {
    push(lua_, text_);
    return 1;
  }

 private:
  lua_State* const lua_;
  LuaState& state_;
  std::string text_;
  size_t next_look_ = 1 << 20;
};

}  // namespace cairn::kv
