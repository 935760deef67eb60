// One client of the command engine: where it is, who it is, and its open transaction.
//
// Threads: a session belongs to the thread of its connection. What other threads may read for
// CLIENT LIST is under `mutex`; kill() may be called from any thread.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "core/store.h"
#include "kv/command.h"
#include "kv/watch.h"

namespace cairn::kv {

// "3" names the database db3; anything else names itself.
std::string namespace_name(std::string_view word);

enum class ReplyMode : uint8_t { kOn, kOff, kSkipNext, kSkipThis };

class Session {
 public:
  Session(Store& store, uint64_t id, std::string address, std::string local_address);

  NamespacePtr ns;
  int resp = 2;
  bool authenticated = false;
  std::string user = "default";
  ReplyMode reply_mode = ReplyMode::kOn;
  bool close_after_reply = false;
  bool wrote = false;  // since its connection last looked
  bool no_evict = false;
  bool no_touch = false;

  // MULTI
  bool in_multi = false;
  bool multi_failed = false;
  struct Queued {
    const Row* row;
    std::unique_ptr<Args> args;
  };
  std::vector<Queued> queue;
  uint64_t queued_bytes = 0;
  WatchList watched;
  void leave_multi();

  // For CLIENT LIST and KILL.
  const uint64_t id;
  const std::string address, local_address;
  const int64_t created_ms;
  Mutex mutex;
  std::string name ABSL_GUARDED_BY(mutex);
  std::string lib_name ABSL_GUARDED_BY(mutex);
  std::string lib_version ABSL_GUARDED_BY(mutex);
  std::string last_command ABSL_GUARDED_BY(mutex);
  std::atomic<int64_t> last_active_ms{0};
  std::string listed_ns ABSL_GUARDED_BY(mutex);
  std::string listed_user ABSL_GUARDED_BY(mutex);
  int listed_resp ABSL_GUARDED_BY(mutex) = 2;
  int listed_multi ABSL_GUARDED_BY(mutex) = -1;
  std::function<void()> kill;  // constant after registration

  // Brings the listed fields up to date; called before a command that lists, and now and then.
  void publish(std::string_view command);
  std::string describe(int64_t now_ms);
};

// All sessions of the process.
class Sessions {
 public:
  uint64_t next_id() { return next_id_.fetch_add(1) + 1; }
  void add(std::shared_ptr<Session> session);
  void remove(uint64_t id);
  std::vector<std::shared_ptr<Session>> all() const;  // by id
  size_t size() const;

 private:
  std::atomic<uint64_t> next_id_{0};
  mutable Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Session>> by_id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::kv
