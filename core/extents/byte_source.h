// Where the bytes of a value come from, piece by piece: as they lie in extents (blob_reader.h), or
// as they are made of what lies there.
//
// Threads: one coroutine at a time, on one executor.
#pragma once

#include <string>

#include "core/base/types.h"
#include "core/extents/blob_ref.h"

namespace cairn {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t left() const = 0;
  // The blob whose bytes these are; null: they are made of something else.
  virtual const BlobRef* shared() const { return nullptr; }
  // The next bytes, up to 1 MiB, valid until the next call; empty at the end. DataLoss if they are
  // not what was written.
  virtual awaitable<StatusOr<Bytes>> next() = 0;
  // Whoever has to wait before he can use the rest of what next() gave, its last `bytes` bytes,
  // says so, and asks with keep() whether it is still there. If not, next() gives it again.
  virtual void offer(uint64_t bytes, const Executor& executor) = 0;
  virtual bool keep() = 0;
  // All that is left, for callers that know it to be small. ResourceExhausted: it is more.
  awaitable<StatusOr<std::string>> read_all(uint64_t limit);
};

}  // namespace cairn
