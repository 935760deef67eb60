// Memory for what commands make beside their answers and keep across turns: the table of an LCS,
// the stretch of a BITFIELD. Nobody sees it in the client's buffers, so all commands together take
// a part of the memory and no more (core/base/limits.h); who finds none left waits, and holds
// nothing meanwhile. They are served in the order in which they came; one that needs more than
// there is works alone.
//
// Threads: any.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <utility>

#include "core/base/async.h"
#include "core/base/mutex.h"

namespace cairn::kv {

class Workspace {
 public:
  class Share {
   public:
    Share(Workspace& of, uint64_t bytes) : of_(of), bytes_(bytes) {}
    ~Share() { of_.give_back(bytes_); }
    Share(const Share&) = delete;
    uint64_t bytes() const { return bytes_; }

   private:
    Workspace& of_;
    const uint64_t bytes_;
  };

  // `most`: what all may take together. `wait` is how the caller waits for what wakes him, or ends;
  // null if it ended.
  awaitable<std::unique_ptr<Share>> take(
      uint64_t bytes, uint64_t most,
      absl::FunctionRef<awaitable<Woken>(std::shared_ptr<Waiter>)> wait) {
    auto waiter = std::make_shared<Waiter>();
    const Place place = stand(waiter, bytes, most);
    (void)co_await wait(std::move(waiter));  // at once for who was served
    const bool served = leave(place);
    if (!served) co_return nullptr;
    co_return std::make_unique<Share>(*this, bytes);
  }

 private:
  struct Standing {
    std::shared_ptr<Waiter> waiter;
    uint64_t bytes, most;
    bool served = false;
  };
  using Place = std::list<Standing>::iterator;

  Place stand(std::shared_ptr<Waiter> waiter, uint64_t bytes, uint64_t most) {
    MutexLock lock(mutex_);
    line_.push_back({std::move(waiter), bytes, most});
    const Place place = std::prev(line_.end());
    serve();
    return place;
  }
  bool leave(Place place) {
    MutexLock lock(mutex_);
    const bool served = place->served;
    line_.erase(place);
    serve();  // who stood behind him
    return served;
  }
  void give_back(uint64_t bytes) {
    MutexLock lock(mutex_);
    used_ -= bytes;
    serve();
  }
  void serve() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (Standing& s : line_) {
      if (s.served) continue;
      if (used_ != 0 && used_ + s.bytes > s.most) return;
      used_ += s.bytes;
      s.served = true;
      s.waiter->wake();
    }
  }

  Mutex mutex_;
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  std::list<Standing> line_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::kv
