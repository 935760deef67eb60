// Threads that hash what is uploaded, beside the loops, and what several upload side by side.
//
//   Hashers     the threads; each takes as many streams as one vector has lanes
//   HashStream  the digests of one message, whose pieces are hashed in order, where they lie
//
// A stream that is alone is hashed as soon as it comes in, on another core than its loop's where
// there is one. Where there are several, a thread waits a moment until one of them has enough, and
// takes all that have anything: that saves CPU even where there is one core.
// A further thread wakes up when those that work have no lane left.
//
// Threads: a stream belongs to one coroutine; its pieces are read by one thread at a time.
// Memory: pieces stay where they are, and `keep` is let go of when they were hashed, by that
// thread. How much waits is up to who feeds the stream: below().
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/async.h"
#include "objects/message_digests.h"

namespace cairn::objects {

class HashStream;

class Hashers {
 public:
  // As many threads as there are cores, but one for a loop; at least one.
  static size_t threads_for_this_machine();

  explicit Hashers(size_t threads, BlockHasher hasher = BlockHasher());
  // Streams that are not done yet stay as they are; who waits for one is never woken.
  ~Hashers();
  Hashers(const Hashers&) = delete;

 private:
  friend class HashStream;
  // What a thread hashes of a stream next.
  struct Turn {
    std::shared_ptr<HashStream> stream;
    Bytes data;
  };
  // A stream that went on, and what it does not need any more.
  struct Passed {
    std::shared_ptr<HashStream> stream;
    std::shared_ptr<const void> keep;
  };
  using Time = std::chrono::steady_clock;
  // At most so many bytes of a stream in a turn, so that those that come in do not wait for long.
  static constexpr size_t kTurnBytes = 256 << 10;
  // A stream is due with so many bytes, if somebody waits for it, or if it is alone; and the first
  // after so long.
  static constexpr size_t kDueBytes = 512 << 10;
  static constexpr std::chrono::milliseconds kGather{2};

  void put(const std::shared_ptr<HashStream>& stream, Bytes data, std::shared_ptr<const void> keep);
  void hurry(HashStream& stream);
  void leave(HashStream& stream);

  void work();
  // These under the mutex.
  bool is_due(const HashStream& stream) const;
  void add_ready(std::shared_ptr<HashStream> stream);
  void note_due(HashStream& stream);
  void take(std::vector<Turn>& mine);
  void pass(std::vector<Turn>& mine, std::vector<Passed>& passed);
  void hash(const std::vector<Turn>& mine) const;

  const BlockHasher hasher_;
  std::mutex mutex_;
  std::condition_variable idle_, gathering_;       // on which threads wait
  std::deque<std::shared_ptr<HashStream>> ready_;  // with pieces, and no thread that has them
  Time::time_point since_;  // the first of these waits since then, or a thread took some of them
  size_t due_ = 0;          // of these
  size_t lanes_free_ = 0;   // of the threads that work, or are about to
  size_t streams_ = 0;      // that had a piece, and are not over
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

class HashStream : public std::enable_shared_from_this<HashStream> {
 public:
  // Null: update() hashes at once.
  explicit HashStream(Hashers* hashers) : hashers_(hashers) {}
  // Before the first byte.
  void add(Algorithm algorithm) { digests_.add(algorithm); }
  bool empty() const { return digests_.empty(); }
  // Small pieces are hashed at once where nothing waits before them, and so is what has no `keep`,
  // which may be only where nothing waits. Else the bytes stay as they are while `keep` is held.
  void update(Bytes data, const std::shared_ptr<const void>& keep);
  // Until at most so many bytes wait to be hashed.
  awaitable<void> below(size_t bytes);
  // Nobody wants the digests any more: what waits is let go of.
  void abandon();
  // After below(0).
  std::string digest(Algorithm algorithm);
  size_t waiting_bytes() const { return waiting_bytes_.load(); }

 private:
  friend class Hashers;
  struct Piece {
    Bytes data;
    std::shared_ptr<const void> keep;
  };
  const BlockHasher& hasher() const;

  Hashers* const hashers_;
  MessageDigests digests_;  // of who has the stream: a thread with its turn, or else the caller
  // Under the mutex of the threads.
  std::deque<Piece> pieces_;
  bool known_ = false;   // counted in streams_
  bool taken_ = false;   // it is ready, or a thread has it:
  bool held_ = false;    // the latter
  bool due_ = false;     // it is ready, and counted in due_
  bool wanted_ = false;  // somebody waits for all of it

  std::atomic<size_t> waiting_bytes_{0};
  std::atomic<bool> abandoned_{false};
  Gate moved_;
};

}  // namespace cairn::objects
