#include "kv/types/rdb_write.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "kv/types/list.h"
#include "kv/types/set.h"

namespace cairn::kv::rdb {

namespace {

void add_packed(std::string& out, Type type, ListpackWriter& packed) {
  out.push_back(static_cast<char>(type));
  add_string(out, packed.finish());
}

void add(ListpackWriter& packed, const SortedSet::Item& item) {
  packed.add(item.member);
  constexpr double kWholeMax = 4611686018427387904.0;  // as such above all doubles are whole
  const bool whole = std::abs(item.score) < kWholeMax && std::trunc(item.score) == item.score;
  if (whole && !(item.score == 0 && std::signbit(item.score))) {
    packed.add(static_cast<int64_t>(item.score));
  } else {
    packed.add(score_text(item.score));
  }
}

void add_list(std::string& out, const List& list) {
  if (!list.is_small()) {
    const auto blocks = list.blocks(0, list.size());
    add_head(out, kListQuicklist2, blocks.size());
    for (const BlockRef& block : blocks) add_block(out, block);
    return;
  }
  add_head(out, kListQuicklist2, 1);
  ListpackWriter packed;
  list.walk(0, list.size(), [&](std::string_view element) {
    packed.add(element);
    return true;
  });
  constexpr char kPacked = 2;
  out.push_back(kPacked);
  add_string(out, packed.finish());
}

// In one piece, which a reader takes apart again: not what a setting alone makes small.
bool is_packed(bool small, const Collection& c) {
  constexpr uint64_t kBytesMax = 1 << 20;
  return small && c.image_bytes() <= kBytesMax;
}

void add_set(std::string& out, const Set& set) {
  if (set.encoding() != "intset") {
    add_head(out, kSet, set.size());
    set.for_each([&](std::string_view member) { add_string(out, member); });
    return;
  }
  std::vector<int64_t> integers;
  set.for_each([&](std::string_view member) { integers.push_back(*parse_int<int64_t>(member)); });
  std::sort(integers.begin(), integers.end());
  const auto fit = [&]<class T>(T) {
    return std::in_range<T>(integers.front()) && std::in_range<T>(integers.back());
  };
  const uint32_t width = fit(int16_t{}) ? 2 : fit(int32_t{}) ? 4 : 8;
  std::string packed;
  add_raw(packed, width);
  add_raw(packed, static_cast<uint32_t>(integers.size()));
  for (int64_t n : integers) packed.append(reinterpret_cast<const char*>(&n), width);
  out.push_back(static_cast<char>(kSetIntset));
  add_string(out, packed);
}

void add_sorted_set(std::string& out, const SortedSet& set) {
  if (is_packed(set.encoding() == "listpack", set)) {
    ListpackWriter packed;
    set.for_each([&](const SortedSet::Item& item) { add(packed, item); });
    return add_packed(out, kZsetListpack, packed);
  }
  add_head(out, kZset2, set.size());
  if (set.size() == 0) return;
  set.for_each(set.size() - 1, set.size(), true, [&](auto& item) { add_scored(out, item); });
}

uint16_t add_hash(std::string& out, const Hash& hash, int64_t now_ms) {
  const size_t size = hash.size(now_ms);
  ListpackWriter packed;
  if (!hash.any_timed(now_ms)) {
    const bool small = is_packed(hash.encoding() != "hashtable", hash);
    if (!small) add_head(out, kHash, size);
    hash.for_each(now_ms, [&](std::string_view field, std::string_view value) {
      if (small) {
        packed.add(field);
        packed.add(value);
      } else {
        add_string(out, field);
        add_string(out, value);
      }
    });
    if (small) add_packed(out, kHashListpack, packed);
    return kVersionPlain;
  }
  std::vector<Hash::Item> items;
  items.reserve(size);
  hash.for_each_item(now_ms, [&](const Hash::Item& item) { items.push_back(item); });
  const auto until = [](const Hash::Item& item) {  // who stays for ever is last
    return item.until_ms == Hash::kForEver ? INT64_MAX : item.until_ms;
  };
  const auto by_time = [&](auto& a, auto& b) { return until(a) < until(b); };
  std::stable_sort(items.begin(), items.end(), by_time);
  const int64_t first_ms = items.front().until_ms;
  if (!is_packed(hash.encoding() != "hashtable", hash)) {
    add_times_head(out, first_ms, items.size());
    for (const Hash::Item& item : items) add_timed(out, first_ms, item);
    return kVersionTimes;
  }
  for (const Hash::Item& item : items) {
    packed.add(item.field);
    packed.add(item.value);
    packed.add(item.until_ms);
  }
  out.push_back(static_cast<char>(kHashListpackTimes));
  add_raw(out, first_ms);
  add_string(out, packed.finish());
  return kVersionTimes;
}

void add_stream(std::string& out, const Stream& stream) {
  add_head(out, kStream2, stream.blocks());
  for (auto at = stream.tree().first(); at; at.next()) add_block(out, **at);
  add_stream_state(out, stream);
  StreamGroups groups(stream);
  while (groups.step(out, SIZE_MAX)) {
  }
}

void add_id(std::string& out, StreamId id) {
  add_length(out, id.ms);
  add_length(out, id.seq);
}

void add_raw_id(std::string& out, StreamId id) {
  add_raw(out, __builtin_bswap64(id.ms));
  add_raw(out, __builtin_bswap64(id.seq));
}

}  // namespace

void add_text(std::string& out, std::string_view text) {
  out.push_back(static_cast<char>(kString));
  add_string(out, text);
}

uint16_t add_value(std::string& out, ValueType type, const Collection& value, int64_t now_ms) {
  switch (type) {
    case ValueType::kString:
      break;
    case ValueType::kHash:
      return add_hash(out, static_cast<const Hash&>(value), now_ms);
    case ValueType::kList:
      add_list(out, static_cast<const List&>(value));
      break;
    case ValueType::kSet:
      add_set(out, static_cast<const Set&>(value));
      break;
    case ValueType::kSortedSet:
      add_sorted_set(out, static_cast<const SortedSet&>(value));
      break;
    case ValueType::kStream:
      add_stream(out, static_cast<const Stream&>(value));
      break;
  }
  return kVersionPlain;
}

// ---- piece by piece ----

void add_head(std::string& out, Type type, uint64_t count) {
  out.push_back(static_cast<char>(type));
  add_length(out, count);
}

void add_block(std::string& out, const BlockRef& block) {
  ListpackWriter packed;
  block.walk(0, UINT64_MAX, [&](std::string_view element) {
    packed.add(element);
    return true;
  });
  constexpr char kPacked = 2;
  out.push_back(kPacked);
  add_string(out, packed.finish());
}

void add_scored(std::string& out, const SortedSet::Item& item) {
  add_string(out, item.member);
  add_raw(out, item.score);
}

void add_times_head(std::string& out, int64_t first_ms, uint64_t count) {
  out.push_back(static_cast<char>(kHashTimes));
  add_raw(out, first_ms);
  add_length(out, count);
}

void add_timed(std::string& out, int64_t first_ms, const Hash::Item& item) {
  const bool stays = item.until_ms == Hash::kForEver;
  add_length(out, stays ? 0 : static_cast<uint64_t>(item.until_ms - first_ms) + 1);
  add_string(out, item.field);
  add_string(out, item.value);
}

// The names of the first entry stand once, before all; each entry ends with how many elements it
// is made of.
void add_block(std::string& out, const StreamBlock& block) {
  enum Flags : int64_t { kOwnNames = 0, kSameNames = 2 };
  StreamBlock::Reader reader(block);
  StreamEntry first, e;
  if (!reader.next(first)) return;
  std::string key;
  add_raw_id(key, first.id);
  ListpackWriter packed;
  packed.add(static_cast<int64_t>(block.count()));
  packed.add(int64_t{0});  // none is deleted
  packed.add(static_cast<int64_t>(first.fields));
  std::string_view names = first.names, name;
  while (take_bytes(names, name)) packed.add(name);
  packed.add(int64_t{0});
  const std::string same(first.names);
  const uint64_t fields = first.fields;
  const StreamId base = first.id;
  reader.seek(0);
  while (reader.next(e)) {
    const bool own = e.names != same;
    packed.add(own ? kOwnNames : kSameNames);
    packed.add(static_cast<int64_t>(e.id.ms - base.ms));
    packed.add(static_cast<int64_t>(e.id.seq - base.seq));
    if (own) packed.add(static_cast<int64_t>(e.fields));
    e.for_each([&](std::string_view field, std::string_view value) {
      if (own) packed.add(field);
      packed.add(value);
    });
    packed.add(static_cast<int64_t>(own ? 4 + 2 * e.fields : 3 + fields));
  }
  add_string(out, key);
  add_string(out, packed.finish());
}

void add_stream_state(std::string& out, const Stream& stream) {
  const Stream::State& state = stream.state();
  add_length(out, stream.size());
  add_id(out, state.last);
  add_id(out, stream.first_id());
  add_id(out, state.max_deleted);
  add_length(out, state.added);
  add_length(out, stream.groups().size());
}

void StreamGroups::enter(std::string& out) {
  const StreamGroup& g = *at_->second;
  add_string(out, g.name());
  add_id(out, g.last());
  add_length(out, static_cast<uint64_t>(g.entries_read()));
  add_length(out, g.pending().size());
  pending_ = g.pending().begin();
  stage_ = Stage::kPending;
}

void StreamGroups::enter_consumer(std::string& out) {
  const StreamConsumer& c = *consumer_->second;
  add_string(out, c.name);
  add_raw(out, c.seen_ms);
  add_length(out, c.pending.size());
  of_consumer_ = c.pending.begin();
  stage_ = Stage::kOfConsumer;
}

bool StreamGroups::step(std::string& out, size_t bytes) {
  while (at_ != stream_->groups().end()) {
    const StreamGroup& g = *at_->second;
    if (out.size() >= bytes) return true;
    switch (stage_) {
      case Stage::kHead:
        enter(out);
        break;
      case Stage::kPending:
        if (pending_ != g.pending().end()) {
          add_raw_id(out, pending_->first);
          add_raw(out, pending_->second.since_ms);
          add_length(out, pending_->second.times);
          ++pending_;
          break;
        }
        add_length(out, g.consumers().size());
        consumer_ = g.consumers().begin();
        stage_ = Stage::kConsumers;
        break;
      case Stage::kConsumers:
        if (consumer_ != g.consumers().end()) {
          enter_consumer(out);
        } else {
          ++at_;
          stage_ = Stage::kHead;
        }
        break;
      case Stage::kOfConsumer:
        if (of_consumer_ != consumer_->second->pending.end()) {
          add_raw_id(out, *of_consumer_);
          ++of_consumer_;
        } else {
          ++consumer_;
          stage_ = Stage::kConsumers;
        }
        break;
    }
  }
  return false;
}

}  // namespace cairn::kv::rdb
