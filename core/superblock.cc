#include "core/superblock.h"

#include <cstring>

#include "core/log_format.h"
#include "core/plant.h"
#include "core/text.h"

namespace cairn {

namespace {
constexpr uint32_t kSuperblockMagic = 0x42534e43;  // "CNSB"
constexpr uint32_t kSuperblockVersion = 4;

awaitable<StatusOr<Superblock>> read_slot(Volume& volume, uint64_t slot) {
  AlignedBuffer block(kBlockBytes);
  auto n = co_await volume.read({FileKind::kSuperblock, slot}, 0, block.span(0, kBlockBytes));
  if (!n.ok()) co_return n.status();
  if (*n < kBlockBytes) co_return absl::NotFoundError("an empty superblock");
  Superblock s;
  std::memcpy(&s, block.data(), sizeof(s));
  if (s.magic != kSuperblockMagic || !header_intact(s, 0, slot, 0)) {
    co_return absl::DataLossError("a damaged superblock");
  }
  co_return s;
}

}  // namespace

awaitable<StatusOr<Superblock>> begin_epoch(Volume& volume, uint64_t new_store,
                                            uint64_t new_segment_bytes) {
  auto files = co_await volume.list();
  if (!files.ok()) co_return files.status();
  bool exists[2] = {false, false};
  bool has_data = false;
  for (const FileInfo& f : *files) {
    if (f.id.kind == FileKind::kSuperblock && f.id.number < 2) {
      exists[f.id.number] = true;
    } else if (f.id.kind != FileKind::kSuperblock) {
      has_data = true;
    }
  }
  Superblock newest{};
  uint64_t newest_slot = 1;
  for (uint64_t slot = 0; slot < 2; slot++) {
    if (!exists[slot]) continue;
    auto s = co_await read_slot(volume, slot);
    if (s.ok() && s->epoch > newest.epoch) {
      newest = *s;
      newest_slot = slot;
    } else if (!s.ok() && !absl::IsNotFound(s.status()) && !absl::IsDataLoss(s.status())) {
      co_return s.status();
    }
  }
  if (newest.epoch == 0) {
    if (has_data) {
      co_return absl::FailedPreconditionError(
          "the data directory holds segments or extents but no intact superblock");
    }
    newest = {kSuperblockMagic, 0, kSuperblockVersion, 0, new_store, new_segment_bytes};
  }
  if (newest.version != kSuperblockVersion) {
    co_return absl::FailedPreconditionError(cat("the store has format version ", newest.version,
                                                "; this program reads version ",
                                                kSuperblockVersion));
  }
  if (!planted(Bug::kEpochUsedTwice) || newest.epoch == 0) newest.epoch++;
  const uint64_t slot = 1 - newest_slot;
  const FileId file{FileKind::kSuperblock, slot};
  if (!exists[slot]) {
    Status made = co_await volume.create(file, 0);
    if (!made.ok()) co_return made;
  }
  seal_header(newest, 0, slot, 0);
  AlignedBuffer block(kBlockBytes);
  std::memset(block.data(), 0, kBlockBytes);
  std::memcpy(block.data(), &newest, sizeof(newest));
  Status status = co_await volume.write(file, 0, {block.data(), kBlockBytes}, WriteMode::kPlain);
  if (status.ok()) status = co_await volume.sync(file);
  if (status.ok()) status = co_await volume.sync_directory();
  if (!status.ok()) co_return status;
  co_return newest;
}

}  // namespace cairn
