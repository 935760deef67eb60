// The header of an extent as it lies on disk, and where its blocks are.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>

#include "core/base/text.h"
#include "core/extents/extents.h"
#include "core/log/foreign.h"
#include "core/log/log_format.h"
#include "core/volume/volume.h"

namespace cairn {

struct ExtentHeader {
  uint32_t magic;
  uint32_t crc;  // of the bytes after this field
  uint32_t version;
  uint32_t data_bytes;
  uint64_t store;
  uint32_t file;
  uint32_t page;
  uint32_t reserved[8];
  uint32_t block_crc[kExtentBlocksMax];
};
static_assert(sizeof(ExtentHeader) == kBlockBytes);
static_assert(offsetof(ExtentHeader, store) == offsetof(FileStamp, store) &&
              offsetof(ExtentHeader, file) == offsetof(FileStamp, number));

inline constexpr uint32_t kExtentVersion = 1;
inline constexpr uint64_t kPagesPerBlock = kExtentBlockBytes / kBlockBytes;

inline FileId file_id(uint32_t number) { return {FileKind::kExtents, number}; }
inline uint64_t data_offset(ExtentStore::Place place, uint64_t data) {
  return (uint64_t{place.page} + 1) * kBlockBytes + data;
}

inline Status damage(std::string_view what, uint32_t file, uint64_t offset) {
  return absl::DataLossError(cat(what, " in ", to_string(file_id(file)), " at offset ", offset));
}

// The header that was read from `place`; FailedPrecondition if a later program wrote it.
inline StatusOr<ExtentHeader> decode_header(Bytes page, uint64_t store, ExtentStore::Place place) {
  const uint64_t offset = uint64_t{place.page} * kBlockBytes;
  ExtentHeader h;
  if (page.size() < sizeof(h)) return damage("a missing extent", place.file, offset);
  std::memcpy(&h, page.data(), sizeof(h));
  if (h.magic != kExtentMagic || !header_intact(h, store, place.file, offset)) {
    return damage("a damaged extent header", place.file, offset);
  }
  if (h.version > kExtentVersion) {
    return absl::FailedPreconditionError(cat(to_string(file_id(place.file)), " has format version ",
                                             h.version, "; this program knows versions up to ",
                                             kExtentVersion));
  }
  if (h.data_bytes > kExtentDataMax) {
    return damage("a damaged extent header", place.file, offset);
  }
  return h;
}

}  // namespace cairn
