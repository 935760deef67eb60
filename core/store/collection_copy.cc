#include "core/store/collection_copy.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/plant.h"

namespace cairn {

CollectionCopy::CollectionCopy(Keyspace& keyspace)
    : keyspace_(keyspace),
      id_(keyspace.identities_->next(keyspace.epoch_)),
      key_(Identity::key_of(id_)),
      hash_(keyspace.unnamed_->hash(key_)) {}

CollectionCopy::~CollectionCopy() {
  StripeLocks lock(keyspace_, hash_);
  Entry* e = find();
  if (e == nullptr) return;  // it has its name
  // A start that reads its records need not keep them until the end.
  Transaction t(keyspace_, &lock, Shape::kOne, Wish::kNone);
  if (t.remove(*keyspace_.unnamed_, hash_, e).ok()) return;
  keyspace_.link(*keyspace_.unnamed_, hash_, e, nullptr);
  keyspace_.dispose(e, Lsn());
}

bool CollectionCopy::is_for(const Keyspace& keyspace, const Entry* source) {
  const Collection* c = source->collection();
  return c != nullptr && c->image_bytes() > keyspace.part_bytes();
}

Entry* CollectionCopy::find() const { return keyspace_.unnamed_->index->find(key_, hash_); }

Status CollectionCopy::begin(Namespace& ns, Entry* source) {
  keyspace_.identify(ns, source);
  Collection& c = *source->collection();
  // One that became large when there was no room has none to this day.
  if (c.identity() == nullptr) {
    Status room = keyspace_.log_.admit(Need::kPut, 2 * c.image_bytes());
    return room.ok() ? disk_full("there is no room for a copy") : room;
  }
  followed_ = std::make_shared<Followed>();
  c.share_.identity()->follow(followed_);
  return absl::OkStatus();
}

bool CollectionCopy::follows(const Entry* source) const {
  const Collection* c = source == nullptr ? nullptr : source->collection();
  return c != nullptr && c->identity() != nullptr && c->identity()->is_followed(followed_.get()) &&
         (!begun_ || find() != nullptr);
}

const Collection* CollectionCopy::made() const {
  const Entry* e = find();
  return e == nullptr ? nullptr : e->collection();
}

Status CollectionCopy::operate(Transaction& t, uint8_t flags, std::string_view operation) {
  Entry* e = find();
  RecordView r;
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(flags & ~kRecordHasExpiry);
  r.ns = kIdentities;
  r.key = key_;
  r.value = operation;
  if (Status s = t.operate(*keyspace_.unnamed_, hash_, e, r); !s.ok()) return s;
  if (e != nullptr) return absl::OkStatus();
  find()->collection()->share_.set_identity(
      std::make_unique<Identity>(keyspace_.identities_, id_, kIdentities, key_));
  return absl::OkStatus();
}

Status CollectionCopy::step(const StripeLocks& locks, const Entry* source) {
  if (followed_->lost()) {
    return absl::ResourceExhaustedError("the value changes faster than it can be copied");
  }
  Transaction t(keyspace_, &locks, Shape::kSeveral, Wish::kNone);
  for (const std::string& operation : followed_->take()) {
    if (planted(Bug::kCopyFollowsNothing)) break;
    if (Status s = operate(t, source->flags, operation); !s.ok()) return s;
  }
  constexpr uint64_t kStepBytes = 16 << 10;  // of a sorted set, that is a millisecond or two
  std::string part;
  const uint64_t most = std::min(kStepBytes, keyspace_.part_bytes());
  const uint64_t next = source->collection()->save(cursor_, most, part);
  if (!part.empty() || !begun_) {  // what was left may have gone since the last part
    if (Status s = operate(t, source->flags, part); !s.ok()) return s;
  }
  if (auto done = t.commit(); !done.ok()) return done.status();
  begun_ = true;
  cursor_ = next;
  return absl::OkStatus();
}

Status CollectionCopy::add(const StripeLocks& locks, uint8_t flags, std::string_view operation) {
  if (begun_ && find() == nullptr) return absl::AbortedError("what was made so far is gone");
  Transaction t(keyspace_, &locks, Shape::kSeveral, Wish::kNone);
  if (Status s = operate(t, flags, operation); !s.ok()) return s;
  begun_ = true;
  return t.commit().status();
}

Status CollectionCopy::name(Transaction& t, const Entry* source, Namespace& to, KeyHash to_hash,
                            std::string_view key) {
  return name(t, source->expire_ms(), to, to_hash, key);
}

uint64_t CollectionCopy::part_bytes(const Keyspace& keyspace) { return keyspace.part_bytes(); }

Status CollectionCopy::name(Transaction& t, int64_t expire_ms, Namespace& to, KeyHash to_hash,
                            std::string_view key) {
  Entry* e = find();
  const LogShare& share = e->collection()->share_;
  share.identity()->from = share.oldest();
  share.identity()->to = e->lsn();
  return t.rename(*keyspace_.unnamed_, hash_, e, to, to_hash, key, expire_ms);
}

}  // namespace cairn
