// Reads values as Redis serializes them (rdb_format.h): all types and encodings up to version 12
// but modules, as operations that make the value.
//
// The body may come in pieces, and the operation may be asked for in pieces: nothing is held but
// what could not be read yet, and one packed form on its way. What is hostile is refused: lengths
// are believed once so much is there, names are looked at for whether the types take them, and who
// makes the value compares its size with members(), since a member that comes twice shows there.
//
// Threads: one.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/index.h"
#include "kv/types/rdb_format.h"
#include "kv/types/stream.h"

namespace cairn::kv::rdb {

class Reader {
 public:
  // `item_bytes_max`: of one string in it, or one packed form. Fields that are due at `now_ms` are
  // left out.
  Reader(uint64_t item_bytes_max, int64_t now_ms)
      : item_bytes_max_(item_bytes_max), now_ms_(now_ms) {}
  Reader(const Reader&) = delete;

  enum class Got : uint8_t {
    kNeedsMore,  // of the body
    kFull,       // the operation is as long as it may be: take it, empty it, and go on
    kWhole,
    kBad,
    kTooLong,  // something in it is above the limits of its type
  };
  // Takes off the front of `in` what it can read, and adds it to `operation` (or to the bytes of a
  // string) until that has about so many. `last`: no more will come.
  Got read(std::string_view& in, bool last, uint64_t bytes, std::string& operation);

  ValueType type() const { return value_type_; }
  uint64_t members() const { return members_; }  // so far; entries of a stream
  bool skipped_any() const { return skipped_ > 0; }
  uint64_t held_bytes() const;

 private:
  enum class Stage : uint8_t {
    kType,
    kFirst,
    kCount,
    kItems,
    kPacked,
    kPackedItems,
    kText,
    kNodes,
    kMaster,
    kEntries,
    kState,
    kGroups,
    kGroupPending,
    kConsumerCount,
    kConsumers,
    kConsumerPending,
    kDone,
  };

  bool step(Source& in, std::string& operation);
  bool enter(Source& in, uint8_t type);
  bool item(Source& in, std::string& operation);
  bool node(Source& in, std::string& operation);
  bool open_packed(Source& in, Packed::Form form);
  bool packed_item(Source& in, std::string& operation);
  bool finish(Source& in, std::string& operation);
  bool add_field(Source& in, std::string_view field, std::string_view value, int64_t until_ms,
                 std::string& operation);
  bool add_scored(Source& in, std::string_view member, double score, std::string& operation);
  bool add_element(Source& in, std::string_view element, std::string& operation);
  void flush_list(std::string& operation);
  bool is_timed() const { return rdb_type_ >= kHashTimesEarly; }

  // ---- of a stream ----
  bool stream_step(Source& in, std::string& operation);
  bool stream_node(Source& in);
  bool stream_master(Source& in);
  bool stream_entry(Source& in, std::string& operation);
  bool take_entry(StreamEntry& e, bool& deleted);
  bool add_entry(const StreamEntry& e, std::string& operation);
  void flush_block(std::string& operation);
  bool stream_state(Source& in, std::string& operation);
  bool group_head(Source& in, std::string& operation);
  bool group_pending(Source& in);
  bool consumer_head(Source& in, std::string& operation);
  bool consumer_pending(Source& in, std::string& operation);
  void add_context(std::string& operation) const;
  void flush_pending(std::string& operation);
  bool take_id(Source& in, StreamId& id);
  bool take_raw_id(Source& in, StreamId& id);

  const uint64_t item_bytes_max_;
  const int64_t now_ms_;
  Stage stage_ = Stage::kType;
  uint8_t rdb_type_ = 0;
  ValueType value_type_ = ValueType::kString;
  uint64_t left_ = 0;  // items, nodes, or groups
  uint64_t members_ = 0, skipped_ = 0;
  int64_t first_ms_ = 0;
  Packed packed_;
  std::string held_, other_held_;

  std::string list_;  // packed elements of the block that is being filled
  uint32_t list_count_ = 0;
  int64_t list_next_ = 0;

  struct StreamPart {
    StreamId master, top, first, last;
    uint64_t fields = 0, entries = 0, deleted = 0;  // of the node; that are still to come
    std::string names, own_names, values;           // as in stream_block.h
    StreamBlock::Ref block;
    uint64_t names_bytes = 0;  // of the block
    uint64_t length = 0;       // all entries
    absl::btree_set<std::string, std::less<>> groups, consumers;
    std::string group, consumer;
    bool in_consumer = false;
    int64_t seen_ms = 0, active_ms = 0;
    struct Pending {
      int64_t since_ms;
      uint64_t times;
    };
    absl::btree_map<StreamId, Pending> pending;  // that no consumer has yet
    uint64_t pending_left = 0, consumers_left = 0;
    std::vector<StreamId> run;  // that were delivered alike
    Pending run_of{};
  };
  StreamPart stream_;
};

// If a body is a string that is written as it is: how long that is, and where it begins.
struct PlainString {
  uint64_t begin, length;
};
std::optional<PlainString> plain_string(std::string_view body);

}  // namespace cairn::kv::rdb
