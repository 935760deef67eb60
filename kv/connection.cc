// Commands about the connection itself.
#include <algorithm>

#include "core/text.h"
#include "kv/engine.h"

namespace cairn::kv {
namespace {

void ping(Context& c) {
  if (c.args.size() > 2) {
    return c.reply.error("ERR wrong number of arguments for 'ping' command");
  }
  if (c.args.size() == 1) return c.reply.simple("PONG");
  c.reply.bulk(c.args[1]);
}

// A word back to the client; one that was streamed in is streamed out.
void echo(Context& c) {
  if (c.args.blob(1) == nullptr) return c.reply.bulk(c.args[1]);
  BlobRef blob = c.args.take_blob(1);
  uint64_t size = blob.size;
  auto reader = std::make_unique<BlobReader>(c.store.extents(), blob, 0, size);
  c.store.extents().unref(blob);  // the reader holds its own
  c.reply.stream(std::move(reader));
}

void quit(Context& c) {
  c.reply.ok();
  c.session.close_after_reply = true;
}

void reset(Context& c) {
  Session& s = c.session;
  s.leave_multi();
  s.ns = c.store.find_namespace("db0");
  s.resp = 2;
  s.reply_mode = ReplyMode::kOn;
  s.authenticated = !c.engine.server().auth_required;
  s.user = "default";
  s.no_evict = s.no_touch = false;
  {
    MutexLock lock(s.mutex);
    s.name.clear();
  }
  c.reply.simple("RESET");
}

void select(Context& c) {
  NamespacePtr to = c.store.find_namespace(namespace_name(c.args[1]));
  if (to == nullptr) {
    if (parse_ll(c.args[1])) return c.reply.error("ERR DB index is out of range");
    return c.reply.error(cat("ERR no such bucket '", c.args[1].substr(0, 128), "'"));
  }
  c.session.ns = std::move(to);
  c.reply.ok();
}

constexpr std::string_view kWrongPass =
    "WRONGPASS invalid username-password pair or user is disabled.";

bool authenticate(Context& c, std::string_view user, std::string_view password) {
  Server& server = c.engine.server();
  // As Redis with a password set: the user "default" is the one who has it.
  bool good =
      user == "default" ? server.users.check_default(password) : server.users.check(user, password);
  if (good) {
    c.session.authenticated = true;
    c.session.user = user;
  }
  return good;
}

void auth(Context& c) {
  if (c.args.size() > 3) return c.syntax_error();
  if (c.args.size() == 2 && !c.engine.server().auth_required) {
    return c.reply.error(
        "ERR AUTH <password> called without any password configured for the default user. Are you "
        "sure your configuration is correct?");
  }
  std::string_view user = c.args.size() == 3 ? c.args[1] : "default";
  if (authenticate(c, user, c.args[c.args.size() - 1])) return c.reply.ok();
  c.reply.error(kWrongPass);
}

bool valid_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char x) { return x > ' ' && x < 127; });
}
constexpr std::string_view kBadName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

void hello(Context& c) {
  int64_t version = c.session.resp;
  size_t i = 1;
  if (c.args.size() > 1) {
    if (!c.integer(1, version, "ERR Protocol version is not an integer or out of range")) return;
    if (version != 2 && version != 3) return c.reply.error("NOPROTO unsupported protocol version");
    i = 2;
  }
  std::optional<std::string_view> name;
  std::optional<std::pair<std::string_view, std::string_view>> login;
  for (; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "auth") && i + 2 < c.args.size()) {
      login = {c.args[i + 1], c.args[i + 2]};
      i += 2;
    } else if (equals_ignoring_case(c.args[i], "setname") && i + 1 < c.args.size()) {
      name = c.args[++i];
    } else {
      return c.reply.error(
          cat("ERR Syntax error in HELLO option '", c.args[i].substr(0, 128), "'"));
    }
  }
  if (login && !authenticate(c, login->first, login->second)) return c.reply.error(kWrongPass);
  if (c.engine.server().auth_required && !c.session.authenticated) {
    return c.reply.error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time");
  }
  if (name) {
    if (!valid_name(*name)) return c.reply.error(kBadName);
    MutexLock lock(c.session.mutex);
    c.session.name = *name;
  }
  c.session.resp = static_cast<int>(version);
  c.reply.map(7);
  c.reply.bulk("server");
  c.reply.bulk("redis");
  c.reply.bulk("version");
  c.reply.bulk("7.4.0");
  c.reply.bulk("proto");
  c.reply.integer(version);
  c.reply.bulk("id");
  c.reply.integer(static_cast<int64_t>(c.session.id));
  c.reply.bulk("mode");
  c.reply.bulk("standalone");
  c.reply.bulk("role");
  c.reply.bulk("master");
  c.reply.bulk("modules");
  c.reply.array(0);
}

// ---- CLIENT ----

void client_kill(Context& c) {
  Server& server = c.engine.server();
  auto kill = [&](auto matches) {
    int64_t n = 0;
    for (auto& s : server.sessions.all()) {
      if (!matches(*s)) continue;
      n++;
      if (s.get() == &c.session) {
        c.session.close_after_reply = true;
      } else if (s->kill) {
        s->kill();
      }
    }
    return n;
  };
  if (c.args.size() == 3) {
    auto n = kill([&](Session& s) { return s.address == c.args[2]; });
    return n > 0 ? c.reply.ok() : c.reply.error("ERR No such client");
  }
  std::optional<int64_t> id, max_age;
  std::optional<std::string_view> addr, laddr, user;
  bool skip_me = true, no_type_match = false;
  for (size_t i = 2; i + 1 < c.args.size(); i += 2) {
    std::string_view option = c.args[i], value = c.args[i + 1];
    if (equals_ignoring_case(option, "id")) {
      id = parse_ll(value);
      if (!id || *id <= 0) return c.reply.error("ERR client-id should be greater than 0");
    } else if (equals_ignoring_case(option, "addr")) {
      addr = value;
    } else if (equals_ignoring_case(option, "laddr")) {
      laddr = value;
    } else if (equals_ignoring_case(option, "user")) {
      user = value;
    } else if (equals_ignoring_case(option, "maxage")) {
      max_age = parse_ll(value);
      if (!max_age) return c.reply.error("ERR maxage is not an integer or out of range");
    } else if (equals_ignoring_case(option, "type")) {
      std::string t = lower(value);
      if (t == "master" || t == "replica" || t == "slave" || t == "pubsub") {
        no_type_match = true;
      } else if (t != "normal") {
        return c.reply.error(cat("ERR Unknown client type '", value.substr(0, 128), "'"));
      }
    } else if (equals_ignoring_case(option, "skipme")) {
      if (equals_ignoring_case(value, "yes")) {
        skip_me = true;
      } else if (equals_ignoring_case(value, "no")) {
        skip_me = false;
      } else {
        return c.syntax_error();
      }
    } else {
      return c.syntax_error();
    }
  }
  if (c.args.size() % 2 != 0) return c.syntax_error();
  c.reply.integer(kill([&](Session& s) {
    if (skip_me && &s == &c.session) return false;
    if (no_type_match) return false;
    if (id && static_cast<uint64_t>(*id) != s.id) return false;
    if (addr && *addr != s.address) return false;
    if (laddr && *laddr != s.local_address) return false;
    if (max_age && c.now_ms() - s.created_ms < *max_age * 1000) return false;
    if (user) {
      MutexLock lock(s.mutex);
      if (s.listed_user != *user) return false;
    }
    return true;
  }));
}

void client_unblock(Context& c) {
  int64_t id;
  if (!c.integer(2, id)) return;
  auto how = Session::Unblock::kTimeout;
  if (c.args.size() == 4) {
    if (equals_ignoring_case(c.args[3], "error")) {
      how = Session::Unblock::kError;
    } else if (!equals_ignoring_case(c.args[3], "timeout")) {
      return c.reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
  }
  for (auto& s : c.engine.server().sessions.all()) {
    if (static_cast<int64_t>(s->id) == id) return c.reply.integer(s->unblock(how));
  }
  c.reply.integer(0);
}

void client_list(Context& c) {
  std::vector<int64_t> ids;
  bool none = false;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "id") && i + 1 < c.args.size()) {
      for (i++; i < c.args.size(); i++) {
        int64_t id;
        if (!c.integer(i, id, "ERR Invalid client ID")) return;
        ids.push_back(id);
      }
    } else if (equals_ignoring_case(c.args[i], "type") && i + 1 < c.args.size()) {
      std::string t = lower(c.args[++i]);
      if (t == "master" || t == "replica" || t == "slave" || t == "pubsub") {
        none = true;
      } else if (t != "normal") {
        return c.reply.error(cat("ERR Unknown client type '", c.args[i].substr(0, 128), "'"));
      }
    } else {
      return c.syntax_error();
    }
  }
  std::string text;
  for (auto& s : c.engine.server().sessions.all()) {
    bool wanted =
        ids.empty() || std::find(ids.begin(), ids.end(), static_cast<int64_t>(s->id)) != ids.end();
    if (wanted && !none) append(text, s->describe(c.now_ms()), "\n");
  }
  c.reply.verbatim(text);
}

void client_reply(Context& c) {
  if (equals_ignoring_case(c.args[2], "on")) {
    c.session.reply_mode = ReplyMode::kOn;
    c.reply.ok();
  } else if (equals_ignoring_case(c.args[2], "off")) {
    c.session.reply_mode = ReplyMode::kOff;
  } else if (equals_ignoring_case(c.args[2], "skip")) {
    if (c.session.reply_mode != ReplyMode::kOff) c.session.reply_mode = ReplyMode::kSkipNext;
  } else {
    c.syntax_error();
  }
}

bool on_or_off(Context& c, bool& value) {
  if (equals_ignoring_case(c.args[2], "on")) {
    value = true;
  } else if (equals_ignoring_case(c.args[2], "off")) {
    value = false;
  } else {
    c.syntax_error();
    return false;
  }
  return true;
}

void client(Context& c) {
  Session& s = c.session;
  std::string sub = lower(c.args[1]);
  const size_t n = c.args.size();
  s.publish(cat("client|", sub.substr(0, 16)));
  if (sub == "id" && n == 2) return c.reply.integer(static_cast<int64_t>(s.id));
  if (sub == "getname" && n == 2) {
    MutexLock lock(s.mutex);
    return s.name.empty() ? c.reply.null() : c.reply.bulk(s.name);
  }
  if (sub == "setname" && n == 3) {
    if (!valid_name(c.args[2])) return c.reply.error(kBadName);
    MutexLock lock(s.mutex);
    s.name = c.args[2];
    return c.reply.ok();
  }
  if (sub == "setinfo" && n == 4) {
    if (!valid_name(c.args[3])) {
      return c.reply.error(
          cat("ERR ", lower(c.args[2]), " cannot contain spaces, newlines or special characters."));
    }
    MutexLock lock(s.mutex);
    if (equals_ignoring_case(c.args[2], "lib-name")) {
      s.lib_name = c.args[3];
    } else if (equals_ignoring_case(c.args[2], "lib-ver")) {
      s.lib_version = c.args[3];
    } else {
      return c.reply.error(cat("ERR Unrecognized option '", c.args[2].substr(0, 128), "'"));
    }
    return c.reply.ok();
  }
  if (sub == "info" && n == 2) return c.reply.verbatim(s.describe(c.now_ms()) + "\n");
  if (sub == "list") return client_list(c);
  if (sub == "kill" && n >= 3) return client_kill(c);
  if (sub == "reply" && n == 3) return client_reply(c);
  if (sub == "unblock" && (n == 3 || n == 4)) return client_unblock(c);
  if (sub == "no-evict" && n == 3) {
    bool on = false;
    if (!on_or_off(c, on)) return;
    s.no_evict = on;
    return c.reply.ok();
  }
  if (sub == "no-touch" && n == 3) {
    if (on_or_off(c, s.no_touch)) c.reply.ok();
    return;
  }
  if (sub == "help" && n == 2) {
    constexpr std::string_view kHelp[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "ID",
        "INFO",
        "KILL <option> ...",
        "LIST [options ...]",
        "NO-EVICT (ON|OFF)",
        "NO-TOUCH (ON|OFF)",
        "REPLY (ON|OFF|SKIP)",
        "SETNAME <name>",
        "SETINFO <option> <value>",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "HELP"};
    c.reply.array(std::size(kHelp));
    for (auto line : kHelp) c.reply.simple(line);
    return;
  }
  constexpr std::string_view kKnown[] = {"id",   "getname", "setname",  "setinfo",  "info",
                                         "kill", "reply",   "no-evict", "no-touch", "unblock"};
  if (std::find(std::begin(kKnown), std::end(kKnown), sub) != std::end(kKnown)) {
    return c.reply.error(cat("ERR wrong number of arguments for 'client|", sub, "' command"));
  }
  c.reply.error(cat("ERR unknown subcommand '", c.args[1].substr(0, 128), "'. Try CLIENT HELP."));
}

constexpr std::string_view kGroup = "connection";
constexpr Row kRows[] = {
    {"ping", -1, kFast, 0, 0, 0, ping, nullptr, kGroup,
     "Returns the server's liveliness response."},
    {"echo", 2, kFast | kLoading | kBlobArgs, 0, 0, 0, echo, nullptr, kGroup,
     "Returns the given string."},
    {"quit", -1, kFast | kNoAuth | kNoQueue | kLoading, 0, 0, 0, quit, nullptr, kGroup,
     "Closes the connection."},
    {"reset", 1, kFast | kNoAuth | kNoQueue | kLoading, 0, 0, 0, reset, nullptr, kGroup,
     "Resets the connection.", "6.2.0"},
    {"select", 2, kFast | kLoading, 0, 0, 0, select, nullptr, kGroup,
     "Changes the selected database: a number, or the name of a bucket."},
    {"auth", -2, kFast | kNoAuth | kLoading, 0, 0, 0, auth, nullptr, kGroup,
     "Authenticates the connection."},
    {"hello", -1, kFast | kNoAuth | kLoading | kNoMulti, 0, 0, 0, hello, nullptr, kGroup,
     "Handshakes with the server.", "6.0.0"},
    {"client", -2, kLoading, 0, 0, 0, client, nullptr, kGroup,
     "A container for client connection commands.", "2.4.0"},
};

}  // namespace
std::span<const Row> connection_rows() { return kRows; }

}  // namespace cairn::kv
