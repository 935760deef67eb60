// A Redis Cluster of one node: with cluster-enabled this server is all of it, and holds all of its
// hash slots. What clients say over RESP is refused then where its keys lie in several slots, as
// any larger cluster would refuse it.
//
// Threads: any; Cluster is constant after start.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::kv {

class Args;
struct Row;

struct Cluster {
  bool enabled = false;
  // Where clients are told to find it; empty, or 0: where they came to.
  std::string announce_ip;
  uint16_t announce_port = 0, announce_tls_port = 0;
};

inline constexpr int kClusterSlots = 16384, kNoSlot = -1;

// The hash slot of a key, or of the channel of a shard. Of a key with a tag, which is what stands
// between its first "{" and the next "}" if that is anything, only the tag counts.
int cluster_slot(std::string_view key);
// The slot of all keys that a pattern of SORT can name, whatever takes the place of its "*";
// kNoSlot: they may be in several.
int cluster_slot_of_pattern(std::string_view pattern);

// The slot of some commands together.
class OneSlot {
 public:
  // Adds the keys, or channels of shards, that are among the words of a command. False: not all of
  // them, and those before, are in the same slot. A word that lies in extents is passed over: the
  // command is looked at again when it was read.
  bool add(const Row& row, const Args& args);
  int slot() const { return slot_; }  // kNoSlot: there was none

 private:
  int slot_ = kNoSlot;
};

inline constexpr std::string_view kCrossSlot =
    "CROSSSLOT Keys in request don't hash to the same slot";

}  // namespace cairn::kv
