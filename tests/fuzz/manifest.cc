// The manifest: what a copy says under a good checksum is possible, or the copy is damaged; so a
// start ends, with a store or an error, whatever both copies say.
//
//   input = u8 bits: copy 1 is there, repair, checksums stay as they came; u16 length of copy 0
//           copy 0  copy 1
#include "core/log/manifest.h"

#include "core/base/checksum.h"
#include "core/log/recovery.h"
#include "tests/fuzz/sim_world.h"

namespace cairn::fuzz {
namespace {

constexpr uint64_t kSegmentBytes = 64 << 10;

// As a disk would hold it that knows how checksums are made.
std::string sealed(std::string_view text, uint64_t copy) {
  std::string bytes(text);
  ManifestHeader h;
  if (bytes.size() < sizeof(h)) return bytes;
  std::memcpy(&h, bytes.data(), sizeof(h));
  const uint64_t size = sizeof(h) + uint64_t{h.segments} * sizeof(ManifestSegment) +
                        uint64_t{h.lost} * sizeof(LsnRange);
  if (size > bytes.size()) return bytes;
  const uint32_t crc =
      crc32c(place_seed(0, copy, 0), as_bytes(std::string_view(bytes).substr(8, size - 8)));
  std::memcpy(bytes.data() + 4, &crc, 4);
  return bytes;
}

void check_state(const ManifestState& s, uint64_t copy) {
  const std::string written = s.encode(copy);
  const auto again = ManifestState::decode(as_bytes(written), copy);
  law(again && again->encode(copy) == written, "a manifest goes both ways");
  law(!ManifestState::decode(as_bytes(written), 1 - copy), "a copy knows which it is");
  uint64_t last = 0;
  for (const ManifestSegment& segment : s.segments) {
    law(segment.number <= UINT64_MAX / s.segment_bytes - 1, "LSNs of a segment are LSNs");
    const uint64_t base = segment.number * s.segment_bytes;
    law(base >= last, "segments are in order");
    law(segment.end == 0 || (segment.end > base && segment.end - base <= s.segment_bytes),
        "a segment ends in itself");
    last = base + s.segment_bytes;
  }
}

// As a store starts, with no segment that the manifest could name.
awaitable<Status> start(SimWorld& world, bool repair) {
  Manifest manifest(world.volume);
  std::vector<std::string> notes;
  Status opened = co_await manifest.open(7, kSegmentBytes, repair, notes);
  if (!opened.ok()) co_return opened;
  const ManifestState known = manifest.state();
  RecoveryOptions options;
  options.store = known.store;
  options.segment_bytes = known.segment_bytes;
  options.segments = known.segments;
  options.proven = Lsn(known.proven);
  options.clean_stop = manifest.was_clean();
  options.lost = known.lost;
  options.executors = {world.context.get_executor()};
  options.repair = repair;
  options.apply = [](std::span<const LogRecord>) { law(false, "there is no record"); };
  if (known.segment_bytes > 16 << 20) co_return absl::OkStatus();  // it takes a buffer of that size
  auto log = co_await recover_log(world.volume, options);
  if (!log.ok()) co_return log.status();
  law(log->proven.empty() && log->records == 0, "nothing is made of nothing");
  co_return co_await manifest.save();
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  Input input(data, size);
  const unsigned bits = input.byte();
  const std::string_view first = input.take(input.number(2));
  SimWorld world;
  for (uint64_t copy = 0; copy < ((bits & 1) != 0 ? 2 : 1); copy++) {
    const std::string_view text = copy == 0 ? first : input.rest();
    std::string bytes = (bits & 4) != 0 ? std::string(text) : sealed(text, copy);
    if (auto state = ManifestState::decode(as_bytes(bytes), copy)) check_state(*state, copy);
    bytes.resize(round_up(bytes.size(), kBlockBytes));
    world.put_file({FileKind::kSuperblock, copy}, bytes);
  }
  world.put_file({FileKind::kExtents, 3}, std::string(kBlockBytes, 'x'));
  const Status started = world.run(start(world, (bits & 2) != 0));
  law(started.ok() || absl::IsDataLoss(started) || absl::IsFailedPrecondition(started),
      "what is wrong is said");
  return 0;
}
