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

// A part of a transaction that lies in several segments: offsets in one of them.
struct Part {
  size_t segment;
  uint64_t from, to;
};

struct Scan {
  bool skipped = false;
  uint64_t proven_end = 0;
  uint64_t records = 0;
  uint64_t head_end = 0;   // where the transaction ends that the segment begins in the middle of
  bool head_open = false;  // it does not end in this segment
  uint64_t tail = 0;       // where the transaction begins that does not end in this segment
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
    }
    log.next_segment = segments_.back().place.segment.next();
    Status joined = co_await join_parts(log);
    if (!joined.ok()) co_return joined;
    for (const Scan& s : scans_) {
      log.records += s.records;
      log.lost_bytes += s.lost_bytes;
    }
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
      log.lives.add(segments_[i].place.segment, segments_[i].place.epoch);
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
      if (h.version != kLogVersion) {
        co_return absl::FailedPreconditionError(cat(to_string(file(id)), " has format version ",
                                                    h.version, "; this program reads version ",
                                                    kLogVersion));
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
        scans_[i].skipped = true;
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
    const uint64_t base = segment.place.base(), begin = at;
    auto executor = co_await asio::this_coro::executor;
    uint64_t since_pause = 0;
    const uint64_t sealed = segment.end != 0 ? segment.end - base : 0;
    uint64_t run = 0;      // where the transaction began that is not at its end yet
    bool in_head = false;  // it began in an earlier segment
    for (;;) {
      if (sealed != 0 && at >= sealed) break;
      const Bytes bytes{buffer.data(), reading.size};
      auto frame = find_frame(segment.place, bytes, 0, at);
      if (!frame && !reading.ended) {
        co_await reading.more.until([&] { return reading.ended || reading.size > bytes.size(); });
        continue;
      }
      if (!reading.status.ok()) {
        out.status = reading.status;
        co_return;
      }
      if (!frame) {
        uint64_t witness = sealed != 0 ? sealed : durable_witness(segment, bytes, at);
        if (witness <= at) break;  // a torn tail, or the end
        if (!o_.repair) {
          out.status = absl::DataLossError(cat(
              "segment ", segment.place.segment.value(), " is damaged at offset ", at, ": up to ",
              witness - at, " bytes of records that were durable cannot be read; --repair goes on ",
              "without them"));
          co_return;
        }
        uint64_t from = run != 0 ? run : at;  // a transaction with a hole in it is none
        run = 0;
        in_head = false;
        do {
          at += kBlockBytes;
        } while (at < witness && !find_frame(segment.place, bytes, 0, at));
        out.lost_bytes += at - from;
        continue;
      }
      const uint64_t length = frame->size();
      if (frame->continues() && run == 0 && !in_head) {
        if (at == begin) {
          in_head = true;
        } else {  // what it goes on with was lost
          out.lost_bytes += length;
          at += length;
          continue;
        }
      }
      if (!frame->continues() && frame->goes_on()) run = at;
      at += length;
      if (!frame->goes_on()) {
        if (in_head) {
          out.head_end = at;
        } else {
          for (uint64_t next = run != 0 ? run : at - length; next < at;) {
            next += apply(segment.place, bytes, next, out);
          }
        }
        run = 0;
        in_head = false;
      }
      since_pause += length;
      if (since_pause >= (uint64_t{1} << 20)) {  // others run on this loop
        since_pause = 0;
        co_await asio::post(executor, asio::use_awaitable);
      }
    }
    out.head_open = in_head;
    out.tail = run;
    out.proven_end = base + at;
  }

  // Hands over the records of the frame at `at`, which is whole; returns its length.
  uint64_t apply(const SegmentPlace& place, Bytes bytes, uint64_t at, Scan& out) {
    std::vector<LogRecord> records;
    auto h = decode_frame_header(place, at, bytes.subspan(at));
    for_each_record(place, *h, bytes.subspan(at), [&](const RecordView& r, Lsn lsn) {
      records.push_back({r, lsn});
    });
    if (o_.note_time) o_.note_time(Lsn(h->lsn), h->wall_ms);
    o_.apply(records);
    out.records += records.size();
    return frame_bytes(*h);
  }

  // Transactions that lie in several segments: applied if their end was read; one at the log's end
  // without it was never acknowledged, and the log ends where it begins.
  awaitable<Status> join_parts(RecoveredLog& log) {
    std::vector<Part> parts;
    bool open = false, first = true;
    for (size_t i = 0; i < scans_.size(); i++) {
      const Scan& s = scans_[i];
      if (s.skipped) continue;
      const uint64_t base = segments_[i].place.base();
      const uint64_t begin = std::max(kBlockBytes, from_ > base ? from_ - base : 0);
      const bool head = s.head_open || s.head_end != 0;
      // The start of one that the log begins in the middle of was cleaned away: it was whole.
      if (head && (open || first)) {
        parts.push_back({i, begin, s.head_open ? s.proven_end - base : s.head_end});
        open = s.head_open;
      } else if (head || open) {
        Status broken = lose(parts, s, head ? i : i - 1, log);
        if (!broken.ok()) co_return broken;
        open = false;
      }
      first = false;
      if (!open && !s.head_open) {
        for (const Part& part : parts) {
          Status applied = co_await apply_part(part);
          if (!applied.ok()) co_return applied;
        }
        parts.clear();
      }
      if (s.tail != 0) {
        parts.push_back({i, s.tail, s.proven_end - base});
        open = true;
      }
    }
    if (!open || planted(Bug::kUnfinishedServed)) {
      for (const Part& part : parts) {
        Status applied = co_await apply_part(part);
        if (!applied.ok()) co_return applied;
      }
      co_return absl::OkStatus();
    }
    const Part& start = parts.front();
    while (segments_.size() > start.segment + 1) {
      log.unused.push_back(segments_.back().place.segment);
      segments_.pop_back();
      scans_.pop_back();
    }
    scans_.back().proven_end = segments_.back().place.base() + start.from;
    co_return absl::OkStatus();
  }

  // A transaction in the middle of the log of which a part is missing.
  Status lose(std::vector<Part>& parts, const Scan& scan, size_t segment, RecoveredLog& log) {
    if (!o_.repair) {
      return absl::DataLossError(cat("segment ", segments_[segment].place.segment.value(),
                                     " has a part of a transaction whose other part is missing; ",
                                     "--repair goes on without it"));
    }
    for (const Part& p : parts) log.lost_bytes += p.to - p.from;
    log.lost_bytes += scan.head_end;
    parts.clear();
    return absl::OkStatus();
  }

  awaitable<Status> apply_part(const Part& part) {
    const SegmentPlace& place = segments_[part.segment].place;
    SegmentReader reader(volume_, place, part.from, part.to);
    for (;;) {
      auto frame = co_await reader.next();
      if (!frame.ok()) co_return frame.status();
      if (!*frame) co_return absl::OkStatus();
      const uint64_t at = (*frame)->header.lsn - place.base();
      std::vector<LogRecord> records;
      for_each_record(place, (*frame)->header, (*frame)->bytes, [&](const RecordView& r, Lsn lsn) {
        records.push_back({r, lsn});
      });
      if (o_.note_time) o_.note_time(Lsn(place.base() + at), (*frame)->header.wall_ms);
      o_.apply(records);
      scans_[part.segment].records += records.size();
    }
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
