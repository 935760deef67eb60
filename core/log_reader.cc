#include "core/log_reader.h"

#include "core/text.h"

namespace cairn {

awaitable<StatusOr<Bytes>> SegmentReader::load(uint64_t bytes) {
  constexpr uint64_t kReadBytes = 1 << 20;
  if (at_ < buffer_at_ || at_ + bytes > buffer_end_) {
    const uint64_t room = place_.segment_bytes - at_;
    const uint64_t want = std::min(room, std::max(kReadBytes, round_up(bytes, kBlockBytes)));
    if (buffer_.size() < want) buffer_ = AlignedBuffer(want);
    buffer_at_ = buffer_end_ = at_;
    auto n = co_await volume_.read({FileKind::kSegment, place_.segment.value()}, at_,
                                   buffer_.span(0, want));
    if (!n.ok()) co_return n.status();
    buffer_end_ = at_ + *n;
    bytes_read_ += *n;
  }
  co_return Bytes{buffer_.data() + (at_ - buffer_at_), buffer_end_ - at_};
}

awaitable<StatusOr<std::optional<FrameView>>> SegmentReader::next() {
  if (at_ >= end_) co_return std::optional<FrameView>();
  auto bytes = co_await load(kBlockBytes);
  if (!bytes.ok()) co_return bytes.status();
  auto header = decode_frame_header(place_, at_, *bytes);
  if (header) {
    bytes = co_await load(frame_bytes(*header));
    if (!bytes.ok()) co_return bytes.status();
    auto frame = find_frame(place_, *bytes, at_, at_);
    if (frame) {
      at_ += frame->size();
      co_return frame;
    }
  }
  co_return absl::DataLossError(cat("segment ", place_.segment.value(), " (",
                                    to_string({FileKind::kSegment, place_.segment.value()}),
                                    ") is damaged at offset ", at_));
}

}  // namespace cairn
