// What a collection holds, as text that is the same for the same contents, however they lie in
// memory: for whoever compares two that came about in different ways.
//
// Threads: as the collection.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/index/index.h"

namespace cairn::sim {

// A field of a hash, or what else has a time of its own.
struct TimedPart {
  std::string name, text;
  int64_t until_ms = 0;  // 0: for ever
  bool is_due(int64_t now_ms) const { return until_ms != 0 && until_ms <= now_ms; }
  bool operator==(const TimedPart&) const = default;
};

struct Image {
  ValueType type = ValueType::kString;
  int64_t expire_ms = 0;
  std::string bytes;             // of a hash: none
  std::vector<TimedPart> parts;  // of a hash, by name; those that are due too, while they are there
  bool operator==(const Image&) const = default;

  bool expired(int64_t now_ms) const;
  // Whether somebody who looks then sees the same of both.
  bool looks_like(const Image& other, int64_t now_ms) const;
  std::string describe() const;  // for a person
};

// Of a collection: type, bytes and parts. What of it is not in the log, by intention, is not in it:
// when a consumer of a stream only tried something last.
Image image_of(ValueType type, const Collection& c);

// Breaks off with the name of what does not fit together within it; empty: all does.
std::string inner_damage(ValueType type, const Collection& c);

}  // namespace cairn::sim
