// One client of the command engine: where it is, who it is, and its open transaction.
//
// Threads: a session belongs to the thread of its connection. What other threads may read for
// CLIENT LIST is under `mutex`, or atomic; kill() and unblock() may be called from any, and the
// outbox takes what any pushes.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/store/store.h"
#include "kv/engine/channels.h"
#include "kv/engine/cluster.h"
#include "kv/engine/command.h"
#include "kv/engine/outbox.h"
#include "kv/engine/tracking.h"
#include "kv/engine/watch.h"

namespace cairn::kv {

class Lookout;

// "3" names the database db3; anything else names itself.
std::string namespace_name(std::string_view word);

// For measuring how long something took.
inline int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

enum class ReplyMode : uint8_t { kOn, kOff, kSkipNext, kSkipThis };

class Session {
 public:
  Session(Store& store, uint64_t id, std::string address, std::string local_address);
  ~Session();

  NamespacePtr ns;
  int resp = 2;
  bool wants_debugger = false;  // SCRIPT DEBUG: there is none, so the next script does not run
  PrincipalPtr principal;       // null: not known yet
  bool secure = false;          // it came over TLS
  Circumstances circumstances() const { return {address, secure}; }
  ReplyMode reply_mode = ReplyMode::kOn;
  bool close_after_reply = false;
  bool wrote = false;  // since its connection last looked
  // Events of its changes wait to be written (EventStreams), before it is answered.
  bool kept_events = false;
  std::atomic<bool> no_evict{false};
  bool no_touch = false;

  // What it wants of SYNC: REPLCONF.
  struct RdbWish {
    bool only = false;        // a file, and nothing after it
    bool takes_mark = false;  // at its end, in place of a length before it
    bool keys = true, libraries = true;
  } rdb_wish;

  // MULTI
  bool in_multi = false;
  bool multi_failed = false;
  int executed_count = -1;  // commands of the EXEC that runs, for CLIENT LIST
  std::vector<Request> queue;
  uint64_t queued_bytes = 0;
  NamespacePtr queued_ns;  // that the last SELECT in the queue names; null: there is none
  WatchList watched;
  void leave_multi();
  // A bucket that was deleted and made again is another one, of the same name.
  void enter_again(const Store& store) {
    if (!ns->dropped.load(std::memory_order_relaxed)) return;
    if (NamespacePtr again = store.find_namespace(ns->name)) ns = std::move(again);
  }

  // What a script or a transaction needed beside the keys that its request names, so that it was
  // taken back and is run again.
  struct Lacking {
    std::vector<std::pair<NamespacePtr, std::string>> keys;
    bool all_stripes = false;
    std::unique_ptr<BlobReader> blob;                          // to be read
    std::vector<std::pair<std::string, std::string>> fetched;  // what such hold, by their names
    static std::string name_of(const BlobReader& reader);
    const std::string* find_fetched(const BlobReader& reader) const;  // null: it was not
    uint64_t fetched_bytes = 0;
    // It needs more than a turn, and goes on with LongScripts: what it is (Busy::Holder), and when
    // it began for the first time.
    const char* runs_long = nullptr;
    int64_t begun_ns = 0;
    bool gave_way = false;  // it lacked nothing but the leave to go on
  };
  std::unique_ptr<Lacking> lacking;
  Lacking& lacks() {
    if (lacking == nullptr) lacking = std::make_unique<Lacking>();
    return *lacking;
  }
  // What scripts and EXEC publish is sent once what they change is there: they may be taken back.
  struct Message {
    Channels::Kind kind;
    std::string channel, text;
  };
  std::vector<Message> unsent;

  // For CLIENT LIST and KILL.
  const uint64_t id;
  const std::string address, local_address;
  const int64_t created_ms;
  mutable Mutex mutex;
  std::string name ABSL_GUARDED_BY(mutex);
  std::string lib_name ABSL_GUARDED_BY(mutex);
  std::string lib_version ABSL_GUARDED_BY(mutex);
  std::atomic<const Row*> listed_row{nullptr};  // of the command that it said last
  // As of the last publish().
  NamespacePtr listed_ns ABSL_GUARDED_BY(mutex);
  PrincipalPtr listed_principal ABSL_GUARDED_BY(mutex);
  int listed_resp ABSL_GUARDED_BY(mutex) = 2;  // what is pushed to it is in this protocol
  bool listed_no_touch ABSL_GUARDED_BY(mutex) = false;
  int listed_multi ABSL_GUARDED_BY(mutex) = -1;
  // Constant after registration.
  std::function<void()> kill;
  // Ends it, on its thread, unless Engine::may_go_on().
  std::function<void()> recheck;
  int descriptor = -1;  // of its socket

  // What comes to it beside the answers, and what it wants to come.
  Outbox outbox;
  Subscriptions subscriptions{*this};
  TrackerOf tracker{*this};
  Lookout* monitored_by = nullptr;  // it is told of all commands: MONITOR
  // Commands that MONITOR showed of the one that runs, and of its runs that were taken back: these
  // are not shown again.
  uint64_t shown_now = 0, shown_before = 0;
  std::atomic<bool> monitors{false};  // the same for CLIENT LIST
  // RESP2 has no pushes: whoever listens in it may say little else.
  bool only_listens() const { return resp == 2 && subscriptions.any(); }
  // The first byte of a push.
  char push_byte() const { return push_byte_.load(std::memory_order_relaxed); }
  void speak(int version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    resp = listed_resp = version;
    push_byte_ = version == 2 ? '*' : '>';
  }
  ClientClass client_class() const {  // any thread
    return subscriptions.any_seen() ? ClientClass::kPubsub : ClientClass::kNormal;
  }

  // ---- waits that others may end ----
  enum class Unblock : uint8_t {
    kTimeout,  // as if its time were over
    kError,    // with the error that CLIENT UNBLOCK … ERROR asks for
    kGone,     // nobody waits for the answer any more
  };
  // For what a command asks for: until somebody wakes the waiter or calls unblock(), at most so
  // many milliseconds; 0: no limit.
  enum class Seen : uint8_t {
    kNot,      // by nobody
    kPaused,   // CLIENT LIST tells that it is blocked
    kBlocked,  // and unblock() ends it
  };
  awaitable<Woken> wait(std::shared_ptr<Waiter> waiter, Clock& clock, int64_t ms,
                        Seen seen = Seen::kNot);
  // Until a record is durable, so that answers may leave; Cancelled if the connection ends before,
  // which alone ends it.
  awaitable<Status> wait_durable(Log& log, Lsn lsn);
  int64_t waited_ns = 0;  // in all, for commands
  // Of the last wait that ended with kCancelled.
  Unblock unblocked() const { return unblocked_.load(); }
  // Whether it waited for a command.
  bool unblock(Unblock how);
  // The connection ends: nobody waits for anything any more.
  void unblock_all();
  // It does: what is done for it may be given up, if nothing is done for it after that.
  bool ends() const { return ends_.load(std::memory_order_relaxed); }
  // The peer sends no more: nobody waits for a command any more, now or later.
  void peer_ended();

  // ---- seconds without a sign of it ----
  // The door counts them, one at each of its looks: the clock on the wall may be set ahead, and
  // nobody is to go for that.
  std::atomic<int64_t> silent_s{0};  // since it last sent something
  // Since the last bytes of a large value, or of a long answer, went to or from it.
  static constexpr int64_t kNothingMoves = -1;  // none is under way
  std::atomic<int64_t> stalled_s{kNothingMoves};

  // ---- what it holds (Sessions::note_buffers) ----
  std::atomic<uint64_t> buffer_bytes{0};
  struct Held {                                        // the parts of it that CLIENT LIST names
    std::atomic<uint64_t> query{0}, query_room{0};     // what it sent and no command used up
    std::atomic<uint64_t> words{0};                    // of the command that is being read
    std::atomic<uint64_t> answers{0}, answer_room{0};  // what waits to be sent
    std::atomic<uint64_t> transaction{0};              // queued by MULTI
  } held;
  std::atomic<bool> stranger{false};   // it has no rights yet
  std::atomic<bool> sent_away{false};  // for what it held

  // Brings the listed fields up to date; called before a command that lists, before answers leave,
  // and before a command waits.
  void publish();
  std::string describe(int64_t now_ms) const;
  std::string_view listed_user() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (listed_principal == nullptr) return "default";
    return listed_principal->name();
  }

 private:
  std::shared_ptr<Waiter> waiter_ ABSL_GUARDED_BY(mutex);
  bool for_command_ ABSL_GUARDED_BY(mutex) = true;  // that is what it waits for
  bool may_be_unblocked_ ABSL_GUARDED_BY(mutex) = false;
  bool peer_ended_ ABSL_GUARDED_BY(mutex) = false;
  std::atomic<bool> ends_{false};
  std::atomic<Unblock> unblocked_{Unblock::kTimeout};

 public:
  std::atomic<bool> blocked{false};  // it waits in a command that blocks, or is paused
  std::atomic<bool> timed{false};    // the same for a command that says how long at most
  // Something is done for it that may take long: nothing is to be heard of it meanwhile.
  std::atomic<bool> served{false};
  bool away = false;                // it is with LongScripts
  std::optional<KeyHash> met_busy;  // by a command that does not name it with its keys

  // ---- in a cluster ----
  std::atomic<bool> reads_replicas{false};  // READONLY: it would take what a replica has
  // Of the keys of the command or the transaction that runs; kNoSlot: it has none.
  int slot = kNoSlot;

 private:
  std::atomic<char> push_byte_{'*'};  // resp is not theirs who push, but the command's that runs
};

// All sessions of the process.
class Sessions {
 public:
  uint64_t next_id() { return next_id_.fetch_add(1) + 1; }
  void add(std::shared_ptr<Session> session);
  void remove(uint64_t id);
  std::vector<std::shared_ptr<Session>> all() const;  // by id
  std::shared_ptr<Session> find(uint64_t id) const;   // null: there is none
  size_t size() const;

  // The connection of a session says what it holds now. Where all together hold more than `most`,
  // those are sent away that hold most, strangers before others, until they do not; false: the
  // caller is one of them.
  bool note_buffers(Session& session, uint64_t bytes, uint64_t most);
  uint64_t buffer_bytes() const {
    return static_cast<uint64_t>(
        std::max<int64_t>(buffer_bytes_.load(std::memory_order_relaxed), 0));
  }
  uint64_t sent_away() const { return sent_away_.load(std::memory_order_relaxed); }
  // The same for who did not say anything, where the limit has changed.
  void keep_buffers_within(uint64_t most);

 private:
  std::atomic<uint64_t> next_id_{0};
  static bool within(int64_t sum, uint64_t most) {
    return sum <= 0 || static_cast<uint64_t>(sum) <= most;
  }
  // Less than nothing for a moment, where one is taken off by others before it was added.
  std::atomic<int64_t> buffer_bytes_{0};
  std::atomic<uint64_t> sent_away_{0};
  mutable Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Session>> by_id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::kv
