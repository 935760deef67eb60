// The lives of a store that runs commands, and its clients; see command_world.h. command_world.cc
// has the lives and the laws, command_clients.cc the clients.
//
// All of it runs on one thread: what a commit made is noted before anybody else runs.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/store/store.h"
#include "gateway/net/guests.h"
#include "gateway/resp/connection.h"
#include "kv/engine/engine.h"
#include "tests/sim/command_world.h"
#include "tests/sim/commands.h"
#include "tests/sim/image.h"
#include "tests/sim/sim_stream.h"
#include "tests/sim/sim_volume.h"

namespace cairn::sim {

using KeyOf = std::pair<uint32_t, std::string>;  // namespace, key
using ImagePtr = std::shared_ptr<const Image>;   // null: the key is not there
using Held = std::map<KeyOf, ImagePtr>;          // none is null

class CommandWorld : public ChangeListener {
 public:
  CommandWorld(uint64_t seed, int crashes, bool verbose);
  void run() {
    for (life_ = 0; life_ <= crashes_; life_++) live(life_ == crashes_);
  }
  void changed(std::span<const Change> changes, Committer* by) override;
  CommandsSeen seen;
  uint64_t trace = 0;

 private:
  using Connection = resp::Connection<SimStream>;
  static constexpr uint64_t kSegmentBytes = 64 << 10;
  static constexpr uint64_t kExtentThreshold = 16 << 10;  // above the size of a HyperLogLog
  static constexpr int kClients = 4;

  struct Commit {
    Lsn first, last;
    std::vector<std::pair<KeyOf, ImagePtr>> made;
  };
  struct Client {
    std::shared_ptr<Wire> wire;
    std::shared_ptr<kv::Session> session;
  };
  // What a client committed in this life.
  struct Told {
    uint64_t commits = 0;
    Lsn newest;
  };
  // What runs in one life; in the order in which it is made.
  struct Life;

  uint64_t pick(uint64_t n) { return rng_() % n; }
  [[noreturn]] void wrong(const std::string& what) const;
  void say(const std::string& what) const;

  // ---- lives (command_world.cc) ----
  void live(bool last);
  StoreOptions make_options();
  bool finish(awaitable<void> work);
  awaitable<void> together(std::vector<awaitable<void>> work);

  // ---- laws (command_world.cc) ----
  void settle();
  // Before the changes that are noted now, `was` held what `ns` holds.
  ImagePtr image_now(uint32_t was, const std::string& key, const Entry* e);
  ImagePtr image_now(const Namespace& ns, const std::string& key, const Entry* e) {
    return image_now(ns.id.value(), key, e);
  }
  std::string blob_bytes(std::string_view ref) const;
  awaitable<void> check();
  awaitable<bool> check_key(KeyOf key);
  void check_nothing_else();
  void check_memory();
  NamespacePtr find_space(uint32_t id) const;

  // ---- clients (command_clients.cc) ----
  Commands::Surroundings surroundings();
  Client connect();
  awaitable<void> serve(std::shared_ptr<Connection> connection,
                        std::shared_ptr<kv::Session> session);
  awaitable<void> client(uint64_t steps);
  awaitable<bool> send_and_wait(Client& client, const Batch& batch);
  void check_answers(Client& client, const Batch& batch, const Told& before, Lsn rests_on,
                     std::string_view answers);
  void count(const Batch& batch, const std::vector<std::string>& answers, uint64_t commits);
  // All that was answered, once it is so many values; empty: the connection ended.
  awaitable<std::string> answers(Client& client, size_t values);
  Lsn newest_change(const Client& client, const Batch& batch) const;
  Entry* find(const std::string& key) const;  // in the namespace of who chooses a command
  std::string some_stream_id(const std::string& key);
  std::string dump(const Namespace& ns, const std::string& key) const;

  // ---- a recovered store beside a fresh one (command_beside.cc) ----
  awaitable<void> ask_both();

  const uint64_t seed_;
  const bool verbose_;
  const bool long_;  // few lives, long ones, on a volume that is nearly full
  Rng rng_;
  const int crashes_;
  Disk disk_;
  int64_t now_ms_ = 1'700'000'000'000;
  int life_ = 0;
  Held proven_;                    // what a start has to find
  Held now_;                       // and with what was committed since
  std::vector<Commit> commits_;    // of this life
  std::map<KeyOf, Lsn> newest_;    // change of a key that somebody asked for, in this life
  std::map<uint64_t, Told> told_;  // by client
  Lsn acked_, durable_floor_;
  bool always_ = true;    // answers wait until what they tell is durable
  bool over_ = true;      // nothing that happens counts any more
  bool limited_ = false;  // in memory
  Life* now_running_ = nullptr;
  Commands commands_;
  const kv::Session* choosing_ = nullptr;  // for whom a command is chosen
};

}  // namespace cairn::sim
