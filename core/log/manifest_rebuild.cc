#include "core/log/manifest_rebuild.h"

#include <algorithm>
#include <cstring>

#include "core/base/text.h"
#include "core/log/foreign.h"
#include "core/log/log_format.h"

namespace cairn {

namespace {

constexpr uint32_t kLivesUnseen = 1000;  // may have begun since, and left no segment

std::string name_of(uint64_t segment) { return to_string({FileKind::kSegment, segment}); }

// The header of a segment, if it is whole and in its place, of whatever store; else nothing but 0.
awaitable<SegmentHeader> read_header(Volume& volume, FileId file) {
  AlignedBuffer block(kBlockBytes);
  SegmentHeader h{};
  auto n = co_await volume.read(file, 0, block.span(0, kBlockBytes));
  if (n.ok() && *n == kBlockBytes) std::memcpy(&h, block.data(), sizeof(h));
  if (h.magic != kSegmentMagic || h.segment != file.number ||
      !header_intact(h, h.store, h.segment, 0) || !is_segment_size(h.segment_bytes) ||
      !is_segment_number(h.segment, h.segment_bytes)) {
    h = {};
  }
  co_return h;
}

Status check_version(FileId file, const SegmentHeader& h) {
  if (reads_version(h.version)) return absl::OkStatus();
  return absl::FailedPreconditionError(cat(to_string(file), " has format version ", h.version,
                                           "; this program reads versions ", kLogOldest, " to ",
                                           kLogVersion));
}

// The life that wrote the first frame of a segment, which says so itself; 0: there is none.
awaitable<uint32_t> first_frame_epoch(Volume& volume, SegmentPlace place) {
  AlignedBuffer block(kBlockBytes);
  const FileId file{FileKind::kSegment, place.segment.value()};
  auto n = co_await volume.read(file, kBlockBytes, block.span(0, kBlockBytes));
  if (!n.ok() || *n < kBlockBytes) co_return 0;
  FrameHeader h{};
  std::memcpy(&h, block.data(), sizeof(h));
  place.epoch = h.epoch;
  const auto frame = decode_frame_header(place, kBlockBytes, {block.data(), kBlockBytes});
  co_return frame ? frame->epoch : 0;
}

// What lies there and a manifest does not know.
struct Newer {
  std::string proof;                      // that it is older; empty: nothing says so
  std::vector<ManifestSegment> segments;  // of its life or later ones, in order
  uint32_t epoch = 0;                     // the newest
  uint64_t extent_files = 0;              // all are below this number
};

awaitable<Status> look_at_segment(Volume& volume, const ManifestState& known, FileId file,
                                  Newer& newer) {
  const auto named =
      std::lower_bound(known.segments.begin(), known.segments.end(), file.number,
                       [](const ManifestSegment& s, uint64_t number) { return s.number < number; });
  const bool is_named = named != known.segments.end() && named->number == file.number;
  const uint64_t first = known.segments.empty() ? 0 : known.segments.front().number;
  const uint64_t behind = known.segments.empty() ? 0 : known.segments.back().number + 1;
  // One that was sealed is no other's; before the first, what is not named was cleaned.
  if (is_named ? named->end != 0 : file.number < first) co_return absl::OkStatus();
  if (!is_segment_number(file.number, known.segment_bytes)) co_return absl::OkStatus();
  const SegmentHeader h = co_await read_header(volume, file);
  const bool mine = h.store == known.store && h.segment_bytes == known.segment_bytes;
  if (mine) {
    Status version = check_version(file, h);
    if (!version.ok()) co_return version;
  }
  uint32_t epoch = mine ? h.epoch : 0, frame = 0;
  if (is_named && epoch <= known.epoch) co_return absl::OkStatus();
  if (!is_named) {
    const SegmentPlace place{known.store, SegmentId(file.number), known.segment_bytes, 0};
    frame = co_await first_frame_epoch(volume, place);
    if (!mine) epoch = frame;
  }
  // An earlier life's is what a start found to hold nothing, and could not remove any more.
  if (epoch == 0 || epoch < known.epoch) co_return absl::OkStatus();
  // Nor is what its own life let go between those that it has; a later one may have taken that.
  if (!is_named && file.number < behind && epoch == known.epoch) co_return absl::OkStatus();
  newer.segments.push_back({file.number, 0, epoch, 0});
  newer.epoch = std::max(newer.epoch, epoch);
  if (!newer.proof.empty()) co_return absl::OkStatus();
  if (epoch > known.epoch) {
    newer.proof = cat(to_string(file), ", which life ", epoch,
                      " of the store made, and they end with life ", known.epoch);
  } else if (frame == epoch) {
    newer.proof = cat(to_string(file), ", which holds records and is not named in them");
  }
  co_return absl::OkStatus();
}

awaitable<StatusOr<Newer>> find_newer(Volume& volume, const ManifestState& known,
                                      const std::vector<FileInfo>& files) {
  Newer newer;
  std::vector<FileId> segments;  // in order, so that the first is named
  for (const FileInfo& f : files) {
    if (f.id.kind == FileKind::kSegment && f.is_regular) segments.push_back(f.id);
  }
  std::sort(segments.begin(), segments.end());
  for (const FileId& file : segments) {
    Status looked = co_await look_at_segment(volume, known, file, newer);
    if (!looked.ok()) co_return looked;
  }
  for (const FileInfo& f : files) {
    if (f.id.kind != FileKind::kExtents || f.id.number < known.next_extent_file) continue;
    const Whose whose = co_await cairn::whose(volume, f, known.store);
    if (whose != Whose::kOurs) continue;
    newer.extent_files = std::max(newer.extent_files, f.id.number + 1);
    if (newer.proof.empty()) newer.proof = cat(to_string(f.id), ", which is not named in them");
  }
  co_return newer;
}

// The segments that a manifest names, with those that it does not know. `note` gets what is said of
// the first ones that are not there: an old manifest cannot tell whether the cleaner was done with
// them. A gap further on is for recovery to find.
std::vector<ManifestSegment> join(const ManifestState& known, const Newer& newer,
                                  const std::vector<FileInfo>& files, std::string& note) {
  std::vector<ManifestSegment> all = newer.segments;
  for (const ManifestSegment& s : known.segments) {
    const bool again =
        std::any_of(all.begin(), all.end(), [&](auto& other) { return other.number == s.number; });
    if (!again) all.push_back(s);
  }
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.number < b.number; });
  const auto there = std::find_if(all.begin(), all.end(), [&](const ManifestSegment& s) {
    const FileId id{FileKind::kSegment, s.number};
    return std::any_of(files.begin(), files.end(), [&](auto& f) { return f.id == id; });
  });
  if (there == all.begin() || there == all.end()) return all;
  note =
      cat("what they name before ", name_of(there->number), ", from ", name_of(all.front().number),
          " on, is not there: it was cleaned since, or up to ",
          (there->number - all.front().number) * known.segment_bytes, " bytes of records are lost");
  all.erase(all.begin(), there);
  return all;
}

}  // namespace

// From the headers of the segments: each says whose it is and which life wrote it.
awaitable<Status> Manifest::rebuild(const std::vector<FileInfo>& files) {
  ManifestState s;
  for (const FileInfo& f : files) {
    if (f.id.kind == FileKind::kExtents && f.id.number < kExtentFilesEnd) {
      s.next_extent_file = std::max(s.next_extent_file, static_cast<uint32_t>(f.id.number + 1));
    }
    if (f.id.kind != FileKind::kSegment || !f.is_regular) continue;
    const SegmentHeader h = co_await read_header(volume_, f.id);
    const bool first = s.store == 0;
    if (h.magic == 0 || (!first && (h.store != s.store || h.segment_bytes != s.segment_bytes))) {
      continue;
    }
    Status version = check_version(f.id, h);
    if (!version.ok()) co_return version;
    s.store = h.store;
    s.segment_bytes = h.segment_bytes;
    s.epoch = std::max(s.epoch, h.epoch);
    s.segments.push_back({h.segment, 0, h.epoch, 0});
  }
  if (s.store == 0) {
    co_return absl::DataLossError(
        "no segment has an intact header: nothing says what the files of this directory are, and "
        "--repair cannot go on; they were left as they are");
  }
  std::sort(s.segments.begin(), s.segments.end(),
            [](auto& a, auto& b) { return a.number < b.number; });
  s.epoch += kLivesUnseen;
  rebuilt_ = true;
  change([&](ManifestState& state) { state = s; });
  co_return absl::OkStatus();
}

awaitable<StatusOr<bool>> catch_up(Volume& volume, const std::vector<FileInfo>& files, bool repair,
                                   ManifestState& state, std::vector<std::string>& notes) {
  auto newer = co_await find_newer(volume, state, files);
  if (!newer.ok()) co_return newer.status();
  if (newer->proof.empty()) co_return false;
  std::string gone;
  std::vector<ManifestSegment> segments = join(state, *newer, files, gone);
  std::string what = cat("superblock-0 and superblock-1 are older than ", newer->proof);
  if (const uint64_t count = newer->segments.size(); count > 0) {
    append(what, "; behind what they know ", count == 1 ? "lies 1 segment" : "lie ");
    if (count > 1) append(what, count, " segments, to ", name_of(newer->segments.back().number));
    append(what, count > 1 ? ", of up to " : " of up to ", count * state.segment_bytes, " bytes");
  }
  if (!gone.empty()) append(what, "; ", gone);
  if (!repair) {
    co_return absl::DataLossError(
        cat(what,
            "; nothing was changed. Put back the newest superblocks, if they are anywhere; "
            "--repair goes on with all segments that are there, which say themselves what they "
            "are, and lists what is lost"));
  }
  notes.push_back(cat(what, "; all that is there was taken in"));
  state.segments = std::move(segments);
  state.epoch = std::max(state.epoch, newer->epoch) + kLivesUnseen;
  state.next_extent_file =
      std::max(state.next_extent_file, static_cast<uint32_t>(newer->extent_files));
  state.clean_stop = false;
  co_return true;
}

}  // namespace cairn
