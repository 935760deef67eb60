// Where entries of 64 bytes to 8 KiB lie. The general allocator has four sizes between two powers
// of two: an entry of 1,030 bytes, the usual key with a value of 1 KB, takes 1,280 there, and of
// 1 GB of memory a fifth holds nothing. Here it has 64, so that at most a sixty-fourth is lost.
//
// Pages of 128 KiB, each cut into blocks of one size, are taken from the system 8 MiB at a time. A
// page that holds nothing any more serves any size, and its memory goes back to the system if there
// are enough of such. Where blocks of many pages were freed, those that are left can be moved
// together, so that pages become empty: their owner does that (core/store/memory.h). Smaller and
// larger entries are the general allocator's, and all of them under a sanitizer, which then sees
// what is used after it was freed.
//
// Threads: any; a block may be freed by another thread than the one that took it. Threads are
// spread over several sets of pages, so that two seldom want the same lock; one whose set is full
// fills the holes of the others' before it takes a page. (The cleaner copies entries on its thread:
// of 1 GB, 170 MB were holes where others had written.)
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn::entry_heap {

inline constexpr size_t kBytesMin = 64, kBytesMax = 8192;  // above, and up to

// What an allocation of so many bytes takes.
size_t allocated_bytes(size_t bytes);
// Throws std::bad_alloc. The address is even.
void* allocate(size_t bytes);
// `bytes`: as they were asked for.
void release(void* block, size_t bytes);

// Whether the block's page had better run empty than others of its kind; true of blocks that lie
// elsewhere. Whoever asks of all blocks in turn finds some such, and the same until they are empty.
bool is_loose(const void* block, size_t bytes);
// Where the block had better lie, so that its page becomes empty: a new one of the same size, or
// null if it lies well. The caller copies it, and releases the old one.
void* allocate_denser(void* block, size_t bytes);
// How much of the pages' memory is free and could go back to the system in that way.
uint64_t loose_bytes();

}  // namespace cairn::entry_heap
