// Commands about the connection itself.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include "core/base/audit.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/store/auth_failure.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

void ping(Context& c) {
  if (c.args.size() > 2) {
    return c.reply.error("ERR wrong number of arguments for 'ping' command");
  }
  // Whoever listens takes PONG for a sign that what was published before it has come.
  const bool hears = c.session.subscriptions.any() || c.session.tracker->has(Tracker::kOn);
  if (hears && !c.in_exec) c.reply.pushed_first();
  if (c.session.only_listens()) {
    c.reply.array(2);
    c.reply.bulk("pong");
    return c.reply.bulk(c.args.size() > 1 ? c.args[1] : "");
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

constexpr size_t kLeftAtOnce = 1000;  // names that it listened to, or prefixes that it tracked
bool leave_some(Context& c) {
  Server& server = c.engine.server();
  return server.channels.leave(c.session, kLeftAtOnce) ||
         server.tracking.leave(c.session, kLeftAtOnce);
}

void reset(Context& c) {
  Session& s = c.session;
  if (leave_some(c)) return c.defer();
  s.leave_multi();
  s.ns = c.store.find_namespace("db0");
  s.reply_mode = ReplyMode::kOn;
  Server& server = c.engine.server();
  s.principal = server.default_is_let_in() ? server.users.default_user() : nullptr;
  s.no_evict = false;
  s.no_touch = s.wants_debugger = false;
  s.reads_replicas = false;
  s.rdb_wish = {};
  server.lookout.monitor(s, false);
  {
    MutexLock lock(s.mutex);
    c.reply.pushed_first();  // as they were to come
    s.speak(2);
    s.name.clear();
  }
  c.reply.simple("RESET");
}

awaitable<void> reset_in_turns(Context& c) {
  const Executor executor = co_await asio::this_coro::executor;
  while (leave_some(c)) {
    co_await asio::post(executor, asio::use_awaitable);
  }
  reset(c);
}

void select(Context& c) {
  // A cluster has one database: its slots are of that, and a client has one for all its nodes.
  constexpr std::string_view kOneDatabase = "ERR SELECT is not allowed in cluster mode";
  const bool one = c.engine.server().cluster.enabled;
  NamespacePtr to = c.request.selected;
  if (to == nullptr) {
    if (const auto index = parse_ll(c.args[1])) {
      return c.reply.error(*index == static_cast<int32_t>(*index)
                               ? (one ? kOneDatabase : "ERR DB index is out of range")
                               : "ERR value is out of range, value must between -2147483648 and "
                                 "2147483647");
    }
    return c.reply.error(cat("ERR no such bucket '", c.args[1].substr(0, 128), "'"));
  }
  if (one && to.get() != &c.store.database(0)) return c.reply.error(kOneDatabase);
  c.session.ns = std::move(to);
  c.reply.ok();
}

constexpr std::string_view kWrongPass =
    "WRONGPASS invalid username-password pair or user is disabled.";

void refuse_login(Context& c, std::string_view user) {
  AclLog::Entry e;
  e.reason = "auth";
  e.context = c.in_exec ? "multi" : "toplevel";
  e.object = c.row.name;
  e.user = user.substr(0, 128);
  e.at_ms = c.store.now_ms();
  e.client = c.session.describe(e.at_ms);
  c.engine.server().acl_log.add(std::move(e));
  note_auth_failure(c.engine.server().users, c.store.options().report, alarm::kAuthResp, user,
                    c.session.address);
  c.reply.error(kWrongPass);
}

void note_login(const Context& c) {
  if (Audit* audit = c.engine.server().users.audit()) {
    audit->note({"resp", c.session.principal->name(), c.session.address, "login"});
  }
}

// False after it answered the error, or deferred the command: the hash of a password that was not
// shown before takes a tenth of a second.
bool authenticate(Context& c, std::string_view user, std::string_view password) {
  const Server& server = c.engine.server();
  PrincipalPtr who;
  if (user != "default") {
    who = server.users.authenticate(user, password);
  } else if (server.is_default_password(password)) {
    who = server.users.default_user();
  }
  if (who == nullptr && user != "default" && server.users.loading()) {
    c.reply.error("LOADING Redis is loading the dataset in memory");
    return false;
  }
  if (who == nullptr && server.users.may_be_right(user, password)) {
    if (c.in_exec) {
      c.reply.error("ERR a password that was not used before cannot be checked inside MULTI");
    } else {
      c.defer();
    }
    return false;
  }
  if (who == nullptr) {
    refuse_login(c, user);
    return false;
  }
  c.session.principal = std::move(who);
  note_login(c);
  return true;
}

// Of a deferred command. False after it answered the error.
awaitable<bool> authenticate_patiently(Context& c, std::string user, std::string password) {
  const Users& users = c.engine.server().users;
  const auto who =
      co_await users.authenticate_patiently(user, std::move(password), c.session.address);
  if (!who.ok()) {
    c.reply.error("ERR too many logins at once, try again later");
    co_return false;
  }
  if (*who == nullptr) {
    refuse_login(c, user);
    co_return false;
  }
  c.session.principal = *who;
  note_login(c);
  co_return true;
}

void auth(Context& c) {
  if (c.args.size() > 3) return c.syntax_error();
  if (c.args.size() == 2 && c.engine.server().default_is_let_in()) {
    return c.reply.error(
        "ERR AUTH <password> called without any password configured for the default user. Are you "
        "sure your configuration is correct?");
  }
  std::string_view user = c.args.size() == 3 ? c.args[1] : "default";
  if (authenticate(c, user, c.args[c.args.size() - 1])) c.reply.ok();
}

awaitable<void> auth_patiently(Context& c) {  // of a user, whose name stands there
  const bool known =
      co_await authenticate_patiently(c, std::string(c.args[1]), std::string(c.args[2]));
  if (known) c.reply.ok();
}

bool valid_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char x) { return x > ' ' && x < 127; });
}
constexpr std::string_view kBadName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

struct Login {
  std::string_view user, password;
};

// `known`: whoever logs in has shown that he may.
void hello_to(Context& c, bool known, std::optional<Login>& login) {
  int64_t version = c.session.resp;
  size_t i = 1;
  if (c.args.size() > 1) {
    if (!c.integer(1, version, "ERR Protocol version is not an integer or out of range")) return;
    if (version != 2 && version != 3) return c.reply.error("NOPROTO unsupported protocol version");
    i = 2;
  }
  std::optional<std::string_view> name;
  for (; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "auth") && i + 2 < c.args.size()) {
      login = Login{c.args[i + 1], c.args[i + 2]};
      i += 2;
    } else if (equals_ignoring_case(c.args[i], "setname") && i + 1 < c.args.size()) {
      name = c.args[++i];
    } else {
      return c.reply.error(
          cat("ERR Syntax error in HELLO option '", c.args[i].substr(0, 128), "'"));
    }
  }
  if (login && !known && !authenticate(c, login->user, login->password)) return;
  if (c.session.principal == nullptr) {
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
  {
    // What was pushed in the one protocol leaves before the other one is spoken.
    MutexLock lock(c.session.mutex);
    const bool other = version != c.session.resp;
    if (other && c.engine.server().tracking.any() && !c.in_exec) c.reply.pushed_first();
    c.session.speak(static_cast<int>(version));
  }
  c.reply.map(7);
  c.reply.bulk("server");
  c.reply.bulk("redis");
  c.reply.bulk("version");
  c.reply.bulk(kRedisVersion);
  c.reply.bulk("proto");
  c.reply.integer(version);
  c.reply.bulk("id");
  c.reply.integer(static_cast<int64_t>(c.session.id));
  c.reply.bulk("mode");
  c.reply.bulk(c.engine.server().cluster.enabled ? "cluster" : "standalone");
  c.reply.bulk("role");
  c.reply.bulk("master");
  c.reply.bulk("modules");
  c.reply.array(0);
}

void hello(Context& c) {
  std::optional<Login> login;
  hello_to(c, false, login);
}

awaitable<void> hello_patiently(Context& c) {
  std::optional<Login> login;
  for (size_t i = 2; i + 2 < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "setname")) {
      i++;
    } else {
      login = Login{c.args[i + 1], c.args[i + 2]};
      i += 2;
    }
  }
  const bool known =
      co_await authenticate_patiently(c, std::string(login->user), std::string(login->password));
  if (known) hello_to(c, true, login);
}

// ---- CLIENT ----

// TYPE of CLIENT KILL and LIST; false after it answered the error.
bool client_type(Context& c, std::string_view word, std::optional<ClientClass>& type,
                 bool& nobody) {
  const std::string t = lower(word);
  if (t == "normal") {
    type = ClientClass::kNormal;
  } else if (t == "pubsub") {
    type = ClientClass::kPubsub;
  } else if (t == "master" || t == "replica" || t == "slave") {
    nobody = true;
  } else {
    c.reply.error(cat("ERR Unknown client type '", word.substr(0, 128), "'"));
    return false;
  }
  return true;
}

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
  std::optional<ClientClass> type;
  bool skip_me = true, nobody = false;
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
      if (!c.engine.server().users.knows(value)) {
        return c.reply.error(cat("ERR No such user '", value.substr(0, 128), "'"));
      }
      user = value;
    } else if (equals_ignoring_case(option, "maxage")) {
      max_age = parse_ll(value);
      if (!max_age) return c.reply.error("ERR maxage is not an integer or out of range");
    } else if (equals_ignoring_case(option, "type")) {
      if (!client_type(c, value, type, nobody)) return;
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
    if (nobody || (type && *type != s.client_class())) return false;
    if (id && static_cast<uint64_t>(*id) != s.id) return false;
    if (addr && *addr != s.address) return false;
    if (laddr && *laddr != s.local_address) return false;
    if (max_age && c.now_ms() - s.created_ms < *max_age * 1000) return false;
    if (user) {
      MutexLock lock(s.mutex);
      if (s.listed_user() != *user) return false;
    }
    return true;
  }));
}

void client_unblock(Context& c) {
  if (c.args.size() > 4) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             c.args[1].substr(0, 128), "'. Try CLIENT HELP."));
  }
  auto how = Session::Unblock::kTimeout;
  if (c.args.size() == 4) {
    if (equals_ignoring_case(c.args[3], "error")) {
      how = Session::Unblock::kError;
    } else if (!equals_ignoring_case(c.args[3], "timeout")) {
      return c.reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
  }
  int64_t id;
  if (!c.integer(2, id)) return;
  for (auto& s : c.engine.server().sessions.all()) {
    if (static_cast<int64_t>(s->id) == id) return c.reply.integer(s->unblock(how));
  }
  c.reply.integer(0);
}

void client_list(Context& c) {
  c.session.publish();
  std::vector<int64_t> ids;
  std::optional<ClientClass> type;
  bool nobody = false;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "id") && i + 1 < c.args.size()) {
      for (i++; i < c.args.size(); i++) {
        int64_t id;
        if (!c.integer(i, id, "ERR Invalid client ID")) return;
        ids.push_back(id);
      }
    } else if (equals_ignoring_case(c.args[i], "type") && i + 1 < c.args.size()) {
      if (!client_type(c, c.args[++i], type, nobody)) return;
    } else {
      return c.syntax_error();
    }
  }
  std::string text;
  const auto all = c.engine.server().sessions.all();
  const auto add = [&](Session& s) {
    const bool wanted = !nobody && (!type || *type == s.client_class());
    if (wanted) append(text, s.describe(c.now_ms()), "\n");
  };
  for (auto& s : all) {
    if (ids.empty()) add(*s);
  }
  for (const int64_t id : ids) {  // in that order, and as often
    for (auto& s : all) {
      if (static_cast<int64_t>(s->id) == id) add(*s);
    }
  }
  c.reply.verbatim(text);
}

// Whether an answer is sent is the door's part: the command answers all the same.
void client_reply(Context& c) {
  ReplyMode& mode = c.session.reply_mode;
  if (equals_ignoring_case(c.args[2], "on")) {
    mode = ReplyMode::kOn;
  } else if (equals_ignoring_case(c.args[2], "off")) {
    mode = ReplyMode::kOff;
  } else if (equals_ignoring_case(c.args[2], "skip")) {
    if (mode != ReplyMode::kOff) mode = ReplyMode::kSkipNext;
  } else {
    return c.syntax_error();
  }
  c.reply.ok();
}

void switch_option(Context& c, bool& value) {
  if (equals_ignoring_case(c.args[2], "on")) {
    value = true;
  } else if (equals_ignoring_case(c.args[2], "off")) {
    value = false;
  } else {
    return c.syntax_error();
  }
  c.reply.ok();
}
void client_no_evict(Context& c) {
  bool on = c.session.no_evict;
  switch_option(c, on);
  c.session.no_evict = on;
}
void client_no_touch(Context& c) { switch_option(c, c.session.no_touch); }

void client_id(Context& c) { c.reply.integer(static_cast<int64_t>(c.session.id)); }

void client_getname(Context& c) {
  MutexLock lock(c.session.mutex);
  c.session.name.empty() ? c.reply.null() : c.reply.bulk(c.session.name);
}

void client_setname(Context& c) {
  if (!valid_name(c.args[2])) return c.reply.error(kBadName);
  MutexLock lock(c.session.mutex);
  c.session.name = c.args[2];
  c.reply.ok();
}

void client_setinfo(Context& c) {
  if (!valid_name(c.args[3])) {
    return c.reply.error(cat("ERR ", lower(c.args[2]).substr(0, 128),
                             " cannot contain spaces, newlines or special characters."));
  }
  MutexLock lock(c.session.mutex);
  if (equals_ignoring_case(c.args[2], "lib-name")) {
    c.session.lib_name = c.args[3];
  } else if (equals_ignoring_case(c.args[2], "lib-ver")) {
    c.session.lib_version = c.args[3];
  } else {
    return c.reply.error(cat("ERR Unrecognized option '", c.args[2].substr(0, 128), "'"));
  }
  c.reply.ok();
}

void client_info(Context& c) {
  c.session.publish();
  c.reply.verbatim(c.session.describe(c.now_ms()) + "\n");
}

constexpr std::string_view kGroup = "connection";
constexpr uint32_t kClient = kLoading | kNoScript;
constexpr uint32_t kClientAdmin = kClient | kAdmin | kDangerous;
constexpr uint32_t kLogin = kFast | kNoAuth | kLoading | kNoScript;
constexpr Row kRows[] = {
    {"ping",
     -1,
     kFast | kListener,
     {},
     ping,
     nullptr,
     kGroup,
     "Returns the server's liveliness response."},
    {"echo",
     2,
     kFast | kLoading | kBlobArgs,
     {},
     echo,
     nullptr,
     kGroup,
     "Returns the given string."},
    {"quit",
     -1,
     kLogin | kNoQueue | kListener,
     {},
     quit,
     nullptr,
     kGroup,
     "Closes the connection."},
    {"reset",
     1,
     kLogin | kNoQueue | kListener,
     {},
     reset,
     reset_in_turns,
     kGroup,
     "Resets the connection.",
     "6.2.0"},
    {"select",
     2,
     kFast | kLoading,
     {},
     select,
     nullptr,
     kGroup,
     "Changes the selected database: a number, or the name of a bucket.",
     "1.0.0",
     1},
    {"auth", -2, kLogin, {}, auth, auth_patiently, kGroup, "Authenticates the connection."},
    {"hello",
     -1,
     kLogin,
     {},
     hello,
     hello_patiently,
     kGroup,
     "Handshakes with the server.",
     "6.0.0"},
    {"client",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for client connection commands.",
     "2.4.0"},
    {"client|getname",
     2,
     kClient,
     {},
     client_getname,
     nullptr,
     kGroup,
     "Returns the name of the connection.",
     "2.6.9"},
    {"client|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "5.0.0"},
    {"client|id",
     2,
     kClient,
     {},
     client_id,
     nullptr,
     kGroup,
     "Returns the unique client ID of the connection.",
     "5.0.0"},
    {"client|info",
     2,
     kClient,
     {},
     client_info,
     nullptr,
     kGroup,
     "Returns information about the connection.",
     "6.2.0"},
    {"client|kill",
     -3,
     kClientAdmin,
     {},
     client_kill,
     nullptr,
     kGroup,
     "Terminates open connections.",
     "2.4.0"},
    {"client|list",
     -2,
     kClientAdmin,
     {},
     client_list,
     nullptr,
     kGroup,
     "Lists open connections.",
     "2.4.0"},
    {"client|no-evict",
     3,
     kClientAdmin,
     {},
     client_no_evict,
     nullptr,
     kGroup,
     "Sets the client eviction mode of the connection.",
     "7.0.0"},
    {"client|no-touch",
     3,
     kClient,
     {},
     client_no_touch,
     nullptr,
     kGroup,
     "Controls whether commands sent by the client affect the order of eviction.",
     "7.2.0"},
    {"client|reply",
     3,
     kClient,
     {},
     client_reply,
     nullptr,
     kGroup,
     "Instructs the server whether to reply to commands.",
     "3.2.0"},
    {"client|setinfo",
     4,
     kClient,
     {},
     client_setinfo,
     nullptr,
     kGroup,
     "Sets information specific to the client or connection.",
     "7.2.0"},
    {"client|setname",
     3,
     kClient,
     {},
     client_setname,
     nullptr,
     kGroup,
     "Sets the connection name.",
     "2.6.9"},
    {"client|unblock",
     -3,
     kClientAdmin,
     {},
     client_unblock,
     nullptr,
     kGroup,
     "Unblocks a client that waits for what it asked for.",
     "5.0.0"},
};

}  // namespace
std::span<const Row> connection_rows() { return kRows; }

}  // namespace cairn::kv
