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
constexpr size_t kStepsLog2 = 6;  // between two powers of two
constexpr size_t kClasses = (std::bit_width(kBytesMax) - std::bit_width(kBytesMin)) << kStepsLog2;
constexpr size_t kEmptyKept = 8;  // pages without blocks that keep their memory
// A block of one of so many next sizes is taken where one's own has none, before a new page is:
// with values of all sizes, each size had a page of its own half empty, together a tenth of 200 MB.
constexpr size_t kWider = 5;

bool is_ours(size_t bytes) { return kOwnPages && bytes > kBytesMin && bytes <= kBytesMax; }

// An address must be even, so the smallest sizes have fewer steps.
size_t step_log2(size_t bytes) {
  return std::max<size_t>(static_cast<size_t>(std::bit_width(bytes - 1)) - 1 - kStepsLog2, 1);
}

size_t class_of(size_t bytes) {
  const auto octave = static_cast<size_t>(std::bit_width(bytes - 1) - std::bit_width(kBytesMin));
  const size_t within = (bytes - 1) - (kBytesMin << octave);
  return (octave << kStepsLog2) + (within >> step_log2(bytes));
}

// At the start of its memory. Blocks that were never used follow one another from `fresh` on.
struct Page {
  uint32_t block_bytes;
  uint32_t used;   // blocks
  uint32_t fresh;  // offset
  uint32_t freed;  // offset of a block that holds the next one's; 0: none
  uint32_t set;
  bool leaving;         // is to run empty
  Page *next, *before;  // among those of its class that have room, and are leaving or not
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

// Which pages leave, approximately: the heads of pages lie where they push each other out of the
// processor's caches, and most questions are answered without them. Of the others one in
// kAskedEvery is looked at, so that more pages can be marked.
class Leaving {
 public:
  static constexpr uint32_t kAskedEvery = 8;
  void set(const Page* page, bool leaves) {
    auto& word = words_[number(page) / 64 % words_.size()];
    const uint64_t bit = uint64_t{1} << number(page) % 64;
    leaves ? word.fetch_or(bit, std::memory_order_relaxed)
           : word.fetch_and(~bit, std::memory_order_relaxed);
  }
  bool worth_asking(const Page* page) const {
    const uint64_t word = words_[number(page) / 64 % words_.size()].load(std::memory_order_relaxed);
    static thread_local uint32_t asked = 0;
    return (word >> number(page) % 64 & 1) != 0 || ++asked % kAskedEvery == 0;
  }

 private:
  static uint64_t number(const Page* page) {
    return reinterpret_cast<uintptr_t>(page) / kPageBytes;
  }
  std::array<std::atomic<uint64_t>, 1024> words_{};  // of 8 GiB each page has a bit of its own
};
Leaving leaving_pages;

// The pages of one size. Those that have room are in a list, of which the first is filled; full
// ones are known by their blocks alone. Where memory is short, some pages are marked to run empty:
// they have a list of their own, and are filled only where a new page would have to be taken.
//
// Few are marked at a time, or the first is empty late: with all that held less than the average,
// 13 % of 1 GB were holes for a while when values of another size were written. And of each size an
// equal part: what lies in such pages is evicted first, and no size of values should live shorter
// for it.
class Class {
 public:
  // In a page that has room, leaving or not; of another thread's only where a block was freed. Or
  // null.
  void* allocate(bool leaving, bool others) {
    MutexLock lock(mutex_);
    Page* page = first_[leaving];
    return page == nullptr || (others && page->freed == 0) ? nullptr : take_from(page);
  }
  void* allocate_in_new_page(Pages& pages, size_t block_bytes, uint32_t set) {
    MutexLock lock(mutex_);
    auto* made = new (pages.take()) Page;
    *made = {static_cast<uint32_t>(block_bytes), 0, kFirstBlock, 0, set, false, nullptr, nullptr};
    pages_++;
    link(made);
    return take_from(made);
  }

  // One in a page that stays, if `page` leaves or the others have room for what it holds; or null.
  void* allocate_instead_of(Page* page) {
    MutexLock lock(mutex_);
    const uint64_t spare = (touched_bytes_ - used_ * page->block_bytes) / kPageBytes;
    if (!leaves(page, std::min(spare, pages_ / kLeavingPart + 1))) return nullptr;
    return first_[false] == nullptr ? nullptr : take_from(first_[false]);
  }

  void release(Pages& pages, Page* page, void* block) {
    MutexLock lock(mutex_);
    const bool linked = page->has_room();
    std::memcpy(block, &page->freed, sizeof(page->freed));
    page->freed = static_cast<uint32_t>(static_cast<char*>(block) - reinterpret_cast<char*>(page));
    page->used--;
    used_--;
    if (page->used > 0) {
      if (!linked) link(page);
      return;
    }
    if (linked) unlink(page);
    if (page->leaving) stay(page);
    touched_bytes_ -= page->fresh - kFirstBlock;
    pages_--;
    pages.give(page);
  }

  // Of few pages one leaves now and then, as often as it would be the turn of each of many: this is
  // asked of all blocks in turn.
  bool is_loose(Page* page) {
    MutexLock lock(mutex_);
    uint64_t most = pages_ / kLeavingPart;
    if (most == 0) {
      const uint64_t blocks = (kPageBytes - kFirstBlock) / page->block_bytes;
      most = ++asked_ >= blocks * (kLeavingPart - pages_) / Leaving::kAskedEvery ? 1 : 0;
    }
    const bool left = page->leaving;
    const bool is = leaves(page, most);
    if (is && !left) asked_ = 0;
    return is;
  }

  // What lies free in pages beyond one that is being filled.
  uint64_t loose_bytes(size_t block_bytes) {
    MutexLock lock(mutex_);
    const uint64_t free_bytes = touched_bytes_ - used_ * block_bytes;
    return free_bytes - std::min<uint64_t>(free_bytes, kPageBytes);
  }

 private:
  static constexpr uint64_t kLeavingPart = 16;  // of the pages, may leave at once

  // Whether the page leaves, now at the latest: if fewer do than may, and it holds no more than
  // others on average.
  bool leaves(Page* page, uint64_t most) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (page->leaving || leaving_ >= most || page->used * pages_ > used_) return page->leaving;
    const bool linked = page->has_room();
    if (linked) unlink(page);
    page->leaving = true;
    leaving_pages.set(page, true);
    leaving_++;
    if (linked) link(page);
    return true;
  }
  void stay(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    page->leaving = false;
    leaving_pages.set(page, false);
    leaving_--;
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
    if (page->has_room()) return block;
    unlink(page);
    if (page->leaving) stay(page);
    return block;
  }
  void link(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Page*& first = first_[page->leaving];
    page->before = nullptr;
    page->next = first;
    if (first != nullptr) first->before = page;
    first = page;
  }
  void unlink(Page* page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    (page->before == nullptr ? first_[page->leaving] : page->before->next) = page->next;
    if (page->next != nullptr) page->next->before = page->before;
  }

  SmallMutex mutex_;
  std::array<Page*, 2> first_ ABSL_GUARDED_BY(mutex_){};  // those that leave in the second
  uint64_t pages_ ABSL_GUARDED_BY(mutex_) = 0;            // full ones too
  uint64_t leaving_ ABSL_GUARDED_BY(mutex_) = 0;          // of them
  uint64_t asked_ ABSL_GUARDED_BY(mutex_) = 0;            // since one of few was marked
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;             // blocks
  uint64_t touched_bytes_ ABSL_GUARDED_BY(mutex_) = 0;    // of blocks that were ever used
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

Class& class_of(const Page* page) {
  return heap().sets[page->set][class_of(size_t{page->block_bytes})];
}

// Where the thread's own pages of this size have no room.
void* allocate_elsewhere(size_t bytes, uint32_t own, size_t size_class) {
  auto& sets = heap().sets;
  for (const bool leaving : {false, true}) {
    for (uint32_t i = 0; i < kSets; i++) {
      void* block = sets[(own + i) % kSets][size_class].allocate(leaving, i > 0);
      if (block != nullptr) return block;
    }
  }
  for (size_t wider = size_class + 1; wider < std::min(size_class + kWider, kClasses); wider++) {
    if (void* block = sets[own][wider].allocate(false, true)) return block;
  }
  return sets[own][size_class].allocate_in_new_page(heap().pages, allocated_bytes(bytes), own);
}

size_t block_bytes_of(size_t size_class) {
  const size_t octave = size_class >> kStepsLog2;
  const size_t within = size_class & ((size_t{1} << kStepsLog2) - 1);
  const size_t least = kBytesMin << octave;  // of the class's octave, which is beyond it
  return least + ((within + 1) << step_log2(least + 1));
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
    void* block = heap().sets[own][size_class].allocate(false, false);
    return block != nullptr ? block : allocate_elsewhere(bytes, own, size_class);
  }
  void* block = std::malloc(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void release(void* block, size_t bytes) {
  if (!is_ours(bytes)) return std::free(block);
  Page* page = page_of(block);
  assert(page->block_bytes >= allocated_bytes(bytes));
  class_of(page).release(heap().pages, page, block);
}

bool is_loose(const void* block, size_t bytes) {
  if (!is_ours(bytes)) return true;
  Page* page = page_of(block);
  return leaving_pages.worth_asking(page) && class_of(page).is_loose(page);
}

void* allocate_denser(void* block, size_t bytes) {
  if (!is_ours(bytes)) return nullptr;
  Page* page = page_of(block);
  return leaving_pages.worth_asking(page) ? class_of(page).allocate_instead_of(page) : nullptr;
}

uint64_t loose_bytes() {
  uint64_t sum = 0;
  for (auto& set : heap().sets) {
    for (size_t i = 0; i < kClasses; i++) sum += set[i].loose_bytes(block_bytes_of(i));
  }
  return sum;
}

}  // namespace cairn::entry_heap
