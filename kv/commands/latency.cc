// LATENCY: how long commands take.
#include <algorithm>

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

using Event = LatencyDiary::Event;

LatencyDiary& diary(Context& c) { return c.engine.server().lookout.diary; }

void latency_latest(Context& c) {
  const auto events = diary(c).all();
  c.reply.array(events.size());
  for (const Event& e : events) {
    c.reply.array(4);
    c.reply.bulk(e.name);
    c.reply.integer(e.samples.back().at_s);
    c.reply.integer(static_cast<int64_t>(e.samples.back().ms));
    c.reply.integer(static_cast<int64_t>(e.worst_ms));
  }
}

void latency_history(Context& c) {
  const Event event = diary(c).event(c.args[2]);
  c.reply.array(event.samples.size());
  for (const auto& sample : event.samples) {
    c.reply.array(2);
    c.reply.integer(sample.at_s);
    c.reply.integer(static_cast<int64_t>(sample.ms));
  }
}

void latency_reset(Context& c) {
  size_t n = 0;
  if (c.args.size() == 2) n = diary(c).forget_all();
  for (size_t i = 2; i < c.args.size(); i++) n += diary(c).forget(c.args[i]);
  c.reply.integer(static_cast<int64_t>(n));
}

// "4s", "12m", "3h", "2d": how long ago.
std::string ago(int64_t seconds) {
  if (seconds < 60) return cat(seconds, "s");
  if (seconds < 3600) return cat(seconds / 60, "m");
  if (seconds < 86400) return cat(seconds / 3600, "h");
  return cat(seconds / 86400, "d");
}

// A column for each sample, as high as it took long, and below it, downward, how long ago it was.
std::string graph(const Event& event, int64_t now_s) {
  constexpr size_t kRows = 4, kColumnsMax = 80;
  auto samples = event.samples;
  while (samples.size() > kColumnsMax) samples.pop_front();
  const auto [low, high] = std::minmax_element(samples.begin(), samples.end(),
                                               [](auto& a, auto& b) { return a.ms < b.ms; });
  std::string text =
      cat(event.name, " - high ", high->ms, " ms, low ", low->ms, " ms (all time high ",
          event.worst_ms, " ms)\n", std::string(kColumnsMax, '-'), "\n");
  const uint64_t span = high->ms - low->ms;
  constexpr std::string_view kSteps = "_o#";  // within a row
  for (size_t row = kRows; row-- > 0;) {
    for (const auto& s : samples) {
      const uint64_t steps = kRows * kSteps.size() - 1;
      const uint64_t level = span == 0 ? steps : (s.ms - low->ms) * steps / span;
      const uint64_t base = row * kSteps.size();
      text.push_back(level < base ? ' '
                                  : kSteps[std::min<uint64_t>(level - base, kSteps.size() - 1)]);
    }
    text.push_back('\n');
  }
  std::vector<std::string> labels;
  size_t longest = 0;
  for (const auto& s : samples) {
    labels.push_back(ago(std::max<int64_t>(now_s - s.at_s, 0)));
    longest = std::max(longest, labels.back().size());
  }
  for (size_t i = 0; i < longest; i++) {
    text.push_back('\n');
    for (const auto& label : labels) text.push_back(i < label.size() ? label[i] : ' ');
  }
  return text + "\n";
}

void latency_graph(Context& c) {
  const Event event = diary(c).event(c.args[2]);
  if (event.samples.empty()) {
    return c.reply.error(
        cat("ERR No samples available for event '", c.args[2].substr(0, 128), "'"));
  }
  c.reply.verbatim(graph(event, c.now_ms() / 1000));
}

void latency_doctor(Context& c) {
  const Lookout& lookout = c.engine.server().lookout;
  const auto events = diary(c).all();
  if (events.empty()) {
    return c.reply.verbatim(
        lookout.diary_ms() == 0
            ? "Latency monitoring is off: CONFIG SET latency-monitor-threshold <milliseconds> "
              "switches it on.\n"
            : "Nothing took as long as latency-monitor-threshold says.\n");
  }
  std::string text;
  for (const Event& e : events) {
    uint64_t sum = 0;
    for (const auto& s : e.samples) sum += s.ms;
    append(text, e.name, ": ", e.samples.size(), " times, ", sum / e.samples.size(),
           " ms on average, ", e.worst_ms, " ms at worst, ",
           ago(std::max<int64_t>(c.now_ms() / 1000 - e.samples.back().at_s, 0)), " ago last.\n");
  }
  text +=
      "SLOWLOG GET names the commands. Those that work on many elements at once take long; "
      "large answers are made in parts and are none of them.\n";
  c.reply.verbatim(text);
}

// How many calls took at most 1, 2, 4, … microseconds: where that grows.
void reply_histogram(Context& c, const Durations::Sums& sums) {
  std::vector<std::pair<uint64_t, uint64_t>> steps;
  uint64_t bound_ns = 1024, sum = 0, told = 0;
  for (size_t i = 0; i < sums.size(); i++) {
    while (Durations::upper_ns(i) >= bound_ns) {
      if (sum > told) steps.emplace_back(bound_ns / 1000, sum);
      told = sum;
      bound_ns *= 2;
    }
    sum += sums[i];
  }
  if (sum > told) steps.emplace_back(bound_ns / 1000, sum);
  c.reply.map(2);
  c.reply.bulk("calls");
  c.reply.integer(static_cast<int64_t>(sum));
  c.reply.bulk("histogram_usec");
  c.reply.map(steps.size());
  for (auto [us, calls] : steps) {
    c.reply.integer(static_cast<int64_t>(us));
    c.reply.integer(static_cast<int64_t>(calls));
  }
}

void latency_histogram(Context& c) {
  const Table& table = c.engine.table();
  const auto all = c.engine.durations();
  std::vector<const Row*> found;
  const auto add = [&](const Row& row) {
    const bool there = std::find(found.begin(), found.end(), &row) != found.end();
    if (!there && total_of(all[table.index_of(row)]) > 0) found.push_back(&row);
  };
  if (c.args.size() == 2) {
    for (const Row& row : table.rows()) add(row);
  }
  for (size_t i = 2; i < c.args.size(); i++) {
    const std::string_view name = c.args[i];
    const size_t bar = name.find('|');
    const Row* row = table.find(name.substr(0, bar));
    if (row != nullptr && bar != name.npos) row = table.find_subcommand(*row, name.substr(bar + 1));
    if (row == nullptr) continue;
    add(*row);
    for (const Row& sub : table.subcommands(*row)) add(sub);
  }
  c.reply.map(found.size());
  for (const Row* row : found) {
    c.reply.bulk(row->name);
    reply_histogram(c, all[table.index_of(*row)]);
  }
}

constexpr std::string_view kGroup = "server";
constexpr uint32_t kLatency = kAdmin | kNoScript | kLoading | kDangerous;
constexpr Row kRows[] = {
    {"latency",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for latency diagnostics commands.",
     "2.8.13"},
    {"latency|doctor",
     2,
     kLatency,
     {},
     latency_doctor,
     nullptr,
     kGroup,
     "Returns a human-readable latency analysis report.",
     "2.8.13"},
    {"latency|graph",
     3,
     kLatency,
     {},
     latency_graph,
     nullptr,
     kGroup,
     "Returns a latency graph for an event.",
     "2.8.13"},
    {"latency|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "2.8.13"},
    {"latency|histogram",
     -2,
     kLatency,
     {},
     latency_histogram,
     nullptr,
     kGroup,
     "Returns the cumulative distribution of latencies of a subset or all commands.",
     "7.0.0"},
    {"latency|history",
     3,
     kLatency,
     {},
     latency_history,
     nullptr,
     kGroup,
     "Returns timestamp-latency samples for an event.",
     "2.8.13"},
    {"latency|latest",
     2,
     kLatency,
     {},
     latency_latest,
     nullptr,
     kGroup,
     "Returns the latest latency samples for all events.",
     "2.8.13"},
    {"latency|reset",
     -2,
     kLatency,
     {},
     latency_reset,
     nullptr,
     kGroup,
     "Resets the latency data for one or more events.",
     "2.8.13"},
};

}  // namespace
std::span<const Row> latency_rows() { return kRows; }

}  // namespace cairn::kv
