// Room for the log: segments are made before they are needed, and who may use what is left of them
// when no more can be made.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/log.h"

namespace cairn {

// Up to where space should be set aside, for what is written now and soon.
uint64_t Log::room_wanted() const {
  const uint64_t size = start_.segment_bytes, open = open_number_;
  const uint64_t first = start_.segment.value();
  if (open == UINT64_MAX) return first * size + std::min(size, kFirstReserve);
  if (scarce()) return (open + 1 + kReserve) * size;
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  const uint64_t segment = std::max(open, tail / size);
  const uint64_t used = tail - std::min(tail, segment * size);
  if (used > size / 2) return (segment + 2) * size;
  if (segment > first) return (segment + 1) * size;
  uint64_t room = kFirstReserve;
  while (room < size && used > room / 2) room *= kReserveGrowth;
  return segment * size + std::min(size, room);
}

void Log::start_prepare() {
  if (preparing_.exchange(true)) return;
  spawn(loop_, "preparing a log segment", prepare(), [this](const Status& status) {
    fail(status);
    preparing_ = false;
    changed_.notify();
  });
}

awaitable<void> Log::prepare() {
  Status made;
  while (made.ok() && room_end_ < room_wanted() && !failed()) made = co_await prepare_more();
  {
    MutexLock lock(wait_mutex_);
    prepare_status_ = made;
  }
  note_trouble(made);
  preparing_ = false;
  changed_.notify();
}

void Log::note_trouble(const Status& made) {
  constexpr uint8_t kMine = kFull | kStalled;
  const uint8_t now = made.ok() ? 0 : absl::IsResourceExhausted(made) ? kFull : kStalled;
  const uint8_t before = trouble_.load() & kMine;
  if (now == before) return;
  if (now == kFull) full_room_ = room();
  trouble_.fetch_or(now);
  trouble_.fetch_and(static_cast<uint8_t>(~(kMine & ~now)));
  if (!report_) return;
  if (now == 0) report_(Severity::kInfo, "log", "segments can be made again: puts are taken");
  if (now != 0) {
    report_(Severity::kWarning, "log",
            cat("no segment can be made, and puts are refused when what is left is used: ",
                made.message()));
  }
}

// The rest of a segment that is set aside in part, or the next one.
awaitable<Status> Log::prepare_more() {
  const uint64_t size = start_.segment_bytes;
  const uint64_t want = std::min(room_wanted(), round_up(room_end_ + 1, size));
  uint64_t reserve = want - room_end_;
  Status made;
  if (room_end_ % size != 0) {
    made = co_await volume_.set_aside({FileKind::kSegment, prepared_end_ - 1},
                                      want - room_end_ / size * size);
    fail_unless_it_passes(made);  // it syncs the file, which frames may be written to
  } else {
    made = co_await make_segment(SegmentId(prepared_end_), reserve);
  }
  if (!made.ok()) co_return made;
  if (room_end_ % size == 0) {
    prepared_end_++;
    prepared_count_++;
  }
  room_end_ = room_end_ + reserve;
  const uint64_t free = free_bytes_;  // known anew at the next check_space()
  if (free != UINT64_MAX) note_free(free - std::min(free, reserve));
  co_return made;
}

// Its file, header and name, each durable before the next. `reserve` gets less where there is no
// room for it.
awaitable<Status> Log::make_segment(SegmentId segment, uint64_t& reserve) {
  const uint64_t size = start_.segment_bytes;
  const FileId file{FileKind::kSegment, segment.value()};
  if (half_made_ != segment) {
    const bool first = open_number_ == UINT64_MAX;
    Status made = co_await volume_.create_partly(file, size, reserve);
    // Anything is better than a log that cannot take the deletions that make room.
    while (absl::IsResourceExhausted(made) && first && reserve > kLeastReserve) {
      reserve = std::max(kLeastReserve, reserve / kReserveGrowth);
      made = co_await volume_.create_partly(file, size, reserve);
    }
    if (!made.ok()) co_return made;
    half_made_ = segment;
    half_made_reserve_ = reserve;
  }
  reserve = half_made_reserve_;
  AlignedBuffer block(kBlockBytes);
  std::memset(block.data(), 0, block.size());
  SegmentHeader header{
      kSegmentMagic,        0, kLogVersion, start_.epoch, start_.store, segment.value(),
      start_.segment_bytes, 0};
  seal_header(header, start_.store, segment.value(), 0);
  std::memcpy(block.data(), &header, sizeof(header));
  Status made = co_await volume_.write(file, 0, {block.data(), block.size()}, WriteMode::kDurable);
  if (made.ok() && !planted(Bug::kNoDirectorySync)) {
    made = co_await volume_.sync_directory();
    fail_unless_it_passes(made);
  }
  if (made.ok()) {
    manifest_.note_proven(durable());
    manifest_.name_segment(segment, start_.epoch);
    if (!planted(Bug::kSegmentNotNamed)) made = co_await manifest_.save();
  }
  // What failed may have named it: the file stays, and the next attempt goes on from here.
  if (made.ok()) half_made_ = SegmentId();
  co_return made;
}

awaitable<void> Log::check_space() {
  auto free = co_await volume_.free_bytes();
  if (free.ok()) note_free(*free);
  if (stuck() || room_end_ < room_wanted()) start_prepare();
  const bool idle = clock_.now_ms() >= opened_ms_ + kIdleMs;
  if (free.ok() && !scarce() && idle) co_await volume_.drop_recycled();
}

void Log::note_free(uint64_t bytes) {
  free_bytes_.store(bytes, std::memory_order_relaxed);
  if (bytes < kScarce * start_.segment_bytes) {
    trouble_.fetch_or(kTight);
  } else {
    trouble_.fetch_and(static_cast<uint8_t>(~kTight));
  }
}

void Log::note_taken(uint64_t bytes) {
  uint64_t free = free_bytes_.load(std::memory_order_relaxed), left;
  do {
    if (free == UINT64_MAX) return;  // not known
    left = free - std::min(free, bytes);
  } while (!free_bytes_.compare_exchange_weak(free, left, std::memory_order_relaxed));
  if (left >= kScarce * start_.segment_bytes) return;
  trouble_.fetch_or(kTight);
  if (!stuck() && room_end_ < room_wanted()) start_prepare();
}

uint64_t Log::room() const {
  const uint64_t end = room_end_.load();
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  return end > tail ? end - tail : 0;
}

Status Log::trouble() const {
  if (!stuck()) return admit(Need::kPut);
  MutexLock lock(wait_mutex_);
  return failed() ? status_ : refusal();
}

Status Log::refusal() const {
  if ((trouble_.load() & kStalled) == 0) return disk_full("the disk is full");
  return absl::UnavailableError(cat("no log segment can be made: ", prepare_status_.message()));
}

void Log::note_cleaning(uint64_t copies, uint64_t copied) {
  cleaner_copies_ = copies;
  cleaner_copied_ = copied;
}

awaitable<void> Log::prepared() {
  co_await changed_.until([this] { return !preparing_ || failed(); });
}

Status Log::room_to_clean(uint64_t bytes) const {
  if (Status s = status(); !s.ok()) return s;
  if (!stuck() || room() > bytes + start_.segment_bytes / 8) return absl::OkStatus();
  MutexLock lock(wait_mutex_);
  return refusal();
}

Status Log::admit_slow(Need need) const {
  if (Status s = status(); !s.ok()) return s;
  if (planted(Bug::kReserveGivenAway)) return absl::OkStatus();
  const uint64_t segment = start_.segment_bytes;
  // The cleaner copies at most one segment at a time, which may grow by half
  // (core/store/cleaner.cc).
  uint64_t kept = need == Need::kPut      ? segment * 5 / 2
                  : need == Need::kDelete ? segment * 13 / 8
                                          : std::min(segment, kLeastReserve) / 4;
  uint64_t left = room();
  if (!stuck()) {  // what comes faster than space is set aside is counted before it is missing
    if (need != Need::kPut) return absl::OkStatus();
    const uint64_t end = room_end_ + free_bytes_, tail = tail_.load(std::memory_order_relaxed);
    left = end > tail ? end - tail : 0;
  } else if (!full()) {
    kept = std::min(kept, segment / 4);  // nothing that is deleted helps
  }
  if (need == Need::kDelete) {
    // Where there was never that much: deletions make the room, and the cleaner cannot.
    kept = std::min<uint64_t>(kept, full_room_ / 8 * 5);
    // What the cleaner has copied of a segment is as good as given back, and is not missing: with
    // it counted, deletions were refused now and then while it copied. What it has before it stays.
    const uint64_t copied = cleaner_copied_, before = cleaner_copies_;
    const uint64_t to_come = before > copied ? before - copied + segment / 8 : 0;
    kept = std::max(kept - std::min(kept, copied), to_come);
  }
  if (left > kept) return absl::OkStatus();
  MutexLock lock(wait_mutex_);
  return refusal();
}

// Until space is set aside up to `end`: for what was appended faster than that.
awaitable<Status> Log::wait_for_room(Lsn end) {
  for (int tries = 0; room_end_ < end.value();) {
    if (failed()) co_return status();
    if (!preparing_) start_prepare();
    co_await changed_.until([this] { return !preparing_ || failed(); });
    if (room_end_ >= end.value()) break;
    Status made;
    {
      MutexLock lock(wait_mutex_);
      made = prepare_status_;
    }
    if (made.ok()) continue;
    // Out of descriptors, nothing was begun and nothing is lost: it goes when some are free.
    const bool bounded = closing_ || !open_segment_.valid();
    if (!absl::IsUnavailable(made) || (bounded && ++tries > kTries)) co_return made;
    co_await clock_.sleep_ms(kRetryMs);
  }
  co_return absl::OkStatus();
}

Status Log::admit_large(uint64_t bytes) const {
  const uint64_t segment = start_.segment_bytes;
  if (bytes > batch_bytes_max()) {
    return absl::ResourceExhaustedError("the transaction is larger than 1 GiB");
  }
  // Padding: what a segment cannot hold of a record goes to the next one, half a segment at worst.
  const uint64_t end = tail_.load(std::memory_order_relaxed) + 2 * bytes + 2 * segment;
  const uint64_t prepared = room_end_.load();
  const uint64_t more = end > prepared ? end - prepared : 0;
  const uint64_t free = free_bytes_.load(std::memory_order_relaxed), margin = kScarce * segment;
  if (more == 0 || (!stuck() && free > margin && free - margin >= more)) {
    return absl::OkStatus();
  }
  return disk_full("the disk has no room for so large a transaction");
}

awaitable<Status> Log::open_segment(SegmentId segment, Lsn previous_end) {
  if (unsynced_ && !planted(Bug::kSealBeforeSync)) {  // invariant 4
    Status synced = co_await volume_.sync({FileKind::kSegment, open_segment_.value()});
    if (!synced.ok()) co_return synced;
    unsynced_ = false;
  }
  const Lsn first(segment.value() * start_.segment_bytes + kBlockBytes);
  Status reserved = co_await wait_for_room(first);
  if (!reserved.ok()) co_return reserved;
  if (open_segment_.valid()) {
    manifest_.seal(open_segment_, previous_end);
    MutexLock lock(mutex_);
    sealed_segments_.emplace_back(open_segment_, previous_end);
  }
  open_segment_ = segment;
  previous_end_ = previous_end;
  open_number_.store(segment.value(), std::memory_order_release);
  opened_ms_ = clock_.now_ms();
  prepared_count_--;
  if (room_end_ < room_wanted()) start_prepare();
  co_return absl::OkStatus();
}

}  // namespace cairn
