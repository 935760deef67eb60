// What another door does by commands: gRPC's collections, and HTTP's look at one.
//
// Such a door has typed requests, but what a command means (when a list goes, which event is told,
// whose element it is that was pushed, what is answered in parts) stands once, in the command's
// function. So the door makes the command's words, which cost little beside the call that they came
// in, and takes the values that it answers, which never become text of a protocol.
//
// An errand is a session that nobody sees, for one call. Its commands run as those of an EXEC do:
// under locks and in a transaction that the door has, which may change other things in it, look at
// what was answered, and give up all of it. Or one runs by itself, and waits or takes turns
// (wait()). Whether its caller may do that is for the door to ask, before: of each key
// (key_spec.h).
//
// Threads: the loop of the engine; cancel() on any.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kv/engine/call_session.h"
#include "kv/engine/engine.h"
#include "kv/engine/reply.h"
#include "kv/engine/waiters.h"

namespace cairn::kv {

// What a command answered, to be taken value by value in its order; a Series as it goes, without
// locks. Taking another kind than the command answers yields nothing, and says so in broken().
class Values final : public Reply {
 public:
  // What would be more than so many bytes is let go, and overflowed(): of what a command answers at
  // once, or in all. A step of a Series may be larger: it is what there is of the store in one
  // place, and without it the rest would not be the answer.
  void set_limit(uint64_t held, uint64_t in_all = UINT64_MAX) {
    held_max_ = held;
    in_all_max_ = in_all;
  }
  // An array whose texts have more than so many bytes is not kept: is_cut() stands for it.
  void set_array_limit(uint64_t bytes) { array_max_ = bytes; }
  bool overflowed() const override { return overflowed_; }
  uint64_t bytes() const { return bytes_; }                      // held
  const std::string& error_text() const { return error_text_; }  // of the last; empty: none

  // They are taken while the locks that the command had are still held.
  void keep_locks() {
    if (series_ != nullptr) series_->keep_locks();
  }
  // All were taken, as far as is known without making more.
  bool ended() const { return values_.empty() && series_ == nullptr; }
  // Whether there is another value. Then the first is at hand.
  bool more();
  // What is left is let go, on the thread that would take it.
  void drop() {
    values_.clear();
    series_ = nullptr;
  }
  // A series ended too early: what is missing cannot come.
  bool lost() const { return lost_; }
  bool broken() const { return broken_; }

  std::optional<std::string> text();  // nothing: null
  std::string bytes_of_text() { return text().value_or(std::string()); }
  int64_t integer();
  uint64_t number() { return static_cast<uint64_t>(integer()); }
  std::optional<double> real();  // nothing: null; a text that is a number is one
  // How many values the aggregate has that begins here; pairs of a map count as two.
  uint64_t count();
  bool is_null();  // takes it if so
  bool is_cut();   // likewise

  Mark mark() const override { return {values_.size(), series_ != nullptr, due_, errors_}; }
  void cut(const Mark& mark) override;

 private:
  enum class Kind : uint8_t { kNull, kText, kInteger, kReal, kCount, kCut };
  struct Value {
    Kind kind;
    int64_t number = 0;
    double real = 0;
    std::string text = {};
  };
  void add(Kind kind, int64_t number = 0, double real = 0, std::string_view text = {});
  // False: it is not to be kept, since its array is too large.
  bool fits_in_array(Kind kind, uint64_t bytes);
  std::optional<Value> take();
  void write_simple(std::string_view text) override { add(Kind::kText, 0, 0, text); }
  void write_error(std::string_view text) override {
    error_text_ = text;
    add(Kind::kNull);
  }
  void write_integer(int64_t value) override { add(Kind::kInteger, value); }
  void write_real(double value) override { add(Kind::kReal, 0, value); }
  void write_boolean(bool value) override { add(Kind::kInteger, value ? 1 : 0); }
  void write_bulk(std::string_view bytes) override { add(Kind::kText, 0, 0, bytes); }
  void write_verbatim(std::string_view text) override { add(Kind::kText, 0, 0, text); }
  void write_stream(std::unique_ptr<BlobReader> blob) override;
  void write_series(std::unique_ptr<Series> values) override;
  void write_null() override { add(Kind::kNull); }
  void write_null_array() override { add(Kind::kNull); }
  void write_array(size_t count) override { add(Kind::kCount, static_cast<int64_t>(count)); }
  void write_map(size_t pairs) override { add(Kind::kCount, 2 * static_cast<int64_t>(pairs)); }
  void write_set(size_t count) override { add(Kind::kCount, static_cast<int64_t>(count)); }
  void write_notice(std::string_view, std::optional<std::string_view>, size_t) override {}

  std::deque<Value> values_;
  std::unique_ptr<Series> series_;  // behind all of them
  uint64_t bytes_ = 0, in_all_ = 0, held_max_ = UINT64_MAX, in_all_max_ = UINT64_MAX;
  // Of the array that is being added: its texts, and how many values it has so far.
  uint64_t array_max_ = UINT64_MAX, array_bytes_ = 0;
  size_t in_array_ = 0;
  std::string error_text_;
  bool in_series_ = false, overflowed_ = false, lost_ = false, broken_ = false;
};

struct Command {
  explicit Command(Store& store) : request(store) {}

  // Words; the caller keeps them, or adds copies.
  Args& words() { return request.args; }
  // Once the words are there: finds the row, which there must be.
  void find_row(const Table& table);
  bool writes() const { return (request.row->flags & kWrite) != 0; }
  // Resolves its keys.
  void enter(Engine& engine, NamespacePtr in);
  // What is to be locked for it then, and whose values are to be in memory.
  void add_keys(std::vector<KeyHash>& hashes, Faults::Keys& values) const;

  Request request;
  NamespacePtr space;
  Values values;
};

// The engine of this loop, which is one of the store's.
Engine& engine_of(const std::vector<std::unique_ptr<Engine>>& engines, const Executor& loop);

class Errand {
 public:
  explicit Errand(Engine& engine);
  Engine& engine() { return engine_; }

  // ---- commands in a transaction of the door's ----
  // Its committer is committer(), it names its changes, and the locks cover all keys, whose values
  // are in memory. Returns the error in Redis's words, empty for none; a refusal of the store is
  // the transaction's status.
  std::string run(Command& command, StripeLocks& locks, Transaction& txn);
  Committer* committer() { return &ready_; }
  // The door changed something itself in the same transaction.
  void did(Events::Class of, std::string_view event, const Namespace& ns, std::string_view key) {
    told_.add_event(of, event, ns, key);
  }
  // The transaction is committed, or is not to be. Under its locks.
  void end(bool committed);
  // Once the locks are let go: serves who waits for what it changed, and has its events written,
  // with this wish.
  awaitable<void> serve(Wish wish);

  // ---- one that may wait, or take turns, without locks ----
  // What it changes is durable when it is answered, and what it pops has at most so many bytes.
  // Before wait().
  void change_durably(uint64_t popped_bytes_max) {
    session_.durable = true;
    session_.popped_bytes_max = popped_bytes_max;
  }
  // Asked of one that waited, before it is served. Before wait().
  void served_if(std::function<bool()> may) { session_.may_still = std::move(may); }
  // As run(), with locks and transactions of its own. Takes the words.
  awaitable<std::string> wait(Command& command);
  // Of one that changes durably: its newest change; invalid: it changed nothing.
  Lsn changed() const { return session_.changed; }
  // Nobody waits for it any more: wait() ends, now and later.
  void cancel() {
    cancelled_ = true;
    session_.peer_ended();
    session_.unblock_all();
  }
  bool cancelled() const { return cancelled_.load(); }

  // What the answers have to wait for, beside what the transaction saw.
  Lsn seen() const { return seen_; }

 private:
  Engine& engine_;
  CallSession session_;
  ReadyKeys ready_;
  Request transaction_;  // around the commands
  Values nothing_;
  Context told_;  // has all events
  Lsn seen_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace cairn::kv
