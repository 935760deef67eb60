// Who waits for which key: the clients of BLPOP and its like, XREAD and XREADGROUP with BLOCK.
//
// A client waits as a coroutine of its own loop (Engine::wait_for, blocking.cc). Under the locks of
// its keys it looks whether there is something for it, and if not, takes its place in the line of
// each of them before it lets go: what comes later finds it. Lines are in order of arrival.
//
// Who makes something of a key serves those who wait for it. The end of each commit tells the table
// what changed (core/store/change.h), and it tells the engine that committed (Committer::awaited):
// when the command, or the whole EXEC, is over and its locks are still held, that engine takes the
// first in line, pops for him in a transaction of its own, and hands him the answer
// (Engine::serve_ready). So nobody sees what was pushed for somebody who waited, and nobody else
// gets it. Where more locks are needed (the second key of BLMOVE) it lets its own go first; who
// comes to pop meanwhile sees the line and stands behind it (waits()). Commits of other doors have
// no engine: then the loop of the first in line does the same.
//
// A client is served at most once, or ends: claim() and end() exclude each other, and what is
// popped is popped for one who was claimed before. One who was offered nothing keeps his place.
// Nobody's thread waits for anything.
//
// What a client is served from is the key that became ready, as in Redis: of several that came up
// in one transaction the one that was changed first.
//
// Threads: any. A Waiting is its client's; of the engine that claimed it until it says served().
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <absl/hash/hash.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/store/store.h"
#include "kv/engine/kept_reply.h"

namespace cairn::kv {

class Context;
class Engine;
class Session;
struct Request;

// What a command waits for: a part of the command, which knows its words.
class Awaited {
 public:
  virtual ~Awaited() = default;
  virtual ValueType type() const = 0;
  // Of the request's keys so many are waited for; the others are locked too when one is served.
  virtual size_t keys() const { return SIZE_MAX; }
  // Whether it is also to hear that a key is gone, or is something else.
  virtual bool hears_loss() const { return false; }
  // Looks at all of its keys: answers, as the command without waiting does, or returns false.
  virtual bool begin(Context& c) = 0;
  // Whether what is there now (null: nothing) under its key, this word, is for it. Under the lock
  // of that key's stripe.
  virtual bool wants(const Entry* entry, size_t word) const = 0;
  // Answers with that.
  virtual void serve(Context& c, size_t word) = 0;
};

struct ReadyKey {
  NamespacePtr ns;
  std::string name;
};

// What is told to an engine while a command of its runs, in the order in which it changed.
struct ReadyKeys final : Committer {
  std::vector<ReadyKey> keys;
  uint64_t client = 0;  // for whom it commits
  void awaited(const NamespacePtr& ns, std::string_view key) override {
    // Once for what changes it again and again; another time finds nothing to do.
    if (!keys.empty() && keys.back().ns == ns && keys.back().name == key) return;
    keys.push_back({ns, std::string(key)});
  }
};

// One client that waits.
class Waiting final : public Waiter {
 public:
  Waiting(Engine& engine, Executor executor, Session& session, Request& request, Awaited& awaited)
      : engine(engine),
        executor(std::move(executor)),
        session(session),
        request(request),
        awaited(awaited) {}

  Engine& engine;  // of its loop
  const Executor executor;
  Session& session;
  Request& request;
  Awaited& awaited;

  // True: it is the caller's to serve, who then says so, and nobody else's.
  bool claim() { return leave(State::kClaimed); }
  // True: nobody serves it any more.
  bool end() { return leave(State::kEnded); }
  bool ended() const { return state_.load() == State::kEnded; }
  // The answer is there.
  void served() {
    done_.wake();
    wake();
  }
  // Until it is, of one that was claimed.
  awaitable<void> until_served() { (void)co_await done_.wait(); }

  // The answer, once it was served, and what it rests on.
  KeptReply reply;
  Lsn seen;

 private:
  friend class Waiters;
  enum class State : uint8_t { kWaits, kClaimed, kEnded };
  bool leave(State to) {
    State waits = State::kWaits;
    return state_.compare_exchange_strong(waits, to);
  }
  std::atomic<State> state_{State::kWaits};
  Waiter done_;
  uint64_t number_ = 0;  // in order of arrival
};

class Waiters final : public ChangeListener {
 public:
  explicit Waiters(Store& store) : listeners_(store.listeners()) { listeners_.add(*this); }

  // Stands in the line of each of the request's keys that it awaits. Under their locks.
  void add(const std::shared_ptr<Waiting>& waiting);
  void remove(const std::shared_ptr<Waiting>& waiting);

  // Whether somebody stands in line who takes values of this type out of this key. Under its lock.
  bool waits(const Namespace& ns, std::string_view key, ValueType type);

  enum class Offer : uint8_t { kPass, kTake, kStop };
  // Goes down the line of a key and asks of each what is to be done: passes him over, or claims him
  // and returns him with the word that is the key; null at the end of the line, or after kStop.
  // It begins behind `after`, where the one before stood, and moves that on. Under the key's lock;
  // `there`: whether it holds anything.
  struct Claimed {
    std::shared_ptr<Waiting> waiting;
    size_t word = 0;
    explicit operator bool() const { return waiting != nullptr; }
  };
  Claimed claim(const ReadyKey& key, bool there, uint64_t& after,
                absl::FunctionRef<Offer(const Waiting& waiting, size_t word)> ask);

  size_t keys() const { return keys_count_.load(std::memory_order_relaxed); }
  void changed(std::span<const Change> changes, Committer* by) override;

 private:
  struct Place {
    std::shared_ptr<Waiting> waiting;
    uint32_t word;
  };
  struct Line {
    NamespacePtr ns;
    std::map<uint64_t, Place> places;  // by number
    size_t hear_loss = 0;              // of them
  };
  using Key = std::pair<const Namespace*, std::string>;
  using KeyView = std::pair<const Namespace*, std::string_view>;
  struct KeyHashing {
    using is_transparent = void;
    size_t operator()(const KeyView& key) const { return absl::HashOf(key); }
  };
  struct KeyEqual {
    using is_transparent = void;
    bool operator()(const KeyView& a, const KeyView& b) const { return a == b; }
  };
  using Lines = absl::flat_hash_map<Key, Line, KeyHashing, KeyEqual>;
  struct Shard {
    Mutex mutex;
    Lines lines ABSL_GUARDED_BY(mutex);
  };
  static constexpr size_t kShards = 64;
  Shard& shard(const Namespace& ns, std::string_view key) {
    return shards_[ns.hash(key) % kShards];
  }
  // Takes one place out of a line, and the line out of the table when it was the last.
  void take(Shard& shard, Lines::iterator line, std::map<uint64_t, Place>::iterator place)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  void tell(const Line& line, std::string_view key, Committer* by);
  void tell_all(const Change& change, Committer* by);

  ChangeListeners& listeners_;
  std::atomic<uint64_t> next_{1};
  std::atomic<size_t> waiting_{0};  // about so many places
  std::atomic<size_t> keys_count_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace cairn::kv
