// When a collection counts as large in the answers of OBJECT ENCODING and in the form of DUMP:
// Redis's hash-max-listpack-entries and its like. What a value really lies in does not go by them,
// and no record of the log has them: it is found out anew while a value is made, so that after a
// start a value may count by what holds then, as in Redis. A value that was large once stays so.
//
// Of the whole process, since a type is made by functions that know no server.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kv/types/hyperloglog.h"

namespace cairn::kv {

struct Thresholds {
  std::atomic<uint64_t> entries;
  std::atomic<uint64_t> value;  // of a field, its value or a member, in bytes

  bool too_many(uint64_t n) const { return n > entries.load(std::memory_order_relaxed); }
  bool too_long(size_t bytes) const { return bytes > value.load(std::memory_order_relaxed); }
};

inline Thresholds hash_thresholds{512, 64};
inline Thresholds set_thresholds{128, 64};  // of sets that are not of integers alone
inline Thresholds sorted_set_thresholds{128, 64};

// hll-sparse-max-bytes: when PFADD and PFMERGE make a value that lists all its registers. The log
// has the value itself.
inline std::atomic<uint64_t> hll_sparse_bytes_max{hll::kSparseBytesMax};

}  // namespace cairn::kv
