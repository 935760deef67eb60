// The bytes of the log, version 5. All integers are little-endian.
//
//   log       = segment*                     segment N in file segment-N
//   segment   = header frame* rest           `segment_bytes` long (64 MiB unless set at creation)
//   header    = SegmentHeader, padded with zeros to one block; written before the segment is named
//               in the manifest (core/log/manifest.h), which says the same
//   frame     = FrameHeader record+ padding  starts and ends on a block; one write
//   record    = RecordHeader expiry? origin? key meta value padding     padded to 8 bytes
//   expiry    = i64 Unix milliseconds, there iff flags & kRecordHasExpiry
//   origin    = u64 version  i64 Unix milliseconds, there iff flags & kRecordHasOrigin: the LSN and
//               the time at which the value was written, in a copy that the cleaner made
//   rest      = anything: zeros, or what another segment or life left, which no checksum accepts
//
// A transaction is a run of consecutive records, all but the last with kRecordGoesOn: all of them
// replay, or none. A small one lies in one frame, which is whole or not there. A larger one has
// frames of its own, in as many segments as it takes: the first says kFrameGoesOn, the last
// kFrameContinues, those between both. One whose end was not written is none: the proven log ends
// where its first frame begins.
//
// Checksums are CRC32C seeded with place_seed(store, segment, offset in segment); a record's covers
// the epoch of its frame too (record_seed). Enum values never change meaning. Versions 1 to 3 had
// no transactions larger than a frame and are not read; 4 had no kOperationPart.
#pragma once

#include <cstring>
#include <optional>
#include <string_view>

#include "core/base/checksum.h"
#include "core/base/plant.h"
#include "core/base/types.h"

namespace cairn {

static_assert(std::endian::native == std::endian::little, "the formats are written in place");

inline constexpr uint32_t kLogVersion = 5, kLogOldest = 4;
inline bool reads_version(uint32_t version) {
  return version >= kLogOldest && version <= kLogVersion;
}
// All LSNs are below: an entry of the index keeps 56 bits of one in units of 8 bytes.
inline constexpr uint64_t kLsnEnd = uint64_t{1} << 59;

inline constexpr uint32_t kSegmentMagic = 0x47534e43;  // "CNSG"
inline constexpr uint32_t kFrameMagic = 0x52464e43;    // "CNFR"

struct SegmentHeader {
  uint32_t magic;
  uint32_t crc;  // of the bytes after this field
  uint32_t version;
  uint32_t epoch;
  uint64_t store;
  uint64_t segment;
  uint64_t segment_bytes;
  uint64_t reserved;
};
static_assert(sizeof(SegmentHeader) == 48);

struct FrameHeader {
  uint32_t magic;
  uint32_t crc;  // of the bytes after this field
  uint32_t epoch;
  uint32_t record_count;
  uint64_t store;
  uint64_t lsn;            // of this header: segment * segment_bytes + offset
  uint64_t durable_lsn;    // everything below it was durable when this frame was sealed
  int64_t wall_ms;         // Unix time of its first record
  uint32_t payload_bytes;  // records, after this header and before the padding
  uint32_t flags;          // kFrameContinues, kFrameGoesOn
  // Where the log ended when this segment was opened: the seal of the one before it. Everything
  // below it was durable before this frame was written.
  uint64_t previous_end;
};
static_assert(sizeof(FrameHeader) == 64);

inline constexpr uint32_t kFrameContinues = 1;  // its first record goes on with a transaction
inline constexpr uint32_t kFrameGoesOn = 2;     // its last record does not end one

enum class RecordType : uint8_t {
  kPut = 1,             // key has this value from now on
  kDelete = 2,          // key is gone; meta: with which version (core/store/versions.h)
  kNamespace = 3,       // namespace `ns` is there: key its name, value core/store/properties.h
  kNamespaceDrop = 4,   // namespace `ns` and all in it is gone
  kNamespaceFlush = 5,  // all keys of `ns` with a smaller LSN are gone; no `ns`: of all databases
  kOperation = 6,       // the collection `key` changes as `value` says; its expiry is this one
  kName = 7,            // key has the collection of an identity: core/index/identities.h
  kExpiry = 8,          // what `key` holds stays as it is, and its expiry is this one, or none
  kOperationPart = 9,   // a stretch of an operation: core/log/record_parts.h
  kSwap = 10,           // which database holds the keys of which `ns`: core/store/holdings.h
};

// Low nibble of flags; the high nibble is the ValueType.
inline constexpr uint8_t kRecordHasExpiry = 1;
inline constexpr uint8_t kRecordIsBlob = 2;  // value is a blob reference (core/extents/blob_ref.h)
inline constexpr uint8_t kRecordHasOrigin = 4;

// Why a record is there.
enum class Cause : uint8_t {
  kUser = 1,       // somebody asked for it
  kExpiry = 2,     // the key's time had come
  kEviction = 3,   // memory was needed
  kLifecycle = 4,  // a rule of its bucket
  kCopy = 5,       // the cleaner or the compactor wrote again what was there
  // Somebody asked for it, and how an object came to be:
  kFormUpload = 6,      // from an HTML form
  kObjectCopy = 7,      // as a copy of another one
  kPartsCompleted = 8,  // of parts
  // Somebody asked for it, and of an object nothing but this is changed:
  kTagsPut = 9,
  kTagsDelete = 10,
  kAclPut = 11,
  kLockPut = 12,
};

inline constexpr uint8_t kRecordGoesOn = 1;  // in `run`: the next record is of the same transaction

struct RecordHeader {
  uint32_t crc;  // of all that follows in the record, padding left out
  uint32_t ns;
  uint32_t value_size;
  uint32_t meta_size;
  uint16_t key_size;
  RecordType type;
  uint8_t flags;
  Cause cause;
  uint8_t run;
  uint16_t reserved;  // 0
};
static_assert(sizeof(RecordHeader) == 24);

// A record in memory, before it is written or after it is read. Views, owning nothing.
struct RecordView {
  RecordType type = RecordType::kPut;
  uint8_t flags = 0;
  NamespaceId ns;
  int64_t expire_ms = 0;  // meaningful iff flags & kRecordHasExpiry
  std::string_view key;
  std::string_view meta;
  std::string_view value;
  Lsn version = {};     // meaningful iff flags & kRecordHasOrigin
  int64_t wall_ms = 0;  // likewise
  Cause cause = Cause::kUser;
  bool goes_on = false;  // as read; who writes leaves it to the log

  bool has_expiry() const { return flags & kRecordHasExpiry; }
  bool has_origin() const { return flags & kRecordHasOrigin; }
  bool is_blob() const { return flags & kRecordIsBlob; }
  uint64_t unpadded_size() const {
    return sizeof(RecordHeader) + (has_expiry() ? 8 : 0) + (has_origin() ? 16 : 0) + key.size() +
           meta.size() + value.size();
  }
  uint64_t size() const { return round_up(unpadded_size(), 8); }
};

// Writes the record; `to` has room for size() bytes.
inline void encode_record(const RecordView& r, bool goes_on, uint32_t seed, std::byte* to) {
  RecordHeader h{0,
                 r.ns.value(),
                 static_cast<uint32_t>(r.value.size()),
                 static_cast<uint32_t>(r.meta.size()),
                 static_cast<uint16_t>(r.key.size()),
                 r.type,
                 r.flags,
                 r.cause,
                 goes_on ? kRecordGoesOn : uint8_t{0},
                 0};
  std::byte* p = to + sizeof(h);
  auto put = [&p](const void* from, size_t n) {
    if (n > 0) std::memcpy(p, from, n);
    p += n;
  };
  if (r.has_expiry()) put(&r.expire_ms, 8);
  if (r.has_origin()) {
    put(&r.version, 8);
    put(&r.wall_ms, 8);
  }
  put(r.key.data(), r.key.size());
  put(r.meta.data(), r.meta.size());
  put(r.value.data(), r.value.size());
  std::memcpy(to, &h, sizeof(h));
  h.crc = crc32c(seed, {to + 4, static_cast<size_t>(p - to - 4)});
  std::memcpy(to, &h.crc, 4);
  std::memset(p, 0, static_cast<size_t>(to + r.size() - p));
}

// Reads the record at the start of `from` into `r`, which is as it was made; false if its lengths
// or checksum do not hold.
inline bool decode_record(Bytes from, uint32_t seed, RecordView& r) {
  if (from.size() < sizeof(RecordHeader)) return false;
  RecordHeader h;
  std::memcpy(&h, from.data(), sizeof(h));
  r.flags = h.flags;
  // 64-bit sums of 32-bit lengths cannot overflow.
  uint64_t body = (r.has_expiry() ? 8u : 0u) + (r.has_origin() ? 16u : 0u) + uint64_t{h.key_size} +
                  h.meta_size + h.value_size;
  if (body > from.size() - sizeof(h)) return false;
  if (crc32c(seed, from.subspan(4, sizeof(h) - 4 + body)) != h.crc &&
      !planted(Bug::kSkippedChecksum)) {
    return false;
  }
  const char* p = reinterpret_cast<const char*>(from.data()) + sizeof(h);
  r.type = h.type;
  r.cause = h.cause;
  r.goes_on = h.run & kRecordGoesOn;
  r.ns = NamespaceId(h.ns);
  if (r.has_expiry()) {
    std::memcpy(&r.expire_ms, p, 8);
    p += 8;
  }
  if (r.has_origin()) {
    std::memcpy(&r.version, p, 8);
    std::memcpy(&r.wall_ms, p + 8, 8);
    p += 16;
  }
  r.key = {p, h.key_size};
  r.meta = {p + h.key_size, h.meta_size};
  r.value = {p + h.key_size + h.meta_size, h.value_size};
  return true;
}
inline std::optional<RecordView> decode_record(Bytes from, uint32_t seed) {
  RecordView r;
  return decode_record(from, seed, r) ? std::optional(r) : std::nullopt;
}

// Headers carry their checksum in the second word.
template <class Header>
void seal_header(Header& h, uint64_t store, uint64_t file, uint64_t offset) {
  h.crc = crc32c(place_seed(store, file, offset),
                 {reinterpret_cast<const std::byte*>(&h) + 8, sizeof(h) - 8});
}
template <class Header>
bool header_intact(const Header& h, uint64_t store, uint64_t file, uint64_t offset) {
  return h.crc == crc32c(place_seed(store, file, offset),
                         {reinterpret_cast<const std::byte*>(&h) + 8, sizeof(h) - 8});
}

// Where a segment lies in the log, and whose it is: what its frames are checked against.
struct SegmentPlace {
  uint64_t store = 0;
  SegmentId segment;
  uint64_t segment_bytes = 0;
  uint32_t epoch = 0;
  uint64_t base() const { return segment.value() * segment_bytes; }
};

// What the checksum of the record at `offset` of a segment is seeded with.
inline uint32_t record_seed(uint64_t store, SegmentId segment, uint64_t offset, uint32_t epoch) {
  return place_seed(store, segment.value(), offset) + epoch * 0x9e3779b9u;
}

// The header of the frame at `offset` of the segment, if it is whole and says what can be: nothing
// is known of the log behind it. `bytes` begin there.
inline std::optional<FrameHeader> decode_frame_header(const SegmentPlace& place, uint64_t offset,
                                                      Bytes bytes) {
  FrameHeader h;
  if (bytes.size() < sizeof(h)) return std::nullopt;
  std::memcpy(&h, bytes.data(), sizeof(h));
  if (h.magic != kFrameMagic || h.epoch != place.epoch || h.store != place.store ||
      h.lsn != place.base() + offset ||
      !header_intact(h, place.store, place.segment.value(), offset) ||
      h.payload_bytes > place.segment_bytes - offset - sizeof(h) || h.durable_lsn > h.lsn ||
      h.previous_end > h.lsn) {
    return std::nullopt;
  }
  return h;
}
inline uint64_t frame_bytes(const FrameHeader& h) {
  return round_up(sizeof(h) + h.payload_bytes, kBlockBytes);
}

// Calls fn(record, lsn) for the records of a frame, `bytes` from its header on. False if one of
// them does not hold, or they do not add up; then some calls may have been made.
template <class Fn>
bool for_each_record(const SegmentPlace& place, const FrameHeader& h, Bytes bytes, Fn fn) {
  if (bytes.size() < sizeof(h) + h.payload_bytes) return false;
  const uint64_t frame = h.lsn - place.base();
  uint64_t at = sizeof(h);
  const uint64_t end = at + h.payload_bytes;
  for (uint32_t i = 0; i < h.record_count; i++) {
    RecordView r;
    const uint32_t seed = record_seed(place.store, place.segment, frame + at, h.epoch);
    if (!decode_record(bytes.subspan(at, end - at), seed, r) || r.size() > end - at) return false;
    fn(r, Lsn(h.lsn + at));
    at += r.size();
  }
  return at == end;
}

}  // namespace cairn
