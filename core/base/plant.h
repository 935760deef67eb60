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
  kIdUsedAgain,             // a start forgets which ids of buckets were used
  kDropForgotten,           // recovery brings a dropped bucket back
  kNameNotMoved,            // the cleaner loses a bucket's name with the segment it lies in
  kColdNotListed,           // a start puts no name in order whose value stays on disk
  kPutIntoDropped,          // a write that comes too late for its bucket is taken
  kPartsLeftBehind,         // an upload ends without all of its parts
  kPartOfNoUpload,          // a part is taken though its upload has ended meanwhile
  kEvictedSilently,         // a key is evicted without a record that says so
  kExpiredSilently,         // and one that expired is removed without one
  kExpiredNotLoaded,        // recovery leaves out what is expired just then
  kCheckpointWithoutNames,  // a checkpoint tells of no buckets
  kCheckpointBeginsLate,    // a checkpoint counts from its end on and not from its beginning
  kLargeInParts,           // the frames of a large transaction do not say that they belong together
  kManifestCopyStale,      // one copy of the manifest is written once and never again
  kSegmentNotNamed,        // a segment is used before the manifest names it
  kNoExtentDirectorySync,  // a new extent file's name is not made durable
  kSharedCountedOnce,      // recovery counts an extent once, whatever refers to it
  kExtentCutShort,         // recovery takes an extent to end with the last whole block
  kRollBackForgets,        // what was given up stays done to a collection
  kExpiryForgotten,        // recovery leaves out changes of an expiry alone
  kCleanerLosesExpiry,     // the cleaner copies the expiry of the record, not the one that holds
  kExpiryToldTooSoon,      // a change of an expiry alone is told before it is durable
  kPartExpiredSilently,    // a part of a key expires without a record that says so
  kRenameNotNoted,         // the cleaner looks for a renamed collection under its old name
  kOldNameKept,            // recovery leaves a renamed collection its old name too
  kIdentitiesForgotten,    // a checkpoint tells of no collection that has an identity
  kNamedTooSoon,           // a collection's name is in the log before all of it is
  kCopyFollowsNothing,  // what is done to a collection while it is copied is not done to its copy
  kUnnamedForgotten,    // a checkpoint tells of no collection that has no name yet
  kSwapForgotten,       // a checkpoint does not tell which database holds what
  kSwapNotMoved,        // the cleaner loses what tells it with the segment it lies in
  kCheckpointByNumber,  // a checkpoint goes by databases, and misses what comes to one meanwhile
  kVersionForgotten,    // what was current is no version afterwards
  kNullVersionKept,     // a suspended bucket keeps the null version that another one replaced
  kNotPromoted,         // the newest version is removed, and the next one is not current
  kVersionsNotSaved,    // a checkpoint tells of no versions that are not current
  kLockPassedOver,      // a version that is locked is taken for good
  kLockForgotten,       // a version that is not current any more is not locked any more
  kLockShortened,       // compliance ends sooner than it did
  kEnd,
};

#ifdef CAIRN_PLANTS
extern Bug planted_bug;  // set before a store opens
inline bool planted(Bug bug) { return planted_bug == bug; }
#else
constexpr bool planted(Bug) { return false; }
#endif

}  // namespace cairn
