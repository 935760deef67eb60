// HyperLogLog values: strings that estimate how many different elements were added, in the very
// bytes that redis-server makes of the same commands, so that such values can be exchanged by GET
// and SET. The standard error is 0.81 %.
//
//   value = "HYLL"  u8 encoding  3 bytes of 0  u64 cardinality  registers       (little-endian)
//     cardinality  the estimate, if its highest bit is 0; else it has to be made again
//     encoding 0, dense:  16384 registers of 6 bits, lowest bits of a byte first: 12288 bytes
//     encoding 1, sparse: runs of registers, from the first to the last:
//       00nnnnnn           n + 1 registers are 0
//       01nnnnnn nnnnnnnn  n + 1 registers are 0 (high byte first)
//       1vvvvvnn           n + 1 registers are v + 1
// The format, when sparse becomes dense, and how runs are joined (which decides the bytes) are
// Redis's: https://redis.io/docs/latest/develop/data-types/probabilistic/hyperloglogs/ and its
// hyperloglog.c; the estimator is Ertl's, https://arxiv.org/abs/1702.01284, algorithm 6.
//
// A client may have written any bytes: functions that read a value say whether it was one.
//
// Threads: none of its own; plain functions over bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::kv::hll {

inline constexpr size_t kRegisters = size_t{1} << 14;
inline constexpr size_t kSparseBytesMax = 3000;  // Redis's hll-sparse-max-bytes

// Has a header, and if it is dense all of its registers. Sparse ones may be broken still.
bool is_value(std::string_view bytes);
bool is_dense(std::string_view value);
std::string make_empty();

enum class Added : uint8_t { kNothing, kChanged, kBroken };
Added add(std::string& value, std::string_view element);

std::optional<uint64_t> known_estimate(std::string_view value);  // as it was kept in it
void keep_estimate(std::string& value, uint64_t estimate);

// The registers one by one, as those of several values are united.
using Registers = std::array<uint8_t, kRegisters>;
// Each becomes the larger of itself and the value's. False if that is broken.
[[nodiscard]] bool unite(Registers& registers, std::string_view value);
uint64_t estimate(const Registers& registers);
// The value's become the larger of themselves and these. False if it is broken.
[[nodiscard]] bool raise(std::string& value, const Registers& registers);

// From sparse to dense; false if it is broken. What is dense stays as it is.
[[nodiscard]] bool make_dense(std::string& value);
// The runs of a sparse one, as PFDEBUG DECODE prints them.
std::string describe_runs(std::string_view value);

}  // namespace cairn::kv::hll
