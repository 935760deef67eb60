#include "core/log/log_tail.h"

#include <algorithm>

#include "core/base/text.h"

namespace cairn {

Status LogTail::gone() const {
  return absl::OutOfRangeError(
      cat("what follows LSN ", at_.value(), " in the log was cleaned away"));
}

// Until there is a frame to be read at `at_`.
awaitable<StatusOr<bool>> LogTail::find_place(bool waits) {
  for (;;) {
    stretch_ = log_.stretch(at_);
    if (stretch_.gone) co_return gone();
    at_ = std::max(at_, stretch_.first);
    if (at_ < stretch_.end) break;
    if (!waits) co_return false;
    Status more = co_await log_.wait_for_more(at_);
    if (!more.ok()) co_return more;
  }
  const uint64_t end = stretch_.end.value() - stretch_.segment.value() * log_.segment_bytes();
  if (reader_ && reader_->place().segment == stretch_.segment) {
    reader_->extend(end);
  } else {
    const SegmentPlace place{log_.store(), stretch_.segment, log_.segment_bytes(),
                             lives_.epoch_of(stretch_.segment)};
    reader_.emplace(volume_, place, kBlockBytes, end);
  }
  co_return true;
}

awaitable<StatusOr<std::span<const LogRecord>>> LogTail::next(bool waits) {
  for (;;) {
    const auto there = co_await find_place(waits);
    if (!there.ok()) co_return there.status();
    if (!*there) co_return std::span<const LogRecord>();
    auto frame = co_await reader_->next();
    if (!frame.ok()) {
      Status passed = pass_over(frame.status());
      if (!passed.ok()) co_return passed;
      continue;
    }
    records_.clear();
    const SegmentPlace& place = reader_->place();
    if (*frame) {
      for_each_record(place, (*frame)->header, (*frame)->bytes, [&](const RecordView& r, Lsn lsn) {
        if (lsn >= at_) records_.push_back({r, lsn});
      });
    }
    at_ = std::max(at_, Lsn(place.base() + reader_->at()));
    if (at_ >= stretch_.end && stretch_.next.valid()) at_ = stretch_.next;
    if (!records_.empty()) co_return std::span<const LogRecord>(records_);
  }
}

// A segment may go while it is read. In one that stays, damage is what --repair went over.
Status LogTail::pass_over(const Status& damage) {
  const ManifestState known = log_.manifest().state();
  const SegmentPlace& place = reader_->place();
  if (std::none_of(known.segments.begin(), known.segments.end(),
                   [&](auto& s) { return s.number == place.segment.value(); })) {
    return gone();
  }
  const uint64_t here = place.base() + reader_->at();
  const auto range = std::find_if(known.lost.begin(), known.lost.end(),
                                  [&](const LsnRange& r) { return r.from <= here && here < r.to; });
  if (range == known.lost.end()) return damage;
  const uint64_t to = std::min(range->to, stretch_.end.value());
  reader_->skip(to - here);
  at_ = std::max(at_, Lsn(to));
  if (at_ >= stretch_.end && stretch_.next.valid()) at_ = stretch_.next;
  return absl::OkStatus();
}

}  // namespace cairn
