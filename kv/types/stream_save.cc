// How a stream is written again, and how a change of it is taken back.
#include <algorithm>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "kv/types/stream.h"
#include "kv/types/stream_items.h"

namespace cairn::kv {

// ---- parts ----

// A cursor is a number for a place. One that was forgotten, since there are too many, begins again.
struct Stream::Saves {
  static constexpr size_t kMost = 1000;
  uint64_t given = 0;
  std::vector<std::pair<uint64_t, Place>> places;

  Place take(uint64_t cursor) {
    const auto it =
        std::find_if(places.begin(), places.end(), [cursor](auto& p) { return p.first == cursor; });
    if (it == places.end()) return {};
    Place place = std::move(it->second);
    places.erase(it);
    return place;
  }
  uint64_t give(uint64_t seed, Place place) {
    if (places.size() == kMost) places.erase(places.begin());
    // From elsewhere than another stream's, which it may be taken for.
    do given++;
    while (seed + given == 0);
    places.emplace_back(seed + given, std::move(place));
    return seed + given;
  }
};

struct Stream::Part {
  std::string& out;
  const size_t begin;  // what is in it before is not of this part
  const uint64_t bytes;
  const uint64_t most = capped_add(bytes, bytes);
  bool any = false;  // something is in it

  bool full() const { return any && out.size() - begin >= bytes; }
  // Whether something so large has to wait for the next one.
  bool has_no_room(uint64_t more) const { return any && out.size() - begin + more > most; }
};

Stream::Stream(uint64_t seed) : seed_(seed) {}

Stream::~Stream() {
  if (snapshots_.any()) snapshots_.keep(block_bytes_ + tree_.bytes());
}

uint64_t Stream::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  Place place;
  if (cursor != 0 && saves_ != nullptr) place = saves_->take(cursor);
  Part part{operation, operation.size(), bytes};
  if (place.stage == Place::kEntries && place.id == kStreamIdMin) add_state(operation, state_);
  const bool more =
      (place.stage == Place::kEntries && save_entries(place, part)) || save_groups(place, part);
  if (more) {
    if (saves_ == nullptr) saves_ = std::make_unique<Saves>();
    return saves_->give(seed_, std::move(place));
  }
  if (saves_ != nullptr && saves_->places.empty()) saves_.reset();
  return 0;
}

// These return whether the part is full, and there is more from `place` on.
bool Stream::save_entries(Place& place, Part& part) const {
  constexpr uint64_t kHead = 64;  // at most, of a block beside its entries and names
  uint64_t rank;
  for (auto at = first_at_or_above(tree_, place.id, rank); at; at.next()) {
    const StreamBlock& b = **at;
    if (part.full()) return true;
    if (b.first() >= place.id && b.bytes() <= part.bytes) {
      if (part.has_no_room(kHead + b.bytes())) return true;
      part.out.push_back(kEntries);
      b.add_to(part.out);
      part.any = true;
    } else {
      StreamBlock::Reader reader(b);
      for (StreamEntry e; reader.next(e);) {
        if (e.id < place.id) continue;
        place.id = e.id;
        if (part.full() || part.has_no_room(kHead + e.names.size() + e.values.size())) return true;
        add_entry(part.out, e);
        part.any = true;
      }
    }
    if (b.last() == kStreamIdMax) break;
    place.id = b.last().next();
  }
  place.stage = Place::kConsumers;
  return false;
}

bool Stream::save_groups(Place& place, Part& part) const {
  for (auto it = groups_.lower_bound(place.group); it != groups_.end(); ++it) {
    if (it->first != place.group) place = {Place::kConsumers, {}, it->first, {}};
    if (part.full() || part.has_no_room(it->first.size()) || save_group(*it->second, place, part)) {
      return true;
    }
    part.any = true;
    place = {Place::kConsumers, {}, it->first + '\0', {}};
  }
  return false;
}

bool Stream::save_group(const StreamGroup& group, Place& place, Part& part) const {
  constexpr uint64_t kHead = 32;
  std::string& out = part.out;
  add_group_name(out, group.name());
  add_group(out, group.last(), group.entries_read());
  if (place.stage == Place::kConsumers) {
    auto it = group.consumers().lower_bound(place.consumer);
    for (; it != group.consumers().end(); ++it) {
      place.consumer = it->first;
      if (part.full() || part.has_no_room(kHead + it->first.size())) return true;
      add_consumer(out, it->first, it->second->seen_ms, it->second->active_ms);
      part.any = true;
    }
    place.stage = Place::kPending;
    place.id = {};
  }
  const uint64_t run_max = std::clamp<uint64_t>(part.bytes / 64, 1, 1024);
  const StreamConsumer* named = nullptr;
  std::vector<StreamId> run;
  const auto& pending = group.pending();
  for (auto it = pending.lower_bound(place.id); it != pending.end();) {
    const StreamGroup::Pending& p = it->second;
    place.id = it->first;
    if (part.full() || part.has_no_room(kHead + p.consumer->name.size())) return true;
    if (p.consumer != named) {
      named = p.consumer;
      add_consumer(out, named->name, named->seen_ms, named->active_ms);
    }
    run.clear();
    for (; it != pending.end() && run.size() < run_max && it->second.consumer == named &&
           it->second.since_ms == p.since_ms && it->second.times == p.times;
         ++it) {
      run.push_back(it->first);
    }
    add_pending(out, p.since_ms, p.times, run);
    part.any = true;
  }
  return false;
}

// ---- taking back ----

// Operations that make what an operation touches what it is now.
class Stream::Undo {
 public:
  explicit Undo(const Stream& stream) : stream_(stream) {}

  void read(std::string_view in);
  std::string& out() { return out_; }

 private:
  bool item(char kind, std::string_view& in);
  void entries(StreamId from, StreamId to);
  void pending(StreamId id, const StreamGroup::Pending& p) {
    consumer(*p.consumer);
    add_pending(out_, p.since_ms, p.times, {&id, 1});
  }
  void consumer(const StreamConsumer& c) { add_consumer(out_, c.name, c.seen_ms, c.active_ms); }
  void all_of(const StreamGroup& group) {
    Part part{out_, out_.size(), UINT64_MAX};
    Place place{Place::kConsumers, {}, {}, {}};
    (void)stream_.save_group(group, place, part);
  }
  void consumer_gone(std::string_view name);

  const Stream& stream_;
  std::string out_;
  std::string_view name_;               // of the group that items are about
  const StreamGroup* group_ = nullptr;  // null: there is none now
};

void Stream::Undo::read(std::string_view in) {
  while (!in.empty()) {
    const char kind = in[0];
    in.remove_prefix(1);
    if (!item(kind, in)) return;
  }
}

void Stream::Undo::entries(StreamId from, StreamId to) {
  uint64_t rank;
  for (auto at = first_at_or_above(stream_.tree_, from, rank); at; at.next()) {
    const StreamBlock& b = **at;
    if (b.first() > to) return;
    if (b.first() >= from && b.last() <= to) {
      out_.push_back(kEntries);
      b.add_to(out_);
    } else if (b.rank(from) < b.count() && (b.rank(to) > b.rank(from) || b.find(to))) {
      out_.push_back(kEntries);
      b.add_range_to(out_, from, to);
    }
  }
}

void Stream::Undo::consumer_gone(std::string_view name) {
  const StreamConsumer* c = group_->consumer(name);
  if (c == nullptr) return;
  consumer(*c);
  for (const StreamId& id : c->pending) {
    const StreamGroup::Pending& p = group_->pending().find(id)->second;
    add_pending(out_, p.since_ms, p.times, {&id, 1});
  }
}

bool Stream::Undo::item(char kind, std::string_view& in) {
  StreamId id, other;
  uint64_t a, b;
  std::string_view name;
  switch (kind) {
    case kEntries: {
      const StreamBlock::Ref block = StreamBlock::take(in);
      if (!block) return false;
      StreamBlock::Reader reader(*block);
      for (StreamEntry e; reader.next(e);) {
        if (const auto old = stream_.find(e.id)) {
          add_entry(out_, *old);
        } else {
          add_delete(out_, e.id);
        }
      }
      return true;
    }
    case kTrim:
      if (!take_id(in, id)) return false;
      entries(kStreamIdMin, id);
      return true;
    case kDelete:
      if (!take_id(in, id)) return false;
      entries(id, id);
      return true;
    case kState:
      add_state(out_, stream_.state_);
      return take_id(in, id) && take_varint(in, a) && take_id(in, other);
    case kGroupName:
      if (!take_bytes(in, name_)) return false;
      group_ = stream_.group(name_);
      add_group_name(out_, name_);
      return true;
    case kGroup:
      if (group_ == nullptr) {
        add_group_gone(out_);
      } else {
        add_group(out_, group_->last(), group_->entries_read());
      }
      return take_id(in, id) && take_varint(in, a);
    case kGroupGone:
      if (group_ != nullptr) all_of(*group_);
      return true;
    case kConsumer:
      if (!take_bytes(in, name) || !take_varint(in, a) || !take_varint(in, b)) return false;
      if (group_ == nullptr) return true;
      if (const auto* c = group_->consumer(name)) {
        consumer(*c);
      } else {
        add_consumer_gone(out_, name);
      }
      return true;
    case kConsumerGone:
      if (!take_bytes(in, name)) return false;
      if (group_ != nullptr) consumer_gone(name);
      return true;
    case kPending:
      if (!take_varint(in, a) || !take_varint(in, b)) return false;
      [[fallthrough]];
    case kAcknowledged:
      return take_ids(in, [&](StreamId i) {
        if (group_ == nullptr) return;
        const auto it = group_->pending().find(i);
        if (it != group_->pending().end()) {
          pending(i, it->second);
        } else {
          add_acknowledged(out_, {&i, 1});
        }
      });
    default:
      return false;
  }
}

void Stream::inverse(std::string_view operation, std::vector<std::string>& undo) const {
  Undo back(*this);
  back.read(operation);
  if (!back.out().empty()) undo.push_back(std::move(back.out()));
}

}  // namespace cairn::kv
