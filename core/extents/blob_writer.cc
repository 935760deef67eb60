#include "core/extents/blob_writer.h"

#include <algorithm>
#include <cassert>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/extent_format.h"

namespace cairn {

struct BlobWriter::Shared final : ChunkPool::Holder {
  static constexpr int kInflightMax = 4;
  explicit Shared(BlobWriter& writer)
      : Holder(writer.store_.pool_, ChunkPool::Use::kWrite), writer(&writer) {}
  void give_back() override {
    if (writer != nullptr) writer->park();
  }
  BlobWriter* writer;  // null once it is gone
  Executor executor;   // of the writer
  int inflight = 0;
  BlobRef abandoned;  // by a writer that is gone: let go of when the last write has landed
  Status error;
  Gate landed;
};

BlobWriter::BlobWriter(ExtentStore& store, uint64_t size_hint)
    : store_(store), size_hint_(size_hint), shared_(std::make_shared<Shared>(*this)) {}

BlobWriter::~BlobWriter() {
  shared_->writer = nullptr;
  shared_->leave();
  chunk_.reset();
  if (open_) blob_.pieces.push_back({place_.file, place_.page, 0, 1});
  if (shared_->inflight > 0) {  // a write that landed in a hole would fill it again
    shared_->abandoned = std::move(blob_);
  } else {
    store_.unref(blob_);
  }
}

uint64_t BlobWriter::size() const { return blob_.size + (open_ ? filled_ : 0); }

void BlobWriter::add_piece(const Piece& piece) {
  if (piece.length == 0) return;
  blob_.pieces.push_back(piece);
  blob_.size += piece.length;
}

Status BlobWriter::check_room(uint64_t bytes) const {
  if (capped_add(size(), bytes) <= kBlobBytesMax && size_hint_ <= kBlobBytesMax &&
      blob_.pieces.size() < kPiecesMax) {
    return absl::OkStatus();
  }
  return value_too_long();
}

awaitable<Status> BlobWriter::open_extent() {
  if (Status room = check_room(1); !room.ok()) co_return room;
  uint64_t want = blob_.pieces.empty() ? 8 << 20 : kExtentDataMax;
  if (size_hint_ > size()) want = size_hint_ - size();
  want = std::min(round_up(want, kExtentBlockBytes), store_.extent_data_max());
  auto place = co_await store_.allocate(want);
  if (!place.ok()) {
    store_.tell(place.status());
    co_return place.status();
  }
  place_ = *place;
  open_ = true;
  capacity_ = want;
  filled_ = written_ = 0;
  header_ = std::make_unique<ExtentHeader>();
  co_return absl::OkStatus();
}

void BlobWriter::rest() {
  if (chunk_ != nullptr) shared_->rest(shared_->executor);
}

// The chunk goes to somebody who needs it. Whole pages of it are written, the rest is kept.
void BlobWriter::park() {
  if (chunk_ == nullptr) return;
  std::shared_ptr<std::byte> chunk = std::exchange(chunk_, nullptr);
  const size_t pages = chunk_used_ / kBlockBytes * kBlockBytes;
  const size_t end = std::max(pages, chunk_begin_);
  parked_.assign(as_text({chunk.get() + end, chunk_used_ - end}));
  if (end == chunk_begin_) return;
  const uint64_t offset = data_offset(place_, written_);
  written_ += end - chunk_begin_;
  const Bytes filled{chunk.get() + chunk_begin_, end - chunk_begin_};
  send(std::move(chunk), offset, filled);
}

awaitable<void> BlobWriter::take_chunk() {
  shared_->executor = co_await asio::this_coro::executor;
  std::byte* taken = co_await store_.pool_.take(ChunkPool::Use::kWrite);
  chunk_ = {taken,
            [&pool = store_.pool_](std::byte* chunk) { pool.give(chunk, ChunkPool::Use::kWrite); }};
  shared_->wake();
  chunk_begin_ = chunk_used_ = written_ == 0 ? kBlockBytes : 0;
  std::memcpy(chunk_.get() + chunk_used_, parked_.data(), parked_.size());
  chunk_used_ += parked_.size();
  parked_.clear();
}

awaitable<StatusOr<MutableBytes>> BlobWriter::prepare() {
  shared_->wake();
  if (!shared_->error.ok()) co_return shared_->error;
  if (open_ && filled_ == capacity_) {
    Status ended = co_await end_extent();
    if (!ended.ok()) co_return ended;
  }
  if (!open_) {
    Status opened = co_await open_extent();
    if (!opened.ok()) co_return opened;
  }
  if (chunk_ != nullptr && chunk_used_ == kChunkBytes) {
    Status wrote = co_await write_chunk(false);
    if (!wrote.ok()) co_return wrote;
  }
  if (chunk_ == nullptr) co_await take_chunk();
  co_return MutableBytes{chunk_.get() + chunk_used_,
                         std::min<uint64_t>(kChunkBytes - chunk_used_, capacity_ - filled_)};
}

void BlobWriter::commit(size_t bytes) {
  while (bytes > 0) {
    uint64_t in_block = filled_ % kExtentBlockBytes;
    size_t n = std::min<uint64_t>(bytes, kExtentBlockBytes - in_block);
    if (in_block == 0) {
      block_crc_ = place_seed(store_.store_, place_.file, data_offset(place_, filled_));
    }
    block_crc_ = crc32c(block_crc_, {chunk_.get() + chunk_used_, n});
    header_->block_crc[filled_ / kExtentBlockBytes] = block_crc_;
    filled_ += n;
    chunk_used_ += n;
    bytes -= n;
  }
  rest();
}

awaitable<Status> BlobWriter::write_chunk(bool last) {
  const bool first = written_ == 0;
  std::shared_ptr<std::byte> chunk = std::exchange(chunk_, nullptr);
  size_t from = chunk_begin_;
  size_t end = round_up(chunk_used_, kBlockBytes);
  std::memset(chunk.get() + chunk_used_, 0, end - chunk_used_);
  uint64_t offset = data_offset(place_, written_);
  if (last && first) {  // the whole extent is in this chunk: header and data in one write
    std::memcpy(chunk.get(), header_.get(), sizeof(ExtentHeader));
    from = 0;
    offset -= kBlockBytes;
  }
  written_ += chunk_used_ - chunk_begin_;
  co_await shared_->landed.until([&] { return shared_->inflight < Shared::kInflightMax; });
  const Bytes filled{chunk.get() + from, end - from};
  send(std::move(chunk), offset, filled);
  co_return shared_->error;
}

// Writes beside what the writer does next, and gives the chunk back then.
void BlobWriter::send(std::shared_ptr<std::byte> chunk, uint64_t offset, Bytes data) {
  shared_->inflight++;
  if (store_.taken_) store_.taken_(data.size());
  spawn(shared_->executor, "writing an extent",
        [](ExtentStore& store, std::shared_ptr<Shared> shared, uint32_t file, uint64_t offset,
           std::shared_ptr<std::byte> chunk, Bytes data) -> awaitable<void> {
          Status wrote =
              co_await store.volume_.write(file_id(file), offset, data, WriteMode::kPlain);
          chunk.reset();
          if (!wrote.ok() && !absl::IsResourceExhausted(wrote) && !absl::IsUnavailable(wrote)) {
            store.retire(file, wrote);
          }
          if (!wrote.ok() && shared->error.ok()) {
            shared->error = wrote;
            store.tell(wrote);  // once for a value
          }
          shared->inflight--;
          shared->landed.notify();
          if (shared->inflight == 0) store.unref(std::exchange(shared->abandoned, {}));
        }(store_, shared_, place_.file, offset, std::move(chunk), data));
}

awaitable<Status> BlobWriter::end_extent() {
  shared_->wake();
  if (!open_) co_return absl::OkStatus();
  if (filled_ == 0) {
    chunk_.reset();
    open_ = false;
    store_.unref_place(place_);
    co_return absl::OkStatus();
  }
  header_->magic = kExtentMagic;
  header_->version = kExtentVersion;
  header_->data_bytes = static_cast<uint32_t>(filled_);
  header_->store = store_.store_;
  header_->file = place_.file;
  header_->page = place_.page;
  seal_header(*header_, store_.store_, place_.file, uint64_t{place_.page} * kBlockBytes);
  const bool with_header = written_ == 0;
  if (chunk_ == nullptr && !parked_.empty()) co_await take_chunk();
  if (chunk_ != nullptr) {
    Status wrote = co_await write_chunk(true);
    if (!wrote.ok()) co_return wrote;
  }
  if (!with_header) {
    AlignedBuffer page(kBlockBytes);
    std::memcpy(page.data(), header_.get(), sizeof(ExtentHeader));
    Status wrote =
        co_await store_.volume_.write(file_id(place_.file), uint64_t{place_.page} * kBlockBytes,
                                      {page.data(), kBlockBytes}, WriteMode::kPlain);
    if (!wrote.ok()) co_return wrote;
  }
  open_ = false;
  store_.trim(place_, filled_);
  add_piece({place_.file, place_.page, 0, static_cast<uint32_t>(filled_)});
  if (std::find(files_.begin(), files_.end(), place_.file) == files_.end()) {
    files_.push_back(place_.file);
  }
  co_return absl::OkStatus();
}

awaitable<Status> BlobWriter::append(Bytes data) { return append_to(*this, data); }

awaitable<Status> BlobWriter::append_zeros(uint64_t length) {
  static const std::array<std::byte, kExtentBlockBytes> kZeros{};
  if (Status room = check_room(length); !room.ok()) co_return room;
  if (length < 4 * kExtentBlockBytes) {
    while (length > 0) {
      uint64_t n = std::min<uint64_t>(length, kZeros.size());
      Status added = co_await append({kZeros.data(), n});
      if (!added.ok()) co_return added;
      length -= n;
    }
    co_return absl::OkStatus();
  }
  Status ended = co_await end_extent();
  if (!ended.ok()) co_return ended;
  for (; length > 0; length -= blob_.pieces.back().length) {
    add_piece({0, 0, 0, static_cast<uint32_t>(std::min<uint64_t>(length, 1 << 30))});
  }
  co_return absl::OkStatus();
}

awaitable<Status> BlobWriter::append_range(const BlobRef& blob, uint64_t offset, uint64_t length) {
  uint64_t begin = 0;  // of the piece, in the blob
  for (const Piece& p : blob.pieces) {
    const uint64_t end = begin + p.length;
    if (length == 0 || offset >= end) {
      begin = end;
      continue;
    }
    uint64_t at = offset - begin;
    uint64_t n = std::min<uint64_t>(length, p.length - at);
    offset += n;
    length -= n;
    if (p.is_hole()) {
      Status zeros = co_await append_zeros(n);
      if (!zeros.ok()) co_return zeros;
      begin = end;
      continue;
    }
    uint64_t head = std::min(n, round_up(at, kExtentBlockBytes) - at);
    if (n - head < kExtentBlockBytes && n != blob.size) head = n;  // too little to share
    if (head > 0) {
      const uint64_t floor = at / kExtentBlockBytes * kExtentBlockBytes;
      Piece rest{p.file, p.header_page,
                 p.first_block + static_cast<uint32_t>(floor / kExtentBlockBytes),
                 static_cast<uint32_t>(p.length - floor)};
      BlobReader reader(store_, BlobRef{rest.length, {rest}}, at - floor, head);
      while (reader.left() > 0) {
        auto bytes = co_await reader.next();
        if (!bytes.ok()) co_return bytes.status();
        Status added = co_await append(*bytes);
        if (!added.ok()) co_return added;
      }
    }
    if (n > head) {
      Status ended = co_await end_extent();
      if (!ended.ok()) co_return ended;
      Piece shared{p.file, p.header_page,
                   p.first_block + static_cast<uint32_t>((at + head) / kExtentBlockBytes),
                   static_cast<uint32_t>(n - head)};
      Piece* last = blob_.pieces.empty() ? nullptr : &blob_.pieces.back();
      if (last != nullptr && last->file == shared.file && last->header_page == shared.header_page &&
          last->length % kExtentBlockBytes == 0 &&
          last->first_block + last->length / kExtentBlockBytes == shared.first_block) {
        last->length += shared.length;  // one reference holds both
        blob_.size += shared.length;
      } else {
        if (Status room = check_room(shared.length); !room.ok()) co_return room;
        store_.ref(BlobRef{shared.length, {shared}});
        add_piece(shared);
      }
    }
    begin = end;
  }
  if (length > 0) co_return absl::OutOfRangeError("the range ends after the blob");
  co_return absl::OkStatus();
}

awaitable<StatusOr<BlobRef>> BlobWriter::finish() {
  Status ended = co_await end_extent();
  co_await shared_->landed.until([&] { return shared_->inflight == 0; });
  if (ended.ok()) ended = shared_->error;
  if (!ended.ok()) co_return ended;
  for (uint32_t file : files_) {
    if (planted(Bug::kBlobBeforeBytes)) break;
    Status synced = co_await store_.sync_file(file);
    if (!synced.ok()) co_return synced;
  }
  if (blob_.pieces.size() > kPiecesMax) {
    co_return value_too_long();
  }
  co_return std::exchange(blob_, {});
}

}  // namespace cairn
