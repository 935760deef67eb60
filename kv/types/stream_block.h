// How entries of a stream lie in memory and in the log: packed in blocks.
//
//   entry   = u8 own  ms seq  [fields names]  values      own = 1: it has names of its own;
//                                                         0: those of its block
//   ms      = varint: milliseconds after the block's base
//   seq     = varint: after the base's, if the milliseconds are the same; else the whole number
//   fields  = varint, at least 1
//   names   = varint of their bytes, then name*           name, value = varint of its bytes, bytes
//   values  = value*                                      as many as there are names
//
// Most entries of a stream have the same fields, so a block keeps the names of its first entry
// once. Its base is an ID at or below that of its first entry, and stays when that goes.
//
// Threads: a block that more than one hold is not changed (edit() copies it first), so who holds a
// block reads it without a lock.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::kv {

struct StreamId {
  uint64_t ms = 0, seq = 0;
  auto operator<=>(const StreamId&) const = default;
  // The one after it and before it; the last has none after it, 0-0 none before it.
  StreamId next() const { return seq == UINT64_MAX ? StreamId{ms + 1, 0} : StreamId{ms, seq + 1}; }
  StreamId prev() const { return seq == 0 ? StreamId{ms - 1, UINT64_MAX} : StreamId{ms, seq - 1}; }
};
inline constexpr StreamId kStreamIdMin{}, kStreamIdMax{UINT64_MAX, UINT64_MAX};

// ---- varints: 7 bits a byte, the lowest first ----

inline void add_varint(std::string& out, uint64_t n) {
  for (; n >= 0x80; n >>= 7) out.push_back(static_cast<char>(n | 0x80));
  out.push_back(static_cast<char>(n));
}
inline size_t varint_bytes(uint64_t n) {
  size_t bytes = 1;
  for (; n >= 0x80; n >>= 7) bytes++;
  return bytes;
}
inline bool take_varint(std::string_view& in, uint64_t& n) {
  n = 0;
  for (unsigned shift = 0, i = 0; i < in.size() && shift < 64; i++, shift += 7) {
    const auto byte = static_cast<uint8_t>(in[i]);
    n |= uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) {
      in.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}
inline void add_bytes(std::string& out, std::string_view s) {
  add_varint(out, s.size());
  out.append(s);
}
inline bool take_bytes(std::string_view& in, std::string_view& s) {
  uint64_t n;
  if (!take_varint(in, n) || n > in.size()) return false;
  s = in.substr(0, n);
  in.remove_prefix(n);
  return true;
}

// ---- entries ----

struct StreamEntry {
  StreamId id;
  uint64_t fields = 0;
  std::string_view names, values;  // as above, without what stands before `names`

  // fn(field, value)
  template <class Fn>
  void for_each(Fn fn) const {
    std::string_view n = names, v = values, field, value;
    while (take_bytes(n, field) && take_bytes(v, value)) fn(field, value);
  }
};

class StreamBlock {
 public:
  // Redis's stream-node-max-bytes and stream-node-max-entries.
  static constexpr size_t kBytesMax = 4096, kEntriesMax = 100;

  // One of several holders of a block.
  class Ref {
   public:
    Ref() = default;
    explicit Ref(StreamBlock* block) : block_(block) {}
    ~Ref() { release(); }
    Ref(const Ref& other) : block_(other.block_) {
      if (block_ != nullptr) block_->references_.fetch_add(1, std::memory_order_relaxed);
    }
    Ref(Ref&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
      std::swap(block_, other.block_);
      return *this;
    }
    const StreamBlock& operator*() const { return *block_; }
    const StreamBlock* operator->() const { return block_; }
    explicit operator bool() const { return block_ != nullptr; }
    // Whether it has other holders; while nobody takes one of it, none comes.
    bool shared() const { return block_->references_.load(std::memory_order_acquire) > 1; }

   private:
    friend class StreamBlock;
    void release() {
      if (block_ == nullptr) return;
      if (block_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy(block_);
    }
    StreamBlock* block_ = nullptr;
  };

  // An empty one for entries that are mostly like this one.
  static Ref make(const StreamEntry& like, size_t room);
  // Of a block's bytes in the log; null if they are none.
  static Ref take(std::string_view& in);
  // Appends to `out` what take() makes a block of: all of it, or the entries from `from` to `to`.
  void add_to(std::string& out) const;
  void add_range_to(std::string& out, StreamId from, StreamId to) const;
  static void add_entry_to(std::string& out, const StreamEntry& e);
  // What add_entry_to() wrote, without making a block of it; false, and nothing taken, if it is
  // something else.
  static bool take_entry_alone(std::string_view& in, StreamEntry& e);

  size_t count() const { return count_; }
  StreamId base() const { return base_; }
  StreamId first() const;
  StreamId last() const { return last_; }
  size_t bytes() const { return size_; }
  size_t allocated() const { return sizeof(StreamBlock) + capacity_; }
  // For one whose names and values take so many bytes.
  bool has_room(size_t bytes) const { return count_ < kEntriesMax && size_ + bytes < kBytesMax; }
  bool has_room(const StreamEntry& e) const { return has_room(e.names.size() + e.values.size()); }
  bool is_too_large() const { return count_ > 2 * kEntriesMax || size_ > 2 * kBytesMax; }

  // Goes over the entries in order.
  class Reader {
   public:
    explicit Reader(const StreamBlock& block)
        : block_(&block), rest_(block.entries()), begin_(rest_.data()) {}
    // The place of the entry that next() gives, and going back to one.
    uint32_t at() const { return static_cast<uint32_t>(rest_.data() - begin_); }
    void seek(uint32_t at) { rest_ = block_->entries().substr(at); }
    bool next(StreamEntry& e) { return !rest_.empty() && block_->take_entry(rest_, e); }

   private:
    const StreamBlock* block_;
    std::string_view rest_;
    const char* begin_;
  };
  // How many of its entries are below this ID.
  size_t rank(StreamId id) const;
  std::optional<StreamEntry> find(StreamId id) const;

  // ---- changes; the block is `ref`'s own afterwards ----

  // Behind its last entry.
  static void append(Ref& ref, const StreamEntry& e);
  // In its place, at or above base(), or in place of the one of this ID.
  static void put(Ref& ref, const StreamEntry& e);
  // Takes out the entries from `from` to `to`; at least one stays.
  static void remove(Ref& ref, StreamId from, StreamId to);
  // Takes the second half of its entries, at least one each, into another block.
  static Ref split(Ref& ref);
  static void shrink(Ref& ref);

 private:
  StreamBlock() = default;
  static Ref allocate(size_t capacity);
  static void destroy(StreamBlock* block) {
    block->~StreamBlock();
    ::operator delete(block);
  }
  char* data() { return reinterpret_cast<char*>(this + 1); }
  const char* data() const { return reinterpret_cast<const char*>(this + 1); }
  std::string_view names() const { return {data(), names_size_}; }
  std::string_view entries() const { return {data() + names_size_, size_ - names_size_}; }
  bool take_entry(std::string_view& in, StreamEntry& e) const;
  // What a new entry takes, written to `out`.
  void encode(std::string& out, const StreamEntry& e) const;
  // Its own, with room for so many bytes.
  static StreamBlock& own(Ref& ref, size_t capacity);
  // In place of the entries' bytes from `begin` to `end`.
  static void replace(Ref& ref, uint32_t begin, uint32_t end, std::string_view bytes);

  std::atomic<uint32_t> references_{1};
  uint32_t size_ = 0, capacity_ = 0;  // bytes behind this
  uint32_t names_size_ = 0;
  uint32_t fields_ = 0;  // that all entries without names of their own have
  uint32_t count_ = 0;
  StreamId base_, last_;
};

}  // namespace cairn::kv
