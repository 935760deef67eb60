// Keyspace events that stay, with a position to go on from: the stream `__events__` of each
// database and bucket in which something happened. CONFIG SET notify-keyspace-stream says which
// classes of events (events.h) are kept; each is one entry with the fields `event` and `key`.
//
// The stream is a key like all others: XREAD BLOCK waits for it, groups share it, XTRIM and DEL cut
// it, rights are asked for by its name, it is in the log and comes back with it. Clients may write
// to it, too, and what they do with it is not an event in it. Only that it was evicted, or expired,
// is: that begins the next one.
//
// How an event gets there. It is noted under the lock of its key's stripe, in the queue of its
// namespace, which costs a copy of the name. Once the locks are given back, whoever caused it
// writes all that is in the queues, many events as one record, before its answer leaves:
//  1. The events of a key stand in the stream in the order of its changes. They are noted in that
//     order; and only the holder of the lock of the stream's stripe takes from a queue, and then
//     goes on with what one before him took and did not write.
//  2. A change through RESP, or of a collection over gRPC, that was acknowledged as durable has its
//     events in the log: the answer waits for them as it does for the change. They follow on it as
//     a change of their own: a crash before the answer may leave the one without the others.
//  3. Puts and deletions by HTTP and gRPC, and what expires or is evicted, know nothing of events:
//     a loop is told to write them. A crash may lose those of the last moment.
//
// How much. About `length_max` entries stay, the newest (0: all). Where memory is exhausted the
// stream grows no more: what comes takes the place of the oldest, but for the first kLengthLeast.
// An event that cannot be written is lost: since the key holds something else, the log takes no
// writes, or nobody came to write kQueuedBytesMax of names. That is counted, reported once for each
// row of them, and told by the stream itself as soon as that can be written again: an entry of the
// event `lost`, with an empty key and a field `count`. Who reads on from an ID that was trimmed
// since misses what was; XINFO STREAM shows it. Entries of a stream that begins anew have later IDs
// than those before had, as long as the process lives.
//
// Threads: any. Nothing blocks; write() waits where the stream is on disk alone.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/store/store.h"
#include "core/store/transaction.h"
#include "kv/types/stream_block.h"

namespace cairn::kv {

class Stream;

class EventStreams {
 public:
  static constexpr std::string_view kKey = "__events__";
  static constexpr uint64_t kLengthMax = 100'000;  // unless CONFIG SET says another
  static constexpr uint64_t kLengthLeast = 1000;
  static constexpr uint64_t kQueuedBytesMax = 64 << 20;  // of a namespace

  // `tell_expired`: that a stream was, under its lock, before another takes its place; whether that
  // is an event that is kept.
  EventStreams(Store& store, const std::atomic<uint64_t>& length_max,
               const std::atomic<Durability>& durability,
               std::function<bool(const Namespace&)> tell_expired)
      : store_(store),
        length_max_(length_max),
        durability_(durability),
        tell_expired_(std::move(tell_expired)) {}
  EventStreams(const EventStreams&) = delete;

  // Notes an event; under the lock of the key's stripe. Its name is a literal, or of a row.
  void note(const Namespace& ns, std::string_view event, std::string_view key);

  // Writes all that was noted before the call, or waits until others have. The caller holds no
  // stripe. Returns what an answer has to wait for, if they are wished durable.
  awaitable<Lsn> write(Wish wish);
  // The same without waiting; false: not all could be. `seen` becomes what write() returns.
  bool write_at_once(Wish wish, Lsn& seen);
  // Has them written by a loop, for a caller who cannot; he may hold any locks.
  void write_soon();
  // Now and then: forgets namespaces that are gone, and writes what nobody has.
  void look_after();

  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  // Events in a row; those before `next` are written.
  struct Batch {
    struct Item {
      std::string_view event;
      uint32_t key_bytes;
    };
    std::vector<Item> items;
    std::string keys;  // one behind the other
    size_t next = 0, at = 0;
    bool empty() const { return next == items.size(); }
    size_t left() const { return items.size() - next; }
    void skip(size_t count);
    void clear();
  };
  struct Queue {
    explicit Queue(NamespacePtr of) : ns(std::move(of)), hash(ns->hash(kKey)) {}
    const NamespacePtr ns;
    const KeyHash hash;  // of the stream
    // Under mutex_.
    Batch noted;
    uint64_t noted_count = 0;  // ever
    uint64_t lost = 0;         // of which the stream does not tell yet
    bool dirty = false;        // among dirty_
    // Under the lock of the stream's stripe.
    Batch taken;
    uint64_t done_count = 0;  // written, or lost
    StreamId last;            // given
    std::string operation;    // room
  };
  using QueuePtr = std::shared_ptr<Queue>;
  // With how many events have to be done.
  using Due = absl::InlinedVector<std::pair<QueuePtr, uint64_t>, 2>;
  enum class Left : uint8_t { kNothing, kMore, kCold };

  Due due();
  Left write_some(Queue& q, uint64_t until, const StripeLocks& locks, Wish wish);
  // Of q.taken. False: the stream is on disk alone. `lost` are those of which it is to tell, and
  // becomes 0 unless it does.
  bool append(Queue& q, const StripeLocks& locks, Wish wish, uint64_t& lost);
  // Puts the next of them into q.operation, and returns how many.
  size_t make_operation(Queue& q, const Stream* stream, int64_t now_ms, bool expired,
                        uint64_t lost);
  void take(Queue& q) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void lose(Queue& q, size_t count, std::string_view why);
  void count_lost(Queue& q, uint64_t count, std::string_view why);
  void note_written(Lsn lsn);
  Lsn rests_on(Wish wish) const {
    return wish == Wish::kDurable ? Lsn(written_.load(std::memory_order_acquire)) : Lsn();
  }
  awaitable<void> write_for_nobody();

  Store& store_;
  const std::atomic<uint64_t>& length_max_;
  const std::atomic<Durability>& durability_;
  const std::function<bool(const Namespace&)> tell_expired_;
  std::atomic<uint64_t> written_{0};  // the newest record's LSN
  std::atomic<uint64_t> lost_{0};
  std::atomic<bool> told_{false};  // a loop was
  Mutex mutex_;
  absl::flat_hash_map<const Namespace*, QueuePtr> queues_ ABSL_GUARDED_BY(mutex_);
  std::vector<QueuePtr> dirty_ ABSL_GUARDED_BY(mutex_);  // that are not written to their ends
};

}  // namespace cairn::kv
