// The set type: members, each once.
//
// A set of integers alone is an array of them in order, each of 2, 4 or 8 bytes; another small one
// is a stretch of bytes, searched from the front; a larger one a table that grows without pauses
// (member_table.h). OBJECT ENCODING answers by Redis's thresholds, which are not all ours.
//
// An operation:
//   operation = u8 kind  item*            kind 1: these are members; 2: these are none
//             | u8 3  u8 width  integer*  these are members
//   item                                  as in text_set.h; also how a small one lies in memory
//   integer = i16, i32 or i64, as width says (2, 4, 8), little-endian; also how they lie in memory,
//             and then in order. As a member it is its text.
//
// Threads: as core/index/collection.h.
#pragma once

#include <absl/functional/function_ref.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/collection.h"
#include "kv/types/compact.h"
#include "kv/types/member_table.h"

namespace cairn::kv {

class Set final : public Collection {
 public:
  // Redis's set-max-intset-entries, set-max-listpack-entries and set-max-listpack-value.
  static constexpr size_t kIntsetEntries = 512, kListpackEntries = 128, kListpackValue = 64;

  explicit Set(uint64_t seed) : table_(seed) {}
  static std::unique_ptr<Collection> make(uint64_t seed) { return std::make_unique<Set>(seed); }

  // Operations to pass to Transaction::operate. One is of one kind: all of its items were added by
  // the same of these.
  static void add_there(std::string& operation, std::string_view member);
  static void add_gone(std::string& operation, std::string_view member);
  // All of these items (text_set.h) are members.
  static std::string all_there(std::string_view items);

  bool apply(std::string_view operation) override;
  void inverse(std::string_view operation, std::vector<std::string>& undo) const override;
  bool empty() const override { return size() == 0; }
  uint64_t memory_bytes() const override;
  uint64_t image_bytes() const override;
  uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const override;
  bool in_use() const override { return table_ && table_->in_use(); }
  void moved(KeyHash hash) override {
    if (table_) table_->moved(hash);
  }
  bool free_some() override {
    return table_ && table_->free_some([](auto*) {});
  }

  std::string_view encoding() const {  // in Redis's words
    return !plain_ ? "hashtable" : !table_ && holds_integers() ? "intset" : "listpack";
  }

  size_t size() const { return table_ ? table_->size() : count_; }
  uint64_t item_bytes() const;  // of all members, at most
  bool contains(std::string_view member) const;
  using Visit = absl::FunctionRef<void(std::string_view member)>;
  void for_each(Visit visit) const;
  // A walk over one that nobody changes meanwhile: each step visits some members, from `from` on,
  // which is 0 or what the step before returned; 0 after the last.
  KeyHash walk(KeyHash from, Visit visit) const;
  // As SCAN: about `count` members from `cursor` on; returns the next cursor, 0 at the end.
  uint64_t scan(uint64_t cursor, size_t count, Visit visit) const;
  // One by chance; there must be one.
  using Digits = std::array<char, 24>;  // where the text of an integer stands
  std::string_view random(uint64_t random, Digits& digits) const;
  // Null for one that is small: that can be copied at once.
  const MemberTable* table() const { return table_.get(); }
  std::unique_ptr<Set> copy_of_small() const;

 private:
  static constexpr size_t kCompactEntries = 128, kCompactBytes = 4 << 10;

  bool holds_integers() const { return width_ != 0 || count_ == 0; }
  bool apply_integers(std::string_view operation);
  bool take_integers(std::string_view integers, uint8_t width);
  void add(std::string_view member);
  bool add_integer(int64_t value);
  void add_to_bytes(std::string_view member);
  void add_to_table(std::string_view member);
  void remove(std::string_view member);
  bool fits(size_t member_bytes) const;
  bool leave_integers(size_t member_bytes);
  void spread();  // to a table
  void for_each_in_bytes(Visit visit) const;
  // Where it is, or would be, among the integers.
  size_t place_of(int64_t value) const;
  int64_t integer(size_t i) const;
  void widen(uint8_t width);
  // Where its item begins, among the bytes; npos: nowhere.
  size_t find_item(std::string_view member) const;

  TablePlace<MemberTable> table_;  // or, while there is none:
  [[no_unique_address]] CompactBytes bytes_;
  uint16_t count_ = 0;
  uint8_t width_ = 0;  // of integers; 0: items
  bool plain_ = true;  // never exceeded Redis's thresholds
};
static_assert(sizeof(Set) == 56);

}  // namespace cairn::kv
