// What the store does for collections; see collection.h.
#include "core/index/collection.h"

#include <algorithm>
#include <cassert>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/record_parts.h"
#include "core/store/keyspace.h"

namespace cairn {

namespace {
constexpr uint64_t kChargeMin = 8;          // a segment that holds a record is never without
constexpr uint64_t kChargeSlack = 4 << 10;  // counted as live beyond what an image would take
}  // namespace

std::unique_ptr<Collection> Keyspace::make_collection(uint8_t flags, std::string_view image) {
  auto* make = options_.collections[flags >> 4].make;
  if (make == nullptr) return nullptr;
  std::unique_ptr<Collection> c = make(random());
  if (!image.empty() && !c->apply(image)) return nullptr;
  return c;
}

bool Keyspace::has_times(uint8_t flags, std::string_view image) const {
  auto* asks = options_.collections[flags >> 4].has_times;
  return asks != nullptr && !image.empty() && asks(image);
}

// Records of a collection are live from its oldest one on; how many bytes of them would be copied
// is known only as the size of an image. So no more than that is counted, the oldest records less.
void Keyspace::charge(Collection& c, Lsn lsn, uint64_t bytes, bool counted) {
  LogShare& share = c.share_;
  const size_t n = share.charge_count();
  if (n == 0 || !usage_.same_segment(share.charge(n - 1).first, lsn)) {
    share.insert_charge(n, lsn, bytes);
  } else {
    share.set_charge(n - 1, share.charge(n - 1).second + bytes);
  }
  if (counted) usage_.add(lsn, bytes);
  const uint64_t most = c.image_bytes() + kChargeSlack;
  for (size_t i = 0; share.charged() > most && i < share.charge_count(); i++) {
    const auto [at, charged] = share.charge(i);
    const uint64_t less = std::min(share.charged() - most, charged - std::min(charged, kChargeMin));
    share.set_charge(i, charged - less);
    if (counted) usage_.sub(at, less);
  }
}

void Keyspace::charge(Collection& c, Records records, bool counted) {
  for (size_t i = 0; i < records.lsns.size(); i++) {
    charge(c, records.lsns[i], records.views[i].size(), counted);
  }
}

void Keyspace::count(const Entry* e, int sign) {
  if (const Collection* c = e->collection()) return count(*c, sign);
  if (sign > 0) {
    usage_.add(e->lsn(), e->record_bytes());
  } else {
    usage_.sub(e->lsn(), e->record_bytes());
  }
}

void Keyspace::count(const Collection& c, int sign) {
  for (size_t i = 0; i < c.share_.charge_count(); i++) {
    const auto [lsn, bytes] = c.share_.charge(i);
    if (sign > 0) {
      usage_.add(lsn, bytes);
    } else {
      usage_.sub(lsn, bytes);
    }
  }
}

void Keyspace::begin_charges(Collection& c, Lsn lsn, const RecordView& r) {
  begin_charges(c, lsn, r.size(), r.value.size(), r.has_expiry());
}

void Keyspace::begin_charges(Collection& c, Records records, uint64_t image_size, bool expires) {
  begin_charges(c, records.lsns[0], records.views[0].size(), image_size, expires);
  charge(c, records.behind(1), false);
}

void Keyspace::begin_charges(Collection& c, Lsn lsn, uint64_t record_bytes, uint64_t image_size,
                             bool expires) {
  // An entry that leaves memory cannot say so large a size; it is written again before.
  if (image_size > Entry::kValueBytesMax) image_size = 0;
  c.share_.set_record(static_cast<uint32_t>(image_size), expires);
  c.share_.begin(lsn);
  charge(c, lsn, record_bytes, false);
}

RecordView Keyspace::copy_record(Namespace& ns, const Entry* e, std::string_view value) const {
  RecordView r{RecordType::kPut, e->record_flags(), ns.stored(), e->expire_ms(),
               e->key(),         e->meta(),         value};
  r.flags |= kRecordHasOrigin;
  r.version = e->version();
  r.wall_ms = log_.time_of(r.version);
  r.cause = Cause::kCopy;
  return r;
}

void Keyspace::rewrite(Namespace& ns, KeyHash, Entry* entry) {
  Collection& c = *entry->collection();
  const std::string image = c.image();
  const RecordView r = copy_record(ns, entry, image);
  c.share_.set_identity(nullptr);
  count(entry, -1);
  entry->set_wished(still_wished(entry));
  entry->set_lsn(log_.append(r));
  begin_charges(c, entry->lsn(), r);
  count(entry, 1);
}

// ---- large ones ----

void Keyspace::set_subject(const Collection& c, RecordView& r) {
  if (c.identity() == nullptr) return;
  r.ns = kIdentities;
  r.key = c.identity()->key();
}

StatusOr<uint64_t> Keyspace::append_part(Namespace& ns, Entry* e, uint64_t& cursor, Lsn& begin) {
  Collection& c = *e->collection();
  std::string operation;
  const uint64_t next = c.save(cursor, part_bytes(), operation);
  RecordView r = copy_record(ns, e, operation);
  r.type = RecordType::kOperation;
  set_subject(c, r);
  if (!RecordParts::bytes(r, log_.record_bytes_max())) {
    return absl::InternalError(cat("a part of a collection in ", ns.name, " is too large"));
  }
  RecordParts parts;
  std::vector<Lsn> lsns(parts.add(r, log_.record_bytes_max()));
  if (r.size() > 2 * part_bytes()) {  // a single element
    if (Status room = log_.room_to_clean(r.size()); !room.ok()) return room;
  }
  cursor = next;
  e->set_wished(still_wished(e));
  log_.append_batch(parts.records(), lsns);
  e->set_lsn(lsns.back());
  if (!begin.valid()) begin = lsns.front();
  charge(c, {parts.records(), lsns});
  c.share_.set_record(0, r.has_expiry());
  if (cursor != 0) return r.size();
  if (Identity* identity = c.share_.identity()) {
    identity->from = begin;
    identity->to = e->lsn();
    if (ns.id != kIdentities) append_name(ns, e);
  }
  count(e, -1);  // nothing before the first part matters
  LogShare& share = c.share_;
  while (share.charge_count() > 1 && share.charge(1).first <= begin) share.erase_first_charge();
  if (share.charge(0).first < begin) share.move_first_charge(begin);
  share.set_oldest(begin);
  count(e, 1);
  return r.size();
}

void Keyspace::append_name(Namespace& ns, Entry* e) {
  Collection& c = *e->collection();
  const Identity& identity = *c.identity();
  const std::string name = NameRecord{identity.id(), identity.from, identity.to, {}}.encode();
  RecordView r = copy_record(ns, e, name);
  r.type = RecordType::kName;
  e->set_lsn(log_.append(r));
  charge(c, e->lsn(), r.size(), true);
}

bool Keyspace::wants_identity(const Namespace& ns, const Collection& c) const {
  return c.identity() == nullptr && c.image_bytes() > part_bytes() && ns.id != kIdentities;
}

Lsn Keyspace::append_named(Namespace& ns, const RecordView& put, Collection& c) {
  c.share_.set_identity(
      std::make_unique<Identity>(identities_, identities_->next(epoch_), ns.stored(), put.key));
  Identity& identity = *c.share_.identity();
  RecordView all = put;
  all.type = RecordType::kOperation;
  set_subject(c, all);
  RecordParts parts;
  std::vector<Lsn> lsns(parts.add(all, log_.record_bytes_max()));
  log_.append_batch(parts.records(), lsns);
  begin_charges(c, {parts.records(), lsns}, 0, put.has_expiry());
  identity.from = lsns.front();
  identity.to = lsns.back();
  const std::string name = NameRecord{identity.id(), identity.from, identity.to, {}}.encode();
  RecordView named = put;
  named.type = RecordType::kName;
  named.ns = ns.stored();
  named.value = name;
  const Lsn lsn = log_.append(named);
  charge(c, lsn, named.size(), false);
  return lsn;
}

void Keyspace::identify(Namespace& ns, Entry* e) {
  Collection& c = *e->collection();
  if (!wants_identity(ns, c)) return;
  const uint64_t bytes = c.image_bytes();
  // With its change it may have taken the last room; then at the next one.
  if (!log_.admit(Need::kPut, bytes + bytes / 2 + e->key_size + kBlockBytes).ok()) return;
  c.share_.set_identity(
      std::make_unique<Identity>(identities_, identities_->next(epoch_), ns.stored(), e->key()));
  if (planted(Bug::kNamedTooSoon)) append_name(ns, e);
  uint64_t cursor = 0;
  Lsn begin;
  do {
    if (append_part(ns, e, cursor, begin).ok()) continue;
    c.share_.set_identity(nullptr);  // a name that was not written: what was is nobody's
    return;
  } while (cursor != 0);
}

Keyspace::Known Keyspace::known(const Namespace& ns, const Entry* e) {
  const Collection* c = e->collection();
  if (c != nullptr && c->identity() != nullptr) return {c->identity()->id(), {}, {}};
  return {0, ns.stored(), std::string(e->key())};
}

bool Keyspace::look_up(Known& known) const {
  if (known.identity != 0) {
    auto name = identities_->name_of(known.identity);
    if (!name) return false;
    known.stored = name->first;
    known.key = std::move(name->second);
  }
  known.ns = namespace_by_id(known.stored);
  return known.ns != nullptr;
}

Entry* Keyspace::entry_of(const Known& known, KeyHash hash) {
  if (known.ns->stored() != known.stored) return nullptr;  // its database was swapped just now
  Entry* e = known.ns->index->find(known.key, hash);
  const Collection* c = e == nullptr ? nullptr : e->collection();
  if (c == nullptr) return nullptr;
  const uint64_t id = c->identity() == nullptr ? 0 : c->identity()->id();
  return id == known.identity ? e : nullptr;
}

awaitable<Status> Keyspace::rewrite_parts(Known which, Lsn before,
                                          std::function<awaitable<void>(uint64_t)> pace) {
  uint64_t cursor = 0;
  Lsn begin;
  const Collection* same = nullptr;
  for (;;) {
    uint64_t size = 0;
    if (!look_up(which)) co_return absl::OkStatus();
    const KeyHash hash = which.ns->hash(which.key);
    (void)co_await busy().until_idle(hash, Busy::Patience::kEndless);
    {
      StripeLocks lock(*this, hash);
      Entry* e = entry_of(which, hash);
      if (e == nullptr) {
        Known now = which;
        if (look_up(now) && now != which) continue;  // renamed just now, or swapped
      }
      Collection* c = e == nullptr ? nullptr : e->collection();
      // Gone, or another one made since: then what was to be rewritten is dead.
      if (c == nullptr || c->share_.oldest() >= before || (same != nullptr && c != same)) {
        co_return absl::OkStatus();
      }
      if (Status room = log_.room_to_clean(2 * part_bytes() + e->key_size); !room.ok())
        co_return room;
      if (c->image_bytes() <= part_bytes() && which.ns->id != kIdentities) {  // it has shrunk
        size = c->image_bytes();
        rewrite(*which.ns, hash, e);
        cursor = 0;
      } else {
        same = c;
        auto appended = append_part(*which.ns, e, cursor, begin);
        if (!appended.ok()) co_return appended.status();
        size = *appended;
      }
    }
    co_await pace(size);
    if (cursor == 0) co_return absl::OkStatus();
  }
}

bool Keyspace::spill_collection(Namespace& ns, KeyHash hash, Entry* entry) {
  Collection& c = *entry->collection();
  if (c.image_bytes() > part_bytes() || c.next_due() != INT64_MAX) return false;
  if (c.share_.image_size() == 0) {  // first it must be one record
    if (log_.admit(Need::kPut).ok()) rewrite(ns, hash, entry);
    return false;
  }
  return log_.is_durable(entry->lsn());
}

void Keyspace::charge_once(Collection& c, Lsn lsn, uint64_t bytes) const {
  size_t i = 0;
  for (; i < c.share_.charge_count(); i++) {
    const Lsn at = c.share_.charge(i).first;
    if (usage_.same_segment(at, lsn)) return;
    if (at > lsn) break;
  }
  c.share_.insert_charge(i, lsn, bytes);
}

// What lay in segments that are gone no longer counts.
void Keyspace::forget_charges(Collection& c, Lsn before) const {
  LogShare& share = c.share_;
  while (share.charge_count() > 0 && share.charge(0).first < before) share.erase_first_charge();
  share.set_oldest(std::max(share.oldest(), before));
}

}  // namespace cairn
