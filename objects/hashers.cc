#include "objects/hashers.h"

#include <algorithm>
#include <cassert>

namespace cairn::objects {

size_t Hashers::threads_for_this_machine() {
  return std::max(2u, std::thread::hardware_concurrency()) - 1;
}

Hashers::Hashers(size_t threads, BlockHasher hasher) : hasher_(hasher) {
  for (size_t i = 0; i < threads; i++) threads_.emplace_back([this] { work(); });
}

Hashers::~Hashers() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  idle_.notify_all();
  gathering_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Hashers::is_due(const HashStream& stream) const {
  return streams_ == 1 || stream.wanted_ || stream.waiting_bytes_ >= kDueBytes;
}

void Hashers::add_ready(std::shared_ptr<HashStream> stream) {
  if (ready_.empty()) since_ = Time::now();
  note_due(*stream);
  ready_.push_back(std::move(stream));
}

void Hashers::put(const std::shared_ptr<HashStream>& stream, Bytes data,
                  std::shared_ptr<const void> keep) {
  bool no_lane = false, is_due = false;
  {
    std::lock_guard lock(mutex_);
    streams_ += !std::exchange(stream->known_, true);
    stream->waiting_bytes_ += data.size();
    auto& pieces = stream->pieces_;
    Bytes* last = pieces.empty() ? nullptr : &pieces.back().data;
    if (last != nullptr && pieces.back().keep == keep &&
        last->data() + last->size() == data.data()) {
      *last = {last->data(), last->size() + data.size()};
    } else {
      pieces.push_back({data, std::move(keep)});
    }
    if (!std::exchange(stream->taken_, true)) {
      add_ready(stream);
    } else {
      note_due(*stream);
    }
    no_lane = ready_.size() > lanes_free_;
    is_due = stream->due_;
  }
  if (no_lane) idle_.notify_one();
  if (is_due) gathering_.notify_one();
}

// It may have become due while it is ready.
void Hashers::note_due(HashStream& stream) {
  if (!stream.taken_ || stream.held_ || stream.due_ || !is_due(stream)) return;
  stream.due_ = true;
  due_++;
}

void Hashers::hurry(HashStream& stream) {
  {
    std::lock_guard lock(mutex_);
    stream.wanted_ = true;
    note_due(stream);
  }
  gathering_.notify_one();
}

void Hashers::leave(HashStream& stream) {
  std::lock_guard lock(mutex_);
  streams_ -= std::exchange(stream.known_, false);
}

// Where there are more than it has lanes, all get their turns.
void Hashers::take(std::vector<Turn>& mine) {
  while (!ready_.empty() && mine.size() < hasher_.lanes_max()) {
    HashStream& stream = *ready_.front();
    due_ -= std::exchange(stream.due_, false);
    stream.held_ = true;
    mine.push_back({std::move(ready_.front()), {}});
    ready_.pop_front();
  }
  since_ = Time::now();
  size_t bytes = kTurnBytes;
  for (const Turn& turn : mine) {
    bytes = std::min(bytes, turn.stream->pieces_.front().data.size());
  }
  for (Turn& turn : mine) turn.data = turn.stream->pieces_.front().data.first(bytes);
}

void Hashers::hash(const std::vector<Turn>& mine) const {
  std::vector<MessageDigests::Turn> turns;
  for (const Turn& turn : mine) {
    if (!turn.stream->abandoned_) turns.push_back({&turn.stream->digests_, turn.data});
  }
  MessageDigests::update_together(hasher_, turns);
}

void Hashers::pass(std::vector<Turn>& mine, std::vector<Passed>& passed) {
  for (Turn& turn : mine) {
    HashStream& stream = *turn.stream;
    auto& pieces = stream.pieces_;
    passed.push_back({turn.stream, nullptr});
    stream.waiting_bytes_ -= turn.data.size();
    pieces.front().data = pieces.front().data.subspan(turn.data.size());
    if (pieces.front().data.empty()) {
      passed.back().keep = std::move(pieces.front().keep);
      pieces.pop_front();
    }
    stream.held_ = false;
    stream.taken_ = !pieces.empty();
    if (stream.taken_) add_ready(std::move(turn.stream));
  }
  mine.clear();
}

void Hashers::work() {
  const size_t lanes = hasher_.lanes_max();
  std::vector<Turn> mine;
  std::vector<Passed> passed;
  size_t free = 0;  // of lanes_free_, this thread's
  std::unique_lock lock(mutex_);
  for (;;) {
    lanes_free_ -= free;
    idle_.wait(lock, [this] { return stopping_ || !ready_.empty(); });
    lanes_free_ += free = lanes;
    gathering_.wait_until(lock, since_ + kGather, [&] {
      return stopping_ || due_ > 0 || ready_.empty() || ready_.size() >= lanes;
    });
    if (stopping_) return;
    take(mine);
    lanes_free_ -= mine.size();
    free -= mine.size();
    lock.unlock();
    hash(mine);
    lock.lock();
    pass(mine, passed);
    lock.unlock();
    for (Passed& one : passed) {
      one.keep.reset();
      one.stream->moved_.notify();
    }
    passed.clear();
    lock.lock();
  }
}

// ---- a stream ----

const BlockHasher& HashStream::hasher() const {
  static const BlockHasher alone;
  return hashers_ == nullptr ? alone : hashers_->hasher_;
}

void HashStream::update(Bytes data, const std::shared_ptr<const void>& keep) {
  constexpr size_t kAtOnceBytes = 16 << 10;  // less than waking a thread is worth
  if (digests_.empty() || data.empty()) return;
  const bool idle = waiting_bytes_ == 0;
  if (hashers_ == nullptr || keep == nullptr || (idle && data.size() < kAtOnceBytes)) {
    assert(idle);
    return digests_.update(hasher(), data);
  }
  hashers_->put(shared_from_this(), data, keep);
}

awaitable<void> HashStream::below(size_t bytes) {
  if (bytes == 0 && waiting_bytes_ > 0) hashers_->hurry(*this);
  co_await moved_.until([this, bytes] { return waiting_bytes_ <= bytes; });
}

void HashStream::abandon() {
  abandoned_ = true;
  if (known_) hashers_->leave(*this);
}

std::string HashStream::digest(Algorithm algorithm) {
  assert(waiting_bytes_ == 0);
  return digests_.digest(hasher(), algorithm);
}

}  // namespace cairn::objects
