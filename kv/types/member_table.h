// The table of a collection that is no longer small: members, each with a value, for ever or until
// a time. It grows without pauses (core/index/index.h), is walked as it was at a moment while
// others change it, and is freed step by step.
//
// It is made of entries without a record, whose LSN is a stamp: what walk had begun when the entry
// was made or changed.
//
// Threads: as the collection whose table it is (core/index/collection.h).
#pragma once

#include <absl/functional/function_ref.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"
#include "core/index/index.h"

namespace cairn::kv {

class MemberTable {
 public:
  static constexpr int64_t kForEver = 0;
  static constexpr int64_t kNoTime = INT64_MIN;  // nothing is due yet

  explicit MemberTable(uint64_t seed) : index_(seed, nullptr, true) {}
  ~MemberTable();  // what walks have not come to is kept for them
  MemberTable(const MemberTable&) = delete;

  size_t size() const { return index_.size(0); }
  uint64_t item_bytes() const { return item_bytes_; }  // of members and values
  uint64_t memory_bytes() const {
    return sizeof(MemberTable) + index_.table_bytes() + entry_bytes_;
  }

  // ---- members ----
  KeyHash hash(std::string_view member) const { return index_.hash(member); }
  const Entry* find(std::string_view member) const { return find(member, hash(member)); }
  const Entry* find(std::string_view member, KeyHash hash) const {
    return index_.find(member, hash);
  }
  // `old`: what find() says of it, or null; the entry may be another one afterwards.
  const Entry* put(std::string_view member, std::string_view value, int64_t until_ms, KeyHash hash,
                   const Entry* old);
  void remove(const Entry* e, KeyHash hash);

  template <class Fn>
  void for_each(Fn fn) const {
    index_.for_each(0, [&](const Entry* e) { fn(e); });
  }
  // A step of a walk over one that nobody changes meanwhile: Index::walk().
  template <class Fn>
  KeyHash walk(KeyHash from, Fn fn) const {
    return index_.walk(0, from, [&](const Entry* e) { fn(e); });
  }
  // As SCAN: about `count` entries from `cursor` on; returns the next cursor, 0 at the end.
  template <class Fn>
  uint64_t scan(uint64_t cursor, size_t count, Fn fn) const {
    std::vector<Entry*> page;
    const KeyHash next = index_.scan(0, cursor << 16, count, page);
    for (const Entry* e : page) fn(e);
    return next >> 16;
  }
  // One by chance that is not due at `now_ms`; there must be one. `some_due`: some are.
  const Entry* random(uint64_t random, int64_t now_ms, bool some_due) const;
  // Frees some for a table that nobody needs; false when little is left. Calls fn(entry) before.
  template <class Fn>
  bool free_some(Fn fn) {
    constexpr size_t kStep = 1000;
    std::vector<Entry*> page;
    index_.scan(0, 0, kStep, page);
    for (Entry* e : page) {
      fn(e);
      remove(e, hash(e->key()));
    }
    return page.size() >= kStep;
  }

  // ---- as it was ----
  using Visit = absl::FunctionRef<void(std::string_view member, std::string_view value)>;
  struct State;  // of a walk or a look back

  // All of it as it is now, handed out in pieces while others change it: what is changed before its
  // turn is kept as it was.
  class Walk {
   public:
    // `key`: the hash of the key that the collection is found under. `times`: until when members
    // are there is wanted, too.
    Walk(const MemberTable& table, int64_t now_ms, KeyHash key, bool times = false);
    ~Walk();
    Walk(const Walk&) = delete;
    // Of the key that it is found under now, or was last. Who locks that one's stripe looks again.
    KeyHash key() const;
    // Calls visit for some members, in no order; false after the last. Under the lock of that
    // stripe, also when the key is gone.
    bool next(Visit visit);
    using VisitTimed =
        absl::FunctionRef<void(std::string_view member, std::string_view value, int64_t until_ms)>;
    bool next_timed(VisitTimed visit);
    // All walks together keep at most limits::kKeptBytesMax: one that would need more has ended
    // without its last members.
    bool lost() const;

   private:
    std::shared_ptr<State> state_;
  };
  // Whether a member was in it when this was made, while others change it: what they remove is
  // kept.
  class Past {
   public:
    Past(const MemberTable& table, int64_t now_ms, KeyHash key);
    ~Past();
    Past(const Past&) = delete;
    KeyHash key() const;  // as of a walk
    // Under the lock of that stripe, also when the key is gone.
    bool had(std::string_view member) const;
    bool lost() const;

   private:
    std::shared_ptr<State> state_;
  };
  bool in_use() const;       // by one of these
  void moved(KeyHash hash);  // Collection::moved

 private:
  std::shared_ptr<State> begin(int64_t now_ms, KeyHash key, bool walks, bool times) const;
  void keep(const Entry* old, KeyHash hash) const;
  Lsn stamp() const { return Lsn(begun_ * 8); }  // of entries changed from now on

  Index index_;
  uint64_t item_bytes_ = 0, entry_bytes_ = 0;
  using States = std::vector<std::shared_ptr<State>>;
  mutable std::unique_ptr<States> states_;  // none: null
  mutable uint64_t begun_ = 0;
};

// Collection::save() of a table: `scan(cursor, count)` appends about so many items to `operation`
// and returns the next cursor; `average`: of their bytes.
template <class Scan>
uint64_t save_in_parts(uint64_t cursor, uint64_t bytes, uint64_t average, std::string& operation,
                       Scan scan) {
  constexpr uint64_t kPageMax = 256;
  auto page = static_cast<size_t>(std::clamp<uint64_t>(bytes / (average + 1), 1, kPageMax));
  const size_t begin = operation.size();
  const uint64_t most = capped_add(bytes, bytes);
  for (;;) {
    const size_t before = operation.size();
    const uint64_t next = scan(cursor, page);
    const uint64_t size = operation.size() - begin;
    // One that is much larger than the others is a part of its own.
    if (size > most && (page > 1 || before > begin)) {
      operation.resize(before);
      if (page == 1) return cursor;
      page = 1;
      continue;
    }
    cursor = next;
    if (cursor == 0 || size >= bytes) return cursor;
  }
}

}  // namespace cairn::kv
