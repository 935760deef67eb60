// What a client may do to others, or see of them: CLIENT PAUSE, MONITOR; and a few words about
// itself.
#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

void client_pause(Context& c) {
  auto what = Pause::What::kAll;
  if (c.args.size() > 4) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             c.args[1].substr(0, 128), "'. Try CLIENT HELP."));
  }
  if (c.args.size() == 4) {
    if (equals_ignoring_case(c.args[3], "write")) {
      what = Pause::What::kWrites;
    } else if (!equals_ignoring_case(c.args[3], "all")) {
      return c.reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
  }
  int64_t ms, until_ms;
  if (!c.integer(2, ms, "ERR timeout is not an integer or out of range")) return;
  if (ms < 0) return c.reply.error("ERR timeout is negative");
  if (__builtin_add_overflow(c.now_ms(), ms, &until_ms)) {
    return c.reply.error("ERR timeout is out of range");
  }
  c.engine.server().lookout.pause_until(what, until_ms);
  c.reply.ok();
}

void client_unpause(Context& c) {
  c.engine.server().lookout.unpause();
  c.reply.ok();
}

// Nobody's invalidations go elsewhere while there are none.
void client_getredir(Context& c) { c.reply.integer(-1); }

void monitor(Context& c) {
  if (c.in_exec) return c.reply.error("ERR MONITOR isn't allowed for DENY BLOCKING client");
  c.engine.server().lookout.monitor(c.session, true);
  c.reply.ok();
}

constexpr std::string_view kGroup = "connection";
constexpr uint32_t kClient = kLoading | kNoScript;
constexpr uint32_t kClientAdmin = kClient | kAdmin | kDangerous;
constexpr Row kClientRows[] = {
    {"client|getredir",
     2,
     kClient,
     {},
     client_getredir,
     nullptr,
     kGroup,
     "Returns the client ID to which the connection's tracking notifications are redirected.",
     "6.0.0"},
    {"client|pause",
     -3,
     kClientAdmin,
     {},
     client_pause,
     nullptr,
     kGroup,
     "Suspends commands processing.",
     "3.0.0"},
    {"client|unpause",
     2,
     kClientAdmin,
     {},
     client_unpause,
     nullptr,
     kGroup,
     "Resumes processing commands from paused clients.",
     "6.2.0"},
};
constexpr Row kMonitorRows[] = {
    {"monitor",
     1,
     kAdmin | kNoScript | kLoading | kDangerous,
     {},
     monitor,
     nullptr,
     "server",
     "Listens for all requests received by the server in real-time."},
};

}  // namespace
std::span<const Row> client_rows() { return kClientRows; }
std::span<const Row> monitor_rows() { return kMonitorRows; }

}  // namespace cairn::kv
