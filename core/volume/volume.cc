#include "core/volume/volume.h"

#include <charconv>
#include <cstdlib>
#include <new>

namespace cairn {

std::string to_string(FileId file) {
  auto hex = [&](size_t digits) {
    char text[16];
    size_t n = static_cast<size_t>(std::to_chars(text, text + 16, file.number, 16).ptr - text);
    return std::string(n < digits ? digits - n : 0, '0').append(text, n);
  };
  switch (file.kind) {
    case FileKind::kSuperblock:
      return "superblock-" + hex(1);
    case FileKind::kSegment:
      return "segment-" + hex(16);
    case FileKind::kExtents:
      return "extents-" + hex(8);
    case FileKind::kCheckpoint:
      return "checkpoint-" + hex(16);
  }
  return "unknown-file";
}

AlignedBuffer::AlignedBuffer(size_t bytes) : size_(round_up(bytes, kBlockBytes)) {
  void* p = nullptr;
  if (::posix_memalign(&p, kBlockBytes, size_) != 0) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(p);
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

}  // namespace cairn
