// Text with wildcards and variables, as resources and conditions of policies have it.
//
// '*' is any text, '?' one character. With variables (in policies of version 2012-10-17): ${KEY} is
// the value of that key in the request, ${KEY, 'text'} likewise, or the text where it has none, and
// ${*}, ${?}, ${$} are these characters. A value stands for itself, whatever characters it has. One
// that is not there and has no default makes a text that nothing equals and nothing is like.
//
// Matching takes time in proportion to text times pattern at most, and no memory.
//
// Threads: constant once it is made.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/store/policy_names.h"

namespace cairn::policy {

// "head", or "head/tail" without anybody having to put it together.
struct Joined {
  std::string_view head;
  std::string_view tail = {};
  bool has_tail = false;

  size_t size() const { return head.size() + (has_tail ? 1 + tail.size() : 0); }
  char at(size_t i) const {
    if (i < head.size()) return head[i];
    return i == head.size() ? '/' : tail[i - head.size() - 1];
  }
  bool has_at(size_t at, std::string_view part) const;
};

class Pattern {
 public:
  struct Syntax {
    bool wildcards = true;
    bool variables = true;
    bool ignores_case = false;  // of A to Z
  };
  // InvalidArgument: a variable that is not closed, or that names no key; the message says which.
  static absl::StatusOr<Pattern> parse(std::string_view text, Syntax syntax);

  bool matches(const Joined& text, const Context& context) const;
  bool matches(std::string_view text, const Context& context) const {
    return matches(Joined{text}, context);
  }
  // Whether it matches `text` with whatever follows it.
  bool matches_all_behind(const Joined& text, const Context& context) const {
    return !items_.empty() && items_.back().kind == Item::kAny && matches(text, context);
  }
  // Whether it may match `text` with something behind it, by what variables may hold.
  bool may_match_behind(const Joined& text) const;
  // Whether it can match some text with a '/' in it, or without.
  bool may_have_slash() const;
  bool may_lack_slash() const;
  // Cut at the ':' of its own texts, never within a variable: `parts_max` of them at most, the last
  // with the rest.
  std::vector<Pattern> split(size_t parts_max) const;
  // The part before the first '/', with any text in the place of variables.
  Pattern before_slash() const;

 private:
  Pattern() = default;
  explicit Pattern(bool ignores_case) : ignores_case_(ignores_case) {}

  struct Item {
    enum Kind : uint8_t { kText, kAny, kOne, kVariable } kind;
    std::string text = {};  // of a variable: its default
    ConditionKey key = {Key::kCount, ""};
    bool has_default = false;
  };
  void add_text(std::string_view text);
  std::vector<Item> items_;
  bool ignores_case_ = false;
};

}  // namespace cairn::policy
