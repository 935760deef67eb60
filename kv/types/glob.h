// Redis's glob patterns: * ? [a-z] [^x] \x, ready to be compared with many texts.
//
// Time: linear in pattern and text where what stands between two stars is plain text, and at most
// 1/64 of their product where it has ? or [ ] in it. There is no backtracking: each piece between
// two stars is looked for once, behind the one before it, and the leftmost place is as good as any.
//
// Threads: one at a time, since a pattern keeps what it has worked out.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::kv {

class Glob {
 public:
  explicit Glob(std::string_view pattern, bool ignore_case = false);
  bool matches(std::string_view text);
  // That it takes, with what it works out when it is compared with a long text.
  uint64_t memory_bytes() const;
  // About how many steps that takes.
  uint64_t work(std::string_view text) const { return text.size() * (pattern_bytes_ / 64 + 1); }

 private:
  // What one byte of the text has to be: this byte, any, or one of classes_[n - kClass].
  using Element = uint32_t;
  static constexpr Element kAny = 256, kClass = 257;
  struct Piece {                    // between stars
    std::string text;               // iff all elements are bytes and case counts
    std::vector<Element> elements;  // else
    std::vector<uint64_t> masks;    // by byte: which elements it fits; made when needed
    size_t size() const { return elements.empty() ? text.size() : elements.size(); }
  };

  Element take_class(std::string_view& pattern);
  void end_piece();
  bool fits(Element e, char c) const;
  bool fits_at(const Piece& piece, std::string_view text) const;
  // Where the piece first stands in the text, or npos.
  size_t find(Piece& piece, std::string_view text);
  size_t find_by_masks(Piece& piece, std::string_view text);
  char fold(char c) const {
    return ignore_case_ && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }

  const bool ignore_case_;
  std::vector<Piece> pieces_;  // one more than there are stars
  std::vector<std::bitset<256>> classes_;
  size_t least_ = 0;  // bytes that a text must have
  const size_t pattern_bytes_;
};

inline bool glob_match(std::string_view pattern, std::string_view text, bool ignore_case = false) {
  return Glob(pattern, ignore_case).matches(text);
}

}  // namespace cairn::kv
