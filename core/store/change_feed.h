// Changes as the log has them, for who follows the store: each durable record once, in the order of
// the log, from any LSN that the log still holds. So they outlive the process, and who was told of
// one before he could note it is told again.
//
//   ChangeFeed::Cursor cursor(feed, from);
//   for (;;) {
//     auto taken = co_await cursor.next(1000);   // of one frame; empty: nothing came in that time
//     for (const FeedEvent& e : taken->events()) …
//     from = cursor.at();                        // where to go on after a restart
//   }
//
// One coroutine reads the log for all cursors, and keeps the newest kKeptBytes of it; a cursor that
// is behind that reads the log itself until it is not. It reads as long as there are cursors.
//
// What is told: puts, deletions, changes of collections and of expiries, flushes, swaps, and the
// end of buckets. Not what the store does for itself (copies of the cleaner and the like, the
// records of its own namespace). A name that a key had is that of the moment of the record, but for
// a large collection, which has the one of the moment at which the feed read it.
//
// Of a bucket that keeps versions (versions.h) all is told under the bucket and its keys. One
// change may make two events there, of one transaction: what became of the key, and of its
// versions.
//
// Threads: a cursor belongs to one coroutine; the rest from any. The feed ends before the store.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/async.h"
#include "core/log/log_tail.h"
#include "core/store/change.h"
#include "core/store/keyspace.h"
#include "core/store/versions.h"

namespace cairn {

struct FeedEvent {
  enum class Kind : uint8_t {
    kPut,      // the key has another value now, or one at all
    kPutBack,  // it has one again that was among its versions
    kRemove,   // the key is gone
    kOperate,  // a part of a collection changed
    kExpiry,   // its expiry alone changed
    kFlush,    // all keys of `ns` are gone; without one, of all databases
    kSwap,     // databases hold what others held
    kDrop,     // the bucket is gone
    // Of what is not current:
    kMarker,         // there is a delete marker; behind kRemove, if there was a value
    kVersionPut,     // a version has other tags
    kVersionRemove,  // a version or a delete marker is gone for good
  };
  bool is_of_current() const { return kind < Kind::kMarker; }
  Kind kind = Kind::kPut;
  Cause cause = Cause::kUser;
  ValueType type = ValueType::kString;  // of a put or operation
  bool is_blob = false;
  bool is_encrypted = false;  // then what it is of is not at hand, and `size` is that of it
  bool ends = true;           // the last record of its transaction
  Lsn lsn;
  Lsn written;          // of a value: the record that brought it
  int64_t wall_ms = 0;  // when its frame was written
  NamespaceId id;       // Namespace::id
  NamespacePtr ns;      // null: it is gone, or kFlush of all databases
  int64_t expire_ms = 0;
  // Which one is put, or gone for good; of a kRemove behind a delete marker, the marker.
  std::optional<Version> version;
  uint64_t size = 0;                                 // of a string's value
  std::string_view key = {}, meta = {}, value = {};  // `value` of a put string that is no blob
};

class ChangeFeed {
 public:
  static constexpr uint64_t kKeptBytes = 8 << 20;

  explicit ChangeFeed(Keyspace& keyspace) : keyspace_(keyspace) {}
  ChangeFeed(const ChangeFeed&) = delete;
  // Nobody is told any more; when it returns nothing reads for the feed. The log must be closed, or
  // go on to grow.
  awaitable<void> stop();

  // Events of one frame, immutable.
  struct Batch {
    Lsn from, to;  // it has all of [from, to)
    std::vector<FeedEvent> events;
    std::deque<std::string> texts;  // what they view into
    uint64_t bytes = 0;
  };
  using BatchPtr = std::shared_ptr<const Batch>;
  class Taken {
   public:
    Taken() = default;
    Taken(BatchPtr batch, Lsn from) : batch_(std::move(batch)), from_(from) {}
    // Valid as long as this is.
    std::span<const FeedEvent> events() const;

   private:
    BatchPtr batch_;
    Lsn from_;
  };

 private:
  // Reads the log and translates. Which database holds what has to be known where it begins.
  class Reader {
   public:
    // Nothing is known of the databases if they were swapped at `from` or since.
    Reader(Keyspace& keyspace, Lsn from);
    // Without waiting there may be nothing yet.
    awaitable<StatusOr<BatchPtr>> next(bool waits);
    Lsn at() const { return tail_.at(); }
    bool knows_databases() const { return holdings_.has_value(); }

   private:
    void take(const RecordView& record, Lsn lsn, Batch& batch);
    void translate(const RecordView& record, Lsn lsn, Batch& batch);
    NamespacePtr find(NamespaceId stored, NamespaceId& id);
    Keyspace& keyspace_;
    LogTail tail_;
    std::optional<Holdings> holdings_;
    absl::flat_hash_map<uint32_t, NamespacePtr> buckets_;  // seen; some may be gone
  };

 public:
  class Cursor {
   public:
    Cursor(ChangeFeed& feed, Lsn from);
    ~Cursor();
    Cursor(const Cursor&) = delete;
    // The events of the next frame that has some, or none after so many milliseconds, whatever was
    // read. OutOfRange: some were cleaned away. Cancelled: the feed ends, or the log was closed.
    // Unavailable, DataLoss: the log cannot be read.
    awaitable<StatusOr<Taken>> next(int64_t ms);
    Lsn at() const { return at_; }
    // Goes on where the log begins now; for who was told OutOfRange.
    void skip_to_oldest();
    // False: databases were swapped between where it stood and the newest record, so that it cannot
    // be said whose keys those before are, and of keys in databases nothing is told.
    bool knows_databases() const { return knows_databases_; }

   private:
    ChangeFeed& feed_;
    Lsn at_;
    bool knows_databases_ = true;
    std::unique_ptr<Reader> reader_;  // while it is behind
  };

  // Where who is interested in nothing that was can begin: at the end of the log.
  Lsn now() const { return keyspace_.log().tail(); }
  size_t cursors() const { return cursor_count_.load(std::memory_order_relaxed); }

 private:
  awaitable<void> run();
  awaitable<Status> read_some(Reader& reader);
  void add_cursor();
  void remove_cursor() { cursor_count_--; }
  bool goes_on(const Status& read);
  void keep(BatchPtr batch);
  void forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the kept ones, that with what follows `at`; null: there is none. `behind`: `at` is before
  // all of them.
  BatchPtr find(Lsn at, bool& behind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Keyspace& keyspace_;
  std::atomic<size_t> cursor_count_{0};
  std::atomic<bool> stopping_{false};
  Gate more_;     // end_ or failed_ changed
  Gate stopped_;  // it does not run any more
  mutable Mutex mutex_;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  Status failed_ ABSL_GUARDED_BY(mutex_);
  std::deque<BatchPtr> kept_ ABSL_GUARDED_BY(mutex_);  // one behind the other, without a gap
  uint64_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Lsn begin_ ABSL_GUARDED_BY(mutex_), end_ ABSL_GUARDED_BY(mutex_);  // of what they have
};

}  // namespace cairn
