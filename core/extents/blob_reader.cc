#include "core/extents/blob_reader.h"

#include <algorithm>
#include <cassert>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/extents/extent_format.h"

namespace cairn {

struct BlobReader::Fetch {
  Fetch(ChunkPool& pool, std::byte* chunk) : pool(pool), chunk(chunk) {}
  ~Fetch() {
    if (chunk != nullptr) pool.give(chunk, ChunkPool::Use::kRead);
  }
  ChunkPool& pool;
  std::byte* chunk;                      // null: to be waited for
  std::shared_ptr<ExtentHeader> header;  // in: if known; out: always, unless a hole
  Piece piece;
  uint64_t at = 0;  // first byte wanted, in the piece
  uint64_t length = 0;
  Bytes data;
  Status status;
  bool done = false;
  bool wanted = true;  // by its reader
  Gate ready;

  awaitable<void> run(ExtentStore& store) {
    if (chunk == nullptr) chunk = co_await pool.take(ChunkPool::Use::kRead);
    if (wanted) status = co_await read(store);
    if (absl::IsNotFound(status)) {
      status = absl::DataLossError(cat(to_string(file_id(piece.file)), " is missing"));
    }
    // Nobody holds the extent any more if the reader is gone: what was read may be its hole.
    if (wanted) store.tell(status);
    done = true;
    ready.notify();
  }

  awaitable<Status> read(ExtentStore& store) {
    const ExtentStore::Place place{piece.file, piece.header_page};
    const FileId file = file_id(piece.file);
    const uint64_t block0 = piece.first_block + at / kExtentBlockBytes;
    const uint64_t last = piece.first_block + (at + length - 1) / kExtentBlockBytes;
    const bool together = header == nullptr && block0 == 0;
    const uint64_t header_offset = uint64_t{place.page} * kBlockBytes;
    if (header == nullptr && !together) {
      auto n = co_await store.volume_.read(file, header_offset, {chunk, kBlockBytes});
      if (!n.ok()) co_return n.status();
      Status taken = take_header(store, {chunk, *n});
      if (!taken.ok()) co_return taken;
    }
    // Without the header the last block's length is not known: the piece tells enough.
    uint64_t data_end = header != nullptr
                            ? header->data_bytes
                            : uint64_t{piece.first_block} * kExtentBlockBytes + piece.length;
    data_end =
        std::min(std::max(data_end, block0 * kExtentBlockBytes), (last + 1) * kExtentBlockBytes);
    uint64_t begin = block0 * kExtentBlockBytes;
    const size_t skip = together ? kBlockBytes : 0;
    uint64_t want = round_up(data_end - begin, kBlockBytes) + skip;
    uint64_t offset = data_offset(place, begin) - skip;
    auto n = co_await store.volume_.read(file, offset, {chunk, want});
    if (!n.ok()) co_return n.status();
    if (*n < want) co_return damage("a block that ends early", piece.file, offset);
    if (together) {
      Status taken = take_header(store, {chunk, *n});
      if (!taken.ok()) co_return taken;
      uint64_t real_end = std::min<uint64_t>(header->data_bytes, (last + 1) * kExtentBlockBytes);
      if (real_end > data_end) {  // the piece ends inside a block: its checksum needs the rest
        uint64_t more = round_up(real_end - begin, kBlockBytes) + skip;
        if (more > want) {
          n = co_await store.volume_.read(file, offset + want, {chunk + want, more - want});
          if (!n.ok()) co_return n.status();
          if (*n < more - want) {
            co_return damage("a block that ends early", piece.file, offset + want);
          }
        }
        data_end = real_end;
      }
    }
    if (piece.first_block * kExtentBlockBytes + piece.length > header->data_bytes) {
      co_return damage("an extent shorter than its reference", piece.file, header_offset);
    }
    for (uint64_t b = block0; b <= last; b++) {
      uint64_t size = std::min(kExtentBlockBytes, header->data_bytes - b * kExtentBlockBytes);
      uint32_t crc =
          crc32c(place_seed(store.store_, place.file, data_offset(place, b * kExtentBlockBytes)),
                 {chunk + skip + (b - block0) * kExtentBlockBytes, size});
      if (crc != header->block_crc[b]) {
        co_return damage("a damaged block", piece.file, data_offset(place, b * kExtentBlockBytes));
      }
    }
    data = {chunk + skip + at % kExtentBlockBytes, length};
    co_return absl::OkStatus();
  }

  Status take_header(ExtentStore& store, Bytes page) {
    auto found = decode_header(page, store.store_, {piece.file, piece.header_page});
    if (found.ok()) header = std::make_shared<ExtentHeader>(*found);
    return found.status();
  }
};

// What of a reader the pool may call; outlives it.
struct BlobReader::Lender final : ChunkPool::Holder {
  explicit Lender(BlobReader& reader)
      : Holder(reader.store_.pool_, ChunkPool::Use::kRead), reader(&reader) {}
  void give_back() override {
    if (reader != nullptr) reader->give_back();
  }
  BlobReader* reader;  // null once it is gone
};

BlobReader::BlobReader(ExtentStore& store, BlobRef blob, uint64_t offset, uint64_t length)
    : store_(store), blob_(std::move(blob)), at_(offset), left_(length), ahead_left_(length) {
  assert(is_within(offset, length, blob_.size));
  if (!planted(Bug::kReaderNotCounted)) store_.ref(blob_);
  seek();
}

BlobReader::~BlobReader() {
  if (lender_ != nullptr) {
    lender_->reader = nullptr;
    lender_->leave();
  }
  if (ahead_ != nullptr) ahead_->wanted = false;
  if (current_ != nullptr) current_->wanted = false;
  if (!planted(Bug::kReaderNotCounted)) store_.unref(blob_);
}

void BlobReader::seek() {
  uint64_t offset = at_;
  piece_ = 0;
  while (piece_ < blob_.pieces.size() && offset >= blob_.pieces[piece_].length) {
    offset -= blob_.pieces[piece_++].length;
  }
  piece_at_ = offset;
  ahead_left_ = left_;
}

void BlobReader::offer(uint64_t bytes, const Executor& executor) {
  if (current_ == nullptr && ahead_ == nullptr) return;
  offered_ = bytes;
  if (lender_ == nullptr) lender_ = std::make_shared<Lender>(*this);
  lender_->rest(executor);
}

bool BlobReader::keep() { return lender_ == nullptr || lender_->wake(); }

void BlobReader::give_back() {
  if (ahead_ != nullptr) ahead_->wanted = false;
  current_ = ahead_ = nullptr;
  at_ -= offered_;
  left_ += offered_;
  seek();
}

void BlobReader::start_fetch() {
  constexpr uint64_t kFetchBytes = 15 * kExtentBlockBytes;  // with a header page: under a chunk
  const Piece& p = blob_.pieces[piece_];
  auto fetch = std::make_shared<Fetch>(store_.pool_, nullptr);
  fetch->piece = p;
  fetch->at = piece_at_;
  fetch->length = std::min<uint64_t>(
      {ahead_left_, p.length - piece_at_, kFetchBytes - piece_at_ % kExtentBlockBytes});
  piece_at_ += fetch->length;
  ahead_left_ -= fetch->length;
  if (piece_at_ == p.length) {
    piece_++;
    piece_at_ = 0;
  }
  if (header_ != nullptr && header_place_ == ExtentStore::Place{p.file, p.header_page}) {
    fetch->header = header_;
  }
  ahead_ = std::move(fetch);
}

// `chunk`: to read into; null: whoever runs the fetch waits for one.
void BlobReader::launch(const Executor& executor, std::byte* chunk) {
  static const std::array<std::byte, kExtentBlockBytes> kZeros{};
  start_fetch();
  ahead_->chunk = chunk;
  if (ahead_->piece.is_hole()) {
    if (ahead_->length > kZeros.size()) {  // give the rest back
      uint64_t back = ahead_->length - kZeros.size();
      ahead_->length -= back;
      ahead_left_ += back;
      if (piece_at_ == 0) {
        piece_--;
        piece_at_ = blob_.pieces[piece_].length;
      }
      piece_at_ -= back;
    }
    ahead_->data = {kZeros.data(), ahead_->length};
    ahead_->done = true;
    return;
  }
  spawn(executor, "reading an extent",
        [](ExtentStore& store, std::shared_ptr<Fetch> fetch) -> awaitable<void> {
          co_await fetch->run(store);
        }(store_, ahead_));
}

awaitable<StatusOr<Bytes>> BlobReader::next() {
  (void)keep();
  current_ = nullptr;  // before a chunk is waited for
  if (left_ == 0) co_return Bytes{};
  auto executor = co_await asio::this_coro::executor;
  if (ahead_ == nullptr) launch(executor, nullptr);
  current_ = std::move(ahead_);
  ahead_ = nullptr;
  const std::shared_ptr<Fetch> fetch = current_;
  co_await fetch->ready.until([&] { return fetch->done; });
  if (!fetch->status.ok()) co_return fetch->status;
  if (fetch->header != nullptr) {
    header_ = fetch->header;
    header_place_ = {fetch->piece.file, fetch->piece.header_page};
  }
  left_ -= fetch->length;
  at_ += fetch->length;
  if (ahead_left_ > 0) {
    std::byte* spare = store_.pool_.take_spare(ChunkPool::Use::kRead);
    if (spare != nullptr) launch(executor, spare);
  }
  co_return fetch->data;
}

awaitable<StatusOr<std::string>> ByteSource::read_all(uint64_t limit) {
  if (left() > limit) co_return absl::ResourceExhaustedError("the value is too large for this");
  std::string out;
  out.reserve(left());
  while (left() > 0) {
    auto bytes = co_await next();
    if (!bytes.ok()) co_return bytes.status();
    out.append(as_text(*bytes));
  }
  (void)co_await next();  // which gives back what it held
  co_return out;
}

}  // namespace cairn
