// Where bytes live: append-only files by kind and number. All storage I/O of a store goes through
// this interface; nothing above it may assume a local disk.
//
// Threads: every operation is a coroutine that may run on any I/O executor of the process, any
// number at once, on any file. An operation continues on the executor that it was awaited on.
// Units: offsets and lengths are bytes; data offsets, lengths and buffers are multiples of
// kBlockBytes. Buffers belong to the caller and stay untouched until the operation returns.
// Errors: NotFound (no such file), AlreadyExists, ResourceExhausted (no space), DataLoss (the
// device failed: EIO), Unavailable (no descriptors or memory now: nothing was done, and it may go
// another time), Internal (anything else), each naming file and offset.
//
// Invariants
//  1. Bytes are durable only after a sync of their file that began after their write returned, or
//     after a write with WriteMode::kDurable returned.
//  2. A new file is durable only after a sync_directory that began after create returned.
//  3. A failed write or sync says nothing about the bytes it covered. Callers never retry a sync.
//  4. Reading past the written end gives fewer bytes than asked; a hole reads as zeros.
#pragma once

#include <string>
#include <vector>

#include "core/base/types.h"

namespace cairn {

// On-disk meaning: never renumber.
enum class FileKind : uint8_t { kSuperblock = 1, kSegment = 2, kExtents = 3, kCheckpoint = 4 };

struct FileId {
  FileKind kind;
  uint64_t number;
  auto operator<=>(const FileId&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const FileId& f) {
    return H::combine(std::move(h), f.kind, f.number);
  }
};

struct FileInfo {
  FileId id;
  uint64_t size_bytes;
  bool is_regular = true;  // else something that has the name of a file: a directory, say
};

enum class WriteMode : uint8_t {
  kPlain,    // durable after the next sync
  kDurable,  // durable when it returns, the bytes of this write alone
};

class Volume {
 public:
  virtual ~Volume() = default;
  // Makes a file, empty or of `reserve_bytes`: that much is set aside for good, so that a write
  // into it finds room and a sync of it changes no metadata. The first block of a reserve is zeros,
  // whatever a crash leaves; the rest is undefined, and may be what a removed file held.
  virtual awaitable<Status> create(FileId file, uint64_t reserve_bytes) = 0;
  // A file of `size_bytes` of which the first `reserve_bytes` are set aside now; set_aside() does
  // so for more, from the start of the file. A volume may set aside more than it is asked to.
  virtual awaitable<Status> create_partly(FileId file, uint64_t size_bytes, uint64_t) {
    return create(file, size_bytes);
  }
  virtual awaitable<Status> set_aside(FileId, uint64_t) { co_return absl::OkStatus(); }
  virtual awaitable<Status> write(FileId file, uint64_t offset, Bytes data, WriteMode mode) = 0;
  virtual awaitable<StatusOr<size_t>> read(FileId file, uint64_t offset, MutableBytes into) = 0;
  virtual awaitable<Status> sync(FileId file) = 0;
  virtual awaitable<Status> sync_directory() = 0;
  // Gives the space of a range back; the range reads as zeros from then on.
  virtual awaitable<Status> punch(FileId file, uint64_t offset, uint64_t length) = 0;
  virtual awaitable<Status> remove(FileId file) = 0;
  // Likewise, but what was set aside for the file may stay so, for the next that is made.
  virtual awaitable<Status> recycle(FileId file) { return remove(file); }
  // No more of that is needed: gives back what recycle() kept.
  virtual awaitable<void> drop_recycled() { co_return; }
  // The file is no longer the store's, and stays for whoever looks after it.
  virtual awaitable<Status> keep_apart(FileId file) = 0;
  virtual awaitable<StatusOr<std::vector<FileInfo>>> list() = 0;
  virtual awaitable<StatusOr<uint64_t>> free_bytes() = 0;  // about so much may still be written

  // Where the log's flush should run: an executor whose thread has nothing else to do and may block
  // in write and sync, if the volume has one.
  virtual Executor log_executor(const Executor& loop) { return loop; }
};

std::string to_string(FileId file);

// A block-aligned buffer; contents start undefined. Move-only.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept { *this = std::move(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  MutableBytes span(size_t offset, size_t length) { return {data_ + offset, length}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cairn
