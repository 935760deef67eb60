// The bytes that a client sent and that no command has used up. A connection at rest holds a
// kilobyte, one that sends more 16, and one that is in the middle of a large command what that
// command takes, up to the caller's limit.
//
// Threads: one connection's.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "core/base/types.h"

namespace cairn::resp {

class Input {
 public:
  std::string_view pending() const {
    return {reinterpret_cast<const char*>(data_.get()) + begin_, end_ - begin_};
  }
  bool empty() const { return begin_ == end_; }
  size_t size() const { return end_ - begin_; }
  size_t capacity() const { return capacity_; }

  // Where the next bytes go: at least some, at most what one turn reads, so that others have
  // theirs.
  MutableBytes room() {
    if (begin_ == end_) {
      begin_ = end_ = 0;
      if (capacity_ > kKeptMax) resize(kBusyBytes);
    }
    if (capacity_ - end_ < least_room() || capacity_ == 0) make_room();
    return {data_.get() + end_, std::min(capacity_ - end_, kTurnBytes)};
  }
  void added(size_t bytes) {
    end_ += bytes;
    // A read that took all there was room for: this client sends more at a time.
    if (end_ == capacity_ && capacity_ < kBusyBytes) resize(kBusyBytes);
  }
  void skip(size_t bytes) { begin_ += bytes; }
  // Where the pending bytes begin, and back to there; until the next room().
  size_t position() const { return begin_; }
  void go_back(size_t position) { begin_ = position; }
  // Takes so many bytes out that come after the first `offset` ones.
  void cut(size_t offset, size_t bytes) {
    std::byte* at = data_.get() + begin_ + offset;
    std::memmove(at, at + bytes, size() - offset - bytes);
    end_ -= bytes;
  }

 private:
  static constexpr size_t kRestBytes = 1 << 10;
  static constexpr size_t kBusyBytes = 16 << 10;
  static constexpr size_t kTurnBytes = 64 << 10;
  static constexpr size_t kKeptMax = 256 << 10;
  static constexpr size_t kLargeBytes = 1 << 20;

  size_t least_room() const { return std::min(capacity_ / 4, kTurnBytes); }
  void make_room() {
    // Much that is pending moves only where that makes much room.
    if (begin_ > 0 && (size() <= kBusyBytes || begin_ >= size())) {
      std::memmove(data_.get(), data_.get() + begin_, size());
      end_ -= begin_;
      begin_ = 0;
    }
    if (capacity_ == 0) return resize(kRestBytes);
    if (capacity_ - end_ >= least_room()) return;
    // A large command is held against a limit: it grows in smaller steps.
    const size_t step = capacity_ > kLargeBytes ? capacity_ / 4 : capacity_;
    resize(std::max(capacity_ + step, kBusyBytes));
  }
  void resize(size_t capacity) {
    auto data = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (end_ > begin_) std::memcpy(data.get(), data_.get() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    data_ = std::move(data);
    capacity_ = capacity;
  }

  std::unique_ptr<std::byte[]> data_;
  size_t capacity_ = 0;
  size_t begin_ = 0, end_ = 0;  // what is pending
};

}  // namespace cairn::resp
