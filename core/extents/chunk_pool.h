// The buffers through which large values go: a fixed number of chunks of 1 MiB, shared by all
// streams of the process.
//
// So many streams may be open at once, and so slow may their clients be, that chunks are lent and
// not owned. A stream takes one when it has bytes to move, and *rests* when it waits for its client
// or for anything else: what rests gives its chunk back as soon as somebody waits for one. A writer
// that gives back puts what it gathered on disk first; a reader reads the same bytes again. So a
// client that stands still costs nobody anything, however many of them there are, and a slow one
// is served as well as there is room.
//
// Why nobody waits for ever
//  1. Readers and writers have counts of their own: neither can take all.
//  2. Who waits for a chunk to read holds at most a chunk to write, which rests.
//  3. Who waits for a chunk to write may hold one to read. Whoever holds one to write rests or has
//     it on its way to the disk.
//  4. Who waits is served in the order in which he came.
//
// Threads: any; a stream is used on one executor, where it is also asked to give back.
#pragma once

#include <array>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/volume/volume.h"

namespace cairn {

inline constexpr uint64_t kChunkBytes = 1 << 20;

class ChunkPool {
 public:
  enum class Use : uint8_t { kRead, kWrite };
  // The sum, 512 MiB, is the most that large values take of memory.
  static constexpr std::array<size_t, 2> kChunksMax{320, 192};
  static constexpr size_t kPoolChunks = 32;

  // `kept`: so many are always there, and known to the rings.
  explicit ChunkPool(std::array<size_t, 2> most = kChunksMax, size_t kept = kPoolChunks);
  ChunkPool(const ChunkPool&) = delete;
  MutableBytes memory() { return slab_.span(0, slab_.size()); }

  // A stream that holds chunks.
  class Holder : public std::enable_shared_from_this<Holder> {
   public:
    Holder(ChunkPool& pool, Use use) : pool_(pool), use_(use) {}
    virtual ~Holder() = default;
    Holder(const Holder&) = delete;

    // From here to wake() the chunks may be called back, on this executor, where the caller is.
    void rest(const Executor& executor);
    // False if they were, since rest().
    bool wake();
    // The stream goes away, with its chunks given: it is not asked any more.
    void leave() { wake(); }

   protected:
    virtual void give_back() = 0;

   private:
    friend class ChunkPool;
    enum class State : uint8_t { kBusy, kResting, kAsked, kGaveBack };
    ChunkPool& pool_;
    const Use use_;
    // Under the pool's mutex.
    State state_ = State::kBusy;
    Executor executor_;
    std::list<std::shared_ptr<Holder>>::iterator place_;
  };

  // A chunk of kChunkBytes; waits while all are in use.
  awaitable<std::byte*> take(Use use);
  // One that nobody will miss, or null.
  std::byte* take_spare(Use use);
  void give(std::byte* chunk, Use use);

  size_t in_use() const;
  size_t waiting() const;

 private:
  struct Class {
    size_t most = 0, taken = 0;
    size_t asked = 0;  // holders that were asked and have not answered
    std::deque<Resume<std::byte*>> waiters;
    std::list<std::shared_ptr<Holder>> resting;  // longest first
  };
  Class& of(Use use) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return classes_[static_cast<size_t>(use)];
  }
  std::byte* allocate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void enqueue(Use use, Resume<std::byte*> resume);
  void ask(Class& c) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void asked(Holder& holder);

  AlignedBuffer slab_;
  mutable Mutex mutex_;
  std::vector<std::byte*> free_ ABSL_GUARDED_BY(mutex_);
  std::array<Class, 2> classes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn
