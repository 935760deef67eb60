// Where entries of 512 bytes to 8 KiB lie. The general allocator has four sizes between two powers
// of two: an entry of 1,030 bytes, the usual key with a value of 1 KB, takes 1,280 there, and of
// 1 GB of memory a fifth holds nothing. Here it has 32, so that at most a thirty-second is lost.
//
// Pages of 128 KiB, each cut into blocks of one size, are taken from the system 8 MiB at a time. A
// page that holds nothing any more serves any size, and its memory goes back to the system if there
// are enough of such. Smaller and larger entries are the general allocator's, and all of them under
// a sanitizer, which then sees what is used after it was freed.
//
// Threads: any; a block may be freed by another thread than the one that took it. Threads are
// spread over several sets of pages, so that two seldom want the same lock.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn::entry_heap {

inline constexpr size_t kBytesMin = 512, kBytesMax = 8192;  // above, and up to

// What an allocation of so many bytes takes.
size_t allocated_bytes(size_t bytes);
// Throws std::bad_alloc. The address is even.
void* allocate(size_t bytes);
// `bytes`: as they were asked for.
void release(void* block, size_t bytes);

}  // namespace cairn::entry_heap
