// Parts of commands' words that several requests about collections have (collection_words.h).
//
// Threads: any.
#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "core/base/text.h"
#include "gateway/grpc/call.h"
#include "gateway/grpc/collection_words.h"

namespace cairn::rpc {

inline constexpr size_t kItemRoom = 16;  // what a message takes for an item beside its bytes, about

// The shortest text that is read as this very number.
inline std::string text_of(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value);
  return {text, end.ptr};
}

template <class Words>
void add(kv::Args& to, const Words& words) {
  for (const std::string& word : words) to.add(word);
}

inline void begin(kv::Args& to, std::string_view name, const v1::Key& key) {
  to.add(name);
  to.add(key.key());
}

inline grpc::Status check_count(int count, const v1::Key& key) {
  return count >= 1 && count <= kKeysMax ? grpc::Status()
                                         : bad_argument("1 to 1000 of them in a request", &key);
}

// So many of a request that says 0 for `usual`; above 1,000: wrong.
inline grpc::Status add_count(kv::Args& to, uint32_t count, uint32_t usual, const v1::Key& key) {
  to.add_copy(cat(count == 0 ? usual : count));
  return count <= static_cast<uint32_t>(kKeysMax) ? grpc::Status()
                                                  : bad_argument("count is at most 1000", &key);
}

inline grpc::Status no_number(const v1::Key& key) {
  return bad_argument("NaN is no number here", &key);
}

// Command, key, and so many words.
template <class Words>
grpc::Status about(kv::Args& to, std::string_view name, const v1::Key& key, const Words& words) {
  begin(to, name, key);
  add(to, words);
  return check_count(words.size(), key);
}

inline grpc::Status about(kv::Args& to, std::string_view name, const v1::Key& key) {
  begin(to, name, key);
  return {};
}

template <class Fields>
grpc::Status add_fields(kv::Args& to, const Fields& fields, const v1::Key& key) {
  for (const v1::HashField& field : fields) {
    to.add(field.name());
    to.add(field.value());
  }
  return check_count(fields.size(), key);
}

// How long to wait, in seconds: the word of those commands.
inline void add_wait(kv::Args& to, uint64_t ms) {
  constexpr uint64_t kLongestMs = uint64_t{1} << 40;
  ms = std::min(ms, kLongestMs);
  const std::string part = cat(1000 + ms % 1000);
  to.add_copy(cat(ms / 1000, ".", std::string_view(part).substr(1)));
}

// The command of an operation, of those for a union, an intersection and a difference.
inline grpc::Status add_operation(kv::Args& to, v1::SetOperation operation, const v1::Key& key,
                                  std::string_view of_union, std::string_view of_intersection,
                                  std::string_view of_difference) {
  switch (operation) {
    case v1::SET_OPERATION_UNION:
      to.add(of_union);
      return {};
    case v1::SET_OPERATION_INTERSECTION:
      to.add(of_intersection);
      return {};
    case v1::SET_OPERATION_DIFFERENCE:
      to.add(of_difference);
      return {};
    default:
      return bad_argument("set the operation", &key);
  }
}

}  // namespace cairn::rpc
