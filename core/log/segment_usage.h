// How many bytes of each segment of the log the index still names: what the cleaner would have to
// copy. Never below the truth, except for a moment between an append and the change of the index,
// under the lock of the key's stripe.
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <memory>
#include <new>

#include "core/base/types.h"

namespace cairn {

class SegmentUsage {
 public:
  static constexpr uint64_t kSegmentsMax = uint64_t{1} << 20;  // 64 TiB of log at 64 MiB each

  SegmentUsage() : live_(static_cast<Cell*>(std::calloc(kSegmentsMax, sizeof(Cell)))) {
    if (live_ == nullptr) throw std::bad_alloc();  // the pages stay untouched until used
  }
  // A power of two. Before anything is counted.
  void start(uint64_t segment_bytes) {
    assert(std::has_single_bit(segment_bytes));
    shift_ = std::countr_zero(segment_bytes);
  }

  void add(Lsn lsn, uint64_t bytes) {
    cell(lsn.value() >> shift_).fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed);
  }
  void sub(Lsn lsn, uint64_t bytes) {
    cell(lsn.value() >> shift_).fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
  }
  // A newer record of the same size took the place of one. Nothing to do for most that are written
  // again soon; an atomic operation behind the copy of a record waits for all of it.
  void move(Lsn from, Lsn to, uint64_t bytes) {
    if (same_segment(from, to)) return;
    sub(from, bytes);
    add(to, bytes);
  }
  // Adds up before it adds, for who counts many records: the cells are everybody's, and a segment
  // has few. What it got is counted when it goes.
  class Sum {
   public:
    explicit Sum(SegmentUsage& usage) : usage_(usage) {}
    ~Sum() {
      for (const Kept& k : kept_) usage_.add_to(k);
    }
    Sum(const Sum&) = delete;
    Sum& operator=(const Sum&) = delete;
    void add(Lsn lsn, uint64_t bytes) {
      const uint64_t segment = lsn.value() >> usage_.shift_;
      Kept& k = kept_[segment % kept_.size()];
      if (k.segment != segment) {
        usage_.add_to(k);
        k = {segment, 0};
      }
      k.bytes += bytes;
    }

   private:
    friend SegmentUsage;
    struct Kept {
      uint64_t segment = 0, bytes = 0;
    };
    SegmentUsage& usage_;
    std::array<Kept, 16> kept_;
  };
  uint64_t segment_bytes() const { return uint64_t{1} << shift_; }
  bool same_segment(Lsn a, Lsn b) const { return a.value() >> shift_ == b.value() >> shift_; }
  uint64_t live(SegmentId segment) const {
    int64_t n = live_.get()[segment.value() % kSegmentsMax].load(std::memory_order_relaxed);
    return n < 0 ? 0 : static_cast<uint64_t>(n);
  }
  // The segment is gone; its number's place is free for another. A flush may still count off what
  // lay in it, so that place is emptied once more, long before another segment comes to it.
  void forget(SegmentId segment, SegmentId open) {
    cell(segment.value()) = 0;
    const uint64_t far = segment.value() + kSegmentsMax / 2;
    if (open.value() < far) cell(far) = 0;
  }

 private:
  using Cell = std::atomic<int64_t>;
  struct Free {
    void operator()(Cell* p) const { std::free(p); }
  };
  void add_to(const Sum::Kept& k) {
    if (k.bytes == 0) return;
    cell(k.segment).fetch_add(static_cast<int64_t>(k.bytes), std::memory_order_relaxed);
  }
  Cell& cell(uint64_t segment) { return live_.get()[segment % kSegmentsMax]; }
  int shift_ = 0;
  const std::unique_ptr<Cell, Free> live_;
};

}  // namespace cairn
