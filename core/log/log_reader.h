// Reads the log: a segment frame by frame, each whole and checked, and its records.
//
// Threads: a reader belongs to one coroutine; LogLives is constant once the log is open.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "core/log/log_format.h"
#include "core/volume/volume.h"

namespace cairn {

// Which life of the store wrote each segment: a life's epoch holds from its first segment on.
class LogLives {
 public:
  // Segments in ascending order.
  void add(SegmentId segment, uint32_t epoch) {
    if (lives_.empty() || lives_.back().second != epoch) lives_.emplace_back(segment, epoch);
  }
  uint32_t epoch_of(SegmentId segment) const {
    auto after = std::upper_bound(lives_.begin(), lives_.end(), std::pair(segment, UINT32_MAX));
    return after == lives_.begin() ? 0 : std::prev(after)->second;
  }

 private:
  std::vector<std::pair<SegmentId, uint32_t>> lives_;
};

struct LogRecord {
  RecordView record;
  Lsn lsn;
};

struct FrameView {
  FrameHeader header{};
  Bytes bytes;  // from the header on
  bool continues() const { return header.flags & kFrameContinues; }
  bool goes_on() const { return header.flags & kFrameGoesOn; }
  uint64_t size() const { return frame_bytes(header); }
};

// The frame at `at` of a segment whose bytes are `bytes` from `begin` on: whole, with every record
// checked; nothing if it is not. Calls fn(record, lsn) for its records, which count only if the
// frame is whole.
template <class Fn>
std::optional<FrameView> find_frame(const SegmentPlace& place, Bytes bytes, uint64_t begin,
                                    uint64_t at, Fn fn) {
  if (at < begin || at - begin >= bytes.size()) return std::nullopt;
  const Bytes rest = bytes.subspan(at - begin);
  auto h = decode_frame_header(place, at, rest);
  if (!h || !for_each_record(place, *h, rest, fn)) return std::nullopt;
  return FrameView{*h, rest};
}
inline std::optional<FrameView> find_frame(const SegmentPlace& place, Bytes bytes, uint64_t begin,
                                           uint64_t at) {
  return find_frame(place, bytes, begin, at, [](const RecordView&, Lsn) {});
}

// Reads a part of a file. Of the blocks that the device cannot read (DataLoss), those for which
// `gone`, given their offset, says so read as zeros, which are no frame.
awaitable<StatusOr<size_t>> read_around(Volume& volume, FileId file, uint64_t offset,
                                        MutableBytes into, std::function<bool(uint64_t)> gone);

// Goes over the frames of one segment through a buffer of its own.
class SegmentReader {
 public:
  SegmentReader(Volume& volume, const SegmentPlace& place, uint64_t from, uint64_t end)
      : volume_(volume), place_(place), at_(from), end_(end) {}

  const SegmentPlace& place() const { return place_; }
  uint64_t at() const { return at_; }  // of the frame that next() returns next
  uint64_t bytes_read() const { return bytes_read_; }
  // The next frame, valid until the next call; nothing at the end. DataLoss if what lies there is
  // no whole frame: then skip() goes on behind it.
  awaitable<StatusOr<std::optional<FrameView>>> next();
  void skip(uint64_t bytes) { at_ += bytes; }
  // More was written since: what was read from behind the end does not count.
  void extend(uint64_t end) {
    buffer_end_ = std::min(buffer_end_, end_);
    end_ = end;
  }

 private:
  awaitable<StatusOr<Bytes>> load(uint64_t bytes);

  Volume& volume_;
  const SegmentPlace place_;
  uint64_t at_;
  uint64_t end_;
  AlignedBuffer buffer_;
  uint64_t buffer_at_ = 0, buffer_end_ = 0;  // offsets in the segment
  uint64_t bytes_read_ = 0;
};

}  // namespace cairn
