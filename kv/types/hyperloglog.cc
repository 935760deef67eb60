#include "kv/types/hyperloglog.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/text.h"
#include "kv/types/thresholds.h"

namespace cairn::kv::hll {
namespace {

constexpr std::string_view kMagic = "HYLL";
constexpr size_t kEncodingAt = 4, kEstimateAt = 8, kHeaderBytes = 16;
constexpr char kDense = 0, kSparse = 1;
constexpr unsigned kRegisterBits = 6, kIndexBits = 14;
constexpr unsigned kRankMax = 64 - kIndexBits + 1;
constexpr size_t kDenseBytes = kHeaderBytes + kRegisters * kRegisterBits / 8;
static_assert(kDenseBytes == 12304);
// What one run of a sparse value can say.
constexpr size_t kShortZeros = 64, kLongZeros = kRegisters, kValues = 4;
constexpr uint8_t kSparseRankMax = 32;

// MurmurHash64A by Austin Appleby (public domain), with Redis's seed.
uint64_t hash(std::string_view element) {
  constexpr uint64_t kMultiply = 0xc6a4a7935bd1e995;
  constexpr int kShift = 47;
  uint64_t h = 0xadc83b19 ^ (element.size() * kMultiply);
  const auto mix = [&](uint64_t k) {
    k *= kMultiply;
    return (k ^ (k >> kShift)) * kMultiply;
  };
  for (; element.size() >= 8; element.remove_prefix(8)) {
    uint64_t k;
    std::memcpy(&k, element.data(), sizeof(k));
    h = (h ^ mix(k)) * kMultiply;
  }
  if (!element.empty()) {
    uint64_t rest = 0;
    std::memcpy(&rest, element.data(), element.size());
    h = (h ^ rest) * kMultiply;
  }
  h = (h ^ (h >> kShift)) * kMultiply;
  return h ^ (h >> kShift);
}

// The register that an element is counted in, and its rank: the position of the first bit that is
// set in the rest of its hash.
struct Place {
  size_t index;
  uint8_t rank;
};
Place place_of(std::string_view element) {
  const uint64_t h = hash(element);
  const uint64_t rest = (h >> kIndexBits) | (uint64_t{1} << (64 - kIndexBits));
  return {h % kRegisters, static_cast<uint8_t>(std::countr_zero(rest) + 1)};
}

// ---- dense ----

uint8_t dense_register(std::string_view value, size_t index) {
  const size_t bit = index * kRegisterBits, at = kHeaderBytes + bit / 8;
  unsigned two = static_cast<uint8_t>(value[at]);
  if (at + 1 < value.size()) two |= static_cast<unsigned>(static_cast<uint8_t>(value[at + 1])) << 8;
  return two >> bit % 8 & 63;
}

void set_dense_register(std::string& value, size_t index, uint8_t rank) {
  const size_t bit = index * kRegisterBits, at = kHeaderBytes + bit / 8;
  const unsigned shift = bit % 8;
  const auto change = [&](size_t i, unsigned mask, unsigned bits) {
    value[i] = static_cast<char>((static_cast<uint8_t>(value[i]) & ~mask) | bits);
  };
  change(at, 63U << shift & 255, static_cast<unsigned>(rank) << shift & 255);
  if (shift > 8 - kRegisterBits) change(at + 1, 63U >> (8 - shift), rank >> (8 - shift));
}

bool raise_dense(std::string& value, size_t index, uint8_t rank) {
  if (dense_register(value, index) >= rank) return false;
  set_dense_register(value, index, rank);
  return true;
}

// ---- sparse ----

struct Run {
  size_t at = 0, bytes = 0;
  size_t registers = 0;
  uint8_t rank = 0;
};

// The run that begins at this byte; nothing if none does.
std::optional<Run> run_at(std::string_view value, size_t at) {
  if (at >= value.size()) return std::nullopt;
  const auto byte = static_cast<uint8_t>(value[at]);
  if (byte & 0x80)
    return Run{at, 1, (byte & 3) + size_t{1}, static_cast<uint8_t>((byte >> 2 & 31) + 1)};
  if ((byte & 0x40) == 0) return Run{at, 1, byte + size_t{1}, 0};
  if (at + 1 >= value.size()) return std::nullopt;
  const size_t low = static_cast<uint8_t>(value[at + 1]);
  return Run{at, 2, ((byte & size_t{63}) << 8 | low) + 1, 0};
}

void add_zeros(std::string& runs, size_t registers) {
  if (registers == 0) return;
  if (registers > kShortZeros) {
    runs += static_cast<char>(0x40 | (registers - 1) >> 8);
    runs += static_cast<char>((registers - 1) & 255);
  } else {
    runs += static_cast<char>(registers - 1);
  }
}

void add_values(std::string& runs, uint8_t rank, size_t registers) {
  if (registers > 0) runs += static_cast<char>(0x80 | (rank - 1) << 2 | (registers - 1));
}

// Calls fn(index of its first register, run); false if the runs are not those of all registers.
template <class Fn>
bool for_each_run(std::string_view value, Fn fn) {
  size_t index = 0;
  for (size_t at = kHeaderBytes; at < value.size();) {
    const auto run = run_at(value, at);
    if (!run || run->registers > kRegisters - index) return false;
    fn(index, *run);
    index += run->registers;
    at += run->bytes;
  }
  return index == kRegisters;
}

// Of how many registers a run is that begins with the byte; of a long one without its second byte.
constexpr auto kRegistersOf = [] {
  std::array<uint16_t, 256> registers{};
  for (unsigned byte = 0; byte < registers.size(); byte++) {
    registers[byte] = static_cast<uint16_t>(1 + (byte & 0x80   ? byte & 3
                                                 : byte & 0x40 ? (byte & 63) << 8
                                                               : byte));
  }
  return registers;
}();

struct Found {
  std::optional<Run> run;        // nothing if none has it
  size_t first = 0;              // register of it
  size_t before = kHeaderBytes;  // where the run in front of it is
};

// The run that has the register. All in front of it are stepped over, up to some thousand, so that
// this is what an element costs: without a branch that depends on what they are.
Found find_run(const std::string& value, size_t index) {
  Found found;
  const auto* bytes = reinterpret_cast<const uint8_t*>(value.data());  // with a 0 behind them
  size_t next;
  for (size_t at = kHeaderBytes; at < value.size(); at = next) {
    const size_t is_long = (bytes[at] & 0xC0) == 0x40;
    const size_t registers = kRegistersOf[bytes[at]] + is_long * bytes[at + 1];
    if (index - found.first < registers) {
      found.run = run_at(value, at);
      break;
    }
    found.first += registers;
    found.before = at;
    next = at + 1 + is_long;
  }
  return found;
}

// Joins equal values that stand side by side, near the place that was changed. Which are looked at
// decides the bytes of the value: five runs, from the one in front of that place on.
void join_values(std::string& value, size_t at) {
  for (int looked = 0; looked < 5 && at < value.size(); looked++) {
    const auto run = run_at(value, at);
    if (!run) return;
    const auto next = run->rank == 0 ? std::nullopt : run_at(value, at + 1);
    const size_t together = next ? run->registers + next->registers : 0;
    if (next && next->rank == run->rank && together <= kValues) {
      std::string joined;
      add_values(joined, run->rank, together);
      value.replace(at, 2, joined);
      continue;
    }
    at += run->bytes;
  }
}

Added raise_sparse(std::string& value, const Place& place) {
  const auto go_dense = [&] {
    if (!make_dense(value)) return Added::kBroken;
    return raise_dense(value, place.index, place.rank) ? Added::kChanged : Added::kNothing;
  };
  if (place.rank > kSparseRankMax) return go_dense();
  const auto [run, first, before] = find_run(value, place.index);
  if (!run) return Added::kBroken;
  if (run->rank >= place.rank) return Added::kNothing;
  const size_t in_front = place.index - first, behind = run->registers - in_front - 1;
  std::string runs;
  if (run->rank == 0) {
    add_zeros(runs, in_front);
    add_values(runs, place.rank, 1);
    add_zeros(runs, behind);
  } else {
    add_values(runs, run->rank, in_front);
    add_values(runs, place.rank, 1);
    add_values(runs, run->rank, behind);
  }
  if (runs.size() > run->bytes && value.size() - run->bytes + runs.size() >
                                      hll_sparse_bytes_max.load(std::memory_order_relaxed)) {
    return go_dense();
  }
  value.replace(run->at, run->bytes, runs);
  join_values(value, before);
  return Added::kChanged;
}

void forget_estimate(std::string& value) { value[kHeaderBytes - 1] |= static_cast<char>(0x80); }

Added raise(std::string& value, const Place& place) {
  if (!is_dense(value)) return raise_sparse(value, place);
  return raise_dense(value, place.index, place.rank) ? Added::kChanged : Added::kNothing;
}

// The two series of Ertl's estimator.
double sigma(double x) {
  if (x == 1.0) return std::numeric_limits<double>::infinity();
  double power = 1, sum = x;
  for (double before = -1; before != sum; power += power) {
    before = sum;
    x *= x;
    sum += x * power;
  }
  return sum;
}

double tau(double x) {
  if (x == 0.0 || x == 1.0) return 0;
  double power = 1, sum = 1 - x;
  for (double before = -1; before != sum;) {
    before = sum;
    x = std::sqrt(x);
    power *= 0.5;
    sum -= (1 - x) * (1 - x) * power;
  }
  return sum / 3;
}

}  // namespace

bool is_value(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || !bytes.starts_with(kMagic)) return false;
  const char encoding = bytes[kEncodingAt];
  return encoding == kSparse || (encoding == kDense && bytes.size() == kDenseBytes);
}

bool is_dense(std::string_view value) { return value[kEncodingAt] == kDense; }

std::string make_empty() {
  std::string value(kMagic);
  value.resize(kHeaderBytes);
  value[kEncodingAt] = kSparse;
  add_zeros(value, kLongZeros);
  forget_estimate(value);
  return value;
}

Added add(std::string& value, std::string_view element) {
  const Added added = raise(value, place_of(element));
  if (added == Added::kChanged) forget_estimate(value);
  return added;
}

std::optional<uint64_t> known_estimate(std::string_view value) {
  uint64_t n;
  std::memcpy(&n, value.data() + kEstimateAt, sizeof(n));
  return n >> 63 ? std::nullopt : std::optional(n);
}

void keep_estimate(std::string& value, uint64_t estimate) {
  std::memcpy(value.data() + kEstimateAt, &estimate, sizeof(estimate));
}

bool unite(Registers& registers, std::string_view value) {
  if (is_dense(value)) {
    for (size_t i = 0; i < kRegisters; i++) {
      registers[i] = std::max(registers[i], dense_register(value, i));
    }
    return true;
  }
  return for_each_run(value, [&](size_t index, const Run& run) {
    for (size_t i = index; run.rank > 0 && i < index + run.registers; i++) {
      registers[i] = std::max(registers[i], run.rank);
    }
  });
}

uint64_t estimate(const Registers& registers) {
  constexpr double kAll = kRegisters;
  constexpr double kAlpha = 0.721347520444481703680;  // 1 / (2 ln 2)
  std::array<uint32_t, 64> of_rank{};
  for (uint8_t rank : registers) of_rank[rank & 63]++;
  double sum = kAll * tau((kAll - of_rank[kRankMax]) / kAll);
  for (size_t rank = kRankMax - 1; rank >= 1; rank--) sum = (sum + of_rank[rank]) * 0.5;
  sum += kAll * sigma(of_rank[0] / kAll);
  return static_cast<uint64_t>(std::llround(kAlpha * kAll * kAll / sum));
}

bool raise(std::string& value, const Registers& registers) {
  for (size_t i = 0; i < kRegisters; i++) {
    if (registers[i] > 0 && raise(value, Place{i, registers[i]}) == Added::kBroken) return false;
  }
  forget_estimate(value);
  return true;
}

bool make_dense(std::string& value) {
  if (is_dense(value)) return true;
  std::string dense = value.substr(0, kHeaderBytes);
  dense.resize(kDenseBytes);
  dense[kEncodingAt] = kDense;
  const bool whole = for_each_run(value, [&](size_t index, const Run& run) {
    for (size_t i = index; run.rank > 0 && i < index + run.registers; i++) {
      set_dense_register(dense, i, run.rank);
    }
  });
  if (whole) value = std::move(dense);
  return whole;
}

std::string describe_runs(std::string_view value) {
  std::string text;
  for (size_t at = kHeaderBytes; at < value.size();) {
    const auto run = run_at(value, at);
    if (!run) break;
    if (!text.empty()) text += ' ';
    if (run->rank > 0) {
      append(text, "v:", int{run->rank}, ",", run->registers);
    } else {
      append(text, run->bytes == 2 ? "Z:" : "z:", run->registers);
    }
    at += run->bytes;
  }
  return text;
}

}  // namespace cairn::kv::hll
