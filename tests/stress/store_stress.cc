// Many threads on one real store whose parts are all at work: stripes, transactions, groups,
// listings, flushes, buckets that come and go, expiry, values that leave memory and come back,
// large values, cleaner, compactor, checkpoints. In rounds: after each one all that was done and
// seen is put together and must have been possible, key by key; the store is closed and opened now
// and then.
//
//   store_stress [--seconds N] [--threads N] [--seed N]
#include <stdlib.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "core/base/text.h"
#include "tests/stress/world.h"

namespace cairn::stress {
namespace {

constexpr int kCallsPerRound = 400;  // of each thread
constexpr int kRoundsPerLife = 8;

// Two databases, one of which is flushed, and a bucket that stays.
std::vector<NamespacePtr> spaces(Store& store) {
  std::vector<NamespacePtr> all;
  for (const char* name : {"db0", "db1", "lasting"}) all.push_back(store.find_namespace(name));
  return all;
}

std::string some_key(Notes& notes) {
  const uint64_t i = notes.pick(World::kKeys + World::kHashes);
  return i < World::kKeys ? World::key(i) : World::hash_key(i - World::kKeys);
}

// Somebody else's bucket, if it is there at the moment.
void visit(World& world, Notes& notes) {
  const NamespacePtr other = world.store().find_namespace(cat("bucket", notes.pick(4)));
  if (other == nullptr) return;
  for (int i = 0; i < 5; i++) {
    world.put(notes, other, World::key(notes.pick(World::kKeys)), false);
    world.change_hash(notes, other, World::hash_key(notes.pick(World::kHashes)));
    world.change_expiry(notes, other, some_key(notes));
    world.get(notes, other, some_key(notes));
  }
}

// What is set for a bucket as a whole, here a count, while others look at it.
void count_up(World& world, Namespace& bucket) {
  const auto before = bucket.properties();
  const int64_t count = before->created_ms;
  must(world.store().change_properties(bucket, [](Properties& p) { p.created_ms++; }).status(),
       "a property cannot be changed");
  if (before->created_ms != count) fail("what was handed out changed");
  if (bucket.properties()->created_ms <= count) fail("what is set for a bucket goes back");
}

// What metrics, INFO and a health check read, without a lock.
void look_around(World& world) {
  Store& store = world.store();
  const auto most = static_cast<int64_t>(World::names().size());
  for (auto& ns : spaces(store)) {
    const auto there = static_cast<int64_t>(ns->size());
    const int64_t committed = ns->committed_size();
    if (there < 0 || there > most || committed < 0 || committed > most) {
      fail(cat(ns->name, " has ", there, " keys, of which ", committed, " are committed, of ",
               most));
    }
  }
  if (!store.health().ready) fail("the store is not ready");
  (void)store.log().stats();
  (void)store.memory().stats();
  (void)store.cleaner().stats();
  (void)store.compactor().stats();
  (void)store.memory_bytes();
  (void)store.expired_count();
  (void)store.newest_name();
}

void call(World& world, Notes& notes, size_t thread) {
  const auto all = spaces(world.store());
  const NamespacePtr& ns = all[notes.pick(all.size())];
  const std::string key = World::key(notes.pick(World::kKeys));
  const size_t group = notes.pick(World::kGroups);
  if (all[2]->properties()->created_ms == 0) fail("a bucket has lost its properties");
  const uint64_t what = notes.pick(1000);
  if (what < 50) return look_around(world);
  if (what < 300) return world.get(notes, ns, some_key(notes));
  if (what < 480) return void(world.put(notes, ns, key, false));
  if (what < 495) return void(world.put(notes, ns, key, true));
  if (what < 560) return world.remove(notes, ns, some_key(notes));
  if (what < 630) return void(world.change_expiry(notes, ns, some_key(notes)));
  if (what < 740) {
    return void(world.change_hash(notes, ns, World::hash_key(notes.pick(World::kHashes))));
  }
  if (what < 840) return world.change_group(notes, ns, group);
  if (what < 940) return world.read_group(notes, ns, group);
  if (what < 970) return world.list(notes, all[1 + notes.pick(2)]);
  if (what < 980) return world.flush(notes, all[notes.pick(2)]);
  if (what < 990) return world.live_and_die(notes, cat("bucket", thread));
  if (what < 995) return visit(world, notes);
  count_up(world, *all[2]);
}

struct Totals {
  uint64_t calls = 0, events = 0, rounds = 0, lives = 0;
  uint64_t spilled = 0, read_back = 0, freed = 0, checkpoints = 0, expired = 0, moved = 0;
};

void check_round(std::vector<Notes>& notes, std::map<Name, State>& states, Totals& totals) {
  std::map<Name, std::vector<Event>> all;
  for (Notes& n : notes) {
    for (auto& [name, events] : n.events) {
      auto& to = all[name];
      to.insert(to.end(), events.begin(), events.end());
      totals.events += events.size();
    }
    n.events.clear();
  }
  for (auto& [name, events] : all) {
    const std::string wrong = check_history(std::move(events), states[name]);
    if (!wrong.empty()) fail(cat("namespace ", name.first, " ", name.second, ": ", wrong));
  }
}

// One thread looks at every key: what is there is what was there last.
void check_all(World& world, std::map<Name, State>& states, Totals& totals) {
  std::vector<Notes> notes;
  notes.emplace_back(0);
  for (auto& ns : spaces(world.store())) {
    for (auto& name : World::names()) world.get(notes[0], ns, name);
    world.list(notes[0], ns);
  }
  check_round(notes, states, totals);
}

void add(Totals& t, Store& store) {
  t.spilled += store.memory().stats().spilled;
  t.read_back += store.faults().reads();
  t.freed += store.cleaner().stats().segments_freed;
  t.checkpoints += store.checkpointer().written();
  t.expired += store.expired_count();
  t.moved += store.compactor().stats().blobs_moved;
}

int run(int seconds, size_t threads, uint64_t seed) {
  std::string directory = std::filesystem::temp_directory_path() / "cairn-stress-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) fail("no temporary directory");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  Totals totals;
  std::map<Name, State> states;
  std::vector<Notes> notes;
  for (size_t t = 0; t < threads; t++) notes.emplace_back(seed * 1000 + t);
  {
    World world(directory);
    // At least as many rounds as show something on a slow machine.
    while (totals.lives < 2 || std::chrono::steady_clock::now() < end) {
      world.open();
      if (totals.lives++ == 0 && !world.store().create_bucket("lasting").ok()) fail("no bucket");
      check_all(world, states, totals);
      for (int round = 0; round < kRoundsPerLife; round++) {
        std::vector<std::thread> callers;
        for (size_t t = 0; t < threads; t++) {
          callers.emplace_back([&, t] {
            for (int i = 0; i < kCallsPerRound; i++) call(world, notes[t], t);
          });
        }
        for (auto& c : callers) c.join();
        totals.calls += threads * kCallsPerRound;
        totals.rounds++;
        check_round(notes, states, totals);
        std::erase_if(states, [&](auto& s) {  // of buckets that are gone
          return s.first.first >= kFirstBucket && !s.second.present;
        });
      }
      check_all(world, states, totals);
      add(totals, world.store());
      world.close();
    }
  }
  std::filesystem::remove_all(directory);
  std::printf("%llu calls in %llu rounds, %llu lives of the store; %llu events were possible\n",
              static_cast<unsigned long long>(totals.calls),
              static_cast<unsigned long long>(totals.rounds),
              static_cast<unsigned long long>(totals.lives),
              static_cast<unsigned long long>(totals.events));
  bool all = true;
  for (auto [count, what] : {std::pair{totals.spilled, "values left memory"},
                             {totals.read_back, "values read back"},
                             {totals.freed, "segments cleaned"},
                             {totals.checkpoints, "checkpoints"},
                             {totals.expired, "keys expired"}}) {
    std::printf("  %8llu %s\n", static_cast<unsigned long long>(count), what);
    all &= count > 0;
  }
  std::printf("  %8llu large values moved\n", static_cast<unsigned long long>(totals.moved));
  if (!all) fail("too little happened to mean anything");
  return 0;
}

}  // namespace
}  // namespace cairn::stress

int main(int argc, char** argv) {
  uint64_t seconds = 60, threads = 4, seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    const auto value = cairn::parse_int<uint64_t>(argv[i + 1]).value_or(0);
    if (flag == "--seconds") {
      seconds = value;
    } else if (flag == "--threads") {
      threads = value;
    } else if (flag == "--seed") {
      seed = value;
    } else {
      std::fprintf(stderr, "store_stress: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  return cairn::stress::run(static_cast<int>(seconds), threads, seed);
}
