// What consumer groups hold of the entries of a stream, for what deletes entries with regard to
// that: KEEPREF, DELREF and ACKED of XADD, XTRIM, XDELEX and XACKDEL.
//
// Threads: as the command, under the lock of the stream's key.
#pragma once

#include <span>
#include <string>

#include "kv/commands/stream_view.h"

namespace cairn::kv {

enum class Refs : uint8_t {
  kKeep,    // entries go, what is pending stays
  kDelete,  // and what is pending goes with them
  kAcked,   // only entries go that nobody is to get any more
};

class References {
 public:
  explicit References(const Stream& stream);

  // So many entries may be asked about in one turn, since each is looked for in all groups; and
  // within a transaction, which has no turns.
  uint64_t at_once(const Context& c) const;
  // All groups delivered what is up to this ID; what is behind it they hold.
  StreamId delivered() const { return delivered_; }
  // Whether a group has yet to deliver the entry, or it is pending with one: any but this one.
  bool hold(StreamId id, const StreamGroup* but = nullptr) const;
  // Adds to `operation` that these are pending with no group any more.
  void release(std::span<const StreamId> ids, std::string& operation) const;

 private:
  const Stream& stream_;
  StreamId delivered_ = kStreamIdMax;
};

// The policy that a word names, if it is one and none was given before.
bool take_policy(std::string_view word, std::optional<Refs>& policy);

// How far a trim has come, from turn to turn.
struct Trimming {
  // What is to go: so many entries, all up to this ID, of so many that are looked at.
  uint64_t excess = UINT64_MAX;
  StreamId to = kStreamIdMax;
  uint64_t looks = UINT64_MAX;

  StreamId from;  // what is below was looked at
  // In this turn:
  uint64_t gone = 0, bytes = 0;
  bool more = false;
};
// A turn of a trim of a stream that has groups: looks at `most` entries, adds to `operation` what
// goes of them, and says so. One more entry, `added`, follows on those in the stream (0-0: none).
void trim_some(const Stream& stream, Refs policy, StreamId added, uint64_t most, Trimming& trimming,
               std::string& operation);

std::span<const Row> stream_add_rows();
std::span<const Row> stream_reference_rows();

}  // namespace cairn::kv
