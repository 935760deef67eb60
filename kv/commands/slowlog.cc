// SLOWLOG: what took long.
#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

Slowlog& slowlog(Context& c) { return c.engine.server().lookout.slowlog; }

void slowlog_get(Context& c) {
  constexpr int64_t kUsual = 10;
  constexpr std::string_view kBadCount = "ERR count should be greater than or equal to -1";
  int64_t count = kUsual;
  if (c.args.size() > 3) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             c.args[1].substr(0, 128), "'. Try SLOWLOG HELP."));
  }
  if (c.args.size() == 3) {
    if (!c.integer(2, count, kBadCount)) return;
    if (count < -1) return c.reply.error(kBadCount);
  }
  const auto entries = slowlog(c).newest(count < 0 ? SIZE_MAX : static_cast<size_t>(count));
  c.reply.array(entries.size());
  for (const Slowlog::Entry& e : entries) {
    c.reply.array(6);
    c.reply.integer(static_cast<int64_t>(e.id));
    c.reply.integer(e.at_s);
    c.reply.integer(static_cast<int64_t>(e.us));
    c.reply.array(e.words.size());
    for (const auto& word : e.words) c.reply.bulk(word);
    c.reply.bulk(e.address);
    c.reply.bulk(e.name);
  }
}

void slowlog_len(Context& c) { c.reply.integer(static_cast<int64_t>(slowlog(c).size())); }

void slowlog_reset(Context& c) {
  slowlog(c).clear();
  c.reply.ok();
}

constexpr std::string_view kGroup = "server";
constexpr uint32_t kSlowlog = kAdmin | kLoading | kDangerous;
constexpr Row kRows[] = {
    {"slowlog",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for slow log commands.",
     "2.2.12"},
    {"slowlog|get",
     -2,
     kSlowlog,
     {},
     slowlog_get,
     nullptr,
     kGroup,
     "Returns the slow log's entries.",
     "2.2.12"},
    {"slowlog|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "6.2.0"},
    {"slowlog|len",
     2,
     kSlowlog,
     {},
     slowlog_len,
     nullptr,
     kGroup,
     "Returns the number of entries in the slow log.",
     "2.2.12"},
    {"slowlog|reset",
     2,
     kSlowlog,
     {},
     slowlog_reset,
     nullptr,
     kGroup,
     "Clears all entries from the slow log.",
     "2.2.12"},
};

}  // namespace
std::span<const Row> slowlog_rows() { return kRows; }

}  // namespace cairn::kv
