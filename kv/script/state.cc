#include "kv/script/state.h"

#include <cstdlib>
#include <cstring>

#include "core/base/text.h"
#include "kv/script/functions.h"

namespace cairn::kv {

namespace {

// The longest that a script may take its thread, and all that is served there, in one go. What has
// to take longer belongs into the client.
constexpr int64_t kLongestNs = 1'000'000'000;
constexpr int64_t kListedNs = 1'000'000;  // SCRIPT KILL and FUNCTION STATS tell of it from then on

const char kLockedMark = 0;  // its address marks metatables of locked tables

int refuse_change(lua_State* lua) { return luaL_error(lua, "Attempt to modify a readonly table"); }

int no_such_global(lua_State* lua) {
  const char* name = lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : "?";
  return luaL_error(lua, "Script attempted to access nonexistent global variable '%s'", name);
}

// What stands in place of an error on its way to the client: a table with its text and where it
// was raised, as Redis's handler makes it.
int error_handler(lua_State* lua) {
  lua_Debug at{};
  bool known = lua_getstack(lua, 1, &at) != 0 && lua_getinfo(lua, "nSl", &at) != 0;
  if (known && std::strcmp(at.what, "C") == 0) {
    lua_Debug caller{};
    known = lua_getstack(lua, 2, &caller) != 0 && lua_getinfo(lua, "nSl", &caller) != 0;
    at = caller;
  }
  lua_settop(lua, 1);
  if (lua_type(lua, 1) != LUA_TTABLE) {
    const char* text = lua_tostring(lua, 1);
    if (text == nullptr) text = lua_isnil(lua, 1) ? "nil" : luaL_typename(lua, 1);
    lua_createtable(lua, 0, 3);
    lua_pushfstring(lua, "ERR %s", text);
    lua_setfield(lua, -2, "err");
  } else if (LuaState::of(lua).is_locked(lua, 1)) {
    lua_createtable(lua, 0, 3);
  }
  if (known) {
    lua_pushliteral(lua, "source");
    lua_pushstring(lua, at.source);
    lua_rawset(lua, -3);
    lua_pushliteral(lua, "line");
    lua_pushinteger(lua, at.currentline);
    lua_rawset(lua, -3);
  }
  return 1;
}

}  // namespace

// ---- the state ----

LuaState::LuaState(Engine& engine) : engine_(engine), request_(engine.store()) { make(); }
LuaState::~LuaState() { close(); }

LuaState& LuaState::of(Engine& engine) {
  if (engine.scripts == nullptr) engine.scripts = std::make_unique<LuaState>(engine);
  return static_cast<LuaState&>(*engine.scripts);
}

void* LuaState::allocate(void* self, void* block, size_t before, size_t after) {
  auto& s = *static_cast<LuaState*>(self);
  if (after == 0) {
    s.used_ -= before;
    std::free(block);
    return nullptr;
  }
  if (after > before && s.used_ + (after - before) > s.most_) {
    s.starved_ = true;
    return nullptr;
  }
  void* moved = std::realloc(block, after);
  if (moved != nullptr) s.used_ += after - before;
  return moved;
}

void LuaState::make() {
  lua_ = lua_newstate(allocate, this);
  if (lua_ == nullptr) throw std::bad_alloc();
  constexpr luaL_Reg kLibraries[] = {{"", luaopen_base},
                                     {LUA_TABLIBNAME, luaopen_table},
                                     {LUA_STRLIBNAME, luaopen_string},
                                     {LUA_MATHLIBNAME, luaopen_math}};
  for (auto [name, open] : kLibraries) {
    lua_pushcfunction(lua_, open);
    lua_pushstring(lua_, name);
    lua_call(lua_, 1, 0);
  }
  mend_libraries(lua_);
  make_globals();
  lua_pushcfunction(lua_, error_handler);
  lua_pushvalue(lua_, -1);
  handler_ = luaL_ref(lua_, LUA_REGISTRYINDEX);
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, script_globals_);
  lua_pushliteral(lua_, "KEYS");
  lua_pushliteral(lua_, "ARGV");
  lua_pushcclosure(lua_, run_protected, 4);
  runner_ = luaL_ref(lua_, LUA_REGISTRYINDEX);
  entered_function_ = true;
  enter(false);
  lua_sethook(lua_, hook, LUA_MASKCOUNT, kHookEach);
  lua_settop(lua_, 0);
  epoch_ = engine_.server().scripts.epoch();
}

void LuaState::close() {
  if (lua_ != nullptr) lua_close(lua_);
  lua_ = nullptr;
  compiled_.clear();
  functions_.clear();
  functions_version_ = 0;
}

void LuaState::lock_table() {
  lua_newtable(lua_);           // what scripts see
  lua_createtable(lua_, 0, 4);  // its metatable
  lua_pushvalue(lua_, -3);
  lua_setfield(lua_, -2, "__index");
  lua_pushcfunction(lua_, refuse_change);
  lua_setfield(lua_, -2, "__newindex");
  lua_getfield(lua_, LUA_REGISTRYINDEX, "locked");  // nil while that one is made
  if (lua_isnil(lua_, -1)) {
    lua_pop(lua_, 1);
    lua_pushboolean(lua_, 0);
  }
  lua_setfield(lua_, -2, "__metatable");
  lua_pushlightuserdata(lua_, const_cast<char*>(&kLockedMark));
  lua_pushvalue(lua_, -4);
  lua_rawset(lua_, -3);
  lua_setmetatable(lua_, -2);
  lua_remove(lua_, -2);
}

bool LuaState::is_locked(lua_State* lua, int i) {
  if (lua_getmetatable(lua, i) == 0) return false;
  lua_pushlightuserdata(lua, const_cast<char*>(&kLockedMark));
  lua_rawget(lua, -2);
  const bool locked = !lua_isnil(lua, -1);
  lua_pop(lua, 2);
  return locked;
}

// Two sets of globals over the same locked libraries: of scripts, with their keys and arguments,
// and of functions, which see nothing that a script left.
void LuaState::make_globals() {
  lua_State* lua = lua_;
  lua_newtable(lua);
  lock_table();
  lua_setfield(lua, LUA_REGISTRYINDEX, "locked");  // what getmetatable tells of a locked table
  constexpr std::pair<const char*, void (*)(lua_State*)> kOurs[] = {
      {"cjson", open_json}, {"cmsgpack", open_msgpack}, {"struct", open_pack}, {"bit", open_bits}};
  for (auto [name, open] : kOurs) {
    open(lua);
    lua_setglobal(lua, name);
  }
  lua_pushliteral(lua, "");  // strings: s:rep(2) works, and nobody changes what it means
  lua_getmetatable(lua, -1);
  lua_getglobal(lua, "string");
  lock_table();
  lua_pushvalue(lua, -1);
  lua_setglobal(lua, "string");
  lua_setfield(lua, -2, "__index");
  lua_getfield(lua, LUA_REGISTRYINDEX, "locked");
  lua_setfield(lua, -2, "__metatable");
  lua_pop(lua, 2);
  for (const char* name :
       {"table", "math", "coroutine", "cjson", "cmsgpack", "struct", "bit", "os"}) {
    lua_getglobal(lua, name);
    lock_table();
    lua_setglobal(lua, name);
  }
  const auto make = [&](bool functions, int& globals) {
    lua_newtable(lua);
    const int table = lua_gettop(lua);
    lua_pushvalue(lua, LUA_GLOBALSINDEX);
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
      lua_pushvalue(lua, -2);
      lua_pushvalue(lua, -2);
      lua_rawset(lua, table);
    }
    lua_pop(lua, 1);
    open_redis(lua, functions);
    lock_table();
    lua_setfield(lua, table, "redis");
    lua_newtable(lua);
    lua_pushcfunction(lua, no_such_global);
    lua_setfield(lua, -2, "__index");
    lua_setmetatable(lua, table);
    lua_pushvalue(lua, table);
    globals = luaL_ref(lua, LUA_REGISTRYINDEX);
    lock_table();
    lua_rawgeti(lua, LUA_REGISTRYINDEX, globals);
    lua_pushliteral(lua, "_G");
    lua_pushvalue(lua, -3);
    lua_rawset(lua, -3);
    lua_pop(lua, 1);
    return luaL_ref(lua, LUA_REGISTRYINDEX);
  };
  int ignored;
  function_env_ = make(true, ignored);
  script_env_ = make(false, script_globals_);
}

// ---- the end of a run ----

void LuaState::end(lua_State* lua, Ended why) {
  if (run_ != nullptr && run_->ended == Ended::kNo) run_->ended = why;
  // Should anything of the script run still, it ends at its first instruction.
  lua_sethook(lua, hook, LUA_MASKCOUNT, 1);
  lua_pushliteral(lua, "the script is over");
  lua_error(lua);
  std::abort();  // it does not return
}

void LuaState::hook(lua_State* lua, lua_Debug*) { of(lua).look_at_time(lua); }

void LuaState::look_at_time(lua_State* lua) {
  LuaState& s = *this;
  Run* run = s.run_;
  if (run == nullptr) {  // a library that says what functions it has
    if (s.loading != nullptr && steady_ns() > s.loading->deadline_ns) {
      lua_sethook(lua, hook, LUA_MASKCOUNT, 1);
      luaL_error(lua, "FUNCTION LOAD timeout");
    }
    return;
  }
  s.pass_on(lua);
  const int64_t took = steady_ns() - run->begun_ns;
  if (run->running.killed.load(std::memory_order_relaxed)) s.end(lua, Ended::kKilled);
  if (took > kLongestNs) s.end(lua, Ended::kTooLong);
  if (took > kListedNs && !run->listed) {
    run->listed = true;
    RunningScripts::Running& r = run->running;
    r.name = run->name;
    const Args& args = run->c.args;
    constexpr size_t kShownMax = 128;
    for (size_t i = 0; i < args.size() && r.command.size() < 4 * kShownMax; i++) {
      append(r.command, i == 0 ? "" : " ", args[i].substr(0, kShownMax));
    }
    r.begun_ns = run->begun_ns;
    run->c.engine.server().running_scripts.add(r);
  }
}

// ---- what runs ----

bool LuaState::compile(std::string_view source, const char* chunk, std::string_view doing) {
  // The parser frees the chunk's name while it still needs it, unless somebody else has it; and
  // does not meet the collector.
  lua_pushstring(lua_, chunk);
  lua_gc(lua_, LUA_GCSTOP, 0);
  limit(kScriptMemoryMax);
  const int failed = luaL_loadbuffer(lua_, source.data(), source.size(), chunk);
  most_ = UINT64_MAX;
  lua_gc(lua_, LUA_GCRESTART, 0);
  lua_remove(lua_, -2);
  if (failed == 0) return true;
  std::string text = cat(doing, ": ", text_at(lua_, -1));
  lua_pop(lua_, 1);
  push(lua_, text);
  return false;
}

namespace {
// The body of a script: without its shebang, but with the end of that line, which counts.
std::string_view body_of(std::string_view source) {
  if (!source.starts_with("#!")) return source;
  return source.substr(std::min(source.find('\n'), source.size()));
}
}  // namespace

bool LuaState::push_known(std::string_view sha, uint32_t& flags) {
  const uint64_t epoch = engine_.server().scripts.epoch();
  if (epoch != epoch_ || compiled_.size() > kCompiledMax) forget_compiled();
  epoch_ = epoch;
  auto it = compiled_.find(sha);
  if (it == compiled_.end()) return false;
  flags = it->second.flags;
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, it->second.callback);
  return true;
}

std::string LuaState::take_error() {
  std::string text(text_at(lua_, -1));
  lua_settop(lua_, 0);
  return text;
}

bool LuaState::push_script(const Script& script) {
  enter(false);
  const std::string_view body = body_of(script.source);
  if (!body.empty() && body[0] == LUA_SIGNATURE[0]) {
    lua_pushliteral(lua_, "Error compiling script (new function): user_script:1: no bytecode");
    return false;
  }
  if (!compile(body, "@user_script", "Error compiling script (new function)")) return false;
  lua_pushvalue(lua_, -1);
  compiled_[script.sha] = {luaL_ref(lua_, LUA_REGISTRYINDEX), script.flags};
  return true;
}

void LuaState::forget_compiled() {
  for (auto& [sha, f] : compiled_) luaL_unref(lua_, LUA_REGISTRYINDEX, f.callback);
  compiled_.clear();
  lua_gc(lua_, LUA_GCCOLLECT, 0);
}

// Pushes the words as an array.
void LuaState::set_words(Context& c, size_t from, size_t to) {
  lua_createtable(lua_, static_cast<int>(to - from), 0);
  for (size_t i = from; i < to; i++) {
    push(lua_, c.args[i]);
    lua_rawseti(lua_, -2, static_cast<int>(i - from + 1));
  }
}

// Chunks that are compiled from now on have these globals.
void LuaState::enter(bool function) {
  if (entered_function_ == function) return;
  entered_function_ = function;
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, function ? function_env_ : script_env_);
  lua_replace(lua_, LUA_GLOBALSINDEX);
}

// Calls the script, which is its argument, and answers. Its upvalues are the handler of errors, the
// globals of scripts, and the names of two of them. Returns an error of the script.
int LuaState::run_protected(lua_State* lua) {
  constexpr size_t kFirst = 3;  // word
  LuaState& s = of(lua);
  Run& run = *s.run_;
  Context& c = run.c;
  const size_t first_argument = kFirst + run.keys;
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_insert(lua, 1);
  if (run.function) {
    s.set_words(c, kFirst, first_argument);
    s.set_words(c, first_argument, c.args.size());
  } else {
    lua_pushvalue(lua, lua_upvalueindex(3));
    s.set_words(c, kFirst, first_argument);
    lua_rawset(lua, lua_upvalueindex(2));
    lua_pushvalue(lua, lua_upvalueindex(4));
    s.set_words(c, first_argument, c.args.size());
    lua_rawset(lua, lua_upvalueindex(2));
  }
  run.status = lua_pcall(lua, run.function ? 2 : 0, 1, 1);
  if (run.ended != Ended::kNo || s.starved_) return 0;
  run.answered = true;
  if (run.status != 0) return 1;
  const int version = std::exchange(c.session.resp, run.resp);  // what it asked for with setresp
  // Values are read without metamethods, but memory may end.
  s.limit(script_memory(c.store.memory_bytes()));
  answer_value(lua, c.reply, version);
  return 0;
}

void LuaState::run(Context& c, std::string_view name, uint32_t flags, bool function, int64_t keys) {
  json = {};
  random_seeded = false;
  starved_ = false;
  const NamespacePtr home = c.session.ns;
  const int resp = std::exchange(c.session.resp, 2);
  Transaction own(c.store, c.locks, Shape::kSeveral, c.wish());
  own.set_committer(c.committer());  // who waits for what it makes is served
  own.names_changes();
  const bool read_only = (c.row.flags & kReadOnly) != 0 || (flags & kScriptNoWrites) != 0;
  RunningScripts::Running running;
  running.function = function;
  Run run{c,        c.in_exec ? *c.txn : own,  name, flags,      read_only, running,
          function, static_cast<size_t>(keys), resp, steady_ns()};
  run_ = &run;
  reply_.fetched = c.session.lacking == nullptr ? nullptr : &c.session.lacking->fetched;
  const Reply::Mark mark = c.reply.mark();

  lua_State* lua = lua_;  // [function]
  enter(function);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, runner_);
  lua_insert(lua, -2);
  limit(script_memory(c.store.memory_bytes()));
  const int status = lua_pcall(lua, 1, 1, 0);
  most_ = UINT64_MAX;
  if (status != 0 && !run.answered && run.ended == Ended::kNo) run.ended = Ended::kNoMemory;
  if (starved_ && !run.answered && run.ended == Ended::kNo) run.ended = Ended::kNoMemory;
  c.session.resp = resp;
  c.session.ns = home;
  if (run.listed) c.engine.server().running_scripts.remove(running);

  if (run.ended != Ended::kNo) {
    answer_end(c, run);
  } else if (run.status != 0) {
    answer_error(c, name);
  } else if (status != 0) {
    c.reply.cut(mark);
    fail(c, "the script's answer is too large, and nothing of it was done");
  }
  if (!c.in_exec) {
    if (!c.again && c.failure().empty()) {
      if (auto lsn = own.commit(); !lsn.ok()) c.status_error(lsn.status());
    }
    // Those of a transaction around it are told when that is committed.
    c.tell_events(!c.again && c.failure().empty());
  }
  c.saw(run.txn.seen());
  run_ = nullptr;
  reply_.fetched = nullptr;
  levels_ = coroutines = 0;
  if (run.ended != Ended::kNo) lua_sethook(lua, hook, LUA_MASKCOUNT, kHookEach);
  lua_settop(lua, 0);
  clean_up();
}

// Nothing of the script is done, for this.
void LuaState::fail(Context& c, std::string_view why) {
  c.dooms = c.in_exec;
  c.status_error(absl::AbortedError(std::string(why)));
}

void LuaState::answer_end(Context& c, const Run& run) {
  switch (run.ended) {
    case Ended::kNo:
      return;
    case Ended::kAgain:
      c.again = true;
      return;
    case Ended::kKilled:
      return fail(c,
                  cat("Error running script (call to ", run.name, "): Script killed by user with ",
                      run.function ? "FUNCTION" : "SCRIPT", " KILL..."));
    case Ended::kTooLong:
      return fail(c, cat("the script ran for more than ", kLongestNs / 1'000'000,
                         " ms, and nothing of it was done"));
    case Ended::kNoMemory:
      return fail(c, "the script needs more memory than a script may, and nothing of it was done");
    case Ended::kRefused:
      c.dooms = c.in_exec;
      return c.status_error(run.txn.status());
  }
}

// What a script left behind beyond the usual goes at once; a state that stays large is made anew.
void LuaState::clean_up() {
  constexpr uint64_t kSlack = 8 << 20, kLarge = 96 << 20;
  if (used_ < 2 * settled_ + kSlack) return;
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, script_globals_);
  for (const char* name : {"KEYS", "ARGV"}) {
    lua_pushnil(lua_);
    lua_setfield(lua_, -2, name);
  }
  lua_settop(lua_, 0);
  lua_gc(lua_, LUA_GCCOLLECT, 0);
  if (used_ > kLarge) {
    close();
    make();
  }
  settled_ = used_;
}

// The error at the top of the stack, in Redis's words.
void LuaState::answer_error(Context& c, std::string_view name) {
  lua_State* lua = lua_;
  if (!lua_istable(lua, -1)) {
    const bool is_text = lua_isstring(lua, -1) != 0;
    return c.reply.error(cat("ERR Error running script ", name, ", ",
                             is_text ? text_at(lua, -1).substr(0, 100) : "execution failure"));
  }
  const auto field = [&](const char* key) {
    lua_pushstring(lua, key);
    lua_rawget(lua, -2);
    std::string text;
    if (lua_isstring(lua, -1) != 0) text = text_at(lua, -1);
    lua_pop(lua, 1);
    return text;
  };
  std::string text = field("err");
  if (text.starts_with('-')) text.erase(0, 1);
  if (text.empty()) text = "ERR unknown error";
  const std::string source = field("source"), line = field("line");
  if (!source.empty() && !line.empty()) {
    append(text, " script: ", name, ", on ", source, ":", line, ".");
  }
  c.reply.error(text);
}

// ---- functions of libraries ----

std::string LuaState::load_library(Library& library) {
  lua_State* lua = lua_;
  enter(true);
  const std::string_view body = body_of(library.source);
  std::string failed;
  if (!compile(body, "@user_function", "Error compiling function")) {
    failed = text_at(lua, -1);
  } else {
    constexpr int64_t kLongestLoadNs = 500'000'000;
    const int64_t begun = steady_ns();
    loading = &library;
    library.deadline_ns = begun + kLongestLoadNs;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, handler_);
    lua_insert(lua, -2);
    limit(kScriptMemoryMax);
    const int status = lua_pcall(lua, 0, 0, lua_gettop(lua) - 1);
    most_ = UINT64_MAX;
    library.took_ns = steady_ns() - begun;
    if (status != 0) {
      failed = "Error registering functions: ";
      if (lua_istable(lua, -1)) {
        lua_pushliteral(lua, "err");
        lua_rawget(lua, -2);
      }
      failed += lua_isstring(lua, -1) != 0 ? text_at(lua, -1) : "execution failure";
    } else if (library.functions.empty()) {
      failed = "No functions registered";
    }
    loading = nullptr;
  }
  lua_sethook(lua, hook, LUA_MASKCOUNT, kHookEach);
  levels_ = coroutines = 0;
  lua_settop(lua, 0);
  return failed;
}

void LuaState::refresh_functions() {
  const std::shared_ptr<const Functions::Set> set = Functions::of(engine_.server()).set();
  if (set->version == functions_version_) return;
  for (auto& [name, f] : functions_) luaL_unref(lua_, LUA_REGISTRYINDEX, f.callback);
  functions_.clear();
  for (auto& [name, known] : set->libraries) {
    Library again{.name = known->name, .source = known->source};
    again.keep = true;
    (void)load_library(again);
    for (auto& f : again.functions) functions_[f.name] = {f.callback, f.flags};
  }
  functions_version_ = set->version;
  lua_gc(lua_, LUA_GCCOLLECT, 0);
}

bool LuaState::push_function(std::string_view name, uint32_t& flags) {
  refresh_functions();
  auto it = functions_.find(name);
  if (it == functions_.end()) return false;
  flags = it->second.flags;
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, it->second.callback);
  return true;
}

}  // namespace cairn::kv
