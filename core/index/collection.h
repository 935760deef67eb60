// A value that is a structure and not bytes: what a type (hash, list, …) must offer the core, and
// what the core keeps about each.
//
// In memory an entry of such a type holds a pointer to its Collection. In the log it is a sequence
// of operations: a put record holds one that makes all of it from nothing, an operation record one
// that changes what is there. The live change and its replay are the same call, apply(), so what
// is recovered is what was there, operation by operation.
//
// Rewriting: when its oldest record comes to the tail of the log, the cleaner appends it again:
// a small one as one put, a large one as operations, part by part, between which others change it.
// So an operation must say what holds afterwards and not what to add: replaying older operations
// first, or one twice, must not matter as long as all later ones follow.
//
// Renaming: a small one is put under its new name. A large one has an identity, which its records
// in the log name in place of its key, and gets another name by one more record (identities.h).
//
// What counts or has an order keeps to that by names that are never used for something else:
//   list    each element has a number: "the numbers from n on are these", "the numbers from n to m
//           are nobody's"; who inserts where no number is free gives its neighbours others
//           (kv/types/list.h)
//   sorted  "member has score": the order is derived
//   stream  "the entry of this ID holds this", "entries below this ID are gone"; of a group "the
//           last ID delivered is this", "this ID is pending with this consumer since then, for the
//           n-th time", "it is pending no more"
//   fields with a time to live: "the field has this value until then", "the field is there until
//           then, if it is there": times are absolute, so that a replay at another hour makes the
//           same
//
// A part of it may have a time of its own, at which it goes. The store wakes its entry then
// (next_due), asks what is to be recorded (expire), and removes the key once nothing is left
// (gone_at). Until its turn has come a part that is due is still in it, in its images too, but
// whoever reads leaves it out. A collection with such a time does not leave memory: its entry could
// not say the time.
//
// Most types have no empty ones: the key goes with what is last in it. Damage to the log may leave
// one with nothing in it; the store drops that when it opens (empty), so that nobody meets it.
//
// Threads: under the lock of the key's stripe; next_due() and gone_at() also under that of the
// order that the entry is in.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"
#include "core/index/identities.h"
#include "core/index/log_share.h"

namespace cairn {

class Collection {
 public:
  Collection() = default;
  virtual ~Collection() = default;
  Collection(const Collection&) = delete;

  // False if this is no operation of the type: broken bytes, or a later version's. An empty one
  // changes nothing.
  [[nodiscard]] virtual bool apply(std::string_view operation) = 0;
  // Adds to `undo` the operations that, applied after `operation`, make of it what it is now.
  virtual void inverse(std::string_view operation, std::vector<std::string>& undo) const = 0;
  // Nothing is in it, and of this type there is none like that.
  virtual bool empty() const = 0;
  virtual uint64_t memory_bytes() const = 0;  // that it holds beside its entry
  virtual uint64_t image_bytes() const = 0;   // about so many take the operations of save()
  // Appends to `operation` one that makes a part, from `cursor` on and about `bytes` long, what it
  // is now. Returns the cursor of the next part, 0 after the last. A cursor survives changes; what
  // is there from the first call to the last is in one of the parts. One is longer than twice
  // `bytes` only if a single element is: then it holds no other, and fits where that fitted.
  virtual uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const = 0;
  // When the next part of it is due, and when nothing will be left of it; INT64_MAX: never.
  int64_t next_due() const {
    const Due* due = this->due();
    return due == nullptr ? INT64_MAX : due->next.load(std::memory_order_relaxed);
  }
  int64_t gone_at() const {
    const Due* due = this->due();
    return due == nullptr ? INT64_MAX : due->gone.load(std::memory_order_relaxed);
  }
  // Appends to `operation` one that removes parts that are due, `most` at most, and returns how
  // many; the store asks again while there are more. Something is due, but not all of it.
  virtual size_t expire(int64_t now_ms, size_t most, std::string& operation) const {
    (void)now_ms, (void)most, (void)operation;
    return 0;
  }
  // Whether somebody reads it still, though it left the store; then it stays whole.
  virtual bool in_use() const { return false; }
  // It is found under a key with this hash from now on: who reads it still does so under the lock
  // of that one's stripe. Under the locks of both.
  virtual void moved(uint64_t hash) { (void)hash; }
  // Frees some of its memory, for one that nobody needs any more; false when little is left.
  virtual bool free_some() = 0;

  const Identity* identity() const { return share_.identity(); }  // null: its key is all it has
  std::string image() const {
    std::string operation;
    save(0, UINT64_MAX, operation);
    return operation;
  }

 protected:
  struct Due {
    std::atomic<int64_t> next{INT64_MAX}, gone{INT64_MAX};
  };
  // Its times; null: it has none. Once made they stay, since whoever reads next_due() may not hold
  // the stripe.
  virtual const Due* due() const { return nullptr; }

 private:
  friend class Checkpointer;
  friend class Keyspace;
  friend class Store;
  friend class Transaction;
  friend class Cleaner;
  friend class CollectionCopy;
  friend class MemoryKeeper;
  friend class Replay;
  friend struct Entry;
  void set_version(Lsn lsn) { version_.store(lsn, std::memory_order_relaxed); }
  // Of its newest change; a listing reads it under the order's lock alone.
  std::atomic<Lsn> version_{Lsn()};
  LogShare share_;
};

// What an entry holds in place of a value.
inline constexpr size_t kPointerBytes = 8;
static_assert(sizeof(void*) == kPointerBytes);

struct CollectionType {
  // Makes an empty one; null: the program does not know the type. `seed` is a secret for its hash
  // tables.
  std::unique_ptr<Collection> (*make)(uint64_t seed) = nullptr;
  // Whether one made by this operation alone may have a time of its own; null: none ever has.
  bool (*has_times)(std::string_view operation) = nullptr;
};
using CollectionTypes = std::array<CollectionType, 16>;  // by ValueType

}  // namespace cairn
