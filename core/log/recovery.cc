#include "core/log/recovery.h"

#include <algorithm>
#include <map>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/foreign.h"
#include "core/log/manifest_rebuild.h"
#include "core/log/recovery_impl.h"

namespace cairn {

// Segments that were made and never named: at most one of each life, until one starts well. A blank
// file with a higher number was made by somebody else, and would have the log go on from there.
static constexpr uint64_t kUnnamedMax = 1000;

awaitable<void> run_all(std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs) {
  if (jobs.empty()) co_return;
  Tasks tasks;
  for (auto& [on, job] : jobs) tasks.spawn(on, "recovery", job());
  co_await tasks.ended();
}

std::string Recovery::name(SegmentId segment) {
  return cat("segment ", segment.value(), " (", to_string(file(segment)), ")");
}

awaitable<StatusOr<RecoveredLog>> Recovery::run() {
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
  passed_.resize(segments_.size());
  folds_ = o_.crowded && !o_.repair && o_.lost.empty();
  std::vector<std::pair<Executor, std::function<awaitable<void>()>>> jobs;
  for (const Executor& e : o_.executors) jobs.emplace_back(e, [this] { return work(); });
  co_await run_all(std::move(jobs));
  Status joined = check_scans();
  if (joined.ok()) joined = co_await join_rest();
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

Status Recovery::lose(std::vector<LsnRange>& lost, uint64_t from, uint64_t to,
                      const std::string& what) {
  if (!o_.repair) {
    return absl::DataLossError(
        cat(what, ": up to ", to - from, " bytes of records that were durable cannot be read; ",
            "nothing was changed; --repair goes on without them, keeps the files that it does "
            "not read, and lists what is lost"));
  }
  lost.push_back({from, to});
  return absl::OkStatus();
}

Status Recovery::lose(uint64_t from, uint64_t to, const std::string& what) {
  Status status = lose(log_.lost, from, to, what);
  if (status.ok()) log_.notes.push_back(cat(what, ": up to ", to - from, " bytes are lost"));
  return status;
}

awaitable<Status> Recovery::find_segments() {
  auto files = co_await volume_.list();
  if (!files.ok()) co_return files.status();
  std::map<SegmentId, FileInfo> there;
  for (const FileInfo& f : *files) {
    if (f.id.kind == FileKind::kSegment) there.emplace(SegmentId(f.id.number), f);
  }
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
    if (file_of == there.end() || !file_of->second.is_regular) {
      if (known_empty(base)) continue;
      Status lost = lose(base, named.end != 0 ? named.end : base + o_.segment_bytes,
                         cat(name(id), " is missing"));
      if (!lost.ok()) co_return lost;
      continue;
    }
    const uint64_t size = file_of->second.size_bytes;
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
  // Not named: made and not used, or cleaned. Each life makes one at a time.
  const SegmentId beyond(log_.next_segment.value() + kUnnamedMax);
  for (auto& [id, info] : there) {
    Whose whose = Whose::kForeign;
    if (is_segment_number(id.value(), o_.segment_bytes)) {
      whose = co_await cairn::whose(volume_, info, o_.store);
    }
    if (whose == Whose::kForeign || (whose == Whose::kBlank && id >= beyond)) {
      log_.foreign.push_back(info.id);
      if (id >= beyond) continue;
    } else {
      log_.unused.push_back(id);
    }
    // A rebuilt manifest may not know that it was ours, with a header that is damaged now.
    log_.next_segment = std::max(log_.next_segment, id.next());
  }
  co_return absl::OkStatus();
}

awaitable<Status> Recovery::look_at(Segment& segment) {
  AlignedBuffer block(kBlockBytes);
  const SegmentId id = segment.place.segment;
  auto n = co_await read_some(id, 0, block.span(0, kBlockBytes));
  if (!n.ok()) co_return n.status();
  SegmentHeader h{};
  if (*n == kBlockBytes) std::memcpy(&h, block.data(), sizeof(h));
  segment.header_intact = h.magic == kSegmentMagic && h.store == o_.store &&
                          h.segment == id.value() && h.segment_bytes == o_.segment_bytes &&
                          header_intact(h, o_.store, id.value(), 0);
  if (segment.header_intact && !reads_version(h.version)) {
    co_return absl::FailedPreconditionError(cat(to_string(file(id)), " has format version ",
                                                h.version, "; this program reads versions ",
                                                kLogOldest, " to ", kLogVersion));
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
                   cat("segments between ", name(segments_.back().place.segment), " and ", name(id),
                       " are missing"));
  }
  if (segments_.back().end == 0 && first->previous_end > before &&
      first->previous_end <= before + o_.segment_bytes) {
    segments_.back().end = first->previous_end;
  }
  co_return absl::OkStatus();
}

Status Recovery::check_scans() {
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
    const char* what = unread_headers_.contains(base)
                           ? " has a header that cannot be read, at offset 0"
                           : " has a damaged header at offset 0";
    if (scans_[i].frames == 0 && from_ <= base && !known_empty(base) && lost_before(base) == 0) {
      Status lost =
          lose(base, base + o_.segment_bytes, cat(name(s.place.segment), what, " and no frame"));
      if (!lost.ok()) return lost;
      continue;
    }
    log_.notes.push_back(cat(name(s.place.segment), what, "; the manifest says the same"));
  }
  return absl::OkStatus();
}

// Its header was durable before it was named: one that has another was put in its place.
void Recovery::drop_last() {
  const Segment& last = segments_.back();
  if (last.header_intact) {
    log_.unused.push_back(last.place.segment);
  } else {
    log_.foreign.push_back(file(last.place.segment));
  }
  segments_.pop_back();
  scans_.pop_back();
}

void Recovery::drop_unused() {
  while (!scans_.empty() && scans_.back().frames == 0 && !scans_.back().skipped &&
         segments_.back().place.base() >= from_) {
    drop_last();
  }
}

void Recovery::drop_empty() {
  while (!scans_.empty() && scans_.back().records == 0 && !scans_.back().skipped &&
         segments_.back().place.base() >= from_) {
    drop_last();
  }
}

Status Recovery::check_end() {
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

uint64_t Recovery::lost_before(uint64_t lsn) const {
  uint64_t end = 0;
  for (const auto* ranges : {&o_.lost, &log_.lost}) {
    for (const LsnRange& r : *ranges) {
      if (r.from <= lsn && lsn < r.to) end = std::max(end, r.to);
    }
  }
  return end;
}

awaitable<StatusOr<RecoveredLog>> recover_log(Volume& volume, const RecoveryOptions& options) {
  Recovery recovery(volume, options);
  co_return co_await recovery.run();
}

}  // namespace cairn
