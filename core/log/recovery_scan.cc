// Reads one segment: its frames, and where they end.
#include <sys/mman.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/text.h"
#include "core/log/recovery_impl.h"

namespace cairn {

namespace {
constexpr uint64_t kReadBytes = 4 << 20, kAheadBytes = 8 << 20;
}  // namespace

awaitable<void> Recovery::work() {
  AlignedBuffer buffer(o_.segment_bytes);
  for (size_t i; (i = next_.fetch_add(1)) < segments_.size();) {
    if (skipped(segments_[i])) {
      scans_[i].proven_end = segments_[i].end;
      scans_[i].skipped = true;
    } else {
      co_await scan(i, buffer);
      if (o_.progress != nullptr) o_.progress->done += o_.segment_bytes;
    }
    co_await pass(i);
  }
}

awaitable<void> Recovery::scan(size_t i, AlignedBuffer& buffer) {
  const Segment& segment = segments_[i];
  auto executor = co_await asio::this_coro::executor;
  const uint64_t base = segment.place.base();
  Reading reading;
  reading.size = from_ > base ? std::min(from_ - base, o_.segment_bytes) : 0;
  const uint64_t from = std::max(kBlockBytes, reading.size);
  reading.used = from;
  // What has come is replayed while the rest is read.
  std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
  const uint64_t end =
      segment.end == 0 ? o_.segment_bytes : round_up(segment.end - base, kBlockBytes);
  jobs.emplace_back(executor, [&] { return read(segment.place.segment, buffer, end, reading); });
  jobs.emplace_back(executor, [&]() -> awaitable<void> {
    co_await replay(i, buffer, from, reading);
    reading.over = true;
    reading.less.notify();
  });
  co_await run_all(std::move(jobs));
}

awaitable<void> Recovery::read(SegmentId id, AlignedBuffer& buffer, uint64_t end, Reading& out) {
  const auto wanted = [&] {
    return out.wanted || out.over || out.size - std::min(out.size, out.used) < kAheadBytes;
  };
  while (out.size < end) {
    co_await out.less.until(wanted);
    if (out.over) break;
    const uint64_t want = std::min(kReadBytes, end - out.size);
    auto n = co_await read_some(id, out.size, buffer.span(out.size, want));
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

awaitable<StatusOr<size_t>> Recovery::read_some(SegmentId segment, uint64_t offset,
                                                MutableBytes into) {
  const uint64_t base = segment.value() * o_.segment_bytes;
  auto n = co_await read_around(volume_, file(segment), offset, into, [&](uint64_t at) {
    const bool is_header = at == 0;
    if (!is_header && (known_empty(base + at) || lost_before(base + at) != 0)) return true;
    if (!is_header && !o_.repair) return false;
    MutexLock lock(mutex_);
    (is_header ? unread_headers_ : unreadable_).insert(base + at);
    return true;
  });
  if (n.ok() || !absl::IsDataLoss(n.status())) co_return n;
  co_return absl::DataLossError(
      cat(name(segment), ": ", n.status().message(),
          "; nothing was changed; --repair goes on without the blocks that cannot be read, and "
          "lists what is lost"));
}

awaitable<void> Recovery::replay(size_t i, AlignedBuffer& buffer, uint64_t at, Reading& reading) {
  const Segment& segment = segments_[i];
  Scan& out = scans_[i];
  const uint64_t base = segment.place.base(), begin = at;
  auto executor = co_await asio::this_coro::executor;
  uint64_t since_pause = 0;
  const uint64_t sealed = segment.end != 0 ? segment.end - base : 0;
  uint64_t run = 0;                // where the transaction began that is not at its end yet
  bool in_head = false;            // it began in an earlier segment
  uint64_t looked = 0, seen = 0;   // behind the last frame: how far, and what it witnesses
  std::vector<LogRecord> records;  // of the frame
  for (;;) {
    if (sealed != 0 && at >= sealed) break;
    if (at >= o_.segment_bytes) break;  // a range that is lost may go on in the next one
    const Bytes bytes{buffer.data(), reading.size};
    records.clear();
    auto frame = find_frame(segment.place, bytes, 0, at, [&](const RecordView& r, Lsn lsn) {
      records.push_back({r, lsn});
    });
    if (!frame && !reading.ended) {
      if (!o_.repair && no_frame(segment, bytes, at) && lost_before(base + at) == 0) {
        // Of what lies behind, it counts only how far it was durable.
        looked = std::max(looked, at);
        seen = std::max(seen, durable_witness(segment, bytes, looked));
        looked = std::max(looked, (bytes.size() / kBlockBytes - 1) * kBlockBytes);
        forget(buffer, reading, std::max(reading.used, looked));
      }
      reading.wanted = true;
      reading.less.notify();
      co_await reading.more.until([&] { return reading.ended || reading.size > bytes.size(); });
      continue;
    }
    if (!reading.status.ok()) {
      out.status = reading.status;
      co_return;
    }
    if (!frame) {
      const uint64_t known = lost_before(base + at);
      const uint64_t witness =
          sealed != 0 ? sealed
                      : std::max(seen, durable_witness(segment, bytes, std::max(at, looked)));
      if (known == 0 && witness <= at) break;     // a torn tail, or the end
      const uint64_t from = run != 0 ? run : at;  // a transaction with a hole in it is none
      run = 0;
      in_head = false;
      if (known != 0) {
        at = std::min(known - base, o_.segment_bytes);
        continue;
      }
      uint64_t to = at;
      do {
        to += kBlockBytes;
      } while (to < witness && !find_frame(segment.place, bytes, 0, to));
      const uint64_t cost = o_.repair ? to : witness;
      out.status = lose(out.lost, base + from, base + cost,
                        cat(name(segment.place.segment), " is damaged at offset ", at));
      if (!out.status.ok()) co_return;
      at = to;
      continue;
    }
    reading.wanted = false;
    const uint64_t length = frame->size();
    out.frames++;
    if (frame->continues() && run == 0 && !in_head) {
      if (at == begin) {
        in_head = true;
      } else {  // what it goes on with was lost
        if (lost_before(base + at) < base + at + length) {
          out.lost.push_back({base + at, base + at + length});
        }
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
        for (uint64_t next = run; run != 0 && next < at - length;) {
          next += apply(segment.place, bytes, next, out);
          if (crowded(i)) out.status = co_await make_room(i, next, false);
          if (!out.status.ok()) co_return;
        }
        apply(frame->header, records, out);
      }
      run = 0;
      in_head = false;
    }
    since_pause += length;
    if (since_pause >= (uint64_t{1} << 20)) {  // others run on this loop
      since_pause = 0;
      forget(buffer, reading, run != 0 ? run : at);
      co_await asio::post(executor, asio::use_awaitable);
    }
    if (crowded(i)) out.status = co_await make_room(i, run != 0 ? run : at, in_head);
    if (!out.status.ok()) co_return;
  }
  out.head_open = in_head;
  out.tail = run;
  out.proven_end = base + at;
}

void Recovery::apply(const FrameHeader& h, std::span<const LogRecord> records, Scan& out) {
  if (o_.note_time) o_.note_time(Lsn(h.lsn), h.wall_ms);
  o_.apply(records);
  out.records += records.size();
}

void Recovery::apply(const SegmentPlace& place, const FrameHeader& h, Bytes bytes, Scan& out) {
  std::vector<LogRecord> records;
  for_each_record(place, h, bytes, [&](const RecordView& r, Lsn lsn) {
    records.push_back({r, lsn});
  });
  apply(h, records, out);
}

uint64_t Recovery::apply(const SegmentPlace& place, Bytes bytes, uint64_t at, Scan& out) {
  auto h = decode_frame_header(place, at, bytes.subspan(at));
  apply(place, *h, bytes.subspan(at), out);
  return frame_bytes(*h);
}

bool Recovery::no_frame(const Segment& segment, Bytes bytes, uint64_t at) {
  if (at + kBlockBytes > bytes.size()) return false;
  const auto h = decode_frame_header(segment.place, at, bytes.subspan(at));
  return !h || at + frame_bytes(*h) <= bytes.size();
}

uint64_t Recovery::durable_witness(const Segment& segment, Bytes bytes, uint64_t at) const {
  const uint64_t base = segment.place.base();
  uint64_t durable = 0;
  if (o_.proven.value() <= base + o_.segment_bytes) durable = o_.proven.value();
  for (at += kBlockBytes; at + sizeof(FrameHeader) <= bytes.size(); at += kBlockBytes) {
    if (auto h = decode_frame_header(segment.place, at, bytes.subspan(at))) {
      durable = std::max(durable, h->durable_lsn);
    }
  }
  return durable > base ? durable - base : 0;
}

void Recovery::forget(AlignedBuffer& buffer, Reading& reading, uint64_t to) {
  ::madvise(buffer.data() + reading.used, to - reading.used, MADV_DONTNEED);
  reading.used = to;
  reading.less.notify();
}

}  // namespace cairn
