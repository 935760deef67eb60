// Extent headers and what reads through them: a blob that can be read is what was written, whatever
// a reference or a header says; all else is an error.
//
//   input  = u8 extents  u8 pieces  extent*  piece*
//   extent = u24 bytes of data  i16 more of them in the header  u8 version  u16 place and u8 bits
//   of
//            a damaged byte  u8 when it is damaged
//   piece  = u8 extent  u16 first block  u24 length
#include "core/base/checksum.h"
#include "core/extents/blob_reader.h"
#include "core/log/log_format.h"
#include "tests/fuzz/sim_world.h"

namespace cairn::fuzz {
namespace {

constexpr uint64_t kStore = 77;
constexpr uint32_t kFile = 3, kExtentMagic = 0x58454e43;
constexpr uint64_t kReadMax = 1 << 20;

struct Written {
  uint32_t page = 0;
  std::string data;
};

// Appends an extent to the file as Cairn would write it, but for what the input has damaged.
Written append_extent(std::string& file, Input& input) {
  Written out;
  out.page = static_cast<uint32_t>(file.size() / kBlockBytes);
  out.data.resize(input.number(3) % (3 * kExtentBlockBytes));
  for (size_t i = 0; i < out.data.size(); i++) {
    out.data[i] = static_cast<char>(1 + (i * 31 + i / 251 + out.page) % 255);
  }
  const auto more = static_cast<int16_t>(input.number(2));
  const unsigned version = input.byte();
  const uint32_t at = input.number(2) % sizeof(ExtentHeader);
  const auto bits = static_cast<std::byte>(input.byte());
  const bool sealed_after = input.byte() % 2 != 0;
  ExtentHeader h{};
  h.magic = kExtentMagic;
  h.version = version % 4 == 3 ? version : 1;
  h.data_bytes = static_cast<uint32_t>(out.data.size()) + static_cast<uint32_t>(int{more});
  h.store = kStore;
  h.file = kFile;
  h.page = out.page;
  const uint64_t begin = (uint64_t{out.page} + 1) * kBlockBytes;
  for (uint64_t b = 0; b * kExtentBlockBytes < out.data.size(); b++) {
    const std::string_view block =
        std::string_view(out.data).substr(b * kExtentBlockBytes, kExtentBlockBytes);
    h.block_crc[b] =
        crc32c(place_seed(kStore, kFile, begin + b * kExtentBlockBytes), as_bytes(block));
  }
  auto* bytes = reinterpret_cast<std::byte*>(&h);
  if (sealed_after) bytes[at] ^= bits;
  seal_header(h, kStore, kFile, uint64_t{out.page} * kBlockBytes);
  if (!sealed_after) bytes[at] ^= bits;
  file.append(reinterpret_cast<const char*>(&h), sizeof(h));
  file += out.data;
  file.resize(round_up(file.size(), kBlockBytes));
  return out;
}

awaitable<StatusOr<std::string>> read(ExtentStore& store, const BlobRef& blob, uint64_t offset) {
  BlobReader reader(store, blob, offset, blob.size - offset);
  co_return co_await reader.read_all(kReadMax);
}

awaitable<bool> close(ExtentStore& store) {
  co_await store.close();
  co_return true;
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  static ChunkPool pool;
  Input input(data, size);
  const size_t extents = 1 + input.byte() % 3, pieces = input.byte() % 8;
  std::string file;
  std::vector<Written> written;
  for (size_t i = 0; i < extents; i++) written.push_back(append_extent(file, input));
  BlobRef blob;
  std::string want;
  uint64_t known_from = 0;  // all from there on was written
  for (size_t i = 0; i < pieces; i++) {
    const size_t which = input.byte() % (extents + 2);
    Piece p;
    p.first_block = input.number(2) % (kExtentBlocksMax + 2);
    p.length = input.number(3) % (4 * kExtentBlockBytes);
    if (which == 0) {
      want.append(p.length, '\0');
    } else {
      p.file = kFile;
      p.header_page = which <= extents ? written[which - 1].page : p.first_block;
      const uint64_t begin = p.first_block * kExtentBlockBytes;
      const auto it = std::find_if(written.begin(), written.end(),
                                   [&](const Written& w) { return w.page == p.header_page; });
      if (it != written.end() && is_within(begin, p.length, it->data.size())) {
        want += std::string_view(it->data).substr(begin, p.length);
      } else {
        want.append(p.length, '?');
        known_from = blob.size + p.length;
      }
    }
    blob.pieces.push_back(p);
    blob.size += p.length;
  }
  const auto ref = BlobRef::decode(blob.encode());
  if (!ref || ref->size > kReadMax) return 0;
  SimWorld world;
  world.put_file({FileKind::kExtents, kFile}, file);
  Manifest manifest(world.volume);
  ExtentStore store(world.volume, world.clock, pool, manifest, world.context.get_executor());
  store.adopt(*ref);
  const Status started = world.run(store.start(kStore, 64 << 20));
  if (started.ok()) {
    const uint64_t offset = ref->size == 0 ? 0 : size * 977 % ref->size;
    const auto got = world.run(read(store, *ref, offset));
    law(!got.ok() || (offset >= known_from && *got == std::string_view(want).substr(offset)),
        "what can be read is what was written");
    store.unref(*ref);
  }
  world.run(close(store));
  law(pool.in_use() == 0, "no chunk is kept");
  return 0;
}
