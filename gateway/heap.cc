#include "gateway/heap.h"

#ifdef CAIRN_MIMALLOC  // not under a sanitizer
#include <mimalloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>

namespace cairn {

void begin_loading() {
  constexpr uint64_t kAlign = 64 << 20;  // of mimalloc's segments, and more
  // As much address space as the machine has memory; nothing of it is taken yet. Where even that
  // is not given, mimalloc goes on with what it asks for by itself.
  const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                         static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / kAlign * kAlign;
  void* space = mmap(nullptr, bytes + kAlign, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) return;
  const uint64_t at = (reinterpret_cast<uintptr_t>(space) + kAlign - 1) / kAlign * kAlign;
  madvise(reinterpret_cast<void*>(at), bytes, MADV_HUGEPAGE);
  mi_manage_os_memory(reinterpret_cast<void*>(at), bytes, false, false, true, -1);
}

void end_loading() { prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }

void release_memory() {
  mi_option_set(mi_option_decommit_delay, 0);  // no later call would do it
  mi_collect(true);
}

}  // namespace cairn
#else
namespace cairn {
void begin_loading() {}
void end_loading() {}
void release_memory() {}
}  // namespace cairn
#endif
