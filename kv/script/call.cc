// The table `redis` of scripts: call, pcall, and what stands beside them.
#include <cstdio>
#include <span>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "kv/engine/errand.h"
#include "kv/engine/key_length.h"
#include "kv/script/flags.h"
#include "kv/script/functions.h"
#include "kv/script/sha1.h"
#include "kv/script/state.h"

namespace cairn::kv {
namespace {

// Pushes an error as a table. What does not begin with a code word gets "ERR".
void push_error(lua_State* lua, std::string_view text) {
  lua_createtable(lua, 0, 2);
  push(lua, text);
  lua_setfield(lua, -2, "err");
}
// The error at the top is not counted again if the script ends with it, or answers it.
void mark_counted(lua_State* lua) {
  lua_pushboolean(lua, 1);
  lua_setfield(lua, -2, kCountedError);
}
int answer_error(lua_State* lua, bool raise, std::string_view text) {
  push_error(lua, text);
  return raise ? lua_error(lua) : 1;
}

// A command that the script called is refused: the statistics have it by then.
int refuse_command(lua_State* lua, Engine& engine, const Row* row, bool raise,
                   std::string_view text) {
  engine.count_refused(row, text);
  push_error(lua, text);
  mark_counted(lua);
  return raise ? lua_error(lua) : 1;
}

// The script is taken back, and run again with these keys locked and their values in memory.
[[noreturn]] void lack(lua_State* lua, LuaState& state, const Request* keys) {
  Session& session = state.current()->c.session;
  // With more that it did not declare it is quicker to take all.
  constexpr size_t kKeysMax = 3;
  Session::Lacking& lacking = session.lacks();
  if (keys == nullptr || lacking.keys.size() >= kKeysMax) lacking.all_stripes = true;
  if (keys != nullptr) Engine::note_lacking(session, *keys, state.current()->txn);
  state.end(lua, Ended::kAgain);
}

// Takes the words of a command from the stack. Numbers are written with all their digits.
bool take_words(lua_State* lua, Args& args) {
  const int n = lua_gettop(lua);
  for (int i = 1; i <= n; i++) {
    const int type = lua_type(lua, i);
    if (type == LUA_TNUMBER) {
      char digits[64];
      const int size = std::snprintf(digits, sizeof(digits), "%.17g", lua_tonumber(lua, i));
      lua_pushlstring(lua, digits, static_cast<size_t>(size));
      lua_replace(lua, i);
    } else if (type != LUA_TSTRING) {
      return false;
    }
    args.add(text_at(lua, i));  // it stays on the stack
  }
  return true;
}

// Commands that Redis may replicate, though they write nothing: for read-only scripts they are as
// those that write.
bool counts_as_write(const Row& row) {
  return row.name == "publish" || row.name == "spublish" || row.name == "pfcount";
}

// Why the command may not run; empty: it may. The request's row is known.
std::string refusal(Run& run, Engine& engine, Session& session, const Request& request) {
  const Row& row = *request.row;
  const bool debugs = row.name == "debug" && engine.server().debug_in_scripts;
  if ((row.flags & kNoScript) && !debugs) {
    return "ERR This Redis command is not allowed from script";
  }
  const AclAnswer asked = engine.ask(session, request, *session.ns);
  if (asked.denied != AclDenied::kNo) {
    engine.note_refused(session, request, asked, "lua");
  } else {
    engine.note_audit(session, request, *session.ns, true);
  }
  if (asked.denied == AclDenied::kCommand) {
    return "NOPERM The user executing the script can't run this command or subcommand";
  }
  if (asked.denied == AclDenied::kKey) {
    return "NOPERM The user executing the script can't access at least one of the keys mentioned "
           "in the command arguments";
  }
  if (asked.denied == AclDenied::kChannel) {
    return "NOPERM The user executing the script can't publish to the channel mentioned in the "
           "command";
  }
  if (run.read_only && ((row.flags & kWrite) || counts_as_write(row))) {
    return "ERR Write commands are not allowed from read-only scripts.";
  }
  if (row.flags & kWrite) {
    const bool grows = (row.flags & kDenyOom) && !(run.flags & kScriptAllowOom);
    if (Status s = engine.store().check_write(grows); !s.ok()) return error_text(s);
  }
  for (const Key& key : request.keys) {
    if (is_refused_for_length(row, key)) return std::string(kKeyTooLong);
  }
  return {};
}

// In a cluster, why the command may not touch its keys; empty: it may.
std::string strays(const Run& run, Session& session, const Request& request) {
  OneSlot keys;
  if (!keys.add(*request.row, request.args)) {
    return "ERR Script attempted to access a non local key in a cluster node";
  }
  const bool any = (run.flags & (kScriptPlain | kScriptAllowCrossSlotKeys)) != 0;
  if (any || keys.slot() == kNoSlot) return {};
  if (session.slot == kNoSlot) session.slot = keys.slot();  // the first that it touches
  return session.slot == keys.slot()
             ? ""
             : "ERR Script attempted to access keys that do not hash to the same slot";
}

// Has the stripes of all its keys, or begins again with them.
void lock_keys(lua_State* lua, LuaState& state, const Request& request) {
  StripeLocks& locks = *state.current()->c.locks;
  if ((request.row->flags & kWholeSpace) && !locks.all()) lack(lua, state, nullptr);
  for (const Key& key : request.keys) {
    if (key.ns == nullptr || locks.covers(key.hash)) continue;
    // What it did not declare it may have at once, if nobody else does.
    if (!locks.add(key.hash)) lack(lua, state, &request);
  }
}

// What is published goes out when the script has come to its end; false: it is another command.
bool hold_message(lua_State* lua, LuaState& state, const Request& request, Context& outer,
                  Reply& reply) {
  using Kind = Channels::Kind;
  const std::string_view name = request.row->name;
  if (name != "publish" && name != "spublish") return false;
  const Kind kind = name == "publish" ? Kind::kChannel : Kind::kShardChannel;
  const Channels& channels = outer.engine.server().channels;
  const std::string_view channel = request.args[1];
  const uint64_t receivers = channels.receivers(kind, channel);
  if (receivers > 0) {
    state.hold(lua, {kind, std::string(channel), std::string(request.args[2])});
  }
  reply.integer(static_cast<int64_t>(receivers));
  return true;
}

int call(lua_State* lua, bool raise) {
  LuaState& state = LuaState::of(lua);
  Run* run = state.current();
  if (run == nullptr) {
    return answer_error(lua, raise,
                        "ERR redis.call/pcall can only be called inside a script invocation");
  }
  // The commands that it called until now may have taken long.
  std::exchange(run->called, true) ? state.look_at_time(lua) : state.pass_on(lua);
  if (lua_gettop(lua) == 0) {
    return answer_error(lua, raise,
                        "ERR Please specify at least one argument for this redis lib call");
  }
  Context& outer = run->c;
  Engine& engine = outer.engine;
  Session& session = outer.session;
  Request& request = state.request();
  request.clear();
  if (!take_words(lua, request.args)) {
    return answer_error(lua, raise,
                        "ERR Lua redis lib command arguments must be strings or integers");
  }
  engine.prepare(session, request);
  switch (engine.check_form(request)) {
    case Engine::Refused::kUnknown:
      return refuse_command(lua, engine, nullptr, raise,
                            "ERR Unknown Redis command called from script");
    case Engine::Refused::kArity:
      return refuse_command(lua, engine, request.row, raise,
                            "ERR Wrong number of args calling Redis command from script");
    case Engine::Refused::kNo:
      break;
  }
  if (request.hash == 0) engine.resolve(session.ns, request);
  if (const std::string why = refusal(*run, engine, session, request); !why.empty()) {
    return refuse_command(lua, engine, request.row, raise, why);
  }
  if (engine.server().cluster.enabled && session.id != kNoClient) {
    const std::string why = strays(*run, session, request);
    if (!why.empty()) return refuse_command(lua, engine, request.row, raise, why);
  }
  lock_keys(lua, state, request);
  if (engine.store().has_cold() && Engine::looks_at_cold(request)) lack(lua, state, &request);
  if (request.row->flags & kWrite) {
    run->running.wrote.store(true, std::memory_order_relaxed);
    session.wrote = true;
  }
  Recorded& reply = state.reply();
  reply.begin(session.resp);
  if (!hold_message(lua, state, request, outer, reply)) {
    Context inner(engine, session, request, reply);
    inner.locks = outer.locks;
    inner.txn = &run->txn;
    inner.in_exec = true;
    inner.script = &outer.request;
    inner.locked = request.hash;
    engine.run_inner(inner);
    if (inner.again) state.end(lua, Ended::kAgain);
    outer.saw(inner.seen());
    outer.take_events(inner);
  }
  if (!run->txn.status().ok()) state.end(lua, Ended::kRefused);
  if (reply.overflowed()) state.end(lua, Ended::kNoMemory);
  if (auto blob = reply.missing()) {
    session.lacks().blob = std::move(blob);
    state.end(lua, Ended::kAgain);
  }
  if (reply.is_error()) {
    push_error(lua, reply.error_text());
    mark_counted(lua);
    return raise ? lua_error(lua) : 1;
  }
  lua_settop(lua, 0);  // as many words as the stack takes leave no room for the answer
  reply.push_value(lua);
  return 1;
}

int redis_call(lua_State* lua) { return call(lua, true); }
int redis_pcall(lua_State* lua) { return call(lua, false); }

int one_field(lua_State* lua, const char* field) {
  if (lua_gettop(lua) != 1 || lua_type(lua, 1) != LUA_TSTRING) {
    push_error(lua, "ERR wrong number or type of arguments");
    return 1;
  }
  lua_createtable(lua, 0, 1);
  lua_pushvalue(lua, 1);
  lua_setfield(lua, -2, field);
  return 1;
}
int status_reply(lua_State* lua) { return one_field(lua, "ok"); }
int error_reply(lua_State* lua) {
  if (lua_gettop(lua) == 1 && lua_type(lua, 1) == LUA_TSTRING) {
    std::string_view text = text_at(lua, 1);
    while (text.ends_with('\r') || text.ends_with('\n')) text.remove_suffix(1);
    if (text.starts_with('-')) text.remove_prefix(1);
    // The first of several words is the code; one alone gets one.
    push(lua, text.find(' ') != text.npos ? std::string(text) : cat("ERR ", text));
    lua_replace(lua, 1);
  }
  return one_field(lua, "err");
}

int sha1hex(lua_State* lua) {
  if (lua_gettop(lua) != 1) return answer_error(lua, true, "ERR wrong number of arguments");
  push(lua, sha1_hex(lua_isstring(lua, 1) != 0 ? text_at(lua, 1) : std::string_view()));
  return 1;
}

constexpr int kLogDebug = 0, kLogNotice = 2, kLogWarning = 3;

int log(lua_State* lua) {
  const int n = lua_gettop(lua);
  if (n < 2) return answer_error(lua, true, "ERR redis.log() requires two arguments or more.");
  if (lua_isnumber(lua, -n) == 0) {
    return answer_error(lua, true, "ERR First argument must be a number (log level).");
  }
  const auto level = static_cast<int>(lua_tonumber(lua, -n));
  if (level < kLogDebug || level > kLogWarning) {
    return answer_error(lua, true, "ERR Invalid debug level.");
  }
  if (level < kLogNotice) return 0;
  constexpr size_t kLineMax = 1024;
  std::string line;
  for (int i = 2; i <= n && line.size() < kLineMax; i++) {
    if (lua_isstring(lua, i) == 0) continue;
    append(line, i == 2 ? "" : " ", text_at(lua, i).substr(0, kLineMax));
  }
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  LuaState::of(lua).server().report(cat("script: ", line.substr(0, kLineMax)));
  return 0;
}

int setresp(lua_State* lua) {
  if (lua_gettop(lua) != 1) {
    return answer_error(lua, true, "ERR redis.setresp() requires one argument.");
  }
  const lua_Number version = lua_tonumber(lua, 1);
  if (version != 2 && version != 3) {
    return answer_error(lua, true, "ERR RESP version must be 2 or 3.");
  }
  if (Run* run = LuaState::of(lua).current()) run->c.session.resp = static_cast<int>(version);
  return 0;
}

int set_repl(lua_State* lua) {
  constexpr int kAll = 3;
  if (lua_gettop(lua) != 1) {
    return answer_error(lua, true, "ERR redis.set_repl() requires two arguments.");
  }
  const lua_Number flags = lua_tonumber(lua, 1);
  if (flags < 0 || flags > kAll) {
    return answer_error(lua, true,
                        "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or "
                        "REPL_NONE.");
  }
  return 0;  // what a script changes is in the log, always
}

int replicate_commands(lua_State* lua) {
  lua_pushboolean(lua, 1);
  return 1;
}
int breakpoint(lua_State* lua) {
  lua_pushboolean(lua, 0);
  return 1;
}
int debug(lua_State*) { return 0; }

int acl_check_cmd(lua_State* lua) {
  LuaState& state = LuaState::of(lua);
  Run* run = state.current();
  if (run == nullptr) {
    return answer_error(lua, true,
                        "ERR redis.acl_check_cmd can only be called inside a script invocation");
  }
  if (lua_gettop(lua) == 0) {
    return answer_error(lua, true,
                        "ERR Please specify at least one argument for this redis lib call");
  }
  Engine& engine = run->c.engine;
  Session& session = run->c.session;
  Request& request = state.request();
  request.clear();
  if (!take_words(lua, request.args)) {
    return answer_error(lua, true,
                        "ERR Lua redis lib command arguments must be strings or integers");
  }
  engine.prepare(session, request);
  if (engine.check_form(request) == Engine::Refused::kUnknown) {
    return answer_error(lua, true, "ERR Invalid command passed to redis.acl_check_cmd()");
  }
  engine.resolve(session.ns, request);
  lua_pushboolean(lua, engine.ask(session, request, *session.ns).denied == AclDenied::kNo);
  return 1;
}

// ---- functions of a library ----

int refuse_function(lua_State* lua, std::string_view why) {
  return answer_error(lua, true, cat("ERR ", why));
}

bool read_flags(lua_State* lua, int i, uint32_t& flags) {
  for (int k = 1;; k++) {
    lua_rawgeti(lua, i, k);
    if (lua_isnil(lua, -1)) return lua_pop(lua, 1), true;
    const bool is_text = lua_type(lua, -1) == LUA_TSTRING;
    if (!is_text || !add_script_flag(text_at(lua, -1), flags)) return false;
    lua_pop(lua, 1);
  }
}

// From one table of named arguments. The callback is on the stack then.
std::string named_arguments(lua_State* lua, LibraryFunction& f) {
  bool named = false;
  int callback = 0;
  for (lua_pushnil(lua); lua_next(lua, 1) != 0;) {
    if (lua_type(lua, -2) != LUA_TSTRING) {
      return "named argument key given to redis.register_function is not a string";
    }
    const std::string_view key = text_at(lua, -2);
    if (equals_ignoring_case(key, "function_name")) {
      if (lua_isstring(lua, -1) == 0) {
        return "function_name argument given to redis.register_function must be a string";
      }
      f.name = text_at(lua, -1);
      named = true;
    } else if (equals_ignoring_case(key, "description")) {
      if (lua_isstring(lua, -1) == 0) {
        return "description argument given to redis.register_function must be a string";
      }
      f.description = text_at(lua, -1);
    } else if (equals_ignoring_case(key, "callback")) {
      if (!lua_isfunction(lua, -1)) {
        return "callback argument given to redis.register_function must be a function";
      }
      lua_pushvalue(lua, -1);
      lua_replace(lua, 2);
      callback = 2;
    } else if (equals_ignoring_case(key, "flags")) {
      if (!lua_istable(lua, -1)) {
        return "flags argument to redis.register_function must be a table representing function "
               "flags";
      }
      if (!read_flags(lua, lua_gettop(lua), f.flags)) return "unknown flag given";
    } else {
      return "unknown argument given to redis.register_function";
    }
    lua_pop(lua, 1);
  }
  if (!named) return "redis.register_function must get a function name argument";
  if (callback == 0) return "redis.register_function must get a callback argument";
  return {};
}

int register_function(lua_State* lua) {
  LuaState& state = LuaState::of(lua);
  Library* library = state.loading;
  if (library == nullptr) {
    return refuse_function(lua,
                           "redis.register_function can only be called on FUNCTION LOAD command");
  }
  const int n = lua_gettop(lua);
  if (n < 1 || n > 2) {
    return refuse_function(lua, "wrong number of arguments to redis.register_function");
  }
  LibraryFunction f;
  if (n == 1) {
    if (!lua_istable(lua, 1)) {
      return refuse_function(lua,
                             "calling redis.register_function with a single argument is only "
                             "applicable to Lua table (representing named arguments).");
    }
    lua_pushnil(lua);  // its callback
    if (const std::string why = named_arguments(lua, f); !why.empty()) {
      return refuse_function(lua, why);
    }
  } else {
    if (lua_isstring(lua, 1) == 0) {
      return refuse_function(lua, "first argument to redis.register_function must be a string");
    }
    f.name = text_at(lua, 1);
    if (!lua_isfunction(lua, 2)) {
      return refuse_function(lua, "second argument to redis.register_function must be a function");
    }
  }
  if (!is_library_name(f.name)) return refuse_function(lua, kBadLibraryName);
  constexpr size_t kFunctionsMax = 10'000;
  for (const LibraryFunction& other : library->functions) {
    if (other.name == f.name) {
      return refuse_function(lua, "Function already exists in the library");
    }
  }
  if (library->functions.size() >= kFunctionsMax) return refuse_function(lua, "too many functions");
  lua_pushvalue(lua, 2);
  f.callback = luaL_ref(lua, LUA_REGISTRYINDEX);
  library->functions.push_back(std::move(f));
  return 0;
}

}  // namespace

void open_redis(lua_State* lua, Api whose) {
  constexpr luaL_Reg kFunctions[] = {
      {"call", redis_call},         {"pcall", redis_pcall},           {"sha1hex", sha1hex},
      {"error_reply", error_reply}, {"status_reply", status_reply},   {"setresp", setresp},
      {"set_repl", set_repl},       {"acl_check_cmd", acl_check_cmd}, {nullptr, nullptr}};
  constexpr luaL_Reg kOfScripts[] = {{"replicate_commands", replicate_commands},
                                     {"breakpoint", breakpoint},
                                     {"debug", debug},
                                     {nullptr, nullptr}};
  constexpr luaL_Reg kWhileLoading[] = {{"register_function", register_function},
                                        {nullptr, nullptr}};
  constexpr luaL_Reg kAlways[] = {{"log", log}, {nullptr, nullptr}};
  using Number = std::pair<const char*, int>;
  constexpr Number kNumbers[] = {{"LOG_DEBUG", 0},
                                 {"LOG_VERBOSE", 1},
                                 {"LOG_NOTICE", 2},
                                 {"LOG_WARNING", 3},
                                 {"REDIS_VERSION_NUM", kRedisVersionNumber}};
  constexpr Number kNumbersOfRuns[] = {
      {"REPL_NONE", 0}, {"REPL_AOF", 1}, {"REPL_SLAVE", 2}, {"REPL_REPLICA", 2}, {"REPL_ALL", 3}};
  const auto set_numbers = [lua](std::span<const Number> numbers) {
    for (auto [name, number] : numbers) {
      lua_pushinteger(lua, number);
      lua_setfield(lua, -2, name);
    }
  };
  lua_newtable(lua);
  set_functions(lua, kAlways);
  set_numbers(kNumbers);
  if (whose == Api::kLoading) {
    set_functions(lua, kWhileLoading);
  } else {
    set_functions(lua, kFunctions);
    set_numbers(kNumbersOfRuns);
  }
  if (whose == Api::kScripts) set_functions(lua, kOfScripts);
  push(lua, kRedisVersion);
  lua_setfield(lua, -2, "REDIS_VERSION");
}

}  // namespace cairn::kv
