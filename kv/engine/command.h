// A command: a row in a table, and what its function gets to work with.
//
// A row's `run` executes in place, under the locks of the stripes that its keys fall in, and never
// waits. Where a value lies in extents and the command needs its bytes, `run` changes nothing,
// calls defer() and returns; then `run_deferred`, a coroutine without locks, does the work and
// takes the locks itself when it commits.
//
// A value may be on disk alone (core/store/memory.h). Before a row without kKeyOnly runs, the
// engine brings the values of all its keys back, without locks; command code only ever sees values
// in memory.
//
// Which keys a request has is resolved once (key_spec.h) into its list, with the namespace, the
// hash and the access of each. Locks, reads from disk, the permission check and WATCH use that
// list, and so does the Context of the running command: a key that is not on it, or not in this
// way, is refused.
//
// Every command answers exactly one value. A function may answer anything before it changes the
// store: if the change is refused, or the function answered nothing or twice, what it answered is
// taken back and an error stands there instead (Engine::finish).
#pragma once

#include <absl/container/flat_hash_set.h>
#include <absl/container/inlined_vector.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "core/store/store.h"
#include "core/store/transaction.h"
#include "core/store/users.h"
#include "kv/engine/events.h"
#include "kv/engine/key_spec.h"
#include "kv/engine/reply.h"
#include "kv/engine/workspace.h"

namespace cairn::kv {

class Engine;
class Session;

// The words of one command; [0] is its name. A word added by view stays where it is, in the input
// of its connection, until the command was answered; what lies anywhere else is added as a copy,
// since several commands are read ahead before the first of them runs. A word above the extent
// threshold was streamed into extents while it arrived: its text is empty and blob(i) is set,
// holding one reference. One that could not be kept is lost(): its command is refused for it.
class Args {
 public:
  explicit Args(Store& store) : store_(store) {}
  ~Args() { clear(); }
  Args(Args&&) = default;

  void clear() {
    words_.clear();
    if (!plain_ || words_.capacity() > kWordsKept) clear_rest();
  }
  void add(std::string_view word) { words_.push_back(word); }
  void add_copy(std::string_view word) {
    plain_ = false;
    words_.push_back(owned_.emplace_back(word));
  }
  void add_blob(BlobRef blob);
  void add_lost(const Status& why);
  const Status& lost() const { return lost_; }
  // A copy that owns its words; blobs move over.
  void assign_owned(Args& from);

  size_t size() const { return words_.size(); }
  std::string_view operator[](size_t i) const { return words_[i]; }
  std::span<const std::string_view> words() const { return words_; }
  const BlobRef* blob(size_t i) const;
  void set_text(size_t i, std::string text);  // in place of its blob
  bool has_blobs() const { return !blobs_.empty(); }
  uint64_t length(size_t i) const;
  // Passes the blob's reference to the caller.
  BlobRef take_blob(size_t i);
  void put_back(size_t i, BlobRef blob);  // with a reference, after it was taken
  void swap(Args& other) {
    words_.swap(other.words_);
    blobs_.swap(other.blobs_);
    owned_.swap(other.owned_);
    std::swap(lost_, other.lost_);
    std::swap(plain_, other.plain_);
  }

 private:
  static constexpr size_t kWordsKept = 1 << 12;
  void clear_rest();

  Store& store_;
  std::vector<std::string_view> words_;
  std::vector<std::pair<size_t, BlobRef>> blobs_;
  std::deque<std::string> owned_;  // whose addresses stay
  Status lost_;                    // why the first such word is
  bool plain_ = true;              // all words are views: there is nothing else
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
  kNoScript = 1 << 8,
  kDangerous = 1 << 9,  // a category of its own in Redis
  kPubsub = 1 << 10,
  kBlocking = 1 << 11,  // may wait for what it asks for
  // Ours; COMMAND does not show them.
  kWholeSpace = 1 << 16,    // takes all stripes: its keys are not known beforehand
  kBatch = 1 << 17,         // its changes are one batch
  kNoQueue = 1 << 18,       // runs at once inside MULTI: EXEC, DISCARD, RESET, …
  kBlobArgs = 1 << 19,      // takes words above the extent threshold
  kLongArgs = 1 << 20,      // words above the extent threshold are read back into memory for it
  kAllDatabases = 1 << 21,  // concerns all numbered databases
  kQueue = 1 << 22,         // its keys are those of the commands that wait in the transaction
  kListener = 1 << 23,      // allowed to whoever listens in RESP2
  kMessage = 1 << 24,       // its words are as long as words may be (with kLongArgs)
};

class Context;

// Which words of a command are channels that its user must be allowed.
enum class ChannelWords : uint8_t { kNone, kFirst, kAll, kPatterns };

// A row named "client|kill" is a subcommand of the row "client", and stands behind it.
struct Row {
  std::string_view name;  // lower case
  int arity;              // words, name included; negative: at least so many
  uint32_t flags;
  std::span<const KeySpec> keys;
  void (*run)(Context&);  // null: only its subcommands can be run
  awaitable<void> (*run_deferred)(Context&) = nullptr;
  std::string_view group = "generic";
  std::string_view summary = {};
  std::string_view since = "1.0.0";
  int selects = 0;  // the word that names the namespace in which the session goes on

  // Set by the table.
  uint16_t subcommands = 0;  // rows behind this one
  bool has_keys() const { return !keys.empty() && (keys[0].flags & kKeyNotKey) == 0; }
  bool is_subcommand() const { return name.find('|') != name.npos; }
  uint16_t one_key = 0;  // the word that is its only key, of the session's namespace
  uint16_t brief = 0;    // with so many words it takes no time that anybody would note; 0: never
  EventName event = {};  // of what it changes
  ChannelWords channels = ChannelWords::kNone;
  Action action = {};  // of a row without keys; with keys each has its own access
};

// A key of a request.
struct Key {
  Namespace* ns;  // null: there is none of that name
  std::string_view name;
  KeyHash hash;
  uint32_t word;
  uint16_t flags;               // KeyFlags
  mutable bool missed = false;  // that nothing is there was told: once of each word
  // Whether its value has to be in memory: also where what is replaced is kept as a version.
  bool needs_value() const {
    if ((flags & kKeyNameOnly) == 0) return true;
    return (flags & kKeyReadOnly) == 0 && ns != nullptr && ns->versions() != nullptr;
  }
};

// A command that was read, and what is known of it before it runs.
struct Request {
  explicit Request(Store& store) : args(store) {}
  Args args;
  const Row* row = nullptr;  // null: unknown
  // Resolved in `space`, which outlives them, or in one of `spaces`, and good until the session
  // enters another namespace.
  absl::InlinedVector<Key, 1> keys;
  std::vector<NamespacePtr> spaces;
  NamespacePtr selected;  // what Row::selects names, if it is there
  KeyHash hash = 0;       // of its one key; 0: it has none or several, or waits in a transaction
  size_t end = 0;         // where the next one begins, for the reader's use

  // Their room stays: InlinedVector::clear() gives it back.
  void forget_keys() { keys.erase(keys.begin(), keys.end()); }
  // For the next command; what a long one needed is not kept.
  void clear() {
    constexpr size_t kKeysKept = 1 << 12;
    args.clear();
    if (keys.capacity() > kKeysKept) decltype(keys)().swap(keys);
  }
};

// Bytes that a command puts together, in room that its thread keeps for the next one. Several at
// once, or one that ends on another thread, have room of their own.
class Scratch {
 public:
  Scratch() : text(std::exchange(kept(), {})) {}
  ~Scratch() {
    if (text.capacity() > kBytesKept) return;
    text.clear();
    kept().swap(text);
  }
  Scratch(const Scratch&) = delete;
  std::string text;

 private:
  static constexpr size_t kBytesKept = 64 << 10;
  static std::string& kept() {
    thread_local std::string text;
    return text;
  }
};

// Words that a command met, each counted once; of few, none is hashed and nothing allocated.
class Met {
 public:
  // False: it was there.
  bool add(std::string_view word) {
    if (!many_.empty()) return many_.insert(word).second;
    if (std::find(few_.begin(), few_.end(), word) != few_.end()) return false;
    few_.push_back(word);
    if (few_.size() > kFew) many_.insert(few_.begin(), few_.end());
    return true;
  }
  size_t size() const { return many_.empty() ? few_.size() : many_.size(); }

 private:
  static constexpr size_t kFew = 8;
  absl::InlinedVector<std::string_view, kFew + 1> few_;
  absl::flat_hash_set<std::string_view> many_;
};

class Context {
 public:
  Context(Engine& engine, Session& session, Request& request, Reply& reply);

  Engine& engine;
  Store& store;
  Session& session;
  Request& request;
  const Row& row;
  Args& args;
  Reply& reply;
  StripeLocks* locks = nullptr;
  Transaction* txn = nullptr;       // what it changes; of all commands together inside EXEC
  bool in_exec = false;             // or in a script
  const Request* script = nullptr;  // that called it
  bool shown = false;               // to MONITOR
  uint64_t errors_counted = 0;      // in the statistics, of those that it answered
  uint64_t errors_told = 0;         // of the others: by their codes, by commands that it called
  KeyHash locked = 0;               // whose stripe is locked for sure: that of its one key

  Namespace& ns() const;
  int64_t now_ms() const { return txn->now().ms(); }
  // When a value expires that a command puts as a whole and gives no expiry (0: never).
  int64_t default_expiry_ms() const { return ns().default_expiry_ms(txn->now()); }
  Wish wish() const;  // of what it changes
  Committer* committer() const;

  // A turn of a command that has waited: locks of its own, and a time and a change of its own.
  class Turn {
   public:
    Turn(Context& context, StripeLocks& locks, Shape shape = Shape::kOne)
        : context_(context),
          outer_(std::exchange(context.locks, &locks), context.txn),
          txn_(context.store, &locks, shape, context.wish()) {
      txn_.set_committer(context.committer());
      context.txn = &txn_;
      txn_.names_changes();
      context.in_turns_ = true;
    }
    ~Turn() {
      if (!committed_) (void)commit();
      context_.saw(txn_.seen());
      std::tie(context_.locks, context_.txn) = outer_;
    }
    Turn(const Turn&) = delete;
    // False: what it changed was refused, and the error is the command's answer.
    bool commit() {
      committed_ = true;
      const bool done = context_.done(txn_.commit().status());
      context_.tell_events(done);
      return done;
    }

   private:
    Context& context_;
    const std::pair<StripeLocks*, Transaction*> outer_;
    Transaction txn_;
    bool committed_ = false;
  };

  // Keys of this session's namespace, or of the given one.
  Entry* find(std::string_view key) { return find(ns(), key); }
  Entry* find(Namespace& ns, std::string_view key);
  // The same, which is no use of it: what OBJECT tells stays as it was, and nobody hears that it is
  // missed.
  Entry* look(std::string_view key);
  Entry* look(Namespace& ns, std::string_view key);
  // The same for a key that holds this type, or nothing; false after it answered WRONGTYPE.
  bool find(std::string_view key, ValueType type, Entry*& entry);
  // Return false if the store refuses; the error then is the command's answer, whatever it
  // answered, and all that it, or the transaction around it, changes is undone.
  bool put(Namespace& ns, const RecordView& record);
  bool put_string(std::string_view key, std::string_view value, int64_t expire_ms);
  bool remove(Namespace& ns, Entry* entry);
  // Gives what this session's namespace has there another name (Transaction::rename).
  bool rename(Entry* from, Namespace& to, std::string_view key);
  // Changes the collection at `key`, or makes it; `entry` is what find() returned.
  bool operate(ValueType type, std::string_view key, Entry* entry, std::string_view operation);
  // A value given as word i: text or blob.
  bool put_word(std::string_view key, size_t i, int64_t expire_ms);
  // Gives the entry another expiry (0: none); its value may be on disk.
  bool put_expiry(Entry* entry, int64_t expire_ms);

  // ---- what its changes are called in keyspace notifications (events.h) ----
  // Each change of a key is told under the event of the row; from now on under this name. Empty:
  // not at all, by a command that adds each itself.
  void set_event(std::string_view name) { event_.name = name; }
  // One more event of a key, for when all is committed.
  void add_event(Events::Class of, std::string_view event, const Namespace& ns,
                 std::string_view key);
  // To Redis a key is new that takes the place of what had its name; before that happens.
  void replaces(Namespace& ns, std::string_view key) {
    if (look(ns, key) != nullptr) add_event(Events::kNew, "new", ns, key);
  }
  // Around a change that is made in another way than by the functions above.
  void will_change(Namespace& ns, KeyHash hash, std::string_view key);
  void did_change(const Namespace& ns, std::string_view key) {
    if (tells_events()) add_event(event_.of, event_.name, ns, key);
  }
  // What was added is told, for it is committed; or forgotten. Under the locks of its keys.
  void tell_events(bool committed);
  // Those of a command of the same transaction, which is not committed yet.
  void take_events(Context& inner);

  // The value of an entry as a bulk string, or a part of it.
  void reply_value(Entry* entry) { reply_range(entry, 0, UINT64_MAX); }
  void reply_range(Entry* entry, uint64_t offset, uint64_t length);

  // See the top of this file. Inside EXEC it answers an error instead.
  void defer();
  bool deferred() const { return deferred_; }
  // A script lacked something (Session::Lacking): nothing of it, and of the transaction around it,
  // is done, and it is run again with that (Engine::run_cold).
  bool again = false;
  // The stripe of this hash is busy, and no key of its row is in it: as if it lacked something.
  void meets_busy(KeyHash hash);
  // The transaction around it comes to nothing, for the failure that it answers.
  bool dooms = false;

  void syntax_error() { reply.error("ERR syntax error"); }
  // The store's error is the command's answer, whatever it has answered or will answer.
  void status_error(const Status& status);
  const std::string& failure() const { return failure_; }  // empty: none
  // A word as a 64-bit integer; answers Redis's error if it is none.
  bool integer(size_t i, int64_t& value,
               std::string_view error = "ERR value is not an integer or out of range");

  // What its answer has to wait for: the newest change it made or saw that is wished durable.
  Lsn seen() const { return seen_; }
  void saw(const Entry* entry) {
    if (entry->wished()) saw(entry->lsn());
  }
  // Memory for what it makes beside its answer (Workspace); null after it answered that the
  // connection ends.
  awaitable<std::unique_ptr<Workspace::Share>> workspace(uint64_t bytes);
  // Whether its connection ends; then it answered so, and is to be given up.
  bool given_up();
  void give_up();
  // An answer about all keys rests on those that are gone, too.
  void saw_all(const Namespace& ns) { saw(Lsn(ns.removed.load(std::memory_order_relaxed))); }
  void saw(Lsn lsn) {
    if (lsn > seen_) seen_ = lsn;
  }

 private:
  // The request's own key of that name; null, after it refused, if there is none, if it may not be
  // changed, or if its stripe is not locked. That would be a bug of a command or of its row.
  const Key* resolved(const Namespace& ns, std::string_view key, bool change) {
    if (locked == 0) return resolved_of_all(ns, key, change);
    const Key& k = request.keys[0];  // nearly always: its one key, by the very word
    const bool itself = k.name.data() == key.data() && k.name.size() == key.size();
    const bool allowed = !change || (k.flags & kKeyChanges) != 0;
    return k.ns == &ns && itself && allowed ? &k : resolved_of_all(ns, key, change);
  }
  const Key* resolved_of_all(const Namespace& ns, std::string_view key, bool change);
  bool tells_events() const;
  void missed(const Key& key);
  bool done(const Status& status);
  size_t last_key_ = 0;  // commands take their keys in order
  struct Event {
    Events::Class of;
    std::string_view name;  // of a row, or a literal
    const Namespace* ns;
    std::string key;
    bool operator==(const Event&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const Event& e) {
      return H::combine(std::move(h), e.of, e.name, e.ns, e.key);
    }
  };
  EventName event_;
  std::vector<Event> events_;           // to be told
  absl::flat_hash_set<Event> in_turn_;  // what one turn told no later one tells again
  bool in_turns_ = false;
  std::string failure_;
  Lsn seen_;
  bool deferred_ = false;
};

// Who holds stripes for long (Busy::Holder), and what others are told of him.
inline constexpr const char* kBusyScript = "script";
inline constexpr const char* kBusyFunction = "function";
std::string busy_text(std::string_view who);
// A refusal of the store in Redis's words.
std::string error_text(const Status& status);

std::string upper(std::string_view text);
// HELP of every command that has subcommands: what the table says of them.
void help(Context& c);

// What SCAN and its like take at once: COUNT is a hint, and nobody else is to notice a large one.
inline constexpr int64_t kScanCountMax = 10'000;
// A cursor as Redis takes it: like strtoul, but nothing else in the word. Answers the error.
bool parse_cursor(Context& c, std::string_view word, uint64_t& cursor);

inline constexpr std::string_view kWrongType =
    "WRONGTYPE Operation against a key holding the wrong kind of value";

// A value that lies as ciphertext (objects/encryption.h), which only the other doors can read; and
// what comes into a bucket that wants such values, which only they can write.
inline constexpr std::string_view kEncrypted =
    "the value of this key is encrypted: it is read over S3 or gRPC";
inline constexpr std::string_view kOnlyEncrypted =
    "the bucket wants values encrypted: they are written over S3 or gRPC";
inline bool is_encrypted(const Entry* e) { return e->has_meta() && encrypted_size(e->meta()); }
// Whether what is done to a key with these flags looks at its value.
inline bool looks_at_value(uint16_t flags) { return (flags & (kKeyNameOnly | kKeyPassedOn)) == 0; }

// Of a string.
inline uint64_t value_length(const Entry* e) {
  if (e->has_meta()) {
    if (const auto size = encrypted_size(e->meta())) return *size;
  }
  return e->is_blob() ? BlobRef::size_of(e->value()) : e->value_bytes();
}

// How a value is kept, in Redis's words.
std::string_view encoding_of(const Entry* e);

// Redis's string2ll: the canonical form of an integer and nothing else.
std::optional<int64_t> parse_ll(std::string_view text);
// Redis's long double in a reply: 17 digits after the point, trailing zeros cut.
inline constexpr size_t kFloatCharsMax = 5 << 10;  // as Redis: the largest take 4,950
std::optional<long double> parse_float(std::string_view text);
std::string format_float(long double value);
}  // namespace cairn::kv
