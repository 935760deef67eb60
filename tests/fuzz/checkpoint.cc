// Checkpoints: whatever the disk holds under good checksums is read without harm, each item lies
// within its chunk, and a chunk that is accepted gives as many as it says.
//
//   input = u8 chunks  u8 version  i8 of the chunks' number  i8 of the items' number  chunk*
//   chunk = u8 items  i8 of the payload's length  u8 blocks of the offset  u16 length  payload
//
// The numbers are what a header or the footer says beyond the truth.
#include "core/store/checkpoint.h"

#include "core/base/checksum.h"
#include "core/extents/blob_ref.h"
#include "core/log/log_format.h"
#include "core/store/value.h"
#include "kv/types/hash.h"
#include "tests/fuzz/sim_world.h"

namespace cairn::fuzz {
namespace {

constexpr uint64_t kStore = 77;
constexpr FileId kFile{FileKind::kCheckpoint, 5};

template <class Header>
void put_header(std::string& out, const Header& h) {
  out.append(reinterpret_cast<const char*>(&h), sizeof(h));
}
void pad(std::string& out) { out.resize(round_up(out.size(), kBlockBytes)); }

// The file that the input describes; `chunks` gets how many payload bytes each header promises.
std::string make_file(Input& input) {
  const unsigned chunks = input.byte() % 4, version = input.byte();
  const auto more_chunks = static_cast<int8_t>(input.byte());
  const auto more_items = static_cast<int8_t>(input.byte());
  std::string file;
  std::vector<uint64_t> offsets;
  for (unsigned i = 0; i < chunks; i++) {
    ChunkHeader h{kChunkMagic, 0, input.byte(), 0};
    const auto more = static_cast<int8_t>(input.byte());
    const auto blocks = static_cast<int8_t>(input.byte());
    const std::string_view payload = input.take(input.number(2));
    h.payload_bytes = static_cast<uint32_t>(payload.size()) + static_cast<uint32_t>(int{more});
    const uint64_t at = file.size();
    put_header(file, h);
    file += payload;
    pad(file);
    const uint64_t covered =
        std::min<uint64_t>(uint64_t{8} + h.payload_bytes, file.size() - at - 8);
    h.crc = crc32c(place_seed(kStore, kFile.number, at), as_bytes(file).subspan(at + 8, covered));
    std::memcpy(file.data() + at, &h, sizeof(h));
    offsets.push_back(at + static_cast<uint64_t>(int64_t{blocks % 3} * int64_t{kBlockBytes}));
  }
  CheckpointFooter footer{};
  footer.magic = kFooterMagic;
  footer.version = version % 4 == 3 ? version : kCheckpointVersion;
  footer.store = kStore;
  footer.chunks = offsets.size() + static_cast<uint64_t>(int64_t{more_chunks});
  footer.index_offset = file.size();
  footer.items = static_cast<uint64_t>(int64_t{more_items});
  if (!offsets.empty()) {
    file.append(reinterpret_cast<const char*>(offsets.data()), offsets.size() * 8);
  }
  pad(file);
  const uint64_t index_bytes =
      std::min<uint64_t>(footer.chunks, (file.size() - footer.index_offset) / 8) * 8;
  footer.index_crc = crc32c(place_seed(kStore, kFile.number, footer.index_offset),
                            as_bytes(file).subspan(footer.index_offset, index_bytes));
  seal_header(footer, kStore, kFile.number, file.size());
  put_header(file, footer);
  pad(file);
  return file;
}

bool within(std::string_view part, uint64_t bytes) { return part.size() <= bytes; }

// What loading a store would make of it.
void look_at(const CheckpointItem& item) {
  const RecordView& r = item.record;
  uint64_t sum = 0;
  for (std::string_view part : {r.key, r.meta, r.value}) {
    for (char c : part) sum += static_cast<unsigned char>(c);  // the bytes are there
  }
  (void)sum;
  (void)ObjectMeta::decode(r.meta);
  if (r.is_blob()) (void)BlobRef::decode(r.value);
  if (item.kind == ItemKind::kCollection || item.kind == ItemKind::kPart) {
    kv::Hash hash(9);
    if (hash.apply(r.value)) {
      kv::Hash again(9);
      law(again.apply(hash.image()) && again.size(0) == hash.size(0), "an image makes the hash");
    }
  }
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::fuzz;
  Input input(data, size);
  const std::string file = make_file(input);
  SimWorld world;
  world.put_file(kFile, file);
  std::vector<FileId> others, foreign;
  const auto found = world.run(find_checkpoint(world.volume, kStore, others, foreign));
  if (!found.ok() || !found->has_value()) return 0;
  law((*found)->offsets.size() == (*found)->footer.chunks + 1, "each chunk has an offset");
  for (size_t i = 0; i < (*found)->footer.chunks; i++) {
    uint64_t items = 0, bytes = 0;
    const Status read =
        world.run(read_chunk(world.volume, **found, i, [&](const CheckpointItem& item) {
          items++;
          const RecordView& r = item.record;
          bytes += sizeof(ItemHeader) + r.key.size() + r.meta.size() + r.value.size();
          law(within(r.key, file.size()) && within(r.meta, file.size()) &&
                  within(r.value, file.size()),
              "an item is smaller than its file");
          law(item.kind != ItemKind::kStripe || item.value_size <= file.size(),
              "no more keys are expected than the file has room for");
          look_at(item);
        }));
    law(bytes <= file.size(), "all items lie in the file");
    if (!read.ok()) continue;
    ChunkHeader h;
    std::memcpy(&h, file.data() + (*found)->offsets[i], sizeof(h));
    law(items == h.items && bytes <= h.payload_bytes, "a chunk gives what it says");
  }
  return 0;
}
