// DEBUG, as far as the tests of clients use it: only where enable-debug-command says so.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

bool allowed(Context& c) {
  const Server& server = c.engine.server();
  const std::string& enabled = server.debug_command;
  const bool local =
      c.session.address.substr(0, 4) == "127." || c.session.address.substr(0, 5) == "[::1]";
  if (enabled == "yes" || (enabled == "local" && local)) return true;
  c.reply.error(
      "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you "
      "can run it from a local connection, otherwise you need to set this option in the "
      "configuration file, and then restart the server.");
  return false;
}

constexpr double kSleepSecondsMax = 3600;

int64_t sleep_ms(Context& c) {
  const std::string text(c.args[2]);
  const double seconds = std::strtod(text.c_str(), nullptr);  // as Redis: what is no number is 0
  return static_cast<int64_t>(
      1000 * (std::isfinite(seconds) ? std::clamp(seconds, 0.0, kSleepSecondsMax) : 0));
}

void debug(Context& c) {
  if (!allowed(c)) return;
  const std::string what = lower(c.args[1]);
  const size_t n = c.args.size();
  if (what == "sleep" && n == 3) {
    if (c.in_exec) return c.reply.error("ERR DEBUG SLEEP isn't allowed inside MULTI");
    return c.defer();
  }
  if (what == "error" && n == 3) {
    std::string text(c.args[2]);
    for (char& letter : text) {
      if (letter == '\r' || letter == '\n') letter = ' ';
    }
    return c.reply.error(text);
  }
  if (what == "log" && n == 3) {
    c.store.options().report(Severity::kWarning, "debug", c.args[2]);
    return c.reply.ok();
  }
  if (what == "set-active-expire" && n == 3) {
    if (c.args[2] == "1") return c.reply.ok();
    return c.reply.error("ERR keys expire when they are due, here always");
  }
  if (what == "help" && n == 2) {
    constexpr std::string_view kLines[] = {
        "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ERROR <string>",
        "    Return an error with <string> as message.",
        "LOG <message>",
        "    Write <message> to the server log.",
        "SET-ACTIVE-EXPIRE 1",
        "    Keys expire when they are due: it cannot be switched off.",
        "SLEEP <seconds>",
        "    Answer after <seconds>; no other client is kept waiting.",
        "HELP",
        "    Prints this help.",
    };
    c.reply.array(std::size(kLines));
    for (auto line : kLines) c.reply.simple(line);
    return;
  }
  c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                    c.args[1].substr(0, 128), "'. Try DEBUG HELP."));
}

// Only this client sleeps: it is no use to anybody that all do.
awaitable<void> debug_sleep(Context& c) {
  const int64_t ms = sleep_ms(c);
  if (ms > 0) {
    (void)co_await c.session.wait(std::make_shared<Waiter>(), c.store.clock(), ms);
  }
  if (c.given_up()) co_return;
  c.reply.ok();
}

constexpr Row kRows[] = {
    {"debug",
     -2,
     kAdmin | kNoScript | kLoading | kDangerous,
     {},
     debug,
     debug_sleep,
     "server",
     "A container for debugging commands."},
};

}  // namespace
std::span<const Row> debug_rows() { return kRows; }

}  // namespace cairn::kv
