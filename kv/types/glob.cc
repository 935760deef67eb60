#include "kv/types/glob.h"

#include <cstring>
#include <utility>

namespace cairn::kv {

Glob::Glob(std::string_view pattern, bool ignore_case)
    : ignore_case_(ignore_case), pattern_bytes_(pattern.size()) {
  pieces_.emplace_back();
  while (!pattern.empty()) {
    const char c = pattern[0];
    if (c == '[') {
      const Element e = take_class(pattern);
      pieces_.back().elements.push_back(e);
      continue;
    }
    if (c == '*') {
      end_piece();
      pieces_.emplace_back();
      while (!pattern.empty() && pattern[0] == '*') pattern.remove_prefix(1);
      continue;
    }
    if (c == '\\' && pattern.size() > 1) pattern.remove_prefix(1);
    const bool any = c == '?';
    pieces_.back().elements.push_back(any ? kAny : static_cast<uint8_t>(fold(pattern[0])));
    pattern.remove_prefix(1);
  }
  end_piece();
}

void Glob::end_piece() {
  Piece& piece = pieces_.back();
  least_ += piece.elements.size();
  for (Element e : piece.elements) {
    if (e >= kAny || ignore_case_) return;
  }
  for (Element e : piece.elements) piece.text.push_back(static_cast<char>(e));
  piece.elements.clear();
}

// As Redis: an open class ends with the pattern, an escaped byte does not fold, and the ends of a
// range may stand in any order.
Glob::Element Glob::take_class(std::string_view& pattern) {
  size_t i = 1;
  const bool negate = i < pattern.size() && pattern[i] == '^';
  if (negate) i++;
  std::bitset<256> set;
  const auto add = [&](int c) { set.set(static_cast<uint8_t>(c)); };
  for (; i < pattern.size() && pattern[i] != ']'; i++) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      add(pattern[++i]);
    } else if (i + 2 < pattern.size() && pattern[i + 1] == '-') {
      char from = pattern[i], to = pattern[i + 2];
      if (from > to) std::swap(from, to);
      for (int c = -128; c < 128; c++) {
        const char folded = fold(static_cast<char>(c));
        if (fold(from) <= folded && folded <= fold(to)) add(c);
      }
      i += 2;
    } else {
      add(pattern[i]);
      for (int c = 'A'; ignore_case_ && c <= 'Z'; c++) {
        if (fold(static_cast<char>(c)) != fold(pattern[i])) continue;
        add(c);
        add(c + 32);
      }
    }
  }
  pattern.remove_prefix(i < pattern.size() ? i + 1 : i);
  classes_.push_back(negate ? ~set : set);
  return kClass + static_cast<Element>(classes_.size() - 1);
}

bool Glob::fits(Element e, char c) const {
  if (e < kAny) return static_cast<uint8_t>(fold(c)) == e;
  return e == kAny || classes_[e - kClass][static_cast<uint8_t>(c)];
}

bool Glob::fits_at(const Piece& piece, std::string_view text) const {
  if (piece.elements.empty()) return text.substr(0, piece.text.size()) == piece.text;
  for (size_t i = 0; i < piece.elements.size(); i++) {
    if (!fits(piece.elements[i], text[i])) return false;
  }
  return true;
}

bool Glob::matches(std::string_view text) {
  if (text.size() < least_) return false;
  const Piece& first = pieces_.front();
  if (pieces_.size() == 1) return text.size() == least_ && fits_at(first, text);
  const Piece& last = pieces_.back();
  if (!fits_at(first, text) || !fits_at(last, text.substr(text.size() - last.size()))) return false;
  text = text.substr(first.size(), text.size() - first.size() - last.size());
  for (size_t i = 1; i + 1 < pieces_.size(); i++) {
    const size_t at = find(pieces_[i], text);
    if (at == text.npos) return false;
    text.remove_prefix(at + pieces_[i].size());
  }
  return true;
}

size_t Glob::find(Piece& piece, std::string_view text) {
  const size_t n = piece.size();
  if (n == 0) return 0;
  if (n > text.size()) return text.npos;
  if (piece.elements.empty()) {  // linear in the worst case too, unlike string_view::find
    const void* at = ::memmem(text.data(), text.size(), piece.text.data(), n);
    return at == nullptr ? text.npos
                         : static_cast<size_t>(static_cast<const char*>(at) - text.data());
  }
  constexpr size_t kFewSteps = 4096;  // less than the masks would cost
  if (n * (text.size() - n + 1) > kFewSteps) return find_by_masks(piece, text);
  for (size_t at = 0; at + n <= text.size(); at++) {
    if (fits_at(piece, text.substr(at))) return at;
  }
  return text.npos;
}

uint64_t Glob::memory_bytes() const {
  uint64_t bytes = pieces_.capacity() * sizeof(Piece) + classes_.capacity() * sizeof(classes_[0]);
  for (const Piece& piece : pieces_) {
    const uint64_t words = (piece.elements.size() + 63) / 64;
    bytes += piece.text.capacity() + piece.elements.capacity() * sizeof(Element);
    const bool between = &piece != &pieces_.front() && &piece != &pieces_.back();
    if (between) bytes += 256 * words * sizeof(uint64_t);  // masks
  }
  return bytes;
}

// Bit i of `state`: the first i + 1 elements fit the bytes that end here.
size_t Glob::find_by_masks(Piece& piece, std::string_view text) {
  const size_t n = piece.size(), words = (n + 63) / 64;
  if (piece.masks.empty()) {
    piece.masks.resize(256 * words);
    for (size_t i = 0; i < n; i++) {
      for (int c = 0; c < 256; c++) {
        if (!fits(piece.elements[i], static_cast<char>(c))) continue;
        piece.masks[static_cast<size_t>(c) * words + i / 64] |= uint64_t{1} << (i % 64);
      }
    }
  }
  std::vector<uint64_t> state(words);
  for (size_t at = 0; at < text.size(); at++) {
    const uint64_t* mask = &piece.masks[static_cast<uint8_t>(text[at]) * words];
    uint64_t carry = 1;
    for (size_t w = 0; w < words; w++) {
      const uint64_t next = state[w] >> 63;
      state[w] = (state[w] << 1 | carry) & mask[w];
      carry = next;
    }
    if (state[(n - 1) / 64] >> ((n - 1) % 64) & 1) return at + 1 - n;
  }
  return text.npos;
}

}  // namespace cairn::kv
