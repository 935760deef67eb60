// A real store on a real directory, as threads of a server use it: the calls of the stress test,
// each of which notes what it did and saw (history.h). world.cc has the store and single keys,
// world_several.cc what concerns several.
//
// Threads: the calls from any, with a Notes of the caller's own; open() and close() while nobody
// calls.
#pragma once

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <future>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/store/store.h"
#include "core/store/transaction.h"
#include "core/volume/local_volume.h"
#include "tests/stress/history.h"

namespace cairn::stress {

// Ends the process.
[[noreturn]] void fail(const std::string& what);
void must(const Status& status, const char* what);

using Name = std::pair<uint32_t, std::string>;  // a namespace's id and a key

// Of one thread.
struct Notes {
  explicit Notes(uint64_t seed) : rng(seed) {}
  std::map<Name, std::vector<Event>> events;
  std::mt19937_64 rng;
  uint64_t pick(uint64_t n) { return rng() % n; }
};

class World {
 public:
  // Strings, hashes of which the last one is large, and groups of strings with a hash.
  static constexpr size_t kKeys = 100, kHashes = 10, kGroups = 30, kGroupKeys = 4, kLoops = 2;
  static std::string key(size_t i) { return "key" + std::to_string(i); }
  static std::string hash_key(size_t i) { return "hash" + std::to_string(i); }
  static std::string group_key(size_t group, size_t i) {
    return (i + 1 == kGroupKeys ? "hash/group" : "group") + std::to_string(group) + "/" +
           std::to_string(i);
  }

  explicit World(std::string directory);
  ~World();
  void open();
  void close();  // cleanly
  Store& store() { return *store_; }

  // ---- calls for a key; false if the namespace was dropped ----
  void get(Notes& notes, const NamespacePtr& ns, const std::string& key);
  bool put(Notes& notes, const NamespacePtr& ns, const std::string& key, bool large);
  void remove(Notes& notes, const NamespacePtr& ns, const std::string& key);
  // EXPIRE and PERSIST, of whatever is there.
  bool change_expiry(Notes& notes, const NamespacePtr& ns, const std::string& key);
  // Sets fields of a hash, some for a time, removes some, or changes when they go.
  bool change_hash(Notes& notes, const NamespacePtr& ns, const std::string& key);

  // ---- calls for several keys ----
  // All keys of a group at once: they get one value, or one expiry, or go; or it is given up.
  void change_group(Notes& notes, const NamespacePtr& ns, size_t group);
  void read_group(Notes& notes, const NamespacePtr& ns, size_t group);
  void list(Notes& notes, const NamespacePtr& ns);
  // All keys go, and some come in the same transaction.
  void flush(Notes& notes, const NamespacePtr& ns);
  // Makes a bucket, fills it while others may write to it, empties it and drops it.
  void live_and_die(Notes& notes, const std::string& bucket);

  // What every key of a namespace is called.
  static const std::vector<std::string>& names();

 private:
  template <class T>
  T wait(awaitable<T> work);
  struct Call;  // the time that a call takes
  uint64_t next_id() { return ids_.fetch_add(1); }
  enum class Size : uint8_t { kTiny, kSmall, kLarge };  // of a field, in the index, in extents
  static std::string value_of(uint64_t id, Size size);
  static uint64_t id_of(std::string_view value);  // checked byte by byte
  uint64_t read_blob(const BlobRef& blob);
  void fetch(const NamespacePtr& ns, std::string key);
  // Calls fn(StripeLocks&) on a loop, under the locks of these keys at a moment when their values
  // are in memory.
  template <class Fn>
  void with_values(const NamespacePtr& ns, const std::vector<std::string>& keys, Fn fn);
  static std::vector<KeyHash> hashes_of(const Namespace& ns, const std::vector<std::string>& keys);
  static Fields fields_of(const Entry* hash, int64_t now_ms);
  bool change_hash(Notes& notes, const StripeLocks& locks, Namespace& ns, const std::string& key,
                   const Call& call);
  // An operation on a hash, and what it does to `fields`, of those that are there now.
  Event::Kind choose_change(Notes& notes, bool large, const Fields& there, Fields& fields,
                            std::string& operation);
  int64_t some_time(Notes& notes) const;  // or never
  static Status operate(Transaction& t, Namespace& ns, const std::string& key, Entry* hash,
                        const std::string& operation);
  // What a group's keys have: a string holds the value, a hash its number.
  static bool is_hash(std::string_view key) { return key.starts_with("hash"); }
  void change_group(Notes& notes, const StripeLocks& locks, Namespace& ns,
                    const std::vector<std::string>& keys, const Call& call);
  static Status put_in_group(Transaction& t, Namespace& ns, const std::string& key, uint64_t id);

  const std::string directory_;
  SystemClock clock_;
  ChunkPool pool_;
  std::vector<std::unique_ptr<asio::io_context>> loops_;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::vector<std::thread> threads_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<Store> store_;
  std::atomic<uint64_t> ids_{1};
};

// It began when this was made, and ends with event().
struct World::Call {
  explicit Call(World& world) : clock(world.clock_), begin_ms(clock.now_ms()), begin(tick()) {}
  Event event(Event::Kind kind, Lsn lsn = {}, int64_t expire_ms = 0, Fields fields = {},
              Event::Found found = Event::kNotLooked) const {
    const uint64_t end = tick();
    return {kind, begin, end, begin_ms, clock.now_ms(), lsn.value(), expire_ms, std::move(fields),
            found};
  }
  static uint64_t tick();
  Clock& clock;
  const int64_t begin_ms;
  const uint64_t begin;
};

template <class T>
T World::wait(awaitable<T> work) {
  std::promise<T> result;
  asio::co_spawn(*loops_[next_id() % kLoops], std::move(work),
                 [&](std::exception_ptr, T value) { result.set_value(std::move(value)); });
  return result.get_future().get();
}

template <class Fn>
void World::with_values(const NamespacePtr& ns, const std::vector<std::string>& keys, Fn fn) {
  auto work = [&]() -> awaitable<bool> {
    Faults::Keys values;
    for (auto& key : keys) values.emplace_back(ns, key);
    const std::vector<KeyHash> hashes = hashes_of(*ns, keys);
    StripeLocks locks(*store_);
    Status locked = co_await store_->faults().lock_with_values(locks, hashes, values);
    must(locked, "values cannot be read back");
    fn(locks);
    co_return true;
  };
  wait<bool>(work());
}

}  // namespace cairn::stress
