// What the connections of one door hold in buffers, as a sum that has a limit. A connection always
// has the little that it begins with; it asks for more.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace cairn::net {

class Buffers {
 public:
  // `most` says what they may hold together now; none: as much as they like.
  explicit Buffers(std::function<uint64_t()> most = {}) : most_(std::move(most)) {}
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  // What one connection holds; given back at its end.
  class Held {
   public:
    explicit Held(Buffers& all) : all_(all) {}
    ~Held() { set(0); }
    Held(const Held&) = delete;
    // It holds so much now, whatever the others do.
    void set(uint64_t bytes) {
      all_.bytes_.fetch_add(bytes - bytes_, std::memory_order_relaxed);  // may wrap: a difference
      bytes_ = bytes;
    }
    // The same if there is room for it, and if it is less than before.
    bool try_set(uint64_t bytes) {
      if (bytes > bytes_ && all_.most_ && all_.bytes() + (bytes - bytes_) > all_.most_()) {
        return false;
      }
      set(bytes);
      return true;
    }

   private:
    Buffers& all_;
    uint64_t bytes_ = 0;
  };

 private:
  const std::function<uint64_t()> most_;
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace cairn::net
