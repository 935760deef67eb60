#include "core/store/cleaner.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"

namespace cairn {

namespace {
constexpr int64_t kIdleMs = 20;
constexpr int64_t kRetryMs = 1000;
constexpr uint64_t kSliceBytes = 64 << 10;  // of the source, between pauses
constexpr uint64_t kReadBytes = 1 << 20;
constexpr size_t kGroup = 16;            // records looked up under one set of locks
constexpr uint64_t kUrgentSegments = 2;  // so many over the target: no more pauses
constexpr uint64_t kHoldSegments = 8;    // so many: writers wait
}  // namespace

uint64_t Cleaner::log_bytes() const {
  return (keyspace_.log().sealed_segments() + 1) * keyspace_.log().segment_bytes();
}

uint64_t Cleaner::live_bytes() const {
  auto oldest = keyspace_.log().oldest_sealed();
  const SegmentId open = keyspace_.log().open_segment();
  if (!open.valid()) return 0;
  uint64_t sum = 0;
  for (SegmentId s = oldest ? oldest->first : open; s <= open; s = s.next()) {
    sum += keyspace_.usage_.live(s);
  }
  return sum;
}

Cleaner::Stats Cleaner::stats() const {
  Stats s;
  s.segments_freed = segments_freed_;
  s.bytes_read = bytes_read_;
  s.bytes_copied = bytes_copied_;
  s.live_bytes = live_bytes();
  s.log_bytes = log_bytes();
  s.kept = keeps_;
  MutexLock lock(mutex_);
  s.status = status_;
  return s;
}

bool Cleaner::wanted() {
  Log& log = keyspace_.log();
  const uint64_t segment = log.segment_bytes();
  const uint64_t size = log_bytes(), live = live_bytes();
  const auto target =
      static_cast<uint64_t>(static_cast<double>(live) * keyspace_.options().space_amplification) +
      segment;
  const uint64_t over = size > target ? size - target : 0;
  const bool full = log.full();
  auto oldest = log.oldest_sealed();
  const bool keeps =
      over > 0 && !full && oldest && keyspace_.pins().keep(oldest->second, log.tail());
  keeps_ = keeps;
  kept_ = keeps ? over : std::min(kept_, over);
  log.hold(over - kept_ > kHoldSegments * segment);
  urgent_ = full || over - kept_ > kUrgentSegments * segment;
  if (keeps) return false;
  if (!oldest || !log.status().ok()) return false;
  if (!full) return over > 0;
  // A first copy grows by its origin, at worst by half; it must fit in what is left.
  const uint64_t copies = keyspace_.usage_.live(oldest->first);
  const uint64_t live_sealed = live - std::min(live, keyspace_.usage_.live(log.open_segment()));
  const uint64_t dead = size - segment - std::min(size - segment, live_sealed);
  return copies == 0 ||
         (dead >= segment * 3 / 4 && copies + copies / 2 + segment / 8 <= log.room());
}

awaitable<void> Cleaner::run() {
  while (!keyspace_.stopping_) {
    if (!wanted()) {
      co_await keyspace_.rest(kIdleMs);
      continue;
    }
    auto oldest = *keyspace_.log().oldest_sealed();
    const uint64_t live = keyspace_.usage_.live(oldest.first);
    copies_ = live + live / 2;  // at worst
    copied_before_ = bytes_copied_;
    Status cleaned = co_await clean(oldest.first, oldest.second);
    keyspace_.log().note_cleaning(0, 0);
    found_.clear();
    identities_.clear();
    large_.clear();
    swap_ = Lsn();
    space_ = nullptr;
    if (!cleaned.ok() && !absl::IsCancelled(cleaned)) {
      keyspace_.report(Severity::kWarning, "cleaner",
                       cat("segment ", oldest.first.value(), " stays: ", cleaned.message()));
    }
    {
      MutexLock lock(mutex_);
      status_ = cleaned;
    }
    if (!cleaned.ok()) co_await keyspace_.rest(kRetryMs);
  }
  buffer_ = AlignedBuffer();
  keyspace_.log().hold(false);
}

// Whoever appended to a segment that is sealed by now holds the locks that it changed the index
// under, or has let go of them.
awaitable<Status> Cleaner::clean(SegmentId segment, Lsn end) {
  Log& log = keyspace_.log();
  keyspace_.wait_for_locks();
  if (removed_ != segment && keyspace_.usage_.live(segment) > 0) {
    Status copied = co_await copy_live(segment, end);
    if (!copied.ok()) co_return copied;
  }
  if (!planted(Bug::kFreedBeforeCopies)) {  // invariant 2
    Status durable = co_await log.wait_durable(Lsn(log.tail().value() - 1));
    if (!durable.ok()) co_return durable;
  }
  keyspace_.manifest_.note_proven(log.durable());
  keyspace_.manifest_.strike_segment(segment);
  Status removed;
  if (!planted(Bug::kRemovedBeforeStruck)) removed = co_await keyspace_.manifest_.save();
  if (removed.ok() && removed_ != segment) {
    removed = co_await volume_.recycle({FileKind::kSegment, segment.value()});
    if (absl::IsNotFound(removed)) removed = absl::OkStatus();
    if (removed.ok()) removed_ = segment;  // should the rest fail, it is tried again without this
  }
  // So that it does not come back where --repair has no manifest that says otherwise.
  if (removed.ok()) removed = co_await volume_.sync_directory();
  if (!removed.ok()) co_return removed;
  log.forget_oldest();
  keyspace_.usage_.forget(segment, log.open_segment());
  segments_freed_++;
  if (log.full()) {
    co_await log.check_space();
    co_await log.prepared();
  }
  co_return absl::OkStatus();
}

awaitable<StatusOr<Bytes>> Cleaner::load(SegmentId segment, uint64_t offset, uint64_t bytes) {
  if (offset < buffer_at_ || offset + bytes > buffer_end_) {
    const uint64_t room = keyspace_.log().segment_bytes() - offset;
    const uint64_t want = std::min(room, std::max(kReadBytes, round_up(bytes, kBlockBytes)));
    if (buffer_.size() < want) buffer_ = AlignedBuffer(want);
    buffer_at_ = buffer_end_ = offset;
    const uint64_t base = segment.value() * keyspace_.log().segment_bytes();
    auto n = co_await read_around(
        volume_, {FileKind::kSegment, segment.value()}, offset, buffer_.span(0, want),
        [this, base](uint64_t at) { return in_ranges(lost_, Lsn(base + at)); });
    if (!n.ok()) co_return n.status();
    buffer_end_ = offset + *n;
    bytes_read_ += *n;
    if (*n < bytes) co_return absl::DataLossError(cat("segment ", segment.value(), " ends early"));
  }
  co_return Bytes{buffer_.data() + (offset - buffer_at_), buffer_end_ - offset};
}

awaitable<void> Cleaner::pace() {
  co_await keyspace_.log().wait_for_backlog();
  co_await keyspace_.log().wait_for_large();
  since_pause_ = 0;
  if (urgent_) {
    auto executor = co_await asio::this_coro::executor;
    co_await asio::post(executor, asio::use_awaitable);
  } else {
    co_await keyspace_.rest(1);
  }
}

awaitable<Status> Cleaner::copy_live(SegmentId segment, Lsn end) {
  const SegmentPlace found{keyspace_.store_id(), segment, keyspace_.log().segment_bytes(),
                           keyspace_.lives_.epoch_of(segment)};
  const SegmentPlace* place = &found;
  lost_ = keyspace_.manifest_.state().lost;
  buffer_at_ = buffer_end_ = 0;
  room_ = absl::OkStatus();
  const uint64_t end_offset = end.value() - place->base();
  for (uint64_t at = kBlockBytes; at < end_offset;) {
    auto damage = [&] {
      return absl::DataLossError(
          cat("segment ", segment.value(), " is damaged at offset ", at, " and cannot be cleaned"));
    };
    auto bytes = co_await load(segment, at, kBlockBytes);
    if (!bytes.ok()) co_return bytes.status();
    auto header = decode_frame_header(*place, at, *bytes);
    if (!header) {
      const auto range = std::find_if(lost_.begin(), lost_.end(), [&](const LsnRange& r) {
        return r.from <= place->base() + at && place->base() + at < r.to;
      });
      if (range == lost_.end()) co_return damage();
      at = std::min(range->to - place->base(), end_offset);  // what --repair went over
      continue;
    }
    bytes = co_await load(segment, at, frame_bytes(*header));
    if (!bytes.ok()) co_return bytes.status();
    const bool whole = for_each_record(*place, *header, *bytes, [&](const RecordView& r, Lsn lsn) {
      take(r, lsn, header->wall_ms);
    });
    copy_found();  // before the buffer is read into again
    while (!held_.empty()) co_await copy_held();
    while (swap_.valid()) co_await copy_swap();
    if (!large_.empty() || !identities_.empty()) {
      Status rewritten = co_await rewrite_large(end);
      if (!rewritten.ok()) co_return rewritten;
    }
    if (!room_.ok()) co_return room_;
    if (!whole) co_return damage();
    at += frame_bytes(*header);
    since_pause_ += frame_bytes(*header);
    if (since_pause_ >= kSliceBytes) co_await pace();
    if (keyspace_.stopping_) co_return absl::CancelledError("the store closes");
    if (Status s = keyspace_.log().status(); !s.ok()) co_return s;
  }
  co_return absl::OkStatus();
}

awaitable<Status> Cleaner::rewrite_large(Lsn end) {
  std::vector<Keyspace::Known> large;
  for (uint64_t id : identities_) large.push_back({id, {}, {}});
  for (auto& [stored, key] : large_) large.push_back({0, stored, std::move(key)});
  identities_.clear();
  large_.clear();
  for (Keyspace::Known& which : large) {
    Status rewritten = co_await keyspace_.rewrite_parts(std::move(which), end,
                                                        [this](uint64_t bytes) -> awaitable<void> {
                                                          bytes_copied_ += bytes;
                                                          since_pause_ += bytes;
                                                          if (since_pause_ >= kSliceBytes)
                                                            co_await pace();
                                                        });
    if (!rewritten.ok()) co_return rewritten;
    if (keyspace_.stopping_) co_return absl::CancelledError("the store closes");
  }
  co_return absl::OkStatus();
}

void Cleaner::take(const RecordView& record, Lsn lsn, int64_t wall_ms) {
  if (record.type == RecordType::kNamespace) return keyspace_.move_name(record.ns, lsn);
  if (record.type == RecordType::kSwap && !planted(Bug::kSwapNotMoved)) swap_ = lsn;
  if (record.type == RecordType::kName || record.ns == kIdentities) {
    const auto name = NameRecord::decode(record.value);
    const auto id = record.ns == kIdentities ? Identity::of_key(record.key)
                    : name                   ? std::optional(name->identity)
                                             : std::nullopt;
    if (!id || planted(Bug::kCollectionNotRewritten)) return;
    if (identities_.empty() || identities_.back() != *id) identities_.push_back(*id);
    return;
  }
  if (record.type != RecordType::kPut && record.type != RecordType::kOperation &&
      record.type != RecordType::kOperationPart) {
    return;
  }
  if (space_ == nullptr || space_->stored() != record.ns) {
    space_ = keyspace_.namespace_by_id(record.ns);
  }
  if (space_ == nullptr) return;
  Found found{record, lsn, space_, 0};
  found.record.cause = Cause::kCopy;
  found.hash = found.ns->hash(record.key);
  if (!record.has_origin()) {
    found.record.flags |= kRecordHasOrigin;
    found.record.version = lsn;
    found.record.wall_ms = wall_ms;
  }
  found_.push_back(std::move(found));
  if (found_.size() == kGroup) copy_found();
}

// What was found under stripes that somebody holds for long.
awaitable<void> Cleaner::copy_held() {
  std::vector<KeyHash> hashes;
  const size_t count = std::min(held_.size(), kGroup);
  for (size_t i = 0; i < count; i++) hashes.push_back(held_[i].hash);
  (void)co_await keyspace_.busy().until_idle(hashes, Busy::Patience::kEndless);
  const auto end = held_.begin() + static_cast<ptrdiff_t>(count);
  std::move(held_.begin(), end, std::back_inserter(found_));
  held_.erase(held_.begin(), end);
  copy_found();
}

awaitable<void> Cleaner::copy_swap() {
  (void)co_await keyspace_.busy().until_idle(KeyHash{0}, Busy::Patience::kEndless);
  StripeLocks lock(keyspace_);
  if (lock.lock_idle(KeyHash{0})) keyspace_.move_swap(std::exchange(swap_, Lsn()));
}

void Cleaner::copy_found() {
  std::array<KeyHash, kGroup> hashes;
  std::array<Namespace*, kGroup> spaces;
  for (size_t i = 0; i < found_.size(); i++) hashes[i] = found_[i].hash;
  StripeLocks locks(keyspace_);
  if (!found_.empty() && !locks.lock_idle(std::span(hashes.data(), found_.size()))) {
    std::move(found_.begin(), found_.end(), std::back_inserter(held_));
    return found_.clear();
  }
  for (size_t i = 0; i < found_.size(); i++) {
    Found& f = found_[i];
    if (f.ns->stored() != f.record.ns) f.ns = keyspace_.namespace_by_id(f.record.ns);  // by now
    spaces[i] = f.ns.get();
  }
  keyspace_.prefetch({spaces.data(), found_.size()}, {hashes.data(), found_.size()});
  uint64_t copied = bytes_copied_ - copied_before_;
  for (const Found& f : found_) copied += f.record.size();
  keyspace_.log().note_cleaning(copies_, copied);
  for (Found& f : found_) {
    Entry* e = f.ns->index->find(f.record.key, f.hash);
    if (e == nullptr) continue;
    if (const Collection* c = e->collection()) {
      if (c->share_.oldest() > f.lsn || planted(Bug::kCollectionNotRewritten)) continue;
      if (c->identity() != nullptr) continue;  // what it was before it had one
      if (c->image_bytes() > keyspace_.part_bytes()) {
        if (large_.empty() || large_.back() != std::pair(f.record.ns, std::string(f.record.key))) {
          large_.emplace_back(f.record.ns, f.record.key);
        }
      } else if (room_.ok()) {
        room_ = keyspace_.log().room_to_clean(2 * keyspace_.part_bytes());
        if (!room_.ok()) continue;
        bytes_copied_ += c->image_bytes();
        keyspace_.rewrite(*f.ns, f.hash, e);
      }
      continue;
    }
    if (e->lsn() != f.lsn) continue;
    if (planted(Bug::kCleanerDropsNewest) && f.lsn.value() / 8 % 64 == 0) continue;
    if (!planted(Bug::kCleanerLosesExpiry)) {  // what changed it since is not copied
      f.record.expire_ms = e->expire_ms();
      f.record.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
      if (e->has_expiry()) f.record.flags |= kRecordHasExpiry;
    }
    if (planted(Bug::kCleanerLosesVersion)) {
      f.record.flags &= static_cast<uint8_t>(~kRecordHasOrigin);
    }
    keyspace_.move(*f.ns, f.hash, e, f.record);
    bytes_copied_ += f.record.size();
  }
  found_.clear();
}

}  // namespace cairn
