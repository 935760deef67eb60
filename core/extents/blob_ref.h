// A blob reference: what a record holds in place of a large value. Little-endian, in place:
//
//   blob  = u64 size  piece*
//   piece = Piece (16 bytes): bytes of one extent, or a hole of zeros (file 0)
//
// Pieces share extents by reference count, so copying, composing and cutting move no bytes. A
// piece may begin at any 64 KiB block of an extent and end anywhere in it; none is empty.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn {

inline constexpr uint64_t kExtentBlockBytes = 64 << 10;  // unit of checksums in extents
inline constexpr uint32_t kExtentBlocksMax = 1008;
inline constexpr uint64_t kExtentDataMax = kExtentBlocksMax * kExtentBlockBytes;  // 63 MiB

struct Piece {
  uint32_t file = 0;         // extent file; 0: a hole
  uint32_t header_page = 0;  // where the extent begins in the file, in units of kBlockBytes
  uint32_t first_block = 0;  // first 64 KiB block of the extent that the piece uses
  uint32_t length = 0;       // bytes
  bool is_hole() const { return file == 0; }
  bool operator==(const Piece&) const = default;
};
static_assert(sizeof(Piece) == 16);

struct BlobRef {
  uint64_t size = 0;
  std::vector<Piece> pieces;

  // What its extents take, about; others may share them.
  uint64_t extent_bytes() const {
    uint64_t sum = 0;
    for (const Piece& p : pieces) sum += p.is_hole() ? 0 : p.length;
    return sum;
  }
  std::string encode() const {
    std::string out(8 + pieces.size() * sizeof(Piece), '\0');
    std::memcpy(out.data(), &size, 8);
    if (!pieces.empty()) std::memcpy(out.data() + 8, pieces.data(), pieces.size() * sizeof(Piece));
    return out;
  }
  static std::optional<BlobRef> decode(std::string_view in) {
    if (in.size() < 8 || (in.size() - 8) % sizeof(Piece) != 0) return std::nullopt;
    BlobRef ref;
    std::memcpy(&ref.size, in.data(), 8);
    ref.pieces.resize((in.size() - 8) / sizeof(Piece));
    if (!ref.pieces.empty()) std::memcpy(ref.pieces.data(), in.data() + 8, in.size() - 8);
    uint64_t sum = 0;
    for (const Piece& p : ref.pieces) {
      if (p.length == 0) return std::nullopt;
      sum += p.length;
      const uint64_t end = uint64_t{p.first_block} * kExtentBlockBytes + p.length;
      if (!p.is_hole() && end > kExtentDataMax) return std::nullopt;  // past any extent
    }
    if (sum != ref.size) return std::nullopt;
    return ref;
  }
  static uint64_t size_of(std::string_view encoded) {
    uint64_t n = 0;
    if (encoded.size() >= 8) std::memcpy(&n, encoded.data(), 8);
    return n;
  }
};

// The most pieces a blob may have: a record must fit in a frame, and memory per blob is bounded.
// 3 TB of full extents take 49,000.
inline constexpr size_t kPiecesMax = 200'000;
// The longest value: 12.0 TiB. No length that a client names beyond it is worked with.
inline constexpr uint64_t kBlobBytesMax = kPiecesMax * kExtentDataMax;

}  // namespace cairn
