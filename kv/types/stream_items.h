// The items of a stream's operations; see stream.h. For stream.cc and stream_save.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kv/types/stream_block.h"

namespace cairn::kv {

enum StreamItem : char {
  kEntries = 1,
  kTrim = 2,
  kDelete = 3,
  kState = 4,
  kGroupName = 5,
  kGroup = 6,
  kGroupGone = 7,
  kConsumer = 8,
  kConsumerGone = 9,
  kPending = 10,
  kAcknowledged = 11,
};

inline void add_id(std::string& out, StreamId id) {
  add_varint(out, id.ms);
  add_varint(out, id.seq);
}
inline bool take_id(std::string_view& in, StreamId& id) {
  return take_varint(in, id.ms) && take_varint(in, id.seq);
}

// Differences are modulo 2^64, so that the IDs may come in any order.
inline void add_ids(std::string& out, std::span<const StreamId> ids) {
  add_varint(out, ids.size());
  StreamId before;
  for (const StreamId& id : ids) {
    add_varint(out, id.ms - before.ms);
    add_varint(out, id.ms == before.ms ? id.seq - before.seq : id.seq);
    before = id;
  }
}
template <class Fn>
bool take_ids(std::string_view& in, Fn fn) {
  uint64_t n, ms, seq;
  if (!take_varint(in, n)) return false;
  for (StreamId id; n > 0; n--) {
    if (!take_varint(in, ms) || !take_varint(in, seq)) return false;
    id = {id.ms + ms, ms == 0 ? id.seq + seq : seq};
    fn(id);
  }
  return true;
}

}  // namespace cairn::kv
