#include "core/extents/chunk_pool.h"

#include <cstdlib>
#include <new>
#include <utility>

namespace cairn {

ChunkPool::ChunkPool(std::array<size_t, 2> most, size_t kept) : slab_(kept * kChunkBytes) {
  for (size_t i = 0; i < kept; i++) free_.push_back(slab_.data() + i * kChunkBytes);
  MutexLock lock(mutex_);
  for (size_t i = 0; i < classes_.size(); i++) classes_[i].most = most[i];
}

std::byte* ChunkPool::allocate() {
  if (!free_.empty()) {
    std::byte* chunk = free_.back();
    free_.pop_back();
    return chunk;
  }
  void* chunk = std::aligned_alloc(kBlockBytes, kChunkBytes);
  if (chunk == nullptr) throw std::bad_alloc();
  return static_cast<std::byte*>(chunk);
}

std::byte* ChunkPool::take_spare(Use use) {
  MutexLock lock(mutex_);
  Class& c = of(use);
  if (!c.waiters.empty() || c.taken >= c.most / 2) return nullptr;
  c.taken++;
  return allocate();
}

awaitable<std::byte*> ChunkPool::take(Use use) {
  {
    MutexLock lock(mutex_);
    Class& c = of(use);
    if (c.waiters.empty() && c.taken < c.most) {
      c.taken++;
      co_return allocate();
    }
  }
  co_return co_await suspend<std::byte*>(
      [this, use](Resume<std::byte*> resume) { enqueue(use, std::move(resume)); });
}

void ChunkPool::enqueue(Use use, Resume<std::byte*> resume) {
  MutexLock lock(mutex_);
  Class& c = of(use);
  if (c.waiters.empty() && c.taken < c.most) {  // given since take() looked
    c.taken++;
    return resume(allocate());
  }
  c.waiters.push_back(std::move(resume));
  ask(c);
}

void ChunkPool::give(std::byte* chunk, Use use) {
  MutexLock lock(mutex_);
  Class& c = of(use);
  if (!c.waiters.empty()) {
    Resume<std::byte*> resume = std::move(c.waiters.front());
    c.waiters.pop_front();
    return resume(chunk);  // posts
  }
  c.taken--;
  if (chunk >= slab_.data() && chunk < slab_.data() + slab_.size()) {
    free_.push_back(chunk);
  } else {
    std::free(chunk);
  }
}

size_t ChunkPool::in_use() const {
  MutexLock lock(mutex_);
  return classes_[0].taken + classes_[1].taken;
}

size_t ChunkPool::waiting() const {
  MutexLock lock(mutex_);
  return classes_[0].waiters.size() + classes_[1].waiters.size();
}

// ---- those who rest ----

// As many as are waited for, those first that have rested longest.
void ChunkPool::ask(Class& c) {
  while (c.asked < c.waiters.size() && !c.resting.empty()) {
    std::shared_ptr<Holder> holder = std::move(c.resting.front());
    c.resting.pop_front();
    holder->state_ = Holder::State::kAsked;
    c.asked++;
    Executor executor = holder->executor_;
    asio::post(executor, [this, holder = std::move(holder)] { asked(*holder); });
  }
}

void ChunkPool::asked(Holder& holder) {
  {
    MutexLock lock(mutex_);
    Class& c = of(holder.use_);
    c.asked--;
    if (holder.state_ != Holder::State::kAsked) return ask(c);  // it works again: another one
    holder.state_ = Holder::State::kGaveBack;
  }
  holder.give_back();
}

void ChunkPool::Holder::rest(const Executor& executor) {
  {
    MutexLock lock(pool_.mutex_);
    if (state_ != State::kBusy) return;
    Class& c = pool_.of(use_);
    if (c.waiters.size() <= c.asked) {
      state_ = State::kResting;
      executor_ = executor;
      c.resting.push_back(shared_from_this());
      place_ = std::prev(c.resting.end());
      return;
    }
    state_ = State::kGaveBack;
  }
  give_back();  // somebody waits
}

bool ChunkPool::Holder::wake() {
  MutexLock lock(pool_.mutex_);
  if (state_ == State::kResting) pool_.of(use_).resting.erase(place_);
  return std::exchange(state_, State::kBusy) != State::kGaveBack;
}

}  // namespace cairn
