// The hash type: fields and their values, each for ever or until a time (Unix milliseconds; 0: for
// ever).
//
// A field whose time has come stays until the store takes it out (core/index/collection.h), but who
// reads says at what time he does, and does not see what is due by then.
//
// Small ones are one stretch of bytes, searched from the front; larger ones a table that grows
// without pauses (member_table.h). OBJECT ENCODING answers by Redis's thresholds, which are not
// ours.
//
// An operation, whose items are also how a small one lies in memory (those of kind 1, or of kind 3
// once a field of it had a time) and in the log:
//   operation = u8 kind  item*
//     kind 1: item = field value          the field has this value, for ever
//     kind 2: item = field                it is deleted
//     kind 3: item = until field value    it has this value until then
//     kind 4: item = until field          it is there until then, if it is there
//   field, value                          items as in text_set.h
//   until = i64, little-endian            0: for ever
// Of a large one the entries of its table hold the times, which are in order beside it.
//
// Threads: as core/index/collection.h.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/functional/function_ref.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/collection.h"
#include "kv/types/compact.h"
#include "kv/types/member_table.h"

namespace cairn::kv {

class Hash final : public Collection {
 public:
  // Redis's hash-max-listpack-entries and hash-max-listpack-value.
  static constexpr size_t kListpackEntries = 512, kListpackValue = 64;

  explicit Hash(uint64_t seed) : table_(seed) {}
  ~Hash() override { delete times(); }
  static std::unique_ptr<Collection> make(uint64_t seed) { return std::make_unique<Hash>(seed); }
  static bool has_times(std::string_view operation);

  static constexpr int64_t kForEver = MemberTable::kForEver;
  static constexpr int64_t kNoTime = MemberTable::kNoTime;

  // Operations to pass to Transaction::operate. One is of one kind: all of its items were added by
  // the same of these.
  static void add_set(std::string& operation, std::string_view field, std::string_view value);
  static void add_set_until(std::string& operation, std::string_view field, std::string_view value,
                            int64_t until_ms);
  static void add_until(std::string& operation, std::string_view field, int64_t until_ms);
  static void add_delete(std::string& operation, std::string_view field);

  bool apply(std::string_view operation) override;
  void inverse(std::string_view operation, std::vector<std::string>& undo) const override;
  bool empty() const override { return count() == 0; }
  uint64_t memory_bytes() const override;
  uint64_t image_bytes() const override;
  uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const override;
  size_t expire(int64_t now_ms, size_t most, std::string& operation) const override;
  bool in_use() const override { return table_ && table_->in_use(); }
  void moved(KeyHash hash) override {
    if (table_) table_->moved(hash);
  }
  bool free_some() override;

  // Redis's words; as there, a small one that had a field with a time is not a listpack any more.
  std::string_view encoding() const {
    if (!plain_) return "hashtable";
    return times() == nullptr ? "listpack" : "listpackex";
  }

  // ---- what is there at `now_ms` ----
  size_t size(int64_t now_ms) const;
  struct Item {
    std::string_view field, value;
    int64_t until_ms = kForEver;
    bool is_due(int64_t now_ms) const { return until_ms != kForEver && until_ms <= now_ms; }
  };
  std::optional<Item> find(std::string_view field, int64_t now_ms) const;
  std::optional<std::string_view> get(std::string_view field, int64_t now_ms) const {
    const auto item = find(field, now_ms);
    return item ? std::optional(item->value) : std::nullopt;
  }
  using Visit = std::function<void(std::string_view field, std::string_view value)>;
  void for_each(int64_t now_ms, const Visit& visit) const;
  void for_each_item(int64_t now_ms, absl::FunctionRef<void(const Item&)> visit) const;
  // Whether a field that is there has a time.
  bool any_timed(int64_t now_ms) const {
    return any_timed() && times()->timed > count() - size(now_ms);
  }
  bool is_compact() const { return !table_; }
  // For a hash that is not compact.
  class Walk final : public MemberTable::Walk {
   public:
    Walk(const Hash& hash, int64_t now_ms, KeyHash key = 0, bool times = false)
        : MemberTable::Walk(*hash.table_, now_ms, key, times) {}
  };
  // As SCAN: about `count` fields from `cursor` on; returns the next cursor, 0 at the end.
  uint64_t scan(uint64_t cursor, size_t count, int64_t now_ms, const Visit& visit) const;
  // One field by chance; there must be one.
  std::pair<std::string_view, std::string_view> random(uint64_t random, int64_t now_ms) const;

 private:
  static constexpr size_t kCompactEntries = 128, kCompactBytes = 4 << 10;
  // Of one that has, or had, fields with a time.
  struct Times final : Due {
    size_t timed = 0;                                         // fields with one
    absl::btree_set<std::pair<int64_t, const Entry*>> order;  // of a table's entries
    // How many of them are due at that time; asked for a later one, only the rest are counted.
    size_t due = 0;
    int64_t counted_ms = 0;
  };

  Times* times() const { return times_.load(std::memory_order_relaxed); }
  const Due* due() const override { return times_.load(std::memory_order_acquire); }
  void make_times();
  void note_times();  // after a change
  bool any_timed() const { return times() != nullptr && times()->timed > 0; }
  size_t item_head() const;  // bytes of an item beside field and value, in an image
  static Item item_of(const Entry* e) { return {e->key(), e->value(), e->expire_ms()}; }
  bool take_field(std::string_view& in, Item& item) const;  // off the front of a small one's bytes
  template <class Fn>
  void each(Fn fn) const;
  template <class Fn>
  uint64_t scan(uint64_t cursor, size_t count, Fn fn) const;
  bool apply_items(std::string_view operation);
  void set(const Item& item);
  bool replace(const Item& item);
  void set_in_table(const Item& item);
  void set_until(std::string_view field, int64_t until_ms);
  void remove(std::string_view field);
  void put_in_bytes(size_t at, size_t gone, const Item& item);
  void add_to_order(const Entry* e);
  void take_from_order(const Entry* e);
  void spread();  // from bytes to a table
  size_t count() const { return table_ ? table_->size() : count_; }

  std::atomic<Times*> times_{nullptr};
  TablePlace<MemberTable> table_;             // or, while there is none:
  [[no_unique_address]] CompactBytes bytes_;  // items; with times iff there are Times
  uint16_t count_ = 0;
  bool plain_ = true;  // never exceeded Redis's thresholds
};
static_assert(sizeof(Hash) == 64);  // an allocator's size

}  // namespace cairn::kv
