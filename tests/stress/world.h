// A real store on a real directory, as threads of a server use it: the calls of the stress test,
// each of which notes what it did and saw (history.h).
//
// Threads: the calls from any, with a Notes of the caller's own; open() and close() while nobody
// calls.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/store/store.h"
#include "core/volume/local_volume.h"
#include "tests/stress/history.h"

namespace cairn::stress {

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
  static constexpr size_t kKeys = 100, kGroups = 30, kGroupKeys = 3, kLoops = 2;
  static std::string key(size_t i) { return "key" + std::to_string(i); }
  static std::string group_key(size_t group, size_t i) {
    return "group" + std::to_string(group) + "/" + std::to_string(i);
  }

  explicit World(std::string directory);
  ~World();
  void open();
  void close();  // cleanly
  Store& store() { return *store_; }

  // ---- calls ----
  void get(Notes& notes, const NamespacePtr& ns, const std::string& key);
  // False if the namespace was dropped.
  bool put(Notes& notes, const NamespacePtr& ns, const std::string& key, bool large);
  void remove(Notes& notes, const NamespacePtr& ns, const std::string& key);
  // All keys of a group at once: as one value, or none.
  void change_group(Notes& notes, const NamespacePtr& ns, size_t group);
  void read_group(Notes& notes, const NamespacePtr& ns, size_t group);
  void list(Notes& notes, const NamespacePtr& ns);
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
  static std::string value_of(uint64_t id, bool large);
  static uint64_t id_of(std::string_view value);  // checked byte by byte
  uint64_t read_blob(const BlobRef& blob);
  void fetch(const NamespacePtr& ns, std::string key);

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

// Ends the process.
[[noreturn]] void fail(const std::string& what);

}  // namespace cairn::stress
