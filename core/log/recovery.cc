#include "core/log/recovery.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <set>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/base/plant.h"
#include "core/base/text.h"

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
  uint64_t end = 0;            // sealed end as an LSN; 0: not known, or not sealed
  bool header_intact = false;  // the block at its start
};

// A part of a transaction that lies in several segments: offsets in one of them.
struct Part {
  size_t segment;
  uint64_t from, to;
};

struct Scan {
  bool skipped = false;
  uint64_t proven_end = 0;
  uint64_t records = 0;    // that were applied
  uint64_t frames = 0;     // that are whole
  uint64_t head_end = 0;   // where the transaction ends that the segment begins in the middle of
  bool head_open = false;  // it does not end in this segment
  uint64_t tail = 0;       // where the transaction begins that does not end in this segment
  std::vector<LsnRange> lost;
  Status status;
};

class Recovery {
 public:
  Recovery(Volume& volume, const RecoveryOptions& options) : volume_(volume), o_(options) {}

  awaitable<StatusOr<RecoveredLog>> run() {
    Status found = co_await find_segments();
    if (!found.ok()) co_return found;
    // A checkpoint counts as long as no segment after its beginning was cleaned away.
    if (o_.from.valid() && !o_.segments.empty() &&
        o_.from.value() < (o_.segments.back().number + 1) * o_.segment_bytes &&
        (o_.segments.front().number * o_.segment_bytes <= o_.from.value() ||
         planted(Bug::kCheckpointOutlivesLog))) {
      Status based = co_await o_.load_base();
      log_.on_base = based.ok();
      if (based.ok() && !o_.repair) {  // with it all is looked at: what the cleaner would come to
        from_ = o_.from.value();
      } else if (!based.ok()) {
        log_.notes.push_back(cat("the log alone is replayed: ", based.message()));
      }
    }
    if (o_.progress != nullptr) {
      for (const Segment& s : segments_) o_.progress->total += skipped(s) ? 0 : o_.segment_bytes;
    }
    scans_.resize(segments_.size());
    passed_.resize(segments_.size(), Passed::kNot);
    std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
    for (const Executor& e : o_.executors) jobs.emplace_back(e, [this] { return work(); });
    co_await run_all(std::move(jobs));
    Status joined = check_scans();
    if (joined.ok()) joined = co_await join_parts();
    if (!joined.ok()) co_return joined;
    for (const Scan& s : scans_) log_.records += s.records;
    drop_empty();
    Status ends = check_end();
    if (!ends.ok()) co_return ends;
    if (segments_.empty()) co_return std::move(log_);
    for (size_t i = 0; i < scans_.size(); i++) {
      log_.proven.emplace_back(segments_[i].place.base(), scans_[i].proven_end);
      log_.lives.add(segments_[i].place.segment, segments_[i].place.epoch);
    }
    log_.first_segment = segments_.front().place.segment;
    log_.end = Lsn(scans_.back().proven_end);
    // What was read may still sit in a device cache: make it durable before it is served.
    Status synced = co_await volume_.sync(file(segments_.back().place.segment));
    if (!synced.ok()) co_return synced;
    co_return std::move(log_);
  }

 private:
  static FileId file(SegmentId segment) { return {FileKind::kSegment, segment.value()}; }
  static std::string name(SegmentId segment) {
    return cat("segment ", segment.value(), " (", to_string(file(segment)), ")");
  }

  // Damage: an error, or with repair a range that is lost.
  Status lose(std::vector<LsnRange>& lost, uint64_t from, uint64_t to, const std::string& what) {
    if (!o_.repair) {
      return absl::DataLossError(
          cat(what, ": up to ", to - from, " bytes of records that were durable cannot be read; ",
              "nothing was changed; --repair goes on without them, keeps the files that it does "
              "not read, and lists what is lost"));
    }
    lost.push_back({from, to});
    return absl::OkStatus();
  }
  Status lose(uint64_t from, uint64_t to, const std::string& what) {
    Status status = lose(log_.lost, from, to, what);
    if (status.ok()) log_.notes.push_back(cat(what, ": up to ", to - from, " bytes are lost"));
    return status;
  }
  // Whether it was known when the store stopped that nothing lies from there on.
  bool known_empty(uint64_t lsn) const { return o_.clean_stop && lsn >= o_.proven.value(); }

  awaitable<Status> find_segments() {
    auto files = co_await volume_.list();
    if (!files.ok()) co_return files.status();
    std::map<SegmentId, uint64_t> there;
    for (const FileInfo& f : *files) {
      if (f.id.kind == FileKind::kSegment) there[SegmentId(f.id.number)] = f.size_bytes;
    }
    if (!there.empty()) log_.next_segment = there.rbegin()->first.next();
    // No LSN is used twice, though no file may be left of those that were.
    if (o_.proven.valid()) {
      log_.next_segment =
          std::max(log_.next_segment, SegmentId(o_.proven.value() / o_.segment_bytes).next());
    }
    for (const LsnRange& r : o_.lost) {
      log_.next_segment = std::max(log_.next_segment, SegmentId(r.to / o_.segment_bytes).next());
    }
    for (const ManifestSegment& named : o_.segments) {
      const SegmentId id(named.number);
      log_.next_segment = std::max(log_.next_segment, id.next());
      Segment segment{{o_.store, id, o_.segment_bytes, named.epoch}, named.end};
      const uint64_t base = segment.place.base();
      auto file_of = there.find(id);
      if (file_of == there.end()) {
        if (known_empty(base)) continue;
        Status lost = lose(base, named.end != 0 ? named.end : base + o_.segment_bytes,
                           cat(name(id), " is missing"));
        if (!lost.ok()) co_return lost;
        continue;
      }
      const uint64_t size = file_of->second;
      there.erase(file_of);
      const uint64_t end = named.end != 0 ? named.end : base + o_.segment_bytes;
      if (size < o_.segment_bytes && !known_empty(base) && lost_before(base + size) == 0) {
        const std::string what = cat(name(id), " was cut short at offset ", size);
        if (end <= base + size) {
          log_.notes.push_back(cat(what, ", behind its last record"));
        } else if (Status lost = lose(base + size, end, what); !lost.ok()) {
          co_return lost;
        }
      }
      Status looked = co_await look_at(segment);
      if (!looked.ok()) co_return looked;
      segments_.push_back(segment);
    }
    // Not named: made and not used, or cleaned.
    for (auto& [id, size] : there) log_.unused.push_back(id);
    co_return absl::OkStatus();
  }

  // The header of a segment, and what its first frame says of the segment before it.
  awaitable<Status> look_at(Segment& segment) {
    AlignedBuffer block(kBlockBytes);
    const SegmentId id = segment.place.segment;
    auto n = co_await read_some(id, 0, block.span(0, kBlockBytes));
    if (!n.ok()) co_return n.status();
    SegmentHeader h{};
    if (*n == kBlockBytes) std::memcpy(&h, block.data(), sizeof(h));
    segment.header_intact = h.magic == kSegmentMagic && h.store == o_.store &&
                            h.segment == id.value() && h.segment_bytes == o_.segment_bytes &&
                            header_intact(h, o_.store, id.value(), 0);
    if (segment.header_intact && h.version != kLogVersion) {
      co_return absl::FailedPreconditionError(cat(to_string(file(id)), " has format version ",
                                                  h.version, "; this program reads version ",
                                                  kLogVersion));
    }
    if (segments_.empty() || (segments_.back().end != 0 && segment.end != 0)) {
      co_return absl::OkStatus();
    }
    n = co_await read_some(id, kBlockBytes, block.span(0, kBlockBytes));
    if (!n.ok()) co_return n.status();
    if (*n < kBlockBytes) co_return absl::OkStatus();
    auto first = decode_frame_header(segment.place, kBlockBytes, {block.data(), kBlockBytes});
    if (!first) co_return absl::OkStatus();
    const uint64_t before = segments_.back().place.base();
    if (first->previous_end > before + o_.segment_bytes &&
        lost_before(first->previous_end - 1) == 0) {
      co_return lose(before + o_.segment_bytes, first->previous_end,
                     cat("segments between ", name(segments_.back().place.segment), " and ",
                         name(id), " are missing"));
    }
    if (segments_.back().end == 0 && first->previous_end > before &&
        first->previous_end <= before + o_.segment_bytes) {
      segments_.back().end = first->previous_end;
    }
    co_return absl::OkStatus();
  }

  // After all segments were read: which of them do not hold, and which have lost their header
  // alone.
  Status check_scans() {
    log_.unread = !unreadable_.empty();
    for (uint64_t at : unreadable_) {
      log_.notes.push_back(cat(name(SegmentId(at / o_.segment_bytes)), " cannot be read at offset ",
                               at % o_.segment_bytes));
    }
    for (size_t i = 0; i < scans_.size(); i++) {
      const Segment& s = segments_[i];
      if (!scans_[i].status.ok()) return scans_[i].status;
      for (const LsnRange& range : scans_[i].lost) {
        log_.notes.push_back(cat(name(s.place.segment), " is damaged at offset ",
                                 range.from - s.place.base(), ": up to ", range.to - range.from,
                                 " bytes are lost"));
        log_.lost.push_back(range);
      }
      if (s.header_intact || scans_[i].skipped) continue;
      const uint64_t base = s.place.base();
      if (scans_[i].frames == 0 && from_ <= base && !known_empty(base) && lost_before(base) == 0) {
        Status lost =
            lose(base, base + o_.segment_bytes,
                 cat(name(s.place.segment), " has a damaged header at offset 0 and no frame"));
        if (!lost.ok()) return lost;
        continue;
      }
      log_.notes.push_back(cat(name(s.place.segment),
                               " has a damaged header at offset 0; the manifest says the same"));
    }
    return absl::OkStatus();
  }

  // A life that wrote nothing leaves nothing: restarts alone do not use up a full volume.
  void drop_empty() {
    while (!scans_.empty() && scans_.back().records == 0 && !scans_.back().skipped &&
           segments_.back().place.base() >= from_) {
      log_.unused.push_back(segments_.back().place.segment);
      segments_.pop_back();
      scans_.pop_back();
    }
  }

  // The log must reach as far as it was proven to.
  Status check_end() {
    const uint64_t end = scans_.empty() ? 0 : scans_.back().proven_end;
    if (end >= o_.proven.value()) return absl::OkStatus();
    // An empty segment that was opened is none.
    const uint64_t base = o_.proven.value() / o_.segment_bytes * o_.segment_bytes;
    if (end <= base && o_.proven.value() <= base + kBlockBytes) return absl::OkStatus();
    for (const LsnRange& range : log_.lost) {  // and is named already
      if (range.from <= o_.proven.value() && range.to >= o_.proven.value()) return absl::OkStatus();
    }
    for (const LsnRange& range : o_.lost) {
      if (range.from <= o_.proven.value() && range.to >= o_.proven.value()) return absl::OkStatus();
    }
    const SegmentId segment(end / o_.segment_bytes);
    return lose(end, o_.proven.value(),
                cat("the log ends in ", name(segment), " at offset ", end % o_.segment_bytes,
                    " and was durable up to segment ", o_.proven.value() / o_.segment_bytes,
                    " offset ", o_.proven.value() % o_.segment_bytes));
  }
  bool skipped(const Segment& s) const { return s.end != 0 && s.end <= from_; }

  awaitable<void> work() {
    AlignedBuffer buffer(o_.segment_bytes);
    for (size_t i; (i = next_.fetch_add(1)) < segments_.size();) {
      if (skipped(segments_[i])) {
        scans_[i].proven_end = segments_[i].end;
        scans_[i].skipped = true;
      } else {
        co_await scan(i, buffer);
        if (o_.progress != nullptr) o_.progress->done += o_.segment_bytes;
      }
      pass(i);
    }
  }

  // ---- within bounds ----

  // Nothing behind a segment is folded of which records may come later.
  enum class Passed : uint8_t { kNot, kWhole, kInPart };

  void pass(size_t i) {
    const Scan& s = scans_[i];
    const bool whole =
        s.status.ok() && s.lost.empty() && !s.head_open && s.head_end == 0 && s.tail == 0;
    {
      MutexLock lock(mutex_);
      passed_[i] = whole ? Passed::kWhole : Passed::kInPart;
      size_t oldest = oldest_;
      while (oldest < passed_.size() && passed_[oldest] == Passed::kWhole) oldest++;
      oldest_ = oldest;
      if (oldest < passed_.size() && passed_[oldest] == Passed::kInPart) folds_ = false;
    }
    went_on_.notify();
  }

  bool crowded(size_t i) const {
    return o_.crowded && folds_ && !o_.repair && o_.lost.empty() && o_.crowded(oldest_ != i);
  }

  // All records of segment `i` before this offset were handed over; 0: not all of any.
  awaitable<void> make_room(size_t i, uint64_t before) {
    co_await went_on_.until([&] { return oldest_ == i || !crowded(i); });
    if (oldest_ != i || before == 0 || !crowded(i)) co_return;
    co_await o_.fold(Lsn(segments_[i].place.base() + before));
    went_on_.notify();
  }

  // The bytes of a segment, as they come: [0, size) of the buffer, from where the replay begins. So
  // that a segment does not take all of its size, it is not read far ahead unless that is wanted,
  // and what was used goes.
  struct Reading {
    uint64_t size = 0;
    uint64_t used = 0;
    bool ended = false;
    bool wanted = false;  // nothing can be done with what has come
    bool over = false;    // nobody reads on
    Status status;
    Gate more, less;
  };
  static constexpr uint64_t kReadBytes = 4 << 20, kAheadBytes = 8 << 20;

  // Nobody looks at what lies before `to` any more.
  static void forget(AlignedBuffer& buffer, Reading& reading, uint64_t to) {
    ::madvise(buffer.data() + reading.used, to - reading.used, MADV_DONTNEED);
    reading.used = to;
    reading.less.notify();
  }

  awaitable<void> read(SegmentId id, AlignedBuffer& buffer, uint64_t end, Reading& out) {
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

  // A block that cannot be read is one that was lost, with repair or since an earlier one; and so
  // is a header's, of which the manifest says the same, and one that nothing was written to.
  awaitable<StatusOr<size_t>> read_some(SegmentId segment, uint64_t offset, MutableBytes into) {
    const uint64_t base = segment.value() * o_.segment_bytes;
    auto n = co_await read_around(volume_, file(segment), offset, into, [&](uint64_t at) {
      if (at == 0 || known_empty(base + at) || lost_before(base + at) != 0) return true;
      if (!o_.repair) return false;
      MutexLock lock(mutex_);
      unreadable_.insert(base + at);
      return true;
    });
    if (n.ok() || !absl::IsDataLoss(n.status())) co_return n;
    co_return absl::DataLossError(
        cat(name(segment), ": ", n.status().message(),
            "; nothing was changed; --repair goes on without the blocks that cannot be read, and "
            "lists what is lost"));
  }

  awaitable<void> scan(size_t i, AlignedBuffer& buffer) {
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

  awaitable<void> replay(size_t i, AlignedBuffer& buffer, uint64_t at, Reading& reading) {
    const Segment& segment = segments_[i];
    Scan& out = scans_[i];
    const uint64_t base = segment.place.base(), begin = at;
    auto executor = co_await asio::this_coro::executor;
    uint64_t since_pause = 0;
    const uint64_t sealed = segment.end != 0 ? segment.end - base : 0;
    uint64_t run = 0;               // where the transaction began that is not at its end yet
    bool in_head = false;           // it began in an earlier segment
    bool late = false;              // records of this segment come when all others have
    uint64_t looked = 0, seen = 0;  // behind the last frame: how far, and what it witnesses
    for (;;) {
      if (sealed != 0 && at >= sealed) break;
      if (at >= o_.segment_bytes) break;  // a range that is lost may go on in the next one
      const Bytes bytes{buffer.data(), reading.size};
      auto frame = find_frame(segment.place, bytes, 0, at);
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
          in_head = late = true;
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
        forget(buffer, reading, run != 0 ? run : at);
        co_await asio::post(executor, asio::use_awaitable);
      }
      if (crowded(i)) co_await make_room(i, late ? 0 : run != 0 ? run : at);
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
  awaitable<Status> join_parts() {
    std::vector<Part> parts;
    bool open = false, first = true;
    while (!scans_.empty() && scans_.back().frames == 0 && !scans_.back().skipped &&
           segments_.back().place.base() >= from_) {  // named, and not used
      log_.unused.push_back(segments_.back().place.segment);
      segments_.pop_back();
      scans_.pop_back();
    }
    for (size_t i = 0; i < scans_.size(); i++) {
      const Scan& s = scans_[i];
      if (s.skipped) continue;
      const uint64_t base = segments_[i].place.base();
      const uint64_t begin = std::max(kBlockBytes, from_ > base ? from_ - base : 0);
      const bool head = s.head_open || s.head_end != 0;
      // The start of one that the log begins in the middle of was cleaned away: it was whole.
      const bool whole = first && lost_before(base + begin) == 0;
      const bool next =
          open && !parts.empty() &&
          segments_[parts.back().segment].place.segment.next() == segments_[i].place.segment;
      if (head && (next || whole)) {
        parts.push_back({i, begin, s.head_open ? s.proven_end - base : s.head_end});
        open = s.head_open;
      } else if (head || open) {
        Status broken = lose_parts(parts, i);
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
      log_.unused.push_back(segments_.back().place.segment);
      segments_.pop_back();
      scans_.pop_back();
    }
    scans_.back().proven_end = segments_.back().place.base() + start.from;
    co_return absl::OkStatus();
  }

  // A transaction in the middle of the log of which a part is missing: before `segment`, whose head
  // may go on with it.
  Status lose_parts(std::vector<Part>& parts, size_t segment) {
    const Scan& scan = scans_[segment];
    const uint64_t base = segments_[segment].place.base();
    uint64_t from = base + kBlockBytes, to = from;
    if (scan.head_open || scan.head_end != 0) {
      to = scan.head_open ? scan.proven_end : base + scan.head_end;
    }
    if (!parts.empty()) from = segments_[parts.front().segment].place.base() + parts.front().from;
    parts.clear();
    if (lost_before(from) >= to) return absl::OkStatus();  // known since an earlier repair
    return lose(from, to,
                cat(name(segments_[segment].place.segment),
                    " and the one before it hold parts of a "
                    "transaction of which other parts are missing, at offset ",
                    kBlockBytes));
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

  // No frame begins at `at`, whatever follows these bytes.
  static bool no_frame(const Segment& segment, Bytes bytes, uint64_t at) {
    if (at + kBlockBytes > bytes.size()) return false;
    const auto h = decode_frame_header(segment.place, at, bytes.subspan(at));
    return !h || at + frame_bytes(*h) <= bytes.size();
  }
  // How far the segment is known to have been durable: from intact frames after `at`, and from what
  // was said elsewhere.
  uint64_t durable_witness(const Segment& segment, Bytes bytes, uint64_t at) const {
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
  // The end of the range that holds `lsn` and that an earlier repair, or this one, gave up; or 0.
  uint64_t lost_before(uint64_t lsn) const {
    uint64_t end = 0;
    for (const auto* ranges : {&o_.lost, &log_.lost}) {
      for (const LsnRange& r : *ranges) {
        if (r.from <= lsn && lsn < r.to) end = std::max(end, r.to);
      }
    }
    return end;
  }

  Volume& volume_;
  const RecoveryOptions& o_;
  RecoveredLog log_;
  std::vector<Segment> segments_;
  std::vector<Scan> scans_;
  std::atomic<size_t> next_{0};
  Mutex mutex_;
  std::set<uint64_t> unreadable_;  // blocks, under mutex_ while segments are read
  std::vector<Passed> passed_;     // under mutex_
  std::atomic<size_t> oldest_{0};  // segment that is not passed whole
  std::atomic<bool> folds_{true};
  Gate went_on_;  // oldest_, folds_ or what crowded() says is another
  uint64_t from_ = 0;
};

}  // namespace

awaitable<StatusOr<RecoveredLog>> recover_log(Volume& volume, const RecoveryOptions& options) {
  Recovery recovery(volume, options);
  co_return co_await recovery.run();
}

}  // namespace cairn
