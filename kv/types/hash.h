// The hash type: fields and their values.
//
// Small ones are one stretch of bytes, searched from the front; larger ones a table that grows
// without pauses (core/index/index.h). OBJECT ENCODING answers by Redis's thresholds, which are not
// ours.
//
// An operation, which is also how a small one lies in memory and in the log:
//   operation = u8 kind  item*          kind 1: item = field value, set;  2: item = field, deleted
//   field, value = length bytes         length = u8, or 255 and u32, little-endian
//
// Threads: as core/index/collection.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/collection.h"
#include "core/index/index.h"

namespace cairn::kv {

class Hash final : public Collection {
 public:
  // Redis's hash-max-listpack-entries and hash-max-listpack-value.
  static constexpr size_t kListpackEntries = 128, kListpackValue = 64;

  explicit Hash(uint64_t seed) : seed_(seed) {}
  ~Hash() override;
  static std::unique_ptr<Collection> make(uint64_t seed) { return std::make_unique<Hash>(seed); }

  // Operations to pass to Store::operate.
  static void add_set(std::string& operation, std::string_view field, std::string_view value);
  static void add_delete(std::string& operation, std::string_view field);

  bool apply(std::string_view operation) override;
  void inverse(std::string_view operation, std::vector<std::string>& undo) const override;
  uint64_t memory_bytes() const override;
  uint64_t image_bytes() const override;
  uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const override;
  bool in_use() const override;
  void moved(KeyHash hash) override;
  bool shed() override;

  size_t size() const { return count_; }
  std::string_view encoding() const { return plain_ ? "listpack" : "hashtable"; }
  std::optional<std::string_view> get(std::string_view field) const;
  using Visit = std::function<void(std::string_view field, std::string_view value)>;
  void for_each(const Visit& visit) const;
  // All of it as it is now, handed out in pieces while others change it: what is changed before its
  // turn is kept as it was. For a hash that is not compact.
  class Walk {
   public:
    // `key`: the hash of the key that it is found under.
    explicit Walk(const Hash& hash, KeyHash key = 0);
    ~Walk();
    Walk(const Walk&) = delete;
    // Of the key that it is found under now, or was last. Who locks that one's stripe looks again.
    KeyHash key() const;
    // Calls visit for some fields, in no order; false after the last. Under the lock of that
    // stripe, also when the key is gone.
    bool next(const Visit& visit);
    // All walks together keep at most limits::kKeptBytesMax: one that would need more has ended
    // without its last fields.
    bool lost() const;

   private:
    friend class Hash;
    struct State;
    std::shared_ptr<State> state_;
  };
  // As SCAN: about `count` fields from `cursor` on; returns the next cursor, 0 at the end.
  uint64_t scan(uint64_t cursor, size_t count, const Visit& visit) const;
  // One field by chance; there must be one.
  std::pair<std::string_view, std::string_view> random(uint64_t random) const;

 private:
  static constexpr size_t kCompactEntries = 128, kCompactBytes = 4 << 10;

  void set(std::string_view field, std::string_view value);
  bool replace(std::string_view field, std::string_view value);
  void remove(std::string_view field);
  void spread();  // from bytes to a table
  void keep(const Entry* old, KeyHash hash) const;
  Lsn stamp() const { return Lsn(walks_begun_ * 8); }  // of entries changed from now on

  const uint64_t seed_;
  std::string bytes_;             // items, while there is no table
  std::unique_ptr<Index> table_;  // else: entries without a record, their LSN a stamp
  size_t count_ = 0;
  uint64_t item_bytes_ = 0;   // of fields and values
  uint64_t entry_bytes_ = 0;  // of the table's entries
  bool plain_ = true;         // never exceeded Redis's thresholds
  using Walks = std::vector<std::shared_ptr<Walk::State>>;
  mutable std::unique_ptr<Walks> walks_;  // none: null
  mutable uint64_t walks_begun_ = 0;
};

}  // namespace cairn::kv
