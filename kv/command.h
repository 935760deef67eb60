// A command: a row in a table, and what its function gets to work with.
//
// A row's `run` executes in place, under the locks of the stripes that its keys fall in, and never
// waits. Where a value lies in extents and the command needs its bytes, `run` changes nothing,
// calls defer() and returns; then `run_deferred`, a coroutine without locks, does the work and
// takes the locks itself when it commits.
//
// A value may be on disk alone (core/memory.h). Before a row without kKeyOnly runs, the engine
// brings the values of all its keys back, without locks; command code only ever sees values in
// memory.
//
// The locks and the permission check use one list of keys, that of keys_of(); Context::find and
// the like assert that a key is on it.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "core/transaction.h"
#include "kv/reply.h"

namespace cairn::kv {

class Engine;
class Session;

// The words of one command; [0] is its name. A word added by view stays where it is, in the input
// of its connection, until the command was answered; what lies anywhere else is added as a copy,
// since several commands are read ahead before the first of them runs. A word above the extent
// threshold was streamed into extents while it arrived: its text is empty and blob(i) is set,
// holding one reference.
class Args {
 public:
  explicit Args(Store& store) : store_(store) {}
  ~Args() { clear(); }
  Args(Args&&) = default;

  void clear();
  void add(std::string_view word) { words_.push_back(word); }
  void add_copy(std::string_view word) { words_.push_back(owned_.emplace_back(word)); }
  void add_blob(BlobRef blob);
  // A copy that owns its words; blobs move over.
  void assign_owned(Args& from);

  size_t size() const { return words_.size(); }
  std::string_view operator[](size_t i) const { return words_[i]; }
  const BlobRef* blob(size_t i) const;
  void set_text(size_t i, std::string text);  // in place of its blob
  bool has_blobs() const { return !blobs_.empty(); }
  uint64_t length(size_t i) const;
  // Passes the blob's reference to the caller.
  BlobRef take_blob(size_t i);
  void swap(Args& other) {
    words_.swap(other.words_);
    blobs_.swap(other.blobs_);
    owned_.swap(other.owned_);
  }

 private:
  Store& store_;
  std::vector<std::string_view> words_;
  std::vector<std::pair<size_t, BlobRef>> blobs_;
  std::deque<std::string> owned_;  // whose addresses stay
};

enum Flags : uint32_t {
  kWrite = 1 << 0,
  kReadOnly = 1 << 1,
  kDenyOom = 1 << 2,
  kAdmin = 1 << 3,
  kFast = 1 << 4,
  kNoAuth = 1 << 5,   // allowed before AUTH
  kNoMulti = 1 << 6,  // refused inside MULTI
  kLoading = 1 << 7,
  kWholeSpace = 1 << 8,  // takes all stripes: its keys are not known beforehand
  kBatch = 1 << 9,       // makes several changes, all or none
  kNoQueue = 1 << 10,    // runs at once inside MULTI: EXEC, DISCARD, RESET, …
  kBlobArgs = 1 << 11,   // takes words above the extent threshold
  kKeyOnly = 1 << 12,    // looks at no value, only at keys, lengths, types and expiries
  kLongArgs = 1 << 13,   // words above the extent threshold are read back into memory for it
};

class Context;

struct Row {
  std::string_view name;  // lower case
  int arity;              // words, name included; negative: at least so many
  uint32_t flags;
  int first_key, last_key, key_step;  // as Redis's COMMAND; 0: none
  void (*run)(Context&);
  awaitable<void> (*run_deferred)(Context&) = nullptr;
  std::string_view group = "generic";
  std::string_view summary = {};
  std::string_view since = "1.0.0";
};

// A command that was read, and what is known of it before it runs.
struct Request {
  explicit Request(Store& store) : args(store) {}
  Args args;
  const Row* row = nullptr;  // null: unknown
  KeyHash hash = 0;          // of its one key; 0: it has none or several, or waits in a transaction
  size_t end = 0;            // where the next one begins, for the reader's use
};

class Context {
 public:
  Context(Engine& engine, Session& session, const Row& row, Args& args, Reply& reply);
  // The hash of the row's first key in the session's namespace is known.
  void know_hash(KeyHash hash) {
    hashed_key_ = args[static_cast<size_t>(row.first_key)];
    hash_ = hash;
  }

  Engine& engine;
  Store& store;
  Session& session;
  const Row& row;
  Args& args;
  Reply& reply;
  StripeLocks* locks = nullptr;
  Transaction* txn = nullptr;  // what it changes; of all commands together inside EXEC
  bool in_exec = false;

  Namespace& ns() const;
  int64_t now_ms() const { return txn->now().ms(); }
  Wish wish() const;  // of what it changes

  // A turn of a command that has waited: locks of its own, and a time and a change of its own.
  class Turn {
   public:
    Turn(Context& context, StripeLocks& locks)
        : context_(context),
          outer_(std::exchange(context.locks, &locks), context.txn),
          txn_(context.store, &locks, Shape::kOne, context.wish()) {
      context.txn = &txn_;
    }
    ~Turn() {
      (void)txn_.commit();  // an error was answered when it was met
      context_.saw(txn_.seen());
      std::tie(context_.locks, context_.txn) = outer_;
    }
    Turn(const Turn&) = delete;

   private:
    Context& context_;
    const std::pair<StripeLocks*, Transaction*> outer_;
    Transaction txn_;
  };

  // Keys of this session's namespace, or of the given one.
  Entry* find(std::string_view key) { return find(ns(), key); }
  Entry* find(Namespace& ns, std::string_view key);
  // The same for a key that holds this type, or nothing; false after it answered WRONGTYPE.
  bool find(std::string_view key, ValueType type, Entry*& entry);
  // Answer the error themselves, in place of what was answered before, and return false if the
  // store refuses; then all that the command, or the transaction around it, changes is undone.
  bool put(Namespace& ns, const RecordView& record);
  bool put_string(std::string_view key, std::string_view value, int64_t expire_ms);
  bool remove(Namespace& ns, Entry* entry);
  // Changes the collection at `key`, or makes it; `entry` is what find() returned.
  bool operate(ValueType type, std::string_view key, Entry* entry, std::string_view operation);
  // A value given as word i: text or blob.
  bool put_word(std::string_view key, size_t i, int64_t expire_ms);
  // Writes the entry again with another expiry (0: none).
  bool put_expiry(Entry* entry, int64_t expire_ms);

  // The value of an entry as a bulk string, or a part of it.
  void reply_value(Entry* entry) { reply_range(entry, 0, UINT64_MAX); }
  void reply_range(Entry* entry, uint64_t offset, uint64_t length);

  // See the top of this file. Inside EXEC it answers an error instead.
  void defer();
  bool deferred() const { return deferred_; }
  // Values of keys it needs are on disk: nothing was changed or answered, and it is to run again.
  void wait_for_values() { deferred_ = waits_for_values_ = true; }
  bool waits_for_values() const { return waits_for_values_; }

  void syntax_error() { reply.error("ERR syntax error"); }
  // Takes the place of what the command answered before.
  void status_error(const Status& status);
  // A word as a 64-bit integer; answers Redis's error if it is none.
  bool integer(size_t i, int64_t& value,
               std::string_view error = "ERR value is not an integer or out of range");

  // What its answer has to wait for: the newest change it made or saw that is wished durable.
  Lsn seen() const { return seen_; }
  void saw(const Entry* entry) {
    if (entry->wished()) saw(entry->lsn());
  }
  // An answer about all keys rests on those that are gone, too.
  void saw_all(const Namespace& ns) { saw(Lsn(ns.removed.load(std::memory_order_relaxed))); }
  void saw(Lsn lsn) {
    if (lsn > seen_) seen_ = lsn;
  }

 private:
  KeyHash hash(Namespace& ns, std::string_view key);
  bool operate(Entry* entry, const RecordView& change);
  bool done(const Status& status);
  const Reply::Mark begin_;
  std::string_view hashed_key_;  // the very word: an empty one may begin where the next one does
  KeyHash hash_ = 0;
  Lsn seen_;
  bool deferred_ = false, waits_for_values_ = false;
};

// A refusal of the store in Redis's words.
std::string error_text(const Status& status);

// The keys of a command, with the namespace each is in.
using KeyList = std::vector<std::pair<NamespacePtr, std::string_view>>;
KeyList keys_of(const Row& row, Session& session, const Args& args, Store& store);

// What SCAN and its like take at once: COUNT is a hint, and nobody else is to notice a large one.
inline constexpr int64_t kScanCountMax = 10'000;

inline constexpr std::string_view kWrongType =
    "WRONGTYPE Operation against a key holding the wrong kind of value";

// Of a string.
inline uint64_t value_length(const Entry* e) {
  return e->is_blob() ? BlobRef::size_of(e->value()) : e->value_size;
}

// Redis's string2ll: the canonical form of an integer and nothing else.
std::optional<int64_t> parse_ll(std::string_view text);
// Redis's long double in a reply: 17 digits after the point, trailing zeros cut.
std::optional<long double> parse_float(std::string_view text);
std::string format_float(long double value);
// Redis's glob: * ? [a-z] [^x] \x. Never recurses deeper than the number of stars it must.
bool glob_match(std::string_view pattern, std::string_view text, bool ignore_case = false);

}  // namespace cairn::kv
