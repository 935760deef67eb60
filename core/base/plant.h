// Planted bugs: the simulation must catch every one of them (tests/sim/README.md). They exist only
// in the simulation's own build of the core; in any other, planted() is false at compile time.
#pragma once

namespace cairn {

enum class Bug {
  kNone,
  kSkippedSync,          // the log says durable without a sync
  kAnswerBeforeSync,     // the log says durable before it writes
  kSealBeforeSync,       // a new segment is opened while the one before it is not durable
  kNoDirectorySync,      // a new segment's name is not made durable
  kSkippedChecksum,      // frames and records are believed as they are read
  kEpochUsedTwice,       // a start does not take a new epoch
  kBatchInParts,         // a batch is appended record by record
  kUnfinishedServed,     // recovery applies a transaction whose end was not written
  kTombstoneForgotten,   // recovery applies an older put after a delete
  kFlushForgotten,       // recovery brings flushed keys back
  kBlobBeforeBytes,      // a blob's record does not wait for its extents
  kReaderNotCounted,     // a reader holds no reference: holes are punched under it
  kBlobFreedTooSoon,     // extents go before the deletion is durable
  kBlobMovedSilently,    // the compactor does not say in the log where it put a blob
  kFreedBeforeCopies,    // the cleaner frees a segment before its copies are durable
  kCleanerDropsNewest,   // the cleaner takes a live record for dead, now and then
  kCleanerLosesVersion,  // a copy does not say under which LSN its value was written
  kRemovedBeforeStruck,  // the cleaner removes a segment that the manifest still names
  kReserveGivenAway,     // puts take the cleaner's reserve
  kFaultTooSoon,         // a value is read back before the copy the cleaner made of it is written
  kCollectionNotRewritten,  // the cleaner drops the operations that made a collection
  kOperationsUnsorted,      // recovery applies operations as it meets them
  kCheckpointTrustsTail,    // a checkpoint tells of records that are not durable
  kCheckpointOutlivesLog,   // a checkpoint counts although segments after it were cleaned away
  kAbsenceForgotten,        // that a key is gone is told before it is durable
  kWishForgotten,           // a value is told before it is durable
  kEnd,
};

#ifdef CAIRN_PLANTS
extern Bug planted_bug;  // set before a store opens
inline bool planted(Bug bug) { return planted_bug == bug; }
#else
constexpr bool planted(Bug) { return false; }
#endif

}  // namespace cairn
