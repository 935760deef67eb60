#include "core/recovery.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/mutex.h"
#include "core/text.h"

namespace cairn {

awaitable<void> run_all(std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs) {
  if (jobs.empty()) co_return;
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(
      [&jobs](auto handler) {
        using Handler = decltype(handler);
        auto executor = asio::get_associated_executor(handler);
        auto done = std::make_shared<Handler>(std::move(handler));
        auto left = std::make_shared<std::atomic<size_t>>(jobs.size());
        for (auto& [on, job] : jobs) {
          asio::co_spawn(on, job(), [done, left, executor](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
            if (left->fetch_sub(1) == 1) {
              asio::post(executor, [done] { std::move (*done)(); });
            }
          });
        }
      },
      asio::use_awaitable);
}

namespace {

struct Segment {
  SegmentId id;
  uint64_t previous_end = 0;
  uint32_t epoch = 0;
  uint64_t end = 0;  // sealed end as an LSN; 0 for the last segment
};

struct Scan {
  uint64_t proven_end = 0;
  uint64_t records = 0;
  uint64_t lost_bytes = 0;
  Status status;
};

class Recovery {
 public:
  Recovery(Volume& volume, const RecoveryOptions& options) : volume_(volume), o_(options) {}

  awaitable<StatusOr<RecoveredLog>> run() {
    auto found = co_await find_segments();
    if (!found.ok()) co_return found;
    if (segments_.empty()) co_return RecoveredLog{Lsn(), {}, SegmentId(0), 0, 0};
    scans_.resize(segments_.size());
    std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
    for (const Executor& e : o_.executors) jobs.emplace_back(e, [this] { return work(); });
    co_await run_all(std::move(jobs));
    RecoveredLog log;
    for (size_t i = 0; i < scans_.size(); i++) {
      const Scan& s = scans_[i];
      if (!s.status.ok()) co_return s.status;
      log.proven.emplace_back(segments_[i].id.value() * o_.segment_bytes, s.proven_end);
      log.records += s.records;
      log.lost_bytes += s.lost_bytes;
    }
    log.end = Lsn(scans_.back().proven_end);
    log.next_segment = segments_.back().id.next();
    // What was read may still sit in a device cache: make it durable before it is served.
    Status synced = co_await volume_.sync({FileKind::kSegment, segments_.back().id.value()});
    if (!synced.ok()) co_return synced;
    co_return log;
  }

 private:
  awaitable<Status> find_segments() {
    auto files = co_await volume_.list();
    if (!files.ok()) co_return files.status();
    std::vector<SegmentId> ids;
    for (const FileInfo& f : *files) {
      if (f.id.kind == FileKind::kSegment) ids.push_back(SegmentId(f.id.number));
    }
    std::sort(ids.begin(), ids.end());
    AlignedBuffer block(kBlockBytes);
    SegmentId damaged;
    for (SegmentId id : ids) {
      auto n =
          co_await volume_.read({FileKind::kSegment, id.value()}, 0, block.span(0, kBlockBytes));
      if (!n.ok()) co_return n.status();
      SegmentHeader h{};
      if (*n == kBlockBytes) std::memcpy(&h, block.data(), sizeof(h));
      bool intact = h.magic == kSegmentMagic && h.store == o_.store && h.segment == id.value() &&
                    h.segment_bytes == o_.segment_bytes &&
                    header_intact(h, o_.store, id.value(), 0);
      if (!intact) {  // prepared and never opened, if none after it was opened
        if (!damaged.valid()) damaged = id;
        continue;
      }
      if (damaged.valid()) {
        co_return absl::DataLossError(cat("segment ", damaged.value(),
                                          " has a damaged header at offset 0 and later segments ",
                                          "follow; its records cannot be read"));
      }
      if (!segments_.empty() && segments_.back().id.next() != id) {
        co_return absl::DataLossError(
            cat("segment ", segments_.back().id.next().value(), " is missing"));
      }
      if (!segments_.empty()) segments_.back().end = h.previous_end;
      segments_.push_back({id, h.previous_end, h.epoch, 0});
    }
    co_return absl::OkStatus();
  }

  awaitable<void> work() {
    AlignedBuffer buffer(o_.segment_bytes);
    for (size_t i; (i = next_.fetch_add(1)) < segments_.size();) {
      co_await scan(segments_[i], buffer, scans_[i]);
    }
  }

  awaitable<void> scan(const Segment& segment, AlignedBuffer& buffer, Scan& out) {
    constexpr uint64_t kReadBytes = 4 << 20;
    uint64_t size = 0;
    while (size < o_.segment_bytes) {
      uint64_t want = std::min(kReadBytes, o_.segment_bytes - size);
      auto n = co_await volume_.read({FileKind::kSegment, segment.id.value()}, size,
                                     buffer.span(size, want));
      if (!n.ok()) {
        out.status = n.status();
        co_return;
      }
      size += *n;
      if (*n < want) break;
    }
    const uint64_t base = segment.id.value() * o_.segment_bytes;
    Bytes bytes{buffer.data(), size};
    uint64_t at = kBlockBytes;
    const uint64_t sealed = segment.end != 0 ? segment.end - base : 0;
    for (;;) {
      if (sealed != 0 && at >= sealed) break;
      uint64_t length = frame_length(segment, bytes, at);
      if (length == 0) {
        uint64_t witness = sealed != 0 ? sealed : durable_witness(segment, bytes, at);
        if (witness <= at) break;  // a torn tail, or the end
        if (!o_.repair) {
          out.status = absl::DataLossError(cat(
              "segment ", segment.id.value(), " is damaged at offset ", at, ": up to ",
              witness - at, " bytes of records that were durable cannot be read; --repair goes on ",
              "without them"));
          co_return;
        }
        uint64_t from = at;
        do {
          at += kBlockBytes;
        } while (at < witness && frame_length(segment, bytes, at) == 0);
        out.lost_bytes += at - from;
        continue;
      }
      apply(segment, bytes, at, out);
      at += length;
    }
    out.proven_end = base + at;
  }

  // Length in the file of an intact frame at `at`, or 0.
  uint64_t frame_length(const Segment& segment, Bytes bytes, uint64_t at) const {
    if (at > bytes.size() || bytes.size() - at < sizeof(FrameHeader)) return 0;
    FrameHeader h;
    std::memcpy(&h, bytes.data() + at, sizeof(h));
    const uint64_t base = segment.id.value() * o_.segment_bytes;
    if (h.magic != kFrameMagic || h.epoch != segment.epoch || h.store != o_.store ||
        h.lsn != base + at || !header_intact(h, o_.store, segment.id.value(), at) ||
        h.payload_bytes > bytes.size() - at - sizeof(h)) {
      return 0;
    }
    uint64_t offset = at + sizeof(h);
    const uint64_t end = offset + h.payload_bytes;
    for (uint32_t i = 0; i < h.record_count; i++) {
      auto r = decode_record(bytes.subspan(offset, end - offset), h.epoch,
                             place_seed(o_.store, segment.id.value(), offset));
      if (!r) return 0;
      offset += r->size();
      if (offset > end) return 0;
    }
    return offset == end ? round_up(sizeof(h) + h.payload_bytes, kBlockBytes) : 0;
  }

  void apply(const Segment& segment, Bytes bytes, uint64_t at, Scan& out) {
    FrameHeader h;
    std::memcpy(&h, bytes.data() + at, sizeof(h));
    if (o_.note_time) o_.note_time(Lsn(h.lsn), h.wall_ms);
    uint64_t offset = at + sizeof(h);
    for (uint32_t i = 0; i < h.record_count; i++) {
      auto r = decode_record(bytes.subspan(offset), h.epoch,
                             place_seed(o_.store, segment.id.value(), offset));
      o_.apply(*r, Lsn(segment.id.value() * o_.segment_bytes + offset));
      offset += r->size();
      out.records++;
    }
  }

  // How far the segment is known to have been durable, from intact frames after `at`.
  uint64_t durable_witness(const Segment& segment, Bytes bytes, uint64_t at) const {
    const uint64_t base = segment.id.value() * o_.segment_bytes;
    uint64_t durable = 0;
    for (at += kBlockBytes; at + sizeof(FrameHeader) <= bytes.size(); at += kBlockBytes) {
      FrameHeader h;
      std::memcpy(&h, bytes.data() + at, sizeof(h));
      if (h.magic == kFrameMagic && h.epoch == segment.epoch && h.lsn == base + at &&
          h.store == o_.store && header_intact(h, o_.store, segment.id.value(), at)) {
        durable = std::max(durable, h.durable_lsn);
      }
    }
    return durable > base ? durable - base : 0;
  }

  Volume& volume_;
  const RecoveryOptions& o_;
  std::vector<Segment> segments_;
  std::vector<Scan> scans_;
  std::atomic<size_t> next_{0};
};

}  // namespace

awaitable<StatusOr<RecoveredLog>> recover_log(Volume& volume, const RecoveryOptions& options) {
  Recovery recovery(volume, options);
  co_return co_await recovery.run();
}

}  // namespace cairn
