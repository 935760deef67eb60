// A stretch of a list: elements with consecutive numbers, packed into one piece of memory, shared
// and counted.
//
// Packed elements, in a block and in the log alike, can be read from both ends:
//   elements = element*
//   element  = head bytes tail
//   head     = u8 n, n < 254  |  254 u16 n  |  255 u32 n        n: how many bytes
//   tail     = the same, its first byte last
// There is room before or behind them, so that pushing and popping at either end moves nothing.
//
// Threads: as any value: a BlockRef belongs to who holds its lock. Two that share a block may be
// used by two threads at once: one that is shared is copied before it changes.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::kv {

// ---- packed elements ----
inline constexpr size_t packed_head(size_t n) { return n < 254 ? 1 : n <= UINT16_MAX ? 3 : 5; }
inline constexpr size_t packed_bytes(size_t n) { return n + 2 * packed_head(n); }
void pack(std::string& out, std::string_view element);
// The number of packed elements that these bytes are, and nothing else; 0 if they are not, or none.
uint32_t count_packed(std::string_view bytes);

// The element that begins at `at`, of well-formed ones; and what is behind it.
inline std::string_view element_at(const char* at) {
  const auto n = static_cast<uint8_t>(*at);
  if (n < 254) return {at + 1, n};
  if (n == 254) {
    uint16_t size;
    std::memcpy(&size, at + 1, sizeof(size));
    return {at + 3, size};
  }
  uint32_t size;
  std::memcpy(&size, at + 1, sizeof(size));
  return {at + 5, size};
}
inline const char* behind(std::string_view element) {
  return element.data() + element.size() + packed_head(element.size());
}
// The element that ends before `end`, and where it begins.
inline std::string_view element_before(const char* end) {
  const auto n = static_cast<uint8_t>(end[-1]);
  if (n < 254) return {end - 1 - n, n};
  if (n == 254) {
    uint16_t size;
    std::memcpy(&size, end - 3, sizeof(size));
    return {end - 3 - size, size};
  }
  uint32_t size;
  std::memcpy(&size, end - 5, sizeof(size));
  return {end - 5 - size, size};
}
inline const char* begin_of(std::string_view element) {
  return element.data() - packed_head(element.size());
}

class BlockRef {
 public:
  static constexpr size_t kHeadBytes = 24, kBytes = 8 << 10;
  // Of packed elements in a block, unless a single one takes more.
  static constexpr size_t kPackedMax = kBytes - kHeadBytes;
  // What is known beforehand: it will grow in this direction, up to kPackedMax.
  enum class Grows : uint8_t { kNot, kBack, kFront };

  BlockRef() = default;
  BlockRef(int64_t first, std::string_view packed, uint32_t count, Grows grows = Grows::kNot);
  ~BlockRef() { release(); }
  BlockRef(const BlockRef& from) : block_(from.block_), count_(from.count_) {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  BlockRef(BlockRef&& from) noexcept
      : block_(std::exchange(from.block_, nullptr)), count_(from.count_) {}
  BlockRef& operator=(BlockRef from) noexcept {
    std::swap(block_, from.block_);
    std::swap(count_, from.count_);
    return *this;
  }

  explicit operator bool() const { return block_ != nullptr; }
  uint32_t count() const { return count_; }
  int64_t first() const { return block_->first; }  // the number of its first element
  int64_t end() const { return block_->first + count_; }
  std::string_view packed() const {
    return {data() + block_->begin, size_t{block_->end} - block_->begin};
  }
  size_t allocated_bytes() const { return kHeadBytes + block_->capacity; }
  bool is_shared() const { return block_->references.load(std::memory_order_acquire) > 1; }
  // Where in packed() the element stands that has so many before it.
  size_t offset(uint32_t index) const;
  std::string_view at(uint32_t index) const { return element_at(packed().data() + offset(index)); }

  // These `count` elements take the place of those between two places in packed(), which were
  // `were`; `first` is the number of the first element then.
  void splice(size_t from, size_t to, uint32_t were, std::string_view packed, uint32_t count,
              int64_t first);
  void fit();  // it will not grow any more

  // fn(element), of `n` elements from the one at `index` on, or back; fn returns false to stop, and
  // so does this.
  template <class Fn>
  bool walk(uint32_t index, uint64_t n, Fn fn) const {
    const char* at = packed().data() + offset(index);
    for (const char* end = data() + block_->end; n > 0 && at != end; n--) {
      const std::string_view element = element_at(at);
      if (!fn(element)) return false;
      at = behind(element);
    }
    return true;
  }
  template <class Fn>
  bool walk_back(uint32_t index, uint64_t n, Fn fn) const {
    const char* end = packed().data() + offset(index + 1);
    for (const char* begin = data() + block_->begin; n > 0 && end != begin; n--) {
      const std::string_view element = element_before(end);
      if (!fn(element)) return false;
      end = begin_of(element);
    }
    return true;
  }

 private:
  struct Block {  // its elements lie behind it
    std::atomic<uint32_t> references{1};
    uint32_t capacity;  // for packed elements, which lie from begin to end
    int64_t first;
    uint32_t begin, end;
  };
  static_assert(offsetof(Block, end) + sizeof(uint32_t) == kHeadBytes);

  char* data() const { return reinterpret_cast<char*>(block_) + kHeadBytes; }
  static Block* allocate(size_t packed);
  void release();

  Block* block_ = nullptr;
  uint32_t count_ = 0;  // here, so that who looks for an index need not look at each block
};

}  // namespace cairn::kv
