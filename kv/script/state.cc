#include "kv/script/state.h"

#include <absl/container/flat_hash_map.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "core/base/text.h"
#include "kv/engine/long_scripts.h"
#include "kv/script/functions.h"

namespace cairn::kv {

namespace {

// Without threads for long scripts: the longest that one may take its thread, and all that is
// served there. With them it goes on there after a turn.
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
LuaState::~LuaState() {
  close();
  tell_used(0);
}

void LuaState::tell_used(uint64_t used) {
  const auto bytes = static_cast<int64_t>(used);
  server().script_bytes.fetch_add(bytes - told_, std::memory_order_relaxed);
  told_ = bytes;
}

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
  if (moved == nullptr) return nullptr;
  s.used_ += after - before;
  if (after > s.largest_) s.meet_block(after);
  return moved;
}

void LuaState::meet_block(uint64_t bytes) {
  largest_ = std::bit_ceil(bytes);  // so that the count begins anew a few times only
  if (running != nullptr) set_hook(running);
}

int LuaState::hook_each() const {
  if (run_ != nullptr && run_->ended != Ended::kNo) return 1;
  return std::max(1, static_cast<int>(kHookEach * kBlockOfHook / largest_));
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
  largest_ = kBlockOfHook;
  running = lua_;
  set_hook(lua_);
  lua_settop(lua_, 0);
  epoch_ = engine_.server().scripts.epoch();
}

void LuaState::close() {
  if (lua_ != nullptr) lua_close(lua_);
  lua_ = running = nullptr;
  compiled_.clear();
  functions_.clear();
  libraries_.clear();
  functions_version_ = kept_ = 0;
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
// and of functions, which see nothing that a script left. While a library says what functions it
// has, there is nothing but what that takes.
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
  const auto refuse_unknown = [lua](int table) {
    lua_newtable(lua);
    lua_pushcfunction(lua, no_such_global);
    lua_setfield(lua, -2, "__index");
    lua_setmetatable(lua, table);
  };
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
    open_redis(lua, functions ? Api::kFunctions : Api::kScripts);
    lock_table();
    lua_setfield(lua, table, "redis");
    refuse_unknown(table);
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
  function_env_ = make(true, function_globals_);
  script_env_ = make(false, script_globals_);
  lua_newtable(lua);
  open_redis(lua, Api::kLoading);
  refuse_unknown(lua_gettop(lua));
  lock_table();
  lua_setfield(lua, -2, "redis");
  refuse_unknown(lua_gettop(lua));
  loading_globals_ = luaL_ref(lua, LUA_REGISTRYINDEX);
}

void LuaState::show_globals_of_functions(bool loading) {
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, function_env_);
  lua_getmetatable(lua_, -1);
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, loading ? loading_globals_ : function_globals_);
  lua_setfield(lua_, -2, "__index");
  lua_pop(lua_, 2);
}

// ---- the end of a run ----

namespace {
// Where the script's own code is.
std::string place_of(lua_State* lua) {
  lua_Debug at{};
  for (int level = 0; lua_getstack(lua, level, &at) != 0; level++) {
    if (lua_getinfo(lua, "Sl", &at) == 0 || at.currentline < 0) continue;
    return cat(", on ", at.source, ":", at.currentline, ".");
  }
  return ".";
}
}  // namespace

void LuaState::end(lua_State* lua, Ended why) {
  if (run_ != nullptr && run_->ended == Ended::kNo) {
    run_->ended = why;
    run_->ended_at = place_of(lua);
  }
  // Should anything of the script run still, it ends at its first instruction.
  lua_sethook(lua, hook, LUA_MASKCOUNT, 1);
  lua_pushliteral(lua, "the script is over");
  lua_error(lua);
  std::abort();  // it does not return
}

bool LuaState::is_over() const {
  if (run_ != nullptr) return run_->ended != Ended::kNo;
  return loading != nullptr && steady_ns() > loading->deadline_ns;
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
  if (s.engine_.has_own_thread()) {
    const Busy::Holder* holder = s.engine_.holder();
    if (s.server().long_scripts->ending()) s.end(lua, Ended::kKilled);
    if (holder != nullptr && holder->must_give_way()) s.give_way(lua);
  } else if (s.server().long_scripts != nullptr) {
    if (took > LongScripts::kTurnNs) s.go_on_elsewhere(lua);
  } else if (took > kLongestNs) {
    s.end(lua, Ended::kTooLong);
  }
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

void LuaState::go_on_elsewhere(lua_State* lua) {
  Session::Lacking& lacking = run_->c.session.lacks();
  lacking.runs_long = run_->function ? kBusyFunction : kBusyScript;
  lacking.begun_ns = run_->begun_ns;
  end(lua, Ended::kAgain);
}

void LuaState::give_way(lua_State* lua) {
  run_->c.session.lacks().gave_way = true;
  end(lua, Ended::kAgain);
}

void LuaState::hold(lua_State* lua, Session::Message message) {
  std::vector<Session::Message>& unsent = run_->c.session.unsent;
  const int64_t now = run_->txn.now().ms();
  if (now != held_at_ms_ || unsent.size() < held_) held_ = held_bytes_ = 0;
  held_at_ms_ = now;
  unsent.push_back(std::move(message));
  for (; held_ < unsent.size(); held_++) {
    const Session::Message& m = unsent[held_];
    held_bytes_ += sizeof(m) + m.channel.size() + m.text.size();
  }
  if (held_bytes_ > script_memory(run_->c.store.memory_bytes())) end(lua, Ended::kNoMemory);
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
  drop();
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
  c.engine.show(c);
  json = {};
  random_seeded = false;
  starved_ = false;
  const NamespacePtr home = c.session.ns;
  const int resp = std::exchange(c.session.resp, 2);
  const int slot = c.session.slot;
  Transaction own(c.store, c.locks, Shape::kSeveral, c.wish());
  own.set_committer(c.committer());  // who waits for what it makes is served
  own.names_changes();
  const bool read_only = (c.row.flags & kReadOnly) != 0 || (flags & kScriptNoWrites) != 0;
  const bool goes_on = engine_.has_own_thread() && c.session.lacking != nullptr;
  const int64_t begun_ns = goes_on ? c.session.lacking->begun_ns : steady_ns();
  RunningScripts::Running running;
  running.function = function;
  const uint64_t largest_before = largest_;
  Run run{c,        c.in_exec ? *c.txn : own,  name, flags,   read_only, running,
          function, static_cast<size_t>(keys), resp, begun_ns};
  run_ = &run;
  reply_.lacking = c.session.lacking.get();
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
  // Who killed it was told so.
  if (run.ended == Ended::kAgain && running.killed.load()) {
    run.ended = Ended::kKilled;
    if (c.session.lacking != nullptr) c.session.lacking->gave_way = false;
  }

  // What is answered is a part, or nobody will see it.
  const bool interrupted = run.answered && (status != 0 || c.reply.overflowed());
  if (interrupted) c.reply.cut(mark);
  if (run.ended != Ended::kNo) {
    answer_end(c, run);
  } else if (run.status != 0) {
    answer_error(c, name);
  } else if (interrupted) {
    fail(c, "the script's answer is too large, and nothing of it was done");
  }
  if (!c.in_exec) {
    if (!c.again && c.failure().empty()) {
      c.locks->settle();
      if (auto lsn = own.commit(); !lsn.ok()) c.status_error(lsn.status());
    }
    // Those of a transaction around it are told when that is committed.
    c.tell_events(!c.again && c.failure().empty());
  }
  c.saw(run.txn.seen());
  if (c.again) c.session.slot = slot;  // what it touched first it may not touch then
  run_ = nullptr;
  reply_.lacking = nullptr;
  levels_ = coroutines = 0;
  // Nothing that a script had is there for the next one; functions keep what they will.
  largest_ = function ? std::max(std::min(largest_, used_), kBlockOfHook) : largest_before;
  if (run.ended != Ended::kNo || largest_ != largest_before) set_hook(lua);
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
    case Ended::kKilled:  // a function too is told so in Redis's words
      return fail(
          c, cat("Script killed by user with SCRIPT KILL... script: ", run.name, run.ended_at));
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

// What a script, or a source that was compiled, left behind beyond the usual goes at once; a state
// that stays large beside what libraries keep is made anew.
void LuaState::clean_up() {
  constexpr uint64_t kSlack = 8 << 20, kMost = 32 << 20, kLarge = 96 << 20;
  if (used_ < settled_ + std::min(settled_, kMost) + kSlack) return tell_used(used_);
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, script_globals_);
  for (const char* name : {"KEYS", "ARGV"}) {
    lua_pushnil(lua_);
    lua_setfield(lua_, -2, name);
  }
  lua_settop(lua_, 0);
  lua_gc(lua_, LUA_GCCOLLECT, 0);
  if (used_ > kept_ + kLarge) {
    close();
    make();
  }
  settled_ = used_;
  tell_used(used_);
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
  lua_pushstring(lua, kCountedError);
  lua_rawget(lua, -2);
  if (lua_toboolean(lua, -1) != 0) c.errors_told++;
  lua_pop(lua, 1);
  const std::string source = field("source"), line = field("line");
  if (!source.empty() && !line.empty()) {
    append(text, " script: ", name, ", on ", source, ":", line, ".");
  }
  c.reply.error(text);
}

// ---- functions of libraries ----

// Has the library's function, which is on the stack, called. An error text, or none.
std::string LuaState::run_library(Library& library) {
  // One that was accepted comes to its end as it did then, if more slowly.
  constexpr int64_t kLongestNewNs = 500'000'000, kLongestAcceptedNs = 5'000'000'000;
  lua_State* lua = lua_;
  const int64_t begun = steady_ns();
  loading = &library;
  library.deadline_ns = begun + (library.accepted ? kLongestAcceptedNs : kLongestNewNs);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, handler_);
  lua_insert(lua, -2);
  show_globals_of_functions(true);
  limit(library.accepted ? 2 * kScriptMemoryMax : script_memory(engine_.store().memory_bytes()));
  const int status = lua_pcall(lua, 0, 0, lua_gettop(lua) - 1);
  most_ = UINT64_MAX;
  show_globals_of_functions(false);
  library.took_ns = steady_ns() - begun;
  loading = nullptr;
  set_hook(lua);
  levels_ = coroutines = 0;
  if (status == 0) return library.functions.empty() ? "No functions registered" : "";
  std::string failed = "Error registering functions: ";
  if (lua_istable(lua, -1)) {
    lua_pushliteral(lua, "err");
    lua_rawget(lua, -2);
  }
  failed += lua_isstring(lua, -1) != 0 ? text_at(lua, -1) : "execution failure";
  return failed;
}

std::string LuaState::load_library(Library& library) {
  constexpr uint64_t kLittle = 1 << 20;  // may be garbage in what a library is said to keep
  enter(true);
  if (used_ > settled_ + kLittle) {
    lua_gc(lua_, LUA_GCCOLLECT, 0);
    settled_ = used_;
  }
  const uint64_t before = used_;
  std::string failed;
  if (!compile(body_of(library.source), "@user_function", "Error compiling function")) {
    failed = text_at(lua_, -1);
  } else {
    failed = run_library(library);
  }
  lua_settop(lua_, 0);
  if (failed.empty()) {
    if (used_ > before + kLittle) lua_gc(lua_, LUA_GCCOLLECT, 0);
    library.kept_bytes = used_ - std::min(used_, before);
  }
  if (!library.keep || !failed.empty()) {
    for (LibraryFunction& f : library.functions) {
      luaL_unref(lua_, LUA_REGISTRYINDEX, std::exchange(f.callback, LUA_NOREF));
    }
  }
  if (!library.keep) clean_up();
  return failed;
}

void LuaState::take_library(const LibraryPtr& known) {
  Library again{.name = known->name, .source = known->source};
  again.keep = again.accepted = true;
  std::string why = known->broken;
  if (why.empty()) why = load_library(again);
  if (!why.empty()) {
    engine_.server().report(cat("library '", known->name, "' cannot be loaded: ", why));
    again.functions = known->functions;
    for (LibraryFunction& f : again.functions) f.callback = LUA_NOREF;
  }
  // Of two names that differ in their case alone the first one counts.
  for (const LibraryFunction& f : again.functions) {
    const OfLibrary function{f.callback, f.flags, known.get()};
    if (!functions_.try_emplace(lower(f.name), function).second) {
      luaL_unref(lua_, LUA_REGISTRYINDEX, f.callback);
    }
  }
  kept_ += again.kept_bytes;
  settled_ = used_;
  libraries_[known->name] = {known, std::move(why)};
}

void LuaState::forget_library(const std::string& name) {
  auto it = libraries_.find(name);
  absl::erase_if(functions_, [&](const auto& f) {
    if (f.second.library != it->second.library.get()) return false;
    luaL_unref(lua_, LUA_REGISTRYINDEX, f.second.callback);
    return true;
  });
  libraries_.erase(it);
}

// Those that did not change keep what they have in memory.
void LuaState::refresh_functions() {
  const std::shared_ptr<const Functions::Set> set = Functions::of(engine_.server()).set();
  if (set->version == functions_version_) return;
  std::vector<std::string> gone;
  for (auto& [name, loaded] : libraries_) {
    auto it = set->libraries.find(name);
    if (it == set->libraries.end() || it->second != loaded.library) gone.push_back(name);
  }
  for (const std::string& name : gone) forget_library(name);
  lua_gc(lua_, LUA_GCCOLLECT, 0);
  settled_ = used_;
  kept_ = 0;
  for (auto& [name, loaded] : libraries_) kept_ += loaded.library->kept_bytes;
  for (auto& [name, known] : set->libraries) {
    if (!libraries_.contains(name)) take_library(known);
  }
  functions_version_ = set->version;
}

bool LuaState::push_function(std::string_view name, uint32_t& flags, std::string& why) {
  refresh_functions();
  const auto find = [&] {
    auto it = functions_.find(name);
    return it != functions_.end() ? it : functions_.find(lower(name));
  };
  auto it = find();
  if (it != functions_.end() && it->second.callback == LUA_NOREF) {
    const LibraryPtr library = libraries_.at(it->second.library->name).library;
    forget_library(library->name);
    take_library(library);
    it = find();
  }
  if (it == functions_.end()) {
    why = "Function not found";
    for (auto& [of, loaded] : libraries_) {
      if (!loaded.library->broken.empty()) {
        append(why, "; library '", of, "' cannot be loaded: ", loaded.why);
      }
    }
    return false;
  }
  if (it->second.callback == LUA_NOREF) {
    const std::string& library = it->second.library->name;
    why = cat("library '", library, "' cannot be loaded: ", libraries_.at(library).why);
    return false;
  }
  flags = it->second.flags;
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, it->second.callback);
  return true;
}

}  // namespace cairn::kv
