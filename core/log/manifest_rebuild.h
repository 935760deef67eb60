// What the files of a store say of themselves: with it a manifest is made anew where no copy holds
// (Manifest::open), and one that is older than the files is known for that.
//
// Both copies may be older than the rest: put back from a backup, or left so by a copy that goes by
// size or was cut. What such a manifest does not name it would take for nothing, and let go. But
// the order in which things are named (manifest.h) leaves proof. A segment behind those named that
// has a frame, any segment of a later life, an extent file that was not named yet: each was made by
// a store whose manifest said more. No crash leaves such a picture, since a life's epoch is saved
// before its first segment is made, and only the oldest segments are ever struck off by a life that
// writes some.
//
// Threads: any, before the store has written anything.
#pragma once

#include <string>
#include <vector>

#include "core/log/manifest.h"

namespace cairn {

// Whether segments can be of that size: what is computed from it, and the buffers, rely on that.
bool is_segment_size(uint64_t bytes);
// Whether a segment can have that number: its LSNs, and those of the next one, are numbers.
bool is_segment_number(uint64_t number, uint64_t segment_bytes);

// True if the files are newer than `state`, the newest copy: with `repair` alone, and then `state`
// names them too, in a life that is later than any of theirs, and `notes` says what was found and
// what is not there. DataLoss: they are, and nothing is to be done about it. FailedPrecondition: a
// segment has another format.
awaitable<StatusOr<bool>> catch_up(Volume& volume, const std::vector<FileInfo>& files, bool repair,
                                   ManifestState& state, std::vector<std::string>& notes);

}  // namespace cairn
