// Ids and addresses of the store as types of their own, and the aliases every module shares.
//
// An id is a plain number on disk and on the wire; in code it cannot be mixed up with another
// id or with a count. Every id has an invalid state, which is what a default-made one is in.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cairn {

namespace asio = boost::asio;

using absl::Status;
using absl::StatusOr;
template <class T>
using awaitable = asio::awaitable<T>;
using Executor = asio::any_io_executor;
using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A log sequence number: the byte offset of a record in the log, counted over all segments the
// store ever had. 0 is invalid ("no version"): offset 0 holds a segment header, never a record.
class Lsn {
 public:
  constexpr Lsn() = default;
  constexpr explicit Lsn(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  constexpr bool valid() const { return value_ != 0; }
  constexpr auto operator<=>(const Lsn&) const = default;

 private:
  uint64_t value_ = 0;
};

// Segment N holds the LSNs [N * segment_bytes, (N + 1) * segment_bytes).
class SegmentId {
 public:
  constexpr SegmentId() = default;
  constexpr explicit SegmentId(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  constexpr bool valid() const { return value_ != UINT64_MAX; }
  constexpr SegmentId next() const { return SegmentId(value_ + 1); }
  constexpr auto operator<=>(const SegmentId&) const = default;

 private:
  uint64_t value_ = UINT64_MAX;
};

// 0-15 are Redis databases, and so are some of the largest (core/store/holdings.h); 16 is the
// store's own; buckets follow. Never reused.
class NamespaceId {
 public:
  constexpr NamespaceId() = default;
  constexpr explicit NamespaceId(uint32_t value) : value_(value) {}
  constexpr uint32_t value() const { return value_; }
  constexpr bool valid() const { return value_ != UINT32_MAX; }
  constexpr auto operator<=>(const NamespaceId&) const = default;

 private:
  uint32_t value_ = UINT32_MAX;
};

inline constexpr uint64_t kBlockBytes = 4096;  // unit of alignment of all storage I/O

// Lengths and offsets out of a client's hands or off a disk may be any number. Whatever is computed
// from one before it was held against a limit goes through these, which never wrap around.
constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  if (a > UINT64_MAX - b) return std::nullopt;
  return a + b;
}
// The sum, or the largest number where there is none: for what is compared with a limit next.
constexpr uint64_t capped_add(uint64_t a, uint64_t b) {
  return checked_add(a, b).value_or(UINT64_MAX);
}
// Whether [begin, begin + length) lies within [0, size).
constexpr bool is_within(uint64_t begin, uint64_t length, uint64_t size) {
  return begin <= size && length <= size - begin;
}
// The next multiple of the unit; the last one there is for values above it.
constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  const uint64_t down = value - value % unit;
  return down == value ? value : checked_add(down, unit).value_or(down);
}

}  // namespace cairn
