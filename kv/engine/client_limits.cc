#include "kv/engine/client_limits.h"

#include <algorithm>
#include <vector>

#include "core/base/limits.h"
#include "core/base/text.h"

namespace cairn::kv {

namespace {

constexpr std::array<std::string_view, 3> kClassNames{"normal", "slave", "pubsub"};

}  // namespace

bool parse_memory(std::string_view text, uint64_t& bytes) {
  const size_t digits = text.find_first_not_of("0123456789");
  const auto number = parse_int<uint64_t>(text.substr(0, digits));
  if (!number) return false;
  const std::string unit = digits == text.npos ? "" : lower(text.substr(digits));
  constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
      {"", 1},          {"b", 1},        {"k", 1000},          {"kb", 1 << 10},
      {"m", 1'000'000}, {"mb", 1 << 20}, {"g", 1'000'000'000}, {"gb", 1 << 30},
  };
  for (auto [name, factor] : kUnits) {
    if (unit == name) return !__builtin_mul_overflow(*number, factor, &bytes);
  }
  return false;
}

std::string ClientLimits::set_output(std::string_view text) {
  const auto words = words_of(text);
  if (words.size() % 4 != 0) return "Wrong number of arguments in buffer limit configuration.";
  std::array<OutputLimit, kClasses> limits;
  for (size_t i = 0; i < kClasses; i++) limits[i] = output(static_cast<ClientClass>(i));
  for (size_t i = 0; i < words.size(); i += 4) {
    std::string name = lower(words[i]);
    if (name == "replica") name = "slave";
    const auto* at = std::find(kClassNames.begin(), kClassNames.end(), name);
    if (at == kClassNames.end()) {
      return "Invalid client class specified in buffer limit configuration.";
    }
    OutputLimit& limit = limits[static_cast<size_t>(at - kClassNames.begin())];
    const auto seconds = parse_int<uint32_t>(words[i + 3]);
    if (!parse_memory(words[i + 1], limit.hard) || !parse_memory(words[i + 2], limit.soft) ||
        !seconds) {
      return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    }
    limit.soft_ms = int64_t{*seconds} * 1000;
  }
  for (size_t i = 0; i < kClasses; i++) {
    output_[i].hard = limits[i].hard;
    output_[i].soft = limits[i].soft;
    output_[i].soft_ms = limits[i].soft_ms;
  }
  refresh();
  return {};
}

std::string ClientLimits::output_text() const {
  std::string text;
  for (size_t i = 0; i < kClasses; i++) {
    const OutputLimit l = output(static_cast<ClientClass>(i));
    append(text, text.empty() ? "" : " ", kClassNames[i], " ", l.hard, " ", l.soft, " ",
           l.soft_ms / 1000);
  }
  return text;
}

OutputLimit ClientLimits::output(ClientClass c) const {
  const Atomic& a = output_[static_cast<size_t>(c)];
  return {a.hard.load(std::memory_order_relaxed), a.soft.load(std::memory_order_relaxed),
          a.soft_ms.load(std::memory_order_relaxed)};
}

std::string ClientLimits::set_together(std::string_view text) {
  if (!text.empty() && text.back() == '%') {
    const auto percent = parse_int<int64_t>(text.substr(0, text.size() - 1));
    if (!percent || *percent < 0) return "argument must be a memory or percent value";
    if (*percent > 100) return "percentage argument must be less or equal to 100";
    together_ = -*percent;
  } else {
    uint64_t bytes;
    if (!parse_memory(text, bytes) || bytes > INT64_MAX) {
      return "argument must be a memory or percent value";
    }
    together_ = static_cast<int64_t>(bytes);
  }
  refresh();
  return {};
}

std::string ClientLimits::together_text() const {
  const int64_t together = together_;
  return together < 0 ? cat(-together, "%") : cat(together);
}

void ClientLimits::set_memory(uint64_t limit_bytes) {
  if (memory_.exchange(limit_bytes) != limit_bytes || together() == UINT64_MAX) refresh();
}

void ClientLimits::refresh() {
  const int64_t together = together_;
  const uint64_t limit = memory_.load();
  const uint64_t memory =
      limit == 0 ? limits::memory_of(0) : std::max(limit, limits::kClientsOfAtLeast);
  uint64_t bytes = UINT64_MAX;
  if (together > 0) bytes = static_cast<uint64_t>(together);
  if (together < 0) bytes = memory / 100 * static_cast<uint64_t>(-together);
  bytes = std::max(bytes, limits::kClientsBytesMin);
  together_bytes_ = bytes;
  const uint64_t hard = output_[0].hard;
  answer_max_ = hard == 0 ? bytes : std::min(bytes, std::max(hard, limits::kAnswerBytesMin));
}

uint64_t ClientLimits::query_max() const { return std::min(limits::kQueryBytesMax, together()); }

}  // namespace cairn::kv
