#include "kv/types/list_block.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <new>

#include "core/base/text.h"
#include "kv/types/compact.h"

namespace cairn::kv {

void pack(std::string& out, std::string_view element) {
  const size_t n = element.size();
  if (n < 254) {
    out.push_back(static_cast<char>(n));
    out.append(element);
    out.push_back(static_cast<char>(n));
    return;
  }
  reserve_long(out, n);
  const bool is_short = n <= UINT16_MAX;
  const auto size = static_cast<uint32_t>(n);
  const auto* length = reinterpret_cast<const char*>(&size);  // little-endian
  const char mark = is_short ? '\xfe' : '\xff';
  out.push_back(mark);
  out.append(length, is_short ? 2 : 4);
  out.append(element);
  out.append(length, is_short ? 2 : 4);
  out.push_back(mark);
}

namespace {
// Whether a length of the form that stands before an element, or behind it read backwards, is
// there.
bool has_head(std::string_view bytes) {
  if (bytes.empty()) return false;
  const auto n = static_cast<uint8_t>(bytes[0]);
  return bytes.size() >= (n < 254 ? 1U : n == 254 ? 3U : 5U);
}
}  // namespace

uint32_t count_packed(std::string_view bytes) {
  uint32_t count = 0;
  while (!bytes.empty()) {
    if (!has_head(bytes)) return 0;
    const std::string_view element = element_at(bytes.data());
    const size_t head = packed_head(element.size());
    // One form for each length: what is read back is what was written.
    if (element.data() != bytes.data() + head) return 0;
    if (element.size() > bytes.size() || bytes.size() - element.size() < 2 * head) return 0;
    const char* end = behind(element);
    const auto mark = static_cast<uint8_t>(end[-1]);
    const size_t tail = mark < 254 ? 1 : mark == 254 ? 3 : 5;
    if (tail != head || element_before(end).size() != element.size()) return 0;
    bytes.remove_prefix(packed_bytes(element.size()));
    count++;
  }
  return count;
}

BlockRef::Block* BlockRef::allocate(size_t packed) {
  const size_t bytes = allocated_for(kHeadBytes + packed);
  auto* block = new (::operator new(bytes)) Block;
  block->capacity = static_cast<uint32_t>(bytes - kHeadBytes);
  return block;
}

BlockRef::BlockRef(int64_t first, std::string_view packed, uint32_t count, Grows grows) {
  assert(count > 0);
  block_ = allocate(grows == Grows::kNot ? packed.size() : std::max(packed.size(), kPackedMax));
  count_ = count;
  block_->first = first;
  block_->begin =
      grows == Grows::kFront ? block_->capacity - static_cast<uint32_t>(packed.size()) : 0;
  block_->end = block_->begin + static_cast<uint32_t>(packed.size());
  std::memcpy(data() + block_->begin, packed.data(), packed.size());
}

void BlockRef::release() {
  if (block_ == nullptr || block_->references.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  block_->~Block();
  ::operator delete(block_);
}

size_t BlockRef::offset(uint32_t index) const {
  const std::string_view all = packed();
  const char* at = all.data();
  if (index <= count_ / 2) {
    for (; index > 0; index--) at = behind(element_at(at));
  } else {
    at += all.size();
    for (; index < count_; index++) at = begin_of(element_before(at));
  }
  return static_cast<size_t>(at - all.data());
}

void BlockRef::splice(size_t from, size_t to, uint32_t were, std::string_view packed,
                      uint32_t count, int64_t first) {
  const std::string_view all = this->packed();
  const size_t size = all.size() - (to - from) + packed.size();
  const bool at_front = from == 0 && to < all.size();
  const uint32_t left = count_ - were + count;
  assert(left > 0);
  const bool roomy = size + kHeadBytes < allocated_bytes() / 2 && packed.size() < to - from;
  if (is_shared() || size > block_->capacity || roomy) {
    Block* made = allocate(size);
    made->begin = at_front ? made->capacity - static_cast<uint32_t>(size) : 0;
    made->end = made->begin + static_cast<uint32_t>(size);
    char* out = reinterpret_cast<char*>(made) + kHeadBytes + made->begin;
    std::memcpy(out, all.data(), from);
    std::memcpy(out + from, packed.data(), packed.size());
    std::memcpy(out + from + packed.size(), all.data() + to, all.size() - to);
    release();
    block_ = made;
  } else if (at_front) {
    char* const begin = data() + block_->begin;
    size_t place = block_->begin + to;  // of what stays
    if (place < packed.size()) {
      place = block_->capacity - (all.size() - to);
      std::memmove(data() + place, begin + to, all.size() - to);
    }
    std::memcpy(data() + place - packed.size(), packed.data(), packed.size());
    block_->begin = static_cast<uint32_t>(place - packed.size());
    block_->end = block_->begin + static_cast<uint32_t>(size);
  } else {
    if (block_->begin + size > block_->capacity) {
      std::memmove(data(), all.data(), all.size());
      block_->begin = 0;
    }
    char* const begin = data() + block_->begin;
    std::memmove(begin + from + packed.size(), begin + to, all.size() - to);
    std::memcpy(begin + from, packed.data(), packed.size());
    block_->end = block_->begin + static_cast<uint32_t>(size);
  }
  count_ = left;
  block_->first = first;
}

void BlockRef::fit() {
  if (is_shared() || allocated_for(kHeadBytes + packed().size()) > allocated_bytes() * 3 / 4)
    return;
  BlockRef fitting(first(), packed(), count());
  std::swap(block_, fitting.block_);
}

}  // namespace cairn::kv
