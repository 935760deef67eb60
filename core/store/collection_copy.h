// Copies a large collection in turns, each short, while others use and change it; the copy counts
// only when it is whole.
//
// It grows in a namespace that no door knows, under an identity of its own (identities.h), where
// cleaner, checkpoints and the count of memory meet it as any other: so nothing of it falls out of
// the log before its name comes. Each turn saves one more part of what is copied, and does what was
// done to that since the turn before (Followed). Then one transaction says which key the copy has.
// So it is what the source is at that moment, not what that was when the copy began: that is what
// others see who look at both. Until then nothing of it expires by itself: the source may be given
// more time. Without its name it is nothing, in this life and after a crash.
//
// Or it has no source, and its parts are what the caller says: for what a command makes that is too
// large to be put at once.
//
// Threads: one at a time; under the locks that each call names.
#pragma once

#include <memory>
#include <string>

#include "core/store/transaction.h"

namespace cairn {

class CollectionCopy {
 public:
  explicit CollectionCopy(Keyspace& keyspace);
  ~CollectionCopy();  // locks its own key: what was not named is taken back
  CollectionCopy(const CollectionCopy&) = delete;
  CollectionCopy& operator=(const CollectionCopy&) = delete;

  // Whether an entry has to be copied in this way, or can be put as one record.
  static bool is_for(const Keyspace& keyspace, const Entry* source);

  // Its own key: to be locked, beside the source's, for all that follows.
  KeyHash hash() const { return hash_; }
  // Begins with `source`, for which is_for() holds. ResourceExhausted: there is no room in the log.
  Status begin(Namespace& ns, Entry* source);
  // Whether `source` is what it began with and has followed since; if not, it is of no use any
  // more.
  bool follows(const Entry* source) const;
  // One more part. Errors: those of Transaction; ResourceExhausted, too: the source changes faster
  // than it is copied.
  Status step(const StripeLocks& locks, const Entry* source);
  bool whole() const { return cursor_ == 0; }  // of what was there at the last step
  // It is found in `to` under `key`, in place of what is there, with the expiry of `source`. In a
  // transaction of several changes, right after the step that made it whole, without a pause.
  Status name(Transaction& t, const Entry* source, Namespace& to, KeyHash to_hash,
              std::string_view key);

  // ---- without a source ----
  // One more part: an operation of the type that these flags of a record say.
  Status add(const StripeLocks& locks, uint8_t flags, std::string_view operation);
  // The same as above, once there is a part; 0: without an expiry.
  Status name(Transaction& t, Namespace& to, KeyHash to_hash, std::string_view key,
              int64_t expire_ms = 0) {
    return name(t, expire_ms, to, to_hash, key);
  }
  const Collection* made() const;  // what it is so far; null: nothing
  // Parts of this size suit the log; what is no larger can be put at once.
  static uint64_t part_bytes(const Keyspace& keyspace);

 private:
  Entry* find() const;
  Status operate(Transaction& t, uint8_t flags, std::string_view operation);
  Status name(Transaction& t, int64_t expire_ms, Namespace& to, KeyHash to_hash,
              std::string_view key);

  Keyspace& keyspace_;
  const uint64_t id_;
  const std::string key_;
  const KeyHash hash_;
  std::shared_ptr<Followed> followed_;
  uint64_t cursor_ = 0;
  bool begun_ = false;  // there is a first part
};

}  // namespace cairn
