// The HyperLogLog commands.
#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "core/base/text.h"
#include "kv/commands/blob_edit.h"
#include "kv/engine/engine.h"
#include "kv/types/hyperloglog.h"

namespace cairn::kv {
namespace {

constexpr std::string_view kBroken = "INVALIDOBJ Corrupted HLL object detected";

// False after it answered that the key holds something else; no entry if there is none.
bool find_hll(Context& c, std::string_view key, Entry*& e) {
  if (!c.find(key, ValueType::kString, e)) return false;
  if (e == nullptr || (!e->is_blob() && hll::is_value(e->value()))) return true;
  c.reply.error("WRONGTYPE Key is not a valid HyperLogLog string value.");
  return false;
}

bool put_hll(Context& c, std::string_view key, Entry* e, std::string_view value) {
  return e == nullptr ? c.put_string(key, value, 0) : put_edited(c, e, value);
}

void pfadd(Context& c) {
  Entry* e;
  if (!find_hll(c, c.args[1], e)) return;
  std::string value = e == nullptr ? hll::make_empty() : std::string(e->value());
  bool changed = e == nullptr;
  for (size_t i = 2; i < c.args.size(); i++) {
    const hll::Added added = hll::add(value, c.args[i]);
    if (added == hll::Added::kBroken) return c.reply.error(kBroken);
    changed |= added == hll::Added::kChanged;
  }
  if (!changed || put_hll(c, c.args[1], e, value)) c.reply.integer(changed);
}

// The estimate of one is kept in its value, as Redis does it, so that the next one who asks has it:
// unless nothing can be written, which is no reason not to answer.
void count_one(Context& c) {
  Entry* e;
  if (!find_hll(c, c.args[1], e)) return;
  if (e == nullptr) return c.reply.integer(0);
  auto n = hll::known_estimate(e->value());
  if (!n) {
    auto registers = std::make_unique<hll::Registers>();
    if (!hll::unite(*registers, e->value())) return c.reply.error(kBroken);
    n = hll::estimate(*registers);
    std::string value(e->value());
    hll::keep_estimate(value, *n);
    if (c.store.log().admit(Need::kPut).ok() && !put_edited(c, e, value)) return;
  }
  c.reply.integer(static_cast<int64_t>(*n));
}

// False after an error. `dense`: one of them is.
bool unite_keys(Context& c, hll::Registers& registers, bool& dense) {
  for (size_t i = 1; i < c.args.size(); i++) {
    Entry* e;
    if (!find_hll(c, c.args[i], e)) return false;
    if (e == nullptr) continue;
    dense |= hll::is_dense(e->value());
    if (!hll::unite(registers, e->value())) return c.reply.error(kBroken), false;
  }
  return true;
}

void pfcount(Context& c) {
  if (c.args.size() == 2) return count_one(c);
  auto registers = std::make_unique<hll::Registers>();
  bool dense = false;
  if (unite_keys(c, *registers, dense)) {
    c.reply.integer(static_cast<int64_t>(hll::estimate(*registers)));
  }
}

void pfmerge(Context& c) {
  auto registers = std::make_unique<hll::Registers>();
  bool dense = false;
  if (!unite_keys(c, *registers, dense)) return;
  Entry* e;
  if (!find_hll(c, c.args[1], e)) return;
  std::string value = e == nullptr ? hll::make_empty() : std::string(e->value());
  if ((dense && !hll::make_dense(value)) || !hll::raise(value, *registers)) {
    return c.reply.error(kBroken);
  }
  if (put_hll(c, c.args[1], e, value)) c.reply.ok();
}

void reply_registers(Context& c, std::string_view value) {
  auto registers = std::make_unique<hll::Registers>();
  if (!hll::unite(*registers, value)) return c.reply.error(kBroken);
  c.reply.array(hll::kRegisters);
  for (uint8_t rank : *registers) c.reply.integer(rank);
}

void pfdebug(Context& c) {
  Entry* e;
  if (!c.find(c.args[2], ValueType::kString, e)) return;
  if (e == nullptr) return c.reply.error("ERR The specified key does not exist");
  if (!find_hll(c, c.args[2], e)) return;
  const std::string_view what = c.args[1];
  const bool dense = hll::is_dense(e->value());
  if (equals_ignoring_case(what, "decode")) {
    if (dense) return c.reply.error("ERR HLL encoding is not sparse");
    return c.reply.bulk(hll::describe_runs(e->value()));
  }
  if (equals_ignoring_case(what, "encoding")) return c.reply.simple(dense ? "dense" : "sparse");
  const bool registers = equals_ignoring_case(what, "getreg");
  if (!registers && !equals_ignoring_case(what, "todense")) {
    return c.reply.error(cat("ERR Unknown PFDEBUG subcommand '", what, "'"));
  }
  std::string value(e->value());
  if (!hll::make_dense(value)) return c.reply.error(kBroken);
  if (!dense && !put_edited(c, e, value)) return;
  if (registers) return reply_registers(c, value);
  c.reply.integer(!dense);
}

// Registers are written and read back, and the estimate is as near as its error says, six standard
// deviations at most, for sets that are sparse and dense.
void pfselftest(Context& c) {
  std::mt19937_64 random(1);
  std::string value = hll::make_empty();
  auto expected = std::make_unique<hll::Registers>();
  for (uint64_t n = 1; n <= 100'000; n++) {
    const uint64_t element = random();
    const std::string_view bytes(reinterpret_cast<const char*>(&element), sizeof(element));
    if (hll::add(value, bytes) == hll::Added::kBroken) return c.reply.error("ERR TESTFAILED add");
    if ((n & (n - 1)) != 0) continue;
    auto registers = std::make_unique<hll::Registers>();
    if (!hll::unite(*registers, value)) return c.reply.error("ERR TESTFAILED registers");
    std::string again = hll::make_empty();
    if (!hll::raise(again, *registers) || !hll::unite(*expected, again) ||
        *expected != *registers) {
      return c.reply.error("ERR TESTFAILED registers are not read as they were written");
    }
    const uint64_t estimate = hll::estimate(*registers);
    const auto true_count = static_cast<double>(n);
    if (std::abs(static_cast<double>(estimate) - true_count) >
        std::max(3.0, true_count * 6 * 0.0081)) {
      return c.reply.error(cat("ERR TESTFAILED ", n, " elements are estimated as ", estimate));
    }
  }
  c.reply.ok();
}

constexpr std::string_view kGroup = "hyperloglog";
constexpr KeySpec kCounted[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyLooked, .last = -1}};
constexpr KeySpec kMerged[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyInsert | kKeyLooked},
                               {.flags = kKeyReadOnly | kKeyAccess, .first = 2, .last = -1}};
constexpr KeySpec kDebugged[] = {{.flags = kKeyReadWrite | kKeyAccess, .first = 2}};
constexpr Row kRows[] = {
    {"pfadd", -2, kWrite | kDenyOom | kFast | kLongArgs, kInsertsIntoKey, pfadd, nullptr, kGroup,
     "Adds the specified elements to the specified HyperLogLog.", "2.8.9"},
    {"pfcount", -2, kReadOnly, kCounted, pfcount, nullptr, kGroup,
     "Return the approximated cardinality of the set(s) observed by the HyperLogLog at key(s).",
     "2.8.9"},
    {"pfmerge", -2, kWrite | kDenyOom, kMerged, pfmerge, nullptr, kGroup,
     "Merge N different HyperLogLogs into a single one.", "2.8.9"},
    {"pfdebug", 3, kWrite | kDenyOom | kAdmin | kDangerous, kDebugged, pfdebug, nullptr, kGroup,
     "Internal commands for debugging HyperLogLog values.", "2.8.9"},
    {"pfselftest",
     1,
     kAdmin | kDangerous,
     {},
     pfselftest,
     nullptr,
     kGroup,
     "An internal command for testing HyperLogLog values.",
     "2.8.9"},
};

}  // namespace

std::span<const Row> hyperloglog_rows() { return kRows; }

}  // namespace cairn::kv
