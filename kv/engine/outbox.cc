#include "kv/engine/outbox.h"

#include <algorithm>
#include <cstring>

namespace cairn::kv {

Outbox::Added Outbox::push(const Push& push, const OutputLimit& limit, int64_t now_ms) {
  bool rings;
  {
    MutexLock lock(mutex_);
    if (closed_) return Added::kGone;
    const uint64_t held = bytes_.load(std::memory_order_relaxed);
    const uint64_t bytes = held + cost(push);
    if (limit.soft == 0 || bytes <= limit.soft) {
      soft_since_ms_ = 0;
    } else if (soft_since_ms_ == 0 || held <= limit.soft) {  // it read in time
      soft_since_ms_ = now_ms;
    }
    const bool late = soft_since_ms_ != 0 && now_ms - soft_since_ms_ > limit.soft_ms;
    if (late || (limit.hard != 0 && bytes > limit.hard)) {
      closed_ = true;
      coming_ = {};
      bytes_.fetch_sub(coming_bytes_, std::memory_order_release);
      coming_bytes_ = 0;
      return Added::kRefused;
    }
    coming_.push_back(push);
    coming_bytes_ += cost(push);
    bytes_.fetch_add(cost(push), std::memory_order_release);
    rings = ring_at_ == 0 || bytes >= ring_at_;
    if (rings) ring_at_ = bytes + kRungEach;
  }
  if (rings) ring();
  return Added::kAdded;
}

bool Outbox::overdue(const OutputLimit& limit, int64_t now_ms) const {
  MutexLock lock(mutex_);
  return limit.soft != 0 && soft_since_ms_ != 0 && bytes() > limit.soft &&
         now_ms - soft_since_ms_ > limit.soft_ms;
}

// What has come is what goes next, once all that went before is gone.
void Outbox::take_in() {
  if (next_ < going_.size()) return;
  going_.clear();
  if (going_.capacity() > kKeptMax) going_ = {};
  next_ = 0;
  MutexLock lock(mutex_);
  going_.swap(coming_);
  coming_bytes_ = 0;
  if (going_.empty()) ring_at_ = 0;
}

size_t Outbox::copy(char* to, size_t room, char first, bool begun) {
  take_in();
  size_t n = 0, i = next_, at = at_;
  const auto part = [&](const std::string& text, size_t from) {
    const size_t bytes = std::min(room - n, text.size() - from);
    std::memcpy(to + n, text.data() + from, bytes);
    n += bytes;
    at += bytes;
  };
  while (n < room && i < going_.size()) {
    const Push& push = going_[i];
    if (at == 0) {
      if (begun) break;
      to[n++] = push.first != 0 ? push.first : first;
      at = 1;
    }
    const size_t body = 1 + push.head->size();
    if (at < body) part(*push.head, at - 1);
    if (at >= body) part(*push.body, at - body);
    if (at < push.size()) break;
    i++;
    at = 0;
    if (begun) break;
  }
  return n;
}

void Outbox::sent(size_t bytes) {
  uint64_t gone = bytes;
  while (bytes > 0 && next_ < going_.size()) {
    const size_t left = going_[next_].size() - at_;
    if (bytes < left) {
      at_ += bytes;
      break;
    }
    bytes -= left;
    going_[next_++] = {};
    at_ = 0;
    gone += kPushBytes;
  }
  bytes_.fetch_sub(gone, std::memory_order_release);
}

void Outbox::append(std::string& to, const Push& push, char first) {
  to.push_back(push.first != 0 ? push.first : first);
  to.append(*push.head);
  to.append(*push.body);
}

void Outbox::drain(std::string& to, char first) {
  if (empty()) return;
  uint64_t gone = 0;
  const size_t keep = next_ + (at_ > 0 ? 1 : 0);
  for (size_t i = keep; i < going_.size(); i++) {
    append(to, going_[i], first);
    gone += cost(going_[i]);
  }
  if (keep < going_.size()) going_.resize(keep);
  std::vector<Push> came;
  {
    MutexLock lock(mutex_);
    came.swap(coming_);
    gone += coming_bytes_;
    coming_bytes_ = 0;
    if (at_ == 0) ring_at_ = 0;
  }
  for (const Push& push : came) append(to, push, first);
  bytes_.fetch_sub(gone, std::memory_order_release);
}

void Outbox::close() {
  going_ = {};
  next_ = at_ = 0;
  MutexLock lock(mutex_);
  closed_ = true;
  coming_ = {};
  coming_bytes_ = 0;
  bytes_.store(0, std::memory_order_release);
}

}  // namespace cairn::kv
