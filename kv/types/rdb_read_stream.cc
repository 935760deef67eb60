// Streams, as Redis serializes them: nodes of entries, the state, groups.
#include "kv/types/rdb_read.h"
#include "kv/types/stream_items.h"

namespace cairn::kv::rdb {

namespace {
enum EntryFlags : int64_t { kDeleted = 1, kSameNames = 2 };
}

bool Reader::stream_step(Source& in, std::string& operation) {
  switch (stage_) {
    case Stage::kNodes:
      if (left_ > 0) return stream_node(in);
      stage_ = Stage::kState;
      flush_block(operation);
      return true;
    case Stage::kMaster:
      return stream_master(in);
    case Stage::kEntries:
      return stream_entry(in, operation);
    case Stage::kState:
      return stream_state(in, operation);
    case Stage::kGroups:
      if (left_ > 0) return group_head(in, operation);
      stage_ = Stage::kDone;
      return true;
    case Stage::kGroupPending:
      return group_pending(in);
    case Stage::kConsumerCount:
      if (!in.take_length(stream_.consumers_left)) return false;
      stage_ = Stage::kConsumers;
      return true;
    case Stage::kConsumers:
      return consumer_head(in, operation);
    case Stage::kConsumerPending:
      return consumer_pending(in, operation);
    default:
      return in.fail();
  }
}

bool Reader::take_id(Source& in, StreamId& id) {
  return in.take_length(id.ms) && in.take_length(id.seq);
}

bool Reader::take_raw_id(Source& in, StreamId& id) {
  if (!in.take_raw(id.ms) || !in.take_raw(id.seq)) return false;
  id = {__builtin_bswap64(id.ms), __builtin_bswap64(id.seq)};
  return true;
}

// ---- entries ----

bool Reader::stream_node(Source& in) {
  std::string_view key;
  if (!in.take_string(key, other_held_, item_bytes_max_)) return false;
  Source of_key{key};
  StreamId master;
  if (!take_raw_id(of_key, master) || !of_key.rest.empty()) return in.fail();
  if (!open_packed(in, Packed::Form::kListpack)) return false;
  stream_.master = master;
  left_--;
  stage_ = Stage::kMaster;
  return true;
}

bool Reader::stream_master(Source& in) {
  StreamPart& s = stream_;
  int64_t entries, deleted, fields, end;
  if (!packed_.number(entries) || !packed_.number(deleted) || !packed_.number(fields)) {
    return in.fail();
  }
  if (entries < 0 || deleted < 0 || fields < 1) return in.fail();
  s.names.clear();
  for (int64_t i = 0; i < fields; i++) {
    Packed::Element e;
    if (!packed_.next(e)) return in.fail();
    add_bytes(s.names, e.text);
  }
  if (!packed_.number(end) || end != 0) return in.fail();
  s.fields = static_cast<uint64_t>(fields);
  s.entries = static_cast<uint64_t>(entries);
  s.deleted = static_cast<uint64_t>(deleted);
  stage_ = Stage::kEntries;
  return true;
}

bool Reader::stream_entry(Source& in, std::string& operation) {
  StreamPart& s = stream_;
  if (s.entries == 0 && s.deleted == 0) {
    Packed::Element e;
    if (packed_.next(e) || packed_.broken()) return in.fail();
    packed_.clear();
    stage_ = Stage::kNodes;
    return true;
  }
  StreamEntry e;
  bool deleted;
  if (!take_entry(e, deleted)) return in.fail();
  uint64_t& left = deleted ? s.deleted : s.entries;
  if (left == 0) return in.fail();
  left--;
  if (deleted) return true;
  return add_entry(e, operation) || in.fail();
}

bool Reader::take_entry(StreamEntry& e, bool& deleted) {
  StreamPart& s = stream_;
  int64_t flags, ms, seq, fields = static_cast<int64_t>(s.fields), elements;
  if (!packed_.number(flags) || !packed_.number(ms) || !packed_.number(seq)) return false;
  if (flags < 0 || flags > (kDeleted | kSameNames)) return false;
  deleted = (flags & kDeleted) != 0;
  const bool same = (flags & kSameNames) != 0;
  if (!same && (!packed_.number(fields) || fields < 1)) return false;
  s.own_names.clear();
  s.values.clear();
  for (int64_t i = 0; i < fields; i++) {
    Packed::Element word;
    if (!same) {
      if (!packed_.next(word)) return false;
      add_bytes(s.own_names, word.text);
    }
    if (!packed_.next(word)) return false;
    add_bytes(s.values, word.text);
  }
  if (!packed_.number(elements) || elements != (same ? 3 + fields : 4 + 2 * fields)) return false;
  e.id = {s.master.ms + static_cast<uint64_t>(ms), s.master.seq + static_cast<uint64_t>(seq)};
  e.fields = static_cast<uint64_t>(fields);
  e.names = same ? s.names : s.own_names;
  e.values = s.values;
  return true;
}

// In blocks, each of which says the names once. How long these are must not count for how many
// entries share them, or a short body could make a stream of any size.
bool Reader::add_entry(const StreamEntry& e, std::string& operation) {
  StreamPart& s = stream_;
  if (s.length == 0 ? e.id == kStreamIdMin : e.id <= s.top) return false;
  if (s.block) {
    const StreamBlock& b = *s.block;
    const uint64_t own = b.bytes() - s.names_bytes;
    if (b.count() >= StreamBlock::kEntriesMax || own + e.values.size() > StreamBlock::kBytesMax) {
      flush_block(operation);
    }
  }
  if (!s.block) {
    s.block = StreamBlock::make(e, e.values.size());
    s.names_bytes = s.block->bytes();
  }
  StreamBlock::append(s.block, e);
  if (s.length == 0) s.first = e.id;
  s.top = e.id;
  s.length++;
  members_++;
  return true;
}

void Reader::flush_block(std::string& operation) {
  if (!stream_.block) return;
  operation.push_back(StreamItem::kEntries);
  stream_.block->add_to(operation);
  stream_.block = {};
}

bool Reader::stream_state(Source& in, std::string& operation) {
  StreamPart& s = stream_;
  Stream::State state;
  StreamId first;
  uint64_t length, groups;
  if (!in.take_length(length) || !take_id(in, state.last)) return false;
  if (rdb_type_ == kStream) {
    state.added = length;
  } else if (!take_id(in, first) || !take_id(in, state.max_deleted) ||
             !in.take_length(state.added)) {
    return false;
  }
  if (!in.take_length(groups)) return false;
  if (length != s.length || state.last < s.top || state.max_deleted > state.last) {
    return in.fail();
  }
  s.last = state.last;
  left_ = groups;
  Stream::add_state(operation, state);
  stage_ = Stage::kGroups;
  return true;
}

// ---- groups ----

// Each operation says again whom it is about.
void Reader::add_context(std::string& operation) const {
  const StreamPart& s = stream_;
  if (!operation.empty()) return;
  Stream::add_group_name(operation, s.group);
  if (s.in_consumer) Stream::add_consumer(operation, s.consumer, s.seen_ms, s.active_ms);
}

bool Reader::group_head(Source& in, std::string& operation) {
  StreamPart& s = stream_;
  std::string_view name;
  StreamId last;
  uint64_t read = 0, pending;
  if (!in.take_string(name, held_, item_bytes_max_) || !take_id(in, last)) return false;
  if (rdb_type_ != kStream && !in.take_length(read)) return false;
  if (!in.take_length(pending)) return false;
  int64_t entries_read = StreamGroup::kUnknown;
  if (rdb_type_ != kStream) {
    entries_read = static_cast<int64_t>(read);
  } else if (s.length == 0 || last == s.last) {  // what can be told of an old one
    entries_read = static_cast<int64_t>(s.length);
  } else if (last <= s.first) {
    entries_read = last == s.first ? 1 : 0;
  }
  if (!s.groups.emplace(name).second) return in.fail();
  s.group = name;
  s.in_consumer = false;
  s.consumers.clear();
  s.pending_left = pending;
  Stream::add_group_name(operation, s.group);
  Stream::add_group(operation, last, entries_read);
  left_--;
  stage_ = Stage::kGroupPending;
  return true;
}

bool Reader::group_pending(Source& in) {
  StreamPart& s = stream_;
  if (s.pending_left == 0) {
    stage_ = Stage::kConsumerCount;
    return true;
  }
  StreamId id;
  StreamPart::Pending p{};
  if (!take_raw_id(in, id) || !in.take_raw(p.since_ms) || !in.take_length(p.times)) return false;
  if (p.since_ms < 0 || !s.pending.emplace(id, p).second) return in.fail();
  s.pending_left--;
  return true;
}

bool Reader::consumer_head(Source& in, std::string& operation) {
  StreamPart& s = stream_;
  if (s.consumers_left == 0) {
    if (!s.pending.empty()) return in.fail();  // somebody has to have them
    stage_ = Stage::kGroups;
    return true;
  }
  std::string_view name;
  int64_t seen_ms, active_ms;
  uint64_t pending;
  if (!in.take_string(name, held_, item_bytes_max_) || !in.take_raw(seen_ms)) return false;
  active_ms = seen_ms;
  if (rdb_type_ == kStream3 && !in.take_raw(active_ms)) return false;
  if (!in.take_length(pending)) return false;
  if (seen_ms < 0 || active_ms < StreamConsumer::kNever || active_ms == INT64_MAX) {
    return in.fail();
  }
  if (!s.consumers.emplace(name).second) return in.fail();
  s.in_consumer = false;
  add_context(operation);
  Stream::add_consumer(operation, name, seen_ms, active_ms);
  s.consumer = name;
  s.in_consumer = true;
  s.seen_ms = seen_ms;
  s.active_ms = active_ms;
  s.pending_left = pending;
  s.consumers_left--;
  stage_ = Stage::kConsumerPending;
  return true;
}

bool Reader::consumer_pending(Source& in, std::string& operation) {
  constexpr size_t kRunMax = 1024;
  StreamPart& s = stream_;
  if (s.pending_left == 0) {
    flush_pending(operation);
    stage_ = Stage::kConsumers;
    return true;
  }
  StreamId id;
  if (!take_raw_id(in, id)) return false;
  const auto it = s.pending.find(id);
  if (it == s.pending.end()) return in.fail();  // of another consumer, or of none
  const StreamPart::Pending p = it->second;
  s.pending.erase(it);
  const bool alike = p.since_ms == s.run_of.since_ms && p.times == s.run_of.times;
  if (!alike || s.run.size() == kRunMax) flush_pending(operation);
  s.run_of = p;
  s.run.push_back(id);
  s.pending_left--;
  return true;
}

void Reader::flush_pending(std::string& operation) {
  StreamPart& s = stream_;
  if (s.run.empty()) return;
  add_context(operation);
  Stream::add_pending(operation, s.run_of.since_ms, s.run_of.times, s.run);
  s.run.clear();
}

}  // namespace cairn::kv::rdb
