// DEBUG, as far as the tests of clients use it: only where enable-debug-command says so.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "core/base/text.h"
#include "kv/commands/digest.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

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

// ---- PROTOCOL: a value of each kind that the protocol has, for the tests of clients ----

void protocol_collection(Reply& reply, std::string_view kind) {
  constexpr int kMembers = 3;
  if (kind == "map") {
    reply.map(kMembers);
    for (int i = 0; i < kMembers; i++) {
      reply.integer(i);
      reply.boolean(i == 1);
    }
    return;
  }
  kind == "set" ? reply.set(kMembers) : reply.array(kMembers);
  for (int i = 0; i < kMembers; i++) reply.integer(i);
}

void protocol_beside(Context& c, std::string_view kind) {
  Reply& reply = c.reply;
  const bool push = kind == "push";
  // A script sees neither.
  const bool can = c.session.resp >= 3 && c.script == nullptr;
  if (push && !can) return reply.error("ERR RESP2 is not supported by this command");
  if (push) {
    reply.push(2);
    reply.bulk("server-cpu-usage");
    reply.integer(42);
  } else if (can) {
    reply.attribute(1);
    reply.bulk("key-popularity");
    reply.array(2);
    reply.bulk("key:123");
    reply.integer(90);
  }
  reply.bulk(cat("Some real reply following the ", push ? "push reply" : "attribute"));
}

void protocol(Context& c) {
  Reply& reply = c.reply;
  const std::string kind = lower(c.args[2]);
  if (kind == "string") return reply.bulk("Hello World");
  if (kind == "integer") return reply.integer(12345);
  if (kind == "double") return reply.real(3.141);
  if (kind == "bignum") return reply.big_number("1234567999999999999999999999999999999");
  if (kind == "null") return reply.null();
  if (kind == "true" || kind == "false") return reply.boolean(kind == "true");
  if (kind == "verbatim") return reply.verbatim("This is a verbatim\nstring");
  if (kind == "attrib" || kind == "push") return protocol_beside(c, kind);
  if (kind == "array" || kind == "set" || kind == "map") return protocol_collection(reply, kind);
  reply.error(
      "ERR Wrong protocol type name. Please use one of the following: "
      "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
}

// ---- what takes more than a turn, or waits ----

// Only this client sleeps: it is no use to anybody that all do. It counts as work, as in Redis:
// SLOWLOG and LATENCY have it.
awaitable<void> debug_sleep(Context& c) {
  const int64_t ms = sleep_ms(c), waited_ns = c.session.waited_ns;
  if (ms > 0) {
    (void)co_await c.session.wait(std::make_shared<Waiter>(), c.store.clock(), ms);
  }
  c.session.waited_ns = waited_ns;
  if (c.given_up()) co_return;
  c.reply.ok();
}

// A collection has the size of its image in the log.
awaitable<void> debug_object(Context& c) {
  const std::vector<KeyHash> hashes{c.ns().hash(c.args[2])};
  const Faults::Keys values{{c.session.ns, c.args[2]}};
  StripeLocks locks(c.store);
  const Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
  if (!locked.ok()) co_return c.status_error(locked);
  Context::Turn turn(c, locks);
  const Entry* e = c.txn->find(c.ns(), c.args[2], hashes[0]);
  if (e == nullptr) co_return c.reply.error("ERR no such key");
  const Collection* collection = e->collection();
  char address[32];
  std::snprintf(address, sizeof(address), "%p", static_cast<const void*>(e));
  c.reply.simple(cat(
      "Value at:", address, " refcount:1 encoding:", encoding_of(e),
      " serializedlength:", collection == nullptr ? value_length(e) : collection->image_bytes()));
}

bool parse(Context& c, int64_t& count, std::string_view& prefix, int64_t& size) {
  if (!c.integer(2, count)) return false;
  if (count < 0) {
    c.reply.error("ERR value is out of range, must be positive");
    return false;
  }
  prefix = c.args.size() > 3 ? c.args[3] : std::string_view("key");
  size = 0;
  if (c.args.size() > 4 && !c.integer(4, size)) return false;
  if (size >= 0 && size <= static_cast<int64_t>(c.store.options().extent_threshold)) return true;
  c.reply.error(cat("ERR a value here has at most ", c.store.options().extent_threshold, " bytes"));
  return false;
}

// Puts a string where nothing is. False after it answered an error.
bool put_absent(Context& c, StripeLocks& locks, std::string_view key, std::string_view value) {
  Context::Turn turn(c, locks);
  Status status = c.store.check_write(true);
  if (c.ns().encrypts()) status = absl::FailedPreconditionError(std::string(kOnlyEncrypted));
  const KeyHash hash = c.ns().hash(key);
  if (status.ok() && c.txn->find(c.ns(), key, hash) == nullptr) {
    RecordView record;
    record.ns = c.ns().id;
    record.key = key;
    record.value = value;
    status = c.txn->put(c.ns(), hash, record);
  }
  if (status.ok()) return turn.commit();
  c.status_error(status);
  return false;
}

// Keys whose values are strings, where there are none of these names.
awaitable<void> populate(Context& c) {
  int64_t count, size;
  std::string_view prefix;
  if (!parse(c, count, prefix, size)) co_return;
  c.session.wrote = true;
  for (int64_t i = 0; i < count;) {
    constexpr int64_t kTurnKeys = 1000;
    const std::string key = cat(prefix, ":", i);
    std::string value = cat("value:", i);
    if (size > 0) value.resize(static_cast<size_t>(size));
    const KeyHash hash = c.ns().hash(key);
    bool idle;
    {
      StripeLocks locks(c.store);
      idle = locks.lock_idle(hash);
      if (idle && !put_absent(c, locks, key, value)) co_return;
    }
    if (!idle) {
      const Status waited = co_await c.store.busy().until_idle(hash);
      if (!waited.ok()) co_return c.status_error(waited);
      continue;
    }
    if (++i % kTurnKeys != 0) continue;
    co_await between_turns(c);
    if (c.given_up()) co_return;
  }
  c.reply.ok();
}

// ---- the table ----

void set_active_expire(Context& c) {
  c.store.set_removes_expired(c.args[2] != "0");
  c.reply.ok();
}

void set_disable_deny_scripts(Context& c) {
  c.engine.server().debug_in_scripts = c.args[2] != "0";
  c.reply.ok();
}

void debug_error(Context& c) {
  std::string text(c.args[2]);
  for (char& letter : text) {
    if (letter == '\r' || letter == '\n') letter = ' ';
  }
  c.reply.error(text);
}

void debug_log(Context& c) {
  c.store.options().report(Severity::kWarning, "debug", c.args[2]);
  c.reply.ok();
}

// Of Redis's, what is about something that is not here.
constexpr std::string_view kStructures = "values do not lie in Redis's structures here";
constexpr std::string_view kLoads =
    "nothing is loaded while the server runs: SAVE makes all durable, and a restart loads it";
constexpr std::pair<std::string_view, std::string_view> kNotHere[] = {
    {"htstats", kStructures},   {"htstats-key", kStructures},
    {"listpack", kStructures},  {"loadaof", kLoads},
    {"quicklist", kStructures}, {"quicklist-packed-threshold", kStructures},
    {"reload", kLoads},         {"replicate", "there are no replicas"},
    {"sdslen", kStructures},    {"ziplist", kStructures},
};

struct Subcommand {
  std::string_view name;
  size_t least, most;  // words
  void (*run)(Context&);
  awaitable<void> (*run_deferred)(Context&);  // or this
  std::string_view words, says;
};

constexpr Subcommand kSubcommands[] = {
    {"digest", 2, 2, nullptr, debug_digest, "DIGEST",
     "Output a hex signature representing the current DB content: of the numbered databases."},
    {"digest-value", 3, SIZE_MAX, nullptr, debug_digest_values, "DIGEST-VALUE <key> [<key> ...]",
     "Output a hex signature of the values of all the specified keys."},
    {"error", 3, 3, debug_error, nullptr, "ERROR <string>",
     "Return an error with <string> as message."},
    {"log", 3, 3, debug_log, nullptr, "LOG <message>", "Write <message> to the server log."},
    {"object", 3, 3, nullptr, debug_object, "OBJECT <key>",
     "Show low level info about `key` and associated value."},
    {"populate", 3, 5, nullptr, populate, "POPULATE <count> [<prefix>] [<size>]",
     "Create <count> string keys named key:<num>. If <prefix> is specified it is used instead of "
     "the 'key' prefix."},
    {"protocol", 3, 3, protocol, nullptr, "PROTOCOL <type>",
     "Reply with a test value of the specified type: string, integer, double, bignum, null, array, "
     "set, map, attrib, push, verbatim, true, false."},
    {"set-active-expire", 3, 3, set_active_expire, nullptr, "SET-ACTIVE-EXPIRE <0|1>",
     "Whether expired keys are removed before somebody looks for them; they are served to nobody."},
    {"set-disable-deny-scripts", 3, 3, set_disable_deny_scripts, nullptr,
     "SET-DISABLE-DENY-SCRIPTS <0|1>",
     "Let scripts call DEBUG; what else they may not call they may not."},
    {"sleep", 3, 3, nullptr, debug_sleep, "SLEEP <seconds>",
     "Answer after <seconds>; no other client is kept waiting."},
};

const Subcommand* subcommand_of(const Context& c) {
  const std::string name = lower(c.args[1]);
  const size_t n = c.args.size();
  for (const Subcommand& s : kSubcommands) {
    if (s.name == name && n >= s.least && n <= s.most) return &s;
  }
  return nullptr;
}

void debug_help(Context& c) {
  c.reply.array(3 + 2 * std::size(kSubcommands));
  c.reply.simple("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
  for (const Subcommand& s : kSubcommands) {
    c.reply.simple(s.words);
    c.reply.simple(cat("    ", s.says));
  }
  c.reply.simple("HELP");
  c.reply.simple("    Prints this help.");
}

void debug(Context& c) {
  if (!allowed(c)) return;
  if (c.args.size() == 2 && equals_ignoring_case(c.args[1], "help")) return debug_help(c);
  const Subcommand* s = subcommand_of(c);
  for (const auto& [name, why] : kNotHere) {
    if (s == nullptr && equals_ignoring_case(c.args[1], name)) {
      return c.reply.error(cat("ERR DEBUG ", upper(name), " is not possible: ", why));
    }
  }
  if (s == nullptr) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             c.args[1].substr(0, 128), "'. Try DEBUG HELP."));
  }
  if (s->run != nullptr) return s->run(c);
  if (c.in_exec) {
    return c.reply.error(
        cat("ERR DEBUG ", upper(s->name), " isn't allowed inside MULTI or a script"));
  }
  c.defer();
}

awaitable<void> debug_deferred(Context& c) { co_await subcommand_of(c)->run_deferred(c); }

constexpr Row kRows[] = {
    {"debug",
     -2,
     kAdmin | kNoScript | kLoading | kDangerous,
     {},
     debug,
     debug_deferred,
     "server",
     "A container for debugging commands."},
};

}  // namespace
std::span<const Row> debug_rows() { return kRows; }

}  // namespace cairn::kv
