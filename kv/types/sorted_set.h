// The sorted set type: members, each once and with a score, in the order of (score, member). A
// score is any double but NaN; -0 is kept as it is, and stands where 0 does.
//
// A small one is a stretch of bytes in that order, searched from the front. A larger one is a table
// of its members (core/index/index.h) and, beside it, a tree that counts (counted_tree.h), so that
// a rank is found, and told, in O(log n). The tree's items are the score and a pointer to the
// table's entry, 16 bytes: a comparison on the way down need not read the entry unless scores are
// equal, and a snapshot keeps a score that changes.
//
// Items, in which a small one lies in memory and operations in the log:
//   item      = score member
//   score     = u8 width  number          width 1, 2, 4: an integer of so many bytes;
//                                         8: a double
//   member    = length bytes              length = u8, or 255 and u32; all little-endian
//   operation = u8 1  item*               each member has this score
//             | u8 2  member*             they are members no more
//             | u8 3  item item           all from the first to the last, both included, are not
// The last kind does not say how many there are, so a million go in one short record. It may be
// replayed as collection.h demands: what stood between the two at that time is gone, and what came
// to stand there afterwards follows in the log.
//
// Threads: as core/index/collection.h; a snapshot is read without the lock.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/collection.h"
#include "core/index/index.h"
#include "kv/types/compact.h"
#include "kv/types/counted_tree.h"
#include "kv/types/snapshot.h"

namespace cairn::kv {

class SortedSet final : public Collection {
 public:
  // Redis's zset-max-listpack-entries and zset-max-listpack-value.
  static constexpr size_t kListpackEntries = 128, kListpackValue = 64;

  struct Item {
    double score = 0;
    std::string_view member;
    bool operator<(const Item& other) const {
      return score < other.score || (score == other.score && member < other.member);
    }
  };

  explicit SortedSet(uint64_t seed) : large_(seed) {}
  ~SortedSet() override;
  static std::unique_ptr<Collection> make(uint64_t seed) {
    return std::make_unique<SortedSet>(seed);
  }

  // Operations to pass to Transaction::operate. One is of one kind: all of its items were added by
  // the same of these.
  static void add_score(std::string& operation, const Item& item);
  static void add_gone(std::string& operation, std::string_view member);
  static std::string range_gone(const Item& first, const Item& last);

  // Takes an item off the front of those of an operation of add_score(), which begin behind its
  // first byte; false after the last.
  static bool take_item(std::string_view& items, Item& item);

  bool apply(std::string_view operation) override;
  void inverse(std::string_view operation, std::vector<std::string>& undo) const override;
  bool empty() const override { return size() == 0; }
  uint64_t memory_bytes() const override;
  uint64_t image_bytes() const override;
  uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const override;
  bool in_use() const override { return large_ && large_->snapshots.any(); }
  bool free_some() override;

  std::string_view encoding() const { return plain_ ? "listpack" : "skiplist"; }  // Redis's words
  bool is_compact() const { return !large_; }

  size_t size() const { return large_ ? large_->order.tree.size() : count_; }
  std::optional<double> score(std::string_view member) const;
  // Ranks count from 0, the lowest.
  struct Place {
    uint64_t rank;
    double score;
  };
  std::optional<Place> place_of(std::string_view member) const;
  Item at(uint64_t rank) const;  // there must be one
  // How many stand before the first for which `before` does not hold. It holds for those before all
  // others.
  using Before = absl::FunctionRef<bool(const Item&)>;
  uint64_t count_before(Before before) const;
  // `count` from a rank on, upwards or downwards; there must be so many.
  using Visit = absl::FunctionRef<void(const Item&)>;
  void for_each(uint64_t rank, uint64_t count, bool down, Visit visit) const;
  void for_each(Visit visit) const { for_each(0, size(), false, visit); }
  // As SCAN: about `count` members from `cursor` on; returns the next cursor, 0 at the end.
  uint64_t scan(uint64_t cursor, size_t count, Visit visit) const;

 private:
  // Entries that left the table while snapshots point to them. Each snapshot holds the grave of its
  // time, which holds the later ones.
  struct Grave {
    std::vector<Entry*> entries;
    std::shared_ptr<Grave> later;
    Grave() = default;
    Grave(const Grave&) = delete;
    ~Grave();
  };
  struct Ordered {
    double score = 0;
    const Entry* entry = nullptr;
    Item item() const { return {score, entry->key()}; }
  };
  struct One {
    uint64_t operator()(const Ordered&) const { return 1; }
  };
  using Tree = CountedTree<Ordered, One>;
  struct Order {
    Tree tree;
    std::shared_ptr<Grave> grave;  // null: there was no snapshot
    void swap(Order& other) noexcept {
      tree.swap(other.tree);
      grave.swap(other.grave);
    }
  };

 public:
  // All of it as it is now; read without the lock, in pieces, while others change it.
  class View {
   public:
    View() = default;
    explicit View(const SortedSet& of);  // under the lock
    uint64_t size() const { return size_; }
    uint64_t bytes() const { return bytes_.capacity(); }  // its own
    // As above; false if it was lost (snapshot.h).
    bool for_each(uint64_t rank, uint64_t count, bool down, Visit visit) const;
    bool lost() const { return snapshot_ && snapshot_->lost(); }

   private:
    uint64_t size_ = 0;
    std::string bytes_;  // of a small one
    std::optional<Snapshot<Order>> snapshot_;
  };

 private:
  static constexpr size_t kCompactEntries = 128, kCompactBytes = 4 << 10;
  struct Large {
    explicit Large(uint64_t seed) : table(seed, nullptr, true) {}
    Index table;  // entries without a record; their value is the score
    Order order;
    mutable Snapshots<Order> snapshots;
    uint64_t entry_bytes = 0, member_bytes = 0;
  };

  static void for_each_in(std::string_view bytes, uint64_t rank, uint64_t count, bool down,
                          Visit visit);
  static void for_each_in(const Tree& tree, uint64_t rank, uint64_t count, bool down, Visit visit);

  void set(const Item& item);
  bool set_in_bytes(const Item& item);
  void set_in_table(const Item& item);
  void remove(std::string_view member);
  void remove_range(const Item& first, const Item& last);
  Tree::Cursor find(const Item& item, uint64_t& rank) const;
  void take_out(Entry* e);  // of the table, once it is out of the tree
  void note_copies();
  void spread();  // from bytes to a table

  TablePlace<Large> large_;                   // or, while there is none:
  [[no_unique_address]] CompactBytes bytes_;  // items in order
  uint16_t count_ = 0;
  bool plain_ = true;  // never exceeded Redis's thresholds
};
static_assert(sizeof(SortedSet) == 56);

}  // namespace cairn::kv
