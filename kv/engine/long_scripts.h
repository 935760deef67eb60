// Threads for scripts that need longer than a turn.
//
// A script begins on the thread of its client. What is not over within a turn is taken back, as it
// is for a value on disk, and begun again here, on a thread of its own and with an engine and a Lua
// of its own. Its stripes are busy meanwhile (core/store/busy.h); its client's coroutine sleeps. An
// EXEC with such a script in it comes here as a whole.
//
// While a session is here (Session::away), no other thread touches what is the session's alone.
// What is answered is kept, and given to the client on his own thread.
//
// Threads: any.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/async.h"
#include "kv/engine/engine.h"
#include "kv/engine/kept_reply.h"

namespace cairn::kv {

class LongScripts {
 public:
  static constexpr size_t kThreads = 4;  // further ones wait for one of them
  // How often a script begins again for threads that cannot wait; then it is refused.
  static constexpr int kGoesMax = 50;
  // How long a script may take the thread of its client.
  static constexpr int64_t kTurnNs = 4'000'000;

  // Of `engines` those behind the first `loops` are for this.
  LongScripts(Server& server, std::vector<std::unique_ptr<Engine>>& engines, size_t loops);
  ~LongScripts() { stop(); }
  LongScripts(const LongScripts&) = delete;

  // Runs what Engine::run() found to take too long; the request's keys are resolved. An error: it
  // is refused, and nothing of it was done.
  // Where there is no thread for it, it waits as long as others wait for the keys of a script.
  awaitable<StatusOr<Engine::Outcome>> run(Session& session, Request& request, Reply& reply);
  // Those that run end soon, with nothing done; no other one begins.
  void stop();
  bool ending() const { return ending_.load(std::memory_order_relaxed); }

 private:
  struct Job {
    Session& session;
    Request& request;
    KeptReply reply = {};
    StatusOr<Engine::Outcome> outcome = Engine::Outcome();
    Resume<> wake = {};
    uint64_t kept_bytes = 0;
  };
  void begin(const std::shared_ptr<Job>& job);
  // Nobody has begun it, and nobody will: why it is refused.
  void give_up(const std::shared_ptr<Job>& job);
  void work(Engine& engine);
  // Its answer was given away, or let go.
  void note_given(const Job& job);
  bool may_begin() const;  // under the mutex
  static void perform(Engine& engine, Job& job);

  Server& server_;
  std::vector<Engine*> engines_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> waiting_;
  // Of answers that are made and that no client has yet. Others begin when there is room for more:
  // scripts make answers faster than one loop takes them, and of 150 at once with 8 MB each there
  // were 4 GB.
  uint64_t kept_bytes_ = 0;
  size_t idle_ = 0;  // threads that wait for work, or are about to take some
  // How often they were to give back free memory: what was freed of theirs by others nobody else
  // can. 440 MB stayed of a script that pushed elements of 10 MB, and writes were refused for it.
  uint64_t releases_ = 0;
  bool stopping_ = false;
  std::atomic<bool> ending_{false};
  std::vector<std::thread> threads_;
};

}  // namespace cairn::kv
