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

awaitable<void> Log::wait_for_more(Lsn at, int64_t ms) {
  (void)co_await changed_.until([&] { return durable() > at || failed() || closed_; }, clock_, ms);
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
  frame->large = 0;
  frame->wall_ms = clock_.now_ms();
  note_unwritten(frame->wall_ms);
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
  bool opened, large;
  {
    MutexLock lock(mutex_);
    frame = reserve(total);
    offset = frame->used;
    opened = frame->records == 0;
    frame->used += total;
    tail_.store(frame->start + frame->used, std::memory_order_relaxed);
    frame->records += static_cast<uint32_t>(records.size());
    if (records.front().cause != Cause::kCopy) stats_.changes += records.size();
    if (total > kLargeBytes) {
      frame->large += total;
      large_end_ = frame->start + frame->used;
    }
    frame->fills.fetch_add(1, std::memory_order_relaxed);
    large = frame->used >= kWriteBytes;
  }
  if (opened) note_time(Lsn(frame->start), frame->wall_ms);
  note_pending(total);
  for (size_t i = 0; i < records.size(); i++) {
    lsns[i] = Lsn(frame->start + offset);
    fill(frame, offset, records[i], i + 1 < records.size());
    offset += records[i].size();
  }
  frame->fills.fetch_sub(1, std::memory_order_release);
  if (large) kick();
}

std::vector<Log::Frame*> Log::lay_out(std::span<const RecordView> records, std::span<Lsn> lsns,
                                      uint64_t total) {
  std::vector<Frame*> frames;
  const int64_t now_ms = clock_.now_ms();
  MutexLock lock(mutex_);
  seal_active();
  for (size_t i = 0; i < records.size();) {
    const uint64_t room = place_frame(records[i].size());
    auto frame = std::make_unique<Frame>();
    frame->start = next_start_;
    frame->used = sizeof(FrameHeader);
    frame->wall_ms = now_ms;
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
    if (total > kLargeBytes) frame->large = frame->used - sizeof(FrameHeader);
    frames.push_back(frame.get());
    sealed_.push_back(std::move(frame));
  }
  if (records.front().cause != Cause::kCopy) stats_.changes += records.size();
  note_unwritten(now_ms);
  tail_.store(next_start_, std::memory_order_relaxed);
  if (total > kLargeBytes) large_end_ = next_start_;
  return frames;
}

// The frames have their places at once, so that nothing comes between them; then they are filled
// one by one, while those before are written.
void Log::append_large(std::span<const RecordView> records, std::span<Lsn> lsns, uint64_t total) {
  const std::vector<Frame*> frames = lay_out(records, lsns, total);
  note_time(Lsn(frames.front()->start), frames.front()->wall_ms);
  note_pending(total);
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

// To whoever waits for what the log had taken: it may lie on the device, or not.
static Status unknown_outcome(const Status& failed) {
  return absl::UnavailableError(
      cat(failed.message(), "; what was not answered before may or may not have been kept"));
}

void Log::when_durable(Lsn lsn, Executor executor, absl::AnyInvocable<void(Status)> done) {
  {
    MutexLock lock(wait_mutex_);
    if (is_durable(lsn) || !status_.ok()) {
      Status now = is_durable(lsn) ? absl::OkStatus() : unknown_outcome(status_);
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
      for (DurableWaiter& w : group)
        w.done(is_durable(w.lsn) ? absl::OkStatus() : unknown_outcome(status));
    });
  }
}

awaitable<void> Log::wait_for_backlog() {
  kick();
  co_await changed_.until([this] { return !backlogged() || failed(); });
}

awaitable<void> Log::wait_for_large() {
  const uint64_t end = large_end_;  // not of what others append from here on
  if (written_ >= end) co_return;
  kick();
  co_await changed_.until([this, end] { return written_ >= end || failed(); });
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
  for (size_t i = 0; i < frames.size(); i++) {
    auto& frame = frames[i];
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
        co_await write_in_time(*frame, alone ? WriteMode::kDurable : WriteMode::kPlain);
    if (!written.ok()) co_return written;
    unsynced_ = !alone;
    written_end_ = frame_end;
    note_written(i + 1 < frames.size() ? frames[i + 1].get() : nullptr);
    if (frame->buffer.size() > kFrameBytes) frame->buffer = AlignedBuffer();
  }
  if (sync && planted(Bug::kSkippedSync)) unsynced_ = false;
  if (sync && unsynced_) {
    Status synced = co_await volume_.sync({FileKind::kSegment, open_segment_.value()});
    if (!synced.ok()) co_return synced;
    unsynced_ = false;
  }
  uint64_t bytes = 0, records = 0, large = 0;
  {
    MutexLock lock(mutex_);
    for (auto& frame : frames) {
      bytes += round_up(frame->used, kBlockBytes);
      records += frame->used - sizeof(FrameHeader);
      large += frame->large;
      if (frame->buffer.size() == kFrameBytes && free_.size() < 4)
        free_.push_back(std::move(frame));
    }
    stats_.frames += frames.size();
    stats_.bytes += bytes;
    stats_.record_bytes += records;
    if (sync) stats_.syncs++;
  }
  pending_bytes_.fetch_sub(records - large, std::memory_order_relaxed);
  written_ = end;
  if (!unsynced_) durable_.store(end, std::memory_order_release);
  changed_.notify();
  if (!stuck() && room_end_ < room_wanted()) start_prepare();
  co_return absl::OkStatus();
}

// The oldest that is not written is `next`, or what was appended since.
void Log::note_written(const Frame* next) {
  MutexLock lock(mutex_);
  if (next == nullptr && !sealed_.empty()) next = sealed_.front().get();
  if (next == nullptr) next = active_.get();
  unwritten_since_ms_.store(next == nullptr ? 0 : next->wall_ms, std::memory_order_relaxed);
}

// Where there is no descriptor or memory to write with now, it may go later: the same frame is
// written again whole, at its place.
awaitable<Status> Log::write_in_time(Frame& frame, WriteMode mode) {
  for (int tries = 0;;) {  // those before the close do not count
    Status written = co_await write_frame(frame, mode, durable());
    if (!absl::IsUnavailable(written) || (closing_ && ++tries > kTries)) co_return written;
    co_await clock_.sleep_ms(kRetryMs);
  }
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
  header.wall_ms = frame.wall_ms;
  header.payload_bytes = static_cast<uint32_t>(frame.used - sizeof(FrameHeader));
  header.flags = frame.flags;
  header.previous_end = previous_end_.value();
  seal_header(header, start_.store, segment, offset);
  std::memcpy(frame.buffer.data(), &header, sizeof(header));
  uint64_t length = round_up(frame.used, kBlockBytes);
  std::memset(frame.buffer.data() + frame.used, 0, length - frame.used);
  co_return co_await volume_.write({FileKind::kSegment, segment}, offset,
                                   {frame.buffer.data(), length}, mode);
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
  // The first one of each second: so it is the same one when the log is read again.
  if (!times_.empty() && times_.back().second / 1000 >= wall_ms / 1000) return;
  if (!times_.empty() && times_.back().first >= lsn.value()) return;  // beside another append
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
