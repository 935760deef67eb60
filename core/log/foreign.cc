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

// The extents that it began with may have been given back: then the first one that is left tells.
// The bytes of one that was not finished have no header before them.
awaitable<bool> is_foreign_extents(Volume& volume, FileId file, uint64_t store) {
  if (file.number >= kExtentFilesEnd) co_return true;
  AlignedBuffer buffer(kStepBytes);
  for (uint64_t at = 0;; at += kStepBytes) {
    auto n = co_await volume.read(file, at, buffer.span(0, kStepBytes));
    if (!n.ok()) co_return true;
    for (uint64_t in = 0; in < *n; in += kBlockBytes) {
      const Bytes block{buffer.data() + in, std::min(kBlockBytes, *n - in)};
      if (is_blank(block)) continue;
      const FileStamp stamp = stamp_of(block);
      if (stamp.magic == kExtentMagic) co_return !is_extent_of(stamp, store, file.number);
      co_return at + in == 0;
    }
    if (*n < kStepBytes) co_return false;
  }
}

}  // namespace

bool is_blank(Bytes block) {
  const Bytes sector = block.first(std::min(block.size(), kSectorBytes));
  return std::all_of(sector.begin(), sector.end(), [](std::byte b) { return b == std::byte{0}; });
}

awaitable<bool> is_foreign(Volume& volume, const FileInfo& file, uint64_t store) {
  if (!file.is_regular) co_return true;
  if (file.id.kind == FileKind::kExtents) {
    const bool foreign = co_await is_foreign_extents(volume, file.id, store);
    co_return foreign;
  }
  AlignedBuffer buffer(kBlockBytes);
  auto n = co_await volume.read(file.id, 0, buffer.span(0, kBlockBytes));
  if (!n.ok()) co_return true;
  const Bytes block{buffer.data(), *n};
  const FileStamp stamp = stamp_of(block);
  co_return !is_blank(block) &&
      (stamp.magic != kSegmentMagic || stamp.store != store || stamp.number != file.id.number);
}

}  // namespace cairn
