// All that the numbered databases hold, and libraries of functions, as a file of Redis's (RDB), for
// who takes his data to another server: redis-cli --rdb and --functions-rdb.
//
//   answer   = "$EOF:" mark CRLF  file  mark          mark: 40 hex digits, of chance
//   file     = "REDIS0010"  aux*  library*  database*  0xff  u64 crc64      of all before it
//   aux      = 0xfa string string                     what wrote it, and when
//   library  = 0xf5 string                            its source
//   database = 0xfe length  0xfb length length  key*  its number; keys, and those that expire:
//                                                     as many as there were when it began, a hint
//   key      = (0xfc i64 ms)?  u8 type  string  body  as in a payload of DUMP (rdb_format.h)
//
// Its version is the one that Redis 7.0 reads, whatever is in it. A hash of which a field has a
// time has the type that Redis 7.4 gave it, which 7.4 reads in a file of any version, and 7.0 in
// none: whether there is one nobody knows before the last key was seen, and without their times
// fields would stay for ever. How long keys were idle is not written, since it is not known.
//
// It is sent while it is made, in slices between which nothing is locked, and stops nobody. What it
// holds in memory is a slice, and a value of a collection that has a single long element. A large
// collection is written into extents first, as it was at one moment, so that it does not wait there
// for a client that reads slowly; a string in extents is sent from there.
//
// Invariants
//  1. A key that is in a database from begin to end is in the file, as it was at a moment between
//     the two, in the database that held it at the begin (SWAPDB).
//  2. No key is in it twice: Redis refuses such a file.
//  3. What is in it was durable before it is sent, if its writer wished so.
//  4. What is encrypted (objects/encryption.h) is in it as it reads; what no key of the store
//  opens,
//     as that which only its customer has the key of, is left out, and the operator is told how
//     much.
//  5. The mark follows a whole file alone. Where it cannot be made whole the connection ends.
//
// A key that comes, goes or is renamed meanwhile may be in it or not, and of a transaction that
// commits meanwhile it may have a part. Buckets have no place in such a file.
//
// Threads: as the command.
#pragma once

#include <string_view>
#include <vector>

#include "kv/engine/command.h"

namespace cairn::kv {

struct RdbContents {
  bool keys = true;
  std::vector<std::string_view> libraries;  // their sources
};
// Answers, and ends the connection.
awaitable<void> export_rdb(Context& c, const RdbContents& contents);

}  // namespace cairn::kv
