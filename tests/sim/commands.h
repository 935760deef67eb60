// Commands as clients send them, by chance, over all types: single ones, pipelines of them,
// transactions, scripts and functions.
//
// What there is to choose from is a list of forms in commands.cc; a new command is a line there.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/sim_volume.h"

namespace cairn::sim {

struct Command {
  std::vector<std::string> words;
  std::vector<std::string> keys;  // that it names
};

// What a client sends at once, and then waits for all answers.
struct Batch {
  std::vector<Command> commands;
  // So many of them, or of stretches of them, may each change something, in one step: a
  // transaction is one.
  size_t units = 0;
  bool all_durable = false;  // its last command waits until all that the client did is durable
  std::string text() const;  // as it is sent
};

class Commands {
 public:
  // What the choice of words may rest on.
  struct Surroundings {
    std::function<int64_t()> now_ms;
    // An ID of the stream that a key of the client's namespace holds, if it does.
    std::function<std::string(const std::string& key)> some_stream_id;
    // What DUMP would answer for a key, if it is there and in memory.
    std::function<std::string(const std::string& key)> dump;
  };
  Commands(Rng& rng, Surroundings around) : rng_(rng), around_(std::move(around)) {}

  Batch some();

 private:
  struct Chosen;  // what is the same within one command
  uint64_t pick(uint64_t n) { return rng_() % n; }
  Command change();
  Command read();
  Command of_form(std::string_view form);
  void expand(std::string_view form, Chosen& chosen, Command& out);
  void add_word(std::string_view word, Chosen& chosen, Command& out);
  std::string key_of(std::string_view kind, Chosen& chosen);
  std::string value();
  std::string number(uint64_t below) { return std::to_string(pick(below)); }
  std::string special(char what, Chosen& chosen);
  std::vector<Command> several();
  Command script();
  Command library();
  Command transferred();  // RESTORE of what is there

  Rng& rng_;
  const Surroundings around_;
  uint64_t next_value_ = 0;
};

}  // namespace cairn::sim
