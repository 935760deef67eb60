// Whether what threads saw of one key can have happened one after the other (linearizability), its
// absence included. Every write has its LSN, which is its place among the key's writes, and every
// read tells the LSN of what it saw; so no order has to be searched for, only checked:
//
//  1. what ended before something else began comes before it;
//  2. a read sees what all writes up to one of them made, one that had begun, and none that another
//     had followed before the read began: its version, its expiry and its fields;
//  3. who finds nothing does so after a removal, or when its time has come, or before the first
//     write;
//  4. a write found what it says that it found.
//
// A value is its fields: a string has one, without a name. A field of a hash may have a time of its
// own. The store takes out what is due when it likes, and the hash has another version then, which
// nobody here wrote.
//
// Threads: one; each thread keeps events of its own and they are put together afterwards.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cairn::stress {

struct Field {
  uint64_t id = 0;       // what was written: unique
  int64_t until_ms = 0;  // 0: for ever
  bool operator==(const Field&) const = default;
};
using Fields = std::map<std::string, Field>;

struct Event {
  // kPut, kSet and kUnset: all of the value; these fields have these values and times; these
  // fields go. kExpire: its expiry alone.
  enum Kind : uint8_t { kPut, kRemove, kExpire, kSet, kUnset, kSeen, kAbsent };
  Kind kind;
  uint64_t begin, end;       // of the call, by a clock that all threads share
  int64_t begin_ms, end_ms;  // the same by the store's clock
  uint64_t lsn = 0;          // of the write; the version of what was seen
  int64_t expire_ms = 0;     // of the key after the write, or as it was seen; 0: never
  Fields fields;             // of a kSeen: all that were there, unless it did not look
  // What a write found: nothing, something, or it did not look.
  enum Found : uint8_t { kNotLooked, kNothing, kSomething };
  Found found = kNotLooked;
  bool looked = true;  // a kSeen: at the fields
};

// What a key holds at the end of one round is what it begins the next one with.
struct State {
  uint64_t lsn = 0;      // of the newest write
  uint64_t version = 0;  // of the newest that was not of the expiry alone
  bool present = false;
  int64_t expire_ms = 0;
  Fields fields;  // those that are due included, until somebody writes them again
};

// Empty if the events of one key can have happened; else what is wrong. `state` becomes the last
// one.
std::string check_history(std::vector<Event> events, State& state);

}  // namespace cairn::stress
