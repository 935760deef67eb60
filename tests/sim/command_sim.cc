// Commands of all types under simulated crashes: what a client does over the Redis door, cut off at
// any volume call, checked against what was committed (command_world.h).
//
//   command_sim [--seeds N] [--from SEED] [--jobs N]      prints the failing seed
//   command_sim --from SEED --seeds 1 --verbose 1         replays it and tells of it
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/sim/command_world.h"
#include "tests/sim/seeds.h"

namespace cairn::sim {
namespace {

void add(CommandsSeen& sum, const CommandsSeen& seen) {
  for (auto& [count, what] : kCommandsSeen) sum.*count += seen.*count;
  for (size_t i = 0; i < CommandsSeen::kRowsMax; i++) sum.effects[i] += seen.effects[i];
}

CommandsSeen run_seeds(uint64_t from, uint64_t seeds, int crashes, bool verbose) {
  CommandsSeen seen;
  for (uint64_t seed = from; seed < from + seeds; seed++) {
    const CommandsOutcome outcome = run_command_world(seed, crashes, verbose);
    add(seen, outcome.seen);
    if (verbose) std::printf("trace %llx\n", static_cast<unsigned long long>(outcome.trace));
  }
  return seen;
}

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) {
  // A store maps large tables that stay untouched; left alone, malloc would learn to clear them.
  ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
  uint64_t seeds = 100, from = 1, jobs = 1;
  int crashes = 8;
  bool verbose = false;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i];
    const uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--seeds") {
      seeds = value;
    } else if (flag == "--from") {
      from = value;
    } else if (flag == "--crashes") {
      crashes = static_cast<int>(value);
    } else if (flag == "--jobs") {
      jobs = std::max<uint64_t>(1, value);
    } else if (flag == "--verbose") {
      verbose = value != 0;
    } else {
      std::fprintf(stderr, "command_sim: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  using namespace cairn::sim;
  const CommandsSeen seen = run_parallel<CommandsSeen>(
      from, seeds, jobs,
      [&](uint64_t begin, uint64_t n, bool) { return run_seeds(begin, n, crashes, verbose); },
      [](CommandsSeen& sum, const CommandsSeen& one) { add(sum, one); });
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  bool all = true;
  std::printf("%llu seeds: all laws held\n", number(seeds));
  for (auto& [count, what] : kCommandsSeen) {
    std::printf("  %12llu %s\n", number(seen.*count), what);
    all &= seen.*count > 0;
  }
  const std::string idle = rows_without_effect(seen);
  if (!idle.empty()) std::printf("  never changed anything: %s\n", idle.c_str());
  if (seeds >= 250 && (!all || !idle.empty())) {
    std::printf("too little happened to mean anything\n");
    return 1;
  }
  return 0;
}
