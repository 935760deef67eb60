#include "kv/types/stream.h"

#include <algorithm>
#include <cassert>

#include "kv/types/stream_items.h"

namespace cairn::kv {

namespace {
// A block and what its allocation takes.
uint64_t allocated(const StreamBlock& block) { return block.allocated() + 8; }
constexpr uint64_t kBlockHead = 24;  // about, in an image
}  // namespace

// ---- operations ----

void Stream::add_entry(std::string& operation, const StreamEntry& entry) {
  operation.push_back(kEntries);
  StreamBlock::add_entry_to(operation, entry);
}

void Stream::add_entry(std::string& operation, StreamId id,
                       std::span<const std::string_view> words) {
  size_t names = 0, values = 0;
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    names += varint_bytes(words[i].size()) + words[i].size();
    values += varint_bytes(words[i + 1].size()) + words[i + 1].size();
  }
  constexpr size_t kRest = 96;  // heads, and the state that follows
  operation.reserve(operation.size() + names + values + kRest);
  operation.push_back(kEntries);
  add_id(operation, id);
  add_varint(operation, words.size() / 2);
  add_varint(operation, names);
  for (size_t i = 0; i + 1 < words.size(); i += 2) add_bytes(operation, words[i]);
  add_varint(operation, 3 + values);
  operation.append(3, '\0');
  for (size_t i = 0; i + 1 < words.size(); i += 2) add_bytes(operation, words[i + 1]);
}

void Stream::add_trim(std::string& operation, StreamId to) {
  operation.push_back(kTrim);
  add_id(operation, to);
}

void Stream::add_delete(std::string& operation, StreamId id) {
  operation.push_back(kDelete);
  add_id(operation, id);
}

void Stream::add_state(std::string& operation, const State& state) {
  operation.push_back(kState);
  add_id(operation, state.last);
  add_varint(operation, state.added);
  add_id(operation, state.max_deleted);
}

void Stream::add_group_name(std::string& operation, std::string_view name) {
  operation.push_back(kGroupName);
  add_bytes(operation, name);
}

void Stream::add_group(std::string& operation, StreamId last, int64_t entries_read) {
  operation.push_back(kGroup);
  add_id(operation, last);
  add_varint(operation, static_cast<uint64_t>(entries_read) + 1);
}

void Stream::add_group_gone(std::string& operation) { operation.push_back(kGroupGone); }

void Stream::add_consumer(std::string& operation, std::string_view name, int64_t seen_ms,
                          int64_t active_ms) {
  operation.push_back(kConsumer);
  add_bytes(operation, name);
  add_varint(operation, static_cast<uint64_t>(seen_ms));
  add_varint(operation, static_cast<uint64_t>(active_ms) + 1);
}

void Stream::add_consumer_gone(std::string& operation, std::string_view name) {
  operation.push_back(kConsumerGone);
  add_bytes(operation, name);
}

void Stream::add_pending(std::string& operation, int64_t since_ms, uint64_t times,
                         std::span<const StreamId> ids) {
  operation.push_back(kPending);
  add_varint(operation, static_cast<uint64_t>(since_ms));
  add_varint(operation, times);
  add_ids(operation, ids);
}

void Stream::add_acknowledged(std::string& operation, std::span<const StreamId> ids) {
  operation.push_back(kAcknowledged);
  add_ids(operation, ids);
}

bool Stream::apply(std::string_view operation) {
  const bool applied = apply_items(operation);
  if (snapshots_.any()) snapshots_.keep(kept_bytes_ + tree_.take_copied_bytes());
  kept_bytes_ = 0;
  // More than the operation can have made, so that no more is ever dead than once was alive.
  constexpr size_t kFreedAtOnce = 64;
  if (!dead_.empty()) (void)free_dead(kFreedAtOnce + operation.size());
  return applied;
}

bool Stream::apply_items(std::string_view in) {
  StreamGroup* group = nullptr;
  StreamConsumer* consumer = nullptr;
  std::string_view name;
  uint64_t bytes = 0, image = 0;  // of the group, before
  const auto leave = [&] {
    if (group == nullptr) return;
    group_bytes_ += group->memory_bytes() - bytes;
    group_image_bytes_ += group->image_bytes() - image;
  };
  const auto enter = [&] {
    const auto it = groups_.find(name);
    group = it == groups_.end() ? nullptr : it->second.get();
    consumer = nullptr;
    bytes = group == nullptr ? 0 : group->memory_bytes();
    image = group == nullptr ? 0 : group->image_bytes();
  };
  bool good = true, named = false;
  while (good && !in.empty()) {
    const char kind = in[0];
    in.remove_prefix(1);
    StreamId id;
    switch (kind) {
      case kEntries: {
        if (StreamEntry e; StreamBlock::take_entry_alone(in, e)) {
          put(e);
          break;
        }
        const StreamBlock::Ref block = StreamBlock::take(in);
        good = bool(block);
        if (good) put_block(block);
        break;
      }
      case kTrim:
        good = take_id(in, id);
        if (good) remove(kStreamIdMin, id);
        break;
      case kDelete:
        good = take_id(in, id);
        if (good) remove(id, id);
        break;
      case kState: {
        State s;
        good = take_id(in, s.last) && take_varint(in, s.added) && take_id(in, s.max_deleted);
        if (good) state_ = s;
        break;
      }
      case kGroupName:
        leave();
        good = named = take_bytes(in, name);
        group = nullptr;
        if (good) enter();
        break;
      case kGroup: {
        uint64_t read;
        good = named && take_id(in, id) && take_varint(in, read);
        if (!good) break;
        if (group == nullptr) {
          group = groups_.emplace(name, std::make_unique<StreamGroup>(name)).first->second.get();
          bytes = image = 0;
        }
        group->set(id, static_cast<int64_t>(read - 1));
        break;
      }
      case kGroupGone: {
        good = named;
        if (!good || group == nullptr) break;
        group_bytes_ -= bytes;
        group_image_bytes_ -= image;
        dead_bytes_ += group->memory_bytes();
        const auto it = groups_.find(name);
        dead_.push_back(std::move(it->second));
        groups_.erase(it);
        group = nullptr;
        consumer = nullptr;
        break;
      }
      default:
        good = named && apply_group_item(kind, in, group, consumer);
    }
  }
  leave();
  return good;
}

// What is about the consumers and the pending entries of a group; null: it is not there.
bool Stream::apply_group_item(char kind, std::string_view& in, StreamGroup* group,
                              StreamConsumer*& consumer) {
  std::string_view name;
  uint64_t a, b;
  switch (kind) {
    case kConsumer:
      if (!take_bytes(in, name) || !take_varint(in, a) || !take_varint(in, b)) return false;
      if (a > INT64_MAX || b > INT64_MAX) return false;
      if (group == nullptr) return true;
      consumer = &group->set_consumer(name, static_cast<int64_t>(a), static_cast<int64_t>(b - 1));
      return true;
    case kConsumerGone:
      if (!take_bytes(in, name)) return false;
      consumer = nullptr;
      if (group != nullptr) group->remove_consumer(name);
      return true;
    case kPending:
      if (!take_varint(in, a) || !take_varint(in, b) || a > INT64_MAX) return false;
      return take_ids(in, [&](StreamId id) {
        if (consumer != nullptr) group->set_pending(id, *consumer, static_cast<int64_t>(a), b);
      });
    case kAcknowledged:
      return take_ids(in, [&](StreamId id) {
        if (group != nullptr) group->remove_pending(id);
      });
    default:
      return false;
  }
}

// ---- entries ----

template <class Fn>
void Stream::edit(const Tree::Cursor& at, Fn fn) {
  tree_.change(at, [&](StreamBlock::Ref& block) {
    const uint64_t bytes = allocated(*block), size = block->bytes();
    const StreamBlock* before = &*block;
    const bool shared = block.shared();  // with snapshots, which keep it
    fn(block);
    if (shared && &*block != before) kept_bytes_ += bytes;
    block_bytes_ += allocated(*block) - bytes;
    entry_bytes_ += block->bytes() - size;
  });
}

void Stream::insert(const Tree::Cursor& at, StreamBlock::Ref block) {
  blocks_++;
  block_bytes_ += allocated(*block);
  entry_bytes_ += block->bytes() + kBlockHead;
  tree_.insert(at, std::move(block));
}

void Stream::erase(const Tree::Cursor& at) {
  const StreamBlock::Ref block = tree_.erase(at);
  blocks_--;
  block_bytes_ -= allocated(*block);
  entry_bytes_ -= block->bytes() + kBlockHead;
  if (block.shared()) kept_bytes_ += allocated(*block);
}

// The block with the first entry that has this ID or a larger one.
Stream::Tree::Cursor Stream::first_at_or_above(const Tree& tree, StreamId id, uint64_t& rank) {
  return tree.first_not([id](const StreamBlock::Ref& b) { return b->last() < id; }, rank);
}

void Stream::put_block(const StreamBlock::Ref& block) {
  StreamBlock::Reader reader(*block);
  StreamEntry e;
  if (block->count() > 1) {  // as it is, if nothing is there yet from its first entry to its last
    uint64_t rank;
    const auto at = first_at_or_above(tree_, block->first(), rank);
    if (!at || (*at)->base() > block->last()) return insert(at, block);
  }
  while (reader.next(e)) put(e);
}

void Stream::put(const StreamEntry& e) {
  const auto append = [&](StreamBlock::Ref& b) { StreamBlock::append(b, e); };
  const auto make = [&] {
    StreamBlock::Ref made = StreamBlock::make(e, e.values.size() + 16);
    append(made);
    return made;
  };
  const Tree::Cursor last = tree_.last();
  if (!last || (*last)->last() < e.id) {
    if (last && (*last)->has_room(e)) return edit(last, append);
    if (last) edit(last, StreamBlock::shrink);
    return insert(tree_.end(), make());
  }
  uint64_t rank;
  Tree::Cursor at = first_at_or_above(tree_, e.id, rank);
  if ((*at)->base() <= e.id) {
    edit(at, [&](StreamBlock::Ref& b) { StreamBlock::put(b, e); });
    at = first_at_or_above(tree_, e.id, rank);
    if (!(*at)->is_too_large() || (*at)->count() < 2) return;
    StreamBlock::Ref right;
    edit(at, [&](StreamBlock::Ref& b) { right = StreamBlock::split(b); });
    at = first_at_or_above(tree_, right->first(), rank);
    return insert(at, std::move(right));
  }
  if (!at.is_first()) {  // between two blocks
    Tree::Cursor before = at;
    before.prev();
    if ((*before)->has_room(e)) return edit(before, append);
  }
  insert(at, make());
}

void Stream::remove(StreamId from, StreamId to) {
  uint64_t rank;
  for (;;) {
    const auto at = first_at_or_above(tree_, from, rank);
    if (!at) return;
    const StreamBlock& b = **at;
    const StreamId first = b.first();
    if (first > to) return;
    if (first >= from && b.last() <= to) {
      erase(at);
      continue;
    }
    const bool goes_on = b.last() < to;
    edit(at, [&](StreamBlock::Ref& block) { StreamBlock::remove(block, from, to); });
    if (!goes_on) return;
  }
}

std::optional<StreamEntry> Stream::find(StreamId id) const {
  uint64_t rank;
  const auto at = first_at_or_above(tree_, id, rank);
  return at ? (*at)->find(id) : std::nullopt;
}

uint64_t Stream::rank(StreamId id) const {
  uint64_t rank;
  const auto at = first_at_or_above(tree_, id, rank);
  return at ? rank + (*at)->rank(id) : rank;
}

StreamId Stream::id_at(uint64_t rank) const {
  uint64_t within = 0;
  const auto at = tree_.at_rank(rank, within);
  assert(at);
  StreamBlock::Reader reader(**at);
  StreamEntry e;
  while (reader.next(e) && within-- > 0) continue;
  return e.id;
}

bool Stream::exceeds(uint64_t n, uint64_t bytes) const {
  uint64_t sum = 0;
  for (auto at = tree_.first(); at && n > 0; at.next()) {
    const uint64_t count = (*at)->count(), some = std::min(n, count);
    sum += (*at)->bytes() * some / count;
    if (sum > bytes) return true;
    n -= some;
  }
  return false;
}

StreamId Stream::whole_blocks(uint64_t keep, std::optional<StreamId> keep_from, uint64_t most,
                              StreamId added, size_t added_bytes) const {
  const bool adds = added != kStreamIdMin;
  const bool joins = adds && !tree_.empty() && (*tree_.last())->has_room(added_bytes);
  const StreamId top = top_id();
  const uint64_t all = size() + (adds ? 1 : 0);
  StreamId to;
  uint64_t gone = 0;
  const auto take = [&](uint64_t count, StreamId last) {
    gone += count;
    if (all - gone < keep || (keep_from && last >= *keep_from) || (most != 0 && gone > most))
      return false;
    to = last;
    return true;
  };
  for (auto at = tree_.first(); at; at.next()) {
    const bool with_it = joins && (*at)->last() == top;
    if (!take((*at)->count() + (with_it ? 1 : 0), with_it ? added : (*at)->last())) return to;
  }
  if (adds && !joins) (void)take(1, added);
  return to;
}

Stream::Walk::Walk(const Tree& tree, StreamId from, StreamId to, bool backwards)
    : from_(from), to_(to), backwards_(backwards) {
  uint64_t rank;
  cursor_ = first_at_or_above(tree, backwards ? to : from, rank);
  if (backwards && !cursor_) cursor_ = tree.last();
  if (from > to || !cursor_) {
    ended_ = true;
  } else {
    enter();
  }
}

void Stream::Walk::enter() {
  reader_.emplace(**cursor_);
  if (!backwards_) return;
  places_.clear();
  StreamEntry e;
  for (uint32_t at = 0; reader_->next(e); at = reader_->at()) places_.push_back(at);
}

bool Stream::Walk::next(StreamEntry& e) {
  while (!ended_) {
    if (backwards_ && !places_.empty()) {
      reader_->seek(places_.back());
      places_.pop_back();
      reader_->next(e);
      if (e.id > to_) continue;
      ended_ = e.id < from_;
      return !ended_;
    }
    if (!backwards_ && reader_->next(e)) {
      if (e.id < from_) continue;
      ended_ = e.id > to_;
      return !ended_;
    }
    if (backwards_) {
      ended_ = cursor_.is_first();
      if (!ended_) cursor_.prev();
    } else {
      cursor_.next();
      ended_ = !cursor_;
    }
    if (!ended_) enter();
  }
  return false;
}

// ---- counts of groups ----

bool Stream::has_tombstones_from(StreamId from, StreamId first) const {
  const StreamId deleted = state_.max_deleted;
  return deleted != kStreamIdMin && from <= deleted && first <= deleted && size() > 0;
}

// All counts are modulo 2^64: XSETID and XGROUP set them to what they like.
int64_t Stream::estimate_read(StreamId id) const {
  const uint64_t all = state_.added, before = all - size();
  const auto added = static_cast<int64_t>(all);
  if (all == 0) return 0;
  if (size() == 0 && id <= state_.last) return added;
  if (id != kStreamIdMin && id < state_.max_deleted) return StreamGroup::kUnknown;
  if (id == state_.last) return added;
  if (id > state_.last) return StreamGroup::kUnknown;
  const StreamId first = first_id();
  if (state_.max_deleted == kStreamIdMin || state_.max_deleted < first) {
    if (id < first) return static_cast<int64_t>(before);
    if (id == first) return static_cast<int64_t>(before + 1);
  }
  return StreamGroup::kUnknown;
}

int64_t Stream::lag(const StreamGroup& group) const {
  if (state_.added == 0) return 0;
  const StreamId first = first_id();
  if (group.last() < first && state_.max_deleted < first) return static_cast<int64_t>(size());
  int64_t read = group.entries_read();
  if (read == StreamGroup::kUnknown || has_tombstones_from(group.last(), first)) {
    read = estimate_read(group.last());
  }
  if (read == StreamGroup::kUnknown) return read;
  return static_cast<int64_t>(state_.added - static_cast<uint64_t>(read));
}

int64_t Stream::read_after(StreamId last, int64_t read, std::span<const StreamId> ids) const {
  const StreamId first = first_id();
  for (const StreamId& id : ids) {
    if (read != StreamGroup::kUnknown && last >= first && !has_tombstones_from(last, first)) {
      read = static_cast<int64_t>(static_cast<uint64_t>(read) + 1);
    } else if (state_.added != 0) {
      read = estimate_read(id);
    }
    last = id;
  }
  return read;
}

// ---- memory ----

uint64_t Stream::memory_bytes() const {
  return sizeof(Stream) + tree_.bytes() + block_bytes_ + group_bytes_ + dead_bytes_ +
         groups_.size() * (sizeof(std::string) + sizeof(void*)) * 4 / 3;
}

uint64_t Stream::image_bytes() const { return 32 + entry_bytes_ + group_image_bytes_; }

bool Stream::free_dead(size_t most) {
  while (!dead_.empty() && most > 0) {
    StreamGroup& group = *dead_.back();
    dead_bytes_ -= group.memory_bytes();
    if (group.free_some(most)) {
      dead_bytes_ += group.memory_bytes();
    } else {
      dead_.pop_back();
    }
  }
  return !dead_.empty();
}

bool Stream::free_some() {
  constexpr size_t kStep = 1000;
  if (snapshots_.any()) {
    snapshots_.keep(block_bytes_ + tree_.bytes());
    snapshots_ = Snapshots<Tree>();
  }
  if (tree_.free_some()) return true;
  if (free_dead(kStep)) return true;
  if (groups_.empty()) return false;
  dead_bytes_ += groups_.begin()->second->memory_bytes();
  dead_.push_back(std::move(groups_.begin()->second));
  groups_.erase(groups_.begin());
  return true;
}

}  // namespace cairn::kv
