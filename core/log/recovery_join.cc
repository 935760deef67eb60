// Segments in order: transactions that lie in several, and how much waits for those before it.
#include <algorithm>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/recovery_impl.h"

namespace cairn {

awaitable<void> Recovery::pass(size_t i) {
  {
    MutexLock lock(mutex_);
    passed_[i] = true;
    if (joining_ || !folds_) co_return;  // who joins comes to it
    joining_ = true;
  }
  for (;;) {
    const size_t next = oldest_;
    {
      MutexLock lock(mutex_);
      if (!folds_ || next == passed_.size() || !passed_[next]) {
        joining_ = false;
        break;
      }
    }
    const Scan& s = scans_[next];
    // Without a frame it is damaged, or the log has ended: that is seen when all are there.
    const bool clear = s.status.ok() && s.lost.empty() && (s.frames != 0 || s.skipped);
    if (clear) join_status_ = co_await join(next);
    if (clear && join_status_.ok()) {
      oldest_ = next + 1;
    } else {
      folds_ = false;
    }
    went_on_.notify();
  }
}

bool Recovery::crowded(size_t i) const { return folds_ && o_.crowded(oldest_ != i); }

awaitable<Status> Recovery::make_room(size_t i, uint64_t before, bool in_head) {
  co_await went_on_.until([&] { return oldest_ == i || !crowded(i); });
  if (oldest_ != i || !crowded(i)) co_return absl::OkStatus();
  if (scans_[i].head_end != 0) {
    Status joined = co_await join_head(i);
    if (!joined.ok()) co_return joined;
  }
  Lsn applied(segments_[i].place.base() + (in_head ? 0 : before));
  if (!parts_.empty()) {
    applied = Lsn(segments_[parts_.front().segment].place.base() + parts_.front().from);
  }
  co_await o_.fold(applied);
  went_on_.notify();
  co_return absl::OkStatus();
}

awaitable<Status> Recovery::join(size_t i) {
  const Scan& s = scans_[i];
  if (s.skipped) co_return absl::OkStatus();
  Status joined = co_await join_head(i);
  if (joined.ok() && s.tail != 0) {
    parts_.push_back({i, s.tail, s.proven_end - segments_[i].place.base()});
    open_ = true;
  }
  co_return joined;
}

awaitable<Status> Recovery::join_head(size_t i) {
  Scan& s = scans_[i];
  if (s.head_joined) co_return absl::OkStatus();
  s.head_joined = true;
  const uint64_t base = segments_[i].place.base();
  const uint64_t begin = std::max(kBlockBytes, from_ > base ? from_ - base : 0);
  const bool head = s.head_open || s.head_end != 0;
  // The start of one that the log begins in the middle of was cleaned away: it was whole.
  const bool whole = first_ && lost_before(base + begin) == 0;
  const bool next =
      open_ && !parts_.empty() &&
      segments_[parts_.back().segment].place.segment.next() == segments_[i].place.segment;
  if (head && (next || whole)) {
    parts_.push_back({i, begin, s.head_open ? s.proven_end - base : s.head_end});
    open_ = s.head_open;
  } else if (head || open_) {
    Status broken = lose_parts(i);
    if (!broken.ok()) co_return broken;
    open_ = false;
  }
  first_ = false;
  if (open_ || s.head_open) co_return absl::OkStatus();
  Status applied = co_await apply_parts();
  co_return applied;
}

awaitable<Status> Recovery::join_rest() {
  if (!join_status_.ok()) co_return join_status_;
  drop_unused();
  for (size_t i = oldest_; i < scans_.size(); i++) {
    Status joined = co_await join(i);
    if (!joined.ok()) co_return joined;
  }
  if (!open_ || planted(Bug::kUnfinishedServed)) {
    Status applied = co_await apply_parts();
    co_return applied;
  }
  const Part start = parts_.front();
  while (segments_.size() > start.segment + 1) drop_last();
  scans_.back().proven_end = segments_.back().place.base() + start.from;
  co_return absl::OkStatus();
}

Status Recovery::lose_parts(size_t segment) {
  const Scan& scan = scans_[segment];
  const uint64_t base = segments_[segment].place.base();
  uint64_t from = base + kBlockBytes, to = from;
  if (scan.head_open || scan.head_end != 0) {
    to = scan.head_open ? scan.proven_end : base + scan.head_end;
  }
  if (!parts_.empty()) from = segments_[parts_.front().segment].place.base() + parts_.front().from;
  parts_.clear();
  if (lost_before(from) >= to) return absl::OkStatus();  // known since an earlier repair
  return lose(from, to,
              cat(name(segments_[segment].place.segment),
                  " and the one before it hold parts of a "
                  "transaction of which other parts are missing, at offset ",
                  kBlockBytes));
}

// What comes before it was applied, so it can be folded as it comes.
awaitable<Status> Recovery::apply_parts() {
  AlignedBuffer buffer(kBlockBytes);
  for (const Part& part : parts_) {
    const SegmentPlace& place = segments_[part.segment].place;
    for (uint64_t at = part.from; at < part.to;) {
      auto n = co_await read_some(place.segment, at, buffer.span(0, kBlockBytes));
      if (!n.ok()) co_return n.status();
      const auto header = decode_frame_header(place, at, {buffer.data(), *n});
      const uint64_t bytes = header ? frame_bytes(*header) : 0;
      if (bytes > buffer.size()) buffer = AlignedBuffer(bytes);
      n = co_await read_some(place.segment, at, buffer.span(0, bytes));
      if (!n.ok()) co_return n.status();
      const auto frame = find_frame(place, {buffer.data(), *n}, at, at);
      if (!frame) {
        co_return absl::DataLossError(
            cat(name(place.segment), " is damaged at offset ", at, " since it was read"));
      }
      apply(place, frame->header, frame->bytes, scans_[part.segment]);
      at += frame->size();
      if (folds_ && o_.crowded(false)) {
        co_await o_.fold(Lsn(frame->header.lsn));
        went_on_.notify();
      }
    }
  }
  parts_.clear();
  co_return absl::OkStatus();
}

}  // namespace cairn
