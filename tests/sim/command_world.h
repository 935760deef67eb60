// One seed of the simulation of commands: the engine and the connections of the Redis door over a
// simulated volume, with clients that send commands of all types, transactions, scripts and
// functions; life after life, each cut off at a call to the volume or closed.
//
// What a store has to hold is known from itself: whoever commits tells what changed, and what those
// keys hold then is noted under the LSN (image.h). That a command does what it should is shown by
// the comparison with redis-server (tests/clients/test_wire.py).
//
// Laws:
//   1. What is recovered is what was there after one of the commits, whole, and after all of those
//      before it: every key, its value with groups and times of fields, its expiry; nothing else.
//   2. All that a client was answered for is part of it, if it was to be durable (`always`, or
//      WAITAOF); so is what the answer to a read rests on.
//   3. A command, a transaction, a script commits at most once: nobody sees a part of it. One that
//      waited is answered by one commit as well.
//   4. At every end of a life what is in memory is what was noted: nothing changes but by a commit.
//   5. Values are sound inside after they were recovered: counts, ranks, times, who has what
//      (inner_damage).
//   6. A recovered store answers commands as one does that was given the same values anew and never
//      crashed.
//   7. Recovery succeeds; the log fails only if the volume does; every answer is one, and whole.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

namespace cairn::sim {

struct CommandsSeen {
  static constexpr size_t kRowsMax = 512;
  uint64_t crashes = 0, crashes_in_recovery = 0, batches = 0, commands = 0, commits = 0,
           acknowledged = 0, rested = 0, lost = 0, transactions = 0, scripts = 0, waits = 0,
           served = 0, hung_up = 0, errors = 0, expired = 0, evicted = 0, lapsed = 0, blobs = 0,
           cold = 0, checked = 0, live_checked = 0, cleaned = 0, from_checkpoint = 0, full = 0,
           asked = 0;
  // By row of the command table: how often it changed something by itself.
  std::array<uint32_t, kRowsMax> effects{};
};
inline constexpr std::pair<uint64_t CommandsSeen::*, const char*> kCommandsSeen[] = {
    {&CommandsSeen::crashes, "crashes"},
    {&CommandsSeen::crashes_in_recovery, "of them in recovery"},
    {&CommandsSeen::batches, "times that a client sent something"},
    {&CommandsSeen::commands, "commands"},
    {&CommandsSeen::commits, "commits"},
    {&CommandsSeen::lost, "of them lost by a crash"},
    {&CommandsSeen::acknowledged, "acknowledged"},
    {&CommandsSeen::rested, "reads of what was changed just now"},
    {&CommandsSeen::transactions, "transactions"},
    {&CommandsSeen::scripts, "scripts and functions"},
    {&CommandsSeen::waits, "commands that may wait"},
    {&CommandsSeen::served, "clients served by others"},
    {&CommandsSeen::hung_up, "clients that hung up"},
    {&CommandsSeen::errors, "errors"},
    {&CommandsSeen::full, "for want of room"},
    {&CommandsSeen::expired, "keys that expired"},
    {&CommandsSeen::lapsed, "hashes of which a field did"},
    {&CommandsSeen::evicted, "keys evicted"},
    {&CommandsSeen::blobs, "values in extents"},
    {&CommandsSeen::cold, "values that came back from disk"},
    {&CommandsSeen::checked, "keys checked after a start"},
    {&CommandsSeen::live_checked, "at the end of a life"},
    {&CommandsSeen::cleaned, "segments cleaned"},
    {&CommandsSeen::from_checkpoint, "starts from a checkpoint"},
    {&CommandsSeen::asked, "commands asked of a recovered and of a fresh store"},
};

struct CommandsOutcome {
  CommandsSeen seen;
  uint64_t trace = 0;  // of every call to the volume and its result
};
// Ends the process, with what is wrong, where a law does not hold.
CommandsOutcome run_command_world(uint64_t seed, int crashes, bool verbose);

// The rows that change something and never did by themselves, but for those that cannot here.
std::string rows_without_effect(const CommandsSeen& seen);

}  // namespace cairn::sim
