// The store's first words on disk: who it is and how often it has been started.
//
//   superblock = Superblock, padded to one block, in the files superblock-0 and superblock-1
//
// The epoch grows by one with every start and is durable before anything is appended under it
// (design.md, "Epochs"). The two files are written in turn, so that one is always whole.
#pragma once

#include "core/volume.h"

namespace cairn {

struct Superblock {
  uint32_t magic;
  uint32_t crc;  // of the bytes after this field, seeded with the slot number
  uint32_t version;
  uint32_t epoch;
  uint64_t store;          // random, never 0
  uint64_t segment_bytes;  // fixed at creation
};
static_assert(sizeof(Superblock) == 32);

// Reads the newest superblock, or makes the first one with the given values if the volume is
// empty; then writes the next epoch and returns it. FailedPrecondition: a volume that holds
// something else, or a version that this program does not know.
awaitable<StatusOr<Superblock>> begin_epoch(Volume& volume, uint64_t new_store,
                                            uint64_t new_segment_bytes);

}  // namespace cairn
