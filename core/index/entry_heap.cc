#include "core/index/entry_heap.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <new>
#include <vector>

#include "core/base/mutex.h"

namespace cairn::entry_heap {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kOwnPages = false;
#else
constexpr bool kOwnPages = true;
#endif

constexpr size_t kPageBytes = 128 << 10, kRegionBytes = 8 << 20;
constexpr size_t kSets = 4;
constexpr size_t kStepsLog2 = 5;  // between two powers of two
constexpr size_t kClasses = (std::bit_width(kBytesMax) - std::bit_width(kBytesMin)) << kStepsLog2;
constexpr size_t kEmptyKept = 32;  // pages without blocks that keep their memory

bool is_ours(size_t bytes) { return kOwnPages && bytes > kBytesMin && bytes <= kBytesMax; }

unsigned step_log2(size_t bytes) {
  return static_cast<unsigned>(std::bit_width(bytes - 1)) - 1 - kStepsLog2;
}

size_t class_of(size_t bytes) {
  const unsigned step = step_log2(bytes);
  const size_t octave = step + kStepsLog2 - (std::bit_width(kBytesMin) - 1u);
  return (octave << kStepsLog2) + (((bytes - 1) >> step) & ((1u << kStepsLog2) - 1));
}

// At the start of its memory. Blocks that were never used follow one another from `fresh` on.
struct Page {
  uint32_t block_bytes;
  uint32_t used;   // blocks
  uint32_t fresh;  // offset
  uint32_t freed;  // offset of a block that holds the next one's; 0: none
  uint32_t set;
  Page *next, *before;  // among those of its class that have room
  bool has_room() const { return freed != 0 || fresh + block_bytes <= kPageBytes; }
};
constexpr uint32_t kFirstBlock = 64;
static_assert(sizeof(Page) <= kFirstBlock);

// Pages that hold nothing, and the way to more.
class Pages {
 public:
  void* take() {
    MutexLock lock(mutex_);
    auto& from = warm_.empty() ? cold_ : warm_;
    if (from.empty()) grow();
    void* page = from.back();
    from.pop_back();
    return page;
  }
  void give(void* page) {
    MutexLock lock(mutex_);
    if (warm_.size() < kEmptyKept) return warm_.push_back(page);
    ::madvise(page, kPageBytes, MADV_DONTNEED);
    cold_.push_back(page);
  }

 private:
  void grow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // One page more than needed, so that a region begins at a multiple of their size.
    void* all = ::mmap(nullptr, kRegionBytes + kPageBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    const auto at = reinterpret_cast<uintptr_t>(all);
    const uintptr_t begin = (at + kPageBytes - 1) & ~(kPageBytes - 1);
    for (size_t i = kRegionBytes / kPageBytes; i-- > 0;) {
      cold_.push_back(reinterpret_cast<void*>(begin + i * kPageBytes));
    }
  }

  Mutex mutex_;
  std::vector<void*> warm_ ABSL_GUARDED_BY(mutex_);
  std::vector<void*> cold_ ABSL_GUARDED_BY(mutex_);  // without memory
};

// The pages of one size that have room. Full ones are known by their blocks alone.
class Class {
 public:
  void* allocate(Pages& pages, size_t block_bytes, uint32_t set) {
    MutexLock lock(mutex_);
    if (first_ == nullptr) {
      auto* made = new (pages.take()) Page;
      *made = {static_cast<uint32_t>(block_bytes), 0, kFirstBlock, 0, set, nullptr, nullptr};
      link(made);
    }
    Page* page = first_;
    char* base = reinterpret_cast<char*>(page);
    char* block = base + (page->freed != 0 ? page->freed : page->fresh);
    if (page->freed != 0) {
      page->freed = *reinterpret_cast<uint32_t*>(block);
    } else {
      page->fresh += page->block_bytes;
    }
    page->used++;
    if (!page->has_room()) unlink(page);
    return block;
  }

  void release(Pages& pages, Page* page, void* block) {
    MutexLock lock(mutex_);
    if (!page->has_room()) link(page);
    *static_cast<uint32_t*>(block) = page->freed;
    page->freed = static_cast<uint32_t>(static_cast<char*>(block) - reinterpret_cast<char*>(page));
    if (--page->used > 0) return;
    unlink(page);
    pages.give(page);
  }

 private:
  void link(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    page->before = nullptr;
    page->next = first_;
    if (first_ != nullptr) first_->before = page;
    first_ = page;
  }
  void unlink(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    (page->before == nullptr ? first_ : page->before->next) = page->next;
    if (page->next != nullptr) page->next->before = page->before;
  }

  Mutex mutex_;
  Page* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

struct Heap {
  Pages pages;
  std::array<std::array<Class, kClasses>, kSets> sets;
};

// Of the process, as malloc's is; never destroyed, since entries may outlive whatever would do it.
Heap& heap() {
  static Heap* const made = new Heap;
  return *made;
}

uint32_t set_of_thread() {
  static std::atomic<uint32_t> threads{0};
  static thread_local const uint32_t set = threads.fetch_add(1) % kSets;
  return set;
}

}  // namespace

size_t allocated_bytes(size_t bytes) {
  if (!is_ours(bytes)) return bytes;
  const size_t step = size_t{1} << step_log2(bytes);
  return (bytes + step - 1) & ~(step - 1);
}

void* allocate(size_t bytes) {
  if (is_ours(bytes)) {
    const uint32_t set = set_of_thread();
    return heap().sets[set][class_of(bytes)].allocate(heap().pages, allocated_bytes(bytes), set);
  }
  void* block = std::malloc(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void release(void* block, size_t bytes) {
  if (!is_ours(bytes)) return std::free(block);
  auto* page =
      reinterpret_cast<Page*>(reinterpret_cast<uintptr_t>(block) & ~uintptr_t{kPageBytes - 1});
  assert(page->block_bytes == allocated_bytes(bytes));
  heap().sets[page->set][class_of(bytes)].release(heap().pages, page, block);
}

}  // namespace cairn::entry_heap
