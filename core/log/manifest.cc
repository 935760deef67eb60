#include "core/log/manifest.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/log_format.h"
#include "core/log/manifest_rebuild.h"

namespace cairn {

namespace {

constexpr uint64_t kReserveBytes = 32
                                   << 10;  // for some 1,300 segments, so that a full disk is none
constexpr uint64_t kBytesMax = 64 << 20;   // of a copy that is believed
constexpr uint32_t kFilesAhead = 8;        // extent files named at once

FileId copy_file(uint64_t copy) { return {FileKind::kSuperblock, copy}; }

// What versions 1 to 3 began with.
struct OldHeader {
  uint32_t magic, crc, version, epoch;
  uint64_t store, segment_bytes;
};

// Whether a manifest can say this: segments in order, each with its end in itself.
bool is_possible(const ManifestState& s) {
  if (s.store == 0 || !is_segment_size(s.segment_bytes) || s.next_extent_file == 0) return false;
  uint64_t next = 0;
  for (const ManifestSegment& segment : s.segments) {
    if (segment.number < next || !is_segment_number(segment.number, s.segment_bytes)) return false;
    const uint64_t base = segment.number * s.segment_bytes;
    if (segment.end != 0 && (segment.end <= base || segment.end - base > s.segment_bytes)) {
      return false;
    }
    next = segment.number + 1;
  }
  return std::all_of(s.lost.begin(), s.lost.end(),
                     [](const LsnRange& range) { return range.from <= range.to; });
}

uint32_t checksum(Bytes all, uint64_t copy) {
  return crc32c(place_seed(0, copy, 0), all.subspan(8));
}

}  // namespace

bool is_segment_size(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= 4 * kBlockBytes && bytes <= uint64_t{1} << 32;
}

bool is_segment_number(uint64_t number, uint64_t segment_bytes) {
  return number < kLsnEnd / segment_bytes - 1;
}

// ---- one copy ----

std::string ManifestState::encode(uint64_t copy) const {
  const ManifestHeader h{kManifestMagic,
                         0,
                         kManifestVersion,
                         epoch,
                         store,
                         segment_bytes,
                         generation,
                         proven,
                         checkpoint,
                         next_namespace,
                         next_extent_file,
                         static_cast<uint32_t>(segments.size()),
                         static_cast<uint32_t>(lost.size()),
                         clean_stop ? kCleanStop : 0,
                         believed_minutes};
  std::string out(reinterpret_cast<const char*>(&h), sizeof(h));
  if (!segments.empty()) {
    out.append(reinterpret_cast<const char*>(segments.data()),
               segments.size() * sizeof(ManifestSegment));
  }
  if (!lost.empty()) {
    out.append(reinterpret_cast<const char*>(lost.data()), lost.size() * sizeof(LsnRange));
  }
  const uint32_t crc = checksum(as_bytes(out), copy);
  std::memcpy(out.data() + 4, &crc, 4);
  return out;
}

std::optional<ManifestState> ManifestState::decode(Bytes bytes, uint64_t copy,
                                                   uint32_t* other_version) {
  OldHeader old{};
  if (bytes.size() >= sizeof(old)) std::memcpy(&old, bytes.data(), sizeof(old));
  if (old.magic == kManifestMagic && header_intact(old, 0, copy, 0)) {
    if (other_version != nullptr) *other_version = old.version;
    return std::nullopt;
  }
  ManifestHeader h;
  if (bytes.size() < sizeof(h)) return std::nullopt;
  std::memcpy(&h, bytes.data(), sizeof(h));
  const uint64_t size = sizeof(h) + uint64_t{h.segments} * sizeof(ManifestSegment) +
                        uint64_t{h.lost} * sizeof(LsnRange);
  if (h.magic != kManifestMagic || size > bytes.size() ||
      checksum(bytes.first(size), copy) != h.crc) {
    return std::nullopt;
  }
  if (h.version != kManifestVersion) {
    if (other_version != nullptr) *other_version = h.version;
    return std::nullopt;
  }
  ManifestState s;
  s.epoch = h.epoch;
  s.store = h.store;
  s.segment_bytes = h.segment_bytes;
  s.generation = h.generation;
  s.proven = h.proven;
  s.checkpoint = h.checkpoint;
  s.next_namespace = h.next_namespace;
  s.next_extent_file = h.next_extent_file;
  s.clean_stop = h.flags & kCleanStop;
  s.believed_minutes = h.believed_minutes;
  s.segments.resize(h.segments);
  s.lost.resize(h.lost);
  const std::byte* p = bytes.data() + sizeof(h);
  if (h.segments > 0) std::memcpy(s.segments.data(), p, h.segments * sizeof(ManifestSegment));
  p += h.segments * sizeof(ManifestSegment);
  if (h.lost > 0) std::memcpy(s.lost.data(), p, h.lost * sizeof(LsnRange));
  if (!is_possible(s)) return std::nullopt;
  return s;
}

// ---- opening ----

namespace {

struct Copies {
  std::optional<ManifestState> newest;
  uint64_t newest_copy = 0;
  std::vector<std::string> damaged;  // what is wrong with those that do not hold
  bool exists[2] = {false, false};
  bool in_the_way[2] = {false, false};
  int written = 0;  // that held something once
};

awaitable<StatusOr<Copies>> read_copies(Volume& volume, const std::vector<FileInfo>& files) {
  Copies found;
  for (uint64_t copy = 0; copy < 2; copy++) {
    auto file = std::find_if(files.begin(), files.end(),
                             [&](const FileInfo& f) { return f.id == copy_file(copy); });
    const std::string name = to_string(copy_file(copy));
    if (file == files.end()) {
      found.damaged.push_back(cat(name, " is missing"));
      continue;
    }
    if (!file->is_regular) {
      found.in_the_way[copy] = true;
      found.damaged.push_back(cat(name, " is not a file"));
      continue;
    }
    found.exists[copy] = true;
    AlignedBuffer buffer(
        std::clamp(round_up(file->size_bytes, kBlockBytes), kBlockBytes, kBytesMax));
    auto n = co_await volume.read(copy_file(copy), 0, buffer.span(0, buffer.size()));
    if (!n.ok()) {
      found.damaged.push_back(cat(name, " cannot be read: ", n.status().message()));
      continue;
    }
    const Bytes bytes{buffer.data(), *n};
    uint32_t other_version = 0;
    auto state = ManifestState::decode(bytes, copy, &other_version);
    uint32_t magic = 0;
    if (*n >= 4) std::memcpy(&magic, bytes.data(), 4);
    found.written += magic == kManifestMagic;
    if (state) {
      if (!found.newest || std::pair(state->generation, state->epoch) >
                               std::pair(found.newest->generation, found.newest->epoch)) {
        found.newest = state;
        found.newest_copy = copy;
      }
    } else if (other_version != 0) {
      co_return absl::FailedPreconditionError(cat(name, " has format version ", other_version,
                                                  "; this program reads version ",
                                                  kManifestVersion));
    } else {
      found.damaged.push_back(cat(name, " is damaged at offset 0"));
    }
  }
  co_return found;
}

}  // namespace

awaitable<Status> Manifest::open(uint64_t new_store, uint64_t new_segment_bytes, bool repair,
                                 std::vector<std::string>& notes) {
  auto files = co_await volume_.list();
  if (!files.ok()) co_return files.status();
  auto copies = co_await read_copies(volume_, *files);
  if (!copies.ok()) co_return copies.status();
  size_t others = 0;  // a new store makes its manifest before anything else
  for (const FileInfo& f : *files) others += f.id.kind != FileKind::kSuperblock;
  if (copies->newest) {
    for (auto& what : copies->damaged) notes.push_back(cat(what, "; its copy is whole"));
    auto taken = co_await catch_up(volume_, *files, repair, *copies->newest, notes);
    if (!taken.ok()) co_return taken.status();
    rebuilt_ = *taken;
    change([&](ManifestState& s) { s = *copies->newest; });
  } else if (others == 0 && copies->written < 2) {
    change([&](ManifestState& s) {
      s.store = new_store;
      s.segment_bytes = new_segment_bytes;
    });
  } else if (!repair) {
    co_return absl::DataLossError(
        cat(copies->damaged[0], ", ", copies->damaged[1], ", and there are ", others,
            " files of segments, extents and checkpoints: which of them belong to the store, and "
            "how far its log was durable, is not known; nothing was touched. --repair takes what "
            "the segments say of themselves, and loses what was in segments that are missing"));
  } else {
    Status made = co_await rebuild(*files);
    if (!made.ok()) co_return made;
    notes.push_back(cat(copies->damaged[0], ", ", copies->damaged[1],
                        ": made anew from the headers of ", state().segments.size(), " segments"));
  }
  change([&](ManifestState& s) {
    if (!planted(Bug::kEpochUsedTwice) || s.epoch == 0) s.epoch++;
    was_clean_ = s.clean_stop;
    s.clean_stop = false;
  });
  for (uint64_t copy = 0; copy < 2; copy++) {
    exists_[copy] = copies->exists[copy];
    in_the_way_[copy] = copies->in_the_way[copy];
    if (in_the_way_[copy]) notes.push_back(cat(to_string(copy_file(copy)), " was set aside"));
  }
  first_ = copies->newest ? 1 - copies->newest_copy : 0;
  co_return absl::OkStatus();
}

// ---- changes ----

ManifestState Manifest::state() const {
  MutexLock lock(mutex_);
  return state_;
}

void Manifest::note_proven(Lsn lsn) {
  change([&](ManifestState& s) { s.proven = std::max(s.proven, lsn.value()); });
}

void Manifest::note_next_namespace(uint32_t next) {
  change([&](ManifestState& s) { s.next_namespace = std::max(s.next_namespace, next); });
}

void Manifest::name_segment(SegmentId segment, uint32_t epoch) {
  change([&](ManifestState& s) {
    if (!s.segments.empty() && s.segments.back().number == segment.value()) return;
    s.segments.push_back({segment.value(), 0, epoch, 0});
  });
}

void Manifest::seal(SegmentId segment, Lsn end) {
  change([&](ManifestState& s) {
    for (auto& named : s.segments) {
      if (named.number == segment.value()) named.end = end.value();
    }
  });
}

void Manifest::strike_segment(SegmentId segment) {
  change([&](ManifestState& s) {
    std::erase_if(s.segments, [&](auto& named) { return named.number == segment.value(); });
    const uint64_t first =
        s.segments.empty() ? UINT64_MAX : s.segments.front().number * s.segment_bytes;
    std::erase_if(s.lost, [&](auto& range) { return range.to <= first; });
  });
}

// ---- saving ----

awaitable<Status> Manifest::save() {
  uint64_t need = 0;
  for (;;) {
    bool mine = false;
    {
      MutexLock lock(mutex_);
      if (!failed_.ok()) co_return failed_;
      if (need == 0) need = begun_ + 1;
      if (done_ >= need) co_return absl::OkStatus();
      if (!saving_) {
        saving_ = mine = true;
        begun_++;
        state_.generation++;
      }
    }
    if (!mine) {
      co_await saved_.until([&] {
        MutexLock lock(mutex_);
        return !saving_;
      });
      continue;
    }
    Status wrote = co_await write();
    MutexLock lock(mutex_);
    saving_ = false;
    if (wrote.ok()) done_ = begun_;
    saved_.notify();
    // For want of space or of a descriptor nothing was begun, or what was is written anew.
    const bool passes = absl::IsResourceExhausted(wrote) || absl::IsUnavailable(wrote);
    if (!wrote.ok() && !passes) failed_ = wrote;
    if (!wrote.ok()) co_return wrote;
  }
}

awaitable<Status> Manifest::write() {
  const ManifestState now = state();
  AlignedBuffer buffer;
  const bool made = !exists_[0] || !exists_[1];
  // The one that may not be whole comes first: the other is all that a crash leaves meanwhile.
  for (const uint64_t copy : {first_, 1 - first_}) {
    first_ = copy;
    if (in_the_way_[copy]) {
      Status kept = co_await volume_.keep_apart(copy_file(copy));
      if (!kept.ok()) co_return kept;
      in_the_way_[copy] = false;
    }
    if (!exists_[copy]) {
      Status created = co_await volume_.create(copy_file(copy), kReserveBytes);
      if (!created.ok()) co_return created;
      exists_[copy] = true;
    } else if (copy == 1 && planted(Bug::kManifestCopyStale)) {
      break;
    }
    const std::string bytes = now.encode(copy);
    const uint64_t length = round_up(bytes.size(), kBlockBytes);
    if (buffer.size() < length) buffer = AlignedBuffer(length);
    std::memset(buffer.data(), 0, length);
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    Status wrote =
        co_await volume_.write(copy_file(copy), 0, {buffer.data(), length}, WriteMode::kDurable);
    if (!wrote.ok()) co_return wrote;
  }
  first_ = 1 - first_;
  if (!made) co_return absl::OkStatus();
  co_return co_await volume_.sync_directory();
}

awaitable<Status> Manifest::name_extent_file(uint32_t number) {
  {
    MutexLock lock(mutex_);
    if (!failed_.ok()) co_return failed_;
    if (number < named_extent_files_) co_return absl::OkStatus();
    state_.next_extent_file = std::max(state_.next_extent_file, number + kFilesAhead);
  }
  Status saved = co_await save();
  if (!saved.ok()) co_return saved;
  MutexLock lock(mutex_);
  named_extent_files_ = std::max(named_extent_files_, number + 1);
  co_return saved;
}

}  // namespace cairn
