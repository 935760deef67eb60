// Writes values as Redis serializes them (rdb_format.h), each in the oldest form that holds it:
// version 10, which Redis 7.0 reads, or 12 for a hash of which a field has a time.
//
// A small value is written at once, by add_value(). A large one piece by piece, by whoever holds a
// snapshot of it: first its head, which says how many pieces follow, then these.
//
// Threads: as the values that are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kv/types/hash.h"
#include "kv/types/list_block.h"
#include "kv/types/rdb_format.h"
#include "kv/types/sorted_set.h"
#include "kv/types/stream.h"

namespace cairn::kv::rdb {

void add_text(std::string& out, std::string_view text);  // a string and its type
// Type and body of a collection as it is at this time; returns the version that it needs.
uint16_t add_value(std::string& out, ValueType type, const Collection& value, int64_t now_ms);

// ---- piece by piece ----
void add_head(std::string& out, Type type, uint64_t count);
void add_block(std::string& out, const BlockRef& block);         // kListQuicklist2
void add_scored(std::string& out, const SortedSet::Item& item);  // kZset2, the highest first
// kHashTimes: no field goes before `first_ms`.
void add_times_head(std::string& out, int64_t first_ms, uint64_t count);
void add_timed(std::string& out, int64_t first_ms, const Hash::Item& item);

void add_block(std::string& out, const StreamBlock& block);  // kStream2
// Behind the blocks: what is known of the stream beside them, and the number of its groups.
void add_stream_state(std::string& out, const Stream& stream);
// The groups, which nobody may change between two steps.
class StreamGroups {
 public:
  explicit StreamGroups(const Stream& stream) : at_(stream.groups().begin()), stream_(&stream) {}
  bool step(std::string& out, size_t bytes);  // about so many; false after the last

 private:
  enum class Stage : uint8_t { kHead, kPending, kConsumers, kOfConsumer };
  using Pending = absl::btree_map<StreamId, StreamGroup::Pending>;
  void enter(std::string& out);
  void enter_consumer(std::string& out);
  Stream::Groups::const_iterator at_;
  const Stream* stream_;
  Stage stage_ = Stage::kHead;
  Pending::const_iterator pending_;
  StreamGroup::Consumers::const_iterator consumer_;
  absl::btree_set<StreamId>::const_iterator of_consumer_;
};

}  // namespace cairn::kv::rdb
