// Runs seeds of a simulation in several processes, and adds up what they ran into.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace cairn::sim {

// `run(from, seeds, first)` runs some and returns a Seen, `first` the first of all; `add(sum,
// seen)` adds. A process that fails ends all of it. Seen is plain bytes.
template <class Seen, class Run, class Add>
Seen run_parallel(uint64_t from, uint64_t seeds, uint64_t jobs, Run run, Add add) {
  std::vector<std::pair<pid_t, int>> children;  // and where they leave their counts
  std::fflush(stdout);
  for (uint64_t j = 0; j < jobs; j++) {
    const uint64_t begin = from + seeds * j / jobs, end = from + seeds * (j + 1) / jobs;
    int ends[2];
    if (::pipe(ends) != 0) std::exit(1);
    const pid_t child = ::fork();
    if (child == 0) {
      const Seen seen = run(begin, end - begin, j == 0);
      std::_Exit(::write(ends[1], &seen, sizeof(seen)) == sizeof(seen) ? 0 : 1);
    }
    ::close(ends[1]);
    children.emplace_back(child, ends[0]);
  }
  Seen sum;
  for (auto [child, out] : children) {
    Seen seen;
    int status = 0;
    size_t got = 0;
    for (ssize_t n = 1; n > 0 && got < sizeof(seen);) {
      n = ::read(out, reinterpret_cast<char*>(&seen) + got, sizeof(seen) - got);
      if (n > 0) got += static_cast<size_t>(n);
    }
    ::waitpid(child, &status, 0);
    if (got != sizeof(seen) || !WIFEXITED(status) || WEXITSTATUS(status) != 0) std::exit(1);
    add(sum, seen);
  }
  return sum;
}

}  // namespace cairn::sim
