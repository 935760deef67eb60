#include "core/store/policy_pattern.h"

#include <algorithm>

#include "core/base/text.h"

namespace cairn::policy {
namespace {

// Of the character there: 1 if it is none of UTF-8's.
size_t character_bytes(const Joined& text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text.at(i)); };
  const unsigned char first = byte(at);
  const size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  if (text.size() - at < n) return 1;
  for (size_t i = 1; i < n; i++) {
    if ((byte(at + i) & 0xc0) != 0x80) return 1;
  }
  return n;
}

bool has_at_ignoring_case(const Joined& text, size_t at, std::string_view part) {
  if (text.size() - at < part.size()) return false;
  for (size_t i = 0; i < part.size(); i++) {
    const char c = text.at(at + i);
    if (!equals_ignoring_case({&c, 1}, part.substr(i, 1))) return false;
  }
  return true;
}

}  // namespace

bool Joined::has_at(size_t at, std::string_view part) const {
  if (size() - at < part.size()) return false;
  if (at < head.size()) {
    const size_t n = std::min(part.size(), head.size() - at);
    if (head.substr(at, n) != part.substr(0, n)) return false;
    part.remove_prefix(n);
    at += n;
  }
  if (part.empty()) return true;
  if (at == head.size()) {
    if (part[0] != '/') return false;
    part.remove_prefix(1);
    at++;
  }
  return tail.substr(at - head.size() - 1, part.size()) == part;
}

void Pattern::add_text(std::string_view text) {
  if (text.empty()) return;
  if (items_.empty() || items_.back().kind != Item::kText) items_.push_back({Item::kText});
  items_.back().text.append(text);
}

absl::StatusOr<Pattern> Pattern::parse(std::string_view text, Syntax syntax) {
  Pattern pattern;
  pattern.ignores_case_ = syntax.ignores_case;
  const std::string_view special = syntax.wildcards ? "*?$" : "$";
  while (!text.empty()) {
    const size_t plain = std::min(text.find_first_of(special), text.size());
    pattern.add_text(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    if (text[0] != '$') {
      // Several in a row are one.
      const auto kind = text[0] == '*' ? Item::kAny : Item::kOne;
      const bool again =
          kind == Item::kAny && !pattern.items_.empty() && pattern.items_.back().kind == Item::kAny;
      if (!again) pattern.items_.push_back({kind});
      text.remove_prefix(1);
      continue;
    }
    if (!syntax.variables || !text.starts_with("${")) {
      pattern.add_text("$");
      text.remove_prefix(1);
      continue;
    }
    Item item{Item::kVariable};
    const std::string_view whole = text;
    const auto refused = [&](std::string_view why) {
      return absl::InvalidArgumentError(cat(why, ": ", whole.substr(0, whole.find('}')), "}"));
    };
    // A default may have a '}' in it.
    const size_t comma = text.find_first_of(",}");
    size_t end = comma;
    if (comma != text.npos && text[comma] == ',') {
      const size_t open = text.find_first_not_of(' ', comma + 1);
      if (open == text.npos || text[open] != '\'') return refused("a default stands within '");
      const size_t close = text.find('\'', open + 1);
      if (close == text.npos) return refused("a default stands within '");
      item.text = text.substr(open + 1, close - open - 1);
      item.has_default = true;
      end = text.find_first_not_of(' ', close + 1);
      if (end != text.npos && text[end] != '}') return refused("nothing follows a default");
    }
    if (end == text.npos) return refused("a variable is not closed");
    const std::string_view name = text.substr(2, comma - 2);
    text.remove_prefix(end + 1);
    if (!item.has_default && (name == "*" || name == "?" || name == "$")) {
      pattern.add_text(name);
      continue;
    }
    auto key = ConditionKey::parse(name);
    if (!key || row_of(key->key).has_several_values()) return refused("no such variable");
    item.key = std::move(*key);
    pattern.items_.push_back(std::move(item));
  }
  return pattern;
}

bool Pattern::matches(const Joined& text, const Context& context) const {
  constexpr size_t kNone = SIZE_MAX;
  const size_t size = text.size();
  // The last '*' met: what it took ends at `taken`, and grows by a character when what follows
  // fails.
  size_t item = 0, at = 0, any = kNone, taken = 0;
  while (true) {
    bool fits = false;
    if (item == items_.size()) {
      if (at == size) return true;
    } else {
      const Item& i = items_[item];
      if (i.kind == Item::kAny) {
        if (item + 1 == items_.size()) return true;
        any = item++;
        taken = at;
        continue;
      }
      if (i.kind == Item::kOne) {
        fits = at < size;
        if (fits) at += character_bytes(text, at);
      } else {
        std::string_view part = i.text;
        if (i.kind == Item::kVariable) {
          const auto value = context.value(i.key, 0);
          if (!value && !i.has_default) return false;
          if (value) part = *value;
        }
        fits = ignores_case_ ? has_at_ignoring_case(text, at, part) : text.has_at(at, part);
        if (fits) at += part.size();
      }
    }
    if (fits) {
      item++;
      continue;
    }
    if (any == kNone || taken == size) return false;
    taken += character_bytes(text, taken);
    at = taken;
    item = any + 1;
  }
}

bool Pattern::may_match_behind(const Joined& text) const {
  const size_t size = text.size();
  size_t at = 0;
  for (const Item& i : items_) {
    if (i.kind == Item::kAny || i.kind == Item::kVariable || at >= size) return true;
    if (i.kind == Item::kOne) {
      at += character_bytes(text, at);
      continue;
    }
    for (size_t n = 0; n < i.text.size(); n++, at++) {
      if (at >= size) return true;
      if (text.at(at) != i.text[n]) return false;
    }
  }
  return at >= size;
}

bool Pattern::may_have_slash() const {
  return std::any_of(items_.begin(), items_.end(), [](const Item& i) {
    return i.kind != Item::kText || i.text.find('/') != std::string::npos;
  });
}

bool Pattern::may_lack_slash() const {
  return std::none_of(items_.begin(), items_.end(), [](const Item& i) {
    return i.kind == Item::kText && i.text.find('/') != std::string::npos;
  });
}

std::vector<Pattern> Pattern::split(size_t parts_max) const {
  std::vector<Pattern> parts{Pattern(ignores_case_)};
  for (const Item& i : items_) {
    if (i.kind != Item::kText) {
      parts.back().items_.push_back(i);
      continue;
    }
    std::string_view text = i.text;
    while (parts.size() < parts_max && text.find(':') != text.npos) {
      parts.back().add_text(text.substr(0, text.find(':')));
      text.remove_prefix(text.find(':') + 1);
      parts.push_back(Pattern(ignores_case_));
    }
    parts.back().add_text(text);
  }
  return parts;
}

Pattern Pattern::before_slash() const {
  Pattern pattern;
  for (const Item& i : items_) {
    if (i.kind == Item::kVariable) {
      pattern.items_.push_back({Item::kAny});
    } else if (const size_t slash = i.text.find('/');
               i.kind == Item::kText && slash != std::string::npos) {
      pattern.add_text(std::string_view(i.text).substr(0, slash));
      break;
    } else {
      pattern.items_.push_back(i);
    }
  }
  return pattern;
}

}  // namespace cairn::policy
