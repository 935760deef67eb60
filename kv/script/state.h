// A Lua of its own for each engine: what scripts may use, and what holds them in.
//
// Why Lua 5.1 and not LuaJIT's interpreter. Measured here (CPU, microseconds; the call of a
// function with one key, one argument and one call back; then loops): 0.42 against 0.44; a million
// turns of adding 11,500 against 7,500; 10,000 calls back 610 against 430. So the calls that the
// usual script consists of cost the same, long computations a third less with LuaJIT. Against that:
// LuaJIT's interpreter is 5,000 lines of assembly that no sanitizer looks into and that few can
// check, its numbers and messages differ from Redis's in places, and what it is faster at, long
// computations, has no place in a store. Lua 5.1 is the language that Redis has, plain C that the
// sanitizers see through (the library is the one built as C++, so that errors are exceptions and
// destructors run).
//
// Its known holes are closed here, not in the library:
//   no bytecode            load and loadstring take text alone; string.dump is gone (CVE-2015-8080)
//   the parser             frees the name of a chunk while it still needs it (CVE-2025-49844): it
//   is
//                          kept on the stack, and nothing is collected while it parses
//   unpack                 counts in 32 bits (CVE-2025-46817): it is our own
//   tables of the library  a script could change what the next user's script calls (CVE-2022-24735,
//                          CVE-2025-46818): scripts see empty tables that stand before the true
//                          ones and refuse to be changed by any means, metatables of strings
//                          included
//   the collector          nobody can make a userdata with __gc (CVE-2024-46981: no newproxy), stop
//   it
//                          or starve it
//   cjson, cmsgpack, bit   count in 32 bits and write past buffers (CVE-2022-24834, CVE-2024-31449,
//   and struct             CVE-2018-11218, -11219, CVE-2020-14147), and Debian's cjson ends the
//   process
//                          when there is no memory: they are our own (json.cc, msgpack.cc, pack.cc,
//                          bits.cc), within the memory of the state
//   long patterns,         recurse on the C stack without a limit: they have one here
//   nested coroutines
//
// A run ends when it is told to: for a kill, for its time, for want of memory, or to begin again
// with something that it needs (Engine, run_cold). Whatever ends it passes through pcall: nothing
// more of the script runs.
//
// Threads: one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "kv/engine/engine.h"
#include "kv/engine/scripts.h"
#include "kv/script/lua.h"
#include "kv/script/recorded.h"

namespace cairn::kv {

class Functions;
struct Library;
using LibraryPtr = std::shared_ptr<const Library>;

// Nobody else is served while a source is hashed and compiled: this much takes a tenth of a second.
inline constexpr size_t kSourceBytesMax = 4 << 20;

// Why a run is over before its end.
enum class Ended : uint8_t {
  kNo,
  kAgain,    // it is to run again, with what it lacked
  kKilled,   // by SCRIPT KILL
  kTooLong,  // it took its thread for too long
  kNoMemory,
  kRefused,  // the store takes no more of its changes
};

// One run of one script.
struct Run {
  Context& c;
  Transaction& txn;
  std::string_view name;  // SHA1, or that of the function
  uint32_t flags;         // ScriptFlags
  bool read_only;
  RunningScripts::Running& running;
  // What it is called with.
  bool function;
  size_t keys;
  int resp;  // the client's protocol
  int64_t begun_ns;
  Ended ended = Ended::kNo;
  bool listed = false;    // in RunningScripts
  bool called = false;    // a command
  bool answered = false;  // else it has not come to its end
  int status = 0;         // of what it did: an error of its own
  std::string ended_at;   // ", on SOURCE:LINE.", if it is known
};

class LuaState final : public Engine::Part {
 public:
  explicit LuaState(Engine& engine);
  ~LuaState() override;

  static LuaState& of(Engine& engine);
  static LuaState& of(lua_State* lua) {
    void* self;
    (void)lua_getallocf(lua, &self);
    return *static_cast<LuaState*>(self);
  }

  // EVAL and its like: the script's function is on the stack afterwards. False: it was not
  // compiled here yet, or not since SCRIPT FLUSH.
  bool push_known(std::string_view sha, uint32_t& flags);
  // False: the error is on the stack, as Redis words it.
  bool push_script(const Script& script);
  std::string take_error();
  void drop() {  // what was pushed
    lua_settop(lua_, 0);
    clean_up();
  }
  // FCALL: false, and why, if there is none of that name, or it cannot be called here.
  bool push_function(std::string_view name, uint32_t& flags, std::string& why);
  // Compiles a library and has it say what functions it has; they are in `library` then. Else an
  // error text.
  std::string load_library(Library& library);

  // Calls what is on the stack with the request's keys and arguments, which begin at word 3, and
  // answers. `function`: they are its arguments, and else globals.
  void run(Context& c, std::string_view name, uint32_t flags, bool function, int64_t keys);

  Run* current() { return run_; }
  // It is being ended, or the library that it loads has had its time.
  bool is_over() const;
  // The script is over: an error that passes through pcall. Does not return.
  [[noreturn]] void end(lua_State* lua, Ended why);
  void pass_on(lua_State* lua) {  // after any call of the script's code
    if (run_ == nullptr) return;
    if (run_->ended != Ended::kNo) end(lua, run_->ended);
    if (starved_) end(lua, Ended::kNoMemory);
  }
  // Ends the run if it is to end; for functions of libraries that take long.
  void look_at_time(lua_State* lua);
  // A turn is over, or a thread waits that must not: it begins again (kv/engine/long_scripts.h).
  [[noreturn]] void go_on_elsewhere(lua_State* lua);
  [[noreturn]] void give_way(lua_State* lua);
  // What such a function does, in steps of about ten nanoseconds.
  void work(lua_State* lua, uint64_t steps) {
    constexpr uint64_t kLookEach = 1 << 16;
    if ((steps_ += steps) < kLookEach) return;
    steps_ = 0;
    look_at_time(lua);
  }
  // It comes to one more value of a table. That may be a table with much room and nothing in it,
  // which takes as long as its room is large.
  void work_on_value(lua_State* lua) { work(lua, 8 + largest_ / 256); }
  // Whether so many bytes more may be had; else the run ends.
  void need(lua_State* lua, uint64_t bytes) {
    if (bytes > most_ - std::min(most_, used_)) end(lua, Ended::kNoMemory);
  }

  // A message that is sent when the script is over. With all that the session holds it takes no
  // more than a script may; else the run ends.
  void hold(lua_State* lua, Session::Message message);

  Server& server() { return engine_.server(); }
  Request& request() { return request_; }
  Recorded& reply() { return reply_; }

  // What functions that may be called within each other may take of the C stack.
  struct Level {
    explicit Level(lua_State* lua, int most) : state(LuaState::of(lua)) {
      if (state.levels_ >= most) luaL_error(lua, "C stack overflow");
      state.levels_++;
    }
    ~Level() { state.levels_--; }
    LuaState& state;
  };
  static constexpr int kLevelsMax = 190, kCoroutinesMax = 8;
  int coroutines = 0;
  // What runs in the state's memory now: the state itself, or one of its coroutines.
  lua_State* running = nullptr;
  void set_hook(lua_State* lua) { lua_sethook(lua, hook, LUA_MASKCOUNT, hook_each()); }

  // Settings of cjson, as long as a run.
  struct Json {
    bool encode_sparse_convert = false;
    int encode_sparse_ratio = 2, encode_sparse_safe = 10;
    int encode_max_depth = 1000, decode_max_depth = 1000;
    bool encode_invalid = false, encode_invalid_null = false, decode_invalid = true;
    bool keep_buffer = true;
    int precision = 14;
  };
  Json json;
  uint64_t random = 0;
  bool random_seeded = false;
  uint64_t new_seed() { return engine_.store().random(); }
  Library* loading = nullptr;  // the library that says what functions it has

  // The table at the top of the stack is replaced by one that stands before it and cannot change.
  void lock_table();
  bool is_locked(lua_State* lua, int i);

 private:
  // Instructions between two looks at the time: about 50 us. One of them may take as long as it
  // takes to go through the largest block of memory that there is (a comparison of texts, a call
  // of table.insert): above so many bytes they are fewer, in proportion.
  static constexpr int kHookEach = 10'000;
  static constexpr uint64_t kBlockOfHook = 32 << 10;
  static constexpr size_t kCompiledMax = 4096;

  static void* allocate(void* self, void* block, size_t before, size_t after);
  static void hook(lua_State* lua, lua_Debug*);
  int hook_each() const;
  void meet_block(uint64_t bytes);
  void make();
  void make_globals();
  void clean_up();
  void enter(bool function);
  static int run_protected(lua_State* lua);
  void set_words(Context& c, size_t from, size_t to);
  void answer_error(Context& c, std::string_view name);
  static void answer_end(Context& c, const Run& run);
  static void fail(Context& c, std::string_view why);
  bool compile(std::string_view source, const char* chunk, std::string_view doing);
  void forget_compiled();
  void close();
  std::string run_library(Library& library);
  void show_globals_of_functions(bool loading);
  void refresh_functions();
  void take_library(const LibraryPtr& known);
  void forget_library(const std::string& name);

  Engine& engine_;
  lua_State* lua_ = nullptr;
  // Outside of protected calls there is no limit: Lua would end the process.
  uint64_t used_ = 0, most_ = UINT64_MAX;
  uint64_t settled_ = 0;  // used_, when nothing was left to collect
  int64_t told_ = 0;      // of used_, to the server
  void tell_used(uint64_t used);
  void limit(uint64_t bytes) { most_ = used_ + bytes; }
  // Of the blocks that the state may have: at least its size, at most twice as much.
  uint64_t largest_ = kBlockOfHook;
  uint64_t steps_ = 0;    // since the last look at the time
  bool starved_ = false;  // an allocation was refused
  // Of the messages that the session holds these were counted, in this run or in earlier ones of
  // the same EXEC, which have one time.
  size_t held_ = 0;
  uint64_t held_bytes_ = 0;
  int64_t held_at_ms_ = 0;
  Run* run_ = nullptr;
  bool entered_function_ = false;  // whose globals new chunks get
  int levels_ = 0;
  Request request_;
  Recorded reply_;
  uint64_t epoch_ = 0;
  struct Function {
    int callback;  // in the registry
    uint32_t flags;
  };
  ByText<Function> compiled_;  // by SHA1
  int script_globals_ = 0, script_env_ = 0, function_env_ = 0, handler_ = 0, runner_ = 0;
  int function_globals_ = 0, loading_globals_ = 0;
  // The libraries of functions, as of a version of them.
  uint64_t functions_version_ = 0;
  struct Loaded {
    LibraryPtr library;
    std::string why;  // it could not be loaded here; it is tried again when it is called
  };
  std::map<std::string, Loaded, std::less<>> libraries_;
  struct OfLibrary {
    int callback;  // LUA_NOREF: its library could not be loaded
    uint32_t flags;
    const Library* library;
  };
  ByText<OfLibrary> functions_;  // by their names in lower case
  uint64_t kept_ = 0;            // bytes that libraries keep
};

// ---- what EVAL and FCALL have in common ----

// A script says what it is in its first line; false, and why, if it says it wrong.
bool parse_shebang(std::string_view source, uint32_t& flags, std::string& why);
std::vector<std::string_view> split_words(std::string_view line);
// The same for a line in which words may be quoted, as in an inline command; false if a quote is
// not closed, or not followed by a space.
bool split_line(std::string_view line, std::vector<std::string>& words);
// A word of a client in an error text: as a C string, like Redis.
inline std::string_view shown(std::string_view word) {
  return word.substr(0, std::min<size_t>(word.find('\0'), 128));
}
// Word 2, which says how many keys there are; false after it answered what is wrong with it.
bool read_key_count(Context& c, std::string_view not_a_number, int64_t& keys);
// Whether a script with these flags may begin; else it answered why not.
bool may_begin(Context& c, uint32_t flags);
void kill_scripts(Context& c, bool functions);

inline constexpr KeySpec kKeysOfScript[] = {
    {.flags = kKeyReadWrite | kKeyAccess | kKeyUpdate, .first = 2, .count_at = 0}};
inline constexpr KeySpec kKeysReadByScript[] = {
    {.flags = kKeyReadOnly | kKeyAccess, .first = 2, .count_at = 0}};

// Libraries; each leaves its table on the stack.
void open_json(lua_State* lua);
void open_msgpack(lua_State* lua);
void open_pack(lua_State* lua);
void open_bits(lua_State* lua);
enum class Api : uint8_t { kScripts, kFunctions, kLoading };
void open_redis(lua_State* lua, Api whose);
void open_patterns(lua_State* lua);  // into the table of strings, which is on the stack
// Replaces what is not safe in the standard ones.
void mend_libraries(lua_State* lua);

inline int set_functions(lua_State* lua, const luaL_Reg* functions) {
  for (; functions->name != nullptr; functions++) {
    lua_pushcfunction(lua, functions->func);
    lua_setfield(lua, -2, functions->name);
  }
  return 1;
}

}  // namespace cairn::kv
