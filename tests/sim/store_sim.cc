// The store under simulated crashes: a seeded workload of puts, deletes, batches, blobs, expiry and
// flushes by concurrent clients, cut off at any volume call, with failed writes, failed syncs and
// full volumes in between, checked against a model.
//
//   store_sim [--seeds N] [--from SEED] [--jobs N]         prints the failing seed
//   store_sim --from SEED --seeds 1 [--plant BUG]          replays it
//   store_sim --plants N                                   every bug of core/base/plant.h within N
//   seeds
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/base/plant.h"
#include "tests/sim/world.h"

namespace cairn::sim {
namespace {

void add(Seen& sum, const Seen& seen) {
  for (auto& [count, what] : kSeen) sum.*count += seen.*count;
}

// The first `twice` run a second time and must leave the same trace.
Seen run_seeds(uint64_t from, uint64_t seeds, int crashes, uint64_t twice = 0) {
  Seen seen;
  for (uint64_t seed = from; seed < from + seeds; seed++) {
    const Outcome outcome = run_world(seed, crashes);
    add(seen, outcome.seen);
    if (seed < from + twice && run_world(seed, crashes).trace != outcome.trace) {
      fail(seed, "the same seed went another way");
    }
  }
  return seen;
}

// One process for each job; the first seeds run twice. Exits like the first that fails.
Seen run_parallel(uint64_t from, uint64_t seeds, int crashes, uint64_t jobs) {
  constexpr uint64_t kTwice = 20;
  std::vector<std::pair<pid_t, int>> children;  // and where they leave their counts
  std::fflush(stdout);
  for (uint64_t j = 0; j < jobs; j++) {
    const uint64_t begin = from + seeds * j / jobs, end = from + seeds * (j + 1) / jobs;
    int ends[2];
    if (::pipe(ends) != 0) std::exit(1);
    const pid_t child = ::fork();
    if (child == 0) {
      const auto seen = run_seeds(begin, end - begin, crashes, j == 0 ? kTwice : 0);
      std::_Exit(::write(ends[1], &seen, sizeof(seen)) == sizeof(seen) ? 0 : 1);
    }
    ::close(ends[1]);
    children.emplace_back(child, ends[0]);
  }
  Seen sum;
  for (auto [child, out] : children) {
    Seen seen;
    int status = 0;
    const bool told = ::read(out, &seen, sizeof(seen)) == sizeof(seen);
    ::waitpid(child, &status, 0);
    if (!told || !WIFEXITED(status) || WEXITSTATUS(status) != 0) std::exit(1);
    add(sum, seen);
  }
  return sum;
}

// Every planted bug must be caught within so many seeds: by a law, or by an assertion of the core.
int run_plants(uint64_t seeds, int crashes) {
  int missed = 0;
  for (int bug = 1; bug < static_cast<int>(Bug::kEnd); bug++) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
      planted_bug = static_cast<Bug>(bug);
      std::printf("bug %d: ", bug);
      run_seeds(1, seeds, crashes);
      std::fflush(stdout);
      std::_Exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      std::printf("bug %d was NOT caught\n", bug);
      missed++;
    }
  }
  std::printf("%d planted bugs, %d missed\n", static_cast<int>(Bug::kEnd) - 1, missed);
  return missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) {
  uint64_t seeds = 250, from = 1, jobs = 1;
  int crashes = 11;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i];
    uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--seeds") {
      seeds = value;
    } else if (flag == "--from") {
      from = value;
    } else if (flag == "--crashes") {
      crashes = static_cast<int>(value);
    } else if (flag == "--jobs") {
      jobs = std::max<uint64_t>(1, value);
    } else if (flag == "--plants") {
      return cairn::sim::run_plants(value, crashes);
    } else if (flag == "--plant") {
      cairn::planted_bug = static_cast<cairn::Bug>(value);
    } else {
      std::fprintf(stderr, "store_sim: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  const auto seen = cairn::sim::run_parallel(from, seeds, crashes, jobs);
  auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  bool all = true;
  std::printf("%llu seeds: all laws held\n", number(seeds));
  for (auto& [count, what] : cairn::sim::kSeen) {
    std::printf("  %12llu %s\n", number(seen.*count), what);
    all &= seen.*count > 0;
  }
  if (seeds >= 250 && (!all || seen.crashes < seeds * 7)) {
    std::printf("too little happened to mean anything\n");
    return 1;
  }
  return 0;
}
