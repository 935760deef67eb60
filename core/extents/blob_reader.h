// Reads a range of a blob, block by block, every byte checked. The reader holds a reference to the
// blob from construction to destruction; construct it under the lock that guards the entry.
//
// Threads: one coroutine at a time, on one executor.
// Memory: at most 2 chunks (core/extents/chunk_pool.h).
#pragma once

#include <memory>

#include "core/extents/byte_source.h"
#include "core/extents/extents.h"

namespace cairn {

class BlobReader final : public ByteSource {
 public:
  BlobReader(ExtentStore& store, BlobRef blob, uint64_t offset, uint64_t length);
  ~BlobReader() override;
  BlobReader(const BlobReader&) = delete;

  uint64_t left() const override { return left_; }
  const BlobRef& blob() const { return blob_; }
  const BlobRef* shared() const override { return &blob_; }
  awaitable<StatusOr<Bytes>> next() override;
  void offer(uint64_t bytes, const Executor& executor) override;
  bool keep() override;

 private:
  struct Fetch;
  struct Lender;
  void start_fetch();
  void launch(const Executor& executor, std::byte* chunk);
  void seek();  // where the next fetch begins, from `at_`
  void give_back();

  ExtentStore& store_;
  const BlobRef blob_;
  uint64_t at_;    // of the next byte to return, in the blob
  uint64_t left_;  // bytes not yet returned
  uint64_t offered_ = 0;
  uint64_t ahead_left_;  // bytes not yet asked for
  size_t piece_ = 0;     // where the next fetch begins
  uint64_t piece_at_ = 0;
  std::shared_ptr<Fetch> current_;
  std::shared_ptr<Fetch> ahead_;
  std::shared_ptr<Lender> lender_;
  std::shared_ptr<ExtentHeader> header_;  // of header_place_
  ExtentStore::Place header_place_;
};

}  // namespace cairn
