#include "core/log/log.h"

#include <absl/cleanup/cleanup.h>

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <cassert>
#include <new>
#include <thread>
#include <utility>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"

namespace cairn {

Log::Log(Volume& volume, Clock& clock, Manifest& manifest, Executor loop, Report report)
    : volume_(volume),
      clock_(clock),
      manifest_(manifest),
      loop_(std::move(loop)),
      executor_(volume.log_executor(loop_)),
      report_(std::move(report)) {}

Log::~Log() = default;

awaitable<Status> Log::start(const LogStart& start) {
  start_ = start;
  open_segment_ = SegmentId();
  prepared_end_ = start.segment.value();
  room_end_ = start.segment.value() * start.segment_bytes;
  {
    MutexLock lock(mutex_);
    sealed_segments_.assign(start.sealed.begin(), start.sealed.end());
  }
  durable_ = start.previous_end.value();
  auto free = co_await volume_.free_bytes();
  if (free.ok()) note_free(*free);
  tail_ = start.segment.value() * start.segment_bytes + kBlockBytes;  // what room() is left from
  Status opened = co_await open_segment(start.segment, start.previous_end);
  if (absl::IsResourceExhausted(opened)) {  // not even the reserve is left: what is there is served
    fail(opened);
  } else if (!opened.ok()) {
    co_await changed_.until([this] { return !preparing_; });  // it may still be at its end
    co_return opened;
  }
  {
    MutexLock lock(mutex_);
    tail_ = next_start_ = start.segment.value() * start.segment_bytes + kBlockBytes;
    written_end_ = Lsn(next_start_);
    durable_.store(next_start_, std::memory_order_release);
  }
  // Whether the reserve is there is known before the first put is admitted.
  if (!failed()) start_prepare();
  co_await changed_.until([this] { return !preparing_; });
  co_return absl::OkStatus();
}

uint64_t Log::record_bytes_max() const {
  return start_.segment_bytes - 2 * kBlockBytes - sizeof(FrameHeader);
}

Lsn Log::tail() const {
  MutexLock lock(mutex_);
  return Lsn(active_ ? active_->start + active_->used : next_start_);
}

Status Log::status() const {
  if (!failed()) return absl::OkStatus();
  MutexLock lock(wait_mutex_);
  return status_;
}

std::optional<std::pair<SegmentId, Lsn>> Log::oldest_sealed() const {
  MutexLock lock(mutex_);
  if (sealed_segments_.empty()) return std::nullopt;
  return sealed_segments_.front();
}

size_t Log::sealed_segments() const {
  MutexLock lock(mutex_);
  return sealed_segments_.size();
}

void Log::forget_oldest() {
  MutexLock lock(mutex_);
  sealed_segments_.pop_front();
}

// What is durable is asked first, and then which segment is open: so no segment is passed over that
// is sealed meanwhile.
Log::Stretch Log::stretch(Lsn at) const {
  const Lsn durable = this->durable();
  const SegmentId open = open_segment();
  if (!open.valid()) return {};
  const auto first_of = [this](SegmentId s) {
    return Lsn(s.value() * start_.segment_bytes + kBlockBytes);
  };
  MutexLock lock(mutex_);
  const SegmentId oldest = sealed_segments_.empty() ? open : sealed_segments_.front().first;
  if (segment_of(at.value()) < oldest) return {.gone = true};
  auto it = std::upper_bound(sealed_segments_.begin(), sealed_segments_.end(), at,
                             [](Lsn lsn, const auto& segment) { return lsn < segment.second; });
  if (it == sealed_segments_.end()) return {open, first_of(open), durable, {}};
  SegmentId next = std::next(it) == sealed_segments_.end() ? open : std::next(it)->first;
  if (next <= it->first) next = it->first.next();  // sealed just now
  // A transaction that goes on behind a segment is not durable when that is sealed.
  if (durable < it->second) return {it->first, first_of(it->first), durable, {}};
  return {it->first, first_of(it->first), it->second, first_of(next)};
}

awaitable<Status> Log::wait_for_more(Lsn at) {
  co_await changed_.until([&] { return durable() > at || failed() || closed_; });
  if (durable() > at) co_return absl::OkStatus();
  if (failed()) co_return status();
  co_return absl::CancelledError("the log was closed");
}

Log::Stats Log::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

// ---- appending ----

void Log::seal_active() {
  if (!active_ || active_->records == 0) return;
  next_start_ = active_->start + round_up(active_->used, kBlockBytes);
  sealed_.push_back(std::move(active_));
}

uint64_t Log::place_frame(uint64_t bytes) {
  const uint64_t least = round_up(sizeof(FrameHeader) + bytes, kBlockBytes);
  uint64_t segment_end = (next_start_ / start_.segment_bytes + 1) * start_.segment_bytes;
  if (next_start_ + least > segment_end || next_start_ % start_.segment_bytes == 0) {
    // The next segment; its first block is its header.
    next_start_ = round_up(next_start_, start_.segment_bytes) + kBlockBytes;
    segment_end = (next_start_ / start_.segment_bytes + 1) * start_.segment_bytes;
  }
  return segment_end - next_start_;
}

Log::Frame* Log::reserve(uint64_t bytes) {
  if (active_ && active_->used + bytes <= active_->buffer.size()) return active_.get();
  seal_active();
  const uint64_t room = place_frame(bytes);
  uint64_t capacity = std::max(kFrameBytes, round_up(sizeof(FrameHeader) + bytes, kBlockBytes));
  capacity = std::min(capacity, room);
  std::unique_ptr<Frame> frame;
  if (!free_.empty() && free_.back()->buffer.size() == capacity) {
    frame = std::move(free_.back());
    free_.pop_back();
  } else {
    frame = std::make_unique<Frame>();
    frame->buffer = AlignedBuffer(capacity);
  }
  frame->start = next_start_;
  frame->used = sizeof(FrameHeader);
  frame->records = 0;
  active_ = std::move(frame);
  return active_.get();
}

void Log::fill(Frame* frame, uint64_t offset, const RecordView& record, bool goes_on) {
  const uint64_t lsn = frame->start + offset;
  const uint32_t seed =
      record_seed(start_.store, segment_of(lsn), lsn % start_.segment_bytes, start_.epoch);
  encode_record(record, goes_on, seed, frame->buffer.data() + offset);
}

Lsn Log::append(const RecordView& record) {
  Lsn lsn;
  append_batch({&record, 1}, {&lsn, 1});
  return lsn;
}

void Log::append_batch(std::span<const RecordView> records, std::span<Lsn> lsns) {
  if (planted(Bug::kBatchInParts) && records.size() > 1) {
    for (size_t i = 0; i < records.size(); i++) {
      append_batch(records.subspan(i, 1), lsns.subspan(i, 1));
      MutexLock lock(mutex_);
      seal_active();
    }
    return;
  }
  uint64_t total = 0;
  for (const RecordView& r : records) total += r.size();
  assert(total <= batch_bytes_max());
  if (records.size() > 1 && total > std::min(record_bytes_max(), kFrameBytes)) {
    return append_large(records, lsns, total);
  }
  Frame* frame;
  uint64_t offset;
  bool large;
  {
    MutexLock lock(mutex_);
    frame = reserve(total);
    offset = frame->used;
    frame->used += total;
    tail_.store(frame->start + frame->used, std::memory_order_relaxed);
    frame->records += static_cast<uint32_t>(records.size());
    frame->fills.fetch_add(1, std::memory_order_relaxed);
    large = frame->used >= kWriteBytes;
  }
  pending_bytes_.fetch_add(total, std::memory_order_relaxed);
  for (size_t i = 0; i < records.size(); i++) {
    lsns[i] = Lsn(frame->start + offset);
    fill(frame, offset, records[i], i + 1 < records.size());
    offset += records[i].size();
  }
  frame->fills.fetch_sub(1, std::memory_order_release);
  if (large) kick();
}

std::vector<Log::Frame*> Log::lay_out(std::span<const RecordView> records, std::span<Lsn> lsns) {
  std::vector<Frame*> frames;
  MutexLock lock(mutex_);
  seal_active();
  for (size_t i = 0; i < records.size();) {
    const uint64_t room = place_frame(records[i].size());
    auto frame = std::make_unique<Frame>();
    frame->start = next_start_;
    frame->used = sizeof(FrameHeader);
    const uint64_t capacity =
        std::min(room, std::max(kLargeFrameBytes, frame->used + records[i].size()));
    for (; i < records.size() && frame->used + records[i].size() <= capacity; i++) {
      lsns[i] = Lsn(frame->start + frame->used);
      frame->used += records[i].size();
      frame->records++;
    }
    if (!planted(Bug::kLargeInParts)) {
      if (!frames.empty()) frame->flags |= kFrameContinues;
      if (i < records.size()) frame->flags |= kFrameGoesOn;
    }
    frame->fills.store(1, std::memory_order_relaxed);
    next_start_ += round_up(frame->used, kBlockBytes);
    frames.push_back(frame.get());
    sealed_.push_back(std::move(frame));
  }
  tail_.store(next_start_, std::memory_order_relaxed);
  return frames;
}

// The frames have their places at once, so that nothing comes between them; then they are filled
// one by one, while those before are written.
void Log::append_large(std::span<const RecordView> records, std::span<Lsn> lsns, uint64_t total) {
  const std::vector<Frame*> frames = lay_out(records, lsns);
  pending_bytes_.fetch_add(total, std::memory_order_relaxed);
  bool memory = true;
  size_t i = 0;
  for (Frame* frame : frames) {
    try {
      if (memory) frame->buffer = AlignedBuffer(frame->used);
    } catch (const std::bad_alloc&) {
      memory = false;  // the flush finds an empty buffer, and the log fails
    }
    const size_t end = i + frame->records;
    for (; memory && i < end; i++) {
      fill(frame, lsns[i].value() - frame->start, records[i], i + 1 < records.size());
    }
    frame->fills.fetch_sub(1, std::memory_order_release);  // it may be gone from here on
    kick();
  }
}

// ---- durability ----

void Log::when_durable(Lsn lsn, Executor executor, absl::AnyInvocable<void(Status)> done) {
  {
    MutexLock lock(wait_mutex_);
    if (is_durable(lsn) || !status_.ok()) {
      Status now = is_durable(lsn) ? absl::OkStatus() : status_;
      asio::post(executor, [done = std::move(done), now]() mutable { done(now); });
      return;
    }
    waiters_.push_back({lsn, std::move(executor), std::move(done)});
  }
  uint64_t wanted = sync_wanted_.load(std::memory_order_relaxed);
  while (wanted < lsn.value() + 1 && !sync_wanted_.compare_exchange_weak(wanted, lsn.value() + 1)) {
  }
  kick();
}

awaitable<Status> Log::wait_durable(Lsn lsn) {
  if (is_durable(lsn)) co_return absl::OkStatus();
  co_return co_await suspend<Status>([this, lsn](Resume<Status> resume) {
    const Executor executor = resume.executor();
    when_durable(lsn, executor, resume.release());
  });
}

void Log::release_waiters() {
  std::vector<DurableWaiter> ready;
  Status status;
  {
    MutexLock lock(wait_mutex_);
    status = status_;
    auto keep = std::partition(waiters_.begin(), waiters_.end(), [&](const DurableWaiter& w) {
      return status.ok() && !is_durable(w.lsn);
    });
    ready.insert(ready.end(), std::make_move_iterator(keep),
                 std::make_move_iterator(waiters_.end()));
    waiters_.erase(keep, waiters_.end());
  }
  while (!ready.empty()) {
    const Executor executor = ready.front().executor;
    auto others = std::partition(ready.begin(), ready.end(),
                                 [&](const DurableWaiter& w) { return w.executor == executor; });
    std::vector<DurableWaiter> group(std::make_move_iterator(ready.begin()),
                                     std::make_move_iterator(others));
    ready.erase(ready.begin(), others);
    asio::post(executor, [this, group = std::move(group), status]() mutable {
      for (DurableWaiter& w : group) w.done(is_durable(w.lsn) ? absl::OkStatus() : status);
    });
  }
}

awaitable<void> Log::wait_for_backlog() {
  kick();
  co_await changed_.until([this] { return !backlogged() || failed(); });
}

void Log::drop_waiters() {
  changed_.drop();
  std::vector<DurableWaiter> waiters;  // destroyed after the lock is let go
  MutexLock lock(wait_mutex_);
  waiters.swap(waiters_);
}

void Log::fail(const Status& status) {
  bool first;
  {
    MutexLock lock(wait_mutex_);
    first = status_.ok();
    if (first) {
      status_ = absl::UnavailableError(
          cat("the log failed and the store is read-only: ", status.message()));
    }
  }
  if (first && report_) {
    report_(Severity::kError, "log",
            cat("failed, and the store is read-only from now on: ", status.message()));
  }
  trouble_.fetch_or(kFailed, std::memory_order_acq_rel);
  release_waiters();
  changed_.notify();
}

void Log::fail_unless_it_passes(const Status& synced) {
  if (synced.ok() || absl::IsResourceExhausted(synced) || absl::IsUnavailable(synced)) return;
  fail(synced);
}

void Log::tick(bool sync) {
  uint64_t end;
  {
    MutexLock lock(mutex_);
    bool waiting = !sealed_.empty() || (active_ && active_->records > 0);
    end = active_ ? active_->start + active_->used : next_start_;
    if (!waiting && (!sync || end <= durable_.load())) return;
  }
  if (sync) {
    uint64_t wanted = sync_wanted_.load(std::memory_order_relaxed);
    while (wanted < end && !sync_wanted_.compare_exchange_weak(wanted, end)) {
    }
  }
  kick();
}

// ---- the flush coroutine: one at a time ----

void Log::kick() {
  if (!flushing_.load(std::memory_order_relaxed) && !flushing_.exchange(true)) start_flush();
}

// Behind what the loop has at hand now, so that it goes along: a sync costs about 70 µs of CPU.
void Log::start_flush() {
  asio::post(loop_, [this] {
    asio::post(executor_, [this] {
      spawn(executor_, "the log's flush", flush(), [this](const Status& status) {
        fail(status);
        flushing_.store(false);
        changed_.notify();
      });
    });
  });
}

awaitable<void> Log::flush() {
  if (!failed()) {  // (GCC 12 destroys temporaries twice where ?: meets co_await)
    Status status = co_await flush_once();
    if (!status.ok()) fail(status);
  }
  auto more = [this] {
    MutexLock lock(mutex_);
    return !failed() && (sync_wanted_.load() > durable_.load() || !sealed_.empty() ||
                         (active_ && active_->used >= kWriteBytes));
  };
  const bool again = more();
  if (again) start_flush();  // before the released answers, which then go out beside its sync
  release_waiters();
  if (again) co_return;
  flushing_.store(false);
  changed_.notify();
  if (more()) kick();
}

awaitable<Status> Log::flush_once() {
  std::deque<std::unique_ptr<Frame>> frames;
  uint64_t end;
  {
    MutexLock lock(mutex_);
    seal_active();
    frames.swap(sealed_);
    end = next_start_;
  }
  const bool sync = sync_wanted_.load() > durable_.load();
  if (planted(Bug::kAnswerBeforeSync)) {
    durable_ = end;
    release_waiters();
  }
  const auto filled = [](const Frame& frame) {
    while (frame.fills.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  };
  // Whoever fills them is done before they go, though the flush fails on the way.
  const absl::Cleanup all_filled = [&] {
    for (auto& frame : frames) {
      if (frame != nullptr) filled(*frame);
    }
  };
  for (auto& frame : frames) {
    filled(*frame);
    if (frame->buffer.size() == 0) {
      co_return absl::ResourceExhaustedError("there is no memory for a frame");
    }
    SegmentId segment = segment_of(frame->start);
    if (segment != open_segment_) {
      Status opened = co_await open_segment(segment, written_end_);
      if (!opened.ok()) co_return opened;
    }
    const Lsn frame_end(frame->start + round_up(frame->used, kBlockBytes));
    if (room_end_ < frame_end.value()) {
      Status reserved = co_await wait_for_room(frame_end);
      if (!reserved.ok()) co_return reserved;
    }
    bool alone = frames.size() == 1 && sync && !unsynced_ && !planted(Bug::kSkippedSync);
    Status written =
        co_await write_frame(*frame, alone ? WriteMode::kDurable : WriteMode::kPlain, durable());
    if (!written.ok()) co_return written;
    unsynced_ = !alone;
    written_end_ = frame_end;
    if (frame->buffer.size() > kFrameBytes) frame->buffer = AlignedBuffer();
  }
  if (sync && planted(Bug::kSkippedSync)) unsynced_ = false;
  if (sync && unsynced_) {
    Status synced = co_await volume_.sync({FileKind::kSegment, open_segment_.value()});
    if (!synced.ok()) co_return synced;
    unsynced_ = false;
  }
  uint64_t bytes = 0, records = 0;
  {
    MutexLock lock(mutex_);
    for (auto& frame : frames) {
      bytes += round_up(frame->used, kBlockBytes);
      records += frame->used - sizeof(FrameHeader);
      if (frame->buffer.size() == kFrameBytes && free_.size() < 4)
        free_.push_back(std::move(frame));
    }
    stats_.frames += frames.size();
    stats_.bytes += bytes;
    stats_.record_bytes += records;
    if (sync) stats_.syncs++;
  }
  pending_bytes_.fetch_sub(records, std::memory_order_relaxed);
  if (!unsynced_) durable_.store(end, std::memory_order_release);
  changed_.notify();
  if (!stuck() && room_end_ < room_wanted()) start_prepare();
  co_return absl::OkStatus();
}

awaitable<Status> Log::write_frame(Frame& frame, WriteMode mode, Lsn durable) {
  uint64_t segment = frame.start / start_.segment_bytes;
  uint64_t offset = frame.start % start_.segment_bytes;
  FrameHeader header{};
  header.magic = kFrameMagic;
  header.epoch = start_.epoch;
  header.record_count = frame.records;
  header.store = start_.store;
  header.lsn = frame.start;
  header.durable_lsn = durable.value();
  header.wall_ms = clock_.now_ms();
  header.payload_bytes = static_cast<uint32_t>(frame.used - sizeof(FrameHeader));
  header.flags = frame.flags;
  header.previous_end = previous_end_.value();
  seal_header(header, start_.store, segment, offset);
  std::memcpy(frame.buffer.data(), &header, sizeof(header));
  uint64_t length = round_up(frame.used, kBlockBytes);
  std::memset(frame.buffer.data() + frame.used, 0, length - frame.used);
  note_time(Lsn(frame.start), header.wall_ms);
  co_return co_await volume_.write({FileKind::kSegment, segment}, offset,
                                   {frame.buffer.data(), length}, mode);
}

// ---- segments ----

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
  // Where there was never that much: deletions make the room, and the cleaner cannot.
  if (need == Need::kDelete) kept = std::min<uint64_t>(kept, full_room_ / 8 * 5);
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

Status Log::admit(Need need, uint64_t bytes) const {
  if (Status s = admit(need); !s.ok()) return s;
  const uint64_t segment = start_.segment_bytes;
  if (bytes <= segment / 2) return absl::OkStatus();  // one prepared segment is always left
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

awaitable<Status> Log::close() {
  closing_ = true;
  tick(true);
  Lsn last(tail().value() - 1);
  Status status = co_await wait_durable(last);
  co_await changed_.until([this] { return !preparing_ && !flushing_; });
  // Behind the last steps of the last flush.
  co_await asio::post(asio::bind_executor(executor_, asio::use_awaitable));
  co_await asio::post(loop_, asio::use_awaitable);
  closed_ = true;
  changed_.notify();
  co_return status;
}

// ---- times ----

void Log::note_time(Lsn lsn, int64_t wall_ms) {
  constexpr size_t kTimesMax = 65536;
  MutexLock lock(wait_mutex_);
  if (!times_.empty() && times_.back().second + 1000 > wall_ms) return;
  times_.emplace_back(lsn.value(), wall_ms);
  if (times_.size() > kTimesMax) {  // older times get coarser
    size_t kept = 0;
    for (size_t i = 0; i < times_.size(); i += i < kTimesMax / 2 ? 2 : 1)
      times_[kept++] = times_[i];
    times_.resize(kept);
  }
}

Lsn Log::replay_start() const {
  MutexLock lock(mutex_);
  for (auto& frame : sealed_) return Lsn(frame->start);
  return Lsn(active_ ? active_->start : next_start_);
}

std::vector<std::pair<uint64_t, int64_t>> Log::times() const {
  MutexLock lock(wait_mutex_);
  return times_;
}

int64_t Log::time_of(Lsn lsn) const {
  MutexLock lock(wait_mutex_);
  auto after = std::upper_bound(times_.begin(), times_.end(),
                                std::pair<uint64_t, int64_t>(lsn.value(), INT64_MAX));
  if (after == times_.begin()) return times_.empty() ? clock_.now_ms() : times_.front().second;
  return std::prev(after)->second;
}

}  // namespace cairn
