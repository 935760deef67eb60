// One seed of the simulation: a store and its clients over a simulated volume, life after life,
// each cut off at a call to the volume or closed, and what must hold then.
//
// Laws checked after every crash:
//   1. The recovered state is a prefix of the log order: all changes below the proven end, whole,
//      and none after it. No record of an earlier life comes back.
//   2. Everything acknowledged as durable is below the proven end; so is what an answer rests on
//      that waited as it has to, also the absence of a key.
//   3. Every value reads back byte for byte, blobs through their extents.
//   4. Recovery succeeds: crashes alone never look like damage, nor like files of somebody else.
//   5. Left alone, the cleaner brings the log down to its multiple of what lives in it.
//   6. On a full volume keys can still be deleted, and then puts are taken again; the log does not
//      fail for want of space.
//   7. Every start takes a larger epoch.
//   8. The same seed makes the same calls to the volume in the same order.
//   9. What damage costs: see damage.h.
//  10. The buckets are those that were made and not dropped, and none has the id of another one, be
//      it long gone. What is set for one, or for a database, is what was set last.
//  11. A listing names what is there, in order, right after a crash as later.
//  12. Completing, aborting and dropping a bucket are whole: what is swept up at a start is what
//      nobody can reach, and after that no part is without its upload and no upload without its
//      bucket.
//  13. A clock that goes back brings nothing back: a key, or a field of a hash, that expired and is
//      gone stays so. What is due is seen by nobody, though it is not gone yet.
//  14. Who follows the log sees all that is durable, in order, and nothing else.
//  15. Of a bucket that keeps versions, each key has those that were made of it and not removed,
//      delete markers among them, in the order in which they were made.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace cairn::sim {

// What the seeds ran into: a count of 0 would mean that something is not tested.
struct Seen {
  uint64_t crashes = 0, crashes_in_recovery = 0, operations = 0, cleaned = 0, copied_bytes = 0,
           refused_full = 0, written_after_full = 0, relieved = 0, calm = 0, spilled = 0,
           value_reads = 0, cold_expiries = 0, hash_changes = 0, other_changes = 0, checkpoints = 0,
           starts_from_checkpoint = 0, blobs_moved = 0, given_up = 0, spanning = 0, rested = 0,
           unread = 0, closed_under_load = 0, damages = 0, damages_refused = 0, values_refused = 0,
           aged = 0, repaired = 0, expired = 0, lapsed = 0, evicted = 0, clocks_back = 0, swaps = 0,
           buckets_made = 0, buckets_dropped = 0, tags_set = 0, bucket_gone = 0, listings = 0,
           uploads = 0, parts = 0, uploads_completed = 0, uploads_aborted = 0, uploads_dropped = 0,
           swept = 0, followed = 0, renamed = 0, renamed_whole = 0, copied = 0, copy_turns = 0,
           long_elements = 0, versions = 0, versions_taken = 0, versionings = 0, versions_read = 0,
           versions_fetched = 0, locks = 0, locks_held = 0;
};
inline constexpr std::pair<uint64_t Seen::*, const char*> kSeen[] = {
    {&Seen::crashes, "crashes"},
    {&Seen::crashes_in_recovery, "of them in recovery"},
    {&Seen::operations, "operations"},
    {&Seen::cleaned, "segments cleaned"},
    {&Seen::copied_bytes, "bytes copied by the cleaner"},
    {&Seen::refused_full, "writes refused by a full volume"},
    {&Seen::written_after_full, "taken after such"},
    {&Seen::relieved, "full volumes relieved"},
    {&Seen::calm, "logs seen at their multiple"},
    {&Seen::spilled, "values that left memory"},
    {&Seen::value_reads, "values read back"},
    {&Seen::cold_expiries, "expiries changed of values on disk"},
    {&Seen::hash_changes, "changes of hashes"},
    {&Seen::other_changes, "changes of lists, sets and sorted sets"},
    {&Seen::renamed, "collections renamed by one record"},
    {&Seen::renamed_whole, "and by all of them"},
    {&Seen::copied, "large collections copied"},
    {&Seen::copy_turns, "turns of that beside others"},
    {&Seen::long_elements, "elements longer than a segment"},
    {&Seen::checkpoints, "checkpoints"},
    {&Seen::starts_from_checkpoint, "starts from one"},
    {&Seen::closed_under_load, "lives closed while clients worked"},
    {&Seen::blobs_moved, "blobs moved out of sparse files"},
    {&Seen::given_up, "transactions given up"},
    {&Seen::spanning, "transactions larger than a segment"},
    {&Seen::rested, "reads that waited for what they rest on"},
    {&Seen::damages, "disks damaged"},
    {&Seen::damages_refused, "of them refused by name"},
    {&Seen::aged, "for superblocks older than the rest"},
    {&Seen::values_refused, "values refused"},
    {&Seen::repaired, "repaired"},
    {&Seen::expired, "keys that expired"},
    {&Seen::lapsed, "changes of hashes by fields that expired"},
    {&Seen::evicted, "keys evicted"},
    {&Seen::clocks_back, "clocks that went back"},
    {&Seen::swaps, "swaps of databases"},
    {&Seen::buckets_made, "buckets made"},
    {&Seen::buckets_dropped, "dropped"},
    {&Seen::tags_set, "given a tag"},
    {&Seen::bucket_gone, "calls that came too late for a bucket or an upload"},
    {&Seen::listings, "listings"},
    {&Seen::uploads, "multipart uploads"},
    {&Seen::parts, "their parts"},
    {&Seen::uploads_completed, "completed"},
    {&Seen::uploads_aborted, "aborted"},
    {&Seen::uploads_dropped, "buckets dropped with open ones"},
    {&Seen::swept, "starts that swept some up"},
    {&Seen::followed, "records followed"},
    {&Seen::versionings, "changes of versioning"},
    {&Seen::versions, "versions and delete markers made"},
    {&Seen::versions_taken, "removed"},
    {&Seen::versions_read, "versions read"},
    {&Seen::versions_fetched, "fetched for a change"},
    {&Seen::locks, "versions locked"},
    {&Seen::locks_held, "removals and changes that a lock refused"},
};

struct Outcome {
  Seen seen;
  uint64_t trace = 0;  // of every call to the volume and its result
};
// Ends the process with fail() where a law does not hold.
Outcome run_world(uint64_t seed, int crashes);

// Says how to replay the seed, and ends the process.
[[noreturn]] void fail(uint64_t seed, const std::string& what);

}  // namespace cairn::sim
