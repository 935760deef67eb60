#include "gateway/resp/outbox.h"

namespace cairn::resp {

Outbox::Push Outbox::push(std::string_view message, const Limit& limit, int64_t now_ms) {
  MutexLock lock(mutex_);
  if (refused_) return Push::kRefused;
  const uint64_t held = bytes_.load(std::memory_order_relaxed);
  const uint64_t bytes = held + message.size();
  if (limit.soft == 0 || bytes <= limit.soft) {
    soft_since_ms_ = 0;
  } else if (soft_since_ms_ == 0 || held <= limit.soft) {  // it read in time
    soft_since_ms_ = now_ms;
  }
  const bool late = soft_since_ms_ != 0 && now_ms - soft_since_ms_ > limit.soft_ms;
  if (late || (limit.hard != 0 && bytes > limit.hard)) {
    refused_ = true;
    messages_.clear();
    bytes_.store(0, std::memory_order_release);
    return Push::kRefused;
  }
  const bool first = messages_.empty();
  messages_.emplace_back(message);
  bytes_.store(bytes, std::memory_order_release);
  return first ? Push::kFirst : Push::kAdded;
}

std::string Outbox::take(size_t most) {
  std::string text;
  MutexLock lock(mutex_);
  while (!messages_.empty() && (text.empty() || text.size() + messages_.front().size() <= most)) {
    text.append(messages_.front());
    messages_.pop_front();
  }
  const uint64_t left = bytes_.load(std::memory_order_relaxed) - text.size();
  bytes_.store(left, std::memory_order_release);
  return text;
}

bool Outbox::overdue(const Limit& limit, int64_t now_ms) const {
  MutexLock lock(mutex_);
  return limit.soft != 0 && soft_since_ms_ != 0 && bytes() > limit.soft &&
         now_ms - soft_since_ms_ > limit.soft_ms;
}

}  // namespace cairn::resp
