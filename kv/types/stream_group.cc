#include "kv/types/stream_group.h"

namespace cairn::kv {

namespace {
// Nodes of the trees are three quarters full.
constexpr uint64_t kPendingBytes =
    (sizeof(StreamId) + sizeof(StreamGroup::Pending) + sizeof(StreamId)) * 4 / 3;
constexpr uint64_t kConsumerBytes =
    sizeof(StreamConsumer) + (sizeof(std::string) + sizeof(void*)) * 4 / 3;
}  // namespace

uint64_t StreamGroup::memory_bytes() const {
  return sizeof(StreamGroup) + name_.size() + consumers_.size() * kConsumerBytes + 2 * name_bytes_ +
         pending_.size() * kPendingBytes;
}

uint64_t StreamGroup::image_bytes() const {
  constexpr uint64_t kHead = 24, kTimes = 16;  // about
  return kHead + name_.size() + consumers_.size() * kTimes + name_bytes_ + pending_.size() * kTimes;
}

StreamConsumer& StreamGroup::set_consumer(std::string_view name, int64_t seen_ms,
                                          int64_t active_ms) {
  auto it = consumers_.find(name);
  if (it == consumers_.end()) {
    auto made = std::make_unique<StreamConsumer>();
    made->name = name;
    it = consumers_.emplace(name, std::move(made)).first;
    name_bytes_ += name.size();
  }
  it->second->seen_ms = seen_ms;
  it->second->active_ms = active_ms;
  return *it->second;
}

void StreamGroup::remove_consumer(std::string_view name) {
  const auto it = consumers_.find(name);
  if (it == consumers_.end()) return;
  for (const StreamId& id : it->second->pending) pending_.erase(id);
  name_bytes_ -= name.size();
  consumers_.erase(it);  // `name` may be its own
}

void StreamGroup::set_pending(StreamId id, StreamConsumer& consumer, int64_t since_ms,
                              uint64_t times) {
  // Nearly all are behind those that are there.
  const auto it = pending_.empty() || id > pending_.rbegin()->first
                      ? pending_.emplace_hint(pending_.end(), id, Pending())
                      : pending_.try_emplace(id).first;
  Pending& p = it->second;
  if (p.consumer != &consumer) {
    if (p.consumer != nullptr) p.consumer->pending.erase(id);
    consumer.pending.insert(consumer.pending.end(), id);
  }
  p = {&consumer, since_ms, times};
}

void StreamGroup::remove_pending(StreamId id) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  it->second.consumer->pending.erase(id);
  pending_.erase(it);
}

bool StreamGroup::free_some(size_t& most) {
  for (; most > 0 && !pending_.empty(); most--) {
    const auto it = pending_.begin();
    it->second.consumer->pending.erase(it->first);
    pending_.erase(it);
  }
  for (; most > 0 && !consumers_.empty(); most--) remove_consumer(consumers_.begin()->first);
  return !pending_.empty() || !consumers_.empty();
}

}  // namespace cairn::kv
