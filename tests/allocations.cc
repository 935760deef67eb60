#include "tests/allocations.h"

#include <cstdlib>
#include <new>

namespace {
thread_local std::atomic<uint64_t>* counter = nullptr;
}

namespace cairn {
void count_allocations(std::atomic<uint64_t>* to) { counter = to; }
}  // namespace cairn

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void* operator new(size_t bytes) {
  if (counter != nullptr) (*counter)++;
  if (void* const room = std::malloc(bytes == 0 ? 1 : bytes)) return room;
  throw std::bad_alloc();
}
void operator delete(void* room) noexcept { std::free(room); }
void operator delete(void* room, size_t) noexcept { std::free(room); }
#endif
