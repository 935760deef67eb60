// The store under simulated crashes: a seeded workload of puts, deletes, batches, blobs, expiry,
// flushes, buckets and multipart uploads by concurrent clients, cut off at any volume call, with
// failed writes, failed syncs, full volumes and turned clocks in between, checked against a model.
//
//   store_sim [--seeds N] [--from SEED] [--jobs N]         prints the failing seed
//   store_sim --from SEED --seeds 1 [--plant BUG]          replays it
//   store_sim [--plant BUG] --plants N                     every bug of core/base/plant.h, or the
//                                                          one, is caught within N seeds
#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "core/base/plant.h"
#include "tests/sim/seeds.h"
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
Seen run_all(uint64_t from, uint64_t seeds, int crashes, uint64_t jobs) {
  constexpr uint64_t kTwice = 20;
  return run_parallel<Seen>(
      from, seeds, jobs,
      [=](uint64_t begin, uint64_t n, bool first) {
        return run_seeds(begin, n, crashes, first ? kTwice : 0);
      },
      add);
}

// Runs seeds until a law does not hold: true. One at which an assertion of the core ends the
// process first is passed over; `asserted` gets how many.
bool is_caught(Bug bug, uint64_t seeds, int crashes, int& asserted) {
  auto* seed = static_cast<uint64_t*>(
      ::mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (seed == MAP_FAILED) std::exit(1);
  for (*seed = 1; *seed <= seeds; ++*seed) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
      planted_bug = bug;
      if (::freopen("/dev/null", "w", stderr) == nullptr) std::_Exit(3);
      for (; *seed <= seeds; ++*seed) run_world(*seed, crashes);
      std::_Exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) return true;  // fail() said which
    if (!WIFSIGNALED(status)) return false;
    asserted++;
  }
  return false;
}

// Every planted bug must be caught within so many seeds, by a law: an assertion is not in every
// build, and says nothing of what the store owes.
int run_plants(uint64_t seeds, int crashes, int first, int last) {
  int missed = 0;
  for (int bug = first; bug <= last; bug++) {
    int asserted = 0;
    std::printf("bug %d: ", bug);
    if (!is_caught(static_cast<Bug>(bug), seeds, crashes, asserted)) {
      std::printf("NOT caught\n");
      missed++;
    }
    if (asserted > 0) std::printf("  after %d seeds that an assertion ended\n", asserted);
  }
  std::printf("%d planted bugs, %d missed\n", last - first + 1, missed);
  return missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) {
  // A store maps large tables that stay untouched; left alone, malloc would learn to clear them.
  ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
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
      const int all = static_cast<int>(cairn::Bug::kEnd) - 1,
                one = static_cast<int>(cairn::planted_bug);
      return cairn::sim::run_plants(value, crashes, one != 0 ? one : 1, one != 0 ? one : all);
    } else if (flag == "--plant") {
      cairn::planted_bug = static_cast<cairn::Bug>(value);
    } else {
      std::fprintf(stderr, "store_sim: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  const auto seen = cairn::sim::run_all(from, seeds, crashes, jobs);
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
