// Memory for what commands make beside their answers and keep across turns: the table of an LCS,
// the stretch of a BITFIELD. Nobody sees it in the client's buffers, so all commands together take
// a part of the memory and no more (core/base/limits.h); who finds none left waits, and holds
// nothing meanwhile. One that needs more than there is works alone.
//
// Threads: any.
#pragma once

#include <absl/functional/function_ref.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/base/async.h"

namespace cairn::kv {

class Workspace {
 public:
  class Share {
   public:
    Share(Workspace& of, uint64_t bytes) : of_(of), bytes_(bytes) {}
    ~Share() {
      of_.used_.fetch_sub(bytes_);
      of_.given_back_.notify();
    }
    Share(const Share&) = delete;
    uint64_t bytes() const { return bytes_; }

   private:
    Workspace& of_;
    const uint64_t bytes_;
  };

  // `most`: what all may take together. Null if `gone` says that nobody waits any more, which is
  // asked whenever somebody gives some back.
  awaitable<std::unique_ptr<Share>> take(uint64_t bytes, uint64_t most,
                                         absl::FunctionRef<bool()> gone) {
    bool taken = false;
    co_await given_back_.until([&] { return gone() || (taken = try_take(bytes, most)); });
    if (!taken) co_return nullptr;
    co_return std::make_unique<Share>(*this, bytes);
  }
  // Destroys who waits.
  void drop() { given_back_.drop(); }

 private:
  bool try_take(uint64_t bytes, uint64_t most) {
    for (uint64_t used = used_.load(); used == 0 || used + bytes <= most;) {
      if (used_.compare_exchange_weak(used, used + bytes)) return true;
    }
    return false;
  }

  std::atomic<uint64_t> used_{0};
  Gate given_back_;
};

}  // namespace cairn::kv
