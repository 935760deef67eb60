// CLIENT TRACKING: which clients keep what they have read, and are told when it changes, as
// https://redis.io/docs/latest/develop/reference/client-side-caching/ describes it.
//
// By default the keys that a client reads are remembered in a table, and a key is told once: after
// that it has to be read again. A client in broadcast mode names prefixes instead, and is told of
// each key that begins with one, whether it has read it or not. Names are remembered without their
// database, as in Redis: a change in another one tells too much, and never too little. A message
// goes to the client itself, as a push of RESP3, or to the one that it redirects to.
//
// Nothing is lost: whoever holds an answer that a later commit has made old gets a message behind
// that answer.
//  1. A key is remembered under the lock of its stripe, by the command that reads it there. The end
//     of each commit tells of its changes under the same lock (core/store/change.h). So either the
//     read sees the change, or the change finds the key remembered; one that was told meanwhile for
//     another reason (the table was full) was told behind that read, too.
//  2. Such a message is put into the outbox of the client after its answer was begun, and a
//     connection sends answers that are there before what was pushed (gateway/resp/connection.h).
//  3. A command that waits, or works in turns, answers later than it read. Its keys are remembered
//     before its first look; if one is not any more when the answer is there, it may have changed
//     in between, and is told again behind the answer (answered()).
//  4. What a transaction or a script reads is remembered at its end, after its own changes were
//     told; but what it changes after reading it, before they are (runs(), ran()).
//  5. Interest in changes begins with the first client (ChangeListeners), before it reads anything.
// Between two connections, of a client that redirects, there is no order: it has to expect that a
// message overtakes the answer, as with Redis.
//
// The table is sharded by the names, and holds as many keys as tracking-table-max-keys says, and no
// more bytes than limits::workspace(), which the store counts. What is too much is told and
// forgotten, at random, by the commands that come (ran()) and by the door's clock (tidy()). Who is
// remembered with a key and is gone, or has stopped tracking, stays there until the key is told or
// many others have come to it; of the last client nothing stays. The prefixes have one lock, held
// while their clients are told: all of them would wait for each other's outboxes anyhow. A key is
// looked up among them by as many steps as prefixes are found or parted from, not by clients.
//
// Threads: any. A Tracker belongs to its session's thread, but for what others may see.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_set.h>
#include <absl/container/inlined_vector.h>
#include <absl/hash/hash.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/mutex.h"
#include "core/store/change.h"
#include "core/store/store.h"

namespace cairn::kv {

class Channels;
class Context;
class Session;
class Tracking;
struct Request;
struct Row;

// What one client tracks, and how. It outlives its session where a key remembers it.
class Tracker {
 public:
  enum Flag : uint32_t {
    kOn = 1 << 0,
    kBroadcast = 1 << 1,
    kOptIn = 1 << 2,    // keys are remembered after CLIENT CACHING YES alone,
    kOptOut = 1 << 3,   // or but after CLIENT CACHING NO
    kNoLoop = 1 << 4,   // it is not told of its own changes
    kCaching = 1 << 5,  // CLIENT CACHING was said, for the next command
    kBroken = 1 << 6,   // whom it redirects to is gone
  };
  using Names = absl::btree_set<std::string, std::less<>>;
  explicit Tracker(Session& session);

  bool has(uint32_t flag) const { return (flags_.load(std::memory_order_relaxed) & flag) != 0; }
  // Whether what it reads now is remembered.
  bool remembers() const;
  // The client it redirects to; 0: it is told itself; -1: it does not track.
  int64_t redirect() const;
  std::string letters() const;  // in CLIENT LIST

  // ---- its session's thread ----
  void set_caching() { flags_.fetch_or(kCaching, std::memory_order_relaxed); }
  const Names& prefixes() const { return prefixes_; }
  uint64_t bytes() const { return bytes_; }  // that the prefixes take here and there, about

 private:
  friend class Tracking;
  friend class TrackerOf;

  const uint64_t id_;
  std::atomic<uint32_t> flags_{0};
  std::atomic<uint64_t> redirect_{0};
  Mutex mutex_;
  Session* session_ ABSL_GUARDED_BY(mutex_);  // null: it has ended
  std::weak_ptr<Session> target_ ABSL_GUARDED_BY(mutex_);

  // Its session's thread.
  Tracking* tracking_ = nullptr;
  Names prefixes_;
  uint64_t bytes_ = 0;
  Names noted_;            // read by a transaction that is under way
  size_t remembered_ = 0;  // keys, of which the table was not tidied yet
};

// The part of a session: ends with it.
class TrackerOf {
 public:
  explicit TrackerOf(Session& session) : tracker_(std::make_shared<Tracker>(session)) {}
  ~TrackerOf();
  TrackerOf(const TrackerOf&) = delete;
  Tracker* operator->() const { return tracker_.get(); }
  Tracker& operator*() const { return *tracker_; }
  const std::shared_ptr<Tracker>& shared() const { return tracker_; }

 private:
  const std::shared_ptr<Tracker> tracker_;
};

class Tracking final : public ChangeListener {
 public:
  static constexpr uint64_t kKeysMax = 1'000'000;
  // `keys_max`: tracking-table-max-keys; 0: no limit.
  Tracking(Store& store, Channels& channels, const std::atomic<uint64_t>& keys_max);
  ~Tracking();

  // Whether anybody tracks. A session's thread sees it of its own session at once.
  bool any() const { return clients_.load(std::memory_order_relaxed) != 0; }

  struct Options {
    uint32_t flags = 0;
    uint64_t redirect = 0;
    std::shared_ptr<Session> target;  // of that number
    std::vector<std::string_view> prefixes;
  };
  void enable(Session& session, const Options& options);
  // Ends it. Of its prefixes so many go at once; whether some are left.
  bool leave(Session& session, size_t most);

  // ---- around commands, by their engine, where any() ----
  // The command runs now, under the locks of its keys.
  void runs(Context& c);
  // A command, or a whole transaction, ran, and its locks are still held (row: null if it is
  // unknown). `again`: it came to nothing, since it runs once more. `over`: it has been answered.
  void ran(Session& session, const Row* row, bool again, bool over);
  // The answer of a command is there that did not run at once.
  void answered(Session& session, const Request& request);

  // Forgets what is too much, and frees what was forgotten: about so many keys.
  void tidy(size_t most);

  uint64_t clients() const { return clients_.load(std::memory_order_relaxed); }
  uint64_t keys() const { return keys_.load(std::memory_order_relaxed); }
  uint64_t items();  // readers of keys
  uint64_t prefixes() const { return prefixes_count_.load(std::memory_order_relaxed); }

  void changed(std::span<const Change> changes, Committer* by) override;

 private:
  using TrackerPtr = std::shared_ptr<Tracker>;
  using Readers = absl::InlinedVector<TrackerPtr, 1>;  // by address
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return absl::Hash<std::string_view>()(text); }
  };
  // Its buckets can be picked at random.
  using Keys = std::unordered_map<std::string, Readers, Hash, std::equal_to<>>;
  struct alignas(64) Shard {
    Mutex mutex;
    Keys keys ABSL_GUARDED_BY(mutex);
    size_t items ABSL_GUARDED_BY(mutex) = 0;
  };
  static constexpr size_t kShards = 256;
  struct Message;
  class Telling;
  struct Prefix {
    absl::flat_hash_set<TrackerPtr> trackers;
    std::vector<std::string_view> keys;  // changed, while they are told
  };
  using Prefixes = absl::btree_map<std::string, Prefix, std::less<>>;

  size_t shard_of(std::string_view key) const { return (Hash()(key) >> 40) % kShards; }
  void note(const TrackerPtr& tracker, const Request& request, bool later);
  void overwrites(const TrackerPtr& tracker, const Context& c);
  void remember(std::string_view key, const TrackerPtr& tracker);
  bool remembered(std::string_view key, const TrackerPtr& tracker);
  // Takes a key out of the table, and tells who has read it.
  void forget(std::string_view key, uint64_t by, Telling& telling);
  void tell_readers(std::string_view key, const Readers& readers, uint64_t by, Telling& telling);
  void count(size_t shard, const std::string& key, const Readers& readers, int sign);
  void broadcast(std::span<const Change> changes, uint64_t by, Telling& telling);
  void match(std::string_view key, std::vector<Prefixes::value_type*>& found)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(prefixes_mutex_);
  void add_prefix(const TrackerPtr& tracker, std::string_view text);
  void flush(Telling& telling);
  void retire();
  bool too_much() const;
  bool evict_one();
  static void command_over(Tracker& tracker, const Session& session, const Row* row);

  Store& store_;
  Channels& channels_;
  const std::atomic<uint64_t>& keys_max_;
  std::atomic<uint64_t> clients_{0}, keys_{0}, prefixes_count_{0};
  std::atomic<uint64_t> bytes_{0};
  std::vector<Shard> shards_;

  Mutex clients_mutex_;  // before those of the shards
  absl::flat_hash_set<TrackerPtr> trackers_ ABSL_GUARDED_BY(clients_mutex_);
  Mutex prefixes_mutex_;
  Prefixes prefixes_ ABSL_GUARDED_BY(prefixes_mutex_);
  Mutex retired_mutex_;
  std::vector<Keys> retired_ ABSL_GUARDED_BY(retired_mutex_);  // forgotten, to be freed
  std::atomic<bool> any_retired_{false};
};

}  // namespace cairn::kv
