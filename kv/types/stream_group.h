// A consumer group of a stream: what was delivered last, who its consumers are, and which entries
// are pending: delivered to one of them and not acknowledged yet.
//
// Threads: as the stream.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kv/types/stream_block.h"

namespace cairn::kv {

struct StreamConsumer {
  static constexpr int64_t kNever = -1;
  std::string name;
  // Tried something last, and got something last. What only tries is not recorded in the log.
  mutable int64_t seen_ms = 0;
  int64_t active_ms = kNever;
  absl::btree_set<StreamId> pending;
};

class StreamGroup {
 public:
  static constexpr int64_t kUnknown = -1;
  struct Pending {
    StreamConsumer* consumer = nullptr;
    int64_t since_ms = 0;  // delivered last
    uint64_t times = 0;    // delivered so often
  };
  using Consumers = absl::btree_map<std::string, std::unique_ptr<StreamConsumer>, std::less<>>;

  explicit StreamGroup(std::string_view name) : name_(name) {}

  const std::string& name() const { return name_; }
  StreamId last() const { return last_; }         // delivered
  int64_t entries_read() const { return read_; }  // to its consumers, or kUnknown
  const Consumers& consumers() const { return consumers_; }
  const absl::btree_map<StreamId, Pending>& pending() const { return pending_; }
  const StreamConsumer* consumer(std::string_view name) const {
    const auto it = consumers_.find(name);
    return it == consumers_.end() ? nullptr : it->second.get();
  }
  uint64_t name_bytes() const { return name_bytes_; }  // of the consumers
  uint64_t memory_bytes() const;
  uint64_t image_bytes() const;

  // ---- changes; see stream.h ----
  void set(StreamId last, int64_t entries_read) {
    last_ = last;
    read_ = entries_read;
  }
  StreamConsumer& set_consumer(std::string_view name, int64_t seen_ms, int64_t active_ms);
  void remove_consumer(std::string_view name);
  void set_pending(StreamId id, StreamConsumer& consumer, int64_t since_ms, uint64_t times);
  void remove_pending(StreamId id);
  // Frees so many of its parts at most, and takes them off `most`; false when none is left.
  bool free_some(size_t& most);

 private:
  const std::string name_;
  StreamId last_;
  int64_t read_ = kUnknown;
  uint64_t name_bytes_ = 0;  // of the consumers
  Consumers consumers_;
  absl::btree_map<StreamId, Pending> pending_;
};

}  // namespace cairn::kv
