// Law 9: a disk on which one thing was damaged, a bit flipped, a block zeroed, a file cut, emptied
// or lost, anywhere, is served right or refused by name: never wrong, and never with less than the
// newest witness proves that is durable. With --repair it opens, shows no value that was never
// written under its key, and keeps every file that it does not read. Damage to one copy of the
// manifest alone costs nothing.
//
// Likewise where both copies of the manifest are from an earlier moment, and the rest is whole. It
// is served right or refused; if for its age, --repair serves all that was durable, in a life that
// is later than any there was.
#pragma once

#include <map>
#include <vector>

#include "core/store/store.h"
#include "tests/sim/model.h"
#include "tests/sim/sim_volume.h"
#include "tests/sim/world.h"

namespace cairn::sim {

struct Believed {
  const State& state;                    // that is there
  const std::map<Lsn, Change>& changes;  // since, of which a part may be
  const Ever& ever;                      // before them
  Lsn durable;     // all before is there, whatever cannot be told from a crash
  uint32_t epoch;  // of the newest life that opened
};

using Superblocks = std::map<FileId, std::vector<std::byte>>;
Superblocks superblocks_of(const Disk& disk);

// Damages a copy of the disk, or puts the superblocks of an earlier moment in it, and opens it,
// twice. Ends the process where the law does not hold.
void open_damaged(uint64_t seed, Rng& rng, const Disk& disk, const Superblocks* older,
                  const Believed& believed, const StoreOptions& options, int64_t now_ms,
                  Seen& seen);

}  // namespace cairn::sim
