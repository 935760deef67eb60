#include "core/log/foreign.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "core/log/log_format.h"

namespace cairn {

namespace {

static_assert(offsetof(SegmentHeader, store) == offsetof(FileStamp, store) &&
              offsetof(SegmentHeader, segment) == offsetof(FileStamp, number));

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kStepBytes = 1 << 20;

FileStamp stamp_of(Bytes block) {
  FileStamp stamp{};
  std::memcpy(&stamp, block.data(), std::min(block.size(), sizeof(stamp)));
  return stamp;
}

bool is_extent_of(const FileStamp& stamp, uint64_t store, uint64_t file) {
  return stamp.store == store && static_cast<uint32_t>(stamp.number) == file;
}

// What the first block that is not blank says: (block, where it lies).
template <class Says>
awaitable<Whose> first_of(Volume& volume, FileId file, Says says) {
  AlignedBuffer buffer(kStepBytes);
  for (uint64_t at = 0;; at += kStepBytes) {
    auto n = co_await volume.read(file, at, buffer.span(0, kStepBytes));
    if (!n.ok()) co_return Whose::kForeign;
    for (uint64_t in = 0; in < *n; in += kBlockBytes) {
      const Bytes block{buffer.data() + in, std::min(kBlockBytes, *n - in)};
      if (!is_blank(block)) co_return says(block, at + in);
    }
    if (*n < kStepBytes) co_return Whose::kBlank;
  }
}

}  // namespace

bool is_blank(Bytes block) {
  const Bytes sector = block.first(std::min(block.size(), kSectorBytes));
  return std::all_of(sector.begin(), sector.end(), [](std::byte b) { return b == std::byte{0}; });
}

awaitable<Whose> whose(Volume& volume, const FileInfo& file, uint64_t store) {
  const uint64_t number = file.id.number;
  const bool of_extents = file.id.kind == FileKind::kExtents;
  if (!file.is_regular || (of_extents && number >= kExtentFilesEnd)) co_return Whose::kForeign;
  const auto segment = [&](Bytes block, uint64_t at) {
    const FileStamp stamp = stamp_of(block);
    if (at == 0) {
      const bool ours =
          stamp.magic == kSegmentMagic && stamp.store == store && stamp.number == number;
      return ours ? Whose::kOurs : Whose::kForeign;
    }
    FrameHeader frame{};
    std::memcpy(&frame, block.data(), std::min(block.size(), sizeof(frame)));
    return frame.magic == kFrameMagic && frame.store == store ? Whose::kBlank : Whose::kForeign;
  };
  // The extents that it began with may have been given back: then the first one that is left tells.
  const auto extents = [&](Bytes block, uint64_t at) {
    const FileStamp stamp = stamp_of(block);
    if (stamp.magic == kExtentMagic) {
      return is_extent_of(stamp, store, number) ? Whose::kOurs : Whose::kForeign;
    }
    return at == 0 ? Whose::kForeign : Whose::kBlank;
  };
  Whose found;  // (GCC 12 destroys temporaries twice where ?: meets co_await)
  if (of_extents) {
    found = co_await first_of(volume, file.id, extents);
  } else {
    found = co_await first_of(volume, file.id, segment);
  }
  co_return found;
}

}  // namespace cairn
