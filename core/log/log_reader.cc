#include "core/log/log_reader.h"

#include <cstring>

#include "core/base/text.h"

namespace cairn {

awaitable<StatusOr<size_t>> read_around(Volume& volume, FileId file, uint64_t offset,
                                        MutableBytes into, std::function<bool(uint64_t)> gone) {
  auto all = co_await volume.read(file, offset, into);
  if (all.ok() || !absl::IsDataLoss(all.status())) co_return all;
  for (size_t done = 0; done < into.size();) {
    const MutableBytes block = into.subspan(done, std::min(kBlockBytes, into.size() - done));
    auto n = co_await volume.read(file, offset + done, block);
    if (!n.ok() && (!absl::IsDataLoss(n.status()) || !gone(offset + done))) co_return n.status();
    if (!n.ok()) std::memset(block.data(), 0, block.size());
    if (n.ok() && *n < block.size()) co_return done + *n;
    done += block.size();
  }
  co_return into.size();
}

awaitable<StatusOr<Bytes>> SegmentReader::load(uint64_t bytes) {
  constexpr uint64_t kReadBytes = 1 << 20;
  if (at_ < buffer_at_ || at_ + bytes > buffer_end_) {
    const uint64_t room = place_.segment_bytes - at_;
    const uint64_t want = std::min(room, std::max(kReadBytes, round_up(bytes, kBlockBytes)));
    if (buffer_.size() < want) buffer_ = AlignedBuffer(want);
    buffer_at_ = buffer_end_ = at_;
    auto n = co_await read_around(volume_, {FileKind::kSegment, place_.segment.value()}, at_,
                                  buffer_.span(0, want), [](uint64_t) { return true; });
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
