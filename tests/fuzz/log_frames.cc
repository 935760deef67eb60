// Frames of the log and their records: whatever lies in the segments under good checksums, reading
// ends, and each record that comes back is one that was written, once and whole; with repair it
// always comes to an end.
//
//   input   = u8 bits: repair, stopped cleanly, a range is lost  u16 proven  u16 u16 the range
//             u8 segments  segment*  record bytes
//   segment = u8 bits: header damaged, epoch of another life, sealed, missing, cut short
//             u16 seal  u8 frames  frame*
//   frame   = u8 bits: kFrameContinues, kFrameGoesOn, header damaged, payload damaged, a block left
//             free, told of a previous end  i8 more records than there are  u16 durable
//             u16 previous end  u8 records  record*
//   record  = u8 type  u8 flags  u8 run  u8 key  u8 meta  u16 value: lengths
//
// LSNs are given in units of 512 bytes from the first segment on.
#include <map>

#include "core/base/text.h"
#include "core/log/log_reader.h"
#include "core/log/recovery.h"
#include "tests/fuzz/sim_world.h"

namespace cairn::fuzz {
namespace {

constexpr uint64_t kStore = 77, kSegmentBytes = 32 << 10, kFirst = 3;
constexpr size_t kSegmentsMax = 3;

uint64_t lsn(Input& input) {
  const uint64_t units = input.number(2);
  if (units >= 0xfff0) return UINT64_MAX - (0xffff - units);  // what no log comes to
  return units == 0 ? 0 : kFirst * kSegmentBytes + units * 512;
}

struct Segment {
  SegmentPlace place;
  uint64_t end = 0;
  bool there = true;
  std::string bytes;
};

// What was written: the key of each record by LSN.
using Written = std::map<uint64_t, std::string>;

std::string pattern(size_t size, uint64_t seed) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; i++) out[i] = static_cast<char>(seed + i * 7);
  return out;
}

void check_record(Bytes bytes, uint32_t seed) {
  const auto r = decode_record(bytes, seed);
  if (!r) return;
  law(r->unpadded_size() <= bytes.size(), "a record lies in its bytes");
  std::vector<std::byte> again(r->size());
  encode_record(*r, r->goes_on, seed, again.data());
  const auto twice = decode_record(again, seed);
  law(twice && twice->key == r->key && twice->meta == r->meta && twice->value == r->value &&
          twice->expire_ms == r->expire_ms && twice->version == r->version &&
          twice->goes_on == r->goes_on && twice->flags == r->flags && twice->type == r->type,
      "a record goes both ways");
}

// Appends a record that lies at `at` of the segment.
void append_record(std::string& payload, const SegmentPlace& place, uint64_t at, Input& input,
                   Written& written) {
  RecordView r;
  r.type = static_cast<RecordType>(1 + input.byte() % 8);
  r.flags = static_cast<uint8_t>(input.byte() & 0xf7);
  const bool goes_on = input.byte() % 2 != 0;
  const std::string key = pattern(input.byte(), at), meta = pattern(input.byte(), at + 1),
                    value = pattern(input.number(2) % 8192, at + 2);
  r.ns = NamespaceId(3);
  r.expire_ms = 1;
  r.version = Lsn(5);
  r.key = key;
  r.meta = meta;
  r.value = value;
  const uint64_t from = payload.size();
  payload.resize(from + r.size());
  encode_record(r, goes_on, record_seed(place.store, place.segment, at, place.epoch),
                reinterpret_cast<std::byte*>(payload.data()) + from);
  written[place.base() + at] = key;
}

// Appends a frame, unless there is no room for it.
void append_frame(Segment& segment, Input& input, Written& written) {
  const SegmentPlace& place = segment.place;
  const unsigned bits = input.byte();
  const auto more = static_cast<int8_t>(input.byte());
  FrameHeader h{};
  h.magic = kFrameMagic;
  h.epoch = place.epoch;
  h.store = place.store;
  h.durable_lsn = lsn(input);
  const uint64_t previous_end = lsn(input);
  if (bits & 32) h.previous_end = previous_end;
  const uint64_t at = segment.bytes.size();
  Written mine;
  std::string payload;
  const unsigned records = input.byte() % 8;
  for (unsigned i = 0; i < records; i++) {
    append_record(payload, place, at + sizeof(h) + payload.size(), input, mine);
  }
  if (at + sizeof(h) + payload.size() > kSegmentBytes) return;
  h.record_count = records + static_cast<uint32_t>(int{more});
  h.lsn = place.base() + at;
  h.payload_bytes = static_cast<uint32_t>(payload.size());
  h.flags = bits & 3;
  seal_header(h, place.store, place.segment.value(), at);
  std::string frame(reinterpret_cast<const char*>(&h), sizeof(h));
  frame += payload;
  if (bits & 4) frame[20] ^= 1;
  if ((bits & 8) && !payload.empty()) frame[sizeof(h) + payload.size() / 2] ^= 1;
  segment.bytes += frame;
  segment.bytes.resize(round_up(segment.bytes.size(), kBlockBytes));
  if ((bits & 16) && segment.bytes.size() < kSegmentBytes)
    segment.bytes.resize(segment.bytes.size() + kBlockBytes);
  written.insert(mine.begin(), mine.end());
}

Segment make_segment(uint64_t number, Input& input, Written& written) {
  Segment s;
  const unsigned bits = input.byte();
  s.place = {kStore, SegmentId(number), kSegmentBytes, (bits & 2) != 0 ? 8u : 9u};
  const uint64_t end = lsn(input);
  // The manifest never says what is not possible (manifest.cc).
  if ((bits & 4) && end > s.place.base() && end - s.place.base() <= kSegmentBytes) s.end = end;
  s.there = (bits & 8) == 0;
  SegmentHeader h{kSegmentMagic, 0, kLogVersion, s.place.epoch, kStore, number, kSegmentBytes, 0};
  seal_header(h, kStore, number, 0);
  if (bits & 1) h.epoch ^= 1;
  s.bytes.assign(reinterpret_cast<const char*>(&h), sizeof(h));
  s.bytes.resize(kBlockBytes);
  const unsigned frames = input.byte() % 8;
  for (unsigned i = 0; i < frames; i++) append_frame(s, input, written);
  if ((bits & 16) == 0) s.bytes.resize(kSegmentBytes);
  return s;
}

// One by one, as who follows the log reads it.
awaitable<bool> read_frames(SimWorld& world, const Segment& segment, const Written& written) {
  SegmentReader reader(world.volume, segment.place, kBlockBytes, kSegmentBytes);
  for (;;) {
    const uint64_t at = reader.at();
    auto frame = co_await reader.next();
    const auto found = find_frame(segment.place, as_bytes(segment.bytes), 0, at);
    law((frame.ok() && *frame) == found.has_value(), "both ways to find a frame agree");
    if (!frame.ok() || !*frame) break;
    law((*frame)->size() == found->size() && reader.at() == at + found->size(),
        "a frame has one length");
    for_each_record(
        segment.place, (*frame)->header, (*frame)->bytes, [&](const RecordView& r, Lsn lsn) {
          const auto it = written.find(lsn.value());
          law(it != written.end() && it->second == r.key, "records are where they were");
        });
  }
  co_return true;
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  Input input(data, size);
  const unsigned bits = input.byte();
  RecoveryOptions options;
  options.store = kStore;
  options.segment_bytes = kSegmentBytes;
  options.repair = (bits & 1) != 0;
  options.clean_stop = (bits & 2) != 0;
  options.proven = Lsn(lsn(input));
  const uint64_t from = lsn(input), to = lsn(input);
  if ((bits & 4) && from < to) options.lost.push_back({from, to});
  Written written, seen;
  SimWorld world;
  std::vector<Segment> segments;
  const size_t count = input.byte() % (kSegmentsMax + 1);
  for (size_t i = 0; i < count; i++) {
    segments.push_back(make_segment(kFirst + i, input, written));
    const Segment& s = segments.back();
    if (s.there) world.put_file({FileKind::kSegment, kFirst + i}, s.bytes);
    options.segments.push_back({kFirst + i, s.end, s.place.epoch, 0});
  }
  for (const Segment& s : segments) {
    if (s.there && s.bytes.size() == kSegmentBytes) world.run(read_frames(world, s, written));
  }
  options.executors = {world.context.get_executor()};
  options.apply = [&](std::span<const LogRecord> records) {
    for (const LogRecord& r : records) {
      const auto it = written.find(r.lsn.value());
      law(it != written.end() && it->second == r.record.key, "what comes back was written");
      law(seen.insert(*it).second, "and comes back once");
    }
  };
  const auto log = world.run(recover_log(world.volume, options));
  law(log.ok() || (absl::IsDataLoss(log.status()) && !options.repair), "repair goes on");
  if (log.ok()) {
    law(log->records == seen.size(), "records are counted");
    uint64_t last = 0;
    for (auto& [begin, end] : log->proven) {
      law(begin.value() >= last && end.value() >= begin.value() &&
              end.value() - begin.value() <= kSegmentBytes,
          "what is proven lies in its segments, in order");
      last = end.value();
    }
  }
  check_record(as_bytes(input.rest()), 1);
  std::string record(input.rest());
  if (record.size() >= sizeof(RecordHeader)) {
    RecordHeader h;
    std::memcpy(&h, record.data(), sizeof(h));
    const uint64_t length = sizeof(h) + (h.flags & kRecordHasExpiry ? 8 : 0) +
                            (h.flags & kRecordHasOrigin ? 16 : 0) + uint64_t{h.key_size} +
                            h.meta_size + h.value_size;
    if (length <= record.size()) {
      h.crc = crc32c(1, as_bytes(record).subspan(4, length - 4));
      std::memcpy(record.data(), &h.crc, 4);
      check_record(as_bytes(record), 1);
    }
  }
  return 0;
}
