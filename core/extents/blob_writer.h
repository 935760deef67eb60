// Turns a stream of bytes, and ranges of other blobs, into one new blob. A value over
// kBlobBytesMax, announced or reached, is refused: is_value_too_long().
//
// Threads: one coroutine at a time, on one executor.
// Memory: at most 4 chunks in flight and one that fills (core/extents/chunk_pool.h), and those that
// others keep.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/extents/extents.h"

namespace cairn {

class BlobWriter {
 public:
  // `size_hint`: the expected total, 0 if unknown.
  BlobWriter(ExtentStore& store, uint64_t size_hint);
  ~BlobWriter();  // frees what was written, once it has landed, unless finish() gave it away
  BlobWriter(const BlobWriter&) = delete;

  // Room to fill, at least one byte; then commit how much was filled. In between the writer keeps
  // its chunk from everybody else: who has to wait for bytes first calls rest(), which takes the
  // room away, and then prepare() again.
  awaitable<StatusOr<MutableBytes>> prepare();
  void commit(size_t bytes);
  void rest();
  // The chunk that prepare() gave room in. What was filled of it stays as it is while somebody
  // keeps it, which must not be for long: nobody else gets it meanwhile.
  const std::shared_ptr<std::byte>& chunk() const { return chunk_; }

  awaitable<Status> append(Bytes data);
  // The bytes [offset, offset + length) of a blob that the caller holds a reference to; whole
  // blocks are shared, not copied.
  awaitable<Status> append_range(const BlobRef& blob, uint64_t offset, uint64_t length);
  awaitable<Status> append_zeros(uint64_t length);

  uint64_t size() const;

  // Makes all durable and gives the blob away, one reference counted for the caller.
  awaitable<StatusOr<BlobRef>> finish();

 private:
  struct Shared;  // outlives the writer while writes are in flight
  awaitable<Status> end_extent();
  awaitable<Status> write_chunk(bool last);
  awaitable<Status> open_extent();
  // Whether so many more bytes, as one more piece, are still a value that can be.
  Status check_room(uint64_t bytes) const;
  awaitable<void> take_chunk();
  void send(std::shared_ptr<std::byte> chunk, uint64_t offset, Bytes data);
  void park();
  void add_piece(const Piece& piece);

  ExtentStore& store_;
  const uint64_t size_hint_;
  std::shared_ptr<Shared> shared_;
  BlobRef blob_;                 // finished pieces
  std::vector<uint32_t> files_;  // to sync

  // The extent being filled.
  bool open_ = false;
  ExtentStore::Place place_;
  uint64_t capacity_ = 0;  // data bytes
  uint64_t filled_ = 0;    // data bytes committed
  uint64_t written_ = 0;   // data bytes handed to the volume
  std::shared_ptr<std::byte> chunk_;
  std::string parked_;      // what is left of a chunk that was given back: less than a page
  size_t chunk_begin_ = 0;  // first chunk leaves a page for the header
  size_t chunk_used_ = 0;
  uint32_t block_crc_ = 0;
  std::unique_ptr<ExtentHeader> header_;
};

// Copies `data` into what has a BlobWriter's prepare() and commit(), which outlives the call.
template <class Writer>
awaitable<Status> append_to(Writer& writer, Bytes data) {
  while (!data.empty()) {
    auto room = co_await writer.prepare();
    if (!room.ok()) co_return room.status();
    const size_t n = std::min(room->size(), data.size());
    std::memcpy(room->data(), data.data(), n);
    writer.commit(n);
    data = data.subspan(n);
  }
  co_return absl::OkStatus();
}

}  // namespace cairn
