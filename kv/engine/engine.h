// Runs commands: finds the row, resolves the keys, checks arity and rights, takes the stripes,
// calls the function, and sees that there is one answer. MULTI, EXEC and WATCH (transactions.cc)
// are nothing but a way to take locks.
//
// Threads: one engine for each I/O thread; sessions use the engine of their thread. The counters
// may be read by others.
#pragma once

#include <memory>
#include <vector>

#include "kv/engine/acl.h"
#include "kv/engine/command.h"
#include "kv/engine/server.h"
#include "kv/engine/session.h"
#include "kv/engine/waiters.h"

namespace cairn::kv {

// All commands, by name; the same for every engine.
class Table {
 public:
  Table();
  // A command by its first words; a container, if it has no such subcommand.
  const Row* find(std::span<const std::string_view> words) const;
  const Row* find(std::string_view name) const;  // no subcommand
  const Row* find_subcommand(const Row& container, std::string_view name) const;
  std::span<const Row> subcommands(const Row& row) const { return {&row + 1, row.subcommands}; }
  std::span<const Row> rows() const { return rows_; }  // subcommands behind their containers
  size_t index_of(const Row& row) const { return static_cast<size_t>(&row - rows_.data()); }

 private:
  static constexpr size_t kSlots = 1024;
  static size_t slot_of(std::string_view name);
  std::vector<Row> rows_;  // constant after construction
  std::vector<const Row*> slots_;
};

class Engine {
 public:
  Engine(Server& server, const Table& table, std::vector<std::unique_ptr<Engine>>& all);

  struct Outcome {
    Lsn seen;               // what the answer has to wait for under `always`
    bool deferred = false;  // nothing was answered: await run_deferred(),
    bool cold = false;      // or run_cold(), since values have to come back first
    bool busy = false;      // or others have to let go of its keys, which may take long
  };
  // Starts to bring back the value that a request with one key will need.
  void fetch_ahead(Session& session, const Request& request);
  // Room for the requests that a connection reads ahead, for whoever runs on this thread; nothing
  // in it outlives a suspension.
  static constexpr size_t kGroupMax = 16;
  std::vector<Request>& group() { return group_; }
  // Looks the command up; request.args are set.
  void prepare(Session& session, Request& request);
  // False: one is busy, and none is taken. Takes the locks of several prepared requests, each with
  // one key of the session's namespace, and brings their entries near: a pipeline's cache misses
  // overlap instead of following each other. CPU per operation at pipeline 16 over 1 million keys:
  // SET 1.43 to 0.85 us, GET 1.10 to 0.70 (redis-server 7.0 beside it: 2.57 and 1.57; tools/bench
  // resp).
  bool lock_group(Session& session, std::span<const Request> requests, StripeLocks& locks);
  // `held`: locks that cover the request's key; else it takes its own.
  Outcome run(Session& session, Request& request, Reply& reply, StripeLocks* held = nullptr);
  // For a thread of its own (long_scripts.h): the same with stripes that are busy from then on.
  Outcome run_busy(Session& session, Request& request, Reply& reply, Busy::HolderPtr holder);
  // It has such a thread; who waits for what it changes is served by `home` where that takes
  // longer.
  void serve_from(Engine& home) { home_ = &home; }
  // What runs now, if it is on such a thread.
  const Busy::Holder* holder() const { return holder_.get(); }
  bool has_own_thread() const { return home_ != nullptr; }
  // Takes the words. If the command then has to wait, it is deferred, not cold, and has them back.
  awaitable<Outcome> run_cold(Session& session, Args& args, Reply& reply);
  // Takes the words.
  awaitable<Lsn> run_deferred(Session& session, Args& args, Reply& reply);

  // What a family keeps for each thread; made by it.
  struct Part {
    virtual ~Part() = default;
  };
  std::unique_ptr<Part> scripts;

  // A command of a script, or of a transaction: what is known of it is told apart.
  enum class Refused : uint8_t { kNo, kUnknown, kArity };
  Refused check_form(const Request& request) const;
  // One that a script called is refused before it runs; null: there is none of that name.
  void count_refused(const Row* row, std::string_view error);
  // Whether the session's principal may run it, on the keys that the request has, in this
  // namespace; and of a refusal, that ACL LOG tells of it.
  AclAnswer ask(const Session& session, const Request& request, const Namespace& space) const {
    if (session.principal == nullptr || session.principal->may_all()) return {};
    return ask(*session.principal, session, request, space);
  }
  // The same, were he in the session's place.
  AclAnswer ask(const Principal& who, const Session& session, const Request& request,
                const Namespace& space) const;
  void note_refused(const Session& session, const Request& request, const AclAnswer& answer,
                    std::string_view context) const;
  void note_audit(const Session& session, const Request& request, const Namespace& space,
                  bool allowed) const;
  // Whether who listens, looks on, keeps what he read, or only waits still may, and is still known.
  bool may_go_on(const Session& session) const;
  // Whether it is his ACL that allows it; and with it to read keys that its words do not name. For
  // Circumstances::granted, of what a command asks for beside its keys.
  bool acl_allows(const Session& session, const Request& request) const;
  bool acl_reads_all(const Session& session, const Request& request) const;
  // Under the locks and in the transaction of `outer`; what `inner` answers is one answer.
  void run_inner(Context& inner);
  // To MONITOR, once: a script shows itself before what it calls.
  void show(Context& c);
  void resolve(const NamespacePtr& space, Request& request);
  // Whether a value that it looks at is on disk alone; the stripes of its keys are locked.
  bool waits_for_values(Session& session, const Request& request);
  // The same of its own keys, for a command of a transaction or a script.
  static bool looks_at_cold(const Request& request);
  // Of such a command: its keys are to be locked, with their values in memory, when all of that
  // begins again.
  static void note_lacking(Session& session, const Request& request, const Transaction& txn);
  // ---- who waits (waiters.h, blocking.cc) ----

  // The rest of a command that has to wait: begins once more, stands in line if there is nothing,
  // and answers in the end. `timeout_ms`: 0 for no limit.
  awaitable<void> wait_for(Context& c, Awaited& awaited, int64_t timeout_ms);
  // Hears of the keys that the changes of a command have made ready.
  Committer* committer(uint64_t client) {
    ready_.client = client;
    return &ready_;
  }
  // Serves those who wait for a key, under locks of its own. On this engine's thread.
  void serve(ReadyKey key);

  Store& store() { return store_; }
  Server& server() { return server_; }
  const Table& table() const { return table_; }

  // Of each row of the table, over all engines. Some of the calls are timed, and those after one of
  // them are taken to last as long as it did; of what waits, the time in which it did not wait for
  // others is added.
  struct Calls {
    uint64_t calls = 0, rejected = 0, failed = 0;
    double us = 0;
  };
  std::vector<Calls> calls() const;
  // How long its calls took, of each row of the table; empty: nobody counted.
  std::vector<Durations::Sums> durations() const;
  void reset_calls();
  void count_hit(bool hit) {
    auto& c = hit ? hits_ : misses_;
    c.store(c.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  uint64_t total_commands() const;
  uint64_t total_hits() const;
  uint64_t total_misses() const;

  // The transaction commands.
  static void multi(Context& c);
  static void exec(Context& c);
  static void discard(Context& c);
  static void watch(Context& c);
  static void unwatch(Context& c);
  // What a script or EXEC published, unless it came to nothing.
  void send_messages(Context& c);

 private:
  struct Counts {  // written by the engine's thread
    std::atomic<uint64_t> calls{0}, ns{0}, rejected{0}, failed{0};
    std::atomic<Durations*> durations{nullptr};
    // Of the call that was timed last; that thread's alone.
    uint64_t last_ns = 0;
    size_t last_bucket = 0;

    Counts() = default;
    Counts(const Counts&) = delete;
    ~Counts() { delete durations.load(); }
  };
  Outcome run_locked(Session& session, Request& request, Reply& reply, const Reply::Mark& mark,
                     StripeLocks* held, StripeLocks& own);

  // Why a line was not served to its end: other locks, or values that are on disk, are needed; or
  // it is others' turn.
  enum class Stop : uint8_t { kEnd, kLocks, kValues, kTurn };
  struct Unserved {
    ReadyKey key;
    std::vector<ReadyKey> beside;  // what is needed beside it
    Stop why = Stop::kEnd;
  };
  // Serves who waits for the keys in ready_, at most `left`, as far as these locks go.
  void serve_under(StripeLocks& locks, size_t& left, std::vector<Unserved>& rest);
  Stop serve_line(const ReadyKey& key, StripeLocks& locks, size_t& left,
                  std::vector<ReadyKey>& beside);
  void hand_over(const Waiters::Claimed& claimed, StripeLocks& locks, const Now& now, bool dropped);
  // A command is over: serves with its locks, and then without them.
  [[gnu::noinline]] void serve_ready(StripeLocks& locks);
  awaitable<void> serve_in_turns(Unserved unserved);

  // EXEC came to nothing, and the session is out of its transaction.
  static void discard_refused(Context& c, const Status& status);
  // Answers the error and returns false if the command may not run, or not be queued. The request's
  // keys are resolved.
  bool admit(Session& session, Request& request, Reply& reply);
  // Whether it may be said by who listens; else it answered the error.
  static bool fits_listener(const Session& session, const Row& row, Reply& reply);
  void resolve_queue(Session& session);
  AclAnswer ask_policies(const Principal& who, const Session& session, const Request& request,
                         const Namespace& space, bool granted) const;
  // Whether the session's principal may do this to all its keys; else it answered the error. The
  // second: of a command that waited, or was queued.
  bool permitted(const Session& session, const Request& request, const Namespace& space,
                 Reply& reply) const;
  bool still_permitted(const Session& session, const Request& request, Reply& reply) const;
  // In a cluster, whether all its keys, and those of the transaction that it ends, are in one slot;
  // else it answered the error.
  static bool in_one_slot(Session& session, const Request& request, Reply& reply);
  void enqueue(Session& session, Request& request, Reply& reply);
  // Of all that a request needs; true: of all stripes.
  bool stripes_of(const Session& session, const Request& request,
                  absl::InlinedVector<KeyHash, 16>& hashes) const;
  // False: one is busy, and none is taken.
  bool lock_keys(const Session& session, const Request& request, StripeLocks& locks);
  // Until none of them is busy, or it has waited long enough.
  awaitable<Status> until_idle(Session& session, const Request& request);
  bool may_write(Context& c);
  void call(Context& c);
  void timed(Context& c, Counts& counts, uint64_t ns);
  static void count_duration(Counts& counts, size_t bucket);
  // Whether CLIENT PAUSE keeps it back.
  bool paused(const Session& session, const Request& request) const;
  // One command, one answer: what was answered since the mark stands only if it is that.
  void finish(Context& c, const Reply::Mark& mark);
  // The keys whose values a command will look at.
  Faults::Keys values_of(const Session& session, const Request& request) const;
  // Reads the value of a blob that a script lacked.
  awaitable<Status> read_lacking(Session& session);
  // Of the words that have to be read back for it: how long they are together, or why it cannot
  // have them.
  StatusOr<uint64_t> long_bytes(const Request& request) const;
  awaitable<Status> read_long_args(Request& request);

  static void bump(std::atomic<uint64_t>& n, uint64_t by = 1) {
    n.store(n.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }

  Server& server_;
  Store& store_;
  const Table& table_;
  std::vector<std::unique_ptr<Engine>>& all_;
  std::vector<Request> group_;
  std::vector<Counts> counts_;
  std::atomic<uint64_t> hits_{0}, misses_{0};
  const Executor executor_;  // of its thread
  ReadyKeys ready_;          // by what runs now
  Engine* home_ = nullptr;   // constant after start
  Busy::HolderPtr holder_;
};

// The families; each returns its rows.
std::span<const Row> acl_rows();
std::span<const Row> string_rows();
std::span<const Row> lcs_rows();
std::span<const Row> bit_rows();
std::span<const Row> bitfield_rows();
std::span<const Row> hyperloglog_rows();
std::span<const Row> hash_rows();
std::span<const Row> hash_expiry_rows();
std::span<const Row> list_rows();
std::span<const Row> list_blocking_rows();
std::span<const Row> list_search_rows();
std::span<const Row> key_rows();
std::span<const Row> connection_rows();
std::span<const Row> tracking_rows();  // more subcommands of CLIENT, behind connection_rows()
std::span<const Row> conditional_rows();
std::span<const Row> client_rows();  // more subcommands of CLIENT, behind connection_rows()
std::span<const Row> monitor_rows();
std::span<const Row> slowlog_rows();
std::span<const Row> latency_rows();
std::span<const Row> memory_rows();
std::span<const Row> debug_rows();
std::span<const Row> server_rows();
std::span<const Row> info_rows();
std::span<const Row> config_rows();
std::span<const Row> command_rows();
std::span<const Row> transaction_rows();
std::span<const Row> pubsub_rows();
std::span<const Row> script_rows();
std::span<const Row> function_rows();
std::span<const Row> sync_rows();

}  // namespace cairn::kv
