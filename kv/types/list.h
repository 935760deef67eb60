// The list type.
//
// A small one is one block of packed elements (list_block.h); a larger one a tree of blocks
// (counted_tree.h) of at most 8 KiB or one element each. Nothing larger than a block is ever moved.
//
// Numbers. In the log an element is a number that it has for life, from its first to its last in
// growing order. To the log a list is a map from numbers to elements: an operation says which
// elements some numbers have, or that a range of numbers has none. So of each number the newest
// operation alone counts, and a replay of older ones first, or of some twice, changes nothing.
// While parts of a rewritten list are replayed there are gaps, as between any two blocks: they
// need no room and no care.
//
// Numbers are consecutive within a block and mostly leave kGap free between blocks. So whoever
// inserts or removes in the middle of a list of millions moves, and writes to the log, one side of
// a block: a few KiB. To write the shorter side of the whole list would be megabytes for each
// LINSERT. Only when insertions at one place have used all free numbers around it, some blocks
// there get others (renumber).
//
//   operation = step*
//   step      = 1  i64 first  u32 bytes  elements    the numbers from `first` on are these
//             | 2  i64 first  i64 end                those from `first` to before `end` have none
//
// Threads: as core/index/collection.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/collection.h"
#include "kv/types/counted_tree.h"
#include "kv/types/list_block.h"
#include "kv/types/snapshot.h"

namespace cairn::kv {

class List final : public Collection {
 public:
  static constexpr int kMaxListpackSize = -2;  // Redis's list-max-listpack-size: 8 KiB
  struct Weigh {
    uint64_t operator()(const BlockRef& block) const { return block.count(); }
  };
  using Tree = CountedTree<BlockRef, Weigh>;

  List() = default;
  ~List() override;
  static std::unique_ptr<Collection> make(uint64_t) { return std::make_unique<List>(); }

  bool apply(std::string_view operation) override;
  void inverse(std::string_view operation, std::vector<std::string>& undo) const override;
  bool empty() const override { return size() == 0; }
  uint64_t memory_bytes() const override;
  uint64_t image_bytes() const override;
  uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const override;
  bool free_some() override;

  std::string_view encoding() const { return large_ ? "quicklist" : "listpack"; }

  // ---- what is there; indexes count from 0 ----
  uint64_t size() const { return large_ ? large_->count : one_ ? one_.count() : 0; }
  std::string_view at(uint64_t index) const;
  uint64_t packed_bytes() const {
    return large_ ? large_->packed : one_ ? one_.packed().size() : 0;
  }
  // Whether `n` elements from this one on take more than so many bytes.
  bool exceeds(uint64_t index, uint64_t n, uint64_t bytes) const;
  // The blocks that hold them.
  std::vector<BlockRef> blocks(uint64_t index, uint64_t n) const;
  // fn(element) of `n` elements from this one on, or back; fn returns false to stop.
  template <class Fn>
  void walk(uint64_t index, uint64_t n, Fn fn) const {
    if (large_) {
      uint64_t within = 0;
      const auto at = place(index, within);
      return walk_from(at, within, n, fn);
    }
    if (one_) one_.walk(static_cast<uint32_t>(index), n, fn);
  }
  template <class Fn>
  void walk_back(uint64_t index, uint64_t n, Fn fn) const {
    if (large_) {
      uint64_t within = 0;
      const auto at = place(index, within);
      return walk_back_from(at, within, n, fn);
    }
    if (one_) one_.walk_back(static_cast<uint32_t>(index), n, fn);
  }
  template <class Fn>
  static void walk(const Tree& tree, uint64_t index, uint64_t n, Fn fn) {
    uint64_t within = 0;
    const auto c = tree.at_rank(index, within);
    walk_from(c, within, n, fn);
  }
  template <class Fn>
  static void walk_back(const Tree& tree, uint64_t index, uint64_t n, Fn fn) {
    uint64_t within = 0;
    const auto c = tree.at_rank(index, within);
    walk_back_from(c, within, n, fn);
  }
  // As it is now, whatever is done to it later. For one that is not small.
  bool is_small() const { return large_ == nullptr; }
  Snapshot<Tree> snapshot() const { return large_->snapshots.take(large_->tree); }
  uint64_t block_count() const { return large_ ? large_->blocks : one_ ? 1 : 0; }

  // ---- operations to pass to Transaction::operate, or several of them one behind the other ----
  // Elements come to one end, one by one; `list` may be null: to one that is not there.
  static void add_push(const List* list, bool left, std::span<const std::string_view> elements,
                       std::string& operation);
  // A list is made from its front on of such blocks, of packed elements (list_block.h): the first
  // begins at number 0, each other one where this says.
  static int64_t add_block(int64_t first, uint32_t count, std::string_view packed,
                           std::string& operation);
  void add_erase(uint64_t index, uint64_t n, std::string& operation) const;
  void add_set(uint64_t index, std::string_view element, std::string& operation) const;
  // Before the one at this index, from 1 to size() - 1.
  void add_insert(uint64_t index, std::string_view element, std::string& operation) const;
  // Indexes in growing order.
  void add_remove(std::span<const uint64_t> indexes, std::string& operation) const;
  // The one at an end comes to the other, or to the same.
  void add_rotate(bool from_left, bool to_left, std::string& operation) const;

 private:
  struct Large {
    Tree tree;
    uint64_t blocks = 0;
    uint64_t count = 0, packed = 0, allocated = 0;  // of the blocks
    Snapshots<Tree> snapshots;
    uint64_t bytes() const { return allocated + tree.bytes(); }
  };

  Tree::Cursor block_from(int64_t number) const;
  // The block of an element, and where in it. Mostly it is at an end, where nothing need be
  // counted.
  Tree::Cursor place(uint64_t index, uint64_t& within) const;
  // fn(element) of `n` elements from this place on, or back.
  template <class Fn>
  static void walk_from(Tree::Cursor c, uint64_t within, uint64_t n, Fn& fn) {
    for (; c && n > 0; c.next(), within = 0) {
      const uint64_t here = std::min(n, c->count() - within);
      if (!c->walk(static_cast<uint32_t>(within), here, fn)) return;
      n -= here;
    }
  }
  template <class Fn>
  static void walk_back_from(Tree::Cursor c, uint64_t within, uint64_t n, Fn& fn) {
    while (c && n > 0) {
      const uint64_t here = std::min(n, within + 1);
      if (!c->walk_back(static_cast<uint32_t>(within), here, fn)) return;
      n -= here;
      if (c.is_first()) return;
      c.prev();
      within = c->count() - uint64_t{1};
    }
  }
  template <class Fn>
  void each_block(int64_t first, int64_t end, Fn fn) const;
  void add_range(int64_t first, int64_t end, std::string& operation) const;
  BlockRef block_at(uint64_t index, uint64_t& within, int64_t& free_first, int64_t& free_end) const;
  void add_divided(const BlockRef& block, uint32_t within, std::string_view element,
                   int64_t free_first, int64_t free_end, std::string& operation) const;
  void renumber(uint64_t index, std::string_view element, std::string& operation) const;

  void put(int64_t first, uint32_t count, std::string_view packed);
  void erase(int64_t first, int64_t end);
  bool put_in_one(int64_t first, uint32_t count, std::string_view packed);
  bool erase_in_one(int64_t first, int64_t end);
  bool put_in_block(const Tree::Cursor& c, int64_t first, uint32_t count, std::string_view packed);
  void put_in_tree(int64_t first, uint32_t count, std::string_view packed);
  void erase_in_tree(int64_t first, int64_t end);
  void insert_blocks(int64_t first, uint32_t count, std::string_view packed);
  void insert_block(const Tree::Cursor& c, BlockRef block);
  void erase_block(const Tree::Cursor& c);
  template <class Fn>
  void change_block(const Tree::Cursor& c, Fn fn);
  void spread();  // from one block to a tree
  void gather();  // and back, where there is one left

  BlockRef one_;  // while there is no tree; null: it is empty
  std::unique_ptr<Large> large_;
};

// Finds elements that are equal to one, in pieces of a snapshot if need be.
struct ListSearch {
  explicit ListSearch(std::string_view element) : element(element) {}

  std::string_view element;
  bool back = false;                 // from the last one on
  uint64_t skip = 0;                 // so many that are found first do not count
  uint64_t found_max = UINT64_MAX;   // of those that count
  uint64_t looked_max = UINT64_MAX;  // elements to look at
  std::vector<uint64_t> found;       // their indexes, in the order of the search

  // Looks at the next `n` elements of a list of `size`; false: it has ended.
  template <class Source>
  bool step(const Source& list, uint64_t size, uint64_t n);

 private:
  uint64_t looked_ = 0;
};

template <class Source>
bool ListSearch::step(const Source& list, uint64_t size, uint64_t n) {
  const uint64_t all = std::min(size, looked_max);
  n = std::min(n, all - looked_);
  if (n == 0 || found.size() >= found_max) return false;
  const uint64_t begin = back ? size - 1 - looked_ : looked_;
  const auto look = [&](std::string_view other) {
    const uint64_t index = back ? size - 1 - looked_ : looked_;
    looked_++;
    if (other != element) return true;
    if (skip > 0) return skip--, true;
    found.push_back(index);
    return found.size() < found_max;
  };
  if constexpr (std::is_same_v<Source, List>) {
    back ? list.walk_back(begin, n, look) : list.walk(begin, n, look);
  } else {
    back ? List::walk_back(list, begin, n, look) : List::walk(list, begin, n, look);
  }
  return looked_ < all && found.size() < found_max;
}

}  // namespace cairn::kv
