// How often a thread takes memory from `new`.
//
// Threads: each counts for itself, where it was told to; the counter is read by any.
#pragma once

#include <atomic>
#include <cstdint>

namespace cairn {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kCountsAllocations = false;  // the sanitizer has an operator new of its own
#else
inline constexpr bool kCountsAllocations = true;
#endif

// Where the calling thread's are counted from now on; null: nowhere.
void count_allocations(std::atomic<uint64_t>* counter);

}  // namespace cairn
