// The compactor: empties extent files that hold next to nothing any more. Holes give their space
// back at once, but a file with one small blob left in a gigabyte of holes stays a file, and there
// is no end of them. Extents that live are copied to where new ones go, the records that name them
// are appended again with the new places, and the file goes with its last extent.
//
// Who names an extent is not kept anywhere: all entries are looked at, for as many files at once as
// make that worth it (ExtentStore::sparse_files).
//
// Threads: run() is one coroutine on one executor; the rest from any.
//
// Invariants
//  1. A record names a copy only when the copy is durable; the old extent goes only when that
//     record is (Keyspace::bury) and no reader is left.
//  2. An extent that several values share is copied once, and shared by them after.
//  3. A key's value and version do not change.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/extents/extents.h"

namespace cairn {

class Keyspace;
class Namespace;

class Compactor {
 public:
  explicit Compactor(Keyspace& keyspace) : keyspace_(keyspace) {}

  awaitable<void> run();

  struct Stats {
    uint64_t blobs_moved = 0;
    uint64_t bytes_copied = 0;  // room of the copied extents
  };
  Stats stats() const { return {blobs_moved_.load(), bytes_copied_.load()}; }

 private:
  awaitable<Status> compact();
  bool concerns(std::string_view blob) const;
  awaitable<Status> move(std::shared_ptr<Namespace> ns, std::string key);

  Keyspace& keyspace_;

  // Owned by run().
  std::vector<uint32_t> files_;                              // to be emptied, sorted
  std::map<ExtentStore::Place, ExtentStore::Place> copies_;  // each held once

  std::atomic<uint64_t> blobs_moved_{0}, bytes_copied_{0};
};

}  // namespace cairn
