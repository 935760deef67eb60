// What types that are compact while they are small, and a table when they are large, are made of.
//
// Threads: as core/index/collection.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "core/base/types.h"

namespace cairn::kv {

// What an allocator hands out anyhow for so much: a quarter of a power of two, or pages.
inline size_t allocated_for(size_t bytes) {
  constexpr size_t kStepMin = 16, kPage = 4 << 10;
  return round_up(bytes, std::clamp(std::bit_floor(bytes) / 4, kStepMin, kPage));
}

// The bytes of a compact one, 56 KiB at most. What is taken for them is what an allocator would
// hand out; after some went, up to half of it may be unused.
class CompactBytes {
 public:
  CompactBytes() = default;
  ~CompactBytes() { std::free(data_); }
  CompactBytes(const CompactBytes&) = delete;

  const char* data() const { return data_; }
  char* data() { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_, size_}; }
  size_t memory_bytes() const { return capacity_; }

  // Puts room for `made` bytes where `gone` were, and returns it.
  char* splice(size_t at, size_t gone, size_t made) {
    const size_t size = size_ - gone + made, tail = size_ - at - gone;
    if (size > capacity_) resize(size);
    if (tail > 0 && made != gone) std::memmove(data_ + at + made, data_ + at + gone, tail);
    size_ = static_cast<uint16_t>(size);
    if (made < gone && size < capacity_ / 2u) resize(size);
    return data_ + at;
  }
  void assign(std::string_view bytes) {  // that lie elsewhere
    char* to = splice(0, size_, bytes.size());
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  }
  // Room for so many in all, which are on their way.
  void reserve(size_t bytes) {
    if (bytes > capacity_) resize(bytes);
  }
  void fit() { resize(size_); }  // no more are
  void clear() {
    size_ = 0;
    fit();
  }

 private:
  void resize(size_t bytes) {
    const size_t capacity = bytes == 0 ? 0 : allocated_for(bytes);
    if (capacity == capacity_) return;
    assert(capacity <= UINT16_MAX);
    if (capacity == 0) {
      std::free(data_);
      data_ = nullptr;
    } else {
      auto* data = static_cast<char*>(std::realloc(data_, capacity));
      if (data == nullptr) throw std::bad_alloc();
      data_ = data;
    }
    capacity_ = static_cast<uint16_t>(capacity);
  }

  char* data_ = nullptr;
  uint16_t size_ = 0, capacity_ = 0;
};

// The table of one that is large; until it is made, its seed, in the same place: a secret of 63
// bits, marked by the one that no address has.
template <class Table>
class TablePlace {
 public:
  explicit TablePlace(uint64_t seed) : word_(seed | 1) {}
  ~TablePlace() { delete get(); }
  TablePlace(const TablePlace&) = delete;

  void make() { word_ = reinterpret_cast<uintptr_t>(new Table(seed())); }
  uint64_t seed() const { return word_; }  // while there is no table
  Table* get() const { return word_ & 1 ? nullptr : reinterpret_cast<Table*>(word_); }
  Table* operator->() const { return get(); }
  Table& operator*() const { return *get(); }
  explicit operator bool() const { return get() != nullptr; }

 private:
  uint64_t word_;
};

}  // namespace cairn::kv
