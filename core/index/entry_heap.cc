#include "core/index/entry_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <cstring>
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

// The pages of one size. Those that have room are in a list: its first is filled, and those that
// hold less than others stand at its end, so that they run empty. Full ones are known by their
// blocks alone.
class Class {
 public:
  // In a page that has room; of another thread's pages only where a block was freed. Or null.
  void* allocate(bool others) {
    MutexLock lock(mutex_);
    if (first_ == nullptr || (others && first_->freed == 0)) return nullptr;
    return take_from(first_);
  }
  void* allocate_in_new_page(Pages& pages, size_t block_bytes, uint32_t set) {
    MutexLock lock(mutex_);
    auto* made = new (pages.take()) Page;
    *made = {static_cast<uint32_t>(block_bytes), 0, kFirstBlock, 0, set, nullptr, nullptr};
    pages_++;
    link_first(made);
    return take_from(made);
  }

  // One in the page that is filled now, if `page` may as well run empty; or null.
  void* allocate_instead_of(const Page* page) {
    MutexLock lock(mutex_);
    const uint64_t free_bytes = touched_bytes_ - used_ * page->block_bytes;
    if (page == first_ || free_bytes < kPageBytes || !is_sparse(page)) return nullptr;
    return take_from(first_);  // a sparse page has room: there is a first
  }

  void release(Pages& pages, Page* page, void* block) {
    MutexLock lock(mutex_);
    const bool linked = page->has_room();
    std::memcpy(block, &page->freed, sizeof(page->freed));
    page->freed = static_cast<uint32_t>(static_cast<char*>(block) - reinterpret_cast<char*>(page));
    page->used--;
    used_--;
    if (page->used == 0) {
      if (linked) unlink(page);
      touched_bytes_ -= page->fresh - kFirstBlock;
      pages_--;
      return pages.give(page);
    }
    const bool sparse = is_sparse(page);
    if (linked && !(sparse && page == first_)) return;
    if (linked) unlink(page);
    sparse ? link_last(page) : link_first(page);
  }

  bool is_loose(const Page* page) {
    MutexLock lock(mutex_);
    return is_sparse(page);
  }

  // What lies free in pages beyond one that is being filled.
  uint64_t loose_bytes(size_t block_bytes) {
    MutexLock lock(mutex_);
    const uint64_t free_bytes = touched_bytes_ - used_ * block_bytes;
    return free_bytes - std::min<uint64_t>(free_bytes, kPageBytes);
  }

 private:
  bool is_sparse(const Page* page) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return page->used * pages_ < used_;
  }
  void* take_from(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    char* base = reinterpret_cast<char*>(page);
    char* block = base + (page->freed != 0 ? page->freed : page->fresh);
    if (page->freed != 0) {
      std::memcpy(&page->freed, block, sizeof(page->freed));
    } else {
      page->fresh += page->block_bytes;
      touched_bytes_ += page->block_bytes;
    }
    page->used++;
    used_++;
    if (!page->has_room()) unlink(page);
    return block;
  }
  void link_first(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    page->before = nullptr;
    page->next = first_;
    (first_ == nullptr ? last_ : first_->before) = page;
    first_ = page;
  }
  void link_last(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    page->next = nullptr;
    page->before = last_;
    (last_ == nullptr ? first_ : last_->next) = page;
    last_ = page;
  }
  void unlink(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    (page->before == nullptr ? first_ : page->before->next) = page->next;
    (page->next == nullptr ? last_ : page->next->before) = page->before;
  }

  Mutex mutex_;
  Page* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Page* last_ ABSL_GUARDED_BY(mutex_) = nullptr;
  uint64_t pages_ ABSL_GUARDED_BY(mutex_) = 0;          // full ones too
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;           // blocks
  uint64_t touched_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of blocks that were ever used
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

Page* page_of(const void* block) {
  return reinterpret_cast<Page*>(reinterpret_cast<uintptr_t>(block) & ~uintptr_t{kPageBytes - 1});
}

size_t block_bytes_of(size_t size_class) {
  const size_t steps = (size_t{1} << kStepsLog2) + size_class % (size_t{1} << kStepsLog2) + 1;
  return steps * kBytesMin >> kStepsLog2 << (size_class >> kStepsLog2);
}

}  // namespace

size_t allocated_bytes(size_t bytes) {
  if (!is_ours(bytes)) return bytes;
  const size_t step = size_t{1} << step_log2(bytes);
  return (bytes + step - 1) & ~(step - 1);
}

void* allocate(size_t bytes) {
  if (is_ours(bytes)) {
    const uint32_t own = set_of_thread();
    const size_t size_class = class_of(bytes);
    auto& sets = heap().sets;
    for (uint32_t i = 0; i < kSets; i++) {
      void* block = sets[(own + i) % kSets][size_class].allocate(i > 0);
      if (block != nullptr) return block;
    }
    return sets[own][size_class].allocate_in_new_page(heap().pages, allocated_bytes(bytes), own);
  }
  void* block = std::malloc(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void release(void* block, size_t bytes) {
  if (!is_ours(bytes)) return std::free(block);
  Page* page = page_of(block);
  assert(page->block_bytes == allocated_bytes(bytes));
  heap().sets[page->set][class_of(bytes)].release(heap().pages, page, block);
}

bool is_loose(const void* block, size_t bytes) {
  if (!is_ours(bytes)) return true;
  const Page* page = page_of(block);
  return heap().sets[page->set][class_of(bytes)].is_loose(page);
}

void* allocate_denser(void* block, size_t bytes) {
  if (!is_ours(bytes)) return nullptr;
  const Page* page = page_of(block);
  return heap().sets[page->set][class_of(bytes)].allocate_instead_of(page);
}

uint64_t loose_bytes() {
  uint64_t sum = 0;
  for (auto& set : heap().sets) {
    for (size_t i = 0; i < kClasses; i++) sum += set[i].loose_bytes(block_bytes_of(i));
  }
  return sum;
}

}  // namespace cairn::entry_heap
