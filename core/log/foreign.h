// Whose a file is that is called like one of the store's, and that its manifest does not know: made
// or let go by the store around a crash, and then free; or put there by somebody, and then it may
// be all that is left of something.
//
// What the store makes says so itself: a segment and each extent begin with a header (log_format.h,
// core/extents/extent_format.h) that has the identity of the store and the number of the file at
// the same places. One to which no header was written yet is blank: empty, or it begins with zeros.
// Behind the zeros of a segment there is nothing then, or the frames of one of ours whose file it
// was (Volume::recycle); behind those of an extents file lies what was not finished. All else is
// foreign, what cannot be read too.
//
// Checkpoints are told by their footers (core/store/checkpoint.cc).
//
// Threads: any.
#pragma once

#include "core/volume/volume.h"

namespace cairn {

inline constexpr uint32_t kExtentMagic = 0x58454e43;     // "CNEX"
inline constexpr uint64_t kExtentFilesEnd = UINT32_MAX;  // all are below this number

// What both headers begin with.
struct FileStamp {
  uint32_t magic;
  uint32_t crc;
  uint32_t version;
  uint32_t other;
  uint64_t store;
  uint64_t number;  // of an extent: u32 file  u32 page
};
static_assert(sizeof(FileStamp) == 32);

// Whether nothing was written to the sector that a header of ours begins in, which a disk writes
// whole or not at all.
bool is_blank(Bytes block);

enum class Whose : uint8_t { kOurs, kBlank, kForeign };
// Of a segment or an extents file.
awaitable<Whose> whose(Volume& volume, const FileInfo& file, uint64_t store);

}  // namespace cairn
