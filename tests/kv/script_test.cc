#include <gtest/gtest.h>

#include "core/base/text.h"
#include "kv/script/flags.h"
#include "kv/script/function_dump.h"
#include "kv/script/sha1.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

struct Script : EngineTest {
  std::string eval(const std::string& source, const std::vector<std::string>& keys = {},
                   const std::vector<std::string>& arguments = {}) {
    std::vector<std::string> words{"EVAL", source, std::to_string(keys.size())};
    words.insert(words.end(), keys.begin(), keys.end());
    words.insert(words.end(), arguments.begin(), arguments.end());
    return run(words);
  }
  // It ends with an error that says this.
  void refuses(const std::string& source, const std::string& text) {
    const std::string answer = eval(source);
    EXPECT_TRUE(answer.starts_with("-") && answer.find(text) != answer.npos)
        << source << ": " << answer;
  }
};

// ---- what it does ----

TEST_F(Script, CallsCommandsOnItsKeys) {
  EXPECT_EQ(eval("return redis.call('SET', KEYS[1], ARGV[1])", {"k"}, {"v"}), "+OK");
  EXPECT_EQ(eval("return redis.call('GET', KEYS[1])", {"k"}), "v");
  EXPECT_EQ(eval("return {1, 'two', {3, false}, redis.status_reply('four')}"),
            "*4 :1 two *2 :3 null +four");
}

TEST_F(Script, KnowsAScriptByItsSha) {
  const std::string source = "return ARGV[1]";
  EXPECT_EQ(run({"EVALSHA", sha1_hex(source), "0", "x"}),
            "-NOSCRIPT No matching script. Please use EVAL.");
  EXPECT_EQ(run({"SCRIPT", "LOAD", source}), sha1_hex(source));
  EXPECT_EQ(run({"EVALSHA", upper(sha1_hex(source)), "0", "x"}), "x");
  EXPECT_EQ(run({"SCRIPT", "EXISTS", sha1_hex(source), "y"}), "*2 :1 :0");
  EXPECT_EQ(run({"SCRIPT", "FLUSH"}), "+OK");
  EXPECT_EQ(run({"EVALSHA", sha1_hex(source), "0", "x"}),
            "-NOSCRIPT No matching script. Please use EVAL.");
}

TEST_F(Script, TouchesKeysThatItDoesNotName) {
  EXPECT_EQ(
      eval("for i = 1, 20 do redis.call('INCR', 'n' .. i % 7) end return redis.call('GET', 'n1')"),
      "3");
  EXPECT_EQ(eval("redis.call('SET', KEYS[1], 1) return #redis.call('KEYS', '*')", {"k"}), ":8");
}

TEST_F(Script, KeepsWhatItWroteBeforeItsError) {
  EXPECT_TRUE(
      eval("redis.call('SET', KEYS[1], 1) error('stop')", {"k"}).starts_with("-ERR user_script"));
  EXPECT_EQ(run({"GET", "k"}), "1");
}

TEST_F(Script, RunsInsideATransaction) {
  EXPECT_EQ(run({"MULTI"}), "+OK");
  EXPECT_EQ(run({"SET", "a", "1"}), "+QUEUED");
  EXPECT_EQ(run({"EVAL", "return redis.call('INCR', 'a') + redis.call('INCR', 'undeclared')", "0"}),
            "+QUEUED");
  EXPECT_EQ(run({"INCR", "a"}), "+QUEUED");
  EXPECT_EQ(run({"EXEC"}), "*3 +OK :3 :3");
}

TEST_F(Script, ReadsColdValuesAndThoseInExtents) {
  const std::string large(20'000, 'x');
  run({"SET", "cold", std::string(1000, 'c')});
  run({"SET", "other", std::string(1000, 'd')});
  make_cold();
  EXPECT_EQ(eval("return #redis.call('GET', KEYS[1]) + #redis.call('GET', 'other')", {"cold"}),
            ":2000");
}

TEST_F(Script, WritesNothingWhereItMayOnlyRead) {
  EXPECT_TRUE(run({"EVAL_RO", "return redis.call('SET', 'k', 1)", "0"})
                  .starts_with("-ERR Write commands are not allowed from read-only scripts."));
  EXPECT_TRUE(eval("#!lua flags=no-writes\nreturn redis.call('SET', 'k', 1)")
                  .starts_with("-ERR Write commands are not allowed from read-only scripts."));
  EXPECT_EQ(run({"EXISTS", "k"}), ":0");
}

// ---- what holds it in ----

TEST_F(Script, EndsWhenItTakesTooLong) {
  refuses("redis.call('SET', 'k', 1) while true do end", "ran for more than");
  EXPECT_EQ(run({"EXISTS", "k"}), ":0");
  refuses("while true do pcall(function() while true do end end) end", "ran for more than");
  refuses("local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end",
          "ran for more than");
  refuses("return (('a'):rep(30000)):find('.-.-.-.-b')", "ran for more than");
  EXPECT_EQ(eval("return 1"), ":1");
}

TEST_F(Script, EndsWhenItTakesTooMuch) {
  refuses("local s = 'x' while true do s = s .. s end", "nothing of it was done");
  refuses("local t = {} while true do t[#t + 1] = {} end", "nothing of it was done");
  refuses("return ('x'):rep(2 ^ 31 - 1)", "nothing of it was done");
  refuses("pcall(function() local s = 'x' while true do s = s .. s end end) return 1",
          "nothing of it was done");
  // CVE-2022-24834: lengths that wrap around in the buffer of cjson.
  refuses(
      "local s, t = ('\\1'):rep(2 ^ 20), {} for i = 1, 4000 do t[i] = s end return cjson.encode(t)",
      "nothing of it was done");
  refuses(
      "local s, t = ('x'):rep(2 ^ 20), {} for i = 1, 4000 do t[i] = s end return cmsgpack.pack(t)",
      "nothing of it was done");
  EXPECT_EQ(eval("return 1"), ":1");
}

TEST_F(Script, HasNoFilesNoBytecodeAndNoDebugger) {
  for (const char* name : {"io", "debug", "package", "require", "dofile", "loadfile", "newproxy",
                           "getfenv", "setfenv", "module", "print"}) {
    refuses(cat("return ", name), "nonexistent global variable");
  }
  EXPECT_EQ(eval("return type(os.clock()) .. tostring(os.execute) .. tostring(string.dump)"),
            "numbernilnil");
  EXPECT_EQ(
      eval("return {tostring(loadstring('\\27Lua')), tostring(load(function() return nil end))}")
          .substr(0, 6),
      "*2 nil");
  refuses("\x1bLua", "bytecode");
}

// CVE-2022-24735, CVE-2025-46818: what one user's script changes is not what the next one's calls.
TEST_F(Script, ChangesNothingThatOthersUse) {
  for (const char* source :
       {"x = 1", "redis.call = 1", "string.rep = 1", "_G.redis = 1",
        "getmetatable('').__index = {}", "getmetatable(_G).__index = {}", "rawset(_G, 'x', 1)",
        "rawset(redis, 'call', 1)", "setmetatable(_G, {})", "setmetatable(redis, {})",
        "table.insert(redis, 1)", "KEYS = 1", "cjson.null = 1", "string.format = nil",
        "math.random = nil"}) {
    refuses(source, "Attempt to modify a readonly table");
  }
  eval("table.sort(redis) table.remove(string)");
  eval(
      "for k, v in pairs(_G) do if type(v) == 'table' then for a in pairs(v) do pcall(rawset, v, "
      "a, 1) end end end");
  EXPECT_EQ(eval("cjson.encode_max_depth(1) return ('a'):rep(2) .. type(redis.call)"),
            "aafunction");
  EXPECT_EQ(eval("return cjson.encode({{{1}}})"), "[[[1]]]");
  eval("secret = nil");
  EXPECT_EQ(eval("return #ARGV", {}, {"a"}), ":1");
}

// CVE-2025-46817: unpack counts past 32 bits.
TEST_F(Script, UnpacksNoMoreThanItsStackTakes) {
  refuses("return unpack({}, 0, 2147483647)", "too many results to unpack");
  refuses("return unpack({}, -2147483648, 2147483647)", "too many results to unpack");
  refuses("return unpack({}, 1, 1e7)", "too many results to unpack");
  EXPECT_EQ(eval("return {unpack({1, 2, 3}, 2)}"), "*2 :2 :3");
}

// CVE-2025-49844, CVE-2024-46981: the collector runs while the parser does.
TEST_F(Script, ParsesWhileMemoryIsCollected) {
  EXPECT_EQ(eval("local n = 0 "
                 "for i = 1, 200 do "
                 "  local f = load(function() n = n + 1 collectgarbage() "
                 "    if n % 3 == 0 then return nil end return ' local a' .. n .. ' = ' .. n end, "
                 "    'chunk' .. i .. ('x'):rep(i)) "
                 "  if f then f() end "
                 "end return n"),
            ":600");
  refuses(cat("return ", std::string(100'000, '(')), "too many");
}

// CVE-2022-24736: a script that is cut off, or lacks a word, ended the process when it was loaded.
TEST_F(Script, RefusesWhatIsNoScriptWherever) {
  const std::string source =
      "#!lua name=x\nlocal a, b = {1, x = 2, ['y'] = 3; 4}, [==[ text ]==] --[[ a comment ]]\n"
      "local function f(p, ...) local q <= p return q, ... end\n"
      "function a.b.c:d(e) return self[e] .. 0x1F .. 1e-5 .. \"\\065\\n\" end\n"
      "for i = 1, 2, 1 do if i == 1 then break elseif not i then repeat until true else end end\n"
      "for k, v in pairs{} do while false do end end\n"
      "return (f 'x'), #a, -b ^ 2, a and b or f{}, function() end";
  for (size_t at = 0; at < source.size(); at++) {
    for (const std::string& damaged :
         {source.substr(0, at), source.substr(at), source.substr(0, at) + source.substr(at + 1),
          source.substr(0, at) + std::string(1, '\0') + source.substr(at)}) {
      EXPECT_FALSE(eval(damaged).empty());
      EXPECT_FALSE(run({"SCRIPT", "LOAD", damaged}).empty());
      EXPECT_FALSE(run({"FUNCTION", "LOAD", "REPLACE", damaged}).empty());
    }
  }
  // What is thrown has no text.
  for (const char* thrown :
       {"", "nil", "{}", "{err = {}}", "{err = nil}", "true", "print", "function() end",
        "setmetatable({}, {__tostring = 1})", "coroutine.create(error)"}) {
    const std::string error = eval(cat("error(", thrown, ")"));
    EXPECT_EQ(error.substr(0, 1), "-") << thrown << ": " << error;
  }
  EXPECT_EQ(eval("return 1"), ":1");
}

// CVE-2025-46819: the brackets of long strings and comments were read past their end.
TEST_F(Script, ReadsLongBracketsToTheirEnd) {
  for (const int level : {0, 1, 2, 200, 60'000}) {
    const std::string deep(level, '='), open = cat("[", deep, "["), close = cat("]", deep, "]");
    EXPECT_EQ(eval(cat("return ", open, "a] b", close)), "a] b");
    EXPECT_EQ(eval(cat("return #", open, "\n\r", close)),
              ":0");  // a first line's end is none of it
    EXPECT_EQ(eval(cat("--", open, "\n", close, "return 2")), ":2");
    refuses(cat("return ", open), "unfinished long string");
    refuses(cat("return ", open, "]", deep), "unfinished long string");
    refuses(cat("--", open, "]", deep), "unfinished long comment");
    if (level > 0) refuses(cat("return [", deep), "invalid long string delimiter");
    EXPECT_EQ(
        eval(cat("return loadstring('return [' .. ('='):rep(", level, ") .. '[') and 1 or 0")),
        ":0");
  }
  // Levels past 31 bits do not fit what a script may hold.
  refuses("return loadstring('return [' .. ('='):rep(2 ^ 31 - 1) .. '[')",
          "nothing of it was done");
  EXPECT_EQ(eval("return 1"), ":1");
}

// CVE-2024-31449 and its like: the libraries' arithmetic.
TEST_F(Script, GivesItsLibrariesAnyNumbers) {
  EXPECT_EQ(eval("return {bit.tohex(-1, -2147483648), bit.tohex(255, 2), bit.tohex(255, -4)}"),
            "*3 FFFFFFFF ff 00FF");
  EXPECT_EQ(eval("return {bit.band(0xFF, 0x0F), bit.lshift(1, 33), bit.tobit(2 ^ 40 + 5)}"),
            "*3 :15 :2 :5");
  refuses("return struct.pack('i' .. ('9'):rep(50), 1)", "integral size overflow");
  refuses("return struct.unpack('c0', 'x')", "needs a previous size");
  refuses("return struct.unpack('i4', 'abcd', 2 ^ 31 - 1)", "data string too short");
  refuses("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes");
  refuses("return cmsgpack.unpack(('\\145'):rep(100000))", "Bad data");
  refuses("return cjson.decode(('['):rep(100000))", "too many nested");
  refuses("local t = {} t[1] = t return cjson.encode(t)", "excessive nesting");
}

TEST_F(Script, KeepsWithinItsStack) {
  refuses("local function f() return f() + 1 end return f()", "stack overflow");
  refuses("local function f() coroutine.wrap(f)() end f()", "stack overflow");
  refuses("local function f(s) return (s:gsub('.', f)) end return f('x')", "stack overflow");
  refuses("local function f() pcall(f) error('x') end f()", "");
  refuses("return ('a'):rep(1000):match(('a?'):rep(1000))", "pattern too complex");
  eval("local t = {} for i = 1, 100000 do t = {t} end return t");
  EXPECT_EQ(eval("return 1"), ":1");
}

// ---- functions ----

TEST_F(Script, FunctionsAreRecordsOfTheStore) {
  EXPECT_EQ(
      run({"FUNCTION", "LOAD",
           "#!lua name=mine\nredis.register_function('f', function(k, a) return {k[1], a[1]} end)\n"
           "redis.register_function{function_name='g', callback=function() return "
           "redis.call('DBSIZE') "
           "end, flags={'no-writes'}, description='counts'}"}),
      "mine");
  EXPECT_EQ(run({"FCALL", "f", "1", "k", "v"}), "*2 k v");
  EXPECT_EQ(run({"FCALL_RO", "g", "0"}), ":0");
  EXPECT_EQ(run({"FCALL_RO", "f", "0"}),
            "-ERR Can not execute a script with write flag using *_ro command.");
  const std::string dump = run({"FUNCTION", "DUMP"});
  EXPECT_EQ(run({"FUNCTION", "FLUSH"}), "+OK");
  EXPECT_EQ(run({"FCALL", "f", "0"}), "-ERR Function not found");
  EXPECT_EQ(run({"FUNCTION", "RESTORE", dump}), "+OK");
  EXPECT_EQ(run({"FUNCTION", "RESTORE", dump}), "-ERR Library mine already exists");
  EXPECT_EQ(run({"FCALL", "f", "1", "k", "v"}), "*2 k v");
  // Another process, which reads them from the store.
  server = std::make_unique<Server>(*store, users);
  server->report = [this](std::string_view text) { reports.emplace_back(text); };
  engines.clear();
  engines.push_back(std::make_unique<Engine>(*server, table, engines));
  EXPECT_EQ(run({"FCALL", "f", "1", "k", "v"}), "*2 k v");
}

// One that cannot be loaded after a start was not to be seen, and came back after FUNCTION FLUSH.
TEST_F(Script, ALibraryThatCannotBeLoadedIsListedAndCanBeDeleted) {
  {
    Namespace& system = store->system();
    StripeLocks locks(*store);
    locks.lock_all();
    Transaction txn(*store, &locks, Shape::kOne);
    RecordView r;
    r.ns = system.id;
    r.key = "function/torn";
    r.value = "#!lua name=torn\nreturn )";
    ASSERT_TRUE(txn.put(system, system.hash(r.key), r).ok());
    ASSERT_TRUE(txn.commit().ok());
  }
  EXPECT_TRUE(run({"FUNCTION", "LIST"}).find("torn") != std::string::npos);
  EXPECT_TRUE(run({"FUNCTION", "DUMP"}).find("name=torn") != std::string::npos);
  EXPECT_TRUE(run({"FCALL", "f", "0"})
                  .starts_with("-ERR Function not found; library 'torn' cannot be loaded: "));
  EXPECT_EQ(run({"FUNCTION", "DELETE", "torn"}), "+OK");
  EXPECT_EQ(run({"FCALL", "f", "0"}), "-ERR Function not found");
  EXPECT_EQ(run({"FUNCTION", "LIST"}), "*0");
  EXPECT_EQ(reports.size(), 1U);
  reports.clear();
}

TEST(FunctionDump, IsRedissAndTakesNoOther) {
  bool bad;
  EXPECT_EQ(dump_libraries({}), std::string("\n\x00]\x9b\\@\x0f\x7f\xa2\xda", 10));
  const std::string whole = dump_libraries({"#!lua name=a\n", std::string(500, 'x')});
  EXPECT_EQ(read_libraries(whole, bad)->size(), 2U);
  for (size_t i = 0; i < whole.size(); i++) {
    std::string broken = whole;
    broken[i] = static_cast<char>(broken[i] ^ 1);
    EXPECT_FALSE(read_libraries(broken, bad)) << i;
    EXPECT_FALSE(read_libraries(whole.substr(0, i), bad)) << i;
  }
}

}  // namespace
}  // namespace cairn::kv
