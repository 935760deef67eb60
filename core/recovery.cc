#include "core/recovery.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/async.h"
#include "core/mutex.h"
#include "core/plant.h"
#include "core/text.h"

namespace cairn {

awaitable<void> run_all(std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs) {
  if (jobs.empty()) co_return;
  Tasks tasks;
  for (auto& [on, job] : jobs) tasks.spawn(on, "recovery", job());
  co_await tasks.ended();
}

namespace {

struct Segment {
  SegmentPlace place;
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
    RecoveredLog log;
    log.unused = std::move(unused_);
    if (segments_.empty()) co_return log;
    if (o_.from.valid() &&
        (segments_.front().place.base() <= o_.from.value() ||
         planted(Bug::kCheckpointOutlivesLog)) &&
        o_.from.value() <= segments_.back().place.base() + o_.segment_bytes) {
      Status based = co_await o_.load_base();
      if (based.ok()) from_ = o_.from.value();
    }
    log.on_base = from_ != 0;
    if (o_.progress != nullptr) {
      for (const Segment& s : segments_) o_.progress->total += skipped(s) ? 0 : o_.segment_bytes;
    }
    scans_.resize(segments_.size());
    std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
    for (const Executor& e : o_.executors) jobs.emplace_back(e, [this] { return work(); });
    co_await run_all(std::move(jobs));
    for (const Scan& s : scans_) {
      if (!s.status.ok()) co_return s.status;
      log.records += s.records;
      log.lost_bytes += s.lost_bytes;
    }
    log.next_segment = segments_.back().place.segment.next();
    // A life that wrote nothing leaves nothing: restarts alone do not use up a full volume.
    while (!scans_.empty() && scans_.back().records == 0 &&
           segments_.back().place.base() >= from_) {
      log.unused.push_back(segments_.back().place.segment);
      segments_.pop_back();
      scans_.pop_back();
    }
    if (segments_.empty()) co_return log;
    for (size_t i = 0; i < scans_.size(); i++) {
      log.proven.emplace_back(segments_[i].place.base(), scans_[i].proven_end);
    }
    log.first_segment = segments_.front().place.segment;
    log.end = Lsn(scans_.back().proven_end);
    // What was read may still sit in a device cache: make it durable before it is served.
    Status synced = co_await volume_.sync(file(segments_.back().place.segment));
    if (!synced.ok()) co_return synced;
    co_return log;
  }

 private:
  static FileId file(SegmentId segment) { return {FileKind::kSegment, segment.value()}; }

  awaitable<Status> find_segments() {
    auto files = co_await volume_.list();
    if (!files.ok()) co_return files.status();
    std::vector<SegmentId> ids;
    for (const FileInfo& f : *files) {
      if (f.id.kind == FileKind::kSegment) ids.push_back(SegmentId(f.id.number));
    }
    std::sort(ids.begin(), ids.end());
    AlignedBuffer block(kBlockBytes);
    for (SegmentId id : ids) {
      auto n = co_await volume_.read(file(id), 0, block.span(0, kBlockBytes));
      if (!n.ok()) co_return n.status();
      SegmentHeader h{};
      if (*n == kBlockBytes) std::memcpy(&h, block.data(), sizeof(h));
      bool intact = h.magic == kSegmentMagic && h.store == o_.store && h.segment == id.value() &&
                    h.segment_bytes == o_.segment_bytes &&
                    header_intact(h, o_.store, id.value(), 0);
      if (!intact) {  // prepared and never opened, if none after it was opened
        unused_.push_back(id);
        continue;
      }
      if (h.version > kLogVersion) {
        co_return absl::FailedPreconditionError(
            cat(to_string(file(id)), " has format version ", h.version,
                "; this program knows versions up to ", kLogVersion));
      }
      if (!unused_.empty()) {
        co_return absl::DataLossError(cat("segment ", unused_.front().value(),
                                          " has a damaged header at offset 0 and later segments ",
                                          "follow; its records cannot be read"));
      }
      if (!segments_.empty()) {  // the header names the end of the segment before it
        const SegmentId before(h.previous_end == 0 ? 0 : (h.previous_end - 1) / o_.segment_bytes);
        if (segments_.back().place.segment != before) {
          co_return absl::DataLossError(cat("segment ", before.value(), " is missing"));
        }
        segments_.back().end = h.previous_end;
      }
      segments_.push_back({{o_.store, id, o_.segment_bytes, h.epoch}, 0});
    }
    co_return absl::OkStatus();
  }

  bool skipped(const Segment& s) const { return s.end != 0 && s.end <= from_; }

  awaitable<void> work() {
    AlignedBuffer buffer(o_.segment_bytes);
    for (size_t i; (i = next_.fetch_add(1)) < segments_.size();) {
      if (skipped(segments_[i])) {
        scans_[i].proven_end = segments_[i].end;
        continue;
      }
      co_await scan(segments_[i], buffer, scans_[i]);
      if (o_.progress != nullptr) o_.progress->done += o_.segment_bytes;
    }
  }

  // The bytes of a segment, as they come: [0, size) of the buffer, from where the replay begins.
  struct Reading {
    uint64_t size = 0;
    bool ended = false;
    Status status;
    Gate more;
  };

  awaitable<void> read(FileId id, AlignedBuffer& buffer, Reading& out) {
    constexpr uint64_t kReadBytes = 4 << 20;
    while (out.size < o_.segment_bytes) {
      const uint64_t want = std::min(kReadBytes, o_.segment_bytes - out.size);
      auto n = co_await volume_.read(id, out.size, buffer.span(out.size, want));
      if (!n.ok()) {
        out.status = n.status();
        break;
      }
      out.size += *n;
      if (*n < want) break;
      out.more.notify();
    }
    out.ended = true;
    out.more.notify();
  }

  awaitable<void> scan(const Segment& segment, AlignedBuffer& buffer, Scan& out) {
    auto executor = co_await asio::this_coro::executor;
    const uint64_t base = segment.place.base();
    Reading reading;
    reading.size = from_ > base ? std::min(from_ - base, o_.segment_bytes) : 0;
    const uint64_t from = std::max(kBlockBytes, reading.size);
    // What has come is replayed while the rest is read.
    std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
    jobs.emplace_back(executor, [&] { return read(file(segment.place.segment), buffer, reading); });
    jobs.emplace_back(executor, [&] { return replay(segment, buffer, from, reading, out); });
    co_await run_all(std::move(jobs));
  }

  awaitable<void> replay(const Segment& segment, AlignedBuffer& buffer, uint64_t at,
                         Reading& reading, Scan& out) {
    const uint64_t base = segment.place.base();
    auto executor = co_await asio::this_coro::executor;
    uint64_t since_pause = 0;
    std::vector<LogRecord> records;
    const uint64_t sealed = segment.end != 0 ? segment.end - base : 0;
    for (;;) {
      if (sealed != 0 && at >= sealed) break;
      records.clear();
      const Bytes bytes{buffer.data(), reading.size};
      uint64_t length = frame_length(segment, bytes, at, &records);
      if (length == 0 && !reading.ended) {
        const uint64_t had = reading.size;
        co_await reading.more.until([&] { return reading.ended || reading.size > had; });
        continue;
      }
      if (!reading.status.ok()) {
        out.status = reading.status;
        co_return;
      }
      if (length == 0) {
        uint64_t witness = sealed != 0 ? sealed : durable_witness(segment, bytes, at);
        if (witness <= at) break;  // a torn tail, or the end
        if (!o_.repair) {
          out.status = absl::DataLossError(cat(
              "segment ", segment.place.segment.value(), " is damaged at offset ", at, ": up to ",
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
      o_.apply(records);
      out.records += records.size();
      at += length;
      since_pause += length;
      if (since_pause >= (uint64_t{1} << 20)) {  // others run on this loop
        since_pause = 0;
        co_await asio::post(executor, asio::use_awaitable);
      }
    }
    out.proven_end = base + at;
  }

  // Length in the file of an intact frame at `at`, or 0; its records, if they are asked for.
  uint64_t frame_length(const Segment& segment, Bytes bytes, uint64_t at,
                        std::vector<LogRecord>* records = nullptr) const {
    if (at >= bytes.size()) return 0;
    auto h = decode_frame_header(segment.place, at, bytes.subspan(at));
    if (!h) return 0;
    const bool whole =
        for_each_record(segment.place, *h, bytes.subspan(at), [&](const RecordView& r, Lsn lsn) {
          if (records != nullptr) records->push_back({r, lsn});
        });
    if (!whole) return 0;
    if (records != nullptr && o_.note_time) o_.note_time(Lsn(h->lsn), h->wall_ms);
    return frame_bytes(*h);
  }

  // How far the segment is known to have been durable, from intact frames after `at`.
  uint64_t durable_witness(const Segment& segment, Bytes bytes, uint64_t at) const {
    const uint64_t base = segment.place.base();
    uint64_t durable = 0;
    for (at += kBlockBytes; at + sizeof(FrameHeader) <= bytes.size(); at += kBlockBytes) {
      if (auto h = decode_frame_header(segment.place, at, bytes.subspan(at))) {
        durable = std::max(durable, h->durable_lsn);
      }
    }
    return durable > base ? durable - base : 0;
  }

  Volume& volume_;
  const RecoveryOptions& o_;
  std::vector<Segment> segments_;
  std::vector<SegmentId> unused_;
  std::vector<Scan> scans_;
  std::atomic<size_t> next_{0};
  uint64_t from_ = 0;
};

}  // namespace

awaitable<StatusOr<RecoveredLog>> recover_log(Volume& volume, const RecoveryOptions& options) {
  Recovery recovery(volume, options);
  co_return co_await recovery.run();
}

}  // namespace cairn
