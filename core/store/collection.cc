// What the store does for collections; see collection.h.
#include "core/index/collection.h"

#include <algorithm>
#include <cassert>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/store.h"

namespace cairn {

namespace {
constexpr uint64_t kChargeMin = 8;          // a segment that holds a record is never without
constexpr uint64_t kChargeSlack = 4 << 10;  // counted as live beyond what an image would take
}  // namespace

std::unique_ptr<Collection> Store::make_collection(uint8_t flags, std::string_view image) {
  auto* make = options_.collections[flags >> 4].make;
  if (make == nullptr) return nullptr;
  std::unique_ptr<Collection> c = make(random());
  if (!image.empty() && !c->apply(image)) return nullptr;
  return c;
}

bool Store::has_times(uint8_t flags, std::string_view image) const {
  auto* asks = options_.collections[flags >> 4].has_times;
  return asks != nullptr && asks(image);
}

// Records of a collection are live from its oldest one on; how many bytes of them would be copied
// is known only as the size of an image. So no more than that is counted, the oldest records less.
void Store::charge(Collection& c, Lsn lsn, uint64_t bytes, bool counted) {
  if (c.charges_.empty() || !usage_.same_segment(c.charges_.back().first, lsn)) {
    c.charges_.emplace_back(lsn, 0);
  }
  c.charges_.back().second += bytes;
  c.charged_ += bytes;
  if (counted) usage_.add(lsn, bytes);
  const uint64_t most = c.image_bytes() + kChargeSlack;
  for (size_t i = 0; c.charged_ > most && i < c.charges_.size(); i++) {
    auto& [at, charged] = c.charges_[i];
    const uint64_t less = std::min(c.charged_ - most, charged - std::min(charged, kChargeMin));
    charged -= less;
    c.charged_ -= less;
    if (counted) usage_.sub(at, less);
  }
}

void Store::count(const Entry* e, int sign) {
  if (const Collection* c = e->collection()) return count(*c, sign);
  if (sign > 0) {
    usage_.add(e->lsn(), e->record_bytes());
  } else {
    usage_.sub(e->lsn(), e->record_bytes());
  }
}

void Store::count(const Collection& c, int sign) {
  for (auto& [lsn, bytes] : c.charges_) {
    if (sign > 0) {
      usage_.add(lsn, bytes);
    } else {
      usage_.sub(lsn, bytes);
    }
  }
}

void Store::begin_charges(Collection& c, Lsn lsn, const RecordView& r) {
  begin_charges(c, lsn, r.size(), r.value.size(), r.has_expiry());
}

void Store::begin_charges(Collection& c, Lsn lsn, uint64_t record_bytes, uint64_t image_size,
                          bool expires) {
  c.expires_ = expires;
  c.charges_.clear();
  c.charged_ = 0;
  c.oldest_ = lsn;
  // An entry that leaves memory cannot say so large a size; it is written again before.
  c.image_size_ = image_size > Entry::kValueBytesMax ? 0 : static_cast<uint32_t>(image_size);
  charge(c, lsn, record_bytes, false);
}

RecordView Store::copy_record(Namespace& ns, const Entry* e, std::string_view value) const {
  RecordView r{RecordType::kPut, e->record_flags(), ns.id, e->expire_ms(),
               e->key(),         e->meta(),         value};
  r.flags |= kRecordHasOrigin;
  r.version = e->version();
  r.wall_ms = log_.time_of(r.version);
  r.cause = Cause::kCopy;
  return r;
}

void Store::rewrite(Namespace& ns, KeyHash, Entry* entry) {
  Collection& c = *entry->collection();
  const std::string image = c.image();
  const RecordView r = copy_record(ns, entry, image);
  count(entry, -1);
  entry->set_wished(still_wished(entry));
  entry->set_lsn(log_.append(r));
  begin_charges(c, entry->lsn(), r);
  count(entry, 1);
}

awaitable<Status> Store::rewrite_parts(NamespacePtr ns, std::string key, Lsn before,
                                       std::function<awaitable<void>(uint64_t)> pace) {
  const KeyHash hash = ns->hash(key);
  uint64_t cursor = 0;
  Lsn begin;
  const Collection* same = nullptr;
  do {
    uint64_t size = 0;
    {
      StripeLocks lock(*this, hash);
      Entry* e = ns->index->find(key, hash);
      Collection* c = e == nullptr ? nullptr : e->collection();
      // Gone, or another one made since: then what was to be rewritten is dead.
      if (c == nullptr || c->oldest_ >= before || (same != nullptr && c != same)) {
        co_return absl::OkStatus();
      }
      if (Status room = log_.room_to_clean(2 * part_bytes()); !room.ok()) co_return room;
      same = c;
      std::string operation;
      cursor = c->save(cursor, part_bytes(), operation);
      RecordView r = copy_record(*ns, e, operation);
      r.type = RecordType::kOperation;
      // What fitted once fits with what a copy grows by: the log keeps a block for that.
      if (r.size() > log_.record_bytes_max() + kBlockBytes) {
        co_return absl::InternalError(cat("a part of a collection in ", ns->name, " is too large"));
      }
      e->set_wished(still_wished(e));
      e->set_lsn(log_.append(r));
      if (!begin.valid()) begin = e->lsn();
      charge(*c, e->lsn(), r.size(), true);
      c->image_size_ = 0;
      c->expires_ = r.has_expiry();
      size = r.size();
      if (cursor == 0) {  // nothing before the first part matters
        count(e, -1);
        while (c->charges_.size() > 1 && c->charges_[1].first <= begin) {
          c->charged_ -= c->charges_.front().second;
          c->charges_.erase(c->charges_.begin());
        }
        c->charges_.front().first = std::max(c->charges_.front().first, begin);
        c->oldest_ = begin;
        count(e, 1);
      }
    }
    co_await pace(size);
  } while (cursor != 0);
  co_return absl::OkStatus();
}

bool Store::spill_collection(Namespace& ns, KeyHash hash, Entry* entry) {
  Collection& c = *entry->collection();
  if (c.image_bytes() > part_bytes() || c.next_due() != INT64_MAX) return false;
  if (c.image_size_ == 0) {  // first it must be one record
    if (log_.admit(Need::kPut).ok()) rewrite(ns, hash, entry);
    return false;
  }
  return log_.is_durable(entry->lsn());
}

void Store::describe(const Collection& c, CheckpointItem& item) const {
  item.oldest = c.oldest_;
  item.image_size = c.image_size_;
  item.charges = {c.charges_.begin(), c.charges_.end()};
  if (c.expires_ != item.record.has_expiry()) item.record.flags |= Entry::kExpiryApart;
}

// What lay in segments that are gone no longer counts.
void Store::forget_charges(Collection& c, Lsn before) const {
  while (!c.charges_.empty() && c.charges_.front().first < before) {
    c.charged_ -= c.charges_.front().second;
    c.charges_.erase(c.charges_.begin());
  }
  c.oldest_ = std::max(c.oldest_, before);
}

}  // namespace cairn
